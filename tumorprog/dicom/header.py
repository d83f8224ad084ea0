"""A DICOM file in, the catalogue's rows of its frames out; pixels are not read."""

import errno
import functools
import logging
import math
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import config, uid
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as ItemSequence
from pydicom.tag import BaseTag, Tag

from tumorprog.dicom import naming
from tumorprog.errors import DicomError

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

NATIVE = frozenset(
    (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    )
)
"""The transfer syntaxes of uncompressed pixels."""

PIXEL_BITS = {"PixelData": (8, 16, 32, 64), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
"""The elements that hold pixels, and the bits that a pixel can have in each."""

# int, because pydicom's tags compare in Python
_PIXEL_KEYWORDS = {int(Tag(keyword)): keyword for keyword in PIXEL_BITS}
_FIRST_PIXELS, _FIRST_OF_DATASET, _DIRECTORY_GROUP = min(_PIXEL_KEYWORDS), 0x00080000, 0x0004
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM_BYTES = 8
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How a DICOM file without a preamble begins: file meta information, or group 0008 in either byte order."""

_MR_CLASSES = frozenset(
    (
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.EnhancedMRColorImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    )
)
_SECONDARY_CAPTURE = uid.SecondaryCaptureImageStorage  # its multi-frame children go on where it ends
_MOST_PIXELS = 2**28
_MOST_FRAMES = 2**17
_LARGEST_SIDE = 32768
_INT32 = range(-(2**31), 2**31)

IMAGE_KEYWORDS = (
    "SOPClassUID",
    "Modality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
)
"""What is asked of any file before its pixels are believed."""

GROUP_KEYWORDS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Where an enhanced multi-frame object keeps what differs between frames, or could."""

_PHYSICS_TEXTS = ("ProtocolName", "ImageType", "ContrastBolusAgent", "SequenceName", "MRAcquisitionType")
_PHYSICS_NUMBERS = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")
_CATALOGUE_KEYWORDS = (
    *IMAGE_KEYWORDS,
    *GROUP_KEYWORDS,
    *_PHYSICS_TEXTS,
    *_PHYSICS_NUMBERS,
    "ScanningSequence",
    "ContrastBolusAgentSequence",
    "PulseSequenceName",
    "EchoPulseSequence",
    "InversionRecovery",
    "EchoPlanarPulseSequence",
    "PatientID",
    "StudyDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Manufacturer",
    "PixelSpacing",
    "SliceThickness",
    "InstanceNumber",
    "EchoNumbers",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceLocation",
)

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


@dataclass(frozen=True, kw_only=True)
class Header:
    """What precedes the pixels of a file, and where they begin.

    Attributes:
        dataset: the elements that were asked for.
        transfer_syntax: as stated, or as the elements are encoded where nothing is stated.
        pixel_keyword: a key of `PIXEL_BITS`, or "" if the file has no pixels, or an empty element of them.
        pixel_vr: as stated; "" where it is implicit.
        pixel_start: byte of the file at which the pixels' value begins; -1 if the data set is deflated.
        pixel_bytes: how many of them the file holds, and not more than the element's length.
        fragmented: whether the pixels stand in fragments, as compressed ones do.
        ends_early: whether the file ends inside an element.
    """

    dataset: Dataset
    transfer_syntax: str
    pixel_keyword: str
    pixel_vr: str
    pixel_start: int
    pixel_bytes: int
    fragmented: bool
    ends_early: bool


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of the pixels of a file."""

    frames: int
    rows: int
    columns: int
    bits: int


class _Watch:
    """Ends the reading at the pixels, and remembers what was seen last and where."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.tag = self.length = self.start = 0
        self.vr = ""

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self.tag, self.vr, self.length, self.start = int(tag), str(vr or ""), length, self.file.tell()
        return self.tag >= _FIRST_PIXELS or self.tag < _FIRST_OF_DATASET


def read_rows(path: str) -> list[dict[str, Any]]:
    """One row a frame, for the catalogue.

    Identity comes from the header, and from the path only where the header lacks it. What neither tells gets a UID
    made from the path, the same at each reading.

    Args:
        path: of any file; it need not be DICOM.

    Returns:
        The columns of `tables.CATALOGUE` but `cohort`, `stack` and `order`, and `orientation`: the six direction
        cosines with two decimals, joined by commas, "" if unknown. Missing text is "", a missing int -1, a missing
        float NaN.

    Raises:
        DicomError: if the file has no MR image that can be used; the detail names no patient.
    """
    with quiet_pydicom():
        with open_file(path) as file:
            header = read_header(file, _CATALOGUE_KEYWORDS)
        identity = _identity(header, path)
        _refuse_kind(header, identity["SeriesDescription"])
        shape = image_shape(header)
        if not identity["PatientID"]:
            raise DicomError("no_identity", "no PatientID in the header, and no patient's folder in the path")
        groups = [frame_groups(header.dataset, frame) for frame in range(shape.frames)]
        shared = {**identity, "path": path, "Rows": shape.rows, "Columns": shape.columns, **_shared(header)}
        texts = _sequence_texts(header.dataset, identity["SeriesDescription"])
        return [
            {**shared, "frame": frame, "EchoNumbers": echo, **_frame(header.dataset, group, texts)}
            for frame, (group, echo) in enumerate(zip(groups, _echoes(header.dataset, groups), strict=True))
        ]


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


def open_file(path: str) -> BinaryIO:
    """A file of at least one byte, open for reading.

    Raises:
        DicomError: `unreadable` or `empty`.
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would never end
            raise DicomError("unreadable", "not a regular file")
        if found.st_size == 0:
            raise DicomError("empty", "0 bytes")
        return Path(path).open("rb")
    except OSError as error:
        raise DicomError("unreadable", error.strerror or "the operating system gives no reason") from error
    except ValueError as error:
        raise DicomError("unreadable", "the path holds a character that no path can have") from error


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
        begins = file.read(132)
        if begins[128:] != b"DICM":
            reason = "not_dicom"
            if begins[:2] not in _FIRST_GROUPS:
                raise DicomError(reason, "it begins neither with a DICOM preamble nor with a data set")
        file.seek(0)
        watch = _Watch(file)
        dataset = read_partial(file, watch, force=True, specific_tags=[_tag(keyword) for keyword in keywords])
        header = _header(file, dataset, watch)
    except DAMAGE as error:
        raise damaged(error, reason, "the header") from None
    if sop_class(header) == uid.MediaStorageDirectoryStorage or watch.tag >> 16 == _DIRECTORY_GROUP:
        raise DicomError("index_file", "a DICOMDIR")
    if not (_is_uid(sop_class(header)) or (text(dataset, "Modality") and whole(dataset, "Rows") > 0)):
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


@functools.cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _header(file: BinaryIO, dataset: Dataset, watch: _Watch) -> Header:
    size = os.fstat(file.fileno()).st_size
    stated = text(dataset.file_meta, "TransferSyntaxUID")
    deflated = stated == uid.DeflatedExplicitVRLittleEndian
    keyword = _PIXEL_KEYWORDS.get(watch.tag, "") if watch.length else ""
    fragmented = watch.length == _UNDEFINED_LENGTH
    end = file.tell() if fragmented else watch.start + watch.length
    return Header(
        dataset=dataset,
        transfer_syntax=stated or _encoding(dataset),
        pixel_keyword=keyword,
        pixel_vr=watch.vr,
        pixel_start=-1 if deflated else watch.start,
        pixel_bytes=watch.length if deflated else max(0, min(watch.length, size - watch.start)),
        fragmented=fragmented,
        ends_early=not keyword and not deflated and watch.tag < _FIRST_PIXELS and end != size,
    )


def _encoding(dataset: Dataset) -> str:
    implicit, little_endian = dataset.original_encoding
    if implicit:
        return str(uid.ImplicitVRLittleEndian)
    return str(uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian)


def sop_class(header: Header) -> str:
    """The SOPClassUID, also of a file that states it in its meta information only; "" if neither does."""
    return text(header.dataset, "SOPClassUID") or text(header.dataset.file_meta, "MediaStorageSOPClassUID")


def _is_uid(name: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)+", name) is not None and len(name) <= 64


def value(dataset: Dataset, keyword: str) -> Any:
    """What pydicom makes of an element; None if there is none, or what it holds cannot be parsed.

    One odd value among many must not cost the file: who needs the value says what its lack means.
    """
    tag = _tag(keyword)
    try:
        return dataset[tag].value if tag in dataset else None
    except DAMAGE:
        return None


def text(dataset: Dataset, keyword: str) -> str:
    r"""A text element without the spaces around it, several values joined by "\"; "" if missing."""
    return _as_text(value(dataset, keyword))


def whole(dataset: Dataset, keyword: str) -> int:
    """The first value of a whole number; -1 if missing, no whole number, or beyond 32 bits."""
    number = _as_number(value(dataset, keyword))
    return int(number) if number.is_integer() and int(number) in _INT32 else -1


def _as_text(found: Any) -> str:
    if found is None or isinstance(found, bytes | ItemSequence):
        return ""
    joined = "\\".join(str(part).strip() for part in found) if isinstance(found, MultiValue) else str(found)
    # control characters break tables, and half a character has no UTF-8
    return joined.strip() if joined.isprintable() else "".join(filter(str.isprintable, joined)).strip()


def _as_number(found: Any) -> float:
    """The first of the values as a finite float; NaN if there is none."""
    if isinstance(found, MultiValue | list):
        found = found[0] if found else None
    try:
        number = float(found)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _as_numbers(found: Any, count: int) -> tuple[float, ...]:
    """Exactly so many finite numbers, or ()."""
    if not isinstance(found, MultiValue | list) or len(found) != count:
        return ()
    numbers = tuple(_as_number(part) for part in found)
    return () if any(math.isnan(number) for number in numbers) else numbers


def _refuse_kind(header: Header, description: str) -> None:
    kind, modality = sop_class(header), text(header.dataset, "Modality")
    capture = kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}.")
    # BTP's masks: Secondary Capture, with Modality MR in the archive and whatever a converter left elsewhere
    if modality == "MR" or kind in _MR_CLASSES or (capture and description == "MaskTumor"):
        return
    raise DicomError("not_mr", f"modality {modality[:16] or 'not stated'}, {uid.UID(kind).name or 'no SOP class'}")


