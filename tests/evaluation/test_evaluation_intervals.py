import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorprog.evaluation.intervals import bootstrap, group_rows, observed_coverage, prediction_intervals


def interval_of_mean(values, groups, seed=0, resamples=2000):
    return bootstrap(groups, lambda rows: float(values[rows].mean()), resamples=resamples, seed=seed)


def test_with_one_row_per_patient_the_interval_agrees_with_the_percentile_bootstrap_of_scipy():
    values = np.random.default_rng(1).exponential(size=40)
    actual = interval_of_mean(values, np.arange(40), resamples=9999)
    reference = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=3)
    expected = reference.confidence_interval
    assert actual == pytest.approx((expected.low, expected.high), abs=0.02)


def test_copying_the_rows_of_every_patient_does_not_change_the_interval():
    values = np.random.default_rng(1).normal(size=12)
    alone = interval_of_mean(values, np.arange(12))
    copied = interval_of_mean(np.repeat(values, 50), np.repeat(np.arange(12), 50))
    assert copied == pytest.approx(alone)


def test_a_resample_contains_all_rows_of_each_drawn_patient():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    resamples = []
    bootstrap(groups, lambda rows: resamples.append(rows) or 0.0, resamples=50, seed=0)
    rows_of = {name: np.flatnonzero(groups == name) for name in "abc"}
    for rows in resamples:
        drawn = [int((groups[rows] == name).sum()) // len(rows_of[name]) for name in "abc"]
        assert sum(drawn) == 3
        expected = np.concatenate([np.tile(rows_of[name], times) for name, times in zip("abc", drawn, strict=True)])
        assert sorted(rows) == sorted(expected)


@pytest.mark.parametrize("groups", [np.array([]), np.array(["only", "only", "only"])])
def test_there_is_no_interval_for_fewer_than_two_patients(groups):
    assert np.isnan(bootstrap(groups, lambda rows: float(len(rows)), resamples=20, seed=0)).all()


def test_undefined_resamples_are_excluded_and_a_majority_of_them_gives_no_interval():
    groups = np.arange(10)
    few_undefined = bootstrap(groups, lambda rows: np.nan if rows[0] == 0 else 1.0, resamples=200, seed=0)
    many_undefined = bootstrap(groups, lambda rows: np.nan if rows[0] != 0 else 1.0, resamples=200, seed=0)
    assert few_undefined == (1.0, 1.0)
    assert np.isnan(many_undefined).all()


def test_the_interval_is_reproducible_and_depends_on_the_seed():
    values = np.random.default_rng(1).normal(size=15)
    assert interval_of_mean(values, np.arange(15), seed=4) == interval_of_mean(values, np.arange(15), seed=4)
    assert interval_of_mean(values, np.arange(15), seed=4) != interval_of_mean(values, np.arange(15), seed=5)


@given(st.lists(st.integers(0, 6), max_size=30))
@settings(max_examples=50)
def test_the_rows_of_the_groups_are_a_partition(labels):
    labels = np.array(labels, dtype=np.int64)
    rows = group_rows(labels)
    assert sorted(np.concatenate([*rows, np.empty(0, np.int64)])) == list(range(len(labels)))
    assert [labels[members[0]] for members in rows] == sorted(set(labels.tolist()))
    assert all((labels[members] == labels[members[0]]).all() for members in rows)


def test_the_half_width_is_the_conformal_quantile_of_the_other_patients():
    truth = np.full(6, 10.0)
    predicted = truth + np.array([1.0, -2.0, 3.0, -4.0, 5.0, 6.0])
    lower, upper = prediction_intervals(predicted, truth, groups=np.arange(6), coverage=0.8)
    # Five other patients: rank ceil(0.8 * 6) = 5, their largest residual.
    assert upper - predicted == pytest.approx([6, 6, 6, 6, 6, 5])
    assert predicted - lower == pytest.approx([6, 6, 6, 6, 6, 5])


def test_the_interval_of_a_patient_does_not_depend_on_its_own_truth():
    generator = np.random.default_rng(0)
    predicted, truth, groups = generator.uniform(5, 9, 30), generator.uniform(5, 9, 30), np.repeat(np.arange(10), 3)
    before = prediction_intervals(predicted, truth, groups=groups)
    after = prediction_intervals(predicted, np.where(groups == 4, 100.0, truth), groups=groups)
    assert np.array_equal(np.stack(before)[:, groups == 4], np.stack(after)[:, groups == 4])
    assert not np.array_equal(np.stack(before)[:, groups != 4], np.stack(after)[:, groups != 4])


def test_a_coverage_of_80_percent_needs_four_other_patients():
    for patients, expected in ((4, False), (5, True)):
        lower, upper = prediction_intervals(np.ones(patients), np.zeros(patients), groups=np.arange(patients))
        assert np.isfinite(lower).all() == np.isfinite(upper).all() == expected


def test_floating_point_rounding_does_not_raise_the_rank():
    assert 0.56 * 25 > 14
    residuals = np.arange(1.0, 26.0)
    _, upper = prediction_intervals(residuals, np.zeros(25), groups=np.arange(25), coverage=0.56)
    assert (upper - residuals)[24] == 14.0


def test_the_residual_of_a_patient_is_the_mean_over_its_series():
    groups = np.repeat(np.arange(6), 2)
    predicted = np.tile([1.0, -3.0], 6) + 10
    lower, upper = prediction_intervals(predicted, np.full(12, 10.0), groups=groups)
    assert upper - lower == pytest.approx(np.full(12, 4.0))


def test_intervals_are_clipped_at_zero_months():
    lower, upper = prediction_intervals(np.linspace(-9, 1, 8), np.full(8, 3.0), groups=np.arange(8))
    assert (lower >= 0).all()
    assert (upper >= lower).all()


def test_intervals_of_exchangeable_patients_have_about_the_nominal_coverage():
    generator = np.random.default_rng(7)
    truth = generator.normal(50, 5, (40, 25))
    shares = []
    for row in truth:
        lower, upper = prediction_intervals(np.full(25, 50.0), row, groups=np.arange(25), coverage=0.8)
        shares.append(observed_coverage(row, lower, upper))
    assert np.mean(shares) == pytest.approx(21 / 26, abs=0.03)


def test_coverage_counts_only_rows_with_an_interval_and_includes_the_ends():
    lower, upper = np.array([1.0, 1.0, 1.0, np.nan]), np.array([2.0, 2.0, 2.0, np.nan])
    assert observed_coverage(np.array([1.0, 2.0, 2.1, 1.5]), lower, upper) == pytest.approx(2 / 3)
    assert np.isnan(observed_coverage(np.array([1.0]), np.array([np.nan]), np.array([np.nan])))
