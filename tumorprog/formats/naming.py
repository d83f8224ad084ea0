"""Plane, dates, sex, age and field strength from header values, and the identity of a file from its path."""

import math
import re
from collections.abc import Sequence
from datetime import date
from pathlib import PurePath

OBLIQUE_COSINE = 0.8
"""A plane is oblique if its normal is more than 37 degrees from every axis (the threshold of PixelMed's labels)."""


def plane(orientation: Sequence[float]) -> str:
    """Return the anatomical plane of a slice.

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
    """Return the unit normal of a slice: row direction x column direction.

    The sign is chosen so that the component of largest magnitude is positive. That component is determined from the
    cosines rounded to two decimals, so that slices that differ in the last digits agree.

    Args:
        orientation: six direction cosines.

    Returns:
        x, y and z in the patient's coordinates, or None if the cosines span no plane.

    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    if len(orientation) != 6 or not all(abs(cosine) <= 2 for cosine in orientation):  # also rejects NaN
        return None
    normal = _cross(orientation)
    length = math.hypot(*normal)
    if length < 0.5:  # valid cosines are orthogonal unit vectors, whose product has length 1
        return None
    rounded = [round(component, 2) for component in _cross([round(cosine, 2) for cosine in orientation])]
    scale = math.copysign(1 / length, max(rounded, key=abs))
    return normal[0] * scale, normal[1] * scale, normal[2] * scale


def _cross(pair: Sequence[float]) -> tuple[float, float, float]:
    a, b, c, x, y, z = pair  # numpy.cross takes 40 times as long for three numbers
    return b * z - c * y, c * x - a * z, a * y - b * x


_DATES = (
    re.compile(r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})(?:[0-9]{4,6}(?:[.][0-9]*)?)?"),
    re.compile(r"(?P<year>[0-9]{4})([-./])(?P<month>[0-9]{1,2})\2(?P<day>[0-9]{1,2})"),
    re.compile(r"(?P<month>[0-9]{1,2})([-/])(?P<day>[0-9]{1,2})\2(?P<year>[0-9]{4})"),
)


PLACEHOLDER_DATE = "1900-01-01"
"""Placeholder that programs write where a date is required."""


def parse_date(text: str) -> str:
    """Return a date as "YYYY-MM-DD", or "" if the text is not a date.

    Args:
        text: YYYYMMDD (DICOM; a time may follow), YYYY.MM.DD (ACR-NEMA), YYYY-MM-DD, or MM-DD-YYYY (TCIA's folders);
            surrounding spaces are ignored. Years before 1900 or after 2200 are rejected as errors.
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


_TIME = re.compile(r"(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})(?::?(?P<seconds>[0-9]{2}(?:\.[0-9]{1,6})?))?")


def parse_time(text: str) -> float:
    """Return the seconds since midnight of a DICOM time HHMMSS.FFFFFF, ignoring any suffix; NaN if not a time."""
    found = _TIME.match(text.strip(" \0\t"))
    if not found:
        return math.nan
    return int(found["hours"]) * 3600 + int(found["minutes"]) * 60 + float(found["seconds"] or 0)


_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M", "O": "O", "OTHER": "O"}
_AGE = re.compile(r"(?P<number>[0-9]{1,3}) *(?P<unit>[YMWD]?)")
_UNITS_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_MAX_AGE = 120.0  # years


def parse_sex(text: str) -> str:
    """Return the sex as "F", "M" or "O" (other), or "" if the text, in any case, is none of them or their names."""
    return _SEXES.get(text.upper(), "")


def parse_age(stated: str, birth: str, study: str) -> float:
    """Return the age of a patient in years; NaN if it is unknown, 0 or more than 120.

    Args:
        stated: PatientAge: up to three digits and Y, M, W or D (DICOM PS3.5 6.2); years if the unit is missing.
        birth: PatientBirthDate, used if no age is stated; the age is then rounded to a tenth of a year, so that it does
            not reveal the day. 1900-01-01 is a placeholder.
        study: date of the study, "YYYY-MM-DD" or "".
    """
    found = _AGE.fullmatch(stated.upper())
    age = int(found["number"]) / _UNITS_PER_YEAR[found["unit"]] if found else _years_between(parse_date(birth), study)
    return age if 0 < age <= _MAX_AGE else math.nan


def _years_between(birth: str, study: str) -> float:
    if birth in {"", PLACEHOLDER_DATE} or not study:
        return math.nan
    return round((date.fromisoformat(study) - date.fromisoformat(birth)).days / 365.25, 1)


_MAX_TESLA = 25.0
_MIN_GAUSS = 100.0
_GAUSS_PER_TESLA = 10_000.0


def field_strength(stated: float) -> float:
    """Return a MagneticFieldStrength in tesla; NaN if it is NaN, not positive or impossible.

    Args:
        stated: in tesla, or in gauss as some scanners write it; from 100 on it is in gauss.
    """
    tesla = stated / _GAUSS_PER_TESLA if stated >= _MIN_GAUSS else stated
    return tesla if 0 < tesla <= _MAX_TESLA else math.nan


_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){5,}")
_STUDY_FOLDER = re.compile(r"(?P<date>[0-9]{2}-[0-9]{2}-[0-9]{4})-(?:.*-)?[0-9.]{5}")
_SERIES_FOLDER = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?|NA|)-(?:(?P<description>.*)-)?[0-9.]{5}")


def identity_from_folder(folder: str) -> dict[str, str]:
    """Return the identity that the names of a series folder and its parents give, for headers that lack it.

    Args:
        folder: a series folder in TCIA's Descriptive layout (patient / MM-DD-YYYY-...-12345 / number-description-12345)
            or Classic layout (patient / study UID / series UID), or one named by its series UID.

    Returns:
        PatientID, StudyDate (ISO 8601), SeriesDescription, StudyInstanceUID, SeriesInstanceUID, each "" if the path
        does not state it.
    """
    identity = dict.fromkeys(
        ("PatientID", "StudyDate", "SeriesDescription", "StudyInstanceUID", "SeriesInstanceUID"), ""
    )
    patient, study, series = ("", "", "", *PurePath(folder).parts)[-3:]
    study_folder, series_folder = _STUDY_FOLDER.fullmatch(study), _SERIES_FOLDER.fullmatch(series)
    if study_folder and series_folder:
        description = series_folder["description"] or ""
        identity["PatientID"] = patient.strip("/\\")
        identity["StudyDate"] = parse_date(study_folder["date"])
        identity["SeriesDescription"] = "" if description == "NA" else description
    elif _is_uid(series):
        identity["SeriesInstanceUID"] = series
        if _is_uid(study):
            identity["StudyInstanceUID"] = study
            identity["PatientID"] = patient.strip("/\\")
    return identity


def _is_uid(name: str) -> bool:
    return len(name) <= 64 and _UID.fullmatch(name) is not None
