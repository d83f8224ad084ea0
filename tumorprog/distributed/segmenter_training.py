"""Training of the segmenter in Ray Train's workers: its plans, its stream of slices, an epoch."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import ray.data
import ray.train
import torch
from ray.train.torch import get_device
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tumorprog import __version__
from tumorprog.cohort import splits
from tumorprog.distributed.rows import read_rows
from tumorprog.distributed.training import Plan, Row, fingerprint, on_device
from tumorprog.segmenters import samples, unet
from tumorprog.segmenters.columns import SEGMENTER_HISTORY
from tumorprog.segmenters.settings import Segmenter
from tumorprog.segmenters.stacks import SIDE, num_channels
from tumorprog.segmenters.training import Batch, augment, optimisation, train_epoch
from tumorprog.settings import Settings

log = logging.getLogger(__name__)

_SHUFFLE_BYTES = 100 * 2**20
"""Size of the shuffle buffer. The shards hold stacks in random order; the buffer mixes the slices of many of them."""

_IDENTIFYING = ["SOPInstanceUID", "frame", "pixel_hash", "mask_pixels"]


@dataclass(frozen=True, kw_only=True)
class SegmenterPlan(Plan):
    """One training of the segmenter on shards of `segmenters.columns.SAMPLES`.

    Attributes:
        wanted: (N,) bool, indexed by the number in `slice`: whether it is a training slice.
    """

    settings: Segmenter
    wanted: np.ndarray

    history: ClassVar[tuple[str, ...]] = SEGMENTER_HISTORY

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return num_channels(len(self.settings.sequences), self.settings.neighbours)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all epochs."""
        workers = max(1, self.settings.workers)
        slices, batch = int(self.wanted.sum()) // workers, self.settings.batch_size // workers
        return self.settings.epochs * -(-slices // batch)

    def build(self, *, initial: bool) -> nn.Module:
        """Return the network; see `Plan`."""
        del initial
        return unet.build(self.channels, seed=self.seed)

    def datasets(self) -> dict[str, ray.data.Dataset]:
        """Return the stream of training slices."""
        return {"train": read_rows(self.shards, ["slice", "image", "mask"], wanted=self.wanted)}

    def optimisation(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """Return AdamW and its one-cycle schedule over all steps."""
        return optimisation(model, learning_rate=self.settings.learning_rate, total_steps=self.total_steps)

    def run_epoch(self, model: nn.Module, optimiser: Optimizer, scheduler: LRScheduler, history: Sequence[Row]) -> Row:
        """Train for an epoch; see `Plan`."""
        epoch = len(history) + 1
        tally = train_epoch(
            model,
            _batches(self, epoch=epoch),
            optimiser=optimiser,
            scheduler=scheduler,
            precision=self.settings.precision,
            epoch=epoch,
        ).all_reduce()
        return dict(zip(SEGMENTER_HISTORY, (epoch, tally.mean_loss, tally.dice), strict=True))

    def is_kept(self, row: Row) -> bool:
        """Return whether this is the last epoch: the schedule is fixed, and no validation set chooses an epoch."""
        return bool(row["Epoch"] == self.settings.epochs)

    def describe(self, row: Mapping[Any, Any]) -> str:
        """Return the loss and Dice coefficient of an epoch."""
        return f"loss {row['Train Loss']:.3f}, training Dice {row['Train Dice']:.3f}"


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training to run.

    Attributes:
        fold: the fold, whose patients are not among the training slices; 0 for the final model.
        slices: all slices, rows of `SAMPLES` without images, with the side of each: train or test.
        target: folder of the history and the model.
    """

    fold: int
    slices: pd.DataFrame
    target: Path


def build_plan(training: Training, shards: list[Path], settings: Settings, *, cores: int) -> SegmenterPlan:
    """Build the plan of a training for its workers.

    Args:
        training: the training.
        shards: shards of `SAMPLES`, of all slices.
        settings: `segmenter`, and the seed of the initial weights, of the order of the slices and their augmentation.
        cores: CPU cores for the computation of each worker.
    """
    segmenter, seed = settings.segmenter, settings.seed
    slices = training.slices[training.slices["side"] == "train"]
    name = f"fold {training.fold}" if training.fold else "final model"
    wanted = np.zeros(int(training.slices["slice"].max()) + 1, bool)
    wanted[slices["slice"]] = True
    excluded = splits.surplus_slices(np.sort(slices["slice"]), workers=segmenter.workers, seed=seed)
    if len(excluded):
        log.info("  %s: %d training slices excluded, so that workers have equal numbers", name, len(excluded))
        wanted[excluded] = False
    description = {
        **unet.DESCRIPTION,
        "sequences": list(segmenter.sequences),
        "neighbours": segmenter.neighbours,
        "fold": training.fold,
        "training": asdict(segmenter),
        "training_patients": sorted(slices["PatientID"].unique()),
        "training_slices": len(slices),
        "training_slices_left_out": len(excluded),
        "data_fingerprint": fingerprint(slices[_IDENTIFYING]),
        "seed": seed,
        "versions": {"tumorprog": __version__, "torch": torch.__version__, "monai": metadata.version("monai")},
    }
    return SegmenterPlan(
        name=name,
        target=training.target.absolute(),
        shards=shards,
        settings=segmenter,
        seed=seed,
        cores=cores,
        description=description,
        wanted=wanted,
    )


def augmented_batches(
    rows: ray.data.DataIterator | ray.data.Dataset,
    *,
    batch_size: int,
    channels: int,
    seed: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Yield the batches of a stream of slices, shuffled by the seed and augmented.

    Args:
        rows: rows with image and mask.
        batch_size: slices in a batch; the last may have fewer.
        channels: of an image.
        seed: seed of the order.
        generator: random generator of the augmentation.
        device: device of the batches.
    """
    stream = rows.iter_batches(
        batch_size=batch_size,
        batch_format="pyarrow",
        local_shuffle_buffer_size=_SHUFFLE_BYTES // ((channels + 1) * SIDE**2),
        local_shuffle_seed=seed,
    )
    for batch in stream:
        images, masks = (on_device(values, device) for values in samples.arrays(batch))
        yield augment(images, masks, generator=generator)


def _batches(plan: SegmenterPlan, *, epoch: int) -> Iterator[Batch]:
    """Return this worker's share of the slices, augmented, in a new order each epoch; all workers get equal numbers."""
    context, seed = ray.train.get_context(), plan.seed * 1000 + epoch
    return augmented_batches(
        ray.train.get_dataset_shard("train"),
        batch_size=plan.settings.batch_size // context.get_world_size(),
        channels=plan.channels,
        seed=seed,
        generator=torch.Generator().manual_seed(seed * 1000 + context.get_world_rank()),
        device=get_device(),
    )
