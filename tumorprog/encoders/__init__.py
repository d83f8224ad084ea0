"""Encoders turn a slice into a feature vector; `spectral` is the one encoder.

The contract of an encoder is two functions: `options(features)` validates the settings and returns what the vectors
depend on besides slice and region; `encode(scaled, region, **options)` returns the vector, (VECTOR_LENGTH,) float32, of
a slice, (256, 256) float32 from `imaging.intensity.prepare`, within its region of interest, (256, 256) bool. The
options, with those of the regions, are recorded with the vectors and with every model that is trained on them.
"""
