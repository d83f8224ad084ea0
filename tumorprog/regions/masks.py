"""Masks of a study -> the region of interest: which labels it consists of, which mask counts, and its margin."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def labelled(values: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Return the voxels of a mask that have one of the labels; all above 0 without labels.

    Args:
        values: of any shape, as stored in the units of the modality.
        labels: values of the region, as in `roi.labels`.
    """
    return np.isin(np.rint(values), labels) if labels else values > 0


def enlarge(region: np.ndarray, margin_mm: float, pixel_mm: tuple[float, float]) -> np.ndarray:
    """Enlarge the region of a slice by a margin: add all pixels within a distance of it.

    Args:
        region: (H, W) bool.
        margin_mm: distance of the centres of the pixels.
        pixel_mm: height and width of a pixel.

    Returns:
        (H, W) bool; an empty region stays empty.
    """
    if not margin_mm or not region.any():
        return region
    return ndimage.distance_transform_edt(~region, sampling=pixel_mm) <= margin_mm
