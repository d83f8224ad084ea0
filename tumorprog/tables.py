"""The columns of every table that a stage writes, and how tables are read, checked and written.

The names are a contract with users' scripts (tests/contract checks them). Large tables are Parquet, tables for people
are CSV. Files are written atomically.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tumorprog import storage
from tumorprog.errors import InputError

GRADES = (2, 3, 4)
"""WHO grades: the classes of the grader, in the order of its outputs."""

IMAGE_SIZE = 224
"""Width and height of the grader's input, in pixels."""

VECTOR_LENGTH = 100
"""Length of a feature vector: 88 DCT coefficients, then four statistics of each of LH, HL and HH."""

DAYS_PER_MONTH = 30.4375
"""A twelfth of a year of 365.25 days."""

REASONS = {
    "unreadable": "the file could not be opened or read",
    "empty": "the file has no bytes",
    "not_dicom": "the file is not DICOM",
    "index_file": "a DICOMDIR or another index, which contains no image",
    "damaged_header": "the header is truncated or cannot be parsed",
    "not_mr": "another modality or kind of object than an MR image or a mask",
    "no_pixels": "a DICOM object without pixel data",
    "colour": "more than one sample per pixel, or a palette",
    "bad_geometry": "impossible numbers of rows, columns or bits",
    "truncated_pixels": "less pixel data than the header specifies",
    "undecodable": "the pixel data could not be decoded",
    "no_identity": "neither the header nor the path identifies the patient and the series",
    "duplicate": "the same SOP instance, with the same pixels, is read from another file",
    "conflict": "the same SOP instance, with different pixels, is read from another file",
}
"""The reasons in `quarantine.csv`, and what each means."""

_TEXT, _INT, _LONG, _REAL = pa.string(), pa.int32(), pa.int64(), pa.float64()

CATALOGUE = pa.schema(
    {
        "path": _TEXT,  # absolute; bytes of a name that are not UTF-8 are written as \\xNN
        "frame": _INT,  # 0-based; 0 for single-frame files
        "cohort": _TEXT,  # "grading" or "progression": the archive that the file is from
        "PatientID": _TEXT,  # the first spelling of the id in the catalogue
        "PatientID_stated": _TEXT,  # as in the header, or in the path if the header lacks it
        "StudyDate": _TEXT,  # ISO 8601, "" if unknown; another date of the header if StudyDate is lost, see warnings
        "StudyInstanceUID": _TEXT,
        "SeriesInstanceUID": _TEXT,
        "SOPInstanceUID": _TEXT,
        "SOPClassUID": _TEXT,
        "TransferSyntaxUID": _TEXT,
        "SeriesDescription": _TEXT,
        "Type": _TEXT,  # SeriesDescription, or `sequence` where that is empty
        "sequence": _TEXT,  # canonical name, see dicom.sequence
        "sequence_source": _TEXT,  # the DICOM keyword that it is derived from
        "sequence_witnesses": _TEXT,  # which of texts, physics, agent agree with it, separated by commas
        "sequence_contradiction": _TEXT,  # how they contradict each other; "" if they do not
        "plane": _TEXT,  # axial, coronal, sagittal, oblique or "" without an orientation
        "Manufacturer": _TEXT,
        "Rows": _INT,
        "Columns": _INT,
        "row_spacing_mm": _REAL,
        "column_spacing_mm": _REAL,
        "SliceThickness": _REAL,  # mm
        "InstanceNumber": _INT,  # -1 if missing
        "EchoNumbers": _INT,  # -1 if missing
        "EchoTime": _REAL,  # ms; NaN if missing
        "component": _TEXT,  # magnitude, phase, real or imaginary; "" if not stated
        "position_mm": _REAL,  # along the slice normal; NaN if unknown
        "series_joined": _INT,  # number of single-slice series that were joined under the UID of the first; 0: none
        "stack": _INT,  # within the series: one volume, see stages.stacking
        "order": _INT,  # within the series: by stack, then position, then InstanceNumber
        "slice_spacing_mm": _REAL,  # median distance between the positions of the stack; NaN for fewer than two
        "missing_before": _INT,  # number of slices that seem to be missing before this one in the stack
        "repeats": _INT,  # number of earlier slices in the stack at the same position
        "PhotometricInterpretation": _TEXT,
        "RescaleSlope": _REAL,
        "RescaleIntercept": _REAL,
        "pixel_offset": _LONG,  # byte of the file at which the frame's stored values begin; -1: requires parsing DICOM
        "pixel_bytes": _LONG,  # number of bytes; -1 likewise
        "pixel_dtype": _TEXT,  # of the stored values: "<u2"; "<u2:12" if 12 bits are used, "<u2:12:15" if up to bit 15
        "padding_low": _REAL,  # stored values from this one to padding_high are padding; NaN if there is no padding
        "padding_high": _REAL,
        "file_bytes": _LONG,  # size of the file
        "warnings": _TEXT,  # oddities of the file, mostly as reported by pydicom, without the values that it quotes
    }
)

