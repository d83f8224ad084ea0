"""Slices of the catalogue -> examples that show how their feature vectors are computed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog import queries, tables
from tumorprog.conventions import SEQUENCES
from tumorprog.encoders import spectral
from tumorprog.errors import DicomError, InputError
from tumorprog.formats import reading
from tumorprog.imaging import intensity
from tumorprog.regions.brightest import cluster_thresholds
from tumorprog.regions.packing import find
from tumorprog.report.geometry import geometry, place

COLUMNS = (
    *("path", "frame", "PatientID", "StudyDate", "SeriesInstanceUID", "Type", "sequence"),
    *("Rows", "Columns", "row_spacing_mm", "column_spacing_mm", "plane", "orientation"),
    *("position_mm", "stack", "order"),
)
"""Columns of the catalogue that are required of the slices."""


def slices_of(catalogue: list[Path]) -> pd.DataFrame:
    """Return the slices of the progression cohort, columns `COLUMNS`, ordered by patient, date, series and order.

    Args:
        catalogue: shards of `formats.columns.CATALOGUE`.

    Raises:
        InputError: if an older version wrote the catalogue.
    """
    tables.require_columns(catalogue[0], COLUMNS)
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    sql = f"""SELECT {names} FROM catalogue WHERE cohort = 'progression'
        ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order" """  # noqa: S608
    return queries.fetch(sql, catalogue=catalogue)


def select_series(slices: pd.DataFrame, identifiers: Sequence[str]) -> pd.DataFrame:
    """Return the slices of the series with the given identifiers.

    Args:
        slices: rows of `COLUMNS`.
        identifiers: a SeriesInstanceUID; or PatientID, date and Type.

    Raises:
        InputError: if no series or several series match.
    """
    columns = ["SeriesInstanceUID"] if len(identifiers) == 1 else ["PatientID", "StudyDate", "Type"]
    option = f"--show {' '.join(identifiers)}"
    if len(identifiers) != len(columns):
        raise InputError(f"{option}: give a SeriesInstanceUID, or PatientID, date and Type")
    selected = slices
    for column, value in zip(columns, identifiers, strict=True):
        available = selected[column].unique()
        selected = selected[selected[column] == value]
        if selected.empty:
            first = ", ".join(map(str, available[:5])) + (" ..." if len(available) > 5 else "")
            raise InputError(f"{option}: no {column} {value!r}; available: {first}")
    series = selected["SeriesInstanceUID"].unique()
    if len(series) > 1:
        raise InputError(f"{option}: {len(series)} series match: {', '.join(series)}")
    return selected


def example(
    series: pd.DataFrame, regions: list[Path], options: Mapping[str, Any], *, order: int | None = None
) -> dict[str, Any]:
    """Return a slice and the steps to its feature vector, as `report.regions.figures.feature_steps` draws them.

    Args:
        series: rows of `COLUMNS` of one series.
        regions: shards of `regions.columns.REGIONS`.
        options: of the encoder, see `spectral.options`.
        order: `order` of the slice in the catalogue; None selects the middle slice of the first stack.

    Raises:
        DicomError: if the pixels cannot be decoded.
        InputError: if the series does not contain the slice, or the slice has no region.
    """
    orders = f"{series['order'].min()} to {series['order'].max()}"
    stacks = sorted(series["stack"].unique())
    first = series[series["stack"] == stacks[0]]
    chosen = first.iloc[[len(first) // 2]] if order is None else series[series["order"] == order]
    if chosen.empty:
        raise InputError(f"--slice {order}: the series has slices {orders}")
    row = chosen.to_dict("records")[0]
    scaled = intensity.prepare(reading.read_frame(row["path"], int(row["frame"])))
    region = find(regions, row, scaled)
    parts = spectral.feature_steps(scaled, region.mask, **options)
    low, high = cluster_thresholds(scaled)
    return {
        "title": f"{title(row, series)}; region: {region.method}",
        "order": int(row["order"]),
        "geometry": geometry(row),
        "image": scaled,
        "clusters": np.digitize(scaled, [low, high], right=True),
        "mask": region.mask,
        "bands": parts.bands,
        "coefficients": parts.vector[: spectral.NUM_COEFFICIENTS],
        "positions": spectral.zigzag(*parts.bands[0].shape, spectral.NUM_COEFFICIENTS),
    }


def title(row: Mapping[Any, Any], series: pd.DataFrame) -> str:
    """Return what a slice shows and where it is, such as "T1post, axial, slice 3 of 4, z = 12 mm".

    Args:
        row: of the slice.
        series: rows of `COLUMNS` of its series.
    """
    stacks = sorted(series["stack"].unique())
    stack = f", stack {stacks.index(row['stack']) + 1} of {len(stacks)}" if len(stacks) > 1 else ""
    orders = sorted(series.loc[series["stack"] == row["stack"], "order"])
    return f"{row['sequence']}{stack}, {place(row, orders.index(row['order']) + 1, len(orders))}"


def examples(
    slices: pd.DataFrame, regions: list[Path], options: Mapping[str, Any], *, max_examples: int
) -> list[dict[str, Any]]:
    """Return an example series for each sequence, if possible from different patients.

    Args:
        slices: rows of `COLUMNS`.
        regions: shards of `regions.columns.REGIONS`.
        options: of the encoder, see `spectral.options`.
        max_examples: maximum number of examples.
    """
    images = slices[slices["sequence"].isin(SEQUENCES)]
    selected: list[dict[str, Any]] = []
    for number, (_, rows) in enumerate(images.groupby("sequence", sort=True)):
        if len(selected) == max_examples:
            break
        series = rows["SeriesInstanceUID"].unique()
        try:
            own = rows[rows["SeriesInstanceUID"] == series[number % len(series)]]
            selected.append(example(own, regions, options))
        except DicomError:  # listed in features/_rejected.csv; examples of other sequences suffice
            continue
    return selected
