"""A DICOM file -> one catalogue row per frame, from its header alone; or the reason why there is none."""

import math
import stat
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from tumorprog.dicom import naming
from tumorprog.errors import DicomError

FAULTS = (
    ValueError,  # numbers and dates that are none; also UnicodeError
    TypeError,  # a value of another kind than its VR says
    AttributeError,  # an element where a sequence was expected, or the reverse
    LookupError,  # unknown VRs, tags and character sets; empty sequences
    NotImplementedError,  # a VR that pydicom cannot convert
    RuntimeError,  # sequences nested deeper than Python's stack
    OverflowError,  # a number that no machine type holds
    MemoryError,  # an element that says it has 4 GB
    EOFError,  # the file ends within an element
    struct.error,  # the file ends within a tag or a length
    zlib.error,  # a damaged deflated data set
    BytesLengthException,  # a value that is no multiple of its type's size
    InvalidDicomError,
)
"""What pydicom raises on bytes it cannot make sense of (seen by cutting and corrupting its own test files); OSErrors
stand apart: those with an errno are the disk's."""

_PIXEL_TAGS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM_HEADER_BYTES = 8
_MOST_ROWS, _MOST_PIXELS = 32768, 2**28
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
_UNCOMPRESSED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    "1.2.840.113619.5.2",  # GE's private one: implicit little endian but for the pixels
)
_MR_CLASSES = (MRImageStorage, EnhancedMRImageStorage)

