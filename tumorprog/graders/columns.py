"""The columns of the grader's images, training history, predictions and votes."""

import pyarrow as pa

from tumorprog.conventions import GRADES, IMAGE_SIZE
from tumorprog.tables import INT, TEXT

SLICES = pa.schema(
    {
        "slice": pa.int64(),  # row id, unique in the run
        "PatientID": TEXT,
        "StudyInstanceUID": TEXT,
        "SeriesInstanceUID": TEXT,
        "SOPInstanceUID": TEXT,
        "frame": INT,
        "sequence": TEXT,
        "plane": TEXT,
        "Manufacturer": TEXT,
        "Institution": TEXT,
        "grade": INT,  # 2, 3 or 4
        "pixel_hash": TEXT,  # of the stored image; "" if all pixels are equal
        "image": pa.binary(IMAGE_SIZE * IMAGE_SIZE),  # uint8, row-major
    }
)

GRADER_PREDICTIONS = pa.schema(
    [*(SLICES.field(name) for name in SLICES.names if name not in {"frame", "plane", "pixel_hash", "image"})]
    + [pa.field("side", TEXT)]
    + [pa.field(f"p{grade}", pa.float32()) for grade in GRADES]
)

FOLD_PREDICTIONS = GRADER_PREDICTIONS.append(pa.field("fold", INT))
"""Predictions for the test set of each fold; folds are numbered from 1."""

HISTORY = (
    "Epoch",
    "Train Loss",
    "Training Acc (%)",
    "Validation Loss",
    "Validation Acc (%)",
    "Test Loss",
    "Test Acc (%)",
    "Best Model Saved",
)
_VOTES = ("PredictedGrade", "Slices", *(f"Votes{grade}" for grade in GRADES), "Confidence")
SERIES_GRADES = ("PatientID", "date", "Type", *_VOTES)
PATIENT_GRADES = ("PatientID", "date", *_VOTES)
