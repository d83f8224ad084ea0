"""Intensities of a slice in any unit -> [0, 1], another size, or the grader's input."""

from typing import Literal

import cv2
import numpy as np

from tumorprog.tables import IMAGE_SIZE

Scaling = Literal["robust", "minmax"]

_PERCENTILES = (0.5, 99.5)
"""Of the robust scaling: a few bright vessels or dead pixels then do not decide how dark the brain is."""


def scale(image: np.ndarray, *, method: Scaling) -> np.ndarray:
    """Intensities brought to [0, 1].

    Args:
        image: (H, W) of any real dtype; NaN and infinities count as the least finite value.
        method: `minmax`, between the minimum and the maximum; `robust`, between the 0.5th and the 99.5th percentile,
            what lies outside being cut off. Where these two percentiles are equal, `robust` is `minmax`.

    Returns:
        (H, W) float32; zeros for a flat image.
    """
    finite = np.isfinite(image)
    if not finite.any():
        return np.zeros(image.shape, np.float32)
    values = image.astype(np.float64)
    filled = np.where(finite, values, values[finite].min())
    low, high = filled.min(), filled.max()
    if method == "robust":
        inner = np.percentile(filled, _PERCENTILES)
        low, high = inner if inner[1] > inner[0] else (low, high)
    if high <= low:
        return np.zeros(image.shape, np.float32)
    return np.clip((filled - low) / (high - low), 0.0, 1.0).astype(np.float32)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """A square image of another size, without aliasing; a slice that is not square is stretched, as in the paper.

    Args:
        image: (H, W) float32.
        size: of both sides of the result, in pixels.

    Returns:
        (size, size) float32. Each axis is averaged over pixel areas where it shrinks and interpolated linearly where it
        grows, so the values stay within those of the image.
    """
    height, width = image.shape
    rows = cv2.resize(np.ascontiguousarray(image, np.float32), (width, size), interpolation=_kind(height, size))
    return np.clip(cv2.resize(rows, (size, size), interpolation=_kind(width, size)), image.min(), image.max())


def _kind(length: int, size: int) -> int:
    return int(cv2.INTER_AREA if size < length else cv2.INTER_LINEAR)


def grader_input(image: np.ndarray, *, scaling: Scaling) -> np.ndarray:
    """A slice as the grader is trained on it.

    Args:
        image: (H, W) in any unit.
        scaling: as for `scale`.

    Returns:
        (224, 224) uint8.
    """
    return np.rint(resize(scale(image, method=scaling), IMAGE_SIZE) * 255).astype(np.uint8)
