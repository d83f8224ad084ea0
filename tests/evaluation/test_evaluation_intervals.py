import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tumorprog.evaluation.intervals import bootstrap, group_rows, mean_of_proportions, wilson


def interval_of_mean(values, groups, seed=0, resamples=2000, **options):
    found = bootstrap(groups, lambda rows: float(values[rows].mean()), resamples=resamples, seed=seed, **options)
    return found.lower, found.upper


def confidence_level(count):
    """Return the level of Hesterberg's expanded percentile interval for a nominal one of 95 %."""
    score = np.sqrt(count / (count - 1)) * scipy.stats.t.ppf(0.975, count - 1)
    return 2 * scipy.stats.norm.cdf(score) - 1


def test_with_one_row_per_patient_the_interval_agrees_with_the_percentile_bootstrap_of_scipy():
    values = np.random.default_rng(1).exponential(size=40)
    actual = interval_of_mean(values, np.arange(40), resamples=9999)
    level = confidence_level(40)
    reference = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, rng=3, confidence_level=level
    )
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


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (np.array([]), "0 patients; an interval needs 5"),
        (np.array(["only"] * 9), "1 patient; an interval needs 5"),
        (np.repeat(np.arange(4), 3), "4 patients; an interval needs 5"),
    ],
)
def test_under_five_patients_the_reason_stands_instead_of_an_interval(groups, reason):
    found = bootstrap(groups, lambda rows: float(rows.mean()), resamples=20, seed=0)
    assert np.isnan(found[:2]).all()
    assert found.reason == reason


def test_undefined_resamples_are_excluded_and_a_majority_of_them_gives_no_interval():
    groups = np.arange(12)
    values = np.arange(12.0)
    few = bootstrap(groups, lambda rows: np.nan if rows[0] == 0 else values[rows].mean(), resamples=200, seed=0)
    many = bootstrap(groups, lambda rows: np.nan if rows[0] != 0 else 1.0, resamples=200, seed=0)
    assert few.lower < 5.5 < few.upper
    assert (np.isnan(many.lower), many.reason) == (True, "undefined in most resamples of the patients")


def test_no_interval_of_width_zero_is_given():
    assert bootstrap(np.arange(9), lambda rows: 1 / 3, resamples=50, seed=0).reason.startswith("every resample")
    noise = np.full(9, 0.1) * np.arange(1, 10) / np.arange(1, 10)
    assert bootstrap(np.arange(9), lambda rows: float(noise[rows].sum()), resamples=50, seed=0).reason


def brute_force(values, level):
    """Return the quantile of the mean over all n ** n equally probable draws, without interpolation."""
    draws = itertools.product(range(len(values)), repeat=len(values))
    means = np.array([np.mean(values[list(draw)]) for draw in draws])
    return np.quantile(means.round(12), level, method="inverted_cdf")


def test_few_patients_are_enumerated_exactly_whatever_the_seed():
    values = np.array([0.0, 1.0, 1.0, 4.0, 9.0])
    found = interval_of_mean(values, np.arange(5), seed=0)
    assert found == interval_of_mean(values, np.arange(5), seed=1)
    tail = (1 - confidence_level(5)) / 2
    assert found == pytest.approx((brute_force(values, tail), brute_force(values, 1 - tail)))


def test_the_bounds_of_shares_are_shares_that_can_occur():
    hits = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    for bound in interval_of_mean(hits, np.arange(11), resamples=500):
        assert (bound * 11) == pytest.approx(round(bound * 11))


def test_strata_keep_their_numbers_in_every_resample():
    strata = np.array([2, 2, 2, 2, 3, 3, 4, 4])
    seen = []
    bootstrap(np.arange(8), lambda rows: seen.append(strata[rows]) or rows.mean(), resamples=100, seed=0, strata=strata)
    assert all(np.bincount(drawn).tolist() == [0, 0, 4, 2, 2] for drawn in seen)


def test_a_grade_with_one_patient_gives_no_interval():
    found = bootstrap(np.arange(6), lambda r: r.mean(), resamples=9, seed=0, strata=np.array([2, 2, 2, 2, 3, 3]))
    assert not found.reason
    found = bootstrap(np.arange(6), lambda r: r.mean(), resamples=9, seed=0, strata=np.array([2, 2, 2, 2, 2, 3]))
    assert found.reason == "a grade has one patient only; an interval needs 2 of each"


def test_skewed_errors_have_the_interval_of_scipys_bca():
    values = np.random.default_rng(3).lognormal(0, 1.2, 30)
    found = interval_of_mean(values, np.arange(30), resamples=9999, skewed=True)
    level = confidence_level(30)
    found_by_scipy = scipy.stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=9999, rng=1, confidence_level=level
    )
    reference = found_by_scipy.confidence_interval
    assert found == pytest.approx((reference.low, reference.high), rel=0.1)
    plain = interval_of_mean(values, np.arange(30), resamples=9999)
    assert found[1] > plain[1] + 0.1


@pytest.mark.parametrize(("hits", "count"), [(0, 3), (2, 3), (3, 3), (7, 40), (1, 1)])
def test_wilsons_interval_is_that_of_scipy(hits, count):
    expected = scipy.stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count)[:2] == pytest.approx((expected.low, expected.high))


def test_the_interval_of_a_mean_of_proportions_covers_it():
    random, shares, counts = np.random.default_rng(0), np.array([0.95, 0.7, 0.9]), np.array([4, 6, 12])
    found = [mean_of_proportions(random.binomial(counts, shares), counts) for _ in range(1500)]
    covered = np.mean([interval.lower <= shares.mean() <= interval.upper for interval in found])
    assert 0.93 < covered < 0.995


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


@pytest.mark.parametrize("n", [5, 8, 12])
def test_a_difference_that_is_none_is_rarely_found(n):
    """With plain percentile levels, 15 % of the intervals of five patients exclude 0."""
    random = np.random.default_rng(n)
    found = [interval_of_mean(random.normal(size=n), np.arange(n), resamples=400) for _ in range(200)]
    assert np.mean([lower > 0 or upper < 0 for lower, upper in found]) < 0.11
