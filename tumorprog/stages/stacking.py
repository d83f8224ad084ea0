"""Headers of some patients in, the stack of each slice out: what is read as one sequence of slices.

A stack is what shares patient, study, date, series, orientation, size, echo and kind of value. Where slices still lie
at one position, the volumes that were taken one after another are told apart by what numbers or times them, the surest
first; each is a stack, in the order of their time. A single position that is there twice makes no second volume: it
stays in its stack, where `repeats` counts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

COSINE_TOLERANCE = 0.02
"""Direction cosines that differ by less are one orientation: about a degree."""

ECHO_TOLERANCE_MS = 0.1
SPACING_TOLERANCE = 0.01
"""Of a pixel's side, relative."""

CLOSEST_MM, FURTHEST_MM = 0.01, 0.25
"""Positions nearer than a tenth of the slice thickness are one, within these bounds."""

_FILE = ["cohort", "path", "frame"]
_SERIES = ["PatientID", "StudyInstanceUID", "StudyDate", "SeriesInstanceUID"]
_GEOMETRY = ["Rows", "Columns", "EchoNumbers", "component"]
KINDS = ["orientation", *_GEOMETRY, "EchoTime", "row_spacing_mm", "column_spacing_mm"]
"""Columns that are all the same in a series of one stack; those that differ hold several stacks, or nearly the same."""

_VOLUMES = ("ImageType", "EchoTime", "temporal_position", "b_value", "AcquisitionNumber", "acquired_s", "trigger_ms")
"""What tells volumes at the same positions apart, the surest first."""
_TIMES = ("temporal_position", "acquired_s", "trigger_ms")
"""Of these, what tells which of two slices at a position came first, even if each slice has a time of its own."""

COLUMNS = tuple(
    dict.fromkeys(
        (
            *(*_FILE, *_SERIES, *KINDS, *_VOLUMES),
            *("SeriesNumber", "SeriesDescription", "SliceThickness", "position_mm", "InstanceNumber"),
        )
    )
)
"""Columns of the headers that decide."""


