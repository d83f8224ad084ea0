"""The columns of the regions of interest and of how well they agree with tumour masks."""

import pyarrow as pa

from tumorprog.formats.columns import CATALOGUE
from tumorprog.formats.frames import SCHEMA
from tumorprog.tables import REAL, TEXT

REGIONS = pa.schema(
    [
        *SCHEMA,
        *(CATALOGUE.field(name) for name in ("cohort", "PatientID")),
        pa.field("date", TEXT),
        *(CATALOGUE.field(name) for name in ("Type", "sequence", "SeriesInstanceUID", "stack", "order")),
        pa.field("method", TEXT),  # mask, learned, component or brightest: what the region of the slice comes from
        pa.field("model", TEXT),  # of `learned`: "final", or the fold whose model has not seen the patient; else ""
        pa.field("area_mm2", REAL),  # of the region; NaN where it is computed from the slice alone
        pa.field("region", pa.binary()),  # bits of the (256, 256) mask, null where `method` needs only the slice
    ]
)
"""A row per slice."""

SCORES = (
    *("PatientID", "date", "SeriesInstanceUID", "stack", "sequence", "method", "model"),
    *("both", "region", "mask", "region_ml", "mask_ml", "hd95_mm"),
    *("lesions", "lesions_found", "false_lesions"),
)
"""A row per stack and method, over all its slices: numbers of pixels in both, in the region and in the mask; volumes;
95th percentile of the distances between the surfaces in mm, NaN if one is empty; numbers of connected components of the
mask, of those that the region touches, and of components of the region that touch no mask."""

LESIONS = ("PatientID", "date", "SeriesInstanceUID", "sequence", "method", "lesion", "volume_ml", "found_ml")
"""A row per connected component of a mask and method: its volume, and the part of it inside the region."""
