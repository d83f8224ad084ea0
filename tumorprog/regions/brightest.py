"""A slice -> its brightest region: the brightest of three clusters of intensity."""

import functools
from typing import NamedTuple

import numpy as np

_NUM_CELLS = 6
"""Initial number of parts of equal population, and of parts of equal width, in the search for the cuts."""
_MAX_COMPARED_PAIRS = 3000
"""Maximum number of pairs of cuts that are compared exhaustively."""
_SUM_BITS, _HEIGHT_BITS = 62, 48
"""Maximum bits of a sum of heights and of a height. Heights are integers, because integer sums are exact and ten times
as fast as float sums; a mean of heights in float64 is accurate to a fraction of a unit."""
_TOLERANCE = 4
"""Possible error of a cut in units of height: one for rounding each height, the rest for rounding means."""

_MIN_RANGE = 1e-200
"""An image with a smaller range of intensities counts as constant."""


class _Points(NamedTuple):
    """The intensities of a slice in ascending order: one per pixel, or the distinct ones if many are equal.

    Cut k separates the points up to and including k from the others.

    Attributes:
        values: (P,) intensities.
        heights: (P,) int64, intensities above the minimum, scaled to 0 to at most 2**48.
        counts: (P,) int64, cumulative number of pixels up to and including each point.
        sums: (P,) int64, cumulative sum of the heights of those pixels.
    """

    values: np.ndarray
    heights: np.ndarray
    counts: np.ndarray
    sums: np.ndarray


def cluster_thresholds(image: np.ndarray) -> tuple[float, float]:
    """Return the two thresholds that split an image into three clusters with the minimum squared error.

    This is the global optimum of the k-means objective for three clusters, on the original intensities without a
    histogram. The result of iterative k-means depends on its initialisation and is never better.

    Args:
        image: of any shape and any real dtype. Non-finite pixels belong to no cluster.

    Returns:
        (low, high): the clusters are `image <= low`, `low < image <= high` and `image > high`, and low and high are
        intensities of the image. In an image of two intensities the brighter one is the brightest cluster and the
        middle cluster is empty (low = high). In a constant image the brightest cluster is empty (low = high = its
        value). Without finite pixels both are 0.

    Source: the optimum in one dimension is a pair of cuts of the sorted values (Fisher 1958, JASA 53:789-798). Each cut
    is half way between the means of the adjacent clusters, and Lloyd's step (1982, IEEE Trans. Inf. Theory 28:129-137),
    which moves the cuts there, is monotone in both cuts. The fixed points in a box of cuts are therefore bounded by the
    results for its two corners. Boxes are shrunk this way, most of them to nothing, until few pairs of cuts remain,
    which are compared exhaustively.
    """
    ordered = np.sort(image, axis=None)  # NaN and inf are last
    if image.dtype.kind == "f" and ordered.size and not (np.isfinite(ordered[0]) and np.isfinite(ordered[-1])):
        ordered = ordered[np.isfinite(ordered)]
    lowest, highest = (float(ordered[0]), float(ordered[-1])) if ordered.size else (0.0, 0.0)
    if highest - lowest < _MIN_RANGE:
        return lowest, lowest
    points = _points(ordered)
    if len(points.values) == 2:
        return lowest, lowest
    first, second = _best_pair(points)
    return float(points.values[first]), float(points.values[second])


def brightest_region(image: np.ndarray) -> np.ndarray:
    """Return the pixels of the brightest cluster, which the paper uses as the tumour region.

    It contains the tumour if the tumour is the brightest structure: an enhancing rim on contrast-enhanced T1, oedema on
    FLAIR. It may also, or only, contain other structures: fat of the scalp and the orbits on T1, vessels and sinuses on
    contrast-enhanced T1, white matter on unenhanced T1, ventricles and sulci on T2 and ADC, the choroid plexus, and
    regions near a surface coil.

    Args:
        image: (H, W) of any real dtype.

    Returns:
        (H, W) bool; empty for a constant image.
    """
    _, high = cluster_thresholds(image)
    return image > high  # false for NaN


def _points(ordered: np.ndarray) -> _Points:
    count, is_step = len(ordered), ordered[1:] != ordered[:-1]
    if 2 * np.count_nonzero(is_step) > count:
        values, counts = ordered, _consecutive_counts(count)
    else:
        last = np.append(np.flatnonzero(is_step), count - 1)
        values, counts = ordered[last], last + 1
    heights = values.astype(np.float64)
    heights -= heights[0]
    heights *= 2.0 ** min(_HEIGHT_BITS, _SUM_BITS - count.bit_length()) / heights[-1]
    rounded = heights.astype(np.int64)
    weighted = rounded if values is ordered else rounded * np.diff(counts, prepend=0)
    return _Points(values, rounded, counts, np.cumsum(weighted))


