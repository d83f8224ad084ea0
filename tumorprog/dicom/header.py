"""A DICOM file in, the catalogue's rows of its frames out; pixels are not read."""

import errno
import functools
import io
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydicom import uid
from pydicom.dataset import Dataset

from tumorprog import storage
from tumorprog.dicom import elements, naming, parsing
from tumorprog.dicom.elements import Elements
from tumorprog.dicom.parsing import PIXEL_BITS, Header
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

_ITEM_BYTES = 8
_DIRECTORY_GROUP = 0x0004
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
_MOST_WARNINGS = 300  # characters
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
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    *elements.GROUP_KEYWORDS,
)
"""What is asked of any file before its pixels are believed, and what they mean."""

Vector = tuple[float, float, float]

_PHYSICS_TEXTS = ("ProtocolName", "ImageType", "ContrastBolusAgent", "SequenceName", "MRAcquisitionType")
_CATALOGUE_KEYWORDS = (
    *IMAGE_KEYWORDS,
    *_PHYSICS_TEXTS,
    *naming.PHYSICS_NUMBERS,
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
class Shape:
    """Of the pixels of a file.

    Attributes:
        frames: how many.
        rows: of a frame.
        columns: of a frame.
        bits: of a pixel's place.
        bits_stored: how many of them, from the lowest, are the pixel's; all if it is not stated.
        representation: 0 unsigned, 1 signed; what else is stated, no decoder reads.
        photometric: PhotometricInterpretation; MONOCHROME2 if it is not stated.
    """

    frames: int
    rows: int
    columns: int
    bits: int
    bits_stored: int
    representation: int
    photometric: str

    @property
    def frame_bytes(self) -> int:
        """The length of an uncompressed frame."""
        return self.rows * self.columns * self.bits // 8


def read_rows(path: str) -> list[dict[str, Any]]:
    """One row a frame, for the catalogue.

    Identity comes from the header, and from the path only where the header lacks it. What neither tells gets a UID
    made from the path, the same at each reading.

    Args:
        path: of any file; it need not be DICOM.

    Returns:
        The columns of `tables.CATALOGUE` that a file tells of itself, and `orientation`: the six direction cosines
        with two decimals, joined by commas, "" if unknown. Missing text is "", a missing int -1, a missing float NaN.

    Raises:
        DicomError: if the file has no MR image that can be used; the detail names no patient.
    """
    with elements.quiet_pydicom() as said:
        with open_file(path) as file:
            header = read_header(file, _CATALOGUE_KEYWORDS)
        rows = _rows(header, path)
    told = "; ".join(sorted(said))[:_MOST_WARNINGS]
    for row in rows:
        row["warnings"] = told
    return rows


def _rows(header: Header, path: str) -> list[dict[str, Any]]:
    dataset, folder = header.dataset, os.path.dirname(path)  # noqa: PTH120 - ten times as fast, also on addresses
    others, form = dataset.without(_OWN), _form(header)
    # a slice differs from the others of its series in hardly anything: what it shares with the one before is known
    common, said = (_common if others.small else _common.__wrapped__)(others, form, folder)
    elements.hear(said)
    _refuse_truncation(header, common.shape)
    if not common.row["PatientID"]:
        raise DicomError("no_identity", "no PatientID in the header, and no patient's folder in the path")
    instance = elements.text(dataset, "SOPInstanceUID") or elements.text(header.meta, "MediaStorageSOPInstanceUID")
    own = {
        "path": path,
        "SOPInstanceUID": instance or _made_uid("instance", path),
        "InstanceNumber": elements.whole(dataset, "InstanceNumber"),
    }
    frame_bytes = common.shape.frame_bytes
    return [
        {
            **common.row,
            **row,
            **own,
            "frame": frame,
            "position_mm": _position(dataset, group, normal),
            "pixel_offset": header.start + frame * frame_bytes if common.row["pixel_dtype"] else -1,
        }
        for frame, (row, normal, group) in enumerate(common.frames or _frames(others, common.shape, common.row))
    ]


class _Form(NamedTuple):
    """What a header says besides its elements."""

    sop_class: str
    transfer_syntax: str
    pixel_keyword: str
    vr: str
    ends_early: bool


def _form(header: Header) -> _Form:
    return _Form(
        sop_class=sop_class(header),
        transfer_syntax=header.transfer_syntax,
        pixel_keyword=header.pixel_keyword,
        vr=header.vr,
        ends_early=header.ends_early,
    )


_Frame = tuple[dict[str, Any], Vector | None, Sequence[Dataset]]
"""Columns of the catalogue that a frame has for itself, its normal, its functional groups."""


class _Common(NamedTuple):
    """What files agree in whose headers differ in nothing but `_OWN`.

    Attributes:
        shape: of the pixels.
        row: columns of the catalogue that all frames share.
        frames: of the frame, if there is one, as `_frames` gives it; many are not worked out before it is clear that
            the file has them.
    """

    shape: Shape
    row: dict[str, Any]
    frames: list[_Frame]


_OWN = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "SliceLocation")


