"""catalogue: list what an archive holds and, with --check, what is wrong with it."""

import argparse

from tumorprog import storage
from tumorprog.commands.stage import OUT, run_stages
from tumorprog.options import Command
from tumorprog.settings import Settings


def _catalogue(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run, tables
    from tumorprog.cohort import inventory

    folder = storage.as_path(parsed.out)
    summary = run_stages(folder, settings, [run.stage_named("catalogue")])
    lines = [inventory.describe(tables.read_summary(folder / "catalogue")), summary]
    if parsed.check:
        from tumorprog.catalogue import overview

        findings = overview.check(folder, settings)
        tables.write_csv(folder / "check.csv", findings, inventory.FINDINGS)
        lines += ["", inventory.describe_findings(findings), f"all findings: {folder / 'check.csv'}"]
    return "\n".join(lines)


COMMAND = Command(
    summary="Read the headers of all files: one row per slice, and a reason for each file that is not used.",
    run=_catalogue,
    groups=("cluster", "archive", "cohort"),
    arguments=(
        OUT,
        ("--check", {"action": "store_true", "help": "list the problems that the data has for this pipeline"}),
    ),
    examples=(
        "tumorprog catalogue --progression Brain-Tumor-Progression --out runs/btp",
        "tumorprog catalogue --grading REMBRANDT --grades clinical_2014-01-16.xlsx --out runs/tcia --check",
        "tumorprog catalogue --progression s3://bucket/BTP --out s3://bucket/runs/btp",
    ),
)
