"""Plans of the grader's trainings -> their epochs in Ray Train's workers, several trainings side by side."""

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data
import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device, prepare_model

from tumorprog import storage, tables
from tumorprog.cohort import splits
from tumorprog.errors import InputError, TumorprogError
from tumorprog.models import grader, weights
from tumorprog.settings import Grader
from tumorprog.stages import streaming
from tumorprog.training import Criterion, Tally, augmented, evaluate, train_epoch

log = logging.getLogger(__name__)

RAY_FOLDER = ".ray"
"""Ray Train's own notes, by which a killed run finds its place again."""
NOBODY = 255
"""In a plan's sides: of a slice that takes no part."""

_CHECKPOINT = "checkpoint.pt"
_SHUFFLE_ROWS = 1024
"""The shards lie in random order already (`stages.slices.plan`); this buffer, 50 MB, makes each epoch another one."""
WAITING_CPUS = 0.001
"""Of a task that waits for its workers."""
_WORKER_CPUS = 0.5
"""So that what feeds a worker finds room on its core."""
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One training: all that its workers are told.

    Attributes:
        name: for the log.
        target: folder that receives the history, the best model, and the checkpoint of the last finished epoch, which
            stays so that a training of more epochs can go on from there; reachable from every worker.
        shards: of `tables.SLICES`.
        sides: (N,) uint8 by the number in `slice`: index into `splits.SIDES`, or `NOBODY`.
        labels: (N,) uint8 by the number in `slice`: index into `tables.GRADES`.
        grader: the settings.
        seed: of the shuffling.
        class_weights: of the training part, in the order of `tables.GRADES`.
        cores: CPU cores for each worker's arithmetic.
        description: what is written beside the model.
    """

    name: str
    target: Path
    shards: list[Path]
    sides: np.ndarray
    labels: np.ndarray
    grader: Grader
    seed: int
    class_weights: list[float]
    cores: int
    description: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """File of the last finished epoch."""
        return self.target / _CHECKPOINT


def at_once(settings: Grader, *, num_trainings: int) -> int:
    """How many trainings run side by side: as many as there are GPUs, or cores, for all workers of each."""
    there = streaming.gpus() if settings.gpu else streaming.cores()
    return max(1, min(num_trainings, there // max(1, settings.workers)))


def go_on_from(earlier: Path, plan: Plan) -> None:
    """Takes over the epochs of a finished training that differs in nothing but that it has fewer of them.

    Args:
        earlier: its folder, in the run directory.
        plan: of the training that is to be done.
    """
    if plan.checkpoint.exists() or not (earlier / _CHECKPOINT).exists():
        return
    description = weights.load_description(earlier)
    done = len(tables.read_csv(earlier / "history.csv", tables.HISTORY))
    wanted = json.loads(json.dumps({**plan.description, "epoch": description["epoch"]}))
    if wanted != description or done > plan.grader.epochs:
        return
    log.info("  %s: going on from epoch %d of the finished training", plan.name, done)
    # the checkpoint last: it says that all is there
    for name in (weights.WEIGHTS, weights.DESCRIPTION, "history.csv", _CHECKPOINT):
        storage.copy(earlier / name, plan.target / name)


def train_all(plans: Sequence[Plan], *, num_at_once: int) -> None:
    """Does the trainings, each resuming after its last finished epoch; one alone in this process, several as tasks.

    Raises:
        TumorprogError: if a loss is not finite.
    """
    with _followed(plans):
        if len(plans) == 1:
            train(plans[0])
            return
        remote = ray.remote(train).options(
            num_cpus=WAITING_CPUS if plans[0].grader.workers else _WORKER_CPUS, max_retries=3
        )
        waiting = list(plans)
        running: list[ray.ObjectRef] = []
        while waiting or running:
            while waiting and len(running) < num_at_once:
                running.append(remote.remote(waiting.pop(0)))
            ready, running = ray.wait(running)
            try:
                ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, TumorprogError) else error from None


@contextmanager
def _followed(plans: Sequence[Plan]) -> Iterator[None]:
    """Meanwhile logs each epoch in this process when its history is there, wherever its workers are."""
    over = threading.Event()
    following = threading.Thread(target=_follow, args=(plans, over), daemon=True)
    following.start()
    try:
        yield
    finally:
        over.set()
        following.join()


def _follow(plans: Sequence[Plan], over: threading.Event) -> None:
    progress = streaming.Progress("training", total=sum(plan.grader.epochs for plan in plans), items="epochs")
    told = [len(_history(plan)) for plan in plans]
    if any(told):
        progress.add(sum(told))
    last = False
    while not last:
        last = over.wait(_POLL_SECONDS)  # looks once more after the end
        for number, plan in enumerate(plans):
            try:
                new = _history(plan).iloc[told[number] :]
            except (OSError, InputError):  # a store that does not answer for a moment
                continue
            told[number] += len(new)
            for row in new.to_dict("records"):
                log.info(
                    "  %s: epoch %d of %d: training accuracy %.1f %%, validation %.1f %%",
                    plan.name,
                    row["Epoch"],
                    plan.grader.epochs,
                    row["Training Acc (%)"],
                    row["Validation Acc (%)"],
                )
            if len(new):
                progress.add(len(new))


def _history(plan: Plan) -> pd.DataFrame:
    """The epochs that are finished."""
    path = plan.target / "history.csv"
    return tables.read_csv(path, tables.HISTORY) if path.exists() else pd.DataFrame(columns=list(tables.HISTORY))


def train(
    plan: Plan, *, worker: Mapping[str, float] | None = None, callbacks: Sequence[ray.train.UserCallback] = ()
) -> None:
    """Runs one training in Ray Train's workers, or in this process if there are to be none.

    Args:
        plan: of the training.
        worker: Ray's resources of each; if None half a core, and a GPU where the settings say so.
        callbacks: are told of each epoch.

    Raises:
        TumorprogError: if a loss is not finite.
    """
    streaming.settle()
    if not plan.checkpoint.exists():  # here, so that a worker never waits for a download, and all start alike
        model = grader.build(plan.grader.weights, seed=plan.seed)
        _save_checkpoint(plan.checkpoint, {"epoch": 0, "history": [], "model": model.state_dict()})
    parts = {
        side: streaming.read_rows(plan.shards, ["slice", "image"], wanted=plan.sides == number)
        for number, side in enumerate(splits.SIDES)
    }
    trainer = TorchTrainer(
        _loop,
        train_loop_config={"plan": plan},
        datasets=parts,
        dataset_config=ray.train.DataConfig(
            datasets_to_split=["train"], execution_options=streaming.ahead(num_readers=plan.grader.workers)
        ),
        scaling_config=ray.train.ScalingConfig(
            num_workers=plan.grader.workers,
            use_gpu=plan.grader.gpu,
            resources_per_worker=dict(worker or {"CPU": _WORKER_CPUS, **({"GPU": 1} if plan.grader.gpu else {})}),
        ),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=str(plan.target / RAY_FOLDER),
            failure_config=ray.train.FailureConfig(max_failures=3),
            callbacks=list(callbacks),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
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
    streaming.settle()
    plan: Plan = config["plan"]
    if plan.grader.workers:  # a process of its own; of its epochs their history tells
        logging.getLogger().setLevel(logging.WARNING)
    torch.set_num_threads(min(plan.cores, os.cpu_count() or 1))  # Ray gives a worker one, whatever the machine has
    with plan.checkpoint.open("rb") as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    bare = grader.build("none", seed=plan.seed)
    bare.load_state_dict(state["model"])
    if plan.grader.compile:
        bare.compile()
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
        if ray.train.get_context().get_world_rank() == 0:
            learning = {"optimiser": optimiser.state_dict(), "scheduler": scheduler.state_dict()}
            _keep(plan, bare, history, learning)
        ray.train.report(history[-1])


def _epoch(model: torch.nn.Module, optimiser: torch.optim.Optimizer, plan: Plan, *, epoch: int) -> dict[str, Tally]:
    """One pass over the training part and the tallies of all three, summed over the workers."""
    criterion = Criterion(
        class_weights=torch.tensor(plan.class_weights), device=get_device(), precision=plan.grader.precision
    )
    batches = _training_batches(plan, epoch=epoch)
    train = train_epoch(model, batches, optimiser=optimiser, criterion=criterion, epoch=epoch)
    judged = {
        side: evaluate(model, own_batches(side, plan.labels, batch_size=plan.grader.batch_size), criterion=criterion)
        for side in ("validation", "test")
    }
    return {side: tally.all_reduce() for side, tally in {"train": train, **judged}.items()}


def _training_batches(plan: Plan, *, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This worker's part of the training slices, in another order each epoch; as many batches as any other worker's."""
    context, seed = ray.train.get_context(), plan.seed * 1000 + epoch
    batches = shuffled(
        ray.train.get_dataset_shard("train"),
        plan.labels,
        batch_size=plan.grader.batch_size // context.get_world_size(),
        seed=seed,
        device=get_device(),
    )
    if not plan.grader.augment:
        return batches
    chance = torch.Generator().manual_seed(seed * 1000 + context.get_world_rank())
    return ((augmented(images, generator=chance), labels) for images, labels in batches)


