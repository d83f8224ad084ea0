"""A table of patients, dates and whether they had progressed by then, as it comes -> what is known of each patient."""

import datetime
import re
from pathlib import Path

import pandas as pd

from tumorprog.cohort import identity, sheets
from tumorprog.errors import InputError
from tumorprog.tables import DAYS_PER_MONTH, OUTCOMES

_DATE = ("date", "event_date", "outcome_date", "last_date", "follow_up", "followup", "last_follow_up")
_EVENT = ("event", "progressed", "progression", "status", "event_observed")
_YES, _NO = {"1", "1.0", "true", "yes", "y"}, {"0", "0.0", "false", "no", "n"}


def read_outcomes(path: Path) -> pd.DataFrame:
    """The outcomes of a table.

    Args:
        path: xlsx, or text with commas, tabs or semicolons; columns by their usual names: the patient, a date (ISO
            8601) and event: 1 where the patient progressed on that date, 0 where it was last seen then and had not.

    Returns:
        A row per patient: PatientID (normalised), date and event (bool).

    Raises:
        InputError: if the file or a column is missing, a date or an event cannot be understood, or a patient has two.
    """
    table, (patient, date, event) = _read(path)
    rows = enumerate(zip(table[patient], table[date], table[event], strict=True), start=2)
    told = [
        (sheets.normalise_id(name), _date(path, row, day), _event(path, row, happened))
        for row, (name, day, happened) in rows
    ]
    known = pd.DataFrame(told, columns=["PatientID", "date", "event"])
    known = known[known["PatientID"] != ""].drop_duplicates()
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
    table = sheets.tables_of(path)[0]
    wanted = {"patients": sheets.PATIENT, "dates": _DATE, "events": _EVENT}
    found = [sheets.column(table, "", aliases) for aliases in wanted.values()]
    for name, (what, aliases) in zip(found, wanted.items(), strict=True):
        if not name:
            raise InputError(
                f"{path}: no column of {what} (looked for {', '.join(aliases)}; found {', '.join(table.columns)}). "
                "Name the columns PatientID, date and event"
            )
    patient, date, event = found
    return table, (patient, date, event)


def _date(path: Path, row: int, text: str) -> str:
    try:
        day, *_ = re.split("[ T]", text)  # spreadsheets put a time behind a date
        return datetime.date.fromisoformat(day).isoformat()
    except ValueError as error:
        raise InputError(f"{path}, row {row}: {text!r} is no date; expected one like 1992-04-02") from error


def _event(path: Path, row: int, text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise InputError(f"{path}, row {row}: event is {text!r}; expected 1 (progressed) or 0 (not by that date)")
    return text.lower() in _YES
