"""Trials of the progression model: which series stand on which side of each fold, and folds side by side on Ray."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
import torch

from tumorprog import __version__, tables
from tumorprog.cohort import splits
from tumorprog.settings import Progression, Settings
from tumorprog.stages import queries, streaming

KEYS = ["PatientID", "date", "Type"]
"""What names a series to people."""

_NAMES = [*KEYS, "sequence", "SeriesInstanceUID", "stack"]
_TASKS_A_CORE = 4
"""A fold takes a second: so many in a task that handing them out costs nothing, so few that all cores end alike."""

Result = dict[str, pd.DataFrame]
"""What a fold leaves, by name."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of the grid {paper, patient} x {grade_rise, all}.

    Attributes:
        protocol: patient or paper.
        cohort: all or grade_rise.
        rows: which series make the cohort, indices into the table of series.
        fold: indices into `rows`.
        shuffled: whether it belongs to the null control, in which each patient has another's months.
    """

    protocol: str
    cohort: str
    rows: np.ndarray
    fold: splits.Fold
    shuffled: bool = False


def read_series(features: Path) -> pd.DataFrame:
    """The series with features.

    Args:
        features: folder of `tables.FEATURES`.

    Returns:
        A row per stack: PatientID, date, Type, sequence, SeriesInstanceUID, stack and vectors, (L, 100) float32 in
        the slices' order.
    """
    table = tables.read_shards(features, tables.FEATURES)
    rows = table.drop_columns(["vector"]).to_pandas()
    vectors = tables.vectors(table)
    found = [
        {**dict(zip(_NAMES, key, strict=True)), "vectors": vectors[group.index]}
        for key, group in rows.sort_values("order").groupby(_NAMES, sort=True)
    ]
    return pd.DataFrame(found, columns=[*_NAMES, "vectors"])


def audit(folder: Path, series: pd.DataFrame, settings: Settings) -> None:
    """Looks for studies of several patients among what is to be learned from, where there is a catalogue.

    Args:
        folder: the run directory.
        series: of `read_series`.
        settings: `cohort.allow_shared`.

    Raises:
        LeakError: if there is one.
    """
    catalogue = sorted((folder / "catalogue").glob("*.parquet"))
    if catalogue:
        sql = "SELECT DISTINCT PatientID, StudyInstanceUID FROM catalogue WHERE cohort = 'progression'"
        studies = queries.ask(sql, catalogue=catalogue)
        learned = studies[studies["PatientID"].isin(series["PatientID"])]
        splits.audit_patients(learned, allowed=settings.cohort.allow_shared)


def trials_of(cohort: str, series: pd.DataFrame, rows: np.ndarray, *, seed: int) -> list[Trial]:
    """The folds of both protocols over a cohort: each patient left out in turn, and the paper's split.

    Args:
        cohort: its name.
        series: of `read_series` or more.
        rows: which of them make the cohort, of three patients or more.
        seed: of the splits.
    """
    patients = series["PatientID"].to_numpy()[rows]
    folds = {
        "patient": splits.leave_one_patient_out(patients, seed=seed),
        "paper": splits.random_series(len(rows), seed=seed),
    }
    return [
        Trial(protocol=protocol, cohort=cohort, rows=rows, fold=fold)
        for protocol, some in folds.items()
        for fold in some
    ]


Train = Callable[[pd.DataFrame, Trial, Progression, int], Result]
"""The series, whole; a trial over their rows; the settings; a seed -> what the fold leaves."""


def train_all(series: pd.DataFrame, trials: list[Trial], train: Train, settings: Settings) -> list[Result]:
    """What `train` gives for each trial, in their order; several in each Ray task.

    Args:
        series: whole; the object store holds it once for all tasks.
        trials: over its rows.
        train: one fold; it is pickled to the workers.
        settings: `progression` and the seed.
    """
    shared = ray.put(series)
    remote = ray.remote(num_cpus=1, max_retries=3)(_train_some)
    size = max(1, len(trials) // (_TASKS_A_CORE * streaming.cores()))
    pending: dict[Any, int] = {}
    for start in range(0, len(trials), size):
        some = trials[start : start + size]
        pending[remote.remote(shared, some, train, settings.progression, settings.seed)] = start
    progress = streaming.Progress("train-progression", total=len(trials), items="folds")
    results: dict[int, Result] = {}
    while pending:
        (ready,), _ = ray.wait(list(pending), num_returns=1)
        found, start = ray.get(ready), pending.pop(ready)
        results |= dict(enumerate(found, start))
        progress.add(len(found))
    return [results[number] for number in range(len(trials))]


def _train_some(
    series: pd.DataFrame, trials: list[Trial], train: Train, progression: Progression, seed: int
) -> list[Result]:
    torch.set_num_threads(1)  # the cores are Ray's to share out; and so a fold gives the same on any machine
    return [train(series, trial, progression, seed) for trial in trials]


def described(
    settings: Settings, made_with: dict[str, Any], *, sides: tuple[np.ndarray, np.ndarray], epochs: int
) -> dict[str, Any]:
    """What is written beside a final model, whatever it tells of.

    Args:
        settings: of the model, and the seed.
        made_with: summary of the features.
        sides: patients of the training series and of those that watched.
        epochs: of its training.
    """
    training, watching = sides
    return {
        "vector_length": tables.VECTOR_LENGTH,
        "wavelet": made_with["wavelet"],
        "roi": made_with["roi"],
        "progression": asdict(settings.progression),
        "seed": settings.seed,
        "epochs": epochs,
        "training_patients": len(np.unique(training)),
        "validation_patients": len(np.unique(watching)),
        "versions": {"tumorprog": __version__},
    }


def sides(series: pd.DataFrame, trials: list[Trial]) -> pd.DataFrame:
    """Who stands on which side of each trial, rows of `tables.FOLDS`."""
    tables_of_sides = [
        series.iloc[trial.rows[getattr(trial.fold, side)]][KEYS].assign(
            Protocol=trial.protocol, Cohort=trial.cohort, Fold=trial.fold.name, side=side
        )
        for trial in trials
        for side in splits.SIDES
    ]
    return pd.concat(tables_of_sides)
