import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tumorprog import tables
from tumorprog.cohort.timeline import PUBLISHED_DAYS
from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.encoders.columns import FEATURES, VECTOR_LENGTH
from tumorprog.errors import LeakError
from tumorprog.evaluation import baselines, combination, progression
from tumorprog.formats.columns import CATALOGUE
from tumorprog.heads import fitting
from tumorprog.heads.settings import Progression
from tumorprog.progression import months
from tumorprog.progression.folds import audit
from tumorprog.progression.months import (
    interval_groups,
    interval_trials,
    plan,
    shuffle_months,
    train_fold,
    with_intervals,
)
from tumorprog.progression.series import read_series
from tumorprog.settings import Settings, with_values


def build_series(num_patients, *, rising=0, series_each=3):
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
            "vectors": rng.normal(number, 1, (4, VECTOR_LENGTH)).astype(np.float32),
            "PredictedGrade": 4,
            "days": 40 + 30 * number,
            "FirstGrade": 3,
            "LaterGrade": 4 if number < rising else 3,
        }
        for number in range(num_patients)
        for kind in range(series_each)
    ]
    series = pd.DataFrame(rows)
    return series.assign(MonthDif=series["days"] // 31, months=series["days"] / DAYS_PER_MONTH)


def grid(series, **settings):
    """Return the trials of the grid."""
    return [trial for trial in plan(series, Progression(**settings), seed=0) if trial.purpose == "result"]


def test_the_grid_contains_every_protocol_and_cohort():
    trials = grid(build_series(5, rising=4))
    counts = pd.Series([(trial.protocol, trial.cohort) for trial in trials]).value_counts().to_dict()
    all_patients = {("patient", "all"): 5, ("paper", "all"): 1}
    assert counts == all_patients | {("patient", "grade_rise"): 4, ("paper", "grade_rise"): 1}


def test_the_null_control_has_the_same_folds_for_the_true_months_and_each_permutation():
    trials = plan(build_series(7), Progression(null_draws=3), seed=0)
    null = [trial for trial in trials if trial.purpose == "null"]
    by_draw = {draw: [trial for trial in null if trial.repeat == draw] for draw in range(4)}
    assert sum(map(len, by_draw.values())) == len(null) == 4 * 6
    for trial, shuffled in zip(by_draw[0], by_draw[3], strict=True):
        assert trial.protocol == shuffled.protocol
        np.testing.assert_array_equal(trial.fold.test, shuffled.fold.test)
    tested = np.concatenate([trial.fold.test for trial in by_draw[1] if trial.protocol == "patient"])
    assert sorted(tested) == list(range(21))
    assert not [t for t in plan(build_series(7), Progression(null_control=False), seed=0) if t.purpose == "null"]


def test_only_the_permutations_have_other_months():
    series = build_series(6)
    fitted = {}
    for trial in plan(series, Progression(null_draws=2), seed=0):
        if trial.purpose == "null" and trial.protocol == "paper":
            result = train_fold(series, trial, Progression(hidden=2, epochs=1), 0)
            fitted[trial.repeat] = result["predictions"].set_index(["PatientID", "Type"])["days"]
    truth = series.set_index(["PatientID", "Type"])["days"]
    assert fitted[0].equals(truth.loc[fitted[0].index])
    assert not fitted[1].equals(truth.loc[fitted[1].index])
    assert not fitted[1].equals(fitted[2])


def test_other_seeds_repeat_the_folds_by_patient():
    trials = [trial for trial in plan(build_series(5), Progression(seeds=3), seed=0) if trial.purpose == "seed"]
    assert [(trial.repeat, trial.fold.name) for trial in trials] == [(n, f"P{p}") for n in (1, 2) for p in range(5)]
    series, settings = build_series(5), Progression(hidden=4, epochs=3)
    first, second = (
        train_fold(series, trial, settings, 0)["predictions"]["Predicted_Progression_Timeline"]
        for trial in (trials[0], trials[5])
    )
    assert (first.to_numpy() != second.to_numpy()).all()


def test_the_trials_for_intervals_leave_out_every_pair_of_patients():
    series = build_series(6)
    trials = interval_trials(series, seed=0)
    held_out = [frozenset(series["PatientID"].iloc[trial.fold.test]) for trial in trials]
    assert len(held_out) == len(set(held_out)) == 15
    assert all(len(pair) == 2 for pair in held_out)
    for trial in trials:
        fold = trial.fold
        used = series["PatientID"].iloc[np.concatenate([fold.train, fold.validation])]
        assert not set(used) & set(series["PatientID"].iloc[fold.test])


def test_many_patients_are_left_out_in_pairs_of_ten_groups():
    trials = interval_trials(build_series(23), seed=0)
    assert len(trials) == 55
    assert {len(trial.fold.test) // 3 for trial in trials} <= {2, 3, 4, 5, 6}


def test_three_patients_have_no_intervals_and_no_trials_for_them():
    assert interval_trials(build_series(3), seed=0) == []


def test_the_intervals_of_a_small_cohort_are_filled_for_the_patient_protocol_only():
    series, settings = build_series(6, rising=4), Progression(hidden=2, epochs=1, null_control=False)
    trials = plan(series, settings, seed=0)
    results = [train_fold(series, trial, settings, 0)["predictions"] for trial in trials]
    tables = {
        purpose: pd.concat([r for r, trial in zip(results, trials, strict=True) if trial.purpose == purpose])
        for purpose in ("result", "interval")
    }
    left_out = tables["interval"].assign(Group=tables["interval"]["PatientID"].map(interval_groups(series, seed=0)))
    filled = with_intervals(tables["result"].reset_index(drop=True), left_out)
    judged = (filled["Protocol"] == "patient") & (filled["Cohort"] == "all")
    assert filled.loc[judged, ["Lower", "Upper"]].notna().all(axis=None)
    assert filled.loc[~judged, ["Lower", "Upper"]].isna().all(axis=None)
    assert (filled.loc[judged, "Lower"] < filled.loc[judged, "Upper"]).all()


def test_the_papers_split_of_six_patients_has_48_training_and_12_test_series():
    series = build_series(6, rising=6, series_each=10)
    assert len(series) == 60
    paper_trials = [trial for trial in grid(series) if trial.protocol == "paper"]
    assert [trial.cohort for trial in paper_trials] == ["all", "grade_rise"]
    for trial in paper_trials:
        fold = trial.fold
        assert (len(fold.train) + len(fold.validation), len(fold.test)) == (48, 12)
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(60))
        patients = series["PatientID"].to_numpy()
        assert set(patients[fold.test]) & set(patients[fold.train])  # the same leakage as in the paper


def test_shuffling_gives_each_patient_the_months_of_another():
    series = build_series(6)
    shuffled = shuffle_months(series, seed=0)
    for column in ("PatientID", "Type", "vectors"):
        assert shuffled[column].equals(series[column])
    original, permuted = (table.groupby("PatientID")["days"].agg(["nunique", "first"]) for table in (series, shuffled))
    assert (permuted["nunique"] == 1).all()
    assert (permuted["first"] != original["first"]).all()
    assert sorted(permuted["first"]) == sorted(original["first"])
    np.testing.assert_allclose(shuffled["months"], shuffled["days"] / DAYS_PER_MONTH)


def test_the_grade_rise_cohort_contains_only_patients_whose_grade_rises():
    series = build_series(6, rising=3)
    for trial in grid(series):
        if trial.cohort == "grade_rise":
            assert set(series["PatientID"].iloc[trial.rows]) == {"P0", "P1", "P2"}


def test_an_empty_grade_rise_cohort_is_omitted_without_an_error():
    assert {trial.cohort for trial in grid(build_series(4, rising=0))} == {"all"}


@pytest.fixture
def trained(monkeypatch):
    """Copies of the weights of every model that `train_fold` trains."""
    models = []

    def fit(*parts, **options):
        model, losses = fitting.fit_progression(*parts, **options)
        models.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return model, losses

    monkeypatch.setattr(months, "fit_progression", fit)
    return models


def test_nothing_of_the_test_patient_affects_the_training(trained):
    """Changing its months and vectors drastically leaves weights, scales, losses and baselines bitwise identical."""
    series = build_series(6)
    (trial,) = [trial for trial in grid(series) if trial.fold.name == "P2"]
    settings = Progression(hidden=4, epochs=3)
    original = train_fold(series, trial, settings, 0)
    left_out = series["PatientID"] == "P2"
    extreme = [
        1e6 * vectors[::-1] if out else vectors for vectors, out in zip(series["vectors"], left_out, strict=True)
    ]
    months = series["months"].where(~left_out, 999.0)
    other = series.assign(months=months, days=months * DAYS_PER_MONTH, vectors=extreme)
    changed = train_fold(other, trial, settings, 0)
    before, after = trained
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert original["history"].equals(changed["history"])
    assert original["predictions"]["Weight"].equals(changed["predictions"]["Weight"])
    column = "Predicted_Progression_Timeline"
    without_vectors = (
        original["baselines"]["Baseline"] != "ridge"
    )  # ridge uses the test patient's vectors, like the model
    np.testing.assert_array_equal(
        original["baselines"][without_vectors][column], changed["baselines"][without_vectors][column]
    )
    assert (original["predictions"][column].to_numpy() != changed["predictions"][column].to_numpy()).any()


def test_the_target_of_the_held_out_patient_does_not_affect_its_predictions():
    """Neither the model nor any baseline may use the test patient's months."""
    series = build_series(4)
    (trial,) = [trial for trial in grid(series) if trial.fold.name == "P2"]
    settings = Progression(hidden=4, epochs=3)
    original = train_fold(series, trial, settings, 0)
    other = series.assign(months=series["months"].where(series["PatientID"] != "P2", 999.0))
    changed = train_fold(other, trial, settings, 0)
    for table in ("predictions", "baselines"):
        column = "Predicted_Progression_Timeline"
        np.testing.assert_array_equal(original[table][column], changed[table][column])
        assert set(original[table]["PatientID"]) == {"P2"}


def test_a_training_patient_does_affect_the_training(trained):
    """This shows that the tests above could fail."""
    series = build_series(6)
    (trial,) = [trial for trial in grid(series) if trial.fold.name == "P2"]
    (training_patient, *_) = series["PatientID"].to_numpy()[trial.rows[trial.fold.train]]
    changed = series.assign(months=series["months"].where(series["PatientID"] != training_patient, 99.0))
    for table in (series, changed):
        train_fold(table, trial, Progression(hidden=4, epochs=3), 0)
    before, after = trained
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_a_fold_gives_the_same_result_regardless_of_other_trainings():
    series = build_series(5)
    trial, other = grid(series)[:2]
    settings = Progression(hidden=4, epochs=3)
    first = train_fold(series, trial, settings, 0)
    train_fold(series, other, settings, 0)
    again = train_fold(series, trial, settings, 0)
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, again[name])


