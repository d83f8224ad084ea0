"""A planned series in, its DICOM files out, named and headed as the collection's scanners and downloads did."""

from pathlib import Path

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_dataset, write_file_meta_info
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from tumorprog.synthetic import phantom, plan

_IMPLEMENTATION = generate_uid(entropy_srcs=["tumorprog"])
_OWN = (
    "SOPInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceLocation",
    "PixelData",
)
"""What differs between the slices of a series, in the order of the tags."""

_TOP = 4095
_DERIVED = {"dT1", "ADC", "nCBF", "nRCBV", "sRCBV", "mask"}

# ScanningSequence, RepetitionTime, EchoTime, InversionTime (ms; 0 for none), FlipAngle (degrees), Siemens' SequenceName
_PHYSICS: dict[str, tuple[str | list[str], float, float, float, float, str]] = {
    "T1pre": ("SE", 500, 14, 0, 90, "*se2d1"),
    "T1post": ("SE", 520, 14, 0, 90, "*se2d1"),
    "T2": ("SE", 3800, 98, 0, 180, "*tse2d1_15"),
    "FLAIR": (["SE", "IR"], 9000, 115, 2300, 180, "*tir2d1_21"),
    "ADC": ("EP", 8000, 82, 0, 90, "*ep_b0_1000"),
    "localizer": ("GR", 15, 6, 0, 40, "*fl2d1"),
}
_PERFUSION_PHYSICS: tuple[str | list[str], float, float, float, float, str] = ("EP", 1900, 54, 0, 90, "*epfid2d1_128")


class SeriesWriter:
    """Writes the slices of one series, one after the other: they share a header and a stream of noise."""

    def __init__(
        self, folder: Path, patient: plan.Patient, *, place: int, stack_place: int, series: plan.Series
    ) -> None:
        self.patient, self.series = patient, series
        self.study = patient.studies[place]
        self.count = len(self.study.stacks[stack_place].planes)
        self.header = _header(patient, place=place, stack=self.study.stacks[stack_place], series=series)
        self.shared = _encode_shared(self.header)
        self.folder = folder / series_folder(patient, place, series)
        self.folder.mkdir(parents=True)
        self.rng = np.random.default_rng([*patient.key, place, series.number])
        self.receiver = phantom.random_receiver(self.rng)

    def write(self, index: int, plane: phantom.Plane, painted: phantom.Layers) -> None:
        """Writes the slice with that place in the stack, from 0."""
        header, own = self.header, Dataset()
        own.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = _uid(header.SeriesInstanceUID, index)
        own.InstanceNumber = index + 1
        across, down = (step / np.linalg.norm(step) for step in (plane.column_mm, plane.row_mm))
        own.ImageOrientationPatient = [*across.tolist(), *down.tolist()]
        own.ImagePositionPatient = plane.origin_mm.tolist()
        own.SliceLocation = round(float(np.cross(across, down) @ plane.origin_mm), 4)
        own.add_new("PixelData", "OW", self._stored(plane, painted).tobytes())
        file = _open_buffer(header)
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, header.file_meta)
        for element, before in zip(own, self.shared, strict=True):
            file.write(before)
            write_data_element(file, element)
        (self.folder / self._name(index)).write_bytes(file.getvalue())

    def _stored(self, plane: phantom.Plane, painted: phantom.Layers) -> np.ndarray:
        if self.series.sequence == "mask":
            return phantom.enhancing_mask(self.study.tumour, plane).astype("<u2")
        # a localizer looks like T1: the phantom knows no contrast of its own for it
        sequence = "T1pre" if self.series.sequence == "localizer" else self.series.sequence
        signal = phantom.image(self.patient.head, self.study.tumour, sequence=sequence, painted=painted, plane=plane)
        seen = phantom.received(signal, self.receiver, self.rng, sequence=sequence, plane=plane)
        low, high, dtype = (-32768, 32767, "<i2") if self.header.PixelRepresentation else (0, _TOP, "<u2")
        stored = np.clip(np.rint((seen - self.series.intercept) / self.series.slope), low, high)
        return (_TOP - stored if self.patient.inverted else stored).astype(dtype)

    def _name(self, index: int) -> str:
        if self.patient.old_names:
            return f"{index:06d}.dcm"
        return f"1-{index + 1:0{max(2, len(str(self.count)))}d}.dcm"


def _open_buffer(header: Dataset) -> DicomBytesIO:
    file = DicomBytesIO()
    file.is_little_endian = True
    file.is_implicit_VR = header.file_meta.TransferSyntaxUID.is_implicit_VR
    return file


def _encode_shared(header: Dataset) -> list[bytes]:
    """What goes before each of a slice's own elements: encoded once a series, it halves the time of a file."""
    shared, start = [], 0
    for keyword in _OWN:
        tag, buffer = tag_for_keyword(keyword), _open_buffer(header)
        write_dataset(buffer, header[start:tag])
        shared.append(buffer.getvalue())
        start = tag
    return shared


def _uid(*parts: object) -> str:
    return generate_uid(entropy_srcs=["tumorprog synthetic", *map(str, parts)])


