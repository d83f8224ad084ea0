"""Training and evaluation of the grader, one epoch at a time, on any iterable of batches."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import distributed, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample
from torch.nn.parallel import DistributedDataParallel

from tumorprog.errors import TumorprogError
from tumorprog.graders.resnet18 import normalise
from tumorprog.workers import summed_over_workers

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (N, 224, 224) uint8 and labels (N,), any integer type, 0 to 2; N >= 1."""

_MAX_ROTATION_DEGREES, _MAX_BRIGHTNESS_CHANGE = 10.0, 0.1


@dataclass
class Tally:
    """Sums of loss and correct predictions over samples.

    Means are computed at the end, so that the sums of workers with different numbers of samples combine exactly.
    """

    loss_sum: float = 0.0
    """Sum over samples of class weight x cross-entropy."""
    correct: int = 0
    """Number of correctly classified samples."""
    count: int = 0
    """Number of samples."""

    def add(self, loss_sum: float, correct: int, count: int) -> None:
        """Add the sums of further samples."""
        self.loss_sum += loss_sum
        self.correct += correct
        self.count += count

    @property
    def mean_loss(self) -> float:
        """`loss_sum` per sample; NaN without samples."""
        return self.loss_sum / self.count if self.count else math.nan

    @property
    def accuracy(self) -> float:
        """Percentage of correctly classified samples; NaN without samples."""
        return 100 * self.correct / self.count if self.count else math.nan

    def all_reduce(self) -> "Tally":
        """Return the sums over all workers, or this object itself outside distributed training.

        Every worker must call this method, and all receive the same result.
        """
        return summed_over_workers(self)


def class_weights(counts: Sequence[int]) -> torch.Tensor:
    """Return class weights by inverse class frequency, with a mean of 1 over the training samples.

    w_c = samples / (number of classes present x samples of class c). An absent class gets weight 0: it cannot be
    trained, and an infinite weight would dominate any loss in which the class appears later.

    Args:
        counts: number of training samples of each class, at least one above 0.

    Returns:
        (classes,) float32.

    Source: King & Zeng 2001, Political Analysis 9:137; scikit-learn's class_weight="balanced" is the same.
    """
    samples = torch.tensor(counts, dtype=torch.float64)
    occurring = samples > 0
    if not occurring.any():
        raise ValueError("no class has a training sample")
    inverse = torch.where(occurring, samples.sum() / (occurring.sum() * samples.clamp(min=1)), 0.0)
    return inverse.to(torch.float32)


def augment(images: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Augment slices: random left-right flip, small rotation and small change of brightness.

    Each slice is flipped with probability 0.5, rotated by up to 10 degrees in either direction about the centre (filled
    with zeros) and changed in brightness by up to 10 percent (clipped at 255). There is no vertical flip, because the
    head is symmetric from left to right only.

    Args:
        images: (N, H, W) uint8.
        generator: random generator on the CPU.

    Returns:
        (N, H, W) uint8, on the device of the images.
    """
    count, device = len(images), images.device
    flip, rotation, brightness = (torch.rand(count, generator=generator).to(device) for _ in range(3))
    angle = (2 * rotation - 1) * math.radians(_MAX_ROTATION_DEGREES)
    sign = torch.where(flip < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(angle)
    rows = (
        torch.stack([sign * angle.cos(), -angle.sin(), zero], 1),
        torch.stack([sign * angle.sin(), angle.cos(), zero], 1),
    )
    grid = affine_grid(torch.stack(rows, 1), [count, 1, *images.shape[1:]], align_corners=False)
    rotated = grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]
    factor = 1 + _MAX_BRIGHTNESS_CHANGE * (2 * brightness - 1)
    return (rotated * factor[:, None, None]).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """Class-weighted cross-entropy loss, with the device and precision of its computation.

    Attributes:
        class_weights: (3,) float32, computed on the training set.
        device: device of the computation; the model must be on it.
        precision: precision of the forward pass; with bfloat16 the weights, gradients and loss stay float32.
    """

    class_weights: torch.Tensor
    device: torch.device | str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"

    def __call__(
        self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weighted loss and the number of correct predictions, each summed over a batch."""
        images, labels = images.to(self.device), labels.to(self.device)
        device_type = torch.device(self.device).type
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits = model(normalise(images))
        weights = self.class_weights.to(self.device)
        loss_sum = cross_entropy(logits.float(), labels.long(), weight=weights, reduction="sum")
        return loss_sum, (logits.argmax(dim=1) == labels).sum()


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    optimiser: torch.optim.Optimizer,
    criterion: Criterion,
    epoch: int,
) -> Tally:
    """Train for one epoch, one optimiser step per batch; the model is left in training mode.

    The loss of a step is the mean over samples of class weight x cross-entropy. It is divided by the number of samples
    and not by the sum of their weights, as torch's "mean" reduction does, so that averaging the gradients of workers
    with equal batch sizes gives the gradient of the combined batch.

    Under DistributedDataParallel the caller must ensure that every worker has the same number of batches; otherwise
    all workers block. With a batch of one sample BatchNorm uses its running statistics, because one sample has no
    variance.

    Args:
        model: on the device of the criterion; may be wrapped in DistributedDataParallel.
        batches: batches, none of them empty.
        optimiser: optimiser of the model's parameters.
        criterion: the loss.
        epoch: epoch number for the error message.

    Returns:
        This worker's sums, each batch evaluated before its step.

    Raises:
        TumorprogError: if a loss is not finite; no step is taken for that batch.
    """
    tally = Tally()
    numbered = enumerate(batches, start=1)
    upcoming = next(numbered, None)
    while upcoming is not None:
        number, (images, labels) = upcoming
        _set_training(model, len(labels))
        loss_sum, correct = criterion(model, images, labels)
        optimiser.zero_grad()
        (loss_sum / len(labels)).backward()
        upcoming = next(numbered, None)  # load the next batch while the GPU computes
        # Synchronise with the GPU once per batch, after the backward pass is queued and before the step.
        loss_value, num_correct = torch.stack([loss_sum.detach(), correct]).tolist()
        if not math.isfinite(loss_value):
            raise TumorprogError(
                f"grader, epoch {epoch}, batch {number}: the loss is {loss_value}, expected a finite number; "
                f"lower --grader.learning_rate or choose other initial --grader.weights, and train again"
            )
        optimiser.step()
        tally.add(loss_value, int(num_correct), len(labels))
    return tally


def evaluate(model: nn.Module, batches: Iterable[Batch], *, criterion: Criterion) -> Tally:
    """Compute loss and correct predictions without training; the model is left in evaluation mode.

    Workers may have different numbers of batches, including none, because the DistributedDataParallel wrapper, which
    communicates in every forward pass, is bypassed. The BatchNorm statistics of the workers differ by their last batch;
    all workers use those of the first one, which are the ones that are saved. Every worker must therefore call this.

    Args:
        model: on the device of the criterion; may be wrapped in DistributedDataParallel.
        batches: batches, none of them empty.
        criterion: the loss.

    Returns:
        This worker's sums; `all_reduce` gives those of all workers.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
    model.eval()
    with torch.inference_mode():  # the sums stay on the GPU, so that batches need no synchronisation
        evaluated = [(torch.stack(criterion(model, images, labels)), len(labels)) for images, labels in batches]
    tally = Tally()
    for sums, count in evaluated:
        loss_sum, num_correct = sums.tolist()
        tally.add(loss_sum, int(num_correct), count)
    return tally


def _set_training(model: nn.Module, num_samples: int) -> None:
    model.train()
    if num_samples == 1:
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.eval()
