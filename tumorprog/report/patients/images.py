"""Slices of the catalogue -> examples with outlines: a patient on two dates, and patients with large errors."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import DAYS_PER_MONTH, SEQUENCES
from tumorprog.errors import DicomError
from tumorprog.formats import reading
from tumorprog.imaging import intensity
from tumorprog.regions.agreement import with_masks
from tumorprog.regions.packing import find
from tumorprog.report.geometry import geometry
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.page import number

_PREFERRED = ("T1post", "FLAIR")


def first_and_second(
    slices: pd.DataFrame, intervals: pd.DataFrame, identifiers: Identifiers, *, max_patients: int
) -> list[dict[str, Any]]:
    """Return the slice with the largest mask on the first date, and the slice nearest to its position on the next.

    The sequence is T1post, or FLAIR if there is no T1post of the same plane on both dates. Of a patient with several
    intervals, the first one with masks on both of its dates is shown. Patients without such an interval, and those
    whose files cannot be read any more, are left out.

    Args:
        slices: rows of `formats.columns.CATALOGUE` of the progression cohort.
        intervals: PatientID, date and days of each interval.
        identifiers: what patients and dates are called.
        max_patients: number of patients shown, in the order of what they are called.

    Returns:
        Two examples of `report.patients.figures.outlined` per patient.
    """
    ordered = sorted(intervals.to_dict("records"), key=lambda row: (identifiers.patient(row["PatientID"]), row["date"]))
    return _once_per_patient(ordered, lambda row: _both_dates(slices, row, identifiers), max_patients=max_patients)


def largest_errors(
    slices: pd.DataFrame,
    patients: pd.DataFrame,
    identifiers: Identifiers,
    *,
    regions: list[Path],
    max_patients: int,
) -> list[dict[str, Any]]:
    """Return a slice with its region of interest (ROI) of the held-out patients with the largest errors.

    The slice is the one with the largest mask, or the middle one without masks; the sequence is T1post, FLAIR, or the
    first that the patient has. A patient with several dates is shown once, on the date with the largest error.
    Patients whose files cannot be read any more are replaced by the next ones.

    Args:
        slices: rows of `formats.columns.CATALOGUE` of the progression cohort.
        patients: rows of `progression.columns.PATIENT_PREDICTIONS`, of one protocol and cohort.
        identifiers: what patients are called.
        regions: shards of `regions.columns.REGIONS`.
        max_patients: number of patients shown.

    Returns:
        Examples of `report.patients.figures.outlined`, the largest error first.
    """
    errors = (patients["Predicted_Progression_Timeline"] - patients["days"] / DAYS_PER_MONTH).abs()
    ordered = patients.loc[errors.sort_values(ascending=False, kind="stable").index].to_dict("records")
    return _once_per_patient(
        ordered, lambda row: _large_error(slices, row, identifiers, regions), max_patients=max_patients
    )


def _once_per_patient(
    rows: Iterable[dict[Hashable, Any]], examples_of: Callable[[Any], list[dict[str, Any]]], *, max_patients: int
) -> list[dict[str, Any]]:
    """Return the examples of each patient's first row that has some."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if len(found) == max_patients:
            break
        if row["PatientID"] not in found and (examples := _readable(partial(examples_of, row))):
            found[row["PatientID"]] = examples
    return list(itertools.chain.from_iterable(found.values()))


def _readable(examples: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the examples, or none if a file cannot be read: the archive may have been moved since it was listed."""
    try:
        return examples()
    except DicomError:
        return []


def _both_dates(slices: pd.DataFrame, interval: Any, identifiers: Identifiers) -> list[dict[str, Any]]:
    patient, first = interval["PatientID"], interval["date"]
    own = slices[slices["PatientID"] == patient]
    second = (pd.Timestamp(first) + pd.Timedelta(days=int(interval["days"]))).date().isoformat()
    for sequence in _PREFERRED:
        earlier, candidates = (with_masks(own[own["StudyDate"] == date]) for date in (first, second))
        earlier = _first_stack(earlier, sequence)
        later = _first_stack(candidates[candidates["plane"].isin(earlier["plane"])], sequence)
        if earlier.empty or later.empty:
            continue
        level = _largest_mask(earlier)
        nearest = later.loc[(later["position"] - level["position"]).abs().idxmin()]
        name = identifiers.patient(patient)
        return [
            {**_outlined_mask(row), "title": f"{name}, {identifiers.date(patient, date)}: {_where(row)}"}
            for row, date in ((level, first), (nearest, second))
        ]
    return []


def _large_error(slices: pd.DataFrame, row: Any, identifiers: Identifiers, regions: list[Path]) -> list[dict[str, Any]]:
    own = slices[(slices["PatientID"] == row["PatientID"]) & (slices["StudyDate"] == row["date"])]
    chosen = next(_candidates(own), None)
    if chosen is None:
        return []
    image = intensity.prepare(reading.read_frame(chosen["path"], int(chosen["frame"])))
    interval = "" if pd.isna(row["Lower"]) else f" ({number(row['Lower'])} to {number(row['Upper'])})"
    title = (
        f"{identifiers.patient(row['PatientID'])}: measured {number(row['days'] / DAYS_PER_MONTH)} months,\n"
        f"predicted {number(row['Predicted_Progression_Timeline'])}{interval}; {_where(chosen)}"
    )
    region = find(regions, chosen.to_dict(), image)
    return [{"title": title, "image": image, "mask": region.mask, "geometry": geometry(chosen.to_dict())}]


def _candidates(rows: pd.DataFrame) -> Iterator[pd.Series]:
    """Yield the slice that shows most of the tumour, for each sequence in the order of preference."""
    for sequence in dict.fromkeys((*_PREFERRED, *SEQUENCES)):
        pairs, images = _first_stack(with_masks(rows), sequence), _first_stack(rows, sequence)
        if len(pairs):
            yield _largest_mask(pairs)
        elif len(images):
            yield images.iloc[len(images) // 2]


def _first_stack(rows: pd.DataFrame, sequence: str) -> pd.DataFrame:
    """Return the slices of the first stack of the first series of a sequence, by order."""
    images = rows[rows["sequence"] == sequence].sort_values(["SeriesInstanceUID", "stack", "order"])
    return images.merge(images.head(1)[["SeriesInstanceUID", "stack"]])


def _largest_mask(pairs: pd.DataFrame) -> pd.Series:
    return pairs.iloc[int(np.argmax([np.count_nonzero(_mask(row)) for row in pairs.to_dict("records")]))]


def _mask(row: Any) -> np.ndarray:
    return reading.read_frame(row["path_mask"], int(row["frame_mask"])) > 0


def _outlined_mask(row: pd.Series) -> dict[str, Any]:
    image = intensity.scale(reading.read_frame(row["path"], int(row["frame"])), method="robust")
    return {"image": image, "mask": _mask(row), "geometry": geometry(row.to_dict())}


def _where(row: pd.Series) -> str:
    position = "" if pd.isna(row["position_mm"]) else f", position {row['position_mm']:.1f} mm"
    return f"{row['sequence']}{position}"
