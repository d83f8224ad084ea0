"""Training of a network in Ray Train's workers, with several trainings running concurrently; a `Plan` says of what."""

import hashlib
import json
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import ray.data
import ray.train
import torch
from ray.train.torch import TorchTrainer, prepare_model
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tumorprog import model_files, storage, tables
from tumorprog.distributed import internals, session
from tumorprog.distributed.rows import read_ahead_options
from tumorprog.errors import InputError, TumorprogError
from tumorprog.graders.settings import Grader
from tumorprog.progress import Progress
from tumorprog.segmenters.settings import Segmenter

log = logging.getLogger(__name__)

HISTORY_FILE, _CHECKPOINT = "history.csv", "checkpoint.pt"
_RAY_FOLDER = ".ray"
"""Folder of Ray Train's own state, from which it resumes a killed run."""

WAITING_CPUS = 0.001
"""CPUs of a task that waits for its workers."""
_WORKER_CPUS = 0.5
"""Less than one core, so that the task that feeds a worker fits on the same core."""
_POLL_SECONDS = 1.0

Row = dict[str, Any]
"""A row of the history: what is known after an epoch."""


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """One training, with everything that its workers need, and what differs between networks.

    Attributes:
        name: name in the log.
        target: folder for the history, the model, and the checkpoint of the last finished epoch; must be reachable from
            every worker.
        shards: shards of the rows to train on.
        settings: of the network and its training.
        seed: seed of the initial weights, of the shuffling and of the augmentation.
        cores: CPU cores for the computation of each worker.
        description: content of model.json.
    """

    name: str
    target: Path
    shards: list[Path]
    settings: Grader | Segmenter
    seed: int
    cores: int
    description: dict[str, Any]

    history: ClassVar[tuple[str, ...]]
    """Columns of the history."""

    @property
    def checkpoint(self) -> Path:
        """Checkpoint file of the last finished epoch."""
        return self.target / _CHECKPOINT

    @abstractmethod
    def build(self, *, initial: bool) -> nn.Module:
        """Return the network; with `initial` with the weights from which the training starts, else with any."""

    @abstractmethod
    def datasets(self) -> dict[str, ray.data.Dataset]:
        """Return the streams of rows: `train` is divided between the workers, each reads all others completely."""

    @abstractmethod
    def optimisation(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """Return the optimiser of the model's parameters and its schedule."""

    @abstractmethod
    def run_epoch(self, model: nn.Module, optimiser: Optimizer, scheduler: LRScheduler, history: Sequence[Row]) -> Row:
        """Train for an epoch in this worker, advance the schedule, and return the epoch's row of the history."""

    @abstractmethod
    def is_kept(self, row: Row) -> bool:
        """Return whether the model after this epoch replaces the saved one."""

    @abstractmethod
    def describe(self, row: Mapping[Any, Any]) -> str:
        """Return the results of an epoch for the log."""


def concurrency(settings: Grader | Segmenter, *, num_trainings: int) -> tuple[int, int]:
    """Return how many trainings can run concurrently on the cluster, and the cores for each of their workers."""
    workers = max(1, settings.workers)
    available = session.gpus() if settings.gpu else session.cores()
    max_concurrent = max(1, min(num_trainings, available // workers))
    return max_concurrent, max(1, session.cores() // (max_concurrent * workers))


def fingerprint(rows: pd.DataFrame) -> str:
    """Return a fingerprint of rows with SOPInstanceUID and frame, independent of their order."""
    ordered = rows.sort_values(["SOPInstanceUID", "frame"])
    return hashlib.sha256(pd.util.hash_pandas_object(ordered, index=False).to_numpy().tobytes()).hexdigest()


def on_device(values: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """Return a copy of a uint8 array as a tensor, copied to a GPU asynchronously."""
    tensor = torch.empty(values.shape, dtype=torch.uint8, pin_memory=torch.device(device).type == "cuda")
    tensor.numpy()[...] = values
    return tensor.to(device, non_blocking=True)


def resume_from(earlier: Path, plan: Plan) -> None:
    """Take over the epochs of a finished training that differs only in having fewer epochs.

    Args:
        earlier: folder of the finished training in the run directory.
        plan: plan of the new training.
    """
    if plan.checkpoint.exists() or not (earlier / _CHECKPOINT).exists():
        return
    description = model_files.load_description(earlier)
    done = len(tables.read_csv(earlier / HISTORY_FILE, plan.history))
    wanted = json.loads(json.dumps({**plan.description, "epoch": description["epoch"]}))
    if wanted != description or done > plan.settings.epochs:
        return
    log.info("  %s: resuming from epoch %d of the finished training", plan.name, done)
    # copy the checkpoint last: its presence means that all files are complete
    for name in (model_files.WEIGHTS, model_files.DESCRIPTION, HISTORY_FILE, _CHECKPOINT):
        storage.copy(earlier / name, plan.target / name)


def train_all(plans: Sequence[Plan], *, max_concurrent: int) -> None:
    """Run the trainings, each resuming after its last finished epoch; a single one in this process, several as tasks.

    Raises:
        TumorprogError: if a loss is not finite.
    """
    with _log_epochs(plans):
        waiting = [plan for plan in plans if len(read_history(plan)) < plan.settings.epochs]
        if len(plans) == 1:
            for plan in waiting:
                train(plan)
            return
        remote = ray.remote(train).options(
            num_cpus=WAITING_CPUS if plans[0].settings.workers else _WORKER_CPUS, max_retries=3
        )
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
    progress = Progress("training", total=sum(plan.settings.epochs for plan in plans), items="epochs")
    logged = [len(read_history(plan)) for plan in plans]
    if any(logged):
        progress.add(sum(logged))
    last = False
    while not last:
        last = finished.wait(_POLL_SECONDS)  # polls once more after the end
        for number, plan in enumerate(plans):
            try:
                new = read_history(plan).iloc[logged[number] :]
            except (OSError, InputError):  # the store may be temporarily unavailable
                continue
            logged[number] += len(new)
            for row in new.to_dict("records"):
                log.info("  %s: epoch %d of %d: %s", plan.name, row["Epoch"], plan.settings.epochs, plan.describe(row))
            if len(new):
                progress.add(len(new))


def read_history(plan: Plan) -> pd.DataFrame:
    """Return the history of the finished epochs."""
    path = plan.target / HISTORY_FILE
    return tables.read_csv(path, plan.history) if path.exists() else pd.DataFrame(columns=list(plan.history))


def remove_ray_state(plan: Plan) -> None:
    """Remove what only Ray Train needs, after the training has finished."""
    storage.remove(plan.target / _RAY_FOLDER)


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
        model = plan.build(initial=True)
        _save_checkpoint(plan.checkpoint, {"epoch": 0, "history": [], "model": model.state_dict()})
    settings = plan.settings
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"plan": plan},
        datasets=plan.datasets(),
        dataset_config=ray.train.DataConfig(
            datasets_to_split=["train"], execution_options=read_ahead_options(num_readers=settings.workers)
        ),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.gpu,
            resources_per_worker=dict(worker or {"CPU": _WORKER_CPUS, **({"GPU": 1} if settings.gpu else {})}),
        ),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=str(plan.target / _RAY_FOLDER),
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
    if plan.settings.workers:  # a separate process; the main process logs the epochs from the history
        logging.getLogger().setLevel(logging.WARNING)
    torch.set_num_threads(min(plan.cores, os.cpu_count() or 1))  # Ray sets it to one thread
    with plan.checkpoint.open("rb") as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    network = plan.build(initial=False)
    network.load_state_dict(state["model"])
    if plan.settings.compile:
        network.compile()
    # channels last processes more images per second on a CPU (ResNet-18: five times), and is the layout of tensor cores
    model = prepare_model(network.to(memory_format=torch.channels_last))
    optimiser, scheduler = plan.optimisation(model)
    if state["epoch"]:
        optimiser.load_state_dict(state["optimiser"])
        scheduler.load_state_dict(state["scheduler"])
    history = state["history"]
    while len(history) < plan.settings.epochs:
        history.append(plan.run_epoch(model, optimiser, scheduler, history))
        if ray.train.get_context().get_world_rank() == 0:
            optimisation = {"optimiser": optimiser.state_dict(), "scheduler": scheduler.state_dict()}
            _save_epoch(plan, network, history, optimisation)
        ray.train.report(history[-1])


def _save_epoch(plan: Plan, model: nn.Module, history: list[Row], optimisation: dict[str, Any]) -> None:
    """Save the model and the history, then the checkpoint: only a complete checkpoint marks an epoch finished."""
    row = history[-1]
    if plan.is_kept(row):
        model_files.save(plan.target, model, {**plan.description, "epoch": row["Epoch"]})
    tables.write_csv(plan.target / HISTORY_FILE, pd.DataFrame(history), plan.history)
    state = {"epoch": row["Epoch"], "history": history, "model": model.state_dict(), **optimisation}
    _save_checkpoint(plan.checkpoint, state)


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    with storage.atomic_write(path) as file:
        torch.save(state, file)
