"""Brain-tumour grading and months to progression, from DICOM archives of MRI, on Ray."""

__version__ = "0.1.0"
