import zipfile

import openpyxl
import pytest

from tumorprog.cohort import clinical, outcomes, sheets
from tumorprog.cohort.settings import Cohort
from tumorprog.errors import InputError

ROWS = [["Patient_ID", "Hôpital", "WHO CNS Grade"], ["P-001", "Münster", "Ⅳ"], ["P-002", "Orléans", "２"]]
PLAIN = [["Patient_ID", "Hôpital", "WHO CNS Grade"], ["P-001", "Münster", "IV"], ["P-002", "Orléans", "2"]]


def text_of(rows, separator=",", end="\n"):
    return end.join(separator.join(row) for row in rows) + end


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def read_grades(path, settings=None, ids=()):
    table = clinical.read_grades(path, settings or Cohort(), ids)
    return {row.PatientID: row.grade for row in table.itertuples()}


def workbook(path, rows_by_sheet, merged=()):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in rows_by_sheet.items():
        page = book.create_sheet(name)
        for row in rows:
            page.append(row)
        for cells in merged:
            page.merge_cells(cells)
    book.save(path)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_text_is_read_in_every_encoding_and_with_every_separator(tmp_path, encoding, separator):
    path = write(tmp_path / "grades.txt", text_of(ROWS, separator), encoding)
    assert read_grades(path) == {"P-001": 4, "P-002": 2}
    assert list(sheets.read_tables(path)[0]["Hôpital"]) == ["Münster", "Orléans"]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_text_in_windows_1252_and_latin_1_is_read(tmp_path, encoding):
    path = write(tmp_path / "grades.csv", text_of(PLAIN, ";"), encoding)
    assert list(sheets.read_tables(path)[0]["Hôpital"]) == ["Münster", "Orléans"]


def test_big_endian_utf_16_text_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "grades.tsv"
    path.write_bytes(b"\xfe\xff" + text_of(ROWS, "\t", "\r\n").encode("utf-16-be"))
    assert read_grades(path) == {"P-001": 4, "P-002": 2}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_endings_are_read(tmp_path, end):
    assert read_grades(write(tmp_path / "grades.csv", text_of(PLAIN, ",", end))) == {"P-001": 4, "P-002": 2}


@pytest.mark.parametrize(
    "text",
    [
        "Cohort of 2021; all, or nearly all\n\nID;Alter;Grade\nA;50,5;II\nB;61,2;IV\n",
        "# exported, 2021-03-02\n# by hand\nID,Age,Grade\nA,50,II\n# half, of them\nB,61,IV\n",
        "sep=;\nID;Age;Grade\nA;50;II\nB;61;IV\n",
        "#ID,Age,Grade\nA,50,II\nB,61,IV\n",
        'ID,"Age\n(years)","WHO\nGrade"\nA,50,II\nB,61,IV\n',
        'ID,note,Grade\nA,"two\nlines, and ""quotes""",II\nB,,IV\n',
        "ID,Age,Grade\n,(years),(WHO)\nA,50,II\n,,\nB,61,IV\n",
        "ID,Age,Grade\n-,years,-\nA,50,II\n\n\nB,61,IV\n",
        "ID,Age,Grade\nA,50,II\nID,Age,Grade\nB,61,IV\n",
        "Patient,,Tumour,\nID,Age,Type,Grade\nA,50,x,II\nB,61,x,IV\n",
        "Patient ID,Tumour,\n,Type,Grade\nA,x,II\nB,x,IV\n",
        "Subject ID,WHO,\n,Type,Grade\nA,x,II\nB,x,IV\n",
        "\ufeff\u00a0Subject\u00a0ID\u200b ,Tumor  Grade\nA,II\u00a0\nB,IV\n",
        "Unnamed,ID,Grade\n0,A,II\n1,B,IV\n",
        "ID,Grade,,\nA,II,,\nB,IV,,\n",
        "ID,Grade\nA,II,x,y\nB,IV\n",
        "#Patient ID\tTumor Grade\n#who\tGrade\n#STRING\tSTRING\n#1\t1\nPATIENT_ID\tGRADE\nA\tG2\nB\tG4\n",
        "record_id,who_grade\nRecord ID,WHO Grade\nA,Grade II\nB,Grade IV\n",
        'ID,Grade\n="A",="2"\n"=""B""",4\n',
        "ID,Grade\n'A,'2\n'B','IV'\n",
        '"ID,Grade"\n"A,2"\n"B,4"\n',
        '"note;ID;Grade"\n";A;2"\n";B;4"\n',
        "ID,Grade\nA,2\n#N/A,3\nNA,2\nB,4\nnan,3\n",
        "Page 1 of patients\nPatient\tGrade\nA\tII\nB\tIV\n",
    ],
)
def test_the_header_is_found_among_titles_comments_and_units(tmp_path, text):
    assert read_grades(write(tmp_path / "grades.csv", text)) == {"A": 2, "B": 4}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "WHO CNS Grade",
            "Grade of Primary Brain Tumor",
            "Tumor Grade",
            "Grade",
            "WHO_GRADE",
            "tumour.grade",
            "GRADE ",
        ),
        *("Grade (WHO 2021)", "WHO-Grade", "WHO Grad", "WHO grade [2016]", "WHO 2021 grade", "Ｇｒａｄｅ"),
        *("WHO_grade_2021", "Neoplasm Histologic Grade", "diagnoses.tumor_grade", "Grade WHO", "Glioma WHO grade"),
    ],
)
def test_the_grade_column_is_found_by_common_names(tmp_path, name):
    assert read_grades(write(tmp_path / "grades.csv", f"ID,{name}\nA,3\n")) == {"A": 3}


