"""The stacks of studies -> what a segmenter is trained on: prepared slices with their masks, and their reading back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from tumorprog.formats.columns import CATALOGUE, Rejected
from tumorprog.imaging import geometry
from tumorprog.regions import sources
from tumorprog.regions.sources import Source, Stack
from tumorprog.segmenters import stacks
from tumorprog.segmenters.columns import SAMPLES
from tumorprog.segmenters.settings import Segmenter
from tumorprog.segmenters.stacks import SIDE

SLICE = pa.schema(
    [
        *sources.SLICE,
        *(CATALOGUE.field(name) for name in ("StudyInstanceUID", "SOPInstanceUID")),
        SAMPLES.field("slice"),
    ]
)
"""The columns of the catalogue that describe a slice of a study."""

_STUDY = ("PatientID", "date")
WORK = pa.schema(
    [
        *(SAMPLES.field(name) for name in _STUDY),
        pa.field("slices", pa.list_(pa.struct(list(SLICE)))),
    ]
)
"""A row per study with a mask: its slices by series and order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Masked:
    """A stack whose slices are in a mask, at least in part."""

    stack: Stack
    region: np.ndarray
    """(N, H, W) bool."""
    known: np.ndarray
    """(N,) bool, whether the mask has each slice."""


def of_studies(
    work: pa.Table, *, settings: Segmenter, labels: Sequence[int]
) -> tuple[pa.Table, dict[str, list[dict[str, Any]]]]:
    """Decode and prepare the slices of studies that have a mask slice with the same pixels.

    Args:
        work: rows of `WORK`.
        settings: sequences and neighbours.
        labels: values of masks that form the region, as in `roi.labels`.

    Returns:
        Rows of `SAMPLES`, and under `rejected` rows of `formats.columns.QUARANTINE` for the slices of masks and of
        segmented stacks that could not be decoded. These are neither samples nor neighbours of samples.
    """
    parts: list[pa.Table] = [SAMPLES.empty_table()]
    rejected: list[dict[str, Any]] = []
    for study in range(work.num_rows):
        slices = pa.Table.from_struct_array(pa.chunked_array([work["slices"][study].values]))
        for name in _STUDY:
            slices = slices.append_column(name, pa.array([work[name][study].as_py()] * len(slices), pa.string()))
        found, undecoded = _of_study(sources.stacks_of(slices), settings, labels)
        parts += found
        rejected += undecoded
    return pa.concat_tables(parts), {"rejected": rejected}


def _of_study(in_study: Sequence[Stack], settings: Segmenter, labels: Sequence[int]) -> tuple[list[pa.Table], Rejected]:
    masks, rejected = sources.read_masks(in_study, labels)
    tables = []
    for stack in in_study:
        masked = _mask_of(stack, masks) if stack.of_first("sequence") == settings.sequences[0] else None
        if masked is not None:
            table, undecoded = _of_stack(masked, in_study, settings)
            tables.append(table)
            rejected += undecoded
    return tables, rejected


def _mask_of(stack: Stack, masks: Sequence[Source]) -> _Masked | None:
    """Return the first of the masks that has slices with the pixels of the stack."""
    for mask in masks:
        if stack.grid is None or mask.stack.grid is None:
            continue
        nearest = geometry.coinciding(mask.stack.grid, stack.grid)
        known = (nearest >= 0) & mask.decoded[nearest]
        if known.any():
            return _Masked(stack=stack, region=mask.region[nearest], known=known)
    return None


def _of_stack(masked: _Masked, in_study: Sequence[Stack], settings: Segmenter) -> tuple[pa.Table, Rejected]:
    stack = masked.stack
    images, decoded, rejected = sources.read(stack)
    kept = masked.known & decoded
    if not kept.any():
        return SAMPLES.empty_table(), rejected
    others = [sources.on_same_grid(in_study, name, stack) for name in settings.sequences[1:]]
    volumes = [None if one is None else stacks.prepare(one[decoded], stack.spacing_mm) for one in (images, *others)]
    inputs = stacks.channels(volumes, neighbours=settings.neighbours)[kept[decoded]]
    regions = stacks.mask_on_input(masked.region[kept], stack.spacing_mm)
    own = inputs[:, settings.neighbours]
    columns = {
        "pixel_hash": ["" if one.min() == one.max() else xxhash.xxh3_128_hexdigest(one.tobytes()) for one in own],
        "mask_pixels": np.count_nonzero(regions, axis=(1, 2)),
        "image": [one.tobytes() for one in inputs],
        "mask": [one.tobytes() for one in regions],
    }
    table = stack.slices.filter(pa.array(kept))
    for name, values in columns.items():
        table = table.append_column(SAMPLES.field(name), pa.array(values, SAMPLES.field(name).type))
    return table.select(SAMPLES.names).cast(SAMPLES), rejected


def arrays(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and masks of rows of `SAMPLES`.

    Returns:
        (N, channels, SIDE, SIDE) uint8 and (N, SIDE, SIDE) uint8, 0 or 1.
    """
    images, masks = (_stacked(rows[name]).reshape(rows.num_rows, -1, SIDE, SIDE) for name in ("image", "mask"))
    return images, masks[:, 0]


def _stacked(column: pa.ChunkedArray) -> np.ndarray:
    return np.stack([np.frombuffer(value.as_buffer(), np.uint8) for value in column])