def shuffled(
    rows: ray.data.DataIterator | ray.data.Dataset,
    labels: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of a stream of slices in an order of the seed's.

    Args:
        rows: with slice and image.
        labels: as of `Plan`.
        batch_size: slices in a batch; the last may have fewer.
        seed: of the order.
        device: where the batches are to be.
    """
    stream = rows.iter_batches(
        batch_size=batch_size,
        batch_format="pyarrow",
        local_shuffle_buffer_size=_SHUFFLE_ROWS,
        local_shuffle_seed=seed,
    )
    return (_tensors(batch, labels, device) for batch in stream)


def own_batches(side: str, labels: np.ndarray, *, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This worker's share of a side that every worker reads whole: by row id, so that none is lost or counted twice.

    Args:
        side: name of the data set that Ray Train was given.
        labels: as of `Plan`.
        batch_size: slices that are read at a time, of which this worker keeps its own.
    """
    context, device = ray.train.get_context(), get_device()
    rank, world = context.get_world_rank(), context.get_world_size()
    for batch in ray.train.get_dataset_shard(side).iter_batches(batch_size=batch_size, batch_format="pyarrow"):
        mine = batch.filter(pa.array(batch["slice"].to_numpy() % world == rank))
        if mine.num_rows:
            yield _tensors(mine, labels, device)


def _tensors(batch: pa.Table, labels: np.ndarray, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of shards as a batch: images (N, 224, 224) uint8, classes (N,) int64; on the way to a GPU on return."""
    read_only = tables.images(batch)
    images = torch.empty(read_only.shape, dtype=torch.uint8, pin_memory=torch.device(device).type == "cuda")
    images.numpy()[...] = read_only
    classes = torch.from_numpy(labels[batch["slice"].to_numpy()].astype(np.int64))
    return images.to(device, non_blocking=True), classes.to(device, non_blocking=True)


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


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    with storage.whole(path) as file:
        torch.save(state, file)
