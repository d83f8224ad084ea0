"""tune: a sweep + slices, or features and reference sheet -> tune/ (every trial, and the best for `--config`)."""

import importlib.util
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from ray import tune
from ray.tune.experiment import Trial

from tumorprog import storage, tables
from tumorprog.errors import InputError, SettingsError
from tumorprog.settings import Settings, lookup, with_values
from tumorprog.stages import streaming, trials
from tumorprog.stages.sweep import Space, Sweep, as_settings, read_sweep

log = logging.getLogger(__name__)

_NAME = "trials"
_BOARD_SECONDS, _BOARD_ROWS = 10.0, 5
_SPACES = {
    "choice": tune.choice,
    "grid": tune.grid_search,
    "uniform": tune.uniform,
    "loguniform": tune.loguniform,
    "randint": tune.randint,
    "quniform": tune.quniform,
}
_WHOLE_LIST = ("choice", "grid")


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Tries the sweep on all but the test part, then tests the best trial on that, once.

    Killed and begun again it goes on: trials that had ended are kept, the others start anew.

    Raises:
        SettingsError: if the sweep cannot work.
        InputError: if there are too few patients, or every trial failed.
    """
    if settings.tune.model == "progression" and settings.progression.target != "months":
        raise SettingsError(f"progression.target is {settings.progression.target}; a sweep tries models of months only")
    sweep = read_sweep(storage.place(settings.tune.sweep), model=settings.tune.model, settings=settings)
    grader = settings.tune.model == "grader"
    streaming.connect(settings.cluster, gpu=sweep.gpu > 0, train_workers=max(1, settings.grader.workers) * grader)
    if grader:
        study = trials.grader(folder, (out / ".trials").absolute(), sweep, settings)
    else:
        study = trials.progression(folder, sweep, settings)
    log.info("  %s", study.told)
    results = _sweep(sweep, study, (out / ".ray").absolute(), settings)
    tried, curves = tabulate(results, sweep)
    target = out / "tune"
    target.mkdir(exist_ok=True)
    tables.write_csv(target / "trials.csv", tried, list(tried.columns))
    tables.write_csv(target / "curves.csv", curves, list(curves.columns))
    _keep_events(results, target / "tensorboard")
    judged = tried.dropna(subset=[sweep.metric])
    if judged.empty:
        last_line = str(results.errors[0]).strip().splitlines()[-1] if results.errors else "nothing was reported"
        raise InputError(f"{settings.tune.sweep}: every trial failed; the first said: {last_line}")
    best = judged.sort_values(sweep.metric, ascending=sweep.mode == "min", kind="stable").iloc[0]
    chosen = as_settings(results[int(best["trial"])].config)
    storage.write_text(target / "best.yaml", yaml.safe_dump(_nested(chosen), sort_keys=False))
    told = {
        "model": settings.tune.model,
        "metric": sweep.metric,
        "mode": sweep.mode,
        "trials": {str(status): int(count) for status, count in tried["status"].value_counts().items()},
        "best": chosen,
        "validation": float(best[sweep.metric]),
        "test": study.test(with_values(settings, chosen), str(best["id"])),
    }
    tables.write_json(target / "test.json", told)
    return f"{len(tried)} trials, best {chosen}: {sweep.metric} {best[sweep.metric]:.4g}; tested once on those held out"


def _sweep(sweep: Sweep, study: trials.Study, store: Path, settings: Settings) -> tune.ResultGrid:
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the board below says what matters
    place = str(store / _NAME)
    if tune.Tuner.can_restore(place):
        log.info("  going on with the sweep that was interrupted")
        return tune.Tuner.restore(place, trainable=study.trainable, restart_errored=True).fit()
    at_once = min(sweep.concurrent or study.at_once, study.at_once)
    board = Board(sweep, total=_num_trials(sweep))
    tuner = tune.Tuner(
        study.trainable,
        param_space={name: _domain(space) for name, space in sweep.space.items()},
        tune_config=tune.TuneConfig(
            metric=sweep.metric,
            mode=sweep.mode,
            num_samples=sweep.samples,
            max_concurrent_trials=at_once,
            search_alg=_search(sweep, settings),
            scheduler=_scheduler(sweep, settings),
            time_budget_s=60 * sweep.time_budget_minutes or None,
            reuse_actors=True,  # a process takes seconds to import torch; a trial of the LSTM takes about as long
        ),
        run_config=tune.RunConfig(
            name=_NAME, storage_path=str(store), verbose=0, callbacks=[board, *_mlflow(settings)]
        ),
    )
    return tuner.fit()


def _num_trials(sweep: Sweep) -> int:
    count = sweep.samples
    for space in sweep.space.values():
        count *= len(space.values) if space.kind == "grid" else 1
    return count


def _domain(space: Space) -> Any:
    make = _SPACES[space.kind]
    return make(space.values) if space.kind in _WHOLE_LIST else make(*space.values)


def _search(sweep: Sweep, settings: Settings) -> tune.search.SearchAlgorithm | tune.search.Searcher:
    if sweep.search == "random":
        return tune.search.BasicVariantGenerator(random_state=settings.seed)
    if importlib.util.find_spec("optuna") is None:
        raise SettingsError("search is optuna, which is not installed: pip install 'tumorprog[optuna]'")
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(metric=sweep.metric, mode=sweep.mode, seed=settings.seed)


def _scheduler(sweep: Sweep, settings: Settings) -> tune.schedulers.TrialScheduler:
    if sweep.scheduler == "fifo":
        return tune.schedulers.FIFOScheduler()
    name = f"{settings.tune.model}.epochs"
    longest = max(sweep.space[name].values) if name in sweep.space else lookup(settings, name)
    return tune.schedulers.ASHAScheduler(**{"max_t": longest, **sweep.scheduling})


def _mlflow(settings: Settings) -> list[tune.Callback]:
    if not settings.tune.mlflow:
        return []
    if importlib.util.find_spec("mlflow") is None:  # else the callback finds out late, inside Ray Tune
        raise SettingsError("tune.mlflow is given, but mlflow is not installed: pip install 'tumorprog[mlflow]'")
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    name = f"tumorprog {settings.tune.model}"
    return [MLflowLoggerCallback(tracking_uri=settings.tune.mlflow, experiment_name=name)]


class Board(tune.Callback):
    """The best trials so far, in the log every ten seconds and at the end."""

    def __init__(self, sweep: Sweep, *, total: int) -> None:
        """A board with nothing on it; it says `total` trials are to come."""
        self._sweep, self._total = sweep, total
        self._rows: dict[str, dict[str, Any]] = {}
        self._over: set[str] = set()
        self._told = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Takes the figures of an epoch."""
        del iteration, trials, info
        reached = {"epoch": result["training_iteration"], self._sweep.metric: result[self._sweep.metric]}
        self._rows[trial.trial_id] = {**as_settings(trial.config), **reached}
        if time.monotonic() - self._told > _BOARD_SECONDS:
            self._tell()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Counts a trial that is over."""
        del iteration, trials, info
        self._over.add(trial.trial_id)
        if len(self._over) == self._total:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        log.info("  %d of %d trials are over; the best so far:", len(self._over), self._total)
        rows = pd.DataFrame(self._rows.values()).sort_values(self._sweep.metric, ascending=self._sweep.mode == "min")
        for line in rows.head(_BOARD_ROWS).to_string(index=False, float_format="{:.4g}".format).splitlines():
            log.info("    %s", line)


def tabulate(results: tune.ResultGrid, sweep: Sweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What became of every trial.

    Args:
        results: of Ray Tune.
        sweep: what was swept.

    Returns:
        Trials: trial, id, the settings, epochs, the metric at the epoch that is kept, seconds and status: finished,
        stopped (by the scheduler or the time) or failed. Curves: trial, epoch and every figure reported at it.
    """
    tried, curves = [], []
    for number, result in enumerate(results):
        history = result.metrics_dataframe
        history = pd.DataFrame() if history is None else history
        ended = bool(len(history)) and bool(history[trials.ENDED].iloc[-1])
        tried.append(
            {
                "trial": number,
                "id": (result.metrics or {}).get("trial_id", ""),
                **as_settings(result.config or {}),
                "epochs": len(history),
                sweep.metric: kept_epoch(history)[sweep.metric] if len(history) else math.nan,
                "seconds": history["time_total_s"].iloc[-1] if len(history) else 0.0,
                "status": "failed" if result.error else "finished" if ended else "stopped",
            }
        )
        figures = [name for name in history.columns if name.startswith("validation_")]
        curves.append(
            pd.DataFrame({"trial": number, "epoch": range(1, len(history) + 1), **{n: history[n] for n in figures}})
        )
    return pd.DataFrame(tried), pd.concat(curves, ignore_index=True)


def kept_epoch(history: pd.DataFrame) -> pd.Series:
    """The epoch whose model a training keeps by its own rule, which is not always where the metric was best.

    Args:
        history: what a trial reported, a row per epoch.

    Returns:
        Of the grader the row with the highest validation accuracy (then the lowest loss); of the progression model the
        last one, because each of its folds reports by the best epoch it has had.
    """
    if "validation_accuracy" not in history:
        return history.iloc[-1]
    order = history.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True], kind="stable")
    return order.iloc[0]


def _keep_events(results: tune.ResultGrid, target: Path) -> None:
    """The trials' figures as TensorBoard reads them, a folder for each trial."""
    for number, result in enumerate(results):
        for events in storage.place(result.path).glob("events.out.tfevents.*"):
            place = target / f"trial-{number}"
            place.mkdir(parents=True, exist_ok=True)
            storage.copy(events, place / events.name)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, _, leaf = name.rpartition(".")
        nested.setdefault(group, {})[leaf] = value
    return nested
