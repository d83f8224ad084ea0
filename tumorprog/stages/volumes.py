"""Mask series of the catalogue -> the volume of the tumour on each date, and its change since the date before."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import tables
from tumorprog.imaging import volume
from tumorprog.stages import frames, streaming

_KNOWN = pa.schema(
    [pa.field("date", pa.string())]
    + [
        tables.CATALOGUE.field(name)
        for name in (
            *("PatientID", "SeriesInstanceUID", "stack", "position_mm"),
            *("SliceThickness", "row_spacing_mm", "column_spacing_mm"),
        )
    ]
)
WORK = pa.schema([*frames.SCHEMA, *_KNOWN])
COUNTED = pa.schema([*_KNOWN, pa.field("voxels", pa.int64())])
"""A row per slice of a mask: where it lies, the size of its pixels, and how many of these are not 0."""

_PLAN = """
SELECT *, StudyDate AS date FROM catalogue WHERE cohort = 'progression' AND sequence = 'mask'
ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order"
"""
_COUNT = np.empty((), np.int64)


def measure(catalogue: list[Path], scratch: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts the voxels of all masks of the progression cohort; Ray must be connected.

    Args:
        catalogue: files of `tables.CATALOGUE`.
        scratch: a folder for what is counted so far.

    Returns:
        Rows of `tables.VOLUMES`; rows of `tables.QUARANTINE` for slices that could not be decoded.
    """
    work = streaming.write_work(scratch / "work", _PLAN, WORK, {}, catalogue=catalogue)
    rejected = streaming.write_shards(work, count, scratch / "counted", COUNTED, items="slices of masks")
    counted = tables.read_shards(scratch / "counted", COUNTED) if work else COUNTED.empty_table()
    return of_dates(counted.to_pandas()), rejected


def count(work: pa.Table) -> tuple[pa.Table, streaming.Rejected]:
    """Opens slices of masks, rows of `WORK` -> rows of `COUNTED`, and those that could not be decoded."""
    voxels, decoded, rejected = frames.decode(work, _voxels, like=_COUNT)
    return work.select(_KNOWN.names).filter(pa.array(decoded)).append_column("voxels", pa.array(voxels)), rejected


def _voxels(mask: np.ndarray) -> np.ndarray:
    return np.array(np.count_nonzero(mask > 0))


def of_dates(counted: pd.DataFrame) -> pd.DataFrame:
    """The volumes of the masks, and how they change.

    Args:
        counted: rows of `COUNTED`.

    Returns:
        Rows of `tables.VOLUMES`, by patient and date: volume_ml; masks, how many there are of that date, of which the
        largest counts, because a second one is a part or a repetition; days_since, change_ml and change_percent since
        the patient's date before (NaN for the first, and the percentage where that volume is 0). Masks without a date
        or without the size of their voxels have no row.
    """
    columns, stack = list(tables.VOLUMES), ["PatientID", "date", "SeriesInstanceUID", "stack"]
    dated = counted[counted["date"] != ""]
    masks = [(*key[:2], _volume_ml(slices)) for key, slices in dated.groupby(stack, sort=True)]
    known = pd.DataFrame(masks, columns=[*stack[:2], "volume_ml"]).dropna()
    dates = known.groupby(stack[:2], sort=True)["volume_ml"].agg(volume_ml="max", masks="size").reset_index()
    days = dates["date"].map(lambda date: datetime.date.fromisoformat(date).toordinal()).astype(np.float64)
    since = pd.DataFrame({"days": days, "ml": dates["volume_ml"]}).groupby(dates["PatientID"]).diff()
    before = (dates["volume_ml"] - since["ml"]).replace(0.0, np.nan)
    changes = {"days_since": since["days"], "change_ml": since["ml"], "change_percent": 100 * since["ml"] / before}
    return dates.assign(**changes)[columns]


def _volume_ml(slices: pd.DataFrame) -> float:
    depths = volume.slab_depths(slices["position_mm"].to_numpy(), float(slices["SliceThickness"].median()))
    areas = (slices["row_spacing_mm"] * slices["column_spacing_mm"]).to_numpy()
    return volume.millilitres(slices["voxels"].to_numpy(), areas, depths)
