"""Mask series of the catalogue -> the tumour volume on each date, and its change since the previous date."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import tables
from tumorprog.imaging import volume
from tumorprog.stages import frames, streaming

_METADATA = pa.schema(
    [pa.field("date", pa.string())]
    + [
        tables.CATALOGUE.field(name)
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
        catalogue: files of `tables.CATALOGUE`.
        scratch: folder for intermediate results, from which an interrupted call resumes.

    Returns:
        Rows of `tables.VOLUMES`; rows of `tables.QUARANTINE` for slices that could not be decoded.
    """
    work = streaming.write_work(scratch / "work", _PLAN, WORK, {}, catalogue=catalogue)
    rejected = streaming.write_shards(work, count_voxels, scratch / "counted", COUNTED, items="slices of masks")
    counted = tables.read_shards(scratch / "counted", COUNTED) if work else COUNTED.empty_table()
    return volumes_by_date(counted.to_pandas()), rejected


def count_voxels(work: pa.Table) -> tuple[pa.Table, streaming.Rejected]:
    """Read slices of masks, rows of `WORK`; return rows of `COUNTED` and the slices that could not be decoded."""
    voxels, decoded, rejected = frames.decode(work, _voxels, like=_COUNT)
    return work.select(_METADATA.names).filter(pa.array(decoded)).append_column("voxels", pa.array(voxels)), rejected


def _voxels(mask: np.ndarray) -> np.ndarray:
    return np.array(np.count_nonzero(mask > 0))


def volumes_by_date(counted: pd.DataFrame) -> pd.DataFrame:
    """Return the tumour volumes by patient and date, and their changes.

    Args:
        counted: rows of `COUNTED`.

    Returns:
        Rows of `tables.VOLUMES`, by patient and date: volume_ml, that of the date's largest mask, because a second one
        is a part or a repetition of it; masks, the number of masks of the date; days_since, change_ml and
        change_percent since the patient's previous date (NaN for the first date, and the percentage also if the
        previous volume is 0). Masks without a date or voxel size are excluded.
    """
    columns, stack = list(tables.VOLUMES), ["PatientID", "date", "SeriesInstanceUID", "stack"]
    dated = counted[counted["date"] != ""]
    masks = [(*key[:2], _volume_ml(slices)) for key, slices in dated.groupby(stack, sort=True)]
    measured = pd.DataFrame(masks, columns=[*stack[:2], "volume_ml"]).dropna()
    dates = measured.groupby(stack[:2], sort=True)["volume_ml"].agg(volume_ml="max", masks="size").reset_index()
    days = dates["date"].map(lambda date: datetime.date.fromisoformat(date).toordinal()).astype(np.float64)
    since = pd.DataFrame({"days": days, "ml": dates["volume_ml"]}).groupby(dates["PatientID"]).diff()
    previous = (dates["volume_ml"] - since["ml"]).replace(0.0, np.nan)
    changes = {"days_since": since["days"], "change_ml": since["ml"], "change_percent": 100 * since["ml"] / previous}
    return dates.assign(**changes)[columns]


def _volume_ml(slices: pd.DataFrame) -> float:
    depths = volume.slab_depths(slices["position_mm"].to_numpy(), float(slices["SliceThickness"].median()))
    areas = (slices["row_spacing_mm"] * slices["column_spacing_mm"]).to_numpy()
    return volume.millilitres(slices["voxels"].to_numpy(), areas, depths)
