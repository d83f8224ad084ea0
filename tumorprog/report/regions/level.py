"""Slices of the catalogue -> one level of a study in all of its sequences, for the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import SEQUENCES
from tumorprog.errors import DicomError
from tumorprog.formats import reading
from tumorprog.imaging import intensity
from tumorprog.imaging.window import window
from tumorprog.regions.agreement import with_masks
from tumorprog.regions.packing import find
from tumorprog.report.geometry import Geometry, geometry
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.regions.examples import title

MAPS = ("dT1", "ADC", "nCBF", "nRCBV", "sRCBV")
"""Sequences whose values can be compared between slices, so that their window is that of the whole stack."""

_MAX_DISTANCE_MM = 10.0
"""Largest distance of a slice from the level."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A slice as it is drawn."""

    title: str
    image: np.ndarray
    """(H, W), as stored."""
    geometry: Geometry
    window: tuple[float, float]
    """The intensities of black and of white."""
    is_map: bool
    """Whether its sequence is one of `MAPS`."""
    region: np.ndarray
    """(256, 256) bool, the region of interest of the resized slice."""
    tumour: np.ndarray | None
    """(H, W) bool, the tumour mask of the same position and size; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """The slices of a study that are nearest to one position."""

    name: str
    """Of the patient and the study."""
    choice: str
    """How the level was chosen."""
    views: tuple[View, ...]

    @property
    def has_tumour(self) -> bool:
        """Whether a slice has a tumour mask."""
        return any(view.tumour is not None for view in self.views)


def level(slices: pd.DataFrame, identifiers: Identifiers, *, regions: list[Path]) -> Level | None:
    """Return the level of the largest cross-section of the tumour in the study with the most sequences.

    Studies with a tumour mask come first. Without a mask the level is that of the middle slice of the study's first
    series. Of each sequence, the slice of the same plane that is nearest to the level is shown.

    Args:
        slices: rows of `report.regions.examples.COLUMNS`.
        identifiers: what patients and dates are called.
        regions: shards of `regions.columns.REGIONS`.

    Returns:
        None if no slice can be decoded.
    """
    images = slices[slices["sequence"].isin(SEQUENCES)]
    if images.empty:
        return None
    study = _study(slices)
    masks, own = study[study["sequence"] == "mask"], study[study["sequence"].isin(SEQUENCES)]
    reference = _largest(masks) if len(masks) else _middle(own)
    pairs = with_masks(study)
    views = [view for row in _nearest(own, reference) if (view := _view(row, study, pairs, regions))]
    patient, date = study.iloc[0][["PatientID", "StudyDate"]]
    name = f"{identifiers.patient(patient)}, {identifiers.date(patient, date)}"
    choice = "the level of the largest area of the tumour mask" if len(masks) else "the middle of a series"
    return Level(name=name, choice=choice, views=tuple(views)) if views else None


def _study(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the slices of the first of the studies with a mask, if there are any, and with the most sequences."""
    images = slices["sequence"].where(slices["sequence"].isin(SEQUENCES))
    studies = slices.assign(image=images, is_mask=slices["sequence"] == "mask").groupby(["PatientID", "StudyDate"])
    counts = studies.agg(sequences=("image", "nunique"), masked=("is_mask", "any")).query("sequences > 0")
    patient, day = counts.sort_values(["masked", "sequences"], ascending=False, kind="stable").index[0]
    return slices[(slices["PatientID"] == patient) & (slices["StudyDate"] == day)]


def _largest(masks: pd.DataFrame) -> dict[Any, Any]:
    return max(masks.to_dict("records"), key=lambda row: np.count_nonzero(_frame(row) > 0))


def _middle(images: pd.DataFrame) -> dict[Any, Any]:
    first = images[images["SeriesInstanceUID"] == images["SeriesInstanceUID"].iloc[0]]
    return first.to_dict("records")[len(first) // 2]


def _nearest(images: pd.DataFrame, reference: Mapping[Any, Any]) -> list[dict[Any, Any]]:
    """Return the slice of each sequence that is nearest to the reference, in the order of `SEQUENCES`."""
    parallel = images[images["plane"] == reference["plane"]]
    distances = (parallel["position_mm"] - reference["position_mm"]).abs()
    near = parallel.assign(distance=distances)[distances <= _MAX_DISTANCE_MM]
    first = near.sort_values("distance", kind="stable").drop_duplicates("sequence")
    return sorted(first.to_dict("records"), key=lambda row: SEQUENCES.index(row["sequence"]))


def _view(row: Mapping[Any, Any], study: pd.DataFrame, pairs: pd.DataFrame, regions: list[Path]) -> View | None:
    """Return the view of a slice; None if it cannot be decoded."""
    image = _frame(row)
    if not image.size:
        return None
    series = study[study["SeriesInstanceUID"] == row["SeriesInstanceUID"]]
    stack = series[series["stack"] == row["stack"]]
    is_map = row["sequence"] in MAPS
    values = np.concatenate([_frame(other).ravel() for other in stack.to_dict("records")]) if is_map else image
    return View(
        title=title(row, series).replace(", ", "\n", 1),
        image=image,
        geometry=geometry(row),
        window=window(values),
        is_map=is_map,
        region=find(regions, row, intensity.prepare(image)).mask,
        tumour=_tumour(row, pairs),
    )


def _tumour(row: Mapping[Any, Any], pairs: pd.DataFrame) -> np.ndarray | None:
    matching = pairs[(pairs["path"] == row["path"]) & (pairs["frame"] == row["frame"])]
    masks = [
        _frame({"path": path, "frame": frame})
        for path, frame in zip(matching["path_mask"], matching["frame_mask"], strict=True)
    ]
    return masks[0] > 0 if masks and masks[0].size else None


def _frame(row: Mapping[Any, Any]) -> np.ndarray:
    """Return the pixels of a slice; an empty array if they cannot be decoded."""
    try:
        return reading.read_frame(row["path"], int(row["frame"]))
    except DicomError:  # listed in features/_rejected.csv; the other slices suffice for a picture
        return np.empty((0, 0))
