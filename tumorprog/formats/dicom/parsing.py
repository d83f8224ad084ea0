"""Parsing of the elements before the pixel data, and the offset of the pixel data."""

import functools
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import ENCODED_VR, read_dataset
from pydicom.tag import BaseTag

from tumorprog.errors import DicomError
from tumorprog.formats.dicom import elements, plain

PIXEL_BITS = {"PixelData": (8, 16, 32, 64), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
"""The elements that contain pixels, and the bits per pixel that each allows."""

_PIXEL_TAGS = {elements.tag_as_int(keyword): keyword for keyword in PIXEL_BITS}
_FIRST_PIXEL_TAG, _FIRST_DATASET_TAG = min(_PIXEL_TAGS), 0x00080000
_TAGS_BEFORE_PIXELS = range(_FIRST_DATASET_TAG, _FIRST_PIXEL_TAG)
_META_GROUP = 0x0002
_META_TAGS = range(_META_GROUP << 16, (_META_GROUP + 1) << 16)
_META_WANTED = frozenset(
    map(elements.tag_as_int, ("TransferSyntaxUID", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID"))
)
_PREAMBLE_BYTES = 132

WINDOW_BYTES = 2**16
"""Bytes read from the start of a file. Nearly every header ends within them."""

_MIN_INFLATED_LIMIT, _MAX_INFLATED_LIMIT, _MAX_INFLATION_RATIO = 2**26, 2**30, 64
"""Limits on inflating a data set. Deflate can shrink data a thousandfold; images shrink two to four times, and masks of
some megabytes to almost nothing. Small data may grow to 64 MiB, larger data by the ratio, and none beyond 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """Header of a file: the requested elements before the pixel data, and the location of the pixel data.

    Attributes:
        meta: transfer syntax, SOP class and SOP instance of the file meta information.
        dataset: the requested elements.
        transfer_syntax: as stated, or derived from the encoding of the elements if not stated.
        tag: of the element at which reading ended; 0 if there was none.
        vr: VR of that element; "" if implicit.
        length: of its value, as stated.
        start: byte offset in `source` of its value.
        end: byte offset at which the last element ends, by its length.
        source: contains the pixel data: the file, or the inflated content of a deflated one, in memory.
        source_bytes: its size.
    """

    meta: elements.Elements
    dataset: elements.Elements
    transfer_syntax: str
    tag: int
    vr: str
    length: int
    start: int
    end: int
    source: BinaryIO
    source_bytes: int

    @property
    def pixel_keyword(self) -> str:
        """One of `PIXEL_BITS`, or "" if the file has no pixel data or an empty element."""
        return _PIXEL_TAGS.get(self.tag, "") if self.length else ""

    @property
    def pixel_bytes(self) -> int:
        """Number of bytes of pixel data in the file, at most the length of the element."""
        return max(0, min(self.length, self.source_bytes - self.start))

    @property
    def fragmented(self) -> bool:
        """Whether the pixel data is stored in fragments, as compressed data is."""
        return self.length == plain.UNDEFINED_LENGTH

    @property
    def ends_early(self) -> bool:
        """Whether the file ends inside an element before the pixels."""
        return self.tag < _FIRST_PIXEL_TAG and self.end != self.source_bytes


class _PixelStop:
    """Stop condition that ends reading at the pixel data and records the last element and its position."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.tag = self.length = self.start = 0
        self.vr: str | None = ""

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        number = int(tag)
        self.tag, self.vr, self.length, self.start = number, vr, length, self.file.tell()
        return number not in _TAGS_BEFORE_PIXELS


def parse(window: bytes, file: BinaryIO, keywords: Sequence[str]) -> Header:
    """Parse a file up to the pixel data.

    Args:
        window: the first `WINDOW_BYTES` of the file, or all of a smaller one.
        file: seekable; on return its position is undefined.
        keywords: of the elements to keep; the others are skipped.

    Raises:
        DicomError: `undecodable` if it is deflated and inflates beyond the limits.
        elements.DAMAGE: raised by pydicom for headers that it cannot parse.
    """
    return _parse_plain(window, file, keywords) or _parse_any(window, file, keywords)


def _parse_plain(window: bytes, file: BinaryIO, keywords: Sequence[str]) -> Header | None:
    """Parse a header of the usual kind without pydicom's loop; None for any other."""
    if window[_PREAMBLE_BYTES - 4 : _PREAMBLE_BYTES] != b"DICM":
        return None
    meta = plain.walk_explicit(window, _PREAMBLE_BYTES, _META_WANTED, _META_TAGS)
    if meta is None:
        return None
    stated = elements.Elements(meta.found)
    syntax = elements.text(stated, "TransferSyntaxUID")
    implicit, little_endian = _encoding(syntax, b"")
    if not syntax or not little_endian or syntax == uid.DeflatedExplicitVRLittleEndian:
        return None
    walk = plain.walk_implicit if implicit else plain.walk_explicit
    walked = walk(window, meta.at, _tags(tuple(keywords)), _TAGS_BEFORE_PIXELS)
    if walked is None or walked.tag < _FIRST_PIXEL_TAG or (walked.vr is None and not implicit):
        return None
    return Header(
        meta=stated,
        dataset=elements.Elements(walked.found, implicit=implicit),
        transfer_syntax=syntax,
        tag=walked.tag,
        vr=walked.vr or "",
        length=walked.length,
        start=walked.start,
        end=walked.start + walked.length,
        source=file,
        source_bytes=file.seek(0, io.SEEK_END),
    )


def _parse_any(window: bytes, file: BinaryIO, keywords: Sequence[str]) -> Header:
    """Parse with pydicom: first the window, which contains most headers, because seeking in a file is slow."""
    if len(window) == WINDOW_BYTES:
        try:
            with elements.quiet_pydicom() as collected:
                header = _parse(io.BytesIO(window), file, keywords)
        except elements.DAMAGE:
            header = None
        if header is not None and header.tag >= _FIRST_PIXEL_TAG:
            elements.record_warnings(collected)
            return header
        file.seek(0)
        return _parse(file, file, keywords)
    return _parse(io.BytesIO(window), file, keywords)


def _parse(stream: BinaryIO, file: BinaryIO, keywords: Sequence[str]) -> Header:
    """Parse a stream that has the same beginning as the file but may be shorter."""
    meta = _read_meta(stream)
    syntax, source = elements.text(meta, "TransferSyntaxUID"), file
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        file.seek(stream.tell())
        source = stream = _inflated(file)
    if _peek(stream, 2) == b"\0\0":  # a command set: the file is a saved DICOM message
        read_dataset(stream, is_implicit_VR=True, is_little_endian=True, stop_when=lambda tag, *_: int(tag) >> 16 != 0)
    stop = _PixelStop(stream)
    implicit, little_endian = _encoding(syntax, _peek(stream, 6))
    found = read_dataset(stream, implicit, little_endian, stop_when=stop, specific_tags=list(_tags(tuple(keywords))))
    return Header(
        meta=meta,
        dataset=_elements(found),
        transfer_syntax=syntax or _syntax_of(*found.original_encoding),
        tag=stop.tag,
        vr=str(stop.vr or ""),
        length=stop.length,
        start=stop.start,
        end=stream.tell() if stop.length == plain.UNDEFINED_LENGTH else stop.start + stop.length,
        source=source,
        source_bytes=source.seek(0, io.SEEK_END),
    )


def _elements(found: Dataset) -> elements.Elements:
    """Return the elements that pydicom's loop has read."""
    implicit, little_endian = found.original_encoding
    raw = {int(element.tag): (element.VR, element.value) for element in found.values()}
    return elements.Elements(raw, implicit=bool(implicit), little_endian=bool(little_endian))


def _peek(stream: BinaryIO, num_bytes: int) -> bytes:
    at = stream.tell()
    peeked = stream.read(num_bytes)
    stream.seek(at)
    return peeked


def _read_meta(stream: BinaryIO) -> elements.Elements:
    """Read the file meta information, leaving the stream at its end."""
    if stream.read(_PREAMBLE_BYTES)[-4:] != b"DICM":
        stream.seek(0)
    if _peek(stream, 2) != b"\2\0":
        return elements.Elements({})

    def is_past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return int(tag) >> 16 != _META_GROUP

    return _elements(read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=is_past_meta))


def _inflated(file: BinaryIO) -> BinaryIO:
    """Inflate the rest of a file."""
    deflated = file.read()
    limit = min(_MAX_INFLATED_LIMIT, max(_MIN_INFLATED_LIMIT, _MAX_INFLATION_RATIO * len(deflated)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, limit + 1)
    if len(inflated) > limit:
        raise DicomError("undecodable", f"{len(deflated):,} deflated bytes that inflate to more than {limit:,}")
    if not inflater.eof:
        raise DicomError("damaged_header", "the deflated data set ends early")
    return io.BytesIO(inflated)


def _encoding(syntax: str, first_bytes: bytes) -> tuple[bool, bool]:
    """Return whether VRs are implicit and the byte order little endian, from the syntax or the first bytes."""
    if syntax:
        return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    if first_bytes[4:6] not in ENCODED_VR:
        return True, True
    # the first group, 0008, reads as 0800 in the other byte order
    return False, int.from_bytes(first_bytes[:2], "little") < 0x0400


def _syntax_of(implicit: bool, little_endian: bool) -> str:
    if implicit:
        return str(uid.ImplicitVRLittleEndian)
    return str(uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian)


@functools.cache
def _tags(keywords: tuple[str, ...]) -> frozenset[int]:
    return frozenset((elements.CHARACTER_SET, *map(elements.tag_as_int, keywords)))
