"""pydicom_corpus.csv states what becomes of every file that pydicom's wheel brings."""

import csv
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pydicom
import pytest
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from tumorprog import tables
from tumorprog.dicom import elements, header, pixels
from tumorprog.errors import DicomError

BUNDLED = Path(pydicom.__file__).parent / "data"
STATED = {row["file"]: row for row in csv.DictReader(Path(__file__).with_name("pydicom_corpus.csv").open())}


def outcome(name):
    """What is read of a file, in the words of the table."""
    path, told = str(BUNDLED / name), {"file": name, "rows": "", "reason": "", "frame_reason": "", "frame_crc32": ""}
    try:
        rows = header.read_rows(path)
        pa.Table.from_pylist(rows, tables.CATALOGUE)
        told["rows"] = str(len(rows))
    except DicomError as error:
        told["reason"] = error.reason
    try:
        told["frame_crc32"] = f"{zlib.crc32(pixels.read_frame(path).tobytes()):08x}"
    except DicomError as error:
        told["frame_reason"] = error.reason
    return told


def said_by_pydicom(path):
    """The first frame as pydicom itself decodes and we rescale; None if it cannot."""
    with elements.quiet_pydicom():
        dataset = pydicom.dcmread(path, force=True)
        syntax = dataset.file_meta.TransferSyntaxUID
        decoder = get_decoder(syntax)
        plugin = "" if not syntax.is_encapsulated else "pydicom" if syntax == RLELossless else "pillow"
        try:
            stored, _ = decoder.as_array(dataset, index=0, raw=True, decoding_plugin=plugin)
        except (RuntimeError, ValueError):  # no such plug-in; 12 bits for pillow
            return None
        slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    image = stored * slope + intercept
    if "PixelPaddingValue" in dataset:
        image[stored == dataset.PixelPaddingValue] = np.nan
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        image = image.max() + image.min() - image
    return image


def test_every_bundled_file_gives_the_rows_the_pixels_or_the_reason_that_the_table_states():
    found = {name: outcome(name) for name in STATED}
    assert [told for name, told in found.items() if told != STATED[name]] == []
    assert {told[key] for told in found.values() for key in ("reason", "frame_reason")} <= {"", *tables.REASONS}


def test_the_table_knows_every_bundled_file():
    names = {path.relative_to(BUNDLED).as_posix() for path in BUNDLED.rglob("*") if path.is_file()}
    unknown = {name for name in names - set(STATED) if not name.endswith((".py", ".pyc"))}
    if unknown and pydicom.__version__ != "3.0.2":
        pytest.skip(f"another pydicom than the table was made with brings {len(unknown)} more files")
    assert unknown == set()
    assert len(STATED) > 180


def test_the_stated_pixels_are_pydicoms():
    checked, alone = 0, []
    for name, told in STATED.items():
        if told["frame_crc32"]:
            said = said_by_pydicom(BUNDLED / name)
            if said is None:
                alone.append(Path(name).name)
            else:
                image = pixels.read_frame(str(BUNDLED / name))
                assert f"{zlib.crc32(image.tobytes()):08x}" == told["frame_crc32"]
                np.testing.assert_allclose(image, said, rtol=4e-7, atol=0, err_msg=name)  # rounded in float32
                checked += 1
    # pydicom has no decoder of its own for these: test_dicom_codecs checks them
    assert sorted(alone) == [
        "JPEG-lossy.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "JPGExtended.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ]
    assert checked >= 60
