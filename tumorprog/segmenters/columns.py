"""The columns of the segmenter's input, training history and folds."""

import pyarrow as pa

from tumorprog.tables import INT, TEXT

SAMPLES = pa.schema(
    {
        "slice": pa.int64(),  # row id, unique in the run
        "PatientID": TEXT,
        "date": TEXT,
        "StudyInstanceUID": TEXT,
        "SeriesInstanceUID": TEXT,
        "SOPInstanceUID": TEXT,
        "frame": INT,
        "stack": INT,
        "order": INT,
        "pixel_hash": TEXT,  # of the prepared slice; "" if all pixels are equal
        "mask_pixels": INT,  # of the prepared mask
        "image": pa.binary(),  # uint8, (channels, side, side): slices below, itself, above; of each sequence
        "mask": pa.binary(),  # uint8 0 or 1, (side, side)
    }
)
"""A row per slice of a stack with a tumour mask."""

SEGMENTER_HISTORY = ("Epoch", "Train Loss", "Train Dice")
SEGMENTER_FOLDS = ("PatientID", "fold")
"""The fold whose model was trained without the patient, from 1."""
