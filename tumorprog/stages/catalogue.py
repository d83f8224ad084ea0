"""catalogue: folders of files -> catalogue/ (a row per slice) and quarantine.csv (a row per file that is not used).

The headers of all files are kept in `catalogue/_headers/` with the files' sizes and times of change: the next catalogue
of the same run reads only what is new or has changed. No step holds more than a part of the archive in memory.
"""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tumorprog import __version__, storage, tables
from tumorprog.cohort import clinical, identity, inventory, timeline
from tumorprog.dicom import header
from tumorprog.errors import DicomError, InputError
from tumorprog.settings import Archive, Settings
from tumorprog.stages import instances, queries, stacking, streaming

log = logging.getLogger(__name__)

FOUND = pa.schema({"path": pa.string(), "cohort": pa.string(), "file_bytes": pa.int64(), "modified": pa.int64()})
"""What the file system tells of a file."""

_MADE_HERE = ("series_joined", "stack", "order", "slice_spacing_mm", "missing_before", "repeats")
HEADERS = pa.schema(
    [
        *FOUND,
        pa.field("reason", pa.string()),  # "" if the file is used
        pa.field("detail", pa.string()),
        *(field for field in tables.CATALOGUE if field.name not in {*_MADE_HERE, *FOUND.names}),
        pa.field("orientation", pa.string()),
        pa.field("SeriesNumber", pa.int32()),
        *(pa.field(name, pa.float64()) for name in ("temporal_position", "b_value", "acquired_s", "trigger_ms")),
        pa.field("AcquisitionNumber", pa.int32()),
        pa.field("ImageType", pa.string()),
    ],
    metadata={"tumorprog": __version__},
)
"""A row per frame of a file that may be used, or one row with a reason; the order of the slices is not known yet."""

_KNOWN = {"stated": pa.string(), "spelling": pa.string()}

_SHARD_ROWS = 50_000

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
"""The dates of studies that lack their own in some files, and have several."""
_STUDY = ("cohort", "PatientID", "StudyInstanceUID", "StudyDate", "day")

_KEPT = f"""
SELECT headers.* REPLACE (
    coalesce(day, StudyDate) AS StudyDate,
    CASE WHEN day IS NULL OR StudyDate <> '' THEN warnings
        ELSE concat_ws('; ', nullif(warnings, ''), '{header.NO_STUDY_DATE}, its study''s used') END AS warnings
)
FROM headers LEFT JOIN days USING (cohort, PatientID, StudyInstanceUID, StudyDate)
WHERE cohort = $cohort AND PatientID BETWEEN $first AND $last AND reason = ''
    AND path NOT IN (SELECT path FROM again WHERE cohort = $cohort)
"""  # noqa: S608 - words of ours
"""The files to use; one that has no date of its study has it from `timeline.days_of_studies`."""

_SERIES_KEYS = "PatientID, StudyInstanceUID, StudyDate, SeriesInstanceUID"
_NEAREST = (
    f"greatest({stacking.CLOSEST_MM}, least({stacking.FURTHEST_MM}, coalesce(nullif(SliceThickness, 'nan') / 10, 0)))"
)

_MIXED = f"""
WITH kept AS ({_KEPT}), mixed AS (
    SELECT {_SERIES_KEYS} FROM kept GROUP BY ALL HAVING count(*) = 1
        OR {" OR ".join(f'min("{name}") <> max("{name}")' for name in stacking.KINDS)}
        OR count(DISTINCT floor(position_mm / (2 * {_NEAREST}))) < count(*)
        OR count(DISTINCT floor(position_mm / (2 * {_NEAREST}) + 0.5)) < count(*)
)
SELECT {", ".join(stacking.COLUMNS)} FROM kept SEMI JOIN mixed USING ({_SERIES_KEYS})
"""  # noqa: S608 - names and numbers of ours
"""The slices of series that may hold several stacks, or be a part of one: most are plainly one, which SQL tells at a
fifth of the price. Positions that are near enough to be one share a cell in one of two grids."""

