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
def test_every_grade_has_patients_on_every_side_and_every_patient_one_side(counts, seed):
    who = patients(counts)
    sides = splits.split_patients(who, seed=seed)
    assert sorted(sides.index) == sorted(who.index)
    table = pd.crosstab(who.loc[sides.index], sides)
    assert (table[list(splits.SIDES)] >= 1).all().all()
    for grade, count in zip((2, 3, 4), counts, strict=True):
        assert abs(table.loc[grade, "test"] - 0.1 * count) <= 1


def test_a_split_does_not_depend_on_the_order_of_the_patients():
    who = patients([10, 12, 9])
    shuffled = who.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(splits.split_patients(who, seed=3), splits.split_patients(shuffled, seed=3))


def test_another_seed_gives_another_split():
    who = patients([20, 20, 20])
    assert (splits.split_patients(who, seed=0) != splits.split_patients(who, seed=1)).any()


def test_too_few_patients_of_a_grade_are_named():
    with pytest.raises(InputError, match=r"grade 3 has 2 patients.*--grader\.split"):
        splits.split_patients(patients([5, 2, 5]), seed=0)


@given(counts=st.lists(st.integers(5, 40), min_size=3, max_size=3), folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_in_all_folds_together_each_patient_is_tested_once(counts, folds, seed):
    who = patients(counts)
    split = splits.cross_validation(who, folds=folds, seed=seed)
    assert sorted(split.loc[split["side"] == "test", "patient"]) == sorted(who.index)
    for _, fold in split.groupby("fold"):
        assert sorted(fold["patient"]) == sorted(who.index)
        table = pd.crosstab(who.loc[fold["patient"]].to_numpy(), fold["side"].to_numpy())
        assert (table[list(splits.SIDES)] >= 1).all().all()
        # each grade in each fold alike, up to the one that does not divide
        assert (abs(table["test"] - np.array(counts) / folds) < 1).all()


def test_folds_do_not_depend_on_the_order_of_the_patients_and_do_on_the_seed():
    who = patients([10, 12, 9])
    shuffled = who.sample(frac=1, random_state=1)
    one, other, third = (
        splits.cross_validation(some, folds=3, seed=seed) for some, seed in ((who, 3), (shuffled, 3), (who, 4))
    )
    pd.testing.assert_frame_equal(one, other)
    assert not one.equals(third)


@pytest.mark.parametrize(("counts", "folds"), [([5, 4, 5], 5), ([3, 5, 5], 2)])
def test_too_few_patients_for_the_folds_are_named(counts, folds):
    with pytest.raises(InputError, match=rf"grade \d has [34] patients, too few for {folds} folds.*--grader\.folds"):
        splits.cross_validation(patients(counts), folds=folds, seed=0)


@pytest.mark.parametrize(("count", "workers", "out"), [(7, 0, 0), (7, 1, 0), (7, 2, 1), (8, 2, 0), (11, 4, 3)])
def test_so_few_slices_are_left_out_that_the_workers_get_as_many_each(count, workers, out):
    numbers = np.arange(100, 100 + count)
    left = splits.left_out(numbers, workers=workers, seed=0)
    assert len(set(left)) == out
    assert set(left) <= set(numbers)


def test_shuffled_grades_stay_one_for_a_patient_and_as_many_of_each():
    names = pd.Series(np.repeat([f"P{number}" for number in range(30)], np.arange(1, 31)))
    grades = pd.Series(np.repeat(np.tile([2, 3, 4], 10), np.arange(1, 31)))
    drawn = pd.Series(splits.shuffled_between_patients(names, grades, seed=0))
    assert (drawn.groupby(names).nunique() == 1).all()
    assert drawn.groupby(names).first().value_counts().to_dict() == {2: 10, 3: 10, 4: 10}
    assert (drawn.groupby(names).first() != grades.groupby(names).first()).sum() > 10


def test_the_papers_split_is_80_10_10_of_the_slices():
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


def test_a_clean_split_has_no_leaks():
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
def test_anything_on_two_sides_stops_a_split_by_patients_with_its_name(what, changes):
    with pytest.raises(LeakError, match=what):
        splits.audit(slices(**changes), protocol="patient")
    found = splits.audit(slices(**changes), protocol="paper")
    assert found["what"].tolist() == [what]
    assert found["sides"].tolist() == ["test train"]


def test_flat_images_are_alike_and_leak_nothing():
    assert splits.audit(slices(pixel_hash=["", "b", "", "d"]), protocol="patient").empty


def test_frames_of_one_object_are_different_images():
    several = slices(SOPInstanceUID=["1", "1", "2", "2"], frame=[0, 1, 0, 1])
    assert splits.audit(several, protocol="patient").empty


def test_a_users_split_is_read_and_checked(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,side\nA,train\nB,test\nC,validation\n")
    assert splits.read_split(path, ["B", "A"]).to_dict() == {"B": "test", "A": "train"}
    with pytest.raises(InputError, match="D is missing"):
        splits.read_split(path, ["A", "D"])
    path.write_text("patient,side\nA,train\nA,test\n")
    with pytest.raises(InputError, match="A is more than once"):
        splits.read_split(path, ["A"])
    path.write_text("patient,side\nA,learn\n")
    with pytest.raises(InputError, match="'learn'"):
        splits.read_split(path, ["A"])


@given(series=st.lists(st.sampled_from("ABCDEFG"), min_size=3, max_size=40), seed=st.integers(0, 20))
def test_leaving_one_patient_out_never_splits_a_patient(series, seed):
    who = np.array(series)
    if len(set(series)) < 3:
        with pytest.raises(InputError, match="3 or more"):
            splits.leave_one_patient_out(who, seed=seed)
        return
    folds = splits.leave_one_patient_out(who, seed=seed)
    assert [fold.name for fold in folds] == sorted(set(series))
    for fold in folds:
        assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(len(who)))
        parts = [set(who[part]) for part in (fold.train, fold.validation, fold.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set(series))
        assert parts[2] == {fold.name}


def test_the_papers_split_of_60_series_tests_12():
    (fold,) = splits.random_series(60, seed=0)
    assert len(fold.test) == 12
    assert len(fold.train) + len(fold.validation) == 48
    assert sorted(np.concatenate([fold.train, fold.validation, fold.test])) == list(range(60))


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        ("study", {"StudyInstanceUID": "1"}),
        ("series", {"SeriesInstanceUID": "11"}),
        ("instance", {"SOPInstanceUID": "111"}),
        ("image", {"pixel_hash": ["a", "b", "a", "d"]}),
    ],
)
def test_a_false_alarm_names_the_setting_that_ends_it_and_is_still_counted(word, changes):
    with pytest.raises(LeakError, match=rf"--cohort\.allow_shared \[{word}\]"):
        splits.audit(slices(**changes), protocol="patient")
    assert len(splits.audit(slices(**changes), protocol="patient", allowed=(word,))) == 1
    others = {"study", "series", "instance", "image"} - {word}
    with pytest.raises(LeakError):
        splits.audit(slices(**changes), protocol="patient", allowed=sorted(others))


