"""Slices of the catalogue -> what is to be seen of their regions of interest, and how these overlap with masks."""

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
"""What must be known of the slices."""

_MOST_SERIES = 12
"""Of a sequence whose overlap is measured, spread over the patients: enough for a mean, in some seconds."""


def slices_of(catalogue: list[Path]) -> pd.DataFrame:
    """The slices of the progression cohort, columns `COLUMNS`, ordered by patient, date, series and place.

    Args:
        catalogue: files of `tables.CATALOGUE`.
    """
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    sql = f"""SELECT {names} FROM catalogue WHERE cohort = 'progression'
        ORDER BY PatientID, StudyDate, SeriesInstanceUID, "order" """  # noqa: S608
    return queries.ask(sql, catalogue=catalogue)


def series_named(slices: pd.DataFrame, words: Sequence[str]) -> pd.DataFrame:
    """The slices of the one series that is meant.

    Args:
        slices: rows of `COLUMNS`.
        words: a SeriesInstanceUID; or PatientID, date and Type.

    Raises:
        InputError: if no series, or several, are called so.
    """
    columns = ["SeriesInstanceUID"] if len(words) == 1 else ["PatientID", "StudyDate", "Type"]
    if len(words) != len(columns):
        raise InputError(f"--show {' '.join(words)}: name a SeriesInstanceUID, or PatientID, date and Type")
    found = slices
    for column, word in zip(columns, words, strict=True):
        there = found[column].unique()
        found = found[found[column] == word]
        if found.empty:
            some = ", ".join(map(str, there[:5])) + (" ..." if len(there) > 5 else "")
            raise InputError(f"--show {' '.join(words)}: no {column} {word!r}; there is {some}")
    series = found["SeriesInstanceUID"].unique()
    if len(series) > 1:
        raise InputError(f"--show {' '.join(words)}: {len(series)} series are called so: {', '.join(series)}")
    return found


def example(series: pd.DataFrame, settings: Settings, *, order: int | None = None) -> dict[str, Any]:
    """A slice of a series and the steps to its vector, for `figures.feature_steps` and `figures.roi_panel`.

    Args:
        series: rows of `COLUMNS`, of one series.
        settings: `roi.method`, `features.wavelet`.
        order: of the slice, as in the catalogue; None is the middle one of the first stack.

    Raises:
        DicomError: if the pixels cannot be decoded.
        InputError: if the series has no such slice.
    """
    there = f"{series['order'].min()} to {series['order'].max()}"
    stacks = sorted(series["stack"].unique())
    first = series[series["stack"] == stacks[0]]
    chosen = first.iloc[[len(first) // 2]] if order is None else series[series["order"] == order]
    if chosen.empty:
        raise InputError(f"--slice {order}: the series has slices {there}")
    one = chosen.iloc[0]
    frame = pixels.read_frame(one["path"], int(one["frame"]))
    parts = spectral.parts(frame, wavelet=settings.features.wavelet, method=settings.roi.method)
    low, high = roi.cluster_thresholds(parts.scaled)
    stack = f", stack {stacks.index(one['stack']) + 1} of {len(stacks)}" if len(stacks) > 1 else ""
    return {
        "title": f"{one['sequence']}{stack}, slice {one['order']} (of {there})",
        "image": parts.scaled,
        "clusters": np.digitize(parts.scaled, [low, high], right=True),
        "mask": parts.region,
        "bands": parts.bands,
        "coefficients": parts.vector[: spectral.NUM_COEFFICIENTS],
        "places": spectral.zigzag(*parts.bands[0].shape, spectral.NUM_COEFFICIENTS),
    }


def examples(slices: pd.DataFrame, settings: Settings, *, most: int) -> list[dict[str, Any]]:
    """One series of each of a few sequences, from different patients where there are some."""
    images = slices[slices["sequence"].isin(SEQUENCES)]
    found: list[dict[str, Any]] = []
    for number, (_, rows) in enumerate(images.groupby("sequence", sort=True)):
        if len(found) == most:
            break
        series = rows["SeriesInstanceUID"].unique()
        try:
            found.append(example(rows[rows["SeriesInstanceUID"] == series[number % len(series)]], settings))
        except DicomError:  # listed in features/_rejected.csv; a picture of another series will do
            continue
    return found


def overlaps(slices: pd.DataFrame) -> pd.DataFrame:
    """How each method's region overlaps with the mask of the same study, rows of `evaluation.overlap.COUNTS`.

    A slice is compared with the mask's slice at the same position that has the same size; both are brought to the size
    of the features. Series of studies without a mask are left out, and so are slices that cannot be decoded.
    """
    study, place = ["PatientID", "StudyDate"], ["Rows", "Columns", "position"]
    placed = slices.assign(position=slices["position_mm"].round(1)).dropna(subset="position")
    masks = placed.loc[placed["sequence"] == "mask", [*study, *place, "path", "frame"]]
    images = placed[placed["sequence"].isin(SEQUENCES)]
    pairs = images.merge(masks, on=[*study, *place], suffixes=("", "_mask"))
    cv2.setNumThreads(1)
    counts = [count for _, rows in pairs.groupby("sequence") for count in _overlaps_of(rows)]
    table = pd.DataFrame(counts, columns=list(COUNTS))
    keys = ["PatientID", "SeriesInstanceUID", "sequence", "method"]
    return table.groupby(keys, as_index=False)[["both", "region", "mask"]].sum()


def _overlaps_of(pairs: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    series = pairs["SeriesInstanceUID"].unique()
    kept = series[np.unique(np.linspace(0, len(series) - 1, _MOST_SERIES).astype(int))]
    for pair in pairs[pairs["SeriesInstanceUID"].isin(kept)].to_dict("records"):
        try:
            image = pixels.read_frame(pair["path"], pair["frame"])
            drawn = pixels.read_frame(pair["path_mask"], pair["frame_mask"])
        except DicomError:  # listed in features/_rejected.csv if it is an image
            continue
        scaled = spectral.prepared(image)
        mask = intensity.resize((drawn > 0).astype(np.float32), spectral.SIDE) > 0.5
        for method, region_of in roi.REGIONS.items():
            region = region_of(scaled)
            both = np.count_nonzero(region & mask)
            known = pair["PatientID"], pair["SeriesInstanceUID"], pair["sequence"], method
            yield *known, both, np.count_nonzero(region), np.count_nonzero(mask)
