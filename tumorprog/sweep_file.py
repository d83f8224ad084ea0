"""Reading of a sweep's YAML file into a validated `Sweep`; errors name the line, before any trial starts."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import yaml

from tumorprog.errors import SettingsError
from tumorprog.graders.settings import Grader
from tumorprog.heads.settings import Progression
from tumorprog.settings import Settings, check_name, dotted, lookup, with_values

METRICS = {
    "grader": {"validation_accuracy": "max", "validation_loss": "min"},
    "progression": {"validation_mae_months": "min", "validation_rmse_months": "min"},
}
"""Metrics that the trials of each model report after every epoch, and whether to minimise or maximise them.

The first metric of a model is its default.
"""

_RANGES = {"uniform": 2, "loguniform": 2, "randint": 2, "quniform": 3}
_KINDS = ("choice", "grid", *_RANGES)
_SCHEDULERS = {"asha": {"grace_period", "reduction_factor", "max_t", "brackets"}, "fifo": set()}
_NOT_SWEPT = (
    *("grader.split", "grader.folds", "grader.seeds", "grader.null_control", "grader.null_draws"),
    *("grader.workers", "grader.gpu"),
    *("progression.target", "progression.null_control", "progression.null_draws", "progression.seeds"),
)
"""Settings that determine which task is run and where, not the quality of its result."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Search space of one setting.

    Attributes:
        kind: choice and grid have a list of values; uniform and loguniform a lower and an upper bound; randint the same
            in whole numbers, with the upper bound excluded; quniform also the step to which a sample is rounded.
        values: values of the setting's own type.
    """

    kind: str
    values: list[Any]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Content of a sweep's file.

    Attributes:
        space: search spaces by the settings' dotted names.
        metric: metric by which trials are compared, one of `METRICS`.
        mode: whether the metric is minimised or maximised.
        samples: number of samples of the space; each sample includes the complete grid.
        search: random sampling, or Optuna's TPE.
        scheduler: `asha` stops trials that are worse than others at the same epoch; `fifo` lets all trials finish.
        scheduling: ASHA's grace_period, reduction_factor, max_t and brackets, if they differ from Ray Tune's defaults.
        concurrent: maximum number of concurrent trials; 0 for as many as the cluster can run.
        cpu: cores of a progression trial, or of each worker of a grader trial.
        gpu: GPUs of each worker of a grader trial; may be a fraction.
        time_budget_minutes: time after which all trials are stopped; 0 for no limit.
    """

    space: dict[str, Space]
    metric: str
    mode: Literal["min", "max"]
    samples: int = 1
    search: Literal["random", "optuna"] = "random"
    scheduler: Literal["asha", "fifo"] = "fifo"
    scheduling: Mapping[str, int] = field(default_factory=dict)
    concurrent: int = 0
    cpu: float = 1.0
    gpu: float = 0.0
    time_budget_minutes: float = 0.0


_KEYS = (*(entry.name for entry in fields(Sweep) if entry.name not in {"scheduling", "cpu", "gpu"}), "resources")


class _File:
    """The values of the file, and the line numbers of its keys."""

    def __init__(self, path: Path, settings: Settings) -> None:
        if not path.is_file():
            raise SettingsError(f"tune.sweep: {path}: no such file; see tune_configs/ for examples")
        self._path, self.settings = path, settings
        text = path.read_text()
        try:
            self.values = yaml.safe_load(text)
            self._lines = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader), ()))
        except yaml.YAMLError as error:
            raise SettingsError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error

    def refuse(self, keys: Sequence[str], reason: str, /) -> NoReturn:
        """Raise an error with the line of a key, which is given by its path of keys."""
        line = self._lines.get(tuple(map(str, keys)))
        raise SettingsError(f"{self._path}{f', line {line}' if line else ''}: {reason}")