@pytest.mark.parametrize(
    "name",
    [
        *("ID", "Subject ID", "Patient_ID", "SubjectID", "Patient", "Subject", "PatientID", "participant_id", "Case"),
        *(
            "Sample",
            "Patient ID*",
            "patient-id",
            "id_patient",
            "BraTS Subject ID",
            "Patienten-ID",
            "#ID",
            "Patient No.",
            *(
                "Patient Identifier",
                "case_submitter_id",
                "cases.submitter_id",
                "bcr_patient_barcode",
                "Pt ID",
                "Pat.-Nr.",
            ),
        ),
    ],
)
def test_the_patient_column_is_found_by_common_names(tmp_path, name):
    assert read_grades(write(tmp_path / "grades.csv", f"Age,{name},Grade\n50,A,3\n")) == {"A": 3}


def test_the_sheet_with_both_columns_is_found_at_any_position(tmp_path):
    dictionary = [["Column", "Meaning"], ["Patient_ID", "who"], ["Grade of Primary Brain Tumor", "1 to 4"]]
    rows = [["Patient_ID", "Age", "Grade of Primary Brain Tumor"], ["P_1", 50, 4], ["P_2", 51, 2.0]]
    path = workbook(tmp_path / "c.xlsx", {"empty": [], "Data Dictionary": dictionary, "MU Glioma Post": rows})
    assert read_grades(path) == {"P-1": 4, "P-2": 2}


def test_a_workbook_with_merged_cells_and_titles_is_read(tmp_path):
    rows = [
        ["Our cohort", None, None, None],
        [None, None, None, None],
        ["Patient ID", "Pathology", None, "Age"],
        [None, "Diagnosis", "WHO grade", None],
        [None, None, "(I-IV)", "(years)"],
        ["A", "GBM", "IV", 50],
        ["B", "x", 2, 51],
    ]
    path = workbook(tmp_path / "c.xlsx", {"Sheet1": rows}, merged=["A1:D1", "A3:A4", "B3:C3", "D3:D4"])
    assert read_grades(path) == {"A": 4, "B": 2}


def test_the_format_is_detected_from_the_content_and_not_the_extension(tmp_path):
    book = workbook(tmp_path / "c.xlsx", {"one": PLAIN}).rename(tmp_path / "c.csv")
    assert read_grades(book) == {"P-001": 4, "P-002": 2}
    assert read_grades(write(tmp_path / "d.xlsx", text_of(PLAIN))) == {"P-001": 4, "P-002": 2}


@pytest.mark.parametrize(
    "content",
    [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), b"<html><table>", b"PK\3\4mimetype", b"a\0,b\1c" * 3, b""],
)
def test_the_error_for_a_file_that_is_not_a_table_lists_the_supported_formats(tmp_path, content):
    path = tmp_path / "grades.xls"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"grades\.xls.*(provide xlsx, csv or tab-separated text|no patient column)"):
        clinical.read_grades(path, Cohort())


def test_an_exact_name_selects_between_columns_that_differ_in_case(tmp_path):
    path = write(tmp_path / "grades.csv", "ID,grade,Grade\nA,2,3\nB,4,4\n")
    assert read_grades(path, Cohort(grade_column="Grade")) == {"A": 3, "B": 4}
    assert read_grades(path, Cohort(grade_column="grade")) == {"A": 2, "B": 4}
    with pytest.raises(InputError, match=r"columns 'grade' and 'Grade'.*differ.*--cohort\.grade_column 'grade'"):
        clinical.read_grades(path, Cohort())
    with pytest.raises(InputError, match=r"columns 'grade' and 'Grade'"):
        clinical.read_grades(path, Cohort(grade_column="GRADE"))


