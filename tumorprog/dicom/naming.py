"""Headers and paths in, names out: sequence, plane, date, and who and what a path says that a file is."""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import PurePath
from typing import Any

OBLIQUE_COSINE = 0.8
"""A normal further than 37 degrees from every axis makes a plane oblique (the threshold of PixelMed's labels)."""

_BTP = {
    "T1post": "T1post",
    "dT1": "dT1",
    "T1prereg": "T1pre",
    "FLAIRreg": "FLAIR",
    "ADCreg": "ADC",
    "sRCBVreg": "sRCBV",
    "nRCBVreg": "nRCBV",
    "nCBFreg": "nCBF",
    "T2reg": "T2",
    "MaskTumor": "mask",
}
"""Brain-Tumor-Progression's SeriesDescriptions; whole and exact, because "T1" is in three of them."""


def _words(*alternatives: str) -> re.Pattern[str]:
    """Matches any of them, unless letters go on before or after: "LOC" in "AX LOC", not in "VELOCITY"."""
    return re.compile(rf"(?<![A-Z])(?:{'|'.join(alternatives)})(?![A-Z])")


# In the order in which they are asked: what a word means can depend on the words above it.
_SPOKEN = (
    ("mask", _words("MASKS?", "MASKTUMOR", "TUMOR ?MASK", "SEGMENTATIONS?", "SEGMENTED")),
    ("localizer", _words("LOC", "LOCALI[SZ]ERS?", "SCOUTS?", "SURVEY", "PILOT", "(?:3|THREE|TRI)[- ]?PL(?:ANE)?")),
    ("nRCBV", _words("NRCBV", "NORMALI[SZ]ED RCBV")),
    ("sRCBV", _words("SRCBV", "STANDARDI[SZ]ED RCBV")),
    ("nCBF", _words("NCBF", "NORMALI[SZ]ED CBF")),
    ("other", _words("EADC", "EXP(?:ONENTIAL)?[ _]ADC")),
    ("ADC", _words("ADC", "ADC ?MAP", "APPARENT DIFFUSION COEFFICIENT")),
    ("other", re.compile(r"DWI|DTI|DIFF|TRACE|T2\*|T2[ -]?STAR|PERF|SPECTRO|ANGIO|FMRI|BOLD|FIELD ?MAP")),
    ("other", _words("SWI", "SWAN", "MRA", "MRV", "TOF", "DSC", "DCE", "PWI", "MRS", "R?CBV", "CBF", "MTT", "TTP")),
    ("other", _words("STIR", "B ?[0-9]{3,4}", "FA", "PHASE", "CALIBRATION", "ASSET CAL")),
    ("other", re.compile(r"^(?!.*T1).*(?<![A-Z])(?:GRE|GRADIENT)(?![A-Z])")),  # T2*, unless T1 is said
    ("dT1", re.compile(r"(?<![A-Z0-9])(?:DT1|DELTA[ -]?T1)|SUBTRACT.*T1|T1.*SUBTRACT")),
)
_T1 = re.compile(r"T1(?![0-9])|MP-?RAGE|SPGR|BRAVO")
_T2 = re.compile(r"T2(?![0-9])")
_FLAIR = re.compile(r"FLAIR|DARK[ -]?FL")
_PROTON = _words("PDW?", "PROTON", "DUAL ECHO")
_BOTH = re.compile(r"(?<![A-Z])(?:W ?[/&+-] ?W/?O|W/?O ?[/&+-] ?W)(?![A-Z])(?: ?(?:CONTRAST|GAD|GD|C)(?![A-Z]))?")
_BEFORE = re.compile(
    r"(?<![A-Z])PRE(?!P|SAT|SS)|(?<![A-Z])W/?O(?![A-Z])|WITHOUT|(?<![A-Z])NON?[ -]?(?:CON|GAD|GD|ENH)|UNENH"
    r"|(?<![A-Z0-9])-C(?![A-Z])"
)
_AFTER = re.compile(
    r"POST(?!ER|[ -]?(?:OP|RT|RAD|TREAT|SURG|RESECT))|GADO|(?<![A-Z])GA?D(?![A-Z])|CONTRAST|ENHANCED"
    r"|\+ ?(?:C|GD|GAD)(?![A-Z])|(?<![A-Z])C\+|(?<![A-Z])W/? ?C(?![A-Z])|(?<![A-Z])(?:CE|KM)(?![A-Z])"
    r"|MAGNEVIST|OMNISCAN|MULTIHANCE|PROHANCE|DOTAREM|GADAVIST"
)
_NO_AGENT = {"", "NONE", "NO", "N", "NA", "N/A", "NIL", "0", "-", "--", "UNKNOWN", "NO CONTRAST", "WITHOUT"}

