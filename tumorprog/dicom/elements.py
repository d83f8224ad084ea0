"""The elements of a data set, however odd -> text, numbers, items; "", NaN and nothing where there are none."""

import functools
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as ItemSequence
from pydicom.tag import BaseTag, Tag

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
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
}
"""What a single-frame object has at its top, and where an enhanced one keeps it (PS3.3 C.7.6.16.2, C.8.13.5)."""


_INT32 = range(-(2**31), 2**31)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keeps pydicom from warning and logging: it quotes headers, and these may name a patient."""
    logger = logging.getLogger("pydicom")
    propagates = logger.propagate
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        logger.propagate = False
        try:
            yield
        finally:
            logger.propagate = propagates


@functools.cache
def tag_of(keyword: str) -> BaseTag:
    """The tag of a DICOM keyword."""
    return Tag(keyword)


def value(dataset: Dataset, keyword: str) -> Any:
    """What pydicom makes of an element; None if there is none, or what it holds cannot be parsed.

    One odd value among many must not cost the file: who needs the value says what its lack means.
    """
    tag = tag_of(keyword)
    try:
        return dataset[tag].value if tag in dataset else None
    except DAMAGE:
        return None


def text(dataset: Dataset, keyword: str) -> str:
    r"""A text element without the spaces around it, several values joined by "\"; "" if missing."""
    return as_text(value(dataset, keyword))


def whole(dataset: Dataset, keyword: str) -> int:
    """The first value of a whole number; -1 if missing, no whole number, or beyond 32 bits."""
    number = as_number(value(dataset, keyword))
    return int(number) if number.is_integer() and int(number) in _INT32 else -1


def as_text(found: Any) -> str:
    """A value as one line of printable text; "" for bytes, sequences and nothing."""
    if found is None or isinstance(found, bytes | ItemSequence):
        return ""
    joined = "\\".join(str(part).strip() for part in found) if isinstance(found, MultiValue) else str(found)
    # control characters break tables, and half a character has no UTF-8
    return joined.strip() if joined.isprintable() else "".join(filter(str.isprintable, joined)).strip()


def as_number(found: Any) -> float:
    """The first of the values as a finite float; NaN if there is none."""
    if isinstance(found, MultiValue | list):
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


def frame_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    """The functional groups that speak of a frame: its own first, then what all frames share; [] if not enhanced."""
    shared, own = (items(value(dataset, keyword)) for keyword in GROUP_KEYWORDS)
    return [*own[frame : frame + 1], *shared[:1]]


def items(found: Any) -> Sequence[Dataset]:
    """The items of a sequence; none if it is no sequence."""
    return found if isinstance(found, ItemSequence) else ()


def frame_value(dataset: Dataset, groups: Sequence[Dataset], keyword: str) -> Any:
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


def frame_number(dataset: Dataset, groups: Sequence[Dataset], keyword: str) -> float:
    """As `frame_value`, as a finite number; NaN if there is none."""
    return as_number(frame_value(dataset, groups, keyword))
