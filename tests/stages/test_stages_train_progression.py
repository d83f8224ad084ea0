import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tumorprog import fitting, tables
from tumorprog.cohort.timeline import PUBLISHED_DAYS
from tumorprog.errors import LeakError
from tumorprog.evaluation import baselines, combination, metrics
from tumorprog.settings import Progression, Settings, with_values
from tumorprog.stages import folds, train_progression


def learnable(num_patients, *, rising=0, series_each=3):
    rng = np.random.default_rng(0)
    rows = [
        {
            "PatientID": f"P{number}",
            "date": "2000-01-01",
            "Type": f"T{kind}",
            "sequence": f"T{kind}",
            "SeriesInstanceUID": f"{number}.{kind}",
            "stack": 0,
            "volume_ml": 5.0 + number,
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


def test_the_null_control_is_the_cohort_of_all_once_more():
    trials = train_progression.plan(learnable(5, rising=4), seed=0, null_control=True)
    shuffled = [trial for trial in trials if trial.shuffled]
    assert [(trial.protocol, trial.cohort) for trial in shuffled] == [("patient", "all")] * 5 + [("paper", "all")]
    assert len(trials) == 6 + 5 + 6


def test_the_papers_split_of_six_patients_is_48_series_to_learn_from_and_12_to_test():
    series = learnable(6, rising=6, series_each=10)
    assert len(series) == 60
    papers = [trial for trial in train_progression.plan(series, seed=0) if trial.protocol == "paper"]
    assert [trial.cohort for trial in papers] == ["all", "grade_rise"]
    for trial in papers:
        fold = trial.fold
        assert (len(fold.train) + len(fold.validation), len(fold.test)) == (48, 12)
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(60))
        patients = series["PatientID"].to_numpy()
        assert set(patients[fold.test]) & set(patients[fold.train])  # it leaks, as the paper's does


def test_shuffled_months_are_those_of_another_patient():
    series = learnable(6)
    shuffled = train_progression.shuffle_months(series, seed=0)
    for column in ("PatientID", "Type", "vectors"):
        assert shuffled[column].equals(series[column])
    told, given = (table.groupby("PatientID")["days"].agg(["nunique", "first"]) for table in (series, shuffled))
    assert (given["nunique"] == 1).all()
    assert (given["first"] != told["first"]).all()
    assert sorted(given["first"]) == sorted(told["first"])
    np.testing.assert_allclose(shuffled["months"], shuffled["days"] / tables.DAYS_PER_MONTH)


def test_a_cohort_of_rising_grades_holds_those_patients_only():
    series = learnable(6, rising=3)
    for trial in train_progression.plan(series, seed=0):
        if trial.cohort == "grade_rise":
            assert set(series["PatientID"].iloc[trial.rows]) == {"P0", "P1", "P2"}


def test_a_cohort_in_which_nobody_rises_is_left_out_without_failing():
    assert {trial.cohort for trial in train_progression.plan(learnable(4, rising=0), seed=0)} == {"all"}


@pytest.fixture
def trained(monkeypatch):
    """Every model that `train_fold` trains, as it was."""
    models = []

    def fit(*parts, **how):
        model, losses = fitting.fit_progression(*parts, **how)
        models.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return model, losses

    monkeypatch.setattr(train_progression, "fit_progression", fit)
    return models


def test_nothing_of_the_test_patient_reaches_the_training(trained):
    """Its months and its vectors are made wild: weights, scales, losses and baselines stay as they were, bit by bit."""
    series = learnable(6)
    (trial,) = [trial for trial in train_progression.plan(series, seed=0) if trial.fold.name == "P2"]
    settings = Progression(hidden=4, epochs=3)
    told = train_progression.train_fold(series, trial, settings, 0)
    left_out = series["PatientID"] == "P2"
    wild = [1e6 * vectors[::-1] if out else vectors for vectors, out in zip(series["vectors"], left_out, strict=True)]
    months = series["months"].where(~left_out, 999.0)
    other = series.assign(months=months, days=months * tables.DAYS_PER_MONTH, vectors=wild)
    changed = train_progression.train_fold(other, trial, settings, 0)
    before, after = trained
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert told["history"].equals(changed["history"])
    assert told["predictions"]["Weight"].equals(changed["predictions"]["Weight"])
    column = "Predicted_Progression_Timeline"
    blind = told["baselines"]["Baseline"] != "ridge"  # which is told the test patient's vectors, as the model is
    np.testing.assert_array_equal(told["baselines"][blind][column], changed["baselines"][blind][column])
    assert (told["predictions"][column].to_numpy() != changed["predictions"][column].to_numpy()).any()


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


def test_a_training_patient_does_reach_it(trained):
    """Or the test above could not fail."""
    series = learnable(6)
    (trial,) = [trial for trial in train_progression.plan(series, seed=0) if trial.fold.name == "P2"]
    (seen, *_) = series["PatientID"].to_numpy()[trial.rows[trial.fold.train]]
    for told in (series, series.assign(months=series["months"].where(series["PatientID"] != seen, 99.0))):
        train_progression.train_fold(told, trial, Progression(hidden=4, epochs=3), 0)
    before, after = trained
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_a_fold_is_the_same_whenever_and_beside_whatever_it_is_trained():
    series = learnable(5)
    trial, other = train_progression.plan(series, seed=0)[:2]
    settings = Progression(hidden=4, epochs=3)
    first = train_progression.train_fold(series, trial, settings, 0)
    train_progression.train_fold(series, other, settings, 0)
    again = train_progression.train_fold(series, trial, settings, 0)
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, again[name])


