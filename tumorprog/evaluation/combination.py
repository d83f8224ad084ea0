"""Combine the predictions for the series of a patient into one prediction for the patient."""

import numpy as np
import pandas as pd

MIN_ERROR_MONTHS = 0.1
"""Three days: lower bound of a sequence's error, so that a sequence that is exact by chance does not dominate."""

_PATIENT = ["Protocol", "Cohort", "Fold", "PatientID", "date"]


def errors_by_sequence(sequences: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """Return the mean absolute error for each sequence, and the overall one under the name "".

    Args:
        sequences: (N,) sequence of each validation series; N >= 1.
        errors: (N,) signed errors in months.
    """
    absolute = np.abs(errors)
    names = np.asarray(sequences, object)
    by_sequence = {str(name): float(absolute[names == name].mean()) for name in np.unique(names)}
    return {**by_sequence, "": float(absolute.mean())}


def weights(stacks: pd.DataFrame, errors: dict[str, float]) -> np.ndarray:
    """Return the weight of each stack's prediction among the predictions for the same patient.

    The weight of a series is inversely proportional to the error of its sequence on the validation patients. The stacks
    of a series share its weight, so that a dynamic series does not dominate.

    Args:
        stacks: N rows with PatientID, date, SeriesInstanceUID and sequence.
        errors: from `errors_by_sequence`; a sequence that is not included is assigned the mean error.

    Returns:
        (N,) float64 above 0.

    Source: weights inverse to a forecast's error, Bates & Granger 1969, Operational Research Quarterly 20:451-468.
    """
    error = [max(errors.get(name, errors[""]), MIN_ERROR_MONTHS) for name in stacks["sequence"]]
    num_stacks = stacks.groupby(["PatientID", "date", "SeriesInstanceUID", "sequence"])["sequence"].transform("size")
    return 1 / (np.array(error, np.float64) * num_stacks.to_numpy(np.float64))


def combine_by_patient(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one prediction for each patient, date and fold: the weighted mean over its series.

    Args:
        predictions: rows of `progression.columns.PROGRESSION_PREDICTIONS`.

    Returns:
        Rows of `progression.columns.PATIENT_PREDICTIONS`, in the order of their first series; Lower and Upper are the
        means of those of the series.
    """
    truth = predictions.groupby(_PATIENT, sort=False).agg(days=("days", "first"), MonthDif=("MonthDif", "first"))
    means = weighted_means(predictions, _PATIENT, ["Predicted_Progression_Timeline", "Lower", "Upper"])
    return truth.join(means).reset_index()


def weighted_means(predictions: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
    """Return the weighted means of columns over groups of series.

    Args:
        predictions: a row per series, with the keys, the columns and Weight.
        keys: columns that define a group.
        columns: numeric columns.

    Returns:
        The columns, indexed by the keys in the order of their first series; and Series, the number of series.
    """
    groups = [predictions[key] for key in keys]
    weighted = predictions[columns].mul(predictions["Weight"], axis=0).groupby(groups, sort=False)
    group_weights = predictions["Weight"].groupby(groups, sort=False)
    return weighted.sum(min_count=1).div(group_weights.sum(), axis=0).assign(Series=group_weights.size())
