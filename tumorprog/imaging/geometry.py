"""Where the pixels of a stack are in the patient, and values carried over from one stack to the slices of another."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tumorprog.imaging import orientation

_TOLERANCE_MM = 0.1
"""Distance within which two slices have the same position; headers are rounded."""
_TOLERANCE_COSINE = 1e-3
"""Difference of direction cosines, and relative difference of spacings, that count as equal."""
_ROUNDING_MM = 0.01
"""Added to the reach of a slice, so that a point exactly between two slices belongs to one of them."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The pixels of the parallel slices of a stack, in the patient's coordinates (mm).

    Pixel (r, c) of slice k is at `origins[k] + c * spacing_mm[1] * along_row + r * spacing_mm[0] * along_column`
    (DICOM PS3.3 C.7.6.2.1.1).
    """

    origins: np.ndarray
    """(N, 3) float64, centre of the first pixel of each slice."""
    along_row: np.ndarray
    """(3,) unit vector in which the column number increases."""
    along_column: np.ndarray
    """(3,) unit vector in which the row number increases."""
    spacing_mm: tuple[float, float]
    """Distance of the rows and of the columns."""
    shape: tuple[int, int]
    """Rows and columns of a slice."""
    thickness_mm: float = math.nan
    """Of a slice; NaN if unknown."""
    frame_of_reference: str = ""
    """FrameOfReferenceUID; "" if unknown."""

    @property
    def normal(self) -> np.ndarray:
        """Return the unit normal of the slices, (3,)."""
        normal = np.cross(self.along_row, self.along_column)
        return normal / np.linalg.norm(normal)


def grid_of(slices: Mapping[str, Sequence[Any]]) -> Grid | None:
    """Return the grid of a stack; None if a slice lacks a position, an orientation or pixel spacings.

    Args:
        slices: columns of `formats.columns.CATALOGUE` of the slices of one stack: ImagePositionPatient, orientation,
            row_spacing_mm, column_spacing_mm, Rows, Columns, SliceThickness, FrameOfReferenceUID. Within a stack the
            orientation and the size are the same.
    """
    cosines = orientation.parse(slices["orientation"][0])
    corners, spacing = slices["ImagePositionPatient"], (slices["row_spacing_mm"][0], slices["column_spacing_mm"][0])
    if len(cosines) != 6 or not all(corners) or not all(step > 0 for step in spacing):  # NaN is not above 0
        return None
    along_row, along_column = np.reshape(cosines, (2, 3))
    return Grid(
        origins=np.array([[float(mm) for mm in corner.split(",")] for corner in corners]),
        along_row=along_row / np.linalg.norm(along_row),
        along_column=along_column / np.linalg.norm(along_column),
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        shape=(int(slices["Rows"][0]), int(slices["Columns"][0])),
        thickness_mm=float(slices["SliceThickness"][0]),
        frame_of_reference=slices["FrameOfReferenceUID"][0],
    )


def coinciding(source: Grid, target: Grid) -> np.ndarray:
    """Return the slice of a stack whose pixels are those of each slice of another one.

    Returns:
        (M,) int, the index of the source's slice for each of the target's M slices; -1 where there is none.
    """
    nearest = np.full(len(target.origins), -1)
    if not _same_plane(source, target):
        return nearest
    distances = np.linalg.norm(target.origins[:, None] - source.origins, axis=2)
    nearest = distances.argmin(axis=1)
    return np.where(distances.min(axis=1) < _TOLERANCE_MM, nearest, -1)


def same_grid(first: Grid, second: Grid) -> bool:
    """Return whether two stacks have the same pixels: the same number of slices, each with its counterpart."""
    return len(first.origins) == len(second.origins) and bool((coinciding(first, second) >= 0).all())


def _same_plane(first: Grid, second: Grid) -> bool:
    cosines = np.concatenate([first.along_row - second.along_row, first.along_column - second.along_column])
    spacings = np.divide(first.spacing_mm, second.spacing_mm) - 1
    return first.shape == second.shape and bool((np.abs([*cosines, *spacings]) < _TOLERANCE_COSINE).all())


def reach_mm(grid: Grid) -> float:
    """Return how far a slice of a stack represents tissue on either side: half the spacing or half the thickness.

    The spacing is the median distance of adjacent slices; the greater of both counts.
    """
    steps = np.diff(np.unique((grid.origins @ grid.normal).round(2)))
    known = [
        *([np.median(steps)] if len(steps) else []),
        *([] if math.isnan(grid.thickness_mm) else [grid.thickness_mm]),
    ]
    return max(known, default=0.0) / 2 + _ROUNDING_MM


def sample(values: np.ndarray, source: Grid, target: Grid, index: int, side: int) -> np.ndarray:
    """Carry the values of a stack over to a slice of another one, from the nearest pixel of the nearest slice.

    Args:
        values: (N, H, W), of the slices of `source`.
        source: the N slices, in any order.
        target: contains the slice.
        index: of the slice in `target`.
        side: the slice is resized to this height and width, with the same field of view.

    Returns:
        (side, side) of the dtype of `values`; 0 for points further from every slice of the source than `reach_mm`, or
        outside its field of view.
    """
    depth = _coordinate(target, index, side, source.normal)
    positions = source.origins @ source.normal
    order = np.argsort(positions, kind="stable")
    halfway = (positions[order][1:] + positions[order][:-1]) / 2
    nearest = order[np.searchsorted(halfway, depth)]
    row = _pixel(target, index, side, source.along_column, source.origins[nearest], source.spacing_mm[0])
    column = _pixel(target, index, side, source.along_row, source.origins[nearest], source.spacing_mm[1])
    height, width = source.shape
    inside = (np.abs(depth - positions[nearest]) <= reach_mm(source)) & (row >= 0) & (row < height)
    inside &= (column >= 0) & (column < width)
    return np.where(inside, values[nearest, row.clip(0, height - 1), column.clip(0, width - 1)], 0)


def _pixel(
    target: Grid, index: int, side: int, direction: np.ndarray, origins: np.ndarray, spacing: float
) -> np.ndarray:
    """Return the nearest row or column number of the source for each pixel of the slice, (side, side) int."""
    distance = _coordinate(target, index, side, direction) - origins @ direction
    return np.floor(distance / spacing + 0.5).astype(np.int64)


def _coordinate(grid: Grid, index: int, side: int, direction: np.ndarray) -> np.ndarray:
    """Return the coordinate of the pixels of a resized slice along a direction in mm, (side, side)."""
    rows, columns = ((np.arange(side) + 0.5) * size / side - 0.5 for size in grid.shape)
    down = rows * grid.spacing_mm[0] * (grid.along_column @ direction)
    across = columns * grid.spacing_mm[1] * (grid.along_row @ direction)
    return grid.origins[index] @ direction + down[:, None] + across
