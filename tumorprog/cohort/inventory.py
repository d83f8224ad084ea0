"""The series of a catalogue -> what there is in numbers, and what is wrong with it for this pipeline."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from tumorprog.cohort import clinical, timeline

SERIES = (
    *("cohort", "PatientID", "StudyDate", "SeriesInstanceUID", "Type", "sequence", "plane"),
    *("witnesses", "contradiction"),
    *("stacks", "slices", "files", "missing", "repeated", "warned", "redated", "joined"),
)
"""Columns of a table of series, a row for each sequence and plane in one: besides the known ones the `witnesses`
that agree with its sequence, the `contradiction` between them, its `stacks` and `slices`, the `files` that they begin
in, how many slices seem to be `missing` between them, how many are `repeated` at a position, how many come from files
that pydicom `warned` of, how many lie in a folder named by another date (`redated`), and of how many series it was put
together (`joined`, 0: of none)."""

FINDINGS = ("finding", "PatientID", "date", "series", "detail")
_NEEDED = ("T1post", "FLAIR")
"""Sequences whose slices together give a patient's grade on a date."""
_NO_IMAGES = ("mask", "localizer")
_NAMED = 5
_Row = tuple[Any, ...]
"""Of `FINDINGS`."""


def count(series: pd.DataFrame, quarantine: pd.DataFrame, *, num_found: int) -> dict[str, Any]:
    """The catalogue in numbers, for `catalogue/_summary.json`.

    Args:
        series: columns `SERIES`.
        quarantine: has `reason`.
        num_found: files.

    Returns:
        found, used, quarantined (found = used + quarantined), slices, patients, dates (of a patient), series, stacks;
        slices by cohort; series by sequence and plane, and by the witnesses that agree; quarantined files by reason;
        slices `missing`, `repeated` and `warned`.
    """
    kinds = series.groupby(["sequence", "plane"])["SeriesInstanceUID"].nunique()
    return {
        "found": num_found,
        "used": int(series["files"].sum()),
        "quarantined": len(quarantine),
        "slices": int(series["slices"].sum()),
        "patients": series["PatientID"].nunique(),
        "dates": len(series[["PatientID", "StudyDate"]].drop_duplicates()),
        "series": series["SeriesInstanceUID"].nunique(),
        "stacks": int(series["stacks"].sum()),
        "cohorts": _whole(series.groupby("cohort")["slices"].sum()),
        "sequences": {name: _whole(group.droplevel(0)) for name, group in kinds.groupby(level=0)},
        "witnesses": _whole(series.groupby("witnesses")["SeriesInstanceUID"].nunique()),
        "reasons": _whole(quarantine["reason"].value_counts().sort_index()),
        **{name: int(series[name].sum()) for name in ("missing", "repeated", "warned")},
    }


def _whole(counts: pd.Series) -> dict[str, int]:
    return {str(name): int(value) for name, value in counts.items()}


def describe(summary: dict[str, Any]) -> str:
    """The numbers of `count` as lines for a terminal."""
    sequences = {name: sum(planes.values()) for name, planes in summary["sequences"].items()}
    shown = [
        *_block("", {name: summary[name] for name in ("patients", "dates", "series", "stacks", "slices")}),
        *_block("series by sequence and plane", sequences, {k: _told(v) for k, v in summary["sequences"].items()}),
        *_block("series by witnesses that agree", {who or "none": n for who, n in summary["witnesses"].items()}),
        *_block("quarantined files by reason", summary["reasons"]),
        *_block(
            "slices with a note",
            {
                "missing before it": summary["missing"],
                "at the position of another": summary["repeated"],
                "with warnings": summary["warned"],
            },
        ),
        f"{summary['found']:,} files found = {summary['used']:,} used + {summary['quarantined']:,} quarantined",
    ]
    return "\n".join(shown)


