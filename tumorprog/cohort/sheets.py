"""Tables that people keep of patients: xlsx or text -> tables of text, whose columns are found by usual names."""

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
from tumorprog.errors import InputError, some

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
"""Usual names of the column of patients, the likeliest first; case and what is no letter or digit do not matter."""

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
"""What a file that is no table, or half of one, makes of the libraries that read it."""
_SHEET = "report"
_HEADER_WITHIN = 20  # rows that are not blank
_SEPARATORS = ",\t;|"
_UNIT = re.compile(
    r"[(\[{<].*[)\]}>]|-+|years?|days?|months?|weeks?|text|string|int(eger)?|float|number", re.IGNORECASE
)
_NOBODY = {"#N/A", "N/A", "NA", "<NA>", "NAN", "NONE", "NULL"}
_NOTHING = {
    *("", "na", "n/a", "n.a", "nan", "nat", "none", "null", "nr", "nd", "n/d", "unknown", "missing", "no data", "k.a"),
    *(f"not {what}" for what in ("available", "reported", "applicable", "evaluated", "known")),
    *("keine angabe", "unbekannt", "inconnu", "desconocido", "onbekend"),
}
_MARKED = re.compile(r"""="([^"]*)"|'([^']*)'?""")
"""How spreadsheets mark what is text and no number, and other programs what is text."""
_FORMATS = "give xlsx, csv or tab-separated text"
_Rows = list[tuple[int, list[str]]]  # the row's number in the file, from 1, and its cells


def tables_of(path: Path, wanted: Sequence[Names] = (PATIENT,)) -> list[pd.DataFrame]:
    """The tables of a file, the likeliest first; all text, without spaces around names and values.

    What stands above the header (titles, comments, blank rows) is left out, as are blank rows, units below the header,
    and the header where it is repeated, in whatever words. Two rows of header become one where that gives more of the
    wanted columns. Where all of a row stands in one cell, the cell is read as text.

    Args:
        path: xlsx (the sheet `report` comes first), or text with commas, tabs, semicolons or bars, in UTF-8, UTF-16
            (both with or without byte order mark) or Windows-1252.
        wanted: of each column to be found its usual names; the header is the row with the most of them.

    Returns:
        Tables whose index is the rows' numbers in the file, from 1; a name that stands twice has `.1`, `.2` behind it.

    Raises:
        InputError: if it cannot be read as a table.
    """
    try:
        with path.open("rb") as file:
            held = file.read()
        if held.startswith(b"PK"):
            found = [_of_rows(rows, wanted) for rows in _sheets(held)]
        else:
            found = [_of_text(_text(path, held), wanted)]
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as a table ({error}); {_FORMATS}") from error
    return found


def _sheets(held: bytes) -> Iterator[_Rows]:
    sheets = pd.read_excel(
        io.BytesIO(held), sheet_name=None, header=None, dtype=str, keep_default_na=False, engine="openpyxl"
    )
    for name in sorted(sheets, key=lambda name: name.strip().lower() != _SHEET):
        rows = sheets[name].fillna("").to_numpy().tolist()
        yield [(number, [_plain(str(cell)) for cell in row]) for number, row in enumerate(rows, start=1)]


def _text(path: Path, held: bytes) -> str:
    """The text of a file in the encoding that its first bytes, or else its bytes on the whole, tell."""
    if held.startswith(b"\xd0\xcf\x11\xe0") or held.lstrip()[:1] == b"<":
        raise InputError(
            f"{path}: cannot be read as a table (an old, foreign or locked kind of spreadsheet); {_FORMATS}"
        )
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if held.startswith(mark):
            return held.decode(encoding)
    zeros = [held[start::2].count(0) for start in (0, 1)]
    if max(zeros) > len(held) // 8:  # every other byte of most letters
        return held.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le")
    if max(zeros):
        raise InputError(f"{path}: cannot be read as a table (it is not text); {_FORMATS}")
    try:
        return held.decode("utf-8-sig")
    except UnicodeDecodeError:
        # what Windows-1252 leaves open is Latin-1's
        return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in held)


def _of_text(text: str, wanted: Sequence[Names]) -> pd.DataFrame:
    """The table of a text, by the separator that gives most of the wanted columns.

    Raises:
        csv.Error: if a quote is not closed, so that rows would be lost.
    """
    ways, failed = {}, csv.Error()
    for separator in _SEPARATORS:
        try:
            ways[separator] = list(_rows(text, separator))
        except csv.Error as error:  # a wrong separator can make half of the file one cell
            failed = error
    if not ways:
        raise failed
    found = {separator: _table(rows, wanted) for separator, rows in ways.items()}
    best = max(found, key=lambda way: (_score(list(found[way].columns), wanted), len(found[way].columns)))
    _refuse_open_quotes(text, best)
    inner = _inner(ways[best], wanted)
    return _of_text(inner, wanted) if inner and inner != "\n".join(text.splitlines()) else found[best]


