"""The slices of a stack -> input of a segmenter, a square grid of fixed pixel size; and predictions back to slices."""

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 160
"""Height and width of the input, in pixels."""
SPACING_MM = 1.5
"""Height and width of a pixel of the input: 160 of them are the 240 mm of a usual field of view."""

_LOW_PERCENTILE = 0.5
_HEAD = 38
"""Prepared intensity above which a pixel is part of the head: 0.4 of the median."""
_WHITE = 2.5
"""Intensity, relative to the median of the head, that becomes 255; enhancing tumour is at 1 to 2, fat above."""


def prepare(slices: Sequence[np.ndarray], spacing_mm: tuple[float, float]) -> np.ndarray:
    """Normalise the intensities of a stack and bring it to the grid of the input.

    The 0.5th percentile of the stack becomes 0 and 2.5 times the median of the head 255; the head is what exceeds half
    the mean of the stack. Most of the head is brain, so that the scale is that of brain tissue on any scanner.

    Args:
        slices: N images (H, W) of one size, any real dtype; pixels that are not finite count as the minimum.
        spacing_mm: distance of the rows and of the columns; a field of view of 240 mm is assumed if one is NaN.

    Returns:
        (N, SIDE, SIDE) uint8, centred, with zeros outside the field of view.
    """
    stack = _finite(np.stack(slices))
    stack = stack - np.percentile(stack, _LOW_PERCENTILE)
    head = stack[stack > stack.mean() / 2]
    scale = 255 / (_WHITE * float(np.median(head))) if head.size else 0.0
    scaled = np.clip(stack * scale, 0, 255).astype(np.float32)
    size = _size_on_input(scaled.shape[1:], spacing_mm)
    return _fit([_resize(image, size) for image in scaled], (SIDE, SIDE)).round().astype(np.uint8)


def num_channels(sequences: int, neighbours: int) -> int:
    """Return the number of channels of the input for a number of sequences and of neighbours on either side."""
    return sequences * (2 * neighbours + 1) + 1


def channels(volumes: Sequence[np.ndarray | None], *, neighbours: int) -> np.ndarray:
    """Return the input of each slice: for each sequence the slices below, the slice itself and the slices above.

    At the ends of the stack the last slice stands in for those beyond it. A sequence that the study lacks is empty (0).
    The last channel is the slice of the first sequence mirrored about the middle of the head: healthy structures, such
    as vessels and the choroid plexus, are on both sides, a tumour on one.

    Args:
        volumes: (N, SIDE, SIDE) uint8 of each sequence, in the order of the settings, the first not None.
        neighbours: number of slices on either side.

    Returns:
        (N, num_channels, SIDE, SIDE) uint8.
    """
    first = volumes[0]
    if first is None:
        raise ValueError("the first sequence of a segmenter's input is missing")
    rows = np.arange(len(first))[:, None] + np.arange(-neighbours, neighbours + 1)
    rows = np.clip(rows, 0, len(first) - 1)
    parts = [np.zeros((*rows.shape, SIDE, SIDE), np.uint8) if one is None else one[rows] for one in volumes]
    mirrored = np.stack([_mirrored(image) for image in first])
    return np.concatenate([*parts, mirrored[:, None]], axis=1)


def _mirrored(image: np.ndarray) -> np.ndarray:
    """Mirror a slice about the mean column of its head; columns from outside the slice are 0."""
    columns = np.arange(image.shape[1])
    head = np.count_nonzero(image > _HEAD, axis=0)
    middle = head @ columns / head.sum() if head.any() else columns.mean()
    source = np.round(2 * middle - columns).astype(int)
    return np.where((source >= 0) & (source < len(columns)), image[:, np.clip(source, 0, len(columns) - 1)], 0)


def mask_on_input(masks: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Bring masks, (N, H, W) bool, to the grid of the input, (N, SIDE, SIDE) uint8: 1 where half of a pixel is mask."""
    size = _size_on_input(masks.shape[1:], spacing_mm)
    resized = [_resize(mask.astype(np.float32), size) for mask in masks]
    return (_fit(resized, (SIDE, SIDE)) >= 0.5).astype(np.uint8)


def on_slices(probabilities: np.ndarray, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> np.ndarray:
    """Return predictions on the grid of the slices.

    Args:
        probabilities: (N, SIDE, SIDE).
        shape: (H, W) of the slices.
        spacing_mm: as for `prepare`.

    Returns:
        (N, H, W) float32; 0 outside the grid of the input.
    """
    fitted = _fit(list(probabilities.astype(np.float32)), _size_on_input(shape, spacing_mm))
    return np.stack([_resize(image, shape) for image in fitted])


def _finite(stack: np.ndarray) -> np.ndarray:
    values = stack.astype(np.float32)
    finite = np.isfinite(values)
    return np.where(finite, values, values[finite].min() if finite.any() else 0)


def _size_on_input(shape: Sequence[int], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    known = np.isfinite(spacing_mm).all() and min(spacing_mm) > 0
    row_mm, column_mm = spacing_mm if known else 2 * (SIDE * SPACING_MM / max(shape),)
    return max(1, round(shape[0] * row_mm / SPACING_MM)), max(1, round(shape[1] * column_mm / SPACING_MM))


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _fit(images: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Crop and pad images of one size about their centre, (N, *size); the inverse of itself but for what is cropped."""
    fitted = np.zeros((len(images), *size), np.float32)
    source, target = zip(*(_overlap(*pair) for pair in zip(images[0].shape, size, strict=True)), strict=True)
    for image, place in zip(images, fitted, strict=True):
        place[target] = image[source]
    return fitted


def _overlap(have: int, want: int) -> tuple[slice, slice]:
    """Return the part of an axis that is kept, and its place."""
    width, cut, padding = min(have, want), max(0, have - want) // 2, max(0, want - have) // 2
    return slice(cut, cut + width), slice(padding, padding + width)
