"""Rows of the table of regions and the masks that they stand for."""

import numpy as np
import pyarrow as pa
import pytest

from tumorprog import tables
from tumorprog.errors import InputError
from tumorprog.imaging.intensity import SIDE
from tumorprog.regions.brightest import brightest_region
from tumorprog.regions.columns import REGIONS
from tumorprog.regions.component import brightest_component
from tumorprog.regions.methods import DESCRIPTIONS, options
from tumorprog.regions.packing import find, pack, region_of, unpack
from tumorprog.regions.settings import Roi


def random_mask(seed):
    return np.random.default_rng(seed).random((SIDE, SIDE)) < 0.3


def scaled():
    image = np.random.default_rng(5).random((SIDE, SIDE)).astype(np.float32)
    image[100:120, 100:130] = 1
    return image


def test_a_packed_region_is_an_eighth_of_a_byte_per_pixel_and_unpacks_to_itself():
    for seed in range(3):
        mask = random_mask(seed)
        assert len(pack(mask)) == SIDE * SIDE // 8
        unpacked = unpack(pack(mask))
        assert unpacked.dtype == bool
        np.testing.assert_array_equal(unpacked, mask)
    assert not unpack(bytes(SIDE * SIDE // 8)).any()


def test_the_bits_are_those_of_numpy_in_rows():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[1, 2] = True
    assert np.flatnonzero(np.frombuffer(pack(mask), np.uint8)).tolist() == [SIDE // 8]
    assert pack(mask)[SIDE // 8] == 0b00100000


def test_a_region_without_bits_is_computed_from_the_slice_by_its_method():
    image = scaled()
    np.testing.assert_array_equal(region_of(image, "brightest", None), brightest_region(image))
    np.testing.assert_array_equal(region_of(image, "component", None), brightest_component(image))
    np.testing.assert_array_equal(region_of(image, "mask", pack(random_mask(1))), random_mask(1))


@pytest.fixture
def regions(tmp_path):
    """Two shards; the file a has two frames, and is in both cohorts."""
    rows = [
        {"path": "a", "frame": 0, "cohort": "progression", "method": "mask", "region": pack(random_mask(1))},
        {"path": "a", "frame": 1, "cohort": "progression", "method": "component", "region": None},
        {"path": "a", "frame": 1, "cohort": "grading", "method": "learned", "region": pack(random_mask(2))},
        {"path": "b", "frame": 1, "cohort": "progression", "method": "learned", "region": pack(random_mask(3))},
    ]
    paths = [tmp_path / f"part-{number}.parquet" for number in (0, 1)]
    for path, part in zip(paths, (rows[:2], rows[2:]), strict=True):
        tables.write_shard(path, pa.Table.from_pylist(part, REGIONS), REGIONS)
    return paths


def test_the_region_of_a_slice_is_found_by_path_and_frame(regions):
    found = find(regions, {"path": "b", "frame": 1, "Type": "T1"}, scaled())
    assert found.method == "learned"
    np.testing.assert_array_equal(found.mask, random_mask(3))
    np.testing.assert_array_equal(find(regions, {"path": "a", "frame": 0}, scaled()).mask, random_mask(1))
    computed = find(regions, {"path": "a", "frame": np.int32(1)}, scaled())
    assert computed.method == "component"
    np.testing.assert_array_equal(computed.mask, brightest_component(scaled()))


def test_a_slice_without_a_region_is_an_error(regions):
    with pytest.raises(InputError, match=r"no region of frame 5 of b.*tumorprog regions"):
        find(regions, {"path": "b", "frame": 5}, scaled())


def test_the_options_of_a_method_that_needs_only_the_slice_are_the_method_alone():
    assert options(Roi(method="brightest", margin_mm=3, labels=(1,))) == {"method": "brightest"}
    assert options(Roi(method="component")) == options(Roi(method="component", fallback="brightest"))


@pytest.mark.parametrize("method", ["auto", "mask", "learned"])
@pytest.mark.parametrize("changed", [{"fallback": "brightest"}, {"labels": (1, 3)}, {"margin_mm": 2.0}])
def test_the_options_of_masks_and_of_the_segmenter_differ_with_every_setting(method, changed):
    assert options(Roi(method=method)) != options(Roi(method=method, **changed))


def test_every_method_is_described_and_the_papers_is_named():
    assert "paper" in DESCRIPTIONS["brightest"]
    for method in ("auto", "mask", "learned", "component"):
        assert "roi.method: brightest" in DESCRIPTIONS[method]
