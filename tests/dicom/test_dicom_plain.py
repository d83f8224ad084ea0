"""Headers that are read without pydicom's loop give what they give with it, whatever their bytes."""

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fuzz import damage, places_of
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tumorprog.dicom import header, plain
from tumorprog.errors import DicomError

BUNDLED = Path(pydicom.__file__).parent / "data"
STATED = [row["file"] for row in csv.DictReader(Path(__file__).with_name("pydicom_corpus.csv").open())]


def outcome(path):
    try:
        return repr(header.read_rows(str(path)))  # nan is not equal to itself
    except DicomError as error:
        return error.reason, error.detail


def with_marked_sequence(dataset):
    """Adds a sequence, and an item in it, whose lengths are not stated; their ends are marked."""
    item = Dataset()
    item.PatientID = "not this one"
    item.is_undefined_length_sequence_item = True
    dataset.ReferencedImageSequence = Sequence([item])
    dataset["ReferencedImageSequence"].is_undefined_length = True
    return dataset


@pytest.fixture
def both_ways(monkeypatch):
    """What becomes of a file with our walk and with pydicom's, and whether ours went all the way."""

    def read(path):
        walks = []

        def watched(*args, walk=plain.walk_explicit):
            walks.append(walk(*args))
            return walks[-1]

        with monkeypatch.context() as patch:
            patch.setattr(plain, "walk_explicit", watched)
            ours = outcome(path)
        with monkeypatch.context() as patch:
            patch.setattr(plain, "walk_explicit", lambda *_: None)
            theirs = outcome(path)
        return ours, theirs, len(walks) == 2 and walks[1] is not None and walks[1].tag >= 0x7FE00008

    return read


def test_every_bundled_file_is_read_alike(both_ways):
    plainly = 0
    for name in STATED:
        ours, theirs, walked = both_ways(BUNDLED / name)
        assert ours == theirs, name
        plainly += walked
    assert plainly > 60


@pytest.mark.slow
def test_every_damaged_file_is_read_alike(both_ways, save, mr_dataset, enhanced_dataset, tmp_path):
    image = np.arange(20 * 14, dtype=np.uint16).reshape(20, 14)
    sound = [
        mr_dataset(image, ImagePositionPatient=[1, 2, 3], RescaleSlope=2, SpecificCharacterSet="ISO_IR 192"),
        with_marked_sequence(mr_dataset(image, SeriesDescription="T1post", EchoTime="14")),
        enhanced_dataset(),
        mr_dataset(image),
    ]
    sound[-1].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    files = [Path(save(dataset, f"{number}.dcm")).read_bytes() for number, dataset in enumerate(sound)]
    places = [places_of(whole) for whole in files]
    damaged = tmp_path / "damaged.dcm"
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        which = seed % len(files)
        damaged.write_bytes(damage(files[which], places[which], rng))
        ours, theirs, _ = both_ways(damaged)
        assert ours == theirs, seed


def test_a_sequence_whose_end_is_only_marked_is_passed_over(both_ways, save, mr_dataset):
    path = save(with_marked_sequence(mr_dataset(np.ones((4, 4), np.uint16))))
    assert b"\xfe\xff\xdd\xe0" in Path(path).read_bytes()
    ours, theirs, walked = both_ways(path)
    assert ours == theirs
    assert "not this one" not in ours
    assert walked


def test_what_is_not_little_endian_is_left_to_pydicom(save, mr_dataset):
    dataset = mr_dataset(np.ones((4, 4), np.uint16))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    whole = Path(save(dataset)).read_bytes()
    assert plain.walk_explicit(whole, 132, frozenset(), range(2**32)) is None


def test_explicit_vrs_where_implicit_ones_are_stated_are_left_to_pydicom(both_ways, save, mr_dataset):
    path = Path(save(mr_dataset(np.ones((4, 4), np.uint16))))
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1))
    ours, theirs, _ = both_ways(path)
    assert ours == theirs
    assert "explicit VR where implicit was stated" in ours


@pytest.mark.parametrize("walk", [plain.walk_explicit, plain.walk_implicit])
def test_a_header_that_is_cut_off_is_left_to_pydicom(walk):
    begun = b"\x08\x00\x60\x00CS\x02\x00MR" if walk is plain.walk_explicit else b"\x08\x00\x60\x00\x02\x00\x00\x00MR"
    for end in range(len(begun) + 1):
        assert walk(begun[:end], 0, frozenset(), range(2**32)) is None
