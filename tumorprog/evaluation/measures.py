"""A metric with its interval, and the difference of two: the form in which every result is reported.

A metric is {value, lower, upper, n, patients, reason}: a 95 % confidence interval over patients; n, the number of rows
evaluated (slices, series or patients by the level; for a recall, the rows of its grade), and the number of patients
they belong to; and the reason why there is no value or no interval, "" where there are both. What is undefined is None
rather than NaN, which JSON does not support.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from tumorprog.evaluation.intervals import (
    Interval,
    Statistic,
    bootstrap,
    count_of,
    group_rows,
    no_interval,
    wilson,
)

Metric: TypeAlias = dict[str, Any]
"""One metric: {value, lower, upper, n, patients, reason}."""

_ROUNDING = 1e-12

Outcome = Literal["better", "worse", "undecided", "unknown"]
"""What a difference shows: a benefit, a harm, neither with certainty, or that it has no interval."""


def measure(
    patients: np.ndarray,
    statistic: Statistic,
    *,
    resamples: int,
    seed: int,
    strata: np.ndarray | None = None,
    skewed: bool = False,
) -> Metric:
    """Compute a metric over all rows with its bootstrap interval over patients.

    Args:
        patients: (N,) patient of each row.
        statistic: the metric of a selection of rows.
        resamples: as for `intervals.bootstrap`.
        seed: as for `intervals.bootstrap`.
        strata: as for `intervals.bootstrap`.
        skewed: as for `intervals.bootstrap`.
    """
    value = statistic(np.arange(len(patients)))
    if not math.isfinite(value):
        return not_measured(patients, "not defined on these data" if len(patients) else "no patients")
    interval = bootstrap(patients, statistic, resamples=resamples, seed=seed, strata=strata, skewed=skewed)
    return metric(patients, value, interval)


def metric(patients: np.ndarray, value: float, interval: Interval) -> Metric:
    """Return a metric of a value and an interval that were computed.

    Args:
        patients: (N,) patient of each row.
        value: the value; NaN if there is none although a bound is known.
        interval: its interval.
    """
    return {
        "value": _clean(value),
        "lower": _clean(interval.lower),
        "upper": _clean(interval.upper),
        **_counts(patients),
        "reason": interval.reason,
    }


def not_measured(patients: np.ndarray, reason: str) -> Metric:
    """Return a metric without value.

    Args:
        patients: (N,) patient of each row.
        reason: why it has none.
    """
    return {"value": None, "lower": None, "upper": None, **_counts(patients), "reason": reason}


def proportion(patients: np.ndarray, hits: np.ndarray, *, resamples: int, seed: int) -> Metric:
    """Compute a share of rows, with Wilson's interval if there is one row per patient, or else by the bootstrap.

    Where the bootstrap cannot give an interval because all rows of all patients agree, or there are too few patients,
    it is Wilson's for the number of patients: rows of a patient are alike, so they count once.

    Args:
        patients: (N,) patient of each row.
        hits: (N,) bool.
        resamples: number of bootstrap resamples.
        seed: of the bootstrap.
    """
    if not len(hits):
        return not_measured(patients, "no patients")
    share, number = float(np.mean(hits)), len(np.unique(patients))
    interval = no_interval("")
    if number < len(hits):
        interval = bootstrap(patients, lambda rows: float(hits[rows].mean()), resamples=resamples, seed=seed)
    return metric(patients, share, interval if math.isfinite(interval.lower) else wilson(share * number, number))


def difference(
    patients: np.ndarray,
    model: Callable[[np.ndarray], float],
    baseline: Callable[[np.ndarray], float],
    *,
    resamples: int,
    seed: int,
    strata: np.ndarray | None = None,
) -> Metric:
    """Compute the metric of a model minus that of a baseline on the same patients, with its paired interval.

    Args:
        patients: (N,) patient of each row.
        model: the metric of the model on a selection of rows.
        baseline: the same metric of the baseline on the same rows.
        resamples: as for `intervals.bootstrap`.
        seed: as for `intervals.bootstrap`.
        strata: as for `intervals.bootstrap`.
    """
    return measure(
        patients,
        lambda rows: model(rows) - baseline(rows),
        resamples=resamples,
        seed=seed,
        strata=strata,
    )


def outcome(difference: Metric, *, lower_is_better: bool) -> Outcome:
    """Return what a difference (model minus baseline) shows.

    Args:
        difference: the metric from `difference`.
        lower_is_better: whether the compared metric is an error.
    """
    lower, upper = difference["lower"], difference["upper"]
    if lower is None or upper is None:
        return "unknown"
    if lower <= 0 <= upper:
        return "undecided"
    return "better" if (upper < 0) == lower_is_better else "worse"


def too_few(patients: np.ndarray, minimum: int, what: str) -> str:
    """Return the reason for not computing something for fewer patients than the minimum; "" if there are enough."""
    number = len(np.unique(patients))
    return "" if number >= minimum else f"{count_of(number, 'patient')}; {what} needs {minimum}"


def mean(values: np.ndarray) -> float:
    """Return the mean of (N,) values; NaN without any."""
    return float(np.mean(values)) if len(values) else math.nan


def _counts(patients: np.ndarray) -> dict[str, int]:
    return {"n": len(patients), "patients": len(group_rows(patients))}


def _clean(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return 0.0 if abs(value) < _ROUNDING else float(value)
