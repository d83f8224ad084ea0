"""Saving and loading of models: model.safetensors (tensors only, no code) and model.json (their description)."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from tumorprog import storage
from tumorprog.errors import InputError
from tumorprog.tables import write_json

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


def save(folder: Path, model: nn.Module, description: dict[str, Any]) -> None:
    """Write the weights and the description of a model.

    The description is written last, so that an interrupted save leaves no model that could be loaded.

    Args:
        folder: created if missing; an existing model in it is replaced.
        model: on any device; not wrapped for distributed training, because the wrapper renames its tensors.
        description: the values that `load_into` checks and further metadata; JSON values without NaN.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # never combine an old description with new weights
    # Write the bytes here: safetensors creates files with mode 0600 and ignores the umask.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with storage.atomic_write(folder / WEIGHTS) as file:
        file.write(to_bytes(tensors))
    write_json(folder / DESCRIPTION, description)


def load_description(folder: Path) -> dict[str, Any]:
    """Return the description that `save` wrote.

    Raises:
        InputError: if the folder contains no complete model.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{path}: no such file, so the folder contains no complete model; train one first")
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); train the model again") from error
    if not isinstance(description, dict):
        raise InputError(
            f"{path}: contains a {type(description).__name__}, expected a JSON object; train the model again"
        )
    return description


def load_into(folder: Path, model: nn.Module, *, expected: dict[str, Any]) -> None:
    """Load saved weights into a model after checking their description.

    Args:
        folder: folder written by `save`.
        model: a model of the same architecture, on any device; unchanged if a check fails.
        expected: required values of keys of the description.

    Raises:
        InputError: if a file is missing or damaged, a value differs, or the tensors belong to another network.
    """
    description = load_description(folder)
    for key, wanted in json.loads(json.dumps(expected)).items():  # as JSON returns it: with lists for tuples
        found = description.get(key, "missing")
        if found != wanted:
            raise InputError(
                f"{folder / DESCRIPTION}: {key} is {found}, expected {wanted}; "
                f"use the settings that the model was trained with, or train it again"
            )
    path = folder / WEIGHTS
    try:
        state = from_bytes(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy the file again or train the model again") from error
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    differing = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise InputError(
            f"{path}: {len(differing)} tensors do not match this network; {name} is {found.get(name, 'missing')}, "
            f"expected {own.get(name, 'no tensor of that name')}; train the model again"
        )
    model.load_state_dict(state)
