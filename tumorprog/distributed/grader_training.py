"""Training of the grader in Ray Train's workers, with several trainings running concurrently."""

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data
import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device, prepare_model

from tumorprog import model_files, storage, tables
from tumorprog.cohort import splits
from tumorprog.distributed import internals, session
from tumorprog.distributed.plans import CHECKPOINT, Plan
from tumorprog.distributed.rows import read_ahead_options, read_rows
from tumorprog.errors import InputError, TumorprogError
from tumorprog.graders import resnet18
from tumorprog.graders.columns import HISTORY
from tumorprog.graders.images import image_array
from tumorprog.graders.settings import Grader
from tumorprog.graders.training import Criterion, Tally, augment, evaluate, train_epoch
from tumorprog.progress import Progress

log = logging.getLogger(__name__)

RAY_FOLDER = ".ray"
"""Folder of Ray Train's own state, from which it resumes a killed run."""

_SHUFFLE_ROWS = 1024
"""Size of the shuffle buffer, 50 MB, which gives each epoch a different order.

The slices are already stored in random order in the shards (`stages.slices.plan`).
"""
WAITING_CPUS = 0.001
"""CPUs of a task that waits for its workers."""
_WORKER_CPUS = 0.5
"""Less than one core, so that the task that feeds a worker fits on the same core."""
_POLL_SECONDS = 1.0


