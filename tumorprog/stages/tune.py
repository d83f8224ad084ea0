"""tune: features + reference sheet + a sweep's YAML -> tune/ (every trial, and the best as settings for `--config`)."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import yaml
from ray import tune

from tumorprog import storage, tables
from tumorprog.cohort import splits
from tumorprog.errors import InputError, SettingsError
from tumorprog.fitting import fit_progression
from tumorprog.models.progression import predict_months
from tumorprog.settings import Settings, check_name, with_values
from tumorprog.stages import streaming, train_progression

log = logging.getLogger(__name__)

METRIC = "validation_mae_months"
"""What trials are chosen by: over inner folds of patients, with the held-out patients unseen."""

Shared: TypeAlias = tuple[pd.DataFrame, list[splits.Fold]]
"""The series, and the inner folds over them; in the object store once for all trials."""

_SPACES = {
    "choice": (tune.choice, None),
    "grid": (tune.grid_search, None),
    "uniform": (tune.uniform, 2),
    "loguniform": (tune.loguniform, 2),
    "randint": (tune.randint, 2),
    "quniform": (tune.quniform, 3),
}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep's YAML file.

    Attributes:
        space: for each setting's dotted name, one kind of space and its values: `{loguniform: [1.0e-4, 1.0e-2]}`.
        samples: how many draws; a grid is tried whole in each.
        mode: whether the metric is to be small or large.
    """

    space: dict[str, dict[str, list[Any]]]
    samples: int = 1
    mode: Literal["min"] = field(default="min", init=False)


def read_sweep(path: Path) -> Sweep:
    """Reads and checks a sweep before anything starts.

    Raises:
        SettingsError: if a name, a kind of space or its values cannot work; it names the file and the entry.
    """
    if not path.is_file():
        raise SettingsError(f"tune.sweep: {path}: no such file; tune_configs/ has some to start from")
    try:
        told = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML ({error})") from error
    if not isinstance(told, dict) or not isinstance(told.get("space"), dict) or set(told) - {"space", "samples"}:
        raise SettingsError(f"{path}: expected the keys `space` (settings and their values) and `samples`")
    for name, space in told["space"].items():
        _check_space(path, name, space)
    samples = told.get("samples", 1)
    if not isinstance(samples, int) or samples < 1:
        raise SettingsError(f"{path}: samples is {samples}; it must be a whole number of 1 or more")
    return Sweep(space=told["space"], samples=samples)