def image_shape(header: Header) -> Shape:
    """The shape of the pixels, once it is clear that they are an image that can be read.

    Raises:
        DicomError: `no_pixels`, `damaged_header`, `colour`, `bad_geometry`, `truncated_pixels`, `undecodable`.
    """
    if header.ends_early:
        raise DicomError("damaged_header", "the file ends inside its header")
    if not header.pixel_keyword:
        raise DicomError("no_pixels", "no element of pixel data, or an empty one")
    dataset = header.dataset
    samples, interpretation = whole(dataset, "SamplesPerPixel"), text(dataset, "PhotometricInterpretation")
    if samples not in {1, -1} or interpretation == "PALETTE COLOR":
        raise DicomError("colour", f"{abs(samples)} samples a pixel, {interpretation[:16] or 'no interpretation'}")
    stated_bits = whole(dataset, "BitsAllocated")
    shape = Shape(
        frames=whole(dataset, "NumberOfFrames") if text(dataset, "NumberOfFrames") not in {"", "0"} else 1,
        rows=whole(dataset, "Rows"),
        columns=whole(dataset, "Columns"),
        # float pixels need not state them
        bits=stated_bits if header.pixel_keyword == "PixelData" else PIXEL_BITS[header.pixel_keyword][0],
    )
    _refuse_geometry(header, shape)
    _refuse_truncation(header, shape)
    return shape


