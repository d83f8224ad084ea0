"""What the report says about time zero, progression, censoring and volumes follows from the tables."""

import numpy as np
import pandas as pd
import pytest

from tumorprog.cohort.columns import VOLUMES
from tumorprog.report.progression import meaning

BTP = ("PGBM-001", "PGBM-002", "PGBM-003")
LABELS = (np.nan,) * 5
OTHER = ("HOSP-1", "HOSP-2", "PGBM-003")


def tables(patients, days=(83, 84, 300), *, single=0):
    intervals = pd.DataFrame({"PatientID": patients, "date": "2000-01-01", "days": days})
    status = ["two dates or more"] * len(patients) + ["one date"] * single
    everyone = [*patients, *(f"{patients[0]}{number}" for number in range(single))]
    return intervals, pd.DataFrame({"PatientID": everyone, "status": status})


def volumes(*changes):
    rows = [("A", "2000-01-01", "mask", 4.0, *LABELS, 1, np.nan, np.nan, np.nan)]
    rows += [
        ("A", f"2000-01-{day:02}", "mask", 4.0, *LABELS, 1, 1.0, 1.0, change) for day, change in enumerate(changes, 2)
    ]
    return pd.DataFrame(rows, columns=list(VOLUMES))


def text_of(patients, *changes, **options):
    return " ".join(meaning.between_dates(*tables(patients, **options), volumes(*changes)))


def test_only_the_collection_with_these_ids_is_said_to_have_glioblastomas():
    assert "documents newly diagnosed glioblastoma" in text_of(BTP)
    text = text_of(OTHER)
    assert "glioblastoma" not in text
    assert "Brain-Tumor-Progression" not in text
    assert "published" not in text
    assert "Whether the tumour had progressed by then is not recorded" in text


@pytest.mark.parametrize(("ids", "known"), [(BTP, True), (OTHER, False), ((), False), (("pgbm-001 ",), True)])
def test_the_collection_is_recognised_by_all_ids(ids, known):
    assert meaning.is_brain_tumor_progression(ids) is known


def test_intervals_below_twelve_weeks_are_counted():
    assert "1 of 3 intervals are shorter than 12 weeks (84 days), as are 10 of the 20 published" in text_of(BTP)
    assert "0 of 3 intervals" in text_of(BTP, days=(84, 85, 86))


def test_patients_without_a_second_date_are_said_to_be_excluded():
    assert "excluded" not in text_of(BTP)
    assert "3 patients with two dates count as progressed. 2 patients without a second date are" in text_of(
        BTP, single=2
    )


def test_volumes_that_reach_the_threshold_are_counted_as_unconfirmed():
    text = text_of(BTP, 39.9, 40.0, 120.0, -10.0)
    assert "rose by at least 40% in 2 of 4 cases" in text
    assert "unconfirmed" in text
    assert "enhancing part" in text
    assert "is not recorded in these data" in text_of(OTHER, 50.0)
    assert "40%" not in text_of(BTP)


def test_without_masks_nothing_is_said_about_volumes():
    assert "mask" not in " ".join(meaning.between_dates(*tables(BTP), volumes().head(0)))


def test_with_outcomes_the_events_and_the_censored_are_those_of_the_table():
    outcomes = pd.DataFrame(
        {
            "PatientID": ["A", "B", "C", "D"],
            "months": [2.0, 1.0, 9.0, np.nan],
            "event": [1, 0, 1, np.nan],
            "status": ["followed"] * 3 + ["no outcome"],
        }
    )
    text = " ".join(meaning.until_outcomes(outcomes, volumes()))
    assert "2 of 3 patients progressed, and 1 had not progressed at their last follow-up (censored)" in text
    assert "1 of 2 times to progression are shorter than 12 weeks" in text  # the censored patient does not count
    assert "No censoring" not in text


def test_patients_with_several_intervals_are_told_apart_from_their_intervals():
    once, _ = tables(BTP)
    assert meaning.inputs(once) == (
        "The inputs are the series of the first date only; the target is the time to the second date."
    )
    several = pd.concat([once, once.head(1).assign(date="2001-01-01")])
    text = meaning.inputs(several)
    assert "the time to the patient's next date. 3 patients have 4 such intervals: one prediction per" in text
    assert "first date" not in text
