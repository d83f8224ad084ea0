"""Conversion of data elements to text, numbers and sequence items; "", NaN or no items if missing or invalid."""

import functools
import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as ItemSequence
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import VR

DAMAGE = (
    # truncated files, invalid lengths and offsets
    OSError,
    EOFError,
    struct.error,
    zlib.error,
    MemoryError,
    # values that do not match their VR, unknown encodings
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    # pydicom's own errors; failed decoders, unknown VRs, endlessly nested sequences
    InvalidDicomError,
    BytesLengthException,
    RuntimeError,
    StopIteration,
)
"""Exceptions that pydicom raises on damaged bytes, mostly built-in ones; found by damaging real files."""

GROUP_KEYWORDS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""The sequences in which an enhanced multi-frame object stores the attributes that can differ between frames."""

_GROUP_LOCATIONS = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "FrameAcquisitionDateTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "AcquisitionContrast": ("MRImageFrameTypeSequence", "AcquisitionContrast"),
    "ComplexImageComponent": ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "InversionRecovery": ("MRModifierSequence", "InversionRecovery"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
}
"""By top-level keyword of a single-frame object: its location in an enhanced one (PS3.3 C.7.6.16.2, C.8.13.5)."""

_INT32 = range(-(2**31), 2**31)

CHARACTER_SET = 0x00080005
"""The tag of SpecificCharacterSet."""

_PYDICOM = logging.getLogger("pydicom")

_MEANINGS = (
    (re.compile(r"VR, but found"), "explicit VR where implicit was stated, or the reverse"),
    (re.compile(r"[Ee]nd of file|has been reached"), "the file ends inside an element"),
    (re.compile(r"escape sequence|[Ee]ncoding|Specific Character Set|code extension"), "text not in its character set"),
    (re.compile(r"exceeds the maximum"), "a value longer than its VR allows"),
    (re.compile(r"[Ll]ength"), "a value of a length that its VR does not allow"),
    (re.compile(r"[Vv]alue"), "a value that its VR does not allow"),
    (re.compile(r"'UN'|Unknown"), "an unknown tag or VR"),
)
"""Meanings of pydicom's messages, by the first pattern that matches: its own text quotes values, such as names."""

_VR_IN_MESSAGE = re.compile(rf"\bVR (?:of )?'?({'|'.join(sorted(VR))})\b")

_active_collections: list[set[str]] = []


class _WarningCollector(logging.Handler):
    """Collects what pydicom logs, from the level of warnings up."""

    def emit(self, record: logging.LogRecord) -> None:
        _active_collections[-1].add(sanitise_message(record.getMessage()))


_COLLECTOR = _WarningCollector(logging.WARNING)


@contextmanager
def quiet_pydicom() -> Iterator[set[str]]:
    """Suppress pydicom's warnings and log lines, which quote headers and so may name a patient.

    Yields:
        The sanitised messages; complete once the block has ended.
    """
    propagates, collected = _PYDICOM.propagate, set[str]()
    _PYDICOM.propagate = False
    _PYDICOM.addHandler(_COLLECTOR)
    _active_collections.append(collected)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield collected
        finally:
            collected.update(sanitise_message(str(warning.message)) for warning in caught)
            _active_collections.pop()
            _PYDICOM.propagate = propagates
            if not _active_collections:
                _PYDICOM.removeHandler(_COLLECTOR)


def record_warnings(collected: set[str]) -> None:
    """Add messages to those that the enclosing `quiet_pydicom` yields."""
    if collected and _active_collections:
        _active_collections[-1].update(collected)


def sanitise_message(message: str) -> str:
    """Return the meaning of a pydicom message without its text, which may quote values; only the VR is kept."""
    meaning = next((text for pattern, text in _MEANINGS if pattern.search(message)), "another warning of pydicom")
    vr = _VR_IN_MESSAGE.search(message)
    return f"{meaning} ({vr[1]})" if vr and "its VR" in meaning else meaning


Raw = tuple[str | None, Any]
"""VR and value of an element as stored: the VR is None if implicit; the value is bytes, None if empty, or the items of
a sequence of undefined length."""


