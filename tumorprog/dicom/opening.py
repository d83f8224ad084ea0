"""A path in; the open file, its header and the shape of its image out, or the reason why there is none."""

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
from tumorprog.dicom import elements, parsing, pixel_elements
from tumorprog.dicom.elements import Elements
from tumorprog.dicom.parsing import PIXEL_BITS, Header
from tumorprog.errors import DicomError

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
"""How a DICOM file without a preamble begins: file meta information, or group 0008 in either byte order."""

_MOST_PIXELS = 2**28
_MOST_FRAMES = 2**17
_LARGEST_SIDE = 32768

IMAGE_KEYWORDS = ("SOPClassUID", "Modality", *pixel_elements.READ, *elements.GROUP_KEYWORDS)
"""What is asked of any file before its pixels are believed, and what they mean."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of the pixels of a file.

    Attributes:
        frames: how many.
        rows: of a frame.
        columns: of a frame.
        bits: of a pixel's place.
        bits_stored: how many of them are the pixel's; all if it is not stated.
        high_bit: the highest of these; the one before `bits_stored` if it is not stated, or impossible.
        representation: 0 unsigned, 1 signed; what else is stated, no decoder reads.
        photometric: PhotometricInterpretation; MONOCHROME2 if it is not stated.
        padding: the least and the largest stored value that are no image; NaN if there are none.
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
        """The length of an uncompressed frame."""
        return self.rows * self.columns * self.bits // 8


class Form(NamedTuple):
    """What a header says besides its elements."""

    sop_class: str
    transfer_syntax: str
    pixel_keyword: str
    vr: str
    ends_early: bool


def form_of(header: Header) -> Form:
    """What of a header that is no element decides what it is a header of."""
    return Form(
        sop_class=sop_class(header),
        transfer_syntax=header.transfer_syntax,
        pixel_keyword=header.pixel_keyword,
        vr=header.vr,
        ends_early=header.ends_early,
    )


def open_file(path: str) -> BinaryIO:
    """A file of at least one byte, open for reading at its start.

    Args:
        path: of a file of this machine, as `storage.walk` or the operating system names it, or its address in a store.

    Raises:
        DicomError: `unreadable` or `empty`.
    """
    try:
        file = storage.open_binary(path) if storage.is_remote(path) else _open_local(path)
        num_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
    except OSError as error:
        raise DicomError("unreadable", error.strerror or "the operating system gives no reason") from error
    except ValueError as error:
        raise DicomError("unreadable", "the path holds a character that no path can have") from error
    if num_bytes == 0:
        file.close()
        raise DicomError("empty", "0 bytes")
    return file


def _open_local(path: str) -> BinaryIO:
    descriptor = storage.open_local(path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a device would never end
        os.close(descriptor)
        raise DicomError("unreadable", "not a regular file")
    return os.fdopen(descriptor, "rb")


def read_header(file: BinaryIO, keywords: Sequence[str]) -> Header:
    """The elements before the pixels.

    Args:
        file: open at its start; on return it stands anywhere.
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
                raise DicomError(reason, "it begins neither with a DICOM preamble nor with a data set")
        header = parsing.parse(window, file, keywords)
    except elements.DAMAGE as error:
        raise damaged(error, reason, "the header") from None
    if sop_class(header) == uid.MediaStorageDirectoryStorage or header.tag >> 16 == _DIRECTORY_GROUP:
        raise DicomError("index_file", "a DICOMDIR")
    dataset = header.dataset
    if not (_is_uid(sop_class(header)) or (elements.text(dataset, "Modality") and elements.whole(dataset, "Rows") > 0)):
        raise DicomError(reason, "neither SOPClassUID nor Modality and Rows can be read")
    return header


def damaged(error: BaseException, reason: str, part: str) -> DicomError:
    """What becomes of a file on which pydicom gave up.

    Args:
        error: one of `DAMAGE`. Its type is told and its message is not: it may quote a header.
        reason: of `tables.REASONS`, unless the disk or a mount failed, which is no fault of the file.
        part: of the file, for the message.
    """
    # pydicom's own OSErrors have no number; a seek to before the start of a file has EINVAL
    if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
        return DicomError("unreadable", error.strerror or "the operating system gives no reason")
    return DicomError(reason, f"{part} cannot be parsed ({type(error).__name__})")


