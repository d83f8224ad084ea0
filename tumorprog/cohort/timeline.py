"""Derive the time points of each patient and the intervals between them from the dates of the studies."""

import datetime
import itertools

import pandas as pd

from tumorprog.cohort.columns import TIMELINE

_COLUMNS = ["PatientID", "first", "second", "days", "MonthDif"]
PUBLISHED_DAYS = (135, 157, 202, 204, 308, 63, 415, 436, 966, 29, 56, 55, 57, 58, 75, 58, 27, 56, 90, 119)
"""Days from the first to the second date of PGBM-001 to -020 of Brain-Tumor-Progression: their time to progression."""


def completed_months(first: datetime.date, second: datetime.date) -> int:
    """Return the number of completed calendar months between two dates: a month counts once its day is reached.

    1991-11-19 to 1992-04-02 is 4, 1991-08-20 to 1991-10-17 is 1, as in Figures 3 and 4 of the paper.

    Args:
        first: the earlier date.
        second: not before the first.
    """
    months = 12 * (second.year - first.year) + second.month - first.month
    return months - (second.day < first.day)


def resolve_study_dates(days: pd.DataFrame) -> pd.DataFrame:
    """Assign one date to the files of a study without a StudyDate, so that a study past midnight is not split.

    A run of dates at most one day apart is one date: the StudyDate if it is among them, or else the first. Files
    without any date get the date of the study if there is only one.

    Args:
        days: unique rows of cohort, PatientID, StudyInstanceUID, StudyDate (ISO 8601, "" if unknown), and `undated`:
            whether no file with this date has it as its own StudyDate.

    Returns:
        The rows whose date changes: cohort, PatientID, StudyInstanceUID, StudyDate, and the `day` to use.
    """
    rows = []
    for study, group in days.sort_values("StudyDate").groupby(["cohort", "PatientID", "StudyInstanceUID"]):
        own = set(group.loc[~group["undated"].astype(bool), "StudyDate"])
        runs: list[list[str]] = []
        for date in filter(None, group["StudyDate"]):
            if runs and (_date(date) - _date(runs[-1][-1])).days <= 1:
                runs[-1].append(date)
            else:
                runs.append([date])
        used = {date: date if date in own else min(own.intersection(run) or run) for run in runs for date in run}
        if len(only := set(used.values())) == 1:
            used[""] = only.pop()
        rows += [(*study, date, used[date]) for date in group["StudyDate"] if used.get(date, date) != date]
    return pd.DataFrame(rows, columns=["cohort", "PatientID", "StudyInstanceUID", "StudyDate", "day"])


def pairs(studies: pd.DataFrame, *, min_gap_days: int) -> pd.DataFrame:
    """Return the pairs of consecutive time points of each patient.

    Studies closer than the gap to the start of a time point belong to it; its date is that of its first study.

    Args:
        studies: PatientID and date (ISO 8601, "" if unknown); duplicate rows are allowed.
        min_gap_days: minimum number of days between two time points.

    Returns:
        A row per pair: PatientID, first, second (ISO 8601), days, MonthDif (`completed_months`). A patient with one
        time point has none.
    """
    rows = []
    known = studies[studies["date"] != ""]
    for patient, dates in known.groupby("PatientID", sort=True)["date"]:
        points = _time_points([_date(date) for date in sorted(set(dates))], min_gap_days)
        rows += [
            (patient, first.isoformat(), second.isoformat(), (second - first).days, completed_months(first, second))
            for first, second in itertools.pairwise(points)
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def patients(studies: pd.DataFrame, *, min_gap_days: int) -> pd.DataFrame:
    """Summarise the scan dates of each patient, and whether they give an interval to train on.

    Args:
        studies: PatientID, date (ISO 8601, "" if unknown) and StudyInstanceUID; duplicate rows are allowed.
        min_gap_days: minimum number of days between two time points.

    Returns:
        Rows of `columns.TIMELINE`, one per patient, sorted by PatientID: the number of studies, the known dates (each
        once), the number of time points, and the status: `two dates or more`, `one date` or `no date`.
    """
    rows = []
    for patient, group in studies.groupby("PatientID", sort=True):
        dates = sorted(set(group["date"]) - {""})
        num_points = len(_time_points([_date(date) for date in dates], min_gap_days))
        status = ("no date", "one date", "two dates or more")[min(num_points, 2)]
        rows.append((patient, group["StudyInstanceUID"].nunique(), " ".join(dates), num_points, status))
    return pd.DataFrame(rows, columns=list(TIMELINE))


def _time_points(dates: list[datetime.date], min_gap_days: int) -> list[datetime.date]:
    points: list[datetime.date] = []
    for date in dates:
        if not points or (date - points[-1]).days >= min_gap_days:
            points.append(date)
    return points


def _date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)
