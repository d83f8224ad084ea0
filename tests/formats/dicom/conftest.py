import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2K,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)
from pydicom.uid import JPEG2000 as JPEG2000Lossy  # noqa: N811

from tumorprog.formats.dicom import header


def _items(**elements):
    """Return a sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def _mr_dataset(stored, **elements):
    """Return a valid MR object of (rows, columns) or (frames, rows, columns); elements that are None are removed."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["instance"])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
    dataset.Modality, dataset.PatientID, dataset.PatientName = "MR", "P1", "Zebulon^Quux"
    dataset.StudyDate = "19920618"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    if stored.dtype.kind in "iu":
        dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
        dataset.PixelRepresentation = int(stored.dtype.kind == "i")
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    else:
        keyword = "FloatPixelData" if stored.dtype.itemsize == 4 else "DoubleFloatPixelData"
        setattr(dataset, keyword, stored.tobytes())
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def _enhanced_dataset(frames=4):
    """Return an enhanced MR object: coronal, two echoes, each frame with its own position and rescale slope."""
    stored = np.random.default_rng(0).integers(0, 4000, (frames, 6, 5)).astype(np.uint16)
    dataset = _mr_dataset(stored, SOPClassUID=EnhancedMRImageStorage, EchoPulseSequence="SPIN")
    dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.SharedFunctionalGroupsSequence = _items(
        PlaneOrientationSequence=_items(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        PixelMeasuresSequence=_items(PixelSpacing=[0.5, 0.75], SliceThickness=5),
        MRTimingAndRelatedParametersSequence=_items(RepetitionTime=3000, FlipAngle=90),
    )
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        _items(
            PlanePositionSequence=_items(ImagePositionPatient=[1, 7 * (frame // 2), 3]),
            MREchoSequence=_items(EffectiveEchoTime=(20.0, 90.0)[frame % 2]),
            PixelValueTransformationSequence=_items(RescaleSlope=frame + 1, RescaleIntercept=-frame, RescaleType="US"),
        )[0]
        for frame in range(frames)
    )
    return dataset


def _encode(stored, syntax, *, bits=0, **options):
    """Encode a frame of (rows, columns), with options of imagecodecs; signed values are encoded as DICOM requires."""
    bits = bits or 8 * stored.itemsize
    unsigned = stored.view(f"u{stored.itemsize}")
    unsigned = unsigned & unsigned.dtype.type(2**bits - 1)
    if syntax == RLELossless:
        return RLELosslessEncoder.encode(
            stored.tobytes(),
            rows=stored.shape[0],
            columns=stored.shape[1],
            samples_per_pixel=1,
            bits_allocated=8 * stored.itemsize,
            bits_stored=8 * stored.itemsize,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
            encoding_plugin="pydicom",
        )
    if syntax in {JPEGBaseline8Bit, JPEGExtended12Bit}:
        return imagecodecs.jpeg8_encode(unsigned, **{"level": 98, "bitspersample": bits, **options})
    if syntax in {JPEGLossless, JPEGLosslessSV1}:
        return imagecodecs.jpeg8_encode(unsigned, lossless=True, **{"predictor": 1, "bitspersample": bits, **options})
    if syntax in {JPEGLSLossless, JPEGLSNearLossless}:
        return imagecodecs.jpegls_encode(stored.view(unsigned.dtype), **options)
    if syntax in {JPEG2000Lossless, JPEG2000Lossy}:
        return imagecodecs.jpeg2k_encode(
            stored, **{"codecformat": "j2k", "reversible": True, "level": 0, "bitspersample": bits, **options}
        )
    assert syntax in {HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL}
    return imagecodecs.htj2k_encode(stored, **{"reversible": True, **options})


def _compress(dataset, frames, syntax):
    """Replace the pixel data of a dataset by encoded frames, and return the dataset."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.fixture
def encode():
    return _encode


@pytest.fixture
def compress():
    return _compress


@pytest.fixture
def mr_dataset():
    return _mr_dataset


@pytest.fixture
def enhanced_dataset():
    return _enhanced_dataset


@pytest.fixture
def save(tmp_path):
    """Function that writes a dataset as a Part 10 file below the test's folder and returns its path."""

    def write(dataset, name="1.dcm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return str(path)

    return write


@pytest.fixture
def save_compressed(save):
    """Function that writes an MR object with one codestream per frame and returns its path."""

    def write(stored, syntax, *codestreams, **elements):
        return save(_compress(_mr_dataset(stored, **elements), codestreams, syntax))

    return write


def _row_of(path):
    (row,) = header.read_rows(str(path))
    return row


@pytest.fixture
def row_of():
    """Function that returns the row of a single-frame file."""
    return _row_of
