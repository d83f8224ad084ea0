"""A stack of contrast-enhanced T1 and its mask -> figures that compare phantoms with patients.

Intensities are relative to white matter, which is found without segmentation: it is the most frequent intensity deep in
the head. Shares of the head are of the slices given; the brain is what is deep in the upper two thirds of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from tumorprog.imaging import intensity
from tumorprog.regions.brightest import cluster_thresholds
from tumorprog.regions.methods import REGIONS

_SCALP_MM, _BRAIN_MM, _WHITE_MM = 12.0, 16.0, 18.0
"""Depths below the surface, in the slice: scalp and skull; brain, with what is left of the skull; white matter."""
_BRIGHT = 1.25
"""Intensity of enhancing tissue: that of half of the pixels of a patient's mask and of few healthy ones."""
_FAT, _FLUID = 2.0, 0.65
_LESION_ML = 0.5
_FITTED_PIXELS = 20_000


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A T1post stack with its mask.

    Attributes:
        images: (N, H, W) in any unit, from the base of the head to the top.
        mask: (N, H, W) bool; empty for a head without tumour.
        pixel_mm: height and width of a pixel.
        spacing_mm: distance between the slices.
    """

    images: np.ndarray
    mask: np.ndarray
    pixel_mm: float
    spacing_mm: float

    @cached_property
    def depth_mm(self) -> np.ndarray:
        """Depth below the surface of the head within the slice, (N, H, W) float64; 0 outside."""
        return np.stack([ndimage.distance_transform_edt(_head(image)) * self.pixel_mm for image in self.images])

    @cached_property
    def relative(self) -> np.ndarray:
        """The images relative to white matter, (N, H, W) float32."""
        deep = self.images[self.depth_mm > _WHITE_MM]
        counts, edges = np.histogram(deep, 80, (0, np.percentile(deep, 99)))
        smooth = np.convolve(counts, np.ones(5), "same")
        mode = 20 + int(np.argmax(smooth[20:]))  # fluid and bone are darker
        return (self.images / ((edges[mode] + edges[mode + 1]) / 2)).astype(np.float32)

    @cached_property
    def healthy_brain(self) -> np.ndarray:
        """The upper two thirds of the head's inside without the tumour and 7 mm around it, (N, H, W) bool."""
        inside = self.depth_mm > _BRAIN_MM
        inside[: len(inside) // 3] = False
        return inside & ~self.around(7.0)

    def around(self, reach_mm: float) -> np.ndarray:
        """Return the mask and what is within a distance of it in the slice, (N, H, W) bool."""
        return np.stack([_distance(mask) * self.pixel_mm <= reach_mm for mask in self.mask])

    def millilitres(self, pixels: np.ndarray) -> float:
        """Return the volume of a mask in ml."""
        return float(np.count_nonzero(pixels)) * self.pixel_mm**2 * self.spacing_mm / 1000


def figures(scan: Scan) -> dict[str, float]:
    """Return all figures of a stack by name; without tumour only those of the head.

    The names say what a figure is; those ending in _p50 and the like are percentiles of the relative intensity.
    """
    found = {**_of_head(scan), **_of_brain(scan)}
    if scan.mask.any():
        found |= {**_of_lesion(scan), **_of_mask(scan)}
        found |= {f"dice_{method}": dice(scan, method) for method in REGIONS}
    return found


def dice(scan: Scan, method: str) -> float:
    """Return the Dice coefficient of a method's regions with the mask over all slices together, as the report does."""
    both = total = 0
    for image, mask in zip(scan.images, scan.mask, strict=True):
        region = REGIONS[method](intensity.prepare(image))
        truth = intensity.resize(mask.astype(np.float32), intensity.SIDE) > 0.5
        both += int(np.count_nonzero(region & truth))
        total += int(np.count_nonzero(region)) + int(np.count_nonzero(truth))
    return 2 * both / max(total, 1)


def _of_head(scan: Scan) -> dict[str, float]:
    depth, lower = scan.depth_mm, len(scan.images) // 3
    scalp = (depth > 0) & (depth < _SCALP_MM)
    face = depth[:lower] > 0
    return {
        **_percentiles("scalp", scan.relative[lower:][scalp[lower:]], 50, 75, 90),
        "fat_percent_of_base": 100 * float((scan.relative[:lower][face] > _FAT).mean()),
        "head_percent_of_image": 100 * float((depth > 0).mean()),
    }


def _of_brain(scan: Scan) -> dict[str, float]:
    brain = scan.healthy_brain
    means = ndimage.uniform_filter(scan.relative, (0, 5, 5))
    variance = np.maximum(ndimage.uniform_filter(scan.relative**2, (0, 5, 5)) - means**2, 0)
    white = brain & (np.abs(scan.relative - 1) < 0.1)
    return {
        **_percentiles("brain", scan.relative[brain], 2, 10, 25, 50, 75, 90, 97, 99),
        "noise_percent": 100 * float(np.percentile(np.sqrt(variance[white]), 25)),
        "bias_percent": 100 * _bias(scan),
        "bright_ml": scan.millilitres(brain & (scan.relative > _BRIGHT)),
    }


def _of_lesion(scan: Scan) -> dict[str, float]:
    labels, count = ndimage.label(scan.mask, np.ones((3, 3, 3)))
    volumes = [scan.millilitres(labels == label) for label in range(1, count + 1)]
    return {
        "mask_percent": 100 * float(scan.mask.mean()),
        "mask_ml": scan.millilitres(scan.mask),
        "tumour_slices": float(scan.mask.any((1, 2)).sum()),
        "lesions": float(sum(volume > _LESION_ML for volume in volumes)),
        "thickness_mm": float(np.mean(list(_thicknesses(scan)))),
    }


def _of_mask(scan: Scan) -> dict[str, float]:
    inside = scan.depth_mm > _BRAIN_MM
    ring = scan.around(10.0) & ~scan.around(2.0) & inside
    fluid = scan.around(8.0) & ~scan.mask & (scan.relative < _FLUID) & (scan.depth_mm > 5)
    return {
        **_percentiles("mask", scan.relative[scan.mask], 5, 25, 50, 75, 95),
        **_percentiles("ring", scan.relative[ring], 10, 50),
        "fluid_per_mask": float(fluid.sum() / scan.mask.sum()),
    }


def _head(image: np.ndarray) -> np.ndarray:
    """Return the largest part of a slice that is not air, with holes filled, (H, W) bool."""
    low, _ = cluster_thresholds(image)
    bright = image[image > low]
    labels, count = ndimage.label(image > min(low, 0.4 * float(np.median(bright)) if bright.size else low))
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if count else 1
    return ndimage.binary_fill_holes(labels == largest)


def _distance(mask: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)


def _percentiles(name: str, values: np.ndarray, *ranks: int) -> dict[str, float]:
    return {f"{name}_p{rank}": float(np.percentile(values, rank)) for rank in ranks}


def _thicknesses(scan: Scan) -> Iterator[float]:
    """Yield, for each slice with tumour, twice the mean depth along the middle line of the mask, in mm."""
    for mask in scan.mask[scan.mask.any((1, 2))]:
        depth = ndimage.distance_transform_edt(mask)
        middle = mask & (depth == ndimage.maximum_filter(depth, 3))
        yield 2 * float(depth[middle].mean()) * scan.pixel_mm


def _bias(scan: Scan) -> float:
    """Return the range (5th to 95th percentile) of a quadratic fit to the logarithm of the brain's intensities."""
    brain = scan.healthy_brain & (np.abs(scan.relative - 1) < 0.22)
    step = max(1, np.count_nonzero(brain) // _FITTED_PIXELS)
    points = np.argwhere(brain)[::step] / (np.array(brain.shape) / 2) - 1
    squares = points[:, [0, 0, 0, 1, 1, 2]] * points[:, [0, 1, 2, 1, 2, 2]]
    terms = np.column_stack([np.ones(len(points)), points, squares])
    values = np.log(scan.relative[brain][::step])
    fitted = terms @ np.linalg.lstsq(terms, values, rcond=None)[0]
    low, high = np.percentile(fitted, (5, 95))
    return float(high - low)