def study_uid(patient: plan.Patient, place: int) -> str:
    """StudyInstanceUID of the patient's study at that place."""
    return _uid(*patient.key, patient.series_slices, patient.size, "study", place)


def series_uid(patient: plan.Patient, place: int, series: plan.Series) -> str:
    """SeriesInstanceUID of a series of the patient's study at that place."""
    return _uid(study_uid(patient, place), "series", series.number)


def series_folder(patient: plan.Patient, place: int, series: plan.Series) -> str:
    """Study and series folders in TCIA's Descriptive layout, old or new."""
    study, study_end, series_end = patient.studies[place], study_uid(patient, place), series_uid(patient, place, series)
    study_id = "" if patient.old_names else f"{study.study_id or 'NA'}-"
    number = f"{series.number}" if patient.old_names else f"{series.number}.000000"
    first = f"{study.day:%m-%d-%Y}-{study_id}{study.description}-{study_end[-5:]}"
    return f"{first}/{number}-{series.description}-{series_end[-5:]}"


def _header(patient: plan.Patient, *, place: int, stack: plan.Stack, series: plan.Series) -> Dataset:
    """What the slices of a series share."""
    study, mask = patient.studies[place], series.sequence == "mask"
    header = Dataset()
    header.file_meta = FileMetaDataset()
    implicit = patient.key[-1] % 5 == 3
    header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    header.file_meta.ImplementationClassUID = _IMPLEMENTATION
    header.file_meta.ImplementationVersionName = "TUMORPROG"
    header.SOPClassUID = SecondaryCaptureImageStorage if mask else MRImageStorage
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.Modality = "MR"
    header.ImageType = _image_type(series.sequence)
    _add_identity(header, patient, place=place)
    header.SeriesInstanceUID = series_uid(patient, place, series)
    header.SeriesDescription = series.description
    header.SeriesNumber = series.number
    header.Manufacturer = study.scanner.manufacturer
    header.ManufacturerModelName = study.scanner.model
    header.SliceThickness = header.SpacingBetweenSlices = round(stack.spacing_mm, 4)
    if mask:
        header.ConversionType = "WSD"
    else:
        _add_physics(header, series.sequence, siemens=study.scanner.siemens)
    _add_pixels(header, patient, stack=stack, series=series)
    return header


def _image_type(sequence: str) -> list[str]:
    if sequence == "localizer":
        return ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return ["DERIVED", "SECONDARY"] if sequence in _DERIVED else ["ORIGINAL", "PRIMARY"]


def _add_identity(header: Dataset, patient: plan.Patient, *, place: int) -> None:
    study = patient.studies[place]
    header.PatientID = patient.patient_id
    header.PatientName = f"Phantom^{patient.patient_id}"  # unlike the id, so that tests can look for it in outputs
    header.PatientBirthDate = ""
    header.PatientSex = patient.sex
    header.PatientAge = f"{patient.age:03d}Y"
    header.StudyInstanceUID = study_uid(patient, place)
    header.FrameOfReferenceUID = _uid(header.StudyInstanceUID, "frame of reference")
    header.PositionReferenceIndicator = ""
    header.StudyID = study.study_id
    header.StudyDescription = study.description
    header.StudyDate = header.SeriesDate = header.ContentDate = study.day.strftime("%Y%m%d")
    header.StudyTime = header.SeriesTime = header.ContentTime = "120000"
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""


def _add_physics(header: Dataset, sequence: str, *, siemens: bool) -> None:
    contrast = sequence in {"T1post", "dT1"}
    physics = _PHYSICS.get("T1post" if contrast else sequence, _PERFUSION_PHYSICS)
    header.ScanningSequence, repetition, echo, inversion, flip, name = physics
    header.SequenceVariant = "SK"
    header.ScanOptions = ""
    header.MRAcquisitionType = "2D"
    header.RepetitionTime, header.EchoTime, header.FlipAngle = repetition, echo, flip
    if inversion:
        header.InversionTime = inversion
    header.EchoNumbers = 1
    header.EchoTrainLength = 15 if sequence in {"T2", "FLAIR"} else 1
    header.MagneticFieldStrength = 1.5
    if siemens:
        header.SequenceName = name
    if contrast:
        header.ContrastBolusAgent = "MAGNEVIST"


def _add_pixels(header: Dataset, patient: plan.Patient, *, stack: plan.Stack, series: plan.Series) -> None:
    plane, mask = stack.planes[0], series.sequence == "mask"
    # a difference is negative at places: it is signed on every scanner
    signed = not mask and (header.Manufacturer == plan.GE.manufacturer or series.sequence == "dT1")
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME1" if patient.inverted else "MONOCHROME2"
    header.Rows, header.Columns = plane.rows, plane.columns
    spacing = (float(np.linalg.norm(step)) for step in (plane.row_mm, plane.column_mm))
    header.PixelSpacing = [round(step, 6) for step in spacing]
    header.BitsAllocated = 16
    header.BitsStored = 16 if signed else 12
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(signed)
    if not mask:
        header.RescaleSlope, header.RescaleIntercept, header.RescaleType = series.slope, series.intercept, "US"
