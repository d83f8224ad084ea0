"""Glioma grading of slices: torchvision's ResNet-18 with a last layer of three classes."""

import http.client
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import ResNet18_Weights, resnet18

from tumorprog import model_files
from tumorprog.conventions import GRADES, IMAGE_SIZE
from tumorprog.errors import SettingsError

CHANNEL_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet, for channels in [0, 1]."""

CHANNEL_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations of ImageNet, for channels in [0, 1]."""

_IMAGENET_CLASSES = 1000
_LAST_LAYER = ("fc.weight", "fc.bias")

DESCRIPTION = {
    "model": "torchvision resnet18",
    "classes": list(GRADES),
    "image_size": IMAGE_SIZE,
    "channel_mean": list(CHANNEL_MEAN),
    "channel_std": list(CHANNEL_STD),
}
"""What is saved with every model of this network, besides its training."""


def build(weights: str, *, seed: int) -> nn.Module:
    """Build a ResNet-18 with one output for each grade of `conventions.GRADES`, on the CPU and in training mode.

    Layers that the weights do not cover (the last layer, or all layers with `none`) are initialised randomly from the
    seed. The global random state is not changed.

    Args:
        weights: `imagenet`, `none`, or a .safetensors, .pth or .pt file with the state dict of a ResNet-18. Its last
            layer may be missing, have 1000 classes (it is then dropped) or one class per grade.
        seed: random seed of the initialisation.

    Raises:
        SettingsError: if the weights cannot be downloaded or read, or belong to another network.

    Source: He et al. 2016, Deep residual learning for image recognition, CVPR.
    """
    # Seed the CPU generator only: torch.manual_seed also seeds every GPU, which fork_rng(devices=[]) does not restore.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = resnet18(weights=None, num_classes=len(GRADES))
    if weights == "imagenet":
        _fill(model, _imagenet_state(), "torchvision's ImageNet weights")
    elif weights != "none":
        _fill(model, _read_state(weights), weights)
    return model


