"""An open file in, the elements before its pixels out, and where its pixels begin."""

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

from tumorprog.dicom import elements, plain
from tumorprog.errors import DicomError

PIXEL_BITS = {"PixelData": (8, 16, 32, 64), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
"""The elements that hold pixels, and the bits that a pixel can have in each."""

_PIXEL_TAGS = {elements.int_of(keyword): keyword for keyword in PIXEL_BITS}
_FIRST_PIXELS, _FIRST_OF_DATASET = min(_PIXEL_TAGS), 0x00080000
_TAGS_BEFORE_PIXELS = range(_FIRST_OF_DATASET, _FIRST_PIXELS)
_META_GROUP = 0x0002
_META_TAGS = range(_META_GROUP << 16, (_META_GROUP + 1) << 16)
_META_WANTED = frozenset(
    map(elements.int_of, ("TransferSyntaxUID", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID"))
)
_PREAMBLE_BYTES = 132

WINDOW_BYTES = 2**16
"""What is read of a file at once. Nearly every header ends in it."""

_LEAST_INFLATED, _MOST_INFLATED, _MOST_RATIO = 2**26, 2**30, 64
"""Bounds on a deflated data set. Deflate can shrink a thousand times, images shrink two to four times, and masks of
some megabytes to nothing: what is small may grow to 64 MiB, what is larger by its ratio, and nothing beyond 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says before its pixels.

    Attributes:
        meta: of the file meta information, what says of which kind and class it is.
        dataset: the elements that were asked for.
        transfer_syntax: as stated, or as the elements are encoded where nothing is stated.
        tag: of the element at which the reading ended; 0 if there was none.
        vr: its VR; "" if implicit.
        length: of its value, as stated.
        start: byte of `source` at which its value begins.
        end: where the last element ends, by its length.
        source: holds the pixels: the file, or what a deflated one holds, in memory.
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
        """One of `PIXEL_BITS`, or "" if the file has no pixels, or an empty element of them."""
        return _PIXEL_TAGS.get(self.tag, "") if self.length else ""

    @property
    def pixel_bytes(self) -> int:
        """How many bytes of pixels there are, and not more than the element's length."""
        return max(0, min(self.length, self.source_bytes - self.start))

    @property
    def fragmented(self) -> bool:
        """Whether the pixels stand in fragments, as compressed ones do."""
        return self.length == plain.UNDEFINED_LENGTH

    @property
    def ends_early(self) -> bool:
        """Whether the file ends inside an element before the pixels."""
        return self.tag < _FIRST_PIXELS and self.end != self.source_bytes


class _Watch:
    """Ends the reading at the pixels, and remembers what was seen last and where."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.tag = self.length = self.start = 0
        self.vr: str | None = ""

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        number = int(tag)
        self.tag, self.vr, self.length, self.start = number, vr, length, self.file.tell()
        return number not in _TAGS_BEFORE_PIXELS


def parse(window: bytes, file: BinaryIO, keywords: Sequence[str]) -> Header:
    """Reads up to the pixels.

    Args:
        window: the first `WINDOW_BYTES` of the file, or all of a smaller one.
        file: seekable; on return it stands anywhere.
        keywords: of the elements to keep; the others are skipped.

    Raises:
        DicomError: `undecodable` if it is deflated and inflates beyond all measure.
        elements.DAMAGE: whatever pydicom makes of what it cannot parse.
    """
    return _parse_plain(window, file, keywords) or _parse_any(window, file, keywords)


def _parse_plain(window: bytes, file: BinaryIO, keywords: Sequence[str]) -> Header | None:
    """What a header of the usual kind says, without pydicom's loop; None for any other."""
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
    told = walk(window, meta.at, _tags(tuple(keywords)), _TAGS_BEFORE_PIXELS)
    if told is None or told.tag < _FIRST_PIXELS or (told.vr is None and not implicit):
        return None
    return Header(
        meta=stated,
        dataset=elements.Elements(told.found, implicit=implicit),
        transfer_syntax=syntax,
        tag=told.tag,
        vr=told.vr or "",
        length=told.length,
        start=told.start,
        end=told.start + told.length,
        source=file,
        source_bytes=file.seek(0, io.SEEK_END),
    )


def _parse_any(window: bytes, file: BinaryIO, keywords: Sequence[str]) -> Header:
    """What pydicom makes of a file; most headers end in the window, and a parser that jumps about is slow on a file."""
    if len(window) == WINDOW_BYTES:
        try:
            with elements.quiet_pydicom() as said:
                header = _parse(io.BytesIO(window), file, keywords)
        except elements.DAMAGE:
            header = None
        if header is not None and header.tag >= _FIRST_PIXELS:
            elements.hear(said)
            return header
        file.seek(0)
        return _parse(file, file, keywords)
    return _parse(io.BytesIO(window), file, keywords)


def _parse(stream: BinaryIO, file: BinaryIO, keywords: Sequence[str]) -> Header:
    """Reads from the stream, which begins like the file and may end before it."""
    meta = _read_meta(stream)
    syntax, source = elements.text(meta, "TransferSyntaxUID"), file
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        file.seek(stream.tell())
        source = stream = _inflated(file)
    if _peek(stream, 2) == b"\0\0":  # a command set: the file is a message that was kept
        read_dataset(stream, is_implicit_VR=True, is_little_endian=True, stop_when=lambda tag, *_: int(tag) >> 16 != 0)
    watch = _Watch(stream)
    implicit, little_endian = _encoding(syntax, _peek(stream, 6))
    found = read_dataset(stream, implicit, little_endian, stop_when=watch, specific_tags=list(_tags(tuple(keywords))))
    return Header(
        meta=meta,
        dataset=_elements(found),
        transfer_syntax=syntax or _syntax_of(*found.original_encoding),
        tag=watch.tag,
        vr=str(watch.vr or ""),
        length=watch.length,
        start=watch.start,
        end=stream.tell() if watch.length == plain.UNDEFINED_LENGTH else watch.start + watch.length,
        source=source,
        source_bytes=source.seek(0, io.SEEK_END),
    )


def _elements(found: Dataset) -> elements.Elements:
    """Elements as pydicom's own loop leaves them."""
    implicit, little_endian = found.original_encoding
    raw = {int(element.tag): (element.VR, element.value) for element in found.values()}
    return elements.Elements(raw, implicit=bool(implicit), little_endian=bool(little_endian))


def _peek(stream: BinaryIO, num_bytes: int) -> bytes:
    at = stream.tell()
    peeked = stream.read(num_bytes)
    stream.seek(at)
    return peeked


def _read_meta(stream: BinaryIO) -> elements.Elements:
    """The file meta information, and the stream at the end of it."""
    if stream.read(_PREAMBLE_BYTES)[-4:] != b"DICM":
        stream.seek(0)
    if _peek(stream, 2) != b"\2\0":
        return elements.Elements({})

    def over(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return int(tag) >> 16 != _META_GROUP

    return _elements(read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=over))


def _inflated(file: BinaryIO) -> BinaryIO:
    """What the deflated rest of a file holds."""
    deflated = file.read()
    most = min(_MOST_INFLATED, max(_LEAST_INFLATED, _MOST_RATIO * len(deflated)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, most + 1)
    if len(inflated) > most:
        raise DicomError("undecodable", f"{len(deflated):,} deflated bytes that inflate to more than {most:,}")
    if not inflater.eof:
        raise DicomError("damaged_header", "the deflated data set ends early")
    return io.BytesIO(inflated)


def _encoding(syntax: str, begins: bytes) -> tuple[bool, bool]:
    """Whether VRs are implicit, and whether the byte order is little endian: as stated, or as the elements look."""
    if syntax:
        return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    if begins[4:6] not in ENCODED_VR:
        return True, True
    # the first group, 0008, reads as 0800 in the other order
    return False, int.from_bytes(begins[:2], "little") < 0x0400


def _syntax_of(implicit: bool, little_endian: bool) -> str:
    if implicit:
        return str(uid.ImplicitVRLittleEndian)
    return str(uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian)


@functools.cache
def _tags(keywords: tuple[str, ...]) -> frozenset[int]:
    return frozenset((elements.CHARACTER_SET, *map(elements.int_of, keywords)))
