import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.cohort import identity


@pytest.mark.parametrize(
    "other",
    [
        *("pgbm-001", "PGBM_001", "PGBM 001", "Pgbm--001", " PGBM - 001 ", "PGBM001", "PGBM\N{EN DASH}001"),
        *("PGBM-1", "PGBM-0001", "pgbm1", "\N{FULLWIDTH LATIN CAPITAL LETTER P}GBM-001"),
    ],
)
def test_all_spellings_of_an_id_are_one_patient(other):
    assert identity.spellings(["PGBM-001", other]) == {"PGBM-001": "PGBM-001", other: "PGBM-001"}
    assert identity.spellings([other, "PGBM-001"])["PGBM-001"] == other  # the first one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("P1", "P2"), ("P1", "P10"), ("P1-2", "P12"), ("TCGA-02-0001", "TCGA-020-001"), ("01-1", "1-01")),
        *(("P1", "Q1"), ("P1", "P1A"), ("P.1", "P1"), ("sub-001", "001"), ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21")),
        *(("", "0"), ("-", "_")),
    ],
)
def test_ids_with_other_differences_are_different_patients(one, other):
    assert len(set(identity.spellings([one, other]).values())) == 2


def test_ids_with_ambiguous_leading_zeros_are_not_joined_and_are_reported():
    names = ["P1", "P01", "p-001", "P001", "Q1", "Q01"]
    found = identity.spellings(names)
    assert found == {"P1": "P1", "P01": "P01", "p-001": "p-001", "P001": "p-001", "Q1": "Q1", "Q01": "Q1"}
    assert identity.ambiguous(names) == [["P1", "P01", "p-001"]]


@given(st.lists(st.text("aB01-_ .", min_size=1, max_size=6), max_size=8))
def test_every_id_maps_to_a_first_spelling_that_maps_to_itself(names):
    found = identity.spellings(names)
    assert set(found) == set(names)
    assert all(found[name] == name for name in found.values())


def test_patients_of_a_table_match_the_images_by_the_closest_spelling():
    assert identity.match_ids(["PGBM-001", "P01"], ["pgbm_1", "P1", "P001", "Q"]) == {"pgbm_1": "PGBM-001"}
    assert identity.match_ids(["P1", "P01"], ["p01"]) == {"p01": "P01"}  # not P1, which has no leading zero
    assert identity.match_ids(["7"], ["007"]) == {"007": "7"}


def occurrences(*rows):
    defaults = {"cohort": "progression", "PatientID": "P1", "folder": "/data/x/", "files": 3, "renamed": 0}
    defaults |= {"StudyDate": "2005-01-02", "undated": 0, "torn": 0}
    filled = [{**defaults, "StudyInstanceUID": f"1.{n}", **row} for n, row in enumerate(rows)]
    return pd.DataFrame(
        [{"PatientID_stated": row["PatientID"], **row} for row in filled], columns=list(identity.OCCURRENCES)
    )


def found(*rows):
    return [
        (finding.split(":")[0], patient, detail)
        for finding, patient, _, _, detail in identity.findings(occurrences(*rows))
    ]


def test_several_spellings_shared_studies_and_shared_instances_are_findings():
    assert found({}, {}) == []
    assert found({}, {"PatientID_stated": "p 1"}) == [("patient with several spellings", "P1", "P1, p 1")]
    shared = found({"StudyInstanceUID": "1"}, {"StudyInstanceUID": "1", "PatientID": "P2"})
    assert shared == [("study shared by several patients", "P1", "study 1 of P1, P2")]
    assert found({"renamed": 4})[0][:2] == ("SOP instance UID shared by several images", "P1")
    assert found({"PatientID": "P01"}, {}, {"PatientID": "P001"})[0][2] == "P001, P01, P1"


def test_missing_study_dates_and_inconsistent_dates_are_findings():
    assert found({"undated": 2}, {"undated": 1}) == [
        ("no usable StudyDate", "P1", "3 files; another date of the header is used")
    ]
    assert found({"torn": 2}) == [("header dates more than one day apart", "P1", "2 files")]


def folders_of(patient, *folders, **columns):
    return identity.folders_of_patients(patient, occurrences(*({"folder": folder, **columns} for folder in folders)))


@pytest.mark.parametrize(
    ("patient", "folders"),
    [
        ("ANON", ["/data/Case01/", "/data/Case02/"]),
        ("12345", ["/data/PGBM-001/1.2.3.4.5.6/", "/data/PGBM-002/1.2.3.4.5.7/"]),
        ("PGBM-001", ["/data/PGBM-001/a/", "/data/PGBM-002/a/"]),
        ("Anonymous", ["/data/Maier/", "/data/Smith/"]),
        ("0", ["/data/001/", "/data/002/"]),
        ("patient", ["/data/sub-01/ses-1/", "/data/sub-02/ses-1/"]),
        ("DE-IDENTIFIED", ["/data/Maier/", "/data/Smith/"]),
        ("ANONYMOUS^PATIENT", ["/data/Maier/", "/data/Smith/"]),
        ("NO_ID", ["/data/Maier/", "/data/Smith/"]),
        ("123456", ["/data/Maier/", "/data/Smith/"]),
        ("Anonymized", ["/data/1001/s1/", "/data/1002/s1/"]),
        ("XXXX", ["s3://bucket/data/TCGA-02-0001/", "s3://bucket/data/TCGA-02-0003/"]),
    ],
)
def test_an_id_shared_by_folders_of_several_patients_is_reported(patient, folders):
    assert len(folders_of(patient, *folders)) == 2
    assert folders_of(patient, *folders, StudyInstanceUID="1") == []  # the folders are series of one study


@pytest.mark.parametrize(
    ("patient", "folders"),
    [
        ("PGBM-001", ["/data/PGBM-001/04-02-1992-MR-12345/", "/data/PGBM-001/11-19-1991-MR-54321/"]),
        ("PGBM-001", ["/data/04-02-1992-MR-12345/", "/data/11-19-1991-MR-54321/"]),
        ("TCGA-02-0001", ["/data/1.3.6.1.4.1.14519.5/", "/data/1.3.6.1.4.1.14519.6/"]),
        ("pgbm 1", ["/data/PGBM_1/exam_a1/", "/data/PGBM_1/exam_a2/"]),
        ("P1", ["/data/delivery1/P1/", "/data/delivery2/P1/"]),
        ("ANON", ["/data/visit1/", "/data/visit2/"]),
        ("ANON", ["/data/ses-01/", "/data/ses-02/"]),
        ("ANON", ["/data/20200101/", "/data/20210101/"]),
        ("ANON", ["/data/2020-01-01 MR/", "/data/2021-01-01 MR/"]),
        ("ANON", ["/data/ST000001/", "/data/ST000002/"]),
        ("ANON", ["/data/baseline/", "/data/followup/"]),
        ("ANON", ["/data/Jan2005/", "/data/2 June 2005/"]),
        ("P7", ["/data/Zeitpunkt 1/", "/data/Zeitpunkt 2/"]),
        ("P7", ["/data/Kontrolle1/", "/data/Kontrolle2/"]),
        ("ANON", ["/data/12-T1/", "/data/13-FLAIR/"]),
        ("UPENN-GBM-00001", ["/data/UPENN-GBM-00001_11/", "/data/UPENN-GBM-00001_21/"]),
        ("12345", ["/data/001/", "/data/002/"]),
        ("12345", ["/data/left/", "/data/right/"]),
        ("ANON", ["/data/one/"]),
    ],
)
def test_folders_of_studies_visits_series_and_deliveries_of_one_patient_are_not_reported(patient, folders):
    assert folders_of(patient, *folders) == []
