import numpy as np
import pandas as pd

from tumorprog import tables
from tumorprog.settings import Progression
from tumorprog.stages import train_progression


def learnable(num_patients, *, rising=0, series_each=3):
    rng = np.random.default_rng(0)
    rows = [
        {
            "PatientID": f"P{number}",
            "date": "2000-01-01",
            "Type": f"T{kind}",
            "SeriesInstanceUID": f"{number}.{kind}",
            "vectors": rng.normal(number, 1, (4, tables.VECTOR_LENGTH)).astype(np.float32),
            "PredictedGrade": 4,
            "days": 40 + 30 * number,
            "FirstGrade": 3,
            "LaterGrade": 4 if number < rising else 3,
        }
        for number in range(num_patients)
        for kind in range(series_each)
    ]
    series = pd.DataFrame(rows)
    return series.assign(MonthDif=series["days"] // 31, months=series["days"] / tables.DAYS_PER_MONTH)


def test_the_grid_has_every_protocol_and_cohort():
    trials = train_progression.plan(learnable(5, rising=4), seed=0)
    counts = pd.Series([(trial.protocol, trial.cohort) for trial in trials]).value_counts().to_dict()
    all_patients = {("patient", "all"): 5, ("paper", "all"): 1}
    assert counts == all_patients | {("patient", "grade_rise"): 4, ("paper", "grade_rise"): 1}


def test_a_cohort_of_rising_grades_holds_those_patients_only():
    series = learnable(6, rising=3)
    for trial in train_progression.plan(series, seed=0):
        if trial.cohort == "grade_rise":
            assert set(series["PatientID"].iloc[trial.rows]) == {"P0", "P1", "P2"}


def test_a_cohort_in_which_nobody_rises_is_left_out_without_failing():
    assert {trial.cohort for trial in train_progression.plan(learnable(4, rising=0), seed=0)} == {"all"}


def test_the_target_of_the_patient_left_out_changes_nothing_that_is_predicted_for_it():
    """Whatever the test patient's months are: neither the model nor a baseline may know."""
    series = learnable(4)
    (trial,) = [trial for trial in train_progression.plan(series, seed=0) if trial.fold.name == "P2"]
    settings = Progression(hidden=4, epochs=3)
    told = train_progression.train_fold(series, trial, settings, 0)
    other = series.assign(months=series["months"].where(series["PatientID"] != "P2", 999.0))
    changed = train_progression.train_fold(other, trial, settings, 0)
    for table in ("predictions", "baselines"):
        column = "Predicted_Progression_Timeline"
        np.testing.assert_array_equal(told[table][column], changed[table][column])
        assert set(told[table]["PatientID"]) == {"P2"}


def test_series_come_with_their_slices_in_order(tmp_path):
    vectors = np.arange(4 * tables.VECTOR_LENGTH, dtype=np.float32).reshape(4, -1)
    rows = [
        {"PatientID": "A", "date": "d", "Type": "T2", "sequence": "T2", "SeriesInstanceUID": uid, "order": order}
        for uid, order in (("1", 1), ("2", 0), ("1", 0), ("2", 1))
    ]
    table = tables.pa.Table.from_pylist(
        [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)], tables.FEATURES
    )
    tables.write_shard(tmp_path / "part-00000.parquet", table, tables.FEATURES)
    series = train_progression.read_series(tmp_path).set_index("SeriesInstanceUID")["vectors"]
    np.testing.assert_array_equal(series["1"], vectors[[2, 0]])
    np.testing.assert_array_equal(series["2"], vectors[[1, 3]])
