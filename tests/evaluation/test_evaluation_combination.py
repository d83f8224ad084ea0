import numpy as np
import pandas as pd
import pytest

from tumorprog.evaluation import combination
from tumorprog.progression.columns import PATIENT_PREDICTIONS


def series(*rows):
    """Rows of (patient, date, predicted, weight)."""
    frame = pd.DataFrame(rows, columns=["PatientID", "date", "Predicted_Progression_Timeline", "Weight"])
    known = {"Protocol": "patient", "Cohort": "all", "Fold": frame["PatientID"], "Type": "T2", "days": 90}
    return frame.assign(**known, MonthDif=2, Lower=np.nan, Upper=np.nan)


def test_the_prediction_for_a_patient_is_the_weighted_mean_over_its_series():
    rows = series(("B", "d", 2.0, 1.0), ("B", "d", 8.0, 3.0), ("A", "d", 5.0, 0.1), ("A", "e", 7.0, 2.0))
    found = combination.combine_by_patient(rows)
    assert set(PATIENT_PREDICTIONS) == set(found.columns)
    assert found[["PatientID", "date", "Predicted_Progression_Timeline", "Series"]].to_numpy().tolist() == [
        ["B", "d", pytest.approx(np.average([2.0, 8.0], weights=[1, 3])), 2],
        ["A", "d", 5.0, 1],
        ["A", "e", 7.0, 1],
    ]
    assert (found["days"] == 90).all()
    assert found[["Lower", "Upper"]].isna().all(axis=None)


def test_predictions_are_combined_separately_for_each_protocol_and_cohort():
    rows = series(("A", "d", 2.0, 1.0), ("A", "d", 8.0, 1.0))
    both = pd.concat([rows, rows.assign(Protocol="paper", Predicted_Progression_Timeline=1.0)])
    assert combination.combine_by_patient(both)["Predicted_Progression_Timeline"].tolist() == [5.0, 1.0]


def test_weights_are_the_inverse_of_the_validation_error_of_the_sequence():
    errors = combination.errors_by_sequence(np.array(["T2", "T2", "ADC"]), np.array([-1.0, 3.0, 0.5]))
    assert errors == {"T2": 2.0, "ADC": 0.5, "": 1.5}
    assert combination.weights(stacks("ADC", "T2", "FLAIR"), errors).tolist() == pytest.approx([2, 1 / 2, 2 / 3])


def stacks(*sequences, series=None):
    """Return one stack per sequence, each in a separate series unless given."""
    known = {"PatientID": "P", "date": "d", "SeriesInstanceUID": series or [f"1.{n}" for n in range(len(sequences))]}
    return pd.DataFrame({**known, "sequence": sequences})


def test_the_stacks_of_a_series_share_its_weight():
    errors = {"T1post": 1.0, "T2": 1.0, "": 1.0}
    found = combination.weights(stacks("T2", *["T1post"] * 4, series=["1.1", *["1.2"] * 4]), errors)
    assert found.tolist() == pytest.approx([1, *[1 / 4] * 4])


def test_a_sequence_without_error_does_not_dominate():
    errors = combination.errors_by_sequence(np.array(["T2", "ADC"]), np.array([0.0, 1.0]))
    assert combination.weights(stacks("T2", "ADC"), errors).tolist() == pytest.approx([10.0, 1.0])
