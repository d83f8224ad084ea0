from pathlib import Path

import numpy as np
import pytest

import tumorprog
from tumorprog.errors import InputError, SettingsError
from tumorprog.stages import tune


def sweep(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return tune.read_sweep(path)


@pytest.mark.parametrize("path", sorted((Path(tumorprog.__file__).parents[1] / "tune_configs").glob("*.yaml")))
def test_the_sweeps_that_come_with_the_project_can_be_read(path):
    assert tune.read_sweep(path).space


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("space: {progression.hiden: {grid: [4]}}", "did you mean progression.hidden?"),
        ("space: {progression.hidden: {grid: [0]}}", "progression.hidden is 0"),
        ("space: {progression.hidden: {some: [4]}}", "expected one of choice, grid"),
        ("space: {progression.learning_rate: {loguniform: [0.1]}}", "loguniform takes a list of 2 numbers"),
        ("space: {grader.epochs: {grid: [4]}}", "varies progression.* only"),
        ("space: {progression.hidden: {grid: [4]}}\nsamples: 0", "samples is 0"),
        ("samples: 3", "expected the keys"),
        ("space: [", "not YAML"),
    ],
)
def test_a_sweep_that_cannot_work_is_refused_before_anything_starts(tmp_path, text, told):
    with pytest.raises(SettingsError) as refused:
        sweep(tmp_path, text)
    assert told in str(refused.value)


def test_no_trial_sees_the_patients_held_out():
    patients = np.repeat([f"P{number}" for number in range(10)], 3)
    held_out, folds = tune.split(patients, seed=0)
    outside = set(patients[held_out])
    assert len(outside) == 2
    for fold in folds:
        seen = np.concatenate([fold.train, fold.validation, fold.test])
        assert not outside & set(patients[seen])
        assert len(seen) + len(held_out) == len(patients)


def test_too_few_patients_for_a_sweep_are_refused():
    with pytest.raises(InputError, match="5 or more"):
        tune.split(np.array(list("AABBCD")), seed=0)
