"""train-grader: slices -> split, leakage audit, grader/ (the trained ResNet-18, its history, all predictions)."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from tumorprog import __version__, storage, tables
from tumorprog.cohort import splits
from tumorprog.errors import InputError
from tumorprog.models import grader
from tumorprog.settings import Settings
from tumorprog.stages import grader_training, streaming
from tumorprog.stages.grade import score
from tumorprog.stages.grader_training import Plan
from tumorprog.training import class_weights

log = logging.getLogger(__name__)

_IGNORED_FOR_RESUME = ("epochs", "folds", "null_control")
"""Settings of the grader that may differ from those of a training that is resumed."""
_METADATA = [name for name in tables.SLICES.names if name != "image"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training to run.

    Attributes:
        name: name in the log.
        protocol: protocol of the split.
        folder: folder of its files, relative to the run directory.
        slices: the slices without their images, with the side of each.
        fold: fold of the cross-validation, from 1; 0 for a training outside the cross-validation.
    """

    name: str
    protocol: str
    folder: str
    slices: pd.DataFrame
    fold: int = 0


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Train under the protocol of the settings, or under both: the paper's results are then in `grader/paper/`.

    `grader.folds` adds this number of trainings, in `grader/folds/`: each patient is in the test set of one of them.
    `grader.null_control` adds a permutation control (null control) for each protocol, in `null/`: a training with the
    grades shuffled between patients.

    Raises:
        LeakError: if data of one patient is in two sets of a split by patients.
        InputError: if a grade has too few patients, or a set has no slices.
        TumorprogError: if the loss is not finite.
    """
    streaming.connect(settings.cluster, gpu=settings.grader.gpu, train_workers=settings.grader.workers)
    slices = read_slice_metadata(folder)
    trainings = [*_by_protocol(slices, out, settings), *_by_fold(slices, out, settings)]
    max_concurrent = grader_training.max_concurrent(settings.grader, num_trainings=len(trainings))
    cores = max(1, streaming.cores() // (max_concurrent * max(1, settings.grader.workers)))
    planned = [(training, build_plan(training, folder, out, settings, cores=cores)) for training in trainings]
    for training, plan in planned:
        plan.target.mkdir(parents=True, exist_ok=True)
        grader_training.resume_from(folder / training.folder, plan)
    grader_training.train_all([plan for _, plan in planned], max_concurrent=max_concurrent)
    summaries = [_predict(training.slices, plan) for training, plan in planned if not training.fold]
    folds = [(training, plan) for training, plan in planned if training.fold]
    if folds:
        summaries.append(_predict_folds(folds, out / "grader" / "folds" / "predictions.parquet"))
    for _, plan in planned:
        storage.remove(plan.target / grader_training.RAY_FOLDER)
    return "; ".join(summaries)


def _by_protocol(slices: pd.DataFrame, out: Path, settings: Settings) -> Iterator[Training]:
    """Yield the trainings of the settings' protocol, or of both; write split.csv and leaks.csv of each."""
    protocols = ("patient", "paper") if settings.protocol == "both" else (settings.protocol,)
    for protocol in protocols:
        folder = "grader" if protocol == protocols[0] else f"grader/{protocol}"
        if protocol == "paper":
            sides = splits.split_slices(int(slices["slice"].max()) + 1, seed=settings.seed)[slices["slice"]]
            split = pd.DataFrame({"slice": slices["slice"], "side": sides}).sort_values("slice")
        else:
            by_patient = patient_sides(slices, settings)
            sides = slices["PatientID"].map(by_patient).to_numpy()
            split = pd.DataFrame({"patient": by_patient.index, "side": by_patient.to_numpy()})
        assigned = slices.assign(side=sides)
        leaks = _audit(assigned, protocol=protocol, settings=settings)
        log.info("  %s protocol: %s slices; %d leaks", protocol, _counts(assigned), len(leaks))
        (out / folder).mkdir(parents=True, exist_ok=True)
        tables.write_csv(out / folder / "split.csv", split, list(split.columns))
        tables.write_csv(out / folder / "leaks.csv", leaks, list(leaks.columns))
        name = f"{protocol} protocol"
        yield Training(name=name, protocol=protocol, folder=folder, slices=assigned)
        if settings.grader.null_control:
            grades = splits.shuffled_between_patients(assigned["PatientID"], assigned["grade"], seed=settings.seed)
            null = assigned.assign(grade=grades)
            yield Training(name=f"{name}, null control", protocol=protocol, folder=f"{folder}/null", slices=null)


def read_slice_metadata(folder: Path) -> pd.DataFrame:
    """Return the slices of a run directory without their images: all other columns of `tables.SLICES`."""
    return tables.read_shards(folder / "slices", tables.SLICES, _METADATA).to_pandas()


def patient_sides(slices: pd.DataFrame, settings: Settings) -> pd.Series:
    """Return the side of each patient, index PatientID, from the user's own split or a random one.

    Raises:
        InputError: if a grade has too few patients, or the user's split does not match the patients.
    """
    patients = slices.groupby("PatientID")["grade"].first()
    if settings.grader.split:
        return splits.read_split(storage.place(settings.grader.split), list(patients.index))
    return splits.split_patients(patients, seed=settings.seed)


def _by_fold(slices: pd.DataFrame, out: Path, settings: Settings) -> Iterator[Training]:
    """Yield the trainings of the cross-validation, and write folds/split.csv with the side of each patient."""
    if not settings.grader.folds:
        return
    patients = slices.groupby("PatientID")["grade"].first()
    split = splits.cross_validation(patients, folds=settings.grader.folds, seed=settings.seed)
    folder = out / "grader" / "folds"
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_csv(folder / "split.csv", split, list(split.columns))
    for fold, rows in split.groupby("fold"):
        assigned = slices.assign(side=slices["PatientID"].map(rows.set_index("patient")["side"]))
        _audit(assigned, protocol="patient", settings=settings)
        number = int(str(fold))
        name = f"fold {number}"
        yield Training(
            name=name, protocol="patient", folder=f"grader/folds/fold-{number}", slices=assigned, fold=number
        )


