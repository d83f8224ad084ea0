"""The contract of image formats: from a file to rows, and from a row to an array.

All other packages read images through this module. Each function takes any file and passes it to its format; the only
format is DICOM. A format provides the two directions:

- rows: one for each frame, with all columns of `formats.columns.ROW`; `sequences.decision` decides `sequence`, and
  `SOPInstanceUID` is unique to the file;
- arrays: a frame by its number; and by its `FrameIndex`, which makes reading fast where the values are stored plainly
  (`pixel_offset` is -1 where they are not).

Paths may be addresses in an object store: files are opened by `storage.open_binary`.

Both raise `DicomError` with a reason of `formats.columns.REASONS` for a file or a frame that cannot be used.
"""

from typing import Any

import numpy as np

from tumorprog.formats.dicom import header, pixels
from tumorprog.formats.index import FrameIndex


def read_rows(path: str) -> list[dict[str, Any]]:
    """Return one row for each frame of a file, without reading pixels; see `formats.dicom.header.read_rows`.

    Raises:
        DicomError: if the file cannot be used.
    """
    return header.read_rows(path)


def read_frame(path: str, frame: int = 0) -> np.ndarray:
    """Return one frame of a file, (Rows, Columns) in the units of the modality; see `formats.dicom.pixels.read_frame`.

    Raises:
        DicomError: if it cannot be decoded.
    """
    return pixels.read_frame(path, frame)


def read_indexed_frame(path: str, frame: int, index: FrameIndex) -> np.ndarray:
    """Return the same as `read_frame`, by the position of the values in the file if the index states one.

    Raises:
        DicomError: if it cannot be decoded.
    """
    return pixels.read_indexed(path, index) if index.offset >= 0 else pixels.read_frame(path, frame)
