import pandas as pd
import pytest

from tumorprog.cohort import outcomes
from tumorprog.cohort.columns import OUTCOMES
from tumorprog.errors import InputError


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "PatientID,date,event\nA-1,1992-04-02,1\nB 2,1993-01-05,0\n",
        "event;Follow_up;subject_id\n yes ; 1992-04-02 ; a_1\nNo;1993-01-05;b 2\n",
        "ID,date,event\nA-1,2-Apr-92,1:PROGRESSION\nb-2,1993.01.05,0:CENSORED\nC,,\nD,NA,0\n#N/A,1992-04-02,1\n",
        "record_id,date,event\nRecord ID,Date,Event\nA-1,19920402.0,T\nB-2,33974.5,F\n",
        "PatientID\tdate\tprogressed\nA-1\t1992-04-02 00:00:00\tTrue\nB-2\t19930105\tfalse\nA-1\t1992-04-02\t1\n",
    ],
)
def test_common_notations_of_a_table_are_read(tmp_path, text):
    found = outcomes.read_outcomes(write(tmp_path / "outcomes.csv", text))
    assert found.to_numpy().tolist() == [["A-1", "1992-04-02", True], ["B-2", "1993-01-05", False]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PatientID,when,event\nA,1992-04-02,1\n", r"no date column \(looked for date, .*; found PatientID, when"),
        ("PatientID,date\nA,1992-04-02\n", r"no event column \(looked for event, .*Name the columns PatientID"),
        ("who,date,event\nA,1992-04-02,1\n", r"no patient column"),
        (
            "PatientID,date,event\nA,1992-04-02,1\nB,04/02/1992,1\n",
            r"row 3: '04/02/1992' is not a valid date; expected a date such as",
        ),
        ("PatientID,date,event\nA,9999-12-31,0\n", r"row 2: '9999-12-31' is not a valid date"),
        ("PatientID,date,event\nA,1992-04-02,\n", r"row 2: event is ''"),
        (
            "PatientID,Date,DATE,event\nA,1992-04-02,1992-05-02,1\n",
            r"'Date' and 'DATE' differ; rename the correct one to date",
        ),
        ("PatientID,date,event\nA,1992-04-02,2\n", r"row 2: event is '2'; expected 1 \(progressed\) or 0"),
        ("PatientID,date,event\nA,1992-04-02,1\na,1992-05-02,1\n", r"patient A has several outcomes; keep one row"),
    ],
)
def test_the_error_for_an_invalid_table_gives_the_expected_value(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"outcomes\.csv.*{message}"):
        outcomes.read_outcomes(write(tmp_path / "outcomes.csv", text))


def test_the_error_for_a_missing_table_names_the_option(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: table of outcomes not found; specify it with --outcomes TABLE"):
        outcomes.read_outcomes(tmp_path / "none.csv")


def test_matching_keeps_all_patients_and_gives_a_status():
    first = pd.DataFrame(
        [("a_1", "2000-01-01"), ("B", "2000-01-01"), ("C", ""), ("D", "2000-01-01"), ("E", "2000-01-01")],
        columns=["PatientID", "date"],
    )
    rows = [("A-1", "2000-03-01", True), ("B", "2000-01-01", False), ("C", "2000-02-01", True)]
    rows += [("D", "2000-01-31", False), ("F", "2000-02-01", True)]
    table = pd.DataFrame(rows, columns=["PatientID", "date", "event"])
    found = outcomes.match(first, table)
    assert tuple(found.columns) == OUTCOMES
    assert found[["PatientID", "status"]].to_numpy().tolist() == [
        ["B", "not after the first images"],
        ["C", "no date"],
        ["D", "followed"],
        ["E", "no outcome"],
        ["F", "no images"],
        ["a_1", "followed"],
    ]
    assert outcomes.unmatched(found) == "only in the table: F; only in the images: E"
    followed = found[found["status"] == "followed"]
    assert followed["months"].tolist() == pytest.approx([30 / 30.4375, 60 / 30.4375])
    assert followed["event"].tolist() == [0, 1]


def test_patients_may_be_spelled_differently_in_the_table():
    first = pd.DataFrame([("PGBM-001", "2000-01-01"), ("B2", "2000-01-01")], columns=["PatientID", "date"])
    rows = [("PGBM-1", "2000-03-01", True), ("B-02", "2000-04-01", False)]
    found = outcomes.match(first, pd.DataFrame(rows, columns=["PatientID", "date", "event"]))
    assert found[["PatientID", "status"]].to_numpy().tolist() == [["B2", "followed"], ["PGBM-001", "followed"]]
    twice = pd.DataFrame([("B-2", *rows[0][1:]), ("B2", *rows[1][1:])], columns=["PatientID", "date", "event"])
    with pytest.raises(InputError, match="B2 has several outcomes"):
        outcomes.match(first, twice)


def test_the_id_column_that_matches_the_images_is_used(tmp_path):
    path = write(tmp_path / "o.csv", "Sample,Subject,date,event\nhf 652,X1,1992-04-02,1\nHF702,X2,1993-01-05,0\n")
    known = outcomes.read_outcomes(path, ["HF-0652", "HF-0702"])
    found = outcomes.match(pd.DataFrame({"PatientID": ["HF-0652", "HF-0702"], "date": "1991-01-01"}), known)
    assert found["status"].tolist() == ["followed", "followed"]
    assert outcomes.read_outcomes(path)["PatientID"].tolist() == ["X1", "X2"]
    path = write(tmp_path / "o.csv", "ID,date,Date,event\nA,1992-04-02,1992-05-02,1\n")
    assert outcomes.read_outcomes(path)["date"].tolist() == ["1992-04-02"]  # an exact name takes precedence