class Elements:
    """The requested elements of a data set, by keyword; values are converted on access."""

    def __init__(self, raw: Mapping[int, Raw], *, implicit: bool = False, little_endian: bool = True) -> None:
        """Create elements from raw values.

        Args:
            raw: VR and value by tag.
            implicit: whether the VRs are implicit.
            little_endian: whether the byte order is little endian.
        """
        self._raw = raw
        self._encoding = (implicit, little_endian, *encodings(raw))

    def without(self, keywords: Iterable[str]) -> "Elements":
        """Return all elements but those with the given keywords."""
        excluded = set(map(tag_as_int, keywords))
        others = {tag: raw for tag, raw in self._raw.items() if tag not in excluded}
        return Elements(others, implicit=bool(self._encoding[0]), little_endian=bool(self._encoding[1]))

    def only(self, keywords: Iterable[str]) -> "Elements":
        """Return only the elements with the given keywords."""
        selected = {tag: raw for tag in map(tag_as_int, keywords) if (raw := self._raw.get(tag)) is not None}
        return Elements(selected, implicit=bool(self._encoding[0]), little_endian=bool(self._encoding[1]))

    @property
    def is_small(self) -> bool:
        """Whether all values are short, so that the elements can be compared and cached."""
        return all(
            not value or (type(value) is bytes and len(value) <= _MAX_CACHED_BYTES) for _, value in self._raw.values()
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elements) and self._encoding == other._encoding and self._raw == other._raw

    def __hash__(self) -> int:
        return hash((self._encoding, *self._raw.items()))

    def value(self, keyword: str) -> Any:
        """Return the value of an element as pydicom converts it; None if missing."""
        tag = tag_as_int(keyword)
        raw = self._raw.get(tag)
        if raw is None:
            return None
        vr, value = raw
        if value is not None and type(value) is not bytes:
            return value
        if value and vr in _PLAIN_PARSERS:  # UIDs and positions differ between slices: caching them is useless
            plain = _PLAIN_PARSERS[vr](value)
            if plain is not None:
                return plain
        # a sequence converts its items later, when pydicom's messages would be lost
        if vr == "SQ" or keyword.endswith("Sequence") or (value and len(value) > _MAX_CACHED_BYTES):
            return _convert_uncached(tag, vr, value, self._encoding)
        converted, collected = _convert(tag, vr, value, self._encoding)
        record_warnings(collected)
        return converted


_MAX_CACHED_BYTES = 256  # bytes

