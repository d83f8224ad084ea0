"""Read the table of patients and grades, and determine which patients are graded and why the others are excluded."""

import re
import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog.cohort import pathology, sheets
from tumorprog.cohort.columns import COHORT, PATHOLOGY
from tumorprog.cohort.settings import Cohort
from tumorprog.conventions import GRADES
from tumorprog.errors import InputError, shorten

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
    "neoplasm histologic grade",
    "histopathological grade",
    "diagnoses tumor grade",
    "glioma who grade",
    "tumor who grade",
    "tumour who grade",
    "integrated who grade",
    "integrated grade",
    "grade who",
    "pathological grade",
    "pathologic grade",
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
"""Common names of the grade column, the most likely first; case, spaces and punctuation are ignored."""
_DISEASE = ("disease", "disease type", "histology", "diagnosis", "primary diagnosis", "tumor type", "tumour type")
_INSTITUTION = ("institution", "institution name", "site", "hospital", "center", "centre")

UNCLEAR = "unclear grade"
"""Status of a patient whose grade is given but ambiguous."""

_NO_GRADE = {"gx", "not graded", "not assessed"}
_SUFFIXES = re.compile("[_º°ª级級]")
"""Characters that some languages write after the number of a grade."""
_MISSING_CODE = re.compile(r"[-−]\d+([.,]0+)?")
"""A negative number, which is a code for a missing value."""
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4}
_NUMERAL = r"(?:IV|I{1,3}|[1-4])"
_GRADE_NUMBER = re.compile(rf"(?<!\w)(?<!\d[.,])({_NUMERAL})(?:[.,]0+)?(?![\w]|[.,]\d)")
_PREFIX = re.compile(rf"\b(?:WHO|OMS|CNS|GRADE|GRADO?|GRAAD|GR|G)[ .:=#°-]*(?={_NUMERAL}(?!\w))")
_OTHER_NUMBERS = re.compile(r"IDH[ -]?[12]?\b|1P ?/? ?19Q|(?<!\d)(?:19|20)\d\d(?!\d)")
_AMBIGUOUS = re.compile(
    r"[?<>≤≥~+±]|\b(?:IV|I{1,3}|[1-4])[A-D]\b|\b(?:NOT?|NON|OR|ODER|OU|VS|VERSUS|TO|BIS|LEAST|PROBABL[EY]|POSSIBL[EY]|"
    r"LIKELY|SUSPECTED|EXCLUDED|"
    r"JAN|FEB|MAR|MRZ|APR|MAI|MAY|JUN|JUL|AUG|SEP|OCT|OKT|NOV|DEC|DEZ)\b"
)
"""Numerals that may not be a grade (`IIIa`), and words that make a number uncertain. The names of months are included
because spreadsheets convert 2-3 to a date."""
_GRADE_RANGES = {"LOW": {1, 2}, "LGG": {1, 2}, "HIGH": {3, 4}, "HGG": {3, 4}}
"""Terms for a range of grades; next to a grade outside this range, the text is ambiguous."""
_GLIOBLASTOMA = {"gbm", "glioblastoma", "glioblastoma multiforme"}
_CHOOSE = "--cohort.grade_column NAME selects the column to use"

MATCHED = (*COHORT, "other_grade")
"""Columns of `match`."""


