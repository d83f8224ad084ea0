"""The columns of the tables from which a catalogue is built."""

import pyarrow as pa

from tumorprog import __version__
from tumorprog.formats.columns import ROW

FOUND_FILES = pa.schema({"path": pa.string(), "cohort": pa.string(), "file_bytes": pa.int64(), "modified": pa.int64()})
"""A row per file that was found, as the file system describes it."""

HEADERS = pa.schema(
    [
        *FOUND_FILES,
        pa.field("reason", pa.string()),  # "" if the file is used
        pa.field("detail", pa.string()),
        *(field for field in ROW if field.name not in FOUND_FILES.names),
    ],
    metadata={"tumorprog": __version__},
)
"""A row per frame of each usable file, or one row with the reason why a file is not used; not yet ordered."""

REPEATED_FILES = pa.schema([(name, pa.string()) for name in ("cohort", "path", "first", "SOPInstanceUID")])
"""A file (`path`) with the SOP instance UID of an earlier file, and that file (`first`), which is used."""
