"""Settings of the input archives and of the cohort."""

from dataclasses import dataclass

from tumorprog.checks import at_least
from tumorprog.errors import SettingsError

SHARABLE = ("study", "series", "instance", "image")
"""What patients in different sets of a split may be allowed to share, where it does not identify a patient."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The inputs."""

    grading: str = ""
    """Folder of DICOM files of patients with known grades (REMBRANDT or another). Short form: --grading DIR."""
    grades: str = ""
    """Table of patients and grades: xlsx, csv or tab-separated text. Short form: --grades TABLE."""
    progression: str = ""
    """Folder of DICOM files of patients with two or more dates (BTP or another). Short form: --progression DIR."""
    outcomes: str = ""
    """Table of PatientID, date and event (1 progressed, 0 censored), for survival. Short form: --outcomes TABLE."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Which patients and studies are used."""

    patient_column: str = ""
    """Column of patient ids in the table of grades; if empty, found by its usual names."""
    grade_column: str = ""
    """Column of grades in the table of grades; if empty, found by its usual names."""
    grade_edition: str = ""
    """Edition of the WHO classification of the grades, e.g. "WHO 2021"; if empty, a column of the table states it."""
    gbm_is_grade_4: bool = False
    """Whether a glioblastoma without a stated grade counts as grade 4, which it is by definition."""
    min_gap_days: int = 14
    """Studies of a patient that are fewer days apart than this are one time point."""
    allow_shared: tuple[str, ...] = ()
    """What two sets of a split may share: study, series, instance (UIDs that are constants), image (scanned forms)."""

    def __post_init__(self) -> None:
        at_least("cohort.min_gap_days", self.min_gap_days, 1)
        if set(self.allow_shared) - set(SHARABLE):
            raise SettingsError(
                f"cohort.allow_shared is {list(self.allow_shared)}; choose from {', '.join(SHARABLE)} or none"
            )
