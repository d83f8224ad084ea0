"""Baselines for the models: predictions in the same format, from a training set and a test set.

They are evaluated with the same metrics and the same folds as the models, and never use the truth of the test set.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tumorprog.cohort import splits
from tumorprog.cohort.timeline import PUBLISHED_DAYS
from tumorprog.conventions import DAYS_PER_MONTH, GRADES
from tumorprog.encoders.columns import VECTOR_LENGTH

RIDGE_PENALTY = float(VECTOR_LENGTH)
"""One per standardised feature: there are fewer patients than features, and the rows of a patient are very similar."""

_PROBABILITIES = [f"p{grade}" for grade in GRADES]


def majority(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Predict, for every slice, the frequencies of the grades among the training patients.

    Each patient counts once, regardless of the number of slices. The predicted grade is the most frequent; ties go to
    the lowest.

    Args:
        train: rows of `graders.columns.GRADER_PREDICTIONS`; PatientID and grade are used.
        test: rows of `graders.columns.GRADER_PREDICTIONS`.

    Returns:
        `test` with p2, p3, p4 replaced.
    """
    patients = train.drop_duplicates("PatientID")
    return test.assign(**dict(zip(_PROBABILITIES, _frequencies(patients), strict=True)))


def institution(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Predict, for every slice, the frequencies of the grades among the training patients of its institution.

    This uses the institution but not the image: a grader that is no better may have learned to recognise the scanner.
    For an institution without training patients, the frequencies of all training patients are used.

    Args:
        train: rows of `graders.columns.GRADER_PREDICTIONS`; PatientID, Institution and grade are used.
        test: rows of `graders.columns.GRADER_PREDICTIONS`.

    Returns:
        `test` with p2, p3, p4 replaced.
    """
    patients = train.drop_duplicates(["PatientID", "Institution"])
    by_institution = {name: _frequencies(group) for name, group in patients.groupby("Institution")}
    overall = _frequencies(train.drop_duplicates("PatientID"))
    rows = np.array([by_institution.get(name, overall) for name in test["Institution"]]).reshape(len(test), len(GRADES))
    return test.assign(**dict(zip(_PROBABILITIES, rows.T, strict=True)))


def _frequencies(patients: pd.DataFrame) -> np.ndarray:
    counts = np.array([(patients["grade"] == grade).sum() for grade in GRADES], np.float64)
    return counts / counts.sum()


def mean_months(train_months: np.ndarray, num_test: int) -> np.ndarray:
    """Predict the mean of the training months for all patients.

    In leave-one-patient-out its concordance is 0 rather than 0.5, because holding out a long time lowers the mean of
    the others; evaluate it by its errors instead.

    Args:
        train_months: (N,) months, one per patient and date, so that more series do not have a greater weight.
        num_test: number of predictions.

    Returns:
        (num_test,) float64 months.
    """
    return np.full(num_test, np.mean(train_months), np.float64)


def median_months(train_months: np.ndarray, num_test: int) -> np.ndarray:
    """Predict the median of the training months for all patients; with few patients, the strongest baseline.

    Args:
        train_months: (N,) months, one per patient and date, so that more series do not have a greater weight.
        num_test: number of predictions.

    Returns:
        (num_test,) float64 months.
    """
    return np.full(num_test, np.median(train_months), np.float64)


def ridge_on_mean_features(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray) -> np.ndarray:
    """Predict months by ridge regression on the features of a series, standardised on the training set only.

    Args:
        train_x: (N, F), the mean over the slices of each series.
        train_y: (N,) months.
        test_x: (M, F).

    Returns:
        (M,) float64 months, never below 0.

    Source: Hoerl & Kennard 1970, Technometrics 12:55-67.
    """
    model = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE_PENALTY))
    model.fit(np.asarray(train_x, np.float64), np.asarray(train_y, np.float64))
    return np.maximum(model.predict(np.asarray(test_x, np.float64)), 0.0)


def log_volume(train_ml: np.ndarray, train_months: np.ndarray, test_ml: np.ndarray) -> np.ndarray:
    """Predict months by linear least squares of log(months) on log(1 + volume) of the tumour.

    Patients without a mask are assigned the mean log volume. Predictions are clipped to the range of the training
    months, because an exponential extrapolates to decades.

    Args:
        train_ml: (N,) volume in ml of the tumour, one per patient and date; NaN without a mask.
        train_months: (N,) months above 0.
        test_ml: (M,).

    Returns:
        (M,) float64 months.
    """
    train, test = (np.log1p(np.asarray(volumes, np.float64)) for volumes in (train_ml, test_ml))
    known = np.isfinite(train)
    mean = train[known].mean() if known.any() else 0.0
    train, test = (np.where(np.isfinite(logs), logs - mean, 0.0) for logs in (train, test))
    months = np.log(np.asarray(train_months, np.float64))
    slope = float(train @ months) / max(float(train @ train), 1e-12)
    return np.exp(np.clip(months.mean() + slope * test, months.min(), months.max()))


CONSTANTS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"mean": mean_months, "median": median_months}
"""Baselines that use only the months of the training patients."""


def on_published_intervals() -> dict[str, pd.DataFrame]:
    """Predict the 20 published intervals of the real collection with the constant baselines, leave-one-patient-out.

    Returns:
        For each of `CONSTANTS`, a row per patient: PatientID, days, Predicted_Progression_Timeline, Lower, Upper (NaN).
    """
    days = np.array(PUBLISHED_DAYS)
    months = days / DAYS_PER_MONTH
    names = np.array([f"PGBM-{number:03d}" for number in range(1, len(days) + 1)])
    patients = pd.DataFrame({"PatientID": names, "days": days, "Lower": np.nan, "Upper": np.nan})
    folds = splits.leave_one_patient_out(names, seed=0)
    training_months = [months[np.concatenate([fold.train, fold.validation])] for fold in folds]
    predicted = {name: [constant(train, 1)[0] for train in training_months] for name, constant in CONSTANTS.items()}
    return {name: patients.assign(Predicted_Progression_Timeline=values) for name, values in predicted.items()}
