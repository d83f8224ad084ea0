"""Training of the grader in Ray Train's workers: its network, its stream of slices, an epoch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import ray.data
import ray.train
import torch
from ray.train.torch import get_device
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tumorprog.cohort import splits
from tumorprog.distributed.rows import read_rows
from tumorprog.distributed.training import Plan, Row, on_device
from tumorprog.graders import resnet18
from tumorprog.graders.columns import HISTORY
from tumorprog.graders.images import image_array
from tumorprog.graders.settings import Grader
from tumorprog.graders.training import Criterion, Tally, augment, evaluate, train_epoch

_SHUFFLE_ROWS = 1024
"""Size of the shuffle buffer, 50 MB, which gives each epoch a different order.

The slices are already stored in random order in the shards (`stages.slices.plan`).
"""

UNUSED = 255
"""Value in `GraderPlan.sides` of a slice that is not used."""


@dataclass(frozen=True, kw_only=True)
class GraderPlan(Plan):
    """One training of the grader on shards of `graders.columns.SLICES`.

    Its checkpoint is kept, so that a training with more epochs can resume from it.

    Attributes:
        sides: (N,) uint8, indexed by the number in `slice`: index into `splits.SIDES`, or `UNUSED`.
        labels: (N,) uint8, indexed by the number in `slice`: index into `conventions.GRADES`.
        class_weights: class weights of the training set, in the order of `conventions.GRADES`.
    """

    settings: Grader
    sides: np.ndarray
    labels: np.ndarray
    class_weights: list[float]

    history: ClassVar[tuple[str, ...]] = HISTORY

    def build(self, *, initial: bool) -> nn.Module:
        """Return the network; see `Plan`."""
        return resnet18.build(self.settings.weights if initial else "none", seed=self.seed)

    def datasets(self) -> dict[str, ray.data.Dataset]:
        """Return the streams of the three sets."""
        return {
            side: read_rows(self.shards, ["slice", "image"], wanted=self.sides == number)
            for number, side in enumerate(splits.SIDES)
        }

    def optimisation(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """Return Adam, and its schedule by epochs."""
        settings = self.settings
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        return optimiser, torch.optim.lr_scheduler.StepLR(optimiser, settings.step_epochs, settings.step_factor)

    def run_epoch(self, model: nn.Module, optimiser: Optimizer, scheduler: LRScheduler, history: Sequence[Row]) -> Row:
        """Train for an epoch and evaluate the model on all three sets."""
        epoch = len(history) + 1
        criterion = Criterion(
            class_weights=torch.tensor(self.class_weights), device=get_device(), precision=self.settings.precision
        )
        batches = _training_batches(self, epoch=epoch)
        train = train_epoch(model, batches, optimiser=optimiser, criterion=criterion, epoch=epoch)
        evaluated = {
            side: evaluate(
                model, worker_batches(side, self.labels, batch_size=self.settings.batch_size), criterion=criterion
            )
            for side in ("validation", "test")
        }
        scheduler.step()
        tallies = {side: tally.all_reduce() for side, tally in {"train": train, **evaluated}.items()}
        return _history_row(epoch, tallies, history)

    def is_kept(self, row: Row) -> bool:
        """Return whether the epoch is the best on the validation set."""
        return bool(row["Best Model Saved"])

    def describe(self, row: Mapping[Any, Any]) -> str:
        """Return the accuracies of an epoch."""
        training, validation = row["Training Acc (%)"], row["Validation Acc (%)"]
        return f"training accuracy {training:.1f} %, validation {validation:.1f} %"


def _training_batches(plan: GraderPlan, *, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return this worker's share of the training slices, in a new order each epoch; all workers get equal numbers."""
    context, seed = ray.train.get_context(), plan.seed * 1000 + epoch
    batches = shuffled_batches(
        ray.train.get_dataset_shard("train"),
        plan.labels,
        batch_size=plan.settings.batch_size // context.get_world_size(),
        seed=seed,
        device=get_device(),
    )
    if not plan.settings.augment:
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
        labels: as in `GraderPlan`.
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
        labels: as in `GraderPlan`.
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
    classes = torch.from_numpy(labels[batch["slice"].to_numpy()].astype(np.int64))
    return on_device(image_array(batch), device), classes.to(device, non_blocking=True)


def _history_row(epoch: int, tallies: dict[str, Tally], history: Sequence[Row]) -> Row:
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
