"""Headers of some patients -> the stack of each slice; a stack is read as one sequence of slices.

The slices of a stack share patient, study, date, series, orientation, size, echo and kind of value. Where several of
these slices lie at one position, the volumes acquired one after another are separated by the attributes that number or
time them, the most reliable first; each volume is a stack, in temporal order. A single position that occurs twice is
not a second volume: the slice stays in its stack, and `repeats` counts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

COSINE_TOLERANCE = 0.02
"""Orientations whose direction cosines differ by less, about one degree, are the same."""

ECHO_TOLERANCE_MS = 0.1
SPACING_TOLERANCE = 0.01
"""Relative difference of pixel spacings."""

MIN_TOLERANCE_MM, MAX_TOLERANCE_MM = 0.01, 0.25
"""Bounds of the tolerance for equal positions, which is a tenth of the slice thickness."""

_FILE = ["cohort", "path", "frame"]
_SERIES = ["PatientID", "StudyInstanceUID", "StudyDate", "SeriesInstanceUID"]
_GEOMETRY = ["Rows", "Columns", "EchoNumbers", "component"]
UNIFORM_COLUMNS = ["orientation", *_GEOMETRY, "EchoTime", "row_spacing_mm", "column_spacing_mm"]
"""Columns with a single value in a series of one stack; values that differ may still be equal within a tolerance."""

_VOLUMES = ("ImageType", "EchoTime", "temporal_position", "b_value", "AcquisitionNumber", "acquired_s", "trigger_ms")
"""Columns that separate volumes at the same positions, the most reliable first."""
_TIMES = ("temporal_position", "acquired_s", "trigger_ms")
"""Those of `_VOLUMES` that give the temporal order of slices at one position, even if every slice has its own time."""

COLUMNS = tuple(
    dict.fromkeys(
        (
            *(*_FILE, *_SERIES, *UNIFORM_COLUMNS, *_VOLUMES),
            *("SeriesNumber", "SeriesDescription", "SliceThickness", "position_mm", "InstanceNumber"),
        )
    )
)
"""Columns of the headers that the stacks depend on."""


def uid_sort_key(uid: str) -> tuple[tuple[int, str], ...]:
    """Return the sort key of a UID: the numbers between its dots, so that 1.2.9 comes before 1.2.10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in uid.split("."))


def assign_stacks(headers: pd.DataFrame) -> pd.DataFrame:
    """Return the series and the stack of each slice.

    Args:
        headers: columns `COLUMNS`, a row for each slice, in any order; all slices of each patient.

    Returns:
        A row for each slice: cohort, path, frame; series (the SeriesInstanceUID; of joined series the first one),
        joined (the number of series that were joined, 0 if none) and stack (0, 1, ... within the series).
    """
    rows = headers.reset_index(drop=True)
    if rows.empty:
        return rows[_FILE].assign(series=[], joined=[], stack=[])
    series, joined = join_series(rows)
    rows = rows.assign(SeriesInstanceUID=series)
    stack = np.zeros(len(rows), np.int64)
    for index in _multi_stack_candidates(rows):
        stack[index] = _stacks_of_series(rows.iloc[index])
    return rows[_FILE].assign(series=series, joined=joined, stack=stack)


def join_series(rows: pd.DataFrame) -> tuple[pd.Series, np.ndarray]:
    """Join slices that a scanner stored as one series each.

    They are one series if each UID has a single slice, the slices are not all at one position, and study, date,
    number, description, orientation, size and the root of the UID agree. Their echoes and time points are separated
    later.

    Args:
        rows: columns `COLUMNS`.

    Returns:
        The series of each slice, and the number of series joined in it (0 if it is unchanged).
    """
    series, joined = rows["SeriesInstanceUID"].copy(), np.zeros(len(rows), np.int64)
    single = ~rows.duplicated(_SERIES, keep=False) & rows["position_mm"].notna() & (rows["SeriesNumber"] >= 0)
    if single.sum() < 2:
        return series, joined
    singles = rows[single].assign(root=rows.loc[single, "SeriesInstanceUID"].map(_root))
    keys = ["PatientID", "StudyInstanceUID", "StudyDate", "root", "SeriesNumber", "SeriesDescription"]
    for _, candidates in singles[singles["root"] != ""].groupby([*keys, "Rows", "Columns"], sort=False):
        for _, group in candidates.groupby(_directions(candidates["orientation"]), sort=False):
            if group["position_mm"].nunique() > 1:
                series[group.index] = min(group["SeriesInstanceUID"], key=uid_sort_key)
                joined[group.index] = len(group)
    return series, joined


