"""Read tables of patients from spreadsheets (xlsx) or text files, and find their columns by common names."""

import csv
import functools
import io
import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import ParseError

import pandas as pd

from tumorprog.cohort import identity
from tumorprog.errors import InputError, shorten

PATIENT = (
    "patient id",
    "patient",
    "subject id",
    "subject",
    "participant id",
    "patient identifier",
    "case submitter id",
    "cases submitter id",
    "submitter id",
    "bcr patient barcode",
    "case id",
    "case",
    "id",
    "patient no",
    "patient number",
    "patient code",
    "pt id",
    "case no",
    "case number",
    "patient name",
    "id patient",
    "pat id",
    "patienten id",
    "patientennummer",
    "patienten nr",
    "pat nr",
    "participant",
    "subject no",
    "subject number",
    "subject code",
    "record id",
    "mrn",
    "brats subject id",
    "sample id",
    "sample",
    "tcia id",
    "study id",
)
"""Common names of the patient column, the most likely first; case, spaces and punctuation are ignored."""

Names = Sequence[str]
_UNREADABLE = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    ParseError,
    csv.Error,
)
"""Exceptions of the parsing libraries on a file that is not a table, or is truncated."""
_SHEET = "report"
_MAX_HEADER_ROWS = 20  # rows that are not blank
_SEPARATORS = ",\t;|"
_UNIT = re.compile(
    r"[(\[{<].*[)\]}>]|-+|years?|days?|months?|weeks?|text|string|int(eger)?|float|number", re.IGNORECASE
)
_NOT_PATIENTS = {"#N/A", "N/A", "NA", "<NA>", "NAN", "NONE", "NULL"}
_MISSING = {
    *("", "na", "n/a", "n.a", "nan", "nat", "none", "null", "nr", "nd", "n/d", "unknown", "missing", "no data", "k.a"),
    *(f"not {participle}" for participle in ("available", "reported", "applicable", "evaluated", "known")),
    *("keine angabe", "unbekannt", "inconnu", "desconocido", "onbekend"),
}
_QUOTED = re.compile(r"""="([^"]*)"|'([^']*)'?""")
"""How spreadsheets and other programs mark a cell as text rather than a number."""
_FORMATS = "provide xlsx, csv or tab-separated text"
_Rows = list[tuple[int, list[str]]]  # the number of the row in the file, from 1, and its cells


def read_tables(path: Path, wanted: Sequence[Names] = (PATIENT,)) -> list[pd.DataFrame]:
    """Read the tables of a file, the most likely one first; all cells are text, without surrounding spaces.

    Titles, comments and blank rows above the header are skipped, as are blank rows, a row of units below the header,
    and repetitions of the header, also under other names. A header of two rows is joined into one if that yields more
    of the wanted columns. If each row is a single cell of delimited text, that text is parsed.

    Args:
        path: xlsx (the sheet `report` comes first), or text separated by commas, tabs, semicolons or bars, in UTF-8,
            UTF-16 (both with or without byte order mark) or Windows-1252.
        wanted: the common names of each column to find; the row that contains most of these columns is the header.

    Returns:
        Tables indexed by the row number in the file, from 1; a repeated column name gets the suffix `.1`, `.2`.

    Raises:
        InputError: if the file cannot be read as a table.
    """
    try:
        with path.open("rb") as file:
            content = file.read()
        if content.startswith(b"PK"):
            tables = [_parse_rows(rows, wanted) for rows in _read_sheets(content)]
        else:
            tables = [_parse_text(_decode(path, content), wanted)]
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as a table ({error}); {_FORMATS}") from error
    return tables


def _read_sheets(content: bytes) -> Iterator[_Rows]:
    sheets = pd.read_excel(
        io.BytesIO(content), sheet_name=None, header=None, dtype=str, keep_default_na=False, engine="openpyxl"
    )
    for name in sorted(sheets, key=lambda name: name.strip().lower() != _SHEET):
        rows = sheets[name].fillna("").to_numpy().tolist()
        yield [(number, [_clean(str(cell)) for cell in row]) for number, row in enumerate(rows, start=1)]