def _check_space(path: Path, name: str, space: Any) -> None:
    try:
        check_name(name)
    except SettingsError as error:
        raise SettingsError(f"{path}: space: {error}") from error
    if not name.startswith("progression."):
        raise SettingsError(f"{path}: space: {name}: a progression sweep varies progression.* only")
    if not (isinstance(space, dict) and len(space) == 1 and set(space) <= set(_SPACES)):
        raise SettingsError(f"{path}: space: {name}: expected one of {', '.join(_SPACES)} with a list, found {space}")
    ((kind, values),) = space.items()
    wanted = _SPACES[kind][1]
    if not isinstance(values, list) or not values or (wanted is not None and len(values) != wanted):
        expected = f"a list of {wanted} numbers" if wanted else "a list of values"
        raise SettingsError(f"{path}: space: {name}: {kind} takes {expected}, found {values}")
    for value in values if wanted is None else values[:2]:
        with_values(Settings(), {name: value})


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Tries the sweep on all but the held-out patients, then tests the best trial on those, once.

    Raises:
        SettingsError: if the sweep cannot work.
        InputError: if fewer than five patients have two dates, or every trial failed.
    """
    if settings.progression.target != "months":
        raise SettingsError(f"progression.target is {settings.progression.target}; a sweep tries models of months only")
    sweep = read_sweep(storage.place(settings.tune.sweep))
    series = train_progression.learnable(folder)
    held_out, inner = split(series["PatientID"].to_numpy(), seed=settings.seed)
    streaming.connect(settings.cluster)
    results = _tuner(sweep, (series, inner), out, settings).fit()
    trials = _table(results, list(sweep.space))
    target = out / "tune"
    target.mkdir(exist_ok=True)
    tables.write_csv(target / "trials.csv", trials, list(trials.columns))
    finished = trials[trials["status"] == "finished"]
    if finished.empty:
        last_line = str(results.errors[0]).strip().splitlines()[-1]
        raise InputError(f"{settings.tune.sweep}: every trial failed; the first said: {last_line}")
    best = finished.sort_values(METRIC).iloc[0]
    chosen = {name: results[int(best["trial"])].config[name] for name in sweep.space}
    storage.write_text(target / "best.yaml", yaml.safe_dump(_nested(chosen), sort_keys=False))
    tested = _test(series, held_out, with_values(settings, chosen))
    judged = {"trials": len(trials), "validation_mae_months": float(best[METRIC]), **tested}
    tables.write_json(target / "test.json", judged)
    return (
        f"{len(trials)} trials, best {chosen}: {best[METRIC]:.2f} months on inner folds, "
        f"{tested['test_mae_months']:.2f} on {tested['test_patients']} patients held out"
    )


def split(patients: np.ndarray, *, seed: int) -> tuple[np.ndarray, list[splits.Fold]]:
    """Patients that no trial sees, and the inner folds of the others.

    Args:
        patients: (N,) patient of each series.
        seed: of the split.

    Returns:
        Rows of about a fifth of the patients, and folds over the rows of the others, left out one at a time.

    Raises:
        InputError: with fewer than five patients.
    """
    names = np.unique(patients)
    if len(names) < 5:
        raise InputError(f"{len(names)} patients with two dates; a sweep that holds some out needs 5 or more")
    shuffled = np.random.default_rng(seed).permutation(names)
    outside = np.isin(patients, shuffled[: max(1, len(names) // 5)])
    rows = np.flatnonzero(~outside)
    folds = [
        splits.Fold(name=fold.name, train=rows[fold.train], validation=rows[fold.validation], test=rows[fold.test])
        for fold in splits.leave_one_patient_out(patients[rows], seed=seed)
    ]
    return np.flatnonzero(outside), folds


def _tuner(sweep: Sweep, shared: Shared, out: Path, settings: Settings) -> tune.Tuner:
    space = {name: _domain(*next(iter(one.items()))) for name, one in sweep.space.items()}
    trainable = tune.with_resources(tune.with_parameters(_trial, shared=shared, settings=settings), {"cpu": 1})
    config = tune.TuneConfig(
        metric=METRIC,
        mode=sweep.mode,
        num_samples=sweep.samples,
        max_concurrent_trials=settings.tune.concurrent or None,
        search_alg=tune.search.BasicVariantGenerator(random_state=settings.seed),
    )
    storage = tune.RunConfig(name="trials", storage_path=str((out / ".ray").absolute()), verbose=1)
    return tune.Tuner(trainable, param_space=space, tune_config=config, run_config=storage)


def _domain(kind: str, values: list[Any]) -> Any:
    make, num_bounds = _SPACES[kind]
    return make(values) if num_bounds is None else make(*values)


def _trial(config: dict[str, Any], *, shared: Shared, settings: Settings) -> None:
    """Trains on every inner fold and reports the mean error so far after each, so that a poor trial shows early."""
    series, folds = shared
    chosen = with_values(settings, config)
    errors: list[float] = []
    for fold in folds:
        training, validation = (train_progression.part(series, rows) for rows in (fold.train, fold.validation))
        model, _ = fit_progression(training, validation, settings=chosen.progression, seed=settings.seed)
        left_out = train_progression.part(series, fold.test)
        errors += list(np.abs(predict_months(model, left_out.vectors) - left_out.months))
        tune.report({METRIC: float(np.mean(errors)), "folds": len(errors)})


def _table(results: tune.ResultGrid, names: list[str]) -> pd.DataFrame:
    rows = [
        {
            "trial": number,
            **{name: result.config[name] for name in names},
            METRIC: (result.metrics or {}).get(METRIC),
            "seconds": (result.metrics or {}).get("time_total_s"),
            "status": "failed" if result.error else "finished",
        }
        for number, result in enumerate(results)
    ]
    return pd.DataFrame(rows)


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, _, leaf = name.rpartition(".")
        nested.setdefault(group, {})[leaf] = value
    return nested


def _test(series: pd.DataFrame, held_out: np.ndarray, settings: Settings) -> dict[str, Any]:
    inside = np.setdiff1d(np.arange(len(series)), held_out)
    train, validation = splits.inner_split(series["PatientID"].to_numpy()[inside], seed=settings.seed)
    training, watching = (train_progression.part(series, inside[rows]) for rows in (train, validation))
    model, _ = fit_progression(training, watching, settings=settings.progression, seed=settings.seed)
    test = train_progression.part(series, held_out)
    errors = np.abs(predict_months(model, test.vectors) - test.months)
    return {
        "test_mae_months": float(errors.mean()),
        "test_patients": int(series["PatientID"].iloc[held_out].nunique()),
        "test_series": len(held_out),
    }
