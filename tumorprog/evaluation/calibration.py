"""Calibration of the grader: does a prediction with a confidence of 80 % turn out to be right in 80 % of the patients?

The slices of a patient are alike, so that patients, not slices, are the sample: with fewer than `MIN_PATIENTS` of them,
nothing is estimated. Even a perfectly calibrated grader has an expected calibration error above 0 in a small sample;
`expected_by_chance` says how large. The error has no interval, because its bootstrap distribution is biased upwards.

Sources: Van Calster et al. 2019, BMC Medicine 17:230 (recalibration and sample size); Roelofs et al. 2022, AISTATS,
Mitigating bias in calibration error estimation (bins of equal mass); Guo et al. 2017, ICML (confidence and expected
calibration error); Bröcker & Smith 2007, Weather and Forecasting 22:651-661 (what chance does to a reliability
diagram).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from tumorprog.conventions import GRADES
from tumorprog.evaluation import measures
from tumorprog.evaluation.intervals import no_interval, wilson
from tumorprog.evaluation.measures import Metric

MIN_PATIENTS = {"slice": 30, "series": 30, "patient": 50}
"""Patients from which calibration is estimated at each level; the patient level has a single row for each."""

_MAX_BINS, _MIN_PATIENTS_OF_BIN = 5, 10
_SIMULATIONS = 1000
_CLIP = 1e-6
"""Distance of a confidence from 0 and 1 at least, so that its logit is finite."""
_NEWTON_STEPS, _CONVERGED, _SINGULAR, _MAX_COEFFICIENT = 50, 1e-7, 1e-12, 50.0
_PROBABILITIES = [f"p{grade}" for grade in GRADES]


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Predictions, each with a weight of 1 / number of rows of its patient.

    Attributes:
        patients: (N,) number of the patient, from 0.
        confidence: (N,) the highest probability.
        correct: (N,) 1.0 where the most probable grade is the true one, else 0.0.
        weights: (N,).
    """

    patients: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    weights: np.ndarray


def _rows(level: pd.DataFrame) -> _Rows:
    _, patients, counts = np.unique(level["PatientID"].to_numpy(), return_inverse=True, return_counts=True)
    return _Rows(
        patients=patients,
        confidence=level[_PROBABILITIES].to_numpy(np.float64).max(axis=1, initial=0.0),
        correct=(level["grade"] == level["predicted"]).to_numpy(np.float64),
        weights=1.0 / counts[patients],
    )


def too_few(level: pd.DataFrame, name: str) -> str:
    """Return why calibration is not estimated at a level, or "".

    Args:
        level: a table from `evaluation.metrics.grader_levels`.
        name: "slice", "series" or "patient".
    """
    return measures.too_few(level["PatientID"].to_numpy(), MIN_PATIENTS[name], f"calibration per {name}")


