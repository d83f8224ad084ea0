import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tumorprog import queries, tables

NUMBERS = pa.schema({"number": pa.int64()})


def numbers(*parts):
    return (pa.table({"number": pa.array(part, pa.int64())}) for part in parts)


@pytest.mark.parametrize("parts", [[range(10)], [range(3), [], range(3, 10)], [[n] for n in range(10)]])
def test_rows_are_split_into_files_of_one_size_however_they_arrive(parts, tmp_path):
    written = queries.write_parts(tmp_path / "p", lambda: numbers(*parts), NUMBERS, rows=4)
    assert [pq.read_table(path)["number"].to_pylist() for path in written] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert tables.read_summary(tmp_path / "p")["rows"] == 10


def test_parts_are_written_once(tmp_path):
    first = queries.write_parts(tmp_path / "p", lambda: numbers([1]), NUMBERS, rows=4)
    second = queries.write_parts(tmp_path / "p", lambda: pytest.fail("started again"), NUMBERS, rows=4)
    assert second == first


def test_unfinished_parts_are_written_again(tmp_path):
    def broken():
        yield from numbers(range(8))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queries.write_parts(tmp_path / "p", broken, NUMBERS, rows=2)
    written = queries.write_parts(tmp_path / "p", lambda: numbers([7]), NUMBERS, rows=2)
    assert written == sorted((tmp_path / "p").glob("*.parquet"))
    assert pq.read_table(written[0])["number"].to_pylist() == [7]


def test_without_rows_no_file_is_written(tmp_path):
    assert queries.write_parts(tmp_path / "p", lambda: numbers([]), NUMBERS, rows=2) == []


def test_a_query_streams_with_the_types_of_the_schema():
    source = pa.table({"number": pa.array(range(20_000), pa.int32())})
    found = list(
        queries.stream("SELECT number FROM t WHERE number >= $minimum ORDER BY 1", NUMBERS, {"minimum": 5}, t=source)
    )
    assert len(found) > 1
    assert pa.concat_tables(found).schema == NUMBERS
    assert pa.concat_tables(found)["number"].to_pylist() == list(range(5, 20_000))


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_adjacent_rows_are_nested_however_they_arrive(size):
    flat = pa.table({"key": list("aabcccd"), "name": list("AABCCCD"), "number": range(7)})
    schema = pa.schema(
        {"name": pa.string(), "numbers": pa.list_(pa.struct([pa.field("number", pa.int64())]))},
    )
    batches = (flat.slice(start, size) for start in range(0, 7, size))
    nested = pa.concat_tables(queries.nest(batches, schema, by="key"))
    assert nested.schema == schema
    expected = {"A": [0, 1], "B": [2], "C": [3, 4, 5], "D": [6]}
    found = {row["name"]: [one["number"] for one in row["numbers"]] for row in nested.to_pylist()}
    assert found == expected
    assert list(queries.nest(iter([]), schema, by="key")) == []