@functools.lru_cache(maxsize=256)
def _common(dataset: Elements, form: _Form, folder: str) -> tuple[_Common, set[str]]:
    """What a file shares with its neighbours, and what pydicom had to say of it."""
    with elements.quiet_pydicom() as said:
        identity = _identity(dataset, folder)
        _refuse_kind(dataset, form, identity["SeriesDescription"])
        shape = _shape(dataset, form)
        row = {**identity, **_shared(dataset, form, shape)}
        frames = _frames(dataset, shape, row) if shape.frames == 1 else []
    return _Common(shape, row, frames), said


def _frames(dataset: Elements, shape: Shape, shared: Mapping[str, Any]) -> list[_Frame]:
    groups = [elements.frame_groups(dataset, frame) for frame in range(shape.frames)]
    texts = _sequence_texts(dataset, shared["SeriesDescription"])
    frames: list[_Frame] = []
    for group, echo in zip(groups, _echoes(dataset, groups), strict=True):
        row, normal = _frame(dataset, group, texts)
        frames.append(({**row, "EchoNumbers": echo}, normal, group))
    return frames


def open_file(path: str) -> BinaryIO:
    """A file of at least one byte, open for reading at its start.

    Args:
        path: of a file of this machine, as `storage.walk` or the operating system names it, or its address in a store.

    Raises:
        DicomError: `unreadable` or `empty`.
    """
    try:
        file = storage.open_binary(path) if storage.is_remote(path) else _open_local(path)
        num_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
    except OSError as error:
        raise DicomError("unreadable", error.strerror or "the operating system gives no reason") from error
    except ValueError as error:
        raise DicomError("unreadable", "the path holds a character that no path can have") from error
    if num_bytes == 0:
        file.close()
        raise DicomError("empty", "0 bytes")
    return file


def _open_local(path: str) -> BinaryIO:
    place = Path(storage.local_name(path))
    if not stat.S_ISREG(place.stat().st_mode):  # a pipe would never end
        raise DicomError("unreadable", "not a regular file")
    return place.open("rb")


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
        window = file.read(parsing.WINDOW_BYTES)
        if window[128:132] != b"DICM":
            reason = "not_dicom"
            if window[:2] not in _FIRST_GROUPS:
                raise DicomError(reason, "it begins neither with a DICOM preamble nor with a data set")
        header = parsing.parse(window, file, keywords)
    except elements.DAMAGE as error:
        raise damaged(error, reason, "the header") from None
    if sop_class(header) == uid.MediaStorageDirectoryStorage or header.tag >> 16 == _DIRECTORY_GROUP:
        raise DicomError("index_file", "a DICOMDIR")
    dataset = header.dataset
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


def sop_class(header: Header) -> str:
    """The SOPClassUID, also of a file that states it in its meta information only; "" if neither does."""
    return elements.text(header.dataset, "SOPClassUID") or elements.text(header.meta, "MediaStorageSOPClassUID")


def _is_uid(name: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)+", name) is not None and len(name) <= 64


def _refuse_kind(dataset: Elements, form: _Form, description: str) -> None:
    kind, modality = form.sop_class, elements.text(dataset, "Modality")
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
    shape = _shape(header.dataset, _form(header))
    _refuse_truncation(header, shape)
    return shape


def _shape(dataset: Elements, form: _Form) -> Shape:
    if form.ends_early:
        raise DicomError("damaged_header", "the file ends inside its header")
    if not form.pixel_keyword:
        raise DicomError("no_pixels", "no element of pixel data, or an empty one")
    samples, photometric = (
        elements.whole(dataset, "SamplesPerPixel"),
        elements.text(dataset, "PhotometricInterpretation"),
    )
    if samples not in {1, -1} or photometric == "PALETTE COLOR":
        raise DicomError("colour", f"{abs(samples)} samples a pixel, {photometric[:16] or 'no interpretation'}")
    # float pixels need not state their bits
    floats = form.pixel_keyword != "PixelData"
    bits = PIXEL_BITS[form.pixel_keyword][0] if floats else elements.whole(dataset, "BitsAllocated")
    frames_stated = elements.text(dataset, "NumberOfFrames") not in {"", "0"}
    shape = Shape(
        frames=elements.whole(dataset, "NumberOfFrames") if frames_stated else 1,
        rows=elements.whole(dataset, "Rows"),
        columns=elements.whole(dataset, "Columns"),
        bits=bits,
        bits_stored=bits if floats else _stated(dataset, "BitsStored", usual=bits),
        representation=_stated(dataset, "PixelRepresentation", usual=0),
        photometric=photometric or "MONOCHROME2",
    )
    _refuse_geometry(shape, form)
    return shape