def _of_rows(rows: _Rows, wanted: Sequence[Names]) -> pd.DataFrame:
    inner = _inner(rows, wanted)
    return _of_text(inner, wanted) if inner else _table(rows, wanted)


def _inner(rows: _Rows, wanted: Sequence[Names]) -> str:
    """The text that the cells are, where each row is one cell which holds the names or values of several; else ""."""
    lines = [cells[0] if cells else "" for _, cells in rows]
    if any(any(cells[1:]) for _, cells in rows) or any(_score([line], wanted) for line in lines[:_HEADER_WITHIN]):
        return ""
    return "\n".join(lines) if any(separator in line for line in lines for separator in _SEPARATORS) else ""


def _refuse_open_quotes(text: str, separator: str) -> None:
    """Only rows of several lines are looked into: others may have quotes in odd places, and lose nothing by it."""
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


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    before = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    for row in reader:
        yield before + 1, [_plain(cell) for cell in row]
        before = reader.line_num


def _plain(cell: str) -> str:
    """Without byte order marks, spaces of no width and marks of text, and with one usual space for any others."""
    told = " ".join(re.sub("[\ufeff\u200b\u200c\u200d\u2060\u00ad]", "", cell).split())
    marked = _MARKED.fullmatch(told)
    return (marked[1] or marked[2] or "") if marked else told


def _table(rows: _Rows, wanted: Sequence[Names]) -> pd.DataFrame:
    told = [(number, cells) for number, cells in rows if any(cells)]
    if not told:
        return pd.DataFrame()
    width = max(len(cells) for _, cells in told)
    told = [(number, cells + [""] * (width - len(cells))) for number, cells in told]
    first, header = _header([cells for _, cells in told], wanted)
    last = max(place for place, name in enumerate(header) if name) + 1 if any(header) else width
    named = [place for place, name in enumerate(header) if _score([name], wanted)]
    body = [(number, cells) for number, cells in told[first:] if not _is_no_row(cells, header, named, wanted)]
    if body and all(_UNIT.fullmatch(cell) for cell in body[0][1] if cell):
        body = body[1:]
    last = max([last, *(place + 1 for _, cells in body for place, cell in enumerate(cells) if cell)])
    return pd.DataFrame(
        [cells[:last] for _, cells in body],
        columns=_unique(header[:last]),
        index=[number for number, _ in body],
        dtype=object,
    )


def _header(rows: list[list[str]], wanted: Sequence[Names]) -> tuple[int, list[str]]:
    """Where the rows of patients begin, and the names of the columns."""
    top = rows[:_HEADER_WITHIN]
    ways = [(place + 1, cells) for place, cells in enumerate(top)]
    ways += [(place + 2, _joined(*pair, wanted)) for place, pair in enumerate(pairwise(top))]
    # the first of several, single rows before pairs, comments last
    first, header = max(ways, key=lambda way: (_score(way[1], wanted), not way[1][0].startswith("#")))
    if _score(header, wanted):
        return first, header
    usual = Counter(_num_cells(cells) for cells in rows).most_common(1)[0][0]
    return next((way for way in ways if _num_cells(way[1]) >= usual), ways[0])


def _num_cells(cells: Sequence[str]) -> int:
    return sum(map(bool, cells))


def _joined(upper: list[str], lower: list[str], wanted: Sequence[Names]) -> list[str]:
    """Two rows of header as one: a name above several columns, of which only the first cell has it, is for all."""
    names, above = [], ""
    for over, under in zip(upper, lower, strict=True):
        above = over or above
        both = f"{above} {under}"
        names.append((both if _score([both], wanted) else under) if under else over)
    return names


def _score(names: Sequence[str], wanted: Sequence[Names]) -> int:
    """How many of the wanted columns there are."""
    keys = {key for name in names for key in _keys(name)}
    return sum(any(_key(alias) in keys for alias in aliases) for aliases in wanted)


def _is_no_row(cells: list[str], header: list[str], named: list[int], wanted: Sequence[Names]) -> bool:
    """Whether it is a comment or the header once more; `named` are the places of the wanted columns."""
    comment = cells[0].startswith("#") and (_num_cells(cells) == 1 or cells[0].startswith("# "))
    again = len(named) > 1 and all(_score([cells[place]], wanted) for place in named)
    return comment or again or [cell.lower() for cell in cells] == [name.lower() for name in header]


def _unique(names: list[str]) -> list[str]:
    found: Counter[str] = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}.{found[name]}" if found[name] else name)
        found[name] += 1
    return unique


@functools.lru_cache(maxsize=65536)  # a table may have as many columns as there are genes, each looked at many times
def _key(name: str) -> str:
    """A name without what differs between the spellings of one: case, spaces, punctuation, and what `_unique` added."""
    told = unicodedata.normalize("NFKC", re.sub(r"\.\d+$", "", name.strip()))
    return re.sub(r"[\W_]+", "", told.casefold())


