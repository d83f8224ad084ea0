import openpyxl
import pandas as pd
import pytest

from tumorprog.cohort import clinical
from tumorprog.cohort.settings import Cohort
from tumorprog.errors import InputError


def workbook(path, rows, sheet="report"):
    book = openpyxl.Workbook()
    book.active.title = "about"
    book.active.append(["nothing", "here"])
    page = book.create_sheet(sheet)
    for row in rows:
        page.append(row)
    book.save(path)
    return path


REMBRANDT = [
    ["Sample", " Age", " Disease", " Grade", " Institution"],
    ["900_00_1961", " 50", " GBM", " --", " Thomas Jefferson University"],
    ["HF0652", " 41", " GBM", " IV", " Henry Ford Hospital"],
    ["HF0702", " 33", " OLIGODENDROGLIOMA", " II", " Henry Ford Hospital"],
    ["HF0899", " 60", " --", " --", " Henry Ford Hospital"],
    ["HF0900", " 30", " ASTROCYTOMA", " I", " Henry Ford Hospital"],
]


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        *(("II", 2), (" III", 3), ("IV", 4), ("2", 2), ("2.0", 2), ("Grade II", 2), ("grade 3", 3), ("WHO II", 2)),
        *(("WHO grade IV", 4), ("WHO_GRADE_3", 3), ("G2", 2), ("g4", 4), ("I", 1)),
        *(("Ⅳ", 4), ("ⅲ", 3), ("４", 4), ("Grade\u00a0Ⅱ", 2), ("②", 2), ("IV.", 4), ("3,0", 3), ("WHO°III", 3)),
        *(("grade IV (WHO 2021)", 4), ("GBM, WHO IV", 4), ("WHO grade 4", 4), ("4.0", 4), ("WHO CNS Grade 2", 2)),
        *(("WHO CNS5 grade 3", 3), ("Astrocytoma, IDH-mutant, grade 3", 3), ("IDH-1 mutant grade 4", 4)),
        *(("Oligodendroglioma, 1p/19q codeleted, grade II", 2), ("GBM IV", 4), ("glioblastoma (IV)", 4), ("WHO°4", 4)),
        *(("WHO-Grad III", 3), ("grade IV, Ki-67 30%", 4), ("GIII", 3), ("grado III OMS", 3), ("WHO4", 4)),
        *(("#N/A", None), ("N.A.", None), ("-1", None), ("–", None), ("not available", None)),
        *(
            ("IVº", 4),
            ("2ª", 2),
            ("WHO Ⅳ级", 4),
            ("Ⅱ級", 2),
            ("LGG (II)", 2),
            ("High grade, WHO IV", 4),
            ("G4 (high)", 4),
        ),
        *(
            ("Not Reported", None),
            ("[Not Available]", None),
            ("'--", None),
            ("GX", None),
            ("k.A.", None),
            ("<NA>", None),
        ),
        *(("-1.0", None), ("-99", None), ("−9", None), (".", None), ("(null)", None)),
        *(("--", None), ("", None), ("-", None), ("NA", None), ("unknown", None), (" Unknown ", None), ("nan", None)),
    ],
)
def test_common_notations_of_a_grade_are_parsed(text, grade):
    assert clinical.parse_grade(text) == grade


@pytest.mark.parametrize(
    "text",
    [
        *("V", "5", "high", "II-III", "0", "2/3", "LGG", "HGG", "low grade", "?", "3 or 4", "3?", ">2", "II to III"),
        *(
            "at least 3",
            "grade 2, then 3",
            "G2-G3",
            "Ⅱ/Ⅲ",
            "2-Mar",
            "2020-03-02 00:00:00",
            "2.5",
            "no grade 4",
            "5 (IV)",
            *("Ⅱ-Ⅲ级", "II-IIIa", "grade 2, 3a", "IIIA", "low grade (IV)", "HGG, grade 2", "high or low, 3"),
        ),
    ],
)
def test_text_that_is_not_a_grade_is_rejected(text):
    with pytest.raises(ValueError, match="not a valid grade"):
        clinical.parse_grade(text)


def test_the_published_spreadsheet_is_read_without_changes(tmp_path):
    table = clinical.read_grades(workbook(tmp_path / "clinical.xlsx", REMBRANDT), Cohort()).set_index("PatientID")
    assert table["status"].to_dict() == {
        "900-00-1961": "no grade (glioblastoma)",
        "HF0652": "graded",
        "HF0702": "graded",
        "HF0899": "no grade",
        "HF0900": "out of range",
    }
    assert table["grade"]["HF0652"] == 4
    assert table["Institution"]["HF0652"] == "Henry Ford Hospital"


def test_glioblastomas_count_as_grade_4_if_the_setting_is_on(tmp_path):
    table = clinical.read_grades(workbook(tmp_path / "c.xlsx", REMBRANDT), Cohort(gbm_is_grade_4=True))
    assert table.set_index("PatientID")["grade"]["900-00-1961"] == 4


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_text_tables_of_other_releases_are_read(tmp_path, separator):
    path = tmp_path / "grades.txt"
    rows = [["SUBJECT_ID", "DISEASE_TYPE", "WHO_GRADE"], ["hf0652", "GBM", "IV"], ["HF 0702", "", "unknown"]]
    path.write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    table = clinical.read_grades(path, Cohort()).set_index("PatientID")
    assert table["grade"]["HF0652"] == 4
    assert table["status"]["HF-0702"] == "no grade"