def load(folder: Path, **expected: Any) -> nn.Module:
    """Load a trained network.

    Args:
        folder: of the model.
        expected: more keys of the model's description, with the values that they must have.

    Raises:
        InputError: if there is no complete model, or it is another network or has other classes.
    """
    model = build("none", seed=0)
    identity = {name: DESCRIPTION[name] for name in ("model", "classes")}
    model_files.load_into(folder, model, expected={**identity, **expected})
    return model


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Convert stored images to network input: three equal channels, standardised with ImageNet's mean and deviation.

    Args:
        images: (N, H, W) uint8, on any device.

    Returns:
        (N, 3, H, W) float32 on the same device, (image / 255 - mean) / std in each channel.

    Raises:
        TypeError: if the images are not uint8, because the formula assumes the range of uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}; they must be torch.uint8")
    mean = torch.tensor(CHANNEL_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(CHANNEL_STD, device=images.device).view(1, 3, 1, 1)
    # One multiplication and one addition over the three channels; dividing first would take two more passes.
    return images.unsqueeze(1) * (1 / (255 * std)) - mean / std


def probabilities(
    model: nn.Module, images: np.ndarray, *, device: torch.device | str, batch_size: int = 64
) -> np.ndarray:
    """Return the probability of each grade for each image.

    Args:
        model: from `build`; it is moved to the device and left in evaluation mode.
        images: (N, 224, 224) uint8, may be a read-only view; N may be 0.
        device: device of the computation.
        batch_size: images per batch; affects the result by rounding only.

    Returns:
        (N, 3) float32, columns in the order of `conventions.GRADES`; each row sums to 1.
    """
    model.to(device, memory_format=torch.channels_last).eval()
    batches = [np.empty((0, len(GRADES)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            # Copy, because torch warns about read-only arrays, such as views of Arrow buffers.
            batch = torch.from_numpy(images[start : start + batch_size].copy()).to(device)
            batches.append(model(normalise(batch)).softmax(dim=1).cpu().numpy())
    return np.concatenate(batches)


def grad_cam(
    model: nn.Module, images: np.ndarray, classes: np.ndarray | None, *, device: torch.device | str
) -> np.ndarray:
    """Return Grad-CAM heat maps of the last convolutional layer for one class per image.

    After that layer a ResNet consists of global average pooling and a linear layer only, so the gradient of a class is
    the same at every pixel: Grad-CAM equals the class activation map and needs no backward pass.

    Args:
        model: from `build`; it is moved to the device and left in evaluation mode.
        images: (N, 224, 224) uint8, processed as one batch.
        classes: (N,) indices into `conventions.GRADES`, the class of each map; None for the most probable one.
        device: device of the computation.

    Returns:
        (N, 224, 224) float32 in [0, 1], scaled to a maximum of 1 in each image: 0 where nothing supports the class. A
        map without any support is all zeros.

    Source: Selvaraju et al. 2017, Grad-CAM, ICCV, section 3.1 for the equality; Zhou et al. 2016, CVPR.
    """
    model.to(device, memory_format=torch.channels_last).eval()
    # all layers except the last two: global average pooling and the linear layer
    layers = nn.Sequential(*list(model.children())[:-2])
    with torch.inference_mode():
        activations = layers(normalise(torch.from_numpy(images.copy()).to(device)))
        weights = model.fc.weight[_classes(model, activations, classes)]
        maps = torch.einsum("nchw,nc->nhw", activations, weights).clamp(min=0)
        maps = maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
        heat_maps = interpolate(maps[:, None], size=images.shape[-2:], mode="bilinear", align_corners=False)
    return heat_maps[:, 0].cpu().numpy()


def _classes(model: nn.Module, activations: torch.Tensor, classes: np.ndarray | None) -> torch.Tensor:
    if classes is None:
        return model.fc(activations.mean(dim=(2, 3))).argmax(dim=1)
    return torch.from_numpy(classes.copy()).to(activations.device)


def _imagenet_state() -> dict[str, torch.Tensor]:
    published = ResNet18_Weights.IMAGENET1K_V1
    alternatives = (
        "download the file elsewhere and pass --grader.weights FILE, or use random weights: --grader.weights none"
    )
    try:
        return published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, http.client.HTTPException) as error:
        raise SettingsError(
            f"grader.weights is imagenet, but torchvision's ResNet-18 weights are not on this machine and could not be "
            f"downloaded from {published.url} ({error}; no network?): {alternatives}"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise SettingsError(
            f"grader.weights is imagenet, but the weights downloaded from {published.url} to "
            f"{torch.hub.get_dir()}/checkpoints are damaged ({_first_line(error)}): delete them and try again, "
            f"or {alternatives}"
        ) from error


def _read_state(weights: str) -> dict[str, torch.Tensor]:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise SettingsError(
            f"grader.weights is {weights!r}, which is not a file; expected imagenet, none or a weights file"
        )
    if path.suffix not in {".safetensors", ".pth", ".pt"}:
        raise SettingsError(f"grader.weights: {path} is not a .safetensors, .pth or .pt file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise SettingsError(
            f"grader.weights: {path} cannot be read ({_first_line(error)}); it must contain only a state dict of "
            f"tensors, as written by torch.save(model.state_dict(), FILE)"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise SettingsError(
            f"grader.weights: {path} is not a plain state dict of tensors; write one with "
            f"torch.save(model.state_dict(), FILE)"
        )
    return state


def _fill(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    last = state.get("fc.weight")
    if last is not None and last.shape[:1] == (_IMAGENET_CLASSES,):
        state = {name: tensor for name, tensor in state.items() if name not in _LAST_LAYER}
    model_state = model.state_dict()
    # Old files lack the BatchNorm counter; torch loads them without it.
    optional = {name for name in model_state if name.endswith("num_batches_tracked")}
    optional |= set() if state.keys() & set(_LAST_LAYER) else set(_LAST_LAYER)
    problems = [f"{name} is missing" for name in model_state if name not in state and name not in optional]
    problems += [f"{name} is unknown" for name in state if name not in model_state]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(model_state[name].shape)}"
        for name in model_state
        if name in state and state[name].shape != model_state[name].shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise SettingsError(
            f"grader.weights: {source} does not fit a ResNet-18 of {len(GRADES)} classes: {shown}. Expected "
            f"torchvision's names and shapes, with a last layer (fc) of {len(GRADES)} or {_IMAGENET_CLASSES} classes; "
            f"if the last layer differs, remove fc.weight and fc.bias from the file"
        )
    model.load_state_dict(state, strict=False)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
