"""Paragraphs and tables of the sections on the time to progression."""

import numpy as np
import pandas as pd
import pytest

from tumorprog.cohort.columns import TIMELINE, VOLUMES
from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.progression.columns import PROGRESSION_HISTORY
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.progression import sections as progression_sections
from tumorprog.report.survival import sections as survival_sections


def metric(value, lower=None, upper=None, count=4):
    reason = "" if lower is not None else "4 patients; an interval needs 5"
    return {"value": value, "lower": lower, "upper": upper, "n": count, "patients": count, "reason": reason}


def scores(mae, coverage=None):
    names = ("mae", "median_ae", "rmse", "concordance", "interval_width", "interval_score")
    covered = metric(coverage, 0.3, 0.95) if coverage else metric(None)
    return {**{name: metric(mae) for name in names}, "coverage": covered}


def baseline(mae, *difference):
    found = metric(*difference) if difference else metric(None)
    return {**scores(mae), "difference": found, "interval_score_difference": found}


def metrics():
    constants = {"mean": baseline(5.05, -2.05, -3.5, -0.5), "median": baseline(4.35, -1.35, -3.0, 0.25)}
    levels = {level: {**scores(3.0, coverage=0.75), "baselines": constants} for level in ("series", "patient")}
    empty = {"all": {}, "grade_rise": {}}
    null = {"observed": -0.5, "draws": [0.25, -0.5, 1.0], "as_good": 1, "p": 0.5}
    leaking = {"observed": -4.0, "draws": [-4.5, -4.0], "as_good": 2, "p": 1.0}
    return {
        "progression": {"patient": {**empty, "all": levels}, "paper": empty},
        "published_intervals": constants,
        "null_control": {"paper": leaking, "patient": null},
    }


@pytest.fixture
def results():
    label = {"Fold": "A", "Protocol": "patient", "Cohort": "all", "MonthDif": 2, "date": "2000-01-01"}
    patients = pd.DataFrame(
        [
            {
                **label,
                "PatientID": name,
                "days": days,
                "Predicted_Progression_Timeline": 3.0,
                "Lower": 1.0,
                "Upper": 5.0,
            }
            for name, days in (("A", 60), ("B", 90), ("C", 200))
        ]
    )
    volumes = pd.DataFrame(
        [
            ("A", "2000-01-01", 4.0, np.nan, np.nan),
            ("A", "2000-03-01", 6.5, 2.5, 62.5),
            ("C", "2000-01-01", 9.0, np.nan, np.nan),
        ],
        columns=["PatientID", "date", "volume_ml", "change_ml", "change_percent"],
    )
    timeline = pd.DataFrame(
        [("A", 2, "2000-01-01 2000-03-01", 2, "two dates or more"), ("Z", 1, "1999-01-01", 1, "one date")],
        columns=list(TIMELINE),
    )
    return progression_sections.ProgressionResults(
        predictions=patients.assign(Type="T2", Weight=1.0),
        patients=patients,
        history=pd.DataFrame([("patient", "all", "A", 1, 1.0, 2.0)], columns=list(PROGRESSION_HISTORY)),
        sheet=patients.assign(FirstGrade=4, LaterGrade=4),
        timeline=timeline,
        volumes=volumes,
        identifiers=Identifiers("ABCZ", dict.fromkeys("ABCZ", "1999-01-01"), shown=True, seed=0),
    )


def test_the_model_is_compared_with_its_baselines_by_paired_differences(results):
    values = metrics()
    text = " ".join(progression_sections.section(values, results).paragraphs)
    assert "better than the mean of the training patients (difference -2.05 months, -3.50 to -0.50)" in text
    assert (
        "not distinguishable from the median of the training patients (difference -1.35 months, -3.00 to +0.25)" in text
    )
    assert "These are 2 comparisons, each at 95%, without" in text
    values["progression"]["patient"]["all"]["patient"]["baselines"] = {"volume": baseline(2.5, 0.5, 0.1, 0.9)}
    values["progression"]["patient"]["all"]["patient"]["baselines"]["median"] = baseline(None)
    text = " ".join(progression_sections.section(values, results).paragraphs)
    assert "worse than masked volume only (difference +0.50 months, +0.10 to +0.90)" in text
    assert "not comparable with the median of the training patients (4 patients; an interval needs 5)" in text


