"""Folds -> their results: many small trainings, several in each Ray task."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import ray
import torch

from tumorprog.distributed import session
from tumorprog.heads.settings import Progression
from tumorprog.progress import Progress
from tumorprog.progression.folds import Result, Trial
from tumorprog.settings import Settings

_TASKS_PER_CORE = 4
"""A fold takes a second: tasks hold enough folds to make scheduling cheap, few enough that all cores end together."""

Train = Callable[[pd.DataFrame, Trial, Progression, int], Result]
"""Function from (all series, a trial over their rows, the settings, a seed) to the output tables of the fold."""


def train_all(series: pd.DataFrame, trials: list[Trial], train: Train, settings: Settings) -> list[Result]:
    """Run `train` for each trial, several in each Ray task, and return the results in the order of the trials.

    Args:
        series: all series; the object store holds them once for all tasks.
        trials: trials over the rows of `series`.
        train: function that trains one fold; it is pickled to the workers.
        settings: `progression` and the seed.
    """
    shared = ray.put(series)
    remote = ray.remote(num_cpus=1, max_retries=3)(_train_batch)
    size = max(1, len(trials) // (_TASKS_PER_CORE * session.cores()))
    pending: dict[Any, int] = {}
    for start in range(0, len(trials), size):
        batch = trials[start : start + size]
        pending[remote.remote(shared, batch, train, settings.progression, settings.seed)] = start
    progress = Progress("train-progression", total=len(trials), items="folds")
    results: dict[int, Result] = {}
    while pending:
        (ready,), _ = ray.wait(list(pending), num_returns=1)
        batch_results, start = ray.get(ready), pending.pop(ready)
        results |= dict(enumerate(batch_results, start))
        progress.add(len(batch_results))
    return [results[number] for number in range(len(trials))]


def _train_batch(
    series: pd.DataFrame, trials: list[Trial], train: Train, progression: Progression, seed: int
) -> list[Result]:
    torch.set_num_threads(1)  # Ray allocates the cores; with one thread, a fold is reproducible on any machine
    return [train(series, trial, progression, seed) for trial in trials]