_UID = re.compile(rb"(?=.{1,64}$)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_DECIMAL = re.compile(rb" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")

_DATETIME = re.compile(rb"[0-9]{4,14}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})? *")
_TIME = re.compile(rb"(?:[0-9]{2}){1,3}(?:(?<=[0-9]{6})\.[0-9]{1,6})? *")


def _plain_uid(value: bytes) -> str | None:
    stripped = value.removesuffix(b"\0")
    return stripped.decode("ascii") if _UID.fullmatch(stripped) else None


def _plain_decimals(value: bytes) -> float | list[float] | None:
    parts = value.split(b"\\")
    if not all(len(part) <= 16 and _DECIMAL.fullmatch(part) for part in parts):
        return None
    numbers = [float(part) for part in parts]
    return numbers if len(numbers) > 1 else numbers[0]


def _plain_datetime(value: bytes) -> str | None:
    return value.decode("ascii").strip() if _DATETIME.fullmatch(value) else None


def _plain_time(value: bytes) -> str | None:
    return value.decode("ascii").strip() if _TIME.fullmatch(value) else None


_PLAIN_PARSERS: dict[str | None, Callable[[bytes], Any]] = {
    "UI": _plain_uid,
    "DS": _plain_decimals,
    "DT": _plain_datetime,
    "TM": _plain_time,
}
"""Parsers of values that conform to the standard (PS3.5 6.2), ten times as fast as pydicom with the same result."""


@functools.lru_cache(maxsize=4096)
def _convert(tag: int, vr: str | None, value: bytes | None, encoding: tuple[Any, ...]) -> tuple[Any, set[str]]:
    """Return a value and pydicom's messages about it; cached, as most values are the same in all slices of a series."""
    with quiet_pydicom() as collected:
        converted = _convert_uncached(tag, vr, value, encoding)
    return converted, collected


def _convert_uncached(tag: int, vr: str | None, value: bytes | None, encoding: tuple[Any, ...]) -> Any:
    implicit, little_endian, *encodings = encoding
    raw = RawDataElement(BaseTag(tag), vr, len(value or b""), value, 0, implicit, little_endian)
    return convert_raw_data_element(raw, encoding=encodings).value


def encodings(raw: Mapping[int, Raw]) -> tuple[str, ...]:
    """Return Python's names of the character sets of a data set."""
    stated = raw.get(CHARACTER_SET)
    if stated is None:
        return (default_encoding,)
    found, collected = _encodings(*stated)
    record_warnings(collected)
    return found


@functools.lru_cache(maxsize=256)
def _encodings(vr: str | None, value: bytes | None) -> tuple[tuple[str, ...], set[str]]:
    with quiet_pydicom() as collected:
        names = _convert_uncached(CHARACTER_SET, vr, value, (vr is None, True))
        found = tuple(convert_encodings(names))
    return found, collected


@functools.cache
def tag_of(keyword: str) -> BaseTag:
    """Return the tag of a DICOM keyword."""
    return Tag(keyword)


@functools.cache
def tag_as_int(keyword: str) -> int:
    """Return the tag of a keyword as an int; comparing pydicom's tags takes ten times as long."""
    return int(Tag(keyword))


def value(dataset: Elements | Dataset, keyword: str) -> Any:
    """Return the value of an element as pydicom converts it; None if it is missing or cannot be parsed.

    A single invalid value must not exclude the file: the caller decides what a missing value means.

    Args:
        dataset: the elements of an object, or an item of a sequence.
        keyword: of the element.
    """
    try:
        if isinstance(dataset, Elements):
            return dataset.value(keyword)
        tag = tag_of(keyword)
        return dataset[tag].value if tag in dataset else None
    except DAMAGE:
        return None


def text(dataset: Elements | Dataset, keyword: str) -> str:
    r"""Return a text element without surrounding spaces, several values joined by "\"; "" if missing."""
    return as_text(value(dataset, keyword))


def integer(dataset: Elements | Dataset, keyword: str) -> int:
    """Return the first value of an element as an integer; -1 if missing, not an integer or beyond 32 bits."""
    return as_integer(value(dataset, keyword))


def as_integer(found: Any) -> int:
    """Return the first of the values as an integer; -1 if missing, not an integer or beyond 32 bits."""
    number = as_number(found)
    return int(number) if number.is_integer() and int(number) in _INT32 else -1


def as_text(found: Any) -> str:
    """Return a value as one line of printable text; "" for bytes, sequences and None."""
    if type(found) is str and found.isprintable():  # the usual case; the checks below take ten times as long
        return found.strip()
    if found is None or isinstance(found, bytes | ItemSequence):
        return ""
    joined = "\\".join(str(part).strip() for part in found) if isinstance(found, MultiValue) else str(found)
    # control characters break tables, and lone surrogates cannot be encoded as UTF-8
    return joined.strip() if joined.isprintable() else "".join(filter(str.isprintable, joined)).strip()


def as_number(found: Any) -> float:
    """Return the first of the values as a finite float; NaN if there is none."""
    if found is None:
        return math.nan
    if not isinstance(found, int | float) and isinstance(found, MultiValue | list):
        found = found[0] if found else None
    try:
        number = float(found)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def as_numbers(found: Any, count: int) -> tuple[float, ...]:
    """Return exactly `count` finite numbers, or ()."""
    if not isinstance(found, MultiValue | list) or len(found) != count:
        return ()
    numbers = tuple(as_number(part) for part in found)
    return () if any(math.isnan(number) for number in numbers) else numbers


def frame_groups(dataset: Elements, frame: int) -> list[Dataset]:
    """Return the functional groups of a frame: its own first, then the shared ones; [] if not enhanced."""
    shared, own = (items(value(dataset, keyword)) for keyword in GROUP_KEYWORDS)
    return [*own[frame : frame + 1], *shared[:1]]


def items(found: Any) -> Sequence[Dataset]:
    """Return the items of a sequence; none if the value is not a sequence."""
    return found if isinstance(found, ItemSequence) else ()


def frame_value(dataset: Elements, groups: Sequence[Dataset], keyword: str) -> Any:
    """Return the value of an element for a frame, from the functional groups or the top level; None if missing.

    Args:
        dataset: the whole object.
        groups: as returned by `frame_groups`.
        keyword: top-level keyword of a single-frame object.
    """
    sequence, nested = _GROUP_LOCATIONS[keyword]
    for group in groups:
        for item in items(value(group, sequence))[:1]:
            found = value(item, nested)
            if found is not None:
                return found
    return value(dataset, keyword)


def frame_number(dataset: Elements, groups: Sequence[Dataset], keyword: str) -> float:
    """Return `frame_value` as a finite number; NaN if missing."""
    return as_number(frame_value(dataset, groups, keyword))