@functools.lru_cache(maxsize=4)
def _consecutive_counts(count: int) -> np.ndarray:
    return np.arange(1, count + 1)


def _best_pair(points: _Points) -> tuple[int, int]:
    """Return the indices of the lower and the upper cut of the optimum."""
    boxes = _shrink(_first_boxes(points), points)
    while (num_pairs := _num_pairs(boxes).sum()) > _MAX_COMPARED_PAIRS and num_pairs > boxes.shape[1]:
        boxes = _shrink(_split(boxes), points)
    lower, upper = _pairs_in(boxes)
    between_variance = sum(total**2 / count for count, total in _clusters(lower, upper, points))
    best = int(np.argmax(between_variance))  # the squared error is a constant minus this
    return int(lower[best]), int(upper[best])


def _clusters(lower: np.ndarray, upper: np.ndarray, points: _Points) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return the pixel count and sum of heights of the dark, middle and bright cluster for each pair of cuts."""
    below, all_below = points.counts[lower], points.counts[upper]
    dark, not_bright = points.sums[lower], points.sums[upper]
    middle, bright = not_bright - dark, points.sums[-1] - not_bright
    return (
        (below, dark.astype(np.float64)),
        (all_below - below, middle.astype(np.float64)),
        (points.counts[-1] - all_below, bright.astype(np.float64)),
    )


def _first_boxes(points: _Points) -> np.ndarray:
    """Return boxes that cover all pairs of cuts: (4, B) int64, minimum and maximum of the lower and the upper cut."""
    last = len(points.values) - 2
    shares = np.linspace(0, 1, _NUM_CELLS + 1)[1:-1]
    by_population = np.searchsorted(points.counts, (shares * points.counts[-1]).astype(np.int64))
    by_width = np.searchsorted(points.heights, (shares * points.heights[-1]).astype(np.int64))
    starts = np.unique(np.minimum(np.concatenate([[0], by_population, by_width]), last))
    ends = np.append(starts[1:] - 1, last)
    lower, upper = np.triu_indices(len(starts))
    return np.stack([starts[lower], ends[lower], starts[upper], ends[upper]])


def _shrink(boxes: np.ndarray, points: _Points) -> np.ndarray:
    """Shrink the boxes to where Lloyd's step can have a fixed point, and drop the boxes without one."""
    min_lower, max_lower, min_upper, max_upper = boxes
    min_upper = np.maximum(min_upper, min_lower + 1)
    max_lower = np.minimum(max_lower, max_upper - 1)
    nonempty = (min_lower <= max_lower) & (min_upper <= max_upper)
    box = np.stack([min_lower, max_lower, min_upper, max_upper])[:, nonempty]
    dark, middle, bright = (total / count for count, total in _clusters(box[:2].ravel(), box[2:].ravel(), points))
    # Lloyd's step of the lower and the upper cut (first axis) at the minimum and the maximum corner (second): (2, 2, B)
    moved = (np.stack([dark + middle, middle + bright]) / 2).astype(np.int64).reshape(2, 2, -1)
    moved[:, 0] -= _TOLERANCE
    moved[:, 1] += _TOLERANCE
    cuts = np.searchsorted(points.heights, moved) - 1
    box[0::2] = np.maximum(box[0::2], cuts[:, 0])
    box[1::2] = np.minimum(box[1::2], cuts[:, 1])
    return box[:, (box[0] <= box[1]) & (box[2] <= box[3])]


def _split(boxes: np.ndarray) -> np.ndarray:
    """Split each box into nine, some of them empty if a side is too short."""
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
    """Return the lower and upper cuts of all valid pairs in the boxes."""
    num_pairs = _num_pairs(boxes)
    box = np.repeat(np.arange(len(num_pairs)), num_pairs)
    position = np.arange(len(box)) - np.repeat(np.cumsum(num_pairs) - num_pairs, num_pairs)
    width = (boxes[3] - boxes[2] + 1)[box]
    lower, upper = boxes[0][box] + position // width, boxes[2][box] + position % width
    valid = lower < upper
    return lower[valid], upper[valid]
