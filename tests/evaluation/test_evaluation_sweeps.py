import numpy as np
import pandas as pd
import pytest

from tumorprog.evaluation.sweeps import MIN_TRIALS, importance


def trials(count, seed=0):
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "rate": 10 ** random.uniform(-4, -1, count),
            "kind": random.choice(["a", "b"], count),
            "noise": random.uniform(size=count),
            "fixed": 3,
        }
    )
    return table.assign(error=np.abs(np.log10(table["rate"]) + 2.5) + 0.3 * (table["kind"] == "a"))


@pytest.mark.no_cover
def test_settings_are_sorted_by_decreasing_importance():
    found = importance(trials(80), ["noise", "fixed", "kind", "rate"], "error", seed=0)
    assert list(found) == ["rate", "kind", "noise"]
    assert found["rate"] > 3 * found["kind"] > 3 * found["noise"] >= 0


def test_there_is_no_importance_for_too_few_trials_or_equal_metrics():
    assert importance(trials(MIN_TRIALS - 1), ["rate"], "error", seed=0) == {}
    assert importance(trials(20).assign(error=1.0), ["rate"], "error", seed=0) == {}
    missing = trials(20).assign(error=lambda rows: rows["error"].where(rows.index < MIN_TRIALS - 1))
    assert importance(missing, ["rate"], "error", seed=0) == {}
    assert importance(trials(20), ["fixed"], "error", seed=0) == {}
