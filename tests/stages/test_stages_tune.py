import logging

import numpy as np
import pandas as pd
import pytest

from tumorprog.errors import InputError
from tumorprog.stages import trials, tune
from tumorprog.stages.sweep import Space, Sweep

SWEEP = Sweep(
    space={"progression.hidden": Space(kind="grid", values=[4, 8])}, metric="validation_mae_months", mode="min"
)


def test_no_trial_sees_the_patients_held_out():
    patients = np.repeat([f"P{number}" for number in range(10)], 3)
    held_out, folds = trials.split(patients, seed=0)
    outside = set(patients[held_out])
    assert len(outside) == 2
    for fold in folds:
        seen = np.concatenate([fold.train, fold.validation, fold.test])
        assert not outside & set(patients[seen])
        assert len(seen) + len(held_out) == len(patients)


def test_too_few_patients_for_a_sweep_are_refused():
    with pytest.raises(InputError, match="5 or more"):
        trials.split(np.array(list("AABBCD")), seed=0)


def test_a_trial_counts_by_the_epoch_whose_model_is_kept():
    grader = pd.DataFrame({"validation_accuracy": [40.0, 60.0, 60.0, 50.0], "validation_loss": [0.1, 0.9, 0.8, 0.2]})
    assert tune.kept_epoch(grader)["validation_loss"] == 0.8
    months = pd.DataFrame({"validation_mae_months": [4.0, 3.0, 5.0]})
    assert tune.kept_epoch(months)["validation_mae_months"] == 5.0  # not the lowest, which nobody could have chosen


class Told:
    """What Ray Tune gives of a trial."""

    def __init__(self, values, *, ended, error=None, hidden=4.0):
        columns = {"validation_mae_months": values, "ended": [False] * (len(values) - 1) + [ended]}
        self.metrics_dataframe = pd.DataFrame({**columns, "time_total_s": 1.5}) if values else None
        self.metrics = {"trial_id": "abc"} if values else None
        self.config, self.error = {"progression.hidden": hidden}, error


def test_every_trial_is_told_whether_it_ended_was_stopped_or_failed():
    results = [Told([4.0, 3.0], ended=True), Told([5.0], ended=False, hidden=8.0), Told([], ended=False, error="no")]
    tried, curves = tune.tabulate(results, SWEEP)
    assert tried["status"].tolist() == ["finished", "stopped", "failed"]
    assert tried["epochs"].tolist() == [2, 1, 0]
    assert tried["progression.hidden"].tolist() == [4, 8, 4]
    np.testing.assert_array_equal(tried["validation_mae_months"], [3.0, 5.0, np.nan])
    assert curves[["trial", "epoch"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1]]


class Running:
    def __init__(self, name, hidden):
        self.trial_id, self.config = name, {"progression.hidden": hidden}


def test_the_board_shows_the_best_trials_first_when_all_are_over(caplog):
    board = tune.Board(SWEEP, total=2)
    with caplog.at_level(logging.INFO, logger="tumorprog"):
        for name, hidden, error in (("a", 4, 3.5), ("b", 8.0, 2.5)):
            trial = Running(name, hidden)
            told = {"training_iteration": 3, "validation_mae_months": error}
            board.on_trial_result(3, [], trial, told)
            board.on_trial_complete(3, [], trial)
    lines = [record.getMessage().split() for record in caplog.records]
    assert lines[0][:6] == ["2", "of", "2", "trials", "are", "over;"]
    assert [line[-1] for line in lines[2:4]] == ["2.5", "3.5"]
