"""A slice -> its region of interest: the brightest of three clusters of intensity."""

import numpy as np

_LEVELS = 256


def cluster_thresholds(image: np.ndarray) -> tuple[float, float]:
    """The two intensities that split an image into three clusters with the least squared error.

    The intensities are first rounded to 256 levels; on those the optimum is exact, found over all pairs of thresholds,
    where iterative k-means depends on its start.

    Args:
        image: (H, W) float32 in [0, 1].

    Returns:
        (low, high), 0 <= low <= high <= 1: the clusters are `image <= low`, `low < image <= high` and `image > high`.
        With two levels of intensity the brighter one is the brightest cluster (low = high); a flat image has none
        (low = high = 1).

    Source: exact 1-D k-means equals multi-level Otsu (Otsu 1979, IEEE SMC 9:62-66): the least variance within clusters
    is the greatest between them.
    """
    counts = np.bincount(_levels(image).ravel(), minlength=_LEVELS)
    present = np.flatnonzero(counts)
    if len(present) == 1:
        return 1.0, 1.0
    if len(present) == 2:
        return _between(present[0], present[1]), _between(present[0], present[1])
    first, second = _best_pair(counts[present].astype(np.float64), present.astype(np.float64))
    return _between(present[first], present[first + 1]), _between(present[second], present[second + 1])


def brightest_region(image: np.ndarray) -> np.ndarray:
    """The pixels of the brightest cluster, which the paper takes for the tumour.

    It is the tumour where the tumour is the brightest thing: an enhancing rim on T1 with contrast agent, oedema on
    FLAIR. It holds other things as well, or instead: the fat of the scalp and behind the eyes on T1, vessels and
    sinuses with contrast agent, ventricles and sulci on T2 and ADC, the choroid plexus, and the bright side of a coil.

    Args:
        image: (H, W) float32 in [0, 1].

    Returns:
        (H, W) bool; empty for a flat image.
    """
    _, high = cluster_thresholds(image)
    return _levels(image) > high * (_LEVELS - 1)


def _levels(image: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(image, 0.0, 1.0) * (_LEVELS - 1)).astype(np.int64)


def _between(below: int, above: int) -> float:
    """Half way between two levels that occur: rounding cannot move a pixel across."""
    return float(below + above) / (2 * (_LEVELS - 1))


def _best_pair(counts: np.ndarray, levels: np.ndarray) -> tuple[int, int]:
    """Indices of the last level of the darkest and of the middle cluster."""
    weight, mass = np.cumsum(counts), np.cumsum(counts * levels)
    first, second = np.triu_indices(len(counts) - 1, k=1)
    middle_weight, middle_mass = weight[second] - weight[first], mass[second] - mass[first]
    bright_weight, bright_mass = weight[-1] - weight[second], mass[-1] - mass[second]
    between = mass[first] ** 2 / weight[first] + middle_mass**2 / middle_weight + bright_mass**2 / bright_weight
    best = int(np.argmax(between))
    return int(first[best]), int(second[best])