def _stated(dataset: Elements, keyword: str, *, usual: int) -> int:
    """A whole number; files older than DICOM do not state what was usual."""
    number = elements.whole(dataset, keyword)
    return usual if number == -1 else number


def _stored_dtype(form: _Form, shape: Shape) -> str:
    """How the pixels of each frame stand in the file, one after the other; "" if they must be decoded.

    Returns:
        numpy's name with byte order: "<u2", ">i2", "|u1", "<f4"; then, if the pixel has fewer bits than its place, a
        colon and their number: "<u2:12" (the others may hold an overlay).
    """
    big_endian, one_byte = form.transfer_syntax == uid.ExplicitVRBigEndian, shape.bits == 8
    if form.transfer_syntax not in NATIVE - {uid.DeflatedExplicitVRLittleEndian}:
        return ""
    # whatever else is stated, pydicom knows what to do or to refuse; bytes may stand in big-endian words
    if shape.photometric not in {"MONOCHROME1", "MONOCHROME2"} or (big_endian and one_byte and form.vr != "OB"):
        return ""
    order = "|" if one_byte else "<>"[big_endian]
    if form.pixel_keyword != "PixelData":
        return f"{order}f{shape.bits // 8}"
    if shape.representation not in {0, 1} or not 1 <= shape.bits_stored <= shape.bits:
        return ""
    name = f"{order}{'ui'[shape.representation]}{shape.bits // 8}"
    return name if shape.bits_stored == shape.bits else f"{name}:{shape.bits_stored}"


def rescale(dataset: Elements, groups: Sequence[Dataset]) -> tuple[float, float]:
    """Slope and intercept of a frame: 1 and 0 if missing, and 1 for a slope of 0, which would leave nothing."""
    slope = elements.frame_number(dataset, groups, "RescaleSlope")
    intercept = elements.frame_number(dataset, groups, "RescaleIntercept")
    return (1.0 if slope == 0 or math.isnan(slope) else slope), (0.0 if math.isnan(intercept) else intercept)


def _refuse_geometry(shape: Shape, form: _Form) -> None:
    sides = range(1, _LARGEST_SIDE + 1)
    if shape.rows not in sides or shape.columns not in sides or shape.rows * shape.columns > _MOST_PIXELS:
        raise DicomError("bad_geometry", f"{shape.rows} rows x {shape.columns} columns (-1: missing)")
    if not 1 <= shape.frames <= _MOST_FRAMES:
        raise DicomError("bad_geometry", f"{shape.frames} frames, expected 1 to {_MOST_FRAMES}")
    if shape.bits not in PIXEL_BITS[form.pixel_keyword]:
        raise DicomError("bad_geometry", f"{shape.bits} bits a pixel (-1: missing), expected 8, 16, 32 or 64")


def _refuse_truncation(header: Header, shape: Shape) -> None:
    if header.transfer_syntax in NATIVE:
        if header.fragmented:  # read as they stand, compressed bytes would make an image of noise
            raise DicomError("undecodable", "compressed pixels, and no transfer syntax that says how")
        needed = shape.frames * shape.frame_bytes
    else:
        needed = shape.frames * _ITEM_BYTES  # each has a fragment of its own: bounds a damaged number of frames
    if header.pixel_bytes < needed:
        raise DicomError("truncated_pixels", f"{header.pixel_bytes:,} bytes of pixels, {needed:,} expected")


def _identity(dataset: Elements, folder: str) -> dict[str, str]:
    told = naming.identity_from_folder(folder)
    stated = {keyword: elements.text(dataset, keyword) or elements.as_text(found) for keyword, found in told.items()}
    patient = stated["PatientID"]
    day = naming.parse_date(elements.text(dataset, "StudyDate")) or told["StudyDate"]
    if not stated["StudyInstanceUID"]:
        stated["StudyInstanceUID"] = _made_uid("study", patient, day, Path(folder).parent)
    if not stated["SeriesInstanceUID"]:
        number = elements.text(dataset, "SeriesNumber")
        stated["SeriesInstanceUID"] = _made_uid("series", patient, day, number, Path(folder))
    return {**stated, "StudyDate": day}


def _made_uid(*parts: str | Path) -> str:
    """The same UID for the same words; a path need not be text, so that its bytes are taken."""
    return str(uid.generate_uid(entropy_srcs=[f"{os.fsencode(part).hex()};" for part in parts]))


