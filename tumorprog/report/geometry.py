"""Where a slice is in the patient and how large it is, from its row of the catalogue."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tumorprog.imaging import orientation


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The size of a stored slice, and how it is turned for display."""

    height_mm: float
    """Rows times their spacing; the number of rows if the spacing is unknown."""
    width_mm: float
    """The same of the columns."""
    display: orientation.Display = orientation.AS_STORED

    @property
    def shown_width_mm(self) -> float:
        """Width of the turned slice."""
        return self.height_mm if self.display.transpose else self.width_mm

    @property
    def shown_height_mm(self) -> float:
        """Height of the turned slice."""
        return self.width_mm if self.display.transpose else self.height_mm


def geometry(row: Mapping[Any, Any]) -> Geometry:
    """Return the geometry of a slice.

    Args:
        row: of the catalogue: Rows, Columns, row_spacing_mm, column_spacing_mm and orientation.
    """
    known = not math.isnan(row["row_spacing_mm"]) and not math.isnan(row["column_spacing_mm"])
    row_mm, column_mm = (row["row_spacing_mm"], row["column_spacing_mm"]) if known else (1.0, 1.0)
    return Geometry(
        height_mm=row["Rows"] * row_mm,
        width_mm=row["Columns"] * column_mm,
        display=orientation.display(orientation.parse(row["orientation"])),
    )


def place(row: Mapping[Any, Any], number: int, count: int) -> str:
    """Return where a slice is, such as "axial, slice 3 of 4, z = 12 mm".

    Args:
        row: of the catalogue: plane, position_mm and orientation.
        number: of the slice in its stack, from 1.
        count: number of slices of the stack.
    """
    parts = [row["plane"] or "orientation unknown", f"slice {number} of {count}"]
    if not math.isnan(row["position_mm"]):
        axis = orientation.axis(orientation.parse(row["orientation"])) or "position"
        parts.append(f"{axis} = {round(row['position_mm'], 1) + 0.0:g} mm")
    return ", ".join(parts)
