"""tune: search for better settings of one of the two models."""

import argparse

from tumorprog import storage
from tumorprog.commands.stage import OUT, SHARED_GROUPS, run_stages
from tumorprog.options import Command
from tumorprog.settings import Settings, with_values


def _tune(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder = storage.as_path(parsed.out)
    chosen = with_values(settings, {"tune.model": parsed.model, "tune.sweep": storage.absolute(parsed.sweep)})
    summary = run_stages(folder, chosen, [run.TUNE[parsed.model]])
    return "\n".join([summary, f"trials: {folder / 'tune' / 'trials.csv'}", f"best: {folder / 'tune' / 'best.yaml'}"])


COMMAND = Command(
    summary="Sweep settings of one of the two models with Ray Tune; trials never see the test set.",
    run=_tune,
    groups=(*SHARED_GROUPS, "grader", "progression", "tune"),
    arguments=(
        (
            "model",
            {
                "choices": ["grader", "progression"],
                "help": "the model to tune; requires the run's slices, or its features and grades",
            },
        ),
        ("sweep", {"metavar": "SWEEP.yaml", "help": "which settings to vary, over which values, and how"}),
        OUT,
    ),
    examples=(
        "tumorprog tune progression tune_configs/smoke_progression.yaml --out runs/demo",
        "tumorprog tune grader tune_configs/grader.yaml --out runs/tcia",
        "tumorprog run --config runs/tcia/tune/best.yaml --out runs/tcia    # everything, with the best settings",
    ),
)
