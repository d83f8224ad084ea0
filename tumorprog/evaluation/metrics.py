"""Compute metrics of the grader with confidence intervals, per slice, series and patient, from its predictions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tumorprog.conventions import GRADES
from tumorprog.errors import InputError
from tumorprog.evaluation import intervals, measures
from tumorprog.evaluation.measures import Metric

MIN_RANKED = 10
"""Number of patients below which no area under the ROC curve is computed."""

_PROBABILITIES = [f"p{grade}" for grade in GRADES]

_LEVEL_KEYS = {"series": ["side", "PatientID", "SeriesInstanceUID"], "patient": ["side", "PatientID"]}


def grader_levels(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the grader's predictions per slice, per series and per patient.

    The probabilities of a series or patient are the means over its slices. Sides are never mixed: with the paper's
    protocol, a patient has a row for each side that contains its slices. If the slices of a patient have several
    institutions or vendors, the most frequent one is used.

    Args:
        predictions: rows of `graders.columns.GRADER_PREDICTIONS` or `FOLD_PREDICTIONS`, a row per slice.

    Returns:
        "slice", "series", "patient": tables with PatientID, Institution, Manufacturer, fold (if the predictions have
        it), grade, side, p2, p3, p4 and predicted (the most probable grade; ties go to the lower one), sorted by slice,
        series and patient; slice and series also have SeriesInstanceUID.

    Raises:
        InputError: if a grade is not 2, 3 or 4, or a probability is not a finite number.
    """
    _check_grader_predictions(predictions)
    names = ["PatientID", "SeriesInstanceUID", *_labels(predictions), "grade", "side", *_PROBABILITIES]
    slices = predictions.sort_values("slice")[names].reset_index(drop=True)
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
    labels = groups[_labels(slices)].agg(_most_frequent)
    means = groups[_PROBABILITIES].mean()
    return pd.concat([labels, groups["grade"].first(), means], axis=1).reset_index()


def _labels(predictions: pd.DataFrame) -> list[str]:
    return [name for name in ("Institution", "Manufacturer", "fold") if name in predictions.columns]


def _most_frequent(labels: pd.Series) -> str:
    return str(labels.fillna("").mode().iat[0])


def _most_probable(level: pd.DataFrame) -> np.ndarray:
    return np.array(GRADES)[level[_PROBABILITIES].to_numpy().argmax(axis=1)]


def grader_metrics(level: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Metric]:
    """Compute the metrics of the grader at one level of one side.

    Balanced accuracy is the mean recall of the grades that occur (as in scikit-learn). Where each patient has one row,
    its interval is combined from Wilson's intervals of the recalls; otherwise it is over resamples with as many
    patients of each grade as the data. A constant prediction has none. macro_auc is the mean of the one-versus-rest
    areas under the ROC curve, defined for ten patients or more with all three grades. Shares have Wilson's interval
    where each patient has one row.

    Args:
        level: a table from `grader_levels`.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        accuracy, balanced_accuracy, macro_auc, recall_2, recall_3, recall_4.

    Source: Hanley & McNeil 1982, Radiology 143:29-36 (the area from ranks).
    """
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    patients, truth = level["PatientID"].to_numpy(), level["grade"].to_numpy()
    correct = truth == level["predicted"].to_numpy()
    metrics = {
        "accuracy": measures.proportion(patients, correct, **options),
        "balanced_accuracy": _measure_balanced_accuracy(level, **options),
        "macro_auc": _measure_auc(level, **options),
    }
    for grade in GRADES:
        own = truth == grade
        recall = measures.proportion(patients[own], correct[own], **options)
        metrics[f"recall_{grade}"] = recall if own.any() else {**recall, "reason": f"no patient of grade {grade}"}
    return metrics


def _measure_balanced_accuracy(level: pd.DataFrame, *, resamples: int, seed: int) -> Metric:
    patients, truth = level["PatientID"].to_numpy(), level["grade"].to_numpy()
    number = len(np.unique(patients))
    if number < len(patients) or number < intervals.MIN_PATIENTS or level["predicted"].nunique() < 2:
        return measures.measure(patients, BalancedAccuracy(level), resamples=resamples, seed=seed, strata=truth)
    correct = pd.Series(truth == level["predicted"].to_numpy()).groupby(truth)
    hits, counts = correct.sum().to_numpy(), correct.size().to_numpy()
    value = float((hits / counts).mean())
    return measures.metric(patients, value, intervals.mean_of_proportions(hits, counts))


def _measure_auc(level: pd.DataFrame, *, resamples: int, seed: int) -> Metric:
    patients, truth = level["PatientID"].to_numpy(), level["grade"].to_numpy()
    probabilities = level[_PROBABILITIES].to_numpy(np.float64)
    reason = _absent(level) or measures.too_few(patients, MIN_RANKED, "an AUC")
    if reason:
        return measures.not_measured(patients, reason)
    if (probabilities == probabilities[0]).all():
        return measures.metric(patients, 0.5, intervals.no_interval("the same prediction for all"))
    return measures.measure(
        patients,
        lambda rows: _macro_auc(truth[rows], probabilities[rows]),
        resamples=resamples,
        seed=seed,
        strata=truth,
    )


