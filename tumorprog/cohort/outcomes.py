"""A table of patients, dates and whether they had progressed by then, as it comes -> what is known of each patient."""

import datetime
import re
from pathlib import Path

import pandas as pd

from tumorprog.cohort import identity, sheets
from tumorprog.errors import InputError
from tumorprog.tables import DAYS_PER_MONTH, OUTCOMES

_DATE = ("date", "event date", "outcome date", "last date", "follow up", "last follow up", "date of progression")
_EVENT = ("event", "progressed", "progression", "status", "event observed")
_ORDERS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y")
_STROKES = re.compile(r"\d{1,2}/\d{1,2}/\d{4}")
_SPREADSHEETS_BEGIN = datetime.date(1899, 12, 30)
_YES, _NO = {"1", "1.0", "true", "yes", "y"}, {"0", "0.0", "false", "no", "n"}


def read_outcomes(path: Path) -> pd.DataFrame:
    """The outcomes of a table.

    Args:
        path: of a table as `sheets.tables_of` reads it, with columns by their usual names: the patient, a date (ISO
            8601, 02.04.1992, 2 Apr 1992, a spreadsheet's number of days; 04/13/1992 or 13/04/1992 where all dates of
            the table together tell which) and event: 1 where the patient progressed on that date, 0 where it was last
            seen then and had not.

    Returns:
        A row per patient: PatientID (normalised), date and event (bool).

    Raises:
        InputError: if the file or a column is missing, a date or an event cannot be understood, or a patient has two.
    """
    table, (patient, date, event) = _read(path)
    table = table[table[patient].map(sheets.normalise_id) != ""]
    orders = _orders(table[date])
    told = [
        (sheets.normalise_id(name), _date(path, row, day, orders), _event(path, row, happened))
        for row, name, day, happened in table[[patient, date, event]].itertuples()
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
    ids = [sheets.normalise_id(one) for one in images["key"]]
    known = known.assign(PatientID=sheets.restored(list(known["PatientID"]), ids))
    outcomes = known.rename(columns={"PatientID": "key", "date": "outcome_date"})
    outcomes = outcomes.assign(key=identity.renamed(outcomes["key"], images["key"])).drop_duplicates()
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


def _read(path: Path) -> tuple[pd.DataFrame, tuple[str, str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such table of outcomes; name it with --outcomes TABLE")
    wanted = {"patients": sheets.PATIENT, "dates": _DATE, "events": _EVENT}
    tables = sheets.tables_of(path, list(wanted.values()))
    columns = [[sheets.column(table, "", aliases) for aliases in wanted.values()] for table in tables]
    table, found = next((pair for pair in zip(tables, columns, strict=True) if all(pair[1])), (tables[0], columns[0]))
    for name, (what, aliases) in zip(found, wanted.items(), strict=True):
        if not name:
            raise InputError(
                f"{path}: no column of {what} (looked for {', '.join(aliases)}; found {', '.join(table.columns)}). "
                "Name the columns PatientID, date and event"
            )
    patient, date, event = found
    return table, (patient, date, event)


def _orders(texts: pd.Series) -> tuple[str, ...]:
    """How dates with strokes are to be read: the one order in which all of them are dates, or none if two are."""
    strokes = [text for text in texts if _STROKES.fullmatch(text)]
    fit = [order for order in ("%d/%m/%Y", "%m/%d/%Y") if all(_parsed(text, order) for text in strokes)]
    return tuple(fit) if len(fit) == 1 else ()


def _parsed(text: str, order: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(text, order).date()
    except ValueError:
        return None


def _date(path: Path, row: int, text: str, orders: tuple[str, ...]) -> str:
    day = re.sub(r"[ T]\d\d?:\d\d(:\d\d)?.*$", "", text)  # spreadsheets put a time behind a date
    if re.fullmatch(r"[1-9]\d{4}(\.0)?", day):
        return (_SPREADSHEETS_BEGIN + datetime.timedelta(days=int(float(day)))).isoformat()
    known = (_parsed(day.replace(",", ""), order) for order in (*_ORDERS, *orders))
    found = next((date for date in known if date), None)
    if found is None:
        raise InputError(f"{path}, row {row}: {text!r} is no date; expected one like 1992-04-02")
    return found.isoformat()


def _event(path: Path, row: int, text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise InputError(f"{path}, row {row}: event is {text!r}; expected 1 (progressed) or 0 (not by that date)")
    return text.lower() in _YES
