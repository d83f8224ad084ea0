"""A slice -> its region of interest: the brightest of three clusters of intensity, or what of it can be the tumour."""

import functools
import math
from typing import Literal, NamedTuple

import cv2
import numpy as np

Method = Literal["brightest", "component"]

_CELLS = 6
"""Into how many parts of equal population, and of equal width, the search first cuts the intensities."""
_FEW_PAIRS = 3000
"""So many pairs of cuts are compared at once."""
_SUM_BITS, _HEIGHT_BITS = 62, 48
"""Heights are whole numbers with no more bits, nor their sum: adding such is ten times as fast as adding floats, and
exact; and a mean of them, in float64, is right to a part of a unit."""
_ROOM = 4
"""Units of height by which a cut may be wrong: one for rounding each height, the rest for rounding means."""

_FLAT = 1e-200
"""What differs by less is the same."""
_RIM = 0.08
"""Scalp and skull, as a share of the diameter of the head: some 14 of 180 mm."""
_UNUSUAL, _MAD_TO_SD = 3.0, 1.4826


class _Points(NamedTuple):
    """A slice's intensities in ascending order: every pixel's, or every different one if many are the same.

    Cut k divides those up to point k from the others.

    Attributes:
        values: (P,), the intensities.
        heights: (P,) int64, how far they are above the least: 0 to 2**48.
        counts: (P,) int64, pixels up to and with each point.
        sums: (P,) int64, of their heights.
    """

    values: np.ndarray
    heights: np.ndarray
    counts: np.ndarray
    sums: np.ndarray


def cluster_thresholds(image: np.ndarray) -> tuple[float, float]:
    """The two intensities that split an image into three clusters with the least squared error.

    This is the global optimum of the objective of k-means for three clusters, on the intensities as they are: no
    histogram rounds them. What iterative k-means finds depends on its start and is never better.

    Args:
        image: of any shape and any real dtype. What is not finite belongs to no cluster.

    Returns:
        (low, high): the clusters are `image <= low`, `low < image <= high` and `image > high`, and low and high are
        themselves intensities of the image. Of two intensities the brighter one is the brightest cluster, and the
        middle one is empty (low = high). A flat image has no brightest cluster (low = high = its value); where there is
        no finite pixel, both are 0.

    Source: the optimum in one dimension is a pair of cuts of the sorted values (Fisher 1958, JASA 53:789-798). Each cut
    lies half way between the means beside it, and Lloyd's step (1982, IEEE Trans. Inf. Theory 28:129-137), which moves
    the cuts there, is monotone in both. So the fixed points in a box of cuts lie between the images of its two corners:
    boxes shrink, most of them to nothing, until few pairs are left, which are compared.
    """
    ordered = np.sort(image, axis=None)  # NaN and inf stand last
    if image.dtype.kind == "f" and ordered.size and not (np.isfinite(ordered[0]) and np.isfinite(ordered[-1])):
        ordered = ordered[np.isfinite(ordered)]
    lowest, highest = (float(ordered[0]), float(ordered[-1])) if ordered.size else (0.0, 0.0)
    if highest - lowest < _FLAT:
        return lowest, lowest
    points = _points(ordered)
    if len(points.values) == 2:
        return lowest, lowest
    first, second = _best_pair(points)
    return float(points.values[first]), float(points.values[second])


def brightest_region(image: np.ndarray) -> np.ndarray:
    """The pixels of the brightest cluster, which the paper takes for the tumour.

    It is the tumour where the tumour is the brightest thing: an enhancing rim on T1 with contrast agent, oedema on
    FLAIR. It holds other things as well, or instead: the fat of the scalp and behind the eyes on T1, vessels and
    sinuses with contrast agent, white matter on T1 without it, ventricles and sulci on T2 and ADC, the choroid plexus,
    and the bright side of a coil.

    Args:
        image: (H, W) of any real dtype.

    Returns:
        (H, W) bool; empty for a flat image.
    """
    _, high = cluster_thresholds(image)
    return image > high  # false for NaN


