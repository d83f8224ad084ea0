"""Writing of the DICOM files of a planned series, with names and headers as in the real collections."""

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

from tumorprog.synthetic import fields, phantom, plan, tumours

_IMPLEMENTATION = generate_uid(entropy_srcs=["tumorprog"])
_PER_SLICE = (
    "SOPInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceLocation",
    "PixelData",
)
"""Elements that differ between the slices of a series, in tag order."""

_MAX_STORED = 4095
_DERIVED = {"dT1", "ADC", "nCBF", "nRCBV", "sRCBV", "mask"}

# ScanningSequence, RepetitionTime, EchoTime, InversionTime (ms; 0 for none), FlipAngle (degrees), Siemens' SequenceName
_ACQUISITION: dict[str, tuple[str | list[str], float, float, float, float, str]] = {
    "T1pre": ("SE", 500, 14, 0, 90, "*se2d1"),
    "T1post": ("SE", 520, 14, 0, 90, "*se2d1"),
    "T2": ("SE", 3800, 98, 0, 180, "*tse2d1_15"),
    "FLAIR": (["SE", "IR"], 9000, 115, 2300, 180, "*tir2d1_21"),
    "ADC": ("EP", 8000, 82, 0, 90, "*ep_b0_1000"),
    "localizer": ("GR", 15, 6, 0, 40, "*fl2d1"),
}
_PERFUSION: tuple[str | list[str], float, float, float, float, str] = ("EP", 1900, 54, 0, 90, "*epfid2d1_128")


class SeriesWriter:
    """Writer of the slices of one series, which share a header and a random generator for noise."""

    def __init__(
        self, folder: Path, patient: plan.Patient, *, study_index: int, stack_index: int, series: plan.Series
    ) -> None:
        self.patient, self.series = patient, series
        self.study = patient.studies[study_index]
        self.count = len(self.study.stacks[stack_index].planes)
        self.header = _header(patient, study_index=study_index, stack=self.study.stacks[stack_index], series=series)
        self.shared = _encode_shared(self.header)
        self.folder = folder / series_folder(patient, study_index, series)
        self.folder.mkdir(parents=True)
        self.rng = np.random.default_rng([*patient.key, study_index, series.number])
        self.receiver = phantom.random_receiver(self.rng)

    def write(self, index: int, plane: fields.Plane, painted: phantom.Layers) -> None:
        """Write the slice with this index in the stack, counted from 0."""
        header, per_slice = self.header, Dataset()
        per_slice.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = _uid(header.SeriesInstanceUID, index)
        per_slice.InstanceNumber = index + 1
        across, down = (step / np.linalg.norm(step) for step in (plane.column_mm, plane.row_mm))
        per_slice.ImageOrientationPatient = [*across.tolist(), *down.tolist()]
        per_slice.ImagePositionPatient = plane.origin_mm.tolist()
        per_slice.SliceLocation = round(float(np.cross(across, down) @ plane.origin_mm), 4)
        per_slice.add_new("PixelData", "OW", self._stored(plane, painted).tobytes())
        file = _open_buffer(header)
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, header.file_meta)
        for element, preceding in zip(per_slice, self.shared, strict=True):
            file.write(preceding)
            write_data_element(file, element)
        (self.folder / self._name(index)).write_bytes(file.getvalue())

    def _stored(self, plane: fields.Plane, painted: phantom.Layers) -> np.ndarray:
        if self.series.sequence == "mask":
            return tumours.enhancing_mask(self.study.tumour, plane).astype("<u2")
        # a localizer is drawn as T1: the phantom defines no contrast for it
        sequence = "T1pre" if self.series.sequence == "localizer" else self.series.sequence
        signal = phantom.image(self.patient.head, self.study.tumour, sequence=sequence, painted=painted, plane=plane)
        intensities = phantom.received(signal, self.receiver, self.rng, sequence=sequence, plane=plane)
        low, high, dtype = (-32768, 32767, "<i2") if self.header.PixelRepresentation else (0, _MAX_STORED, "<u2")
        stored = np.clip(np.rint((intensities - self.series.intercept) / self.series.slope), low, high)
        return (_MAX_STORED - stored if self.patient.inverted else stored).astype(dtype)

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
    """Encode the shared elements before each per-slice element; once per series, this halves the time per file."""
    shared, start = [], 0
    for keyword in _PER_SLICE:
        tag, buffer = tag_for_keyword(keyword), _open_buffer(header)
        write_dataset(buffer, header[start:tag])
        shared.append(buffer.getvalue())
        start = tag
    return shared


