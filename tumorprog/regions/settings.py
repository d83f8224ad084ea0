"""Settings of the region of interest."""

from dataclasses import dataclass
from typing import Literal

from tumorprog.checks import at_least

ImageMethod = Literal["brightest", "component"]
"""A key of `regions.methods.REGIONS`: a method that needs only the slice."""

Method = Literal["auto", "mask", "learned", "component", "brightest"]


@dataclass(frozen=True, kw_only=True)
class Roi:
    """The region of interest (ROI) from which the features of a slice are computed."""

    method: Method = "auto"
    """`mask`: the cohort's tumour masks. `learned`: the trained segmenter. `component`: the largest unusually bright
    connected component inside the skull. `brightest`: the brightest of three clusters (paper). `auto`: a mask where
    there is one, else learned, else the fallback."""
    fallback: ImageMethod = "component"
    """The method for slices without a mask (`mask`) or that the segmenter cannot segment (`learned`)."""
    labels: tuple[int, ...] = ()
    """Values of masks that form the region, such as [1, 3] for necrosis and enhancing tumour; [] for all except 0."""
    margin_mm: float = 0.0
    """Distance by which regions of masks and of the segmenter are enlarged within the slice."""

    def __post_init__(self) -> None:
        at_least("roi.margin_mm", self.margin_mm, 0)
        for label in self.labels:
            at_least("roi.labels", label, 1)