def _root(uid: str) -> str:
    """Return the common root of a scanner's UIDs: without the last number, and the zeros that Siemens appends to it."""
    return uid.removesuffix(".0.0.0").rpartition(".")[0]


def _multi_stack_candidates(rows: pd.DataFrame) -> list[np.ndarray]:
    """Return the slices of each series that may hold several stacks; all other series are clearly one stack."""
    codes = rows.groupby(_SERIES, sort=False, dropna=False).ngroup()
    distinct = rows[UNIFORM_COLUMNS].assign(series=codes).drop_duplicates()
    mixed = set(distinct.loc[distinct["series"].duplicated(keep=False), "series"])
    steps = (
        rows[["position_mm"]]
        .assign(series=codes, tolerance=_position_tolerance(rows))
        .sort_values(["series", "position_mm"])
    )
    close = steps["position_mm"].diff().le(steps["tolerance"]) & steps["series"].eq(steps["series"].shift())
    close |= steps["position_mm"].isna() & steps["series"].duplicated(keep=False)
    mixed |= set(steps.loc[close, "series"])
    candidates = rows.index[codes.isin(mixed)]
    return [index.to_numpy() for index in codes[candidates].groupby(codes[candidates]).groups.values()]


def _position_tolerance(rows: pd.DataFrame) -> pd.Series:
    """Return the distance in mm below which positions count as equal."""
    return (rows["SliceThickness"] / 10).fillna(MIN_TOLERANCE_MM).clip(MIN_TOLERANCE_MM, MAX_TOLERANCE_MM)


def _stacks_of_series(rows: pd.DataFrame) -> np.ndarray:
    """Return the stack of each slice of a series that may hold several stacks."""
    keys = rows[_GEOMETRY].reset_index(drop=True)
    keys["component"] = keys["component"].replace("", "magnitude")  # the default if nothing is stated
    keys.insert(0, "direction", _directions(rows["orientation"]))
    keys["EchoTime"] = _fill_missing(_levels(rows["EchoTime"].to_numpy(float), ECHO_TOLERANCE_MS))
    for name in ("row_spacing_mm", "column_spacing_mm"):
        keys[name] = _levels(np.log(rows[name].to_numpy(float)), SPACING_TOLERANCE)
    parts = keys.groupby([*keys.columns], sort=True, dropna=False).ngroup().to_numpy()
    stacks, number = np.zeros(len(rows), np.int64), 0
    for part in range(parts.max() + 1):
        (index,) = np.nonzero(parts == part)
        volumes = _volumes(_Group.of(rows.iloc[index]), _VOLUMES)
        stacks[index] = number + volumes
        number += int(volumes.max()) + 1
    return stacks


def _fill_missing(numbers: np.ndarray) -> np.ndarray:
    """Return the numbers; if only one value occurs, slices without a value (-1) take it too."""
    known = np.unique(numbers[numbers >= 0])
    return np.full_like(numbers, known[0]) if len(known) == 1 else numbers


def _directions(orientations: pd.Series) -> np.ndarray:
    """Number the orientations: those within the tolerance of the first one of a group share its number."""
    first: list[np.ndarray] = []
    numbers: dict[str, int] = {}
    parsed = {text: [float(part) for part in text.split(",") if part] for text in orientations.unique()}
    for text in sorted(parsed, key=lambda key: ([round(cosine, 2) for cosine in parsed[key]], key)):
        cosines = np.array(parsed[text] or [0.0] * 6)
        near = (n for n, other in enumerate(first) if np.abs(cosines - other).max() < COSINE_TOLERANCE)
        numbers[text] = next(near, len(first))
        if numbers[text] == len(first):
            first.append(cosines)
    return orientations.map(numbers).to_numpy()


