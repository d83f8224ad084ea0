"""Files with the same SOP instance UID -> copies, conflicts, and distinct images under a UID that is not unique.

A UID shared by three or more images at different locations (another patient, study, series, number or position) is an
anonymiser's constant: all of them are used, each with a new UID derived from its content. The same holds for two such
images if their series contain no other UID. Otherwise two may just as well be a mistake in one file: the second is a
conflict.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import queries, storage, tables
from tumorprog.distributed import session, shards
from tumorprog.errors import DicomError
from tumorprog.formats import reading
from tumorprog.formats.columns import Rejected
from tumorprog.settings import Settings

REPLACED_UID = "SOP instance UID of several images"
"""Beginning of the warning of an image that was given a new UID."""

_MIN_DISTINCT = 2
"""Minimum number of images at other locations than the first file's for a UID to be an anonymiser's constant."""

_LOCATIONS = """
WITH files AS (SELECT * FROM headers WHERE reason = '' AND frame = 0),
series AS (SELECT cohort, SeriesInstanceUID, count(DISTINCT SOPInstanceUID) AS uids FROM files GROUP BY ALL)
SELECT cohort, path, uids = 1 AS only_uid, concat_ws('|', PatientID, StudyDate, StudyInstanceUID, SeriesInstanceUID,
    InstanceNumber, position_mm, plane, EchoNumbers) AS location
FROM files JOIN series USING (cohort, SeriesInstanceUID)
WHERE SOPInstanceUID IN (SELECT SOPInstanceUID FROM repeated)
"""
_FILE = ["cohort", "path"]
_UID = ["cohort", "SOPInstanceUID"]


def compare(repeated: pa.Table, headers: Any, out: Path, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare files with the SOP instance UID of an earlier file with that file.

    Args:
        repeated: cohort, path, first and SOPInstanceUID of each: the columns of `REPEATED_FILES`.
        headers: rows of `catalogue.columns.HEADERS`; files or a table.
        out: folder for intermediate files.
        settings: `cluster`.

    Returns:
        The files to exclude, with a reason (`duplicate` if the pixels equal those of the file that is used, otherwise
        `conflict`) and a detail; and the files to use with a new UID: cohort, path, uid.
    """
    rows = shards.shard_rows(repeated.num_rows)
    work = (
        queries.write_parts(out / "again", lambda: iter([repeated]), repeated.schema, rows=rows)
        if repeated.num_rows
        else []
    )
    if not work:
        return repeated.to_pandas().assign(reason="", detail=""), pd.DataFrame(columns=[*_FILE, "uid"])
    session.connect(settings.cluster)
    schema = pa.schema([*repeated.schema, pa.field("same", pa.bool_()), pa.field("digest", pa.string())])
    shards.write_shards(work, _compare_pixels, out / "compared", schema, items="repeated files")
    compared = tables.read_shards(out / "compared", schema).to_pandas()
    return classify(compared, queries.fetch(_LOCATIONS, headers=headers, repeated=repeated))


