"""Image processing on arrays: intensities, regions of interest, spectral features and volumes."""