def uid_order(uid: str) -> tuple[tuple[int, str], ...]:
    """What UIDs are ordered by: the numbers between their dots, so that 1.2.9 comes before 1.2.10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in uid.split("."))


def stacks_of(headers: pd.DataFrame) -> pd.DataFrame:
    """The series and the stack of each slice.

    Args:
        headers: columns `COLUMNS`, a row for each slice of whole patients, in any order.

    Returns:
        A row for each slice: cohort, path, frame; series (the SeriesInstanceUID; of series put together the first one),
        joined (how many series were put together, 0 if none) and stack (0, 1, ... within the series).
    """
    rows = headers.reset_index(drop=True)
    if rows.empty:
        return rows[_FILE].assign(series=[], joined=[], stack=[])
    series, joined = put_together(rows)
    rows = rows.assign(SeriesInstanceUID=series)
    stack = np.zeros(len(rows), np.int64)
    for index in _several(rows):
        stack[index] = _stacks_of_series(rows.iloc[index])
    return rows[_FILE].assign(series=series, joined=joined, stack=stack)


def put_together(rows: pd.DataFrame) -> tuple[pd.Series, np.ndarray]:
    """Puts slices together to which a scanner gave series UIDs of their own.

    They are one series where each UID has a single slice, not all at one position, and study, date, number,
    description, orientation, size, and the root of the UID agree. Echoes and times among them are parted after that.

    Args:
        rows: columns `COLUMNS`.

    Returns:
        The series of each slice, and how many were put together in it (0 for what stays as it is).
    """
    series, joined = rows["SeriesInstanceUID"].copy(), np.zeros(len(rows), np.int64)
    single = ~rows.duplicated(_SERIES, keep=False) & rows["position_mm"].notna() & (rows["SeriesNumber"] >= 0)
    if single.sum() < 2:
        return series, joined
    alone = rows[single].assign(root=rows.loc[single, "SeriesInstanceUID"].map(_root))
    same = ["PatientID", "StudyInstanceUID", "StudyDate", "root", "SeriesNumber", "SeriesDescription"]
    for _, alike in alone[alone["root"] != ""].groupby([*same, "Rows", "Columns"], sort=False):
        for _, group in alike.groupby(_directions(alike["orientation"]), sort=False):
            if group["position_mm"].nunique() > 1:
                series[group.index] = min(group["SeriesInstanceUID"], key=uid_order)
                joined[group.index] = len(group)
    return series, joined


def _root(uid: str) -> str:
    """What the UIDs of a scanner share: all but the last number, which Siemens follows by zeros (1.3.12.17.0.0.0)."""
    return uid.removesuffix(".0.0.0").rpartition(".")[0]


def _several(rows: pd.DataFrame) -> list[np.ndarray]:
    """The slices of each series that may hold more than one stack; all others are plainly one."""
    codes = rows.groupby(_SERIES, sort=False, dropna=False).ngroup()
    kinds = rows[KINDS].assign(series=codes).drop_duplicates()
    mixed = set(kinds.loc[kinds["series"].duplicated(keep=False), "series"])
    steps = rows[["position_mm"]].assign(series=codes, near=_nearest(rows)).sort_values(["series", "position_mm"])
    close = steps["position_mm"].diff().le(steps["near"]) & steps["series"].eq(steps["series"].shift())
    close |= steps["position_mm"].isna() & steps["series"].duplicated(keep=False)
    mixed |= set(steps.loc[close, "series"])
    held = rows.index[codes.isin(mixed)]
    return [index.to_numpy() for index in codes[held].groupby(codes[held]).groups.values()]


def _nearest(rows: pd.DataFrame) -> pd.Series:
    """In mm: positions that differ by less are one."""
    return (rows["SliceThickness"] / 10).fillna(CLOSEST_MM).clip(CLOSEST_MM, FURTHEST_MM)


def _stacks_of_series(rows: pd.DataFrame) -> np.ndarray:
    """The stack of each slice of a series, which may hold several."""
    keys = rows[_GEOMETRY].reset_index(drop=True)
    keys["component"] = keys["component"].replace("", "magnitude")  # what images are unless they say otherwise
    keys.insert(0, "direction", _directions(rows["orientation"]))
    keys["EchoTime"] = _stated(_levels(rows["EchoTime"].to_numpy(float), ECHO_TOLERANCE_MS))
    for name in ("row_spacing_mm", "column_spacing_mm"):
        keys[name] = _levels(np.log(rows[name].to_numpy(float)), SPACING_TOLERANCE)
    parts = keys.groupby([*keys.columns], sort=True, dropna=False).ngroup().to_numpy()
    found, number = np.zeros(len(rows), np.int64), 0
    for part in range(parts.max() + 1):
        (index,) = np.nonzero(parts == part)
        volumes = _volumes(_Group.of(rows.iloc[index]), _VOLUMES)
        found[index] = number + volumes
        number += int(volumes.max()) + 1
    return found


def _stated(numbers: np.ndarray) -> np.ndarray:
    """The same numbers; where only one is stated, slices that state none (-1) have it too."""
    known = np.unique(numbers[numbers >= 0])
    return np.full_like(numbers, known[0]) if len(known) == 1 else numbers


def _directions(orientations: pd.Series) -> np.ndarray:
    """A number for each orientation: those that differ by less than the tolerance from the first of them share one."""
    first: list[np.ndarray] = []
    numbers: dict[str, int] = {}
    parts = {text: [float(part) for part in text.split(",") if part] for text in orientations.unique()}
    for text in sorted(parts, key=lambda one: ([round(part, 2) for part in parts[one]], one)):
        cosines = np.array(parts[text] or [0.0] * 6)
        near = (n for n, other in enumerate(first) if np.abs(cosines - other).max() < COSINE_TOLERANCE)
        numbers[text] = next(near, len(first))
        if numbers[text] == len(first):
            first.append(cosines)
    return orientations.map(numbers).to_numpy()


def _levels(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Numbers from 0 in the order of the values; neighbours that differ by less share one; -1 where there is none."""
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    steps = np.diff(values[known][order], prepend=values[known][order][:1]) > tolerance
    levels = np.full(len(values), -1)
    ranked = np.empty(len(order), np.int64)
    ranked[order] = np.cumsum(steps)
    levels[known] = ranked
    return levels


