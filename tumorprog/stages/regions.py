"""Regions of interest of slices of the catalogue: examples for figures, and their overlap with tumour masks."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tumorprog.dicom import pixels
from tumorprog.errors import DicomError, InputError
from tumorprog.evaluation.overlap import COUNTS
from tumorprog.imaging import intensity, roi, spectral
from tumorprog.settings import SEQUENCES, Settings
from tumorprog.stages import queries

COLUMNS = (
    *("path", "frame", "PatientID", "StudyDate", "SeriesInstanceUID", "Type", "sequence"),
    *("Rows", "Columns", "position_mm", "stack", "order"),
)
"""Columns of the catalogue that are required of the slices."""

_MAX_SERIES = 12
"""Series per sequence whose overlap is measured, spread over the patients; a mean of 12 takes a few seconds."""


def slices_of(catalogue: list[Path]) -> pd.DataFrame:
    """Return the slices of the progression cohort, columns `COLUMNS`, ordered by patient, date, series and order.

    Args:
        catalogue: shards of `tables.CATALOGUE`.
    """
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    sql = f"""SELECT {names} FROM catalogue WHERE cohort = 'progression'
        ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order" """  # noqa: S608
    return queries.ask(sql, catalogue=catalogue)


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


def example(series: pd.DataFrame, settings: Settings, *, order: int | None = None) -> dict[str, Any]:
    """Return a slice and the steps to its feature vector, for `figures.feature_steps` and `figures.roi_panel`.

    Args:
        series: rows of `COLUMNS` of one series.
        settings: `roi.method` and `features.wavelet` are used.
        order: `order` of the slice in the catalogue; None selects the middle slice of the first stack.

    Raises:
        DicomError: if the pixels cannot be decoded.
        InputError: if the series does not contain the slice.
    """
    orders = f"{series['order'].min()} to {series['order'].max()}"
    stacks = sorted(series["stack"].unique())
    first = series[series["stack"] == stacks[0]]
    chosen = first.iloc[[len(first) // 2]] if order is None else series[series["order"] == order]
    if chosen.empty:
        raise InputError(f"--slice {order}: the series has slices {orders}")
    row = chosen.iloc[0]
    frame = pixels.read_frame(row["path"], int(row["frame"]))
    parts = spectral.parts(frame, wavelet=settings.features.wavelet, method=settings.roi.method)
    low, high = roi.cluster_thresholds(parts.scaled)
    stack = f", stack {stacks.index(row['stack']) + 1} of {len(stacks)}" if len(stacks) > 1 else ""
    return {
        "title": f"{row['sequence']}{stack}, slice {row['order']} (of {orders})",
        "image": parts.scaled,
        "clusters": np.digitize(parts.scaled, [low, high], right=True),
        "mask": parts.region,
        "bands": parts.bands,
        "coefficients": parts.vector[: spectral.NUM_COEFFICIENTS],
        "positions": spectral.zigzag(*parts.bands[0].shape, spectral.NUM_COEFFICIENTS),
    }


def examples(slices: pd.DataFrame, settings: Settings, *, max_examples: int) -> list[dict[str, Any]]:
    """Return an example series for each sequence, if possible from different patients.

    Args:
        slices: rows of `COLUMNS`.
        settings: `roi.method` and `features.wavelet` are used.
        max_examples: maximum number of examples.
    """
    images = slices[slices["sequence"].isin(SEQUENCES)]
    selected: list[dict[str, Any]] = []
    for number, (_, rows) in enumerate(images.groupby("sequence", sort=True)):
        if len(selected) == max_examples:
            break
        series = rows["SeriesInstanceUID"].unique()
        try:
            selected.append(example(rows[rows["SeriesInstanceUID"] == series[number % len(series)]], settings))
        except DicomError:  # listed in features/_rejected.csv; examples of other sequences suffice
            continue
    return selected


def overlaps(slices: pd.DataFrame) -> pd.DataFrame:
    """Count the overlap of each method's region with the mask of its study, as rows of `evaluation.overlap.COUNTS`.

    A slice is compared with the mask slice of the same position and size; both are resized to the size of the feature
    images. Series of studies without a mask and slices that cannot be decoded are excluded.
    """
    study, geometry = ["PatientID", "StudyDate"], ["Rows", "Columns", "position"]
    located = slices.assign(position=slices["position_mm"].round(1)).dropna(subset="position")
    masks = located.loc[located["sequence"] == "mask", [*study, *geometry, "path", "frame"]]
    images = located[located["sequence"].isin(SEQUENCES)]
    pairs = images.merge(masks, on=[*study, *geometry], suffixes=("", "_mask"))
    cv2.setNumThreads(1)
    counts = [count for _, rows in pairs.groupby("sequence") for count in _overlaps_of(rows)]
    table = pd.DataFrame(counts, columns=list(COUNTS))
    keys = ["PatientID", "SeriesInstanceUID", "sequence", "method"]
    return table.groupby(keys, as_index=False)[["both", "region", "mask"]].sum()


def _overlaps_of(pairs: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    series = pairs["SeriesInstanceUID"].unique()
    kept = series[np.unique(np.linspace(0, len(series) - 1, _MAX_SERIES).astype(int))]
    for pair in pairs[pairs["SeriesInstanceUID"].isin(kept)].to_dict("records"):
        try:
            image = pixels.read_frame(pair["path"], pair["frame"])
            mask_image = pixels.read_frame(pair["path_mask"], pair["frame_mask"])
        except DicomError:  # listed in features/_rejected.csv if the image is at fault
            continue
        scaled = spectral.prepared(image)
        mask = intensity.resize((mask_image > 0).astype(np.float32), spectral.SIDE) > 0.5
        for method, region_of in roi.REGIONS.items():
            region = region_of(scaled)
            both = np.count_nonzero(region & mask)
            identity = pair["PatientID"], pair["SeriesInstanceUID"], pair["sequence"], method
            yield *identity, both, np.count_nonzero(region), np.count_nonzero(mask)
