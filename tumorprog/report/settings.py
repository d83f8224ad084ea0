"""Settings of the evaluation and its report."""

from dataclasses import dataclass

from tumorprog.checks import at_least


@dataclass(frozen=True, kw_only=True)
class Report:
    """The evaluation and its report."""

    bootstrap: int = 2000
    """Resamples of the patients for each 95% confidence interval; all different ones where there are fewer."""
    identifiers: bool = False
    """Whether the report shows patient ids and dates instead of pseudonyms and days since the first scan."""

    evidence_slices: int = 256
    """Slices, spread over the patients, whose Grad-CAM evidence is compared with head and tumour; 0 for none."""

    def __post_init__(self) -> None:
        at_least("report.bootstrap", self.bootstrap, 200)
        at_least("report.evidence_slices", self.evidence_slices, 0)
