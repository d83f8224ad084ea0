"""A table of work -> shards, streamed on all cores and written atomically."""

import ctypes
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from tumorprog import queries, storage, tables
from tumorprog.distributed.session import cores
from tumorprog.formats.columns import QUARANTINE, Rejected
from tumorprog.progress import Progress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Option numbers of glibc's `mallopt`, from malloc.h."""
_TARGET_SHARDS, _MIN_ROWS, _MAX_ROWS = 16, 32, 2048
_MAX_SHARDS_PER_TASK = 8

_ROW_GROUP, _IMAGE_ROW_GROUP = 1024, 64
"""Rows that a task holds in memory at a time. 64 images take 3 MB and are still in the CPU cache when written."""

Notes = dict[str, list[dict[str, Any]]]
"""What a transformation found out besides the rows of its shard: small rows, by the name of their table."""


def shard_rows(num_rows: int, *, smallest: int = _MIN_ROWS, largest: int = _MAX_ROWS) -> int:
    """Return the rows of each shard: about sixteen shards, to keep a few cores busy, within a minimum and maximum size.

    The number depends only on the rows, so that a run on another machine writes the same files.
    """
    return min(max(-(-num_rows // _TARGET_SHARDS), smallest), largest)


def chunks(work: pa.Table) -> list[pa.Table]:
    """Split the table into one chunk for each shard."""
    rows = shard_rows(work.num_rows)
    return [work.slice(start, rows) for start in range(0, work.num_rows, rows)]


def write_work(folder: Path, sql: str, schema: pa.Schema, values: Mapping[str, Any], /, **sources: Any) -> list[Path]:
    """Write the rows of a query as work files for `write_shards`, one for each shard; existing files are kept.

    Args:
        folder: folder of the work files.
        sql: query over the sources, with ORDER BY.
        schema: schema of its rows.
        values: values of the $parameters of the query.
        sources: tables by name.
    """
    num_rows = int(queries.fetch(f"SELECT count(*) AS rows FROM ({sql})", values, **sources)["rows"][0])  # noqa: S608
    return queries.write_parts(
        folder, lambda: queries.stream(sql, schema, values, **sources), schema, rows=shard_rows(num_rows)
    )


STUDY_KEY = "concat_ws('|', PatientID, StudyDate, CASE WHEN StudyDate = '' THEN StudyInstanceUID END)"
"""SQL of the study of a row of the catalogue: what a patient has on a date; without a date, a StudyInstanceUID."""
_MAX_STUDIES = 64
"""Studies per shard, each of up to some thousand slices."""


def write_studies(
    folder: Path, sql: str, schema: pa.Schema, values: Mapping[str, Any], /, **sources: Any
) -> list[Path]:
    """Write the studies of a query, a row each, as work files for `write_noted_shards`; existing files are kept.

    Args:
        folder: folder of the work files.
        sql: query over the sources, whose rows are slices with `study` (`STUDY_KEY`), and those of a study adjacent.
        schema: columns that have one value for each study, and last a list of structs of columns of its slices.
        values: values of the $parameters of the query.
        sources: tables by name.
    """
    count = f"SELECT count(DISTINCT study) AS studies FROM ({sql})"  # noqa: S608
    number = int(queries.fetch(count, values, **sources)["studies"][0])
    rows = shard_rows(number, smallest=1, largest=_MAX_STUDIES)

    def studies() -> Iterator[pa.Table]:
        slices = queries.stream(sql, queries.flat_schema(schema, by="study"), values, **sources)
        return queries.nest(slices, schema, by="study")

    return queries.write_parts(folder, studies, schema, rows=rows)


def write_shards(
    work: list[Path],
    transform: Callable[[pa.Table], tuple[pa.Table, Rejected]],
    folder: Path,
    schema: pa.Schema,
    *,
    items: str,
) -> pd.DataFrame:
    """Process work files with `transform` as `write_noted_shards` does, and return the rows that could not be used.

    Args:
        work: Parquet files of small rows, such as paths.
        transform: function from rows of `work` to (table of `schema`, rejected rows); pickled to the workers.
        folder: folder for `part-00000.parquet` and so on; must be reachable from all nodes.
        schema: schema of the shards.
        items: what the rows of work represent, for the progress log.

    Returns:
        All rejected rows, columns `formats.columns.QUARANTINE`, in the order of the work.
    """
    batch_rows = _IMAGE_ROW_GROUP if "image" in schema.names else _ROW_GROUP
    noting = partial(_note_rejected, transform=transform)
    notes = write_noted_shards(work, noting, folder, schema, items=items, batch_rows=batch_rows)
    return pd.DataFrame(notes.get("rejected", []), columns=list(QUARANTINE))


def _note_rejected(
    work: pa.Table, *, transform: Callable[[pa.Table], tuple[pa.Table, Rejected]]
) -> tuple[pa.Table, Notes]:
    table, rejected = transform(work)
    return table, {"rejected": rejected}


def write_noted_shards(
    work: list[Path],
    transform: Callable[[pa.Table], tuple[pa.Table, Notes]],
    folder: Path,
    schema: pa.Schema,
    *,
    items: str,
    batch_rows: int,
) -> Notes:
    """Process work files with `transform` on all cores of the cluster; each file becomes one shard.

    Each task reads its work files, opens the files that they list, and writes the shards, one row group at a time. Only
    paths are sent to a task and only counts are returned, and no process holds more than one row group. A shard is
    written atomically, stores its notes in its metadata, and is not written again if it exists. An interrupted call
    therefore resumes where it stopped, and a task may safely be repeated by Ray.

    Args:
        work: Parquet files of small rows, such as paths.
        transform: function from rows of `work` to (table of `schema`, notes); pickled to the workers.
        folder: folder for `part-00000.parquet` and so on; must be reachable from all nodes.
        schema: schema of the shards.
        items: what the rows of work represent, for the progress log.
        batch_rows: number of rows of work that become one row group.

    Returns:
        All notes, in the order of the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / queries.part_name(number) for number in range(len(work))]
    existing = set(folder.glob("part-*.parquet"))
    pending: list[dict[str, Any]] = [
        {"work": str(path), "shard": str(shard), "rows": _num_rows(path)}
        for path, shard in zip(work, shards, strict=True)
        if shard not in existing
    ]
    if pending:
        tasks = num_tasks(len(pending), cores())
        written = ray.data.from_arrow([pa.Table.from_pylist(pending[first::tasks]) for first in range(tasks)])
        written.context.target_max_block_size = 1  # byte: counts arrive as they are yielded, not when the task ends
        written.context.execution_options.preserve_order = False
        write = partial(_write_task, transform=transform, schema=schema, batch_rows=batch_rows)
        written = written.map_batches(write, batch_size=None, batch_format="pyarrow", num_cpus=1)
        progress = Progress(folder.name, total=sum(shard["rows"] for shard in pending), items=items)
        for rows in written.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            progress.add(sum(rows["rows"].to_pylist()))
    return _joined([_notes(shard) for shard in shards])


def num_tasks(num_shards: int, num_cores: int) -> int:
    """Return the number of tasks into which the writing of shards is divided.

    Ray Data checks for finished tasks ten times a second (2.60), and a core idles in between; a task therefore writes
    up to eight shards. Every core gets the same number of tasks, so that all finish at about the same time.

    Args:
        num_shards: number of shards to write, at least 1.
        num_cores: number of cores of the cluster, at least 1.

    Returns:
        Number of tasks, between 1 and `num_shards`.
    """
    rounds = -(-num_shards // (_MAX_SHARDS_PER_TASK * num_cores))
    return min(num_shards, rounds * num_cores)


def _write_task(
    pending: pa.Table,
    *,
    transform: Callable[[pa.Table], tuple[pa.Table, Notes]],
    schema: pa.Schema,
    batch_rows: int,
) -> Iterator[pa.Table]:
    """Write the shards one after the other and yield the number of work rows of each."""
    keep_freed_memory()
    for row in pending.to_pylist():
        shard = storage.as_path(row["shard"])
        if not shard.exists():  # it exists if Ray repeats this task after the loss of a node
            _write_shard(storage.as_path(row["work"]), shard, transform, schema, batch_rows)
        yield pa.table({"rows": [row["rows"]]})


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, instead of returning it to the system and requesting it for every slice."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc's
        libc.mallopt(_M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**26)


def _write_shard(
    work: Path,
    target: Path,
    transform: Callable[[pa.Table], tuple[pa.Table, Notes]],
    schema: pa.Schema,
    batch_rows: int,
) -> None:
    notes: list[Notes] = []
    with work.open("rb") as source, tables.shard(target, schema) as shard:
        for batch in pq.ParquetFile(source).iter_batches(batch_rows):
            table, noted = transform(pa.Table.from_batches([batch]))
            shard.add(table)
            notes.append(noted)
        shard.add_metadata({"notes": json.dumps(_joined(notes), default=np.generic.item)})


def _joined(notes: list[Notes]) -> Notes:
    return {
        name: [row for noted in notes for row in noted.get(name, [])]
        for name in sorted({name for noted in notes for name in noted})
    }


def _num_rows(path: Path) -> int:
    with path.open("rb") as file:
        return pq.read_metadata(file).num_rows


def _notes(path: Path) -> Notes:
    with path.open("rb") as file:
        return json.loads(pq.read_metadata(file).metadata[b"notes"])
