import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.cohort import splits
from tumorprog.errors import InputError, LeakError


def patients(counts):
    grades = np.repeat([2, 3, 4], counts)
    return pd.Series(grades, index=[f"P{number:03d}" for number in range(len(grades))])


@given(counts=st.lists(st.integers(3, 40), min_size=3, max_size=3), seed=st.integers(0, 99))
def test_every_grade_has_patients_in_every_set_and_every_patient_is_in_one_set(counts, seed):
    cohort = patients(counts)
    sides = splits.split_patients(cohort, seed=seed)
    assert sorted(sides.index) == sorted(cohort.index)
    table = pd.crosstab(cohort.loc[sides.index], sides)
    assert (table[list(splits.SIDES)] >= 1).all().all()
    for grade, count in zip((2, 3, 4), counts, strict=True):
        assert abs(table.loc[grade, "test"] - 0.1 * count) <= 1


def test_a_split_does_not_depend_on_the_order_of_the_patients():
    cohort = patients([10, 12, 9])
    shuffled = cohort.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(splits.split_patients(cohort, seed=3), splits.split_patients(shuffled, seed=3))


def test_another_seed_gives_another_split():
    cohort = patients([20, 20, 20])
    assert (splits.split_patients(cohort, seed=0) != splits.split_patients(cohort, seed=1)).any()


def test_the_error_for_too_few_patients_names_the_grade():
    with pytest.raises(InputError, match=r"grade 3 has 2 patients.*--grader\.split"):
        splits.split_patients(patients([5, 2, 5]), seed=0)


@pytest.mark.no_cover
@given(counts=st.lists(st.integers(5, 40), min_size=3, max_size=3), folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_each_patient_is_in_the_test_set_of_exactly_one_fold(counts, folds, seed):
    cohort = patients(counts)
    split = splits.cross_validation(cohort, folds=folds, seed=seed)
    assert sorted(split.loc[split["side"] == "test", "patient"]) == sorted(cohort.index)
    for _, fold in split.groupby("fold"):
        assert sorted(fold["patient"]) == sorted(cohort.index)
        table = pd.crosstab(cohort.loc[fold["patient"]].to_numpy(), fold["side"].to_numpy())
        assert (table[list(splits.SIDES)] >= 1).all().all()
        # The folds are stratified: the number of patients of a grade differs by at most one.
        assert (abs(table["test"] - np.array(counts) / folds) < 1).all()


def test_folds_depend_on_the_seed_but_not_on_the_order_of_the_patients():
    cohort = patients([10, 12, 9])
    shuffled = cohort.sample(frac=1, random_state=1)
    first, reordered, reseeded = (
        splits.cross_validation(table, folds=3, seed=seed) for table, seed in ((cohort, 3), (shuffled, 3), (cohort, 4))
    )
    pd.testing.assert_frame_equal(first, reordered)
    assert not first.equals(reseeded)


@pytest.mark.parametrize(("counts", "folds"), [([5, 4, 5], 5), ([3, 5, 5], 2)])
def test_the_error_for_too_few_patients_for_the_folds_names_the_grade(counts, folds):
    with pytest.raises(InputError, match=rf"grade \d has [34] patients, too few for {folds} folds.*--grader\.folds"):
        splits.cross_validation(patients(counts), folds=folds, seed=0)


@pytest.mark.parametrize(("count", "workers", "num_excluded"), [(7, 0, 0), (7, 1, 0), (7, 2, 1), (8, 2, 0), (11, 4, 3)])
def test_only_the_surplus_over_equal_numbers_per_worker_is_excluded(count, workers, num_excluded):
    numbers = np.arange(100, 100 + count)
    excluded = splits.surplus_slices(numbers, workers=workers, seed=0)
    assert len(set(excluded)) == num_excluded
    assert set(excluded) <= set(numbers)


def test_shuffled_grades_are_constant_per_patient_and_keep_their_frequencies():
    names = pd.Series(np.repeat([f"P{number}" for number in range(30)], np.arange(1, 31)))
    grades = pd.Series(np.repeat(np.tile([2, 3, 4], 10), np.arange(1, 31)))
    everyone = pd.Series("all", index=names.index)
    drawn = pd.Series(splits.shuffled_between_patients(names, grades, everyone, seed=0))
    assert (drawn.groupby(names).nunique() == 1).all()
    assert drawn.groupby(names).first().value_counts().to_dict() == {2: 10, 3: 10, 4: 10}
    assert (drawn.groupby(names).first() != grades.groupby(names).first()).sum() > 10


def test_shuffled_grades_keep_their_frequencies_within_each_set():
    names = pd.Series(np.repeat([f"P{number}" for number in range(12)], 3))
    grades, sides = pd.Series(np.repeat([2, 3, 4] * 4, 3)), pd.Series(np.repeat(["train"] * 9 + ["test"] * 3, 3))
    drawn = pd.Series(splits.shuffled_between_patients(names, grades, sides, seed=3))
    assert sorted(drawn[sides == "test"].groupby(names).first()) == [2, 3, 4]
    assert not drawn.equals(grades)


def test_the_split_of_the_paper_is_80_10_10_of_the_slices():
    sides = splits.split_slices(1000, seed=0)
    assert [int((sides == side).sum()) for side in splits.SIDES] == [800, 100, 100]


def slices(**changes):
    table = pd.DataFrame(
        {
            "PatientID": ["A", "A", "B", "B"],
            "StudyInstanceUID": ["1", "1", "2", "2"],
            "SeriesInstanceUID": ["11", "11", "21", "21"],
            "SOPInstanceUID": ["111", "112", "211", "212"],
            "frame": [0, 0, 0, 0],
            "pixel_hash": ["a", "b", "c", "d"],
            "side": ["train", "train", "test", "test"],
        }
    )
    return table.assign(**changes)


def test_a_valid_split_has_no_leaks():
    assert splits.audit(slices(), protocol="patient").empty


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("patient", {"PatientID": ["A", "A", "B", "A"]}),
        ("study", {"StudyInstanceUID": ["1", "1", "2", "1"]}),
        ("series", {"SeriesInstanceUID": ["11", "11", "11", "21"]}),
        ("SOP instance", {"SOPInstanceUID": ["111", "112", "111", "212"]}),
        ("identical image", {"pixel_hash": ["a", "b", "c", "a"]}),
    ],
)
def test_anything_in_two_sets_stops_a_split_by_patients_and_is_named(what, changes):
    with pytest.raises(LeakError, match=what):
        splits.audit(slices(**changes), protocol="patient")
    found = splits.audit(slices(**changes), protocol="paper")
    assert found["what"].tolist() == [what]
    assert found["sides"].tolist() == ["test train"]


