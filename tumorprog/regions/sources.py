"""The stacks of a study -> what is known about its tumour: masks, and the segmented stack; and which region counts."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tumorprog.cohort.columns import LABELS
from tumorprog.cohort.volumes import stack_ml
from tumorprog.formats import frames
from tumorprog.formats.columns import CATALOGUE, Rejected
from tumorprog.imaging import geometry
from tumorprog.imaging.geometry import Grid
from tumorprog.regions import masks, transfer

SLICE = pa.schema(
    [
        *frames.SCHEMA,
        *(
            CATALOGUE.field(name)
            for name in (
                *("Type", "sequence", "SeriesInstanceUID", "stack", "order"),
                *("position_mm", "SliceThickness", "slice_spacing_mm", "row_spacing_mm", "column_spacing_mm"),
                *("orientation", "ImagePositionPatient", "FrameOfReferenceUID"),
            )
        ),
    ]
)
"""The columns of the catalogue that describe a slice of a study."""

Segment = Callable[[Mapping[str, Sequence[np.ndarray]], tuple[float, float]], np.ndarray]
"""A trained segmenter: the slices, (H, W), of each sequence on one grid; their spacing -> (N, H, W) bool."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """The slices of a stack, not yet decoded."""

    slices: pa.Table
    """Rows of `SLICE`, in order."""
    grid: Grid | None
    """Where they are; None if unknown."""

    def of_first(self, name: str) -> Any:
        """Return the value of a column for the first slice."""
        return self.slices[name][0].as_py()

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Return the distance of the rows and of the columns; NaN if unknown."""
        return self.of_first("row_spacing_mm"), self.of_first("column_spacing_mm")

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Return the height and width of a pixel of the resized slices, see `transfer.pixel_mm`."""
        return transfer.pixel_mm((self.of_first("Rows"), self.of_first("Columns")), self.spacing_mm)


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A region that is known on all slices of one stack."""

    method: str
    """mask or learned."""
    model: str = ""
    """Of `learned`: final, or the fold."""
    stack: Stack
    """The stack of the mask, or the one that was segmented."""
    region: np.ndarray
    """(N, H, W) bool; empty for slices that could not be decoded."""
    images: np.ndarray
    """(N, H, W) float32, the slices; 0 where they could not be decoded."""
    decoded: np.ndarray
    """(N,) bool, whether each slice could be decoded."""
    volumes: dict[str, float]
    """The columns volume_ml, label_1_ml and so on, and other_labels_ml of `cohort.columns.VOLUMES`."""

    def on(self, target: Stack) -> np.ndarray | None:
        """Return the region on the slices of a stack, (M, SIDE, SIDE) bool; None if it cannot be carried over."""
        if target is self.stack:
            return np.stack([transfer.on_side(region) for region in self.region])
        return transfer.carry_over(self.region, self.stack.grid, target.grid)


def stacks_of(slices: pa.Table) -> list[Stack]:
    """Return the stacks of a study from its slices, rows of `SLICE` by series and order."""
    series, number = (slices[name].to_numpy() for name in ("SeriesInstanceUID", "stack"))
    starts = [0, *(np.flatnonzero((series[1:] != series[:-1]) | (number[1:] != number[:-1])) + 1), len(series)]
    parts = [slices.slice(start, end - start) for start, end in itertools.pairwise(starts)]
    return [Stack(slices=part, grid=geometry.grid_of(part.to_pydict())) for part in parts]


def read(stack: Stack) -> tuple[np.ndarray, np.ndarray, Rejected]:
    """Decode the slices of a stack.

    Returns:
        images: (N, H, W) float32, in the units of the modality; 0 for slices that cannot be decoded.
        decoded: (N,) bool, whether each slice could be decoded.
        rejected: rows of `formats.columns.QUARANTINE` for the others.
    """
    like = np.empty((stack.of_first("Rows"), stack.of_first("Columns")), np.float32)
    found, decoded, rejected = frames.decode(stack.slices, lambda image: image.astype(np.float32), like=like)
    images = np.zeros((len(decoded), *like.shape), np.float32)
    images[decoded] = found
    return images, decoded, rejected


def read_masks(stacks: Sequence[Stack], labels: Sequence[int]) -> tuple[list[Source], Rejected]:
    """Read the masks among the stacks of a study.

    Args:
        stacks: of the study.
        labels: values that form the region, as in `roi.labels`.

    Returns:
        The masks, the largest first, because a second one is a part or a repetition of it; and rows of
        `formats.columns.QUARANTINE` for slices that could not be decoded.
    """
    found: list[Source] = []
    rejected: Rejected = []
    for stack in (one for one in stacks if one.of_first("sequence") == "mask"):
        values, decoded, undecoded = read(stack)
        rejected += undecoded
        if decoded.any():
            region = masks.labelled(values, labels)
            volumes = _volumes(stack, decoded, {"volume_ml": region, **_by_label(values)})
            source = Source(method="mask", stack=stack, region=region, images=values, decoded=decoded, volumes=volumes)
            found.append(source)
    return sorted(found, key=lambda mask: np.nan_to_num(mask.volumes["volume_ml"], nan=-1), reverse=True), rejected


def segmented(
    stacks: Sequence[Stack], sequences: Sequence[str], segment: Segment, model: str
) -> tuple[Source | None, Rejected]:
    """Segment the largest stack of the first sequence of a study, with the other sequences on the same grid.

    Args:
        stacks: of the study.
        sequences: the input of the segmenter.
        segment: the trained segmenter.
        model: its name, for the result.

    Returns:
        The region, None if the study lacks the first sequence; and rows of `formats.columns.QUARANTINE` for slices of
        it that could not be decoded.
    """
    firsts = [stack for stack in stacks if stack.of_first("sequence") == sequences[0]]
    if not firsts:
        return None, []
    stack = max(firsts, key=lambda one: one.slices.num_rows)
    images, decoded, rejected = read(stack)
    if not decoded.any():
        return None, rejected
    volumes = {sequences[0]: list(images[decoded])}
    for other in sequences[1:]:
        registered = on_same_grid(stacks, other, stack)
        volumes |= {} if registered is None else {other: list(registered[decoded])}
    region = np.zeros(images.shape, bool)
    region[decoded] = segment(volumes, stack.spacing_mm)
    known = _volumes(stack, decoded, {"volume_ml": region})
    source = Source(
        method="learned", model=model, stack=stack, region=region, images=images, decoded=decoded, volumes=known
    )
    return source, rejected


def on_same_grid(stacks: Sequence[Stack], sequence: str, like: Stack) -> np.ndarray | None:
    """Return the slices of the first stack of a sequence on the grid of another stack, in its order."""
    for stack in stacks:
        if stack.of_first("sequence") != sequence or stack.grid is None or like.grid is None:
            continue
        if geometry.same_grid(stack.grid, like.grid):
            return read(stack)[0][geometry.coinciding(stack.grid, like.grid)]
    return None


def _by_label(values: np.ndarray) -> dict[str, np.ndarray]:
    rounded = np.rint(values)
    parts = {f"label_{label}_ml": rounded == label for label in LABELS}
    return {**parts, "other_labels_ml": (values > 0) & ~np.isin(rounded, LABELS)}


def _volumes(stack: Stack, decoded: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    slices = stack.slices.filter(pa.array(decoded)).to_pandas()
    return {name: stack_ml(np.count_nonzero(part[decoded], axis=(1, 2)), slices) for name, part in parts.items()}