def _decode(path: Path, content: bytes) -> str:
    """Decode a file in the encoding indicated by its byte order mark, or else by the distribution of its bytes."""
    if content.startswith(b"\xd0\xcf\x11\xe0") or content.lstrip()[:1] == b"<":
        raise InputError(
            f"{path}: cannot be read as a table (an unsupported or encrypted spreadsheet format); {_FORMATS}"
        )
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return content.decode(encoding)
    zeros = [content[start::2].count(0) for start in (0, 1)]
    if max(zeros) > len(content) // 8:  # in UTF-16, every other byte of most letters is zero
        return content.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le")
    if max(zeros):
        raise InputError(f"{path}: cannot be read as a table (it is not text); {_FORMATS}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Bytes that Windows-1252 does not define are decoded as Latin-1.
        return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in content)


def _parse_text(text: str, wanted: Sequence[Names]) -> pd.DataFrame:
    """Parse a text with the separator that yields most of the wanted columns.

    Raises:
        csv.Error: if a quote is not closed, so that rows would be lost.
    """
    by_separator, failed = {}, csv.Error()
    for separator in _SEPARATORS:
        try:
            by_separator[separator] = list(_split_rows(text, separator))
        except csv.Error as error:  # with a wrong separator, half of the file can become one cell
            failed = error
    if not by_separator:
        raise failed
    tables = {separator: _build_table(rows, wanted) for separator, rows in by_separator.items()}
    best = max(tables, key=lambda key: (_score(list(tables[key].columns), wanted), len(tables[key].columns)))
    _refuse_open_quotes(text, best)
    inner = _inner_text(by_separator[best], wanted)
    return _parse_text(inner, wanted) if inner and inner != "\n".join(text.splitlines()) else tables[best]


def _parse_rows(rows: _Rows, wanted: Sequence[Names]) -> pd.DataFrame:
    inner = _inner_text(rows, wanted)
    return _parse_text(inner, wanted) if inner else _build_table(rows, wanted)


def _inner_text(rows: _Rows, wanted: Sequence[Names]) -> str:
    """Return the delimited text in the first column if each row is a single cell of several values; else ""."""
    lines = [cells[0] if cells else "" for _, cells in rows]
    if any(any(cells[1:]) for _, cells in rows) or any(_score([line], wanted) for line in lines[:_MAX_HEADER_ROWS]):
        return ""
    return "\n".join(lines) if any(separator in line for line in lines for separator in _SEPARATORS) else ""


def _refuse_open_quotes(text: str, separator: str) -> None:
    """Raise csv.Error for an unclosed quote; only rows of several lines are checked, since others lose no data."""
    lines = io.StringIO(text, newline="").readlines()
    before, reader = 0, csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for _ in reader:
        if reader.line_num > before + 1:
            try:
                list(
                    csv.reader(lines[before : reader.line_num], delimiter=separator, skipinitialspace=True, strict=True)
                )
            except csv.Error as error:
                raise csv.Error(f"row {before + 1}: a quote is not closed") from error
        before = reader.line_num


def _split_rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    before = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    for row in reader:
        yield before + 1, [_clean(cell) for cell in row]
        before = reader.line_num


def _clean(cell: str) -> str:
    """Remove byte order marks, zero-width characters and text marks from a cell, and collapse white space."""
    text = " ".join(re.sub("[\ufeff\u200b\u200c\u200d\u2060\u00ad]", "", cell).split())
    quoted = _QUOTED.fullmatch(text)
    return (quoted[1] or quoted[2] or "") if quoted else text


