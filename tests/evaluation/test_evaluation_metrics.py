import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from scipy.stats import somersd

from tumorprog.errors import InputError
from tumorprog.evaluation import baselines, combination
from tumorprog.evaluation.metrics import (
    by_group,
    concordance,
    grader_levels,
    grader_metrics,
    most_confident,
    progression_metrics,
    reliability_bins,
)
from tumorprog.graders.columns import GRADER_PREDICTIONS
from tumorprog.progression.columns import PROGRESSION_PREDICTIONS

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


def months(patients=12, series=5, seed=0):
    """Return predictions of one protocol and cohort, with one truth per patient."""
    generator = np.random.default_rng(seed)
    days = np.repeat(generator.integers(20, 900, patients), series)
    predicted = days / 30.4375 + generator.normal(scale=4, size=len(days))
    return pd.DataFrame(
        {
            "PatientID": np.repeat([f"PGBM-{k:03}" for k in range(patients)], series),
            "date": "1991-11-19",
            "Type": np.tile([f"T{k}" for k in range(series)], patients),
            "Predicted_Progression_Timeline": predicted,
            "Lower": predicted - 5,
            "Upper": predicted + 5,
            "days": days,
            "MonthDif": days // 31,
            "Weight": 1.0,
            **{"Protocol": "patient", "Cohort": "all", "Fold": "one"},
        }
    )


def values(metrics):
    return {name: metric["value"] for name, metric in metrics.items()}


def test_the_rows_of_the_fixtures_have_the_columns_of_the_tables():
    assert list(graded().columns) == GRADER_PREDICTIONS.names
    assert set(months().columns) <= set(PROGRESSION_PREDICTIONS)


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


def test_the_calibration_error_is_the_weighted_gap_of_fifteen_bins():
    table = grader_levels(graded())["slice"]
    confidence = table[P].max(axis=1)
    correct = (table["grade"] == table["predicted"]).astype(float)
    bins = pd.cut(confidence, np.linspace(0, 1, 16))
    gaps = (confidence - correct).groupby(bins, observed=True).agg(["mean", "size"])
    expected = (gaps["mean"].abs() * gaps["size"]).sum() / len(table)
    actual = grader_metrics(table, resamples=10, seed=0)["expected_calibration_error"]["value"]
    assert actual == pytest.approx(expected, abs=1e-6)
    drawn = reliability_bins(table)
    assert drawn["count"].sum() == len(table)
    weighted = ((drawn["accuracy"] - drawn["confidence"]).abs() * drawn["count"]).sum() / len(table)
    assert weighted == pytest.approx(expected, abs=1e-6)


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
    assert metrics["macro_auc"] == {"value": None, "lower": None, "upper": None, "n": 16}
    assert metrics["recall_4"] == {"value": None, "lower": None, "upper": None, "n": 0}
    assert metrics["balanced_accuracy"]["value"] is not None


@pytest.mark.parametrize("patients", [0, 1])
def test_fewer_than_two_patients_give_values_without_intervals_that_can_be_written_as_json(patients):
    levels = grader_levels(
        graded(patients=3)[lambda rows: rows["PatientID"].isin([f"P{k:02}" for k in range(patients)])]
    )
    for table in levels.values():
        metrics = grader_metrics(table, resamples=20, seed=0)
        json.dumps(metrics, allow_nan=False)
        assert metrics["accuracy"]["lower"] is None
        assert (metrics["accuracy"]["value"] is None) == (patients == 0)
    json.dumps(progression_metrics(months(patients=patients), resamples=20, seed=0), allow_nan=False)
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


def test_the_metrics_of_the_months_agree_with_scikit_learn():
    rows = months()
    metrics = {
        name: progression_metrics(level, resamples=10, seed=0)
        for name, level in (("series", rows), ("patient", combination.combine_by_patient(rows)))
    }
    truth, predicted = rows["days"] / 30.4375, rows["Predicted_Progression_Timeline"]
    actual = values(metrics["series"])
    assert actual["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(truth, predicted))
    assert actual["median_ae"] == pytest.approx(sklearn.metrics.median_absolute_error(truth, predicted))
    assert actual["rmse"] == pytest.approx(sklearn.metrics.root_mean_squared_error(truth, predicted))
    assert actual["coverage"] == pytest.approx(np.mean(np.abs(truth - predicted) <= 5))
    by_patient = predicted.groupby(rows["PatientID"]).mean()
    assert values(metrics["patient"])["mae"] == pytest.approx(
        sklearn.metrics.mean_absolute_error(truth.groupby(rows["PatientID"]).first(), by_patient)
    )
    assert metrics["series"]["mae"]["n"] == 60
    assert metrics["patient"]["mae"]["n"] == 12


def test_concordance_is_somers_d_rescaled_to_the_unit_interval():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(0, 8, 50).astype(float), generator.integers(0, 8, 50).astype(float)
    assert concordance(truth, predicted) == pytest.approx((somersd(truth, predicted).statistic + 1) / 2)


def test_concordance_is_one_for_the_correct_order_zero_for_the_reverse_and_half_for_a_constant():
    truth = np.array([1.0, 2.0, 2.0, 5.0])
    assert concordance(truth, truth**2) == 1.0
    assert concordance(truth, -truth) == 0.0
    assert concordance(truth, np.ones(4)) == 0.5
    assert np.isnan(concordance(np.ones(4), truth))


def test_without_intervals_only_the_coverage_is_undefined():
    metrics = progression_metrics(months(patients=3).assign(Lower=np.nan, Upper=np.nan), resamples=20, seed=0)
    assert metrics["coverage"] == {"value": None, "lower": None, "upper": None, "n": 15}
    assert metrics["mae"]["value"] is not None


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