def test_on_the_published_intervals_the_projects_own_folds_give_the_published_bar():
    """MAE 4.35 months and median AE 1.7 for the median of the others: SPEC, section 2."""
    days = dict(enumerate(PUBLISHED_DAYS))
    series = learnable(20, series_each=2)
    series = series.assign(days=series["PatientID"].str[1:].astype(int).map(days))
    series = series.assign(MonthDif=series["days"] // 31, months=series["days"] / tables.DAYS_PER_MONTH)
    settings = Progression(hidden=2, epochs=1)
    left_out = [trial for trial in train_progression.plan(series, seed=0) if trial.protocol == "patient"]
    told = pd.concat([train_progression.train_fold(series, trial, settings, 0)["baselines"] for trial in left_out])
    patients = {name: combination.patients(rows) for name, rows in told.groupby("Baseline")}
    judged = {name: metrics.progression_metrics(rows, resamples=10, seed=0) for name, rows in patients.items()}
    assert len(patients["median"]) == 20
    assert judged["median"]["mae"]["value"] == pytest.approx(4.35, abs=0.005)
    assert judged["median"]["median_ae"]["value"] == pytest.approx(1.7, abs=0.05)
    bar = baselines.on_published_intervals()
    for name in ("mean", "median"):
        expected = bar[name].set_index("PatientID")["Predicted_Progression_Timeline"]
        ours = patients[name].assign(number=patients[name]["PatientID"].str[1:].astype(int)).sort_values("number")
        np.testing.assert_allclose(ours["Predicted_Progression_Timeline"], expected)


def test_without_any_mask_there_is_no_baseline_of_volume():
    series = learnable(4)
    trial = train_progression.plan(series, seed=0)[0]
    settings = Progression(hidden=2, epochs=1)
    for volumes, names in ((series["volume_ml"], {"volume"}), (np.nan, set())):
        told = train_progression.train_fold(series.assign(volume_ml=volumes), trial, settings, 0)
        assert set(told["baselines"]["Baseline"]) == {"mean", "median", "ridge"} | names


def test_stacks_come_with_their_slices_in_order(tmp_path):
    vectors = np.arange(6 * tables.VECTOR_LENGTH, dtype=np.float32).reshape(6, -1)
    known = {"PatientID": "A", "date": "d", "Type": "T2", "sequence": "T2"}
    rows = [
        {**known, "SeriesInstanceUID": uid, "stack": stack, "order": order}
        for uid, stack, order in (("1", 0, 1), ("2", 0, 0), ("1", 0, 0), ("2", 0, 1), ("2", 1, 3), ("2", 1, 2))
    ]
    table = tables.pa.Table.from_pylist(
        [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)], tables.FEATURES
    )
    tables.write_shard(tmp_path / "part-00000.parquet", table, tables.FEATURES)
    series = folds.read_series(tmp_path).set_index(["SeriesInstanceUID", "stack"])["vectors"]
    np.testing.assert_array_equal(series["1", 0], vectors[[2, 0]])
    np.testing.assert_array_equal(series["2", 0], vectors[[1, 3]])
    np.testing.assert_array_equal(series["2", 1], vectors[[5, 4]])


def test_a_study_of_two_patients_stops_the_training_until_it_is_allowed(tmp_path):
    row = {field.name: {"string": "", "double": 0.0}.get(str(field.type), 0) for field in tables.CATALOGUE}
    rows = [{**row, "cohort": "progression", "PatientID": f"P{n}", "StudyInstanceUID": "1.2"} for n in range(2)]
    (tmp_path / "catalogue").mkdir()
    table = pa.Table.from_pylist(rows, tables.CATALOGUE)
    tables.write_shard(tmp_path / "catalogue" / "part-00000.parquet", table, tables.CATALOGUE)
    with pytest.raises(LeakError, match=r"1\.2 \(patients P0, P1\).*--cohort\.allow_shared \[study\]"):
        folds.audit(tmp_path, learnable(3), Settings())
    folds.audit(tmp_path, learnable(3), with_values(Settings(), {"cohort.allow_shared": ("study",)}))
    folds.audit(tmp_path, learnable(1), Settings())  # P1 is not learned from
    folds.audit(tmp_path / "none", learnable(3), Settings())
