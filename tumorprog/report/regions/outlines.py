"""The best, the median and the worst patient of a method -> a slice of each with the outlines of the regions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import queries
from tumorprog.evaluation import overlap
from tumorprog.imaging import intensity
from tumorprog.imaging.window import window
from tumorprog.regions import sources
from tumorprog.regions.methods import REGIONS
from tumorprog.report.geometry import Geometry, geometry
from tumorprog.report.identifiers import Identifiers

RANKS = ("best", "median", "worst")

_STUDY = """
SELECT * FROM catalogue
WHERE cohort = 'progression' AND PatientID = $PatientID AND StudyDate = $date AND (StudyDate <> '' OR StudyInstanceUID
    IN (SELECT StudyInstanceUID FROM catalogue WHERE SeriesInstanceUID = $SeriesInstanceUID))
ORDER BY SeriesInstanceUID, "order"
"""


@dataclass(frozen=True, kw_only=True)
class Outlined:
    """A slice with the outlines of several regions."""

    title: str
    image: np.ndarray
    """(H, W), in the units of the modality."""
    geometry: Geometry
    window: tuple[float, float]
    """The intensities of black and of white."""
    regions: Mapping[str, np.ndarray]
    """By method, (256, 256) bool."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the regions are found from."""

    catalogue: list[Path]
    """Shards of `formats.columns.CATALOGUE`."""
    segmenter: Path
    """Folder of the trained segmenter; required for scores of `learned` only."""
    labels: tuple[int, ...]
    """Values of masks that form the region, as in `roi.labels`."""


def ranked(scores: pd.DataFrame, method: str, sequence: str) -> dict[str, dict[Any, Any]]:
    """Return a scan of the patients with the highest, the middle and the lowest Dice coefficient of a method.

    Patients are ordered by the mean over their scans. Of a patient, the scan that is closest to this mean is returned.

    Args:
        scores: rows of `regions.columns.SCORES`.
        method: whose regions are ranked.
        sequence: of the scans.

    Returns:
        Name, one of `RANKS`, to a row of the scores with its dice; without the median for two patients, and without
        the worst for one.
    """
    own = scores[(scores["method"] == method) & (scores["sequence"] == sequence) & (scores["mask"] > 0)]
    own = own.assign(dice=overlap.dice(own))
    means = own.groupby("PatientID")["dice"].mean().sort_values(ascending=False, kind="stable")
    places = {"best": 0, "median": len(means) // 2, "worst": len(means) - 1}
    shown = {0: (), 1: RANKS[:1], 2: RANKS[::2]}.get(len(means), RANKS)
    found = {}
    for name in shown:
        patient = means.index[places[name]]
        rows = own[own["PatientID"] == patient]
        found[name] = rows.loc[(rows["dice"] - means[patient]).abs().idxmin()].to_dict()
    return found


def outlines(scores: pd.DataFrame, method: str, sequence: str, source: Source, names: Identifiers) -> list[Outlined]:
    """Return the slices with the largest area of the mask of the best, the median and the worst patient.

    Args:
        scores: rows of `regions.columns.SCORES`.
        method: whose regions are ranked and drawn beside the mask and the paper's region.
        sequence: of the scans.
        source: what the regions are found from; scans of which no slice can be decoded any more are skipped.
        names: what patients and dates are called.
    """
    found = []
    for name, row in ranked(scores, method, sequence).items():
        drawn = _outlined(row, source)
        if drawn is not None:
            patient = row["PatientID"]
            title = f"{name}: {names.patient(patient)}, {names.date(patient, row['date'])}\nDice {row['dice']:.2f}"
            found.append(Outlined(title=title, **drawn))
    return found


def _outlined(row: Mapping[Any, Any], source: Source) -> dict[str, Any] | None:
    stacks = sources.stacks_of(_study(row, source.catalogue))
    stack = next(
        one for one in stacks if all(one.of_first(name) == row[name] for name in ("SeriesInstanceUID", "stack"))
    )
    masks, _ = sources.read_masks(stacks, source.labels)
    images, decoded, _ = sources.read(stack)
    truth = masks[0].on(stack) if masks else None
    if truth is None or not decoded.any():
        return None
    index = int(np.argmax(np.count_nonzero(truth, axis=(1, 2)) * decoded))
    learned = _learned(row, stacks, source) if row["method"] == "learned" else None
    found = None if learned is None else learned.on(stack)
    by_slice = {"brightest", row["method"]} & REGIONS.keys()
    scaled = intensity.prepare(images[index])
    return {
        "image": images[index],
        "geometry": geometry(stack.slices.slice(index, 1).to_pylist()[0]),
        "window": window(images[index]),
        "regions": {
            **{method: REGIONS[method](scaled) for method in sorted(by_slice)},
            **({} if found is None else {"learned": found[index]}),
            "mask": truth[index],
        },
    }


def _study(row: Mapping[Any, Any], catalogue: list[Path]) -> pa.Table:
    values = {name: row[name] for name in ("PatientID", "date", "SeriesInstanceUID")}
    return pa.concat_tables(queries.stream(_STUDY, sources.SLICE, values, catalogue=catalogue))


def _learned(row: Mapping[Any, Any], stacks: list[sources.Stack], source: Source) -> sources.Source | None:
    from tumorprog import model_files  # torch and MONAI take seconds to import
    from tumorprog.segmenters import apply

    sequences = tuple(model_files.load_description(source.segmenter)["sequences"])
    segment = partial(apply.segment, source.segmenter, row["model"])
    return sources.segmented(stacks, sequences, segment, row["model"])[0]
