import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from tumorprog.errors import InputError
from tumorprog.evaluation import baselines
from tumorprog.evaluation.metrics import (
    by_group,
    grader_levels,
    grader_metrics,
    grader_metrics_with_baselines,
    most_confident,
)
from tumorprog.graders.columns import GRADER_PREDICTIONS

P = ["p2", "p3", "p4"]


def graded(patients=24, series=2, slices=4, seed=0, side="test"):
    """Return predictions that are mostly correct, with a row per slice."""
    generator = np.random.default_rng(seed)
    rows = [(p, s, k) for p in range(patients) for s in range(series) for k in range(slices)]
    patient = np.array([row[0] for row in rows])
    grade = patient % 3 + 2
    logits = generator.normal(size=(len(rows), 3)) + 1.2 * (np.arange(2, 5) == grade[:, None])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame(
        {
            "slice": np.arange(len(rows)),
            "PatientID": [f"P{row[0]:02}" for row in rows],
            "StudyInstanceUID": [f"1.{row[0]}" for row in rows],
            "SeriesInstanceUID": [f"1.{row[0]}.{row[1]}" for row in rows],
            "SOPInstanceUID": [f"1.{row[0]}.{row[1]}.{row[2]}" for row in rows],
            "sequence": "FLAIR",
            "Manufacturer": np.where(patient % 2, "GE", "SIEMENS"),
            "Institution": np.where(patient % 4, "Henry Ford", ""),
            "grade": grade.astype(np.int32),
            "side": side,
        }
    )
    return frame.assign(**dict(zip(P, probabilities.astype(np.float32).T, strict=True)))


def values(metrics):
    return {name: metric["value"] for name, metric in metrics.items()}


def test_the_rows_of_the_fixtures_have_the_columns_of_the_tables():
    assert list(graded().columns) == GRADER_PREDICTIONS.names