def _audit(assigned: pd.DataFrame, *, protocol: str, settings: Settings) -> pd.DataFrame:
    """Return the leaks of a split, after checking that every set has slices."""
    counts = _counts(assigned)
    if not all(counts.values()):
        raise InputError(
            f"the split has a set without slices ({counts}); add patients or provide a split: --grader.split FILE"
        )
    return splits.audit(assigned, protocol=protocol, allowed=settings.cohort.allow_shared)


def _counts(assigned: pd.DataFrame) -> dict[str, int]:
    return {side: int((assigned["side"] == side).sum()) for side in splits.SIDES}


def build_plan(training: Training, folder: Path, out: Path, settings: Settings, *, cores: int) -> Plan:
    """Build the plan of a training for its workers.

    Args:
        training: the training; slices whose side is not in `splits.SIDES` are not used.
        folder: the run directory, with slices.
        out: parent of the training's own folder.
        settings: settings of the grader, and the seed.
        cores: CPU cores for the computation of each worker.
    """
    slices, shards = training.slices, tables.shards(folder / "slices")
    training_slices = slices[slices["side"] == "train"]
    counts = [int((training_slices["grade"] == grade).sum()) for grade in tables.GRADES]
    sides, labels = (np.full(int(slices["slice"].max()) + 1, grader_training.UNUSED, np.uint8) for _ in range(2))
    code = {side: number for number, side in enumerate(splits.SIDES)}
    sides[slices["slice"]] = slices["side"].map(code).fillna(grader_training.UNUSED)
    labels[slices["slice"]] = slices["grade"] - tables.GRADES[0]
    excluded = splits.left_out(np.sort(training_slices["slice"]), workers=settings.grader.workers, seed=settings.seed)
    if len(excluded):
        log.info("  %s: %d training slices excluded, so that workers have equal numbers", training.name, len(excluded))
        sides[excluded] = grader_training.UNUSED
    description = {
        "model": "torchvision resnet18",
        "classes": list(tables.GRADES),
        "image_size": tables.IMAGE_SIZE,
        "scaling": tables.read_summary(folder / "slices")["scaling"],
        "channel_mean": list(grader.CHANNEL_MEAN),
        "channel_std": list(grader.CHANNEL_STD),
        "protocol": training.protocol,
        "fold": training.fold,
        "initial_weights": settings.grader.weights,
        "training": {name: value for name, value in asdict(settings.grader).items() if name not in _IGNORED_FOR_RESUME},
        "data_fingerprint": _fingerprint(slices),
        "seed": settings.seed,
        "training_slices": dict(zip(map(str, tables.GRADES), counts, strict=True)),
        "training_slices_left_out": len(excluded),
        "versions": {"tumorprog": __version__, "torch": torch.__version__},
    }
    return Plan(
        name=training.name,
        target=(out / training.folder).absolute(),
        shards=shards,
        sides=sides,
        labels=labels,
        grader=settings.grader,
        seed=settings.seed,
        class_weights=class_weights(counts).tolist(),
        cores=cores,
        description=description,
    )


def _fingerprint(slices: pd.DataFrame) -> str:
    """Return a fingerprint of the images, grades and sides of a training, independent of how they are sharded."""
    rows = slices[["SOPInstanceUID", "frame", "grade", "side", "pixel_hash"]].sort_values(["SOPInstanceUID", "frame"])
    return hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()


def _predict(slices: pd.DataFrame, plan: Plan) -> str:
    """Predict all slices, unless an interrupted call already has, and return a summary of the training."""
    target = plan.target / "predictions.parquet"
    if not target.exists():
        _write(target, predictions(slices, plan), tables.GRADER_PREDICTIONS)
    history = tables.read_csv(plan.target / "history.csv", tables.HISTORY)
    best = history[history["Best Model Saved"]].iloc[-1]
    return (
        f"{plan.name}: best epoch {best['Epoch']:.0f} of {len(history)}, "
        f"validation accuracy {best['Validation Acc (%)']:.1f} %, test {best['Test Acc (%)']:.1f} % of slices"
    )


def _predict_folds(folds: list[tuple[Training, Plan]], target: Path) -> str:
    """Predict the test slices of each fold with its own model: every slice once, by a model not trained on it."""
    if not target.exists():
        tests = [
            predictions(training.slices[training.slices["side"] == "test"], plan).assign(fold=training.fold)
            for training, plan in folds
        ]
        _write(target, pd.concat(tests), tables.FOLD_PREDICTIONS)
    return f"{len(folds)} folds, each patient in the test set of one"


def predictions(slices: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return the rows of `tables.GRADER_PREDICTIONS` for `slices`, by the best model of a finished training."""
    wanted = np.isin(np.arange(len(plan.sides)), slices["slice"])
    rows = streaming.read_rows(plan.shards, ["slice", "image"], wanted=wanted).rename_columns({"slice": "row"})
    scores = score(rows, plan.target, plan.grader, num_rows=len(slices)).rename(columns={"row": "slice"})
    return slices.merge(scores, on="slice").sort_values("slice")


def _write(target: Path, predictions: pd.DataFrame, schema: pa.Schema) -> None:
    tables.write_shard(target, pa.Table.from_pandas(predictions, schema, preserve_index=False), schema)