def test_identical_uniform_images_are_not_leaks():
    assert splits.audit(slices(pixel_hash=["", "b", "", "d"]), protocol="patient").empty


def test_frames_of_one_object_are_different_images():
    multiframe = slices(SOPInstanceUID=["1", "1", "2", "2"], frame=[0, 1, 0, 1])
    assert splits.audit(multiframe, protocol="patient").empty


def test_a_split_of_the_user_is_read_and_checked(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,side\nA,train\nB,test\nC,validation\n")
    assert splits.read_split(path, ["B", "A"]).to_dict() == {"B": "test", "A": "train"}
    with pytest.raises(InputError, match="D is missing"):
        splits.read_split(path, ["A", "D"])
    path.write_text("patient,side\nA,train\nA,test\n")
    with pytest.raises(InputError, match="A is listed more than once"):
        splits.read_split(path, ["A"])
    path.write_text("patient,side\nA,learn\n")
    with pytest.raises(InputError, match="'learn'"):
        splits.read_split(path, ["A"])


@given(series=st.lists(st.sampled_from("ABCDEFG"), min_size=3, max_size=40), seed=st.integers(0, 20))
def test_leave_one_patient_out_never_splits_a_patient(series, seed):
    patient_of_series = np.array(series)
    if len(set(series)) < 3:
        with pytest.raises(InputError, match="3 or more"):
            splits.leave_one_patient_out(patient_of_series, seed=seed)
        return
    folds = splits.leave_one_patient_out(patient_of_series, seed=seed)
    assert [fold.name for fold in folds] == sorted(set(series))
    for fold in folds:
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(len(patient_of_series)))
        sets = [set(patient_of_series[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert all(sets)
        assert sum(map(len, sets)) == len(set(series))
        assert sets[2] == {fold.name}


def test_the_split_of_the_paper_holds_out_12_of_60_series():
    (fold,) = splits.random_series(60, seed=0)
    assert len(fold.test) == 12
    assert len(fold.train) + len(fold.validation) == 48
    assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(60))


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        ("study", {"StudyInstanceUID": "1"}),
        ("series", {"SeriesInstanceUID": "11"}),
        ("instance", {"SOPInstanceUID": "111"}),
        ("image", {"pixel_hash": ["a", "b", "a", "d"]}),
    ],
)
def test_the_error_names_the_setting_that_allows_a_false_alarm_and_the_leak_is_still_counted(value, changes):
    with pytest.raises(LeakError, match=rf"--cohort\.allow_shared \[{value}\]"):
        splits.audit(slices(**changes), protocol="patient")
    assert len(splits.audit(slices(**changes), protocol="patient", allowed=(value,))) == 1
    others = {"study", "series", "instance", "image"} - {value}
    with pytest.raises(LeakError):
        splits.audit(slices(**changes), protocol="patient", allowed=sorted(others))


