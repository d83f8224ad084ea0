"""The tiles: one primary metric per task, at the same level under every protocol."""

from tumorprog.report import headline


def metric(value, lower=None, upper=None, reason=""):
    return {"value": value, "lower": lower, "upper": upper, "n": 3, "patients": 3, "reason": reason}


def evaluated(name, value, baseline, **other):
    compared = {name: metric(0.34), "difference": metric(0.25, -0.5, 0.75)}
    return {name: value, **other, "baselines": {baseline: compared}}


def grader():
    slices = evaluated("balanced_accuracy", metric(0.1), "majority")
    paper = evaluated("balanced_accuracy", metric(0.9, 0.8, 1.0), "majority")
    few = evaluated("balanced_accuracy", metric(0.5, reason="3 patients; an interval needs 5"), "majority")
    return {"paper": {"slice": slices, "patient": paper}, "patient": {"slice": slices, "patient": few}}


def test_protocols_are_compared_per_patient_and_those_with_leakage_come_last():
    first, second = headline.tiles({"grader": grader()})
    assert (first.metric["value"], second.metric["value"]) == (0.5, 0.9)
    assert (first.leaks, second.leaks) == (False, True)
    assert first.label == "Grade: balanced accuracy per patient, held-out patients"
    assert second.label == "Grade: balanced accuracy per patient, paper's split (leakage)"


def test_the_note_contains_the_baseline_its_difference_and_the_patients():
    assert headline.tiles({"grader": grader()})[0].note == (
        "majority class 0.34; difference +0.25 (-0.50 to 0.75); 3 patients"
    )


def test_a_missing_interval_is_explained_in_the_line():
    line = headline.lines({"grader": grader()})[0]
    assert "held-out patients: 0.50 (3 patients; an interval needs 5); majority class 0.34" in line


def test_survival_leads_with_the_brier_score_and_compares_it_with_the_life_table():
    scores = evaluated("integrated_brier_score", metric(0.12, 0.1, 0.2), "life table", concordance=metric(0.7))
    (tile,) = headline.tiles({"survival": {"patient": {"all": {"patient": scores}}}})
    assert tile.metric["value"] == 0.12
    assert tile.note == (
        "life table 0.34; difference +0.25 (-0.50 to 0.75); 3 patients; lower is better; concordance 0.70"
    )


def test_months_of_an_empty_cohort_have_no_tile():
    months = evaluated("mae", metric(2.5, 1.0, 4.0), "median")
    parts = {"patient": {"all": {"patient": months}, "grade_rise": {}}, "paper": {"all": {}}}
    (tile,) = headline.tiles({"progression": parts})
    assert tile.unit == "months"
    assert tile.note.startswith("median of the training patients 0.34")


def test_patients_are_counted_and_not_their_intervals():
    months = evaluated("mae", {**metric(2.5, 1.0, 4.0), "n": 7}, "median")
    (tile,) = headline.tiles({"progression": {"patient": {"all": {"patient": months}}}})
    assert tile.note.endswith("; 3 patients")
