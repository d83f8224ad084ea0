import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from tumorprog.cohort.timeline import PUBLISHED_DAYS
from tumorprog.evaluation import baselines
from tumorprog.evaluation.metrics import grader_levels
from tumorprog.evaluation.progression import concordance, progression_metrics


def slices(rows, probabilities=(0.2, 0.3, 0.5)):
    """Rows of (patient, institution, grade, number of slices)."""
    frame = pd.DataFrame(
        [(patient, institution, grade) for patient, institution, grade, count in rows for _ in range(count)],
        columns=["PatientID", "Institution", "grade"],
    )
    low, middle, high = probabilities
    known = {"slice": range(len(frame)), "SeriesInstanceUID": "1", "Manufacturer": "GE", "side": "test"}
    return frame.assign(**known, p2=low, p3=middle, p4=high)


def test_the_leave_one_patient_out_error_of_the_median_on_the_published_intervals_is_4_35_months():
    """The baseline on the real collection, compared with a direct computation."""
    predictions = baselines.on_published_intervals()
    metrics = {name: progression_metrics(rows, resamples=20, seed=0) for name, rows in predictions.items()}
    assert metrics["median"]["mae"]["value"] == pytest.approx(4.35, abs=0.005)
    assert metrics["median"]["median_ae"]["value"] == pytest.approx(1.71, abs=0.005)
    months = np.array(PUBLISHED_DAYS) / 30.4375
    expected = [abs(np.mean(np.delete(months, k)) - months[k]) for k in range(20)]
    assert metrics["mean"]["mae"]["value"] == pytest.approx(np.mean(expected))
    assert {metric["n"] for by_name in metrics.values() for metric in by_name.values()} == {20}


def test_the_majority_counts_patients_rather_than_slices():
    train = slices([("A", "x", 2, 1), ("B", "x", 2, 1), ("C", "x", 4, 100)])
    predicted = grader_levels(baselines.majority(train, slices([("T", "x", 3, 2)])))["slice"]
    assert predicted["predicted"].tolist() == [2, 2]
    assert predicted[["p2", "p3", "p4"]].iloc[0].tolist() == pytest.approx([2 / 3, 0, 1 / 3])


def test_institution_frequencies_are_used_and_overall_frequencies_for_an_unknown_institution():
    train = slices([("A", "x", 2, 3), ("B", "x", 2, 3), ("C", "y", 4, 3)])
    test = slices([("T", "y", 2, 1), ("U", "x", 2, 1), ("V", "z", 4, 1)])
    predicted = baselines.institution(train, test)[["p2", "p3", "p4"]].to_numpy()
    assert predicted == pytest.approx(np.array([[0, 0, 1], [1, 0, 0], [2 / 3, 0, 1 / 3]]))


@pytest.mark.parametrize("baseline", [baselines.majority, baselines.institution])
def test_a_grader_baseline_does_not_use_the_truth_of_the_test_set(baseline):
    train = slices([("A", "x", 2, 1), ("B", "y", 4, 2)])
    test = slices([("T", "x", 3, 2), ("U", "y", 2, 1)])
    altered = test.assign(grade=4)
    assert baseline(train, test).drop(columns="grade").equals(baseline(train, altered).drop(columns="grade"))
    assert baseline(train, test).drop(columns=["p2", "p3", "p4"]).equals(test.drop(columns=["p2", "p3", "p4"]))


@pytest.mark.parametrize("baseline", [baselines.majority, baselines.institution])
def test_an_empty_test_set_gives_no_rows(baseline):
    train = slices([("A", "x", 2, 1)])
    assert len(baseline(train, train.iloc[:0])) == 0


def test_constants_are_the_mean_and_the_median_of_the_training_months():
    train = np.array([1.0, 2.0, 9.0])
    assert baselines.mean_months(train, 2).tolist() == [4.0, 4.0]
    assert baselines.median_months(train, 3).tolist() == [2.0, 2.0, 2.0]


