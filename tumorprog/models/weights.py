"""A model on disk: model.safetensors (tensors, never code), then model.json (what they are)."""

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
    """Writes weights and description; a save that was cut short leaves no description and so no model.

    Args:
        folder: is made if missing; a model that stands there is replaced.
        model: on any device; not wrapped for distributed training, which renames its tensors.
        description: what `load_into` is to check and a reader to know; JSON values without NaN.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # an old description never stands beside new weights
    # Bytes, not safetensors' own file, whose mode is 0600 whatever the umask says.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with storage.whole(folder / WEIGHTS) as file:
        file.write(to_bytes(tensors))
    write_json(folder / DESCRIPTION, description)


def load_description(folder: Path) -> dict[str, Any]:
    """What `save` was told of the model.

    Raises:
        InputError: if there is no whole model in the folder.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{path}: no such file, so no finished model; train one first")
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); train the model again") from error
    if not isinstance(description, dict):
        raise InputError(f"{path}: holds a {type(description).__name__}, expected an object; train the model again")
    return description


def load_into(folder: Path, model: nn.Module, *, expected: dict[str, Any]) -> None:
    """Fills a model with saved weights, after checking that they are what the caller takes them for.

    Args:
        folder: of `save`.
        model: of the same architecture, on any device; untouched if anything is wrong.
        expected: keys of the description with the values they must have.

    Raises:
        InputError: if a file is missing or damaged, a key differs, or the tensors are another network's.
    """
    description = load_description(folder)
    for key, wanted in json.loads(json.dumps(expected)).items():  # as JSON gives it back: tuples are lists there
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
        raise InputError(f"{path}: cannot be read ({error}); copy it again or train the model again") from error
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    differing = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise InputError(
            f"{path}: {len(differing)} tensors are not this network's; {name} is {found.get(name, 'missing')}, "
            f"expected {own.get(name, 'none of that name')}; train the model again"
        )
    model.load_state_dict(state)
