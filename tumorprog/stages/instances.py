"""Files under one SOP instance UID -> copies, conflicts, and images of their own under a UID that identifies nothing.

A UID that three images or more have in places of their own (other patient, study, series, number or position) is an
anonymiser's constant: all of them are used, each with a UID made from what it is. So is one that two such images have,
where their series know no other UID. Else two may as well be a mistake in one of them: the second stays a conflict.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tumorprog import storage, tables
from tumorprog.dicom import header, pixels
from tumorprog.errors import DicomError
from tumorprog.settings import Settings
from tumorprog.stages import queries, streaming

OWN_UID = "SOP instance UID of several images, another one made"
"""Stands among the warnings of an image that was given a UID of its own."""

_FEWEST = 2
"""Images in places of their own, besides the first file, that make a UID an anonymiser's constant."""

_PLACES = """
WITH files AS (SELECT * FROM headers WHERE reason = '' AND frame = 0),
series AS (SELECT cohort, SeriesInstanceUID, count(DISTINCT SOPInstanceUID) AS uids FROM files GROUP BY ALL)
SELECT cohort, path, uids = 1 AS alone, concat_ws('|', PatientID, StudyDate, StudyInstanceUID, SeriesInstanceUID,
    InstanceNumber, position_mm, plane, EchoNumbers) AS place
FROM files JOIN series USING (cohort, SeriesInstanceUID)
WHERE SOPInstanceUID IN (SELECT SOPInstanceUID FROM again)
"""
_FILE = ["cohort", "path"]
_UID = ["cohort", "SOPInstanceUID"]


def compare(again: pa.Table, headers: Any, out: Path, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Looks into files whose SOP instances another file has brought already.

    Args:
        again: cohort, path, first and SOPInstanceUID of each: the columns of `catalogue.AGAIN`.
        headers: rows of `catalogue.HEADERS`; files or a table.
        out: receives what is in the making.
        settings: `cluster`.

    Returns:
        Those to leave out, with a reason (`duplicate`: the pixels are those of the file that is used; or `conflict`)
        and a detail; and those to use under a UID of their own: cohort, path, uid.
    """
    rows = streaming.shard_rows(again.num_rows)
    work = queries.write_parts(out / "again", lambda: iter([again]), again.schema, rows=rows) if again.num_rows else []
    if not work:
        return again.to_pandas().assign(reason="", detail=""), pd.DataFrame(columns=[*_FILE, "uid"])
    streaming.connect(settings.cluster)
    told = pa.schema([*again.schema, pa.field("same", pa.bool_()), pa.field("digest", pa.string())])
    streaming.write_shards(work, _digested, out / "compared", told, items="repeated files")
    compared = tables.read_shards(out / "compared", told).to_pandas()
    return judge(compared, queries.ask(_PLACES, headers=headers, again=again))


def judge(compared: pd.DataFrame, places: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tells copies, conflicts and images of their own apart.

    Args:
        compared: the columns of `catalogue.AGAIN`, whether the pixels are the `same` as those of the first file, and
            the pixels' digest.
        places: cohort, path and place of these files and the first ones, and whether their UID stands `alone` in
            their series; a place is any text.

    Returns:
        As `compare`.
    """
    files = compared.merge(places, on=_FILE).sort_values([*_FILE], ignore_index=True)
    first = places.rename(columns={"path": "first", "place": "first_place", "alone": "first_alone"})
    files = files.merge(first, on=["cohort", "first"])
    apart = files["place"] != files["first_place"]
    distinct = files[apart & ~files["same"]].assign(alone=files["alone"] & files["first_alone"]).groupby(_UID)
    several = (distinct["digest"].nunique() >= _FEWEST) & (distinct["place"].nunique() >= _FEWEST)
    constant = several | distinct["alone"].all()
    known = files.set_index(_UID).index.isin(constant[constant].index)
    own = files[apart & known].drop_duplicates([*_UID, "place"])
    again = files.drop(own.index).merge(
        own[[*_UID, "place", "path", "digest"]].rename(columns={"path": "nearer", "digest": "nearer_digest"}),
        on=[*_UID, "place"],
        how="left",
    )
    nearer = again["nearer"].notna()
    again["same"] = again["same"].where(~nearer, again["digest"] == again["nearer_digest"]).astype(bool)
    again["first"] = again["nearer"].fillna(again["first"])
    again["reason"] = np.where(again["same"], "duplicate", "conflict")
    again["detail"] = [
        f"SOP instance {row.SOPInstanceUID}, {'also' if row.same else 'with other pixels'} in {row.first}"
        for row in again.itertuples()
    ]
    texts = own["SOPInstanceUID"] + "|" + own["place"] + "|" + own["digest"]
    return (
        again[["cohort", "path", "first", "SOPInstanceUID", "reason", "detail"]],
        own[_FILE].assign(uid=texts.map(_uid).astype(object)).reset_index(drop=True),
    )


def with_own_uids(part: pa.Table, own: pd.DataFrame) -> pa.Table:
    """The rows of a catalogue, those of some files with another SOPInstanceUID and a warning that says so.

    Args:
        part: has cohort, path, SOPInstanceUID and warnings.
        own: of `compare`.
    """
    if own.empty:
        return part
    uids = dict(zip(zip(own["cohort"], own["path"], strict=True), own["uid"], strict=True))
    files = zip(part["cohort"].to_pylist(), part["path"].to_pylist(), strict=True)
    made = [uids.get(file, "") for file in files]
    columns = {
        "SOPInstanceUID": [uid or old for uid, old in zip(made, part["SOPInstanceUID"].to_pylist(), strict=True)],
        "warnings": [
            "; ".join(filter(None, (old, OWN_UID if uid else "")))
            for uid, old in zip(made, part["warnings"].to_pylist(), strict=True)
        ],
    }
    for name, values in columns.items():
        part = part.set_column(part.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return part


def _uid(text: str) -> str:
    """A UID of the kind that anybody may make (PS3.5 B.2), the same for the same text."""
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode(errors='surrogatepass')).digest()[:16])}"


def _digested(work: pa.Table) -> tuple[pa.Table, streaming.Rejected]:
    _digest.cache_clear()  # of another catalogue that this process has read: the file may have changed
    digests = [_digest(path) for path in work["path"].to_pylist()]
    same = [digest == _digest(first) for digest, first in zip(digests, work["first"].to_pylist(), strict=True)]
    told = work.append_column("same", pa.array(same, pa.bool_()))
    return told.append_column("digest", pa.array(digests, pa.string())), []


@functools.lru_cache(maxsize=16)  # a constant UID has one first file for all
def _digest(path: str) -> str:
    """Of the pixels of all frames, however they are stored; a file that cannot be decoded equals only its own copy."""
    hashed = hashlib.sha256()
    try:
        for frame in range(len(header.read_rows(path))):
            values = pixels.read_frame(path, frame)
            hashed.update(repr(values.shape).encode())
            hashed.update(np.ascontiguousarray(values, np.float64).tobytes())
    except DicomError:
        try:
            with storage.open_binary(path) as file:
                return f"undecodable {hashlib.sha256(file.read()).hexdigest()}"
        except OSError:  # gone meanwhile
            return f"unreadable {path}"
    return hashed.hexdigest()