def _build_table(rows: _Rows, wanted: Sequence[Names]) -> pd.DataFrame:
    filled = [(number, cells) for number, cells in rows if any(cells)]
    if not filled:
        return pd.DataFrame()
    width = max(len(cells) for _, cells in filled)
    filled = [(number, cells + [""] * (width - len(cells))) for number, cells in filled]
    first, header = _find_header([cells for _, cells in filled], wanted)
    last = max(index for index, name in enumerate(header) if name) + 1 if any(header) else width
    wanted_indices = [index for index, name in enumerate(header) if _score([name], wanted)]
    body = [
        (number, cells) for number, cells in filled[first:] if not _is_not_data(cells, header, wanted_indices, wanted)
    ]
    if body and all(_UNIT.fullmatch(cell) for cell in body[0][1] if cell):
        body = body[1:]
    last = max([last, *(index + 1 for _, cells in body for index, cell in enumerate(cells) if cell)])
    return pd.DataFrame(
        [cells[:last] for _, cells in body],
        columns=_unique(header[:last]),
        index=[number for number, _ in body],
        dtype=object,
    )


def _find_header(rows: list[list[str]], wanted: Sequence[Names]) -> tuple[int, list[str]]:
    """Return the index of the first data row, and the column names."""
    top = rows[:_MAX_HEADER_ROWS]
    candidates = [(index + 1, cells) for index, cells in enumerate(top)]
    candidates += [(index + 2, _join_header_rows(*pair, wanted)) for index, pair in enumerate(pairwise(top))]
    # Ties go to the first candidate, single rows before pairs, and comments last.
    first, header = max(candidates, key=lambda one: (_score(one[1], wanted), not one[1][0].startswith("#")))
    if _score(header, wanted):
        return first, header
    usual = Counter(_num_cells(cells) for cells in rows).most_common(1)[0][0]
    return next((one for one in candidates if _num_cells(one[1]) >= usual), candidates[0])


def _num_cells(cells: Sequence[str]) -> int:
    return sum(map(bool, cells))


def _join_header_rows(upper: list[str], lower: list[str], wanted: Sequence[Names]) -> list[str]:
    """Join two header rows into one; a name in the upper row also applies to the empty cells to its right."""
    names, above = [], ""
    for over, under in zip(upper, lower, strict=True):
        above = over or above
        both = f"{above} {under}"
        names.append((both if _score([both], wanted) else under) if under else over)
    return names


def _score(names: Sequence[str], wanted: Sequence[Names]) -> int:
    """Return the number of wanted columns among the names."""
    keys = {key for name in names for key in _keys(name)}
    return sum(any(_key(alias) in keys for alias in aliases) for aliases in wanted)


def _is_not_data(cells: list[str], header: list[str], wanted_indices: list[int], wanted: Sequence[Names]) -> bool:
    """Return whether a row is a comment or a repeated header."""
    comment = cells[0].startswith("#") and (_num_cells(cells) == 1 or cells[0].startswith("# "))
    repeated = len(wanted_indices) > 1 and all(_score([cells[index]], wanted) for index in wanted_indices)
    return comment or repeated or [cell.lower() for cell in cells] == [name.lower() for name in header]


