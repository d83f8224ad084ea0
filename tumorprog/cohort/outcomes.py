"""A table of patients, dates and whether they had progressed by then, as it comes -> what is known of each patient."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tumorprog.cohort import sheets
from tumorprog.errors import InputError, some
from tumorprog.tables import DAYS_PER_MONTH, OUTCOMES

_DATE = (
    *("date", "event date", "date of event", "outcome date", "last date", "follow up", "last follow up"),
    *("date of last follow up", "last contact", "date of last contact", "date of progression", "progression date"),
)
_EVENT = ("event", "progressed", "progression", "status", "event observed", "progression status")
_ORDERS = (
    *("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%d.%m.%Y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y"),
)
_STROKES = re.compile(r"\d{1,2}([/-])\d{1,2}\1\d{4}")
_YEARS = range(1900, 2201)
_SPREADSHEETS_BEGIN = datetime.date(1899, 12, 30)
_YES = {"1", "1.0", "true", "t", "yes", "y", "ja", "oui", "progressed", "progression", "pd", "1:progression"}
_NO = {"0", "0.0", "false", "f", "no", "n", "nein", "non", "censored", "no progression", "not progressed", "0:censored"}


def read_outcomes(path: Path, patient_ids: Sequence[str] = ()) -> pd.DataFrame:
    """The outcomes of a table.

    Args:
        path: of a table as `sheets.tables_of` reads it, with columns by their usual names: the patient, a date (ISO
            8601, 02.04.1992, 2 Apr 1992, a spreadsheet's number of days; 04/13/1992 or 13/04/1992 where all dates of
            the table together tell which) and event: 1 where the patient progressed on that date, 0 where it was last
            seen then and had not. Who has no date has no outcome.
        patient_ids: of the images; of several columns that may be the patients', the one that has most of them is.

    Returns:
        A row per patient: PatientID (normalised), date and event (bool).

    Raises:
        InputError: if the file or a column is missing, a date or an event cannot be understood, a patient has two, or
            two columns that may be meant differ.
    """
    table, (patient, date, event) = _read(path, patient_ids)
    known = table.assign(who=sheets.patients(table, patient), day=table[date].map(_without_time))
    known = known[(known["who"] != "") & ~known["day"].map(sheets.is_nothing)]
    orders = _orders(known["day"])
    told = [
        (name, _date(path, row, day, orders), _event(path, row, happened))
        for row, name, day, happened in known[["who", "day", event]].itertuples()
    ]
    known = pd.DataFrame(told, columns=["PatientID", "date", "event"])
    known = known.drop_duplicates()
    twice = known.loc[known["PatientID"].duplicated(), "PatientID"]
    if len(twice):
        raise InputError(f"{path}: patient {twice.iloc[0]} has several outcomes; keep one row for each patient")
    return known.sort_values("PatientID", ignore_index=True)


def follow(first_dates: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Joins the patients of the images and those of the table; nobody is dropped.

    Args:
        first_dates: PatientID as in DICOM, and date of the first images (ISO 8601, "" if unknown), each patient once.
        known: of `read_outcomes`.

    Returns:
        Rows of `tables.OUTCOMES`, by patient: date, outcome_date, months between them, event (1 or 0), and status:
        `followed` for those who take part, or why not: `no outcome`, `no images`, `no date`, `not after the first
        images`.

    Raises:
        InputError: if a patient whom the table spells in two ways has two outcomes.
    """
    images = first_dates.assign(key=first_dates["PatientID"])
    outcomes = known.rename(columns={"PatientID": "key", "date": "outcome_date"})
    outcomes = outcomes.assign(key=sheets.renamed(outcomes["key"], list(images["key"]))).drop_duplicates()
    twice = outcomes.loc[outcomes["key"].duplicated(), "key"]
    if len(twice):
        raise InputError(f"table of outcomes: patient {twice.iloc[0]} has several outcomes under several spellings")
    joined = images.merge(outcomes, on="key", how="outer", indicator="found")
    joined["PatientID"] = joined["PatientID"].fillna(joined["key"])
    joined[["date", "outcome_date"]] = joined[["date", "outcome_date"]].fillna("")
    dates = zip(joined["date"], joined["outcome_date"], strict=True)
    joined["months"] = [_days(first, last) / DAYS_PER_MONTH for first, last in dates]
    joined["status"] = [_status(*row) for row in joined[["found", "date", "months"]].itertuples(index=False)]
    joined["event"] = joined["event"].astype("boolean").astype("Int64")
    return joined.sort_values("PatientID", ignore_index=True)[list(OUTCOMES)]