def test_the_setting_that_is_named_permits_all_that_leaks():
    both = slices(StudyInstanceUID="1", pixel_hash=["a", "b", "a", "d"])
    with pytest.raises(LeakError, match=r"allow_shared \[study,image\]"):
        splits.audit(both, protocol="patient", allowed=("study",))
    assert len(splits.audit(both, protocol="patient", allowed=("study", "image"))) == 2


def test_a_patient_on_two_sides_is_never_allowed():
    torn = slices(PatientID=["A", "A", "B", "A"])
    with pytest.raises(LeakError, match="patient A") as error:
        splits.audit(torn, protocol="patient", allowed=("study", "series", "instance", "image"))
    assert "allow_shared" not in str(error.value)


def test_a_study_of_two_patients_leaks_where_each_is_left_out_once():
    studies = pd.DataFrame({"PatientID": ["A", "A", "B", "B"], "StudyInstanceUID": ["1", "2", "2", "3"]})
    with pytest.raises(LeakError, match=r"1 studies.*is 2 \(patients A, B\).*--cohort\.allow_shared \[study\]"):
        splits.audit_patients(studies)
    splits.audit_patients(studies, allowed=("study",))
    splits.audit_patients(studies.assign(StudyInstanceUID=["1", "2", "3", "4"]))
    splits.audit_patients(studies.assign(StudyInstanceUID=""))


def test_a_users_split_may_spell_the_patients_in_another_way(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,side\npgbm_1,train\nPGBM 002,test\n")
    assert splits.read_split(path, ["PGBM-001", "PGBM-002"]).to_dict() == {"PGBM-001": "train", "PGBM-002": "test"}
    path.write_text("patient,side\npgbm_001,train\nPGBM 001,test\n")
    with pytest.raises(InputError, match="PGBM-001 is more than once"):
        splits.read_split(path, ["PGBM-001"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(
    "text",
    [
        "# of ours\npatient,side,Ort\n007,train,Köln\n012,test,x\nelse,,\n",
        "Ort;PatientID;Split\nKöln;7.0;Training\n;12.0;TEST\n;12;test\n",
        "patient , side\n'007 , train\n012, test\n",
    ],
)
def test_a_users_split_is_read_as_the_other_tables_are(tmp_path, text, encoding):
    path = tmp_path / "split.csv"
    path.write_bytes(text.encode(encoding))
    assert splits.read_split(path, ["007", "012"]).to_dict() == {"007": "train", "012": "test"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("patient,grade\nA,2\n", "no column of patients or of sides; found patient, grade"),
        ("", "no column of patients or of sides"),
        ("patient,side\nX,train\nY,test\n", r"A, B are missing.*only the table has X, Y; only the images have A, B"),
        ("fold,patient,side\n1,A,train\n1,B,test\n2,A,test\n2,B,train\n", "A, B are more than once"),
        ("patient,side\nA,\nB,test\n", "side ''"),
    ],
)
def test_a_split_that_cannot_be_used_says_why(tmp_path, text, told):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"split\.csv: .*{told}"):
        splits.read_split(path, ["A", "B"])
    with pytest.raises(InputError, match=r"--grader\.split FILE"):
        splits.read_split(tmp_path / "none.csv", ["A"])
