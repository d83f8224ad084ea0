"""A table of patients and grades, as it comes -> who takes part in the grading, and why the others do not."""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import Path

import pandas as pd

from tumorprog.cohort import identity, sheets
from tumorprog.errors import InputError
from tumorprog.settings import Cohort
from tumorprog.tables import COHORT, GRADES

_GRADE = (
    "who cns grade",
    "who grade",
    "cns who grade",
    "grade of primary brain tumor",
    "tumor grade",
    "tumour grade",
    "glioma grade",
    "histological grade",
    "histologic grade",
    "pathological grade",
    "final grade",
    "grade",
    "grading",
    "grade oms",
    "grado oms",
    "who graad",
    "grado",
    "graad",
    "who grad",
    "grad",
    "who grading",
)
"""Usual names of the column of grades, the likeliest first; case and what is no letter or digit do not matter."""
_DISEASE = ("disease", "disease type", "histology", "diagnosis", "primary diagnosis", "tumor type", "tumour type")
_INSTITUTION = ("institution", "institution name", "site", "hospital", "center", "centre")

UNCLEAR = "unclear grade"
"""Status of a patient whose grade is written, but in a way of which nobody can tell which one is meant."""

_NO_GRADE = {"", "na", "n/a", "n.a.", "nan", "none", "null", "unknown", "not available", "missing", "#n/a", "-1"}
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4}
_NUMERAL = r"(?:IV|I{1,3}|[1-4])"
_ONE = re.compile(rf"(?<!\w)(?<!\d[.,])({_NUMERAL})(?:[.,]0+)?(?![\w]|[.,]\d)")
_MARK = re.compile(rf"\b(?:WHO|OMS|CNS|GRADE|GRADO?|GRAAD|GR|G)[ .:=#°-]*(?={_NUMERAL}(?!\w))")
_OTHER_NUMBERS = re.compile(r"IDH[ -]?[12]?\b|1P ?/? ?19Q|(?<!\d)(?:19|20)\d\d(?!\d)")
_DOUBT = re.compile(
    r"[?<>≤≥~+±]|\b(?:NOT?|NON|OR|ODER|OU|VS|VERSUS|TO|BIS|LEAST|PROBABL[EY]|POSSIBL[EY]|LIKELY|SUSPECTED|EXCLUDED|"
    r"LOW|HIGH|LGG|HGG|JAN|FEB|MAR|MRZ|APR|MAI|MAY|JUN|JUL|AUG|SEP|OCT|OKT|NOV|DEC|DEZ)\b"
)
"""Words beside which a number is not surely the grade; the names of months, because spreadsheets make dates of 2-3."""
_GLIOBLASTOMA = {"gbm", "glioblastoma", "glioblastoma multiforme"}
_NAMED = 3


def read_grades(path: Path, settings: Cohort, patient_ids: Sequence[str] = ()) -> pd.DataFrame:
    """The patients of a table and their grades.

    Args:
        path: of a table as `sheets.tables_of` reads it; the sheet `report`, or else the first that has the columns.
        settings: `patient_column`, `grade_column`, `gbm_is_grade_4`.
        patient_ids: of the images; of several columns that may be the patients', the one that has most of them is.

    Returns:
        A row per patient: PatientID (normalised), grade (Int64, <NA> if none), Institution, disease and status:
        `graded`, `no grade`, `no grade (glioblastoma)`, `unclear grade` or `out of range`.

    Raises:
        InputError: if the file or a column is missing, most grades cannot be understood, a patient has two, or two
            columns that could be the grades' differ.
    """
    table, columns = _read(path, settings, {sheets.normalise_id(one) for one in patient_ids})
    table = table[table[columns["patient"]].map(sheets.normalise_id) != ""]
    grades = {row: _grade_of_row(text) for row, text in table[columns["grade"]].items()}
    _refuse_unclear(path, table[columns["grade"]], grades)
    found = pd.DataFrame(
        {
            "PatientID": table[columns["patient"]].map(sheets.normalise_id),
            "grade": [grade or None for grade in grades.values()],
            "Institution": table[columns["Institution"]] if columns["Institution"] else "",
            "disease": table[columns["disease"]] if columns["disease"] else "",
            "status": ["" if grade != _UNTOLD else UNCLEAR for grade in grades.values()],
        }
    ).astype({"grade": "Int64"})
    glioblastoma = found["disease"].str.lower().isin(_GLIOBLASTOMA) & found["grade"].isna() & (found["status"] == "")
    if settings.gbm_is_grade_4:
        found.loc[glioblastoma, "grade"] = 4
    statuses = zip(found["grade"], found["disease"], found["status"], strict=True)
    found["status"] = [status or _status(grade, disease) for grade, disease, status in statuses]
    return _one_row_each(path, found).reset_index(drop=True)


