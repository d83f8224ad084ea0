"""Compute how well each method's region agrees with the tumour masks, from the tables of the stage `regions`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.evaluation import measures
from tumorprog.evaluation.agreement import limits_of_agreement
from tumorprog.evaluation.measures import Metric

METHODS = ("brightest", "component", "learned")
"""From the paper's to the most capable; each is compared with those before it."""

SIZES_ML = {"under_1_ml": (0.0, 1.0), "1_to_10_ml": (1.0, 10.0), "over_10_ml": (10.0, np.inf)}
"""Classes of volumes: from the first bound on, below the second."""

_SCAN = ["PatientID", "date", "SeriesInstanceUID", "stack"]


def agreement_by_sequence(
    scores: pd.DataFrame, lesions: pd.DataFrame, *, resamples: int, seed: int
) -> dict[str, dict[str, dict[str, Metric]]]:
    """Return how well each method's region agrees with the tumour mask, on each sequence.

    All metrics are means over scans (stacks with a mask), or shares of lesions; their intervals are over patients.

    Args:
        scores: rows of `regions.columns.SCORES`. Distances and lesions are NaN for sequences that are compared by their
            overlap only.
        lesions: rows of `regions.columns.LESIONS`.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        method -> sequence -> metrics: dice, 2 |region and mask| / (|region| + |mask|) over all slices of the scan
        together, so that a region on a slice without tumour lowers it (scans with an empty mask are excluded), and
        dice_over_10_ml, that of scans with at least so large a mask; volume_error_ml, the mean of the region's volume
        minus the mask's, with volume_error_lower_limit_ml and volume_error_upper_limit_ml, the limits of agreement;
        absolute_volume_error_ml; and dice_minus_<method>, the paired difference to each method before it. Where the
        scores have them, also hd95_mm (scans with an empty region or mask are excluded); lesions_found, the share of
        lesions that the region touches, also by their volume; and false_lesions, the number per scan.

    Source: Dice 1945, Ecology 26:297-302.
    """
    bootstrap = {"resamples": resamples, "seed": seed}
    metrics: dict[str, dict[str, dict[str, Metric]]] = {}
    for (method, sequence), rows in scores.groupby(["method", "sequence"], sort=True):
        if not (rows["mask"] > 0).any():
            continue
        of_method = lesions[(lesions["method"] == method) & (lesions["sequence"] == sequence)]
        metrics.setdefault(str(method), {})[str(sequence)] = {
            **_overlap(rows, bootstrap),
            **_volume_errors(rows, bootstrap),
            **(_distances_and_lesions(rows, of_method, bootstrap) if rows["lesions"].notna().any() else {}),
            **_differences(str(method), scores[scores["sequence"] == sequence], bootstrap),
        }
    return metrics


