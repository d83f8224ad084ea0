import logging

import numpy as np
import pandas as pd
import pytest

from tumorprog.distributed import search, sweep_trials
from tumorprog.errors import InputError
from tumorprog.sweep_file import Space, Sweep

SWEEP = Sweep(
    space={"progression.hidden": Space(kind="grid", values=[4, 8])}, metric="validation_mae_months", mode="min"
)


def test_no_trial_uses_the_held_out_patients():
    patients = np.repeat([f"P{number}" for number in range(10)], 3)
    held_out, folds = sweep_trials.split(patients, seed=0)
    excluded = set(patients[held_out])
    assert len(excluded) == 2
    for fold in folds:
        used = np.concatenate([fold.train, fold.validation, fold.test])
        assert not excluded & set(patients[used])
        assert len(used) + len(held_out) == len(patients)


def test_too_few_patients_for_a_sweep_are_refused():
    with pytest.raises(InputError, match="5 or more"):
        sweep_trials.split(np.array(list("AABBCD")), seed=0)


def test_a_trial_is_evaluated_at_the_epoch_whose_model_is_kept():
    grader = pd.DataFrame({"validation_accuracy": [40.0, 60.0, 60.0, 50.0], "validation_loss": [0.1, 0.9, 0.8, 0.2]})
    assert search.selected_epoch(grader)["validation_loss"] == 0.8
    months = pd.DataFrame({"validation_mae_months": [4.0, 3.0, 5.0]})
    assert search.selected_epoch(months)["validation_mae_months"] == 5.0  # not the lowest, which could not be selected


class FakeResult:
    """A trial's result as returned by Ray Tune."""

    def __init__(self, values, *, ended, error=None, hidden=4.0):
        columns = {"validation_mae_months": values, "ended": [False] * (len(values) - 1) + [ended]}
        self.metrics_dataframe = pd.DataFrame({**columns, "time_total_s": 1.5}) if values else None
        self.metrics = {"trial_id": "abc"} if values else None
        self.config, self.error = {"progression.hidden": hidden}, error


def test_every_trial_is_listed_as_finished_stopped_or_failed():
    results = [
        FakeResult([4.0, 3.0], ended=True),
        FakeResult([5.0], ended=False, hidden=8.0),
        FakeResult([], ended=False, error="no"),
    ]
    rows, curves = search.tabulate(results, SWEEP)
    assert rows["status"].tolist() == ["finished", "stopped", "failed"]
    assert rows["epochs"].tolist() == [2, 1, 0]
    assert rows["progression.hidden"].tolist() == [4, 8, 4]
    np.testing.assert_array_equal(rows["validation_mae_months"], [3.0, 5.0, np.nan])
    assert curves[["trial", "epoch"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1]]


class FakeTrial:
    def __init__(self, name, hidden):
        self.trial_id, self.config = name, {"progression.hidden": hidden}


def test_the_best_trials_are_logged_first_when_all_are_finished(caplog):
    best_trials = search.BestTrialsLog(SWEEP, total=2)
    with caplog.at_level(logging.INFO, logger="tumorprog"):
        for name, hidden, error in (("a", 4, 3.5), ("b", 8.0, 2.5)):
            trial = FakeTrial(name, hidden)
            values = {"training_iteration": 3, "validation_mae_months": error}
            best_trials.on_trial_result(3, [], trial, values)
            best_trials.on_trial_complete(3, [], trial)
    lines = [record.getMessage().split() for record in caplog.records]
    assert lines[0][:5] == ["2", "of", "2", "trials", "finished;"]
    assert [line[-1] for line in lines[2:4]] == ["2.5", "3.5"]