def sop_class(header: Header) -> str:
    """The SOPClassUID, also of a file that states it in its meta information only; "" if neither does."""
    return elements.text(header.dataset, "SOPClassUID") or elements.text(header.meta, "MediaStorageSOPClassUID")


def _is_uid(name: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)+", name) is not None and len(name) <= 64


def image_shape(header: Header) -> Shape:
    """The shape of the pixels, once it is clear that they are an image that can be read.

    Raises:
        DicomError: `no_pixels`, `damaged_header`, `colour`, `bad_geometry`, `truncated_pixels`, `undecodable`.
    """
    shape = shape_of(header.dataset, form_of(header))
    refuse_truncation(header, shape)
    return shape


def shape_of(dataset: Elements, form: Form) -> Shape:
    """As `image_shape`, of the elements alone: whether the file holds all its pixels is not looked at."""
    if form.ends_early:
        raise DicomError("damaged_header", "the file ends inside its header")
    if not form.pixel_keyword:
        raise DicomError("no_pixels", "no element of pixel data, or an empty one")
    if elements.items(elements.value(dataset, "ModalityLUTSequence")):
        raise DicomError("undecodable", "values that mean what a Modality LUT says, which MR images do not have")
    samples, photometric = (
        elements.whole(dataset, "SamplesPerPixel"),
        elements.text(dataset, "PhotometricInterpretation"),
    )
    if samples not in {1, -1} or photometric == "PALETTE COLOR":
        raise DicomError("colour", f"{abs(samples)} samples a pixel, {photometric[:16] or 'no interpretation'}")
    # float pixels need not state their bits
    floats = form.pixel_keyword != "PixelData"
    bits = PIXEL_BITS[form.pixel_keyword][0] if floats else elements.whole(dataset, "BitsAllocated")
    frames_stated = elements.text(dataset, "NumberOfFrames") not in {"", "0"}
    bits_stored = bits if floats else _stated(dataset, "BitsStored", usual=bits)
    signed = _stated(dataset, "PixelRepresentation", usual=0)
    shape = Shape(
        frames=elements.whole(dataset, "NumberOfFrames") if frames_stated else 1,
        rows=elements.whole(dataset, "Rows"),
        columns=elements.whole(dataset, "Columns"),
        bits=bits,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if floats else _high_bit(dataset, bits, bits_stored),
        representation=signed,
        photometric=photometric or "MONOCHROME2",
        padding=_padding(dataset, form.pixel_keyword, bits, signed=signed == 1),
    )
    _refuse_geometry(shape, form)
    return shape


def _stated(dataset: Elements, keyword: str, *, usual: int) -> int:
    """A whole number; files older than DICOM do not state what was usual."""
    number = elements.whole(dataset, keyword)
    return usual if number == -1 else number


def _high_bit(dataset: Elements, bits: int, bits_stored: int) -> int:
    stated = _stated(dataset, "HighBit", usual=bits_stored - 1)
    if stated == bits_stored - 1 or bits_stored - 1 < stated < bits:
        return stated
    elements.hear({"an impossible HighBit, ignored"})
    return bits_stored - 1


def _padding(dataset: Elements, pixel_keyword: str, bits: int, *, signed: bool) -> tuple[float, float]:
    kind = pixel_keyword.removesuffix("Data")
    words = [elements.value(dataset, f"{kind}Padding{name}") for name in ("Value", "RangeLimit")]
    if words[0] is None:
        return math.nan, math.nan
    numbers = [_padding_number(word) for word in words]
    ends = [_as_a_pixel(number, bits, signed=signed) if kind == "Pixel" else number for number in numbers]
    low, high = ends[0], ends[0] if math.isnan(ends[1]) else ends[1]
    # unsigned, a range from -2000 to 0 would be from 63536 down: all but what was meant
    if math.isnan(low) or (not signed and (numbers[0] < numbers[1]) != (low < high) and low != high):
        elements.hear({"a padding that does not fit the pixels, ignored"})
        return math.nan, math.nan
    return min(low, high), max(low, high)


