"""What the report calls patients and dates."""

import itertools

import pytest

from tumorprog.report.identifiers import Identifiers

PATIENTS = [f"PGBM-{number:03}" for number in range(1, 21)]
FIRST = dict.fromkeys(PATIENTS[:-1], "1991-11-19")


def pseudonyms(seed=0, patients=PATIENTS):
    identifiers = Identifiers(patients, FIRST, shown=False, seed=seed)
    return [identifiers.patient(patient) for patient in PATIENTS]


def test_each_patient_has_an_own_number_and_only_the_seed_decides_which():
    assert sorted(pseudonyms()) == [f"patient {number:02}" for number in range(1, 21)]
    assert pseudonyms() == pseudonyms(patients=[*reversed(PATIENTS), *PATIENTS])
    assert pseudonyms() != pseudonyms(seed=1)


def test_the_number_does_not_follow_the_order_of_the_ids():
    numbers = [int(name.split()[1]) for name in pseudonyms()]
    rising = sum(later > earlier for earlier, later in itertools.pairwise(numbers))
    assert 4 < rising < 15


def test_a_date_is_the_number_of_days_since_the_first_scan():
    identifiers = Identifiers(PATIENTS, FIRST, shown=False, seed=0)
    assert identifiers.date("PGBM-001", "1991-11-19") == "day 0"
    assert identifiers.date("PGBM-001", "1992-04-02") == "day 135"


@pytest.mark.parametrize(("patient", "date"), [("PGBM-001", ""), ("PGBM-020", "1992-04-02")])
def test_a_date_without_a_first_date_is_unknown(patient, date):
    assert Identifiers(PATIENTS, FIRST, shown=False, seed=0).date(patient, date) == "unknown date"


def test_ids_and_dates_are_shown_on_request():
    identifiers = Identifiers(PATIENTS, FIRST, shown=True, seed=0)
    assert identifiers.patient("PGBM-003") == "PGBM-003"
    assert identifiers.date("PGBM-020", "1992-04-02") == "1992-04-02"
    assert identifiers.date("PGBM-020", "") == "unknown date"


def test_a_patient_who_is_not_in_the_run_is_not_named():
    assert Identifiers(PATIENTS, FIRST, shown=False, seed=0).patient("HF1234") == "unknown patient"
