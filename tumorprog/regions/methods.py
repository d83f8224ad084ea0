"""The methods that find the region of interest of a slice, by the value of the setting `roi.method`."""

from typing import Literal

from tumorprog.regions.brightest import brightest_region
from tumorprog.regions.component import brightest_component

Method = Literal["brightest", "component"]

REGIONS = {"brightest": brightest_region, "component": brightest_component}
"""The function that computes the region of a slice, by the setting `roi.method`."""
