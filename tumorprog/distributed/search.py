"""A sweep -> its trials, by Ray Tune."""

import importlib.util
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
from ray import tune
from ray.tune.experiment import Trial

from tumorprog import storage
from tumorprog.distributed import sweep_trials
from tumorprog.errors import SettingsError
from tumorprog.settings import Settings, lookup
from tumorprog.sweep_file import Space, Sweep, as_settings

log = logging.getLogger(__name__)

_NAME = "trials"
_LOG_SECONDS, _LOG_ROWS = 10.0, 5
_SPACES = {
    "choice": tune.choice,
    "grid": tune.grid_search,
    "uniform": tune.uniform,
    "loguniform": tune.loguniform,
    "randint": tune.randint,
    "quniform": tune.quniform,
}
_LIST_KINDS = ("choice", "grid")


def run_sweep(sweep: Sweep, study: sweep_trials.Study, store: Path, settings: Settings) -> tune.ResultGrid:
    """Run the trials of a sweep, or resume those of an interrupted one.

    Args:
        sweep: the search space and the search.
        study: what a trial does.
        store: folder of the trials.
        settings: those that the sweep does not vary.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # `BestTrialsLog` reports the results instead
    path = str(store / _NAME)
    if tune.Tuner.can_restore(path):
        log.info("  resuming the interrupted sweep")
        return tune.Tuner.restore(path, trainable=study.trainable, restart_errored=True).fit()
    max_concurrent = min(sweep.concurrent or study.max_concurrent, study.max_concurrent)
    best_trials = BestTrialsLog(sweep, total=_num_trials(sweep))
    tuner = tune.Tuner(
        study.trainable,
        param_space={name: _domain(space) for name, space in sweep.space.items()},
        tune_config=tune.TuneConfig(
            metric=sweep.metric,
            mode=sweep.mode,
            num_samples=sweep.samples,
            max_concurrent_trials=max_concurrent,
            search_alg=_search(sweep, settings),
            scheduler=_scheduler(sweep, settings),
            time_budget_s=60 * sweep.time_budget_minutes or None,
            reuse_actors=True,  # importing torch takes seconds, about as long as a trial of the LSTM
        ),
        run_config=tune.RunConfig(
            name=_NAME, storage_path=str(store), verbose=0, callbacks=[best_trials, *_mlflow(settings)]
        ),
    )
    return tuner.fit()


def _num_trials(sweep: Sweep) -> int:
    count = sweep.samples
    for space in sweep.space.values():
        count *= len(space.values) if space.kind == "grid" else 1
    return count


def _domain(space: Space) -> Any:
    create = _SPACES[space.kind]
    return create(space.values) if space.kind in _LIST_KINDS else create(*space.values)


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
    if importlib.util.find_spec("mlflow") is None:  # otherwise the callback fails late, inside Ray Tune
        raise SettingsError("tune.mlflow is given, but mlflow is not installed: pip install 'tumorprog[mlflow]'")
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    name = f"tumorprog {settings.tune.model}"
    return [MLflowLoggerCallback(tracking_uri=settings.tune.mlflow, experiment_name=name)]


class BestTrialsLog(tune.Callback):
    """Callback that logs the best trials so far, every ten seconds and at the end."""

    def __init__(self, sweep: Sweep, *, total: int) -> None:
        """Start with no results; `total` is the number of trials of the sweep."""
        self._sweep, self._total = sweep, total
        self._rows: dict[str, dict[str, Any]] = {}
        self._finished: set[str] = set()
        self._logged = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the metrics of an epoch."""
        del iteration, trials, info
        values = {"epoch": result["training_iteration"], self._sweep.metric: result[self._sweep.metric]}
        self._rows[trial.trial_id] = {**as_settings(trial.config), **values}
        if time.monotonic() - self._logged > _LOG_SECONDS:
            self._log_best()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Count a finished trial."""
        del iteration, trials, info
        self._finished.add(trial.trial_id)
        if len(self._finished) == self._total:
            self._log_best()

    def _log_best(self) -> None:
        self._logged = time.monotonic()
        log.info("  %d of %d trials finished; the best so far:", len(self._finished), self._total)
        rows = pd.DataFrame(self._rows.values()).sort_values(self._sweep.metric, ascending=self._sweep.mode == "min")
        for line in rows.head(_LOG_ROWS).to_string(index=False, float_format="{:.4g}".format).splitlines():
            log.info("    %s", line)


def tabulate(results: tune.ResultGrid, sweep: Sweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tabulate the trials of a sweep.

    Args:
        results: results of Ray Tune.
        sweep: the sweep.

    Returns:
        Trials: trial, id, the settings, epochs, the metric at the selected epoch, seconds and status: finished, stopped
        (by the scheduler or the time budget) or failed. Curves: trial, epoch and all metrics reported at it.
    """
    rows, curves = [], []
    for number, result in enumerate(results):
        history = result.metrics_dataframe
        history = pd.DataFrame() if history is None else history
        ended = bool(len(history)) and bool(history[sweep_trials.ENDED].iloc[-1])
        rows.append(
            {
                "trial": number,
                "id": (result.metrics or {}).get("trial_id", ""),
                **as_settings(result.config or {}),
                "epochs": len(history),
                sweep.metric: selected_epoch(history)[sweep.metric] if len(history) else math.nan,
                "seconds": history["time_total_s"].iloc[-1] if len(history) else 0.0,
                "status": "failed" if result.error else "finished" if ended else "stopped",
            }
        )
        names = [name for name in history.columns if name.startswith("validation_")]
        curves.append(
            pd.DataFrame(
                {"trial": number, "epoch": range(1, len(history) + 1), **{name: history[name] for name in names}}
            )
        )
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def selected_epoch(history: pd.DataFrame) -> pd.Series:
    """Return the epoch whose model a training keeps, which is not always the epoch with the best metric.

    Args:
        history: metrics reported by a trial, a row per epoch.

    Returns:
        For the grader, the row with the highest validation accuracy (then the lowest loss). For the progression model,
        the last row, because each of its folds reports the error of its best epoch so far.
    """
    if "validation_accuracy" not in history:
        return history.iloc[-1]
    order = history.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True], kind="stable")
    return order.iloc[0]


def keep_events(results: tune.ResultGrid, target: Path) -> None:
    """Copy the trials' TensorBoard event files, into one folder for each trial."""
    for number, result in enumerate(results):
        for events in storage.as_path(result.path).glob("events.out.tfevents.*"):
            path = target / f"trial-{number}"
            path.mkdir(parents=True, exist_ok=True)
            storage.copy(events, path / events.name)
