"""A DICOM file in, the catalogue's rows of its frames out; pixels are not read."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import uid
from pydicom.dataset import Dataset

from tumorprog.dicom import elements, naming, opening, sequence
from tumorprog.dicom.elements import Elements
from tumorprog.dicom.parsing import Header
from tumorprog.errors import DicomError

_MR_CLASSES = frozenset(
    (
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.EnhancedMRColorImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    )
)
_MOST_WARNINGS = 300  # characters
OTHER_DATE = "folder named by another date than StudyDate"
"""Stands among a row's warnings where header and path tell different dates; the header's is used."""

NO_STUDY_DATE = "no usable StudyDate"
DATES_APART = "more than a day from"
"""Stand likewise where another date of the header is used, and where its dates disagree."""

_OTHER_DATES = ("SeriesDate", "AcquisitionDate", "ContentDate")
"""What tells the day of a study whose StudyDate is lost, besides the moments of acquisition."""

_DAY_S = 24 * 60 * 60
_NO_DAY = "1900-01-01"
"""What programs write who must write a date."""

Vector = tuple[float, float, float]

_FRAME_TEXTS = ("ImageType", "ComplexImageComponent", "AcquisitionContrast")
_DECIDED_HERE = ("SeriesDescription", "ScanningSequence", "SOPClassUID", *_FRAME_TEXTS)
_PHYSICS_TEXTS = tuple(keyword for keyword in sequence.TEXTS if keyword not in _DECIDED_HERE)
_CATALOGUE_KEYWORDS = (
    *opening.IMAGE_KEYWORDS,
    *_PHYSICS_TEXTS,
    *sequence.PHYSICS_NUMBERS,
    *_FRAME_TEXTS,
    "ScanningSequence",
    "ContrastBolusAgentSequence",
    "PulseSequenceName",
    "EchoPulseSequence",
    "InversionRecovery",
    "EchoPlanarPulseSequence",
    "PatientID",
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
    "PixelSpacing",
    "SliceThickness",
    "InstanceNumber",
    "EchoNumbers",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceLocation",
)


def read_rows(path: str) -> list[dict[str, Any]]:
    """One row a frame, for the catalogue.

    Identity comes from the header, and from the path only where the header lacks it. What neither tells gets a UID
    made from the path, the same at each reading.

    Args:
        path: of any file; it need not be DICOM.

    Returns:
        The columns of `catalogue.HEADERS` that a file tells of itself; `orientation` is the six direction cosines
        joined by commas, "" if unknown. Missing text is "", a missing int -1, a missing float NaN.

    Raises:
        DicomError: if the file has no MR image that can be used; the detail names no patient.
    """
    with elements.quiet_pydicom() as said:
        with opening.open_file(path) as file:
            header = opening.read_header(file, _CATALOGUE_KEYWORDS)
        rows = _rows(header, path)
    told = "; ".join(sorted(said))[:_MOST_WARNINGS]
    for row in rows:
        row["warnings"] = told
    return rows


def _rows(header: Header, path: str) -> list[dict[str, Any]]:
    dataset, folder = header.dataset, os.path.dirname(path)  # noqa: PTH120 - ten times as fast, also on addresses
    others, form = dataset.without(_OWN), opening.form_of(header)
    # a slice differs from the others of its series in hardly anything: what it shares with the one before is known
    acquired = elements.text(dataset, "AcquisitionDateTime")[:8]
    common, said = (_common if others.small else _common.__wrapped__)(others, form, folder, acquired)
    elements.hear(said)
    opening.refuse_truncation(header, common.shape)
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
            **_moment(dataset, group),
            "pixel_offset": header.start + frame * frame_bytes if common.row["pixel_dtype"] else -1,
        }
        for frame, (row, normal, group) in enumerate(common.frames or _frames(others, common.shape, common.row))
    ]


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

    shape: opening.Shape
    row: dict[str, Any]
    frames: list[_Frame]


_MOMENT = ("AcquisitionDateTime", "AcquisitionTime", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime")
_DATED = (*_MOMENT, "AcquisitionDate")
_OWN = ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "SliceLocation", *_MOMENT)


@functools.lru_cache(maxsize=256)
def _common(dataset: Elements, form: opening.Form, folder: str, acquired: str) -> tuple[_Common, set[str]]:
    """What a file shares with its neighbours, the day of its AcquisitionDateTime included, and what is odd about it."""
    with elements.quiet_pydicom() as said:
        identity = _identity(dataset, folder, acquired)
        _refuse_kind(dataset, form, identity["SeriesDescription"])
        shape = opening.shape_of(dataset, form)
        row = {**identity, **_shared(dataset, form, shape)}
        frames = _frames(dataset, shape, row) if shape.frames == 1 else []
    return _Common(shape, row, frames), said


def _frames(dataset: Elements, shape: opening.Shape, shared: Mapping[str, Any]) -> list[_Frame]:
    groups = [elements.frame_groups(dataset, frame) for frame in range(shape.frames)]
    texts = _sequence_texts(dataset, shared["SeriesDescription"], shared["SOPClassUID"])
    frames: list[_Frame] = []
    for group, echo in zip(groups, _echoes(dataset, groups), strict=True):
        row, normal = _frame(dataset, group, texts, echo)
        frames.append(({**row, "EchoNumbers": echo}, normal, group))
    return frames


def _refuse_kind(dataset: Elements, form: opening.Form, description: str) -> None:
    kind, modality = form.sop_class, elements.text(dataset, "Modality")
    # BTP's masks: Secondary Capture, with Modality MR in the archive and whatever a converter left elsewhere
    if modality == "MR" or kind in _MR_CLASSES or (sequence.is_capture(kind) and description == "MaskTumor"):
        return
    raise DicomError("not_mr", f"modality {modality[:16] or 'not stated'}, {uid.UID(kind).name or 'no SOP class'}")


def _identity(dataset: Elements, folder: str, acquired: str) -> dict[str, str]:
    told = naming.identity_from_folder(folder)
    stated = {keyword: elements.text(dataset, keyword) or elements.as_text(found) for keyword, found in told.items()}
    patient = stated["PatientID"]
    day = _day(dataset, acquired) or told["StudyDate"]
    if told["StudyDate"] not in {"", day}:
        elements.hear({OTHER_DATE})
    if not stated["StudyInstanceUID"]:
        stated["StudyInstanceUID"] = _made_uid("study", patient, day, Path(folder).parent)
    if not stated["SeriesInstanceUID"]:
        number = elements.text(dataset, "SeriesNumber")
        stated["SeriesInstanceUID"] = _made_uid("series", patient, day, number, Path(folder))
    return {**stated, "PatientID_stated": patient, "StudyDate": day}


def _day(dataset: Elements, acquired: str) -> str:
    """The day of the study: StudyDate, else the best of what else is dated; "" if nothing is. What is odd is heard."""
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
    days = {key: day for key, text in texts.items() if (day := naming.parse_date(text)) not in {"", _NO_DAY}}
    used = next(iter(days), "")
    if not used:
        return ""
    if used != "StudyDate":
        elements.hear({f"{NO_STUDY_DATE}, {used} used"})
    first = date.fromisoformat(days[used])
    far = [keyword for keyword, day in days.items() if abs((date.fromisoformat(day) - first).days) > 1]
    if far:
        elements.hear({f"{' and '.join(far)} {DATES_APART} {used}"})
    return days[used]


def _made_uid(*parts: str | Path) -> str:
    """The same UID for the same words; a path need not be text, so that its bytes are taken."""
    return str(uid.generate_uid(entropy_srcs=[f"{os.fsencode(part).hex()};" for part in parts]))


def _shared(dataset: Elements, form: opening.Form, shape: opening.Shape) -> dict[str, Any]:
    """What all frames of a file have in common."""
    dtype = opening.stored_dtype(form, shape)
    return {
        "Rows": shape.rows,
        "Columns": shape.columns,
        "PhotometricInterpretation": shape.photometric,
        "pixel_bytes": shape.frame_bytes if dtype else -1,
        "pixel_dtype": dtype,
        "padding_low": shape.padding[0],
        "padding_high": shape.padding[1],
        "SOPClassUID": form.sop_class,
        "TransferSyntaxUID": form.transfer_syntax,
        "Manufacturer": elements.text(dataset, "Manufacturer"),
        "SeriesNumber": elements.whole(dataset, "SeriesNumber"),
    }


def _echoes(dataset: Elements, groups: Sequence[Sequence[Dataset]]) -> list[int]:
    """EchoNumbers of each frame. An enhanced object counts no echoes: its distinct echo times are numbered from 1."""
    if not any(groups):
        return [elements.whole(dataset, "EchoNumbers")] * len(groups)
    times = [elements.frame_number(dataset, group, "EchoTime") for group in groups]
    distinct = sorted({time for time in times if not math.isnan(time)})
    return [-1 if math.isnan(time) else distinct.index(time) + 1 for time in times]


def _sequence_texts(dataset: Elements, description: str, sop_class: str) -> dict[str, str]:
    texts = {keyword: elements.text(dataset, keyword) for keyword in _PHYSICS_TEXTS}
    for agent in elements.items(elements.value(dataset, "ContrastBolusAgentSequence"))[:1]:
        meaning = elements.text(agent, "CodeMeaning") or "stated in a sequence"
        texts["ContrastBolusAgent"] = texts["ContrastBolusAgent"] or meaning
    texts["SequenceName"] = texts["SequenceName"] or elements.text(dataset, "PulseSequenceName")
    return {**texts, "SeriesDescription": description, "SOPClassUID": sop_class}


def _scanning_sequence(dataset: Elements, groups: Sequence[Dataset]) -> str:
    """ScanningSequence, or what an enhanced object says in its stead (PS3.3 C.8.13.4)."""
    echo = elements.text(dataset, "EchoPulseSequence")
    said = {
        "EP": elements.text(dataset, "EchoPlanarPulseSequence") == "YES",
        "IR": elements.frame_value(dataset, groups, "InversionRecovery") == "YES",
        "GR": echo in {"GRADIENT", "BOTH"},
        "SE": echo in {"SPIN", "BOTH"},
    }
    return elements.text(dataset, "ScanningSequence") or "\\".join(kind for kind, holds in said.items() if holds)


def _frame(
    dataset: Elements, groups: Sequence[Dataset], texts: Mapping[str, str], echo: int
) -> tuple[dict[str, Any], Vector | None]:
    """Columns of a frame, and its normal."""
    numbers = {keyword: elements.frame_number(dataset, groups, keyword) for keyword in sequence.PHYSICS_NUMBERS}
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
        "EchoTime": numbers["EchoTime"],
        "b_value": numbers["DiffusionBValue"],
        "component": _component(own),
        "ImageType": own["ImageType"],
    }, normal


def _position(dataset: Elements, groups: Sequence[Dataset], normal: Vector | None) -> float:
    """In mm along the normal: ImagePositionPatient . normal (PS3.3 C.7.6.2.1.1), or else SliceLocation."""
    corner = elements.as_numbers(elements.frame_value(dataset, groups, "ImagePositionPatient"), 3)
    if normal and corner:
        return sum(along * coordinate for along, coordinate in zip(normal, corner, strict=True))
    return elements.as_number(elements.value(dataset, "SliceLocation"))


def _moment(dataset: Elements, groups: Sequence[Dataset]) -> dict[str, Any]:
    """When a frame was taken, by whatever numbers or times it; -1 and NaN where nothing does."""
    if groups:
        return _moment_of(dataset, groups)
    found, said = _moment_alone(dataset.only(_DATED))
    elements.hear(said)
    return found


@functools.lru_cache(maxsize=256)
def _moment_alone(dataset: Elements) -> tuple[dict[str, Any], set[str]]:
    with elements.quiet_pydicom() as said:
        return _moment_of(dataset, ()), said


def _moment_of(dataset: Elements, groups: Sequence[Dataset]) -> dict[str, Any]:
    of_frame = elements.as_text(elements.frame_value(dataset, groups, "FrameAcquisitionDateTime") if groups else None)
    acquired = of_frame or elements.text(dataset, "AcquisitionDateTime")
    seconds = naming.parse_time(of_frame[8:] or elements.text(dataset, "AcquisitionTime") or acquired[8:])
    day = naming.parse_date(acquired[:8]) or naming.parse_date(elements.text(dataset, "AcquisitionDate"))
    midnights = _DAY_S * date.fromisoformat(day).toordinal() if day else 0
    return {
        "temporal_position": elements.frame_number(dataset, groups, "TemporalPositionIdentifier"),
        "AcquisitionNumber": elements.as_whole(elements.frame_value(dataset, groups, "AcquisitionNumber")),
        "trigger_ms": elements.frame_number(dataset, groups, "TriggerTime"),
        "acquired_s": seconds if math.isnan(seconds) else midnights + seconds,
    }


_COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}
_COMPONENTS |= {name.upper(): name for name in _COMPONENTS.values()} | {"PHASE MAP": "phase", "PHASE_MAP": "phase"}


def _component(texts: Mapping[str, str]) -> str:
    """The part of the complex signal: ComplexImageComponent, or the third value of ImageType and those after it."""
    stated = [texts["ComplexImageComponent"], *texts["ImageType"].split("\\")[2:]]
    return next((_COMPONENTS[kind.strip().upper()] for kind in stated if kind.strip().upper() in _COMPONENTS), "")


@functools.lru_cache(maxsize=256)  # the slices of a stack share it
def _orientation(cosines: tuple[float, ...]) -> tuple[Vector | None, str, str]:
    """Normal, plane, and the cosines as text."""
    normal = naming.normal_of(cosines)
    rounded = [round(cosine, 6) + 0.0 for cosine in cosines]  # + 0.0: there is no "-0.0"
    return normal, naming.plane(cosines), ",".join(f"{cosine:g}" for cosine in rounded) if normal else ""
