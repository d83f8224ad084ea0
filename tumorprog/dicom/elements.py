"""The elements of a data set, however odd -> text, numbers, items; "", NaN and nothing where there are none."""

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
    # ends of files, lengths and offsets that point nowhere
    OSError,
    EOFError,
    struct.error,
    zlib.error,
    MemoryError,
    # values that are not what their VR says, encodings that do not exist
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    # pydicom's own; decoders that failed, unknown VRs, sequences in sequences without end
    InvalidDicomError,
    BytesLengthException,
    RuntimeError,
    StopIteration,
)
"""What pydicom raises on damaged bytes: it has no error of its own for most of them. Found by damaging real files."""

GROUP_KEYWORDS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Where an enhanced multi-frame object keeps what differs between frames, or could."""

_IN_GROUPS = {
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
"""What a single-frame object has at its top, and where an enhanced one keeps it (PS3.3 C.7.6.16.2, C.8.13.5)."""


_INT32 = range(-(2**31), 2**31)

CHARACTER_SET = 0x00080005
"""The tag of SpecificCharacterSet."""


_PYDICOM = logging.getLogger("pydicom")

_SAID = (
    (re.compile(r"VR, but found"), "explicit VR where implicit was stated, or the reverse"),
    (re.compile(r"[Ee]nd of file|has been reached"), "the file ends inside an element"),
    (re.compile(r"escape sequence|[Ee]ncoding|Specific Character Set|code extension"), "text not in its character set"),
    (re.compile(r"exceeds the maximum"), "a value longer than its VR allows"),
    (re.compile(r"[Ll]ength"), "a value of a length that its VR does not allow"),
    (re.compile(r"[Vv]alue"), "a value that its VR does not allow"),
    (re.compile(r"'UN'|Unknown"), "an unknown tag or VR"),
)
"""What pydicom's messages mean, the first that fits, in our words: its own quote values, which may name a patient."""

_VR_SAID = re.compile(rf"\bVR (?:of )?'?({'|'.join(sorted(VR))})\b")

_listening: list[set[str]] = []


class _Ear(logging.Handler):
    """Keeps what pydicom logs; most of it is warned of too, and the rest at the level of warnings only."""

    def emit(self, record: logging.LogRecord) -> None:
        _listening[-1].add(in_our_words(record.getMessage()))


_EAR = _Ear(logging.WARNING)


@contextmanager
def quiet_pydicom() -> Iterator[set[str]]:
    """Keeps pydicom from warning and logging: it quotes headers, and these may name a patient.

    Yields:
        What it had to say meanwhile, in our words; complete when the block has ended.
    """
    propagates, said = _PYDICOM.propagate, set[str]()
    _PYDICOM.propagate = False
    _PYDICOM.addHandler(_EAR)
    _listening.append(said)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            said.update(in_our_words(str(warning.message)) for warning in caught)
            _listening.pop()
            _PYDICOM.propagate = propagates
            if not _listening:
                _PYDICOM.removeHandler(_EAR)


def hear(said: set[str]) -> None:
    """Adds to what the surrounding `quiet_pydicom` yields."""
    if said and _listening:
        _listening[-1].update(said)


def in_our_words(message: str) -> str:
    """A message of pydicom without anything that it may quote: no word of it is kept but the name of a VR."""
    told = next((words for pattern, words in _SAID if pattern.search(message)), "another warning of pydicom")
    vr = _VR_SAID.search(message)
    return f"{told} ({vr[1]})" if vr and "its VR" in told else told


Raw = tuple[str | None, Any]
"""VR and value of an element as they stand in a file: None without a VR; bytes, None if there are none, or the items of
a sequence whose length is not stated."""


class Elements:
    """The elements of a data set that were asked for, by keyword; a value is converted when it is wanted."""

    def __init__(self, raw: Mapping[int, Raw], *, implicit: bool = False, little_endian: bool = True) -> None:
        """Elements by tag.

        Args:
            raw: by tag.
            implicit: whether VRs are.
            little_endian: whether the byte order is.
        """
        self._raw = raw
        self._encoding = (implicit, little_endian, *encodings(raw))

    def without(self, keywords: Iterable[str]) -> "Elements":
        """The others."""
        left_out = set(map(int_of, keywords))
        others = {tag: raw for tag, raw in self._raw.items() if tag not in left_out}
        return Elements(others, implicit=bool(self._encoding[0]), little_endian=bool(self._encoding[1]))

    def only(self, keywords: Iterable[str]) -> "Elements":
        """Those alone."""
        there = {tag: raw for tag in map(int_of, keywords) if (raw := self._raw.get(tag)) is not None}
        return Elements(there, implicit=bool(self._encoding[0]), little_endian=bool(self._encoding[1]))

    @property
    def small(self) -> bool:
        """Whether only a few bytes stand in each, so that they can be compared and remembered."""
        return all(
            not value or (type(value) is bytes and len(value) <= _LONGEST_KEPT) for _, value in self._raw.values()
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elements) and self._encoding == other._encoding and self._raw == other._raw

    def __hash__(self) -> int:
        return hash((self._encoding, *self._raw.items()))

    def value(self, keyword: str) -> Any:
        """What pydicom makes of an element; None if there is none."""
        tag = int_of(keyword)
        raw = self._raw.get(tag)
        if raw is None:
            return None
        vr, value = raw
        if value is not None and type(value) is not bytes:
            return value
        if value and vr in _PLAIN:  # each slice has UIDs and positions of its own, which it is of no use to remember
            plain = _PLAIN[vr](value)
            if plain is not None:
                return plain
        # a sequence converts its items later, when what pydicom says of them would be lost
        if vr == "SQ" or keyword.endswith("Sequence") or (value and len(value) > _LONGEST_KEPT):
            return _convert_here(tag, vr, value, self._encoding)
        converted, said = _convert(tag, vr, value, self._encoding)
        hear(said)
        return converted


