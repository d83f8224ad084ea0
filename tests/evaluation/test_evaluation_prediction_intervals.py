import itertools

import numpy as np
import pandas as pd
import pytest

from tumorprog.cohort import splits
from tumorprog.evaluation import prediction_intervals
from tumorprog.evaluation.intervals import wilson
from tumorprog.evaluation.prediction_intervals import (
    add_bounds,
    constant_interval,
    error_factor,
    interval_scores,
    with_intervals,
)

DAYS_PER_MONTH = 30.4375


def rows(patients, predicted, months, fold="x"):
    return pd.DataFrame(
        {
            "PatientID": patients,
            "Predicted_Progression_Timeline": predicted,
            "days": np.asarray(months) * DAYS_PER_MONTH,
            "Fold": fold,
        }
    )


def test_the_factor_is_the_conformal_quantile_of_the_patients_errors():
    errors = np.array([1.1, 1.5, 2.0, 3.0, 1.2])
    factor = error_factor(rows(list("abcde"), 6.0 * errors, np.full(5, 6.0)))
    assert factor == pytest.approx(3.0)  # ceil(0.8 * 6) = 5th smallest
    assert error_factor(rows(list("abcde"), 6.0 / errors, np.full(5, 6.0))) == pytest.approx(3.0)
    assert np.isnan(error_factor(rows(list("abc"), np.ones(3), np.ones(3))))


def test_a_patient_with_many_series_counts_once():
    few = rows(list("abcde"), [6.6, 9.0, 12.0, 18.0, 7.2], np.full(5, 6.0))
    many = pd.concat([few, *[few[few["PatientID"] == "a"]] * 50])
    assert error_factor(many) == pytest.approx(error_factor(few))


def test_the_bounds_are_multiples_of_the_prediction_and_contain_it():
    bounds = add_bounds(rows(["a", "b"], [6.0, 0.0], [1, 1]), 3.0)
    assert bounds["Lower"].tolist() == pytest.approx([2.0, 0.0])
    assert bounds["Upper"].tolist() == pytest.approx([18.0, 0.75])
    assert add_bounds(rows(["a"], [6.0], [1]), np.nan)[["Lower", "Upper"]].isna().all(axis=None)


def leave_out(months, predict, groups=10):
    """Return (predictions of left-out patients, predictions without two groups, groups) of a model.

    Args:
        months: (N,) true months.
        predict: from (indices trained on, indices to predict) to months.
    """
    patients = np.array([f"P{number:03}" for number in range(len(months))])
    assigned = splits.patient_groups(patients, groups=groups, seed=0)
    everyone = np.arange(len(months))
    held_out = [rows(patients[[i]], predict(np.delete(everyone, i), [i]), months[[i]]) for i in everyone]
    left_out = []
    for first, second in itertools.combinations_with_replacement(sorted(assigned.unique()), 2):
        tested = np.flatnonzero(assigned.isin([first, second]))
        name = prediction_intervals.fold_name(first, second)
        trained = np.setdiff1d(everyone, tested)
        left_out.append(rows(patients[tested], predict(trained, tested), months[tested], name))
    return pd.concat(held_out), pd.concat(left_out), assigned


def observed(months, predict, **options):
    predictions, left_out, groups = leave_out(months, predict, **options)
    bounds = with_intervals(predictions, left_out, groups)
    truth = bounds["days"] / DAYS_PER_MONTH
    return float(((bounds["Lower"] <= truth) & (truth <= bounds["Upper"])).mean())


def cohort(n, seed):
    random = np.random.default_rng(seed)
    feature = random.normal(size=n)
    return feature, np.exp(1.5 + 0.6 * feature + random.normal(0, 0.6, n))


def fit_line(feature, months):
    def predict(trained, tested):
        slope, intercept = np.polyfit(feature[trained], np.log(months[trained]), 1)
        return np.exp(intercept + slope * feature[tested])

    return predict


