"""Summarise repeated trainings: with other seeds, and with the months permuted between patients (null control)."""

from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.evaluation.combination import combine_by_patient


def spread(values: list[float]) -> dict[str, Any]:
    """Return the values of repeated trainings with their mean and standard deviation.

    Args:
        values: one per training, at least one.

    Returns:
        values, mean, and sd (of a sample; None for a single value).
    """
    return {
        "values": values,
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


def permutation_test(observed: float, permuted: list[float], *, lower_is_better: bool) -> dict[str, Any]:
    """Compare a result with those of the same trainings on permuted targets.

    Args:
        observed: the result on the true targets.
        permuted: the results on permuted ones, at least one.
        lower_is_better: whether the result is an error.

    Returns:
        observed, draws (the permuted results), as_good (how many of them are at least as good as the observed one), and
        p = (1 + as_good) / (1 + number of draws).

    Source: Phipson & Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9:39.
    """
    sign = 1 if lower_is_better else -1
    as_good = sum(sign * value <= sign * observed + 1e-12 for value in permuted)
    return {"observed": observed, "draws": permuted, "as_good": as_good, "p": (1 + as_good) / (1 + len(permuted))}


def null_control(rows: pd.DataFrame) -> dict[str, Any]:
    """Compare the model with the mean of the training patients, on true and on permuted months.

    Args:
        rows: rows of `progression.columns.NULL_CONTROL` of one protocol.

    Returns:
        The result of `permutation_test` for the mean absolute error per patient of the model minus that of the mean.
    """
    by_draw = {int(str(draw)): table for draw, table in rows.groupby("Draw")}
    benefit = {draw: _error(table, "model") - _error(table, "mean") for draw, table in by_draw.items()}
    observed = benefit.pop(0)
    return permutation_test(observed, list(benefit.values()), lower_is_better=True)


def error_by_seed(result: pd.DataFrame, seeds: pd.DataFrame) -> dict[str, Any]:
    """Return the mean absolute error per patient of each seed, and its spread.

    Args:
        result: rows of `progression.columns.PROGRESSION_PREDICTIONS` of one protocol and cohort: the first seed.
        seeds: rows of `progression.columns.SEEDS` of the same: the others.
    """
    others = [mean_absolute_error(rows) for _, rows in seeds.groupby("Seed")]
    return spread([mean_absolute_error(result), *others])


def mean_absolute_error(series: pd.DataFrame) -> float:
    """Return the mean absolute error, in months, of the patients' combined predictions."""
    patients = combine_by_patient(series)
    return float((patients["Predicted_Progression_Timeline"] - patients["days"] / DAYS_PER_MONTH).abs().mean())


def _error(table: pd.DataFrame, model: str) -> float:
    return mean_absolute_error(table[table["Model"] == model])
