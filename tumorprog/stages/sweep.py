"""A sweep's YAML file -> a checked `Sweep`; what cannot work is refused with its line before anything starts."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import yaml

from tumorprog.errors import SettingsError
from tumorprog.settings import Grader, Progression, Settings, check_name, dotted, lookup, with_values

METRICS = {
    "grader": {"validation_accuracy": "max", "validation_loss": "min"},
    "progression": {"validation_mae_months": "min", "validation_rmse_months": "min"},
}
"""What the trials of each model report after every epoch, and which way is better; the first is the default."""

_RANGES = {"uniform": 2, "loguniform": 2, "randint": 2, "quniform": 3}
_KINDS = ("choice", "grid", *_RANGES)
_SCHEDULERS = {"asha": {"grace_period", "reduction_factor", "max_t", "brackets"}, "fifo": set()}
_NOT_SWEPT = (
    *("grader.split", "grader.folds", "grader.null_control", "grader.workers", "grader.gpu"),
    *("progression.target", "progression.null_control"),
)
"""They say what is done and where, not how well."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What one setting is to try.

    Attributes:
        kind: choice and grid have a list of values; uniform and loguniform a lower and an upper bound; randint the same
            in whole numbers, the upper one excluded; quniform also the step to which a draw is rounded.
        values: of the setting's own type.
    """

    kind: str
    values: list[Any]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep's file says.

    Attributes:
        space: by the settings' dotted names.
        metric: what trials are compared by; one of `METRICS`.
        mode: whether it is to be small or large.
        samples: how many draws; a grid is tried whole in each.
        search: draws at random, or where Optuna's TPE expects most.
        scheduler: `asha` stops trials that are behind others at the same epoch; `fifo` lets all end.
        scheduling: ASHA's grace_period, reduction_factor, max_t and brackets, where they are not Ray Tune's own.
        concurrent: trials at a time; 0 for as many as there is room for.
        cpu: cores of a progression trial, or of each of a grader trial's workers.
        gpu: GPUs of each of a grader trial's workers; a part of one is possible.
        time_budget_minutes: after which no trial goes on; 0 for no bound.
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


_KEYS = (*(one.name for one in fields(Sweep) if one.name not in {"scheduling", "cpu", "gpu"}), "resources")


class _File:
    """The file's values, and the lines on which its keys stand."""

    def __init__(self, path: Path, settings: Settings) -> None:
        if not path.is_file():
            raise SettingsError(f"tune.sweep: {path}: no such file; tune_configs/ has some to start from")
        self._path, self.settings = path, settings
        text = path.read_text()
        try:
            self.told = yaml.safe_load(text)
            self._lines = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader), ()))
        except yaml.YAMLError as error:
            raise SettingsError(f"{path}: not YAML ({' '.join(str(error).split())})") from error

    def refuse(self, keys: Sequence[str], why: str, /) -> NoReturn:
        """An error that points to the line of a key, named by the keys above it and itself."""
        line = self._lines.get(tuple(keys))
        raise SettingsError(f"{self._path}{f', line {line}' if line else ''}: {why}")


def _lines(node: yaml.Node | None, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*above, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _lines(value, path)


def read_sweep(path: Path, *, model: str, settings: Settings) -> Sweep:
    """Reads and checks a sweep before anything starts.

    Args:
        path: of the YAML file.
        model: grader or progression, whose settings it varies.
        settings: which the values must go with.

    Raises:
        SettingsError: if a name, a type or a bound cannot work; it names the file, the line and the nearest right name.
    """
    file = _File(path, settings)
    told = file.told
    if not isinstance(told, dict) or not isinstance(told.get("space"), dict) or not told["space"]:
        file.refuse((), "expected at least the key `space`, with settings and what to try of each")
    for key in told:
        if key not in _KEYS:
            file.refuse((key,), _unknown(key, _KEYS))
    metric = told.get("metric", next(iter(METRICS[model])))
    if metric not in METRICS[model]:
        file.refuse(("metric",), f"metric: {_unknown(metric, METRICS[model])}")
    mode = told.get("mode", METRICS[model][metric])
    if mode != METRICS[model][metric]:
        file.refuse(("mode",), f"mode is {mode}; {metric} is better the other way: {METRICS[model][metric]}")
    space = {name: _space(file, name, one, model=model) for name, one in told["space"].items()}
    search = _one_of(file, "search", ("random", "optuna"))
    for name, one in space.items():
        if search == "optuna" and one.kind == "grid":
            file.refuse(("space", name), f"{name}: a grid is not searched by optuna; take choice, or search: random")
    scheduler, scheduling = _scheduler(file)
    resources = told.get("resources", {})
    if not isinstance(resources, dict) or set(resources) - {"cpu", "gpu"}:
        file.refuse(("resources",), f"resources is {resources}; expected cpu, gpu or both with a number each")
    return Sweep(
        space=space,
        metric=metric,
        mode=mode,
        samples=_whole(file, ("samples",), told.get("samples", 1), least=1),
        search=search,
        scheduler=scheduler,
        scheduling=scheduling,
        concurrent=_whole(file, ("concurrent",), told.get("concurrent", 0), least=0),
        cpu=_above_or_at(file, ("resources", "cpu"), resources.get("cpu", 1.0), 0.1),
        gpu=_above_or_at(file, ("resources", "gpu"), resources.get("gpu", 0.0), 0.0),
        time_budget_minutes=_above_or_at(file, ("time_budget_minutes",), told.get("time_budget_minutes", 0.0), 0.0),
    )


def _unknown(name: object, names: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), list(names), n=1)
    return f"there is no {name!r}; " + (f"did you mean {near[0]}?" if near else f"choose from {', '.join(names)}")