def _unique(names: list[str]) -> list[str]:
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}.{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return unique


@functools.lru_cache(maxsize=65536)  # a table may have a column for each gene, and each name is compared many times
def _key(name: str) -> str:
    """Return a name in lower case without spaces, punctuation and the suffix that `_unique` added."""
    text = unicodedata.normalize("NFKC", re.sub(r"\.\d+$", "", name.strip()))
    return re.sub(r"[\W_]+", "", text.casefold())


def _keys(name: str) -> set[str]:
    """Return the keys of a column: of its full name, and of its name without brackets and years."""
    return {_key(name), _key(re.sub(r"[(\[].*?[)\]]|(?<![^\W_])(19|20)\d\d(?![^\W_])", "", name))} - {""}


def columns(table: pd.DataFrame, name: str, aliases: Names) -> list[str]:
    """Return the columns of a table that match a name or its aliases, the most likely first.

    Args:
        table: from `read_tables`.
        name: given by the user; "" to look for the aliases. An exact match excludes all others.
        aliases: the common names of the column.
    """
    if not name:
        return list(dict.fromkeys(found for alias in aliases for found in table.columns if _key(alias) in _keys(found)))
    cleaned = _clean(name)
    normalisations = (lambda name: name, str.casefold, _key)
    for normalise in normalisations:
        matches = [column for column in table.columns if normalise(column) == normalise(cleaned)]
        if matches:
            return matches
    return []


def column(table: pd.DataFrame, name: str, aliases: Names) -> str:
    """Return the first of `columns`; "" if there is none."""
    return next(iter(columns(table, name, aliases)), "")


def similar_names(names: Sequence[str]) -> list[str]:
    """Return the first name and those that differ from it only in case, punctuation, brackets and years."""
    return [name for name in names if name == names[0] or _keys(name) & _keys(names[0])]


def normalise_id(text: str) -> str:
    """Return a patient ID in upper case, with runs of `_`, `-` and spaces between its parts replaced by `-`."""
    return "-".join(re.split(r"[\s_\-]+", text.strip().upper())).strip("-")


def is_missing(text: str) -> bool:
    """Return whether a cell denotes a missing value: blank, `--`, `NA`, `[Not Available]`, `unknown` and similar."""
    return text.strip("-–— .'\"[](){}<>#…").lower() in _MISSING


def patients(table: pd.DataFrame, column: str) -> pd.Series:
    """Return the ID of each row's patient, as of `normalise_id`; "" for rows without a patient."""
    ids = table[column].map(normalise_id).astype(object)
    return ids.where(~ids.isin(_NOT_PATIENTS), "")


def patient_columns(table: pd.DataFrame, name: str, image_ids: Sequence[str]) -> list[str]:
    """Return the patient column, followed by similarly named columns that match the images as well but differ.

    Args:
        table: from `read_tables`.
        name: given by the user, or "".
        image_ids: patients of the images; of several columns, the one with most of them is chosen.
    """
    names = columns(table, name, PATIENT)
    ids = {name: patients(table, name) for name in names}
    shared = {name: to_image_ids(ids[name].drop_duplicates(), image_ids).isin(list(image_ids)).sum() for name in names}
    best = max(names, key=lambda name: shared[name], default="")
    similar = [name for name in similar_names([best, *names]) if name != best and any(ids[name])]
    return [best, *(name for name in similar if shared[name] == shared[best] and set(ids[name]) != set(ids[best]))]


def to_image_ids(ids: pd.Series, image_ids: Sequence[str]) -> pd.Series:
    """Replace the IDs of a table by those of the images where they match.

    Args:
        ids: from `patients`.
        image_ids: patients of the images, each once.
    """
    restored = restore_ids(list(ids), [normalise_id(one) for one in image_ids])
    return identity.to_image_ids(pd.Series(restored, ids.index, dtype=object), image_ids)


def restore_ids(ids: Sequence[str], known: Sequence[str]) -> list[str]:
    """Restore IDs that a spreadsheet converted to numbers, such as 007 to 7 or 7.0.

    Args:
        ids: IDs of a table, from `normalise_id`.
        known: IDs of the images, from `normalise_id`.

    Returns:
        For each ID the known ID it was converted from; the ID itself if that is unknown or ambiguous.
    """
    known_ids, numbers = set(known), Counter(_number(one) for one in set(known) if one.isdigit())
    by_number = {_number(one): one for one in known if one.isdigit()}
    counts = Counter(filter(None, map(_number, dict.fromkeys(ids))))
    taken = {_number(one) for one in ids if one in known_ids}

    def restore(one: str) -> str:
        number = _number(one)
        if one in known_ids or not number or number in taken:
            return one
        plain = re.sub(r"[.,]0+$", "", one)
        return by_number[number] if numbers[number] == 1 and counts[number] == 1 else plain if plain not in ids else one

    return [restore(one) for one in ids]


def describe_unmatched(table_ids: Sequence[str], image_ids: Sequence[str]) -> str:
    """Return examples of the IDs that only the table or only the images have; "" unless there are both."""
    if not len(table_ids) or not len(image_ids):
        return ""
    return f"only in the table: {shorten(table_ids)}; only in the images: {shorten(image_ids)}"


def _number(text: str) -> str:
    """Return the digits of a numeric ID without leading zeros and trailing `.0`; "" if the ID is not a number."""
    match = re.fullmatch(r"0*(\d+)(?:[.,]0+)?", text)
    return match[1] if match else ""
