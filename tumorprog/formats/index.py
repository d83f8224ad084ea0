"""Where a frame is in its file and how its stored values are interpreted, to read it without its header."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Location of a frame in its file and the meaning of its values, from a row of the catalogue.

    Attributes:
        offset: byte offset of the stored values in the file (`pixel_offset`).
        length: in bytes (`pixel_bytes`).
        dtype: of the stored values, in the notation of the catalogue (`pixel_dtype`).
        rows: of the frame.
        columns: of the frame.
        slope: RescaleSlope, 1 if there is none.
        intercept: RescaleIntercept, 0 if there is none.
        photometric: PhotometricInterpretation.
        file_bytes: size of the file when it was indexed.
        padding_low: minimum of the stored values that are padding (`padding_low`); NaN if there is none.
        padding_high: maximum of these values.
    """

    offset: int
    length: int
    dtype: str
    rows: int
    columns: int
    slope: float
    intercept: float
    photometric: str
    file_bytes: int
    padding_low: float = math.nan
    padding_high: float = math.nan


INDEX_COLUMNS = (
    *("pixel_offset", "pixel_bytes", "pixel_dtype", "Rows", "Columns"),
    *("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", "file_bytes"),
    *("padding_low", "padding_high"),
)
"""The columns of the catalogue that make a `FrameIndex`, in its order."""
