import numpy as np
import pandas as pd
import pytest

from tumorprog.graders.columns import PATIENT_GRADES
from tumorprog.graders.votes import grades_of_patients, vote
from tumorprog.progression.series import reference_sheet

KEYS = ["PatientID", "StudyDate", "Type", "SeriesInstanceUID", "sequence"]


def slices(patient, date, sequence, *probabilities):
    rows = [(patient, date, sequence, f"{patient}{date}{sequence}", sequence, *row) for row in probabilities]
    return pd.DataFrame(rows, columns=[*KEYS, "p2", "p3", "p4"])


def test_the_most_common_grade_of_the_slices_wins():
    row = vote(slices("A", "d", "T2", (0.6, 0.4, 0), (0.6, 0.4, 0), (0, 0, 1)), KEYS).iloc[0]
    assert row["PredictedGrade"] == 2
    assert row[["Slices", "Votes2", "Votes3", "Votes4"]].tolist() == [3, 2, 0, 1]
    assert row["Confidence"] == pytest.approx(0.4)


def test_a_tie_goes_to_the_grade_with_the_higher_mean_probability():
    row = vote(slices("A", "d", "T2", (0.5, 0.1, 0.4), (0.05, 0.05, 0.9)), KEYS).iloc[0]
    assert (row["Votes2"], row["Votes4"], row["PredictedGrade"]) == (1, 1, 4)


def test_votes_do_not_depend_on_the_order_of_the_slices():
    rows = slices("A", "d", "T2", *np.random.default_rng(0).dirichlet([1, 1, 1], 20))
    pd.testing.assert_frame_equal(vote(rows, KEYS), vote(rows[::-1], KEYS))


def sheet(*parts, sequences=("T1post", "FLAIR")):
    graded = pd.concat(parts)
    patients = grades_of_patients(graded, sequences)
    return reference_sheet(patients, vote(graded, KEYS), min_gap_days=14)


def test_the_reference_sheet_has_the_series_of_the_first_date_and_the_time_to_the_second():
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


def test_t1post_and_flair_slices_vote_together_for_a_patients_grade():
    two, three, four = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    found = sheet(
        slices("A", "2000-01-01", "T1post", two, two),
        slices("A", "2000-01-01", "FLAIR", three, three, three),
        slices("A", "2000-01-01", "ADC", four, four, four, four),
        slices("A", "2000-03-01", "ADC", four),
    )
    assert set(found["FirstGrade"]) == {3}
    assert set(found["LaterGrade"]) == {4}


def test_the_voting_sequences_can_be_configured():
    two, four = (1, 0, 0), (0, 0, 1)
    graded = pd.concat([slices("A", "2000-01-01", "T1post", two, two, two), slices("A", "2000-01-01", "ADC", four)])
    by_default = grades_of_patients(graded, ("T1post", "FLAIR")).iloc[0]
    assert by_default[["PredictedGrade", "Slices", "Votes2", "Votes4"]].tolist() == [2, 3, 3, 0]
    by_adc = grades_of_patients(graded, ("ADC",)).iloc[0]
    assert by_adc[["PredictedGrade", "Slices", "Votes2", "Votes4"]].tolist() == [4, 1, 0, 1]
    assert list(by_adc.index) == list(PATIENT_GRADES)


def test_all_slices_vote_if_none_of_the_voting_sequences_exists():
    graded = slices("A", "2000-01-01", "ADC", (1, 0, 0), (1, 0, 0))
    assert grades_of_patients(graded, ("T1post",)).iloc[0]["Slices"] == 2


def test_without_two_dates_the_reference_sheet_is_empty_but_has_its_columns():
    found = sheet(slices("A", "2000-01-01", "T2", (1, 0, 0)), slices("B", "", "T2", (1, 0, 0)))
    assert found.empty
    assert {"PatientID", "date", "Type", "MonthDif", "days", "FirstGrade", "LaterGrade"} <= set(found.columns)


def test_studies_of_one_day_are_one_date_with_all_their_series():
    two, four = (1, 0, 0), (0, 0, 1)
    second = slices("A", "2000-01-01", "T1post", four, four).assign(SeriesInstanceUID="second study")
    found = sheet(
        slices("A", "2000-01-01", "T1post", two),
        second,
        slices("A", "2000-03-01", "T1post", four),
        sequences=("T1post",),
    )
    assert found["SeriesInstanceUID"].tolist() == ["A2000-01-01T1post", "second study"]
    assert set(found["FirstGrade"]) == {4}  # three slices vote, from both studies
    assert set(found["days"]) == {60}
