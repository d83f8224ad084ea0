"""Headers parsed without pydicom's loop give the same results as with it, even if damaged."""

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fuzz import damage, vulnerable_offsets
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tumorprog.errors import DicomError
from tumorprog.formats.dicom import header, plain

BUNDLED = Path(pydicom.__file__).parent / "data"
STATED = [row["file"] for row in csv.DictReader(Path(__file__).with_name("pydicom_corpus.csv").open())]


def outcome(path):
    try:
        return repr(header.read_rows(str(path)))  # NaN is not equal to itself
    except DicomError as error:
        return error.reason, error.detail


def with_undefined_length_sequence(dataset):
    """Add a sequence of undefined length with an item of undefined length."""
    item = Dataset()
    item.PatientID = "not this one"
    item.is_undefined_length_sequence_item = True
    dataset.ReferencedImageSequence = Sequence([item])
    dataset["ReferencedImageSequence"].is_undefined_length = True
    return dataset


@pytest.fixture
def both_ways(monkeypatch):
    """Function that reads a file with the fast parser and with pydicom's, and returns whether the former completed."""

    def read(path):
        walks = []

        def recorded(*args, walk=plain.walk_explicit):
            walks.append(walk(*args))
            return walks[-1]

        with monkeypatch.context() as patch:
            patch.setattr(plain, "walk_explicit", recorded)
            actual = outcome(path)
        with monkeypatch.context() as patch:
            patch.setattr(plain, "walk_explicit", lambda *_: None)
            expected = outcome(path)
        return actual, expected, len(walks) == 2 and walks[1] is not None and walks[1].tag >= 0x7FE00008

    return read


def test_every_bundled_file_is_read_as_by_pydicom(both_ways):
    num_walked = 0
    for name in STATED:
        actual, expected, walked = both_ways(BUNDLED / name)
        assert actual == expected, name
        num_walked += walked
    assert num_walked > 60


@pytest.mark.no_cover
@pytest.mark.slow
def test_every_damaged_file_is_read_as_by_pydicom(both_ways, save, mr_dataset, enhanced_dataset, tmp_path):
    image = np.arange(20 * 14, dtype=np.uint16).reshape(20, 14)
    valid = [
        mr_dataset(image, ImagePositionPatient=[1, 2, 3], RescaleSlope=2, SpecificCharacterSet="ISO_IR 192"),
        with_undefined_length_sequence(mr_dataset(image, SeriesDescription="T1post", EchoTime="14")),
        enhanced_dataset(),
        mr_dataset(image),
    ]
    valid[-1].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    files = [Path(save(dataset, f"{number}.dcm")).read_bytes() for number, dataset in enumerate(valid)]
    offsets = [vulnerable_offsets(content) for content in files]
    damaged = tmp_path / "damaged.dcm"
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        index = seed % len(files)
        damaged.write_bytes(damage(files[index], offsets[index], rng))
        actual, expected, _ = both_ways(damaged)
        assert actual == expected, seed


def test_a_sequence_of_undefined_length_is_skipped(both_ways, save, mr_dataset):
    path = save(with_undefined_length_sequence(mr_dataset(np.ones((4, 4), np.uint16))))
    assert b"\xfe\xff\xdd\xe0" in Path(path).read_bytes()
    actual, expected, walked = both_ways(path)
    assert actual == expected
    assert "not this one" not in actual
    assert walked


def test_a_big_endian_header_is_left_to_pydicom(save, mr_dataset):
    dataset = mr_dataset(np.ones((4, 4), np.uint16))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    content = Path(save(dataset)).read_bytes()
    assert plain.walk_explicit(content, 132, frozenset(), range(2**32)) is None


def test_explicit_vrs_in_a_file_stated_as_implicit_are_left_to_pydicom(both_ways, save, mr_dataset):
    path = Path(save(mr_dataset(np.ones((4, 4), np.uint16))))
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1))
    actual, expected, _ = both_ways(path)
    assert actual == expected
    assert "explicit VR where implicit was stated" in actual


@pytest.mark.parametrize("walk", [plain.walk_explicit, plain.walk_implicit])
def test_a_truncated_header_is_left_to_pydicom(walk):
    beginning = (
        b"\x08\x00\x60\x00CS\x02\x00MR" if walk is plain.walk_explicit else b"\x08\x00\x60\x00\x02\x00\x00\x00MR"
    )
    for end in range(len(beginning) + 1):
        assert walk(beginning[:end], 0, frozenset(), range(2**32)) is None
