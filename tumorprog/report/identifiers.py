"""Pseudonyms and days in the report instead of the patients' ids and dates, because a report is passed on."""

import datetime
from collections.abc import Iterable, Mapping

import numpy as np

UNKNOWN_DATE = "unknown date"


class Identifiers:
    """What the report calls patients and dates: "patient 03" and "day 135", or as they are in the images.

    A pseudonym is the patient's number in a random order of all patients, so that it reveals nothing about the order of
    ids or dates. The same patients and seed give the same pseudonyms. A day is counted from the patient's first known
    scan. This is not de-identification: the tables of the run directory link both to the persons, and whoever knows all
    ids and the seed can repeat the order.
    """

    def __init__(self, patients: Iterable[str], first_dates: Mapping[str, str], *, shown: bool, seed: int) -> None:
        """Number the patients.

        Args:
            patients: ids of all patients of the run; duplicates are allowed.
            first_dates: date (ISO 8601) of the first scan of each patient with a known date.
            shown: whether ids and dates are shown as they are (setting `report.identifiers`).
            seed: of the random order.
        """
        ordered = np.random.default_rng(seed).permutation(sorted(set(patients)))
        width = max(len(str(len(ordered))), 2)
        self._pseudonyms = {str(patient): f"patient {number:0{width}}" for number, patient in enumerate(ordered, 1)}
        self._first_dates, self._shown = dict(first_dates), shown

    def patient(self, patient: str) -> str:
        """Return what the report calls a patient; one who is not among the patients of the run is "unknown patient"."""
        return patient if self._shown else self._pseudonyms.get(patient, "unknown patient")

    def date(self, patient: str, date: str) -> str:
        """Return what the report calls a date of a patient: "day 135" since the first scan, or "unknown date".

        Args:
            patient: the patient's id.
            date: ISO 8601; "" if unknown.
        """
        if not date or not (self._shown or patient in self._first_dates):
            return UNKNOWN_DATE
        return date if self._shown else f"day {days_between(self._first_dates[patient], date)}"


def days_between(first: str, second: str) -> int:
    """Return the number of days from one ISO 8601 date to another."""
    return (datetime.date.fromisoformat(second) - datetime.date.fromisoformat(first)).days