def _refuse_geometry(header: Header, shape: Shape) -> None:
    sides = range(1, _LARGEST_SIDE + 1)
    if shape.rows not in sides or shape.columns not in sides or shape.rows * shape.columns > _MOST_PIXELS:
        raise DicomError("bad_geometry", f"{shape.rows} rows x {shape.columns} columns (-1: missing)")
    if not 1 <= shape.frames <= _MOST_FRAMES:
        raise DicomError("bad_geometry", f"{shape.frames} frames, expected 1 to {_MOST_FRAMES}")
    if shape.bits not in PIXEL_BITS[header.pixel_keyword]:
        raise DicomError("bad_geometry", f"{shape.bits} bits a pixel (-1: missing), expected 8, 16, 32 or 64")


def _refuse_truncation(header: Header, shape: Shape) -> None:
    if header.transfer_syntax in NATIVE:
        if header.fragmented:  # read as they stand, compressed bytes would make an image of noise
            raise DicomError("undecodable", "compressed pixels, and no transfer syntax that says how")
        needed = shape.rows * shape.columns * shape.frames * shape.bits // 8
    else:
        needed = shape.frames * _ITEM_BYTES  # each has a fragment of its own: bounds a damaged number of frames
    if header.pixel_bytes < needed:
        raise DicomError("truncated_pixels", f"{header.pixel_bytes:,} bytes of pixels, {needed:,} expected")


def _identity(header: Header, path: str) -> dict[str, str]:
    dataset, told = header.dataset, naming.identity_from_path(path)
    stated = {keyword: text(dataset, keyword) or _as_text(found) for keyword, found in told.items()}
    patient = stated["PatientID"]
    day = naming.parse_date(text(dataset, "StudyDate")) or told["StudyDate"]
    folder, instance = Path(path).parent, text(dataset.file_meta, "MediaStorageSOPInstanceUID")
    made = {
        "StudyInstanceUID": _made_uid("study", patient, day, folder.parent),
        "SeriesInstanceUID": _made_uid("series", patient, day, text(dataset, "SeriesNumber"), folder),
    }
    stated |= {keyword: stated[keyword] or found for keyword, found in made.items()}
    instance = text(dataset, "SOPInstanceUID") or instance or _made_uid("instance", path)
    return {**stated, "StudyDate": day, "SOPInstanceUID": instance}


def _made_uid(*parts: str | Path) -> str:
    """The same UID for the same words; a path need not be text, so that its bytes are taken."""
    return str(uid.generate_uid(entropy_srcs=[f"{os.fsencode(part).hex()};" for part in parts]))


