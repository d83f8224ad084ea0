"""Slices -> probabilities of the grades: torchvision's ResNet-18 with a last layer of three classes."""

import http.client
import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import ResNet18_Weights, resnet18

from tumorprog.errors import SettingsError
from tumorprog.tables import GRADES

CHANNEL_MEAN = (0.485, 0.456, 0.406)
"""ImageNet's, of the channels in [0, 1]."""

CHANNEL_STD = (0.229, 0.224, 0.225)
"""ImageNet's, of the channels in [0, 1]."""

_IMAGENET_CLASSES = 1000
_LAST_LAYER = ("fc.weight", "fc.bias")


def build(weights: str, *, seed: int) -> nn.Module:
    """A ResNet-18 with one output for each grade of `tables.GRADES`, on the CPU, in training mode.

    What the weights do not fill (the last layer, or all with `none`) is random from the seed; the global random state
    is left as it was.

    Args:
        weights: `imagenet`, `none`, or a .safetensors, .pth or .pt file with a state dict of a ResNet-18, its last
            layer missing, of 1000 classes (then dropped) or of the grades.
        seed: of the random weights.

    Raises:
        SettingsError: if the weights cannot be had, cannot be read or are those of another network.

    Source: He et al. 2016, Deep residual learning for image recognition, CVPR.
    """
    # Only the CPU's generator: torch.manual_seed would also reseed every GPU, which fork_rng(devices=[]) does not undo.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = resnet18(weights=None, num_classes=len(GRADES))
    if weights == "imagenet":
        _fill(model, _imagenet_state(), "torchvision's ImageNet weights")
    elif weights != "none":
        _fill(model, _read_state(weights), weights)
    return model


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Stored images as the network's input: three equal channels, standardised with ImageNet's mean and deviation.

    Args:
        images: (N, H, W) uint8, on any device.

    Returns:
        (N, 3, H, W) float32 on the same device, (image / 255 - mean) / std in each channel.

    Raises:
        TypeError: if the images are not uint8, whose range the formula takes for granted.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}; they must be torch.uint8")
    mean = torch.tensor(CHANNEL_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(CHANNEL_STD, device=images.device).view(1, 3, 1, 1)
    # One multiply and one add over the three channels; dividing first would write them twice more.
    return images.unsqueeze(1) * (1 / (255 * std)) - mean / std


def probabilities(
    model: nn.Module, images: np.ndarray, *, device: torch.device | str, batch_size: int = 64
) -> np.ndarray:
    """The probability of each grade for each image.

    Args:
        model: of `build`; it is moved to the device and left there in evaluation mode.
        images: (N, 224, 224) uint8; read-only views are welcome; N may be 0.
        device: where to compute.
        batch_size: images at a time; changes no more than the last digits.

    Returns:
        (N, 3) float32, columns in the order of `tables.GRADES`, each row adding to 1.
    """
    model.to(device, memory_format=torch.channels_last).eval()
    parts = [np.empty((0, len(GRADES)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            # Copied, because torch warns of arrays that it may not write to, which views of Arrow buffers are.
            batch = torch.from_numpy(images[start : start + batch_size].copy()).to(device)
            parts.append(model(normalise(batch)).softmax(dim=1).cpu().numpy())
    return np.concatenate(parts)


def evidence(model: nn.Module, images: np.ndarray, classes: np.ndarray, *, device: torch.device | str) -> np.ndarray:
    """Where in an image the network finds a class: Grad-CAM of the last convolutional layer.

    After that layer a ResNet only averages over the image and multiplies, so that the gradient of a class is the same
    at every place: Grad-CAM is the class activation map, and needs no backward pass.

    Args:
        model: of `build`; it is moved to the device and left there in evaluation mode.
        images: (N, 224, 224) uint8, a few.
        classes: (N,) indices into `tables.GRADES`: whose evidence.
        device: where to compute.

    Returns:
        (N, 224, 224) float32 in [0, 1]: 0 where nothing speaks for the class, 1 where most does; zeros where nothing
        does anywhere.

    Source: Selvaraju et al. 2017, Grad-CAM, ICCV, and its section 3.1 for the equality; Zhou et al. 2016, CVPR.
    """
    model.to(device, memory_format=torch.channels_last).eval()
    # all but the last two: the average over the image, and the classes
    layers = nn.Sequential(*list(model.children())[:-2])
    with torch.inference_mode():
        found = layers(normalise(torch.from_numpy(images.copy()).to(device)))
        weights = model.fc.weight[torch.from_numpy(classes.copy()).to(device)]
        maps = torch.einsum("nchw,nc->nhw", found, weights).clamp(min=0)
        maps = maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
        large = interpolate(maps[:, None], size=images.shape[-2:], mode="bilinear", align_corners=False)
    return large[:, 0].cpu().numpy()


def _imagenet_state() -> dict[str, torch.Tensor]:
    published = ResNet18_Weights.IMAGENET1K_V1
    instead = "pass that file, fetched elsewhere, with --grader.weights FILE, or start at random: --grader.weights none"
    try:
        return published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, http.client.HTTPException) as error:
        raise SettingsError(
            f"grader.weights is imagenet, but torchvision's ResNet-18 weights are not on this machine and could not be "
            f"downloaded from {published.url} ({error}; no network?): {instead}"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise SettingsError(
            f"grader.weights is imagenet, but the weights downloaded from {published.url} to "
            f"{torch.hub.get_dir()}/checkpoints are damaged ({_first_line(error)}): delete them there and try again, "
            f"or {instead}"
        ) from error


def _read_state(weights: str) -> dict[str, torch.Tensor]:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise SettingsError(f"grader.weights is {weights!r}, which is no file; give imagenet, none or a weights file")
    if path.suffix not in {".safetensors", ".pth", ".pt"}:
        raise SettingsError(f"grader.weights: {path} is neither a .safetensors nor a .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise SettingsError(
            f"grader.weights: {path} cannot be read ({_first_line(error)}); it must hold a state dict of tensors and "
            f"nothing else: write it with torch.save(model.state_dict(), FILE)"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise SettingsError(
            f"grader.weights: {path} holds more or other than a state dict of tensors; write one with "
            f"torch.save(model.state_dict(), FILE)"
        )
    return state


def _fill(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    last = state.get("fc.weight")
    if last is not None and last.shape[:1] == (_IMAGENET_CLASSES,):
        state = {name: tensor for name, tensor in state.items() if name not in _LAST_LAYER}
    own = model.state_dict()
    # Files older than BatchNorm's counter lack it, and torch loads them without.
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    optional |= set() if state.keys() & set(_LAST_LAYER) else set(_LAST_LAYER)
    faults = [f"{name} is missing" for name in own if name not in state and name not in optional]
    faults += [f"{name} is unknown" for name in state if name not in own]
    faults += [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        raise SettingsError(
            f"grader.weights: {source} does not fit a ResNet-18 of {len(GRADES)} classes: {shown}. Expected "
            f"torchvision's names and shapes, with a last layer (fc) of {len(GRADES)} or {_IMAGENET_CLASSES} classes; "
            f"with another, take fc.weight and fc.bias out of the file"
        )
    model.load_state_dict(state, strict=False)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
