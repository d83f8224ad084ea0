"""run, demo and report: the whole pipeline, on an archive or on a synthetic cohort, and its results."""

import argparse
import json
import logging
from pathlib import Path

from tumorprog import storage
from tumorprog.commands import synthesize
from tumorprog.commands.stage import OUT, SHARED_GROUPS, run_stage, run_stages
from tumorprog.options import Command
from tumorprog.settings import Settings, with_values

log = logging.getLogger(__name__)

DEMO_SETTINGS = {
    "grader.weights": "none",
    "grader.epochs": 3,
    "grader.batch_size": 8,
    "grader.workers": 0,
    "protocol": "both",
    "segmenter.epochs": 10,
    "segmenter.folds": 3,
    "segmenter.workers": 0,
    "synthetic.progression_patients": 10,
    "synthetic.series_slices": 4,
}
"""Defaults that keep the demonstration small; all other settings have their usual defaults."""

_GROUPS = (
    *SHARED_GROUPS,
    *("protocol", "archive", "cohort", "segmenter", "roi", "slices", "grader", "grade", "features", "progression"),
    *("report", "study"),
)


def _run(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder = storage.as_path(parsed.out)
    summary = run_stages(folder, settings, run.applicable_stages(settings))
    return "\n".join([summary, *_headline(folder)])


def _headline(folder: Path) -> list[str]:
    from tumorprog.report import headline

    metrics = json.loads((folder / "metrics.json").read_text())
    return [*headline.lines(metrics), f"report: {folder / 'report.html'}"]


def _demo(parsed: argparse.Namespace, settings: Settings) -> str:
    cohort = Path(parsed.out).absolute() / "cohort"
    log.info("synthetic cohort in %s; initial weights: %s (random)", cohort, settings.grader.weights)
    synthesize.write_cohort(cohort, settings)
    return _run(parsed, with_values(settings, synthesize.archive_settings(cohort)))


def _report(parsed: argparse.Namespace, settings: Settings) -> str:
    return "\n".join([run_stage("report")(parsed, settings), *_headline(storage.as_path(parsed.out))])


RUN = Command(
    summary="Run everything, from DICOM files to the report; a second run repeats only the outdated stages.",
    run=_run,
    groups=_GROUPS,
    arguments=(OUT,),
    examples=(
        "tumorprog run --grading REMBRANDT --grades clinical_2014-01-16.xlsx \\",
        "    --progression Brain-Tumor-Progression --out runs/tcia",
        "tumorprog run --out runs/tcia --features.wavelet db2    # recomputes the features and what depends on them",
    ),
)

DEMO = Command(
    summary="Run everything on a synthetic cohort, in minutes, without data, network or GPU.",
    run=_demo,
    groups=(*_GROUPS, "synthetic"),
    arguments=(OUT,),
    defaults=DEMO_SETTINGS,
    examples=("tumorprog demo --out runs/demo",),
)

REPORT = Command(
    summary="Evaluate all predictions in the run directory; write metrics.json and report.html.",
    run=_report,
    groups=("seed", "report", "study"),
    arguments=(OUT,),
    examples=(
        "tumorprog report --out runs/tcia --report.bootstrap 5000",
        "tumorprog report --out runs/tcia --study.ethics 'approved by ...'    # printed in the report",
    ),
)
