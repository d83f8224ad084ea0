"""Opening of a DICOM file: its header and the shape of its image, or the reason why it cannot be used."""

import errno
import io
import math
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from pydicom import uid
from pydicom.dataset import Dataset

from tumorprog import storage
from tumorprog.errors import DicomError
from tumorprog.formats.dicom import elements, parsing, pixel_elements
from tumorprog.formats.dicom.elements import Elements
from tumorprog.formats.dicom.parsing import PIXEL_BITS, Header

NATIVE = frozenset(
    (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    )
)
"""The transfer syntaxes of uncompressed pixels."""

_ITEM_BYTES = 8
_DIRECTORY_GROUP = 0x0004
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""First bytes of a DICOM file without a preamble: file meta information, or group 0008 in either byte order."""

_MAX_PIXELS = 2**28
_MAX_FRAMES = 2**17
_MAX_SIDE = 32768

IMAGE_KEYWORDS = ("SOPClassUID", "Modality", *pixel_elements.READ, *elements.GROUP_KEYWORDS)
"""Elements read from every file to validate and interpret its pixels."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Shape of the pixel data of a file.

    Attributes:
        frames: number of frames.
        rows: of a frame.
        columns: of a frame.
        bits: BitsAllocated.
        bits_stored: BitsStored; equal to `bits` if not stated.
        high_bit: HighBit; `bits_stored` - 1 if not stated or impossible.
        representation: 0 unsigned, 1 signed; other values are passed on, and no decoder accepts them.
        photometric: PhotometricInterpretation; MONOCHROME2 if not stated.
        padding: minimum and maximum of the stored values that are padding; NaN if there is none.
    """

    frames: int
    rows: int
    columns: int
    bits: int
    bits_stored: int
    high_bit: int
    representation: int
    photometric: str
    padding: tuple[float, float] = (math.nan, math.nan)

    @property
    def frame_bytes(self) -> int:
        """Length of an uncompressed frame in bytes."""
        return self.rows * self.columns * self.bits // 8


class HeaderInfo(NamedTuple):
    """Properties of a header other than its elements."""

    sop_class: str
    transfer_syntax: str
    pixel_keyword: str
    vr: str
    ends_early: bool


def header_info(header: Header) -> HeaderInfo:
    """Return the properties of a header, other than its elements, that determine how its pixels are read."""
    return HeaderInfo(
        sop_class=sop_class(header),
        transfer_syntax=header.transfer_syntax,
        pixel_keyword=header.pixel_keyword,
        vr=header.vr,
        ends_early=header.ends_early,
    )


def open_file(path: str) -> BinaryIO:
    """Open a file for reading, at its start.

    Args:
        path: of a local file, as named by `storage.walk` or the operating system, or an address in an object store.

    Raises:
        DicomError: `unreadable` or `empty`.
    """
    try:
        file = storage.open_binary(path) if storage.is_remote(path) else _open_local(path)
        num_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
    except OSError as error:
        raise DicomError("unreadable", error.strerror or "the operating system gave no reason") from error
    except ValueError as error:
        raise DicomError("unreadable", "the path contains an invalid character") from error
    if num_bytes == 0:
        file.close()
        raise DicomError("empty", "0 bytes")
    return file


def _open_local(path: str) -> BinaryIO:
    descriptor = storage.open_local(path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # reading a device would not end
        os.close(descriptor)
        raise DicomError("unreadable", "not a regular file")
    return os.fdopen(descriptor, "rb")


def read_header(file: BinaryIO, keywords: Sequence[str]) -> Header:
    """Read the elements before the pixel data.

    Args:
        file: open at its start; on return its position is undefined.
        keywords: of the elements to keep; the others are skipped.

    Raises:
        DicomError: `not_dicom`, `index_file`, `damaged_header`, `unreadable`.
    """
    reason = "damaged_header"
    try:
        window = file.read(parsing.WINDOW_BYTES)
        if window[128:132] != b"DICM":
            reason = "not_dicom"
            if window[:2] not in _FIRST_GROUPS:
                raise DicomError(reason, "the file begins neither with a DICOM preamble nor with a data set")
        header = parsing.parse(window, file, keywords)
    except elements.DAMAGE as error:
        raise damage_error(error, reason, "the header") from None
    if sop_class(header) == uid.MediaStorageDirectoryStorage or header.tag >> 16 == _DIRECTORY_GROUP:
        raise DicomError("index_file", "a DICOMDIR")
    dataset = header.dataset
    if not (
        _is_uid(sop_class(header)) or (elements.text(dataset, "Modality") and elements.integer(dataset, "Rows") > 0)
    ):
        raise DicomError(reason, "neither SOPClassUID nor Modality and Rows can be read")
    return header


def damage_error(error: BaseException, reason: str, part: str) -> DicomError:
    """Return the error for a file that pydicom cannot read.

    Args:
        error: one of `DAMAGE`. Only its type is reported, because its message may quote a header.
        reason: of `formats.columns.REASONS`; replaced by `unreadable` if the disk or a mount failed.
        part: of the file, for the message.
    """
    # OSErrors raised by pydicom have no errno; a seek to before the start of a file has EINVAL
    if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
        return DicomError("unreadable", error.strerror or "the operating system gave no reason")
    return DicomError(reason, f"{part} cannot be parsed ({type(error).__name__})")


def sop_class(header: Header) -> str:
    """Return the SOPClassUID from the data set or else from the file meta information; "" if in neither."""
    return elements.text(header.dataset, "SOPClassUID") or elements.text(header.meta, "MediaStorageSOPClassUID")


def _is_uid(name: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)+", name) is not None and len(name) <= 64


def image_shape(header: Header) -> Shape:
    """Return the shape of the pixel data, after checking that it is an image that can be read.

    Raises:
        DicomError: `no_pixels`, `damaged_header`, `colour`, `bad_geometry`, `truncated_pixels`, `undecodable`.
    """
    shape = shape_of(header.dataset, header_info(header))
    check_pixel_length(header, shape)
    return shape


def shape_of(dataset: Elements, info: HeaderInfo) -> Shape:
    """Return the shape as `image_shape` does, without checking that the file contains all its pixels."""
    if info.ends_early:
        raise DicomError("damaged_header", "the file ends inside its header")
    if not info.pixel_keyword:
        raise DicomError("no_pixels", "pixel data missing or empty")
    if elements.items(elements.value(dataset, "ModalityLUTSequence")):
        raise DicomError("undecodable", "the file has a Modality LUT, which MR images do not have")
    samples, photometric = (
        elements.integer(dataset, "SamplesPerPixel"),
        elements.text(dataset, "PhotometricInterpretation"),
    )
    if samples not in {1, -1} or photometric == "PALETTE COLOR":
        raise DicomError("colour", f"{abs(samples)} samples per pixel, {photometric[:16] or 'no interpretation'}")
    # BitsAllocated is optional for float pixels
    floats = info.pixel_keyword != "PixelData"
    bits = PIXEL_BITS[info.pixel_keyword][0] if floats else elements.integer(dataset, "BitsAllocated")
    frames_stated = elements.text(dataset, "NumberOfFrames") not in {"", "0"}
    bits_stored = bits if floats else _integer_or_default(dataset, "BitsStored", default=bits)
    signed = _integer_or_default(dataset, "PixelRepresentation", default=0)
    shape = Shape(
        frames=elements.integer(dataset, "NumberOfFrames") if frames_stated else 1,
        rows=elements.integer(dataset, "Rows"),
        columns=elements.integer(dataset, "Columns"),
        bits=bits,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if floats else _high_bit(dataset, bits, bits_stored),
        representation=signed,
        photometric=photometric or "MONOCHROME2",
        padding=_padding(dataset, info.pixel_keyword, bits, signed=signed == 1),
    )
    _check_geometry(shape, info)
    return shape


def _integer_or_default(dataset: Elements, keyword: str, *, default: int) -> int:
    """Return an integer element, or a default: files older than DICOM omit values that were usual."""
    number = elements.integer(dataset, keyword)
    return default if number == -1 else number


def _high_bit(dataset: Elements, bits: int, bits_stored: int) -> int:
    stated = _integer_or_default(dataset, "HighBit", default=bits_stored - 1)
    if stated == bits_stored - 1 or bits_stored - 1 < stated < bits:
        return stated
    elements.record_warnings({"an impossible HighBit, ignored"})
    return bits_stored - 1


def _padding(dataset: Elements, pixel_keyword: str, bits: int, *, signed: bool) -> tuple[float, float]:
    kind = pixel_keyword.removesuffix("Data")
    stated = [elements.value(dataset, f"{kind}Padding{name}") for name in ("Value", "RangeLimit")]
    if stated[0] is None:
        return math.nan, math.nan
    numbers = [_padding_number(value) for value in stated]
    ends = [_as_pixel_value(number, bits, signed=signed) if kind == "Pixel" else number for number in numbers]
    low, high = ends[0], ends[0] if math.isnan(ends[1]) else ends[1]
    # as unsigned pixels, a range from -2000 to 0 would become 63536 to 0 and so cover almost every value
    if math.isnan(low) or (not signed and (numbers[0] < numbers[1]) != (low < high) and low != high):
        elements.record_warnings({"a padding that does not fit the pixels, ignored"})
        return math.nan, math.nan
    return min(low, high), max(low, high)


def _padding_number(value: Any) -> float:
    if isinstance(value, bytes):  # with implicit VRs, pydicom cannot determine whether it is signed
        value = int.from_bytes(value[:2], "little")
    return elements.as_number(value)


def _as_pixel_value(number: float, bits: int, *, signed: bool) -> float:
    """Return a padding value as a pixel of the same bits would be read: many writers confuse the VRs US and SS.

    NaN if no pixel can have this value.
    """
    if math.isnan(number) or bits > 16:
        return number
    if not -(2 ** (bits - 1)) <= number < 2**bits:
        return math.nan
    unsigned = int(number) % 2**bits
    return float(unsigned - 2**bits if signed and unsigned >= 2 ** (bits - 1) else unsigned)


def stored_dtype(info: HeaderInfo, shape: Shape) -> str:
    """Return the dtype of the pixels as stored contiguously in the file; "" if they must be decoded.

    Returns:
        numpy's name with byte order: "<u2", ">i2", "|u1", "<f4". If fewer bits are stored than allocated, a colon and
        BitsStored follow: "<u2:12" (the other bits may hold an overlay); if these are not the lowest bits, another
        colon and HighBit: "<u2:12:15".
    """
    big_endian, one_byte = info.transfer_syntax == uid.ExplicitVRBigEndian, shape.bits == 8
    if info.transfer_syntax not in NATIVE - {uid.DeflatedExplicitVRLittleEndian}:
        return ""
    # other interpretations are decoded or rejected by pydicom; bytes may be stored in big-endian words
    if shape.photometric not in {"MONOCHROME1", "MONOCHROME2"} or (big_endian and one_byte and info.vr != "OB"):
        return ""
    order = "|" if one_byte else "<>"[big_endian]
    if info.pixel_keyword != "PixelData":
        return f"{order}f{shape.bits // 8}"
    if shape.representation not in {0, 1} or not 1 <= shape.bits_stored <= shape.bits:
        return ""
    name = f"{order}{'ui'[shape.representation]}{shape.bits // 8}"
    if shape.bits_stored == shape.bits:
        return name
    name = f"{name}:{shape.bits_stored}"
    return name if shape.high_bit == shape.bits_stored - 1 else f"{name}:{shape.high_bit}"


def rescale(dataset: Elements, groups: Sequence[Dataset]) -> tuple[float, float]:
    """Return slope and intercept of a frame: 1 and 0 if missing; a slope of 0 would erase the image and becomes 1."""
    slope = elements.frame_number(dataset, groups, "RescaleSlope")
    intercept = elements.frame_number(dataset, groups, "RescaleIntercept")
    return (1.0 if slope == 0 or math.isnan(slope) else slope), (0.0 if math.isnan(intercept) else intercept)


def _check_geometry(shape: Shape, info: HeaderInfo) -> None:
    sides = range(1, _MAX_SIDE + 1)
    if shape.rows not in sides or shape.columns not in sides or shape.rows * shape.columns > _MAX_PIXELS:
        raise DicomError("bad_geometry", f"{shape.rows} rows x {shape.columns} columns (-1: missing)")
    if not 1 <= shape.frames <= _MAX_FRAMES:
        raise DicomError("bad_geometry", f"{shape.frames} frames, expected 1 to {_MAX_FRAMES}")
    if shape.bits not in PIXEL_BITS[info.pixel_keyword]:
        raise DicomError("bad_geometry", f"{shape.bits} bits per pixel (-1: missing), expected 8, 16, 32 or 64")


def check_pixel_length(header: Header, shape: Shape) -> None:
    """Raise `truncated_pixels` or `undecodable` if a file contains fewer bytes of pixels than its shape requires."""
    if header.transfer_syntax in NATIVE:
        if header.fragmented:  # read as uncompressed, these bytes would give an image of noise
            raise DicomError("undecodable", "compressed pixels, but the transfer syntax is uncompressed")
        needed = shape.frames * shape.frame_bytes
    else:
        needed = shape.frames * _ITEM_BYTES  # each frame has at least one fragment: limits a damaged number of frames
    if header.pixel_bytes < needed:
        raise DicomError("truncated_pixels", f"{header.pixel_bytes:,} bytes of pixels, {needed:,} expected")
