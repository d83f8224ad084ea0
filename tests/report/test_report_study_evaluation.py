"""The methods of the evaluation, the guidelines and the versions: true in runs with only some of the results."""

import pandas as pd
import pytest

from tumorprog import provenance
from tumorprog.evaluation.intervals import count_of
from tumorprog.report.study import checklist, evaluation, methods
from tumorprog.report.study.checklist_items import CLAIM, TRIPOD_AI
from tumorprog.report.study.environment import environment, software
from tumorprog.report.study.facts import Facts
from tumorprog.report.study.settings import Study
from tumorprog.settings import Settings

METRIC = {"value": 0.5, "lower": 0.4, "upper": 0.6, "n": 9, "patients": 9, "reason": ""}
SURVIVAL = {"patient": {"all": {"patient": {"integrated_brier_score": METRIC, "baselines": {"life table": {}}}}}}
PATIENTS = {"median_months": METRIC, "volume_spearman": {**METRIC, "lower": None}}
GRADER = {
    "paper": {"patient": {}, "null_control": {"draws": [0.5, 0.6]}},
    "patient": {
        **{"patient": {"baselines": {"majority": {}}}, "null_control": {"draws": [0.4]}, "evidence": {}},
        "seeds": {"balanced_accuracy": {"values": [0.5, 0.6, 0.7]}},
    },
}


def described(**metrics):
    return " ".join(evaluation.sentences(metrics, resamples=1000))


def run(**changes):
    files = pd.DataFrame(columns=["path", "reason"])
    summary = {"found": 1, "used": 1, "quarantined": 0, "slices": 1, "series": 1, "patients": 1}
    return Facts(
        settings=Settings(), summary=summary, catalogue=pd.DataFrame(), quarantine=files, synthetic=False, **changes
    )


def test_of_a_survival_run_only_its_metrics_and_baseline_are_described():
    text = described(survival=SURVIVAL, patients=PATIENTS)
    assert "(BCa): integrated Brier score and differences from a baseline" in text
    assert "Percentile bootstrap intervals: concordance." in text
    assert "Baselines for the progression model with censoring are: the life table." in text
    assert "Greenwood" in text
    for absent in ("grader", "grade", "Wilson", "Bonett", "mean absolute error", "Null control", "seeds", "Dice"):
        assert absent not in text, absent


def test_of_a_grader_the_resamples_within_grades_null_controls_and_seeds_are_described():
    text = described(grader=GRADER)
    assert "(accuracy, recall, sensitivity and specificity) with one row per patient have Wilson's interval" in text
    assert "Wilson's for the number of patients where there are fewer than 5 of them or all rows agree" in text
    assert "Zou & Donner" in text
    assert "two in a grade that the resamples keep" in text
    assert "shares of the grader's evidence" in text
    assert "the grades were permuted between patients 1 time (held-out patients) and 2 times (paper's split" in text
    assert "3 seeds in total" in text
    for absent in ("Greenwood", "mean absolute error", "concordance", "months"):
        assert absent not in text, absent


def test_of_months_the_coverage_is_a_share_and_errors_are_corrected():
    repeated = {"progression_seeds": {"mae": {"values": [1.0, 2.0]}}, "null_control": {"patient": {"draws": [0.1]}}}
    spearman = {"median_months": METRIC, "volume_spearman": METRIC}
    baselines = {"baselines": {"median": {}, "ridge": {}}}
    text = described(progression={"patient": {"all": {"patient": baselines}}}, patients=spearman, **repeated)
    assert "Shares (coverage of the prediction intervals)" in text
    assert "(BCa): mean absolute error, root mean square error, interval score and differences" in text
    assert "the median of the training patients and ridge regression" in text
    assert "Bonett and Wright" in text
    assert "the months were permuted between patients 1 time" in text
    assert "2 seeds in total" in text
    assert "grade" not in text


def test_without_results_no_method_is_stated():
    assert described() == described(roi={}) == "Nothing was evaluated."


@pytest.mark.parametrize(("factor", "stated"), [(None, False), (1.7, True)])
def test_prediction_intervals_are_described_only_where_the_model_has_them(factor, stated):
    used = {"hidden": 4, "learning_rate": 0.1, "batch_size": 2, "epochs": 3, "patience": 2, "min_improvement": 0.1}
    description = {"progression": used, "interval_coverage": 0.8, "interval_factor": factor}
    text = " ".join(methods._progression(run(progression=description)))
    assert ("nominal coverage of 80%" in text) == stated


def test_the_guidelines_say_nothing_of_a_grader_in_a_run_with_survival_only():
    titles = {"survival": "Time to progression", "methods": "Methods", "limitations": "Limitations"}
    by_number = {(name, item.number): item for name, items in (("C", CLAIM), ("T", TRIPOD_AI)) for item in items}
    for key in (("T", "12d"), ("T", "23b"), ("C", "30"), ("C", "31"), ("C", "39")):
        text = checklist.status(by_number[key], titles, Study())
        assert text == "not in this report, because these results do not exist", key
    assert checklist.status(by_number["C", "38"], titles, Study()) == "in this report: Time to progression"
    graded = {**titles, "grader-patient": "Grades"}
    assert checklist.status(by_number["T", "12d"], graded, Study()) == "in this report: Grades; by institution"
    threshold = checklist.status(by_number["T", "15"], graded, Study())
    assert "3 or 4 against 2" in threshold
    assert "no other" not in threshold


def stage(python, **versions):
    return {"machine": {"python": python}, "versions": versions}


def test_the_versions_are_those_of_the_stages_and_not_of_the_report():
    stages = {
        "catalogue": stage("3.12.1", tumorprog="0.1", numpy="1.0"),
        "grade": stage("3.12.1", tumorprog="0.1", numpy="2.0"),
        "report": stage("3.13.0", tumorprog="9.9"),
    }
    assert software(run(stages=stages)) == "tumorprog 0.1, numpy 1.0 and 2.0, Python 3.12.1."
    rows = {row["Software"]: row for row in environment(run(stages=stages)).tables[2].rows}
    assert rows["numpy"]["Stages before the report"] == "1.0 and 2.0"
    assert rows["numpy"]["Report"] == provenance.versions()["numpy"]
    assert rows["scipy"]["Stages before the report"] == "not recorded"


def test_versions_that_were_not_recorded_are_not_stated():
    assert software(run()) == software(run(stages={"grade": {}})) == "The versions of the software are not recorded."
    part = software(run(stages={"train_grader": {}, "grade": stage("3.12.1", numpy="1.0")}))
    assert part == "numpy 1.0, Python 3.12.1. Not recorded for all of it: train-grader."


def test_each_stage_records_the_versions_of_the_packages():
    recorded = provenance.of_this_process()["versions"]
    assert {"tumorprog", "torch", "numpy", "matplotlib"} <= recorded.keys() <= {"tumorprog", *provenance.PACKAGES}


def test_a_number_has_its_noun_in_the_right_form():
    assert [count_of(number, "series", "series") for number in (1, 2)] == ["1 series", "2 series"]
    assert count_of(1127, "slice") == "1,127 slices"