def reliability_bins(level: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of the grader in bins of confidence with equal numbers of predictions.

    There are as many bins, up to five, as leave at least ten patients in each.

    Args:
        level: a table from `evaluation.metrics.grader_levels`, with at least one row.

    Returns:
        A row per bin in ascending order: count (predictions), patients, confidence and accuracy (means), and lower and
        upper: the Wilson interval of the accuracy, with the patients rather than the predictions as its sample size.
    """
    rows = _rows(level)
    bins = _bins(rows)
    table = pd.DataFrame(
        {"bin": bins, "patient": rows.patients, "confidence": rows.confidence, "accuracy": rows.correct}
    )
    groups = table.groupby("bin")
    means = groups[["confidence", "accuracy"]].mean()
    patients = groups["patient"].nunique()
    ends = [wilson(share * count, count) for share, count in zip(means["accuracy"], patients, strict=True)]
    bounds = {"lower": [end.lower for end in ends], "upper": [end.upper for end in ends]}
    return means.assign(count=groups.size(), patients=patients, **bounds).reset_index(drop=True)


def _bins(rows: _Rows) -> np.ndarray:
    """Return the bin of each row, from 0: equal numbers of rows, at least ten patients each if there are as many."""
    order = np.argsort(rows.confidence, kind="stable")
    for count in range(_MAX_BINS, 1, -1):
        parts = np.array_split(order, count)
        if min(len(np.unique(rows.patients[part])) for part in parts) >= _MIN_PATIENTS_OF_BIN:
            bins = np.empty(len(order), np.int64)
            for number, part in enumerate(parts):
                bins[part] = number
            return bins
    return np.zeros(len(order), np.int64)


def _calibration_error(bins: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> float:
    return float(np.abs(np.bincount(bins, weights=correct - confidence)).sum() / len(bins))


def _expected_by_chance(rows: _Rows, bins: np.ndarray, *, seed: int) -> float:
    """Return the mean error of a grader whose predictions are right with a probability equal to their confidence.

    A patient's predictions share one uniform draw, because they are right or wrong together.
    """
    generator = np.random.default_rng(seed)
    draws = generator.random((_SIMULATIONS, rows.patients.max() + 1))
    simulated = [(draw[rows.patients] < rows.confidence).astype(np.float64) for draw in draws]
    return float(np.mean([_calibration_error(bins, rows.confidence, correct) for correct in simulated]))


def brier(level: pd.DataFrame, *, resamples: int, seed: int) -> Metric:
    """Compute the Brier score: the squared distance of the probabilities from the truth, summed over the grades.

    It lies between 0 and 2; (1/3, 1/3, 1/3) has 0.67. The scores of a patient's rows are averaged first.

    Args:
        level: a table from `evaluation.metrics.grader_levels`.
        resamples: number of bootstrap resamples of the patients.
        seed: of the bootstrap.

    Source: Brier 1950, Monthly Weather Review 78:1-3.
    """
    truth = level["grade"].to_numpy()[:, None] == np.array(GRADES)
    scores = ((level[_PROBABILITIES].to_numpy(np.float64) - truth) ** 2).sum(axis=1)
    by_patient = pd.Series(scores).groupby(level["PatientID"].to_numpy()).mean()
    values = by_patient.to_numpy()
    patients = by_patient.index.to_numpy()
    return measures.measure(patients, lambda rows: float(values[rows].mean()), resamples=resamples, seed=seed)


def recalibration(confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Fit logit P(correct) = intercept + slope logit(confidence) by maximum likelihood.

    A slope below 1 means overconfidence: confidences are too extreme. A perfectly calibrated grader has (0, 1).

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) 1.0 or 0.0.
        weights: (N,) weights of the rows.

    Returns:
        (intercept, slope); NaN where the fit has no finite optimum, for example if all predictions are correct.

    Source: Cox 1958, Biometrika 45:562-565.
    """
    predictor = _logit(confidence)
    found = _fit(np.column_stack([np.ones_like(predictor), predictor]), np.zeros_like(predictor), correct, weights)
    return float(found[0]), float(found[1])


def in_the_large(confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> float:
    """Fit logit P(correct) = intercept + logit(confidence): below 0, the confidences are too high on the whole.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) 1.0 or 0.0.
        weights: (N,) weights of the rows.
    """
    return float(_fit(np.ones((len(confidence), 1)), _logit(confidence), correct, weights)[0])


def _logit(confidence: np.ndarray) -> np.ndarray:
    return logit(np.clip(confidence, _CLIP, 1 - _CLIP))


def _fit(design: np.ndarray, offset: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients of a logistic regression by Newton's method, NaN where it diverges."""
    undefined = np.full(design.shape[1], np.nan)
    coefficients = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        expected = expit(design @ coefficients + offset)
        gradient = design.T @ (weights * (correct - expected))
        hessian = (design.T * (weights * expected * (1 - expected))) @ design
        if abs(np.linalg.det(hessian)) < _SINGULAR:
            return undefined
        step = np.linalg.solve(hessian, gradient)
        coefficients = coefficients + step
        if np.abs(coefficients).max() > _MAX_COEFFICIENT:
            return undefined
        if np.abs(step).max() < _CONVERGED:
            return coefficients
    return undefined


def calibration_metrics(level: pd.DataFrame, name: str, *, resamples: int, seed: int) -> dict[str, Metric]:
    """Compute the calibration of the grader at one level of one side.

    Args:
        level: a table from `evaluation.metrics.grader_levels`.
        name: "slice", "series" or "patient".
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap and of the simulation.

    Returns:
        brier_score, calibration_slope, calibration_intercept, calibration_in_the_large, and without intervals
        expected_calibration_error and expected_by_chance, which a perfectly calibrated grader with these confidences
        would have on average. With too few patients none has a value, and `reason` says why.
    """
    patients = level["PatientID"].to_numpy()
    if reason := too_few(level, name):
        return {name: measures.not_measured(patients, reason) for name in ("brier_score", *_COEFFICIENTS, *_ERRORS)}
    rows = _rows(level)
    bins = _bins(rows)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    errors = _calibration_error(bins, rows.confidence, rows.correct), _expected_by_chance(rows, bins, seed=seed)
    return {
        "brier_score": brier(level, **options),
        **{
            name: measures.measure(patients, _coefficient_of(rows, coefficient), **options)
            for name, coefficient in _COEFFICIENTS.items()
        },
        **{
            name: measures.metric(patients, error, no_interval("a bootstrap interval would be biased upwards"))
            for name, error in zip(_ERRORS, errors, strict=True)
        },
    }


_ERRORS = ("expected_calibration_error", "expected_by_chance")
_Coefficient = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
_COEFFICIENTS: dict[str, _Coefficient] = {
    "calibration_slope": lambda *rows: recalibration(*rows)[1],
    "calibration_intercept": lambda *rows: recalibration(*rows)[0],
    "calibration_in_the_large": in_the_large,
}


def _coefficient_of(rows: _Rows, coefficient: _Coefficient) -> Callable[[np.ndarray], float]:
    return lambda drawn: coefficient(rows.confidence[drawn], rows.correct[drawn], rows.weights[drawn])