def read_grades(path: Path, settings: Cohort, patient_ids: Sequence[str] = ()) -> pd.DataFrame:
    """Read the patients and their grades from a table.

    Args:
        path: a table that `sheets.read_tables` can read; the sheet `report`, or else the first with both columns.
        settings: `patient_column`, `grade_column`, `grade_edition`, `gbm_is_grade_4`.
        patient_ids: patients of the images; of several possible patient columns, the one with most of them is used.

    Returns:
        A row per patient: PatientID (normalised), grade (Int64, <NA> if none), Institution, disease, status:
        `graded`, `no grade`, `no grade (glioblastoma)`, `unclear grade` or `out of range`; and other_grade: a
        different grade in another grade column, "" if there is none or `grade_column` is set; and the columns
        `PATHOLOGY`, "" where the table does not state them.

    Raises:
        InputError: if the file or a column is missing, most grades cannot be parsed, a patient has two grades, or two
            possible grade columns differ.
    """
    table, columns = _read(path, settings, patient_ids)
    table = table[sheets.patients(table, columns["patient"]) != ""]
    grades = {row: _parse_or_unclear(text) for row, text in table[columns["grade"]].items()}
    _refuse_unclear(path, table[columns["grade"]], grades)
    patients = pd.DataFrame(
        {
            "PatientID": sheets.patients(table, columns["patient"]),
            "grade": [grade or None for grade in grades.values()],
            "Institution": table[columns["Institution"]] if columns["Institution"] else "",
            "disease": table[columns["disease"]] if columns["disease"] else "",
            "status": ["" if grade != _UNCLEAR_GRADE else UNCLEAR for grade in grades.values()],
            "other_grade": "" if settings.grade_column else _other_grades(table, columns["grade"], grades),
        }
    ).astype({"grade": "Int64"})
    patients = patients.join(pathology.read_pathology(table, edition=settings.grade_edition))
    glioblastoma = (
        patients["disease"].str.lower().isin(_GLIOBLASTOMA) & patients["grade"].isna() & (patients["status"] == "")
    )
    if settings.gbm_is_grade_4:
        patients.loc[glioblastoma, "grade"] = 4
    statuses = zip(patients["grade"], patients["disease"], patients["status"], strict=True)
    patients["status"] = [status or _status(grade, disease) for grade, disease, status in statuses]
    return _one_row_per_patient(path, patients).reset_index(drop=True)


def parse_grade(text: str) -> int | None:
    """Parse a WHO grade: `II`, `2`, `Grade II`, `G2`, `2.0`, `Ⅳ`, `grade IV (WHO 2021)`, `GBM, WHO IV`.

    Returns:
        1 to 4; None for a blank, `--`, `unknown`.

    Raises:
        ValueError: if the text is neither a grade nor a missing value, or is ambiguous: `II-III`, `LGG`.
    """
    cleaned = " ".join(unicodedata.normalize("NFKC", _SUFFIXES.sub(" ", text)).split())
    if sheets.is_missing(cleaned) or cleaned.lower() in _NO_GRADE or _MISSING_CODE.fullmatch(cleaned):
        return None
    remaining = _OTHER_NUMBERS.sub(" ", cleaned.upper())
    has_prefix = _PREFIX.search(remaining) is not None
    remaining = _PREFIX.sub(" ", remaining)
    grades = {_ROMAN.get(numeral) or int(numeral) for numeral in _GRADE_NUMBER.findall(remaining)}
    has_other_digits = re.search(r"\d", _GRADE_NUMBER.sub(" ", remaining)) is not None
    ranges = [values for term, values in _GRADE_RANGES.items() if re.search(rf"\b{term}\b", remaining)]
    ambiguous = _AMBIGUOUS.search(remaining) or not all(grades <= values for values in ranges)
    if len(grades) != 1 or ambiguous or (has_other_digits and not has_prefix):
        raise ValueError(f"{text.strip()!r} is not a valid grade")
    return grades.pop()


