import pandas as pd
import pytest

from tumorprog.cohort import outcomes
from tumorprog.errors import InputError
from tumorprog.tables import OUTCOMES


def written(path, text):
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
def test_a_table_is_read_however_it_is_spelled(tmp_path, text):
    found = outcomes.read_outcomes(written(tmp_path / "outcomes.csv", text))
    assert found.to_numpy().tolist() == [["A-1", "1992-04-02", True], ["B-2", "1993-01-05", False]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("PatientID,when,event\nA,1992-04-02,1\n", r"no column of dates \(looked for date, .*; found PatientID, when"),
        ("PatientID,date\nA,1992-04-02\n", r"no column of events \(looked for event, .*Name the columns PatientID"),
        ("who,date,event\nA,1992-04-02,1\n", r"no column of patients"),
        (
            "PatientID,date,event\nA,1992-04-02,1\nB,04/02/1992,1\n",
            r"row 3: '04/02/1992' is no date; expected one like",
        ),
        ("PatientID,date,event\nA,9999-12-31,0\n", r"row 2: '9999-12-31' is no date"),
        ("PatientID,date,event\nA,1992-04-02,\n", r"row 2: event is ''"),
        (
            "PatientID,Date,DATE,event\nA,1992-04-02,1992-05-02,1\n",
            r"'Date' and 'DATE' differ; name the right one date",
        ),
        ("PatientID,date,event\nA,1992-04-02,2\n", r"row 2: event is '2'; expected 1 \(progressed\) or 0"),
        ("PatientID,date,event\nA,1992-04-02,1\na,1992-05-02,1\n", r"patient A has several outcomes; keep one row"),
    ],
)
def test_what_cannot_be_understood_is_named_with_what_is_expected(tmp_path, text, told):
    with pytest.raises(InputError, match=rf"outcomes\.csv.*{told}"):
        outcomes.read_outcomes(written(tmp_path / "outcomes.csv", text))


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such table of outcomes; name it with --outcomes TABLE"):
        outcomes.read_outcomes(tmp_path / "none.csv")


def test_nobody_is_dropped_and_everyone_has_a_reason():
    first = pd.DataFrame(
        [("a_1", "2000-01-01"), ("B", "2000-01-01"), ("C", ""), ("D", "2000-01-01"), ("E", "2000-01-01")],
        columns=["PatientID", "date"],
    )
    rows = [("A-1", "2000-03-01", True), ("B", "2000-01-01", False), ("C", "2000-02-01", True)]
    rows += [("D", "2000-01-31", False), ("F", "2000-02-01", True)]
    table = pd.DataFrame(rows, columns=["PatientID", "date", "event"])
    found = outcomes.follow(first, table)
    assert tuple(found.columns) == OUTCOMES
    assert found[["PatientID", "status"]].to_numpy().tolist() == [
        ["B", "not after the first images"],
        ["C", "no date"],
        ["D", "followed"],
        ["E", "no outcome"],
        ["F", "no images"],
        ["a_1", "followed"],
    ]
    assert outcomes.unmatched(found) == "only the table has F; only the images have E"
    followed = found[found["status"] == "followed"]
    assert followed["months"].tolist() == pytest.approx([30 / 30.4375, 60 / 30.4375])
    assert followed["event"].tolist() == [0, 1]


def test_a_table_may_spell_the_patients_in_another_way():
    first = pd.DataFrame([("PGBM-001", "2000-01-01"), ("B2", "2000-01-01")], columns=["PatientID", "date"])
    rows = [("PGBM-1", "2000-03-01", True), ("B-02", "2000-04-01", False)]
    found = outcomes.follow(first, pd.DataFrame(rows, columns=["PatientID", "date", "event"]))
    assert found[["PatientID", "status"]].to_numpy().tolist() == [["B2", "followed"], ["PGBM-001", "followed"]]
    twice = pd.DataFrame([("B-2", *rows[0][1:]), ("B2", *rows[1][1:])], columns=["PatientID", "date", "event"])
    with pytest.raises(InputError, match="B2 has several outcomes"):
        outcomes.follow(first, twice)


def test_of_several_columns_of_ids_the_one_of_the_images_is_taken(tmp_path):
    path = written(tmp_path / "o.csv", "Sample,Subject,date,event\nhf 652,X1,1992-04-02,1\nHF702,X2,1993-01-05,0\n")
    known = outcomes.read_outcomes(path, ["HF-0652", "HF-0702"])
    found = outcomes.follow(pd.DataFrame({"PatientID": ["HF-0652", "HF-0702"], "date": "1991-01-01"}), known)
    assert found["status"].tolist() == ["followed", "followed"]
    assert outcomes.read_outcomes(path)["PatientID"].tolist() == ["X1", "X2"]
    path = written(tmp_path / "o.csv", "ID,date,Date,event\nA,1992-04-02,1992-05-02,1\n")
    assert outcomes.read_outcomes(path)["date"].tolist() == ["1992-04-02"]  # named exactly
