"""Slices -> the grader's 224 x 224 uint8 images, and how these are stored in tables."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tumorprog.conventions import IMAGE_SIZE
from tumorprog.errors import InputError
from tumorprog.formats import frames
from tumorprog.graders.columns import SLICES
from tumorprog.imaging import intensity
from tumorprog.tables import shards

log = logging.getLogger(__name__)

IMAGE_TEMPLATE = np.empty((IMAGE_SIZE, IMAGE_SIZE), np.uint8)


def decode_images(work: pa.Table, *, scaling: intensity.Scaling) -> pa.Table:
    """Return the images of the rows that can be decoded, each with its `row`; the others are logged and skipped."""
    images, decoded, rejected = frames.decode(
        work, partial(intensity.grader_input, scaling=scaling), like=IMAGE_TEMPLATE
    )
    for row in rejected:
        log.warning("%s: %s (%s), skipped", row["path"], row["reason"], row["detail"])
    return work.select(["row"]).filter(pa.array(decoded)).append_column("image", image_column(images))


def image_column(images: np.ndarray) -> pa.Array:
    """Return (N, 224, 224) uint8 images as the column `image` of `graders.columns.SLICES`, without a copy."""
    buffer = pa.py_buffer(np.ascontiguousarray(images))
    return pa.FixedSizeBinaryArray.from_buffers(SLICES.field("image").type, len(images), [None, buffer])


def image_array(table: pa.Table) -> np.ndarray:
    """Return the images of rows of `SLICES`.

    Args:
        table: has a column `image`.

    Returns:
        (N, 224, 224) uint8; a view if the column is one chunk.
    """
    column = table.column("image").combine_chunks()
    chunks: Iterator[pa.Array] = iter(column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    width = IMAGE_SIZE * IMAGE_SIZE
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * width, chunk.offset * width).reshape(
            -1, IMAGE_SIZE, IMAGE_SIZE
        )
        for chunk in chunks
        if len(chunk)
    ]
    if not parts:
        return np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_images(folder: Path, slices: Sequence[int]) -> np.ndarray:
    """Read the images of a few slices, and no others.

    Args:
        folder: of shards of `SLICES`.
        slices: their numbers, in any order.

    Returns:
        (N, 224, 224) uint8, in the order of `slices`.

    Raises:
        InputError: if a slice does not exist.
    """
    found: dict[int, np.ndarray] = {}
    missing = set(slices)
    for path in shards(folder):
        if not missing:
            break
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            for group in range(file.num_row_groups):
                numbers = file.read_row_group(group, columns=["slice"])["slice"].to_pylist()
                if missing.isdisjoint(numbers):
                    continue
                rows = image_array(file.read_row_group(group, columns=["image"]))
                found |= {number: rows[index].copy() for index, number in enumerate(numbers) if number in missing}
                missing -= set(numbers)
    if missing:
        raise InputError(f"{folder}: no slice {min(missing)}; run `tumorprog train-grader` again")
    return np.stack([found[number] for number in slices]) if slices else np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
