"""Histology, molecular markers and edition from the tables of open cohorts; unknown values stay unknown."""

import pytest

from tumorprog import tables
from tumorprog.cohort import clinical
from tumorprog.cohort.columns import COHORT, PATHOLOGY
from tumorprog.cohort.settings import Cohort

HEADERS = {
    "REMBRANDT": "Sample,Disease,Grade,Institution\nA,OLIGODENDROGLIOMA,II,H",
    "UCSF-PDGM": "ID,WHO CNS Grade,Final pathologic diagnosis (WHO 2021),MGMT status,1p/19q,IDH\n"
    'A,3,"Oligodendroglioma, IDH-mutant",positive,Co-deletion,IDH1 p.R132H',
    "UTSW-Glioma": "Subject ID,Tumor Type,Tumor Grade,IDH,CODEL,MGMT\nA,Astrocytoma,3,wild type,Non co-deleted,NA",
    "cBioPortal": "Patient ID,Cancer Type Detailed,Neoplasm Histologic Grade,IDH status,1p/19q codeletion,"
    "MGMT promoter status\nA,Oligodendroglioma,G2,Mutant,codel,Unmethylated",
    "MU-Glioma-Post": "Patient_ID,Primary Diagnosis,Grade of Primary Brain Tumor,IDH1 mutation,MGMT methylation\n"
    "A,GBM,4,0,2",
}


def read(tmp_path, text, **settings):
    path = tmp_path / "grades.csv"
    path.write_text(text + "\n")
    return clinical.match(["A"], clinical.read_grades(path, Cohort(**settings))).iloc[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("REMBRANDT", ("OLIGODENDROGLIOMA", "", "", "", "")),
        ("UCSF-PDGM", ("Oligodendroglioma, IDH-mutant", "mutant", "codeleted", "methylated", "")),
        ("UTSW-Glioma", ("Astrocytoma", "wildtype", "not codeleted", "", "")),
        ("cBioPortal", ("Oligodendroglioma", "mutant", "codeleted", "not methylated", "")),
        ("MU-Glioma-Post", ("GBM", "wildtype", "", "", "")),  # the code 2 differs between tables: unknown
    ],
)
def test_the_columns_of_open_cohorts_are_found(tmp_path, name, expected):
    assert tuple(read(tmp_path, HEADERS[name])[list(PATHOLOGY)]) == expected


@pytest.mark.parametrize(
    ("idh", "expected"),
    [
        *(("WT", "wildtype"), ("IDH-wildtype", "wildtype"), ("not mutated", "wildtype"), ("negative", "wildtype")),
        *(("mutated (NOS)", "mutant"), ("IDH2 R172K", "mutant"), ("1", "mutant"), ("1.0", "mutant")),
        *(("not tested", ""), ("mutation not assessed", ""), ("?", ""), ("-1", ""), ("2", ""), ("NOS/NEC", "")),
    ],
)
def test_the_status_is_taken_only_from_clear_values(tmp_path, idh, expected):
    assert read(tmp_path, f"ID,Grade,IDH\nA,3,{idh}")["IDH"] == expected


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("2016", "WHO 2016"), ("WHO CNS5", "WHO 2021"), ("WHO 2007 (4th)", "WHO 2007"), ("", ""), ("local", "local")],
)
def test_the_edition_is_read_from_a_column_and_never_assumed(tmp_path, stated, expected):
    assert read(tmp_path, f"ID,Grade,WHO edition\nA,3,{stated}")["Edition"] == expected


def test_the_setting_states_the_edition_of_all_grades(tmp_path):
    assert read(tmp_path, "ID,Grade\nA,3", grade_edition="WHO 2021")["Edition"] == "WHO 2021"
    assert read(tmp_path, "ID,Grade\nA,3")["Edition"] == ""


def test_patients_without_a_row_have_no_pathology_and_the_table_is_read_back_as_text(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("ID,Grade,IDH\nA,3,\n")
    matched = clinical.match(["A", "B"], clinical.read_grades(path, Cohort()))
    assert (matched[list(PATHOLOGY)] == "").all(axis=None)
    tables.write_csv(tmp_path / "_cohort.csv", matched, COHORT)
    assert (tables.read_csv(tmp_path / "_cohort.csv", COHORT)[list(PATHOLOGY)] == "").all(axis=None)
