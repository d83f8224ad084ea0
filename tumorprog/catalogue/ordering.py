"""Headers of all files -> rows of the catalogue: stacks, and the order of the slices in them."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tumorprog import queries
from tumorprog.catalogue import stacking
from tumorprog.cohort import timeline
from tumorprog.formats.columns import CATALOGUE, NO_STUDY_DATE

SHARD_ROWS = 50_000

_DAYS = """
WITH days AS (
    SELECT cohort, PatientID, StudyInstanceUID, StudyDate,
        bool_and(StudyDate = '' OR contains(warnings, $undated)) AS undated
    FROM headers WHERE reason = '' GROUP BY ALL
)
SELECT * FROM days SEMI JOIN (
    SELECT cohort, PatientID, StudyInstanceUID FROM days GROUP BY ALL HAVING count(*) > 1 AND bool_or(undated)
) USING (cohort, PatientID, StudyInstanceUID)
"""
"""The dates of studies that have several dates and in which some files lack StudyDate."""
_DAY_COLUMNS = ("cohort", "PatientID", "StudyInstanceUID", "StudyDate", "day")

_USED = f"""
SELECT headers.* REPLACE (
    coalesce(day, StudyDate) AS StudyDate,
    CASE WHEN day IS NULL OR StudyDate <> '' THEN warnings
        ELSE concat_ws('; ', nullif(warnings, ''), '{NO_STUDY_DATE}, the date of its study used') END AS warnings
)
FROM headers LEFT JOIN days USING (cohort, PatientID, StudyInstanceUID, StudyDate)
WHERE cohort = $cohort AND PatientID BETWEEN $first AND $last AND reason = ''
    AND path NOT IN (SELECT path FROM repeated WHERE cohort = $cohort)
"""  # noqa: S608 - internal constants only
"""The rows of the files to use; a file without StudyDate takes its date from `timeline.resolve_study_dates`."""

_SERIES_KEYS = "PatientID, StudyInstanceUID, StudyDate, SeriesInstanceUID"
_TOLERANCE = (
    f"greatest({stacking.MIN_TOLERANCE_MM}, "
    f"least({stacking.MAX_TOLERANCE_MM}, coalesce(nullif(SliceThickness, 'nan') / 10, 0)))"
)

_MIXED = f"""
WITH used AS ({_USED}), mixed AS (
    SELECT {_SERIES_KEYS} FROM used GROUP BY ALL HAVING count(*) = 1
        OR {" OR ".join(f'min("{name}") <> max("{name}")' for name in stacking.UNIFORM_COLUMNS)}
        OR count(DISTINCT floor(position_mm / (2 * {_TOLERANCE}))) < count(*)
        OR count(DISTINCT floor(position_mm / (2 * {_TOLERANCE}) + 0.5)) < count(*)
)
SELECT {", ".join(stacking.COLUMNS)} FROM used SEMI JOIN mixed USING ({_SERIES_KEYS})
"""  # noqa: S608 - internal constants only
"""The slices of series that may hold several stacks or a part of one. Most series are clearly one stack, which SQL
recognises in a fifth of the time that pandas takes. Positions within the tolerance of each other
fall into the same cell of at least one of two grids that are offset by half a cell."""

_ORDERED = f"""
WITH stacked AS (
    SELECT used.* REPLACE (coalesce(series, SeriesInstanceUID) AS SeriesInstanceUID),
        coalesce(joined, 0) AS series_joined, coalesce(stack, 0) AS stack,
        {_TOLERANCE} AS tolerance,
        CASE WHEN InstanceNumber < 0 THEN
            list_transform(string_split(SOPInstanceUID, '.'), lambda part: lpad(part, 64, '0')) END AS instance
    FROM ({_USED}) AS used LEFT JOIN stacks USING (cohort, path, frame)
), ordered AS (
    SELECT *, row_number() OVER (
        PARTITION BY {_SERIES_KEYS}
        ORDER BY stack, position_mm, InstanceNumber, instance, length(SOPInstanceUID), SOPInstanceUID, frame
    ) - 1 AS "order"
    FROM stacked
), stepped AS (
    SELECT *, position_mm - lag(position_mm) OVER (
        PARTITION BY {_SERIES_KEYS}, stack ORDER BY "order"
    ) AS step
    FROM ordered
), spaced AS (
    SELECT *,
        coalesce(median(step) FILTER (step > tolerance) OVER (PARTITION BY {_SERIES_KEYS}, stack), 'nan')
            AS slice_spacing_mm,
        sum(CASE WHEN abs(step) <= tolerance THEN 0 ELSE 1 END) OVER (
            PARTITION BY {_SERIES_KEYS}, stack ORDER BY "order"
        ) AS position_rank
    FROM stepped
)
SELECT * REPLACE (coalesce(position_mm, 'nan') AS position_mm),
    CASE WHEN step > 1.5 * slice_spacing_mm AND NOT isnan(step) THEN round(step / slice_spacing_mm) - 1 ELSE 0 END
        AS missing_before,
    row_number() OVER (PARTITION BY {_SERIES_KEYS}, stack, position_rank ORDER BY "order") - 1 AS repeats