_IN_ORDER = f"""
WITH stacked AS (
    SELECT kept.* REPLACE (coalesce(series, SeriesInstanceUID) AS SeriesInstanceUID),
        coalesce(joined, 0) AS series_joined, coalesce(stack, 0) AS stack,
        {_NEAREST} AS nearest,
        CASE WHEN InstanceNumber < 0 THEN
            list_transform(string_split(SOPInstanceUID, '.'), lambda part: lpad(part, 64, '0')) END AS instance
    FROM ({_KEPT}) AS kept LEFT JOIN stacks USING (cohort, path, frame)
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
        coalesce(median(step) FILTER (step > nearest) OVER (PARTITION BY {_SERIES_KEYS}, stack), 'nan')
            AS slice_spacing_mm,
        sum(CASE WHEN abs(step) <= nearest THEN 0 ELSE 1 END) OVER (
            PARTITION BY {_SERIES_KEYS}, stack ORDER BY "order"
        ) AS place
    FROM stepped
)
SELECT * REPLACE (coalesce(position_mm, 'nan') AS position_mm),
    CASE WHEN step > 1.5 * slice_spacing_mm AND NOT isnan(step) THEN round(step / slice_spacing_mm) - 1 ELSE 0 END
        AS missing_before,
    row_number() OVER (PARTITION BY {_SERIES_KEYS}, stack, place ORDER BY "order") - 1 AS repeats
FROM spaced
ORDER BY PatientID, StudyDate, SeriesInstanceUID, StudyInstanceUID, "order"
"""  # noqa: S608 - numbers of ours
"""Positions nearer than a tenth of the slice thickness are the same; one that lies more than one and a half usual steps
from the one before has slices missing before it. UIDs are ordered by their numbers."""

_STACKS = pa.schema(
    {"cohort": pa.string(), "path": pa.string(), "frame": pa.int32(), "series": pa.string(), "joined": pa.int32()}
).append(pa.field("stack", pa.int32()))

_PATIENTS = """
SELECT cohort, PatientID, count(*) AS rows FROM headers WHERE reason = '' GROUP BY ALL ORDER BY ALL
"""

_AGAIN = """
SELECT cohort, path, first, SOPInstanceUID FROM (
    SELECT cohort, path, SOPInstanceUID,
        first_value(path) OVER (PARTITION BY cohort, SOPInstanceUID ORDER BY path) AS first
    FROM headers WHERE reason = '' AND frame = 0
) WHERE path <> first ORDER BY cohort, path
"""
AGAIN = pa.schema([(name, pa.string()) for name in ("cohort", "path", "first", "SOPInstanceUID")])
"""A file whose SOP instance another file has brought already, and that file, which is the one used."""


_STATED = """
SELECT PatientID_stated AS stated FROM headers WHERE reason = '' GROUP BY ALL ORDER BY min(cohort || ' ' || path)
"""
"""Each spelling of a patient's id, the first one of the archive first."""

_GATHERED = """
SELECT * FROM (
    SELECT headers.* REPLACE (coalesce(spelling, PatientID_stated) AS PatientID)
    FROM headers LEFT JOIN known ON PatientID_stated = known.stated
) ORDER BY cohort, PatientID, path, frame
"""
"""PatientID becomes the first spelling of the patient; that of the header stays beside it for the next catalogue."""

_WHO = """
SELECT cohort, PatientID, PatientID_stated, StudyDate, StudyInstanceUID,
    regexp_replace(path, '[^/]*$', '') AS folder,
    count(*) AS files,
    count(*) FILTER (contains(warnings, $renamed)) AS renamed,
    count(*) FILTER (contains(warnings, $undated)) AS undated,
    count(*) FILTER (contains(warnings, $torn)) AS torn
FROM catalogue WHERE frame = 0 GROUP BY ALL ORDER BY ALL
"""
"""The columns of `identity.WHO`."""

