"""Counted voxels of masks -> the tumour volume on each date, and its change since the previous date."""

import datetime

import numpy as np
import pandas as pd

from tumorprog.cohort.columns import VOLUMES
from tumorprog.imaging import volume


def volumes_by_date(counted: pd.DataFrame) -> pd.DataFrame:
    """Return the tumour volumes by patient and date, and their changes.

    Args:
        counted: rows of `COUNTED`.

    Returns:
        Rows of `columns.VOLUMES`, by patient and date: volume_ml, that of the date's largest mask, because a second one
        is a part or a repetition of it; masks, the number of masks of the date; days_since, change_ml and
        change_percent since the patient's previous date (NaN for the first date, and the percentage also if the
        previous volume is 0). Masks without a date or voxel size are excluded.
    """
    columns, stack = list(VOLUMES), ["PatientID", "date", "SeriesInstanceUID", "stack"]
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
    depths = volume.slab_thicknesses(slices["position_mm"].to_numpy(), float(slices["SliceThickness"].median()))
    areas = (slices["row_spacing_mm"] * slices["column_spacing_mm"]).to_numpy()
    return volume.volume_ml(slices["voxels"].to_numpy(), areas, depths)
