"""Prediction intervals of months, on the logarithmic scale, and how good they are.

The interval of a patient is its prediction divided and multiplied by a factor, a quantile of the other patients' errors
in models that were trained without both. That patient has no part in these errors, so that the share of intervals which
contain the truth is evidence: an interval from errors of the models under test would contain a fixed share of the
patients whatever the model.

Source: the jackknife of Barber et al. 2021, Annals of Statistics 49:486-507, with leave-two-out residuals; patients as
groups as in Dunn, Wasserman & Ramdas 2023, JASA 118:2491-2502.
"""

import numpy as np
import pandas as pd

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.evaluation.intervals import group_rows

COVERAGE = 0.8
"""Nominal coverage: the share of new patients whose truth the intervals should contain."""

_SHORTEST_MONTHS = 0.25
"""A week: shorter times count as this on the logarithmic scale, which has no zero."""

_MONTHS = "Predicted_Progression_Timeline"


def error_factor(predictions: pd.DataFrame, *, coverage: float = COVERAGE) -> float:
    """Return the factor by which a prediction is divided and multiplied to obtain its interval.

    A patient's error is the mean absolute difference of the logarithms of its rows. The factor is the exponential of
    the ceil(coverage (n + 1))-th smallest error of n patients.

    Args:
        predictions: rows with PatientID, Predicted_Progression_Timeline and days, each from a model that was not
            trained on its patient.
        coverage: nominal coverage, in (0, 1).

    Returns:
        A number of at least 1; NaN where n is too small for the coverage (n < 4 for 0.8).
    """
    predicted, truth = _log_months(predictions[_MONTHS]), _log_months(predictions["days"] / DAYS_PER_MONTH)
    errors = np.abs(predicted - truth)
    by_patient = np.sort([errors[rows].mean() for rows in group_rows(predictions["PatientID"].to_numpy())])
    # 1e-9: floating-point rounding must not turn 0.56 * 25 into rank 15.
    rank = int(np.ceil(coverage * (len(by_patient) + 1) - 1e-9))
    return float(np.exp(by_patient[rank - 1])) if 1 <= rank <= len(by_patient) else float("nan")


def with_intervals(predictions: pd.DataFrame, left_out: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """Return predictions with Lower and Upper.

    Args:
        predictions: rows with PatientID and Predicted_Progression_Timeline.
        left_out: rows with PatientID, Predicted_Progression_Timeline, days and Fold: the two groups of patients, "a+b",
            or the group "a", that the model was not trained on.
        groups: name of the group of each patient; index PatientID.
    """
    factors = {
        patient: error_factor(_errors_without(patient, left_out, groups))
        for patient in predictions["PatientID"].unique()
    }
    return add_bounds(predictions, predictions["PatientID"].map(factors).to_numpy(np.float64))


def _errors_without(patient: str, left_out: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """Return the rows of the other patients from models that were trained neither on them nor on the patient."""
    own = groups[patient]
    folds = left_out["PatientID"].map(groups).map(lambda group: fold_name(own, group))
    return left_out[(left_out["Fold"] == folds) & (left_out["PatientID"] != patient)]


def fold_name(first: str, second: str) -> str:
    """Return the name of the fold that leaves out two groups, or one if they are the same."""
    return "+".join(sorted({first, second}))


def add_bounds(predictions: pd.DataFrame, factor: np.ndarray | float) -> pd.DataFrame:
    """Return predictions with Lower and Upper: the prediction divided and multiplied by a factor.

    A lower bound within the shortest time that the logarithmic scale distinguishes, a week, is 0.

    Args:
        predictions: N rows with Predicted_Progression_Timeline.
        factor: (N,) or one for all; NaN for no interval.
    """
    months = predictions[_MONTHS].clip(lower=_SHORTEST_MONTHS)
    lower = (months / factor).mask(months / factor <= _SHORTEST_MONTHS, 0.0)
    return predictions.assign(Lower=lower, Upper=months * factor)


def constant_interval(months: np.ndarray, *, coverage: float = COVERAGE) -> tuple[float, float]:
    """Return the interval for a new patient from the months of other patients alone, without images.

    Args:
        months: (N,) months, one per patient and date.
        coverage: nominal coverage.

    Returns:
        (lower, upper): the k-th smallest and the k-th largest months, k = floor((1 - coverage) / 2 (N + 1)); NaN where
        k is 0 (N < 9 for 0.8).

    Source: order statistics as a tolerance interval, Wilks 1941, Annals of Mathematical Statistics 12:91-96.
    """
    ordered = np.sort(months)
    rank = int(np.floor((1 - coverage) / 2 * (len(ordered) + 1) + 1e-9))
    return (float(ordered[rank - 1]), float(ordered[-rank])) if rank else (float("nan"), float("nan"))


def interval_scores(
    truth: np.ndarray, lower: np.ndarray, upper: np.ndarray, *, coverage: float = COVERAGE
) -> np.ndarray:
    """Return the interval score of each row, in months: its width, and a penalty if it does not contain the truth.

    Args:
        truth: (N,) months.
        lower: (N,) months.
        upper: (N,) months.
        coverage: nominal coverage.

    Returns:
        (N,), lower is better; NaN without an interval.

    Source: Winkler 1972, JASA 67:187-191; Gneiting & Raftery 2007, JASA 102:359-378.
    """
    penalty = 2 / (1 - coverage)
    missed = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return (upper - lower) + penalty * missed


def _log_months(months: pd.Series) -> np.ndarray:
    return np.log(np.maximum(months.to_numpy(np.float64), _SHORTEST_MONTHS))
