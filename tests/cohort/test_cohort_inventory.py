import pandas as pd
import pytest

from tumorprog.cohort import inventory
from tumorprog.cohort.columns import COHORT


def series(*rows):
    defaults = {"cohort": "progression", "PatientID": "P1", "StudyDate": "1991-01-01", "Type": "T1post"}
    defaults |= {"sequence": "T1post", "plane": "axial", "stacks": 1, "slices": 20, "files": 20}
    defaults |= {"witnesses": "texts,physics", "contradiction": ""}
    defaults |= {"missing": 0, "repeated": 0, "warned": 0, "redated": 0, "joined": 0}
    numbered = ({**defaults, "SeriesInstanceUID": f"1.{number}", **row} for number, row in enumerate(rows))
    return pd.DataFrame(numbered, columns=list(inventory.SERIES))


def complete_patient(name, *dates):
    return [
        {"PatientID": name, "StudyDate": date, "sequence": sequence}
        for date in dates
        for sequence in ("T1post", "FLAIR")
    ]


def found(*rows, patients=None):
    findings = inventory.check(series(*rows), patients, min_gap_days=14)
    return {(row.finding.split(":")[0], row.PatientID, row.date) for row in findings.itertuples()}


def test_the_counts_add_up():
    table = series(
        {"stacks": 3}, {"sequence": "FLAIR", "plane": "coronal", "files": 1}, {"plane": "coronal", "warned": 3}
    )
    quarantine = pd.DataFrame({"reason": ["empty", "not_mr", "empty"]})
    summary = inventory.count(table, quarantine, num_found=44)
    assert summary["found"] == summary["used"] + summary["quarantined"] == 44
    assert (summary["slices"], summary["patients"], summary["dates"], summary["series"]) == (60, 1, 1, 3)
    assert summary["stacks"] == 5
    assert summary["sequences"] == {"FLAIR": {"coronal": 1}, "T1post": {"axial": 1, "coronal": 1}}
    assert summary["reasons"] == {"empty": 2, "not_mr": 1}
    assert summary["cohorts"] == {"progression": 60}
    text = inventory.describe(summary)
    assert "44 files found = 41 used + 3 quarantined" in text
    assert "1 axial, 1 coronal" in text


def test_an_empty_catalogue_can_be_described():
    summary = inventory.count(series(), pd.DataFrame({"reason": []}), num_found=0)
    assert "0 files found = 0 used + 0 quarantined" in inventory.describe(summary)


def test_a_valid_data_set_has_no_findings():
    assert found(*complete_patient("P1", "1991-01-01", "1991-03-01")) == set()
    findings = inventory.check(series(), None, min_gap_days=14)
    assert inventory.describe_findings(findings) == "no problems found in this data set"


@pytest.mark.parametrize("dates", [["1991-01-01"], ["1991-01-01", "1991-01-08"]])
def test_a_patient_with_one_time_point_is_reported(dates):
    assert {finding[:2] for finding in found(*complete_patient("P1", *dates))} == {("patient with one date", "P1")}


def test_a_date_without_t1post_or_flair_is_reported():
    rows = complete_patient("P1", "1991-01-01", "1991-03-01")
    assert found(*rows[:-1]) == {("date without T1post or FLAIR", "P1", "1991-03-01")}


def test_series_are_counted_by_the_sources_of_evidence_that_agree():
    table = series({}, {}, {"witnesses": "texts"}, {"witnesses": "", "sequence": "other"})
    summary = inventory.count(table, pd.DataFrame({"reason": []}), num_found=80)
    assert summary["witnesses"] == {"": 1, "texts": 1, "texts,physics": 2}
    lines = inventory.describe(summary).splitlines()
    block = lines[lines.index("series by sources of evidence that agree on the sequence") + 1 :][:3]
    assert [line.split() for line in block] == [["none", "1"], ["texts", "1"], ["texts,physics", "2"]]


def test_a_series_with_contradictory_evidence_is_listed():
    contradictory = {"contradiction": "texts say T2, physics says T1", "Type": "AX T2"}
    text = inventory.describe_findings(
        inventory.check(
            series(*complete_patient("P1", "1991-01-01", "1991-03-01"), contradictory), None, min_gap_days=14
        )
    )
    assert text.splitlines() == [
        "series with contradictory evidence for its sequence: 1",
        "  P1 1991-01-01 (AX T2: texts say T2, physics says T1; classified as T1post)",
    ]


def test_masks_do_not_count_as_a_date():
    rows = [*complete_patient("P1", "1991-01-01"), {"StudyDate": "1991-03-01", "sequence": "mask"}]
    assert ("patient with one date", "P1", "") in found(*rows)


def test_images_without_a_date_are_reported():
    rows = [*complete_patient("P1", "1991-01-01", "1991-03-01"), {"StudyDate": ""}]
    assert ("images without a date", "P1", "") in found(*rows)


def test_a_folder_named_with_a_different_date_is_reported():
    rows = complete_patient("P1", "1991-01-01", "1991-03-01")
    rows[2]["redated"] = 20
    assert found(*rows) == {("folder date differs from the header date", "P1", "1991-03-01")}


def test_a_series_with_missing_slices_is_reported_in_either_cohort():
    gap = {"missing": 3, "cohort": "grading", "PatientID": "G"}
    patients = pd.DataFrame([("G", 2, "H", "graded")], columns=list(COHORT[:4]))
    assert found(gap, patients=patients) == {("series with missing slices", "G", "1991-01-01")}


def test_a_grading_cohort_needs_a_table_and_excluded_patients_are_reported():
    rows = [{"cohort": "grading", "PatientID": name} for name in ("A", "B")]
    patients = pd.DataFrame([("A", 2, "H", "graded"), ("B", None, "H", "no grade")], columns=list(COHORT[:4]))
    assert found(*rows, patients=patients) == {("patient excluded from grading", "B", "")}
    unclear = patients.assign(status=["graded", "unclear grade"])
    assert found(*rows, patients=unclear) == {("unclear grade", "B", "")}
    assert found(*rows) == {("no table of grades", "", "")}


def test_only_the_first_findings_of_each_kind_are_shown_with_their_total_number():
    rows = [row for number in range(9) for row in complete_patient(f"P{number}", "1991-01-01")]
    lines = inventory.describe_findings(inventory.check(series(*rows), None, min_gap_days=14)).splitlines()
    assert lines[0].endswith(": 9")
    assert len(lines) == 7
    assert lines[-1] == "  and 4 more"