FROM spaced
ORDER BY PatientID, StudyDate, SeriesInstanceUID, StudyInstanceUID, "order"
"""  # noqa: S608 - internal constants only
"""Positions that differ by less than a tenth of the slice thickness count as equal. Where the step from the previous
slice exceeds one and a half times the median step, slices are missing in between. UIDs are sorted numerically."""

_STACKS = pa.schema(
    {"cohort": pa.string(), "path": pa.string(), "frame": pa.int32(), "series": pa.string(), "joined": pa.int32()}
).append(pa.field("stack", pa.int32()))

_PATIENTS = """
SELECT cohort, PatientID, count(*) AS rows FROM headers WHERE reason = '' GROUP BY ALL ORDER BY ALL
"""


def order_slices(headers: Any, excluded: Any) -> Iterator[pa.Table]:
    """Assign each slice to a stack of its series and order the slices within each stack.

    Stacks are assigned by `stacking.assign_stacks`. Within a stack, slices are sorted by their position along its
    normal, and by InstanceNumber where the position is unknown or equal.

    Args:
        headers: rows of `HEADERS`, in any order; files or a table.
        excluded: rows with `cohort` and `path`: repeated files that are not used.

    Yields:
        Rows of `CATALOGUE` by cohort, patient, date, series and order; no patient is spread over several tables.
    """
    counts = queries.fetch(_PATIENTS, headers=headers)
    dates = queries.fetch(_DAYS, {"undated": NO_STUDY_DATE}, headers=headers)
    days = pa.Table.from_pandas(
        timeline.resolve_study_dates(dates), pa.schema(dict.fromkeys(_DAY_COLUMNS, pa.string()))
    )
    spans = [(path, queries.bounds(path, "PatientID")) for path in headers] if isinstance(headers, list) else []
    for cohort, patients in counts.groupby("cohort", sort=True):
        # a batch of patients at a time: window functions over a whole archive would hold all of it in memory
        for _, batch in patients.groupby(patients["rows"].cumsum() // SHARD_ROWS, sort=True):
            values = {"cohort": cohort, "first": batch["PatientID"].iloc[0], "last": batch["PatientID"].iloc[-1]}
            # the files are sorted by patient, so only a few can contain this batch; opening all of them is very slow
            matching = [path for path, (low, high) in spans if low <= values["last"] and high >= values["first"]]
            sources = {"headers": matching or headers, "repeated": excluded, "days": days}
            assigned = stacking.assign_stacks(queries.fetch(_MIXED, values, **sources))
            stacks = pa.Table.from_pandas(assigned, _STACKS, preserve_index=False)
            parts = list(queries.stream(_ORDERED, CATALOGUE, values, stacks=stacks, **sources))
            if parts:  # empty if all files of these patients are copies of other files
                yield pa.concat_tables(parts)
