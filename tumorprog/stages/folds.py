"""Trials of the progression model: assignment of the series to the sets of each fold, and concurrent folds on Ray."""

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
"""Columns that identify a series to the user."""

_NAMES = [*KEYS, "sequence", "SeriesInstanceUID", "stack"]
_TASKS_PER_CORE = 4
"""A fold takes a second: tasks hold enough folds to make scheduling cheap, few enough that all cores end together."""

Result = dict[str, pd.DataFrame]
"""Output tables of a fold, by name."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of the grid {paper, patient} x {grade_rise, all}.

    Attributes:
        protocol: patient or paper.
        cohort: all or grade_rise.
        rows: indices of the cohort's series in the table of series.
        fold: indices into `rows`.
        shuffled: whether it belongs to the permutation control (null control), in which the months to progression are
            shuffled between patients.
    """

    protocol: str
    cohort: str
    rows: np.ndarray
    fold: splits.Fold
    shuffled: bool = False


def read_series(features: Path) -> pd.DataFrame:
    """Return the series that have features.

    Args:
        features: folder of `tables.FEATURES`.

    Returns:
        A row per stack: PatientID, date, Type, sequence, SeriesInstanceUID, stack and vectors, (L, 100) float32 in
        slice order.
    """
    table = tables.read_shards(features, tables.FEATURES)
    rows = table.drop_columns(["vector"]).to_pandas()
    vectors = tables.vectors(table)
    stacks = [
        {**dict(zip(_NAMES, key, strict=True)), "vectors": vectors[group.index]}
        for key, group in rows.sort_values("order").groupby(_NAMES, sort=True)
    ]
    return pd.DataFrame(stacks, columns=[*_NAMES, "vectors"])


def audit(folder: Path, series: pd.DataFrame, settings: Settings) -> None:
    """Check that no study of the training data belongs to several patients, if the run directory has a catalogue.

    Args:
        folder: the run directory.
        series: series of `read_series`.
        settings: `cohort.allow_shared`.

    Raises:
        LeakError: if a study belongs to several patients.
    """
    catalogue = sorted((folder / "catalogue").glob("*.parquet"))
    if catalogue:
        sql = "SELECT DISTINCT PatientID, StudyInstanceUID FROM catalogue WHERE cohort = 'progression'"
        studies = queries.ask(sql, catalogue=catalogue)
        used = studies[studies["PatientID"].isin(series["PatientID"])]
        splits.audit_patients(used, allowed=settings.cohort.allow_shared)


def build_trials(cohort: str, series: pd.DataFrame, rows: np.ndarray, *, seed: int) -> list[Trial]:
    """Return the trials of both protocols for a cohort: leave-one-patient-out, and the paper's split.

    Args:
        cohort: name of the cohort.
        series: table with at least the columns of `read_series`.
        rows: indices of the cohort's series; they must belong to three or more patients.
        seed: seed of the splits.
    """
    patients = series["PatientID"].to_numpy()[rows]
    folds = {
        "patient": splits.leave_one_patient_out(patients, seed=seed),
        "paper": splits.random_series(len(rows), seed=seed),
    }
    return [
        Trial(protocol=protocol, cohort=cohort, rows=rows, fold=fold)
        for protocol, protocol_folds in folds.items()
        for fold in protocol_folds
    ]


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
    size = max(1, len(trials) // (_TASKS_PER_CORE * streaming.cores()))
    pending: dict[Any, int] = {}
    for start in range(0, len(trials), size):
        batch = trials[start : start + size]
        pending[remote.remote(shared, batch, train, settings.progression, settings.seed)] = start
    progress = streaming.Progress("train-progression", total=len(trials), items="folds")
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


def describe_model(
    settings: Settings, feature_summary: dict[str, Any], *, patients: tuple[np.ndarray, np.ndarray], epochs: int
) -> dict[str, Any]:
    """Return the part of a final model's description that is common to all progression targets.

    Args:
        settings: settings of the model, and the seed.
        feature_summary: summary of the features.
        patients: PatientID of each training series and of each validation series.
        epochs: number of epochs of the training.
    """
    training, validation = patients
    return {
        "vector_length": tables.VECTOR_LENGTH,
        "wavelet": feature_summary["wavelet"],
        "roi": feature_summary["roi"],
        "progression": asdict(settings.progression),
        "seed": settings.seed,
        "epochs": epochs,
        "training_patients": len(np.unique(training)),
        "validation_patients": len(np.unique(validation)),
        "versions": {"tumorprog": __version__},
    }


def fold_table(series: pd.DataFrame, trials: list[Trial]) -> pd.DataFrame:
    """Return the side (train, validation or test) of each series in each trial, rows of `tables.FOLDS`."""
    side_tables = [
        series.iloc[trial.rows[getattr(trial.fold, side)]][KEYS].assign(
            Protocol=trial.protocol, Cohort=trial.cohort, Fold=trial.fold.name, side=side
        )
        for trial in trials
        for side in splits.SIDES
    ]
    return pd.concat(side_tables)