def scored_in_full(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the sequence whose distances and lesions are among the metrics; "" if there is none.

    Args:
        metrics: from `agreement_by_sequence`.
    """
    found = {sequence for by_sequence in metrics.values() for sequence, one in by_sequence.items() if "hd95_mm" in one}
    return min(found, default="")


def dice(scores: pd.DataFrame) -> pd.Series:
    """Return the Dice coefficient of each scan, rows of `regions.columns.SCORES`; NaN if the mask is empty."""
    coefficients = 2 * scores["both"] / (scores["region"] + scores["mask"])
    return coefficients.where(scores["mask"] > 0)


def _overlap(rows: pd.DataFrame, bootstrap: Mapping[str, int]) -> dict[str, Metric]:
    coefficients = dice(rows)
    large = coefficients.where(rows["mask_ml"] >= SIZES_ML["over_10_ml"][0])
    return {
        "dice": _mean(rows, coefficients, bootstrap),
        "dice_over_10_ml": _mean(rows, large, bootstrap, missing="no mask is so large"),
    }


def _volume_errors(rows: pd.DataFrame, bootstrap: Mapping[str, int]) -> dict[str, Metric]:
    known = rows.assign(error=rows["region_ml"] - rows["mask_ml"]).dropna(subset="error")
    missing = "volumes are unknown"
    limits = 2 * (measures.not_measured(known["PatientID"].to_numpy(), missing),)
    if len(known):
        limits = limits_of_agreement(known["PatientID"].to_numpy(), known["error"].to_numpy(np.float64), **bootstrap)
    return {
        "volume_error_ml": _mean(known, known["error"], bootstrap, missing=missing),
        "volume_error_lower_limit_ml": limits[0],
        "volume_error_upper_limit_ml": limits[1],
        "absolute_volume_error_ml": _mean(known, known["error"].abs(), bootstrap, skewed=True, missing=missing),
    }


def _distances_and_lesions(
    rows: pd.DataFrame, lesions: pd.DataFrame, bootstrap: Mapping[str, int]
) -> dict[str, Metric]:
    share = partial(_share_found, bootstrap=bootstrap)
    by_size = {
        f"lesions_found_{name}": share(lesions[(lesions["volume_ml"] >= low) & (lesions["volume_ml"] < high)])
        for name, (low, high) in SIZES_ML.items()
    }
    return {
        "hd95_mm": _mean(rows, rows["hd95_mm"], bootstrap, skewed=True, missing="every region is empty"),
        "lesions_found": share(lesions.dropna(subset="found_ml")),
        **by_size,
        "false_lesions": _mean(rows, rows["false_lesions"], bootstrap, skewed=True),
    }


def _share_found(lesions: pd.DataFrame, bootstrap: Mapping[str, int]) -> Metric:
    patients = lesions["PatientID"].to_numpy()
    if lesions.empty:
        return measures.not_measured(patients, "no lesion has this size")
    return measures.proportion(patients, lesions["found_ml"].to_numpy() > 0, **bootstrap)


def _differences(method: str, scores: pd.DataFrame, bootstrap: Mapping[str, int]) -> dict[str, Metric]:
    """Return the paired differences to the methods before this one, on the scans that both have."""
    by_scan = scores.assign(dice=dice(scores)).pivot_table(index=_SCAN, columns="method", values="dice")
    others = METHODS[: METHODS.index(method)]
    pairs = {other: by_scan[[method, other]].dropna().reset_index() for other in others if other in by_scan}
    return {
        f"dice_minus_{other}": _mean(pair, pair[method] - pair[other], bootstrap, missing="no scan has both")
        for other, pair in pairs.items()
    }


def _mean(
    rows: pd.DataFrame, values: pd.Series, bootstrap: Mapping[str, Any], *, skewed: bool = False, missing: str = ""
) -> Metric:
    """Return the mean of the values that are known.

    Args:
        rows: with the column PatientID.
        values: of the rows, NaN where they are unknown.
        bootstrap: resamples and seed.
        skewed: whether the values are bounded below only.
        missing: the reason if none is known.
    """
    known = values.notna().to_numpy()
    patients, numbers = rows["PatientID"].to_numpy()[known], values.to_numpy(np.float64)[known]
    if not known.any():
        return measures.not_measured(patients, missing)
    return measures.measure(patients, lambda drawn: float(numbers[drawn].mean()), skewed=skewed, **bootstrap)


def by_patient(scores: pd.DataFrame, sequence: str) -> pd.DataFrame:
    """Return the agreement of the methods for each patient, on one sequence that is scored in full.

    Args:
        scores: rows of `regions.columns.SCORES`.
        sequence: from `scored_in_full`.

    Returns:
        A row per patient and method: PatientID, method, scans, and means over the scans with a mask: mask_ml,
        region_ml, dice, hd95_mm; and the numbers of lesions, of lesions_found and of false_lesions. By patient and
        method.
    """
    rows = scores[(scores["sequence"] == sequence) & (scores["mask"] > 0)]
    means = {name: (name, "mean") for name in ("mask_ml", "region_ml", "dice", "hd95_mm")}
    sums = {name: (name, "sum") for name in ("lesions", "lesions_found", "false_lesions")}
    grouped = rows.assign(dice=dice(rows)).groupby(["PatientID", "method"], sort=True)
    found = grouped.agg(**{"scans": ("dice", "size"), **means, **sums}).reset_index()
    return found.astype(dict.fromkeys(sums, int))
