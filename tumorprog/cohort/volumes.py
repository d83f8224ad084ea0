"""Measured regions -> the tumour volume on each date, and its change since the previous date."""

import datetime

import numpy as np
import pandas as pd

from tumorprog.cohort.columns import VOLUMES
from tumorprog.imaging import volume

MEASURED = tuple(name for name in VOLUMES if name.endswith("_ml") and name != "change_ml")
"""The volumes of one mask or one segmented stack."""


def volumes_by_date(measured: pd.DataFrame) -> pd.DataFrame:
    """Return the tumour volumes by patient and date, and their changes.

    Args:
        measured: PatientID, date, method and the columns `MEASURED`, a row per mask or segmented stack; all rows of a
            date have the same method.

    Returns:
        Rows of `columns.VOLUMES`, by patient and date: the volumes of the date's largest mask, because a second one is
        a part or a repetition of it; masks, the number of masks of the date; days_since, change_ml and change_percent
        since the patient's previous date (NaN for the first date, and the percentage also if the previous volume is 0).
        Regions without a date or voxel size are excluded.
    """
    keys = ["PatientID", "date"]
    dated = measured[(measured["date"] != "") & measured["volume_ml"].notna()]
    ordered = dated.sort_values([*keys, "volume_ml"], ascending=[True, True, False], kind="stable")
    dates = ordered.drop_duplicates(keys).reset_index(drop=True)
    masks = ordered["method"].eq("mask").groupby([ordered[key] for key in keys]).sum().to_numpy()
    days = dates["date"].map(lambda date: datetime.date.fromisoformat(date).toordinal()).astype(np.float64)
    since = pd.DataFrame({"days": days, "ml": dates["volume_ml"]}).groupby(dates["PatientID"]).diff()
    previous = (dates["volume_ml"] - since["ml"]).replace(0.0, np.nan)
    changes = {"days_since": since["days"], "change_ml": since["ml"], "change_percent": 100 * since["ml"] / previous}
    return dates.assign(masks=masks, **changes)[list(VOLUMES)]


def stack_ml(voxels: np.ndarray, slices: pd.DataFrame) -> float:
    """Return the volume of a region of a stack in ml; NaN if the size of a voxel is unknown.

    Args:
        voxels: (N,) number of voxels of each slice in the region.
        slices: (N rows) position_mm, SliceThickness, row_spacing_mm, column_spacing_mm.
    """
    depths = volume.slab_thicknesses(slices["position_mm"].to_numpy(), float(slices["SliceThickness"].median()))
    areas = (slices["row_spacing_mm"] * slices["column_spacing_mm"]).to_numpy()
    return volume.volume_ml(voxels, areas, depths)