def parse_grade(text: str) -> int | None:
    """A WHO grade as people write it: `II`, `2`, `Grade II`, `G2`, `2.0`, `Ⅳ`, `grade IV (WHO 2021)`, `GBM, WHO IV`.

    Returns:
        1 to 4; None for a blank, `--`, `unknown`.

    Raises:
        ValueError: if it is no grade and no way to say that there is none, or leaves open which grade: `II-III`, `LGG`.
    """
    told = " ".join(unicodedata.normalize("NFKC", text).replace("_", " ").split())
    if told.strip("-–— .").lower() in _NO_GRADE or told.lower() in _NO_GRADE:
        return None
    plain = _OTHER_NUMBERS.sub(" ", told.upper())
    marked = _MARK.search(plain) is not None
    plain = _MARK.sub(" ", plain)
    grades = {_ROMAN.get(one) or int(one) for one in _ONE.findall(plain)}
    others = re.search(r"\d", _ONE.sub(" ", plain)) is not None
    if len(grades) != 1 or _DOUBT.search(plain) or (others and not marked):
        raise ValueError(f"{text.strip()!r} is no grade")
    return grades.pop()


def match(patient_ids: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """Joins the patients of the images and those of the table; nobody is dropped.

    Args:
        patient_ids: as in DICOM, each once.
        table: of `read_grades`.

    Returns:
        Rows of `tables.COHORT`: PatientID as in DICOM where there are images. Status is `graded` for those who take
        part, or says why not: `no grade`, `no grade (glioblastoma)`, `unclear grade`, `out of range`, `not in the
        table`, `no images`.

    Raises:
        InputError: if a patient whom the table spells in two ways has two grades.
    """
    restored = sheets.restored(list(table["PatientID"]), [sheets.normalise_id(one) for one in patient_ids])
    known = table.assign(PatientID=identity.renamed(pd.Series(restored, table.index, dtype=object), patient_ids))
    images = pd.DataFrame({"spelled": list(patient_ids), "PatientID": list(patient_ids)}, dtype=object)
    joined = images.merge(_one_row_each("the table of grades", known), on="PatientID", how="outer")
    joined["status"] = joined["status"].fillna("not in the table").where(joined["spelled"].notna(), "no images")
    joined["PatientID"] = joined["spelled"].fillna(joined["PatientID"])
    joined["Institution"] = joined["Institution"].fillna("").replace("", "unknown")
    return joined.sort_values("PatientID", ignore_index=True)[list(COHORT)]


def describe(matched: pd.DataFrame) -> str:
    """One line with the counts of `match`, and what could be done for glioblastomas without a grade."""
    graded = matched.loc[matched["status"] == "graded", "grade"]
    grades = ", ".join(f"{(graded == grade).sum()} of grade {grade}" for grade in GRADES)
    others = matched.loc[matched["status"] != "graded", "status"].value_counts().sort_index()
    left_out = "; ".join(f"{count} {status}" for status, count in others.items())
    told = f"{len(graded)} graded patients ({grades})" + (f"; left out: {left_out}" if left_out else "")
    if (matched["status"] == "no grade (glioblastoma)").any():
        told += "; glioblastomas count as grade 4 with --cohort.gbm_is_grade_4 true"
    unclear = matched.loc[matched["status"] == UNCLEAR, "PatientID"]
    told += f"; {UNCLEAR}: {sheets.some(list(unclear))}" if len(unclear) else ""
    return told + (f"; {apart}" if (apart := unmatched(matched)) else "")


def unmatched(matched: pd.DataFrame) -> str:
    """A few of the ids of `match` that are only in the table, and only among the images; "" if not both are."""
    images = matched.loc[matched["status"] == "not in the table", "PatientID"]
    table = matched.loc[matched["status"] == "no images", "PatientID"]
    return sheets.apart(list(table), list(images))


def _read(path: Path, settings: Cohort, known: set[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such table of grades; name it with --grades TABLE")
    patient, grade = (
        [named] if (named := getattr(settings, f"{what}_column")) else usual
        for what, usual in (("patient", sheets.PATIENT), ("grade", _GRADE))
    )
    found: list[str] = []
    missing = "patient"
    for table in sheets.tables_of(path, (patient, grade)):
        columns = {
            "patient": _patients_of(path, table, settings, known),
            "grade": _grades_of(path, table, settings),
            "disease": sheets.column(table, "", _DISEASE),
            "Institution": sheets.column(table, "", _INSTITUTION),
        }
        if columns["patient"] and columns["grade"]:
            return table, columns
        found += [name for name in table.columns if name not in found]
        missing = "patient" if not columns["patient"] else "grade"
    raise InputError(
        f"{path}: no column of {missing}s (looked for {', '.join(patient if missing == 'patient' else grade)}; "
        f"found {', '.join(filter(None, found))}). Name it: --cohort.{missing}_column NAME"
    )


def _patients_of(path: Path, table: pd.DataFrame, settings: Cohort, known: set[str]) -> str:
    """The column of patients: the one with the most ids of the images, or else the likeliest by name."""
    names = sheets.columns(table, settings.patient_column, sheets.PATIENT)
    ids = {name: {*map(sheets.normalise_id, table[name])} - {""} for name in names}
    shared = {name: len({*sheets.restored(sorted(ids[name]), sorted(known))} & known) for name in names}
    best = max(names, key=lambda name: shared[name], default="")
    same = [name for name in sheets.alike([best, *names]) if name != best and ids[name]]
    if any(shared[name] == shared[best] and ids[name] != ids[best] for name in same):
        raise _two_columns(path, [best, *same], "patient")
    return best


def _grades_of(path: Path, table: pd.DataFrame, settings: Cohort) -> str:
    """The column of grades: the likeliest by name; several that differ in case alone must say the same."""
    names = sheets.columns(table, settings.grade_column, _GRADE)
    names = [name for name in names if any(table[name])] or names
    same = sheets.alike(names) if names else []
    if any(list(map(_grade_of_row, table[name])) != list(map(_grade_of_row, table[same[0]])) for name in same):
        raise _two_columns(path, same, "grade")
    return next(iter(same), "")


def _two_columns(path: Path, names: Sequence[str], what: str) -> InputError:
    return InputError(
        f"{path}: the columns {' and '.join(map(repr, names))} may both be the {what}s', and differ. "
        f"Name one of them as it is written: --cohort.{what}_column {names[0]!r}"
    )


_UNTOLD = 0  # a grade that cannot be told


def _grade_of_row(text: str) -> int | None:
    try:
        return parse_grade(text)
    except ValueError:
        return _UNTOLD


def _refuse_unclear(path: Path, texts: pd.Series, grades: dict[Hashable, int | None]) -> None:
    unclear = [f"{text!r} in row {row}" for row, text in texts.items() if grades[row] == _UNTOLD]
    if len(unclear) * 2 > len(grades):
        raise InputError(
            f"{path}: {len(unclear)} of {len(grades)} grades in the column {texts.name!r} cannot be told: "
            f"{', '.join(unclear[:_NAMED])}; expected II, 2, Grade II, WHO II, G2 or a blank, --, NA for none. "
            "Mend them, or name another column: --cohort.grade_column NAME"
        )


def _one_row_each(path: Path | str, table: pd.DataFrame) -> pd.DataFrame:
    known = table.dropna(subset="grade").drop_duplicates(["PatientID", "grade"])
    twice = known.loc[known["PatientID"].duplicated(), "PatientID"]
    if len(twice):
        grades = sorted(map(int, known.loc[known["PatientID"] == twice.iloc[0], "grade"]))
        raise InputError(f"{path}: patient {twice.iloc[0]} has the grades {grades}; keep one row for each patient")
    # an unclear grade beside a clear one may be another
    unclear_first = table.assign(clear=table["status"] != UNCLEAR).sort_values(
        ["clear", "grade"], na_position="last", kind="stable"
    )
    return unclear_first.drop(columns="clear").drop_duplicates("PatientID").sort_values("PatientID", kind="stable")


def _status(grade: int | None, disease: str) -> str:
    if pd.isna(grade):
        return "no grade (glioblastoma)" if disease.lower() in _GLIOBLASTOMA else "no grade"
    return "graded" if grade in GRADES else "out of range"
