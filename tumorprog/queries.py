"""SQL over tables that may be larger than memory: shards, Arrow or pandas -> a stream of rows or Parquet parts."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tumorprog import storage, tables

_MEMORY = "256MB"
"""Limit beyond which sorting and grouping spill to a temporary folder; independent of the archive's size."""
_BATCH_ROWS = 8192


@contextmanager
def database(sources: Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB of bounded size with Parquet files, tables and data frames as views.

    Args:
        sources: by the name of the view: a non-empty list of Parquet files with one schema, an Arrow table or a data
            frame.
    """
    with tempfile.TemporaryDirectory(prefix="tumorprog-") as scratch:
        config: Any = {"memory_limit": _MEMORY, "temp_directory": scratch, "threads": 2}
        with duckdb.connect(config=config) as connection:
            for name, source in sources.items():
                if isinstance(source, list):
                    _register_files(connection, name, source)
                else:
                    connection.register(name, source)
            yield connection


def _register_files(connection: duckdb.DuckDBPyConnection, name: str, paths: list[Path]) -> None:
    """Let DuckDB read the Parquet files itself: Arrow would read ahead some hundred MB beyond DuckDB's memory limit."""
    if storage.is_remote(str(paths[0])):
        fs, _ = storage.file_system(paths[0])
        names = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        if not names & set(connection.list_filesystems()):
            connection.register_filesystem(fs)
    connection.read_parquet([str(path) for path in paths]).create_view(name)


def fetch(sql: str, values: Mapping[str, Any] | None = None, /, **sources: Any) -> pd.DataFrame:
    """Return the rows of a query with a small result; `values` are those of its $parameters."""
    with database(sources) as connection:
        return connection.sql(sql, params=dict(values or {})).df()


def stream(
    sql: str, schema: pa.Schema, values: Mapping[str, Any] | None = None, /, **sources: Any
) -> Iterator[pa.Table]:
    """Yield the rows of a query in batches, with the columns of a schema; `values` are those of its $parameters."""
    with database(sources) as connection:
        for batch in connection.sql(sql, params=dict(values or {})).to_arrow_reader(_BATCH_ROWS):
            yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)


def bounds(path: Path, column: str) -> tuple[str, str]:
    """Return the minimum and maximum of a text column according to the footer of its Parquet file.

    Parquet stores neither for a row group without values or with very long ones: then the bounds cover every text.
    """
    with path.open("rb") as file:
        footer = pq.read_metadata(file)
    number = footer.schema.names.index(column)
    parts = [footer.row_group(group).column(number).statistics for group in range(footer.num_row_groups)]
    if not all(part and part.has_min_max for part in parts):
        return "", chr(sys.maxunicode)
    return min(part.min for part in parts), max(part.max for part in parts)


def write_parts(
    folder: Path, open_stream: Callable[[], Iterator[pa.Table]], schema: pa.Schema, *, rows: int
) -> list[Path]:
    """Split a stream of rows into Parquet files with a fixed number of rows.

    The summary is written last and marks the files as complete: an interrupted call starts over, a finished one is not
    repeated.

    Args:
        folder: receives `part-00000.parquet` and so on, and `_summary.json`.
        open_stream: returns the stream; not called if the files are complete.
        schema: of the rows.
        rows: number of rows of each file but the last.

    Returns:
        The paths of the files, in order.
    """
    if not (folder / tables.SUMMARY).exists():
        storage.remove(folder)
        folder.mkdir(parents=True)
        counts = [0]
        for number, part in enumerate(_split(open_stream(), rows)):
            tables.write_shard(folder / part_name(number), part, schema)
            counts.append(part.num_rows)
        tables.write_json(folder / tables.SUMMARY, {"rows": sum(counts), "parts": len(counts) - 1})
    return [folder / part_name(number) for number in range(tables.read_summary(folder)["parts"])]


def flat_schema(schema: pa.Schema, *, by: str) -> pa.Schema:
    """Return the schema of the rows that `nest` turns into rows of a schema; `by` is a text."""
    return pa.schema([*list(schema)[:-1], pa.field(by, pa.string()), *schema[-1].type.value_type])


def nest(rows: Iterator[pa.Table], schema: pa.Schema, *, by: str) -> Iterator[pa.Table]:
    """Turn a stream of rows into one row for all rows with the same value of a column, holding one batch at a time.

    DuckDB could aggregate them, but not beyond its memory (1.4: list aggregates do not spill).

    Args:
        rows: batches of rows; those with the same value are adjacent.
        schema: of the result: columns of the rows that have one value for each of `by`, and last a list of structs of
            further columns.
        by: name of the column.

    Yields:
        Tables of the schema.
    """
    pending: pa.Table | None = None
    for batch in rows:
        pending = batch if pending is None else pa.concat_tables([pending, batch])
        starts = _starts(pending[by].to_numpy())
        yield _nested(pending.slice(0, starts[-1]), starts[:-1], schema)
        pending = pending.slice(starts[-1])
    if pending is not None and pending.num_rows:
        yield _nested(pending, np.zeros(1, int), schema)


def _starts(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])


def _nested(rows: pa.Table, starts: np.ndarray, schema: pa.Schema) -> pa.Table:
    """Return one row of the schema for the rows from each start to the next."""
    nested, fields = schema[-1], list(schema[-1].type.value_type)
    structs = pa.StructArray.from_arrays([rows[field.name].combine_chunks() for field in fields], fields=fields)
    lists = pa.ListArray.from_arrays(pa.array([*starts, rows.num_rows], pa.int32()), structs)
    return rows.select(schema.names[:-1]).take(pa.array(starts)).append_column(nested, lists)


def part_name(number: int) -> str:
    """Return the name of the file with a number, counted from 0."""
    return f"part-{number:05d}.parquet"


def _split(stream: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Regroup the rows into tables of `rows` rows each; the last may be shorter."""
    buffered: list[pa.Table] = []
    num_buffered = 0
    for table in stream:
        buffered.append(table)
        num_buffered += table.num_rows
        while num_buffered >= rows:
            joined = pa.concat_tables(buffered)
            yield joined.slice(0, rows)
            buffered = [joined.slice(rows)]
            num_buffered -= rows
    if num_buffered:
        yield pa.concat_tables(buffered)