_SHORT_REPETITION_MS, _LONG_REPETITION_MS = 1200.0, 1800.0
_SHORT_ECHO_MS, _LONG_ECHO_MS = 35.0, 60.0
_FLUID_INVERSION_MS = 1500.0
_LOCALIZER_REPETITION_MS = 50.0


_TEXTS = (
    *("SeriesDescription", "ProtocolName", "ImageType", "ContrastBolusAgent"),
    *("SequenceName", "ScanningSequence", "MRAcquisitionType"),
)
PHYSICS_NUMBERS = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")
"""What `canonical_sequence` is told in numbers: ms, and degrees."""


def canonical_sequence(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The one name of the sequence that a series is of, and the header that told it.

    A description is asked first, then the protocol, the image type, and last the physics. Whether a T1 is after
    contrast is told by the words, and where they are silent by the agent.

    Args:
        fields: values by DICOM keyword, any of them missing, None or empty: SeriesDescription, ProtocolName, ImageType,
            ContrastBolusAgent, SequenceName, ScanningSequence, MRAcquisitionType (text; several values joined by a
            backslash or in a list), RepetitionTime, EchoTime, InversionTime (ms), FlipAngle (degrees).

    Returns:
        (sequence, source): `T1pre`, `T1post`, `dT1`, `FLAIR`, `T2`, `ADC`, `nCBF`, `nRCBV`, `sRCBV`, `mask`,
        `localizer` or `other`; a DICOM keyword, `physics`, or "" for `other`.
    """
    texts = tuple((keyword, _text(fields, keyword)) for keyword in _TEXTS)
    return _named(texts, tuple((keyword, _number(fields, keyword)) for keyword in PHYSICS_NUMBERS))


@functools.lru_cache(maxsize=1024)  # the slices of a series share it
def _named(texts: tuple[tuple[str, str], ...], numbers: tuple[tuple[str, float], ...]) -> tuple[str, str]:
    fields: dict[str, Any] = dict(texts + numbers)
    description = fields["SeriesDescription"]
    if description in _BTP:
        return _BTP[description], "SeriesDescription"
    answers = ((tell(fields), source) for source, tell in _SOURCES)
    told, source = next((answer for answer in answers if answer[0]), ("", ""))
    if told == "T1":
        agent = fields["ContrastBolusAgent"].upper() not in _NO_AGENT
        return ("T1post", "ContrastBolusAgent") if agent else ("T1pre", source)
    return (told, source) if told not in {"", "other"} else ("other", "")


def _text(fields: Mapping[str, Any], keyword: str) -> str:
    value = fields.get(keyword)
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return "\\".join(str(part).strip() for part in value) if isinstance(value, Sequence) else str(value)


def _number(fields: Mapping[str, Any], keyword: str) -> float:
    """A time or an angle; NaN if it is missing, and 0 means that it is missing."""
    try:
        return float(fields.get(keyword) or math.nan)
    except (TypeError, ValueError):
        return math.nan


def _by_words(text: str, fields: Mapping[str, Any]) -> str:
    """What a description says: a sequence, "T1" where it leaves contrast open, or "" if it says nothing certain."""
    words = text.upper().replace("_", " ")
    for sequence, pattern in _SPOKEN:
        if pattern.search(words):
            return sequence
    t1, t2 = bool(_T1.search(words)), bool(_T2.search(words))
    if t1 and t2:
        return ""  # the name of a whole protocol; the physics knows which of the two it is
    if t1:
        return _t1_by_words(words)
    if _FLAIR.search(words):
        return "FLAIR"
    if _PROTON.search(words):
        # a dual-echo series is two stacks: its early echo shows proton density, its late one T2
        return "T2" if t2 and not _number(fields, "EchoTime") < _LONG_ECHO_MS else "other"
    return "T2" if t2 else ""


def _t1_by_words(words: str) -> str:
    words = _BOTH.sub(" ", words)  # "W/WO CONTRAST" names a study's protocol, not a series
    # "W/O" and "WITHOUT CONTRAST" hold words of both kinds, so that what says "before" is asked first
    if _BEFORE.search(words):
        return "T1pre"
    return "T1post" if _AFTER.search(words) else "T1"


def _by_description(fields: Mapping[str, Any]) -> str:
    return _by_words(_text(fields, "SeriesDescription"), fields)


def _by_protocol(fields: Mapping[str, Any]) -> str:
    # often the name of the whole examination: that it holds perfusion, say, tells nothing of this series
    told = _by_words(_text(fields, "ProtocolName"), fields)
    return "" if told == "other" else told


def _by_image_type(fields: Mapping[str, Any]) -> str:
    kinds = {kind.strip().upper() for kind in _text(fields, "ImageType").split("\\")}
    if "LOCALIZER" in kinds:
        return "localizer"
    if "ADC" in kinds:
        return "ADC"
    return "other" if kinds & {"DIFFUSION", "TRACEW", "PERFUSION", "ANGIO", "FMRI", "PHASE MAP", "MIP"} else ""


def _by_physics(fields: Mapping[str, Any]) -> str:
    """The weighting that follows from timing: T1, T2, FLAIR, a localizer, or "other".

    Source: the usual ranges of spin-echo weighting (McRobbie et al., MRI from Picture to Proton, ch. 3), with room for
    the scanners of the 1990s; fluid is nulled near TI = 2,000 ms.
    """
    name = _text(fields, "SequenceName").upper().lstrip("*")
    kinds = {kind.strip().upper() for kind in _text(fields, "ScanningSequence").split("\\")}
    if "EP" in kinds or name.startswith("EP"):
        return "other"
    repetition, echo = _number(fields, "RepetitionTime"), _number(fields, "EchoTime")
    inversion = _number(fields, "InversionTime")
    if "IR" in kinds or inversion > 0 or name.startswith(("TIR", "IR")):
        return _by_inversion(repetition, echo, inversion)
    if "GR" in kinds or name.startswith(("FL", "TFL", "SPGR", "FSPGR", "TFE", "FFE")):
        in_3d = _text(fields, "MRAcquisitionType").upper() == "3D" or "3D" in name
        return _by_gradient_echo(repetition, echo, _number(fields, "FlipAngle"), in_3d=in_3d)
    if repetition <= _SHORT_REPETITION_MS and echo <= _SHORT_ECHO_MS:
        return "T1"
    return "T2" if repetition >= _LONG_REPETITION_MS and echo >= _LONG_ECHO_MS else "other"


def _by_inversion(repetition: float, echo: float, inversion: float) -> str:
    if repetition >= 4000 and echo >= _LONG_ECHO_MS and not inversion < _FLUID_INVERSION_MS:
        return "FLAIR"
    # inversion near 150 ms nulls fat (STIR); T1 is weighted by 400 to 1,200 ms and a short echo
    return "T1" if 300 <= inversion < _FLUID_INVERSION_MS and echo <= _SHORT_ECHO_MS else "other"


def _by_gradient_echo(repetition: float, echo: float, flip: float, *, in_3d: bool) -> str:
    if not echo <= 15:
        return "other"  # a late gradient echo is weighted by T2*
    if in_3d:
        return "T1" if repetition <= 3000 else "other"
    if repetition < _LOCALIZER_REPETITION_MS:
        return "localizer"
    return "T1" if repetition <= _SHORT_REPETITION_MS and flip >= 40 else "other"


_SOURCES: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("SeriesDescription", _by_description),
    ("ProtocolName", _by_protocol),
    ("ImageType", _by_image_type),
    ("physics", _by_physics),
)


def plane(orientation: Sequence[float]) -> str:
    """The anatomical plane of a slice.

    Args:
        orientation: the six direction cosines of ImageOrientationPatient; empty if unknown.

    Returns:
        `axial`, `coronal`, `sagittal`, `oblique`, or "" if the cosines span no plane.
    """
    normal = normal_of(orientation)
    if normal is None:
        return ""
    largest = max(normal, key=abs)
    return ("sagittal", "coronal", "axial")[normal.index(largest)] if abs(largest) >= OBLIQUE_COSINE else "oblique"


def normal_of(orientation: Sequence[float]) -> tuple[float, float, float] | None:
    """The unit normal of a slice: row direction x column direction.

    Its sign is such that the component largest in magnitude is positive. Which one that is follows from the cosines
    rounded to two decimals, so that slices which differ in the last digits agree.

    Args:
        orientation: six direction cosines.

    Returns:
        x, y and z in the patient's coordinates, or None if the cosines span no plane.

    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    if len(orientation) != 6 or not all(abs(cosine) <= 2 for cosine in orientation):  # refuses NaN too
        return None
    normal = _cross(orientation)
    length = math.hypot(*normal)
    if length < 0.5:  # cosines have length 1 and are orthogonal: the product of sound ones has length 1
        return None
    told = [round(component, 2) for component in _cross([round(cosine, 2) for cosine in orientation])]
    scale = math.copysign(1 / length, max(told, key=abs))
    return normal[0] * scale, normal[1] * scale, normal[2] * scale


def _cross(pair: Sequence[float]) -> tuple[float, float, float]:
    a, b, c, x, y, z = pair  # numpy's takes 40 times as long for three numbers
    return b * z - c * y, c * x - a * z, a * y - b * x


_DATES = (
    re.compile(r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"),
    re.compile(r"(?P<year>[0-9]{4})([-./])(?P<month>[0-9]{1,2})\2(?P<day>[0-9]{1,2})"),
    re.compile(r"(?P<month>[0-9]{1,2})([-/])(?P<day>[0-9]{1,2})\2(?P<year>[0-9]{4})"),
)


def parse_date(text: str) -> str:
    """A date as "YYYY-MM-DD", or "" if it is none.

    Args:
        text: YYYYMMDD (DICOM), YYYY.MM.DD (ACR-NEMA), YYYY-MM-DD, or MM-DD-YYYY (TCIA's folders); spaces around it
            do not matter. Years before 1900 and after 2200 are mistakes, not dates of images.
    """
    for pattern in _DATES:
        found = pattern.fullmatch(text.strip(" \0\t"))
        if not found:
            continue
        year, month, day = (int(found[part]) for part in ("year", "month", "day"))
        try:
            return date(year, month, day).isoformat() if 1900 <= year <= 2200 else ""
        except ValueError:
            return ""
    return ""


_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){5,}")
_STUDY_FOLDER = re.compile(r"(?P<date>[0-9]{2}-[0-9]{2}-[0-9]{4})-(?:.*-)?[0-9.]{5}")
_SERIES_FOLDER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|NA|)-(?:(?P<description>.*)-)?[0-9.]{5}")


