"""Settings of a synthetic cohort."""

from dataclasses import dataclass

from tumorprog.checks import at_least


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The size of a synthetic cohort."""

    graded_patients: int = 24
    """Patients with a grade in the grading archive, spread evenly over grades 2, 3 and 4."""
    ungraded_patients: int = 2
    """Patients without a grade in the grading archive."""
    progression_patients: int = 6
    """Patients with two dates in the progression archive."""
    series_slices: int = 10
    """Slices per series in both archives."""
    size: int = 128
    """Rows of the slices of the progression archive, in pixels; the grading archive also has smaller and wider ones."""

    def __post_init__(self) -> None:
        at_least("synthetic.graded_patients", self.graded_patients, 0)
        at_least("synthetic.ungraded_patients", self.ungraded_patients, 0)
        at_least("synthetic.progression_patients", self.progression_patients, 0)
        at_least("synthetic.series_slices", self.series_slices, 1)
        at_least("synthetic.size", self.size, 32)
