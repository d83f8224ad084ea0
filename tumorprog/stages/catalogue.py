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

from tumorprog import queries, storage, tables
from tumorprog.catalogue import instances
from tumorprog.catalogue.columns import FOUND_FILES, HEADERS, REPEATED_FILES
from tumorprog.catalogue.ordering import SHARD_ROWS, order_slices
from tumorprog.catalogue.overview import catalogue_files, series_of
from tumorprog.cohort import identity, inventory
from tumorprog.cohort.settings import Archive
from tumorprog.distributed import session, shards
from tumorprog.errors import DicomError, InputError
from tumorprog.formats import reading
from tumorprog.formats.columns import CATALOGUE, QUARANTINE, Rejected
from tumorprog.settings import Settings

log = logging.getLogger(__name__)

_SPELLING_COLUMNS = {"stated": pa.string(), "spelling": pa.string()}

_REPEATED = """
SELECT cohort, path, first, SOPInstanceUID FROM (
    SELECT cohort, path, SOPInstanceUID,
        first_value(path) OVER (PARTITION BY cohort, SOPInstanceUID ORDER BY path) AS first
    FROM headers WHERE reason = '' AND frame = 0
) WHERE path <> first ORDER BY cohort, path
"""

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
        session.connect(settings.cluster)
        shards.write_shards(pending, _read_headers, out / "headers", HEADERS, items="files")
    headers = _gather([*unchanged, *sorted((out / "headers").glob("*.parquet"))], out / "catalogue" / "_headers")
    excluded, new_uids = instances.compare(repeated_files(headers), headers, out, settings)
    _write_catalogue(headers, excluded, new_uids, out / "catalogue")
    quarantine = _quarantine(headers, excluded)
    tables.write_csv(out / "quarantine.csv", quarantine, QUARANTINE)
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
        if not storage.as_path(root).is_dir():
            raise InputError(f"--{cohort} {root}: no such folder; set it to the folder that contains the DICOM files")

    def list_files() -> Iterator[pa.Table]:
        for cohort, root in roots.items():
            rows: list[tuple[Any, ...]] = []
            for file in storage.walk(storage.as_path(storage.absolute(root))):
                rows.append((file.path, cohort, file.num_bytes, file.modified))
                if len(rows) == SHARD_ROWS:
                    yield _to_table(rows)
                    rows = []
            yield _to_table(rows)

    return queries.write_parts(folder, list_files, FOUND_FILES, rows=SHARD_ROWS)


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
        rows=SHARD_ROWS,
    )
    sql = f"SELECT * FROM files ANTI JOIN {old} {same} ORDER BY cohort, path"  # noqa: S608
    rows = shards.shard_rows(_num_rows(found))
    pending = queries.write_parts(
        out / "due",
        lambda: queries.stream(sql, FOUND_FILES, files=files, previous=previous),
        FOUND_FILES,
        rows=rows,
    )
    return unchanged, pending


def _read_headers(files: pa.Table) -> tuple[pa.Table, Rejected]:
    rows: list[dict[str, Any]] = []
    for file in files.to_pylist():
        try:
            rows += [{**row, **file, "reason": "", "detail": ""} for row in reading.read_rows(file["path"])]
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

    written = queries.write_parts(folder, sorted_rows, HEADERS, rows=SHARD_ROWS)
    return written or HEADERS.empty_table()


def repeated_files(headers: Any) -> pa.Table:
    """Return the files with the SOP instance UID of an earlier file of the same cohort, as rows of `REPEATED_FILES`."""
    found = list(queries.stream(_REPEATED, REPEATED_FILES, headers=headers))
    return pa.concat_tables(found) if found else REPEATED_FILES.empty_table()


def _write_catalogue(headers: Any, excluded: pd.DataFrame, new_uids: pd.DataFrame, folder: Path) -> None:
    """Write the catalogue's shards; all are written again if the stage was interrupted here."""
    for number, ordered in enumerate(order_slices(headers, excluded)):
        part = instances.replace_uids(ordered, new_uids)
        tables.write_shard(folder / queries.part_name(number), part, CATALOGUE)


def _quarantine(headers: Any, excluded: pd.DataFrame) -> pd.DataFrame:
    rejected = queries.fetch("SELECT path, reason, detail FROM headers WHERE reason <> ''", headers=headers)
    quarantined = pd.concat([rejected, excluded[list(QUARANTINE)]])
    return quarantined.sort_values(list(QUARANTINE), ignore_index=True)


def _summary(folder: Path, quarantine: pd.DataFrame, *, num_found: int) -> dict[str, Any]:
    counts = inventory.count(series_of(folder), quarantine, num_found=num_found)
    return {**counts, "fingerprint": _fingerprint(catalogue_files(folder))}


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
