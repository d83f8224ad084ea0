"""Elements that change the meaning of a stored value: padding, bit positions, lookup tables."""

import math

import numpy as np
import pydicom
import pytest
from pydicom.datadict import keyword_dict
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tumorprog.errors import DicomError
from tumorprog.formats.dicom import header, opening, pixel_elements, pixels
from tumorprog.formats.index import INDEX_COLUMNS, FrameIndex
from tumorprog.imaging import intensity

PLAIN = np.arange(100, 130, dtype=np.uint16).reshape(5, 6)


def both_ways(path):
    """Return a frame, after checking that reading by the index gives the same."""
    (row,) = header.read_rows(path)
    image = pixels.read_frame(path)
    row["file_bytes"] = len(open(path, "rb").read())  # noqa: PTH123, SIM115
    indexed = pixels.read_indexed(path, FrameIndex(*(row[name] for name in INDEX_COLUMNS)))
    np.testing.assert_array_equal(image, indexed.astype(np.float32))
    return image


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8, np.int8])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -500)])
def test_padding_becomes_nan_for_any_rescaling(dtype, slope, intercept, mr_dataset, save):
    stored = np.arange(30, dtype=dtype).reshape(5, 6)
    value = int(np.iinfo(dtype).min if dtype in {np.int16, np.int8} else np.iinfo(dtype).max)
    stored[0] = value
    path = save(mr_dataset(stored, PixelPaddingValue=value, RescaleSlope=slope, RescaleIntercept=intercept))
    expected = stored.astype(np.float32) * slope + intercept
    expected[0] = np.nan
    np.testing.assert_array_equal(both_ways(path), expected)


@pytest.mark.parametrize(("value", "limit"), [(100, 105), (105, 100)])
def test_a_padding_range_can_be_stated_from_either_end(value, limit, mr_dataset, save):
    image = both_ways(save(mr_dataset(PLAIN, PixelPaddingValue=value, PixelPaddingRangeLimit=limit)))
    assert np.isnan(image[0]).all()
    np.testing.assert_array_equal(image[1:], PLAIN[1:])


def test_monochrome1_is_inverted_within_the_range_without_padding(mr_dataset, save):
    stored = PLAIN.copy()
    stored[0] = 4000
    image = both_ways(save(mr_dataset(stored, PixelPaddingValue=4000, PhotometricInterpretation="MONOCHROME1")))
    assert np.isnan(image[0]).all()
    np.testing.assert_array_equal(image[1:], 106 + 129 - PLAIN[1:].astype(np.float32))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_signed_padding_is_read_in_every_encoding(syntax, mr_dataset, tmp_path):
    stored = np.full((5, 6), 7, np.int16)
    stored[0] = -2000
    dataset = mr_dataset(stored, PixelPaddingValue=-2000)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = stored.astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    path = str(tmp_path / "1.dcm")
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    assert np.isnan(both_ways(path)).sum() == 6


def test_padding_with_an_unsigned_vr_is_found_in_signed_pixels(mr_dataset, save):
    stored = np.full((5, 6), 7, np.int16)
    stored[0] = -2000
    dataset = mr_dataset(stored)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    assert np.isnan(both_ways(save(dataset))).sum() == 6


@pytest.mark.parametrize(("value", "limit", "dtype"), [(-2000, 0, np.uint16), (63536, None, np.uint8)])
def test_padding_that_no_pixel_can_have_is_ignored_and_noted(value, limit, dtype, mr_dataset, save):
    """It must not be read as a range from 0 to 63536, which would be the whole image."""
    dataset = mr_dataset(np.arange(30, dtype=dtype).reshape(5, 6))
    dataset.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    if limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", "SS", limit)
    path = save(dataset)
    np.testing.assert_array_equal(both_ways(path), np.arange(30).reshape(5, 6))
    assert "padding that does not fit" in header.read_rows(path)[0]["warnings"]


@pytest.mark.parametrize("method", ["robust", "minmax"])
def test_padding_is_black_and_excluded_from_the_percentiles(method):
    image = np.random.default_rng(0).uniform(100, 200, (64, 64)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (64, 64)), constant_values=np.nan)
    scaled = intensity.scale(padded, method=method)
    assert not scaled[:, :64].any()
    np.testing.assert_array_equal(scaled[:, 64:128], intensity.scale(image, method=method))
    assert not intensity.scale(np.full((4, 4), np.nan, np.float32), method=method).any()
    assert not intensity.grader_input(padded, scaling=method)[:, :70].any()


def test_an_image_of_only_padding_is_read(mr_dataset, save):
    assert np.isnan(both_ways(save(mr_dataset(np.zeros((5, 6), np.uint16), PixelPaddingValue=0)))).all()


def test_float_padding_becomes_nan(mr_dataset, save):
    stored = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    stored[0] = -99.5
    image = both_ways(save(mr_dataset(stored, FloatPixelPaddingValue=-99.5)))
    assert np.isnan(image[0]).all()
    np.testing.assert_array_equal(image[1:], stored[1:])


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("bits", "high"), [(12, 15), (12, 13), (10, 15), (8, 8), (12, 11)])
def test_values_are_read_from_the_bits_up_to_the_high_bit(bits, high, signed, mr_dataset, save):
    rng = np.random.default_rng(bits + high)
    values = rng.integers(-(2 ** (bits - 1)) if signed else 0, 2 ** (bits - signed), (5, 6))
    lowest = high + 1 - bits
    other_bits = rng.integers(0, 2**16, (5, 6)) & ~((2**bits - 1) << lowest)  # overlays
    words = (((values & (2**bits - 1)) << lowest) | other_bits).astype(np.uint16)
    dataset = mr_dataset(words, BitsStored=bits, HighBit=high, PixelRepresentation=signed)
    np.testing.assert_array_equal(both_ways(save(dataset)), values.astype(np.float32))


@pytest.mark.parametrize("high", [16, 99, 5])
def test_an_impossible_high_bit_is_ignored_and_noted(high, mr_dataset, save):
    path = save(mr_dataset(PLAIN, BitsStored=12, HighBit=high))
    np.testing.assert_array_equal(both_ways(path), PLAIN)
    assert "impossible HighBit" in header.read_rows(path)[0]["warnings"]


def test_a_file_with_a_modality_lut_is_rejected(mr_dataset, save):
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [2, 0, 16], "US"
    dataset = mr_dataset(PLAIN, ModalityLUTSequence=Sequence([item]))
    with pytest.raises(DicomError, match="Modality LUT"):
        header.read_rows(save(dataset))


def test_files_without_padding_keep_their_integers(mr_dataset, save):
    path = save(mr_dataset(PLAIN))
    (row,) = header.read_rows(path)
    assert math.isnan(row["padding_low"])
    assert row["pixel_dtype"] == "<u2"


def test_the_tables_of_elements_match_the_elements_that_are_read():
    assert set(pixel_elements.READ) <= set(opening.IMAGE_KEYWORDS)
    assert not set(pixel_elements.READ) & set(pixel_elements.IGNORED)
    assert not set(pixel_elements.IGNORED) & set(header._CATALOGUE_KEYWORDS)
    known = {*keyword_dict, "OverlayData"}  # an element of a repeating group
    assert {*pixel_elements.READ, *pixel_elements.IGNORED} <= known
