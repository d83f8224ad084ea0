"""Pixels that two regions share, counted per series -> Dice's coefficient per sequence and method."""

import numpy as np
import pandas as pd

from tumorprog.evaluation.metrics import Metric, measure

COUNTS = ("PatientID", "SeriesInstanceUID", "sequence", "method", "both", "region", "mask")
"""Columns of a table of overlaps: a row per series and method; pixels in both, in the region, in the mask."""


def dice_by_sequence(overlaps: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, dict[str, dict[str, Metric]]]:
    """How well each method's region covers the tumour's mask, on each sequence.

    Dice's coefficient of a series is 2 |region and mask| / (|region| + |mask|) over all its slices together, so that a
    region on a slice without tumour counts against it. The figure is the mean over series, its interval over patients.

    Args:
        overlaps: rows of `COUNTS`; series whose mask is empty are left out.
        resamples: of the patients, for each interval.
        seed: of the resampling.

    Returns:
        method -> sequence -> {"dice": metric}.

    Source: Dice 1945, Ecology 26:297-302.
    """
    there = overlaps[overlaps["mask"] > 0]
    found: dict[str, dict[str, dict[str, Metric]]] = {}
    for (method, sequence), rows in there.groupby(["method", "sequence"], sort=True):
        found.setdefault(str(method), {})[str(sequence)] = {"dice": _mean_dice(rows, resamples=resamples, seed=seed)}
    return found


def _mean_dice(rows: pd.DataFrame, *, resamples: int, seed: int) -> Metric:
    dice = (2 * rows["both"] / (rows["region"] + rows["mask"])).to_numpy(np.float64)
    patients = rows["PatientID"].to_numpy()
    return measure(patients, lambda chosen: float(dice[chosen].mean()), resamples=resamples, seed=seed)
