"""What the models must beat: a training part and a test part -> predictions in the models' own form.

The same metrics judge them, and the same folds run them: nothing here sees the truth of the test part.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tumorprog.tables import GRADES, VECTOR_LENGTH

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
