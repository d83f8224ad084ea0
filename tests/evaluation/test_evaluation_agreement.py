"""Limits of agreement, compared with hand-computed ones, the classical formula and a mixed model's moments."""

import math

import numpy as np
import pytest
from scipy import stats

from tumorprog.evaluation.agreement import limits_of_agreement

OPTIONS = {"resamples": 300, "seed": 0}


def limits(patients, differences):
    lower, upper = limits_of_agreement(np.array(patients), np.array(differences, float), **OPTIONS)
    return lower["value"], upper["value"]


def test_with_one_scan_per_patient_they_are_the_classical_ones():
    """Bland & Altman 1986: mean plus or minus 1.96 standard deviations."""
    differences = np.array([18.0, -35.0, 4.0, 6.0, -24.0, -43.0, 49.0, 62.0])
    half = stats.norm.ppf(0.975) * differences.std(ddof=1)
    expected = differences.mean() - half, differences.mean() + half
    assert limits(list("abcdefgh"), differences) == pytest.approx(expected)


def test_with_several_scans_the_variances_within_and_between_patients_add_up():
    """By hand: A 1, 3; B 4, 6, 8; C 5. Mean 4.5; MS between = (12.5 + 6.75 + 0.25) / 2 = 9.75; MS within = (2 + 8) / 3;
    divisor = (36 - 14) / (2 * 6) = 11 / 6; variance = 10 / 3 + (9.75 - 10 / 3) / (11 / 6) = 6.8333."""
    half = stats.norm.ppf(0.975) * math.sqrt(10 / 3 + (9.75 - 10 / 3) * 6 / 11)
    found = limits(list("ABABBC"), [1, 4, 3, 6, 8, 5])
    assert found == pytest.approx((4.5 - half, 4.5 + half))


def test_patients_that_differ_less_than_their_scans_do_not_make_the_variance_smaller():
    half = stats.norm.ppf(0.975) * math.sqrt(2.0)  # only the variance within patients
    assert limits(list("AABB"), [-1, 1, -1, 1]) == pytest.approx((-half, half))


def test_the_intervals_are_over_patients_of_whom_one_drawn_twice_counts_as_two():
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 3)
    differences = generator.normal(size=12)[patients] + 0.1 * generator.normal(size=36)
    lower, upper = limits_of_agreement(patients, differences, **OPTIONS)
    assert (lower["n"], lower["patients"]) == (36, 12)
    assert lower["lower"] < lower["value"] < lower["upper"] < upper["lower"] < upper["value"] < upper["upper"]
    one, all_scans = limits_of_agreement(np.arange(12), differences[::3], **OPTIONS)[1], upper
    assert all_scans["upper"] - all_scans["lower"] == pytest.approx(one["upper"] - one["lower"], rel=0.3)


def test_a_single_patient_has_no_limits():
    lower, upper = limits_of_agreement(np.array(["A", "A"]), np.array([1.0, 2.0]), **OPTIONS)
    assert lower["value"] is upper["value"] is None
    assert lower["reason"] == "limits of agreement need two patients"