def test_grades_of_two_who_editions_require_a_choice_by_the_user(tmp_path):
    path = write(tmp_path / "grades.csv", "ID,WHO 2016 grade,WHO 2021 grade\nA,2,3\n")
    with pytest.raises(InputError, match=r"columns 'WHO 2016 grade' and 'WHO 2021 grade'.*differ"):
        clinical.read_grades(path, Cohort())
    assert read_grades(path, Cohort(grade_column="WHO 2021 grade")) == {"A": 3}


@pytest.mark.parametrize(
    "text",
    [
        "ID,grade,GRADE\nA,2,II\n",
        "ID,Grade,Grade\nA,2,2\n",
        "ID,grade ,Grade\nA,,2\n",
        "ID,Grade,WHO CNS Grade\nA,2,\n",
    ],
)
def test_similar_columns_with_equal_grades_are_accepted(tmp_path, text):
    assert read_grades(write(tmp_path / "grades.csv", text)) == {"A": 2}


def test_a_repeated_column_name_can_be_selected_by_its_suffix(tmp_path):
    path = write(tmp_path / "grades.csv", "ID,Grade,Grade\nA,2,3\n")
    with pytest.raises(InputError, match=r"columns 'Grade' and 'Grade\.1'"):
        clinical.read_grades(path, Cohort())
    assert read_grades(path, Cohort(grade_column="Grade.1")) == {"A": 3}


@pytest.mark.parametrize("header", ["Sample,PatientID", "PatientID,Sample", "ID,Subject", "id,ID"])
def test_the_id_column_that_matches_the_images_is_used(tmp_path, header):
    path = write(tmp_path / "grades.csv", f"{header},Grade\nS1,P_1,2\nS2,P_2,3\n")
    assert read_grades(path, ids=["p-1", "P 2"]) == {"P-1": 2, "P-2": 3}
    assert read_grades(path, ids=["S1", "X"]) == {"S1": 2, "S2": 3}


def test_without_images_patient_columns_take_precedence_over_sample_columns(tmp_path):
    path = write(tmp_path / "grades.csv", "Sample,PatientID,Grade\nS1,P1,2\n")
    assert read_grades(path) == {"P1": 2}
    with pytest.raises(InputError, match=r"columns 'id' and 'ID' may both be the patient column"):
        clinical.read_grades(write(tmp_path / "two.csv", "id,ID,Grade\nA,B,2\n"), Cohort())


@pytest.mark.parametrize(
    ("ids", "known", "restored"),
    [
        (["7", "12"], ["007", "012"], ["007", "012"]),
        (["7.0", "12.0"], ["7", "12"], ["7", "12"]),
        (["7.0", "12.00"], ["007", "012"], ["007", "012"]),
        (["007"], ["7"], ["7"]),
        (["7"], ["07", "007"], ["7"]),  # ambiguous
        (["7", "7.0"], ["7"], ["7", "7.0"]),
        (["7", "07"], ["007"], ["7", "07"]),
        (["7", "007"], ["007"], ["7", "007"]),
        (["P-7", "7.5", "1.0"], ["P-07", "1.0"], ["P-7", "7.5", "1.0"]),
        (["0"], ["000"], ["000"]),
    ],
)
def test_ids_that_a_spreadsheet_converted_to_numbers_are_restored_if_unambiguous(ids, known, restored):
    assert sheets.restore_ids(ids, known) == restored


def test_numeric_ids_of_a_workbook_match_the_images(tmp_path):
    path = workbook(tmp_path / "c.xlsx", {"one": [["ID", "Grade"], [7, 4.0], [12, 2]]})
    matched = clinical.match(["007", "012"], clinical.read_grades(path, Cohort(), ["007", "012"]))
    assert matched[["PatientID", "grade", "status"]].to_numpy().tolist() == [["007", 4, "graded"], ["012", 2, "graded"]]


def test_unmatched_ids_of_the_table_and_of_the_images_are_reported(tmp_path):
    path = write(tmp_path / "grades.csv", "ID,Grade\n" + "".join(f"GLI-{n},2\n" for n in range(5)))
    text = clinical.unmatched(clinical.match(["HF0652", "HF0702"], clinical.read_grades(path, Cohort())))
    assert text == "only in the table: GLI-0, GLI-1, GLI-2, GLI-3 and 1 more; only in the images: HF0652, HF0702"