def _uid(*parts: object) -> str:
    return generate_uid(entropy_srcs=["tumorprog synthetic", *map(str, parts)])


def study_uid(patient: plan.Patient, study_index: int) -> str:
    """Return the StudyInstanceUID of a study of the patient."""
    return _uid(*patient.key, patient.series_slices, patient.size, "study", study_index)


def series_uid(patient: plan.Patient, study_index: int, series: plan.Series) -> str:
    """Return the SeriesInstanceUID of a series in a study of the patient."""
    return _uid(study_uid(patient, study_index), "series", series.number)


def series_folder(patient: plan.Patient, study_index: int, series: plan.Series) -> str:
    """Return the study and series folders in the old or new Descriptive layout of TCIA."""
    study, study_end, series_end = (
        patient.studies[study_index],
        study_uid(patient, study_index),
        series_uid(patient, study_index, series),
    )
    study_id = "" if patient.old_names else f"{study.study_id or 'NA'}-"
    number = f"{series.number}" if patient.old_names else f"{series.number}.000000"
    study_folder = f"{study.day:%m-%d-%Y}-{study_id}{study.description}-{study_end[-5:]}"
    return f"{study_folder}/{number}-{series.description}-{series_end[-5:]}"


def _header(patient: plan.Patient, *, study_index: int, stack: plan.Stack, series: plan.Series) -> Dataset:
    """Return the header elements shared by the slices of a series."""
    study, mask = patient.studies[study_index], series.sequence == "mask"
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
    _add_identity(header, patient, study_index=study_index)
    header.SeriesInstanceUID = series_uid(patient, study_index, series)
    header.SeriesDescription = series.description
    header.SeriesNumber = series.number
    header.Manufacturer = study.scanner.manufacturer
    header.ManufacturerModelName = study.scanner.model
    header.SliceThickness = header.SpacingBetweenSlices = round(stack.spacing_mm, 4)
    if mask:
        header.ConversionType = "WSD"
    else:
        _add_acquisition(header, series.sequence, siemens=study.scanner.siemens)
    _add_pixels(header, patient, stack=stack, series=series)
    return header


def _image_type(sequence: str) -> list[str]:
    if sequence == "localizer":
        return ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return ["DERIVED", "SECONDARY"] if sequence in _DERIVED else ["ORIGINAL", "PRIMARY"]


def _add_identity(header: Dataset, patient: plan.Patient, *, study_index: int) -> None:
    study = patient.studies[study_index]
    header.PatientID = patient.patient_id
    header.PatientName = (
        f"Phantom^{patient.patient_id}"  # differs from the ID, so that tests can search for it in outputs
    )
    header.PatientBirthDate = ""
    header.PatientSex = patient.sex
    header.PatientAge = f"{patient.age:03d}Y"
    header.StudyInstanceUID = study_uid(patient, study_index)
    header.FrameOfReferenceUID = _uid(header.StudyInstanceUID, "frame of reference")
    header.PositionReferenceIndicator = ""
    header.StudyID = study.study_id
    header.StudyDescription = study.description
    header.StudyDate = header.SeriesDate = header.ContentDate = study.day.strftime("%Y%m%d")
    header.StudyTime = header.SeriesTime = header.ContentTime = "120000"
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""


def _add_acquisition(header: Dataset, sequence: str, *, siemens: bool) -> None:
    enhanced = sequence in {"T1post", "dT1"}
    parameters = _ACQUISITION.get("T1post" if enhanced else sequence, _PERFUSION)
    header.ScanningSequence, repetition, echo, inversion, flip, name = parameters
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
    if enhanced:
        header.ContrastBolusAgent = "MAGNEVIST"


def _add_pixels(header: Dataset, patient: plan.Patient, *, stack: plan.Stack, series: plan.Series) -> None:
    plane, mask = stack.planes[0], series.sequence == "mask"
    # a difference image has negative values: it is signed on every scanner
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