_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "SeriesNumber"),
    *("PatientID", "StudyDate", "Modality", "Manufacturer", "SeriesDescription", "ProtocolName", "ImageType"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence", "SequenceName", "PulseSequenceName", "ScanningSequence"),
    *("EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery", "MRAcquisitionType", "RepetitionTime"),
    *("EchoTime", "InversionTime", "FlipAngle", "EchoNumbers", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "BitsAllocated", "PixelSpacing", "SliceThickness", "SliceLocation"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_TAGS: list[BaseTag | int] = [BaseTag(tag_for_keyword(keyword) or 0) for keyword in _KEYWORDS]
_FUNCTIONAL_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "MREchoSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRModifierSequence",
    "MRImageFrameTypeSequence",
)


@dataclass(frozen=True, kw_only=True)
class _Pixels:
    """The element of pixel data: how many bytes stand in the file, at most those that its length promises."""

    stored_bytes: int
    encapsulated: bool


def read_rows(path: str) -> list[dict[str, Any]]:
    """The catalogue rows of a file, one per frame.

    Identity comes from the header, and from the path only where the header lacks it. UIDs that neither has are made
    from the path, the same each time.

    Args:
        path: of any file.

    Returns:
        Rows with the columns of `tables.CATALOGUE` except `cohort`, `stack` and `order`, and `orientation`: the six
        direction cosines to two decimals, joined by commas, or "". Missing text is "", missing integers are -1,
        missing real numbers NaN.

    Raises:
        DicomError: with a reason from `tables.REASONS`, whatever the bytes of the file; without identifying headers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a file becomes a value or a reason, not a line per file
        dataset, pixels = _parse(path)
        identity = _identity(dataset, path)
        _check_kind(dataset, identity["SeriesDescription"])
        if pixels is None or pixels.stored_bytes == 0:
            raise DicomError("no_pixels", "an MR object without pixel data")
        _check_image(dataset)
        count = _count_frames(dataset)
        _check_length(dataset, pixels, count)
        return _rows(dataset, identity, path, count)


def _parse(path: str) -> tuple[Dataset, _Pixels | None]:
    """The elements of `_KEYWORDS`, and the pixel data if the file has such an element."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise DicomError("unreadable", "not a regular file")
        if status.st_size == 0:
            raise DicomError("empty", "0 bytes")
        with Path(path).open("rb") as file:
            return _parse_open(file, status.st_size)
    except OSError as error:
        raise DicomError("unreadable", error.strerror or "cannot be read") from error


def _parse_open(file: BinaryIO, size: int) -> tuple[Dataset, _Pixels | None]:
    start = file.read(132)
    whole = start[128:] == b"DICM"
    if not whole and start[:2] not in _FIRST_GROUPS:
        raise DicomError("not_dicom", "neither DICM at byte 128 nor a data set at the start")
    file.seek(0)
    reached: dict[str, int] = {}

    def at_pixels(tag: BaseTag, _vr: str | None, length: int) -> bool:
        reached.update(value=file.tell(), length=length)
        return tag in _PIXEL_TAGS and reached.setdefault("pixels", int(tag)) > 0

    try:
        dataset = read_partial(file, at_pixels, force=True, specific_tags=_TAGS)
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unparsed(error, whole=whole) from error
    except FAULTS as error:
        raise _unparsed(error, whole=whole) from error
    _check_plausible(dataset, whole=whole)
    deflated = dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    left = reached.get("length", 0) if deflated else size - reached.get("value", size)
    if "pixels" in reached:
        return dataset, _pixels(dataset, reached["length"], left)
    if reached.get("length", 0) not in {left, _UNDEFINED_LENGTH}:
        raise DicomError("damaged_header", "the file ends within an element of the header")
    return dataset, None


def _unparsed(error: Exception, *, whole: bool) -> DicomError:
    # the message of the error is left out: it can quote the header
    if whole:
        return DicomError("damaged_header", f"cannot be parsed ({type(error).__name__})")
    return DicomError("not_dicom", f"no DICM at byte 128, and no data set ({type(error).__name__})")


def _check_plausible(dataset: Dataset, *, whole: bool) -> None:
    meta = dataset.file_meta
    if _text(meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise DicomError("index_file", "a DICOMDIR")
    if _text(dataset, "SOPClassUID") or (_text(dataset, "Modality") and _text(dataset, "Rows")):
        return
    if whole:
        raise DicomError("damaged_header", "it says neither what kind of object it is nor its size")
    raise DicomError("not_dicom", "no DICM at byte 128, and no data set with an SOP class")


def _pixels(dataset: Dataset, length: int, left: int) -> _Pixels:
    encapsulated = length == _UNDEFINED_LENGTH or _transfer_syntax(dataset) not in _UNCOMPRESSED
    return _Pixels(stored_bytes=max(0, min(length, left)), encapsulated=encapsulated)


def _transfer_syntax(dataset: Dataset) -> str:
    """What the file says, or, if it says nothing, how it was found to be written."""
    told = _text(dataset.file_meta, "TransferSyntaxUID")
    if told:
        return told
    implicit, little_endian = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian)


def _check_kind(dataset: Dataset, description: str) -> None:
    sop_class, modality = _text(dataset, "SOPClassUID"), _text(dataset, "Modality")
    mask = sop_class == SecondaryCaptureImageStorage and description == "MaskTumor"
    if modality != "MR" and sop_class not in _MR_CLASSES and not mask:
        kind = UID(sop_class).name if UID(sop_class).is_private is False else "unknown"
        raise DicomError("not_mr", f"modality {modality[:16] or 'missing'}, SOP class {kind or 'missing'}")


def _check_image(dataset: Dataset) -> None:
    samples, photometric = _integer(dataset, "SamplesPerPixel", 1), _text(dataset, "PhotometricInterpretation")
    if samples != 1 or photometric == "PALETTE COLOR":
        raise DicomError("colour", f"{samples} samples per pixel{', a palette' if samples == 1 else ''}")
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    if not (1 <= rows <= _MOST_ROWS and 1 <= columns <= _MOST_ROWS and rows * columns <= _MOST_PIXELS):
        raise DicomError("bad_geometry", f"{rows} rows x {columns} columns (-1: missing)")
    bits = _integer(dataset, "BitsAllocated")
    if bits not in {8, 16, 32, 64}:
        raise DicomError("bad_geometry", f"{bits} bits per pixel (-1: missing), expected 8, 16, 32 or 64")


def _count_frames(dataset: Dataset) -> int:
    count = _integer(dataset, "NumberOfFrames", max(1, len(_items(dataset, "PerFrameFunctionalGroupsSequence"))))
    if count < 1:
        raise DicomError("bad_geometry", f"{count} frames")
    return count


def _check_length(dataset: Dataset, pixels: _Pixels, count: int) -> None:
    if pixels.encapsulated:
        expected = count * _ITEM_HEADER_BYTES  # each frame has an item of its own: a bound on damaged frame counts
    else:
        bits = _integer(dataset, "BitsAllocated")
        expected = count * _integer(dataset, "Rows") * _integer(dataset, "Columns") * bits // 8
    if pixels.stored_bytes < expected:
        found = f"{pixels.stored_bytes} bytes of pixel data"
        raise DicomError("truncated_pixels", f"{found}, expected {'at least ' * pixels.encapsulated}{expected}")


def _identity(dataset: Dataset, path: str) -> dict[str, str]:
    """Who and what the file is of, with no part empty but those that the archive may leave empty: date and description.

    Raises:
        DicomError: `no_identity` if neither header nor path name the patient.
    """
    told = {key: _printable(value) for key, value in naming.identity_from_path(path).items()}
    identity = {key: _text(dataset, key) or value for key, value in told.items()}
    identity["StudyDate"] = naming.parse_date(_text(dataset, "StudyDate")) or told["StudyDate"]
    patient = identity["PatientID"]
    folder, number = str(Path(path).parent), _text(dataset, "SeriesNumber")
    if not identity["StudyInstanceUID"]:
        identity["StudyInstanceUID"] = _made_uid("study", patient, identity["StudyDate"])
    if not identity["SeriesInstanceUID"]:
        identity["SeriesInstanceUID"] = _made_uid("series", folder, patient, identity["StudyInstanceUID"], number)
    instance = _text(dataset, "SOPInstanceUID") or _text(dataset.file_meta, "MediaStorageSOPInstanceUID")
    identity["SOPInstanceUID"] = instance or _made_uid("instance", path)
    return identity


def _made_uid(*parts: str) -> str:
    return str(generate_uid(entropy_srcs=["tumorprog", *(part.encode(errors="replace").decode() for part in parts)]))


def _rows(dataset: Dataset, identity: dict[str, str], path: str, count: int) -> list[dict[str, Any]]:
    if not identity["PatientID"]:
        raise DicomError("no_identity", "no PatientID in the header, and no patient's folder in the path")
    file_row = {
        "path": path,
        **identity,
        "SOPClassUID": _text(dataset, "SOPClassUID"),
        "TransferSyntaxUID": _transfer_syntax(dataset),
        "Manufacturer": _text(dataset, "Manufacturer"),
        "Rows": _integer(dataset, "Rows"),
        "Columns": _integer(dataset, "Columns"),
        "InstanceNumber": _integer(dataset, "InstanceNumber"),
    }
    per_frame = _items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = _items(dataset, "SharedFunctionalGroupsSequence")[:1]
    frames = [_places(dataset, [*per_frame[number : number + 1], *shared]) for number in range(count)]
    echoes = sorted({_number(places, "EffectiveEchoTime") for places in frames} - {math.nan}) if per_frame else []
    rows = []
    for number, places in enumerate(frames):
        # a frame's place is its own; the file's would put all frames of a plain multi-frame object on one spot
        placed = places if count == 1 else places[:-1]
        row = {**file_row, "frame": number, **_sequence(places, identity["SeriesDescription"])}
        row |= {**_geometry(places, placed), "EchoNumbers": _integer(dataset, "EchoNumbers")}
        if row["EchoNumbers"] == -1:
            row["EchoNumbers"] = _rank(_number(places, "EffectiveEchoTime"), echoes)
        rows.append(row)
    return rows


def _places(dataset: Dataset, groups: list[Dataset]) -> list[Dataset]:
    """Where a frame's values stand: its own functional groups, the shared ones, the data set."""
    own = [item for group in groups for keyword in _FUNCTIONAL_GROUPS for item in _items(group, keyword)[:1]]
    return [*own, dataset]


def _rank(value: float, values: list[float]) -> int:
    """From 1; -1 if the value is not among them."""
    return values.index(value) + 1 if value in values else -1


def _sequence(places: list[Dataset], description: str) -> dict[str, str]:
    """Columns that say what the frame shows; enhanced objects have keywords of their own for the same things."""
    fields: dict[str, Any] = {
        "SeriesDescription": description,
        "ProtocolName": _first_text(places, "ProtocolName"),
        "ImageType": _first_text(places, "FrameType", "ImageType"),
        "ContrastBolusAgent": _first_text(places, "ContrastBolusAgent") or _enhanced_agent(places[-1]),
        "SequenceName": _first_text(places, "SequenceName", "PulseSequenceName"),
        "ScanningSequence": _first_text(places, "ScanningSequence") or _enhanced_kind(places),
        "MRAcquisitionType": _first_text(places, "MRAcquisitionType"),
        "RepetitionTime": _number(places, "RepetitionTime"),
        "EchoTime": _number(places, "EchoTime", "EffectiveEchoTime"),
        "InversionTime": _number(places, "InversionTime", "InversionTimes"),
        "FlipAngle": _number(places, "FlipAngle"),
    }
    sequence, source = naming.canonical_sequence(fields)
    return {"sequence": sequence, "sequence_source": source, "Type": description or sequence}


def _enhanced_agent(dataset: Dataset) -> str:
    agents = _items(dataset, "ContrastBolusAgentSequence")
    return _text(agents[0], "CodeMeaning") or "agent" if agents else ""


def _enhanced_kind(places: list[Dataset]) -> str:
    """ScanningSequence in the words of single-frame objects.

    Source: DICOM PS3.3 C.8.13.4 (MR Pulse Sequence) and C.8.3.1.1.2.
    """
    kinds = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}.get(_first_text(places, "EchoPulseSequence"), [])
    kinds += ["EP"] if _first_text(places, "EchoPlanarPulseSequence") == "YES" else []
    kinds += ["IR"] if _first_text(places, "InversionRecovery") == "YES" else []
    return "\\".join(kinds)


