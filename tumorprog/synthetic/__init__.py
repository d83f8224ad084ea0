"""Synthetic cohorts: phantom patients written as DICOM in the layouts of both collections, for tests and demos."""
