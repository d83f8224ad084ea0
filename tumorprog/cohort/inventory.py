"""Count the contents of a catalogue, and report the problems that its series have for this pipeline."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from tumorprog.cohort import clinical, timeline

SERIES = (
    *("cohort", "PatientID", "StudyDate", "SeriesInstanceUID", "Type", "sequence", "plane"),
    *("witnesses", "contradiction"),
    *("stacks", "slices", "files", "missing", "repeated", "warned", "redated", "joined"),
)
"""Columns of a table of series, with a row for each sequence and plane of a series.

Besides the columns of the catalogue: the `witnesses` (sources of evidence) that agree with its sequence, the
`contradiction` between them, the numbers of `stacks` and `slices`, of `files` whose first frame is in this row, of
slices that seem to be `missing`, that are `repeated` at a position, that come from files with a warning (`warned`) and
from folders named with a different date (`redated`), and of the series that were `joined` into this one (0: none).
"""

FINDINGS = ("finding", "PatientID", "date", "series", "detail")
_NEEDED = ("T1post", "FLAIR")
"""Sequences whose slices together determine a patient's grade on a date."""
_NO_IMAGES = ("mask", "localizer")
_MAX_SHOWN = 5
_Row = tuple[Any, ...]
"""A row of `FINDINGS`."""


def count(series: pd.DataFrame, quarantine: pd.DataFrame, *, num_found: int) -> dict[str, Any]:
    """Count the contents of the catalogue for `catalogue/_summary.json`.

    Args:
        series: columns `SERIES`.
        quarantine: has the column `reason`.
        num_found: number of files found.

    Returns:
        found, used, quarantined (found = used + quarantined), slices, patients, dates (per patient), series, stacks;
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
        "cohorts": _as_ints(series.groupby("cohort")["slices"].sum()),
        "sequences": {name: _as_ints(group.droplevel(0)) for name, group in kinds.groupby(level=0)},
        "witnesses": _as_ints(series.groupby("witnesses")["SeriesInstanceUID"].nunique()),
        "reasons": _as_ints(quarantine["reason"].value_counts().sort_index()),
        **{name: int(series[name].sum()) for name in ("missing", "repeated", "warned")},
    }


def _as_ints(counts: pd.Series) -> dict[str, int]:
    return {str(name): int(value) for name, value in counts.items()}


def describe(summary: dict[str, Any]) -> str:
    """Format the counts of `count` for the terminal."""
    sequences = {name: sum(planes.values()) for name, planes in summary["sequences"].items()}
    lines = [
        *_block("", {name: summary[name] for name in ("patients", "dates", "series", "stacks", "slices")}),
        *_block("series by sequence and plane", sequences, {k: _by_plane(v) for k, v in summary["sequences"].items()}),
        *_block(
            "series by sources of evidence that agree on the sequence",
            {sources or "none": n for sources, n in summary["witnesses"].items()},
        ),
        *_block("quarantined files by reason", summary["reasons"]),
        *_block(
            "irregular slices",
            {
                "missing within a stack": summary["missing"],
                "repeated at the same position": summary["repeated"],
                "with warnings": summary["warned"],
            },
        ),
        f"{summary['found']:,} files found = {summary['used']:,} used + {summary['quarantined']:,} quarantined",
    ]
    return "\n".join(lines)


def _by_plane(planes: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {plane or 'of unknown plane'}" for plane, number in planes.items())


def _block(title: str, counts: dict[str, int], notes: dict[str, str] | None = None) -> Iterator[str]:
    if title:
        yield title + ("" if counts else ": none")
    indent = "  " if title else ""
    width = max(map(len, counts), default=0)
    for name, number in counts.items():
        note = f"   {notes[name]}" if notes else ""
        yield f"{indent}{name:<{width}} {number:>10,}{note}"


def check(series: pd.DataFrame, patients: pd.DataFrame | None, *, min_gap_days: int) -> pd.DataFrame:
    """Check a data set for problems before any training.

    Args:
        series: columns `SERIES`.
        patients: rows of `cohort.columns.COHORT` for the grading cohort; None if there is no table of grades.
        min_gap_days: studies less than this number of days apart are one time point.

    Returns:
        Columns `FINDINGS`, a row for each affected patient, date or series; empty if there are no problems.
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
        yield ("no table of grades: nothing to train the grader on", "", "", "", "specify it with --grades TABLE")
        return
    for row in patients[patients["status"] != "graded"].itertuples():
        if row.status == clinical.UNCLEAR:
            yield ("unclear grade: excluded from grading", row.PatientID, "", "", row.status)
        else:
            yield ("patient excluded from grading", row.PatientID, "", "", row.status)