def test_coverage_is_stated_with_its_interval_and_whether_the_intervals_are_informative(results):
    text = " ".join(progression_sections.section(metrics(), results).paragraphs)
    assert "contain the true value of 75% of 4 patients (95% interval 30% to 95%): this is compatible" in text
    assert text.count("It is not shown that they are informative.") == 1
    values = metrics()
    evaluated = values["progression"]["patient"]["all"]["patient"]
    evaluated["coverage"] = metric(0.4, 0.2, 0.7)
    evaluated["baselines"]["median"]["interval_score_difference"] = metric(-2.0, -3.0, -1.0)
    text = " ".join(progression_sections.section(values, results).paragraphs)
    assert "they are too narrow" in text
    assert "They are informative." in text


def test_the_baselines_on_the_published_intervals_are_listed_with_the_model(results):
    table = progression_sections.section(metrics(), results).tables[2]
    assert [(row["Data: predictor"].split(":")[-1], row["Mean absolute error"]["value"]) for row in table.rows] == [
        (" median of the training patients", 4.35),
        (" mean of the training patients", 5.05),
        (" median of the training patients", 4.35),
        (" model", 3.0),
    ]


def test_the_null_control_is_reported_with_its_errors_and_a_figure(results):
    section = progression_sections.section(metrics(), results)
    text = " ".join(section.paragraphs)
    assert (
        "held-out patients, -0.50 months with the true months and -0.50 to 1.00 in 3 permutations, of which 1" in text
    )
    assert "paper's split (leakage), -4.00 months with the true months" in text
    assert [picture.name for picture in section.pictures][-1] == "figures/months-null-control.svg"
    without = {name: part for name, part in metrics().items() if name != "null_control"}
    assert "null control" not in " ".join(progression_sections.section(without, results).paragraphs)


def test_volumes_and_their_changes_are_listed_for_each_patient(results):
    table = progression_sections.section(metrics(), results).tables[3]
    shown = {
        row["Patient, date"]: (row["Masked volume (ml)"], row["Change to the next date (ml)"], row["Change (%)"])
        for row in table.rows
    }
    assert shown["A, 2000-01-01"] == (4.0, 2.5, 62.5)
    assert np.isnan(shown["B, 2000-01-01"]).all()
    assert (shown["C, 2000-01-01"][0], np.isnan(shown["C, 2000-01-01"][1])) == (9.0, True)
    assert table.rows[0]["Prediction interval"] == "1.00 to 5.00"


def test_patients_with_one_date_are_listed(results):
    table = progression_sections.section(metrics(), results).tables[4]
    assert table.caption == "Patients of the progression cohort excluded because they do not have two dates (1)"
    assert table.rows.to_numpy().tolist() == [["Z", "one date", "1999-01-01", 1]]


def test_the_section_on_survival_counts_followed_and_excluded_patients():
    row = {"Protocol": "patient", "Cohort": "all", "months": 5.0, "event": 1}
    curves = {f"Survival_{month}m": 0.5 for month in SURVIVAL_MONTHS}
    known = {"PatientID": ["A", "B", "C"], "months": [5.0, 9.0, np.nan]}
    outcomes = pd.DataFrame({"status": ["followed", "followed", "no outcome"], "event": [1, 0, np.nan], **known})
    volumes = pd.DataFrame(columns=list(VOLUMES))
    model = {"concordance": metric(0.7), "integrated_brier_score": metric(0.1)}
    values = {
        "patient": {"all": {"patient": {**model, "baselines": {"life table": {**model, "difference": metric(0.0)}}}}}
    }
    steps = {"patient": (np.array([0.0, 5.0]), np.array([1.0, 0.0]))}
    section = survival_sections.section(values, pd.DataFrame([{**row, **curves}]), steps, outcomes, volumes)
    assert "the model is not comparable with the life table (difference 0.00; 4 patients" in section.paragraphs[0]
    assert "1 of 2 patients progressed, and 1 had not progressed at their last follow-up" in section.paragraphs[1]
    assert [row["Protocol, model"] for row in section.tables[0].rows] == [
        "held-out patients: model",
        "held-out patients: life table",
    ]
    assert section.tables[1].rows == [{"Reason": "no outcome", "Patients": 1}]


def test_several_dates_of_a_patient_are_counted_as_dates(results):
    values = metrics()
    for level, scores_of in values["progression"]["patient"]["all"].items():
        for name in ("mae", "coverage"):
            scores_of[name]["n"] = {"series": 12, "patient": 6}[level]
    section = progression_sections.section(values, results)
    assert "contain the true value of 75% of 6 dates of 4 patients" in " ".join(section.paragraphs)
    captions = [table.caption for table in section.tables[:2]]
    assert "per patient, 6 dates of 4 patients, with 95%" in captions[0]
    assert "per series, 4 patients, 12 series, with 95%" in captions[1]
