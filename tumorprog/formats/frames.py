"""Rows of the catalogue -> arrays computed from their frames, read by their index or else by parsing the file."""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pyarrow as pa

from tumorprog.errors import DicomError
from tumorprog.formats import reading
from tumorprog.formats.columns import CATALOGUE, Rejected
from tumorprog.formats.index import INDEX_COLUMNS, FrameIndex

SCHEMA = pa.schema([CATALOGUE.field(name) for name in ("path", "frame", *INDEX_COLUMNS)])
"""The columns of the catalogue that are needed to read a frame."""


def decode(
    work: pa.Table, convert: Callable[..., np.ndarray], *, like: np.ndarray, given: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray, Rejected]:
    """Read the frames named by a table of work and convert each of them.

    Args:
        work: has the columns of `SCHEMA`.
        convert: an image of shape (Rows, Columns), as returned by `reading`, and the values of the columns `given` ->
            an array like `like`.
        like: an array of the shape and dtype of the results.
        given: names of columns of `work` whose values `convert` needs besides the image.

    Returns:
        converted: (M, *shape), the results of the M frames that could be decoded.
        decoded: (N,) bool, whether each row of `work` is among them.
        rejected: one row of `formats.columns.QUARANTINE` for each of the others.
    """
    cv2.setNumThreads(1)  # Ray distributes the cores
    converted = np.empty((work.num_rows, *like.shape), like.dtype)
    decoded = np.ones(work.num_rows, bool)
    rejected: Rejected = []
    # conversion from pandas turns NaN into null
    filled = (work[name].fill_null(math.nan) if name.startswith("padding") else work[name] for name in SCHEMA.names)
    columns = (column.to_pylist() for column in (*filled, *(work[name] for name in given)))
    for number, (path, frame, *values) in enumerate(zip(*columns, strict=True)):
        index, others = values[: len(INDEX_COLUMNS)], values[len(INDEX_COLUMNS) :]
        try:
            image = reading.read_indexed_frame(path, frame, FrameIndex(*index))
            converted[number] = convert(image, *others)
        except DicomError as error:
            decoded[number] = False
            rejected.append({"path": path, "reason": error.reason, "detail": error.detail})
    return (converted if decoded.all() else converted[decoded]), decoded, rejected
