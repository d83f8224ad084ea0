"""A table of patients and grades, as it comes -> who takes part in the grading, and why the others do not."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tumorprog.cohort import identity, sheets
from tumorprog.errors import InputError
from tumorprog.settings import Cohort
from tumorprog.tables import COHORT, GRADES

_GRADE = ("grade", "who_grade", "who grade", "tumor grade", "tumour grade", "tumor_grade", "tumour_grade")
_DISEASE = ("disease", "disease_type", "histology", "diagnosis")
_INSTITUTION = ("institution", "institution_name", "site", "hospital", "center", "centre")

_NO_GRADE = {"", "-", "--", "na", "n/a", "nan", "none", "null", "unknown", "not available", "?"}
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4}
_GRADE_PATTERN = re.compile(r"(?:WHO)?\s*(?:GRADE|G)?\s*(IV|I{1,3}|[1-4])(?:\.0)?$")
_GLIOBLASTOMA = {"gbm", "glioblastoma", "glioblastoma multiforme"}


def read_grades(path: Path, settings: Cohort) -> pd.DataFrame:
    """The patients of a table and their grades.

    Args:
        path: xlsx (the sheet `report`, or else the first that has the columns), or text with commas, tabs or
            semicolons. Names and values may be surrounded by spaces, as in REMBRANDT's.
        settings: `patient_column`, `grade_column`, `gbm_is_grade_4`.

    Returns:
        A row per patient: PatientID (normalised), grade (Int64, <NA> if none), Institution, disease and status:
        `graded`, `no grade`, `no grade (glioblastoma)` or `out of range`.

    Raises:
        InputError: if the file or a column is missing, a grade cannot be understood, or a patient has two.
    """
    table, columns = _read(path, settings)
    found = pd.DataFrame(
        {
            "PatientID": table[columns["patient"]].map(sheets.normalise_id),
            "grade": [_grade_of_row(path, row, text) for row, text in enumerate(table[columns["grade"]], start=2)],
            "Institution": table[columns["Institution"]] if columns["Institution"] else "",
            "disease": table[columns["disease"]] if columns["disease"] else "",
        }
    ).astype({"grade": "Int64"})
    found = found[found["PatientID"] != ""]
    glioblastoma = found["disease"].str.lower().isin(_GLIOBLASTOMA) & found["grade"].isna()
    if settings.gbm_is_grade_4:
        found.loc[glioblastoma, "grade"] = 4
    found = _one_row_each(path, found)
    statuses = zip(found["grade"], found["disease"], strict=True)
    return found.assign(status=[_status(grade, disease) for grade, disease in statuses]).reset_index(drop=True)


def parse_grade(text: str) -> int | None:
    """A WHO grade as people write it: `II`, `2`, `Grade II`, `WHO II`, `G2`, `2.0`; None for a blank, `--`, `unknown`.

    Raises:
        ValueError: if it is neither a grade nor a way to say that there is none.
    """
    told = text.strip()
    if told.lower() in _NO_GRADE:
        return None
    match = _GRADE_PATTERN.match(" ".join(told.upper().replace("_", " ").split()))
    if match is None:
        raise ValueError(f"{told!r} is no grade")
    return _ROMAN.get(match[1]) or int(match[1])


def match(patient_ids: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """Joins the patients of the images and those of the table; nobody is dropped.

    Args:
        patient_ids: as in DICOM, each once.
        table: of `read_grades`.

    Returns:
        Rows of `tables.COHORT`: PatientID as in DICOM where there are images. Status is `graded` for those who take
        part, or says why not: `no grade`, `no grade (glioblastoma)`, `out of range`, `not in the table`, `no images`.

    Raises:
        InputError: if a patient whom the table spells in two ways has two grades.
    """
    known = table.assign(PatientID=identity.renamed(table["PatientID"], patient_ids))
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
    return told


def _read(path: Path, settings: Cohort) -> tuple[pd.DataFrame, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such table of grades; name it with --grades TABLE")
    found: list[str] = []
    for table in sheets.tables_of(path):
        columns = {
            "patient": sheets.column(table, settings.patient_column, sheets.PATIENT),
            "grade": sheets.column(table, settings.grade_column, _GRADE),
            "disease": sheets.column(table, "", _DISEASE),
            "Institution": sheets.column(table, "", _INSTITUTION),
        }
        if columns["patient"] and columns["grade"]:
            return table, columns
        found += [name for name in table.columns if name not in found]
        missing = "patient" if not columns["patient"] else "grade"
    looked_for = sheets.PATIENT if missing == "patient" else _GRADE
    named = getattr(settings, f"{missing}_column")
    raise InputError(
        f"{path}: no column of {'patients' if missing == 'patient' else 'grades'} (looked for "
        f"{named or ', '.join(looked_for)}; found {', '.join(found)}). Name it: --cohort.{missing}_column NAME"
    )


def _grade_of_row(path: Path, row: int, text: str) -> int | None:
    try:
        return parse_grade(text)
    except ValueError as error:
        raise InputError(
            f"{path}, row {row}: {error}; expected II, 2, Grade II, WHO II, G2 or a blank, --, NA, unknown for none"
        ) from error


def _one_row_each(path: Path | str, table: pd.DataFrame) -> pd.DataFrame:
    known = table.dropna(subset="grade").drop_duplicates(["PatientID", "grade"])
    twice = known.loc[known["PatientID"].duplicated(), "PatientID"]
    if len(twice):
        grades = sorted(map(int, known.loc[known["PatientID"] == twice.iloc[0], "grade"]))
        raise InputError(f"{path}: patient {twice.iloc[0]} has the grades {grades}; keep one row for each patient")
    graded_first = table.sort_values("grade", na_position="last", kind="stable")
    return graded_first.drop_duplicates("PatientID").sort_values("PatientID", kind="stable")


def _status(grade: int | None, disease: str) -> str:
    if pd.isna(grade):
        return "no grade (glioblastoma)" if disease.lower() in _GLIOBLASTOMA else "no grade"
    return "graded" if grade in GRADES else "out of range"
