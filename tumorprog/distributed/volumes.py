"""Mask series of the catalogue -> the tumour volume on each date."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import tables
from tumorprog.cohort.volumes import volumes_by_date
from tumorprog.distributed import shards
from tumorprog.formats import frames
from tumorprog.formats.columns import CATALOGUE, Rejected

_METADATA = pa.schema(
    [pa.field("date", pa.string())]
    + [
        CATALOGUE.field(name)
        for name in (
            *("PatientID", "SeriesInstanceUID", "stack", "position_mm"),
            *("SliceThickness", "row_spacing_mm", "column_spacing_mm"),
        )
    ]
)
WORK = pa.schema([*frames.SCHEMA, *_METADATA])
COUNTED = pa.schema([*_METADATA, pa.field("voxels", pa.int64())])
"""A row per slice of a mask: its position, its pixel spacings and the number of voxels that are not 0."""

_PLAN = """
SELECT *, StudyDate AS date FROM catalogue WHERE cohort = 'progression' AND sequence = 'mask'
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""
_COUNT = np.empty((), np.int64)


def measure(catalogue: list[Path], scratch: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the volumes of all masks of the progression cohort; Ray must be connected.

    Args:
        catalogue: files of `formats.columns.CATALOGUE`.
        scratch: folder for intermediate results, from which an interrupted call resumes.

    Returns:
        Rows of `cohort.columns.VOLUMES`; rows of `formats.columns.QUARANTINE` for slices that could not be decoded.
    """
    work = shards.write_work(scratch / "work", _PLAN, WORK, {}, catalogue=catalogue)
    rejected = shards.write_shards(work, count_voxels, scratch / "counted", COUNTED, items="slices of masks")
    counted = tables.read_shards(scratch / "counted", COUNTED) if work else COUNTED.empty_table()
    return volumes_by_date(counted.to_pandas()), rejected


def count_voxels(work: pa.Table) -> tuple[pa.Table, Rejected]:
    """Read slices of masks, rows of `WORK`; return rows of `COUNTED` and the slices that could not be decoded."""
    voxels, decoded, rejected = frames.decode(work, _voxels, like=_COUNT)
    return work.select(_METADATA.names).filter(pa.array(decoded)).append_column("voxels", pa.array(voxels)), rejected


def _voxels(mask: np.ndarray) -> np.ndarray:
    return np.array(np.count_nonzero(mask > 0))
