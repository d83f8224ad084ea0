"""train-grader: slices -> split, leakage audit, grader/ (the trained ResNet-18, its history, all predictions)."""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device, prepare_model

from tumorprog import __version__, storage, tables
from tumorprog.cohort import splits
from tumorprog.errors import InputError, TumorprogError
from tumorprog.models import grader, weights
from tumorprog.settings import Grader, Settings
from tumorprog.stages import streaming
from tumorprog.stages.grade import score
from tumorprog.training import Tally, augmented, class_weights, evaluate, train_epoch

log = logging.getLogger(__name__)

_RAY_FOLDER = ".ray"
"""Ray Train's own notes, by which a killed run finds its place again."""
_SHUFFLE_ROWS = 1024
"""The shards lie in random order already (`stages.slices.plan`); this buffer, 50 MB, makes each epoch another one."""
_KNOWN = [name for name in tables.SLICES.names if name != "image"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every training worker is told.

    Attributes:
        target: folder that receives the history and the best model.
        checkpoint: file of the last finished epoch, reachable from every worker; it stays, so that a training of more
            epochs can go on from there.
        grader: the settings.
        seed: of the shuffling.
        class_weights: of the training part, in the order of `tables.GRADES`.
        cores: CPU cores for each worker's arithmetic.
        description: what is written beside the model.
    """

    target: Path
    checkpoint: Path
    grader: Grader
    seed: int
    class_weights: list[float]
    cores: int
    description: dict[str, Any]


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Trains under the protocol of the settings, or under both: the paper's then stands in `grader/paper/`.

    Raises:
        LeakError: if anything of one patient stands on two sides of a split by patients.
        InputError: if a grade has too few patients, or a side no slice.
        TumorprogError: if the loss is not finite.
    """
    streaming.connect(settings.cluster)
    known = tables.read_shards(folder / "slices", tables.SLICES, _KNOWN).to_pandas()
    protocols = ("patient", "paper") if settings.protocol == "both" else (settings.protocol,)
    told = []
    for protocol in protocols:
        target = out / "grader" if protocol == protocols[0] else out / "grader" / protocol
        target.mkdir(parents=True, exist_ok=True)
        sided = known.assign(side=_split(known, target, settings, protocol=protocol))
        made_with = tables.read_summary(folder / "slices")
        plan = _plan(sided, target, settings, made_with=made_with, protocol=protocol)
        _go_on_from(folder / target.relative_to(out), plan)
        history = _train(folder / "slices", plan, known=sided)
        best = history[history["Best Model Saved"]].iloc[-1]
        told.append(
            f"{protocol} protocol: best epoch {best['Epoch']:.0f} of {len(history)}, "
            f"validation accuracy {best['Validation Acc (%)']:.1f} %, test {best['Test Acc (%)']:.1f} % of slices"
        )
    return "; ".join(told)


def _split(known: pd.DataFrame, target: Path, settings: Settings, *, protocol: str) -> np.ndarray:
    """The side of each slice; split.csv and leaks.csv say what was decided and what stands on two sides."""
    if protocol == "paper":
        sides = splits.split_slices(int(known["slice"].max()) + 1, seed=settings.seed)[known["slice"]]
        written = pd.DataFrame({"slice": known["slice"], "side": sides}).sort_values("slice")
    else:
        patients = known.groupby("PatientID")["grade"].first()
        if settings.grader.split:
            chosen = splits.read_split(storage.place(settings.grader.split), list(patients.index))
        else:
            chosen = splits.split_patients(patients, seed=settings.seed)
        sides = known["PatientID"].map(chosen).to_numpy()
        written = pd.DataFrame({"patient": chosen.index, "side": chosen.to_numpy()})
    leaks = splits.audit(known.assign(side=sides), protocol=protocol)
    counts = {side: int((sides == side).sum()) for side in splits.SIDES}
    if not all(counts.values()):
        raise InputError(
            f"the split leaves a side without slices ({counts}); add patients or bring --grader.split FILE"
        )
    log.info("  %s protocol: %s slices; %d leaks", protocol, counts, len(leaks))
    tables.write_csv(target / "split.csv", written, list(written.columns))
    tables.write_csv(target / "leaks.csv", leaks, list(leaks.columns))
    return sides


def _go_on_from(earlier: Path, plan: Plan) -> None:
    """Takes over the epochs of a finished training that differs in nothing but that it has fewer of them.

    Args:
        earlier: its folder, in the run directory.
        plan: of the training that is to be done.
    """
    if plan.checkpoint.exists() or not (earlier / plan.checkpoint.name).exists():
        return
    description = weights.load_description(earlier)
    done = len(tables.read_csv(earlier / "history.csv", tables.HISTORY))
    wanted = json.loads(json.dumps({**plan.description, "epoch": description["epoch"]}))
    if wanted != description or done > plan.grader.epochs:
        return
    log.info("  going on from epoch %d of the finished training", done)
    # the checkpoint last: it says that all is there
    for name in (weights.WEIGHTS, weights.DESCRIPTION, "history.csv", plan.checkpoint.name):
        storage.copy(earlier / name, plan.target / name)


def _train(slices: Path, plan: Plan, *, known: pd.DataFrame) -> pd.DataFrame:
    """Trains one grader and predicts all slices with it; finished work of an interrupted call is not done again."""
    target = plan.target
    if not (target / "predictions.parquet").exists():
        shards = tables.shards(slices)
        _fit(shards, plan, known)
        everything = np.ones(int(known["slice"].max()) + 1, bool)
        rows = streaming.read_rows(shards, ["slice", "image"], wanted=everything).rename_columns({"slice": "row"})
        scores = score(rows, target, plan.grader, num_rows=len(known)).rename(columns={"row": "slice"})
        predictions = known.merge(scores, on="slice").sort_values("slice")
        table = pa.Table.from_pandas(predictions, tables.GRADER_PREDICTIONS, preserve_index=False)
        tables.write_shard(target / "predictions.parquet", table, tables.GRADER_PREDICTIONS)
        storage.remove(target / _RAY_FOLDER)
    return tables.read_csv(target / "history.csv", tables.HISTORY)


def _plan(known: pd.DataFrame, target: Path, settings: Settings, *, made_with: dict[str, Any], protocol: str) -> Plan:
    training = known.loc[known["side"] == "train", "grade"]
    counts = [int((training == grade).sum()) for grade in tables.GRADES]
    description = {
        "model": "torchvision resnet18",
        "classes": list(tables.GRADES),
        "image_size": tables.IMAGE_SIZE,
        "scaling": made_with["scaling"],
        "channel_mean": list(grader.CHANNEL_MEAN),
        "channel_std": list(grader.CHANNEL_STD),
        "protocol": protocol,
        "initial_weights": settings.grader.weights,
        "training": {name: value for name, value in asdict(settings.grader).items() if name != "epochs"},
        "data_fingerprint": _fingerprint(known),
        "seed": settings.seed,
        "training_slices": dict(zip(map(str, tables.GRADES), counts, strict=True)),
        "versions": {"tumorprog": __version__, "torch": torch.__version__},
    }
    return Plan(
        target=target.absolute(),
        checkpoint=(target / "checkpoint.pt").absolute(),
        grader=settings.grader,
        seed=settings.seed,
        class_weights=class_weights(counts).tolist(),
        cores=max(1, streaming.cores() // max(1, settings.grader.workers)),
        description=description,
    )


def _fingerprint(known: pd.DataFrame) -> str:
    """Of which images are learned from, watched and tested on, with which grades, in whichever shards they lie."""
    rows = known[["SOPInstanceUID", "frame", "grade", "side", "pixel_hash"]].sort_values(["SOPInstanceUID", "frame"])
    return hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()


def _fit(shards: list[Path], plan: Plan, known: pd.DataFrame) -> None:
    """Runs the training loop in Ray Train's workers, or in this process if there are to be none."""
    if not plan.checkpoint.exists():  # here, so that a worker never waits for a download, and all start alike
        model = grader.build(plan.grader.weights, seed=plan.seed)
        _save_checkpoint(plan.checkpoint, {"epoch": 0, "history": [], "model": model.state_dict()})
    by_slice = np.full(int(known["slice"].max()) + 1, "", dtype=object)
    by_slice[known["slice"]] = known["side"]
    parts = {
        side: streaming.read_rows(shards, ["slice", "grade", "image"], wanted=by_slice == side) for side in splits.SIDES
    }
    trainer = TorchTrainer(
        _loop,
        train_loop_config={"plan": plan},
        datasets=parts,
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
        scaling_config=ray.train.ScalingConfig(
            num_workers=plan.grader.workers,
            use_gpu=plan.grader.gpu,
            resources_per_worker={"CPU": 0.5, **({"GPU": 1} if plan.grader.gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=str(plan.target / _RAY_FOLDER),
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _mendable(error) from error


def _mendable(error: ray.train.TrainingFailedError) -> Exception:
    """The user's mistake among the workers' failures, if that is what it was."""
    failures = getattr(error, "worker_failures", {}).values()
    causes = [getattr(failure, "_base_exc", getattr(failure, "cause", failure)) for failure in failures]
    return next((cause for cause in causes if isinstance(cause, TumorprogError)), error)


def _loop(config: dict[str, Any]) -> None:
    """Each worker's training: resumes after the last finished epoch, wherever it was interrupted."""
    for noisy in ("ray.data", "ray.train"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    plan: Plan = config["plan"]
    context = ray.train.get_context()
    if plan.grader.workers:
        torch.set_num_threads(plan.cores)  # Ray gives a worker one thread, whatever the machine has
    with plan.checkpoint.open("rb") as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    bare = grader.build("none", seed=plan.seed)
    bare.load_state_dict(state["model"])
    # five times the images a second of the other layout on a CPU, and what tensor cores want
    model = prepare_model(bare.to(memory_format=torch.channels_last))
    optimiser = torch.optim.Adam(
        model.parameters(), lr=plan.grader.learning_rate, weight_decay=plan.grader.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, plan.grader.step_epochs, plan.grader.step_factor)
    if state["epoch"]:
        optimiser.load_state_dict(state["optimiser"])
        scheduler.load_state_dict(state["scheduler"])
    history = state["history"]
    for epoch in range(state["epoch"] + 1, plan.grader.epochs + 1):
        tallies = _epoch(model, optimiser, plan, epoch=epoch)
        scheduler.step()
        history.append(_row(epoch, tallies, history))
        if context.get_world_rank() == 0:
            learning = {"optimiser": optimiser.state_dict(), "scheduler": scheduler.state_dict()}
            _keep(plan, bare, history, learning)
        ray.train.report(history[-1])


def _epoch(model: torch.nn.Module, optimiser: torch.optim.Optimizer, plan: Plan, *, epoch: int) -> dict[str, Tally]:
    """One pass over the training part and the tallies of all three, summed over the workers."""
    device = get_device()
    weighting = torch.tensor(plan.class_weights)
    train = train_epoch(
        model,
        _training_batches(plan, epoch=epoch),
        optimiser=optimiser,
        class_weights=weighting,
        device=device,
        epoch=epoch,
    )
    judged = {
        side: evaluate(model, _whole(side, plan.grader.batch_size), class_weights=weighting, device=device)
        for side in ("validation", "test")
    }
    return {side: tally.all_reduce() for side, tally in {"train": train, **judged}.items()}


def _training_batches(plan: Plan, *, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This worker's part of the training slices, in another order each epoch; as many batches as any other worker's."""
    context, seed = ray.train.get_context(), plan.seed * 1000 + epoch
    per_worker = max(1, plan.grader.batch_size // context.get_world_size())
    batches = shuffled(ray.train.get_dataset_shard("train"), batch_size=per_worker, seed=seed)
    if not plan.grader.augment:
        return batches
    chance = torch.Generator().manual_seed(seed * 1000 + context.get_world_rank())
    return ((augmented(images, generator=chance), labels) for images, labels in batches)


def shuffled(
    rows: ray.data.DataIterator | ray.data.Dataset, *, batch_size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of shards in an order of the seed's."""
    stream = rows.iter_batches(
        batch_size=batch_size,
        batch_format="pyarrow",
        local_shuffle_buffer_size=_SHUFFLE_ROWS,
        local_shuffle_seed=seed,
    )
    return (tensors(batch) for batch in stream)


def _whole(side: str, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This worker's share of a side that every worker reads whole: by row id, so that none is lost or counted twice."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    for batch in ray.train.get_dataset_shard(side).iter_batches(batch_size=batch_size, batch_format="pyarrow"):
        mine = batch.filter(pa.array(batch["slice"].to_numpy() % world == rank))
        if mine.num_rows:
            yield tensors(mine)


def tensors(batch: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of shards as a batch: images (N, 224, 224) uint8, classes (N,) int64."""
    images = torch.from_numpy(tables.images(batch).copy())  # a copy, because Arrow's memory may not be written to
    labels = pc.subtract(batch["grade"], tables.GRADES[0]).to_numpy()
    return images, torch.from_numpy(labels.astype(np.int64))


def _row(epoch: int, tallies: dict[str, Tally], history: list[dict[str, Any]]) -> dict[str, Any]:
    train, validation, test = (tallies[side] for side in splits.SIDES)
    best_before = max(((row["Validation Acc (%)"], -row["Validation Loss"]) for row in history), default=(-1.0, 0.0))
    values = (
        epoch,
        train.mean_loss,
        train.accuracy,
        validation.mean_loss,
        validation.accuracy,
        test.mean_loss,
        test.accuracy,
        (validation.accuracy, -validation.mean_loss) > best_before,
    )
    return dict(zip(tables.HISTORY, values, strict=True))


def _keep(plan: Plan, model: torch.nn.Module, history: list[dict[str, Any]], learning: dict[str, Any]) -> None:
    """The best model and the history first, the checkpoint last: an epoch counts when its checkpoint is whole."""
    row = history[-1]
    if row["Best Model Saved"]:
        weights.save(plan.target, model, {**plan.description, "epoch": row["Epoch"]})
    tables.write_csv(plan.target / "history.csv", pd.DataFrame(history), tables.HISTORY)
    state = {"epoch": row["Epoch"], "history": history, "model": model.state_dict(), **learning}
    _save_checkpoint(plan.checkpoint, state)
    log.info(
        "  epoch %d of %d: training accuracy %.1f %%, validation %.1f %%",
        row["Epoch"],
        plan.grader.epochs,
        row["Training Acc (%)"],
        row["Validation Acc (%)"],
    )


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    with storage.whole(path) as file:
        torch.save(state, file)
