"""A table of patients and grades, as it comes -> who takes part in the grading, and why the others do not."""

import re
import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog.cohort import sheets
from tumorprog.errors import InputError, some
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
"""Usual names of the column of grades, the likeliest first; case and what is no letter or digit do not matter."""
_DISEASE = ("disease", "disease type", "histology", "diagnosis", "primary diagnosis", "tumor type", "tumour type")
_INSTITUTION = ("institution", "institution name", "site", "hospital", "center", "centre")

UNCLEAR = "unclear grade"
"""Status of a patient whose grade is written, but in a way of which nobody can tell which one is meant."""

_NO_GRADE = {"gx", "not graded", "not assessed"}
_BEHIND = re.compile("[_º°ª级級]")
"""What some languages write behind a number of a grade."""
_CODE = re.compile(r"[-−]\d+([.,]0+)?")
"""A negative number, which is a code for a missing value."""
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4}
_NUMERAL = r"(?:IV|I{1,3}|[1-4])"
_ONE = re.compile(rf"(?<!\w)(?<!\d[.,])({_NUMERAL})(?:[.,]0+)?(?![\w]|[.,]\d)")
_MARK = re.compile(rf"\b(?:WHO|OMS|CNS|GRADE|GRADO?|GRAAD|GR|G)[ .:=#°-]*(?={_NUMERAL}(?!\w))")
_OTHER_NUMBERS = re.compile(r"IDH[ -]?[12]?\b|1P ?/? ?19Q|(?<!\d)(?:19|20)\d\d(?!\d)")
_DOUBT = re.compile(
    r"[?<>≤≥~+±]|\b(?:IV|I{1,3}|[1-4])[A-D]\b|\b(?:NOT?|NON|OR|ODER|OU|VS|VERSUS|TO|BIS|LEAST|PROBABL[EY]|POSSIBL[EY]|"
    r"LIKELY|SUSPECTED|EXCLUDED|"
    r"JAN|FEB|MAR|MRZ|APR|MAI|MAY|JUN|JUL|AUG|SEP|OCT|OKT|NOV|DEC|DEZ)\b"
)
"""What is not surely a grade (`IIIa`), and words beside which a number is not: the names of months are there because
spreadsheets make dates of 2-3."""
_SIDES = {"LOW": {1, 2}, "LGG": {1, 2}, "HIGH": {3, 4}, "HGG": {3, 4}}
"""Words that go with some grades, and beside any other leave open which one is meant."""
_GLIOBLASTOMA = {"gbm", "glioblastoma", "glioblastoma multiforme"}
_CHOOSE = "--cohort.grade_column NAME says which column counts"

MATCHED = (*COHORT, "other_grade")
"""Columns of `match`."""