def identity_from_folder(folder: str) -> dict[str, str]:
    """What the names of a folder and those above it say of the files in it, for headers that lack it.

    Args:
        folder: a series' in TCIA's Descriptive layout (patient / MM-DD-YYYY-...-12345 / number-description-12345), in
            its Classic one (patient / study UID / series UID), or one named by its series UID.

    Returns:
        PatientID, StudyDate (ISO 8601), SeriesDescription, StudyInstanceUID, SeriesInstanceUID, each "" if the path
        does not tell it.
    """
    told = dict.fromkeys(("PatientID", "StudyDate", "SeriesDescription", "StudyInstanceUID", "SeriesInstanceUID"), "")
    patient, study, series = ("", "", "", *PurePath(folder).parts)[-3:]
    study_folder, series_folder = _STUDY_FOLDER.fullmatch(study), _SERIES_FOLDER.fullmatch(series)
    if study_folder and series_folder:
        description = series_folder["description"] or ""
        told["PatientID"] = patient.strip("/\\")
        told["StudyDate"] = parse_date(study_folder["date"])
        told["SeriesDescription"] = "" if description == "NA" else description
    elif _is_uid(series):
        told["SeriesInstanceUID"] = series
        if _is_uid(study):
            told["StudyInstanceUID"] = study
            told["PatientID"] = patient.strip("/\\")
    return told


def _is_uid(name: str) -> bool:
    return len(name) <= 64 and _UID.fullmatch(name) is not None
