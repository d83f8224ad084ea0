import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid


def _items(**elements):
    """A sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def _mr_dataset(stored, **elements):
    """A sound MR object of (rows, columns) or (frames, rows, columns); elements that are None are left out."""
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
    """An enhanced MR object: coronal, two echoes, each frame with a position and a rescale slope of its own."""
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


@pytest.fixture
def mr_dataset():
    return _mr_dataset


@pytest.fixture
def enhanced_dataset():
    return _enhanced_dataset


@pytest.fixture
def save(tmp_path):
    """Writes a dataset, as a Part 10 file, below the test's folder; gives its path."""

    def write(dataset, name="1.dcm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return str(path)

    return write
