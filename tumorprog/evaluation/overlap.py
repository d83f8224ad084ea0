"""Compute the Dice coefficient per sequence and method from pixel counts per series."""

import numpy as np
import pandas as pd

from tumorprog.evaluation.measures import Metric, measure


def dice_by_sequence(overlaps: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, dict[str, dict[str, Metric]]]:
    """Return how well each method's region of interest overlaps with the tumour mask, on each sequence.

    The Dice coefficient of a series is 2 |region and mask| / (|region| + |mask|) over all its slices together, so that
    a region on a slice without tumour lowers it. The metric is the mean over series; its interval is over patients.

    Args:
        overlaps: rows of `regions.columns.OVERLAPS`; series with an empty mask are excluded.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        method -> sequence -> {"dice": metric}.

    Source: Dice 1945, Ecology 26:297-302.
    """
    with_mask = overlaps[overlaps["mask"] > 0]
    metrics: dict[str, dict[str, dict[str, Metric]]] = {}
    for (method, sequence), rows in with_mask.groupby(["method", "sequence"], sort=True):
        metrics.setdefault(str(method), {})[str(sequence)] = {"dice": _mean_dice(rows, resamples=resamples, seed=seed)}
    return metrics


def _mean_dice(rows: pd.DataFrame, *, resamples: int, seed: int) -> Metric:
    dice = (2 * rows["both"] / (rows["region"] + rows["mask"])).to_numpy(np.float64)
    patients = rows["PatientID"].to_numpy()
    return measure(patients, lambda drawn: float(dice[drawn].mean()), resamples=resamples, seed=seed)
