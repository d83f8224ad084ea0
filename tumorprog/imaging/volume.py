"""Voxels counted on the slices of a mask -> millilitres."""

import numpy as np


def slab_depths(position_mm: np.ndarray, thickness_mm: float) -> np.ndarray:
    """How deep a slab of tissue each slice of a stack stands for, in mm.

    A slab reaches half way to the slices on either side, and at the ends of the stack as far outwards as is usual
    within: gaps between slices belong to the volume, overlaps are not counted twice, and where a slice is missing its
    neighbours share its place. Slices at one position share one slab. Where positions do not tell, because there is
    but one or some are unknown, each slice is as deep as it is thick.

    Args:
        position_mm: (N,) along the normal, in any order; NaN if unknown.
        thickness_mm: SliceThickness; NaN if unknown.

    Returns:
        (N,) float64; NaN where neither tells.
    """
    places, place, sharing = np.unique(np.round(position_mm, 2), return_inverse=True, return_counts=True)
    if np.isnan(places).any():
        return np.full(len(position_mm), thickness_mm)
    if len(places) == 1:
        return thickness_mm / sharing[place]
    steps = np.diff(places)
    beyond = np.median(steps) / 2
    edges = np.concatenate([[places[0] - beyond], places[:-1] + steps / 2, [places[-1] + beyond]])
    return (np.diff(edges) / sharing)[place]


def millilitres(voxels: np.ndarray, pixel_mm2: np.ndarray, depth_mm: np.ndarray) -> float:
    """The volume of a region; NaN if a size is unknown.

    Args:
        voxels: (N,) how many of each slice lie in the region.
        pixel_mm2: (N,) area of a pixel.
        depth_mm: (N,) of `slab_depths`.
    """
    return float(np.sum(voxels * pixel_mm2 * depth_mm) / 1000)
