"""A DICOM file in, the catalogue's rows of its frames out; pixels are not read."""

import errno
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from tumorprog.dicom import elements, naming
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

_PHYSICS_TEXTS = ("ProtocolName", "ImageType", "ContrastBolusAgent", "SequenceName", "MRAcquisitionType")
_PHYSICS_NUMBERS = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")
_CATALOGUE_KEYWORDS = (
    *IMAGE_KEYWORDS,
    *elements.GROUP_KEYWORDS,
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
    with elements.quiet_pydicom():
        with open_file(path) as file:
            header = read_header(file, _CATALOGUE_KEYWORDS)
        identity = _identity(header, path)
        _refuse_kind(header, identity["SeriesDescription"])
        shape = image_shape(header)
        if not identity["PatientID"]:
            raise DicomError("no_identity", "no PatientID in the header, and no patient's folder in the path")
        groups = [elements.frame_groups(header.dataset, frame) for frame in range(shape.frames)]
        shared = {**identity, "path": path, "Rows": shape.rows, "Columns": shape.columns, **_shared(header)}
        texts = _sequence_texts(header.dataset, identity["SeriesDescription"])
        return [
            {**shared, "frame": frame, "EchoNumbers": echo, **_frame(header.dataset, group, texts)}
            for frame, (group, echo) in enumerate(zip(groups, _echoes(header.dataset, groups), strict=True))
        ]


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
        dataset = read_partial(
            file, watch, force=True, specific_tags=[elements.tag_of(keyword) for keyword in keywords]
        )
        header = _header(file, dataset, watch)
    except elements.DAMAGE as error:
        raise damaged(error, reason, "the header") from None
    if sop_class(header) == uid.MediaStorageDirectoryStorage or watch.tag >> 16 == _DIRECTORY_GROUP:
        raise DicomError("index_file", "a DICOMDIR")
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


def _header(file: BinaryIO, dataset: Dataset, watch: _Watch) -> Header:
    size = os.fstat(file.fileno()).st_size
    stated = elements.text(dataset.file_meta, "TransferSyntaxUID")
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
    return elements.text(header.dataset, "SOPClassUID") or elements.text(
        header.dataset.file_meta, "MediaStorageSOPClassUID"
    )


def _is_uid(name: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)+", name) is not None and len(name) <= 64


def _refuse_kind(header: Header, description: str) -> None:
    kind, modality = sop_class(header), elements.text(header.dataset, "Modality")
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
    samples, interpretation = (
        elements.whole(dataset, "SamplesPerPixel"),
        elements.text(dataset, "PhotometricInterpretation"),
    )
    if samples not in {1, -1} or interpretation == "PALETTE COLOR":
        raise DicomError("colour", f"{abs(samples)} samples a pixel, {interpretation[:16] or 'no interpretation'}")
    stated_bits = elements.whole(dataset, "BitsAllocated")
    shape = Shape(
        frames=elements.whole(dataset, "NumberOfFrames")
        if elements.text(dataset, "NumberOfFrames") not in {"", "0"}
        else 1,
        rows=elements.whole(dataset, "Rows"),
        columns=elements.whole(dataset, "Columns"),
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
    stated = {keyword: elements.text(dataset, keyword) or elements.as_text(found) for keyword, found in told.items()}
    patient = stated["PatientID"]
    day = naming.parse_date(elements.text(dataset, "StudyDate")) or told["StudyDate"]
    folder, instance = Path(path).parent, elements.text(dataset.file_meta, "MediaStorageSOPInstanceUID")
    made = {
        "StudyInstanceUID": _made_uid("study", patient, day, folder.parent),
        "SeriesInstanceUID": _made_uid("series", patient, day, elements.text(dataset, "SeriesNumber"), folder),
    }
    stated |= {keyword: stated[keyword] or found for keyword, found in made.items()}
    instance = elements.text(dataset, "SOPInstanceUID") or instance or _made_uid("instance", path)
    return {**stated, "StudyDate": day, "SOPInstanceUID": instance}


def _made_uid(*parts: str | Path) -> str:
    """The same UID for the same words; a path need not be text, so that its bytes are taken."""
    return str(uid.generate_uid(entropy_srcs=[f"{os.fsencode(part).hex()};" for part in parts]))


def _shared(header: Header) -> dict[str, Any]:
    dataset = header.dataset
    return {
        "SOPClassUID": sop_class(header),
        "TransferSyntaxUID": header.transfer_syntax,
        "Manufacturer": elements.text(dataset, "Manufacturer"),
        "InstanceNumber": elements.whole(dataset, "InstanceNumber"),
    }


def _echoes(dataset: Dataset, groups: Sequence[Sequence[Dataset]]) -> list[int]:
    """EchoNumbers of each frame. An enhanced object counts no echoes: its distinct echo times are numbered from 1."""
    if not any(groups):
        return [elements.whole(dataset, "EchoNumbers")] * len(groups)
    times = [elements.frame_number(dataset, group, "EchoTime") for group in groups]
    distinct = sorted({time for time in times if not math.isnan(time)})
    return [-1 if math.isnan(time) else distinct.index(time) + 1 for time in times]


def _sequence_texts(dataset: Dataset, description: str) -> dict[str, str]:
    texts = {keyword: elements.text(dataset, keyword) for keyword in _PHYSICS_TEXTS}
    if elements.items(elements.value(dataset, "ContrastBolusAgentSequence")):
        texts["ContrastBolusAgent"] = texts["ContrastBolusAgent"] or "stated in a sequence"
    texts["SequenceName"] = texts["SequenceName"] or elements.text(dataset, "PulseSequenceName")
    return {**texts, "SeriesDescription": description, "ScanningSequence": _scanning_sequence(dataset)}


def _scanning_sequence(dataset: Dataset) -> str:
    """ScanningSequence, or what an enhanced object says in its stead (PS3.3 C.8.13.4)."""
    echo = elements.text(dataset, "EchoPulseSequence")
    said = {
        "EP": elements.text(dataset, "EchoPlanarPulseSequence") == "YES",
        "IR": elements.text(dataset, "InversionRecovery") == "YES",
        "GR": echo in {"GRADIENT", "BOTH"},
        "SE": echo in {"SPIN", "BOTH"},
    }
    return elements.text(dataset, "ScanningSequence") or "\\".join(kind for kind, holds in said.items() if holds)


def _frame(dataset: Dataset, groups: Sequence[Dataset], texts: Mapping[str, str]) -> dict[str, Any]:
    numbers = {keyword: elements.frame_number(dataset, groups, keyword) for keyword in _PHYSICS_NUMBERS}
    image_type = elements.as_text(elements.frame_value(dataset, groups, "ImageType"))
    sequence, source = naming.canonical_sequence({**texts, **numbers, "ImageType": image_type})
    spacing = elements.as_numbers(elements.frame_value(dataset, groups, "PixelSpacing"), 2)
    row_spacing, column_spacing = spacing if spacing and min(spacing) > 0 else (math.nan, math.nan)
    return {
        "Type": texts["SeriesDescription"] or sequence,
        "sequence": sequence,
        "sequence_source": source,
        "row_spacing_mm": row_spacing,
        "column_spacing_mm": column_spacing,
        "SliceThickness": elements.frame_number(dataset, groups, "SliceThickness"),
        **_placement(dataset, groups),
    }


def _placement(dataset: Dataset, groups: Sequence[Dataset]) -> dict[str, Any]:
    """Plane, orientation and position of a frame; position_mm = ImagePositionPatient . normal (PS3.3 C.7.6.2.1.1)."""
    cosines = elements.as_numbers(elements.frame_value(dataset, groups, "ImageOrientationPatient"), 6)
    corner = elements.as_numbers(elements.frame_value(dataset, groups, "ImagePositionPatient"), 3)
    normal = naming.normal_of(cosines)
    if normal and corner:
        position = sum(along * coordinate for along, coordinate in zip(normal, corner, strict=True))
    else:
        position = elements.as_number(elements.value(dataset, "SliceLocation"))
    rounded = [round(cosine, 2) + 0.0 for cosine in cosines]  # + 0.0: there is no "-0.00"
    return {
        "plane": naming.plane(cosines),
        "position_mm": position,
        "orientation": ",".join(f"{cosine:.2f}" for cosine in rounded) if normal else "",
    }
