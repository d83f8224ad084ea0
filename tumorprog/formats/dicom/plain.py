"""Fast parser for headers of the usual kind; all other headers are left to pydicom.

Nearly all headers of an archive are little endian with known VRs and defined lengths. Reading them takes a few
operations per element, where pydicom's general loop takes some hundred. Nothing ambiguous is interpreted here: the
result is then None, and pydicom reads the file.
"""

import io
import struct
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pydicom.filereader import read_sequence
from pydicom.sequence import Sequence
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from tumorprog.formats.dicom import elements

_EXPLICIT = struct.Struct("<HH2sHI")
_IMPLICIT = struct.Struct("<HHI")
_SHORT = {str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_16}

_LONG = {str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_32}

UNDEFINED_LENGTH = 0xFFFFFFFF
"""Length of a value that ends at a delimiter, as sequences and compressed pixel data may."""


class WalkResult(NamedTuple):
    """Elements read from a header, and the element at which the walk ended.

    Attributes:
        found: the requested elements, by tag.
        tag: of the element at which the walk ended.
        vr: VR of that element; None if implicit or unknown.
        length: of its value, as stated.
        at: byte offset of that element.
        start: byte offset of its value.
    """

    found: dict[int, elements.Raw]
    tag: int
    vr: str | None
    length: int
    at: int
    start: int


def walk_explicit(header: bytes, at: int, wanted: AbstractSet[int], within: range) -> WalkResult | None:
    """Read elements with explicit VRs, little endian.

    Args:
        header: the beginning of a file.
        at: byte offset of the first element.
        wanted: tags of the elements to keep, including SpecificCharacterSet; without it text is decoded as Latin-1.
        within: tags to walk over; the first element outside this range ends the walk.

    Returns:
        The same elements as pydicom would read; None if the header ends first, or has elements only pydicom can read.
    """
    found: dict[int, elements.Raw] = {}
    last = len(header) - _EXPLICIT.size
    while at <= last:
        group, element, name, short, length = _EXPLICIT.unpack_from(header, at)
        tag = group << 16 | element
        vr = _SHORT.get(name)
        if vr is not None:
            length, start = short, at + 8
        else:
            vr, start = _LONG.get(name), at + 12
        if tag not in within:
            return WalkResult(found, tag, vr, length, at, start)
        if vr is None:
            return None
        if length == UNDEFINED_LENGTH:
            items = _items(header, start, found) if vr == "SQ" else None
            if items is None:
                return None
            read, at = items
            if tag in wanted:
                found[tag] = vr, read
            continue
        at = start + length
        if tag in wanted:
            found[tag] = vr, header[start:at]
    return None


def walk_implicit(header: bytes, at: int, wanted: AbstractSet[int], within: range) -> WalkResult | None:
    """Read elements with implicit VRs, little endian; otherwise as `walk_explicit`."""
    found: dict[int, elements.Raw] = {}
    if header[at + 4 : at + 6].isupper():  # it looks like an explicit VR
        return None
    last = len(header) - _IMPLICIT.size
    while at <= last:
        group, element, length = _IMPLICIT.unpack_from(header, at)
        tag, start = group << 16 | element, at + 8
        if tag not in within:
            return WalkResult(found, tag, None, length, at, start)
        if length == UNDEFINED_LENGTH:  # the VR would have to be looked up
            return None
        at = start + length
        if tag in wanted:
            found[tag] = None, header[start:at]
    return None


def _items(header: bytes, start: int, found: dict[int, elements.Raw]) -> tuple[Sequence, int] | None:
    """Return a sequence of undefined length, and the byte offset of its end."""
    stream = io.BytesIO(header[start:])
    try:
        with elements.quiet_pydicom() as collected:
            read = read_sequence(stream, False, True, UNDEFINED_LENGTH, list(elements.encodings(found)))
    except elements.DAMAGE:  # the header continues beyond these bytes, or is damaged
        return None
    elements.record_warnings(collected)
    return read, start + stream.tell()