@pytest.mark.parametrize("level", ["slice", "series", "patient"])
def test_the_metrics_of_the_grader_agree_with_scikit_learn(level):
    table = grader_levels(graded())[level]
    actual = values(grader_metrics(table, resamples=10, seed=0))
    truth, predicted = table["grade"], table["predicted"]
    probabilities = table[P].to_numpy(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    recalls = sklearn.metrics.recall_score(truth, predicted, average=None)
    assert actual["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    assert actual["balanced_accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(truth, predicted))
    assert [actual[f"recall_{grade}"] for grade in (2, 3, 4)] == pytest.approx(recalls)
    auc = sklearn.metrics.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    assert actual["macro_auc"] == pytest.approx(auc, abs=1e-6)


def test_series_and_patients_average_the_probabilities_of_their_slices():
    predictions = graded()
    levels = grader_levels(predictions)
    assert len(levels["slice"]) == len(predictions)
    assert len(levels["series"]) == predictions["SeriesInstanceUID"].nunique()
    assert len(levels["patient"]) == predictions["PatientID"].nunique()
    patient = levels["patient"].set_index("PatientID").loc["P07"]
    slices = predictions[predictions["PatientID"] == "P07"]
    assert patient[P].to_numpy(float) == pytest.approx(slices[P].mean().to_numpy(float))
    assert patient["grade"] == slices["grade"].iloc[0]


def test_a_patient_on_two_sides_has_a_row_for_each_side():
    predictions = graded(patients=3).assign(side=lambda rows: np.where(rows["slice"] % 2, "train", "test"))
    assert grader_levels(predictions)["patient"].groupby("PatientID")["side"].nunique().eq(2).all()


def test_the_metrics_do_not_depend_on_the_order_of_the_rows():
    predictions = graded()
    shuffled = predictions.sample(frac=1.0, random_state=3)
    for name, table in grader_levels(predictions).items():
        first = grader_metrics(table, resamples=50, seed=0)
        second = grader_metrics(grader_levels(shuffled)[name], resamples=50, seed=0)
        assert values(first) == pytest.approx(values(second), abs=1e-6)


def test_n_counts_the_rows_evaluated_and_for_a_recall_those_of_its_grade():
    levels = grader_levels(graded(patients=24, series=2, slices=4))
    for name, count in {"slice": 192, "series": 48, "patient": 24}.items():
        metrics = grader_metrics(levels[name], resamples=10, seed=0)
        assert metrics["accuracy"]["n"] == count
        assert metrics["recall_3"]["n"] == count // 3


def test_more_slices_of_the_same_patients_do_not_narrow_the_interval():
    once = graded(slices=1)
    copies = pd.concat([once] * 20, ignore_index=True)
    first = grader_metrics(grader_levels(once)["slice"], resamples=300, seed=0)["accuracy"]
    second = grader_metrics(grader_levels(copies)["slice"], resamples=300, seed=0)["accuracy"]
    assert (first["lower"], first["upper"]) == pytest.approx((second["lower"], second["upper"]))


def test_undefined_metrics_are_none_and_the_others_are_given():
    without_grade_4 = graded()[lambda rows: rows["grade"] != 4]
    metrics = grader_metrics(grader_levels(without_grade_4)["patient"], resamples=20, seed=0)
    nothing = {"value": None, "lower": None, "upper": None, "reason": "no patient of grade 4"}
    assert metrics["macro_auc"] == {**nothing, "n": 16, "patients": 16}
    assert metrics["recall_4"] == {**nothing, "n": 0, "patients": 0}
    assert metrics["balanced_accuracy"]["value"] is not None


@pytest.mark.parametrize("patients", [0, 1])
def test_fewer_than_two_patients_give_values_without_intervals_that_can_be_written_as_json(patients):
    levels = grader_levels(
        graded(patients=3)[lambda rows: rows["PatientID"].isin([f"P{k:02}" for k in range(patients)])]
    )
    for table in levels.values():
        metrics = grader_metrics(table, resamples=20, seed=0)
        json.dumps(metrics, allow_nan=False)
        assert (metrics["accuracy"]["lower"] is None) == (patients == 0)
        assert metrics["balanced_accuracy"]["lower"] is None
        assert metrics["balanced_accuracy"]["reason"]
        assert (metrics["accuracy"]["value"] is None) == (patients == 0)
    assert by_group(levels["slice"], "Institution", resamples=20, seed=0).keys() <= {"unknown"}


def test_each_institution_is_evaluated_on_its_own_rows():
    table = grader_levels(graded())["patient"]
    groups = by_group(table, "Institution", resamples=20, seed=0)
    assert list(groups) == ["Henry Ford", "unknown"]
    for name, institution in {"unknown": "", "Henry Ford": "Henry Ford"}.items():
        rows = table[table["Institution"] == institution]
        assert groups[name]["accuracy"]["value"] == pytest.approx((rows["grade"] == rows["predicted"]).mean())
        assert groups[name]["accuracy"]["n"] == len(rows)


def test_a_patient_with_two_vendors_is_assigned_to_the_more_frequent_one():
    predictions = graded(patients=1, series=1, slices=5).assign(Manufacturer=["GE", "Philips", "Philips", "GE", "GE"])
    assert grader_levels(predictions)["patient"]["Manufacturer"].tolist() == ["GE"]


@pytest.mark.parametrize(("column", "value", "problem"), [("grade", 1, "grade"), ("p3", np.nan, "probability")])
def test_the_error_for_invalid_rows_gives_their_number(column, value, problem):
    predictions = graded(patients=3)
    predictions.loc[5, column] = value
    with pytest.raises(InputError, match=rf"1 of 24 rows have a {problem}.*row 5"):
        grader_levels(predictions)


def test_random_probabilities_are_at_chance_level():
    predictions = graded(patients=60)
    noise = np.random.default_rng(1).dirichlet(np.ones(3), len(predictions))
    metrics = values(
        grader_metrics(
            grader_levels(predictions.assign(p2=noise[:, 0], p3=noise[:, 1], p4=noise[:, 2]))["slice"],
            resamples=10,
            seed=0,
        )
    )
    assert metrics["balanced_accuracy"] == pytest.approx(1 / 3, abs=0.08)
    assert metrics["macro_auc"] == pytest.approx(0.5, abs=0.08)


def test_the_majority_baseline_is_at_chance_level():
    predictions = graded()
    patients = grader_levels(baselines.majority(predictions, predictions))["patient"]
    metrics = values(grader_metrics(patients, resamples=10, seed=0))
    assert metrics["balanced_accuracy"] == pytest.approx(1 / 3)
    assert metrics["macro_auc"] == 0.5


def confident_row(patient, grade, predicted, confidence, number):
    rest = (1 - confidence) / 2
    return {
        "PatientID": patient,
        "grade": grade,
        "slice": number,
        **{f"p{g}": confidence if g == predicted else rest for g in (2, 3, 4)},
    }


def test_the_most_confident_slices_are_correct_and_incorrect_ones_of_different_patients():
    rows = pd.DataFrame(
        [
            *(confident_row("A", 2, 2, 0.9 + 0.01 * number, number) for number in range(3)),
            confident_row("B", 3, 3, 0.6, 10),
            confident_row("C", 4, 4, 0.5, 11),
            confident_row("D", 4, 2, 0.7, 12),
            confident_row("A", 2, 3, 0.8, 13),
        ]
    )
    found = most_confident(rows, count=4)
    assert found["slice"].tolist() == [2, 10, 13, 12]  # the first of A and of B, then the incorrect ones
    assert found["predicted"].tolist() == [2, 3, 3, 2]
    assert found["confidence"].tolist() == pytest.approx([0.92, 0.6, 0.8, 0.7])
    assert most_confident(rows[rows["grade"] == 3], count=4)["slice"].tolist() == [10]
    assert most_confident(rows, count=6)["slice"].tolist()[:4] == [2, 10, 11, 1]


def with_grades(*counts):
    """Return one row per patient, with the given numbers of patients of grades 2, 3 and 4."""
    grades = np.repeat((2, 3, 4), counts)
    return graded(patients=len(grades), series=1, slices=1).assign(grade=grades)


def always(rows, grade):
    return rows.assign(**{name: float(name == f"p{grade}") for name in P})


def test_a_constants_balanced_accuracy_is_a_third_and_has_no_interval():
    metrics = grader_metrics(grader_levels(always(with_grades(3, 4, 9), 4))["patient"], resamples=100, seed=0)
    balanced = metrics["balanced_accuracy"]
    assert balanced["value"] == pytest.approx(1 / 3)
    assert (balanced["lower"], balanced["upper"]) == (None, None)
    assert balanced["reason"].startswith("every resample")


def test_three_patients_have_wilsons_interval_of_accuracy_and_no_other():
    rows = with_grades(1, 1, 1)
    rows = rows.assign(p2=[0.9, 0.8, 0.1], p3=[0.1, 0.2, 0.1], p4=[0.0, 0.0, 0.8])
    metrics = grader_metrics(grader_levels(rows)["patient"], resamples=100, seed=0)
    assert (metrics["accuracy"]["lower"], metrics["accuracy"]["upper"]) == pytest.approx((0.2077, 0.9385), abs=1e-4)
    assert metrics["balanced_accuracy"]["reason"] == "3 patients; an interval needs 5"
    assert metrics["macro_auc"]["reason"] == "3 patients; an AUC needs 10"
    assert metrics["macro_auc"]["value"] is None


def test_a_perfect_grader_of_few_patients_is_not_certain():
    rows = with_grades(2, 3, 4)
    perfect = rows.assign(**{f"p{grade}": (rows["grade"] == grade).astype(float) for grade in (2, 3, 4)})
    levels = grader_levels(perfect)
    found = grader_metrics_with_baselines(levels, {"majority": always(rows, 4)}, resamples=100, seed=0)["patient"]
    balanced, difference = found["balanced_accuracy"], found["baselines"]["majority"]["difference"]
    assert balanced["value"] == balanced["upper"] == 1.0
    assert 0.6 < balanced["lower"] < 0.85
    assert difference["lower"] == pytest.approx(balanced["lower"] - 1 / 3)
    assert difference["upper"] == pytest.approx(2 / 3)


def test_the_difference_to_a_baseline_is_of_the_same_patients_whatever_the_order_of_the_rows():
    rows = graded(patients=15)
    levels, majority = grader_levels(rows), baselines.majority(rows, rows)
    first = grader_metrics_with_baselines(levels, {"m": majority}, resamples=200, seed=0)
    shuffled = majority.sample(frac=1, random_state=1)
    second = grader_metrics_with_baselines(levels, {"m": shuffled}, resamples=200, seed=0)
    for level in levels:
        model, other = first[level]["balanced_accuracy"], first[level]["baselines"]["m"]["balanced_accuracy"]
        found = first[level]["baselines"]["m"]["difference"]
        assert found["value"] == pytest.approx(model["value"] - other["value"])
        assert found == second[level]["baselines"]["m"]["difference"]


def test_a_subgroup_counts_its_patients_and_few_of_them_have_no_result():
    rows = graded(patients=7, slices=12).assign(
        Institution=lambda table: np.where(table["PatientID"] < "P06", "A", "B")
    )
    groups = by_group(grader_levels(rows)["slice"], "Institution", resamples=50, seed=0)
    assert groups["A"]["accuracy"]["patients"] == 6
    assert groups["A"]["accuracy"]["value"] is not None
    few = groups["B"]["accuracy"]
    assert (few["value"], few["n"], few["reason"]) == (None, 24, "1 patient; a subgroup needs 5")
