import numpy as np
import pandas as pd
import pytest

from tumorprog import tables
from tumorprog.stages import grade

KEYS = ["PatientID", "StudyDate", "Type", "SeriesInstanceUID", "sequence"]


def slices(patient, date, sequence, *probabilities):
    rows = [(patient, date, sequence, f"{patient}{date}{sequence}", sequence, *row) for row in probabilities]
    return pd.DataFrame(rows, columns=[*KEYS, "p2", "p3", "p4"])


def test_the_most_common_grade_of_the_slices_wins():
    told = grade.vote(slices("A", "d", "T2", (0.6, 0.4, 0), (0.6, 0.4, 0), (0, 0, 1)), KEYS).iloc[0]
    assert told["PredictedGrade"] == 2
    assert told[["Slices", "Votes2", "Votes3", "Votes4"]].tolist() == [3, 2, 0, 1]
    assert told["Confidence"] == pytest.approx(0.4)


def test_a_tie_goes_to_the_grade_with_the_higher_mean_probability():
    told = grade.vote(slices("A", "d", "T2", (0.5, 0.1, 0.4), (0.05, 0.05, 0.9)), KEYS).iloc[0]
    assert (told["Votes2"], told["Votes4"], told["PredictedGrade"]) == (1, 1, 4)


def test_votes_do_not_depend_on_the_order_of_the_slices():
    rows = slices("A", "d", "T2", *np.random.default_rng(0).dirichlet([1, 1, 1], 20))
    pd.testing.assert_frame_equal(grade.vote(rows, KEYS), grade.vote(rows[::-1], KEYS))


def sheet(*parts, sequences=("T1post", "FLAIR")):
    graded = pd.concat(parts)
    patients = grade.grades_of_patients(graded, sequences)
    return grade.reference_sheet(patients, grade.vote(graded, KEYS), min_gap_days=14)


def test_the_sheet_has_the_first_dates_series_and_the_time_to_the_second():
    two, four = (1, 0, 0), (0, 0, 1)
    found = sheet(
        slices("A", "1991-11-19", "T1post", two),
        slices("A", "1991-11-19", "ADC", four),
        slices("A", "1992-04-02", "T1post", four),
        slices("B", "1992-04-02", "T1post", four),
    )
    assert found[["PatientID", "date", "Type", "PredictedGrade", "MonthDif", "days"]].to_numpy().tolist() == [
        ["A", "1991-11-19", "ADC", 4, 4, 135],
        ["A", "1991-11-19", "T1post", 2, 4, 135],
    ]


def test_a_patients_grade_is_that_of_t1post_and_flair_slices_together():
    two, three, four = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    found = sheet(
        slices("A", "2000-01-01", "T1post", two, two),
        slices("A", "2000-01-01", "FLAIR", three, three, three),
        slices("A", "2000-01-01", "ADC", four, four, four, four),
        slices("A", "2000-03-01", "ADC", four),
    )
    assert set(found["FirstGrade"]) == {3}
    assert set(found["LaterGrade"]) == {4}


def test_any_sequences_can_be_the_ones_that_vote_for_a_patient():
    two, four = (1, 0, 0), (0, 0, 1)
    graded = pd.concat([slices("A", "2000-01-01", "T1post", two, two, two), slices("A", "2000-01-01", "ADC", four)])
    by_default = grade.grades_of_patients(graded, ("T1post", "FLAIR")).iloc[0]
    assert by_default[["PredictedGrade", "Slices", "Votes2", "Votes4"]].tolist() == [2, 3, 3, 0]
    by_adc = grade.grades_of_patients(graded, ("ADC",)).iloc[0]
    assert by_adc[["PredictedGrade", "Slices", "Votes2", "Votes4"]].tolist() == [4, 1, 0, 1]
    assert list(by_adc.index) == list(tables.PATIENT_GRADES)


def test_where_none_of_them_is_all_slices_vote():
    graded = slices("A", "2000-01-01", "ADC", (1, 0, 0), (1, 0, 0))
    assert grade.grades_of_patients(graded, ("T1post",)).iloc[0]["Slices"] == 2


def test_without_two_dates_the_sheet_is_empty_and_has_its_columns():
    found = sheet(slices("A", "2000-01-01", "T2", (1, 0, 0)), slices("B", "", "T2", (1, 0, 0)))
    assert found.empty
    assert {"PatientID", "date", "Type", "MonthDif", "days", "FirstGrade", "LaterGrade"} <= set(found.columns)


def test_studies_of_one_day_are_one_date_with_the_series_of_both():
    two, four = (1, 0, 0), (0, 0, 1)
    again = slices("A", "2000-01-01", "T1post", four, four).assign(SeriesInstanceUID="second study")
    found = sheet(
        slices("A", "2000-01-01", "T1post", two),
        again,
        slices("A", "2000-03-01", "T1post", four),
        sequences=("T1post",),
    )
    assert found["SeriesInstanceUID"].tolist() == ["A2000-01-01T1post", "second study"]
    assert set(found["FirstGrade"]) == {4}  # three slices vote, whatever study they are of
    assert set(found["days"]) == {60}
