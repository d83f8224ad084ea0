"""An archive of any size for the benchmarks: one MR slice of about 80 elements, written repeatedly with different ids.

Only the bytes that differ between two files (UIDs, patient, number, position, pixels) are replaced, so that the disk
limits the speed at which an archive is written.
"""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

SERIES_SLICES = 25
PATIENT_SLICES = 500


def write(folder: Path, *, slices: int, size: int) -> None:
    """Write `slices` files of `size` x `size` uint16 below `folder`/archive, and the table `folder`/grades.csv."""
    images = _images(size)
    template = _file(images[0])
    start = template.rindex(images[0].tobytes())
    header, end = template[:start], template[start + images[0].nbytes :]
    for number in range(slices):
        patient, series = number // PATIENT_SLICES, number // SERIES_SLICES
        target = folder / "archive" / f"P{patient:05d}" / f"S{series:06d}"
        if number % SERIES_SLICES == 0:
            target.mkdir(parents=True, exist_ok=True)
        new_header = header
        for old, new in zip(_ids(0), _ids(number), strict=True):
            new_header = new_header.replace(old, new)
        pixels = np.roll(images[number % len(images)], number)
        (target / f"{number % SERIES_SLICES:06d}.dcm").write_bytes(new_header + pixels.tobytes() + end)
    with (folder / "grades.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient", "grade"])
        table.writerows([f"P{patient:05d}", 2 + patient % 3] for patient in range(-(-slices // PATIENT_SLICES)))


def _ids(number: int) -> tuple[bytes, ...]:
    """Return the values that differ between files; each has a constant length and is unlike the others."""
    patient, series, position = number // PATIENT_SLICES, number // SERIES_SLICES, number % SERIES_SLICES
    return (
        f"P{patient:05d}".encode(),
        f"1.2.826.0.1.3680043.10.9999.1.1{patient:011d}".encode(),
        f"1.2.826.0.1.3680043.10.9999.2.1{series:011d}".encode(),
        f"1.2.826.0.1.3680043.10.9999.3.1{number:011d}".encode(),
        f"{position + 10_000:05d} ".encode(),
        f"{5.0 * position - 60:+014.6f}".encode(),
    )


def _images(size: int) -> list[np.ndarray]:
    """Return 16 noisy 12-bit images of head-like ellipses."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    head = 900 * ((rows / 0.8) ** 2 + (columns / 0.7) ** 2 < 1)
    return [random.normal(head, 60).clip(0, 4095).astype(np.uint16) for _ in range(16)]


def _file(image: np.ndarray) -> bytes:
    """Return the bytes of a DICOM file with the image and the ids of number 0."""
    patient, study, series, instance, number, position = (value.decode() for value in _ids(0))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = instance
    dataset.update(
        {
            "PatientID": patient,
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "InstanceNumber": number,
            "ImagePositionPatient": ["-120", "-120", position],
            "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
            "PixelSpacing": ["0.9375", "0.9375"],
            "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
            "Rows": image.shape[0],
            "Columns": image.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
            **_COMMON_ELEMENTS,
        }
    )
    dataset.PixelData = image.tobytes()
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


_COMMON_ELEMENTS = {
    **{f"{part}Date": "19930412" for part in ("Study", "Series", "Acquisition", "Content", "InstanceCreation")},
    **{f"{part}Time": "101530.000" for part in ("Study", "Series", "Acquisition", "Content", "InstanceCreation")},
    **{"Modality": "MR", "Manufacturer": "GE MEDICAL SYSTEMS", "InstitutionName": "A hospital", "StationName": "MR1"},
    **{"StudyDescription": "MRI BRAIN W WO CONTRAST", "SeriesDescription": "AX T1 POST GD", "SeriesNumber": "7"},
    **{"ManufacturerModelName": "GENESIS_SIGNA", "PatientName": "Anonymous", "PatientSex": "F", "PatientAge": "052Y"},
    **{"PatientBirthDate": "", "PatientWeight": "70", "AccessionNumber": "", "ReferringPhysicianName": ""},
    **{"ContrastBolusAgent": "MAGNEVIST", "BodyPartExamined": "BRAIN", "ScanningSequence": "SE", "StudyID": "1"},
    **{"SequenceVariant": "NONE", "ScanOptions": "NONE", "MRAcquisitionType": "2D", "SequenceName": "SE"},
    **{"SliceThickness": "5", "RepetitionTime": "600", "EchoTime": "14", "NumberOfAverages": "1", "EchoNumbers": "1"},
    **{"ImagingFrequency": "63.86", "ImagedNucleus": "1H", "MagneticFieldStrength": "1.5", "EchoTrainLength": "1"},
    **{"SpacingBetweenSlices": "5", "PercentSampling": "100", "PercentPhaseFieldOfView": "100", "FlipAngle": "90"},
    **{"PixelBandwidth": "122", "DeviceSerialNumber": "1", "SoftwareVersions": "9.1", "ProtocolName": "BRAIN"},
    **{"HeartRate": "0", "ReconstructionDiameter": "240", "ReceiveCoilName": "HEAD", "TransmitCoilName": "HEAD"},
    **{"InPlanePhaseEncodingDirection": "ROW", "SAR": "0.1", "VariableFlipAngleFlag": "N", "PatientPosition": "HFS"},
    **{"AcquisitionMatrix": [0, 256, 192, 0], "AcquisitionNumber": "1", "ImagesInAcquisition": "25"},
    **{
        "FrameOfReferenceUID": "1.2.826.0.1.3680043.10.9999.4.1",
        "PositionReferenceIndicator": "",
        "SliceLocation": "0",
    },
    **{"SmallestImagePixelValue": 0, "LargestImagePixelValue": 4095, "WindowCenter": "600", "WindowWidth": "1200"},
    **{"RescaleSlope": "1", "RescaleIntercept": "0", "RescaleType": "US"},
}
"""Other elements that scanners write; none of the values belongs to a person."""
