"""Vectors of slices within given regions; the regions are made up, the images are DICOM files."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tumorprog.encoders import spectral
from tumorprog.encoders.columns import FEATURES, vector_array
from tumorprog.errors import InputError
from tumorprog.formats import reading
from tumorprog.imaging import intensity
from tumorprog.regions.columns import REGIONS
from tumorprog.regions.component import brightest_component
from tumorprog.regions.packing import pack
from tumorprog.report.regions import examples
from tumorprog.settings import Settings
from tumorprog.stages import features


def square():
    mask = np.zeros((256, 256), bool)
    mask[60:120, 80:140] = True
    return mask


@pytest.fixture
def regions(tmp_path, write_table, write_dicom):
    """A shard: three slices of a series by a mask, by the slice alone, of the grading cohort, and a missing file."""
    random = np.random.default_rng(0)
    rows = []
    found = [("mask", square(), "progression"), ("component", None, "progression"), ("mask", square(), "grading")]
    for order, (method, mask, cohort) in enumerate(found):
        path = tmp_path / f"{order + 1}.dcm"
        write_dicom(path, random.integers(0, 900, (96, 80)))
        (row,) = reading.read_rows(str(path))
        known = {name: row[name] for name in REGIONS.names if name in row}
        named = {"cohort": cohort, "PatientID": "P", "date": "2000-01-01", "Type": "ax T1", "sequence": "T1post"}
        own = {
            "stack": 0,
            "order": order,
            "file_bytes": path.stat().st_size,
            "method": method,
            "region": None if mask is None else pack(mask),
        }
        rows.append({**known, **named, **own})
    rows.append({**rows[0], "path": str(tmp_path / "gone.dcm"), "order": 9})
    return write_table("regions", rows, REGIONS)


def expected(path, region_of):
    scaled = intensity.prepare(reading.read_frame(str(path)))
    return spectral.encode(scaled, region_of(scaled), wavelet="db2")


def test_vectors_are_those_within_the_regions_of_the_table(tmp_path, regions):
    table, rejected = features.vectors(pq.read_table(regions), wavelet="db2")
    assert table.schema.names == FEATURES.names
    assert table["order"].to_pylist() == [0, 1]  # neither the grading cohort nor the missing file
    assert table["region"].to_pylist() == ["mask", "component"]
    first, second = vector_array(table)
    np.testing.assert_array_equal(first, expected(tmp_path / "1.dcm", lambda scaled: square()))
    np.testing.assert_array_equal(second, expected(tmp_path / "2.dcm", brightest_component))
    assert [row["path"] for row in rejected] == [str(tmp_path / "gone.dcm")]


def test_a_shard_of_the_grading_cohort_alone_gives_no_rows(regions):
    rows = pq.read_table(regions)
    table, rejected = features.vectors(rows.slice(2, 1), wavelet="haar")
    assert table.cast(FEATURES).num_rows == 0
    assert not rejected


def test_regions_without_a_progression_cohort_are_an_error(tmp_path, write_table):
    write_table("regions", [{"cohort": "grading", "path": "a"}], REGIONS)
    with pytest.raises(InputError, match="contains no image series"):
        features.run(tmp_path, tmp_path / "out", Settings())


def test_an_example_shows_the_region_of_the_table_and_names_its_method(tmp_path, regions):
    rows = pd.DataFrame([row for number in (1, 2) for row in reading.read_rows(str(tmp_path / f"{number}.dcm"))])
    series = rows.assign(stack=0, order=[0, 1], sequence="T1post")[list(examples.COLUMNS)]
    example = examples.example(series, [regions], {"wavelet": "haar"}, order=0)
    np.testing.assert_array_equal(example["mask"], square())
    assert example["title"].endswith("; region: mask")
    computed = examples.example(series, [regions], {"wavelet": "haar"}, order=1)
    np.testing.assert_array_equal(computed["mask"], brightest_component(computed["image"]))
    assert computed["title"].endswith("; region: component")
    with pytest.raises(InputError, match="no region of frame"):
        examples.example(series.assign(frame=3).assign(path=str(tmp_path / "3.dcm"), frame=0), [regions], {}, order=0)
