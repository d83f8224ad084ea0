"""Settings of the region of interest."""

from dataclasses import dataclass
from typing import Literal

Method = Literal["brightest", "component"]
"""A key of `regions.methods.REGIONS`."""


@dataclass(frozen=True, kw_only=True)
class Roi:
    """The region of interest (ROI) from which the features of a slice are computed."""

    method: Method = "brightest"
    """The brightest of three clusters (paper), or the largest unusually bright connected component inside the skull."""
