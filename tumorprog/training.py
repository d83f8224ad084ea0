"""Batches -> a trained grader and its losses, one epoch at a time.

Takes any iterable of batches and knows nothing of where they come from.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import distributed, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample
from torch.nn.parallel import DistributedDataParallel

from tumorprog.errors import TumorprogError
from tumorprog.models.grader import normalise

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (N, 224, 224) uint8 and labels (N,), any integer type, 0 to 2; N >= 1."""


_MOST_DEGREES, _MOST_BRIGHTNESS = 10.0, 0.1


@dataclass
class Tally:
    """Sums over samples; means are made at the end, so that parts of any size add up to the whole exactly."""

    loss_sum: float = 0.0
    """Sum over samples of class weight x cross-entropy."""
    correct: int = 0
    """Samples whose most probable class is theirs."""
    count: int = 0
    """Samples."""

    def add(self, loss_sum: float, correct: int, count: int) -> None:
        """Counts more samples."""
        self.loss_sum += loss_sum
        self.correct += correct
        self.count += count

    @property
    def mean_loss(self) -> float:
        """`loss_sum` per sample; NaN without samples."""
        return self.loss_sum / self.count if self.count else math.nan

    @property
    def accuracy(self) -> float:
        """Percentage of samples that are right; NaN without samples."""
        return 100 * self.correct / self.count if self.count else math.nan

    def all_reduce(self) -> "Tally":
        """The sum over all workers, the same on each; itself outside distributed training.

        Every worker must call it.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return self
        # NCCL moves nothing but GPU memory; float64 counts exactly to 2^53.
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        sums = torch.tensor([self.loss_sum, self.correct, self.count], dtype=torch.float64, device=device)
        distributed.all_reduce(sums)
        loss_sum, correct, count = sums.tolist()
        return Tally(loss_sum, int(correct), int(count))


def class_weights(counts: Sequence[int]) -> torch.Tensor:
    """Weights by inverse class frequency, with a mean of 1 over the samples counted.

    w_c = samples / (classes that occur x samples of c). A class that does not occur gets 0: nothing can be learned of
    it, and 1/0 would drown the others wherever it turns up later.

    Args:
        counts: training samples of each class, at least one above 0.

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


def augmented(images: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Slices as they might have been: half of them mirrored, each turned and brightened or darkened a little.

    The turn is up to 10 degrees either way, about the centre, with zeros where nothing was; the brightness up to a
    tenth more or less, cut off at white. Left and right are alike in what the grader is to see; top and bottom are not.

    Args:
        images: (N, H, W) uint8.
        generator: of the random choices, on the CPU.

    Returns:
        (N, H, W) uint8, on the device of the images.
    """
    count, device = len(images), images.device
    mirrored, turn, brightness = (torch.rand(count, generator=generator).to(device) for _ in range(3))
    angle = (2 * turn - 1) * math.radians(_MOST_DEGREES)
    sign = torch.where(mirrored < 0.5, -1.0, 1.0)
    flat = torch.zeros_like(angle)
    rows = (
        torch.stack([sign * angle.cos(), -angle.sin(), flat], 1),
        torch.stack([sign * angle.sin(), angle.cos(), flat], 1),
    )
    grid = affine_grid(torch.stack(rows, 1), [count, 1, *images.shape[1:]], align_corners=False)
    turned = grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]
    factor = 1 + _MOST_BRIGHTNESS * (2 * brightness - 1)
    return (turned * factor[:, None, None]).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """How batches are judged: cross-entropy weighted by class, on a device, in a precision.

    Attributes:
        class_weights: (3,) float32, of the training part.
        device: where to compute; the model must be there.
        precision: of the network's arithmetic; in bfloat16 the weights, their gradients and the loss stay float32.
    """

    class_weights: torch.Tensor
    device: torch.device | str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"

    def __call__(
        self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sums over a batch of the weighted losses and of the samples whose most probable class is theirs."""
        images, labels = images.to(self.device), labels.to(self.device)
        kind = torch.device(self.device).type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
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
    """One pass over the training batches, a step each; leaves the model in training mode.

    The loss of a step is the mean over its samples of class weight x cross-entropy: divided by the samples, not by the
    batch's sum of weights as torch's "mean" is, so that equal batches on several workers average to the step of one
    batch of all their samples.

    Under DistributedDataParallel every worker must bring the same number of batches, or all wait for ever; the caller
    sees to that. A batch of one sample is a step like any other, but BatchNorm takes its running statistics, because
    one sample has no variance.

    Args:
        model: on the device; may be wrapped in DistributedDataParallel.
        batches: none empty.
        optimiser: of the model's parameters.
        criterion: how the batches are judged.
        epoch: named in the error.

    Returns:
        This worker's sums, each batch judged before its step.

    Raises:
        TumorprogError: if a loss is not finite; the step is not taken.
    """
    tally = Tally()
    coming = enumerate(batches, start=1)
    following = next(coming, None)
    while following is not None:
        number, (images, labels) = following
        _set_training(model, len(labels))
        loss_sum, correct = criterion(model, images, labels)
        optimiser.zero_grad()
        (loss_sum / len(labels)).backward()
        following = next(coming, None)  # is made ready while a GPU still works
        # One wait for the GPU a batch, after the backward pass is queued and before the step.
        reached, hits = torch.stack([loss_sum.detach(), correct]).tolist()
        if not math.isfinite(reached):
            raise TumorprogError(
                f"grader, epoch {epoch}, batch {number}: the loss is {reached}, expected a finite number; "
                f"lower --grader.learning_rate or start from other --grader.weights, and train again"
            )
        optimiser.step()
        tally.add(reached, int(hits), len(labels))
    return tally


def evaluate(model: nn.Module, batches: Iterable[Batch], *, criterion: Criterion) -> Tally:
    """Loss and hits without learning; leaves the model in evaluation mode.

    Workers may bring different numbers of batches, also none: the wrapper of distributed training, which talks at every
    forward pass, is stepped around. Its workers' BatchNorm statistics differ by their last batch; all take the first
    worker's, which is what gets saved. So every worker must call this.

    Args:
        model: on the device; may be wrapped in DistributedDataParallel.
        batches: none empty.
        criterion: how the batches are judged.

    Returns:
        This worker's sums; `all_reduce` gives those of all.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
    model.eval()
    with torch.inference_mode():  # the sums stay on a GPU, which is not waited for between batches
        judged = [(torch.stack(criterion(model, images, labels)), len(labels)) for images, labels in batches]
    tally = Tally()
    for sums, count in judged:
        loss_sum, hits = sums.tolist()
        tally.add(loss_sum, int(hits), count)
    return tally


def _set_training(model: nn.Module, num_samples: int) -> None:
    model.train()
    if num_samples == 1:
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.eval()
