"""synthesize: write a synthetic cohort."""

import argparse
import logging
import os
from pathlib import Path

from tumorprog import storage
from tumorprog.commands.stage import SHARED_GROUPS
from tumorprog.options import Command
from tumorprog.settings import Settings

log = logging.getLogger(__name__)


def write_cohort(folder: Path, settings: Settings) -> None:
    """Write a synthetic cohort and log the progress."""
    from tumorprog.synthetic import archive

    processes = settings.cluster.cores or os.cpu_count() or 1
    for done, total in archive.write_cohort(folder, settings.synthetic, seed=settings.seed, processes=processes):
        if done == total or done % max(1, total // 5) == 0:
            log.info("  synthesize: %d of %d patients", done, total)


def archive_settings(folder: Path) -> dict[str, str]:
    """Return the settings, by dotted name, that make the cohort in a folder the input of a run."""
    from tumorprog.synthetic import archive, plan

    return {
        "archive.grading": str(folder / plan.GRADING),
        "archive.grades": str(folder / archive.CLINICAL_TABLE),
        "archive.progression": str(folder / plan.PROGRESSION),
        "archive.outcomes": str(folder / archive.OUTCOMES_TABLE),
    }


def _synthesize(parsed: argparse.Namespace, settings: Settings) -> str:
    folder = storage.as_path(parsed.out)
    write_cohort(folder, settings)
    inputs = archive_settings(folder).items()
    options = " ".join(f"--{name.removeprefix('archive.')} '{path}'" for name, path in inputs)
    return f"synthetic cohort: {folder}\nrun the pipeline on it with: tumorprog run {options} --out RUN"


COMMAND = Command(
    summary="Write a synthetic cohort: DICOM in the layouts of the two TCIA collections, and a clinical table.",
    run=_synthesize,
    groups=(*SHARED_GROUPS, "synthetic"),
    arguments=(("--out", {"required": True, "metavar": "DIR", "help": "folder of the cohort"}),),
    examples=(
        "tumorprog synthesize --out cohort",
        "tumorprog synthesize --out large --synthetic.graded_patients 600 --synthetic.series_slices 50",
    ),
)