_SERIES = """
SELECT cohort, PatientID, StudyDate, SeriesInstanceUID, min(Type) AS Type, sequence, plane,
    min(sequence_witnesses) AS witnesses, max(sequence_contradiction) AS contradiction,
    count(DISTINCT stack) AS stacks,
    count(*) AS slices,
    count(*) FILTER (frame = 0) AS files,
    sum(missing_before)::BIGINT AS missing,
    count(*) FILTER (repeats > 0) AS repeated,
    count(*) FILTER (warnings <> '') AS warned,
    count(*) FILTER (contains(warnings, $other_date)) AS redated,
    max(series_joined) AS joined
FROM catalogue GROUP BY ALL ORDER BY ALL
"""
"""The columns of `inventory.SERIES`."""


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Reads the header of every file below the archive's folders that is new or has changed.

    Args:
        folder: the run directory; an earlier catalogue there saves the reading of what has not changed.
        out: receives `catalogue/` and `quarantine.csv`.
        settings: `archive`, `cluster`.

    Returns:
        The counts, which add up.

    Raises:
        InputError: if a folder is missing or holds no MR slice.
    """
    found = find_files(settings.archive, out / "found")
    before = _headers_before(folder / "catalogue" / "_headers")
    kept, due = _plan(found, before, out)
    log.info("  %s files found, %s of them to be read", f"{_num_rows(found):,}", f"{_num_rows(due):,}")
    if due:
        streaming.connect(settings.cluster)
        streaming.write_shards(due, _read_headers, out / "headers", HEADERS, items="files")
    headers = _gather([*kept, *sorted((out / "headers").glob("*.parquet"))], out / "catalogue" / "_headers")
    again, own = instances.compare(repeated(headers), headers, out, settings)
    _order(headers, again, own, out / "catalogue")
    quarantine = _quarantine(headers, again)
    tables.write_csv(out / "quarantine.csv", quarantine, tables.QUARANTINE)
    summary = _summary(out / "catalogue", quarantine, num_found=_num_rows(found))
    _refuse_nothing(summary, quarantine, settings.archive)
    tables.write_json(out / "catalogue" / tables.SUMMARY, summary)
    return (
        f"{summary['found']:,} files found = {summary['used']:,} used + {summary['quarantined']:,} quarantined; "
        f"{summary['slices']:,} slices of {summary['patients']:,} patients"
    )


def find_files(archive: Archive, folder: Path) -> list[Path]:
    """Lists all files below the archive's folders into Parquet files of `FOUND`.

    Raises:
        InputError: if no folder is named or one does not exist.
    """
    roots = {name: getattr(archive, name) for name in ("grading", "progression") if getattr(archive, name)}
    if not roots:
        raise InputError("no archive: name a folder of DICOM files with --grading DIR, --progression DIR or both")
    for cohort, root in roots.items():
        if not storage.place(root).is_dir():
            raise InputError(f"--{cohort} {root}: no such folder; name the folder that holds the DICOM files")

    def listed() -> Iterator[pa.Table]:
        for cohort, root in roots.items():
            rows: list[tuple[Any, ...]] = []
            for file in storage.walk(storage.place(storage.absolute(root))):
                rows.append((file.path, cohort, file.num_bytes, file.modified))
                if len(rows) == _SHARD_ROWS:
                    yield _as_found(rows)
                    rows = []
            yield _as_found(rows)

    return queries.write_parts(folder, listed, FOUND, rows=_SHARD_ROWS)


def _as_found(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in FOUND)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, FOUND, strict=True)], FOUND)


def _num_rows(parts: list[Path]) -> int:
    return tables.read_summary(parts[0].parent)["rows"] if parts else 0


def _headers_before(folder: Path) -> Any:
    """What an earlier catalogue read, as files; an empty table if there is none or another version made it."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        return HEADERS.empty_table()
    with paths[0].open("rb") as file:
        same = pq.read_schema(file).equals(HEADERS, check_metadata=True)
    return paths if same else HEADERS.empty_table()