def test_ridge_is_the_closed_form_on_standardised_features():
    generator = np.random.default_rng(0)
    x, y, new = generator.normal(3, 5, (30, 4)), generator.uniform(20, 30, 30), generator.normal(3, 5, (6, 4))
    z, z_new = (x - x.mean(0)) / x.std(0), (new - x.mean(0)) / x.std(0)
    weights = np.linalg.solve(z.T @ z + baselines.RIDGE_PENALTY * np.eye(4), z.T @ (y - y.mean()))
    assert baselines.ridge_on_mean_features(x, y, new) == pytest.approx(y.mean() + z_new @ weights)


def test_ridge_is_standardised_on_the_training_set_only():
    generator = np.random.default_rng(0)
    x, y, new = generator.normal(size=(30, 4)), generator.uniform(20, 30, 30), generator.normal(size=(6, 4))
    alone = baselines.ridge_on_mean_features(x, y, new[:1])
    with_others = baselines.ridge_on_mean_features(x, y, np.vstack([new[:1], 1000 * new[1:]]))
    assert with_others[0] == pytest.approx(alone[0])


def test_ridge_does_not_depend_on_the_scale_of_the_features_and_accepts_constant_features():
    generator = np.random.default_rng(0)
    x, y, new = generator.normal(size=(30, 4)), generator.uniform(20, 30, 30), generator.normal(size=(6, 4))
    scaled = baselines.ridge_on_mean_features(x * [1, 10, 1e4, 1e-3], y, new * [1, 10, 1e4, 1e-3])
    assert scaled == pytest.approx(baselines.ridge_on_mean_features(x, y, new))
    raw = Ridge(alpha=baselines.RIDGE_PENALTY).fit(x, y).predict(new)
    assert scaled != pytest.approx(raw)
    x[:, 0] = 7.0
    assert np.isfinite(baselines.ridge_on_mean_features(x, y, new)).all()


def test_ridge_never_predicts_less_than_zero_months():
    x = np.arange(300.0)[:, None]
    assert baselines.ridge_on_mean_features(x, x[:, 0], np.array([[-500.0]])).tolist() == [0.0]


def test_the_concordance_of_the_mean_is_zero_in_leave_one_patient_out():
    months = np.unique(np.array(PUBLISHED_DAYS)) / 30.4375
    predicted = np.array([baselines.mean_months(np.delete(months, k), 1)[0] for k in range(len(months))])
    assert concordance(months, predicted) == 0.0


def test_log_volume_is_the_least_squares_line_in_logarithms():
    generator = np.random.default_rng(0)
    volumes = generator.uniform(0, 60, 15)
    months = 20 / (1 + volumes) ** 0.5 * np.exp(generator.normal(0, 0.1, 15))
    slope, intercept = np.polyfit(np.log1p(volumes), np.log(months), 1)
    predicted = baselines.log_volume(volumes, months, np.array([3.0, 30.0]))
    assert predicted == pytest.approx(np.exp(intercept + slope * np.log1p([3.0, 30.0])))


def test_a_tumour_without_a_mask_is_assigned_the_mean_log_volume():
    volumes, months = np.array([1.0, 9.0, np.nan]), np.array([8.0, 2.0, 4.0])
    predicted = baselines.log_volume(volumes, months, np.array([np.nan, 1.0]))
    assert predicted[0] == pytest.approx(4.0)  # the geometric mean of all three
    assert predicted[1] > predicted[0]
    assert baselines.log_volume(np.full(3, np.nan), months, np.array([5.0])) == pytest.approx([4.0])
    assert baselines.log_volume(np.full(3, 7.0), months, np.array([70.0])) == pytest.approx([4.0])


def test_log_volume_predictions_stay_within_the_training_months():
    predicted = baselines.log_volume(np.array([1.0, 2.0]), np.array([9.0, 3.0]), np.array([0.0, 1e6]))
    assert predicted == pytest.approx([9.0, 3.0])
