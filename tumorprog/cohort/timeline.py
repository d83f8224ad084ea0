"""Dates of studies -> pairs of time points, and the months between them."""

import datetime
import itertools

import pandas as pd

_COLUMNS = ["PatientID", "first", "second", "days", "MonthDif"]


def completed_months(first: datetime.date, second: datetime.date) -> int:
    """The calendar months that have passed between two dates: a month counts once its day of the month is reached.

    1991-11-19 to 1992-04-02 is 4, 1991-08-20 to 1991-10-17 is 1, as in the paper's Figures 3 and 4.

    Args:
        first: the earlier date.
        second: not before the first.
    """
    months = 12 * (second.year - first.year) + second.month - first.month
    return months - (second.day < first.day)


def pairs(studies: pd.DataFrame, *, min_gap_days: int) -> pd.DataFrame:
    """The consecutive time points of each patient.

    Studies less than the gap after a time point belong to it; its date is that of its first study.

    Args:
        studies: PatientID and date (ISO 8601, "" if unknown); doubles are welcome.
        min_gap_days: what makes two dates two time points.

    Returns:
        A row per pair: PatientID, first, second (ISO 8601), days, MonthDif (`completed_months`). A patient with one
        time point has none.
    """
    rows = []
    known = studies[studies["date"] != ""]
    for patient, dates in known.groupby("PatientID", sort=True)["date"]:
        points = _time_points([datetime.date.fromisoformat(date) for date in sorted(set(dates))], min_gap_days)
        rows += [
            (patient, first.isoformat(), second.isoformat(), (second - first).days, completed_months(first, second))
            for first, second in itertools.pairwise(points)
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _time_points(dates: list[datetime.date], min_gap_days: int) -> list[datetime.date]:
    points: list[datetime.date] = []
    for date in dates:
        if not points or (date - points[-1]).days >= min_gap_days:
            points.append(date)
    return points