def _padding_number(word: Any) -> float:
    if isinstance(word, bytes):  # without a VR nobody told pydicom whether it has a sign
        word = int.from_bytes(word[:2], "little")
    return elements.as_number(word)


def _as_a_pixel(number: float, bits: int, *, signed: bool) -> float:
    """A value whose VR is US or SS, which many writers choose wrongly: as a pixel of the same bits would be read.

    NaN if no pixel can have it.
    """
    if math.isnan(number) or bits > 16:
        return number
    if not -(2 ** (bits - 1)) <= number < 2**bits:
        return math.nan
    unsigned = int(number) % 2**bits
    return float(unsigned - 2**bits if signed and unsigned >= 2 ** (bits - 1) else unsigned)


def stored_dtype(form: Form, shape: Shape) -> str:
    """How the pixels of each frame stand in the file, one after the other; "" if they must be decoded.

    Returns:
        numpy's name with byte order: "<u2", ">i2", "|u1", "<f4"; then, if the pixel has fewer bits than its place, a
        colon and their number: "<u2:12" (the others may hold an overlay), and if these are not the lowest, a colon and
        the highest: "<u2:12:15".
    """
    big_endian, one_byte = form.transfer_syntax == uid.ExplicitVRBigEndian, shape.bits == 8
    if form.transfer_syntax not in NATIVE - {uid.DeflatedExplicitVRLittleEndian}:
        return ""
    # whatever else is stated, pydicom knows what to do or to refuse; bytes may stand in big-endian words
    if shape.photometric not in {"MONOCHROME1", "MONOCHROME2"} or (big_endian and one_byte and form.vr != "OB"):
        return ""
    order = "|" if one_byte else "<>"[big_endian]
    if form.pixel_keyword != "PixelData":
        return f"{order}f{shape.bits // 8}"
    if shape.representation not in {0, 1} or not 1 <= shape.bits_stored <= shape.bits:
        return ""
    name = f"{order}{'ui'[shape.representation]}{shape.bits // 8}"
    if shape.bits_stored == shape.bits:
        return name
    name = f"{name}:{shape.bits_stored}"
    return name if shape.high_bit == shape.bits_stored - 1 else f"{name}:{shape.high_bit}"


def rescale(dataset: Elements, groups: Sequence[Dataset]) -> tuple[float, float]:
    """Slope and intercept of a frame: 1 and 0 if missing, and 1 for a slope of 0, which would leave nothing."""
    slope = elements.frame_number(dataset, groups, "RescaleSlope")
    intercept = elements.frame_number(dataset, groups, "RescaleIntercept")
    return (1.0 if slope == 0 or math.isnan(slope) else slope), (0.0 if math.isnan(intercept) else intercept)


def _refuse_geometry(shape: Shape, form: Form) -> None:
    sides = range(1, _LARGEST_SIDE + 1)
    if shape.rows not in sides or shape.columns not in sides or shape.rows * shape.columns > _MOST_PIXELS:
        raise DicomError("bad_geometry", f"{shape.rows} rows x {shape.columns} columns (-1: missing)")
    if not 1 <= shape.frames <= _MOST_FRAMES:
        raise DicomError("bad_geometry", f"{shape.frames} frames, expected 1 to {_MOST_FRAMES}")
    if shape.bits not in PIXEL_BITS[form.pixel_keyword]:
        raise DicomError("bad_geometry", f"{shape.bits} bits a pixel (-1: missing), expected 8, 16, 32 or 64")


def refuse_truncation(header: Header, shape: Shape) -> None:
    """Refuses a file that holds fewer bytes of pixels than its shape needs: `truncated_pixels`, `undecodable`."""
    if header.transfer_syntax in NATIVE:
        if header.fragmented:  # read as they stand, compressed bytes would make an image of noise
            raise DicomError("undecodable", "compressed pixels, and no transfer syntax that says how")
        needed = shape.frames * shape.frame_bytes
    else:
        needed = shape.frames * _ITEM_BYTES  # each has a fragment of its own: bounds a damaged number of frames
    if header.pixel_bytes < needed:
        raise DicomError("truncated_pixels", f"{header.pixel_bytes:,} bytes of pixels, {needed:,} expected")