def match(patient_ids: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """Join the patients of the images with those of the table, keeping the patients of both.

    Args:
        patient_ids: unique IDs as in DICOM.
        table: from `read_grades`.

    Returns:
        Columns `MATCHED`: PatientID as in DICOM if the patient has images. Status is `graded` for included patients,
        otherwise the reason for exclusion: `no grade`, `no grade (glioblastoma)`, `unclear grade`, `out of range`,
        `not in the table`, `no images`. other_grade is that of `read_grades`.

    Raises:
        InputError: if a patient who appears under two spellings in the table has two grades.
    """
    renamed = table.assign(PatientID=sheets.to_image_ids(table["PatientID"], patient_ids))
    images = pd.DataFrame({"spelled": list(patient_ids), "PatientID": list(patient_ids)}, dtype=object)
    joined = images.merge(_one_row_per_patient("the table of grades", renamed), on="PatientID", how="outer")
    joined["status"] = joined["status"].fillna("not in the table").where(joined["spelled"].notna(), "no images")
    joined["PatientID"] = joined["spelled"].fillna(joined["PatientID"])
    joined["Institution"] = joined["Institution"].fillna("").replace("", "unknown")
    texts = ["other_grade", *PATHOLOGY]
    joined[texts] = joined[texts].fillna("")
    return joined.sort_values("PatientID", ignore_index=True)[list(MATCHED)]


def describe(matched: pd.DataFrame) -> str:
    """Return one line with the counts of `match`, and advice on glioblastomas without a grade."""
    graded = matched.loc[matched["status"] == "graded", "grade"]
    grades = ", ".join(f"{(graded == grade).sum()} of grade {grade}" for grade in GRADES)
    others = matched.loc[matched["status"] != "graded", "status"].value_counts().sort_index()
    excluded = "; ".join(f"{count} {status}" for status, count in others.items())
    line = f"{len(graded)} graded patients ({grades})" + (f"; excluded: {excluded}" if excluded else "")
    if (matched["status"] == "no grade (glioblastoma)").any():
        line += "; to count glioblastomas as grade 4, set --cohort.gbm_is_grade_4 true"
    unclear = matched.loc[matched["status"] == UNCLEAR, "PatientID"]
    line += f"; {UNCLEAR}: {shorten(list(unclear))}" if len(unclear) else ""
    conflicting = [f"{row['PatientID']} ({row['other_grade']})" for row in _with_conflicting_grades(matched)]
    if conflicting:
        line += f"; {len(conflicting)} with a different grade in another column: {shorten(conflicting)}; {_CHOOSE}"
    return line + (f"; {examples}" if (examples := unmatched(matched)) else "")


def findings(matched: pd.DataFrame) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the problems with the grades of `match`: columns `inventory.FINDINGS`."""
    for row in _with_conflicting_grades(matched):
        grade = "none" if pd.isna(row["grade"]) else row["grade"]
        detail = f"{row['other_grade']}; {grade} is used; {_CHOOSE}"
        yield ("different grade in another column", row["PatientID"], "", "", detail)


def _with_conflicting_grades(matched: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return matched[(matched["other_grade"] != "") & (matched["status"] != "no images")].to_dict("records")


def unmatched(matched: pd.DataFrame) -> str:
    """Return examples of the IDs that only the table or only the images have; "" unless there are both."""
    images = matched.loc[matched["status"] == "not in the table", "PatientID"]
    table = matched.loc[matched["status"] == "no images", "PatientID"]
    return sheets.describe_unmatched(list(table), list(images))


def _read(path: Path, settings: Cohort, image_ids: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: table of grades not found; specify it with --grades TABLE")
    patient, grade = (
        [given] if (given := getattr(settings, f"{kind}_column")) else aliases
        for kind, aliases in (("patient", sheets.PATIENT), ("grade", _GRADE))
    )
    found: list[str] = []
    missing = "patient"
    for table in sheets.read_tables(path, (patient, grade)):
        columns = {
            "patient": _patient_column(path, table, settings, image_ids),
            "grade": _grade_column(path, table, settings),
            "disease": sheets.column(table, "", _DISEASE),
            "Institution": sheets.column(table, "", _INSTITUTION),
        }
        if columns["patient"] and columns["grade"]:
            return table, columns
        found += [name for name in table.columns if name not in found]
        missing = "patient" if not columns["patient"] else "grade"
    raise InputError(
        f"{path}: no {missing} column (looked for {shorten(patient if missing == 'patient' else grade)}; "
        f"found {', '.join(filter(None, found))}). Specify it with --cohort.{missing}_column NAME"
    )


def _patient_column(path: Path, table: pd.DataFrame, settings: Cohort, image_ids: Sequence[str]) -> str:
    best, *others = sheets.patient_columns(table, settings.patient_column, image_ids)
    if others:
        raise _ambiguous_columns(path, [best, *others], "patient")
    return best


def _grade_column(path: Path, table: pd.DataFrame, settings: Cohort) -> str:
    """Return the grade column with the most likely name; columns with similar names must have equal grades."""
    names = sheets.columns(table, settings.grade_column, _GRADE)
    names = [name for name in names if any(table[name])] or names
    similar = sheets.similar_names(names) if names else []
    if any(
        list(map(_parse_or_unclear, table[name])) != list(map(_parse_or_unclear, table[similar[0]])) for name in similar
    ):
        raise _ambiguous_columns(path, similar, "grade")
    return next(iter(similar), "")


def _other_grades(table: pd.DataFrame, chosen: str, grades: dict[Hashable, int | None]) -> list[str]:
    """Return, for each row, the different grades in the other grade columns; "" if there are none."""
    by_column = {name: list(map(_parse_or_unclear, table[name])) for name in sheets.columns(table, "", _GRADE)}
    rows = zip(*([(name, grade) for grade in column] for name, column in by_column.items()), strict=True)
    return [
        ", ".join(f"{grade} in {name!r}" for name, grade in row if name != chosen and grade and grade != used)
        for row, used in zip(rows, grades.values(), strict=True)
    ]


def _ambiguous_columns(path: Path, names: Sequence[str], kind: str) -> InputError:
    return InputError(
        f"{path}: the columns {' and '.join(map(repr, names))} may both be the {kind} column, but they differ. "
        f"Specify the exact name of one of them: --cohort.{kind}_column {names[0]!r}"
    )


_UNCLEAR_GRADE = 0


def _parse_or_unclear(text: str) -> int | None:
    try:
        return parse_grade(text)
    except ValueError:
        return _UNCLEAR_GRADE


def _refuse_unclear(path: Path, texts: pd.Series, grades: dict[Hashable, int | None]) -> None:
    unclear = [f"{text!r} in row {row}" for row, text in texts.items() if grades[row] == _UNCLEAR_GRADE]
    if len(unclear) * 2 > len(grades):
        raise InputError(
            f"{path}: {len(unclear)} of {len(grades)} grades in the column {texts.name!r} cannot be parsed: "
            f"{shorten(unclear)}; expected II, 2, Grade II, WHO II, G2, or a blank, -- or NA if there is no grade. "
            "Correct them, or select another column with --cohort.grade_column NAME"
        )


def _one_row_per_patient(path: Path | str, table: pd.DataFrame) -> pd.DataFrame:
    graded = table.dropna(subset="grade").drop_duplicates(["PatientID", "grade"])
    duplicated = graded.loc[graded["PatientID"].duplicated(), "PatientID"]
    if len(duplicated):
        grades = sorted(map(int, graded.loc[graded["PatientID"] == duplicated.iloc[0], "grade"]))
        raise InputError(f"{path}: patient {duplicated.iloc[0]} has the grades {grades}; keep one row per patient")
    # An unclear grade is kept rather than a clear one, because it may be a different grade.
    unclear_first = table.assign(clear=table["status"] != UNCLEAR, same=table["other_grade"] == "").sort_values(
        ["clear", "grade", "same"], na_position="last", kind="stable"
    )
    return (
        unclear_first.drop(columns=["clear", "same"])
        .drop_duplicates("PatientID")
        .sort_values("PatientID", kind="stable")
    )


def _status(grade: int | None, disease: str) -> str:
    if pd.isna(grade):
        return "no grade (glioblastoma)" if disease.lower() in _GLIOBLASTOMA else "no grade"
    return "graded" if grade in GRADES else "out of range"
