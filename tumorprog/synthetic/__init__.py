"""Phantom patients as real DICOM in the layouts of both collections, for trying everything without data."""