@pytest.mark.parametrize(
    ("dates", "iso"),
    [
        (["1992-04-02 00:00:00", "1992-04-13T10:00:00"], ["1992-04-02", "1992-04-13"]),
        (["02.04.1992", "13.04.1992"], ["1992-04-02", "1992-04-13"]),
        (["02/04/1992", "13/04/1992"], ["1992-04-02", "1992-04-13"]),
        (["04/02/1992", "04/13/1992"], ["1992-04-02", "1992-04-13"]),
        (["2 Apr 1992", "13-Apr-1992"], ["1992-04-02", "1992-04-13"]),
        (["April 2, 1992", "1992/04/13"], ["1992-04-02", "1992-04-13"]),
        (["33696", "33707.0"], ["1992-04-02", "1992-04-13"]),
        (["4/2/1992 0:00", "4/13/1992 12:00:00 AM"], ["1992-04-02", "1992-04-13"]),
        (["02-04-1992", "13-04-1992"], ["1992-04-02", "1992-04-13"]),
        (["1992年4月2日", "1992.04.13"], ["1992-04-02", "1992-04-13"]),
    ],
)
def test_unambiguous_dates_of_outcomes_are_parsed(tmp_path, dates, iso):
    rows = [["# outcomes", "", ""], ["Patient ID", "Date", "Event"], ["A", dates[0], "1"], ["B", dates[1], "0"]]
    found = outcomes.read_outcomes(write(tmp_path / "o.csv", text_of(rows, ";"), "utf-16"))
    assert found["date"].tolist() == iso


def test_dates_with_an_ambiguous_order_of_day_and_month_are_rejected(tmp_path):
    path = write(tmp_path / "o.csv", "ID,date,event\nA,04/02/1992,1\nB,05/02/1992,0\n")
    with pytest.raises(InputError, match=r"row 2: '04/02/1992' is not a valid date"):
        outcomes.read_outcomes(path)


@pytest.mark.parametrize("text", ['A,"left,2\nB,,4\n', 'A,"left,2\nB,"x",3\nC,,4\n'])
def test_an_unclosed_quote_that_would_lose_rows_is_rejected(tmp_path, text):
    with pytest.raises(InputError, match=r"grades\.csv.*row 2: a quote is not closed"):
        clinical.read_grades(write(tmp_path / "grades.csv", f"ID,note,Grade\n{text}"), Cohort())


def test_a_workbook_with_delimited_text_in_single_cells_is_read(tmp_path):
    path = workbook(tmp_path / "c.xlsx", {"one": [["ID;WHO-Grad"], ["A;2"], ["B;IV"]]})
    assert read_grades(path) == {"A": 2, "B": 4}


def test_a_column_of_row_numbers_is_not_used_as_the_patient_column(tmp_path):
    path = write(tmp_path / "grades.csv", "ID,Sample,Grade\n1,hf 652,2\n2,hf 702,3\n")
    assert read_grades(path, ids=["HF0652", "HF0702"]) == {"HF-652": 2, "HF-702": 3}


def test_submitter_ids_take_precedence_over_internal_ids_of_an_archive(tmp_path):
    path = write(tmp_path / "clinical.tsv", "case_id\tcase_submitter_id\ttumor_grade\n0b1c-4\tTCGA-02-0001\tG4\n")
    assert read_grades(path) == {"TCGA-02-0001": 4}


@pytest.mark.parametrize("header", ["#,PatientID,Grade", "#PatientID,Subject,Grade"])
def test_a_number_sign_in_the_header_does_not_turn_rows_into_comments(tmp_path, header):
    path = write(tmp_path / "t.csv", f"{header}\n#1,P1,II\n2,P2,III\n")
    assert read_grades(path, ids=["P1", "P2"]) == {"P1": 2, "P2": 3}


@pytest.mark.no_cover
def test_a_quote_that_is_open_only_with_another_separator_is_accepted(tmp_path):
    rows = [
        ["patient", "note", "grade"],
        *([f"P{n}", 'left frontal, "5 cm' if n == 3 else "-", "II"] for n in range(9000)),
    ]
    assert len(read_grades(write(tmp_path / "t.tsv", text_of(rows, "\t")))) == 9000


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml"])
def test_a_truncated_workbook_is_rejected(tmp_path, part):
    complete, truncated = workbook(tmp_path / "t.xlsx", {"report": PLAIN}), tmp_path / "truncated.xlsx"
    with zipfile.ZipFile(complete) as source, zipfile.ZipFile(truncated, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[: len(content) // 2] if name == part else content)
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_grades(truncated)


@pytest.mark.no_cover
def test_a_table_with_thousands_of_columns_is_read(tmp_path):
    names = [f"gene {n}" for n in range(5000)]
    path = write(tmp_path / "t.csv", text_of([["patient", *names, "grade"], ["P1", *("1" for _ in names), "II"]]))
    assert read_grades(path) == {"P1": 2}
