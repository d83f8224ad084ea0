import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, recall_score

from tumorprog.evaluation.ordinal import agreement, weighted_kappa


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_kappa_is_that_of_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(2, 5, 40)
    predicted = np.clip(truth + generator.integers(-1, 2, 40), 2, 4)
    assert weighted_kappa(truth, predicted) == pytest.approx(cohen_kappa_score(truth, predicted, weights="quadratic"))


def test_the_weighted_kappa_is_undefined_if_there_is_one_grade_only():
    assert np.isnan(weighted_kappa(np.array([3, 3]), np.array([3, 3])))
    assert weighted_kappa(np.array([2, 4]), np.array([2, 4])) == 1
    assert weighted_kappa(np.array([2, 4]), np.array([3, 3])) == 0


def patients(count=30, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([1, 1, 1], count)
    grade = np.array([2, 3, 4] * (count // 3))
    probabilities = 0.6 * probabilities + 0.4 * np.eye(3)[grade - 2]
    columns = dict(zip(("p2", "p3", "p4"), probabilities.T, strict=True))
    names = [f"P{number:02}" for number in range(count)]
    return pd.DataFrame({"PatientID": names, "grade": grade, "predicted": probabilities.argmax(axis=1) + 2, **columns})


def test_decisions_are_made_from_the_summed_probabilities():
    table = patients()
    found = agreement(table, resamples=100, seed=0)
    for name, threshold, probability in (
        ("low_versus_high", 3, table["p3"] + table["p4"]),
        ("four_versus_lower", 4, table["p4"]),
    ):
        truth, predicted = table["grade"] >= threshold, probability > 0.5
        assert found[name]["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(truth, predicted))
        assert found[name]["sensitivity"]["value"] == pytest.approx(recall_score(truth, predicted))
        assert found[name]["specificity"]["value"] == pytest.approx(recall_score(truth, predicted, pos_label=0))
        assert found[name]["sensitivity"]["n"] == truth.sum()
    # 2 against 3 and 4 is not the same as the most probable grade: 0.4, 0.3, 0.3 is high
    row = pd.DataFrame({"PatientID": ["A"], "grade": [3], "predicted": [2], "p2": [0.4], "p3": [0.3], "p4": [0.3]})
    assert agreement(row, resamples=10, seed=0)["low_versus_high"]["sensitivity"]["value"] == 1


def test_a_decision_without_one_of_its_sides_is_not_defined():
    found = agreement(patients()[lambda table: table["grade"] < 4], resamples=50, seed=0)["four_versus_lower"]
    assert found["balanced_accuracy"]["value"] is None
    assert found["sensitivity"]["value"] is None
    assert found["sensitivity"]["reason"]
    assert found["specificity"]["value"] is not None
