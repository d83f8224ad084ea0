"""Training of the segmenter, one epoch at a time, on any iterable of batches."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import kornia.augmentation as kornia
import torch
from torch import nn
from torch.nn import functional

from tumorprog.errors import TumorprogError
from tumorprog.segmenters.unet import normalise
from tumorprog.workers import summed_over_workers

Batch = tuple[torch.Tensor, torch.Tensor]
"""Slices (N, channels, SIDE, SIDE) uint8 and masks (N, SIDE, SIDE) uint8, 0 or 1; N >= 1."""

Precision = Literal["auto", "float32", "bfloat16"]

_WEIGHT_DECAY, _MAX_NORM, _WARM_UP = 0.01, 1.0, 0.1
_SHARE_CARVED = 0.5
"""Share of the slices that receive the tumour of another."""
_MARGIN, _BLEND = 7, 5
"""Widths in pixels of what is taken along with a tumour (3 on every side), and of the transition."""
_IN_HEAD, _MIN_IN_HEAD = 0.2, 0.95
"""Intensity above which a pixel is inside the head, and the share of such pixels that a tumour needs for its place."""

_AUGMENTATION = kornia.AugmentationSequential(
    kornia.RandomHorizontalFlip(p=0.5),
    kornia.RandomAffine(degrees=20.0, scale=(0.8, 1.25), translate=(0.08, 0.08), shear=5.0, p=0.9),
    kornia.RandomGamma((0.85, 1.2), p=0.3),
    kornia.RandomBrightness((0.9, 1.1), p=0.3),
    kornia.RandomGaussianBlur((3, 3), (0.3, 0.8), p=0.15),
    kornia.RandomGaussianNoise(std=0.03, p=0.2),
    data_keys=["input", "mask"],
)
"""Positions and shapes vary freely. Intensities vary little, because they are normalised to those of brain."""


@dataclass
class Tally:
    """Sums of the loss and of pixels over samples, which combine exactly over workers."""

    loss_sum: float = 0.0
    """Sum over samples of the loss of their batch."""
    count: int = 0
    """Number of samples."""
    both: int = 0
    """Pixels that are tumour in the prediction and in the mask."""
    either: int = 0
    """Pixels of tumour in the prediction plus those in the mask."""

    def add(self, loss: float, count: int, both: int, either: int) -> None:
        """Add a batch."""
        self.loss_sum += loss * count
        self.count += count
        self.both += both
        self.either += either

    @property
    def mean_loss(self) -> float:
        """Mean over samples; NaN without samples."""
        return self.loss_sum / self.count if self.count else math.nan

    @property
    def dice(self) -> float:
        """Dice coefficient over all pixels; NaN if neither has tumour."""
        return 2 * self.both / self.either if self.either else math.nan

    def all_reduce(self) -> "Tally":
        """Return the sums over all workers, or this object itself outside distributed training.

        Every worker must call this method, and all receive the same result.
        """
        return summed_over_workers(self)


def augment(images: torch.Tensor, masks: torch.Tensor, *, generator: torch.Generator) -> Batch:
    """Augment slices with their masks: flip, affine transform, gamma, brightness, blur and noise, each at random.

    Then half of the slices receive the tumour of another slice, with its surroundings, where their own head has room
    for it: tumours of few patients are seen at many places of many heads.

    Args:
        images: (N, channels, SIDE, SIDE) uint8.
        masks: (N, SIDE, SIDE) uint8.
        generator: random generator on the CPU; the global random state is not changed.

    Returns:
        Both in the same shapes and dtypes, on the device of the images.

    Source: Zhang et al. 2021 (CarveMix), MICCAI, LNCS 12901:196-205, for the tumours of other slices.
    """
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        pixels, areas = _AUGMENTATION(images.to(torch.float32) / 255, masks[:, None].to(torch.float32))
        pixels, areas = _with_tumours_of_others(pixels, (areas > 0.5).to(torch.float32))
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8), (areas[:, 0] > 0.5).to(torch.uint8)


def _with_tumours_of_others(images: torch.Tensor, masks: torch.Tensor) -> Batch:
    """Carve tumours into other slices of the batch; the last channel, the mirror image, stays as it is."""
    count, device = len(images), images.device
    others = torch.randperm(count).to(device)
    near = functional.max_pool2d(masks[others], _MARGIN, 1, _MARGIN // 2)
    weight = functional.avg_pool2d(near, _BLEND, 1, _BLEND // 2) * near
    in_head = ((images[:, :1] > _IN_HEAD) * near).sum((1, 2, 3)) > _MIN_IN_HEAD * near.sum((1, 2, 3))
    weight = weight * (in_head & (torch.rand(count).to(device) < _SHARE_CARVED))[:, None, None, None]
    carved = images * (1 - weight) + images[others] * weight
    return torch.cat([carved[:, :-1], images[:, -1:]], 1), torch.where(weight > 0.5, masks[others], masks)


def optimisation(
    model: nn.Module, *, learning_rate: float, total_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and its one-cycle schedule, which `train_epoch` advances after every step.

    Args:
        model: the network.
        learning_rate: highest learning rate, after a tenth of the steps, at least two.
        total_steps: of all epochs.

    Source: Loshchilov & Hutter 2019, ICLR; Smith & Topin 2019, Proc. SPIE 11006:1100612.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    steps = max(3, total_steps)
    warm_up = max(_WARM_UP, 2 / steps)  # OneCycleLR divides by zero if it warms up for one step
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=warm_up)
    return optimiser, schedule


def computes_in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Return whether the forward pass is in bfloat16; with `auto`, if the device has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # from torch 2.10 on
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    optimiser: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    precision: Precision,
    epoch: int,
) -> Tally:
    """Train for one epoch, one optimiser step per batch; the model is left in training mode.

    The loss is the sum of the cross-entropy and of 1 - Dice over all pixels of the batch together, so that slices
    without tumour count.

    Args:
        model: on the device of the batches; may be wrapped in DistributedDataParallel, where every worker must have the
            same number of batches.
        batches: batches, none of them empty.
        optimiser: optimiser of the model's parameters.
        scheduler: as many steps as there are batches in all epochs.
        precision: of the forward pass, see `computes_in_bfloat16`; weights, gradients and loss are always float32.
        epoch: epoch number for the error message.

    Returns:
        This worker's sums, each batch evaluated before its step.

    Raises:
        TumorprogError: if a loss is not finite; no step is taken for that batch.

    Source: Isensee et al. 2021, Nature Methods 18:203-211, for the loss.
    """
    from monai.losses import DiceCELoss

    tally, loss_of = Tally(), DiceCELoss(sigmoid=True, batch=True)
    model.train()
    for number, (images, masks) in enumerate(batches, start=1):
        half = computes_in_bfloat16(precision, images.device)
        truth = masks[:, None].to(torch.float32)
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
            logits = model(normalise(images))
        loss = loss_of(logits.float(), truth)
        optimiser.zero_grad()
        loss.backward()
        sums = torch.stack([loss.detach(), *_overlap(logits.detach(), truth)]).tolist()
        if not math.isfinite(sums[0]):
            raise TumorprogError(
                f"segmenter, epoch {epoch}, batch {number}: the loss is {sums[0]}, expected a finite number; lower "
                "--segmenter.learning_rate and train again"
            )
        nn.utils.clip_grad_norm_(model.parameters(), _MAX_NORM)
        optimiser.step()
        scheduler.step()
        tally.add(sums[0], len(images), int(sums[1]), int(sums[2]))
    return tally


def _overlap(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    predicted = (logits > 0).to(torch.float32)
    return (predicted * truth).sum(), predicted.sum() + truth.sum()
