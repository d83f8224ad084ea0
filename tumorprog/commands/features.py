"""features: compute the feature vectors or, with --show, draw how one of them is computed."""

import argparse

from tumorprog import storage
from tumorprog.commands.stage import OUT, run_stages
from tumorprog.options import Command
from tumorprog.settings import Settings


def _features(parsed: argparse.Namespace, settings: Settings) -> str:
    from tumorprog import run

    folder = storage.as_path(parsed.out)
    if not parsed.show:
        return run_stages(folder, settings, [run.stage_named("features")])
    from tumorprog.stages import features

    return f"picture: {features.show(folder, parsed.show, settings, order=parsed.slice)}"


COMMAND = Command(
    summary="Compute the 100 wavelet and DCT features of the region of every slice of the progression cohort.",
    run=_features,
    groups=("cluster", "features"),
    arguments=(
        OUT,
        (
            "--show",
            {
                "nargs": "+",
                "metavar": "SERIES",
                "help": "draw the region and features of one series instead: its UID, or PatientID, date and Type",
            },
        ),
        ("--slice", {"type": int, "metavar": "N", "help": "which slice to draw, from 0; by default the middle one"}),
    ),
    examples=(
        "tumorprog features --out runs/tcia --features.wavelet db2",
        "tumorprog features --out runs/tcia --show PGBM-001 1991-11-19 T1post",
        "tumorprog features --out runs/tcia --show PGBM-001 1991-11-19 T1post --slice 12",
    ),
)