def classify(compared: pd.DataFrame, locations: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Classify repeated files as copies, conflicts or distinct images.

    Args:
        compared: the columns of `REPEATED_FILES`, whether the pixels are the `same` as those of the first
            file, and the `digest` of the pixels.
        locations: cohort, path and location (any text) of these files and the first ones, and `only_uid`: whether
            their series contains no other UID.

    Returns:
        As for `compare`.
    """
    files = compared.merge(locations, on=_FILE).sort_values([*_FILE], ignore_index=True)
    first = locations.rename(columns={"path": "first", "location": "first_location", "only_uid": "first_only_uid"})
    files = files.merge(first, on=["cohort", "first"])
    elsewhere = files["location"] != files["first_location"]
    distinct = (
        files[elsewhere & ~files["same"]].assign(only_uid=files["only_uid"] & files["first_only_uid"]).groupby(_UID)
    )
    several = (distinct["digest"].nunique() >= _MIN_DISTINCT) & (distinct["location"].nunique() >= _MIN_DISTINCT)
    constant = several | distinct["only_uid"].all()
    has_constant_uid = files.set_index(_UID).index.isin(constant[constant].index)
    used = files[elsewhere & has_constant_uid].drop_duplicates([*_UID, "location"])
    excluded = files.drop(used.index).merge(
        used[[*_UID, "location", "path", "digest"]].rename(columns={"path": "counterpart", "digest": "other_digest"}),
        on=[*_UID, "location"],
        how="left",
    )
    found = excluded["counterpart"].notna()
    excluded["same"] = excluded["same"].where(~found, excluded["digest"] == excluded["other_digest"]).astype(bool)
    excluded["first"] = excluded["counterpart"].fillna(excluded["first"])
    excluded["reason"] = np.where(excluded["same"], "duplicate", "conflict")
    excluded["detail"] = [
        f"SOP instance {row.SOPInstanceUID}, {'also' if row.same else 'with other pixels'} in {row.first}"
        for row in excluded.itertuples()
    ]
    texts = used["SOPInstanceUID"] + "|" + used["location"] + "|" + used["digest"]
    return (
        excluded[["cohort", "path", "first", "SOPInstanceUID", "reason", "detail"]],
        used[_FILE].assign(uid=texts.map(_uid).astype(object)).reset_index(drop=True),
    )


def replace_uids(part: pa.Table, new_uids: pd.DataFrame) -> pa.Table:
    """Return the rows of a catalogue in which some files have a new SOPInstanceUID and a warning about it.

    Args:
        part: has cohort, path, SOPInstanceUID and warnings.
        new_uids: cohort, path and uid of these files, from `compare`.
    """
    if new_uids.empty:
        return part
    uids = dict(zip(zip(new_uids["cohort"], new_uids["path"], strict=True), new_uids["uid"], strict=True))
    files = zip(part["cohort"].to_pylist(), part["path"].to_pylist(), strict=True)
    new = [uids.get(file, "") for file in files]
    columns = {
        "SOPInstanceUID": [uid or old for uid, old in zip(new, part["SOPInstanceUID"].to_pylist(), strict=True)],
        "warnings": [
            "; ".join(filter(None, (old, f"{REPLACED_UID}, replaced by a new one" if uid else "")))
            for uid, old in zip(new, part["warnings"].to_pylist(), strict=True)
        ],
    }
    for name, values in columns.items():
        part = part.set_column(part.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return part


def _uid(text: str) -> str:
    """Return a UUID-derived UID (PS3.5 B.2), which needs no registered root; the same text gives the same UID."""
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode(errors='surrogatepass')).digest()[:16])}"


def _compare_pixels(work: pa.Table) -> tuple[pa.Table, Rejected]:
    _digest.cache_clear()  # the files may have changed since this process read them for another catalogue
    digests = [_digest(path) for path in work["path"].to_pylist()]
    same = [digest == _digest(first) for digest, first in zip(digests, work["first"].to_pylist(), strict=True)]
    compared = work.append_column("same", pa.array(same, pa.bool_()))
    return compared.append_column("digest", pa.array(digests, pa.string())), []


@functools.lru_cache(maxsize=16)  # all files with a constant UID have the same first file
def _digest(path: str) -> str:
    """Return a digest of the pixels of all frames, independent of their encoding.

    A file that cannot be decoded equals only exact copies of itself.
    """
    hashed = hashlib.sha256()
    try:
        for frame in range(len(reading.read_rows(path))):
            values = reading.read_frame(path, frame)
            hashed.update(repr(values.shape).encode())
            hashed.update(np.ascontiguousarray(values, np.float64).tobytes())
    except DicomError:
        try:
            with storage.open_binary(path) as file:
                return f"undecodable {hashlib.sha256(file.read()).hexdigest()}"
        except OSError:  # deleted in the meantime
            return f"unreadable {path}"
    return hashed.hexdigest()