def test_columns_can_be_specified_in_the_settings(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("who,how bad\nP1,3\n")
    with pytest.raises(InputError, match=r"no patient column.*found who, how bad.*--cohort\.patient_column NAME"):
        clinical.read_grades(path, Cohort())
    with pytest.raises(InputError, match=r"no grade column.*--cohort\.grade_column NAME"):
        clinical.read_grades(path, Cohort(patient_column="who"))
    table = clinical.read_grades(path, Cohort(patient_column="who", grade_column="how bad"))
    assert table[["PatientID", "grade"]].to_numpy().tolist() == [["P1", 3]]


def test_patients_with_an_unclear_grade_are_listed(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("patient,disease,grade\nP1,,II\nP2,,II-III\nP3,GBM,HGG\nP4,,--\nP5,,III\nP5,,2/3\nP6,,3\n")
    table = clinical.read_grades(path, Cohort(gbm_is_grade_4=True))
    assert dict(zip(table["PatientID"], table["status"], strict=True)) == {
        "P1": "graded",
        "P2": "unclear grade",
        "P3": "unclear grade",
        "P4": "no grade",
        "P5": "unclear grade",
        "P6": "graded",
    }
    assert table["grade"].isna().tolist() == [False, True, True, True, True, False]
    line = clinical.describe(clinical.match([f"P{n}" for n in range(1, 7)], table))
    assert "3 unclear grade" in line
    assert "unclear grade: P2, P3, P5" in line


def test_a_grade_column_with_mostly_invalid_grades_is_rejected(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("patient,grade\nP1,II\nP2,high\nP3,LGG\n")
    with pytest.raises(InputError, match=r"2 of 3 grades.*'grade'.*'high' in row 3, 'LGG' in row 4.*grade_column NAME"):
        clinical.read_grades(path, Cohort())


def test_a_patient_with_two_grades_is_rejected_and_repeated_equal_grades_are_one_row(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("patient,grade\nP_1,II\np-1,3\n")
    with pytest.raises(InputError, match=r"patient P-1 has the grades \[2, 3\]"):
        clinical.read_grades(path, Cohort())
    path.write_text("patient,grade\nP_1,\np-1,2\nP 1,II\n")
    assert clinical.read_grades(path, Cohort())[["PatientID", "grade"]].to_numpy().tolist() == [["P-1", 2]]


def test_matching_keeps_all_patients_and_gives_the_reason_for_exclusion(tmp_path):
    table = clinical.read_grades(workbook(tmp_path / "clinical.xlsx", REMBRANDT), Cohort())
    matched = clinical.match(["900-00-1961", "HF0652", "HF0899", "HF0900", "ELSE"], table).set_index("PatientID")
    assert matched["status"].to_dict() == {
        "900-00-1961": "no grade (glioblastoma)",
        "ELSE": "not in the table",
        "HF0652": "graded",
        "HF0702": "no images",
        "HF0899": "no grade",
        "HF0900": "out of range",
    }
    line = clinical.describe(matched.reset_index())
    assert "1 graded patients (0 of grade 2, 0 of grade 3, 1 of grade 4)" in line
    assert "--cohort.gbm_is_grade_4 true" in line


def test_patients_may_be_spelled_differently_in_the_table(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("patient,grade\npgbm_1,2\nPGBM 02,3\nP01,4\nP1,2\nhf0652,4\n")
    table = clinical.read_grades(path, Cohort())
    matched = clinical.match(["PGBM-001", "PGBM-002", "P1", "HF-652"], table).set_index("PatientID")
    assert matched["grade"].to_dict() == {"PGBM-001": 2, "PGBM-002": 3, "P1": 2, "P01": 4, "HF-652": 4}
    assert matched.loc["P01", "status"] == "no images"


def test_a_patient_with_two_spellings_in_the_table_has_one_grade(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("patient,grade\nHF 0652,2\nHF0652,2\n")
    assert clinical.match(["HF0652"], clinical.read_grades(path, Cohort()))["grade"].tolist() == [2]
    path.write_text("patient,grade\nHF 0652,2\nHF0652,3\n")
    with pytest.raises(InputError, match=r"HF0652 has the grades \[2, 3\]"):
        clinical.match(["HF0652"], clinical.read_grades(path, Cohort()))


def test_the_error_for_a_missing_or_unreadable_table_gives_advice(tmp_path):
    with pytest.raises(InputError, match="--grades TABLE"):
        clinical.read_grades(tmp_path / "none.csv", Cohort())
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(b"PK but not a workbook")
    with pytest.raises(InputError, match="cannot be read as a table"):
        clinical.read_grades(broken, Cohort())


def test_the_order_of_rows_does_not_matter(tmp_path):
    forward = clinical.read_grades(workbook(tmp_path / "a.xlsx", REMBRANDT), Cohort())
    reverse = clinical.read_grades(workbook(tmp_path / "b.xlsx", [REMBRANDT[0], *REMBRANDT[:0:-1]]), Cohort())
    pd.testing.assert_frame_equal(forward, reverse)


def test_patients_with_a_different_grade_in_another_column_are_counted_and_listed(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("ID,Grade,WHO CNS Grade\nA,2,4\nB,3,III\nC,2,\nD,--,2\nE,3,4\n")
    matched = clinical.match(list("ABCD"), clinical.read_grades(path, Cohort()))
    assert matched["grade"].tolist() == [4, 3, pd.NA, 2, 4]
    assert "2 with a different grade in another column: A (2 in 'Grade'), C (2 in 'Grade')" in clinical.describe(
        matched
    )
    assert [(found[1], found[4].split(";")[1]) for found in clinical.findings(matched)] == [
        ("A", " 4 is used"),
        ("C", " none is used"),
    ]
    matched = clinical.match(list("ABCD"), clinical.read_grades(path, Cohort(grade_column="Grade")))
    assert matched["grade"].tolist() == [2, 3, 2, pd.NA, 3]
    assert list(clinical.findings(matched)) == []
