"""Volumes of regions from the voxel counts of their slices."""

import numpy as np


def slab_thicknesses(position_mm: np.ndarray, thickness_mm: float) -> np.ndarray:
    """Return the thickness of the slab of tissue that each slice of a stack represents, in mm.

    A slab extends half way to the adjacent slices, and at the ends of the stack outwards by half the median spacing.
    Gaps between slices are thus included, overlaps are not counted twice, and a missing slice is covered by its
    neighbours. Slices at the same position share one slab. If there is only one position, or a position is unknown, the
    slice thickness is used.

    Args:
        position_mm: (N,) along the slice normal, in any order; NaN if unknown.
        thickness_mm: SliceThickness; NaN if unknown.

    Returns:
        (N,) float64; NaN if neither positions nor slice thickness are known.
    """
    positions, index, sharing = np.unique(np.round(position_mm, 2), return_inverse=True, return_counts=True)
    if np.isnan(positions).any():
        return np.full(len(position_mm), thickness_mm)
    if len(positions) == 1:
        return thickness_mm / sharing[index]
    steps = np.diff(positions)
    margin = np.median(steps) / 2
    edges = np.concatenate([[positions[0] - margin], positions[:-1] + steps / 2, [positions[-1] + margin]])
    return (np.diff(edges) / sharing)[index]


def volume_ml(voxels: np.ndarray, pixel_mm2: np.ndarray, slab_mm: np.ndarray) -> float:
    """Return the volume of a region in millilitres; NaN if a size is unknown.

    Args:
        voxels: (N,) number of voxels of each slice in the region.
        pixel_mm2: (N,) area of a pixel.
        slab_mm: (N,) from `slab_thicknesses`.
    """
    return float(np.sum(voxels * pixel_mm2 * slab_mm) / 1000)
