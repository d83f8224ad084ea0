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


def metric(value, count=4):
    return {"value": value, "lower": None, "upper": None, "n": count}


def scores(mae, **coverage):
    names = ("mae", "median_ae", "rmse", "concordance")
    return {**{name: metric(mae) for name in names}, "coverage": metric(coverage.get("coverage"))}


def metrics():
    constants = {"mean": scores(5.05), "median": scores(4.35)}
    levels = {level: {**scores(3.0, coverage=0.75), "baselines": constants} for level in ("series", "patient")}
    empty = {"all": {}, "grade_rise": {}}
    null = {"series": {**scores(6.0), "baselines": {"mean": scores(5.5)}}}
    leaking = {"series": {**scores(0.25), "baselines": {"mean": scores(5.5)}}}
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


def test_the_model_is_compared_with_its_baselines(results):
    values = metrics()
    text = " ".join(progression_sections.section(values, results).paragraphs)
    assert "error of the model is 3.00 months, lower than that of each baseline (mean 5.05, median 4.35)" in text
    values["progression"]["patient"]["all"]["patient"]["baselines"] |= {"volume": scores(2.5), "ridge": scores(None)}
    text = " ".join(progression_sections.section(values, results).paragraphs)
    assert "is 3.00 months. Baselines with an equal or lower error: volume (2.50). On these data the model" in text


def test_nominal_and_observed_coverage_are_stated(results):
    text = " ".join(progression_sections.section(metrics(), results).paragraphs)
    assert "constructed to contain 80 % of the true values" in text
    assert "75% of the 4 patients and 75% of the series under the patient protocol (cohort all)" in text


def test_the_baselines_on_the_published_intervals_are_listed_with_the_model(results):
    table = progression_sections.section(metrics(), results).tables[0]
    assert [(row["Data: predictor"].split(":")[-1], row["MAE"]["value"]) for row in table.rows] == [
        (" median of the other patients", 4.35),
        (" mean of the other patients", 5.05),
        (" median of the other patients", 4.35),
        (" model", 3.0),
    ]


def test_the_null_control_is_reported_with_its_errors_and_a_figure(results):
    section = progression_sections.section(metrics(), results)
    text = " ".join(section.paragraphs)
    assert "6.00 months under the patient protocol (mean of the other patients: 5.50 months)" in text
    assert "0.25 months under the paper protocol" in text
    assert [picture.name for picture in section.pictures][-1] == "figures/months-null-control.svg"
    without = {name: part for name, part in metrics().items() if name != "null_control"}
    assert "null control" not in " ".join(progression_sections.section(without, results).paragraphs)


def test_volumes_and_their_changes_are_listed_for_each_patient(results):
    table = progression_sections.section(metrics(), results).tables[2]
    shown = {
        row["Patient, date"]: (row["Masked volume (ml)"], row["Change to the next date (ml)"], row["Change (%)"])
        for row in table.rows
    }
    assert shown["A, 2000-01-01"] == (4.0, 2.5, 62.5)
    assert np.isnan(shown["B, 2000-01-01"]).all()
    assert (shown["C, 2000-01-01"][0], np.isnan(shown["C, 2000-01-01"][1])) == (9.0, True)
    assert table.rows[0]["Prediction interval"] == "1.00 to 5.00"


def test_patients_with_one_date_are_listed(results):
    table = progression_sections.section(metrics(), results).tables[3]
    assert table.caption == "Patients of the progression cohort excluded because they do not have two dates (1)"
    assert table.rows.to_numpy().tolist() == [["Z", "one date", "1999-01-01", 1]]


def test_the_section_on_survival_counts_followed_and_excluded_patients():
    row = {"Protocol": "patient", "Cohort": "all", "months": 5.0, "event": 1}
    curves = {f"Survival_{month}m": 0.5 for month in SURVIVAL_MONTHS}
    known = {"PatientID": ["A", "B", "C"], "months": [5.0, 9.0, np.nan]}
    outcomes = pd.DataFrame({"status": ["followed", "followed", "no outcome"], "event": [1, 0, np.nan], **known})
    volumes = pd.DataFrame(columns=list(VOLUMES))
    model = {"concordance": metric(0.7), "integrated_brier_score": metric(0.1)}
    values = {"patient": {"all": {"patient": {**model, "baselines": {"life table": model}}}}}
    steps = {"patient": (np.array([0.0, 5.0]), np.array([1.0, 0.0]))}
    section = survival_sections.section(values, pd.DataFrame([{**row, **curves}]), steps, outcomes, volumes)
    assert "1 of 2 patients progressed, and 1 had not progressed at their last follow-up" in section.paragraphs[0]
    assert [row["Protocol, model"] for row in section.tables[0].rows] == [
        "held-out patients: model",
        "held-out patients: life table",
    ]
    assert section.tables[1].rows == [{"Reason": "no outcome", "Patients": 1}]
