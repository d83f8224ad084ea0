"""A DICOM file to catalogue rows and pixel arrays."""