SLICES = pa.schema(
    {
        "slice": pa.int64(),  # row id, unique in the run
        "PatientID": _TEXT,
        "StudyInstanceUID": _TEXT,
        "SeriesInstanceUID": _TEXT,
        "SOPInstanceUID": _TEXT,
        "frame": _INT,
        "sequence": _TEXT,
        "plane": _TEXT,
        "Manufacturer": _TEXT,
        "Institution": _TEXT,
        "grade": _INT,  # 2, 3 or 4
        "pixel_hash": _TEXT,  # of the stored image; "" if all pixels are equal
        "image": pa.binary(IMAGE_SIZE * IMAGE_SIZE),  # uint8, row-major
    }
)

GRADER_PREDICTIONS = pa.schema(
    [*(SLICES.field(name) for name in SLICES.names if name not in {"frame", "plane", "pixel_hash", "image"})]
    + [pa.field("side", _TEXT)]
    + [pa.field(f"p{grade}", pa.float32()) for grade in GRADES]
)

FOLD_PREDICTIONS = GRADER_PREDICTIONS.append(pa.field("fold", _INT))
"""Predictions for the test set of each fold; folds are numbered from 1."""

FEATURES = pa.schema(
    {
        "PatientID": _TEXT,
        "date": _TEXT,
        "Type": _TEXT,
        "sequence": _TEXT,
        "SeriesInstanceUID": _TEXT,
        "stack": _INT,  # within the series; the slices of one stack are one sequence
        "order": _INT,
        "vector": pa.list_(pa.float32(), VECTOR_LENGTH),
    }
)

SUMMARY = "_summary.json"
"""File next to shards; readers of a folder of Parquet files ignore names that begin with an underscore."""

SYNTHETIC = "synthetic.json"
"""File next to the archives of a synthetic cohort."""

QUARANTINE = ("path", "reason", "detail")
COHORT = ("PatientID", "grade", "Institution", "status")
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
TIMELINE = ("PatientID", "studies", "dates", "time_points", "status")
VOLUMES = ("PatientID", "date", "volume_ml", "masks", "days_since", "change_ml", "change_percent")
REFERENCE_SHEET = ("PatientID", "date", "Type", "PredictedGrade", "MonthDif", "days", "FirstGrade", "LaterGrade")
PREDICTIONS = (
    *("PatientID", "date", "Type", "PredictedGrade", "Predicted_Progression_Timeline", "Lower", "Upper"),
    *("SeriesInstanceUID", "stack"),
)
OUTCOMES = ("PatientID", "date", "outcome_date", "months", "event", "status")
SURVIVAL_MONTHS = (1, 2, 3, 4, 6, 9, 12, 18, 24, 36, 48, 60)
"""Months at which the probability of no progression is reported."""
_SURVIVAL = ("months", "event", "Expected_Months", *(f"Survival_{months}m" for months in SURVIVAL_MONTHS))
SURVIVAL_MODELS = ("model", "life table")
"""The models whose curves `PATIENT_SURVIVAL` holds; the life table, one curve for all patients, is the baseline."""
SURVIVAL_PREDICTIONS = (
    *("PatientID", "date", "Type", "Fold", "Protocol", "Cohort", *_SURVIVAL, "Weight"),
    *("SeriesInstanceUID", "stack"),
)
PATIENT_SURVIVAL = ("Model", "PatientID", "date", "Fold", "Protocol", "Cohort", *_SURVIVAL, "Series")
NEW_PATIENTS = ("PatientID", "date", "Predicted_Progression_Timeline", "Lower", "Upper", "Series")
FOLDS = ("Protocol", "Cohort", "Fold", "PatientID", "date", "Type", "side")
PROGRESSION_HISTORY = ("Protocol", "Cohort", "Fold", "Epoch", "Train Loss", "Validation Loss")
PROGRESSION_PREDICTIONS = (
    "PatientID",
    "date",
    "Type",
    "PredictedGrade",
    "MonthDif",
    "Predicted_Progression_Timeline",
    "Fold",
    "Protocol",
    "Cohort",
    "Lower",
    "Upper",
    "days",
    "Weight",
    "SeriesInstanceUID",
    "stack",
)
PATIENT_PREDICTIONS = (
    *("PatientID", "date", "MonthDif", "Predicted_Progression_Timeline", "Fold", "Protocol", "Cohort"),
    *("Lower", "Upper", "days", "Series"),
)
BASELINES = ("Baseline", *PROGRESSION_PREDICTIONS)
NULL_CONTROL = ("Model", *PROGRESSION_PREDICTIONS)


