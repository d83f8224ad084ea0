"""Compute metrics of predicted months with confidence intervals, and compare them with those of baselines."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.evaluation import measures
from tumorprog.evaluation.measures import Metric
from tumorprog.evaluation.prediction_intervals import interval_scores

MIN_RANKED = 10
"""Number of patients below which no concordance is computed."""

_KEYS = ["Protocol", "Cohort", "Fold", "PatientID", "date", "SeriesInstanceUID", "stack"]
_SKEWED = {"mae", "rmse", "interval_score"}
"""Errors, which are bounded below only: their intervals are corrected for skewness."""


def progression_metrics(level: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Metric]:
    """Compute the metrics of the predicted months to progression, at one level of one protocol and cohort.

    Args:
        level: rows of `PROGRESSION_PREDICTIONS` (series) or of `PATIENT_PREDICTIONS` (patients and dates); the truth is
            `days` / 30.4375 months.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        Each over all rows, so that per patient every date of a patient counts: mae, median_ae and rmse in months;
        concordance, for ten patients or more; and of the rows with a prediction interval [Lower, Upper] the coverage
        (share of intervals that contain the truth), the interval_width (median, in months) and the interval_score
        (mean, in months; lower is better).
    """
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    truth, predicted = _months(level), level["Predicted_Progression_Timeline"].to_numpy(np.float64)
    patients, errors = level["PatientID"].to_numpy(), np.abs(predicted - truth)
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "mae": lambda rows: measures.mean(errors[rows]),
        "median_ae": lambda rows: _median(errors[rows]),
        "rmse": lambda rows: float(np.sqrt(measures.mean(errors[rows] ** 2))),
    }
    metrics = {
        name: measures.measure(patients, statistic, skewed=name in _SKEWED, **options)
        for name, statistic in statistics.items()
    }
    few = measures.too_few(patients, MIN_RANKED, "a concordance")
    metrics["concordance"] = (
        measures.not_measured(patients, few)
        if few
        else measures.measure(
            patients,
            lambda rows: concordance(truth[rows], predicted[rows]),
            **options,
        )
    )
    return metrics | _interval_metrics(level, **options)


def _interval_metrics(level: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Metric]:
    rows = level[level["Lower"].notna() & level["Upper"].notna()]
    patients, truth, scores = rows["PatientID"].to_numpy(), _months(rows), _scores(rows)
    if rows.empty:
        missing = measures.not_measured(level["PatientID"].to_numpy(), "no prediction intervals")
        return dict.fromkeys(("coverage", "interval_width", "interval_score"), missing)
    lower, upper = rows["Lower"].to_numpy(np.float64), rows["Upper"].to_numpy(np.float64)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    return {
        "coverage": measures.proportion(patients, (lower <= truth) & (truth <= upper), **options),
        "interval_width": measures.measure(patients, lambda drawn: _median((upper - lower)[drawn]), **options),
        "interval_score": measures.measure(
            patients, lambda drawn: measures.mean(scores[drawn]), skewed=True, **options
        ),
    }


def with_baselines(
    model: pd.DataFrame, baselines: Mapping[str, pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Compute the metrics of a model, and of baselines for the same rows under the key `baselines`.

    Args:
        model: as for `progression_metrics`.
        baselines: by name, the same rows with the baseline's predictions, in any order.
        resamples: as for `progression_metrics`.
        seed: as for `progression_metrics`.

    Returns:
        As `progression_metrics`; each baseline also has `difference`, the mean absolute error of the model minus that
        of the baseline on the same patients, and `interval_score_difference`, likewise.
    """
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    keys = [name for name in _KEYS if name in model.columns]
    ordered = model.sort_values(keys)
    compared = {
        name: {
            **progression_metrics(rows, **options),
            "difference": _difference(ordered, rows.sort_values(keys), _absolute_errors, **options),
            "interval_score_difference": _difference(ordered, rows.sort_values(keys), _scores, **options),
        }
        for name, rows in baselines.items()
    }
    return {**progression_metrics(model, **options), "baselines": compared}


def _difference(
    model: pd.DataFrame,
    baseline: pd.DataFrame,
    values: Callable[[pd.DataFrame], np.ndarray],
    *,
    resamples: int,
    seed: int,
) -> Metric:
    """Return the mean of the model's values minus that of the baseline's, over the rows for which both are defined."""
    own, other = values(model), values(baseline)
    both = np.isfinite(own) & np.isfinite(other)
    patients = model["PatientID"].to_numpy()[both]
    return measures.difference(
        patients,
        lambda rows: measures.mean(own[both][rows]),
        lambda rows: measures.mean(other[both][rows]),
        resamples=resamples,
        seed=seed,
    )


def _absolute_errors(level: pd.DataFrame) -> np.ndarray:
    return np.abs(level["Predicted_Progression_Timeline"].to_numpy(np.float64) - _months(level))


def _scores(level: pd.DataFrame) -> np.ndarray:
    lower, upper = level["Lower"].to_numpy(np.float64), level["Upper"].to_numpy(np.float64)
    return interval_scores(_months(level), lower, upper)


def _months(level: pd.DataFrame) -> np.ndarray:
    return level["days"].to_numpy(np.float64) / DAYS_PER_MONTH


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def concordance(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of pairs with different truths that are predicted in the correct order; ties count half.

    Series of one patient and date have the same truth, so they do not form pairs.

    Args:
        truth: (N,) months.
        predicted: (N,) months.

    Returns:
        A value in [0, 1], 0.5 at chance level; NaN if all truths are equal.

    Source: Harrell et al. 1982, JAMA 247:2543-2546, without censoring.
    """
    later = truth[:, None] > truth[None, :]
    pairs = int(later.sum())
    if not pairs:
        return float("nan")
    order = np.sign(predicted[:, None] - predicted[None, :])[later]
    return float((order.sum() / pairs + 1) / 2)
