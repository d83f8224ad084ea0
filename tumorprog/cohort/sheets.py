"""Tables that people keep of patients: xlsx, csv or tab-separated text -> tables of text, columns by usual names."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog.errors import InputError

PATIENT = (
    "sample",
    "subject_id",
    "patientid",
    "patient_id",
    "patient id",
    "patient",
    "subject",
    "case",
    "case_id",
    "id",
)
"""Usual names of the column of patients."""

_SHEET = "report"


def tables_of(path: Path) -> list[pd.DataFrame]:
    """The tables of a file, the likeliest first; all text, without spaces around names and values.

    Args:
        path: xlsx (the sheet `report` comes first), or text with commas, tabs or semicolons.

    Raises:
        InputError: if it cannot be read as a table.
    """
    try:
        if path.suffix.lower() in {".xlsx", ".xlsm"}:
            with path.open("rb") as file:
                sheets = pd.read_excel(file, sheet_name=None, dtype=str, keep_default_na=False, engine="openpyxl")
            tables = [sheets[name] for name in sorted(sheets, key=lambda name: name.strip() != _SHEET)]
        else:
            # utf-8-sig: spreadsheets begin their text files with a byte order mark
            options: Any = {"dtype": str, "keep_default_na": False, "sep": None, "encoding": "utf-8-sig"}
            with path.open("rb") as file:
                tables = [pd.read_csv(file, engine="python", **options)]
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, pd.errors.ParserError) as error:
        raise InputError(
            f"{path}: cannot be read as a table ({error}); give xlsx, csv or tab-separated text"
        ) from error
    return [_stripped(table) for table in tables]


def _stripped(table: pd.DataFrame) -> pd.DataFrame:
    named = table.rename(columns=lambda name: str(name).strip())
    return named.apply(lambda column: column.astype(str).str.strip())


def column(table: pd.DataFrame, named: str, aliases: Sequence[str]) -> str:
    """The name that a column has in a table; "" if it has none.

    Args:
        table: of `tables_of`.
        named: by the user; "" if its usual names are to be tried.
        aliases: the usual names, in small letters.
    """
    wanted = [named.strip().lower()] if named else list(aliases)
    by_name = {name.lower(): name for name in table.columns}
    return next((by_name[alias] for alias in wanted if alias in by_name), "")


def normalise_id(text: str) -> str:
    """A patient's id without what differs between tables and headers: case, and `_`, `-`, spaces between its parts."""
    return "-".join(re.split(r"[\s_\-]+", text.strip().upper())).strip("-")
