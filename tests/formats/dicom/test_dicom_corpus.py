"""Every file bundled with pydicom is read as pydicom_corpus.csv states."""

import csv
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pydicom
import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from tumorprog.errors import DicomError
from tumorprog.formats.columns import CATALOGUE, REASONS
from tumorprog.formats.dicom import elements, header, pixels

BUNDLED = Path(pydicom.__file__).parent / "data"
STATED = {row["file"]: row for row in csv.DictReader(Path(__file__).with_name("pydicom_corpus.csv").open())}


def outcome(name):
    """Return the result of reading a file as a row of the table."""
    path, row = str(BUNDLED / name), {"file": name, "rows": "", "reason": "", "frame_reason": "", "frame_crc32": ""}
    try:
        rows = header.read_rows(path)
        pa.Table.from_pylist(rows, CATALOGUE)
        row["rows"] = str(len(rows))
    except DicomError as error:
        row["reason"] = error.reason
    try:
        row["frame_crc32"] = f"{zlib.crc32(pixels.read_frame(path).tobytes()):08x}"
    except DicomError as error:
        row["frame_reason"] = error.reason
    return row


def read_by_pydicom(path):
    """Return the first frame, decoded by pydicom and rescaled here; None if pydicom cannot decode it."""
    with elements.quiet_pydicom():
        dataset = pydicom.dcmread(path, force=True)
        syntax = dataset.file_meta.TransferSyntaxUID
        decoder = get_decoder(syntax)
        plugin = "" if not syntax.is_encapsulated else "pydicom" if syntax == RLELossless else "pillow"
        try:
            stored, _ = decoder.as_array(dataset, index=0, raw=True, decoding_plugin=plugin)
        except (RuntimeError, ValueError):  # plug-in not installed, or 12 bits in pillow
            return None
        slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    image = stored * slope + intercept
    if "PixelPaddingValue" in dataset:
        image[stored == dataset.PixelPaddingValue] = np.nan
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        image = image.max() + image.min() - image
    return image


def test_every_bundled_file_gives_the_rows_pixels_or_reason_in_the_table():
    found = {name: outcome(name) for name in STATED}
    assert [row for name, row in found.items() if row != STATED[name]] == []
    assert {row[key] for row in found.values() for key in ("reason", "frame_reason")} <= {"", *REASONS}


def test_the_table_lists_every_bundled_file():
    names = {path.relative_to(BUNDLED).as_posix() for path in BUNDLED.rglob("*") if path.is_file()}
    unknown = {name for name in names - set(STATED) if not name.endswith((".py", ".pyc"))}
    if unknown and pydicom.__version__ != "3.0.2":
        pytest.skip(f"this version of pydicom has {len(unknown)} files that are not in the table")
    assert unknown == set()
    assert len(STATED) > 180


def test_the_pixels_in_the_table_equal_those_of_pydicom():
    checked, unchecked = 0, []
    for name, row in STATED.items():
        if row["frame_crc32"]:
            expected = read_by_pydicom(BUNDLED / name)
            if expected is None:
                unchecked.append(Path(name).name)
            else:
                image = pixels.read_frame(str(BUNDLED / name))
                assert f"{zlib.crc32(image.tobytes()):08x}" == row["frame_crc32"]
                np.testing.assert_allclose(image, expected, rtol=4e-7, atol=0, err_msg=name)  # rounded in float32
                checked += 1
    # pydicom cannot decode these without other plug-ins; test_dicom_codecs checks them
    assert sorted(unchecked) == [
        "JPEG-lossy.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "JPGExtended.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ]
    assert checked >= 60
