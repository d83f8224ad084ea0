import numpy as np
import pytest
from scipy import stats

from tumorprog.evaluation.correlation import spearman


def test_the_value_is_that_of_scipy_also_with_ties():
    random = np.random.default_rng(0)
    first, second = random.integers(0, 8, 30), random.integers(0, 8, 30)
    assert spearman(first, second)["value"] == pytest.approx(stats.spearmanr(first, second).statistic)


def test_the_interval_contains_the_true_correlation_as_often_as_it_says():
    random, truth, covered = np.random.default_rng(1), 0.5, 0
    expected = 6 / np.pi * np.arcsin(truth / 2)  # Spearman's rho of a bivariate normal distribution
    for _ in range(400):
        first, noise = random.normal(size=(2, 20))
        metric = spearman(first, truth * first + np.sqrt(1 - truth**2) * noise)
        covered += metric["lower"] <= expected <= metric["upper"]
    assert 0.91 < covered / 400 < 0.985


@pytest.mark.parametrize(
    ("first", "second", "value", "reason"),
    [
        ([1, 2, 3, 4], [1, 3, 2, 4], None, "4 patients; a rank correlation needs 5"),
        ([1], [1], None, "1 patient; a rank correlation needs 5"),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], None, "all patients have the same value"),
        ([1, 2, 3, 4, 5], [10, 8, 6, 4, 2], -1.0, "the interval of a perfect rank correlation is not defined"),
    ],
)
def test_what_cannot_be_computed_has_a_reason(first, second, value, reason):
    metric = spearman(np.array(first), np.array(second))
    assert (metric["value"], metric["lower"], metric["reason"]) == (value, None, reason)
