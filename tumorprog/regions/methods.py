"""The methods that find the region of interest of a slice, by the value of the setting `roi.method`."""

from dataclasses import asdict
from typing import Any

from tumorprog.regions.brightest import brightest_region
from tumorprog.regions.component import brightest_component
from tumorprog.regions.settings import Roi

REGIONS = {"brightest": brightest_region, "component": brightest_component}
"""The methods that need only the slice: (H, W) of any real dtype -> (H, W) bool."""

_FALLBACK = "Slices without it use the method of roi.fallback; the table of regions names the method of each slice. "
_PAPER = "The paper's region is the brightest of three clusters of intensities (roi.method: brightest)."

DESCRIPTIONS = {
    "auto": "The region is the tumour mask of the study where there is one, and else the tumour that the segmenter "
    "finds, by a model that was not trained on the patient. " + _FALLBACK + _PAPER,
    "mask": "The region is the tumour mask of the study. " + _FALLBACK + _PAPER,
    "learned": "The region is the tumour that the segmenter finds, by a model that was not trained on the patient. "
    + _FALLBACK
    + _PAPER,
    "brightest": "The region is the brightest of three intensity clusters, which the paper takes to be the tumour. It "
    "also contains other tissue of similar intensity (scalp fat, vessels with contrast agent, fluid on T2), so the "
    "outlines should be reviewed. The alternatives are tumour masks and the segmenter (roi.method: auto).",
    "component": "The region is the largest connected component of unusually bright tissue inside the skull. It can "
    "be a vessel or a ventricle, so the outlines should be reviewed. " + _PAPER,
}
"""What the report says about the region."""


def options(roi: Roi) -> dict[str, Any]:
    """Return the settings that the regions depend on: all of them, or only the method if it needs only the slice.

    They are recorded with the regions, with the vectors and with a model that is trained on these.
    """
    return {"method": roi.method} if roi.method in REGIONS else asdict(roi)