def _plan(found: list[Path], before: Any, out: Path) -> tuple[list[Path], list[Path]]:
    """Which headers stand and which files are to be read: (parts of HEADERS, parts of FOUND).

    What could not be read is tried again.
    """
    files = found or FOUND.empty_table()
    same = "USING (path, cohort, file_bytes, modified)"
    old = "(SELECT * FROM before WHERE reason <> 'unreadable')"
    kept = queries.write_parts(
        out / "kept",
        lambda: queries.stream(f"SELECT * FROM {old} SEMI JOIN files {same}", HEADERS, files=files, before=before),  # noqa: S608
        HEADERS,
        rows=_SHARD_ROWS,
    )
    sql = f"SELECT * FROM files ANTI JOIN {old} {same} ORDER BY cohort, path"  # noqa: S608
    rows = streaming.shard_rows(_num_rows(found))
    due = queries.write_parts(
        out / "due", lambda: queries.stream(sql, FOUND, files=files, before=before), FOUND, rows=rows
    )
    return kept, due


def _read_headers(files: pa.Table) -> tuple[pa.Table, streaming.Rejected]:
    rows: list[dict[str, Any]] = []
    for file in files.to_pylist():
        try:
            rows += [{**row, **file, "reason": "", "detail": ""} for row in header.read_rows(file["path"])]
        except DicomError as error:
            rows.append({**file, "reason": error.reason, "detail": error.detail})
    return pa.Table.from_pylist(rows, HEADERS), []


def _gather(parts: list[Path], folder: Path) -> Any:
    """The headers of all files, old and new, sorted by patient, where the next catalogue will look for them."""

    def sorted_rows() -> Iterator[pa.Table]:
        if not parts:
            return iter(())
        first = identity.spellings(queries.ask(_STATED, headers=parts)["stated"])
        known = pa.table({"stated": [*first], "spelling": [*first.values()]}, pa.schema(_KNOWN))
        return queries.stream(_GATHERED, HEADERS, headers=parts, known=known)

    written = queries.write_parts(folder, sorted_rows, HEADERS, rows=_SHARD_ROWS)
    return written or HEADERS.empty_table()


