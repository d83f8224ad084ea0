"""Agreement of predicted and true grades as an ordered scale, and the two decisions that it contains, per patient."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.evaluation import measures
from tumorprog.evaluation.measures import Metric

DECISIONS = {"low_versus_high": ("p3", "p4"), "four_versus_lower": ("p4",)}
"""Decisions, with the columns whose sum is the probability of the higher side: 3 or 4 against 2, 4 against 2 or 3."""


def agreement(patients: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Any]:
    """Compute the agreement of the grades per patient.

    A decision is for the higher side where the sum of its probabilities is above one half. Bootstrap resamples have as
    many patients of each grade as the data.

    Args:
        patients: the table "patient" from `evaluation.metrics.grader_levels`.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        weighted_kappa; and for each of `DECISIONS`, balanced_accuracy, sensitivity (of the higher side) and
        specificity.
    """
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    names, truth, predicted = (patients[name].to_numpy() for name in ("PatientID", "grade", "predicted"))
    kappa = measures.measure(names, lambda rows: weighted_kappa(truth[rows], predicted[rows]), strata=truth, **options)
    decisions = {name: _decision(patients, columns, **options) for name, columns in DECISIONS.items()}
    return {"weighted_kappa": kappa, **decisions}


def weighted_kappa(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return Cohen's kappa with quadratic weights: 1 for full agreement, 0 for that of independent grades.

    It is 1 - E[(t - p)^2] / E[(t - p')^2], where p' is the prediction for a random patient.

    Args:
        truth: (N,) grades.
        predicted: (N,) grades.

    Returns:
        At most 1; NaN if all true and predicted grades are the same one.

    Source: Cohen 1968, Psychological Bulletin 70:213-220.
    """
    by_chance = np.var(truth) + np.var(predicted) + (np.mean(truth) - np.mean(predicted)) ** 2
    return float(1 - np.mean((truth - predicted) ** 2) / by_chance) if by_chance > 0 else float("nan")


def _decision(patients: pd.DataFrame, columns: tuple[str, ...], *, resamples: int, seed: int) -> dict[str, Metric]:
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    names, grade = patients["PatientID"].to_numpy(), patients["grade"].to_numpy()
    high = grade >= int(columns[0].removeprefix("p"))
    correct = (patients[list(columns)].sum(axis=1).to_numpy() > 0.5) == high
    return {
        "balanced_accuracy": measures.measure(names, _mean_over_sides(high, correct), strata=grade, **options),
        "sensitivity": measures.proportion(names[high], correct[high], **options),
        "specificity": measures.proportion(names[~high], correct[~high], **options),
    }


def _mean_over_sides(high: np.ndarray, correct: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return a function from rows to the mean of sensitivity and specificity, NaN if a side does not occur."""

    def statistic(rows: np.ndarray) -> float:
        sides = correct[rows][high[rows]], correct[rows][~high[rows]]
        return (measures.mean(sides[0]) + measures.mean(sides[1])) / 2

    return statistic
