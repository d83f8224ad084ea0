"""Compute metrics with confidence intervals, per slice, series and patient, from a table of predictions.

Every metric is {value, lower, upper, n}: a 95 % bootstrap interval over patients, and n, the number of rows evaluated
(slices, series or patients by the level; for a recall, the rows of its grade). Undefined values are None rather than
NaN, which JSON does not support.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tumorprog.conventions import DAYS_PER_MONTH, GRADES
from tumorprog.errors import InputError
from tumorprog.evaluation.intervals import NO_INTERVAL, bootstrap, observed_coverage

CALIBRATION_BINS = 15
"""Confidence bins of the expected calibration error, as in Guo et al. 2017."""

Metric: TypeAlias = dict[str, float | int | None]
"""One metric: {value, lower, upper, n}."""

_PROBABILITIES = [f"p{grade}" for grade in GRADES]

_LEVEL_KEYS = {"series": ["side", "PatientID", "SeriesInstanceUID"], "patient": ["side", "PatientID"]}


def grader_levels(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the grader's predictions per slice, per series and per patient.

    The probabilities of a series or patient are the means over its slices. Sides are never mixed: with the paper's
    protocol, a patient has a row for each side that contains its slices. If the slices of a patient have several
    institutions or vendors, the most frequent one is used.

    Args:
        predictions: rows of `graders.columns.GRADER_PREDICTIONS`, a row per slice.

    Returns:
        "slice", "series", "patient": tables with PatientID, Institution, Manufacturer, grade, side, p2, p3, p4 and
        predicted (the most probable grade; ties go to the lower one); slice and series also have SeriesInstanceUID.

    Raises:
        InputError: if a grade is not 2, 3 or 4, or a probability is not a finite number.
    """
    _check_grader_predictions(predictions)
    names = ["PatientID", "SeriesInstanceUID", "Institution", "Manufacturer", "grade", "side", *_PROBABILITIES]
    slices = predictions[names].reset_index(drop=True)
    levels = {"slice": slices, **{name: _averaged(slices, keys) for name, keys in _LEVEL_KEYS.items()}}
    return {name: level.assign(predicted=_most_probable(level)) for name, level in levels.items()}


