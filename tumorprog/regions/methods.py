"""The methods that find the region of interest of a slice, by the value of the setting `roi.method`."""

from tumorprog.regions.brightest import brightest_region
from tumorprog.regions.component import brightest_component

REGIONS = {"brightest": brightest_region, "component": brightest_component}
"""The function that computes the region of a slice: (H, W) of any real dtype -> (H, W) bool."""

DESCRIPTIONS = {
    "brightest": "The region is the brightest of three intensity clusters, which the paper takes to be the tumour. It "
    "also contains other tissue of similar intensity (scalp fat, vessels with contrast agent, fluid on T2), so the "
    "outlines should be reviewed. The alternative is roi.method: component.",
    "component": "The region is the largest connected component of unusually bright tissue inside the skull, not the "
    "brightest cluster as in the paper (roi.method: brightest). It can still be a vessel or a ventricle, so the "
    "outlines should be reviewed.",
}
"""What the report says about the region."""