def _keys(name: str) -> set[str]:
    """The keys under which a column is found: as it is, and without brackets and years."""
    return {_key(name), _key(re.sub(r"[(\[].*?[)\]]|(?<![^\W_])(19|20)\d\d(?![^\W_])", "", name))} - {""}


def columns(table: pd.DataFrame, named: str, aliases: Names) -> list[str]:
    """The columns of a table that may be meant, the likeliest first.

    Args:
        table: of `tables_of`.
        named: by the user; "" if its usual names are to be tried. One that is named exactly is the only one.
        aliases: the usual names.
    """
    if not named:
        return list(dict.fromkeys(name for alias in aliases for name in table.columns if _key(alias) in _keys(name)))
    plain = _plain(named)
    ways = (lambda name: name, str.casefold, _key)
    for way in ways:
        found = [name for name in table.columns if way(name) == way(plain)]
        if found:
            return found
    return []


def column(table: pd.DataFrame, named: str, aliases: Names) -> str:
    """The name that a column has in a table, the first of `columns`; "" if it has none."""
    return next(iter(columns(table, named, aliases)), "")


def alike(names: Sequence[str]) -> list[str]:
    """Those of the names that differ from the first in case, punctuation, brackets and years alone, with the first."""
    return [name for name in names if name == names[0] or _keys(name) & _keys(names[0])]


def normalise_id(text: str) -> str:
    """A patient's id without what differs between tables and headers: case, and `_`, `-`, spaces between its parts."""
    return "-".join(re.split(r"[\s_\-]+", text.strip().upper())).strip("-")


def is_nothing(text: str) -> bool:
    """Whether a cell says that there is no value: blank, `--`, `NA`, `[Not Available]`, `unknown` and the like."""
    return text.strip("-–— .'\"[](){}<>#…").lower() in _NOTHING


def patients(table: pd.DataFrame, column: str) -> pd.Series:
    """The patient of each row, of `normalise_id`; "" where the row is nobody's."""
    ids = table[column].map(normalise_id).astype(object)
    return ids.where(~ids.isin(_NOBODY), "")


def patient_columns(table: pd.DataFrame, named: str, images: Sequence[str]) -> list[str]:
    """The column of patients, and those that may as well be it because they differ from it in case alone.

    Args:
        table: of `tables_of`.
        named: by the user, or "".
        images: the patients of the images; of several columns the one that has most of them is taken.
    """
    names = columns(table, named, PATIENT)
    ids = {name: patients(table, name) for name in names}
    shared = {name: renamed(ids[name].drop_duplicates(), images).isin(list(images)).sum() for name in names}
    best = max(names, key=lambda name: shared[name], default="")
    same = [name for name in alike([best, *names]) if name != best and any(ids[name])]
    return [best, *(name for name in same if shared[name] == shared[best] and set(ids[name]) != set(ids[best]))]


def renamed(ids: pd.Series, images: Sequence[str]) -> pd.Series:
    """The ids of a table as the images have them; who is not among the images keeps his own.

    Args:
        ids: of `patients`.
        images: their patients, each once.
    """
    there = restored(list(ids), [normalise_id(one) for one in images])
    return identity.renamed(pd.Series(there, ids.index, dtype=object), images)


def restored(ids: Sequence[str], known: Sequence[str]) -> list[str]:
    """Ids as they were before a spreadsheet took them for numbers, and made 7.0 or 7 of 007.

    Args:
        ids: of a table, each of `normalise_id`.
        known: of the images, each of `normalise_id`.

    Returns:
        For each of the ids the known one that it was; itself if that is unknown, or could be several.
    """
    there, numbers = set(known), Counter(_number(one) for one in set(known) if one.isdigit())
    by_number = {_number(one): one for one in known if one.isdigit()}
    found = Counter(filter(None, map(_number, dict.fromkeys(ids))))
    taken = {_number(one) for one in ids if one in there}

    def restore(one: str) -> str:
        number = _number(one)
        if one in there or not number or number in taken:
            return one
        plain = re.sub(r"[.,]0+$", "", one)
        return by_number[number] if numbers[number] == 1 and found[number] == 1 else plain if plain not in ids else one

    return [restore(one) for one in ids]


def apart(table: Sequence[str], images: Sequence[str]) -> str:
    """A few of the ids that only a table has, and of those that only the images have; "" if not both are."""
    if not len(table) or not len(images):
        return ""
    return f"only the table has {some(table)}; only the images have {some(images)}"


def _number(one: str) -> str:
    """The digits of an id that is a number, without zeros before it and `.0` behind; "" if it is none."""
    match = re.fullmatch(r"0*(\d+)(?:[.,]0+)?", one)
    return match[1] if match else ""
