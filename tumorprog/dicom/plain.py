"""The bytes of a header in, its elements out, if it is of the usual kind; whatever is unusual is left to pydicom.

An archive's headers are nearly all little endian with known VRs and stated lengths. Going through them needs no more
than a few operations an element, where pydicom's general loop needs some hundred. Nothing is decided here: at the first
thing that could mean more than it says, the answer is None, and pydicom reads the file.
"""

import io
import struct
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pydicom.filereader import read_sequence
from pydicom.sequence import Sequence
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from tumorprog.dicom import elements

_EXPLICIT = struct.Struct("<HH2sHI")
_IMPLICIT = struct.Struct("<HHI")
_SHORT = {str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_16}
_LONG = {str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_32}
UNDEFINED_LENGTH = 0xFFFFFFFF
"""Of a value that ends at a mark, as sequences and compressed pixels may."""


class Walked(NamedTuple):
    """What stands between two places of a header.

    Attributes:
        found: by tag, the elements that were asked for.
        tag: of the element at which the walk ended.
        vr: its VR; None if implicit or unknown.
        length: of its value, as stated.
        at: byte at which it begins.
        start: byte at which its value begins.
    """

    found: dict[int, elements.Raw]
    tag: int
    vr: str | None
    length: int
    at: int
    start: int


def walk_explicit(header: bytes, at: int, wanted: AbstractSet[int], within: range) -> Walked | None:
    """Goes over elements with explicit VRs, little endian.

    Args:
        header: the beginning of a file.
        at: where the first element begins.
        wanted: tags of the elements to keep; SpecificCharacterSet among them, or text is taken to be Latin.
        within: tags; the first element with another one ends the walk.

    Returns:
        What pydicom would find; None if the header ends before, or holds what only pydicom should judge.
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
            return Walked(found, tag, vr, length, at, start)
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


def walk_implicit(header: bytes, at: int, wanted: AbstractSet[int], within: range) -> Walked | None:
    """As `walk_explicit`, of elements without VRs."""
    found: dict[int, elements.Raw] = {}
    if header[at + 4 : at + 6].isupper():  # it looks like a VR
        return None
    last = len(header) - _IMPLICIT.size
    while at <= last:
        group, element, length = _IMPLICIT.unpack_from(header, at)
        tag, start = group << 16 | element, at + 8
        if tag not in within:
            return Walked(found, tag, None, length, at, start)
        if length == UNDEFINED_LENGTH:  # which kind of value it is would have to be looked up
            return None
        at = start + length
        if tag in wanted:
            found[tag] = None, header[start:at]
    return None


def _items(header: bytes, start: int, found: dict[int, elements.Raw]) -> tuple[Sequence, int] | None:
    """A sequence whose end is marked and not stated, and where that end is."""
    stream = io.BytesIO(header[start:])
    try:
        with elements.quiet_pydicom() as said:
            read = read_sequence(stream, False, True, UNDEFINED_LENGTH, list(elements.encodings(found)))
    except elements.DAMAGE:  # the header goes on beyond what is here, or is damaged
        return None
    elements.hear(said)
    return read, start + stream.tell()
