"""catalogue: folders of files -> catalogue/ (a row per slice) and quarantine.csv (a row per file that is not used).

The headers of all files are stored in `catalogue/_headers/` with each file's size and modification time, so that the
next catalogue of the same run reads only new and changed files. No step holds the whole archive in memory.
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

FOUND_FILES = pa.schema({"path": pa.string(), "cohort": pa.string(), "file_bytes": pa.int64(), "modified": pa.int64()})
"""A row per file that was found, as the file system describes it."""

_COMPUTED = ("series_joined", "stack", "order", "slice_spacing_mm", "missing_before", "repeats")
HEADERS = pa.schema(
    [
        *FOUND_FILES,
        pa.field("reason", pa.string()),  # "" if the file is used
        pa.field("detail", pa.string()),
        *(field for field in tables.CATALOGUE if field.name not in {*_COMPUTED, *FOUND_FILES.names}),
        pa.field("orientation", pa.string()),
        pa.field("SeriesNumber", pa.int32()),
        *(pa.field(name, pa.float64()) for name in ("temporal_position", "b_value", "acquired_s", "trigger_ms")),
        pa.field("AcquisitionNumber", pa.int32()),
        pa.field("ImageType", pa.string()),
    ],
    metadata={"tumorprog": __version__},
)
"""A row per frame of each usable file, or one row with the reason why a file is not used; not yet ordered."""

_SPELLING_COLUMNS = {"stated": pa.string(), "spelling": pa.string()}

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
"""The dates of studies that have several dates and in which some files lack StudyDate."""
_DAY_COLUMNS = ("cohort", "PatientID", "StudyInstanceUID", "StudyDate", "day")

_USED = f"""
SELECT headers.* REPLACE (
    coalesce(day, StudyDate) AS StudyDate,
    CASE WHEN day IS NULL OR StudyDate <> '' THEN warnings
        ELSE concat_ws('; ', nullif(warnings, ''), '{header.NO_STUDY_DATE}, the date of its study used') END AS warnings
)
FROM headers LEFT JOIN days USING (cohort, PatientID, StudyInstanceUID, StudyDate)
WHERE cohort = $cohort AND PatientID BETWEEN $first AND $last AND reason = ''
    AND path NOT IN (SELECT path FROM repeated WHERE cohort = $cohort)
"""  # noqa: S608 - internal constants only
"""The rows of the files to use; a file without StudyDate takes its date from `timeline.days_of_studies`."""

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

_REPEATED = """
SELECT cohort, path, first, SOPInstanceUID FROM (
    SELECT cohort, path, SOPInstanceUID,
        first_value(path) OVER (PARTITION BY cohort, SOPInstanceUID ORDER BY path) AS first
    FROM headers WHERE reason = '' AND frame = 0
) WHERE path <> first ORDER BY cohort, path
"""
REPEATED_FILES = pa.schema([(name, pa.string()) for name in ("cohort", "path", "first", "SOPInstanceUID")])
"""A file (`path`) with the SOP instance UID of an earlier file, and that file (`first`), which is used."""

_STATED = """
SELECT PatientID_stated AS stated FROM headers WHERE reason = '' GROUP BY ALL ORDER BY min(cohort || ' ' || path)
"""
"""Each spelling of a PatientID, in the order in which they first occur in the archive."""

_GATHERED = """
SELECT * FROM (
    SELECT headers.* REPLACE (coalesce(spelling, PatientID_stated) AS PatientID)
    FROM headers LEFT JOIN spellings ON PatientID_stated = spellings.stated
) ORDER BY cohort, PatientID, path, frame
"""
"""PatientID becomes the first spelling of the patient; PatientID_stated keeps the header's for the next catalogue."""

