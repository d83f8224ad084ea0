"""Reading of a frame of a DICOM file in the units of the modality."""

import math
from typing import Any

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.uid import UID, RLELossless

from tumorprog import storage
from tumorprog.errors import DicomError
from tumorprog.formats.dicom import codecs, elements, opening
from tumorprog.formats.dicom.parsing import Header
from tumorprog.formats.index import FrameIndex

_KEYWORDS = (*opening.IMAGE_KEYWORDS, "ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_frame(path: str, frame: int = 0) -> np.ndarray:
    """Read one frame of a file; no other frame is decoded.

    Values are rescaled by RescaleSlope and RescaleIntercept (per frame in an enhanced object; 1 and 0 if missing; a
    slope of 0, which would erase the image, becomes 1). A MONOCHROME1 frame is inverted within its own range, so that
    large values are bright in every frame. Values that are not finite become 0: perfusion maps contain NaN outside the
    brain. Padding becomes NaN. `formats.dicom.pixel_elements` lists the elements that are used.

    Args:
        path: of a file that `formats.dicom.header.read_rows` accepts.
        frame: 0-based.

    Returns:
        (Rows, Columns) float32, finite except for padding.

    Raises:
        DicomError: `undecodable`, or any reason that `formats.dicom.header.read_rows` raises.
    """
    with elements.quiet_pydicom(), opening.open_file(path) as file:
        head = opening.read_header(file, _KEYWORDS)
        shape = opening.image_shape(head)
        if not 0 <= frame < shape.frames:
            raise DicomError(
                "undecodable", f"frame {frame} does not exist: the file has {shape.frames}, counted from 0"
            )
        try:
            stored = _decode(head, shape, frame)
        except elements.DAMAGE as error:
            raise opening.damage_error(error, "undecodable", "the frame") from None
        padding = _padding_of(stored, *shape.padding)
        slope, intercept = opening.rescale(head.dataset, elements.frame_groups(head.dataset, frame))
        return _in_units(stored, slope, intercept, shape.photometric, padding).astype(np.float32, copy=False)


def read_indexed(path: str, entry: FrameIndex) -> np.ndarray:
    """Read one frame of a file by its entry in the catalogue, without parsing DICOM.

    Args:
        path: of the file.
        entry: with a non-negative offset.

    Returns:
        (Rows, Columns), with the same values as `read_frame`: float32, or the stored integers of 8 or 16 bits if no
        operation changes them.

    Raises:
        DicomError: `unreadable` if the file cannot be read or has changed since it was indexed.
    """
    try:
        values, num_bytes = storage.read_range(path, entry.offset, entry.length)
    except OSError as error:
        raise opening.damage_error(error, "unreadable", "the file") from None
    name, *bits = entry.dtype.split(":")
    if num_bytes != entry.file_bytes or len(values) != entry.length:
        raise DicomError(
            "unreadable", "the file has changed since the catalogue was created; run `tumorprog catalogue` again"
        )
    stored = np.frombuffer(values, name).reshape(entry.rows, entry.columns)
    if bits:
        stored = _value_bits(stored, int(bits[0]), int(bits[-1]) if len(bits) > 1 else int(bits[0]) - 1)
    padding = _padding_of(stored, entry.padding_low, entry.padding_high)
    return _in_units(stored, entry.slope, entry.intercept, entry.photometric, padding)


def _decode(head: Header, shape: opening.Shape, frame: int) -> np.ndarray:
    """Return the stored values of a frame."""
    syntax = UID(head.transfer_syntax)
    head.source.seek(head.start)
    options: dict[str, Any] = {
        "number_of_frames": shape.frames,
        "rows": shape.rows,
        "columns": shape.columns,
        "samples_per_pixel": 1,
        "photometric_interpretation": shape.photometric,
        "bits_allocated": shape.bits,
        "bits_stored": shape.bits_stored,
        "pixel_representation": shape.representation,
        "pixel_keyword": head.pixel_keyword,
    }
    if syntax in opening.NATIVE:
        options |= {"pixel_vr": head.vr} if head.vr else {}
        shifted = _is_shifted(shape)
        if shifted:  # pydicom would read the lowest bits
            options["bits_stored"] = shape.bits
        decoded, _ = get_decoder(syntax).as_array(head.source, index=frame, raw=True, view_only=True, **options)
        return _value_bits(decoded, shape.bits_stored, shape.high_bit) if shifted else decoded
    offsets = tuple(
        elements.value(head.dataset, keyword) for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    )
    if all(offsets):
        options["extended_offsets"] = offsets
    if syntax == RLELossless and _is_shifted(shape):  # RLE stores allocated words; codestreams store values
        words = codecs.decode(head.source, syntax, frame, {**options, "bits_stored": shape.bits})
        return _value_bits(words, shape.bits_stored, shape.high_bit)
    return codecs.decode(head.source, syntax, frame, options)


def _is_shifted(shape: opening.Shape) -> bool:
    return shape.high_bit != shape.bits_stored - 1


def _value_bits(stored: np.ndarray, bits: int, high_bit: int) -> np.ndarray:
    """Return the values of `bits` bits up to `high_bit`; all other bits are discarded."""
    if stored.dtype.kind == "u":
        lowest = high_bit + 1 - bits
        return (stored >> lowest if lowest else stored) & stored.dtype.type(2**bits - 1)
    width = 8 * stored.itemsize
    return (stored << (width - 1 - high_bit)) >> (width - bits)  # the shift back extends the sign


def _padding_of(stored: np.ndarray, low: float, high: float) -> np.ndarray | None:
    """Return the mask of padding values; None if there are none."""
    if math.isnan(low):
        return None
    padding = stored == low if low == high else (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _in_units(
    stored: np.ndarray, slope: float, intercept: float, photometric: str, padding: np.ndarray | None
) -> np.ndarray:
    """Return stored values rescaled, finite and inverted for MONOCHROME1: float32, or as stored if unchanged.

    Padding becomes NaN and does not count for the range within which the other values are inverted.
    """
    if padding is None:
        return _rescaled(stored, slope, intercept, photometric)
    image = np.full(stored.shape, np.nan, np.float32)
    if not padding.all():
        image[~padding] = _rescaled(stored[~padding], slope, intercept, photometric)
    return image


def _rescaled(stored: np.ndarray, slope: float, intercept: float, photometric: str) -> np.ndarray:
    short = stored.dtype.itemsize <= 2
    inverted = photometric == "MONOCHROME1"
    if short and stored.dtype.kind in "iu" and slope == 1 and not intercept and not inverted:
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    # float32 represents every 16-bit integer; wider values must be rounded only once
    image = stored.astype(np.float32 if short else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if slope != 1:
            np.multiply(image, slope, out=image)
        if intercept:
            np.add(image, intercept, out=image)
        image = image.astype(np.float32, copy=False)
    largest = float(np.iinfo(stored.dtype).max) * abs(slope) + abs(intercept) if stored.dtype.kind in "iu" else np.inf
    if not largest < _FLOAT32_MAX / 2:  # certainly finite below this, so no check is needed
        finite = np.isfinite(image)
        if not finite.all():
            image[~finite] = 0
    if inverted:  # in float64, because the sum can overflow float32
        return (float(image.max()) + float(image.min()) - image.astype(float)).astype(np.float32)
    return image