def test_on_the_published_intervals_the_projects_own_folds_give_the_published_baseline():
    """MAE 4.35 months and median AE 1.7 for the median of the other patients: SPEC, section 2."""
    days = dict(enumerate(PUBLISHED_DAYS))
    series = build_series(20, series_each=2)
    series = series.assign(days=series["PatientID"].str[1:].astype(int).map(days))
    series = series.assign(MonthDif=series["days"] // 31, months=series["days"] / DAYS_PER_MONTH)
    settings = Progression(hidden=2, epochs=1)
    left_out = [trial for trial in grid(series) if trial.protocol == "patient"]
    predicted = pd.concat([train_fold(series, trial, settings, 0)["baselines"] for trial in left_out])
    patients = {name: combination.combine_by_patient(rows) for name, rows in predicted.groupby("Baseline")}
    evaluated = {name: progression.progression_metrics(rows, resamples=10, seed=0) for name, rows in patients.items()}
    assert len(patients["median"]) == 20
    assert evaluated["median"]["mae"]["value"] == pytest.approx(4.35, abs=0.005)
    assert evaluated["median"]["median_ae"]["value"] == pytest.approx(1.7, abs=0.05)
    published = baselines.on_published_intervals()
    for name in ("mean", "median"):
        expected = published[name].set_index("PatientID")["Predicted_Progression_Timeline"]
        own = patients[name].assign(number=patients[name]["PatientID"].str[1:].astype(int)).sort_values("number")
        np.testing.assert_allclose(own["Predicted_Progression_Timeline"], expected)


def test_the_volume_baseline_requires_a_mask():
    series = build_series(4)
    trial = grid(series)[0]
    settings = Progression(hidden=2, epochs=1)
    for volumes, names in ((series["volume_ml"], {"volume"}), (np.nan, set())):
        result = train_fold(series.assign(volume_ml=volumes), trial, settings, 0)
        assert set(result["baselines"]["Baseline"]) == {"mean", "median", "ridge"} | names


def test_read_series_returns_each_stack_with_its_slices_in_order(tmp_path):
    vectors = np.arange(6 * VECTOR_LENGTH, dtype=np.float32).reshape(6, -1)
    known = {"PatientID": "A", "date": "d", "Type": "T2", "sequence": "T2", "region": "mask"}
    rows = [
        {**known, "SeriesInstanceUID": uid, "stack": stack, "order": order}
        for uid, stack, order in (("1", 0, 1), ("2", 0, 0), ("1", 0, 0), ("2", 0, 1), ("2", 1, 3), ("2", 1, 2))
    ]
    table = tables.pa.Table.from_pylist(
        [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)], FEATURES
    )
    tables.write_shard(tmp_path / "part-00000.parquet", table, FEATURES)
    series = read_series(tmp_path).set_index(["SeriesInstanceUID", "stack"])["vectors"]
    np.testing.assert_array_equal(series["1", 0], vectors[[2, 0]])
    np.testing.assert_array_equal(series["2", 0], vectors[[1, 3]])
    np.testing.assert_array_equal(series["2", 1], vectors[[5, 4]])


