"""Arrays in, arrays out: intensities, regions of interest, spectra."""
