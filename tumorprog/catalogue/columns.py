"""The columns of the tables from which a catalogue is built."""

import pyarrow as pa

from tumorprog import __version__
from tumorprog.formats.columns import CATALOGUE

FOUND_FILES = pa.schema({"path": pa.string(), "cohort": pa.string(), "file_bytes": pa.int64(), "modified": pa.int64()})
"""A row per file that was found, as the file system describes it."""

_COMPUTED = ("series_joined", "stack", "order", "slice_spacing_mm", "missing_before", "repeats")
HEADERS = pa.schema(
    [
        *FOUND_FILES,
        pa.field("reason", pa.string()),  # "" if the file is used
        pa.field("detail", pa.string()),
        *(field for field in CATALOGUE if field.name not in {*_COMPUTED, *FOUND_FILES.names}),
        pa.field("orientation", pa.string()),
        pa.field("SeriesNumber", pa.int32()),
        *(pa.field(name, pa.float64()) for name in ("temporal_position", "b_value", "acquired_s", "trigger_ms")),
        pa.field("AcquisitionNumber", pa.int32()),
        pa.field("ImageType", pa.string()),
    ],
    metadata={"tumorprog": __version__},
)
"""A row per frame of each usable file, or one row with the reason why a file is not used; not yet ordered."""

REPEATED_FILES = pa.schema([(name, pa.string()) for name in ("cohort", "path", "first", "SOPInstanceUID")])
"""A file (`path`) with the SOP instance UID of an earlier file, and that file (`first`), which is used."""
