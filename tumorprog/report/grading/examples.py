"""The grader's images -> how their slices were acquired, for drawing them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog import queries
from tumorprog.errors import InputError
from tumorprog.report import geometry

_ACQUIRED = """
WITH numbered AS (
    SELECT *, row_number() OVER (PARTITION BY SeriesInstanceUID, stack ORDER BY "order") AS number,
        count(*) OVER (PARTITION BY SeriesInstanceUID, stack) AS count
    FROM catalogue WHERE cohort = 'grading'
)
SELECT slice, "Rows", "Columns", row_spacing_mm, column_spacing_mm, numbered.orientation, numbered.plane, position_mm,
    number, count
FROM slices JOIN numbered USING (SOPInstanceUID, frame) WHERE list_contains($numbers, slice)
"""


def acquired(numbers: Sequence[int], slices: list[Path], catalogue: list[Path]) -> pd.DataFrame:
    """Return the size, orientation and position of slices.

    Args:
        numbers: of the slices.
        slices: shards of `graders.columns.SLICES`.
        catalogue: shards of `formats.columns.CATALOGUE`.

    Returns:
        By number of the slice: what `report.geometry` needs of a row, and its number (from 1) in its stack of count.

    Raises:
        InputError: if a slice is not in the catalogue.
    """
    found = queries.fetch(_ACQUIRED, {"numbers": list(numbers)}, slices=slices, catalogue=catalogue)
    missing = set(numbers) - set(found["slice"])
    if missing:
        raise InputError(f"{catalogue[0].parent}: slice {min(missing)} is not in it; run `tumorprog slices` again")
    return found.set_index("slice")


def place(row: Mapping[Any, Any]) -> str:
    """Return where a slice is.

    Args:
        row: of `acquired`.
    """
    return geometry.place(row, row["number"], row["count"])
