"""The report on the regions of interest and the features."""
