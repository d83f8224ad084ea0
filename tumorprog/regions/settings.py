"""Settings of the region of interest."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Roi:
    """The region of interest (ROI) from which the features of a slice are computed."""

    method: Literal["brightest", "component"] = "brightest"
    """The brightest of three clusters (paper), or the largest unusually bright connected component inside the skull."""
