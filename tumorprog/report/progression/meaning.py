"""What time zero, progression, censoring and the masked volume mean in the patients of a run, as sentences."""

import re
from collections.abc import Iterable

import pandas as pd

from tumorprog.cohort.timeline import PUBLISHED_DAYS
from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.evaluation.intervals import count_of

EARLY_DAYS = 84
"""Days (12 weeks) after radiotherapy in which RANO 2.0 requires a confirmation of progression."""
THRESHOLD_PERCENT = 40.0
"""Increase of the volume that RANO 2.0 counts as progression, if it is confirmed."""
VOLUME = "Masked volume (ml)"
"""Heading and label of the volumes of masks."""
_COLLECTION = re.compile(r"PGBM-?\d+", re.IGNORECASE)
_SOURCE = "RANO 2.0 (Wen et al. 2023, J Clin Oncol 41:5187-5199)"


def is_brain_tumor_progression(patients: Iterable[str]) -> bool:
    """Return whether all patient ids are of the form of Brain-Tumor-Progression (PGBM-001), and there is one."""
    ids = list(patients)
    return bool(ids) and all(_COLLECTION.fullmatch(patient.strip()) for patient in ids)


def inputs(intervals: pd.DataFrame) -> str:
    """Say what the model predicts from what, and how many patients have several dates to predict from.

    Args:
        intervals: PatientID, date and days of each interval, each once.
    """
    patients = intervals["PatientID"].nunique()
    if len(intervals) == patients:
        return "The inputs are the series of the first date only; the target is the time to the second date."
    return (
        "The inputs are the series of one date only; the target is the time to the patient's next date. "
        f"{count_of(patients, 'patient')} {_are(patients, 'has', 'have')} {len(intervals)} such intervals: one "
        "prediction per patient and date. The errors per patient are over all of them, so that a patient with more "
        "dates counts more."
    )


def between_dates(intervals: pd.DataFrame, timeline: pd.DataFrame, volumes: pd.DataFrame) -> list[str]:
    """Say what the months between the scan dates of patients mean.

    Args:
        intervals: PatientID, date and days of each interval, each once.
        timeline: rows of `cohort.columns.TIMELINE`.
        volumes: rows of `cohort.columns.VOLUMES`.

    Returns:
        Paragraphs on time zero and the event, on censoring, on possible pseudo-progression, and on the volumes.
    """
    known = is_brain_tumor_progression(timeline["PatientID"])
    return [
        f"{_time_zero_between_dates(intervals)} {_event_between_dates(known=known)}",
        _no_censoring(intervals, timeline),
        _early(intervals["days"], "intervals", known=known),
        *masked_volumes(volumes, known=known),
    ]


def until_outcomes(outcomes: pd.DataFrame, volumes: pd.DataFrame) -> list[str]:
    """Say what the months from the first images to the outcomes in a table mean.

    Args:
        outcomes: rows of `cohort.columns.OUTCOMES`.
        volumes: rows of `cohort.columns.VOLUMES`.
    """
    followed = outcomes[outcomes["status"] == "followed"]
    progressed = followed[followed["event"] == 1]
    known = is_brain_tumor_progression(followed["PatientID"])
    return [
        f"{_time_zero()} The event is the one that the table of outcomes records: {len(progressed)} of {len(followed)} "
        f"patients progressed, and {len(followed) - len(progressed)} had not progressed at their last follow-up "
        "(censored). How progression was established is not part of the table.",
        _early(progressed["months"] * DAYS_PER_MONTH, "times to progression", known=known),
        *masked_volumes(volumes, known=known),
    ]


def masked_volumes(volumes: pd.DataFrame, *, known: bool) -> list[str]:
    """Say what the volumes of the masks are, and how many reach the threshold of progression by volume.

    Args:
        volumes: rows of `cohort.columns.VOLUMES`.
        known: whether the collection is Brain-Tumor-Progression.
    """
    changes = volumes["change_percent"].dropna()
    if volumes.empty:
        return []
    content = (
        "The collection documents that its masks were generated from T1-weighted images: they hold the enhancing part, "
        "not the whole tumour, and no oedema."
        if known
        else "What the masks hold (enhancing tumour, whole tumour, tumour with oedema) is not recorded in these data."
    )
    reached = int((changes >= THRESHOLD_PERCENT).sum())
    counted = (
        f" From one date with a mask to the next, it rose by at least {THRESHOLD_PERCENT:.0f}% in {reached} of "
        f"{len(changes)} cases. This is the increase that {_SOURCE} counts as progression by volume, but it is "
        "unconfirmed here: no later scan confirms it, the reference is the previous date and not the smallest volume, "
        "and new lesions, steroids and the clinical state are not known."
    )
    return [f"The masked volume is the volume of the mask. {content}{counted if len(changes) else ''}"]


def _time_zero() -> str:
    return (
        "Time zero is the date of a patient's first images, not that of the diagnosis, the surgery or the start of a "
        "treatment, which these data do not state."
    )


def _time_zero_between_dates(intervals: pd.DataFrame) -> str:
    if intervals["PatientID"].is_unique:
        return _time_zero()
    return (
        "Time zero is the date of the images that the model sees, the first or a later one of the patient, not that of "
        "the diagnosis, the surgery or the start of a treatment, which these data do not state."
    )


def _event_between_dates(*, known: bool) -> str:
    if known:
        return (
            "The patient ids are those of Brain-Tumor-Progression. The collection documents newly diagnosed "
            "glioblastoma, a first scan within 90 days after chemoradiotherapy, and a second scan at progression. That "
            "a patient has progressed by the second date, and not earlier, is an assumption from this description; no "
            "date of progression is recorded for single patients."
        )
    return (
        "The months are the time to the patient's next scan date. Whether the tumour had progressed by then is not "
        "recorded: that each patient progressed on the next date is an assumption."
    )


def _no_censoring(intervals: pd.DataFrame, timeline: pd.DataFrame) -> str:
    patients = intervals["PatientID"].nunique()
    excluded = int((timeline["status"] != "two dates or more").sum())
    dates = "two dates" if len(intervals) == patients else "two dates or more"
    counted = f"{count_of(patients, 'patient')} with {dates} {_are(patients, 'counts', 'count')} as progressed"
    start = f"No censoring is known: {counted}."
    if not excluded:
        return start
    return (
        f"{start} {count_of(excluded, 'patient')} without a second date {_are(excluded, 'is', 'are')} excluded; if "
        "there is no second scan because the tumour did not progress, the months of the others are too short for "
        "the whole group."
    )


def _early(days: pd.Series, what: str, *, known: bool) -> str:
    """Count the times after which a change may be pseudo-progression."""
    published = sum(day < EARLY_DAYS for day in PUBLISHED_DAYS)
    compared = f", as are {published} of the {len(PUBLISHED_DAYS)} published ones of the collection" if known else ""
    return (
        f"{int((days < EARLY_DAYS).sum())} of {len(days)} {what} are shorter than 12 weeks ({EARLY_DAYS} days)"
        f"{compared}. Within 12 weeks after radiotherapy an increase may be pseudo-progression, for which {_SOURCE} "
        "requires a confirmation. The date of radiotherapy is not known here, so the count from the first images only "
        "indicates how many events may be affected."
    )


def _are(count: int, one: str, several: str) -> str:
    return one if count == 1 else several
