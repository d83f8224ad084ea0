from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tumorprog.errors import DicomError
from tumorprog.formats.columns import REASONS
from tumorprog.formats.dicom import pixels

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
RNG = np.random.default_rng(0)
INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4"]


def random_pixels(dtype, shape=(6, 5)):
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def reason_of(path, frame=0):
    with pytest.raises(DicomError) as caught:
        pixels.read_frame(str(path), frame)
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_signed_and_unsigned_integers_of_any_width_are_read(dtype, syntax, save, mr_dataset):
    stored = random_pixels(dtype)
    big_endian = syntax == ExplicitVRBigEndian
    dataset = mr_dataset(stored)
    dataset.PixelData = stored.byteswap().tobytes() if big_endian else stored.tobytes()
    dataset["PixelData"].VR = "OB" if stored.itemsize == 1 and syntax != ImplicitVRLittleEndian else "OW"
    dataset.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(pixels.read_frame(save(dataset)), stored.astype(np.float32))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_float_pixels_keep_their_values_and_non_finite_values_become_zero(dtype, save, mr_dataset):
    stored = RNG.normal(size=(6, 5)).astype(dtype)
    stored[0] = [np.nan, np.inf, -np.inf, np.finfo(dtype).max, 1e-30]
    expected = stored.astype(np.float64)
    expected[0, :3] = 0
    expected[0, 3] = expected[0, 3] if dtype == "f4" else 0  # beyond float32
    np.testing.assert_array_equal(pixels.read_frame(save(mr_dataset(stored))), expected.astype(np.float32))


def test_slope_and_intercept_are_applied(save, mr_dataset):
    stored = random_pixels("i2")
    image = pixels.read_frame(save(mr_dataset(stored, RescaleSlope="0.25", RescaleIntercept="-1024")))
    np.testing.assert_array_equal(image, stored * 0.25 - 1024)


def test_large_integers_are_rounded_only_once(save, mr_dataset):
    stored = np.array([[2**31 + 1, 2**31 + 3], [2**31, 2**32 - 1]], np.uint32)
    image = pixels.read_frame(save(mr_dataset(stored, RescaleSlope=1, RescaleIntercept=-(2**31))))
    np.testing.assert_array_equal(image, (stored.astype(float) - 2**31).astype(np.float32))


@pytest.mark.parametrize("slope", ["0", None, ""])
def test_a_zero_or_missing_slope_counts_as_one(slope, save, mr_dataset):
    stored = random_pixels("u2")
    dataset = mr_dataset(stored, RescaleSlope="1", RescaleIntercept="7")
    if slope is None:
        del dataset.RescaleSlope
    else:
        dataset.RescaleSlope = slope
    np.testing.assert_array_equal(pixels.read_frame(save(dataset)), stored.astype(np.float32) + 7)


def test_monochrome1_is_inverted_within_its_range(save, mr_dataset):
    stored = random_pixels("i2")
    original = pixels.read_frame(save(mr_dataset(stored, RescaleSlope=2, RescaleIntercept=-3)))
    inverted = mr_dataset(stored, RescaleSlope=2, RescaleIntercept=-3, PhotometricInterpretation="MONOCHROME1")
    image = pixels.read_frame(save(inverted))
    assert image.dtype == np.float32
    assert (image.min(), image.max()) == (original.min(), original.max())
    np.testing.assert_array_equal(image + original, np.full_like(image, original.min() + original.max()))


def test_monochrome1_with_the_largest_values_stays_finite(save, mr_dataset):
    top = np.finfo(np.float32).max
    stored = np.array([[top, top / 2], [top / 4, top]], np.float32)
    image = pixels.read_frame(save(mr_dataset(stored, PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(image, [[stored.min(), top * 0.75], [top, stored.min()]])


def test_bits_that_are_not_stored_are_masked_out(save, mr_dataset):
    """Overlays of the 1990s are stored in the upper four bits."""
    values = RNG.integers(0, 2**12, (6, 5), np.uint16)
    dataset = mr_dataset(values | 0x8000, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(pixels.read_frame(save(dataset)), values)


@pytest.mark.parametrize("compressed", [False, True])
def test_each_frame_is_read_by_its_number(compressed, save, mr_dataset):
    stored = random_pixels("u2", (3, 6, 5))
    dataset = mr_dataset(stored)
    if compressed:
        dataset.compress(RLELossless)
    path = save(dataset)
    for frame in range(3):
        np.testing.assert_array_equal(pixels.read_frame(path, frame), stored[frame])
    assert {reason_of(path, frame) for frame in (-1, 3)} == {"undecodable"}


def test_only_the_requested_frame_is_decoded(save, mr_dataset):
    stored = random_pixels("u2", (3, 6, 5))
    dataset = mr_dataset(stored)
    dataset.compress(RLELossless)
    frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate([frames[0], b"\1\0" * 40, frames[2]])
    path = save(dataset)
    np.testing.assert_array_equal(pixels.read_frame(path, 2), stored[2])
    assert reason_of(path, 1) == "undecodable"


def test_each_frame_of_an_enhanced_object_has_its_own_slope(save, enhanced_dataset):
    dataset = enhanced_dataset()
    path, stored = save(dataset), dataset.pixel_array
    for frame in range(4):
        np.testing.assert_array_equal(pixels.read_frame(path, frame), stored[frame].astype(float) * (frame + 1) - frame)


def test_a_file_without_preamble_and_meta_information_is_read(tmp_path):
    content = (BUNDLED / "MR_small.dcm").read_bytes()
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(content[content.index(b"\x08\x00\x08\x00CS") :])
    np.testing.assert_array_equal(pixels.read_frame(str(bare)), pydicom.dcmread(BUNDLED / "MR_small.dcm").pixel_array)


def test_elements_missing_in_files_older_than_dicom_have_defaults(save, mr_dataset):
    stored = random_pixels("u2")
    missing = dict.fromkeys(("SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored"))
    np.testing.assert_array_equal(pixels.read_frame(save(mr_dataset(stored, **missing))), stored)


def test_an_unreadable_file_is_rejected_with_its_reason(tmp_path, save, mr_dataset):
    stored = random_pixels("u2")
    unknown = mr_dataset(stored)
    path = Path(save(unknown, "unknown.dcm"))
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0", 1))
    fragments = mr_dataset(stored)
    fragments.compress(RLELossless)
    mislabelled = Path(save(fragments, "mislabelled.dcm"))
    mislabelled.write_bytes(mislabelled.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0", 1))
    (tmp_path / "empty.dcm").touch()
    colour = mr_dataset(stored, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    assert reason_of(path) == "undecodable"
    assert reason_of(mislabelled) == "undecodable"
    assert reason_of(tmp_path / "empty.dcm") == "empty"
    assert reason_of(tmp_path / "missing.dcm") == "unreadable"
    assert reason_of(save(colour)) == "colour"
    assert reason_of(BUNDLED / "MR_truncated.dcm") == "truncated_pixels"
    assert reason_of(BUNDLED / "README.txt") == "not_dicom"
    assert reason_of(BUNDLED / "rtplan.dcm") == "no_pixels"