def unmatched(who: pd.DataFrame) -> str:
    """A few of the ids of `follow` that are only in the table, and only among the images; "" if not both are."""
    ids = {status: list(who.loc[who["status"] == status, "PatientID"]) for status in ("no images", "no outcome")}
    return sheets.apart(ids["no images"], ids["no outcome"])


def _days(first: str, last: str) -> float:
    if not first or not last:
        return float("nan")
    return (datetime.date.fromisoformat(last) - datetime.date.fromisoformat(first)).days


def _status(found: str, date: str, months: float) -> str:
    if found != "both":
        return "no outcome" if found == "left_only" else "no images"
    if not date:
        return "no date"
    return "followed" if months > 0 else "not after the first images"


def _read(path: Path, images: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such table of outcomes; name it with --outcomes TABLE")
    wanted = {"PatientID": sheets.PATIENT, "date": _DATE, "event": _EVENT}
    tables = sheets.tables_of(path, list(wanted.values()))
    columns = [
        [sheets.patient_columns(table, "", images), _alike(table, "date", _DATE), _alike(table, "event", _EVENT)]
        for table in tables
    ]
    pairs = zip(tables, columns, strict=True)
    table, found = next((pair for pair in pairs if all(names[0] for names in pair[1])), (tables[0], columns[0]))
    for names, (what, aliases) in zip(found, wanted.items(), strict=True):
        if not names[0]:
            there = ", ".join(filter(None, table.columns))
            raise InputError(
                f"{path}: no column of {'patient' if what == 'PatientID' else what}s (looked for "
                f"{some(aliases)}; found {there}). Name the columns PatientID, date and event"
            )
        if len(names) > 1 and names[0] != what:
            raise InputError(f"{path}: the columns {' and '.join(map(repr, names))} differ; name the right one {what}")
    patient, date, event = (names[0] for names in found)
    return table, (patient, date, event)


def _alike(table: pd.DataFrame, name: str, aliases: Sequence[str]) -> list[str]:
    """The column that is named so, or else the likeliest; and those of its name in another case that say otherwise."""
    found = sheets.alike(sheets.columns(table, "", aliases) or [""])
    first = name if name in found else found[0]
    return [first, *(other for other in found if first != other and list(table[other]) != list(table[first]))]


def _orders(texts: pd.Series) -> tuple[str, ...]:
    """How dates with strokes are to be read: the one order in which all of them are dates, or none if two are."""
    strokes = [text.replace("-", "/") for text in texts if _STROKES.fullmatch(text)]
    fit = [order for order in ("%d/%m/%Y", "%m/%d/%Y") if all(_parsed(text, order) for text in strokes)]
    return tuple(fit) if len(fit) == 1 else ()


def _parsed(text: str, order: str) -> datetime.date | None:
    try:
        date = datetime.datetime.strptime(text, order).date()
    except ValueError:
        return None
    return date if date.year in _YEARS else None


def _without_time(text: str) -> str:
    """A date without the time of day that spreadsheets put behind it."""
    return re.sub(r"[ T]\d\d?:\d\d(:\d\d)?.*$", "", text)


def _date(path: Path, row: int, day: str, orders: tuple[str, ...]) -> str:
    if re.fullmatch(r"[1-9]\d{4}([.,]\d+)?", day):
        return (_SPREADSHEETS_BEGIN + datetime.timedelta(days=int(day[:5]))).isoformat()
    told = re.sub(r"[.,]0+$", "", day) if re.fullmatch(r"\d{8}[.,]0+", day) else day.replace(",", "")
    told = told.replace("-", "/") if _STROKES.fullmatch(told) else told
    known = (_parsed(told, order) for order in (*_ORDERS, *orders))
    found = next((date for date in known if date), None)
    if found is None:
        raise InputError(f"{path}, row {row}: {day!r} is no date; expected one like 1992-04-02")
    return found.isoformat()


def _event(path: Path, row: int, text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise InputError(f"{path}, row {row}: event is {text!r}; expected 1 (progressed) or 0 (not by that date)")
    return text.lower() in _YES
