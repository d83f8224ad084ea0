"""Slices of the catalogue -> pairs of a slice and the mask of the same study, position and size."""

import pandas as pd

from tumorprog.conventions import SEQUENCES


def with_masks(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the slices of images with the mask slice of the same study, plane, position and size.

    It is in the columns path_mask and frame_mask.
    """
    same = ["PatientID", "StudyDate", "plane", "Rows", "Columns", "position"]
    located = slices.assign(position=slices["position_mm"].round(1)).dropna(subset="position")
    masks = located.loc[located["sequence"] == "mask", [*same, "path", "frame"]]
    return located[located["sequence"].isin(SEQUENCES)].merge(masks, on=same, suffixes=("", "_mask"))