@dataclass(frozen=True)
class _Group:
    """Slices that share all but their place and time.

    Attributes:
        places: of each slice, numbered along the normal; all the same where no position is known.
        turn: what comes first, by time if all slices have one, by InstanceNumber, by place among frames and files.
        labels: by what tells volumes apart, the number that each slice has.
    """

    places: np.ndarray
    turn: np.ndarray
    labels: dict[str, np.ndarray]

    @staticmethod
    def of(rows: pd.DataFrame) -> "_Group":
        """The rows of a part of a series."""
        labels = {name: _labels(rows[name], name) for name in _VOLUMES}
        places = _levels(rows["position_mm"].to_numpy(float), float(_nearest(rows).min()))
        told = [labels[name] for name in _TIMES if labels[name].min() >= 0]
        files = np.unique(rows["path"].to_numpy(str), return_inverse=True)[1]
        first = np.lexsort([files, rows["frame"], rows["InstanceNumber"], *reversed(told)])
        return _Group(places, np.argsort(first), labels)

    def part(self, index: np.ndarray) -> "_Group":
        """Some of the slices."""
        labels = {name: values[index] for name, values in self.labels.items()}
        return _Group(self.places[index], self.turn[index], labels)

    @property
    def most(self) -> int:
        """How many slices lie at one place, at most."""
        return int(np.unique(self.places, return_counts=True)[1].max())


def _labels(column: pd.Series, name: str) -> np.ndarray:
    if name == "ImageType":
        return np.unique(column.to_numpy(str), return_inverse=True)[1]
    values = column.to_numpy(float)
    return _levels(np.where(values < 0, np.nan, values), ECHO_TOLERANCE_MS if name == "EchoTime" else 0.0)


def _volumes(group: _Group, keys: Sequence[str]) -> np.ndarray:
    """The volume of each slice, from 0 in the order of their time; all are of one where no position is known."""
    if group.most == 1 or group.places.min() < 0:
        return np.zeros(len(group.places), np.int64)
    for place, name in enumerate(keys):
        labels = group.labels[name]
        if _parts_volumes(group, labels):
            found, number = np.zeros(len(labels), np.int64), 0
            for label in np.unique(labels):
                (index,) = np.nonzero(labels == label)
                inner = _volumes(group.part(index), keys[place + 1 :])
                found[index] = number + inner
                number += int(inner.max()) + 1
            return found
    return _by_occurrence(group)


def _parts_volumes(group: _Group, labels: np.ndarray) -> bool:
    """Whether labels part volumes: two or more, no more than lie at one place, that lie where others lie too.

    A number or a time that every slice has for itself parts none, nor do those of two passes that take every other
    slice, nor one that says nothing of some slices, nor that of a single slice taken again.
    """
    values, counts = np.unique(labels, return_counts=True)
    if not 2 <= len(values) <= group.most or values[0] < 0:
        return False
    if len(values) == len(labels):
        return len(labels) == group.most
    held = np.zeros((len(values), group.places.max() + 2), bool)  # -1, an unknown place, is the last
    held[np.searchsorted(values, labels), group.places] = True
    shared = (held & (held.sum(axis=0) > 1)).sum(axis=1) / held.sum(axis=1)
    smaller = np.delete(shared, counts.argmax())
    return bool(np.count_nonzero(counts > 1) > 1 and smaller.min() > 0.5)


def _by_occurrence(group: _Group) -> np.ndarray:
    """The volumes that no label tells apart: a new one begins where a place comes again.

    If all times of a place follow each other, its first slice is of the first volume, its second of the second. All
    this only if all places have as many, or one less where a volume was cut short: else a slice was sent twice.
    """
    places, counts = np.unique(group.places, return_counts=True)
    one = np.zeros(len(group.places), np.int64)
    every = counts.min() >= counts.max() - 1 and 2 * np.count_nonzero(counts == counts.max()) >= len(counts)
    if len(places) < 2 or places[0] < 0 or not every:
        return one
    runs = _runs(group.places, group.turn)
    if runs.max() + 1 == group.most:
        return runs
    order = np.lexsort((group.turn, group.places))
    starts = np.flatnonzero(np.diff(group.places[order], prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(starts, counts)
    one[order] = ranks
    return one


def _runs(places: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Counts how often, in turn, a place comes again that was there since the last one that did."""
    runs, seen, number = np.zeros(len(places), np.int64), set[int](), 0
    for index in np.argsort(turn, kind="stable"):
        if places[index] in seen:
            seen, number = set(), number + 1
        seen.add(places[index])
        runs[index] = number
    return runs
