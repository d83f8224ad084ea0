"""A slice -> the largest unusually bright connected component inside the skull."""

import math

import cv2
import numpy as np

from tumorprog.regions.brightest import cluster_thresholds

_RIM = 0.08
"""Thickness of scalp and skull as a share of the diameter of the head: about 14 of 180 mm."""
_OUTLIER_DEVIATIONS, _MAD_TO_SD = 3.0, 1.4826


def brightest_component(image: np.ndarray) -> np.ndarray:
    """Return the largest connected component of unusually bright pixels inside the head, without scalp and skull.

    The head is the largest connected component above the darkest cluster, with holes filled; a rim of a fixed share of
    its diameter is removed. A pixel is unusually bright if it is more than three robust standard deviations (1.4826
    times the median absolute deviation) above the median inside the head, since most of a slice is healthy tissue.

    The method needs no training. It fails if the tumour is not brighter than other tissue (unenhanced T1, ADC of dense
    tumours) or if healthy structures are brighter and larger (ventricles on T2, vessels and sinuses on
    contrast-enhanced T1). In skull-stripped images it removes the cortex.

    Args:
        image: (H, W) of any real dtype.

    Returns:
        (H, W) bool, one component (8-connected); empty for a constant image and if no pixel is unusually bright.

    Source: the threshold of three such deviations is from Leys et al. 2013, J. Exp. Soc. Psychol. 49:764-766.
    """
    inside = _head_interior(image)
    if not inside.any():
        return inside
    intensities = image[inside].astype(np.float64)
    middle = np.median(intensities)
    deviation = _MAD_TO_SD * np.median(np.abs(intensities - middle))
    return _largest_component(inside & (image > middle + _OUTLIER_DEVIATIONS * deviation))


def _head_interior(image: np.ndarray) -> np.ndarray:
    low, _ = cluster_thresholds(image)
    head = np.pad(_largest_component(image > low).astype(np.uint8), 1)  # pixels outside the image are background
    cv2.floodFill(head, None, (0, 0), 2)
    head = (head != 2).astype(np.uint8)  # holes filled
    diameter = 2 * math.sqrt(np.count_nonzero(head) / math.pi)
    return cv2.distanceTransform(head, cv2.DIST_L2, 5)[1:-1, 1:-1] > _RIM * diameter


def _largest_component(mask: np.ndarray) -> np.ndarray:
    if not mask.any():  # OpenCV crashes on an empty array
        return np.zeros(mask.shape, bool)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
