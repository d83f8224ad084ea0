"""Section of the report on single patients over time."""

from collections.abc import Mapping, Sequence
from typing import Any

from tumorprog.evaluation.survival import life_table
from tumorprog.report.drawing import picture
from tumorprog.report.page import Picture, Section, number
from tumorprog.report.patients import courses
from tumorprog.report.patients import figures as patients_figures
from tumorprog.report.patients.courses import CENSORED, Tables
from tumorprog.report.progression.meaning import THRESHOLD_PERCENT

_MAX_PATIENTS = 40
"""Patients in a figure with a line or a bar for each."""


def section(metrics: Mapping[str, Any], tables: Tables, two_dates: Sequence[Mapping[str, Any]]) -> Section:
    """Return the section on single patients: their scans, masked volumes, time to progression, and images.

    Args:
        metrics: part `patients` of metrics.json, from `courses.metrics`.
        tables: what is known of the patients.
        two_dates: examples from `report.patients.images.first_and_second`.
    """
    shown = [
        *_courses(tables),
        *_kaplan_meier(tables, metrics),
        *_waterfall(tables),
        *_months_by_volume(tables, metrics),
        *_two_dates(two_dates),
    ]
    return Section(
        id="patients",
        title="Patients over time",
        paragraphs=["What time zero, progression and the masked volume mean is stated with the predictions."],
        pictures=shown,
    )


def largest_errors(examples: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Return the picture of the held-out patients with the largest errors, if there are examples.

    Args:
        examples: from `report.patients.images.largest_errors`.
    """
    if not examples:
        return []
    cases = "; ".join(" ".join(example["title"].split()) for example in examples)
    return [
        picture(
            "months-largest-errors",
            patients_figures.outlined(examples),
            caption="The held-out patients with the largest errors: a slice with the outline of the region of "
            "interest, the measured and the predicted months, and the prediction interval in brackets.",
            alt=f"MRI slices with the outline of the region of interest. {cases}.",
            source="the archive, progression/patient_predictions.csv",
        )
    ]


def _courses(tables: Tables) -> list[Picture]:
    known = courses.courses(tables)
    if not known:
        return []
    shown = known[:_MAX_PATIENTS]
    censored = sum(course.kind == CENSORED for course in known)
    longest = max([*known[0].scans, known[0].end or 0])
    ends = f"{sum(course.end is not None for course in known) - censored} count as progressed, {censored} are censored"
    return [
        picture(
            "patients-courses",
            patients_figures.courses(shown),
            caption=f"Scans of {_cut(len(shown), len(known), 'patients')} by days since the first scan, longest first; "
            f"of all, {ends}.",
            alt=f"Time lines of {len(shown)} patients; {ends}; the longest lasts {longest} days.",
            source="timeline.csv, reference_sheet.csv" if tables.outcomes is None else "timeline.csv, outcomes.csv",
        )
    ]


def _kaplan_meier(tables: Tables, metrics: Mapping[str, Any]) -> list[Picture]:
    follow_up = courses.follow_up(tables)
    if follow_up.empty:
        return []
    event = follow_up["event"].to_numpy(dtype=bool)
    table = life_table(follow_up["months"].to_numpy(), event)
    median = metrics["median_months"]
    result = f"Median {_median(median)}; {len(event)} patients, {event.sum()} of whom progressed."
    assumed = " Each patient with two dates counts as progressed on the second." if tables.outcomes is None else ""
    return [
        picture(
            "patients-kaplan-meier",
            patients_figures.kaplan_meier(table, follow_up, median),
            caption="Kaplan-Meier estimate of the time to progression with its pointwise 95% confidence band "
            f"(Greenwood, log-log). {result}{assumed}",
            alt=f"Step curve of the share of patients without progression by month. {result}",
            source="reference_sheet.csv" if tables.outcomes is None else "progression/outcomes.csv",
        )
    ]


def _waterfall(tables: Tables) -> list[Picture]:
    changes = courses.volume_changes(tables)
    if changes.empty:
        return []
    shown, percent = changes.head(_MAX_PATIENTS), changes["change_percent"]
    result = (
        f"{int((percent >= THRESHOLD_PERCENT).sum())} of {len(percent)} rise by at least {THRESHOLD_PERCENT:.0f}%, "
        f"and {int((percent < 0).sum())} fall; the median is {percent.median():+.0f}%."
    )
    return [
        picture(
            "patients-waterfall",
            patients_figures.waterfall(shown),
            caption="Change of the masked volume to the next date with a mask, "
            f"{_cut(len(shown), len(changes), 'changes')}; the line is the increase that RANO 2.0 counts as "
            f"progression if it is confirmed, which these are not. {result}",
            alt=f"Bars of the percent change of the masked volume, in descending order. {result}",
            source="volumes.csv",
        )
    ]


def _months_by_volume(tables: Tables, metrics: Mapping[str, Any]) -> list[Picture]:
    patients = courses.volumes_at_start(tables)
    if patients.empty:
        return []
    result = _correlation(metrics["volume_spearman"])
    return [
        picture(
            "patients-volume",
            patients_figures.months_by_volume(patients),
            caption=f"Months of each patient and the masked volume on the first date (logarithmic axes). {result}",
            alt=f"Scatter of months against the masked volume of {len(patients)} patients. {result}",
            source="volumes.csv, " + ("reference_sheet.csv" if tables.outcomes is None else "progression/outcomes.csv"),
        )
    ]


def _two_dates(examples: Sequence[Mapping[str, Any]]) -> list[Picture]:
    if not examples:
        return []
    return [
        picture(
            "patients-two-dates",
            patients_figures.outlined(examples),
            caption="The slice with the largest mask on the first date, and the slice nearest to its position on the "
            "next, with the outlines of the masks. The dates are not registered to each other here, so equal positions "
            "need not be equal anatomy.",
            alt=f"MRI slices of {len(examples) // 2} patients on two dates with mask outlines.",
            source="the archive",
        )
    ]


def _correlation(rho: Mapping[str, Any]) -> str:
    if rho["value"] is None:
        return f"No correlation is given: {rho['reason']}."
    interval = f"no interval: {rho['reason']}"
    if rho["lower"] is not None:
        interval = f"95% CI {rho['lower']:.2f} to {rho['upper']:.2f}"
    return f"Spearman's rho {rho['value']:.2f} ({interval}; {rho['patients']} patients)."


def _median(median: Mapping[str, Any]) -> str:
    if median["value"] is None:
        return f"not reached ({median['reason']})"
    lower, upper = ("not reached" if median[end] is None else number(median[end]) for end in ("lower", "upper"))
    return f"{number(median['value'])} months (95% CI {lower} to {upper})"


def _cut(shown: int, known: int, what: str) -> str:
    return f"{shown} of {known} {what}" if shown < known else f"{known} {what}"
