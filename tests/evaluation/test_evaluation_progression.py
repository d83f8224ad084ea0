import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from scipy.stats import somersd

from tumorprog.evaluation import combination
from tumorprog.evaluation.progression import concordance, progression_metrics, with_baselines
from tumorprog.progression.columns import PROGRESSION_PREDICTIONS


def months(patients=12, series=5, seed=0):
    """Return predictions of one protocol and cohort, with one truth per patient."""
    generator = np.random.default_rng(seed)
    days = np.repeat(generator.integers(20, 900, patients), series)
    predicted = days / 30.4375 + generator.normal(scale=4, size=len(days))
    return pd.DataFrame(
        {
            "PatientID": np.repeat([f"PGBM-{k:03}" for k in range(patients)], series),
            "date": "1991-11-19",
            "Type": np.tile([f"T{k}" for k in range(series)], patients),
            "Predicted_Progression_Timeline": predicted,
            "Lower": predicted - 5,
            "Upper": predicted + 5,
            "days": days,
            "MonthDif": days // 31,
            "Weight": 1.0,
            **{"Protocol": "patient", "Cohort": "all", "Fold": "one"},
        }
    )


def values(metrics):
    return {name: metric["value"] for name, metric in metrics.items()}


def test_the_rows_of_the_fixture_have_the_columns_of_the_table():
    assert set(months().columns) <= set(PROGRESSION_PREDICTIONS)


def test_the_metrics_of_the_months_agree_with_scikit_learn():
    rows = months()
    metrics = {
        name: progression_metrics(level, resamples=10, seed=0)
        for name, level in (("series", rows), ("patient", combination.combine_by_patient(rows)))
    }
    truth, predicted = rows["days"] / 30.4375, rows["Predicted_Progression_Timeline"]
    actual = values(metrics["series"])
    assert actual["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(truth, predicted))
    assert actual["median_ae"] == pytest.approx(sklearn.metrics.median_absolute_error(truth, predicted))
    assert actual["rmse"] == pytest.approx(sklearn.metrics.root_mean_squared_error(truth, predicted))
    assert actual["coverage"] == pytest.approx(np.mean(np.abs(truth - predicted) <= 5))
    by_patient = predicted.groupby(rows["PatientID"]).mean()
    assert values(metrics["patient"])["mae"] == pytest.approx(
        sklearn.metrics.mean_absolute_error(truth.groupby(rows["PatientID"]).first(), by_patient)
    )
    assert metrics["series"]["mae"]["n"] == 60
    assert metrics["patient"]["mae"]["n"] == 12


def test_concordance_is_somers_d_rescaled_to_the_unit_interval():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(0, 8, 50).astype(float), generator.integers(0, 8, 50).astype(float)
    assert concordance(truth, predicted) == pytest.approx((somersd(truth, predicted).statistic + 1) / 2)


def test_concordance_is_one_for_the_correct_order_zero_for_the_reverse_and_half_for_a_constant():
    truth = np.array([1.0, 2.0, 2.0, 5.0])
    assert concordance(truth, truth**2) == 1.0
    assert concordance(truth, -truth) == 0.0
    assert concordance(truth, np.ones(4)) == 0.5
    assert np.isnan(concordance(np.ones(4), truth))


def test_without_intervals_only_the_coverage_is_undefined():
    metrics = progression_metrics(months(patients=3).assign(Lower=np.nan, Upper=np.nan), resamples=20, seed=0)
    assert (metrics["coverage"]["value"], metrics["coverage"]["reason"]) == (None, "no prediction intervals")
    assert metrics["mae"]["value"] is not None


@pytest.mark.parametrize("patients", [0, 1, 3])
def test_few_patients_give_reasons_that_can_be_written_as_json(patients):
    metrics = progression_metrics(months(patients=patients), resamples=20, seed=0)
    json.dumps(metrics, allow_nan=False)
    assert (metrics["mae"]["value"] is None) == (patients == 0)
    assert metrics["mae"]["lower"] is None
    assert all(metrics[name]["reason"] for name in ("mae", "rmse", "concordance", "interval_score"))


def test_the_concordance_of_under_ten_patients_is_refused():
    assert progression_metrics(months(patients=9), resamples=20, seed=0)["concordance"]["reason"] == (
        "9 patients; a concordance needs 10"
    )
    assert progression_metrics(months(patients=10), resamples=20, seed=0)["concordance"]["value"] is not None


def test_equal_times_have_no_concordance_and_the_reason_is_stated():
    metrics = progression_metrics(months().assign(days=90), resamples=20, seed=0)
    assert metrics["concordance"]["value"] is None
    assert metrics["concordance"]["reason"]


def test_the_difference_to_a_baseline_is_paired():
    """The errors vary widely between patients, but the model is better by one month for each of them."""
    random = np.random.default_rng(0)
    rows = combination.combine_by_patient(months(patients=20, series=1))
    truth, errors = rows["days"] / 30.4375, random.uniform(2, 40, 20)
    model = rows.assign(Predicted_Progression_Timeline=truth + errors)
    other = rows.assign(Predicted_Progression_Timeline=truth + errors + 1 + random.uniform(-0.1, 0.1, 20))
    found = with_baselines(model, {"other": other.sample(frac=1, random_state=0)}, resamples=500, seed=0)
    difference = found["baselines"]["other"]["difference"]
    assert difference["lower"] < -0.95 < difference["upper"] + 0.1
    assert difference["value"] == pytest.approx(
        found["mae"]["value"] - found["baselines"]["other"]["mae"]["value"], abs=1e-9
    )
    assert difference["upper"] < -0.9  # although the intervals of the two errors overlap almost completely
    assert found["mae"]["upper"] > found["baselines"]["other"]["mae"]["lower"]


def test_a_model_that_equals_the_baseline_has_a_difference_of_exactly_zero_and_no_interval():
    rows = months()
    difference = with_baselines(rows, {"same": rows}, resamples=50, seed=0)["baselines"]["same"]["difference"]
    assert difference["value"] == 0.0
    assert difference["reason"]