def read_grades(path: Path, settings: Cohort, patient_ids: Sequence[str] = ()) -> pd.DataFrame:
    """The patients of a table and their grades.

    Args:
        path: of a table as `sheets.tables_of` reads it; the sheet `report`, or else the first that has the columns.
        settings: `patient_column`, `grade_column`, `gbm_is_grade_4`.
        patient_ids: of the images; of several columns that may be the patients', the one that has most of them is.

    Returns:
        A row per patient: PatientID (normalised), grade (Int64, <NA> if none), Institution, disease, status:
        `graded`, `no grade`, `no grade (glioblastoma)`, `unclear grade` or `out of range`; and other_grade: what
        another column of grades says instead, "" if none does or `grade_column` is named.

    Raises:
        InputError: if the file or a column is missing, most grades cannot be understood, a patient has two, or two
            columns that could be the grades' differ.
    """
    table, columns = _read(path, settings, patient_ids)
    table = table[sheets.patients(table, columns["patient"]) != ""]
    grades = {row: _grade_of_row(text) for row, text in table[columns["grade"]].items()}
    _refuse_unclear(path, table[columns["grade"]], grades)
    found = pd.DataFrame(
        {
            "PatientID": sheets.patients(table, columns["patient"]),
            "grade": [grade or None for grade in grades.values()],
            "Institution": table[columns["Institution"]] if columns["Institution"] else "",
            "disease": table[columns["disease"]] if columns["disease"] else "",
            "status": ["" if grade != _UNTOLD else UNCLEAR for grade in grades.values()],
            "other_grade": "" if settings.grade_column else _other_grades(table, columns["grade"], grades),
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
    told = " ".join(unicodedata.normalize("NFKC", _BEHIND.sub(" ", text)).split())
    if sheets.is_nothing(told) or told.lower() in _NO_GRADE or _CODE.fullmatch(told):
        return None
    plain = _OTHER_NUMBERS.sub(" ", told.upper())
    marked = _MARK.search(plain) is not None
    plain = _MARK.sub(" ", plain)
    grades = {_ROMAN.get(one) or int(one) for one in _ONE.findall(plain)}
    others = re.search(r"\d", _ONE.sub(" ", plain)) is not None
    sides = [side for word, side in _SIDES.items() if re.search(rf"\b{word}\b", plain)]
    doubt = _DOUBT.search(plain) or not all(grades <= side for side in sides)
    if len(grades) != 1 or doubt or (others and not marked):
        raise ValueError(f"{text.strip()!r} is no grade")
    return grades.pop()


def match(patient_ids: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """Joins the patients of the images and those of the table; nobody is dropped.

    Args:
        patient_ids: as in DICOM, each once.
        table: of `read_grades`.

    Returns:
        Columns `MATCHED`: PatientID as in DICOM where there are images. Status is `graded` for those who take
        part, or says why not: `no grade`, `no grade (glioblastoma)`, `unclear grade`, `out of range`, `not in the
        table`, `no images`. other_grade is that of `read_grades`.

    Raises:
        InputError: if a patient whom the table spells in two ways has two grades.
    """
    known = table.assign(PatientID=sheets.renamed(table["PatientID"], patient_ids))
    images = pd.DataFrame({"spelled": list(patient_ids), "PatientID": list(patient_ids)}, dtype=object)
    joined = images.merge(_one_row_each("the table of grades", known), on="PatientID", how="outer")
    joined["status"] = joined["status"].fillna("not in the table").where(joined["spelled"].notna(), "no images")
    joined["PatientID"] = joined["spelled"].fillna(joined["PatientID"])
    joined["Institution"] = joined["Institution"].fillna("").replace("", "unknown")
    joined["other_grade"] = joined["other_grade"].fillna("")
    return joined.sort_values("PatientID", ignore_index=True)[list(MATCHED)]


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
    told += f"; {UNCLEAR}: {some(list(unclear))}" if len(unclear) else ""
    twice = [f"{row['PatientID']} ({row['other_grade']})" for row in _twice_graded(matched)]
    if twice:
        told += f"; {len(twice)} with another grade in another column: {some(twice)}; {_CHOOSE}"
    return told + (f"; {apart}" if (apart := unmatched(matched)) else "")


def findings(matched: pd.DataFrame) -> Iterator[tuple[str, str, str, str, str]]:
    """What is odd about the grades of `match`: columns `inventory.FINDINGS`."""
    for row in _twice_graded(matched):
        grade = "none" if pd.isna(row["grade"]) else row["grade"]
        told = f"{row['other_grade']}; {grade} is used; {_CHOOSE}"
        yield ("another grade in another column", row["PatientID"], "", "", told)


def _twice_graded(matched: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return matched[(matched["other_grade"] != "") & (matched["status"] != "no images")].to_dict("records")


def unmatched(matched: pd.DataFrame) -> str:
    """A few of the ids of `match` that are only in the table, and only among the images; "" if not both are."""
    images = matched.loc[matched["status"] == "not in the table", "PatientID"]
    table = matched.loc[matched["status"] == "no images", "PatientID"]
    return sheets.apart(list(table), list(images))


def _read(path: Path, settings: Cohort, images: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
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
            "patient": _patients_of(path, table, settings, images),
            "grade": _grades_of(path, table, settings),
            "disease": sheets.column(table, "", _DISEASE),
            "Institution": sheets.column(table, "", _INSTITUTION),
        }
        if columns["patient"] and columns["grade"]:
            return table, columns
        found += [name for name in table.columns if name not in found]
        missing = "patient" if not columns["patient"] else "grade"
    raise InputError(
        f"{path}: no column of {missing}s (looked for {some(patient if missing == 'patient' else grade)}; "
        f"found {', '.join(filter(None, found))}). Name it: --cohort.{missing}_column NAME"
    )


def _patients_of(path: Path, table: pd.DataFrame, settings: Cohort, images: Sequence[str]) -> str:
    best, *same = sheets.patient_columns(table, settings.patient_column, images)
    if same:
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


def _other_grades(table: pd.DataFrame, chosen: str, grades: dict[Hashable, int | None]) -> list[str]:
    """What the other columns of grades say of each row where they say another one; "" where none does."""
    others = {name: list(map(_grade_of_row, table[name])) for name in sheets.columns(table, "", _GRADE)}
    rows = zip(*([(name, grade) for grade in told] for name, told in others.items()), strict=True)
    return [
        ", ".join(f"{grade} in {name!r}" for name, grade in row if name != chosen and grade and grade != used)
        for row, used in zip(rows, grades.values(), strict=True)
    ]


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
            f"{some(unclear)}; expected II, 2, Grade II, WHO II, G2 or a blank, --, NA for none. "
            "Mend them, or name another column: --cohort.grade_column NAME"
        )


def _one_row_each(path: Path | str, table: pd.DataFrame) -> pd.DataFrame:
    known = table.dropna(subset="grade").drop_duplicates(["PatientID", "grade"])
    twice = known.loc[known["PatientID"].duplicated(), "PatientID"]
    if len(twice):
        grades = sorted(map(int, known.loc[known["PatientID"] == twice.iloc[0], "grade"]))
        raise InputError(f"{path}: patient {twice.iloc[0]} has the grades {grades}; keep one row for each patient")
    # an unclear grade beside a clear one may be another
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
