"""train-grader: slices -> split, leakage audit, grader/ (the trained ResNet-18, its history, all predictions)."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tumorprog import tables
from tumorprog.cohort import splits
from tumorprog.distributed import session
from tumorprog.distributed.grader_plans import Training, build_plan, patient_sides, read_slice_metadata
from tumorprog.distributed.grader_training import GraderPlan
from tumorprog.distributed.inference import predictions
from tumorprog.distributed.training import concurrency, remove_ray_state, resume_from, train_all
from tumorprog.errors import InputError
from tumorprog.graders.columns import FOLD_PREDICTIONS, GRADER_PREDICTIONS, HISTORY
from tumorprog.settings import Settings

log = logging.getLogger(__name__)


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Train under the protocol of the settings, or under both: the paper's results are then in `grader/paper/`.

    `grader.folds` adds this number of trainings, in `grader/folds/`: each patient is in the test set of one of them.
    `grader.seeds` above 1 repeats the training under the patient protocol with further seeds, in `grader/seeds/`.
    `grader.null_control` adds a permutation control (null control) for each protocol, in `null/`: `grader.null_draws`
    trainings, each with the grades shuffled between patients in its own way.

    Raises:
        LeakError: if data of one patient is in two sets of a split by patients.
        InputError: if a grade has too few patients, or a set has no slices.
        TumorprogError: if the loss is not finite.
    """
    session.connect(settings.cluster, gpu=settings.grader.gpu, train_workers=settings.grader.workers)
    slices = read_slice_metadata(folder)
    trainings = [*_by_protocol(slices, out, settings), *_by_fold(slices, out, settings)]
    max_concurrent, cores = concurrency(settings.grader, num_trainings=len(trainings))
    planned = [(training, build_plan(training, folder, out, settings, cores=cores)) for training in trainings]
    for training, plan in planned:
        plan.target.mkdir(parents=True, exist_ok=True)
        resume_from(folder / training.folder, plan)
    train_all([plan for _, plan in planned], max_concurrent=max_concurrent)
    summaries = [_predict(training, plan) for training, plan in planned if not training.fold]
    folds = [(training, plan) for training, plan in planned if training.fold]
    if folds:
        summaries.append(_predict_folds(folds, out / "grader" / "folds" / "predictions.parquet"))
    for _, plan in planned:
        remove_ray_state(plan)
    return "; ".join(filter(None, summaries))


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
        counts = ", ".join(f"{count:,} {side}" for side, count in _counts(assigned).items())
        found = f"{len(leaks)} cases of leakage" if len(leaks) else "no leakage"
        log.info("  %s protocol: slices: %s; %s", protocol, counts, found)
        (out / folder).mkdir(parents=True, exist_ok=True)
        tables.write_csv(out / folder / "split.csv", split, list(split.columns))
        tables.write_csv(out / folder / "leaks.csv", leaks, list(leaks.columns))
        training = Training(name=f"{protocol} protocol", protocol=protocol, folder=folder, slices=assigned)
        yield training
        if protocol == "patient":
            yield from _with_other_seeds(training, settings)
        if settings.grader.null_control:
            yield from _null_draws(training, settings)


def _with_other_seeds(training: Training, settings: Settings) -> Iterator[Training]:
    for seed in range(settings.seed + 1, settings.seed + settings.grader.seeds):
        name, folder = f"{training.name}, seed {seed}", f"{training.folder}/seeds/seed-{seed}"
        yield replace(training, name=name, folder=folder, seed=seed, is_repetition=True)


def _null_draws(training: Training, settings: Settings) -> Iterator[Training]:
    """Yield the null control: the same training, with the same seed, on permuted grades.

    Under the patient protocol the grades are permuted within each set, so that every set keeps its numbers of grades.
    Under the paper's protocol a patient can be in several sets.
    """
    slices = training.slices
    within = slices["side"] if training.protocol == "patient" else slices["side"].mask(slices["side"] != "", "all")
    for draw in range(1, settings.grader.null_draws + 1):
        seed = settings.seed + draw - 1
        grades = splits.shuffled_between_patients(slices["PatientID"], slices["grade"], within, seed=seed)
        name, folder = f"{training.name}, null control {draw}", f"{training.folder}/null/draw-{draw}"
        yield replace(training, name=name, folder=folder, slices=slices.assign(grade=grades), is_repetition=True)


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


def _predict(training: Training, plan: GraderPlan) -> str:
    """Predict the slices, unless an interrupted call already has, and return a summary; "" for a repetition."""
    target, slices = plan.target / "predictions.parquet", training.slices
    if not target.exists():
        wanted = slices[slices["side"] == "test"] if training.is_repetition else slices
        _write(target, predictions(wanted, plan), GRADER_PREDICTIONS)
    if training.is_repetition:
        return ""
    history = tables.read_csv(plan.target / "history.csv", HISTORY)
    best = history[history["Best Model Saved"]].iloc[-1]
    return (
        f"{plan.name}: best epoch {best['Epoch']:.0f} of {len(history)}, "
        f"validation accuracy {best['Validation Acc (%)']:.1f} %, test {best['Test Acc (%)']:.1f} % of slices"
    )


def _predict_folds(folds: list[tuple[Training, GraderPlan]], target: Path) -> str:
    """Predict the test slices of each fold with its own model: every slice once, by a model not trained on it."""
    if not target.exists():
        tests = [
            predictions(training.slices[training.slices["side"] == "test"], plan).assign(fold=training.fold)
            for training, plan in folds
        ]
        _write(target, pd.concat(tests), FOLD_PREDICTIONS)
    return f"{len(folds)} folds, each patient in the test set of one"


def _write(target: Path, predictions: pd.DataFrame, schema: pa.Schema) -> None:
    tables.write_shard(target, pa.Table.from_pandas(predictions, schema, preserve_index=False), schema)
