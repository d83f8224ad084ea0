"""The folds over the series: which series are in which set, and what is recorded with a final model."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tumorprog import __version__, queries
from tumorprog.cohort import splits
from tumorprog.encoders.columns import VECTOR_LENGTH
from tumorprog.progression.series import KEYS
from tumorprog.settings import Settings

Result = dict[str, pd.DataFrame]
"""Output tables of a fold, by name."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training.

    Attributes:
        protocol: patient or paper.
        cohort: all or grade_rise.
        rows: indices of the cohort's series in the table of series.
        fold: indices into `rows`.
        purpose: `result`, the grid {paper, patient} x {grade_rise, all}; `seed`, its folds by patient with another
            seed; `interval`, without two groups of patients, for the errors from which prediction intervals are made;
            `null`, the permutation control (null control), in which the months are shuffled between patients.
        repeat: number of the repetition: added to the seed. The null control's repetition 0 is not shuffled.
    """

    protocol: str
    cohort: str
    rows: np.ndarray
    fold: splits.Fold
    purpose: Literal["result", "seed", "interval", "null"] = "result"
    repeat: int = 0


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
        studies = queries.fetch(sql, catalogue=catalogue)
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


def describe_model(
    settings: Settings, options: dict[str, Any], *, patients: tuple[np.ndarray, np.ndarray], epochs: int
) -> dict[str, Any]:
    """Return the part of a final model's description that is common to all progression targets.

    Args:
        settings: settings of the model, and the seed.
        options: of the encoder that computed the features.
        patients: PatientID of each training series and of each validation series.
        epochs: number of epochs of the training.
    """
    training, validation = patients
    return {
        "vector_length": VECTOR_LENGTH,
        **options,
        "progression": asdict(settings.progression),
        "seed": settings.seed,
        "epochs": epochs,
        "training_patients": len(np.unique(training)),
        "validation_patients": len(np.unique(validation)),
        "versions": {"tumorprog": __version__},
    }


def fold_table(series: pd.DataFrame, trials: list[Trial]) -> pd.DataFrame:
    """Return the side (train, validation or test) of each series in each trial, rows of `progression.columns.FOLDS`."""
    side_tables = [
        series.iloc[trial.rows[getattr(trial.fold, side)]][KEYS].assign(
            Protocol=trial.protocol, Cohort=trial.cohort, Fold=trial.fold.name, side=side
        )
        for trial in trials
        for side in splits.SIDES
    ]
    return pd.concat(side_tables)
