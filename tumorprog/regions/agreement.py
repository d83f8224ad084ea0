"""Slices of the catalogue -> how well the regions of interest overlap with tumour masks."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tumorprog.conventions import SEQUENCES
from tumorprog.errors import DicomError
from tumorprog.formats import reading
from tumorprog.imaging import intensity
from tumorprog.regions.columns import OVERLAPS
from tumorprog.regions.methods import REGIONS

_MAX_SERIES = 12
"""Series per sequence whose overlap is measured, spread over the patients; a mean of 12 takes a few seconds."""


def overlaps(slices: pd.DataFrame) -> pd.DataFrame:
    """Count the overlap of each method's region with the mask of its study, as rows of `OVERLAPS`.

    A slice is compared with the mask slice of the same plane, position and size; both are resized to the size of the
    feature images. Series of studies without a mask and slices that cannot be decoded are excluded.
    """
    pairs = with_masks(slices)
    cv2.setNumThreads(1)
    counts = [count for _, rows in pairs.groupby("sequence") for count in _overlaps_of(rows)]
    table = pd.DataFrame(counts, columns=list(OVERLAPS))
    keys = ["PatientID", "SeriesInstanceUID", "sequence", "method"]
    return table.groupby(keys, as_index=False)[["both", "region", "mask"]].sum()


def with_masks(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the slices of images with the mask slice of the same study, plane, position and size.

    It is in the columns path_mask and frame_mask.
    """
    same = ["PatientID", "StudyDate", "plane", "Rows", "Columns", "position"]
    located = slices.assign(position=slices["position_mm"].round(1)).dropna(subset="position")
    masks = located.loc[located["sequence"] == "mask", [*same, "path", "frame"]]
    return located[located["sequence"].isin(SEQUENCES)].merge(masks, on=same, suffixes=("", "_mask"))


def _overlaps_of(pairs: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    series = pairs["SeriesInstanceUID"].unique()
    kept = series[np.unique(np.linspace(0, len(series) - 1, _MAX_SERIES).astype(int))]
    for pair in pairs[pairs["SeriesInstanceUID"].isin(kept)].to_dict("records"):
        try:
            image = reading.read_frame(pair["path"], pair["frame"])
            mask_image = reading.read_frame(pair["path_mask"], pair["frame_mask"])
        except DicomError:  # listed in features/_rejected.csv if the image is at fault
            continue
        scaled = intensity.prepare(image)
        mask = intensity.resize((mask_image > 0).astype(np.float32), intensity.SIDE) > 0.5
        for method, region_of in REGIONS.items():
            region = region_of(scaled)
            both = np.count_nonzero(region & mask)
            identity = pair["PatientID"], pair["SeriesInstanceUID"], pair["sequence"], method
            yield *identity, both, np.count_nonzero(region), np.count_nonzero(mask)
