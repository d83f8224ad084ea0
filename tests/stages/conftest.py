"""Rows of tables that stages read, made up without the stages that write them."""

import math

import pyarrow as pa
import pytest

from tumorprog import tables


@pytest.fixture
def write_table(tmp_path):
    """Write a shard of a table of the run directory `tmp_path`, with empty values in the columns that are not given."""

    def write(name, rows, schema):
        (tmp_path / name).mkdir(exist_ok=True)
        empty = {field.name: {"string": "", "double": math.nan}.get(str(field.type), 0) for field in schema}
        empty |= {"region": None} if "region" in schema.names else {}
        number = len(list((tmp_path / name).glob("*.parquet")))
        path = tmp_path / name / f"part-{number:05d}.parquet"
        tables.write_shard(path, pa.Table.from_pylist([{**empty, **row} for row in rows], schema), schema)
        return path

    return write
