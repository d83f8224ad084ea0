"""Read the table of outcomes (patient, date, progressed or not), and match it with the patients of the images."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tumorprog.cohort import sheets
from tumorprog.cohort.columns import OUTCOMES
from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.errors import InputError, shorten

_DATE = (
    *("date", "event date", "date of event", "outcome date", "last date", "follow up", "last follow up"),
    *("date of last follow up", "last contact", "date of last contact", "date of progression", "progression date"),
)
_EVENT = ("event", "progressed", "progression", "status", "event observed", "progression status")
_DATE_FORMATS = (
    *("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%d.%m.%Y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y"),
)
_NUMERIC_DATE = re.compile(r"\d{1,2}([/-])\d{1,2}\1\d{4}")
_YEARS = range(1900, 2201)
_SPREADSHEET_EPOCH = datetime.date(1899, 12, 30)
_YES = {"1", "1.0", "true", "t", "yes", "y", "ja", "oui", "progressed", "progression", "pd", "1:progression"}
_NO = {"0", "0.0", "false", "f", "no", "n", "nein", "non", "censored", "no progression", "not progressed", "0:censored"}


def read_outcomes(path: Path, patient_ids: Sequence[str] = ()) -> pd.DataFrame:
    """Read the outcomes of the patients from a table.

    Args:
        path: a table that `sheets.read_tables` can read, with columns under common names: the patient, a date (ISO
            8601, 02.04.1992, 2 Apr 1992, a spreadsheet serial number; 04/13/1992 or 13/04/1992 if the dates of the
            table determine the order) and event: 1 if the patient progressed on that date, 0 if the patient was last
            known to be free of progression on that date. Rows without a date are ignored.
        patient_ids: patients of the images; of several possible patient columns, the one with most of them is used.

    Returns:
        A row per patient: PatientID (normalised), date and event (bool).

    Raises:
        InputError: if the file or a column is missing, a date or an event cannot be parsed, a patient has two outcomes,
            or two columns with similar names differ.
    """
    table, (patient, date, event) = _read(path, patient_ids)
    known = table.assign(name=sheets.patients(table, patient), day=table[date].map(_without_time))
    known = known[(known["name"] != "") & ~known["day"].map(sheets.is_missing)]
    formats = _unambiguous_formats(known["day"])
    rows = [
        (name, _parse_date(path, row, day, formats), _parse_event(path, row, text))
        for row, name, day, text in known[["name", "day", event]].itertuples()
    ]
    outcomes = pd.DataFrame(rows, columns=["PatientID", "date", "event"])
    outcomes = outcomes.drop_duplicates()
    duplicated = outcomes.loc[outcomes["PatientID"].duplicated(), "PatientID"]
    if len(duplicated):
        raise InputError(f"{path}: patient {duplicated.iloc[0]} has several outcomes; keep one row per patient")
    return outcomes.sort_values("PatientID", ignore_index=True)


def match(first_dates: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Join the patients of the images with those of the table, keeping the patients of both.

    Args:
        first_dates: PatientID as in DICOM, and date of the first images (ISO 8601, "" if unknown), each patient once.
        known: from `read_outcomes`.

    Returns:
        Rows of `columns.OUTCOMES`, by patient: date, outcome_date, months between them, event (1 or 0), and status:
        `followed` for included patients, otherwise the reason for exclusion: `no outcome`, `no images`, `no date`,
        `not after the first images`.

    Raises:
        InputError: if a patient who appears under two spellings in the table has two outcomes.
    """
    images = first_dates.assign(key=first_dates["PatientID"])
    outcomes = known.rename(columns={"PatientID": "key", "date": "outcome_date"})
    outcomes = outcomes.assign(key=sheets.to_image_ids(outcomes["key"], list(images["key"]))).drop_duplicates()
    duplicated = outcomes.loc[outcomes["key"].duplicated(), "key"]
    if len(duplicated):
        raise InputError(
            f"table of outcomes: patient {duplicated.iloc[0]} has several outcomes under several spellings"
        )
    joined = images.merge(outcomes, on="key", how="outer", indicator="found")
    joined["PatientID"] = joined["PatientID"].fillna(joined["key"])
    joined[["date", "outcome_date"]] = joined[["date", "outcome_date"]].fillna("")
    dates = zip(joined["date"], joined["outcome_date"], strict=True)
    joined["months"] = [_days(first, last) / DAYS_PER_MONTH for first, last in dates]
    joined["status"] = [_status(*row) for row in joined[["found", "date", "months"]].itertuples(index=False)]
    joined["event"] = joined["event"].astype("boolean").astype("Int64")
    return joined.sort_values("PatientID", ignore_index=True)[list(OUTCOMES)]