def _shared(header: Header) -> dict[str, Any]:
    dataset = header.dataset
    return {
        "SOPClassUID": sop_class(header),
        "TransferSyntaxUID": header.transfer_syntax,
        "Manufacturer": text(dataset, "Manufacturer"),
        "InstanceNumber": whole(dataset, "InstanceNumber"),
    }


def frame_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    """The functional groups that speak of a frame: its own first, then what all frames share; [] if not enhanced."""
    shared, own = (_items(value(dataset, keyword)) for keyword in GROUP_KEYWORDS)
    return [*own[frame : frame + 1], *shared[:1]]


def _items(found: Any) -> Sequence[Dataset]:
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
        for item in _items(value(group, sequence))[:1]:
            found = value(item, nested)
            if found is not None:
                return found
    return value(dataset, keyword)


def frame_number(dataset: Dataset, groups: Sequence[Dataset], keyword: str) -> float:
    """As `frame_value`, as a finite number; NaN if there is none."""
    return _as_number(frame_value(dataset, groups, keyword))


def _echoes(dataset: Dataset, groups: Sequence[Sequence[Dataset]]) -> list[int]:
    """EchoNumbers of each frame. An enhanced object counts no echoes: its distinct echo times are numbered from 1."""
    if not any(groups):
        return [whole(dataset, "EchoNumbers")] * len(groups)
    times = [frame_number(dataset, group, "EchoTime") for group in groups]
    distinct = sorted({time for time in times if not math.isnan(time)})
    return [-1 if math.isnan(time) else distinct.index(time) + 1 for time in times]


def _sequence_texts(dataset: Dataset, description: str) -> dict[str, str]:
    texts = {keyword: text(dataset, keyword) for keyword in _PHYSICS_TEXTS}
    if _items(value(dataset, "ContrastBolusAgentSequence")):
        texts["ContrastBolusAgent"] = texts["ContrastBolusAgent"] or "stated in a sequence"
    texts["SequenceName"] = texts["SequenceName"] or text(dataset, "PulseSequenceName")
    return {**texts, "SeriesDescription": description, "ScanningSequence": _scanning_sequence(dataset)}


def _scanning_sequence(dataset: Dataset) -> str:
    """ScanningSequence, or what an enhanced object says in its stead (PS3.3 C.8.13.4)."""
    echo = text(dataset, "EchoPulseSequence")
    said = {
        "EP": text(dataset, "EchoPlanarPulseSequence") == "YES",
        "IR": text(dataset, "InversionRecovery") == "YES",
        "GR": echo in {"GRADIENT", "BOTH"},
        "SE": echo in {"SPIN", "BOTH"},
    }
    return text(dataset, "ScanningSequence") or "\\".join(kind for kind, holds in said.items() if holds)


def _frame(dataset: Dataset, groups: Sequence[Dataset], texts: Mapping[str, str]) -> dict[str, Any]:
    numbers = {keyword: frame_number(dataset, groups, keyword) for keyword in _PHYSICS_NUMBERS}
    image_type = _as_text(frame_value(dataset, groups, "ImageType"))
    sequence, source = naming.canonical_sequence({**texts, **numbers, "ImageType": image_type})
    spacing = _as_numbers(frame_value(dataset, groups, "PixelSpacing"), 2)
    row_spacing, column_spacing = spacing if spacing and min(spacing) > 0 else (math.nan, math.nan)
    return {
        "Type": texts["SeriesDescription"] or sequence,
        "sequence": sequence,
        "sequence_source": source,
        "row_spacing_mm": row_spacing,
        "column_spacing_mm": column_spacing,
        "SliceThickness": frame_number(dataset, groups, "SliceThickness"),
        **_placement(dataset, groups),
    }


def _placement(dataset: Dataset, groups: Sequence[Dataset]) -> dict[str, Any]:
    """Plane, orientation and position of a frame; position_mm = ImagePositionPatient . normal (PS3.3 C.7.6.2.1.1)."""
    cosines = _as_numbers(frame_value(dataset, groups, "ImageOrientationPatient"), 6)
    corner = _as_numbers(frame_value(dataset, groups, "ImagePositionPatient"), 3)
    normal = naming.normal_of(cosines)
    if normal and corner:
        position = sum(along * coordinate for along, coordinate in zip(normal, corner, strict=True))
    else:
        position = _as_number(value(dataset, "SliceLocation"))
    rounded = [round(cosine, 2) + 0.0 for cosine in cosines]  # + 0.0: there is no "-0.00"
    return {
        "plane": naming.plane(cosines),
        "position_mm": position,
        "orientation": ",".join(f"{cosine:.2f}" for cosine in rounded) if normal else "",
    }