def in_order(headers: Any, again: Any) -> Iterator[pa.Table]:
    """Finds the stacks of each series and the place of each slice in it.

    Stacks are those of `stacking.stacks_of`. Within one, slices are ordered by their position along its normal, and by
    InstanceNumber where that is unknown or the same.

    Args:
        headers: rows of `HEADERS`, in any order; files or a table.
        again: rows of `AGAIN`: files to leave out.

    Yields:
        Rows of `tables.CATALOGUE` by cohort, patient, date, series and order; each table some whole patients.
    """
    counts = queries.ask(_PATIENTS, headers=headers)
    torn = queries.ask(_DAYS, {"undated": header.NO_STUDY_DATE}, headers=headers)
    days = pa.Table.from_pandas(timeline.days_of_studies(torn), pa.schema(dict.fromkeys(_STUDY, pa.string())))
    spans = [(path, queries.bounds(path, "PatientID")) for path in headers] if isinstance(headers, list) else []
    for cohort, patients in counts.groupby("cohort", sort=True):
        # some patients at a time: windows over a whole archive would want all of it in memory
        for _, some in patients.groupby(patients["rows"].cumsum() // _SHARD_ROWS, sort=True):
            these = {"cohort": cohort, "first": some["PatientID"].iloc[0], "last": some["PatientID"].iloc[-1]}
            # the files are sorted by patient, so that few hold any one; opening all each time would take for ever
            theirs = [path for path, (low, high) in spans if low <= these["last"] and high >= these["first"]]
            sources = {"headers": theirs or headers, "again": again, "days": days}
            mixed = stacking.stacks_of(queries.ask(_MIXED, these, **sources))
            stacks = pa.Table.from_pandas(mixed, _STACKS, preserve_index=False)
            parts = list(queries.stream(_IN_ORDER, tables.CATALOGUE, these, stacks=stacks, **sources))
            if parts:  # all files of a patient can be copies of another's
                yield pa.concat_tables(parts)


def repeated(headers: Any) -> pa.Table:
    """The files whose SOP instances another file of the same cohort has brought already: rows of `AGAIN`."""
    found = list(queries.stream(_AGAIN, AGAIN, headers=headers))
    return pa.concat_tables(found) if found else AGAIN.empty_table()


def _order(headers: Any, again: pd.DataFrame, own: pd.DataFrame, folder: Path) -> None:
    """Writes the catalogue's shards; they are made again from the headers if the stage was interrupted here."""
    for number, ordered in enumerate(in_order(headers, again)):
        part = instances.with_own_uids(ordered, own)
        tables.write_shard(folder / queries.part_name(number), part, tables.CATALOGUE)


def _quarantine(headers: Any, again: pd.DataFrame) -> pd.DataFrame:
    rejected = queries.ask("SELECT path, reason, detail FROM headers WHERE reason <> ''", headers=headers)
    listed = pd.concat([rejected, again[list(tables.QUARANTINE)]])
    return listed.sort_values(list(tables.QUARANTINE), ignore_index=True)


def check(folder: Path, settings: Settings) -> pd.DataFrame:
    """What is wrong with the catalogued data for this pipeline; see `inventory.check`.

    Args:
        folder: the run directory.
        settings: `archive.grades`, `cohort`.
    """
    series = series_of(folder / "catalogue")
    graded = sorted(series.loc[series["cohort"] == "grading", "PatientID"].unique())
    patients = None
    if settings.archive.grades:
        table = clinical.read_grades(storage.place(settings.archive.grades), settings.cohort, graded)
        patients = clinical.match(graded, table)
    checked = inventory.check(series, patients, min_gap_days=settings.cohort.min_gap_days)
    noted = {"renamed": instances.OWN_UID, "undated": header.NO_STUDY_DATE, "torn": header.DATES_APART}
    who = queries.ask(_WHO, noted, catalogue=_slices_of(folder / "catalogue"))
    graded_twice = clinical.findings(patients) if patients is not None else ()
    odd = pd.DataFrame([*identity.findings(who), *graded_twice], columns=list(inventory.FINDINGS))
    return pd.concat([odd, checked], ignore_index=True)


def series_of(folder: Path) -> pd.DataFrame:
    """The series of a catalogue, with the columns `inventory.SERIES`."""
    return queries.ask(_SERIES, {"other_date": header.OTHER_DATE}, catalogue=_slices_of(folder))


def _slices_of(folder: Path) -> Any:
    """The files of a catalogue; an empty table if it has none."""
    return sorted(folder.glob("*.parquet")) or tables.CATALOGUE.empty_table()


def _summary(folder: Path, quarantine: pd.DataFrame, *, num_found: int) -> dict[str, Any]:
    counts = inventory.count(series_of(folder), quarantine, num_found=num_found)
    return {**counts, "fingerprint": _fingerprint(_slices_of(folder))}


def _fingerprint(catalogue: Any) -> str:
    """Of what the slices are, wherever they lie: the same images give the same, on any disk."""
    renamed = "CASE WHEN PatientID <> PatientID_stated THEN ' ' || PatientID ELSE '' END"
    sql = f"SELECT cohort || ' ' || SOPInstanceUID || ' ' || frame || {renamed} AS id FROM catalogue ORDER BY id"  # noqa: S608
    hashed = hashlib.sha256()
    for part in queries.stream(sql, pa.schema({"id": pa.string()}), catalogue=catalogue):
        hashed.update("\n".join([*part["id"].to_pylist(), ""]).encode())
    return hashed.hexdigest()


def _refuse_nothing(summary: dict[str, Any], quarantine: pd.DataFrame, archive: Archive) -> None:
    for cohort in ("grading", "progression"):
        root = getattr(archive, cohort)
        if root and not summary["cohorts"].get(cohort):
            reasons = quarantine["reason"].value_counts()
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "the folder is empty"
            raise InputError(f"--{cohort} {root}: no MR slice among its files ({told})")