def unmatched(matched: pd.DataFrame) -> str:
    """Return examples of the IDs that only the table or only the images have; "" unless there are both."""
    ids = {
        status: list(matched.loc[matched["status"] == status, "PatientID"]) for status in ("no images", "no outcome")
    }
    return sheets.describe_unmatched(ids["no images"], ids["no outcome"])


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


def _read(path: Path, image_ids: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: table of outcomes not found; specify it with --outcomes TABLE")
    wanted = {"PatientID": sheets.PATIENT, "date": _DATE, "event": _EVENT}
    tables = sheets.read_tables(path, list(wanted.values()))
    columns = [
        [
            sheets.patient_columns(table, "", image_ids),
            _conflicting_columns(table, "date", _DATE),
            _conflicting_columns(table, "event", _EVENT),
        ]
        for table in tables
    ]
    pairs = zip(tables, columns, strict=True)
    table, found = next((pair for pair in pairs if all(names[0] for names in pair[1])), (tables[0], columns[0]))
    for names, (column, aliases) in zip(found, wanted.items(), strict=True):
        if not names[0]:
            existing = ", ".join(filter(None, table.columns))
            raise InputError(
                f"{path}: no {'patient' if column == 'PatientID' else column} column (looked for "
                f"{shorten(aliases)}; found {existing}). Name the columns PatientID, date and event"
            )
        if len(names) > 1 and names[0] != column:
            raise InputError(
                f"{path}: the columns {' and '.join(map(repr, names))} differ; rename the correct one to {column}"
            )
    patient, date, event = (names[0] for names in found)
    return table, (patient, date, event)


def _conflicting_columns(table: pd.DataFrame, name: str, aliases: Sequence[str]) -> list[str]:
    """Return the column with the exact name, or else the most likely one; then similarly named ones that differ."""
    found = sheets.similar_names(sheets.columns(table, "", aliases) or [""])
    first = name if name in found else found[0]
    return [first, *(other for other in found if first != other and list(table[other]) != list(table[first]))]


def _unambiguous_formats(texts: pd.Series) -> tuple[str, ...]:
    """Return the order of day and month in which all numeric dates are valid; empty if both orders are possible."""
    numeric = [text.replace("-", "/") for text in texts if _NUMERIC_DATE.fullmatch(text)]
    valid = [pattern for pattern in ("%d/%m/%Y", "%m/%d/%Y") if all(_try_format(text, pattern) for text in numeric)]
    return tuple(valid) if len(valid) == 1 else ()


def _try_format(text: str, pattern: str) -> datetime.date | None:
    try:
        date = datetime.datetime.strptime(text, pattern).date()
    except ValueError:
        return None
    return date if date.year in _YEARS else None


def _without_time(text: str) -> str:
    """Remove the time of day that spreadsheets append to a date."""
    return re.sub(r"[ T]\d\d?:\d\d(:\d\d)?.*$", "", text)


def _parse_date(path: Path, row: int, day: str, formats: tuple[str, ...]) -> str:
    if re.fullmatch(r"[1-9]\d{4}([.,]\d+)?", day):
        return (_SPREADSHEET_EPOCH + datetime.timedelta(days=int(day[:5]))).isoformat()
    cleaned = re.sub(r"[.,]0+$", "", day) if re.fullmatch(r"\d{8}[.,]0+", day) else day.replace(",", "")
    cleaned = cleaned.replace("-", "/") if _NUMERIC_DATE.fullmatch(cleaned) else cleaned
    candidates = (_try_format(cleaned, pattern) for pattern in (*_DATE_FORMATS, *formats))
    parsed = next((date for date in candidates if date), None)
    if parsed is None:
        raise InputError(f"{path}, row {row}: {day!r} is not a valid date; expected a date such as 1992-04-02")
    return parsed.isoformat()


def _parse_event(path: Path, row: int, text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise InputError(f"{path}, row {row}: event is {text!r}; expected 1 (progressed) or 0 (not by that date)")
    return text.lower() in _YES
