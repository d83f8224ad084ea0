import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tumorprog import tables
from tumorprog.encoders.columns import FEATURES
from tumorprog.errors import DicomError, InputError
from tumorprog.formats.columns import CATALOGUE
from tumorprog.graders.columns import SLICES
from tumorprog.graders.images import image_array, read_images
from tumorprog.report import headline


def rows(images):
    empty = {name: "" if pa.types.is_string(SLICES.field(name).type) else 0 for name in SLICES.names}
    stored = [{**empty, "slice": number, "image": image.tobytes()} for number, image in enumerate(images)]
    return pa.Table.from_pylist(stored, SLICES)


def test_images_are_read_back_unchanged_also_from_chunks_and_slices(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 224, 224), np.uint8)
    tables.write_shard(tmp_path / "part.parquet", rows(images), SLICES)
    table = tables.read_shards(tmp_path, SLICES)
    np.testing.assert_array_equal(image_array(table), images)
    np.testing.assert_array_equal(image_array(table.slice(2, 2)), images[2:4])
    chunks = pa.concat_tables([table.slice(3), table.slice(0, 2)])
    np.testing.assert_array_equal(image_array(chunks), images[[3, 4, 0, 1]])
    assert image_array(table.slice(0, 0)).shape == (0, 224, 224)


def test_a_shard_with_other_columns_is_refused(tmp_path):
    tables.write_shard(tmp_path / "part.parquet", rows([]), SLICES)
    with pytest.raises(InputError, match="not a table of tumorprog"):
        tables.read_shards(tmp_path, FEATURES)


def test_a_shard_of_an_older_version_is_refused_with_what_to_do(tmp_path):
    folder = tmp_path / "catalogue"
    folder.mkdir()
    older = pa.schema([field for field in CATALOGUE if field.name != "PatientAge"])
    tables.write_shard(folder / "part.parquet", older.empty_table(), older)
    with pytest.raises(InputError, match=r"no column 'PatientAge'.*delete .*catalogue and run `tumorprog catalogue`"):
        tables.read_shards(folder, CATALOGUE)
    assert tables.read_shards(folder, CATALOGUE, ["PatientSex"]).num_rows == 0


def test_an_empty_folder_names_the_command_that_fills_it(tmp_path):
    with pytest.raises(InputError, match="run `tumorprog"):
        tables.shards(tmp_path)


def test_ids_in_a_csv_are_read_as_text(tmp_path):
    tables.write_csv(tmp_path / "a.csv", pd.DataFrame({"PatientID": ["007", ""], "n": [1, 2]}), ("PatientID", "n"))
    assert tables.read_csv(tmp_path / "a.csv", ("PatientID",))["PatientID"].tolist() == ["007", ""]


def test_a_missing_column_is_named(tmp_path):
    tables.write_csv(tmp_path / "a.csv", pd.DataFrame({"a": [1]}), ("a",))
    with pytest.raises(InputError, match="no column 'b'; found a"):
        tables.read_csv(tmp_path / "a.csv", ("b",))


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        tables.write_json(tmp_path / "a.json", {"a": float("nan")})


def test_a_dicom_error_can_be_pickled():
    import pickle

    error = pickle.loads(pickle.dumps(DicomError("empty", "no bytes")))  # noqa: S301  our own bytes
    assert (error.reason, error.detail) == ("empty", "no bytes")


def test_headlines_are_lines_with_intervals_and_what_to_compare_with():
    metric = {"value": 2.5, "lower": 1.0, "upper": None, "n": 4, "patients": 4}
    whole = {**metric, "upper": 4.0}
    evaluated = {"mae": whole, "baselines": {"median": {"mae": metric}}}
    lines = headline.lines({"progression": {"patient": {"all": {"patient": evaluated}, "grade_rise": {}}}})
    assert lines == [
        "Months to progression: mean absolute error per patient, held-out patients: 2.50 (1.00 to 4.00) months; "
        "median of the training patients 2.50; 4 patients"
    ]
    assert headline.lines({}) == ["no predictions to evaluate yet"]


def test_a_few_images_are_found_in_the_order_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (10, 224, 224), np.uint8)
    numbers = rng.permutation(10)
    text = {field.name: pa.array([""] * 10) for field in SLICES if field.type == pa.string()}
    columns = {
        **text,
        "slice": numbers,
        "frame": [0] * 10,
        "grade": [2] * 10,
        "image": [one.tobytes() for one in stored],
    }
    table = pa.table([pa.array(columns[field.name], field.type) for field in SLICES], SLICES)
    for part in range(2):
        with tables.shard(tmp_path / f"part-{part:05d}.parquet", SLICES) as shard:
            for start in (0, 3):
                shard.add(table.slice(5 * part + start, 3 if start == 0 else 2))
    wanted = [7, 0, 4]
    expected = stored[[int(np.flatnonzero(numbers == number)[0]) for number in wanted]]
    np.testing.assert_array_equal(read_images(tmp_path, wanted), expected)
    assert read_images(tmp_path, []).shape == (0, 224, 224)
    with pytest.raises(InputError, match="no slice 99"):
        read_images(tmp_path, [7, 99])
