import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorprog.evaluation.intervals import bootstrap, group_rows, observed_coverage, prediction_intervals


def interval_of_mean(values, groups, seed=0, resamples=2000):
    return bootstrap(groups, lambda rows: float(values[rows].mean()), resamples=resamples, seed=seed)


def test_with_one_row_per_patient_the_interval_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(1).exponential(size=40)
    ours = interval_of_mean(values, np.arange(40), resamples=9999)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=3).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_copying_every_patients_rows_leaves_the_interval_unchanged():
    values = np.random.default_rng(1).normal(size=12)
    alone = interval_of_mean(values, np.arange(12))
    copied = interval_of_mean(np.repeat(values, 50), np.repeat(np.arange(12), 50))
    assert copied == pytest.approx(alone)


def test_a_drawn_patient_brings_all_of_its_rows_and_only_them():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    seen = []
    bootstrap(groups, lambda rows: seen.append(rows) or 0.0, resamples=50, seed=0)
    whole = {name: np.flatnonzero(groups == name) for name in "abc"}
    for rows in seen:
        drawn = [int((groups[rows] == name).sum()) // len(whole[name]) for name in "abc"]
        assert sum(drawn) == 3
        expected = np.concatenate([np.tile(whole[name], times) for name, times in zip("abc", drawn, strict=True)])
        assert sorted(rows) == sorted(expected)


@pytest.mark.parametrize("groups", [np.array([]), np.array(["only", "only", "only"])])
def test_fewer_than_two_patients_have_no_interval(groups):
    assert np.isnan(bootstrap(groups, lambda rows: float(len(rows)), resamples=20, seed=0)).all()


def test_undefined_resamples_are_left_out_and_mostly_undefined_ones_give_no_interval():
    groups = np.arange(10)
    some = bootstrap(groups, lambda rows: np.nan if rows[0] == 0 else 1.0, resamples=200, seed=0)
    most = bootstrap(groups, lambda rows: np.nan if rows[0] != 0 else 1.0, resamples=200, seed=0)
    assert some == (1.0, 1.0)
    assert np.isnan(most).all()


def test_one_seed_gives_one_interval_and_another_seed_another():
    values = np.random.default_rng(1).normal(size=15)
    assert interval_of_mean(values, np.arange(15), seed=4) == interval_of_mean(values, np.arange(15), seed=4)
    assert interval_of_mean(values, np.arange(15), seed=4) != interval_of_mean(values, np.arange(15), seed=5)


@given(st.lists(st.integers(0, 6), max_size=30))
@settings(max_examples=50)
def test_the_rows_of_the_groups_are_a_partition(labels):
    labels = np.array(labels, dtype=np.int64)
    rows = group_rows(labels)
    assert sorted(np.concatenate([*rows, np.empty(0, np.int64)])) == list(range(len(labels)))
    assert [labels[part[0]] for part in rows] == sorted(set(labels.tolist()))
    assert all((labels[part] == labels[part[0]]).all() for part in rows)


def test_the_half_width_is_the_conformal_quantile_of_the_other_patients():
    truth = np.full(6, 10.0)
    predicted = truth + np.array([1.0, -2.0, 3.0, -4.0, 5.0, 6.0])
    lower, upper = prediction_intervals(predicted, truth, groups=np.arange(6), coverage=0.8)
    # five others: rank ceil(0.8 * 6) = 5, their largest residual
    assert upper - predicted == pytest.approx([6, 6, 6, 6, 6, 5])
    assert predicted - lower == pytest.approx([6, 6, 6, 6, 6, 5])


def test_a_patients_own_truth_does_not_move_its_interval():
    generator = np.random.default_rng(0)
    predicted, truth, groups = generator.uniform(5, 9, 30), generator.uniform(5, 9, 30), np.repeat(np.arange(10), 3)
    before = prediction_intervals(predicted, truth, groups=groups)
    after = prediction_intervals(predicted, np.where(groups == 4, 100.0, truth), groups=groups)
    assert np.array_equal(np.stack(before)[:, groups == 4], np.stack(after)[:, groups == 4])
    assert not np.array_equal(np.stack(before)[:, groups != 4], np.stack(after)[:, groups != 4])


def test_four_other_patients_are_needed_for_four_fifths():
    for patients, expected in ((4, False), (5, True)):
        lower, upper = prediction_intervals(np.ones(patients), np.zeros(patients), groups=np.arange(patients))
        assert np.isfinite(lower).all() == np.isfinite(upper).all() == expected


def test_56_percent_of_25_is_rank_14_and_not_15_by_rounding():
    assert 0.56 * 25 > 14
    residuals = np.arange(1.0, 26.0)
    _, upper = prediction_intervals(residuals, np.zeros(25), groups=np.arange(25), coverage=0.56)
    assert (upper - residuals)[24] == 14.0


def test_a_patients_residual_is_the_mean_over_its_series():
    groups = np.repeat(np.arange(6), 2)
    predicted = np.tile([1.0, -3.0], 6) + 10
    lower, upper = prediction_intervals(predicted, np.full(12, 10.0), groups=groups)
    assert upper - lower == pytest.approx(np.full(12, 4.0))


def test_no_interval_reaches_below_zero_months():
    lower, upper = prediction_intervals(np.linspace(-9, 1, 8), np.full(8, 3.0), groups=np.arange(8))
    assert (lower >= 0).all()
    assert (upper >= lower).all()


def test_intervals_of_exchangeable_patients_hold_about_what_they_promise():
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
