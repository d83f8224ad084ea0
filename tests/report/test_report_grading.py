"""The evaluation of the grader's predictions in a run directory, and how its sections word them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorprog import tables
from tumorprog.evaluation import metrics
from tumorprog.evaluation.evidence import preference as measure_preference
from tumorprog.graders import resnet18
from tumorprog.graders.columns import GRADER_PREDICTIONS, HISTORY
from tumorprog.report import drawing
from tumorprog.report.grading import figures, sections, verdicts
from tumorprog.report.grading import results as grading_results
from tumorprog.settings import Settings, with_values

SETTINGS = with_values(Settings(), {"report.bootstrap": 200, "report.evidence_slices": 0})
NO_MASKS = pd.DataFrame({"sequence": []})


def predictions(patients=30, *, test=15, skill=0.5, seed=0, slices=2):
    """Predictions of which the first `test` patients are the test set; institution and vendor coincide."""
    generator = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        grade = 2 + patient % 3
        for number in range(slices):
            probabilities = (1 - skill) * generator.dirichlet([1, 1, 1]) + skill * np.eye(3)[grade - 2]
            site = "Henry Ford" if patient % 5 else "Jefferson"
            rows.append(
                {
                    **{"slice": patient * slices + number, "PatientID": f"P{patient:02}", "grade": grade},
                    **{"StudyInstanceUID": f"1.{patient}", "SeriesInstanceUID": f"1.{patient}.1"},
                    **{"SOPInstanceUID": f"1.{patient}.1.{number}", "sequence": "T1post", "Institution": site},
                    **{"Manufacturer": "GE" if patient % 5 else "SIEMENS"},
                    **{"side": "test" if patient < test else "train"},
                    **dict(zip(("p2", "p3", "p4"), probabilities, strict=True)),
                }
            )
    return pd.DataFrame(rows)


def write_predictions(folder, rows):
    folder.mkdir(parents=True)
    table = pa.Table.from_pandas(rows, GRADER_PREDICTIONS, preserve_index=False)
    tables.write_shard(folder / "predictions.parquet", table, GRADER_PREDICTIONS)


@pytest.fixture
def run(tmp_path):
    """Return a function that writes a run directory with predictions and repetitions."""

    def write(rows, *, seeds=(), null=()):
        folder = tmp_path / "grader"
        write_predictions(folder, rows)
        description = {**resnet18.DESCRIPTION, "protocol": "patient", "initial_weights": "none", "scaling": "robust"}
        tables.write_json(folder / "model.json", description)
        tables.write_csv(
            folder / "history.csv", pd.DataFrame([(1, 1.1, 40, 1.2, 35, 1.3, 30, True)], columns=HISTORY), HISTORY
        )
        tables.write_csv(folder / "leaks.csv", pd.DataFrame({"what": []}), ["what"])
        for number, repetition in enumerate(seeds, start=1):
            write_predictions(folder / "seeds" / f"seed-{number}", repetition)
        for number, repetition in enumerate(null, start=1):
            write_predictions(folder / "null" / f"draw-{number}", repetition)
        return tmp_path

    return write


def evaluate(folder):
    protocol, scores, shown = grading_results.evaluate(folder, "grader", NO_MASKS, SETTINGS)
    json.dumps(scores, allow_nan=False)
    (section,) = sections.sections({protocol: scores}, {protocol: shown})
    return scores, section


def accuracy(rows):
    patients = metrics.grader_levels(rows[rows["side"] == "test"])["patient"]
    return metrics.grader_metrics(patients, resamples=10, seed=0)["balanced_accuracy"]["value"]


def test_repetitions_are_evaluated_per_patient_on_the_test_set(run):
    rows = predictions(skill=0.9)
    others = [predictions(skill=skill, seed=seed) for seed, skill in enumerate((0.2, 0.4))]
    permuted = [predictions(skill=0.0, seed=seed) for seed in range(12)]
    scores, section = evaluate(run(rows, seeds=others, null=permuted))
    assert scores["seeds"]["balanced_accuracy"]["values"] == [accuracy(rows), *map(accuracy, others)]
    assert scores["null_control"]["draws"] == list(map(accuracy, permuted))  # draw 10 comes after draw 9
    assert scores["null_control"]["p"] == pytest.approx(1 / 13)
    assert "null control" not in scores["patient"]["baselines"]
    text = " ".join(section.paragraphs)
    assert "3 trainings that differ in their seed only" in text
    assert "12 trainings with the grades permuted" in text
    assert "p = 0.077" in text
    table = next(table for table in section.tables if "repeated trainings" in table.caption)
    assert [row["Number"] for row in table.rows] == [3, 12]


def test_without_repetitions_neither_metrics_nor_texts_mention_them(run):
    scores, section = evaluate(run(predictions()))
    assert not scores.keys() & {"seeds", "null_control", "evidence"}
    assert "seed only" not in " ".join(section.paragraphs)


def test_the_primary_metric_comes_first_and_the_verdict_follows_from_the_paired_difference(run):
    scores, section = evaluate(run(predictions(skill=0.25)))
    assert section.paragraphs[0].startswith(
        "Primary metric, held-out patients: balanced accuracy per patient, 15 patients"
    )
    assert "better than the majority class" in section.paragraphs[1]
    assert next(iter(section.tables[0].rows[0].values())) == "Balanced accuracy"
    assert "per patient" in section.tables[0].caption
    assert 0 < scores["patient"]["weighted_kappa"]["value"] < 1


def test_three_patients_give_reasons_instead_of_intervals_diagrams_and_bars(run):
    scores, section = evaluate(run(predictions(test=3, slices=20)))
    assert "not comparable with the majority class" in section.paragraphs[1]
    assert scores["slice"]["calibration"]["brier_score"]["reason"] == "3 patients; calibration per slice needs 30"
    text = " ".join(section.paragraphs)
    assert "With 3 patients calibration is not estimated per patient (needs 50 patients), per series" in text
    assert "Henry Ford, GE (2 patients, 40 slices): too few; Jefferson, SIEMENS (1 patient, 20 slices): too few" in text
    names = {picture.name for picture in section.pictures}
    assert not [name for name in names if "reliability" in name or "institution" in name]


def test_an_institution_that_is_also_the_only_one_of_a_vendor_is_one_group(run):
    text = " ".join(evaluate(run(predictions(60, test=30)))[1].paragraphs)
    assert "their effects cannot be separated" in text
    assert "By institution:" not in text


def test_institutions_and_vendors_that_differ_are_two_groupings(run):
    rows = predictions(60, test=30)
    rows.loc[rows["PatientID"] == "P01", "Manufacturer"] = "SIEMENS"
    _, section = evaluate(run(rows))
    text = " ".join(section.paragraphs)
    assert "cannot be separated" not in text
    assert "By institution: Henry Ford (24 patients, 48 slices): balanced accuracy" in text
    assert len([picture for picture in section.pictures if "institution" in picture.name]) == 1
    assert len([picture for picture in section.pictures if "manufacturer" in picture.name]) == 1


def test_a_picture_says_its_result_without_being_seen(run):
    scores, section = evaluate(run(predictions(60, test=30)))
    alts = {picture.name: picture.alt for picture in section.pictures}
    value = scores["patient"]["balanced_accuracy"]["value"]
    assert f"model {value:.2f}" in alts["figures/grader-patient-baselines.svg"]
    assert "training accuracy from 40% to 40%" in alts["figures/grader-patient-history.svg"]
    assert "of 30 patients" in alts["figures/grader-patient-confusion.svg"]


def test_the_paper_protocol_is_marked_and_has_no_primary_metric(run):
    _, scores, shown = grading_results.evaluate(run(predictions()), "grader", NO_MASKS, SETTINGS)
    leaks = pd.DataFrame({"what": ["patient", "patient"]})
    first, second, comparison = sections.sections(
        {"patient": scores, "paper": scores}, {"patient": shown, "paper": replace(shown, leaks=leaks)}
    )
    assert (first.leaking, second.leaking, comparison.leaking) == (False, True, False)
    assert second.paragraphs[0].startswith("With leakage, and therefore not a result on new patients")
    assert all(table.leaking == frozenset(range(len(table.rows))) for table in second.tables)


def test_chance_and_the_majority_class_are_lines_and_not_bars():
    metric = {"value": 0.5, "lower": 0.4, "upper": 0.6, "n": 9, "patients": 9, "reason": ""}
    score = dict.fromkeys(("balanced_accuracy", "recall_2", "recall_3", "recall_4"), metric)

    def lines(majority):
        other = {"balanced_accuracy": {**metric, "value": majority}}
        grader = {"patient": {"patient": {**score, "baselines": {"majority": other, "institution": score}}}}
        (figure,) = figures.grader_with_baselines(grader)
        (axes,) = figure.axes
        assert [label.get_text() for label in axes.get_yticklabels()] == ["model", "institution only"]
        vertical = [line for line in axes.lines if len(set(line.get_xdata())) == 1 and line.get_label()[0] != "_"]
        return {line.get_label(): line.get_xdata()[0] for line in vertical}

    assert lines(1 / 3) == {"chance and majority class (0.33)": pytest.approx(1 / 3)}
    assert lines(0.2) == {"chance (0.33)": pytest.approx(1 / 3), "majority class (0.20)": 0.2}
    score["recall_3"] = {**metric, "value": None}
    assert lines(0.2)["chance (0.50)"] == 0.5


def test_the_test_set_is_not_in_the_learning_curves():
    history = pd.DataFrame([(1, 1.1, 40, 1.2, 35, 99.0, 99.0, True)] * 2, columns=HISTORY)
    drawn = figures.learning_curves(history)
    heights = [value for figure in drawn for axes in figure.axes for line in axes.lines for value in line.get_ydata()]
    assert 99.0 not in heights


def test_points_of_the_reliability_diagram_are_not_joined():
    bins = pd.DataFrame(
        {
            "confidence": [0.4, 0.8],
            "accuracy": [0.3, 0.9],
            "lower": [0.1, 0.6],
            "upper": [0.6, 1.0],
            "patients": 12,
            "count": 24,
        }
    )
    (figure,) = figures.reliability({"slice": bins}, "Reliability")
    (axes,) = figure.axes
    joined = [line for line in axes.lines if line.get_linestyle() not in {"None", "--"}]
    assert not joined
    drawing.png([figure])


def preference(difference, lower, upper, *, reason=""):
    def metric(value, lower=None, upper=None):
        return {"value": value, "lower": lower, "upper": upper, "n": 12, "patients": 12, "reason": reason}

    shares = {"evidence": metric(0.6 + difference), "area": metric(0.6)}
    return {**shares, "difference": metric(difference, lower, upper), "slices": 200, "without_evidence": 3}


@pytest.mark.parametrize(
    ("found", "head", "tumour"),
    [
        (preference(0.03, -0.02, 0.08), "No preference for the head", "No preference for the tumour"),
        (
            preference(0.1, 0.05, 0.2),
            "The evidence prefers what is outside the head",
            "The evidence prefers the tumour",
        ),
        (preference(-0.1, -0.2, -0.05), "The evidence prefers the head", "The evidence avoids the tumour"),
        (preference(0.1, None, None, reason="3 patients"), "Too few patients to say", "Too few patients to say"),
    ],
)
def test_the_verdict_on_the_evidence_follows_from_the_interval_of_the_difference(found, head, tumour):
    measured = {region: {"model": found, "random": found} for region in ("outside_head", "in_tumour")}
    outside, inside = verdicts.evidence(measured)
    assert outside.startswith(head)
    assert inside.startswith(tumour)
    assert "random weights" in outside
    assert "3 slices have an empty heat map" in outside


def test_shares_are_percentages_and_differences_are_points():
    (sentence,) = verdicts.evidence({"outside_head": {"model": preference(0.03, -0.02, 0.08)}})
    assert (
        "63% of the evidence against 60% of the frame lies outside the head (difference +3 points, -2 to 8)" in sentence
    )
    assert "200 slices of 12 patients" in sentence


def test_the_preference_is_the_mean_of_the_patients_and_counts_slices_without_evidence():
    shares = pd.DataFrame(
        [("A", 0.9, 0.5)] * 8 + [("B", 0.1, 0.5)] + [("B", np.nan, np.nan)], columns=["PatientID", "evidence", "area"]
    )
    found = measure_preference(shares, resamples=20, seed=0)
    assert found["evidence"]["value"] == pytest.approx(0.5)
    assert found["difference"]["value"] == pytest.approx(0.0)
    assert (found["evidence"]["patients"], found["slices"], found["without_evidence"]) == (2, 9, 1)