def test_a_study_shared_by_two_patients_is_refused_unless_allowed(tmp_path):
    row = {field.name: {"string": "", "double": 0.0}.get(str(field.type), 0) for field in CATALOGUE}
    rows = [{**row, "cohort": "progression", "PatientID": f"P{n}", "StudyInstanceUID": "1.2"} for n in range(2)]
    (tmp_path / "catalogue").mkdir()
    table = pa.Table.from_pylist(rows, CATALOGUE)
    tables.write_shard(tmp_path / "catalogue" / "part-00000.parquet", table, CATALOGUE)
    with pytest.raises(LeakError, match=r"1\.2 \(patients P0, P1\).*--cohort\.allow_shared \[study\]"):
        audit(tmp_path, build_series(3), Settings())
    audit(tmp_path, build_series(3), with_values(Settings(), {"cohort.allow_shared": ("study",)}))
    audit(tmp_path, build_series(1), Settings())  # P1 is not in the training data
    audit(tmp_path / "none", build_series(3), Settings())


def with_dates(counts):
    """Return series of patients with these numbers of dates, each date with other months."""
    tables = [
        build_series(len(counts)).assign(date=f"200{date}-01-01", days=lambda t, date=date: t["days"] + 7 * date)
        for date in range(max(counts))
    ]
    series = pd.concat(tables, ignore_index=True)
    allowed = dict(zip((f"P{number}" for number in range(len(counts))), counts, strict=True))
    series = series[series["date"].str[3].astype(int) < series["PatientID"].map(allowed)]
    return series.assign(months=series["days"] / DAYS_PER_MONTH)