def brightest_component(image: np.ndarray) -> np.ndarray:
    """The largest connected piece of what is unusually bright inside the head, without the rim of scalp and skull.

    The head is the largest connected piece above the darkest cluster, holes filled; its rim is a fixed share of its
    diameter. Unusually bright is what lies more than three robust standard deviations (1.4826 times the median absolute
    deviation) above the median of the inside: most of a slice is healthy, and says what is usual.

    It needs no training. It fails where the tumour is not brighter than all tissue (T1 without contrast agent, ADC of
    dense tumours), where something healthy is brighter and larger (ventricles on T2, vessels and sinuses with contrast
    agent), and in an image whose skull has been stripped it loses the cortex.

    Args:
        image: (H, W) of any real dtype.

    Returns:
        (H, W) bool, one piece (8-connected); empty for a flat image, and where nothing is unusual.

    Source: the rule of three such deviations is Leys et al. 2013, J. Exp. Soc. Psychol. 49:764-766.
    """
    inside = _inside_of_head(image)
    if not inside.any():
        return inside
    usual = image[inside].astype(np.float64)
    middle = np.median(usual)
    deviation = _MAD_TO_SD * np.median(np.abs(usual - middle))
    return _largest_piece(inside & (image > middle + _UNUSUAL * deviation))


REGIONS = {"brightest": brightest_region, "component": brightest_component}
"""What makes the region of a slice, by the setting `roi.method`."""


def _inside_of_head(image: np.ndarray) -> np.ndarray:
    low, _ = cluster_thresholds(image)
    head = np.pad(_largest_piece(image > low).astype(np.uint8), 1)  # beyond the edge of the picture is no head
    cv2.floodFill(head, None, (0, 0), 2)
    head = (head != 2).astype(np.uint8)  # holes filled
    diameter = 2 * math.sqrt(np.count_nonzero(head) / math.pi)
    return cv2.distanceTransform(head, cv2.DIST_L2, 5)[1:-1, 1:-1] > _RIM * diameter


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    if not mask.any():  # OpenCV crashes on an array of no pixels
        return np.zeros(mask.shape, bool)
    _, labels, told, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels == 1 + int(np.argmax(told[1:, cv2.CC_STAT_AREA]))


def _points(ordered: np.ndarray) -> _Points:
    count, differ = len(ordered), ordered[1:] != ordered[:-1]
    if 2 * np.count_nonzero(differ) > count:
        values, counts = ordered, _one_by_one(count)
    else:
        last = np.append(np.flatnonzero(differ), count - 1)
        values, counts = ordered[last], last + 1
    heights = values.astype(np.float64)
    heights -= heights[0]
    heights *= 2.0 ** min(_HEIGHT_BITS, _SUM_BITS - count.bit_length()) / heights[-1]
    whole = heights.astype(np.int64)
    weighted = whole if values is ordered else whole * np.diff(counts, prepend=0)
    return _Points(values, whole, counts, np.cumsum(weighted))


@functools.lru_cache(maxsize=4)
def _one_by_one(count: int) -> np.ndarray:
    return np.arange(1, count + 1)


def _best_pair(points: _Points) -> tuple[int, int]:
    """The numbers of the lower and of the upper cut of the optimum."""
    boxes = _shrunk(_first_boxes(points), points)
    while (num_pairs := _num_pairs(boxes).sum()) > _FEW_PAIRS and num_pairs > boxes.shape[1]:
        boxes = _shrunk(_split(boxes), points)
    lower, upper = _pairs_in(boxes)
    between = sum(total**2 / count for count, total in _clusters(lower, upper, points))
    best = int(np.argmax(between))  # the squared error is a constant less this
    return int(lower[best]), int(upper[best])