def _lines(node: yaml.Node | None, parents: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*parents, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _lines(value, path)


def read_sweep(path: Path, *, model: str, settings: Settings) -> Sweep:
    """Read and validate a sweep.

    Args:
        path: path of the YAML file.
        model: grader or progression, the model whose settings are varied.
        settings: all other settings, with which the values must be compatible.

    Raises:
        SettingsError: if a name, a type or a bound is invalid; the message gives the file, the line and the closest
            valid name.
    """
    file = _File(path, settings)
    values = file.values
    if not isinstance(values, dict) or not isinstance(values.get("space"), dict) or not values["space"]:
        file.refuse((), "expected at least the key `space`, with settings and the values to try for each")
    for key in values:
        if key not in _KEYS:
            file.refuse((key,), _unknown(key, _KEYS))
    metric = values.get("metric", next(iter(METRICS[model])))
    if not isinstance(metric, str) or metric not in METRICS[model]:
        file.refuse(("metric",), f"metric: {_unknown(metric, METRICS[model])}")
    mode = values.get("mode", METRICS[model][metric])
    if mode != METRICS[model][metric]:
        file.refuse(("mode",), f"mode is {mode}, but {metric} requires mode {METRICS[model][metric]}")
    space = {name: _space(file, name, entry, model=model) for name, entry in values["space"].items()}
    search = _one_of(file, "search", ("random", "optuna"))
    for name, domain in space.items():
        if search == "optuna" and domain.kind == "grid":
            file.refuse(("space", name), f"{name}: optuna cannot search a grid; use choice, or search: random")
    scheduler, scheduling = _scheduler(file)
    resources = values.get("resources", {})
    if not isinstance(resources, dict) or set(resources) - {"cpu", "gpu"}:
        file.refuse(("resources",), f"resources is {resources}; expected cpu, gpu or both with a number each")
    return Sweep(
        space=space,
        metric=metric,
        mode=mode,
        samples=_integer(file, ("samples",), values.get("samples", 1), minimum=1),
        search=search,
        scheduler=scheduler,
        scheduling=scheduling,
        concurrent=_integer(file, ("concurrent",), values.get("concurrent", 0), minimum=0),
        cpu=_number(file, ("resources", "cpu"), resources.get("cpu", 1.0), 0.1),
        gpu=_number(file, ("resources", "gpu"), resources.get("gpu", 0.0), 0.0),
        time_budget_minutes=_number(file, ("time_budget_minutes",), values.get("time_budget_minutes", 0.0), 0.0),
    )


def _unknown(name: object, names: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f"{name!r} is not valid; " + (f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}")


def _one_of(file: _File, key: str, choices: tuple[str, ...]) -> Any:
    value = file.values.get(key, choices[0])
    if value not in choices:
        file.refuse((key,), f"{key}: {_unknown(value, choices)}")
    return value


def _integer(file: _File, keys: tuple[str, ...], value: object, *, minimum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        file.refuse(keys, f"{'.'.join(keys)} is {value!r}; it must be a whole number of {minimum} or more")
    return value


def _number(file: _File, keys: tuple[str, ...], value: object, minimum: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < minimum:
        file.refuse(keys, f"{'.'.join(keys)} is {value!r}; it must be a number of {minimum} or more")
    return float(value)


def _scheduler(file: _File) -> tuple[Any, dict[str, int]]:
    entry = file.values.get("scheduler", "fifo")
    name, values = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
    if not isinstance(name, str) or name not in _SCHEDULERS:
        file.refuse(("scheduler",), f"scheduler: {_unknown(name, _SCHEDULERS)}")
    if not isinstance(values, dict):
        file.refuse(("scheduler",), f"scheduler: {name}: expected {', '.join(sorted(_SCHEDULERS[name]))}")
    for key, value in values.items():
        keys = ("scheduler", name, key)
        if key not in _SCHEDULERS[name]:
            file.refuse(keys, f"scheduler: {name}: {_unknown(key, sorted(_SCHEDULERS[name]))}")
        _integer(file, keys, value, minimum=2 if key == "reduction_factor" else 1)
    return name, values


def _space(file: _File, name: str, entry: Any, *, model: str) -> Space:
    keys: tuple[str, ...] = ("space", name)
    try:
        check_name(str(name))
    except SettingsError as error:
        file.refuse(keys, str(error))
    if not name.startswith(f"{model}.") or name in _NOT_SWEPT:
        file.refuse(keys, f"{name}: a sweep of the {model} model can vary {model}.*" + _exceptions(model))
    if not (isinstance(entry, dict) and len(entry) == 1 and next(iter(entry)) in _KINDS):
        file.refuse(keys, f"{name}: expected one of {', '.join(_KINDS)} with a list, found {entry}")
    ((kind, values),) = entry.items()
    keys = (*keys, kind)
    num_values = _RANGES.get(kind)
    if not isinstance(values, list) or not values or (num_values and len(values) != num_values):
        expected = f"a list of {num_values} numbers" if num_values else "a list of values"
        file.refuse(keys, f"{name}: {kind} takes {expected}, found {values}")
    typed = [_typed(file, keys, name, value) for value in values]
    if num_values:
        _check_range(file, keys, kind, typed)
    for value in typed[:2] if num_values else typed:
        _check_value(file, keys, name, value)
    return Space(kind=kind, values=typed)


def _exceptions(model: str) -> str:
    names = [name for name in _NOT_SWEPT if name.startswith(f"{model}.")]
    return f" except {', '.join(names)}" if names else ""


def _check_range(file: _File, keys: tuple[str, ...], kind: str, values: list[Any]) -> None:
    name, whole = keys[1], isinstance(lookup(Settings(), keys[1]), int)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        file.refuse(keys, f"{name}: {kind} takes numbers, found {values}")
    if whole and kind in {"uniform", "loguniform"}:
        file.refuse(keys, f"{name} is a whole number; use randint, quniform, choice or grid instead of {kind}")
    if not values[0] < values[1]:
        file.refuse(keys, f"{name}: {kind} takes a lower bound followed by an upper bound, found {values}")
    if kind == "loguniform" and values[0] <= 0:
        file.refuse(keys, f"{name}: the lower bound of loguniform must be above 0, found {values[0]}")
    if kind == "quniform" and values[2] <= 0:
        file.refuse(keys, f"{name}: the step of quniform must be above 0, found {values[2]}")


def _check_value(file: _File, keys: tuple[str, ...], name: str, value: Any) -> None:
    try:
        with_values(file.settings, {name: value})
    except SettingsError as error:
        file.refuse(keys, str(error))


def _typed(file: _File, keys: tuple[str, ...], name: str, value: Any) -> Any:
    """Return the value in the setting's own type: a float setting accepts integers, and 1e-4, a string in YAML."""
    group, _, leaf = name.partition(".")
    hint = get_type_hints({"grader": Grader, "progression": Progression}[group])[leaf]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            file.refuse(keys, f"{name}: {_unknown(value, get_args(hint))}")
        return value
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            file.refuse(keys, f"{name}: {value!r} is {type(value).__name__}, expected a number")
    if type(value) is not hint:
        file.refuse(keys, f"{name}: {value!r} is {type(value).__name__}, expected {hint.__name__}")
    return value


def as_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampled values in the settings' own types: quniform gives 32.0 even if a setting is a whole number.

    Args:
        values: values by the settings' dotted names.
    """
    defaults = dotted(Settings())
    return {
        name: int(value) if isinstance(value, float) and type(defaults[name]) is int else value
        for name, value in values.items()
    }
