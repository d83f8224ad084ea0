"""The columns that a format fills for every frame, and the reasons for which a file is not used."""

import pyarrow as pa

from tumorprog.tables import INT, LONG, REAL, TEXT

Rejected = list[dict[str, str]]
"""Rows of `QUARANTINE`: the files that could not be used, each with its reason."""

REASONS = {
    "unreadable": "the file could not be opened or read",
    "empty": "the file has no bytes",
    "not_dicom": "the file is not DICOM",
    "index_file": "a DICOMDIR or another index, which contains no image",
    "damaged_header": "the header is truncated or cannot be parsed",
    "not_mr": "another modality or kind of object than an MR image or a mask",
    "no_pixels": "a DICOM object without pixel data",
    "colour": "more than one sample per pixel, or a palette",
    "bad_geometry": "impossible numbers of rows, columns or bits",
    "truncated_pixels": "less pixel data than the header specifies",
    "undecodable": "the pixel data could not be decoded",
    "no_identity": "neither the header nor the path identifies the patient and the series",
    "duplicate": "the same SOP instance, with the same pixels, is read from another file",
    "conflict": "the same SOP instance, with different pixels, is read from another file",
}
"""The reasons in `quarantine.csv`, and what each means."""

CATALOGUE = pa.schema(
    {
        "path": TEXT,  # absolute; bytes of a name that are not UTF-8 are written as \\xNN
        "frame": INT,  # 0-based; 0 for single-frame files
        "cohort": TEXT,  # "grading" or "progression": the archive that the file is from
        "PatientID": TEXT,  # the first spelling of the id in the catalogue
        "PatientID_stated": TEXT,  # as in the header, or in the path if the header lacks it
        "PatientSex": TEXT,  # "F", "M", "O" (other) or "" if unknown
        "PatientAge": REAL,  # years, on the date of the study; NaN if unknown
        "StudyDate": TEXT,  # ISO 8601, "" if unknown; another date of the header if StudyDate is lost, see warnings
        "StudyInstanceUID": TEXT,
        "SeriesInstanceUID": TEXT,
        "SOPInstanceUID": TEXT,
        "SOPClassUID": TEXT,
        "TransferSyntaxUID": TEXT,
        "SeriesDescription": TEXT,
        "Type": TEXT,  # SeriesDescription, or `sequence` where that is empty
        "sequence": TEXT,  # canonical name, see sequences.decision
        "sequence_source": TEXT,  # the DICOM keyword that it is derived from
        "sequence_witnesses": TEXT,  # which of texts, physics, agent agree with it, separated by commas
        "sequence_contradiction": TEXT,  # how they contradict each other; "" if they do not
        "plane": TEXT,  # axial, coronal, sagittal, oblique or "" without an orientation
        "orientation": TEXT,  # six direction cosines, joined by commas; "" if unknown
        "ImagePositionPatient": TEXT,  # mm, of the centre of the first pixel, joined by commas; "" if unknown
        "FrameOfReferenceUID": TEXT,  # "" if missing
        "Manufacturer": TEXT,
        "ManufacturerModelName": TEXT,
        "MagneticFieldStrength": REAL,  # T; NaN if unknown
        "Rows": INT,
        "Columns": INT,
        "row_spacing_mm": REAL,
        "column_spacing_mm": REAL,
        "SliceThickness": REAL,  # mm
        "InstanceNumber": INT,  # -1 if missing
        "EchoNumbers": INT,  # -1 if missing
        "RepetitionTime": REAL,  # ms; NaN if missing or not positive
        "EchoTime": REAL,  # ms; NaN if missing
        "component": TEXT,  # magnitude, phase, real or imaginary; "" if not stated
        "position_mm": REAL,  # along the slice normal; NaN if unknown
        "series_joined": INT,  # number of single-slice series that were joined under the UID of the first; 0: none
        "stack": INT,  # within the series: one volume, see catalogue.stacking
        "order": INT,  # within the series: by stack, then position, then InstanceNumber
        "slice_spacing_mm": REAL,  # median distance between the positions of the stack; NaN for fewer than two
        "missing_before": INT,  # number of slices that seem to be missing before this one in the stack
        "repeats": INT,  # number of earlier slices in the stack at the same position
        "PhotometricInterpretation": TEXT,
        "RescaleSlope": REAL,
        "RescaleIntercept": REAL,
        "pixel_offset": LONG,  # byte of the file at which the frame's stored values begin; -1: requires parsing DICOM
        "pixel_bytes": LONG,  # number of bytes; -1 likewise
        "pixel_dtype": TEXT,  # of the stored values: "<u2"; "<u2:12" if 12 bits are used, "<u2:12:15" if up to bit 15
        "padding_low": REAL,  # stored values from this one to padding_high are padding; NaN if there is no padding
        "padding_high": REAL,
        "file_bytes": LONG,  # size of the file
        "warnings": TEXT,  # oddities of the file, mostly as reported by pydicom, without the values that it quotes
    }
)

_FILLED_LATER = (
    *("cohort", "file_bytes"),  # by the listing of the archive
    *("series_joined", "stack", "order", "slice_spacing_mm", "missing_before", "repeats"),  # from its other files
)
ROW = pa.schema(
    [
        *(field for field in CATALOGUE if field.name not in _FILLED_LATER),
        pa.field("SeriesNumber", INT),  # -1 if missing
        *(pa.field(name, REAL) for name in ("temporal_position", "b_value", "acquired_s", "trigger_ms")),  # or NaN
        pa.field("AcquisitionNumber", INT),  # -1 if missing
        pa.field("ImageType", TEXT),
    ]
)
"""What a format states of each frame. A missing text is "", a missing integer -1, a missing number NaN."""

QUARANTINE = ("path", "reason", "detail")

OTHER_DATE = "folder named by another date than StudyDate"
"""Warning in a row whose header and path state different dates; the header's date is used."""

NO_STUDY_DATE = "no usable StudyDate"
DATES_APART = "more than a day from"
"""Warnings in a row for which another date of the header is used, or whose dates disagree."""