@pytest.mark.parametrize("counts", [(3, 1, 2), (2, 2, 2, 2), (4, 1, 1, 1, 1), (1, 1, 3, 2, 5, 1), (1, 1, 1)])
def test_shuffling_never_gives_a_patient_one_of_its_own_intervals(counts):
    series = with_dates(counts)
    own = series.groupby("PatientID")["days"].agg(set)
    assert sum(map(len, own)) == sum(counts)
    results = []
    for seed in range(30):
        shuffled = shuffle_months(series, seed=seed)
        assert shuffled["days"].equals(shuffle_months(series, seed=seed)["days"])
        assert shuffled.index.equals(series.index)
        pd.testing.assert_frame_equal(shuffled[["PatientID", "date", "Type"]], series[["PatientID", "date", "Type"]])
        assert sorted(shuffled["days"]) == sorted(series["days"])
        assert not any(
            days in own[patient] for patient, days in zip(series["PatientID"], shuffled["days"], strict=True)
        )
        results.append(tuple(shuffled["days"]))
    assert len(set(results)) > 1


def test_without_enough_other_patients_there_is_no_null_control():
    series = with_dates((4, 1, 2))
    with pytest.raises(ValueError, match="more than half"):
        shuffle_months(series, seed=0)
    assert not [trial for trial in plan(series, Progression(null_draws=1), seed=0) if trial.purpose == "null"]