_LONGEST_KEPT = 256  # bytes

_UID = re.compile(rb"(?=.{1,64}$)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_DECIMAL = re.compile(rb" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")

_MOMENT = re.compile(rb"[0-9]{4,14}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})? *")
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


def _plain_moment(value: bytes) -> str | None:
    return value.decode("ascii").strip() if _MOMENT.fullmatch(value) else None


def _plain_time(value: bytes) -> str | None:
    return value.decode("ascii").strip() if _TIME.fullmatch(value) else None


_PLAIN: dict[str | None, Callable[[bytes], Any]] = {
    "UI": _plain_uid,
    "DS": _plain_decimals,
    "DT": _plain_moment,
    "TM": _plain_time,
}
"""Values as the standard has them (PS3.5 6.2), without pydicom: it would take ten times as long to say the same."""


@functools.lru_cache(maxsize=4096)
def _convert(tag: int, vr: str | None, value: bytes | None, encoding: tuple[Any, ...]) -> tuple[Any, set[str]]:
    """A value, and what pydicom had to say of it. Most values are the same in all slices of a series."""
    with quiet_pydicom() as said:
        converted = _convert_here(tag, vr, value, encoding)
    return converted, said


def _convert_here(tag: int, vr: str | None, value: bytes | None, encoding: tuple[Any, ...]) -> Any:
    implicit, little_endian, *encodings = encoding
    raw = RawDataElement(BaseTag(tag), vr, len(value or b""), value, 0, implicit, little_endian)
    return convert_raw_data_element(raw, encoding=encodings).value


def encodings(raw: Mapping[int, Raw]) -> tuple[str, ...]:
    """Python's names of the character sets of a data set's text."""
    stated = raw.get(CHARACTER_SET)
    if stated is None:
        return (default_encoding,)
    found, said = _encodings(*stated)
    hear(said)
    return found


@functools.lru_cache(maxsize=256)
def _encodings(vr: str | None, value: bytes | None) -> tuple[tuple[str, ...], set[str]]:
    with quiet_pydicom() as said:
        names = _convert_here(CHARACTER_SET, vr, value, (vr is None, True))
        found = tuple(convert_encodings(names))
    return found, said


@functools.cache
def tag_of(keyword: str) -> BaseTag:
    """The tag of a DICOM keyword."""
    return Tag(keyword)


@functools.cache
def int_of(keyword: str) -> int:
    """The tag as a number: pydicom's tags compare in Python, ten times as slowly."""
    return int(Tag(keyword))


def value(dataset: Elements | Dataset, keyword: str) -> Any:
    """What pydicom makes of an element; None if there is none, or what it holds cannot be parsed.

    One odd value among many must not cost the file: who needs the value says what its lack means.

    Args:
        dataset: an object's elements, or an item of a sequence.
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
    r"""A text element without the spaces around it, several values joined by "\"; "" if missing."""
    return as_text(value(dataset, keyword))


def whole(dataset: Elements | Dataset, keyword: str) -> int:
    """The first value of a whole number; -1 if missing, no whole number, or beyond 32 bits."""
    return as_whole(value(dataset, keyword))


def as_whole(found: Any) -> int:
    """The first of the values as a whole number; -1 if there is none, or it is beyond 32 bits."""
    number = as_number(found)
    return int(number) if number.is_integer() and int(number) in _INT32 else -1


def as_text(found: Any) -> str:
    """A value as one line of printable text; "" for bytes, sequences and nothing."""
    if type(found) is str and found.isprintable():  # nearly always; the checks below take ten times as long
        return found.strip()
    if found is None or isinstance(found, bytes | ItemSequence):
        return ""
    joined = "\\".join(str(part).strip() for part in found) if isinstance(found, MultiValue) else str(found)
    # control characters break tables, and half a character has no UTF-8
    return joined.strip() if joined.isprintable() else "".join(filter(str.isprintable, joined)).strip()


def as_number(found: Any) -> float:
    """The first of the values as a finite float; NaN if there is none."""
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
    """Exactly so many finite numbers, or ()."""
    if not isinstance(found, MultiValue | list) or len(found) != count:
        return ()
    numbers = tuple(as_number(part) for part in found)
    return () if any(math.isnan(number) for number in numbers) else numbers


def frame_groups(dataset: Elements, frame: int) -> list[Dataset]:
    """The functional groups that speak of a frame: its own first, then what all frames share; [] if not enhanced."""
    shared, own = (items(value(dataset, keyword)) for keyword in GROUP_KEYWORDS)
    return [*own[frame : frame + 1], *shared[:1]]


def items(found: Any) -> Sequence[Dataset]:
    """The items of a sequence; none if it is no sequence."""
    return found if isinstance(found, ItemSequence) else ()


def frame_value(dataset: Elements, groups: Sequence[Dataset], keyword: str) -> Any:
    """What an element says of a frame, wherever it is kept; None if nowhere.

    Args:
        dataset: the whole object.
        groups: as `frame_groups` gives them.
        keyword: as a single-frame object has it at its top.
    """
    sequence, nested = _IN_GROUPS[keyword]
    for group in groups:
        for item in items(value(group, sequence))[:1]:
            found = value(item, nested)
            if found is not None:
                return found
    return value(dataset, keyword)


def frame_number(dataset: Elements, groups: Sequence[Dataset], keyword: str) -> float:
    """As `frame_value`, as a finite number; NaN if there is none."""
    return as_number(frame_value(dataset, groups, keyword))
