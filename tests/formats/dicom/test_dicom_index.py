"""The pixel index of a catalogue row: reading by the index gives the same values as `read_frame`."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from tumorprog.errors import DicomError
from tumorprog.formats.dicom import header, pixels
from tumorprog.formats.dicom.elements import quiet_pydicom
from tumorprog.formats.index import FrameIndex

BUNDLED = Path(pydicom.__file__).parent / "data"
RNG = np.random.default_rng(0)
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def entry_of(row):
    names = ("pixel_offset", "pixel_bytes", "pixel_dtype", "Rows", "Columns")
    names += ("RescaleSlope", "RescaleIntercept", "PhotometricInterpretation")
    return FrameIndex(*(row[name] for name in names), Path(row["path"]).stat().st_size)


def indexed_rows(path):
    """Return the rows of a file that have an index, each checked against `read_frame`."""
    indexed = []
    for row in header.read_rows(str(path)):
        if row["pixel_offset"] < 0:
            assert (row["pixel_offset"], row["pixel_bytes"], row["pixel_dtype"]) == (-1, -1, "")
        else:
            image = pixels.read_indexed(row["path"], entry_of(row))
            assert image.shape == (row["Rows"], row["Columns"])
            assert image.dtype in {
                np.dtype(name) for name in ("float32", "u1", "i1", "u2", "i2")
            }  # in native byte order
            decoded = pixels.read_frame(path, row["frame"])
            np.testing.assert_array_equal(image.astype(np.float32).view(np.uint32), decoded.view(np.uint32))
            indexed.append(row)
    return indexed


def as_mr(dataset, path):
    """Save the object as an MR image, so that it can be catalogued, and return its path."""
    dataset.Modality, dataset.PatientID = "MR", "P1"
    dataset.save_as(path)
    return str(path)


def test_every_uncompressed_file_bundled_with_pydicom_has_an_index(tmp_path):
    indexed = total = 0
    for path in sorted(BUNDLED.rglob("*")):
        try:
            pixels.read_frame(str(path))
        except DicomError:
            continue
        with quiet_pydicom():
            dataset = pydicom.dcmread(path)
            syntax = dataset.file_meta.TransferSyntaxUID
            if not syntax.is_compressed and not syntax.is_deflated:
                rows = indexed_rows(as_mr(dataset, tmp_path / "mr.dcm"))
                total, indexed = total + 1, indexed + bool(rows)
    assert total >= 54
    assert indexed == total


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("shape", [(6, 5), (7, 3), (3, 7, 3)], ids=str)
def test_integers_of_any_width_byte_order_and_number_of_frames_are_indexed(dtype, syntax, shape, save, mr_dataset):
    limits = np.iinfo(dtype)
    stored = RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    dataset = mr_dataset(stored, RescaleSlope="0.3", RescaleIntercept="-7.5")
    big_endian = syntax == ExplicitVRBigEndian
    dataset.PixelData = (stored.byteswap() if big_endian else stored).tobytes()
    dataset["PixelData"].VR = "OB" if stored.itemsize == 1 and syntax != ImplicitVRLittleEndian else "OW"
    dataset.file_meta.TransferSyntaxUID = syntax
    rows = indexed_rows(save(dataset))
    assert len(rows) == (shape[0] if len(shape) == 3 else 1)
    order = "|" if stored.itemsize == 1 else "<>"[big_endian]
    assert {row["pixel_dtype"] for row in rows} == {f"{order}{dtype}"}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_float_pixels_are_indexed(dtype, syntax, photometric, save, mr_dataset):
    stored = RNG.normal(size=(2, 6, 5)).astype(dtype)
    stored[0, 0] = [np.nan, np.inf, -np.inf, np.finfo(dtype).max, 1e-30]
    dataset = mr_dataset(stored, PhotometricInterpretation=photometric)
    if syntax == ExplicitVRBigEndian:
        setattr(dataset, {"f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}[dtype], stored.byteswap().tobytes())
    dataset.file_meta.TransferSyntaxUID = syntax
    assert len(indexed_rows(save(dataset))) == 2


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", ">u2", ">i2", "u4", "i4"])
@pytest.mark.parametrize("unused", [1, 4])
def test_bits_that_are_not_stored_are_masked_out(dtype, unused, save, mr_dataset):
    limits = np.iinfo(dtype)
    stored = RNG.integers(limits.min, limits.max, (6, 5), dtype[-2:], endpoint=True)
    bits = 8 * stored.itemsize - unused
    dataset = mr_dataset(stored, BitsStored=bits, HighBit=bits - 1)
    if dtype[0] == ">":
        dataset.PixelData, dataset.file_meta.TransferSyntaxUID = stored.byteswap().tobytes(), ExplicitVRBigEndian
    (row,) = indexed_rows(save(dataset))
    assert row["pixel_dtype"].endswith(f":{bits}")
    assert np.abs(pixels.read_indexed(row["path"], entry_of(row))).max() < 2**bits
    assert not np.array_equal(pixels.read_frame(row["path"]), stored)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("slope", "intercept"), [("1", "0"), ("0", "7"), ("-2.5", "3"), ("1e300", "0"), ("1E-9", "1")])
def test_every_rescaling_matches_read_frame(photometric, slope, intercept, save, mr_dataset):
    stored = RNG.integers(-(2**15), 2**15, (6, 5)).astype(np.int16)
    elements = {"RescaleSlope": slope, "RescaleIntercept": intercept, "PhotometricInterpretation": photometric}
    (row,) = indexed_rows(save(mr_dataset(stored, **elements)))
    assert row["RescaleSlope"] == (float(slope) or 1)


def test_each_frame_of_an_enhanced_object_has_its_own_offset_and_slope(save, enhanced_dataset):
    rows = indexed_rows(save(enhanced_dataset()))
    assert [row["RescaleSlope"] for row in rows] == [1, 2, 3, 4]
    assert [row["RescaleIntercept"] for row in rows] == [0, -1, -2, -3]
    assert np.diff([row["pixel_offset"] for row in rows]).tolist() == [60, 60, 60]


def test_a_file_without_rescaling_has_slope_1_and_intercept_0(save, mr_dataset):
    (row,) = indexed_rows(save(mr_dataset(np.ones((6, 5), np.uint16))))
    assert (row["RescaleSlope"], row["RescaleIntercept"], row["PhotometricInterpretation"]) == (1, 0, "MONOCHROME2")


def test_a_header_longer_than_the_read_window_has_an_index(save, mr_dataset):
    dataset = mr_dataset(RNG.integers(0, 4000, (6, 5)).astype(np.uint16))
    dataset.private_block(0x0019, "long", create=True).add_new(1, "OB", bytes(200_000))
    (row,) = indexed_rows(save(dataset))
    assert row["pixel_offset"] > 200_000


def test_pixels_that_must_be_decoded_have_no_index(save, mr_dataset, encode, compress):
    stored = RNG.integers(0, 200, (6, 5)).astype(np.uint8)
    words = mr_dataset(stored)  # in big-endian words, pairs of bytes are swapped
    words.PixelData = np.frombuffer(stored.tobytes(), "u2").byteswap().tobytes()
    words.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    words["PixelData"].VR = "OW"
    deflated = mr_dataset(stored)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    compressed = compress(mr_dataset(stored), [encode(stored, JPEG2000Lossless)], JPEG2000Lossless)
    for dataset in (words, deflated, compressed):
        assert indexed_rows(save(dataset)) == []
        np.testing.assert_array_equal(pixels.read_frame(save(dataset)), stored)
    for stated in ({"BitsStored": 20}, {"PixelRepresentation": 2}, {"PhotometricInterpretation": "YBR_FULL_422"}):
        (row,) = header.read_rows(save(mr_dataset(stored, **stated)))
        assert row["pixel_dtype"] == ""


def test_a_file_that_has_changed_since_indexing_is_rejected(save, mr_dataset):
    path = save(mr_dataset(RNG.integers(0, 4000, (6, 5)).astype(np.uint16)))
    (row,) = header.read_rows(path)
    entry, content = entry_of(row), Path(path).read_bytes()
    for changed in (content + b"\0\0", content[:-2], b""):
        Path(path).write_bytes(changed)
        with pytest.raises(DicomError, match="unreadable") as caught:
            pixels.read_indexed(path, entry)
        assert "run `tumorprog catalogue` again" in caught.value.detail
    Path(path).unlink()
    with pytest.raises(DicomError, match="unreadable"):
        pixels.read_indexed(path, entry)


def test_file_names_that_are_not_valid_text_are_read(tmp_path, save, mr_dataset):
    stored = RNG.integers(0, 4000, (6, 5)).astype(np.uint16)
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.dcm")
    Path(save(mr_dataset(stored, SOPInstanceUID=None, SeriesInstanceUID=None))).rename(path)
    (row,) = indexed_rows(path)
    assert row["path"] == path
    np.testing.assert_array_equal(pixels.read_indexed(path, entry_of(row)), stored)