def _geometry(places: list[Dataset], placed: list[Dataset]) -> dict[str, Any]:
    cosines = _first_numbers(places, "ImageOrientationPatient")
    sound = len(cosines) == 6 and bool(np.isfinite(cosines).all())
    spacing = _first_numbers(places, "PixelSpacing")
    spacing = spacing if len(spacing) == 2 else [math.nan, math.nan]
    return {
        "plane": naming.plane(cosines),
        "row_spacing_mm": spacing[0],
        "column_spacing_mm": spacing[1],
        "SliceThickness": _number(places, "SliceThickness"),
        "position_mm": _position(placed, cosines),
        # adding 0 turns -0.0, which reads otherwise, into 0.0
        "orientation": ",".join(f"{round(cosine, 2) + 0.0:.2f}" for cosine in cosines) if sound else "",
    }


def _position(places: list[Dataset], cosines: Sequence[float]) -> float:
    """Millimetres along the normal of the slice."""
    corner, normal = _first_numbers(places, "ImagePositionPatient"), naming.normal_of(cosines)
    if normal is not None and len(corner) == 3 and np.isfinite(corner).all():
        return float(normal @ np.asarray(corner))
    return _number(places, "SliceLocation")


def _value(dataset: Dataset, keyword: str) -> Any:
    """None for what is missing or cannot be converted: one bad value among many does not cost the file."""
    try:
        return dataset.get(keyword)
    except (*FAULTS, OSError):
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    value = _value(dataset, keyword)
    if value is None:
        return ""
    parts = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    # anything else is an element of another kind than its keyword says, such as a name or a sequence of data sets
    told = [str(part) for part in parts if isinstance(part, str | int | float)]
    return _printable("\\".join(told))


def _printable(text: str) -> str:
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text.strip()


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    value = _value(dataset, keyword)
    if value is None or isinstance(value, str | bytes):
        return []
    try:
        return [float(part) for part in value] if isinstance(value, Sequence) else [float(value)]
    except FAULTS:
        return []


def _first_text(places: list[Dataset], *keywords: str) -> str:
    return next((text for keyword in keywords for place in places if (text := _text(place, keyword))), "")


def _first_numbers(places: list[Dataset], *keywords: str) -> list[float]:
    return next((found for keyword in keywords for place in places if (found := _numbers(place, keyword))), [])


def _number(places: list[Dataset], *keywords: str) -> float:
    return next(iter(_first_numbers(places, *keywords)), math.nan)


def _integer(dataset: Dataset, keyword: str, missing: int = -1) -> int:
    """What the catalogue's 32 bits hold, or `missing`."""
    value = _number([dataset], keyword)
    return int(value) if abs(value) < 2**31 else missing


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    value = _value(dataset, keyword)
    if value is None or isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return []
    return [item for item in value if isinstance(item, Dataset)]
