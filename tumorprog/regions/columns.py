"""The columns of the overlaps between regions of interest and masks."""

OVERLAPS = ("PatientID", "SeriesInstanceUID", "sequence", "method", "both", "region", "mask")
"""A row per series and method: numbers of pixels in both, in the region, in the mask."""
