"""Slices and settings -> the plans of the grader's trainings: everything that the training workers receive."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tumorprog import __version__, storage, tables
from tumorprog.cohort import splits
from tumorprog.conventions import GRADES
from tumorprog.distributed.grader_training import UNUSED, GraderPlan
from tumorprog.distributed.training import fingerprint
from tumorprog.graders import resnet18
from tumorprog.graders.columns import SLICES
from tumorprog.graders.training import class_weights
from tumorprog.settings import Settings

log = logging.getLogger(__name__)

_IGNORED_FOR_RESUME = ("epochs", "folds", "seeds", "null_control", "null_draws")
"""Settings of the grader that may differ from those of a training that is resumed."""
_IDENTIFYING = ["SOPInstanceUID", "frame", "grade", "side", "pixel_hash"]
_METADATA = [name for name in SLICES.names if name != "image"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training to run.

    Attributes:
        name: name in the log.
        protocol: protocol of the split.
        folder: folder of its files, relative to the run directory.
        slices: the slices without their images, with the side of each.
        fold: fold of the cross-validation, from 1; 0 for a training outside the cross-validation.
        seed: seed of the initial weights and of the order of the slices; None for that of the settings.
        is_repetition: whether it repeats a training with another seed or with permuted grades, to compare with it; only
            its test set is predicted.
    """

    name: str
    protocol: str
    folder: str
    slices: pd.DataFrame
    fold: int = 0
    seed: int | None = None
    is_repetition: bool = False


def read_slice_metadata(folder: Path) -> pd.DataFrame:
    """Return the slices of a run directory without their images: all other columns of `graders.columns.SLICES`."""
    return tables.read_shards(folder / "slices", SLICES, _METADATA).to_pandas()


def patient_sides(slices: pd.DataFrame, settings: Settings) -> pd.Series:
    """Return the side of each patient, index PatientID, from the user's own split or a random one.

    Raises:
        InputError: if a grade has too few patients, or the user's split does not match the patients.
    """
    patients = slices.groupby("PatientID")["grade"].first()
    if settings.grader.split:
        return splits.read_split(storage.as_path(settings.grader.split), list(patients.index))
    return splits.split_patients(patients, seed=settings.seed)


def build_plan(training: Training, folder: Path, out: Path, settings: Settings, *, cores: int) -> GraderPlan:
    """Build the plan of a training for its workers.

    Args:
        training: the training; slices whose side is not in `splits.SIDES` are not used.
        folder: the run directory, with slices.
        out: parent of the training's own folder.
        settings: settings of the grader, and the seed.
        cores: CPU cores for the computation of each worker.
    """
    slices, shards = training.slices, tables.shards(folder / "slices")
    seed = settings.seed if training.seed is None else training.seed
    training_slices = slices[slices["side"] == "train"]
    counts = [int((training_slices["grade"] == grade).sum()) for grade in GRADES]
    sides, labels = (np.full(int(slices["slice"].max()) + 1, UNUSED, np.uint8) for _ in range(2))
    code = {side: number for number, side in enumerate(splits.SIDES)}
    sides[slices["slice"]] = slices["side"].map(code).fillna(UNUSED)
    labels[slices["slice"]] = slices["grade"] - GRADES[0]
    excluded = splits.surplus_slices(np.sort(training_slices["slice"]), workers=settings.grader.workers, seed=seed)
    if len(excluded):
        log.info("  %s: %d training slices excluded, so that workers have equal numbers", training.name, len(excluded))
        sides[excluded] = UNUSED
    images = tables.read_summary(folder / "slices")
    description = {
        **resnet18.DESCRIPTION,
        "scaling": images["scaling"],
        "selection": images["selection"],
        "protocol": training.protocol,
        "fold": training.fold,
        "initial_weights": settings.grader.weights,
        "training": {name: value for name, value in asdict(settings.grader).items() if name not in _IGNORED_FOR_RESUME},
        "data_fingerprint": fingerprint(slices[_IDENTIFYING]),
        "seed": seed,
        "training_slices": dict(zip(map(str, GRADES), counts, strict=True)),
        "training_slices_left_out": len(excluded),
        "versions": {"tumorprog": __version__, "torch": torch.__version__},
    }
    return GraderPlan(
        name=training.name,
        target=(out / training.folder).absolute(),
        shards=shards,
        sides=sides,
        labels=labels,
        settings=settings.grader,
        seed=seed,
        class_weights=class_weights(counts).tolist(),
        cores=cores,
        description=description,
    )