def _absent(level: pd.DataFrame) -> str:
    """Return which grades no patient has, as a reason; "" if all occur."""
    absent = [str(grade) for grade in GRADES if not (level["grade"] == grade).any()]
    return f"no patient of grade {' and '.join(absent)}" if absent else ""


class BalancedAccuracy:
    """The mean recall of the grades that occur in a selection of the rows of a level."""

    def __init__(self, level: pd.DataFrame) -> None:
        """Take the grades of a table from `grader_levels`."""
        self._truth = level["grade"].to_numpy() - GRADES[0]
        self._correct = level["grade"].to_numpy() == level["predicted"].to_numpy()

    def __call__(self, rows: np.ndarray) -> float:
        """Return the balanced accuracy of (M,) rows; NaN without rows."""
        truth = self._truth[rows]
        counts = np.bincount(truth, minlength=len(GRADES))
        hits = np.bincount(truth, weights=self._correct[rows], minlength=len(GRADES))
        return measures.mean(hits[counts > 0] / counts[counts > 0])


def grader_metrics_with_baselines(
    levels: Mapping[str, pd.DataFrame], baselines: Mapping[str, pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Compute the metrics of the grader at each level, and of the baselines under the key `baselines`.

    Args:
        levels: from `grader_levels`.
        baselines: by name, rows of `graders.columns.GRADER_PREDICTIONS` for the same slices.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        Level -> metric; and `baselines` -> name -> metric, with `difference`: the balanced accuracy of the grader minus
        that of the baseline on the same patients.
    """
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    metrics: dict[str, dict[str, Any]] = {name: grader_metrics(level, **options) for name, level in levels.items()}
    for name, predictions in baselines.items():
        for level, rows in grader_levels(predictions).items():
            baseline = grader_metrics(rows, **options)
            difference = _difference(levels[level], rows, **options)
            if difference["value"] is not None and rows["predicted"].nunique() == 1:
                difference = _shifted(metrics[level]["balanced_accuracy"], baseline["balanced_accuracy"])
            metrics[level].setdefault("baselines", {})[name] = {**baseline, "difference": difference}
    return metrics


def _difference(model: pd.DataFrame, baseline: pd.DataFrame, *, resamples: int, seed: int) -> Metric:
    absent = _absent(model)
    if absent and len(model):
        return measures.not_measured(model["PatientID"].to_numpy(), f"{absent}: chance is not that of three grades")
    return measures.difference(
        model["PatientID"].to_numpy(),
        BalancedAccuracy(model),
        BalancedAccuracy(baseline),
        resamples=resamples,
        seed=seed,
        strata=model["grade"].to_numpy(),
    )


def _shifted(model: Metric, constant: Metric) -> Metric:
    """Return the difference to a constant, whose balanced accuracy is the same for all patients of these grades."""
    if model["value"] is None or constant["value"] is None:
        return model
    bounds = {end: None if model[end] is None else model[end] - constant["value"] for end in ("lower", "upper")}
    return {**model, "value": model["value"] - constant["value"], **bounds}


def by_group(level: pd.DataFrame, column: str, *, resamples: int, seed: int) -> dict[str, dict[str, Metric]]:
    """Compute accuracy and balanced accuracy for each institution, vendor or fold.

    Args:
        level: a table from `grader_levels`.
        column: "Institution", "Manufacturer" or "fold"; an empty cell counts as "unknown".
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        For each name, in alphabetical order, the metrics `accuracy` and `balanced_accuracy`, without a value for fewer
        than five patients.
    """
    groups = group_names(level, column)
    return {
        str(name): _group_metrics(rows, resamples=resamples, seed=seed)
        for name, rows in level.groupby(groups, sort=True)
    }


def group_names(level: pd.DataFrame, column: str) -> pd.Series:
    """Return the name of the group of each row, "unknown" for an empty cell, as `by_group` uses it."""
    return level[column].fillna("").astype(str).replace("", "unknown")


def _group_metrics(rows: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Metric]:
    patients = rows["PatientID"].to_numpy()
    if reason := measures.too_few(patients, intervals.MIN_PATIENTS, "a subgroup"):
        return dict.fromkeys(("accuracy", "balanced_accuracy"), measures.not_measured(patients, reason))
    metrics = grader_metrics(rows, resamples=resamples, seed=seed)
    return {name: metrics[name] for name in ("accuracy", "balanced_accuracy")}


def _macro_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    areas = [_auc(truth == grade, probabilities[:, index]) for index, grade in enumerate(GRADES)]
    return float(np.mean(areas))


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    wins = rankdata(score)[positive].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))
