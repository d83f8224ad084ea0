"""The columns of feature vectors."""

import numpy as np
import pyarrow as pa

from tumorprog.tables import INT, TEXT

VECTOR_LENGTH = 100
"""Length of a feature vector: 88 DCT coefficients, then four statistics of each of LH, HL and HH."""

FEATURES = pa.schema(
    {
        "PatientID": TEXT,
        "date": TEXT,
        "Type": TEXT,
        "sequence": TEXT,
        "SeriesInstanceUID": TEXT,
        "stack": INT,  # within the series; the slices of one stack are one sequence
        "order": INT,
        "region": TEXT,  # what the region of interest comes from: mask, learned, component or brightest
        "vector": pa.list_(pa.float32(), VECTOR_LENGTH),
    }
)


def vector_array(table: pa.Table) -> np.ndarray:
    """Return the feature vectors of rows of `FEATURES`, (N, 100) float32."""
    column = table.column("vector").combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, VECTOR_LENGTH).astype(np.float32)