def _clusters(lower: np.ndarray, upper: np.ndarray, points: _Points) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pixels of the dark, the middle and the bright cluster of each pair of cuts, and the sum of their heights."""
    below, all_below = points.counts[lower], points.counts[upper]
    dark, not_bright = points.sums[lower], points.sums[upper]
    middle, bright = not_bright - dark, points.sums[-1] - not_bright
    return (
        (below, dark.astype(np.float64)),
        (all_below - below, middle.astype(np.float64)),
        (points.counts[-1] - all_below, bright.astype(np.float64)),
    )


def _first_boxes(points: _Points) -> np.ndarray:
    """All pairs of cuts, in boxes: (4, B) int64, least and greatest lower cut, least and greatest upper cut."""
    last = len(points.values) - 2
    shares = np.linspace(0, 1, _CELLS + 1)[1:-1]
    by_population = np.searchsorted(points.counts, (shares * points.counts[-1]).astype(np.int64))
    by_width = np.searchsorted(points.heights, (shares * points.heights[-1]).astype(np.int64))
    starts = np.unique(np.minimum(np.concatenate([[0], by_population, by_width]), last))
    ends = np.append(starts[1:] - 1, last)
    lower, upper = np.triu_indices(len(starts))
    return np.stack([starts[lower], ends[lower], starts[upper], ends[upper]])


def _shrunk(boxes: np.ndarray, points: _Points) -> np.ndarray:
    """The boxes cut down to where Lloyd's step can have a fixed point; those without one are left out."""
    least_lower, most_lower, least_upper, most_upper = boxes
    least_upper = np.maximum(least_upper, least_lower + 1)
    most_lower = np.minimum(most_lower, most_upper - 1)
    there = (least_lower <= most_lower) & (least_upper <= most_upper)
    box = np.stack([least_lower, most_lower, least_upper, most_upper])[:, there]
    dark, middle, bright = (total / count for count, total in _clusters(box[:2].ravel(), box[2:].ravel(), points))
    # where Lloyd's step takes the lower and the upper cut of the least and of the greatest corner: (2, 2, B)
    moved = (np.stack([dark + middle, middle + bright]) / 2).astype(np.int64).reshape(2, 2, -1)
    moved[:, 0] -= _ROOM
    moved[:, 1] += _ROOM
    cuts = np.searchsorted(points.heights, moved) - 1
    box[0::2] = np.maximum(box[0::2], cuts[:, 0])
    box[1::2] = np.minimum(box[1::2], cuts[:, 1])
    return box[:, (box[0] <= box[1]) & (box[2] <= box[3])]


def _split(boxes: np.ndarray) -> np.ndarray:
    """Each box in nine, which are empty where a side is too short."""
    steps = np.arange(4)[:, None]
    lower = boxes[0] + (boxes[1] - boxes[0] + 1) * steps // 3
    upper = boxes[2] + (boxes[3] - boxes[2] + 1) * steps // 3
    parts = np.empty((4, 3, 3, boxes.shape[1]), np.int64)
    parts[0], parts[1] = lower[:-1, None], lower[1:, None] - 1
    parts[2], parts[3] = upper[None, :-1], upper[None, 1:] - 1
    return parts.reshape(4, -1)


def _num_pairs(boxes: np.ndarray) -> np.ndarray:
    return (boxes[1] - boxes[0] + 1) * (boxes[3] - boxes[2] + 1)


def _pairs_in(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every lower and upper cut of the boxes that is a pair."""
    num_pairs = _num_pairs(boxes)
    box = np.repeat(np.arange(len(num_pairs)), num_pairs)
    place = np.arange(len(box)) - np.repeat(np.cumsum(num_pairs) - num_pairs, num_pairs)
    height = (boxes[3] - boxes[2] + 1)[box]
    lower, upper = boxes[0][box] + place // height, boxes[2][box] + place % height
    pair = lower < upper
    return lower[pair], upper[pair]