def test_the_suggested_setting_permits_all_leaks():
    both = slices(StudyInstanceUID="1", pixel_hash=["a", "b", "a", "d"])
    with pytest.raises(LeakError, match=r"allow_shared \[study,image\]"):
        splits.audit(both, protocol="patient", allowed=("study",))
    assert len(splits.audit(both, protocol="patient", allowed=("study", "image"))) == 2


def test_a_patient_in_two_sets_is_never_allowed():
    divided = slices(PatientID=["A", "A", "B", "A"])
    with pytest.raises(LeakError, match="patient A") as error:
        splits.audit(divided, protocol="patient", allowed=("study", "series", "instance", "image"))
    assert "allow_shared" not in str(error.value)


def test_a_study_of_two_patients_is_a_leak_in_leave_one_patient_out():
    studies = pd.DataFrame({"PatientID": ["A", "A", "B", "B"], "StudyInstanceUID": ["1", "2", "2", "3"]})
    with pytest.raises(LeakError, match=r"1 studies.*is 2 \(patients A, B\).*--cohort\.allow_shared \[study\]"):
        splits.audit_patients(studies)
    splits.audit_patients(studies, allowed=("study",))
    splits.audit_patients(studies.assign(StudyInstanceUID=["1", "2", "3", "4"]))
    splits.audit_patients(studies.assign(StudyInstanceUID=""))


def test_patients_may_be_spelled_differently_in_a_split_of_the_user(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,side\npgbm_1,train\nPGBM 002,test\n")
    assert splits.read_split(path, ["PGBM-001", "PGBM-002"]).to_dict() == {"PGBM-001": "train", "PGBM-002": "test"}
    path.write_text("patient,side\npgbm_001,train\nPGBM 001,test\n")
    with pytest.raises(InputError, match="PGBM-001 is listed more than once"):
        splits.read_split(path, ["PGBM-001"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(
    "text",
    [
        "# our split\npatient,side,Ort\n007,train,Köln\n012,test,x\nelse,,\n",
        "Ort;PatientID;Split\nKöln;7.0;Training\n;12.0;TEST\n;12;test\n",
        "patient , side\n'007 , train\n012, test\n",
    ],
)
def test_a_split_of_the_user_is_read_like_the_other_tables(tmp_path, text, encoding):
    path = tmp_path / "split.csv"
    path.write_bytes(text.encode(encoding))
    assert splits.read_split(path, ["007", "012"]).to_dict() == {"007": "train", "012": "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,grade\nA,2\n", "no patient or side column; found patient, grade"),
        ("", "no patient or side column"),
        ("patient,side\nX,train\nY,test\n", r"A, B are missing.*only in the table: X, Y; only in the images: A, B"),
        ("fold,patient,side\n1,A,train\n1,B,test\n2,A,test\n2,B,train\n", "A, B are listed more than once"),
        ("patient,side\nA,\nB,test\n", "side ''"),
    ],
)
def test_the_error_for_an_invalid_split_gives_the_reason(tmp_path, text, message):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"split\.csv: .*{message}"):
        splits.read_split(path, ["A", "B"])
    with pytest.raises(InputError, match=r"--grader\.split FILE"):
        splits.read_split(tmp_path / "none.csv", ["A"])
