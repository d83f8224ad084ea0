"""The columns of every table that a stage writes, and how tables are read, checked and written.

The names are a contract with users' scripts (tests/contract checks them). Large tables are Parquet, tables for people
are CSV. Files are written atomically.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tumorprog import __version__, storage
from tumorprog.errors import InputError

TEXT, INT, LONG, REAL = pa.string(), pa.int32(), pa.int64(), pa.float64()
_TEXT_COLUMNS = (
    *("PatientID", "patient", "date", "Type", "Institution", "SeriesInstanceUID"),
    *("Histology", "IDH", "Codeletion", "MGMT", "Edition"),
)

SUMMARY = "_summary.json"
"""File next to shards; readers of a folder of Parquet files ignore names that begin with an underscore."""


def shards(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder, sorted by name.

    Raises:
        InputError: if there are none.
    """
    found = sorted(folder.glob("[!._]*.parquet"))
    if not found:
        raise InputError(f"{folder}: no *.parquet files; run `tumorprog {folder.name}` first")
    return found


def read_shards(folder: Path, schema: pa.Schema, columns: Sequence[str] = ()) -> pa.Table:
    """Return the rows of all shards of a folder, in the order of the shards' names.

    Args:
        folder: contains *.parquet files with one schema.
        schema: the expected columns and types.
        columns: the columns to read; all if empty.

    Raises:
        InputError: if a shard lacks columns or cannot be read.
    """
    names = list(columns) or schema.names
    return pa.concat_tables([_read_one(path, schema, names) for path in shards(folder)])


def _read_one(path: Path, schema: pa.Schema, names: list[str]) -> pa.Table:
    try:
        require_columns(path, names)
        with path.open("rb") as file:
            return pq.read_table(file, columns=names).cast(pa.schema([schema.field(name) for name in names]))
    except (pa.ArrowInvalid, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a table of tumorprog ({error}); delete it and run the stage again") from error


def require_columns(path: Path, names: Sequence[str]) -> None:
    """Check that a shard has the named columns.

    Raises:
        InputError: if it lacks one, because another version of tumorprog wrote it.
    """
    with path.open("rb") as file:
        present = pq.read_schema(file).names
    missing = [name for name in names if name not in present]
    if missing:
        raise InputError(
            f"{path}: not a table of tumorprog {__version__} (no column {missing[0]!r}); delete {path.parent} and run "
            f"`tumorprog {path.parent.name}` again"
        )


class Shard:
    """A Parquet file that is written row group by row group."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema

    def add(self, table: pa.Table) -> None:
        """Append rows that have exactly the columns of the schema."""
        self._writer.write_table(table.select(self._schema.names).cast(self._schema))

    def add_metadata(self, metadata: Mapping[str, str]) -> None:
        """Add key-value metadata to the file."""
        self._writer.add_key_value_metadata(dict(metadata))


@contextmanager
def shard(path: Path, schema: pa.Schema) -> Iterator[Shard]:
    """Open a Parquet file for writing; it appears atomically when the context ends.

    Images are stored uncompressed and without statistics: they would shrink little, and are read faster this way.

    Args:
        path: of the file; its folder must exist.
        schema: of the rows.
    """
    others = [name for name in schema.names if name not in {"image", "mask"}]
    uncompressed = {"compression": "none", "use_dictionary": others, "write_statistics": others}
    options = uncompressed if "image" in schema.names else {"compression": "zstd"}
    with storage.atomic_write(path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        yield Shard(writer, schema)


def write_shard(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write one Parquet file atomically.

    Args:
        path: of the file; its folder must exist.
        table: has exactly the columns of `schema`.
        schema: of the rows.
    """
    with shard(path, schema) as file:
        file.add(table)


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV that has at least the named columns; ids and dates are text, with "" for empty cells.

    Raises:
        InputError: if the file or a column is missing.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage that writes it first")
    text = dict.fromkeys(_TEXT_COLUMNS, str)
    with path.open("rb") as file:
        frame = pd.read_csv(file, dtype=text)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; found {', '.join(map(str, frame.columns))}")
    present = [name for name in text if name in frame.columns]
    frame[present] = frame[present].fillna("")
    return frame


def write_csv(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write the named columns, in that order, atomically."""
    with storage.atomic_write(path) as file:
        frame.reindex(columns=list(columns)).to_csv(file, index=False, quoting=csv.QUOTE_MINIMAL)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; raises ValueError for NaN, which JSON does not have."""
    storage.write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the `_summary.json` of a folder of shards: counts, and the settings that its rows were computed with.

    Raises:
        InputError: if it does not exist.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `tumorprog {folder.name}` first")
    return json.loads(path.read_text())
