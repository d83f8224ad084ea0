import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from tumorprog.evaluation import calibration
from tumorprog.evaluation.calibration import (
    brier,
    calibration_metrics,
    in_the_large,
    recalibration,
    reliability_bins,
    too_few,
)
from tumorprog.evaluation.intervals import wilson


def level(patients, *, rows=1, seed=0, shift=0.0):
    """Predictions that are right with the probability of logit(confidence) - shift, alike within a patient."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.36, 0.98, patients).repeat(rows)
    right = (generator.random(patients) < expit(logit(confidence[::rows]) - shift)).repeat(rows)
    predicted = generator.integers(0, 3, patients * rows)
    probabilities = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    grade = np.where(right, predicted, (predicted + 1) % 3) + 2
    names = np.array([f"P{number:04}" for number in range(patients)]).repeat(rows)
    columns = dict(zip(("p2", "p3", "p4"), probabilities.T, strict=True))
    return pd.DataFrame({"PatientID": names, "grade": grade, "predicted": predicted + 2, **columns})


def confidence_and_correct(table):
    return table[["p2", "p3", "p4"]].max(axis=1).to_numpy(), (table["grade"] == table["predicted"]).to_numpy(float)


@pytest.mark.parametrize(("name", "minimum"), [("patient", 50), ("series", 30), ("slice", 30)])
def test_nothing_is_estimated_with_too_few_patients_however_many_slices_they_have(name, minimum):
    small = level(minimum - 1, rows=1 if name == "patient" else 30)
    found = calibration_metrics(small, name, resamples=20, seed=0)
    assert {metric["value"] for metric in found.values()} == {None}
    assert {metric["reason"] for metric in found.values()} == {too_few(small, name)}
    assert str(minimum) in too_few(small, name)
    enough = calibration_metrics(level(minimum, seed=1), name, resamples=20, seed=0)
    assert enough["brier_score"]["value"] is not None


@pytest.mark.parametrize("seed", range(3))
def test_the_recalibration_is_a_logistic_regression(seed):
    confidence, correct = confidence_and_correct(level(300, seed=seed))
    weights = np.random.default_rng(seed).uniform(0.2, 1, 300)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    oracle.fit(logit(confidence)[:, None], correct, sample_weight=weights)
    intercept, slope = recalibration(confidence, correct, weights)
    assert intercept == pytest.approx(oracle.intercept_[0], abs=1e-4)
    assert slope == pytest.approx(oracle.coef_[0, 0], abs=1e-4)
    # with slope 1 the expected and the observed numbers of correct predictions are equal
    large = in_the_large(confidence, correct, weights)
    assert weights @ expit(logit(confidence) + large) == pytest.approx(weights @ correct, abs=1e-6)


def test_calibration_in_the_large_finds_how_much_confidence_is_too_high():
    confidence, correct = confidence_and_correct(level(5000, shift=0.8))
    assert in_the_large(confidence, correct, np.ones(5000)) == pytest.approx(-0.8, abs=0.1)


@pytest.mark.parametrize("correct", [np.ones(20), np.repeat([0.0, 1.0], 10)])
def test_a_fit_without_a_finite_optimum_is_undefined(correct):
    confidence = np.linspace(0.4, 0.95, 20)  # sorted, so that the second case is separable
    assert np.isnan(recalibration(confidence, correct, np.ones(20))).all()


def test_the_slices_of_a_patient_count_as_one():
    """Repeating the rows of some patients changes no estimate and no interval."""
    table = level(60)
    repeated = pd.concat([table, *[table.head(20)] * 6])
    once, often = (calibration_metrics(rows, "slice", resamples=50, seed=0) for rows in (table, repeated))
    for name in ("brier_score", "calibration_slope", "calibration_in_the_large"):
        for end in ("value", "lower", "upper", "patients"):
            assert once[name][end] == pytest.approx(often[name][end], abs=1e-5)


def test_the_brier_score_is_the_mean_squared_distance_over_the_grades():
    table = pd.DataFrame(
        {
            "PatientID": ["A", "A", "B"],
            "grade": [2, 2, 4],
            "p2": [1, 0, 1 / 3],
            "p3": [0, 1, 1 / 3],
            "p4": [0, 0, 1 / 3],
        }
    )
    # 0 and 2 for the slices of A, 1/9 + 1/9 + 4/9 for B
    assert brier(table, resamples=10, seed=0)["value"] == pytest.approx((1 + 2 / 3) / 2)


def test_bins_have_equal_mass_and_intervals_by_patients():
    bins = reliability_bins(level(60, rows=5))
    assert len(bins) == 5
    assert bins["count"].tolist() == [60] * 5
    assert bins["patients"].between(12, 13).all()
    for row in bins.to_dict("records"):
        expected = wilson(row["accuracy"] * row["patients"], row["patients"])
        assert (row["lower"], row["upper"]) == pytest.approx((expected.lower, expected.upper))
    assert bins["confidence"].is_monotonic_increasing


@pytest.mark.parametrize(("patients", "expected"), [(10, 1), (19, 1), (20, 2), (35, 3), (400, 5)])
def test_there_are_as_many_bins_as_leave_ten_patients_in_each(patients, expected):
    bins = reliability_bins(level(patients))
    assert len(bins) == expected
    assert (bins["patients"] >= 10).all()


def test_the_error_by_chance_is_that_of_perfectly_calibrated_graders_in_the_same_sample():
    perfect = [calibration_metrics(level(80, seed=seed), "patient", resamples=10, seed=0) for seed in range(60)]
    observed = np.mean([found["expected_calibration_error"]["value"] for found in perfect])
    by_chance = np.mean([found["expected_by_chance"]["value"] for found in perfect])
    assert observed == pytest.approx(by_chance, abs=0.012)
    assert by_chance > 0.05
    assert perfect[0]["expected_by_chance"]["lower"] is None
    assert perfect[0]["expected_calibration_error"]["reason"]


def test_the_error_by_chance_falls_with_the_patients_and_not_with_the_slices(monkeypatch):
    monkeypatch.setattr(calibration, "_SIMULATIONS", 200)

    def by_chance(table):
        return calibration_metrics(table, "slice", resamples=10, seed=0)["expected_by_chance"]["value"]

    few, many_slices, many = by_chance(level(60)), by_chance(level(60, rows=8)), by_chance(level(480))
    assert many < 0.6 * few
    assert many_slices == pytest.approx(few, rel=0.15)
