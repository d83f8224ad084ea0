"""The Kaplan-Meier estimate with its band and median, against published values.

The data are the weeks of remission of Freireich et al. 1963 (Blood 21:699-716), as in Kalbfleisch & Prentice 2002.
"""

import numpy as np
import pytest

from tumorprog.evaluation.survival import kaplan_meier, life_table, median_months

MERCAPTOPURINE = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35.0])
IN_REMISSION = np.array([3, 5, 7, 8, 11, 12, 13, 16, 17, 18, 19, 20])
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23.0])


@pytest.fixture
def table():
    relapsed = np.ones(21, bool)
    relapsed[IN_REMISSION] = False
    return life_table(MERCAPTOPURINE, relapsed)


def test_the_estimate_and_the_numbers_at_risk_are_the_published_ones(table):
    assert table["months"].tolist() == [0, 6, 7, 10, 13, 16, 22, 23]
    assert table["at_risk"].tolist() == [21, 21, 17, 15, 12, 11, 7, 6]
    expected = [1, 0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    assert table["share"].to_numpy() == pytest.approx(expected, abs=5e-5)


def test_the_band_is_that_of_survfit_with_log_log(table):
    assert table.loc[0, ["lower", "upper"]].tolist() == [1, 1]
    assert table.loc[1, ["lower", "upper"]].tolist() == pytest.approx([0.620, 0.952], abs=5e-4)
    assert table.loc[7, ["lower", "upper"]].tolist() == pytest.approx([0.188, 0.680], abs=5e-4)


def test_the_median_and_its_interval_are_the_published_ones(table):
    median = median_months(table)
    assert (median["value"], median["lower"], median["upper"]) == (23, 13, None)
    assert median["reason"] == "the upper bound is not reached"
    placebo = median_months(life_table(PLACEBO, np.ones(21, bool)))
    assert (placebo["value"], placebo["lower"], placebo["upper"], placebo["reason"]) == (8, 4, 11, "")


def test_a_share_of_exactly_one_half_is_the_median_in_spite_of_rounding():
    for patients in range(2, 40, 2):
        table = life_table(np.arange(1.0, patients + 1), np.ones(patients, bool))
        assert median_months(table)["value"] == patients / 2


def test_the_band_ends_where_nobody_is_left():
    last = life_table(PLACEBO, np.ones(21, bool)).iloc[-1]
    assert last["share"] == 0
    assert np.isnan(last[["lower", "upper"]].astype(float)).all()


def test_without_events_the_share_stays_at_one():
    table = life_table(np.array([3.0, 5.0]), np.zeros(2, bool))
    assert table[["months", "share", "lower", "upper"]].to_numpy().tolist() == [[0, 1, 1, 1]]
    assert median_months(table)["value"] is None


def test_the_steps_are_those_of_the_table(table):
    relapsed = np.ones(21, bool)
    relapsed[IN_REMISSION] = False
    months, share = kaplan_meier(MERCAPTOPURINE, relapsed)
    np.testing.assert_array_equal(months, table["months"])
    np.testing.assert_array_equal(share, table["share"])