def shards(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder, sorted by name.

    Raises:
        InputError: if there are none.
    """
    found = sorted(folder.glob("[!._]*.parquet"))
    if not found:
        raise InputError(f"{folder}: no *.parquet files; run `tumorprog {folder.name}` first")
    return found


def read_shards(folder: Path, schema: pa.Schema, columns: Sequence[str] = ()) -> pa.Table:
    """Return the rows of all shards of a folder, in the order of the shards' names.

    Args:
        folder: contains *.parquet files with one schema.
        schema: the expected columns and types.
        columns: the columns to read; all if empty.

    Raises:
        InputError: if a shard lacks columns or cannot be read.
    """
    names = list(columns) or schema.names
    return pa.concat_tables([_read_one(path, schema, names) for path in shards(folder)])


def _read_one(path: Path, schema: pa.Schema, names: list[str]) -> pa.Table:
    try:
        with path.open("rb") as file:
            return pq.read_table(file, columns=names).cast(pa.schema([schema.field(name) for name in names]))
    except (pa.ArrowInvalid, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a table of tumorprog ({error}); delete it and run the stage again") from error


class Shard:
    """A Parquet file that is written row group by row group."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema

    def add(self, table: pa.Table) -> None:
        """Append rows that have exactly the columns of the schema."""
        self._writer.write_table(table.select(self._schema.names).cast(self._schema))

    def add_metadata(self, metadata: Mapping[str, str]) -> None:
        """Add key-value metadata to the file."""
        self._writer.add_key_value_metadata(dict(metadata))


@contextmanager
def shard(path: Path, schema: pa.Schema) -> Iterator[Shard]:
    """Open a Parquet file for writing; it appears atomically when the context ends.

    Images are stored uncompressed and without statistics: they would shrink little, and are read faster this way.

    Args:
        path: of the file; its folder must exist.
        schema: of the rows.
    """
    others = [name for name in schema.names if name != "image"]
    uncompressed = {"compression": "none", "use_dictionary": others, "write_statistics": others}
    options = uncompressed if "image" in schema.names else {"compression": "zstd"}
    with storage.whole(path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        yield Shard(writer, schema)


def write_shard(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write one Parquet file atomically.

    Args:
        path: of the file; its folder must exist.
        table: has exactly the columns of `schema`.
        schema: of the rows.
    """
    with shard(path, schema) as file:
        file.add(table)


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV that has at least the named columns; ids and dates are text, with "" for empty cells.

    Raises:
        InputError: if the file or a column is missing.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage that writes it first")
    text = dict.fromkeys(("PatientID", "patient", "date", "Type", "Institution", "SeriesInstanceUID"), str)
    with path.open("rb") as file:
        frame = pd.read_csv(file, dtype=text)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; found {', '.join(map(str, frame.columns))}")
    present = [name for name in text if name in frame.columns]
    frame[present] = frame[present].fillna("")
    return frame


def write_csv(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write the named columns, in that order, atomically."""
    with storage.whole(path) as file:
        frame.reindex(columns=list(columns)).to_csv(file, index=False, quoting=csv.QUOTE_MINIMAL)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; raises ValueError for NaN, which JSON does not have."""
    storage.write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the `_summary.json` of a folder of shards: counts, and the settings that its rows were computed with.

    Raises:
        InputError: if it does not exist.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `tumorprog {folder.name}` first")
    return json.loads(path.read_text())


def images(table: pa.Table) -> np.ndarray:
    """Return the images of rows of `SLICES`.

    Args:
        table: has a column `image`.

    Returns:
        (N, 224, 224) uint8; a view if the column is one chunk.
    """
    column = table.column("image").combine_chunks()
    chunks: Iterator[pa.Array] = iter(column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    width = IMAGE_SIZE * IMAGE_SIZE
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * width, chunk.offset * width).reshape(
            -1, IMAGE_SIZE, IMAGE_SIZE
        )
        for chunk in chunks
        if len(chunk)
    ]
    if not parts:
        return np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def images_of(folder: Path, slices: Sequence[int]) -> np.ndarray:
    """Read the images of a few slices, and no others.

    Args:
        folder: of shards of `SLICES`.
        slices: their numbers, in any order.

    Returns:
        (N, 224, 224) uint8, in the order of `slices`.

    Raises:
        InputError: if a slice does not exist.
    """
    found: dict[int, np.ndarray] = {}
    missing = set(slices)
    for path in shards(folder):
        if not missing:
            break
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            for group in range(file.num_row_groups):
                numbers = file.read_row_group(group, columns=["slice"])["slice"].to_pylist()
                if missing.isdisjoint(numbers):
                    continue
                rows = images(file.read_row_group(group, columns=["image"]))
                found |= {number: rows[index].copy() for index, number in enumerate(numbers) if number in missing}
                missing -= set(numbers)
    if missing:
        raise InputError(f"{folder}: no slice {min(missing)}; run `tumorprog train-grader` again")
    return np.stack([found[number] for number in slices]) if slices else np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)


def vectors(table: pa.Table) -> np.ndarray:
    """Return the feature vectors of rows of `FEATURES`, (N, 100) float32."""
    column = table.column("vector").combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, VECTOR_LENGTH).astype(np.float32)