def most_confident(predictions: pd.DataFrame, *, count: int) -> pd.DataFrame:
    """Return the slices with the most confident predictions, up to half of them incorrect ones.

    Args:
        predictions: rows of `graders.columns.GRADER_PREDICTIONS`.
        count: maximum number of slices.

    Returns:
        Some of the rows, correct ones first, from as many different patients as possible; with the additional columns
        predicted and confidence (the highest probability).
    """
    rows = predictions.assign(predicted=_most_probable(predictions), confidence=predictions[_PROBABILITIES].max(axis=1))
    rows = rows.sort_values(["confidence", "slice"], ascending=[False, True])
    rank_in_patient = rows.groupby(["PatientID", rows["predicted"] == rows["grade"]]).cumcount()
    rows = rows.iloc[np.argsort(rank_in_patient, kind="stable")]  # the first of each patient, then the second, ...
    correct = rows["predicted"] == rows["grade"]
    num_wrong = min(count // 2, int((~correct).sum()))
    return pd.concat([rows[correct].head(count - num_wrong), rows[~correct].head(num_wrong)])


def _check_grader_predictions(predictions: pd.DataFrame) -> None:
    bad_grade = ~predictions["grade"].isin(GRADES).to_numpy()
    undefined = ~np.isfinite(predictions[_PROBABILITIES].to_numpy(np.float64)).all(axis=1)
    for wrong, problem in (
        (bad_grade, "a grade that is not 2, 3 or 4"),
        (undefined, "a probability that is not a finite number"),
    ):
        if wrong.any():
            raise InputError(
                f"predictions of the grader: {int(wrong.sum())} of {len(wrong)} rows have {problem} "
                f"(first: row {int(wrong.argmax())}); run `tumorprog train-grader` again"
            )


def _averaged(slices: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    groups = slices.groupby(keys, sort=True)
    labels = groups[["Institution", "Manufacturer"]].agg(_most_frequent)
    means = groups[_PROBABILITIES].mean()
    return pd.concat([labels, groups["grade"].first(), means], axis=1).reset_index()


def _most_frequent(labels: pd.Series) -> str:
    return str(labels.fillna("").mode().iat[0])


def _most_probable(level: pd.DataFrame) -> np.ndarray:
    return np.array(GRADES)[level[_PROBABILITIES].to_numpy().argmax(axis=1)]


def grader_metrics(level: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Metric]:
    """Compute the metrics of the grader at one level of one side.

    Balanced accuracy is the mean recall of the grades that occur (as in scikit-learn). macro_auc is the mean of the
    one-versus-rest areas under the ROC curve, undefined unless all three grades occur. The interval of a recall is over
    the patients of its grade.

    Args:
        level: a table from `grader_levels`.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        accuracy, balanced_accuracy, recall_2, recall_3, recall_4, macro_auc, expected_calibration_error.

    Source: Hanley & McNeil 1982, Radiology 143:29-36 (the area from ranks); Guo et al. 2017, ICML (expected calibration
    error).
    """
    truth, predicted = level["grade"].to_numpy(), level["predicted"].to_numpy()
    probabilities = level[_PROBABILITIES].to_numpy(np.float64)
    bins, confidence, correct = _calibration(level)
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "accuracy": lambda rows: _mean(correct[rows]),
        "balanced_accuracy": lambda rows: _balanced_accuracy(truth[rows], predicted[rows]),
        "macro_auc": lambda rows: _macro_auc(truth[rows], probabilities[rows]),
        "expected_calibration_error": lambda rows: _calibration_error(bins[rows], confidence[rows], correct[rows]),
    }
    patients = level["PatientID"].to_numpy()
    metrics = {
        name: measure(patients, statistic, resamples=resamples, seed=seed) for name, statistic in statistics.items()
    }
    for grade in GRADES:
        hits = correct[truth == grade]
        metrics[f"recall_{grade}"] = _measure_mean(patients[truth == grade], hits, resamples=resamples, seed=seed)
    return metrics


def grader_metrics_with_baselines(
    levels: Mapping[str, pd.DataFrame], baselines: Mapping[str, pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Compute the metrics of the grader at each level, and of the baselines under the key `baselines`.

    Args:
        levels: from `grader_levels`.
        baselines: by name, rows of `graders.columns.GRADER_PREDICTIONS` for the same slices.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.
    """
    bootstrap_options = {"resamples": resamples, "seed": seed}
    metrics: dict[str, dict[str, Any]] = {
        name: grader_metrics(level, **bootstrap_options) for name, level in levels.items()
    }
    for name, predictions in baselines.items():
        for level, rows in grader_levels(predictions).items():
            metrics[level].setdefault("baselines", {})[name] = grader_metrics(rows, **bootstrap_options)
    return metrics


def by_group(level: pd.DataFrame, column: str, *, resamples: int, seed: int) -> dict[str, dict[str, Metric]]:
    """Compute accuracy and balanced accuracy for each institution or vendor.

    Args:
        level: a table from `grader_levels`.
        column: "Institution" or "Manufacturer"; an empty cell counts as "unknown".
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        For each name, in alphabetical order, the metrics `accuracy` and `balanced_accuracy`.
    """
    groups = level[column].fillna("").replace("", "unknown")
    return {
        str(name): {
            metric: measure(rows["PatientID"].to_numpy(), statistic, resamples=resamples, seed=seed)
            for metric, statistic in _accuracies(rows["grade"].to_numpy(), rows["predicted"].to_numpy()).items()
        }
        for name, rows in level.groupby(groups, sort=True)
    }


def _accuracies(truth: np.ndarray, predicted: np.ndarray) -> dict[str, Callable[[np.ndarray], float]]:
    return {
        "accuracy": lambda rows: _mean(truth[rows] == predicted[rows]),
        "balanced_accuracy": lambda rows: _balanced_accuracy(truth[rows], predicted[rows]),
    }


def reliability_bins(level: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of the grader in each confidence bin.

    Args:
        level: a table from `grader_levels`.

    Returns:
        A row for each of the 15 bins that is not empty: lower and upper (edges), count, confidence and accuracy
        (means). The expected calibration error is the mean of |accuracy - confidence| weighted by count.
    """
    bins, confidence, correct = _calibration(level)
    rows = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": correct.astype(np.float64)})
    groups = rows.groupby("bin", sort=True)
    table = groups.mean().assign(count=groups.size()).reset_index()
    edges = {"lower": table["bin"] / CALIBRATION_BINS, "upper": (table["bin"] + 1) / CALIBRATION_BINS}
    return table.assign(**edges)[["lower", "upper", "count", "confidence", "accuracy"]]


def _calibration(level: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidence = level[_PROBABILITIES].to_numpy(np.float64).max(axis=1, initial=0.0)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    return bins, confidence, level["grade"].to_numpy() == level["predicted"].to_numpy()


def _calibration_error(bins: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> float:
    if not len(bins):
        return float("nan")
    gaps = np.bincount(bins, weights=correct - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(bins))


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    recalls = [np.mean(predicted[truth == grade] == grade) for grade in GRADES if (truth == grade).any()]
    return _mean(np.array(recalls))


def _macro_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    areas = [_auc(truth == grade, probabilities[:, index]) for index, grade in enumerate(GRADES)]
    return float(np.mean(areas))


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    wins = rankdata(score)[positive].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def progression_metrics(level: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Metric]:
    """Compute the metrics of the predicted months to progression, at one level of one protocol and cohort.

    Args:
        level: rows of `PROGRESSION_PREDICTIONS` (series) or of `PATIENT_PREDICTIONS`; the truth is
            `days` / 30.4375 months.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        mae, median_ae and rmse in months, concordance, and coverage: the share of intervals [Lower, Upper] that contain
        the truth.
    """
    truth = level["days"].to_numpy(np.float64) / DAYS_PER_MONTH
    predicted = level["Predicted_Progression_Timeline"].to_numpy(np.float64)
    lower, upper = level["Lower"].to_numpy(np.float64), level["Upper"].to_numpy(np.float64)
    errors = np.abs(predicted - truth)
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "mae": lambda rows: _mean(errors[rows]),
        "median_ae": lambda rows: float(np.median(errors[rows])) if len(rows) else float("nan"),
        "rmse": lambda rows: float(np.sqrt(_mean(errors[rows] ** 2))),
        "concordance": lambda rows: concordance(truth[rows], predicted[rows]),
        "coverage": lambda rows: observed_coverage(truth[rows], lower[rows], upper[rows]),
    }
    patients = level["PatientID"].to_numpy()
    return {
        name: measure(patients, statistic, resamples=resamples, seed=seed) for name, statistic in statistics.items()
    }


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


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _measure_mean(patients: np.ndarray, values: np.ndarray, *, resamples: int, seed: int) -> Metric:
    return measure(patients, lambda rows: _mean(values[rows]), resamples=resamples, seed=seed)


def measure(patients: np.ndarray, statistic: Callable[[np.ndarray], float], *, resamples: int, seed: int) -> Metric:
    """Compute a metric over all rows with its bootstrap interval over patients; undefined values are None."""
    value = statistic(np.arange(len(patients)))
    defined = np.isfinite(value)
    lower, upper = bootstrap(patients, statistic, resamples=resamples, seed=seed) if defined else NO_INTERVAL
    return {"value": _or_none(value), "lower": _or_none(lower), "upper": _or_none(upper), "n": len(patients)}


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