def _dates(series: pd.DataFrame, min_gap_days: int) -> Iterator[_Row]:
    images = series[(series["cohort"] == "progression") & ~series["sequence"].isin(_NO_IMAGES)]
    studies = images[["PatientID", "StudyDate"]].drop_duplicates().rename(columns={"StudyDate": "date"})
    paired = set(timeline.pairs(studies, min_gap_days=min_gap_days)["PatientID"])
    for patient, dates in studies.groupby("PatientID")["date"]:
        known = sorted(date for date in dates if date)
        if len(known) < len(dates):
            yield ("images without a date", patient, "", "", "neither the header nor the folder gives one")
        if patient not in paired:
            detail = f"{', '.join(known) or 'no date'}; two dates at least {min_gap_days} days apart are needed"
            yield ("patient with one date: no interval to train on", patient, "", "", detail)


def _folders(series: pd.DataFrame) -> Iterator[_Row]:
    for (patient, date), group in series[series["redated"] > 0].groupby(["PatientID", "StudyDate"]):
        detail = f"{group['redated'].sum()} slices; the date of the header is used"
        yield ("folder date differs from the header date", patient, date, "", detail)


def _sequences(series: pd.DataFrame) -> Iterator[_Row]:
    images = series[series["cohort"] == "progression"]
    for (patient, date), group in images.groupby(["PatientID", "StudyDate"]):
        missing = [name for name in _NEEDED if name not in set(group["sequence"])]
        if missing:
            yield ("date without " + " or ".join(_NEEDED), patient, date, "", f"no {', no '.join(missing)}")


def _contradictions(series: pd.DataFrame) -> Iterator[_Row]:
    for row in series[series["contradiction"] != ""].itertuples():
        detail = f"{row.Type}: {row.contradiction}; classified as {row.sequence}"
        yield (
            "series with contradictory evidence for its sequence",
            row.PatientID,
            row.StudyDate,
            row.SeriesInstanceUID,
            detail,
        )


def _joined(series: pd.DataFrame) -> Iterator[_Row]:
    for row in series[series["joined"] > 0].itertuples():
        detail = f"{row.Type}: {row.joined} series of one slice each, under the UID of the first"
        yield ("single-slice series joined into one", row.PatientID, row.StudyDate, row.SeriesInstanceUID, detail)


def _stacks(series: pd.DataFrame) -> Iterator[_Row]:
    for row in series[series["missing"] > 0].itertuples():
        detail = f"{row.Type}: {row.missing} missing between its {row.slices} slices"
        yield ("series with missing slices", row.PatientID, row.StudyDate, row.SeriesInstanceUID, detail)


def describe_findings(findings: pd.DataFrame) -> str:
    """Format the findings of `check` for the terminal: the number and the first few examples of each kind."""
    lines = []
    for finding, group in findings.groupby("finding", sort=False):
        lines.append(f"{finding}: {len(group)}")
        lines += [f"  {_format_row(row)}" for row in group.head(_MAX_SHOWN).to_dict("records")]
        lines += [f"  and {len(group) - _MAX_SHOWN} more"] if len(group) > _MAX_SHOWN else []
    return "\n".join(lines) or "no problems found in this data set"


def _format_row(row: dict[Any, Any]) -> str:
    return " ".join(part for part in (row["PatientID"], row["date"], f"({row['detail']})") if part)
