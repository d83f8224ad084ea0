"""Catalogue rows for the frames of a DICOM file; pixels are not read."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import uid
from pydicom.dataset import Dataset

from tumorprog.errors import DicomError
from tumorprog.formats import naming
from tumorprog.formats.columns import DATES_APART, NO_STUDY_DATE, OTHER_DATE
from tumorprog.formats.dicom import elements, opening
from tumorprog.formats.dicom.elements import Elements
from tumorprog.formats.dicom.parsing import Header
from tumorprog.sequences import decision as sequence

_MR_CLASSES = frozenset(
    (
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.EnhancedMRColorImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    )
)
_MAX_WARNINGS_LENGTH = 300  # characters

_OTHER_DATES = ("SeriesDate", "AcquisitionDate", "ContentDate")
"""Dates used for a study without StudyDate, in addition to the acquisition times."""

_DAY_S = 24 * 60 * 60

Vector = tuple[float, float, float]

_FRAME_TEXTS = ("ImageType", "ComplexImageComponent", "AcquisitionContrast")
_READ_SEPARATELY = ("SeriesDescription", "ScanningSequence", "SOPClassUID", *_FRAME_TEXTS)
_ACQUISITION_TEXTS = tuple(keyword for keyword in sequence.TEXTS if keyword not in _READ_SEPARATELY)
_CATALOGUE_KEYWORDS = (
    *opening.IMAGE_KEYWORDS,
    *_ACQUISITION_TEXTS,
    *sequence.ACQUISITION_NUMBERS,
    *_FRAME_TEXTS,
    "ScanningSequence",
    "ContrastBolusAgentSequence",
    "PulseSequenceName",
    "EchoPulseSequence",
    "InversionRecovery",
    "EchoPlanarPulseSequence",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    *_OTHER_DATES,
    "AcquisitionDateTime",
    "AcquisitionTime",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Manufacturer",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "PixelSpacing",
    "SliceThickness",
    "InstanceNumber",
    "EchoNumbers",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "SliceLocation",
)


def read_rows(path: str) -> list[dict[str, Any]]:
    """Return the catalogue rows of a file, one per frame.

    Identity is read from the header, and from the path only if the header lacks it. A UID that neither states is
    generated from the path, and is the same at each reading.

    Args:
        path: of any file; it need not be DICOM.

    Returns:
        The columns of `formats.columns.ROW`; `orientation` is the six direction
        cosines joined by commas, "" if unknown. Missing text is "", a missing int -1, a missing float NaN.

    Raises:
        DicomError: if the file contains no usable MR image; the detail does not identify a patient.
    """
    with elements.quiet_pydicom() as collected:
        with opening.open_file(path) as file:
            header = opening.read_header(file, _CATALOGUE_KEYWORDS)
        rows = _rows(header, path)
    joined = "; ".join(sorted(collected))[:_MAX_WARNINGS_LENGTH]
    for row in rows:
        row["warnings"] = joined
    return rows


def _rows(header: Header, path: str) -> list[dict[str, Any]]:
    dataset, folder = header.dataset, os.path.dirname(path)  # noqa: PTH120 - ten times as fast, also for addresses
    others, info = dataset.without(_PER_FILE), opening.header_info(header)
    # slices of a series differ in only a few elements, so the values that they share are cached
    acquired = elements.text(dataset, "AcquisitionDateTime")[:8]
    common, collected = (_common if others.is_small else _common.__wrapped__)(others, info, folder, acquired)
    elements.record_warnings(collected)
    opening.check_pixel_length(header, common.shape)
    if not common.row["PatientID"]:
        raise DicomError("no_identity", "no PatientID in the header and no patient folder in the path")
    instance = elements.text(dataset, "SOPInstanceUID") or elements.text(header.meta, "MediaStorageSOPInstanceUID")
    own = {
        "path": path,
        "SOPInstanceUID": instance or _generated_uid("instance", path),
        "InstanceNumber": elements.integer(dataset, "InstanceNumber"),
    }
    frame_bytes = common.shape.frame_bytes
    return [
        {
            **common.row,
            **row,
            **own,
            "frame": frame,
            **_position(dataset, group, normal),
            **_acquisition_timing(dataset, group),
            "pixel_offset": header.start + frame * frame_bytes if common.row["pixel_dtype"] else -1,
        }
        for frame, (row, normal, group) in enumerate(common.frames or _frames(others, common.shape, common.row))
    ]


_Frame = tuple[dict[str, Any], Vector | None, Sequence[Dataset]]
"""Catalogue columns specific to a frame, its normal, and its functional groups."""


class _Common(NamedTuple):
    """Values shared by files whose headers differ only in the `_PER_FILE` elements.

    Attributes:
        shape: of the pixels.
        row: catalogue columns shared by all frames.
        frames: the result of `_frames` for a single frame; several frames are processed only after a check that the
            file contains them.
    """

    shape: opening.Shape
    row: dict[str, Any]
    frames: list[_Frame]


_TIMING = ("AcquisitionDateTime", "AcquisitionTime", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime")
_TIMING_AND_DATE = (*_TIMING, "AcquisitionDate")
_PER_FILE = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "SliceLocation", *_TIMING)


@functools.lru_cache(maxsize=256)
def _common(dataset: Elements, info: opening.HeaderInfo, folder: str, acquired: str) -> tuple[_Common, set[str]]:
    """Return what a file shares with others of its series and AcquisitionDateTime date, and the warnings about it."""
    with elements.quiet_pydicom() as collected:
        identity = _identity(dataset, folder, acquired)
        _check_modality(dataset, info, identity["SeriesDescription"])
        shape = opening.shape_of(dataset, info)
        row = {**identity, **_patient(dataset, identity["StudyDate"]), **_shared(dataset, info, shape)}
        frames = _frames(dataset, shape, row) if shape.frames == 1 else []
    return _Common(shape, row, frames), collected


def _frames(dataset: Elements, shape: opening.Shape, shared: Mapping[str, Any]) -> list[_Frame]:
    groups = [elements.frame_groups(dataset, frame) for frame in range(shape.frames)]
    texts = _sequence_texts(dataset, shared["SeriesDescription"], shared["SOPClassUID"])
    frames: list[_Frame] = []
    for group, echo in zip(groups, _echoes(dataset, groups), strict=True):
        row, normal = _frame(dataset, group, texts, echo)
        frames.append(({**row, "EchoNumbers": echo}, normal, group))
    return frames


def _check_modality(dataset: Elements, info: opening.HeaderInfo, description: str) -> None:
    kind, modality = info.sop_class, elements.text(dataset, "Modality")
    # BTP's masks are Secondary Capture, with Modality MR in the archive and any modality after conversion
    if modality == "MR" or kind in _MR_CLASSES or (sequence.is_secondary_capture(kind) and description == "MaskTumor"):
        return
    raise DicomError("not_mr", f"modality {modality[:16] or 'not stated'}, {uid.UID(kind).name or 'no SOP class'}")


def _identity(dataset: Elements, folder: str, acquired: str) -> dict[str, str]:
    from_path = naming.identity_from_folder(folder)
    stated = {key: elements.text(dataset, key) or elements.as_text(found) for key, found in from_path.items()}
    patient = stated["PatientID"]
    day = _study_day(dataset, acquired) or from_path["StudyDate"]
    if from_path["StudyDate"] not in {"", day}:
        elements.record_warnings({OTHER_DATE})
    if not stated["StudyInstanceUID"]:
        stated["StudyInstanceUID"] = _generated_uid("study", patient, day, Path(folder).parent)
    if not stated["SeriesInstanceUID"]:
        number = elements.text(dataset, "SeriesNumber")
        stated["SeriesInstanceUID"] = _generated_uid("series", patient, day, number, Path(folder))
    return {**stated, "PatientID_stated": patient, "StudyDate": day}


def _patient(dataset: Elements, day: str) -> dict[str, Any]:
    """Return the sex and the age of the patient on the day of the study."""
    sex, age, birth = (
        elements.text(dataset, keyword).partition("\\")[0].strip()
        for keyword in ("PatientSex", "PatientAge", "PatientBirthDate")
    )
    return {"PatientSex": naming.parse_sex(sex), "PatientAge": naming.parse_age(age, birth, day)}


def _study_day(dataset: Elements, acquired: str) -> str:
    """Return the date of the study: StudyDate, else the best other date; "" if none. Inconsistencies are recorded."""
    series, acquisition, content = (elements.text(dataset, keyword) for keyword in _OTHER_DATES)
    moment = elements.frame_value(dataset, elements.frame_groups(dataset, 0), "FrameAcquisitionDateTime")
    texts = {
        "StudyDate": elements.text(dataset, "StudyDate"),
        "SeriesDate": series,
        "AcquisitionDate": acquisition,
        "AcquisitionDateTime": acquired,
        "FrameAcquisitionDateTime": elements.as_text(moment)[:8],
        "ContentDate": content,
    }
    days = {
        key: day for key, text in texts.items() if (day := naming.parse_date(text)) not in {"", naming.PLACEHOLDER_DATE}
    }
    used = next(iter(days), "")
    if not used:
        return ""
    if used != "StudyDate":
        elements.record_warnings({f"{NO_STUDY_DATE}, {used} used"})
    first = date.fromisoformat(days[used])
    far = [keyword for keyword, day in days.items() if abs((date.fromisoformat(day) - first).days) > 1]
    if far:
        elements.record_warnings({f"{' and '.join(far)} {DATES_APART} {used}"})
    return days[used]


def _generated_uid(*parts: str | Path) -> str:
    """Return a UID that is the same for the same parts; from their bytes, because a path need not be valid text."""
    return str(uid.generate_uid(entropy_srcs=[f"{os.fsencode(part).hex()};" for part in parts]))


def _shared(dataset: Elements, info: opening.HeaderInfo, shape: opening.Shape) -> dict[str, Any]:
    """Return the catalogue columns shared by all frames of a file."""
    dtype = opening.stored_dtype(info, shape)
    return {
        "Rows": shape.rows,
        "Columns": shape.columns,
        "PhotometricInterpretation": shape.photometric,
        "pixel_bytes": shape.frame_bytes if dtype else -1,
        "pixel_dtype": dtype,
        "padding_low": shape.padding[0],
        "padding_high": shape.padding[1],
        "SOPClassUID": info.sop_class,
        "TransferSyntaxUID": info.transfer_syntax,
        "Manufacturer": elements.text(dataset, "Manufacturer"),
        "ManufacturerModelName": elements.text(dataset, "ManufacturerModelName"),
        "MagneticFieldStrength": naming.field_strength(
            elements.as_number(elements.value(dataset, "MagneticFieldStrength"))
        ),
        "FrameOfReferenceUID": elements.text(dataset, "FrameOfReferenceUID"),
        "SeriesNumber": elements.integer(dataset, "SeriesNumber"),
    }


def _echoes(dataset: Elements, groups: Sequence[Sequence[Dataset]]) -> list[int]:
    """Return the echo number of each frame; for enhanced objects, distinct echo times are numbered from 1."""
    if not any(groups):
        return [elements.integer(dataset, "EchoNumbers")] * len(groups)
    times = [elements.frame_number(dataset, group, "EchoTime") for group in groups]
    distinct = sorted({time for time in times if not math.isnan(time)})
    return [-1 if math.isnan(time) else distinct.index(time) + 1 for time in times]


def _sequence_texts(dataset: Elements, description: str, sop_class: str) -> dict[str, str]:
    texts = {keyword: elements.text(dataset, keyword) for keyword in _ACQUISITION_TEXTS}
    for agent in elements.items(elements.value(dataset, "ContrastBolusAgentSequence"))[:1]:
        meaning = elements.text(agent, "CodeMeaning") or "stated in a sequence"
        texts["ContrastBolusAgent"] = texts["ContrastBolusAgent"] or meaning
    texts["SequenceName"] = texts["SequenceName"] or elements.text(dataset, "PulseSequenceName")
    return {**texts, "SeriesDescription": description, "SOPClassUID": sop_class}


def _scanning_sequence(dataset: Elements, groups: Sequence[Dataset]) -> str:
    """Return ScanningSequence, or its equivalent from an enhanced object (PS3.3 C.8.13.4)."""
    echo = elements.text(dataset, "EchoPulseSequence")
    present = {
        "EP": elements.text(dataset, "EchoPlanarPulseSequence") == "YES",
        "IR": elements.frame_value(dataset, groups, "InversionRecovery") == "YES",
        "GR": echo in {"GRADIENT", "BOTH"},
        "SE": echo in {"SPIN", "BOTH"},
    }
    return elements.text(dataset, "ScanningSequence") or "\\".join(
        kind for kind, is_present in present.items() if is_present
    )


def _frame(
    dataset: Elements, groups: Sequence[Dataset], texts: Mapping[str, str], echo: int
) -> tuple[dict[str, Any], Vector | None]:
    """Return the catalogue columns of a frame, and its normal."""
    numbers = {keyword: elements.frame_number(dataset, groups, keyword) for keyword in sequence.ACQUISITION_NUMBERS}
    own = {keyword: elements.as_text(elements.frame_value(dataset, groups, keyword)) for keyword in _FRAME_TEXTS}
    own["ScanningSequence"] = _scanning_sequence(dataset, groups)
    decision = sequence.canonical_sequence({**texts, **numbers, **own, "EchoNumbers": max(echo, 0)})
    spacing = elements.as_numbers(elements.frame_value(dataset, groups, "PixelSpacing"), 2)
    slope, intercept = opening.rescale(dataset, groups)
    row_spacing, column_spacing = spacing if spacing and min(spacing) > 0 else (math.nan, math.nan)
    cosines = elements.as_numbers(elements.frame_value(dataset, groups, "ImageOrientationPatient"), 6)
    normal, plane, orientation = _orientation(cosines)
    return {
        "Type": texts["SeriesDescription"] or decision.sequence,
        "sequence": decision.sequence,
        "sequence_source": decision.source,
        "sequence_witnesses": decision.witnesses,
        "sequence_contradiction": decision.contradiction,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "row_spacing_mm": row_spacing,
        "column_spacing_mm": column_spacing,
        "SliceThickness": elements.frame_number(dataset, groups, "SliceThickness"),
        "plane": plane,
        "orientation": orientation,
        "RepetitionTime": numbers["RepetitionTime"] if numbers["RepetitionTime"] > 0 else math.nan,
        "EchoTime": numbers["EchoTime"],
        "b_value": numbers["DiffusionBValue"],
        "component": _component(own),
        "ImageType": own["ImageType"],
    }, normal


def _position(dataset: Elements, groups: Sequence[Dataset], normal: Vector | None) -> dict[str, Any]:
    """Return the first pixel, and the position: its product with the normal (PS3.3 C.7.6.2.1.1), or SliceLocation."""
    corner = elements.as_numbers(elements.frame_value(dataset, groups, "ImagePositionPatient"), 3)
    if normal and corner:
        position = sum(along * coordinate for along, coordinate in zip(normal, corner, strict=True))
    else:
        position = elements.as_number(elements.value(dataset, "SliceLocation"))
    return {"ImagePositionPatient": ",".join(f"{mm + 0.0:.10g}" for mm in corner), "position_mm": position}


def _acquisition_timing(dataset: Elements, groups: Sequence[Dataset]) -> dict[str, Any]:
    """Return the numbers and times that order the acquisition of a frame; -1 or NaN if missing."""
    if groups:
        return _read_timing(dataset, groups)
    found, collected = _cached_timing(dataset.only(_TIMING_AND_DATE))
    elements.record_warnings(collected)
    return found


@functools.lru_cache(maxsize=256)
def _cached_timing(dataset: Elements) -> tuple[dict[str, Any], set[str]]:
    with elements.quiet_pydicom() as collected:
        return _read_timing(dataset, ()), collected


def _read_timing(dataset: Elements, groups: Sequence[Dataset]) -> dict[str, Any]:
    of_frame = elements.as_text(elements.frame_value(dataset, groups, "FrameAcquisitionDateTime") if groups else None)
    acquired = of_frame or elements.text(dataset, "AcquisitionDateTime")
    seconds = naming.parse_time(of_frame[8:] or elements.text(dataset, "AcquisitionTime") or acquired[8:])
    day = naming.parse_date(acquired[:8]) or naming.parse_date(elements.text(dataset, "AcquisitionDate"))
    midnights = _DAY_S * date.fromisoformat(day).toordinal() if day else 0
    return {
        "temporal_position": elements.frame_number(dataset, groups, "TemporalPositionIdentifier"),
        "AcquisitionNumber": elements.as_integer(elements.frame_value(dataset, groups, "AcquisitionNumber")),
        "trigger_ms": elements.frame_number(dataset, groups, "TriggerTime"),
        "acquired_s": seconds if math.isnan(seconds) else midnights + seconds,
    }


_COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}

_COMPONENTS |= {name.upper(): name for name in _COMPONENTS.values()} | {"PHASE MAP": "phase", "PHASE_MAP": "phase"}


def _component(texts: Mapping[str, str]) -> str:
    """Return the complex component, from ComplexImageComponent or from ImageType, third value on; "" if none."""
    stated = [texts["ComplexImageComponent"], *texts["ImageType"].split("\\")[2:]]
    return next((_COMPONENTS[kind.strip().upper()] for kind in stated if kind.strip().upper() in _COMPONENTS), "")


@functools.lru_cache(maxsize=256)  # shared by the slices of a stack
def _orientation(cosines: tuple[float, ...]) -> tuple[Vector | None, str, str]:
    """Return the normal, the plane, and the cosines as text."""
    normal = naming.normal_of(cosines)
    rounded = [round(cosine, 6) + 0.0 for cosine in cosines]  # + 0.0 turns -0.0 into 0.0
    return normal, naming.plane(cosines), ",".join(f"{cosine:g}" for cosine in rounded) if normal else ""
