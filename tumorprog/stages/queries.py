"""SQL over tables that may be larger than memory: shards, Arrow or pandas in, a stream of rows or Parquet parts out."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tumorprog import storage, tables

_MEMORY = "256MB"
"""Beyond this, sorting and grouping go to a temporary folder: it does not grow with the archive."""
_BATCH_ROWS = 8192


@contextmanager
def database(sources: Mapping[str, Any]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory, bounded, in which Parquet files, tables and data frames stand under the names given.

    Args:
        sources: by name: a list of Parquet files of one schema, not empty; an Arrow table; or a data frame.
    """
    with tempfile.TemporaryDirectory(prefix="tumorprog-") as scratch:
        how: Any = {"memory_limit": _MEMORY, "temp_directory": scratch, "threads": 2}
        with duckdb.connect(config=how) as connection:
            for name, source in sources.items():
                if isinstance(source, list):
                    _register_files(connection, name, source)
                else:
                    connection.register(name, source)
            yield connection


def _register_files(connection: duckdb.DuckDBPyConnection, name: str, paths: list[Path]) -> None:
    """DuckDB reads Parquet itself: a scan by Arrow reads ahead some hundred MB, which no bound of DuckDB's holds."""
    if storage.is_remote(str(paths[0])):
        fs, _ = storage.file_system(paths[0])
        names = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        if not names & set(connection.list_filesystems()):
            connection.register_filesystem(fs)
    connection.read_parquet([str(path) for path in paths]).create_view(name)


def ask(sql: str, values: Mapping[str, Any] | None = None, /, **sources: Any) -> pd.DataFrame:
    """The rows of a query whose answer is small; `values` are those of its $names."""
    with database(sources) as connection:
        return connection.sql(sql, params=dict(values or {})).df()


def stream(
    sql: str, schema: pa.Schema, values: Mapping[str, Any] | None = None, /, **sources: Any
) -> Iterator[pa.Table]:
    """The rows of a query, some thousands at a time, with the columns of a schema; `values` are those of its $names."""
    with database(sources) as connection:
        for batch in connection.sql(sql, params=dict(values or {})).to_arrow_reader(_BATCH_ROWS):
            yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)


def bounds(path: Path, column: str) -> tuple[str, str]:
    """Between which two texts the values of a column of a Parquet file lie, by its footer.

    Parquet notes neither for a part that holds no value, nor where a value is very long: then they may lie anywhere.
    """
    with path.open("rb") as file:
        footer = pq.read_metadata(file)
    number = footer.schema.names.index(column)
    parts = [footer.row_group(group).column(number).statistics for group in range(footer.num_row_groups)]
    if not all(part and part.has_min_max for part in parts):
        return "", chr(sys.maxunicode)
    return min(part.min for part in parts), max(part.max for part in parts)


def write_parts(folder: Path, make: Callable[[], Iterator[pa.Table]], schema: pa.Schema, *, rows: int) -> list[Path]:
    """Cuts a stream of rows into Parquet files of so many rows each.

    A note beside the files, written last, says that they are all there: an interrupted call begins anew, a finished one
    is not done again.

    Args:
        folder: receives `part-00000.parquet` and so on, and `_summary.json`.
        make: begins the stream; not called if the parts are there.
        schema: of the rows.
        rows: of a file.

    Returns:
        The files.
    """
    if not (folder / tables.SUMMARY).exists():
        storage.remove(folder)
        folder.mkdir(parents=True)
        counts = [0]
        for number, part in enumerate(_cut(make(), rows)):
            tables.write_shard(folder / part_name(number), part, schema)
            counts.append(part.num_rows)
        tables.write_json(folder / tables.SUMMARY, {"rows": sum(counts), "parts": len(counts) - 1})
    return [folder / part_name(number) for number in range(tables.read_summary(folder)["parts"])]


def part_name(number: int) -> str:
    """The name of the file with this number, from 0."""
    return f"part-{number:05d}.parquet"


def _cut(stream: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many rows each; the last may be shorter."""
    waiting: list[pa.Table] = []
    there = 0
    for table in stream:
        waiting.append(table)
        there += table.num_rows
        while there >= rows:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, rows)
            waiting = [joined.slice(rows)]
            there -= rows
    if there:
        yield pa.concat_tables(waiting)
