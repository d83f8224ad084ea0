"""Trained segmenters -> the tumour in the slices of a stack, by the model that has not seen the patient."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from tumorprog import storage
from tumorprog.segmenters import stacks, unet

FINAL = "final"
"""The model that is trained on all patients, for others."""

_THRESHOLD = 0.35
"""Probability above which a pixel is tumour. The Dice coefficient is greatest at half its value (Lipton et al. 2014,
ECML PKDD, LNCS 8725:225-239), which is about 0.7."""

Slices = Sequence[np.ndarray]
"""The slices of a stack in their order, (H, W) of any real dtype."""


def model_of(patient: str, folds: pd.DataFrame) -> str:
    """Return the model that has not seen a patient.

    Args:
        patient: PatientID.
        folds: rows of `segmenters.columns.SEGMENTER_FOLDS`.

    Returns:
        "fold-3" for a patient of fold 3, "final" for a patient without masks.
    """
    fold = folds.loc[folds["PatientID"] == patient, "fold"]
    return f"fold-{fold.iloc[0]}" if len(fold) else FINAL


def model_folder(folder: Path, model: str) -> Path:
    """Return the folder of a model, which is a fold or final, in the segmenter's folder."""
    return folder if model == FINAL else folder / "folds" / model


def segment(folder: Path, model: str, volumes: Mapping[str, Slices], spacing_mm: tuple[float, float]) -> np.ndarray:
    """Find the tumour in a stack.

    Args:
        folder: of the segmenter in a run directory.
        model: result of `model_of`.
        volumes: the slices of each sequence, on the same grid; sequences that the model does not use are ignored.
        spacing_mm: distance of the rows and of the columns.

    Returns:
        (N, H, W) bool.

    Raises:
        InputError: if there is no such model.
    """
    network, description = _load(str(model_folder(folder, model)))
    return find(network, description, volumes, spacing_mm)


def find(
    network: nn.Module,
    description: Mapping[str, Any],
    volumes: Mapping[str, Slices],
    spacing_mm: tuple[float, float],
) -> np.ndarray:
    """Find the tumour in a stack with a network.

    Args:
        network: of `unet.build`.
        description: its `sequences` and `neighbours`.
        volumes: as for `segment`.
        spacing_mm: as for `segment`.

    Returns:
        (N, H, W) bool.
    """
    first, *others = description["sequences"]
    prepared: list[np.ndarray | None] = [stacks.prepare(volumes[first], spacing_mm)]
    prepared += [stacks.prepare(volumes[name], spacing_mm) if name in volumes else None for name in others]
    images = stacks.channels(prepared, neighbours=description["neighbours"])
    shape = volumes[first][0].shape
    return stacks.on_slices(unet.probabilities(network, images), (shape[0], shape[1]), spacing_mm) > _THRESHOLD


@lru_cache(maxsize=16)
def _load(folder: str) -> tuple[nn.Module, dict[str, Any]]:
    return unet.load(storage.as_path(folder))