def _levels(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Rank the values from 0; neighbours within the tolerance share a rank; missing values have -1."""
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
    """Slices that differ only in position and time.

    Attributes:
        positions: (N,) int, rank of each slice's position along the normal; -1 if the position is unknown.
        sequence: (N,) int, rank in acquisition order: by time if all slices have one, by InstanceNumber, frame, file.
        labels: for each column that separates volumes, (N,) int with the label of each slice; -1 if it is missing.
    """

    positions: np.ndarray
    sequence: np.ndarray
    labels: dict[str, np.ndarray]

    @staticmethod
    def of(rows: pd.DataFrame) -> "_Group":
        """Create the group from rows of a series."""
        labels = {name: _labels(rows[name], name) for name in _VOLUMES}
        positions = _levels(rows["position_mm"].to_numpy(float), float(_position_tolerance(rows).min()))
        times = [labels[name] for name in _TIMES if labels[name].min() >= 0]
        files = np.unique(rows["path"].to_numpy(str), return_inverse=True)[1]
        order = np.lexsort([files, rows["frame"], rows["InstanceNumber"], *reversed(times)])
        return _Group(positions, np.argsort(order), labels)

    def subset(self, index: np.ndarray) -> "_Group":
        """Return a group of the indexed slices."""
        labels = {name: values[index] for name, values in self.labels.items()}
        return _Group(self.positions[index], self.sequence[index], labels)

    @property
    def max_per_position(self) -> int:
        """The largest number of slices at one position."""
        return int(np.unique(self.positions, return_counts=True)[1].max())


def _labels(column: pd.Series, name: str) -> np.ndarray:
    if name == "ImageType":
        return np.unique(column.to_numpy(str), return_inverse=True)[1]
    values = column.to_numpy(float)
    return _levels(np.where(values < 0, np.nan, values), ECHO_TOLERANCE_MS if name == "EchoTime" else 0.0)


def _volumes(group: _Group, keys: Sequence[str]) -> np.ndarray:
    """Return the volume of each slice, from 0 in temporal order; without known positions all belong to one volume."""
    if group.max_per_position == 1 or group.positions.min() < 0:
        return np.zeros(len(group.positions), np.int64)
    for depth, name in enumerate(keys):
        labels = group.labels[name]
        if _separates_volumes(group, labels):
            volumes, number = np.zeros(len(labels), np.int64), 0
            for label in np.unique(labels):
                (index,) = np.nonzero(labels == label)
                inner = _volumes(group.subset(index), keys[depth + 1 :])
                volumes[index] = number + inner
                number += int(inner.max()) + 1
            return volumes
    return _by_occurrence(group)


def _separates_volumes(group: _Group, labels: np.ndarray) -> bool:
    """Return whether the labels separate volumes.

    They do if there are at least two labels, no more than slices at one position, and if the slices of each label lie
    mostly at positions shared with other labels. Labels do not separate volumes if each slice has its own, if they
    mark two interleaved passes, if some slices have none, or if one marks a single slice acquired again.
    """
    values, counts = np.unique(labels, return_counts=True)
    if not 2 <= len(values) <= group.max_per_position or values[0] < 0:
        return False
    if len(values) == len(labels):
        return len(labels) == group.max_per_position
    present = np.zeros((len(values), group.positions.max() + 2), bool)  # -1, an unknown position, is the last
    present[np.searchsorted(values, labels), group.positions] = True
    shared = (present & (present.sum(axis=0) > 1)).sum(axis=1) / present.sum(axis=1)
    smaller = np.delete(shared, counts.argmax())
    return bool(np.count_nonzero(counts > 1) > 1 and smaller.min() > 0.5)


def _by_occurrence(group: _Group) -> np.ndarray:
    """Separate volumes that no label distinguishes: a new one begins when a position occurs again.

    If all repetitions of a position follow each other, its first slice belongs to the first volume, its second to the
    second, and so on. This applies only if all positions have the same number of slices, or one less where a volume
    was cut short; otherwise a slice was sent twice, and all slices belong to one volume.
    """
    positions, counts = np.unique(group.positions, return_counts=True)
    volumes = np.zeros(len(group.positions), np.int64)
    complete = counts.min() >= counts.max() - 1 and 2 * np.count_nonzero(counts == counts.max()) >= len(counts)
    if len(positions) < 2 or positions[0] < 0 or not complete:
        return volumes
    runs = _runs(group.positions, group.sequence)
    if runs.max() + 1 == group.max_per_position:
        return runs
    order = np.lexsort((group.sequence, group.positions))
    starts = np.flatnonzero(np.diff(group.positions[order], prepend=-1))
    ranks = np.arange(len(order)) - np.repeat(starts, counts)
    volumes[order] = ranks
    return volumes


def _runs(positions: np.ndarray, sequence: np.ndarray) -> np.ndarray:
    """Number the runs in acquisition order: a run ends before a position that it already contains."""
    runs, visited, number = np.zeros(len(positions), np.int64), set[int](), 0
    for index in np.argsort(sequence, kind="stable"):
        if positions[index] in visited:
            visited, number = set(), number + 1
        visited.add(positions[index])
        runs[index] = number
    return runs
