"""Intensities of a slice in any unit -> [0, 1], another size, or the grader's input."""

import functools
import math
from typing import Any, Literal

import cv2
import numpy as np

from tumorprog.tables import IMAGE_SIZE

Scaling = Literal["robust", "minmax"]

_SAMPLE = 2**14
"""Pixels that are enough to tell the percentiles of a slice."""
_MOSTLY = 0.9
"""Share of equal pixels from which sorting is quicker than selecting."""
_CUT_OFF = 0.005
"""Share of the pixels at either end: a few bright vessels or dead pixels then do not decide how dark the brain is."""


def scale(image: np.ndarray, *, method: Scaling) -> np.ndarray:
    """Intensities brought to [0, 1].

    Args:
        image: (H, W) of any real dtype; NaN and infinities are no image: they become the least finite value, 0 in the
            result, and do not count for the percentiles.
        method: `minmax`, between the minimum and the maximum; `robust`, between the 0.5th and the 99.5th percentile of
            the pixels of a grid (every pixel below 256 x 256, some 16 to 65 thousand above), what lies outside being
            cut off. Where these two percentiles are equal, `robust` is `minmax`.

    Returns:
        (H, W) float32; zeros for a flat image.
    """
    above, span = _from_zero(image, method)
    above /= span
    return above


def _from_zero(image: np.ndarray, method: Scaling) -> tuple[np.ndarray, float]:
    """The intensities cut off and moved to begin at 0, float32, and where they end; (zeros, 1) for a flat image."""
    values, counted = _finite(image)
    low, high = _inner_range(values, counted) if method == "robust" else (values.min(), values.max())
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        return np.zeros(image.shape, np.float32), 1.0
    if float(high) - float(low) > np.finfo(np.float32).max:
        half = np.float32(0.5)
        values, low, high = values * half, low * half, high * half
    above = np.clip(values, low, high).astype(np.float32, copy=False)
    if low:  # a background of 0 is the rule
        above -= np.float32(low)
    return above, float(high) - float(low)


def _finite(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The intensities as float32, or as they are where they are integers of 8 or 16 bits; and which are finite.

    The least stands for those that are not. None if all are.
    """
    if image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
        return image, None
    values = image.astype(np.float32, copy=False)
    finite = np.isfinite(values)
    if finite.all():
        return values, None
    return np.where(finite, values, values[finite].min() if finite.any() else 0), finite


def _inner_range(values: np.ndarray, counted: np.ndarray | None) -> tuple[Any, Any]:
    """The intensities below and above which as many pixels lie as the robust scaling cuts off; each is a pixel's."""
    step = max(1, math.isqrt(values.size // _SAMPLE))
    sample = values[::step, ::step].ravel()
    if counted is not None:
        finite = counted[::step, ::step].ravel()
        sample = sample[finite] if finite.any() else sample
    cut = int(_CUT_OFF * (sample.size - 1))
    if values.dtype.kind in "iu":
        least = sample.min()
        alike = np.count_nonzero(sample == least)
        if cut < alike < _MOSTLY * sample.size:  # a background, so that only the upper one is to be found
            return least, np.partition(sample, -1 - cut)[-1 - cut]
    # numpy sorts with the processor's vectors, and selects two ranks, or any among many equal ones, more slowly
    ordered = np.sort(sample)
    return ordered[cut], ordered[-1 - cut]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """A square image of another size, without aliasing; a slice that is not square is stretched, as in the paper.

    An axis that shrinks is averaged over the width of a new pixel first; then both are interpolated linearly. That is
    three times as fast as OpenCV's own averaging over areas, and alike.

    Args:
        image: (H, W) float32.
        size: of both sides of the result, in pixels.

    Returns:
        (size, size) float32; the values stay within those of the image.
    """
    return np.clip(_resampled(image, size), image.min(), image.max())


def _resampled(image: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape
    averaged = image = np.ascontiguousarray(image, np.float32)
    if size < max(height, width):
        kernels = _average(width / size), _average(height / size)
        averaged = cv2.sepFilter2D(image, -1, *kernels)
    return cv2.resize(averaged, (size, size))


@functools.cache
def _average(width: float) -> np.ndarray:
    """The weights of a mean over so many pixels, a part of the outermost among them; of one pixel if it is no more."""
    if width <= 1:
        return np.ones(1, np.float32)
    outer = math.ceil((width - 1) / 2)
    weights = np.ones(2 * outer + 1, np.float32)
    weights[[0, -1]] = (width - (2 * outer - 1)) / 2
    return weights / np.float32(width)


def grader_input(image: np.ndarray, *, scaling: Scaling) -> np.ndarray:
    """A slice as the grader is trained on it.

    Args:
        image: (H, W) in any unit.
        scaling: as for `scale`.

    Returns:
        (224, 224) uint8.
    """
    above, span = _from_zero(image, scaling)  # scaled when it is small; what rounding leaves outside is cut off there
    return cv2.convertScaleAbs(_resampled(above, IMAGE_SIZE), alpha=255 / span)
