import numpy as np
import pandas as pd
import pytest

from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.evaluation import progression
from tumorprog.evaluation.survival import kaplan_meier, survival_metrics


def level(months, event, expected, curves=None):
    """Return one row per patient; the curves are exponential unless given."""
    expected = np.asarray(expected, np.float64)
    if curves is None:
        curves = np.exp(-np.array(SURVIVAL_MONTHS) / expected[:, None])
    known = {"PatientID": [f"P{k}" for k in range(len(months))], "months": months, "Expected_Months": expected}
    probabilities = {f"Survival_{month}m": curves[:, index] for index, month in enumerate(SURVIVAL_MONTHS)}
    return pd.DataFrame({**known, "event": np.asarray(event, int), **probabilities})


def cohort(count=60, seed=0, censored=True):
    random = np.random.default_rng(seed)
    expected = random.uniform(2, 20, count)
    months = random.exponential(expected)
    last_follow_up = random.exponential(14, count) if censored else np.full(count, np.inf)
    return np.minimum(months, last_follow_up), months <= last_follow_up, expected


def values(rows, **options):
    found = survival_metrics(rows, {}, resamples=10, seed=0, **options)
    return {name: found[name]["value"] for name in ("concordance", "integrated_brier_score")}


def test_without_censoring_the_metrics_are_the_plain_concordance_and_brier_score():
    months, event, expected = cohort(censored=False)
    rows = level(months, event, expected)
    found = values(rows)
    assert found["concordance"] == pytest.approx(progression.concordance(months, expected))
    within = [month for month in SURVIVAL_MONTHS if months.min() <= month < months.max()]
    squared = [np.mean((rows[f"Survival_{month}m"] - (months > month)) ** 2) for month in within]
    plain = np.trapezoid(squared, within) / (within[-1] - within[0])
    assert found["integrated_brier_score"] == pytest.approx(plain, rel=1e-4)


def test_the_concordance_is_weighted_for_censoring_as_by_uno():
    """Direct computation: Kaplan-Meier of the censoring, squared inverse weights of the earlier time of each pair."""
    months, event, expected = cohort(25)
    times, share = kaplan_meier(months, ~event)
    weight = 1 / np.where(event, share[np.searchsorted(times, months, side="right") - 1], 1.0)
    pairs = event[:, None] & (months[:, None] < months)
    concordant = (expected[:, None] < expected) + 0.5 * (expected[:, None] == expected)
    direct = (pairs * concordant * weight[:, None] ** 2).sum() / (pairs * weight[:, None] ** 2).sum()
    found = values(level(months, event, expected))["concordance"]
    assert found == pytest.approx(direct, abs=1e-4)
    assert found != pytest.approx(progression.concordance(months[event], expected[event]), abs=1e-3)


def test_true_expectations_score_better_than_one_common_curve_and_that_better_than_a_reversed_order():
    months, event, expected = cohort(120)
    truth = values(level(months, event, expected))
    common = values(level(months, event, np.full(120, 10.0)))
    reverse = values(level(months, event, 22 - expected))
    assert truth["concordance"] > common["concordance"] == 0.5 > reverse["concordance"]
    assert truth["integrated_brier_score"] < common["integrated_brier_score"] < reverse["integrated_brier_score"]


def test_undefined_metrics_are_none():
    assert values(level(np.array([1.5, 7.0]), [0, 0], [1.0, 2.0])) == dict.fromkeys(
        ("concordance", "integrated_brier_score")
    )
    one_time = values(level(np.array([7.0, 7.0]), [1, 1], [1.0, 2.0]))
    assert one_time == dict.fromkeys(("concordance", "integrated_brier_score"))


def test_intervals_contain_the_value_and_n_counts_patients():
    found = survival_metrics(level(*cohort(40)), {}, resamples=60, seed=0)
    for metric in (found["concordance"], found["integrated_brier_score"]):
        assert metric["lower"] < metric["value"] < metric["upper"]
        assert metric["n"] == 40


def test_kaplan_meier_agrees_with_a_computation_by_hand():
    months, event = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([True, True, False, False, True])
    times, share = kaplan_meier(months, event)
    assert times.tolist() == [0, 1, 2, 4]
    assert share.tolist() == pytest.approx([1, 4 / 5, 3 / 5, 0])


def test_the_brier_score_is_compared_with_that_of_the_baseline_on_the_same_patients():
    months, event, expected = cohort(120)
    model, common = level(months, event, expected), level(months, event, np.full(120, 10.0))
    found = survival_metrics(model, {"life table": common.sample(frac=1, random_state=0)}, resamples=60, seed=0)
    baseline = found["baselines"]["life table"]
    assert baseline["difference"]["value"] == pytest.approx(
        found["integrated_brier_score"]["value"] - baseline["integrated_brier_score"]["value"], abs=1e-6
    )
    assert baseline["difference"]["upper"] < 0


def test_few_patients_and_no_events_have_reasons():
    found = survival_metrics(level(*cohort(4)), {}, resamples=20, seed=0)
    assert found["concordance"]["reason"] == "3 progressed patients; this metric needs 10"
    months, _, expected = cohort(20)
    censored = survival_metrics(level(months, np.zeros(20), expected), {}, resamples=20, seed=0)
    assert censored["integrated_brier_score"]["reason"] == "0 progressed patients; this metric needs 5"
