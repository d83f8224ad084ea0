"""Reading of DICOM files: catalogue rows and pixel arrays."""
