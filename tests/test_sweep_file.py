from pathlib import Path

import pytest

import tumorprog
from tumorprog.errors import SettingsError
from tumorprog.settings import Settings, with_values
from tumorprog.sweep_file import as_settings, read_sweep

CONFIGS = sorted((Path(tumorprog.__file__).parents[1] / "tune_configs").glob("*.yaml"))


def read(tmp_path, text, *, model="progression", settings=None):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return read_sweep(path, model=model, settings=settings or Settings())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_sweeps_of_tune_configs_are_valid(path):
    model = "grader" if "grader" in path.stem else "progression"
    assert read_sweep(path, model=model, settings=Settings()).space


def test_each_model_has_a_smoke_sweep_and_a_sweep_of_the_usual_settings():
    swept = {path.stem: set(_space(path)) for path in CONFIGS}
    assert {"smoke_grader", "smoke_progression"} <= set(swept)
    assert swept["grader"] == {"grader.learning_rate", "grader.batch_size", "grader.weight_decay"}
    names = ("learning_rate", "hidden", "patience", "min_improvement")
    for kind in ("grid", "random"):
        assert swept[f"progression_{kind}"] >= {f"progression.{name}" for name in names}


def _space(path):
    model = "grader" if "grader" in path.stem else "progression"
    return read_sweep(path, model=model, settings=Settings()).space


def test_every_key_of_a_sweep_file_is_read(tmp_path):
    text = """
metric: validation_loss
mode: min
samples: 7
search: optuna
scheduler: {asha: {grace_period: 2, reduction_factor: 3, max_t: 9}}
concurrent: 3
resources: {cpu: 2, gpu: 0.25}
time_budget_minutes: 90
space:
  grader.learning_rate: {loguniform: [1e-5, 1.0e-2]}
  grader.batch_size: {quniform: [16, 128, 16]}
  grader.precision: {choice: [float32, bfloat16]}
  grader.augment: {choice: [true, false]}
"""
    sweep = read(tmp_path, text, model="grader")
    assert (sweep.metric, sweep.mode, sweep.samples, sweep.search) == ("validation_loss", "min", 7, "optuna")
    assert (sweep.scheduler, sweep.scheduling) == ("asha", {"grace_period": 2, "reduction_factor": 3, "max_t": 9})
    assert (sweep.concurrent, sweep.cpu, sweep.gpu, sweep.time_budget_minutes) == (3, 2.0, 0.25, 90.0)
    assert sweep.space["grader.learning_rate"].values == [1e-5, 1e-2]  # YAML reads 1e-5 as a string


def test_by_default_trials_are_sampled_at_random_and_all_finish(tmp_path):
    sweep = read(tmp_path, "space: {progression.hidden: {grid: [4, 8]}}")
    assert (sweep.metric, sweep.mode, sweep.samples) == ("validation_mae_months", "min", 1)
    assert (sweep.search, sweep.scheduler, sweep.concurrent, sweep.cpu) == ("random", "fifo", 0, 1.0)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("samples: 1\nspace:\n  progression.hiden: {grid: [4]}", 3, "did you mean progression.hidden?"),
        ("space: {progression.hidden: {grid: [0]}}", 1, "progression.hidden is 0"),
        ("space:\n  progression.hidden: {some: [4]}", 2, "expected one of choice, grid"),
        ("space:\n  progression.hidden:\n    uniform: [4, 8]", 3, "use randint, quniform"),
        ("space:\n  progression.hidden: {grid: [4.5]}", 2, "4.5 is float, expected int"),
        ("space:\n  progression.learning_rate: {grid: [fast]}", 2, "'fast' is str, expected a number"),
        ("space: {progression.learning_rate: {loguniform: [0.1]}}", 1, "loguniform takes a list of 2 numbers"),
        ("space: {progression.learning_rate: {loguniform: [0.1, 0.01]}}", 1, "a lower bound followed by an upper"),
        (
            "space: {progression.min_improvement: {loguniform: [0, 0.01]}}",
            1,
            "the lower bound of loguniform must be above 0",
        ),
        ("space: {progression.hidden: {quniform: [4, 8, 0]}}", 1, "the step of quniform"),
        ("space: {progression.target: {choice: [months]}}", 1, "except progression.target"),
        ("space: {grader.epochs: {grid: [4]}}", 1, "a sweep of the progression model can vary progression.*"),
        ("space: {progression.hidden: {grid: [4]}}\nsamples: 0", 2, "samples is 0"),
        ("space: {progression.hidden: {grid: [4]}}\nsample: 4", 2, "did you mean samples?"),
        ("space: {progression.hidden: {grid: [4]}}\nmetric: mae", 2, "choose from validation_mae_months"),
        ("space: {progression.hidden: {grid: [4]}}\nmode: max", 2, "requires mode min"),
        ("space: {progression.hidden: {grid: [4]}}\nsearch: optunna", 2, "did you mean optuna?"),
        ("search: optuna\nspace:\n  progression.hidden: {grid: [4]}", 3, "optuna cannot search a grid"),
        ("space: {progression.hidden: {grid: [4]}}\nscheduler: ashe", 2, "did you mean asha?"),
        ("space: {progression.hidden: {grid: [4]}}\nscheduler: [asha]", 2, "scheduler"),
        ("space: {progression.hidden: {grid: [4]}}\nmetric: [mae]", 2, "metric"),
        ("space: {5: {grid: [4]}}", 1, "unknown setting 5"),
        (
            "space: {progression.hidden: {grid: [4]}}\nscheduler:\n  asha:\n    grace_periods: 2",
            4,
            "did you mean grace_period?",
        ),
        ("space: {progression.hidden: {grid: [4]}}\nresources: {cpus: 2}", 2, "expected cpu, gpu"),
        ("space: {progression.hidden: {grid: [4]}}\nresources:\n  cpu: 0", 3, "resources.cpu is 0"),
        ("space: {progression.hidden: {grid: [4]}}\ntime_budget_minutes: long", 2, "must be a number"),
    ],
)
def test_an_invalid_entry_is_refused_with_its_line_and_the_closest_valid_name(tmp_path, text, line, message):
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, text)
    assert message in str(refused.value)
    assert f"sweep.yaml, line {line}: " in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"), [("samples: 3", "at least the key `space`"), ("space: [", "not valid YAML")]
)
def test_a_file_that_is_not_a_sweep_is_refused(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, text)
    with pytest.raises(SettingsError, match="no such file"):
        read_sweep(tmp_path / "none.yaml", model="grader", settings=Settings())


def test_settings_of_the_execution_cannot_be_swept_and_values_must_fit_the_other_settings(tmp_path):
    with pytest.raises(SettingsError, match=r"except grader\.split"):
        read(tmp_path, "space: {grader.workers: {grid: [1, 2]}}", model="grader")
    with pytest.raises(SettingsError, match=r"did you mean bfloat16\?"):
        read(tmp_path, "space: {grader.precision: {choice: [float16]}}", model="grader")
    four = with_values(Settings(), {"grader.workers": 4})
    with pytest.raises(SettingsError, match=r"multiple of grader\.workers"):
        read(tmp_path, "space: {grader.batch_size: {grid: [64, 66]}}", model="grader", settings=four)


def test_sampled_values_are_converted_to_the_settings_own_types():
    sampled = {"progression.hidden": 32.0, "progression.learning_rate": 0.5, "grader.weights": "none"}
    converted = as_settings(sampled)
    assert converted == sampled
    assert isinstance(converted["progression.hidden"], int)
    assert isinstance(converted["progression.learning_rate"], float)