def _told(planes: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {plane or 'of unknown plane'}" for plane, number in planes.items())


def _block(title: str, numbers: dict[str, int], notes: dict[str, str] | None = None) -> Iterator[str]:
    if title:
        yield title + ("" if numbers else ": none")
    indent = "  " if title else ""
    width = max(map(len, numbers), default=0)
    for name, number in numbers.items():
        note = f"   {notes[name]}" if notes else ""
        yield f"{indent}{name:<{width}} {number:>10,}{note}"


def check(series: pd.DataFrame, patients: pd.DataFrame | None, *, min_gap_days: int) -> pd.DataFrame:
    """What is wrong with a data set for this pipeline, before any training.

    Args:
        series: columns `SERIES`.
        patients: rows of `tables.COHORT` for the grading cohort; None if there is no table of grades.
        min_gap_days: studies closer than that are one time point.

    Returns:
        Columns `FINDINGS`, a row for each patient, date or series concerned; empty if nothing is wrong.
    """
    dates = [*_dates(series, min_gap_days), *_folders(series)]
    rows = [
        *_grades(series, patients),
        *dates,
        *_sequences(series),
        *_contradictions(series),
        *_joined(series),
        *_stacks(series),
    ]
    return pd.DataFrame(rows, columns=list(FINDINGS))


def _grades(series: pd.DataFrame, patients: pd.DataFrame | None) -> Iterator[_Row]:
    if not (series["cohort"] == "grading").any():
        return
    if patients is None:
        yield ("no table of grades: nothing to train the grader on", "", "", "", "name it with --grades TABLE")
        return
    for row in patients[patients["status"] != "graded"].itertuples():
        if row.status == clinical.UNCLEAR:
            yield ("unclear grade: takes no part in grading", row.PatientID, "", "", row.status)
        else:
            yield ("patient takes no part in grading", row.PatientID, "", "", row.status)


def _dates(series: pd.DataFrame, min_gap_days: int) -> Iterator[_Row]:
    images = series[(series["cohort"] == "progression") & ~series["sequence"].isin(_NO_IMAGES)]
    studies = images[["PatientID", "StudyDate"]].drop_duplicates().rename(columns={"StudyDate": "date"})
    paired = set(timeline.pairs(studies, min_gap_days=min_gap_days)["PatientID"])
    for patient, dates in studies.groupby("PatientID")["date"]:
        known = sorted(date for date in dates if date)
        if len(known) < len(dates):
            yield ("images without a date", patient, "", "", "neither the header nor the folder tells it")
        if patient not in paired:
            told = f"{', '.join(known) or 'no date'}; two dates {min_gap_days} days apart are needed"
            yield ("patient with one date: no months to learn from", patient, "", "", told)


def _folders(series: pd.DataFrame) -> Iterator[_Row]:
    for (patient, date), group in series[series["redated"] > 0].groupby(["PatientID", "StudyDate"]):
        told = f"{group['redated'].sum()} slices; the date of the header is used"
        yield ("folder named by another date than the header's", patient, date, "", told)


def _sequences(series: pd.DataFrame) -> Iterator[_Row]:
    images = series[series["cohort"] == "progression"]
    for (patient, date), group in images.groupby(["PatientID", "StudyDate"]):
        lacking = [name for name in _NEEDED if name not in set(group["sequence"])]
        if lacking:
            yield ("date without " + " or ".join(_NEEDED), patient, date, "", f"no {', no '.join(lacking)}")


def _contradictions(series: pd.DataFrame) -> Iterator[_Row]:
    for row in series[series["contradiction"] != ""].itertuples():
        told = f"{row.Type}: {row.contradiction}; taken as {row.sequence}"
        yield (
            "series whose witnesses contradict each other",
            row.PatientID,
            row.StudyDate,
            row.SeriesInstanceUID,
            told,
        )


def _joined(series: pd.DataFrame) -> Iterator[_Row]:
    for row in series[series["joined"] > 0].itertuples():
        told = f"{row.Type}: {row.joined} series of one slice each, under the UID of the first"
        yield ("series put together", row.PatientID, row.StudyDate, row.SeriesInstanceUID, told)


def _stacks(series: pd.DataFrame) -> Iterator[_Row]:
    for row in series[series["missing"] > 0].itertuples():
        told = f"{row.Type}: {row.missing} between its {row.slices}"
        yield ("series with missing slices", row.PatientID, row.StudyDate, row.SeriesInstanceUID, told)


def tell(findings: pd.DataFrame) -> str:
    """The findings of `check` as lines for a terminal: each kind with its number and the first few it concerns."""
    lines = []
    for finding, group in findings.groupby("finding", sort=False):
        lines.append(f"{finding}: {len(group)}")
        lines += [f"  {_one(row)}" for row in group.head(_NAMED).to_dict("records")]
        lines += [f"  and {len(group) - _NAMED} more"] if len(group) > _NAMED else []
    return "\n".join(lines) or "nothing is wrong with this data set"


def _one(row: dict[Any, Any]) -> str:
    return " ".join(part for part in (row["PatientID"], row["date"], f"({row['detail']})") if part)
