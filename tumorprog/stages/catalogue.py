"""catalogue: folders of files -> catalogue/ (a row per slice) and quarantine.csv (a row per file that is not used)."""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tumorprog import tables
from tumorprog.dicom import header
from tumorprog.errors import DicomError, InputError
from tumorprog.settings import Archive, Settings
from tumorprog.stages import streaming

log = logging.getLogger(__name__)

_MADE_HERE = ("stack", "order")
HEADERS = pa.schema([field for field in tables.CATALOGUE if field.name not in _MADE_HERE]).append(
    pa.field("orientation", pa.string())
)
"""What the headers tell, before the order of the slices is known."""
_STACK = ["orientation", "Rows", "Columns", "EchoNumbers"]
_SERIES = ["cohort", "SeriesInstanceUID"]
_SHARD_ROWS = 50_000


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Reads the header of every file below the archive's folders.

    Args:
        folder: the run directory; nothing is read from it.
        out: receives `catalogue/` and `quarantine.csv`.
        settings: `archive`, `cluster`.

    Returns:
        The counts, which add up.

    Raises:
        InputError: if a folder is missing or holds no MR slice.
    """
    del folder
    files = find_files(settings.archive)
    log.info("  %s files found", f"{files.num_rows:,}")
    streaming.connect(settings.cluster)
    rejected = streaming.write_shards(files, _read_headers, out / "headers", HEADERS)
    headers = tables.read_shards(out / "headers", HEADERS).to_pandas()
    catalogue, duplicates = in_order(headers)
    quarantine = pd.concat([rejected, duplicates]).sort_values("path", kind="stable")
    _refuse_nothing(catalogue, quarantine, settings.archive)
    tables.write_csv(out / "quarantine.csv", quarantine, tables.QUARANTINE)
    _write(out / "catalogue", catalogue)
    used = catalogue["path"].nunique()
    counts = {"found": files.num_rows, "used": used, "quarantined": len(quarantine), "slices": len(catalogue)}
    tables.write_json(out / "catalogue" / tables.SUMMARY, {**counts, "fingerprint": _fingerprint(catalogue)})
    return (
        f"{files.num_rows:,} files found = {used:,} used + {len(quarantine):,} quarantined; "
        f"{len(catalogue):,} slices of {catalogue['PatientID'].nunique():,} patients"
    )


def find_files(archive: Archive) -> pa.Table:
    """All files below the archive's folders: path and cohort, sorted by path.

    Raises:
        InputError: if no folder is named or one does not exist.
    """
    roots = {"grading": archive.grading, "progression": archive.progression}
    if not any(roots.values()):
        raise InputError("no archive: name a folder of DICOM files with --grading DIR, --progression DIR or both")
    found = []
    for cohort, root in roots.items():
        if root and not Path(root).is_dir():
            raise InputError(f"--{cohort} {root}: no such folder; name the folder that holds the DICOM files")
        found += [(path, cohort) for path in sorted(_walk(Path(root).absolute()))] if root else []
    return pa.table({"path": [path for path, _ in found], "cohort": [cohort for _, cohort in found]})


def _walk(root: Path) -> Iterator[str]:
    """Follows links to folders, each folder once: a loop of links ends."""
    seen = set()
    for directory, folders, names in os.walk(root, followlinks=True):
        real = Path(directory).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (str(Path(directory, name)) for name in names)


def _read_headers(files: pa.Table) -> tuple[pa.Table, streaming.Rejected]:
    rows, rejected = [], []
    for file in files.to_pylist():
        try:
            rows += [{**row, "cohort": file["cohort"]} for row in header.read_rows(file["path"])]
        except DicomError as error:
            rejected.append({"path": file["path"], "reason": error.reason, "detail": error.detail})
    return pa.Table.from_pylist(rows, HEADERS), rejected


def in_order(headers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finds the stacks of each series and the place of each slice in it.

    A stack is what shares orientation, matrix and echo. Within it slices are ordered by their position along its
    normal, and by InstanceNumber where that is unknown or the same.

    Args:
        headers: rows of `tables.CATALOGUE` without `stack` and `order`, with `orientation`.

    Returns:
        (catalogue, duplicates): rows of `tables.CATALOGUE` by patient, date, series and order; rows of
        `tables.QUARANTINE` for files whose SOP instances another file has brought already.
    """
    by_path = headers.sort_values(["path", "frame"], kind="stable")
    again = by_path.duplicated(["cohort", "SOPInstanceUID", "frame"])
    duplicates = by_path.loc[again, ["path", "SOPInstanceUID"]].drop_duplicates("path")
    kept = by_path[~by_path["path"].isin(duplicates["path"])].copy()
    stacks = kept[_SERIES + _STACK].drop_duplicates().sort_values(_SERIES + _STACK)
    stacks["stack"] = stacks.groupby(_SERIES).cumcount()
    kept = kept.merge(stacks, on=_SERIES + _STACK)
    place = ["stack", "position_mm", "InstanceNumber", "SOPInstanceUID", "frame"]
    kept = kept.sort_values(["cohort", "PatientID", "StudyDate", "SeriesInstanceUID", *place])
    kept["order"] = kept.groupby(_SERIES).cumcount()
    told = duplicates.assign(reason="duplicate", detail="SOP instance " + duplicates["SOPInstanceUID"])
    return kept[tables.CATALOGUE.names].reset_index(drop=True), told[list(tables.QUARANTINE)]


def _refuse_nothing(catalogue: pd.DataFrame, quarantine: pd.DataFrame, archive: Archive) -> None:
    for cohort in ("grading", "progression"):
        root = getattr(archive, cohort)
        if root and not (catalogue["cohort"] == cohort).any():
            reasons = quarantine["reason"].value_counts()
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "the folder is empty"
            raise InputError(f"--{cohort} {root}: no MR slice among its files ({told})")


def _write(folder: Path, catalogue: pd.DataFrame) -> None:
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pandas(catalogue, tables.CATALOGUE, preserve_index=False)
    for number, start in enumerate(range(0, table.num_rows, _SHARD_ROWS)):
        tables.write_shard(folder / f"part-{number:05d}.parquet", table.slice(start, _SHARD_ROWS), tables.CATALOGUE)


def _fingerprint(catalogue: pd.DataFrame) -> str:
    """Of what the slices are, wherever they lie: the same images give the same, on any disk."""
    identities = catalogue["cohort"] + " " + catalogue["SOPInstanceUID"] + " " + catalogue["frame"].astype(str)
    return hashlib.sha256("\n".join(sorted(identities)).encode()).hexdigest()
