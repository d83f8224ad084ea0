"""A region that is known on one stack -> the region on the slices of another stack of the same study."""

import numpy as np

from tumorprog.imaging import geometry, intensity
from tumorprog.imaging.geometry import Grid


def carry_over(region: np.ndarray, source: Grid | None, target: Grid | None) -> np.ndarray | None:
    """Return the region of a stack on the slices of another one, by the patient's coordinates.

    Slices with the pixels of a slice of the source are only resized. For all others the nearest pixel of the nearest
    slice counts; what is further away than the source's slices reach is outside of the region.

    Two series with different FrameOfReferenceUIDs have unrelated coordinates. Registered collections copy pixels under
    new UIDs, however: their series have the same number of slices with the same pixels, and are accepted.

    Args:
        region: (N, H, W) bool, on the slices of the source.
        source: where these are; None if unknown.
        target: the M slices that receive the region; None if unknown.

    Returns:
        (M, SIDE, SIDE) bool on the grid of `intensity.prepare`; None if the coordinates are unknown or unrelated.
    """
    if source is None or target is None or not _related(source, target):
        return None
    found = np.zeros((len(target.origins), intensity.SIDE, intensity.SIDE), bool)
    if not region.any():
        return found
    for index, same in enumerate(geometry.coinciding(source, target)):
        found[index] = (
            on_side(region[same]) if same >= 0 else geometry.sample(region, source, target, index, intensity.SIDE)
        )
    return found


def _related(source: Grid, target: Grid) -> bool:
    frames = source.frame_of_reference, target.frame_of_reference
    return not all(frames) or frames[0] == frames[1] or geometry.same_grid(source, target)


def on_side(region: np.ndarray) -> np.ndarray:
    """Resize the region of a slice, (H, W) bool, as `intensity.prepare` resizes the slice: (SIDE, SIDE) bool."""
    return intensity.resize(region.astype(np.float32), intensity.SIDE) > 0.5


def pixel_mm(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Return the height and width of a pixel of a resized slice.

    Args:
        shape: rows and columns of the slice.
        spacing_mm: distance of its rows and of its columns.
    """
    return shape[0] * spacing_mm[0] / intensity.SIDE, shape[1] * spacing_mm[1] / intensity.SIDE
