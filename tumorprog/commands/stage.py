"""Commands that run stages in a run directory, and the arguments that they share."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tumorprog import storage
from tumorprog.options import Command, save_config
from tumorprog.settings import Settings

if TYPE_CHECKING:
    from tumorprog.run import Stage

OUT = (
    "--out",
    {
        "required": True,
        "metavar": "DIR",
        "help": "the run directory; it keeps the settings, so that each is given only once",
    },
)
SHARED_GROUPS = ("seed", "cluster")


def run_stages(folder: Path, settings: Settings, stages: Sequence["Stage"]) -> str:
    """Run the outdated stages among `stages` and save the settings in the run directory.

    Returns:
        What was done, and which other stages are outdated as a consequence.
    """
    from tumorprog import run

    run.check_paths(folder, settings)
    if not (folder / "config.yaml").exists():
        save_config(folder, settings)
    num_run = run.run_stages(folder, settings, stages)
    save_config(folder, settings)
    if not num_run:
        return f"{folder}: nothing to do"
    summary = f"{folder}: ran {num_run} of {len(stages)} stages"
    outdated = [stage.command for stage in run.outdated_after(folder, settings, stages)]
    return f"{summary}\noutdated now: {', '.join(outdated)}; `tumorprog run` updates them" if outdated else summary


def run_stage(name: str) -> Callable[[argparse.Namespace, Settings], str]:
    """Return what a command does that runs a single stage."""

    def run_it(parsed: argparse.Namespace, settings: Settings) -> str:
        from tumorprog import run

        return run_stages(storage.as_path(parsed.out), settings, [run.stage_named(name)])

    return run_it


TRAIN_SEGMENTER = Command(
    summary="Train the U-Net that finds the tumour, on the patients with masks, for each of them without the patient.",
    run=run_stage("train_segmenter"),
    groups=(*SHARED_GROUPS, "cohort", "roi", "segmenter"),
    arguments=(OUT,),
    examples=(
        "tumorprog train-segmenter --out runs/tcia --segmenter.epochs 100",
        "tumorprog train-segmenter --out runs/tcia --segmenter.sequences '[T1post, FLAIR]' --segmenter.gpu true",
    ),
)

REGIONS = Command(
    summary="Find the region of interest on every slice, from masks or the segmenter, and measure the tumour volumes.",
    run=run_stage("regions"),
    groups=("cluster", "roi", "segmenter", "slices"),
    arguments=(OUT,),
    examples=(
        "tumorprog regions --out runs/tcia --roi.method mask --roi.margin_mm 3",
        "tumorprog regions --out runs/tcia --roi.labels '[1, 3]'    # values of the masks that form the region",
    ),
)

SLICES = Command(
    summary="Write the grader's 224 x 224 images of the graded patients.",
    run=run_stage("slices"),
    groups=(*SHARED_GROUPS, "archive", "cohort", "slices"),
    arguments=(OUT,),
    examples=("tumorprog slices --grades clinical_2014-01-16.xlsx --out runs/tcia",),
)

TRAIN_GRADER = Command(
    summary="Split by patient, audit the split for leakage, train the ResNet-18 and predict every slice.",
    run=run_stage("train_grader"),
    groups=(*SHARED_GROUPS, "protocol", "grader"),
    arguments=(OUT,),
    examples=(
        "tumorprog train-grader --out runs/tcia --grader.epochs 20",
        "tumorprog train-grader --out runs/tcia --grader.workers 4 --grader.gpu true",
        "tumorprog train-grader --out runs/tcia --folds 5 --grader.null_control true",
    ),
)

GRADE = Command(
    summary="Grade every series of the progression cohort and write the reference sheet.",
    run=run_stage("grade"),
    groups=("cluster", "cohort", "slices", "grader", "grade"),
    arguments=(OUT,),
    examples=(
        "tumorprog grade --out runs/tcia",
        "tumorprog grade --out runs/tcia --grade.sequences '[T1post, T2]'    # whose slices vote on a patient's grade",
    ),
)

TRAIN_PROGRESSION = Command(
    summary="Train and evaluate the LSTM, leaving out one patient at a time, and with the paper's split.",
    run=run_stage("train_progression"),
    groups=(*SHARED_GROUPS, "archive", "progression"),
    arguments=(OUT,),
    examples=(
        "tumorprog train-progression --out runs/tcia --progression.hidden 64",
        "tumorprog train-progression --out runs/tcia --outcomes outcomes.csv --progression.target survival",
    ),
)