def _shared(dataset: Elements, form: _Form, shape: Shape) -> dict[str, Any]:
    """What all frames of a file have in common."""
    dtype = _stored_dtype(form, shape)
    return {
        "Rows": shape.rows,
        "Columns": shape.columns,
        "PhotometricInterpretation": shape.photometric,
        "pixel_bytes": shape.frame_bytes if dtype else -1,
        "pixel_dtype": dtype,
        "SOPClassUID": form.sop_class,
        "TransferSyntaxUID": form.transfer_syntax,
        "Manufacturer": elements.text(dataset, "Manufacturer"),
    }


def _echoes(dataset: Elements, groups: Sequence[Sequence[Dataset]]) -> list[int]:
    """EchoNumbers of each frame. An enhanced object counts no echoes: its distinct echo times are numbered from 1."""
    if not any(groups):
        return [elements.whole(dataset, "EchoNumbers")] * len(groups)
    times = [elements.frame_number(dataset, group, "EchoTime") for group in groups]
    distinct = sorted({time for time in times if not math.isnan(time)})
    return [-1 if math.isnan(time) else distinct.index(time) + 1 for time in times]


def _sequence_texts(dataset: Elements, description: str) -> dict[str, str]:
    texts = {keyword: elements.text(dataset, keyword) for keyword in _PHYSICS_TEXTS}
    if elements.items(elements.value(dataset, "ContrastBolusAgentSequence")):
        texts["ContrastBolusAgent"] = texts["ContrastBolusAgent"] or "stated in a sequence"
    texts["SequenceName"] = texts["SequenceName"] or elements.text(dataset, "PulseSequenceName")
    return {**texts, "SeriesDescription": description, "ScanningSequence": _scanning_sequence(dataset)}


def _scanning_sequence(dataset: Elements) -> str:
    """ScanningSequence, or what an enhanced object says in its stead (PS3.3 C.8.13.4)."""
    echo = elements.text(dataset, "EchoPulseSequence")
    said = {
        "EP": elements.text(dataset, "EchoPlanarPulseSequence") == "YES",
        "IR": elements.text(dataset, "InversionRecovery") == "YES",
        "GR": echo in {"GRADIENT", "BOTH"},
        "SE": echo in {"SPIN", "BOTH"},
    }
    return elements.text(dataset, "ScanningSequence") or "\\".join(kind for kind, holds in said.items() if holds)


def _frame(
    dataset: Elements, groups: Sequence[Dataset], texts: Mapping[str, str]
) -> tuple[dict[str, Any], Vector | None]:
    """Columns of a frame, and its normal."""
    numbers = {keyword: elements.frame_number(dataset, groups, keyword) for keyword in naming.PHYSICS_NUMBERS}
    image_type = elements.as_text(elements.frame_value(dataset, groups, "ImageType"))
    sequence, source = naming.canonical_sequence({**texts, **numbers, "ImageType": image_type})
    spacing = elements.as_numbers(elements.frame_value(dataset, groups, "PixelSpacing"), 2)
    slope, intercept = rescale(dataset, groups)
    row_spacing, column_spacing = spacing if spacing and min(spacing) > 0 else (math.nan, math.nan)
    cosines = elements.as_numbers(elements.frame_value(dataset, groups, "ImageOrientationPatient"), 6)
    normal, plane, orientation = _orientation(cosines)
    return {
        "Type": texts["SeriesDescription"] or sequence,
        "sequence": sequence,
        "sequence_source": source,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "row_spacing_mm": row_spacing,
        "column_spacing_mm": column_spacing,
        "SliceThickness": elements.frame_number(dataset, groups, "SliceThickness"),
        "plane": plane,
        "orientation": orientation,
    }, normal


def _position(dataset: Elements, groups: Sequence[Dataset], normal: Vector | None) -> float:
    """In mm along the normal: ImagePositionPatient . normal (PS3.3 C.7.6.2.1.1), or else SliceLocation."""
    corner = elements.as_numbers(elements.frame_value(dataset, groups, "ImagePositionPatient"), 3)
    if normal and corner:
        return sum(along * coordinate for along, coordinate in zip(normal, corner, strict=True))
    return elements.as_number(elements.value(dataset, "SliceLocation"))


@functools.lru_cache(maxsize=256)  # the slices of a stack share it
def _orientation(cosines: tuple[float, ...]) -> tuple[Vector | None, str, str]:
    """Normal, plane, and the cosines as text."""
    normal = naming.normal_of(cosines)
    rounded = [round(cosine, 2) + 0.0 for cosine in cosines]  # + 0.0: there is no "-0.00"
    return normal, naming.plane(cosines), ",".join(f"{cosine:.2f}" for cosine in rounded) if normal else ""
