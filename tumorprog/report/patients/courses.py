"""Tables of a run directory -> the course of each patient: scans, event, masked volumes, in days and months."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.evaluation import measures
from tumorprog.evaluation.correlation import spearman
from tumorprog.evaluation.intervals import count_of
from tumorprog.evaluation.survival import life_table, median_months
from tumorprog.report.identifiers import Identifiers, days_between

SECOND_DATE, EVENT, CENSORED, NONE = "second date", "progression", "censored", ""
"""How the course of a patient ends: on a scan date that counts as progression, by an outcome, or unknown."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """The known dates of a patient, in days since the first scan."""

    patient: str
    """What the report calls the patient."""
    scans: Sequence[int]
    """Days of the scans; the first is 0."""
    end: int | None
    """Day of the event or of the last follow-up; None if there is none."""
    kind: str
    """`SECOND_DATE`, `EVENT`, `CENSORED` or `NONE`."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What the courses are computed from."""

    timeline: pd.DataFrame
    """Rows of `cohort.columns.TIMELINE`."""
    volumes: pd.DataFrame
    """Rows of `cohort.columns.VOLUMES`."""
    intervals: pd.DataFrame
    """PatientID, date and days of each interval between two dates, each once; empty if outcomes are known."""
    outcomes: pd.DataFrame | None
    """Rows of `cohort.columns.OUTCOMES`, if there is a table of outcomes."""
    identifiers: Identifiers
    """What patients and dates are called."""


def courses(tables: Tables) -> list[Course]:
    """Return the course of each patient with a known scan date, the longest first."""
    ends = _ends(tables)
    found = [
        _course(tables.identifiers.patient(patient), dates.split(), ends.get(patient))
        for patient, dates in tables.timeline[["PatientID", "dates"]].itertuples(index=False)
        if isinstance(dates, str) and dates
    ]
    return sorted(found, key=lambda course: (-max([*course.scans, course.end or 0]), course.patient))


def _course(name: str, dates: list[str], known: tuple[str, int, str] | None) -> Course:
    scans = [days_between(dates[0], date) for date in dates]
    if known is None:
        return Course(patient=name, scans=scans, end=None, kind=NONE)
    start, days, kind = known
    return Course(patient=name, scans=scans, end=days_between(dates[0], start) + days, kind=kind)


def _ends(tables: Tables) -> dict[str, tuple[str, int, str]]:
    """Return the date from which the time to the end is counted, that time in days, and the kind of the end."""
    kind = SECOND_DATE if tables.outcomes is None else EVENT
    return {
        patient: (start, round(months * DAYS_PER_MONTH), kind if event else CENSORED)
        for patient, start, months, event in follow_up(tables).itertuples(index=False)
    }


def follow_up(tables: Tables) -> pd.DataFrame:
    """Return PatientID, date (of the first images), months and event (bool) of each patient with an end."""
    if tables.outcomes is None:
        first = tables.intervals.sort_values("date").drop_duplicates("PatientID")
        return first[["PatientID", "date"]].assign(months=first["days"] / DAYS_PER_MONTH, event=True)
    followed = tables.outcomes[tables.outcomes["status"] == "followed"]
    return followed[["PatientID", "date", "months"]].assign(event=followed["event"] == 1)


def volumes_at_start(tables: Tables) -> pd.DataFrame:
    """Return the rows of `follow_up` with a mask on the first date that is not empty, and its volume_ml."""
    volumes = tables.volumes.loc[tables.volumes["volume_ml"] > 0, ["PatientID", "date", "volume_ml"]]
    joined = follow_up(tables).merge(volumes, on=["PatientID", "date"])
    return joined[joined["months"] > 0]


def metrics(tables: Tables) -> dict[str, Any]:
    """Return the numbers of the section on single patients, the part `patients` of metrics.json.

    Returns:
        median_months, from `evaluation.survival.median_months`, and volume_spearman, the rank correlation of the masked
        volume on the first date and the months, without a value if months are censored; each a metric {value, lower,
        upper, n, patients, reason}. Empty without any follow-up.
    """
    patients = follow_up(tables)
    if patients.empty:
        return {}
    table = life_table(patients["months"].to_numpy(np.float64), patients["event"].to_numpy(dtype=bool))
    return {"median_months": median_months(table), "volume_spearman": _volume_spearman(volumes_at_start(tables))}


def _volume_spearman(patients: pd.DataFrame) -> dict[str, Any]:
    censored = int((~patients["event"].astype(bool)).sum())
    if not censored:
        return spearman(patients["volume_ml"].to_numpy(), patients["months"].to_numpy())
    reason = f"the months of {censored} of {count_of(len(patients), 'patient')} are censored"
    return measures.not_measured(patients["PatientID"].to_numpy(), reason)


def volume_changes(tables: Tables) -> pd.DataFrame:
    """Return the changes of the masked volume between consecutive dates, the largest increase first.

    Returns:
        label (patient, and the second date if the patient has several) and change_percent.
    """
    changes = tables.volumes.dropna(subset="change_percent")
    repeated = changes["PatientID"].duplicated(keep=False).to_numpy(dtype=bool)
    names = [tables.identifiers.patient(patient) for patient in changes["PatientID"]]
    dates = map(tables.identifiers.date, changes["PatientID"], changes["date"])
    labels = [f"{name}, {date}" if many else name for name, date, many in zip(names, dates, repeated, strict=True)]
    table = pd.DataFrame({"label": labels, "change_percent": changes["change_percent"].to_numpy(np.float64)})
    return table.sort_values(["change_percent", "label"], ascending=[False, True], ignore_index=True)
