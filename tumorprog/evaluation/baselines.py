"""What the models must beat: a training part and a test part -> predictions in the models' own form.

The same metrics judge them, and the same folds run them: nothing here sees the truth of the test part.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tumorprog.cohort import splits
from tumorprog.cohort.timeline import PUBLISHED_DAYS
from tumorprog.tables import DAYS_PER_MONTH, GRADES, VECTOR_LENGTH

RIDGE_PENALTY = float(VECTOR_LENGTH)
"""One per standardised feature: there are fewer patients than features, and rows of one patient are near copies."""

_PROBABILITIES = [f"p{grade}" for grade in GRADES]


def majority(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Gives every slice the frequencies of the grades among the training patients.

    A patient counts once, however many slices it has. The predicted grade is the most frequent, in a tie the lowest.

    Args:
        train: rows of `tables.GRADER_PREDICTIONS`; PatientID and grade are used.
        test: rows of `tables.GRADER_PREDICTIONS`.

    Returns:
        `test` with p2, p3, p4 replaced.
    """
    patients = train.drop_duplicates("PatientID")
    return test.assign(**dict(zip(_PROBABILITIES, _frequencies(patients), strict=True)))


def institution(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Gives every slice the frequencies of the grades among the training patients of its institution.

    It knows the hospital and nothing of the image: a grader that is no better may have learned the scanner. An
    institution that the training part lacks gets the frequencies of all training patients.

    Args:
        train: rows of `tables.GRADER_PREDICTIONS`; PatientID, Institution and grade are used.
        test: rows of `tables.GRADER_PREDICTIONS`.

    Returns:
        `test` with p2, p3, p4 replaced.
    """
    patients = train.drop_duplicates(["PatientID", "Institution"])
    known = {name: _frequencies(part) for name, part in patients.groupby("Institution")}
    overall = _frequencies(train.drop_duplicates("PatientID"))
    rows = np.array([known.get(name, overall) for name in test["Institution"]]).reshape(len(test), len(GRADES))
    return test.assign(**dict(zip(_PROBABILITIES, rows.T, strict=True)))


def _frequencies(patients: pd.DataFrame) -> np.ndarray:
    counts = np.array([(patients["grade"] == grade).sum() for grade in GRADES], np.float64)
    return counts / counts.sum()


def mean_months(train_months: np.ndarray, num_test: int) -> np.ndarray:
    """The mean of the training months for everyone.

    Leaving one patient out in turn, its concordance is 0 and not 0.5: leaving out a long time lowers the mean of the
    others. Judge it by its errors.

    Args:
        train_months: (N,) months, one per patient, so that no patient weighs more for having more series.
        num_test: how many predictions to give.

    Returns:
        (num_test,) float64 months.
    """
    return np.full(num_test, np.mean(train_months), np.float64)


def median_months(train_months: np.ndarray, num_test: int) -> np.ndarray:
    """The median of the training months for everyone; the bar that is hardest to beat on few patients.

    Args:
        train_months: (N,) months, one per patient, so that no patient weighs more for having more series.
        num_test: how many predictions to give.

    Returns:
        (num_test,) float64 months.
    """
    return np.full(num_test, np.median(train_months), np.float64)


def ridge_on_mean_features(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray) -> np.ndarray:
    """Ridge regression on the features of a series, standardised by the training part alone.

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
    """Months by the straight line of their logarithm over that of the tumour's volume, by least squares.

    Who has no mask counts as of the mean logarithm. Predictions stay within the training months: beyond them an
    exponential soon promises decades.

    Args:
        train_ml: (N,) volume of each patient's tumour on the first date; NaN without a mask.
        train_months: (N,) months above 0.
        test_ml: (M,).

    Returns:
        (M,) float64 months.
    """
    train, test = (np.log1p(np.asarray(volumes, np.float64)) for volumes in (train_ml, test_ml))
    known = np.isfinite(train)
    middle = train[known].mean() if known.any() else 0.0
    train, test = (np.where(np.isfinite(side), side - middle, 0.0) for side in (train, test))
    months = np.log(np.asarray(train_months, np.float64))
    slope = float(train @ months) / max(float(train @ train), 1e-12)
    return np.exp(np.clip(months.mean() + slope * test, months.min(), months.max()))


CONSTANTS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"mean": mean_months, "median": median_months}
"""What knows nothing but the months of others."""


def on_published_intervals() -> dict[str, pd.DataFrame]:
    """The bar on the real collection: what the constants make of its 20 intervals, leaving one patient out in turn.

    Returns:
        For each of `CONSTANTS`, a row per patient: PatientID, days, Predicted_Progression_Timeline, Lower, Upper (NaN).
    """
    days = np.array(PUBLISHED_DAYS)
    months = days / DAYS_PER_MONTH
    names = np.array([f"PGBM-{number:03d}" for number in range(1, len(days) + 1)])
    known = pd.DataFrame({"PatientID": names, "days": days, "Lower": np.nan, "Upper": np.nan})
    folds = splits.leave_one_patient_out(names, seed=0)
    others = [months[np.concatenate([fold.train, fold.validation])] for fold in folds]
    predicted = {name: [constant(seen, 1)[0] for seen in others] for name, constant in CONSTANTS.items()}
    return {name: known.assign(Predicted_Progression_Timeline=values) for name, values in predicted.items()}
