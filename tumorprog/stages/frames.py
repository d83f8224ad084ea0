"""Rows of the catalogue -> what is made of their frames; by the index where there is one, else by parsing DICOM."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import pyarrow as pa

from tumorprog import tables
from tumorprog.dicom import pixels
from tumorprog.errors import DicomError
from tumorprog.stages.streaming import Rejected

_INDEX = (
    *("pixel_offset", "pixel_bytes", "pixel_dtype", "Rows", "Columns"),
    *("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", "file_bytes"),
    *("padding_low", "padding_high"),
)
"""In the order of `pixels.FrameIndex`."""

SCHEMA = pa.schema([tables.CATALOGUE.field(name) for name in ("path", "frame", *_INDEX)])
"""What must be known of a frame to read it."""


def decode(
    work: pa.Table, make: Callable[[np.ndarray], np.ndarray], *, like: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Rejected]:
    """What is made of each frame that a piece of work names.

    Args:
        work: has the columns of `SCHEMA`.
        make: (Rows, Columns), as `pixels.read_indexed` gives it -> an array of the shape and dtype of `like`.
        like: an array of that shape and dtype.

    Returns:
        made: (M, *shape), of those that could be decoded.
        decoded: (N,) bool, which of the N rows those are.
        rejected: one row of `tables.QUARANTINE` for each of the others.
    """
    cv2.setNumThreads(1)  # the cores are Ray's to share out
    made = np.empty((work.num_rows, *like.shape), like.dtype)
    decoded = np.ones(work.num_rows, bool)
    rejected: Rejected = []
    # what went through pandas has null for NaN
    filled = (work[name].fill_null(math.nan) if name.startswith("padding") else work[name] for name in SCHEMA.names)
    columns = (column.to_pylist() for column in filled)
    for number, (path, frame, *index) in enumerate(zip(*columns, strict=True)):
        try:
            entry = pixels.FrameIndex(*index)
            image = pixels.read_indexed(path, entry) if entry.offset >= 0 else pixels.read_frame(path, frame)
            made[number] = make(image)
        except DicomError as error:
            decoded[number] = False
            rejected.append({"path": path, "reason": error.reason, "detail": error.detail})
    return (made if decoded.all() else made[decoded]), decoded, rejected
