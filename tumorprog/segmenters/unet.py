"""Segmentation of the tumour in slices: a two-dimensional U-Net from MONAI, with adjacent slices as channels."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tumorprog import model_files
from tumorprog.segmenters.stacks import SIDE, SPACING_MM

_CHANNELS, _STRIDES = (16, 32, 64, 128, 256), (2, 2, 2, 2)
_PRIOR = 0.01
"""Initial probability of tumour. Without it, an optimiser spends hundreds of steps on learning that tumour is rare."""
_BATCH = 16

DESCRIPTION = {"model": "monai UNet", "side": SIDE, "spacing_mm": SPACING_MM}
"""What is saved with every model of this network, besides its training."""


def build(channels: int, *, seed: int) -> nn.Module:
    """Build a U-Net from normalised slices to the logit of tumour, on the CPU and in training mode.

    The global random state is not changed.

    Args:
        channels: of the input, see `stacks.channels`.
        seed: random seed of the initialisation.

    Returns:
        A network (N, channels, SIDE, SIDE) float32 -> (N, 1, SIDE, SIDE).

    Source: Ronneberger et al. 2015, MICCAI, LNCS 9351:234-241; with strided convolutions, Kerfoot et al. 2019, STACOM,
    LNCS 11395:371-380. The prior of rare classes is that of Lin et al. 2017, ICCV, pages 2999-3007.
    """
    from monai.networks.nets import UNet  # takes seconds, which a process that only plans trainings saves

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = UNet(2, channels, 1, _CHANNELS, _STRIDES, norm="batch")
    last_bias = list(network.parameters())[-1]
    nn.init.constant_(last_bias, math.log(_PRIOR / (1 - _PRIOR)))
    return network


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Convert slices, uint8, to the float32 input of the network: about -1 to 3, brain near 1."""
    return images.to(torch.float32) * (4 / 255) - 1


def load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a trained network and its description, which has the keys sequences and neighbours.

    Raises:
        InputError: if there is no complete model, or it is another network.
    """
    description = model_files.load_description(folder)
    count = len(description.get("sequences", [])) * (2 * description.get("neighbours", 0) + 1)
    network = build(max(1, count), seed=0)
    model_files.load_into(folder, network, expected=DESCRIPTION)
    return network, description


def probabilities(network: nn.Module, images: np.ndarray, *, device: torch.device | str = "cpu") -> np.ndarray:
    """Predict the probability of tumour: the mean of the predictions for the slices and for their mirror images.

    Args:
        network: is left in evaluation mode, on the device.
        images: (N, channels, SIDE, SIDE) uint8.
        device: of the computation.

    Returns:
        (N, SIDE, SIDE) float32.
    """
    network = network.to(device).eval()
    predicted = np.empty((len(images), SIDE, SIDE), np.float32)
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = normalise(torch.from_numpy(images[start : start + _BATCH]).to(device))
            mirrored = network(batch.flip(3)).sigmoid().flip(3)
            mean = (network(batch).sigmoid() + mirrored) / 2
            predicted[start : start + _BATCH] = mean[:, 0].float().cpu().numpy()
    return predicted