def max_concurrent(settings: Grader, *, num_trainings: int) -> int:
    """Return how many trainings can run concurrently, given the cluster's GPUs or cores and the workers of each."""
    available = session.gpus() if settings.gpu else session.cores()
    return max(1, min(num_trainings, available // max(1, settings.workers)))


def resume_from(earlier: Path, plan: Plan) -> None:
    """Take over the epochs of a finished training that differs only in having fewer epochs.

    Args:
        earlier: folder of the finished training in the run directory.
        plan: plan of the new training.
    """
    if plan.checkpoint.exists() or not (earlier / CHECKPOINT).exists():
        return
    description = model_files.load_description(earlier)
    done = len(tables.read_csv(earlier / "history.csv", HISTORY))
    wanted = json.loads(json.dumps({**plan.description, "epoch": description["epoch"]}))
    if wanted != description or done > plan.grader.epochs:
        return
    log.info("  %s: resuming from epoch %d of the finished training", plan.name, done)
    # copy the checkpoint last: its presence means that all files are complete
    for name in (model_files.WEIGHTS, model_files.DESCRIPTION, "history.csv", CHECKPOINT):
        storage.copy(earlier / name, plan.target / name)


def train_all(plans: Sequence[Plan], *, max_concurrent: int) -> None:
    """Run the trainings, each resuming after its last finished epoch; a single one in this process, several as tasks.

    Raises:
        TumorprogError: if a loss is not finite.
    """
    with _log_epochs(plans):
        if len(plans) == 1:
            train(plans[0])
            return
        remote = ray.remote(train).options(
            num_cpus=WAITING_CPUS if plans[0].grader.workers else _WORKER_CPUS, max_retries=3
        )
        waiting = list(plans)
        running: list[ray.ObjectRef] = []
        while waiting or running:
            while waiting and len(running) < max_concurrent:
                running.append(remote.remote(waiting.pop(0)))
            ready, running = ray.wait(running)
            try:
                ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, TumorprogError) else error from None


@contextmanager
def _log_epochs(plans: Sequence[Plan]) -> Iterator[None]:
    """Log each epoch in this process as soon as its history is written, on whichever node the workers run."""
    finished = threading.Event()
    thread = threading.Thread(target=_poll_histories, args=(plans, finished), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _poll_histories(plans: Sequence[Plan], finished: threading.Event) -> None:
    progress = Progress("training", total=sum(plan.grader.epochs for plan in plans), items="epochs")
    logged = [len(_history(plan)) for plan in plans]
    if any(logged):
        progress.add(sum(logged))
    last = False
    while not last:
        last = finished.wait(_POLL_SECONDS)  # polls once more after the end
        for number, plan in enumerate(plans):
            try:
                new = _history(plan).iloc[logged[number] :]
            except (OSError, InputError):  # the store may be temporarily unavailable
                continue
            logged[number] += len(new)
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
    """Return the history of the finished epochs."""
    path = plan.target / "history.csv"
    return tables.read_csv(path, HISTORY) if path.exists() else pd.DataFrame(columns=list(HISTORY))


def train(
    plan: Plan, *, worker: Mapping[str, float] | None = None, callbacks: Sequence[ray.train.UserCallback] = ()
) -> None:
    """Run one training in Ray Train's workers, or in this process if the settings ask for no workers.

    Args:
        plan: plan of the training.
        worker: Ray resources of each worker; if None, half a core, and a GPU if the settings ask for one.
        callbacks: callbacks that Ray Train calls after each epoch.

    Raises:
        TumorprogError: if a loss is not finite.
    """
    session.configure_ray_data()
    if not plan.checkpoint.exists():  # here, so that no worker waits for a download and all start from the same weights
        model = resnet18.build(plan.grader.weights, seed=plan.seed)
        _save_checkpoint(plan.checkpoint, {"epoch": 0, "history": [], "model": model.state_dict()})
    datasets = {
        side: read_rows(plan.shards, ["slice", "image"], wanted=plan.sides == number)
        for number, side in enumerate(splits.SIDES)
    }
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"plan": plan},
        datasets=datasets,
        dataset_config=ray.train.DataConfig(
            datasets_to_split=["train"], execution_options=read_ahead_options(num_readers=plan.grader.workers)
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
        raise _user_error(error) from error


def _user_error(error: ray.train.TrainingFailedError) -> Exception:
    """Return the tumorprog error among the workers' failures, if there is one, else the error itself."""
    failures = getattr(error, "worker_failures", {}).values()
    causes = [internals.cause_of(failure) for failure in failures]
    return next((cause for cause in causes if isinstance(cause, TumorprogError)), error)


def _train_worker(config: dict[str, Any]) -> None:
    """Train in one worker, resuming after the last finished epoch."""
    session.configure_ray_data()
    plan: Plan = config["plan"]
    if plan.grader.workers:  # a separate process; the main process logs the epochs from the history
        logging.getLogger().setLevel(logging.WARNING)
    torch.set_num_threads(min(plan.cores, os.cpu_count() or 1))  # Ray sets it to one thread
    with plan.checkpoint.open("rb") as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    network = resnet18.build("none", seed=plan.seed)
    network.load_state_dict(state["model"])
    if plan.grader.compile:
        network.compile()
    # channels last processes five times as many images per second on a CPU, and is the layout of tensor cores
    model = prepare_model(network.to(memory_format=torch.channels_last))
    optimiser = torch.optim.Adam(
        model.parameters(), lr=plan.grader.learning_rate, weight_decay=plan.grader.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, plan.grader.step_epochs, plan.grader.step_factor)
    if state["epoch"]:
        optimiser.load_state_dict(state["optimiser"])
        scheduler.load_state_dict(state["scheduler"])
    history = state["history"]
    for epoch in range(state["epoch"] + 1, plan.grader.epochs + 1):
        tallies = _run_epoch(model, optimiser, plan, epoch=epoch)
        scheduler.step()
        history.append(_history_row(epoch, tallies, history))
        if ray.train.get_context().get_world_rank() == 0:
            optimisation = {"optimiser": optimiser.state_dict(), "scheduler": scheduler.state_dict()}
            _save_epoch(plan, network, history, optimisation)
        ray.train.report(history[-1])


def _run_epoch(model: torch.nn.Module, optimiser: torch.optim.Optimizer, plan: Plan, *, epoch: int) -> dict[str, Tally]:
    """Train for one epoch and return the tallies of all three sets, summed over the workers."""
    criterion = Criterion(
        class_weights=torch.tensor(plan.class_weights), device=get_device(), precision=plan.grader.precision
    )
    batches = _training_batches(plan, epoch=epoch)
    train = train_epoch(model, batches, optimiser=optimiser, criterion=criterion, epoch=epoch)
    evaluated = {
        side: evaluate(model, worker_batches(side, plan.labels, batch_size=plan.grader.batch_size), criterion=criterion)
        for side in ("validation", "test")
    }
    return {side: tally.all_reduce() for side, tally in {"train": train, **evaluated}.items()}


def _training_batches(plan: Plan, *, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return this worker's share of the training slices, in a new order each epoch; all workers get equal numbers."""
    context, seed = ray.train.get_context(), plan.seed * 1000 + epoch
    batches = shuffled_batches(
        ray.train.get_dataset_shard("train"),
        plan.labels,
        batch_size=plan.grader.batch_size // context.get_world_size(),
        seed=seed,
        device=get_device(),
    )
    if not plan.grader.augment:
        return batches
    generator = torch.Generator().manual_seed(seed * 1000 + context.get_world_rank())
    return ((augment(images, generator=generator), labels) for images, labels in batches)


def shuffled_batches(
    rows: ray.data.DataIterator | ray.data.Dataset,
    labels: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches of a stream of slices, shuffled by the seed.

    Args:
        rows: rows with slice and image.
        labels: as in `Plan`.
        batch_size: slices in a batch; the last may have fewer.
        seed: seed of the order.
        device: device of the batches.
    """
    stream = rows.iter_batches(
        batch_size=batch_size,
        batch_format="pyarrow",
        local_shuffle_buffer_size=_SHUFFLE_ROWS,
        local_shuffle_seed=seed,
    )
    return (_tensors(batch, labels, device) for batch in stream)


def worker_batches(side: str, labels: np.ndarray, *, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield this worker's share of a set that every worker reads completely.

    The share is selected by slice number, so that no slice is lost or counted twice.

    Args:
        side: name of the dataset given to Ray Train.
        labels: as in `Plan`.
        batch_size: number of slices that are read at a time, of which this worker keeps its share.
    """
    context, device = ray.train.get_context(), get_device()
    rank, world = context.get_world_rank(), context.get_world_size()
    for batch in ray.train.get_dataset_shard(side).iter_batches(batch_size=batch_size, batch_format="pyarrow"):
        own = batch.filter(pa.array(batch["slice"].to_numpy() % world == rank))
        if own.num_rows:
            yield _tensors(own, labels, device)


def _tensors(batch: pa.Table, labels: np.ndarray, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert rows of shards to images (N, 224, 224) uint8 and classes (N,) int64, copied to a GPU asynchronously."""
    read_only = image_array(batch)
    images = torch.empty(read_only.shape, dtype=torch.uint8, pin_memory=torch.device(device).type == "cuda")
    images.numpy()[...] = read_only
    classes = torch.from_numpy(labels[batch["slice"].to_numpy()].astype(np.int64))
    return images.to(device, non_blocking=True), classes.to(device, non_blocking=True)


def _history_row(epoch: int, tallies: dict[str, Tally], history: list[dict[str, Any]]) -> dict[str, Any]:
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
    return dict(zip(HISTORY, values, strict=True))


def _save_epoch(
    plan: Plan, model: torch.nn.Module, history: list[dict[str, Any]], optimisation: dict[str, Any]
) -> None:
    """Save the best model and the history, then the checkpoint: only a complete checkpoint marks an epoch finished."""
    row = history[-1]
    if row["Best Model Saved"]:
        model_files.save(plan.target, model, {**plan.description, "epoch": row["Epoch"]})
    tables.write_csv(plan.target / "history.csv", pd.DataFrame(history), HISTORY)
    state = {"epoch": row["Epoch"], "history": history, "model": model.state_dict(), **optimisation}
    _save_checkpoint(plan.checkpoint, state)


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    with storage.atomic_write(path) as file:
        torch.save(state, file)