@pytest.mark.parametrize("n", [8, 20])
def test_the_observed_coverage_is_no_identity_and_near_nominal_for_a_sound_model(n):
    """From the errors of the models under test it would be ceil(0.8 n) / n for every model."""
    found = [observed(months, fit_line(feature, months)) for feature, months in (cohort(n, s) for s in range(40))]
    assert np.mean(found) == pytest.approx(0.82, abs=0.06)
    assert len(set(found)) > 1


def test_random_models_have_different_coverage():
    random = np.random.default_rng(0)
    found = []
    for seed in range(60):
        _, months = cohort(12, seed)
        found.append(observed(months, lambda _, tested: np.exp(random.normal(1.5, 1, len(tested)))))
    assert len(set(found)) >= 4
    assert np.std(found) > 0.05


def test_an_overconfident_model_is_found_out():
    """Its errors are small where it knows the patients; the left-out errors come from such patients here."""
    feature, months = cohort(30, 0)
    sound = fit_line(feature, months)

    def memorises(trained, tested):
        known = 0.97 * months[tested] + 0.03 * sound(trained, tested)
        return known if len(tested) > 1 else sound(trained, tested)

    honest, overconfident = observed(months, sound), observed(months, memorises)
    assert wilson(30 * honest, 30).lower < 0.8 < wilson(30 * honest, 30).upper
    assert wilson(30 * overconfident, 30).upper < 0.8


def test_a_patients_interval_does_not_depend_on_its_months_where_no_model_saw_it():
    feature, months = cohort(12, 3)
    predictions, left_out, groups = leave_out(months, fit_line(feature, months))
    before = with_intervals(predictions, left_out, groups)
    extreme = left_out.assign(days=left_out["days"].where(left_out["PatientID"] != "P004", 9999.0))
    after = with_intervals(predictions, extreme, groups)
    own = before["PatientID"] == "P004"
    assert before[own].equals(after[own])
    assert not before[~own].equals(after[~own])


def test_of_few_patients_every_pair_is_left_out_and_no_patient_has_a_part_in_its_interval():
    _, months = cohort(6, 0)
    used = []

    def predict(trained, tested):
        used.append((set(trained), set(tested)))
        return np.full(len(tested), 3.0)

    leave_out(months, predict)
    pairs = [tested for _, tested in used if len(tested) == 2]
    assert len(pairs) == 15
    assert all(trained.isdisjoint(tested) for trained, tested in used)


def test_the_interval_without_images_is_made_of_order_statistics():
    assert constant_interval(np.arange(1.0, 10.0)) == (1.0, 9.0)
    assert constant_interval(np.arange(1.0, 20.0)) == (2.0, 18.0)
    assert np.isnan(constant_interval(np.arange(1.0, 9.0))).all()


def test_the_interval_score_is_the_width_and_ten_times_the_distance_missed():
    truth, lower, upper = np.array([5.0, 1.0, 9.0]), np.full(3, 2.0), np.full(3, 8.0)
    np.testing.assert_allclose(interval_scores(truth, lower, upper), [6.0, 6.0 + 10, 6.0 + 10])


def test_the_interval_score_is_lowest_for_the_true_quantiles():
    months = np.random.default_rng(0).lognormal(1, 1, 20000)
    scores = {
        level: interval_scores(
            months, *(np.quantile(months, tail) * np.ones(20000) for tail in (level, 1 - level))
        ).mean()
        for level in (0.02, 0.1, 0.3)
    }
    assert min(scores, key=scores.get) == 0.1


def test_the_factor_of_a_patient_with_many_rows_is_computed_once(monkeypatch):
    feature, months = cohort(8, 0)
    predictions, left_out, groups = leave_out(months, fit_line(feature, months))
    computed = []

    def counted(rows):
        computed.append(rows)
        return error_factor(rows)

    monkeypatch.setattr(prediction_intervals, "error_factor", counted)
    bounds = with_intervals(pd.concat([predictions] * 3), left_out, groups)
    assert len(computed) == 8
    assert bounds["Lower"].notna().all()