def _one_of(file: _File, key: str, choices: tuple[str, ...]) -> Any:
    value = file.told.get(key, choices[0])
    if value not in choices:
        file.refuse((key,), f"{key}: {_unknown(value, choices)}")
    return value


def _whole(file: _File, keys: tuple[str, ...], value: object, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        file.refuse(keys, f"{'.'.join(keys)} is {value!r}; it must be a whole number of {least} or more")
    return value


def _above_or_at(file: _File, keys: tuple[str, ...], value: object, least: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < least:
        file.refuse(keys, f"{'.'.join(keys)} is {value!r}; it must be a number of {least} or more")
    return float(value)


def _scheduler(file: _File) -> tuple[Any, dict[str, int]]:
    told = file.told.get("scheduler", "fifo")
    name, values = next(iter(told.items())) if isinstance(told, dict) and len(told) == 1 else (told, {})
    if name not in _SCHEDULERS:
        file.refuse(("scheduler",), f"scheduler: {_unknown(name, _SCHEDULERS)}")
    if not isinstance(values, dict):
        file.refuse(("scheduler",), f"scheduler: {name}: expected {', '.join(sorted(_SCHEDULERS[name]))}")
    for key, value in values.items():
        keys = ("scheduler", name, key)
        if key not in _SCHEDULERS[name]:
            file.refuse(keys, f"scheduler: {name}: {_unknown(key, sorted(_SCHEDULERS[name]))}")
        _whole(file, keys, value, least=2 if key == "reduction_factor" else 1)
    return name, values


def _space(file: _File, name: str, told: Any, *, model: str) -> Space:
    keys: tuple[str, ...] = ("space", name)
    try:
        check_name(name)
    except SettingsError as error:
        file.refuse(keys, str(error))
    if not name.startswith(f"{model}.") or name in _NOT_SWEPT:
        file.refuse(keys, f"{name}: a sweep of the {model} varies {model}.*" + _but(model))
    if not (isinstance(told, dict) and len(told) == 1 and next(iter(told)) in _KINDS):
        file.refuse(keys, f"{name}: expected one of {', '.join(_KINDS)} with a list, found {told}")
    ((kind, values),) = told.items()
    keys = (*keys, kind)
    wanted = _RANGES.get(kind)
    if not isinstance(values, list) or not values or (wanted and len(values) != wanted):
        expected = f"a list of {wanted} numbers" if wanted else "a list of values"
        file.refuse(keys, f"{name}: {kind} takes {expected}, found {values}")
    typed = [_typed(file, keys, name, value) for value in values]
    if wanted:
        _check_range(file, keys, kind, typed)
    for value in typed[:2] if wanted else typed:
        _check_value(file, keys, name, value)
    return Space(kind=kind, values=typed)


def _but(model: str) -> str:
    some = [name for name in _NOT_SWEPT if name.startswith(f"{model}.")]
    return f" other than {', '.join(some)}" if some else ""


def _check_range(file: _File, keys: tuple[str, ...], kind: str, values: list[Any]) -> None:
    name, whole = keys[1], isinstance(lookup(Settings(), keys[1]), int)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        file.refuse(keys, f"{name}: {kind} takes numbers, found {values}")
    if whole and kind in {"uniform", "loguniform"}:
        file.refuse(keys, f"{name} is a whole number; take randint, quniform, choice or grid instead of {kind}")
    if not values[0] < values[1]:
        file.refuse(keys, f"{name}: {kind} takes a lower and then an upper bound, found {values}")
    if kind == "loguniform" and values[0] <= 0:
        file.refuse(keys, f"{name}: loguniform starts above 0, found {values[0]}")
    if kind == "quniform" and values[2] <= 0:
        file.refuse(keys, f"{name}: the step of quniform is above 0, found {values[2]}")


def _check_value(file: _File, keys: tuple[str, ...], name: str, value: Any) -> None:
    try:
        with_values(file.settings, {name: value})
    except SettingsError as error:
        file.refuse(keys, str(error))


def _typed(file: _File, keys: tuple[str, ...], name: str, value: Any) -> Any:
    """The value in the setting's own type: whole numbers are numbers, and YAML's 1e-4 (a text there) is one."""
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
    """What was drawn, in the settings' own types: quniform gives 32.0 where a setting is a whole number.

    Args:
        values: by dotted name.
    """
    defaults = dotted(Settings())
    return {
        name: int(value) if isinstance(value, float) and type(defaults[name]) is int else value
        for name, value in values.items()
    }
