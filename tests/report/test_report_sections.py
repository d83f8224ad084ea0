"""What the sections on the months to progression say in words and tables."""

import numpy as np
import pandas as pd
import pytest

from tumorprog import tables
from tumorprog.report import progression_sections, survival_sections


def metric(value, count=4):
    return {"value": value, "lower": None, "upper": None, "n": count}


def judged(mae, **coverage):
    names = ("mae", "median_ae", "rmse", "concordance")
    return {**{name: metric(mae) for name in names}, "coverage": metric(coverage.get("coverage"))}


def metrics():
    constants = {"mean": judged(5.05), "median": judged(4.35)}
    levels = {level: {**judged(3.0, coverage=0.75), "baselines": constants} for level in ("series", "patient")}
    empty = {"all": {}, "grade_rise": {}}
    null = {"series": {**judged(6.0), "baselines": {"mean": judged(5.5)}}}
    leaking = {"series": {**judged(0.25), "baselines": {"mean": judged(5.5)}}}
    return {
        "progression": {"patient": {**empty, "all": levels}, "paper": empty},
        "published_intervals": constants,
        "null_control": {"paper": leaking, "patient": null},
    }


@pytest.fixture
def evidence():
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
        [("A", "2000-01-01", 4.0, np.nan), ("A", "2000-03-01", 6.5, 2.5), ("C", "2000-01-01", 9.0, np.nan)],
        columns=["PatientID", "date", "volume_ml", "change_ml"],
    )
    timeline = pd.DataFrame(
        [("A", 2, "2000-01-01 2000-03-01", 2, "two dates or more"), ("Z", 1, "1999-01-01", 1, "one date")],
        columns=list(tables.TIMELINE),
    )
    return progression_sections.Evidence(
        predictions=patients.assign(Type="T2", Weight=1.0),
        patients=patients,
        history=pd.DataFrame([("patient", "all", "A", 1, 1.0, 2.0)], columns=list(tables.PROGRESSION_HISTORY)),
        sheet=patients.assign(FirstGrade=4, LaterGrade=4),
        timeline=timeline,
        volumes=volumes,
    )


def test_the_model_is_held_against_its_baselines_in_words(evidence):
    told = metrics()
    words = " ".join(progression_sections.section(told, evidence).paragraphs)
    assert "off by 3.00 months on average, less than each of the baselines (mean 5.05, median 4.35)" in words
    told["progression"]["patient"]["all"]["patient"]["baselines"] |= {"volume": judged(2.5), "ridge": judged(None)}
    words = " ".join(progression_sections.section(told, evidence).paragraphs)
    assert "off by 3.00 months on average, and so no better than volume (2.50): on these data it shows no use" in words


def test_coverage_is_stated_in_words_nominal_and_observed(evidence):
    words = " ".join(progression_sections.section(metrics(), evidence).paragraphs)
    assert "made to hold 80 % of the truths" in words
    assert "75% of the 4 patients and 75% of the series under the patient protocol (all)" in words


def test_the_bar_of_the_real_collection_stands_beside_the_model(evidence):
    table = progression_sections.section(metrics(), evidence).tables[0]
    assert [(row["What"].split(":")[-1], row["mae"]["value"]) for row in table.rows] == [
        (" the median of the others", 4.35),
        (" the mean of the others", 5.05),
        (" the median of the others", 4.35),
        (" the model", 3.0),
    ]


def test_the_null_control_is_told_with_its_figures_and_drawn(evidence):
    section = progression_sections.section(metrics(), evidence)
    words = " ".join(section.paragraphs)
    assert "6.00 under the patient protocol, where the mean of the others' months is off by 5.50" in words
    assert "0.25 under the paper protocol" in words
    assert [picture.name for picture in section.pictures][-1] == "figures/months-null-control.png"
    without = {name: part for name, part in metrics().items() if name != "null_control"}
    assert "null control" not in " ".join(progression_sections.section(without, evidence).paragraphs)


def test_volumes_and_their_change_stand_beside_each_patient(evidence):
    table = progression_sections.section(metrics(), evidence).tables[2]
    shown = {row["Patient, date"]: (row["Tumour (ml)"], row["Change to the next date (ml)"]) for row in table.rows}
    assert shown["A, 2000-01-01"] == (4.0, 2.5)
    assert np.isnan(shown["B, 2000-01-01"]).all()
    assert (shown["C, 2000-01-01"][0], np.isnan(shown["C, 2000-01-01"][1])) == (9.0, True)
    assert table.rows[0]["Interval"] == "1.00 to 5.00"


def test_patients_with_one_date_are_listed(evidence):
    table = progression_sections.section(metrics(), evidence).tables[3]
    assert table.caption.startswith("1 patients of the progression cohort without two dates")
    assert table.rows.to_numpy().tolist() == [["Z", "one date", "1999-01-01", 1]]


def test_the_section_on_survival_says_who_is_followed_and_who_is_not():
    row = {"Protocol": "patient", "Cohort": "all", "months": 5.0, "event": 1}
    curves = {f"Survival_{month}m": 0.5 for month in tables.SURVIVAL_MONTHS}
    who = pd.DataFrame({"status": ["followed", "followed", "no outcome"], "event": [1, 0, np.nan]})
    score = {"concordance": metric(0.7), "integrated_brier_score": metric(0.1)}
    told = {"patient": {"all": {"patient": {**score, "baselines": {"life table": score}}}}}
    steps = {"patient": (np.array([0.0, 5.0]), np.array([1.0, 0.0]))}
    section = survival_sections.section(told, pd.DataFrame([{**row, **curves}]), steps, who)
    assert section.paragraphs[0].startswith("2 patients are followed from their first images on: 1 progressed")
    assert [row["Protocol, level"] for row in section.tables[0].rows] == [
        "patient, patient: model",
        "patient, patient: life table",
    ]
    assert section.tables[1].rows == [{"Why": "no outcome", "Patients": 1}]
