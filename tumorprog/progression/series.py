"""Tables of a run directory -> the series to train on, with the months to progression."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog import tables
from tumorprog.cohort import timeline
from tumorprog.cohort.columns import VOLUMES
from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.encoders.columns import FEATURES, vector_array
from tumorprog.heads.fitting import SeriesDataset
from tumorprog.progression.columns import REFERENCE_SHEET

KEYS = ["PatientID", "date", "Type"]
"""Columns that identify a series to the user."""

_NAMES = [*KEYS, "sequence", "SeriesInstanceUID", "stack"]


def read_series(features: Path) -> pd.DataFrame:
    """Return the series that have features.

    Args:
        features: folder of `encoders.columns.FEATURES`.

    Returns:
        A row per stack: PatientID, date, Type, sequence, SeriesInstanceUID, stack, region (what the regions of its
        slices come from, such as "component, mask") and vectors, (L, 100) float32 in slice order.
    """
    table = tables.read_shards(features, FEATURES)
    rows = table.drop_columns(["vector"]).to_pandas()
    vectors = vector_array(table)
    stacks = [
        {
            **dict(zip(_NAMES, key, strict=True)),
            "region": ", ".join(sorted(set(group["region"]))),
            "vectors": vectors[group.index],
        }
        for key, group in rows.sort_values("order").groupby(_NAMES, sort=True)
    ]
    return pd.DataFrame(stacks, columns=[*_NAMES, "region", "vectors"])


def reference_sheet(patients: pd.DataFrame, series: pd.DataFrame, *, min_gap_days: int) -> pd.DataFrame:
    """Return what the progression model is trained on: the series of each pair's first date and the time to the second.

    Args:
        patients: result of `grades_of_patients`.
        series: result of `vote` for the series, with PatientID, StudyDate and Type.
        min_gap_days: studies that are fewer days apart are one time point.

    Returns:
        Rows of `progression.columns.REFERENCE_SHEET`. FirstGrade and LaterGrade are the patient's on the two dates.
    """
    pairs = timeline.pairs(patients[["PatientID", "date"]], min_gap_days=min_gap_days)
    grades = patients[["PatientID", "date", "PredictedGrade"]]
    for date, name in (("first", "FirstGrade"), ("second", "LaterGrade")):
        renamed = grades.rename(columns={"date": date, "PredictedGrade": name})
        pairs = pairs.merge(renamed, on=["PatientID", date], how="left")
    first_series = series.rename(columns={"StudyDate": "date"})
    return pairs.merge(first_series, left_on=["PatientID", "first"], right_on=["PatientID", "date"], how="inner")


def read_training_series(folder: Path) -> pd.DataFrame:
    """Return the series of each patient's first date, with the time to the next date.

    Returns:
        The columns of `read_series` and of `REFERENCE_SHEET`, months = days / 30.4375, and volume_ml of
        the date's mask (NaN without one).
    """
    sheet = tables.read_csv(folder / "reference_sheet.csv", REFERENCE_SHEET).drop_duplicates(KEYS)
    volumes = tables.read_csv(folder / "volumes.csv", VOLUMES)[["PatientID", "date", "volume_ml"]]
    series = read_series(folder / "features").merge(sheet, on=KEYS).merge(volumes, on=KEYS[:2], how="left")
    return series.assign(months=series["days"] / DAYS_PER_MONTH)


def select_rows(series: pd.DataFrame, rows: np.ndarray) -> SeriesDataset:
    """Return the given rows of `read_training_series` as input of the training functions."""
    chosen = series.iloc[rows]
    return SeriesDataset(vectors=list(chosen["vectors"]), months=chosen["months"].to_numpy())


def read_options(folder: Path) -> dict[str, Any]:
    """Return what the features of a run directory depend on besides the slices.

    These are `spectral.options`, and in "roi" `regions.methods.options`.
    """
    summary = tables.read_summary(folder / "features")
    return {name: value for name, value in summary.items() if name not in {"vectors", "series", "rejected"}}
