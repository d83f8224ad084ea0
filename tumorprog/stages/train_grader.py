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

_NO_MATTER = ("epochs", "folds", "null_control")
"""Settings of the grader that another training may have had, and this one goes on from it."""
_KNOWN = [name for name in tables.SLICES.names if name != "image"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training that is to be done.

    Attributes:
        name: for the log.
        protocol: how it is split.
        folder: in the run directory, where its files go.
        known: the slices without their images, and the side of each.
        fold: of the cross-validation, from 1; 0 for a training that is none of its.
    """

    name: str
    protocol: str
    folder: str
    known: pd.DataFrame
    fold: int = 0


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Trains under the protocol of the settings, or under both: the paper's then stands in `grader/paper/`.

    With `grader.folds` there are so many trainings more, in `grader/folds/`: each patient is in the test part of one.
    With `grader.null_control` each protocol has one more, in `null/`, whose grades are shuffled between the patients.

    Raises:
        LeakError: if anything of one patient stands on two sides of a split by patients.
        InputError: if a grade has too few patients, or a side no slice.
        TumorprogError: if the loss is not finite.
    """
    streaming.connect(settings.cluster, gpu=settings.grader.gpu, train_workers=settings.grader.workers)
    known = known_slices(folder)
    trainings = [*_by_protocol(known, out, settings), *_by_fold(known, out, settings)]
    num_at_once = grader_training.at_once(settings.grader, num_trainings=len(trainings))
    cores = max(1, streaming.cores() // (num_at_once * max(1, settings.grader.workers)))
    planned = [(training, plan_of(training, folder, out, settings, cores=cores)) for training in trainings]
    for training, plan in planned:
        plan.target.mkdir(parents=True, exist_ok=True)
        grader_training.go_on_from(folder / training.folder, plan)
    grader_training.train_all([plan for _, plan in planned], num_at_once=num_at_once)
    told = [_predict(training.known, plan) for training, plan in planned if not training.fold]
    folds = [(training, plan) for training, plan in planned if training.fold]
    if folds:
        told.append(_predict_folds(folds, out / "grader" / "folds" / "predictions.parquet"))
    for _, plan in planned:
        storage.remove(plan.target / grader_training.RAY_FOLDER)
    return "; ".join(told)


def _by_protocol(known: pd.DataFrame, out: Path, settings: Settings) -> Iterator[Training]:
    """The trainings of the settings' protocol, or of both; split.csv says who stands where."""
    protocols = ("patient", "paper") if settings.protocol == "both" else (settings.protocol,)
    for protocol in protocols:
        folder = "grader" if protocol == protocols[0] else f"grader/{protocol}"
        if protocol == "paper":
            sides = splits.split_slices(int(known["slice"].max()) + 1, seed=settings.seed)[known["slice"]]
            split = pd.DataFrame({"slice": known["slice"], "side": sides}).sort_values("slice")
        else:
            chosen = patient_sides(known, settings)
            sides = known["PatientID"].map(chosen).to_numpy()
            split = pd.DataFrame({"patient": chosen.index, "side": chosen.to_numpy()})
        sided = known.assign(side=sides)
        leaks = _audited(sided, protocol=protocol, settings=settings)
        log.info("  %s protocol: %s slices; %d leaks", protocol, _counts(sided), len(leaks))
        (out / folder).mkdir(parents=True, exist_ok=True)
        tables.write_csv(out / folder / "split.csv", split, list(split.columns))
        tables.write_csv(out / folder / "leaks.csv", leaks, list(leaks.columns))
        name = f"{protocol} protocol"
        yield Training(name=name, protocol=protocol, folder=folder, known=sided)
        if settings.grader.null_control:
            grades = splits.shuffled_between_patients(sided["PatientID"], sided["grade"], seed=settings.seed)
            null = sided.assign(grade=grades)
            yield Training(name=f"{name}, null control", protocol=protocol, folder=f"{folder}/null", known=null)


def known_slices(folder: Path) -> pd.DataFrame:
    """The slices of a run directory without their images: the other columns of `tables.SLICES`."""
    return tables.read_shards(folder / "slices", tables.SLICES, _KNOWN).to_pandas()


def patient_sides(known: pd.DataFrame, settings: Settings) -> pd.Series:
    """The side of each patient, index PatientID: the user's own split, or a drawn one.

    Raises:
        InputError: if a grade has too few patients, or the user's split does not fit.
    """
    patients = known.groupby("PatientID")["grade"].first()
    if settings.grader.split:
        return splits.read_split(storage.place(settings.grader.split), list(patients.index))
    return splits.split_patients(patients, seed=settings.seed)


def _by_fold(known: pd.DataFrame, out: Path, settings: Settings) -> Iterator[Training]:
    """The trainings of the cross-validation; folds/split.csv says who stands where in each."""
    if not settings.grader.folds:
        return
    patients = known.groupby("PatientID")["grade"].first()
    split = splits.cross_validation(patients, folds=settings.grader.folds, seed=settings.seed)
    folder = out / "grader" / "folds"
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_csv(folder / "split.csv", split, list(split.columns))
    for fold, rows in split.groupby("fold"):
        sided = known.assign(side=known["PatientID"].map(rows.set_index("patient")["side"]))
        _audited(sided, protocol="patient", settings=settings)
        number = int(str(fold))
        name = f"fold {number}"
        yield Training(name=name, protocol="patient", folder=f"grader/folds/fold-{number}", known=sided, fold=number)


def _audited(sided: pd.DataFrame, *, protocol: str, settings: Settings) -> pd.DataFrame:
    """What leaks, once it is sure that every side has something."""
    counts = _counts(sided)
    if not all(counts.values()):
        raise InputError(
            f"the split leaves a side without slices ({counts}); add patients or bring --grader.split FILE"
        )
    return splits.audit(sided, protocol=protocol, allowed=settings.cohort.allow_shared)


def _counts(sided: pd.DataFrame) -> dict[str, int]:
    return {side: int((sided["side"] == side).sum()) for side in splits.SIDES}


def plan_of(training: Training, folder: Path, out: Path, settings: Settings, *, cores: int) -> Plan:
    """What the workers of a training are told.

    Args:
        training: slices whose side is none of `splits.SIDES` take no part.
        folder: the run directory, with slices.
        out: where the training's own folder is.
        settings: of the grader, and the seed.
        cores: for each worker's arithmetic.
    """
    known, shards = training.known, tables.shards(folder / "slices")
    learned = known[known["side"] == "train"]
    counts = [int((learned["grade"] == grade).sum()) for grade in tables.GRADES]
    sides, labels = (np.full(int(known["slice"].max()) + 1, grader_training.NOBODY, np.uint8) for _ in range(2))
    code = {side: number for number, side in enumerate(splits.SIDES)}
    sides[known["slice"]] = known["side"].map(code).fillna(grader_training.NOBODY)
    labels[known["slice"]] = known["grade"] - tables.GRADES[0]
    left_out = splits.left_out(np.sort(learned["slice"]), workers=settings.grader.workers, seed=settings.seed)
    if len(left_out):
        log.info("  %s: %d training slices left out: workers must have as many each", training.name, len(left_out))
        sides[left_out] = grader_training.NOBODY
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
        "training": {name: value for name, value in asdict(settings.grader).items() if name not in _NO_MATTER},
        "data_fingerprint": _fingerprint(known),
        "seed": settings.seed,
        "training_slices": dict(zip(map(str, tables.GRADES), counts, strict=True)),
        "training_slices_left_out": len(left_out),
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


def _fingerprint(known: pd.DataFrame) -> str:
    """Of which images are learned from, watched and tested on, with which grades, in whichever shards they lie."""
    rows = known[["SOPInstanceUID", "frame", "grade", "side", "pixel_hash"]].sort_values(["SOPInstanceUID", "frame"])
    return hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()


def _predict(known: pd.DataFrame, plan: Plan) -> str:
    """Predicts all slices, unless an interrupted call has; how well the training went."""
    target = plan.target / "predictions.parquet"
    if not target.exists():
        _write(target, predictions(known, plan), tables.GRADER_PREDICTIONS)
    history = tables.read_csv(plan.target / "history.csv", tables.HISTORY)
    best = history[history["Best Model Saved"]].iloc[-1]
    return (
        f"{plan.name}: best epoch {best['Epoch']:.0f} of {len(history)}, "
        f"validation accuracy {best['Validation Acc (%)']:.1f} %, test {best['Test Acc (%)']:.1f} % of slices"
    )


def _predict_folds(folds: list[tuple[Training, Plan]], target: Path) -> str:
    """Predicts each fold's test slices with its own model: together every slice once, by a model that never saw it."""
    if not target.exists():
        tests = [
            predictions(training.known[training.known["side"] == "test"], plan).assign(fold=training.fold)
            for training, plan in folds
        ]
        _write(target, pd.concat(tests), tables.FOLD_PREDICTIONS)
    return f"{len(folds)} folds, each patient once in a test part"


def predictions(known: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Rows of `tables.GRADER_PREDICTIONS` of the slices in `known`, by the best model of a finished training."""
    wanted = np.isin(np.arange(len(plan.sides)), known["slice"])
    rows = streaming.read_rows(plan.shards, ["slice", "image"], wanted=wanted).rename_columns({"slice": "row"})
    scores = score(rows, plan.target, plan.grader, num_rows=len(known)).rename(columns={"row": "slice"})
    return known.merge(scores, on="slice").sort_values("slice")


def _write(target: Path, predictions: pd.DataFrame, schema: pa.Schema) -> None:
    tables.write_shard(target, pa.Table.from_pandas(predictions, schema, preserve_index=False), schema)