_IDENTITIES = """
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
    """Read the header of every new or changed file below the archive's folders and write the catalogue.

    Args:
        folder: the run directory; files that an earlier catalogue there has read and that are unchanged are not read
            again.
        out: receives `catalogue/` and `quarantine.csv`.
        settings: `archive`, `cluster`.

    Returns:
        A summary line: files found, used and quarantined; slices and patients.

    Raises:
        InputError: if a folder does not exist or contains no MR slice.
    """
    found = find_files(settings.archive, out / "found")
    previous = _previous_headers(folder / "catalogue" / "_headers")
    unchanged, pending = _plan(found, previous, out)
    log.info("  %s files found, %s of them to be read", f"{_num_rows(found):,}", f"{_num_rows(pending):,}")
    if pending:
        streaming.connect(settings.cluster)
        streaming.write_shards(pending, _read_headers, out / "headers", HEADERS, items="files")
    headers = _gather([*unchanged, *sorted((out / "headers").glob("*.parquet"))], out / "catalogue" / "_headers")
    excluded, new_uids = instances.compare(repeated_files(headers), headers, out, settings)
    _write_catalogue(headers, excluded, new_uids, out / "catalogue")
    quarantine = _quarantine(headers, excluded)
    tables.write_csv(out / "quarantine.csv", quarantine, tables.QUARANTINE)
    summary = _summary(out / "catalogue", quarantine, num_found=_num_rows(found))
    _require_slices(summary, quarantine, settings.archive)
    tables.write_json(out / "catalogue" / tables.SUMMARY, summary)
    return (
        f"{summary['found']:,} files found = {summary['used']:,} used + {summary['quarantined']:,} quarantined; "
        f"{summary['slices']:,} slices of {summary['patients']:,} patients"
    )


def find_files(archive: Archive, folder: Path) -> list[Path]:
    """List all files below the archive's folders in Parquet files with the schema `FOUND_FILES`.

    Raises:
        InputError: if no folder is given or one does not exist.
    """
    roots = {name: getattr(archive, name) for name in ("grading", "progression") if getattr(archive, name)}
    if not roots:
        raise InputError("no archive given; set a folder of DICOM files with --grading DIR, --progression DIR or both")
    for cohort, root in roots.items():
        if not storage.place(root).is_dir():
            raise InputError(f"--{cohort} {root}: no such folder; set it to the folder that contains the DICOM files")

    def list_files() -> Iterator[pa.Table]:
        for cohort, root in roots.items():
            rows: list[tuple[Any, ...]] = []
            for file in storage.walk(storage.place(storage.absolute(root))):
                rows.append((file.path, cohort, file.num_bytes, file.modified))
                if len(rows) == _SHARD_ROWS:
                    yield _to_table(rows)
                    rows = []
            yield _to_table(rows)

    return queries.write_parts(folder, list_files, FOUND_FILES, rows=_SHARD_ROWS)


def _to_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in FOUND_FILES)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, FOUND_FILES, strict=True)], FOUND_FILES
    )


def _num_rows(parts: list[Path]) -> int:
    return tables.read_summary(parts[0].parent)["rows"] if parts else 0


def _previous_headers(folder: Path) -> Any:
    """Return the header files of an earlier catalogue; an empty table if none exist or another version wrote them."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        return HEADERS.empty_table()
    with paths[0].open("rb") as file:
        same_version = pq.read_schema(file).equals(HEADERS, check_metadata=True)
    return paths if same_version else HEADERS.empty_table()


def _plan(found: list[Path], previous: Any, out: Path) -> tuple[list[Path], list[Path]]:
    """Split the files into those whose headers are reused and those to read: (parts of HEADERS, of FOUND_FILES).

    Files that could not be read earlier are tried again.
    """
    files = found or FOUND_FILES.empty_table()
    same = "USING (path, cohort, file_bytes, modified)"
    old = "(SELECT * FROM previous WHERE reason <> 'unreadable')"
    unchanged = queries.write_parts(
        out / "kept",
        lambda: queries.stream(
            f"SELECT * FROM {old} SEMI JOIN files {same}",  # noqa: S608
            HEADERS,
            files=files,
            previous=previous,
        ),
        HEADERS,
        rows=_SHARD_ROWS,
    )
    sql = f"SELECT * FROM files ANTI JOIN {old} {same} ORDER BY cohort, path"  # noqa: S608
    rows = streaming.shard_rows(_num_rows(found))
    pending = queries.write_parts(
        out / "due",
        lambda: queries.stream(sql, FOUND_FILES, files=files, previous=previous),
        FOUND_FILES,
        rows=rows,
    )
    return unchanged, pending


def _read_headers(files: pa.Table) -> tuple[pa.Table, streaming.Rejected]:
    rows: list[dict[str, Any]] = []
    for file in files.to_pylist():
        try:
            rows += [{**row, **file, "reason": "", "detail": ""} for row in header.read_rows(file["path"])]
        except DicomError as error:
            rows.append({**file, "reason": error.reason, "detail": error.detail})
    return pa.Table.from_pylist(rows, HEADERS), []


def _gather(parts: list[Path], folder: Path) -> Any:
    """Write the headers of all files, reused and new, sorted by patient, for this catalogue and the next one."""

    def sorted_rows() -> Iterator[pa.Table]:
        if not parts:
            return iter(())
        first = identity.spellings(queries.fetch(_STATED, headers=parts)["stated"])
        spellings = pa.table({"stated": [*first], "spelling": [*first.values()]}, pa.schema(_SPELLING_COLUMNS))
        return queries.stream(_GATHERED, HEADERS, headers=parts, spellings=spellings)

    written = queries.write_parts(folder, sorted_rows, HEADERS, rows=_SHARD_ROWS)
    return written or HEADERS.empty_table()


