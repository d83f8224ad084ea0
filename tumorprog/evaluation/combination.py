"""Predictions of the series of a patient -> one prediction of the patient."""

import numpy as np
import pandas as pd

LEAST_ERROR_MONTHS = 0.1
"""Three days: what lies below counts as this, or a sequence that was right by luck would drown the others."""

_PATIENT = ["Protocol", "Cohort", "Fold", "PatientID", "date"]


def errors_by_sequence(sequences: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """The mean absolute error of each sequence; of all of them under the name "".

    Args:
        sequences: (N,) of the validation series; N >= 1.
        errors: (N,) months, of either sign.
    """
    absolute = np.abs(errors)
    names = np.asarray(sequences, object)
    each = {str(name): float(absolute[names == name].mean()) for name in np.unique(names)}
    return {**each, "": float(absolute.mean())}


def weights(stacks: pd.DataFrame, errors: dict[str, float]) -> np.ndarray:
    """What the prediction of a stack counts beside those of the same patient's others.

    The better a sequence told the months of the validation patients, the more its series count: inversely to its error.
    The stacks of a series share its weight, or a dynamic one would drown the others.

    Args:
        stacks: (N,) PatientID, date, SeriesInstanceUID and sequence.
        errors: of `errors_by_sequence`; a sequence that is not among them has the mean error.

    Returns:
        (N,) float64 above 0.

    Source: weights inverse to a forecast's error, Bates & Granger 1969, Operational Research Quarterly 20:451-468.
    """
    error = [max(errors.get(name, errors[""]), LEAST_ERROR_MONTHS) for name in stacks["sequence"]]
    shared = stacks.groupby(["PatientID", "date", "SeriesInstanceUID", "sequence"])["sequence"].transform("size")
    return 1 / (np.array(error, np.float64) * shared.to_numpy(np.float64))


def patients(predictions: pd.DataFrame) -> pd.DataFrame:
    """One prediction for each patient, date and fold: the mean over its series by their weights.

    Args:
        predictions: rows of `tables.PROGRESSION_PREDICTIONS`.

    Returns:
        Rows of `tables.PATIENT_PREDICTIONS`, in the order of their first series; Lower and Upper are NaN.
    """
    known = predictions.groupby(_PATIENT, sort=False).agg(days=("days", "first"), MonthDif=("MonthDif", "first"))
    means = weighted_means(predictions, _PATIENT, ["Predicted_Progression_Timeline"])
    return known.join(means).assign(Lower=np.nan, Upper=np.nan).reset_index()


def weighted_means(predictions: pd.DataFrame, keys: list[str], told: list[str]) -> pd.DataFrame:
    """What is predicted for groups of series, combined by their weights.

    Args:
        predictions: a row per series, with the keys, what is told, and Weight.
        keys: columns that make a group.
        told: columns of numbers.

    Returns:
        Indexed by the keys, in the order of their first series: the columns told; Series, how many.
    """
    groups = [predictions[key] for key in keys]
    weighted = predictions[told].mul(predictions["Weight"], axis=0).groupby(groups, sort=False)
    weights_of = predictions["Weight"].groupby(groups, sort=False)
    return weighted.sum().div(weights_of.sum(), axis=0).assign(Series=weights_of.size())
