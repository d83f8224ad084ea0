"""Where a grader looks: the share of its Grad-CAM evidence outside the head, and in the tumour where it has a mask.

A share of the evidence means nothing by itself. It is given beside the share of the area, which evidence without any
preference would have, and can be compared with that of a network with random weights (Adebayo et al. 2018, Sanity
checks for saliency maps, NeurIPS).
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage
from torch import nn

from tumorprog.errors import DicomError
from tumorprog.formats import reading
from tumorprog.graders import resnet18
from tumorprog.graders.images import read_images
from tumorprog.imaging import intensity
from tumorprog.regions.agreement import with_masks

EVIDENCE = ("PatientID", "evidence", "area")
"""Per slice: the share of the evidence in a part of the image, and the part's share of the area; NaN if undefined."""

_BATCH = 32
_CLOSING_RADIUS = 7
"""Pixels of a 224 x 224 image: closes gaps of up to about 14 mm, such as the dark skull between scalp and brain."""
_MAX_TRIES = 4
"""Slices tried per slice wanted, because many slices of a mask are empty."""


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Slices, and the part of each whose share of the evidence is computed.

    Attributes:
        patients: (N,) patient of each slice.
        images: (N, 224, 224) uint8, input of the grader.
        parts: (N, 224, 224) bool, the part in question.
        wholes: (N, 224, 224) bool, what it is a part of; evidence outside is not counted.
    """

    patients: np.ndarray
    images: np.ndarray
    parts: np.ndarray
    wholes: np.ndarray


def head_mask(image: np.ndarray) -> np.ndarray:
    """Return the head in a slice: brighter than Otsu's threshold, closed, the largest component, with holes filled.

    Args:
        image: (H, W) uint8.

    Returns:
        (H, W) bool; empty for a constant image.

    Source: Otsu 1979, IEEE Trans. Syst. Man Cybern. 9:62-66.
    """
    if image.min() == image.max():
        return np.zeros(image.shape, bool)
    threshold, _ = cv2.threshold(np.ascontiguousarray(image), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    rows, columns = np.ogrid[-_CLOSING_RADIUS : _CLOSING_RADIUS + 1, -_CLOSING_RADIUS : _CLOSING_RADIUS + 1]
    disc = (rows**2 + columns**2 <= _CLOSING_RADIUS**2).astype(np.uint8)
    # padded, because OpenCV treats pixels beyond the border as foreground of an erosion
    bright = np.pad((image > threshold).astype(np.uint8), 2 * _CLOSING_RADIUS)
    closed = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, disc)
    unpadded = slice(2 * _CLOSING_RADIUS, -2 * _CLOSING_RADIUS)
    labels, _ = ndimage.label(closed[unpadded, unpadded])
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # background
    return ndimage.binary_fill_holes(labels == sizes.argmax())


def spread_over_patients(rows: pd.DataFrame, *, count: int, seed: int) -> pd.DataFrame:
    """Return at most `count` rows, as many of each patient as possible: a random one of each, then a second one, ...

    Args:
        rows: with a column PatientID.
        count: maximum number of rows.
        seed: of the choice within a patient.
    """
    shuffled = rows.sample(frac=1, random_state=seed)
    turn = shuffled.groupby("PatientID").cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(count)


def outside_head(slices: Path, predictions: pd.DataFrame, *, count: int, seed: int) -> Regions:
    """Return slices with the area outside the head as part of the whole image.

    Args:
        slices: folder of shards of `graders.columns.SLICES`.
        predictions: the slices to choose from, with PatientID and slice.
        count: maximum number of slices, spread over the patients.
        seed: of the choice.
    """
    chosen = spread_over_patients(predictions.sort_values("slice"), count=count, seed=seed)
    images = read_images(slices, chosen["slice"].tolist())
    heads = _stacked([head_mask(image) for image in images])
    wholes = np.broadcast_to(heads.any(axis=(1, 2), keepdims=True), heads.shape)  # empty where there is no head
    return Regions(patients=chosen["PatientID"].to_numpy(), images=images, parts=~heads & wholes, wholes=wholes)


def in_tumour(slices: pd.DataFrame, *, scaling: intensity.Scaling, count: int, seed: int) -> Regions:
    """Return slices that show a tumour, with its mask as part of the head.

    Args:
        slices: rows of the catalogue, as for `regions.agreement.with_masks`; those that cannot be decoded, and those
            whose mask is empty, are skipped.
        scaling: intensity scaling of the grader's images.
        count: maximum number of slices, spread over the patients.
        seed: of the choice.
    """
    pairs = spread_over_patients(with_masks(slices), count=_MAX_TRIES * count, seed=seed)
    found = list(_with_tumour(pairs, scaling=scaling, count=count))
    images, masks = (_stacked(arrays) for arrays in ([image for _, image, _ in found], [mask for *_, mask in found]))
    heads = _stacked([head_mask(image) for image in images])
    patients = np.array([patient for patient, *_ in found], dtype=object)
    return Regions(patients=patients, images=images.astype(np.uint8), parts=masks, wholes=heads | masks)


def _with_tumour(
    pairs: pd.DataFrame, *, scaling: intensity.Scaling, count: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    found = 0
    for pair in pairs.to_dict("records"):
        if found == count:
            return
        read = _read_pair(pair, scaling=scaling)
        if read is not None and read[1].any():
            found += 1
            yield pair["PatientID"], *read


def _read_pair(pair: dict[Hashable, Any], *, scaling: intensity.Scaling) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        mask = reading.read_frame(pair["path_mask"], pair["frame_mask"])
        image = reading.read_frame(pair["path"], pair["frame"])
    except DicomError:  # listed in features/_rejected.csv if the image is at fault
        return None
    small = intensity.grader_input(image, scaling=scaling)
    return small, intensity.resize((mask > 0).astype(np.float32), len(small)) > 0.5


def _stacked(arrays: list[np.ndarray]) -> np.ndarray:
    return np.stack(arrays) if arrays else np.empty((0, resnet18.IMAGE_SIZE, resnet18.IMAGE_SIZE), bool)


def shares(model: nn.Module, regions: Regions, *, device: str = "cpu") -> pd.DataFrame:
    """Return, for each slice, the share of the evidence for the predicted grade that lies in the part.

    Args:
        model: from `resnet18.build`; the grade is the one that this model predicts.
        regions: the slices and their parts.
        device: device of the computation.

    Returns:
        Rows of `EVIDENCE`: the evidence is the sum of the heat map over the part, divided by that over the whole; the
        area is the same ratio of pixels. Both are NaN where the heat map is zero in the whole, or the whole is empty.
    """

    def ratio(weights: Callable[[slice], np.ndarray | float]) -> np.ndarray:
        parts = []
        for start in range(0, len(regions.images), _BATCH):
            rows = slice(start, start + _BATCH)
            values = weights(rows)
            inside, total = (
                (values * masks[rows]).sum(axis=(1, 2), dtype=np.float64) for masks in (regions.parts, regions.wholes)
            )
            parts.append(np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0))
        return np.concatenate([np.empty(0), *parts])

    evidence = ratio(lambda rows: resnet18.grad_cam(model, regions.images[rows], None, device=device))
    area = np.where(np.isnan(evidence), np.nan, ratio(lambda _: 1.0))
    return pd.DataFrame(dict(zip(EVIDENCE, (regions.patients, evidence, area), strict=True)))
