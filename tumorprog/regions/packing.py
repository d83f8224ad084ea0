"""Rows of the table of regions -> the region of interest of a slice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tumorprog import queries
from tumorprog.errors import InputError
from tumorprog.imaging.intensity import SIDE
from tumorprog.regions.methods import REGIONS

_ONE_SLICE = "SELECT method, region FROM regions WHERE path = $path AND frame = $frame AND cohort = 'progression'"


class Region(NamedTuple):
    """The region of interest of a slice.

    Attributes:
        method: what it comes from, as in `regions.columns.REGIONS`.
        mask: (256, 256) bool.
    """

    method: str
    mask: np.ndarray


def pack(mask: np.ndarray) -> bytes:
    """Return a region, (256, 256) bool, as the bits of the column `region` of `regions.columns.REGIONS`."""
    return np.packbits(mask).tobytes()


def unpack(bits: bytes) -> np.ndarray:
    """Return the region, (256, 256) bool, from the bits of the column `region` of `regions.columns.REGIONS`."""
    return np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(SIDE, SIDE).view(bool)


def region_of(scaled: np.ndarray, method: str, bits: bytes | None) -> np.ndarray:
    """Return the region of interest of a slice.

    Args:
        scaled: (256, 256) float32, the slice as `imaging.intensity.prepare` returns it.
        method: of the row of `regions.columns.REGIONS`.
        bits: its column `region`; None if the region is computed from the slice, by a method of `REGIONS`.

    Returns:
        (256, 256) bool.
    """
    return REGIONS[method](scaled) if bits is None else unpack(bits)


def find(regions: list[Path], row: Mapping[Any, Any], scaled: np.ndarray) -> Region:
    """Find the region of interest of one slice of the progression cohort.

    Args:
        regions: shards of `regions.columns.REGIONS`.
        row: path and frame of the slice.
        scaled: (256, 256) float32, the slice as `imaging.intensity.prepare` returns it.

    Raises:
        InputError: if the table has no row of the slice.
    """
    found = queries.fetch(_ONE_SLICE, {"path": row["path"], "frame": int(row["frame"])}, regions=regions)
    if found.empty:
        raise InputError(
            f"{regions[0].parent}: no region of frame {row['frame']} of {row['path']}; if it is an image, not a mask, "
            "run `tumorprog regions` again"
        )
    one: dict[Any, Any] = found.to_dict("records")[0]
    bits = None if pd.isna(one["region"]) else bytes(one["region"])
    return Region(one["method"], region_of(scaled, one["method"], bits))