def order_slices(headers: Any, excluded: Any) -> Iterator[pa.Table]:
    """Assign each slice to a stack of its series and order the slices within each stack.

    Stacks are assigned by `stacking.assign_stacks`. Within a stack, slices are sorted by their position along its
    normal, and by InstanceNumber where the position is unknown or equal.

    Args:
        headers: rows of `HEADERS`, in any order; files or a table.
        excluded: rows with `cohort` and `path`: repeated files that are not used.

    Yields:
        Rows of `tables.CATALOGUE` by cohort, patient, date, series and order; no patient is spread over several tables.
    """
    counts = queries.fetch(_PATIENTS, headers=headers)
    dates = queries.fetch(_DAYS, {"undated": header.NO_STUDY_DATE}, headers=headers)
    days = pa.Table.from_pandas(timeline.days_of_studies(dates), pa.schema(dict.fromkeys(_DAY_COLUMNS, pa.string())))
    spans = [(path, queries.bounds(path, "PatientID")) for path in headers] if isinstance(headers, list) else []
    for cohort, patients in counts.groupby("cohort", sort=True):
        # a batch of patients at a time: window functions over a whole archive would hold all of it in memory
        for _, batch in patients.groupby(patients["rows"].cumsum() // _SHARD_ROWS, sort=True):
            values = {"cohort": cohort, "first": batch["PatientID"].iloc[0], "last": batch["PatientID"].iloc[-1]}
            # the files are sorted by patient, so only a few can contain this batch; opening all of them is very slow
            matching = [path for path, (low, high) in spans if low <= values["last"] and high >= values["first"]]
            sources = {"headers": matching or headers, "repeated": excluded, "days": days}
            assigned = stacking.assign_stacks(queries.fetch(_MIXED, values, **sources))
            stacks = pa.Table.from_pandas(assigned, _STACKS, preserve_index=False)
            parts = list(queries.stream(_ORDERED, tables.CATALOGUE, values, stacks=stacks, **sources))
            if parts:  # empty if all files of these patients are copies of other files
                yield pa.concat_tables(parts)


def repeated_files(headers: Any) -> pa.Table:
    """Return the files with the SOP instance UID of an earlier file of the same cohort, as rows of `REPEATED_FILES`."""
    found = list(queries.stream(_REPEATED, REPEATED_FILES, headers=headers))
    return pa.concat_tables(found) if found else REPEATED_FILES.empty_table()


def _write_catalogue(headers: Any, excluded: pd.DataFrame, new_uids: pd.DataFrame, folder: Path) -> None:
    """Write the catalogue's shards; all are written again if the stage was interrupted here."""
    for number, ordered in enumerate(order_slices(headers, excluded)):
        part = instances.replace_uids(ordered, new_uids)
        tables.write_shard(folder / queries.part_name(number), part, tables.CATALOGUE)


def _quarantine(headers: Any, excluded: pd.DataFrame) -> pd.DataFrame:
    rejected = queries.fetch("SELECT path, reason, detail FROM headers WHERE reason <> ''", headers=headers)
    quarantined = pd.concat([rejected, excluded[list(tables.QUARANTINE)]])
    return quarantined.sort_values(list(tables.QUARANTINE), ignore_index=True)


def check(folder: Path, settings: Settings) -> pd.DataFrame:
    """Find problems of the catalogued data that matter to this pipeline; see `inventory.check`.

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
    problems = inventory.check(series, patients, min_gap_days=settings.cohort.min_gap_days)
    notes = {"renamed": instances.REPLACED_UID, "undated": header.NO_STUDY_DATE, "torn": header.DATES_APART}
    identities = queries.fetch(_IDENTITIES, notes, catalogue=_slices_of(folder / "catalogue"))
    graded_twice = clinical.findings(patients) if patients is not None else ()
    findings = pd.DataFrame([*identity.findings(identities), *graded_twice], columns=list(inventory.FINDINGS))
    return pd.concat([findings, problems], ignore_index=True)


def series_of(folder: Path) -> pd.DataFrame:
    """Return the series of a catalogue, with the columns `inventory.SERIES`."""
    return queries.fetch(_SERIES, {"other_date": header.OTHER_DATE}, catalogue=_slices_of(folder))


def _slices_of(folder: Path) -> Any:
    """Return the files of a catalogue; an empty table if it has none."""
    return sorted(folder.glob("*.parquet")) or tables.CATALOGUE.empty_table()


def _summary(folder: Path, quarantine: pd.DataFrame, *, num_found: int) -> dict[str, Any]:
    counts = inventory.count(series_of(folder), quarantine, num_found=num_found)
    return {**counts, "fingerprint": _fingerprint(_slices_of(folder))}


def _fingerprint(catalogue: Any) -> str:
    """Return a hash of the slices' identities: the same images have the same fingerprint wherever the files are."""
    renamed = "CASE WHEN PatientID <> PatientID_stated THEN ' ' || PatientID ELSE '' END"
    sql = f"SELECT cohort || ' ' || SOPInstanceUID || ' ' || frame || {renamed} AS id FROM catalogue ORDER BY id"  # noqa: S608
    hashed = hashlib.sha256()
    for part in queries.stream(sql, pa.schema({"id": pa.string()}), catalogue=catalogue):
        hashed.update("\n".join([*part["id"].to_pylist(), ""]).encode())
    return hashed.hexdigest()


def _require_slices(summary: dict[str, Any], quarantine: pd.DataFrame, archive: Archive) -> None:
    for cohort in ("grading", "progression"):
        root = getattr(archive, cohort)
        if root and not summary["cohorts"].get(cohort):
            reasons = quarantine["reason"].value_counts()
            counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "the folder is empty"
            raise InputError(f"--{cohort} {root}: no MR slice among its files ({counts})")
