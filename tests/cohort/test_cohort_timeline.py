import datetime

import pandas as pd
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.cohort import timeline
from tumorprog.cohort.columns import TIMELINE

dates = st.dates(datetime.date(1985, 1, 1), datetime.date(2030, 12, 31))


@pytest.mark.parametrize(
    ("first", "second", "months"),
    [("1991-11-19", "1992-04-02", 4), ("1991-08-20", "1991-10-17", 1), ("2000-01-31", "2000-02-29", 0)],
)
def test_months_agree_with_the_paper(first, second, months):
    assert timeline.completed_months(*map(datetime.date.fromisoformat, (first, second))) == months


@given(one=dates, other=dates)
def test_months_agree_with_counting_month_by_month(one, other):
    """Independent rule: step month by month; a month is complete when the same day of the month is reached."""
    first, second = sorted((one, other))
    steps, year, month = 0, first.year, first.month
    while True:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        if (year, month, first.day) > (second.year, second.month, second.day):
            break
        steps += 1
    assert timeline.completed_months(first, second) == steps


@given(one=dates, other=dates)
def test_months_agree_with_dateutil(one, other):
    """The only difference is a month that is too short: from 31 January to 28 February, dateutil counts one month."""
    first, second = sorted((one, other))
    delta = relativedelta(second, first)
    expected = 12 * delta.years + delta.months
    reached = first + relativedelta(months=expected)
    too_short = reached.day < first.day and reached.month == second.month
    assert timeline.completed_months(first, second) == expected - too_short


@given(one=dates, other=dates)
def test_months_are_consistent_with_days(one, other):
    first, second = sorted((one, other))
    months, days = timeline.completed_months(first, second), (second - first).days
    assert 28 * months <= days < 31 * (months + 1)


def studies(*rows):
    return pd.DataFrame(rows, columns=["PatientID", "date"])


def test_pairs_are_consecutive_time_points_in_order():
    scanned = studies(
        ("B", "2001-05-01"), ("A", "2000-06-01"), ("A", "2000-01-01"), ("A", "2000-03-01"), ("B", "2001-01-01")
    )
    found = timeline.pairs(scanned, min_gap_days=14)
    assert found.to_numpy().tolist() == [
        ["A", "2000-01-01", "2000-03-01", 60, 2],
        ["A", "2000-03-01", "2000-06-01", 92, 3],
        ["B", "2001-01-01", "2001-05-01", 120, 4],
    ]


def test_studies_within_the_gap_are_one_time_point():
    days = studies(("A", "2000-01-01"), ("A", "2000-01-10"), ("A", "2000-01-14"), ("A", "2000-01-15"))
    assert timeline.pairs(days, min_gap_days=14)[["first", "second"]].to_numpy().tolist() == [
        ["2000-01-01", "2000-01-15"]
    ]


def test_a_patient_with_one_date_or_unknown_dates_has_no_pair():
    assert timeline.pairs(studies(("A", "2000-01-01"), ("A", ""), ("B", "")), min_gap_days=14).empty


def test_studies_on_the_same_day_are_one_time_point():
    twice = studies(("A", "2000-01-01"), ("A", "2000-01-01"), ("A", "2000-02-01"), ("A", "2000-02-01"))
    assert timeline.pairs(twice, min_gap_days=1)["days"].tolist() == [31]


def test_every_patient_is_listed_with_its_dates_and_time_points():
    scanned = [("B", "2000-01-01", "1"), ("B", "2000-01-01", "2"), ("B", "2000-03-01", "3"), ("A", "2000-01-01", "4")]
    scanned += [("C", "", "5"), ("D", "2000-01-01", "6"), ("D", "2000-01-09", "7")]
    table = pd.DataFrame([*scanned, scanned[0]], columns=["PatientID", "date", "StudyInstanceUID"])
    found = timeline.patients(table, min_gap_days=14)
    assert tuple(found.columns) == TIMELINE
    assert found.to_numpy().tolist() == [
        ["A", 1, "2000-01-01", 1, "one date"],
        ["B", 3, "2000-01-01 2000-03-01", 2, "two dates or more"],
        ["C", 1, "", 0, "no date"],
        ["D", 2, "2000-01-01 2000-01-09", 1, "one date"],
    ]


def test_the_shortest_published_interval_exceeds_the_default_gap():
    shortest = studies(("PGBM-017", "1990-01-01"), ("PGBM-017", "1990-01-28"))
    assert timeline.pairs(shortest, min_gap_days=14)["days"].tolist() == [27]


def resolved(*days):
    """Return the resolved dates of a study; dates in brackets are not from StudyDate."""
    columns = ["cohort", "PatientID", "StudyInstanceUID", "StudyDate", "undated"]
    rows = [("progression", "P", "1.2", day.strip("()"), day.startswith("(")) for day in days]
    found = timeline.resolve_study_dates(pd.DataFrame(rows, columns=columns))
    used = dict(zip(found["StudyDate"], found["day"], strict=True))
    return [used.get(day.strip("()"), day.strip("()")) for day in days]


@pytest.mark.parametrize(
    ("days", "used"),
    [
        (["(2005-01-31)", "(2005-02-01)"], ["2005-01-31"] * 2),  # a study past midnight
        (["2005-01-02", "(2005-01-03)"], ["2005-01-02"] * 2),
        (["(2005-01-01)", "2005-01-02", "(2005-01-03)", "()"], ["2005-01-02"] * 4),
        (["2005-01-02", "2005-01-03"], ["2005-01-02", "2005-01-03"]),  # both are given as StudyDate
        (["2005-01-02", "(2005-06-02)"], ["2005-01-02", "2005-06-02"]),  # the UID is a constant
        (["(2005-01-02)", "(2005-06-02)", "()"], ["2005-01-02", "2005-06-02", ""]),
        (["2005-01-02", "()"], ["2005-01-02"] * 2),
        (["()"], [""]),
    ],
)
def test_files_without_a_study_date_get_the_date_of_their_study(days, used):
    assert resolved(*days) == used
    assert resolved(*days[::-1]) == used[::-1]
