"""Encoders turn a slice into a feature vector; `spectral` is the one encoder.

The contract of an encoder is two functions: `options(features, roi)` validates the settings and returns what the
vectors depend on besides the image; `encode(image, **options)` returns the vector, (VECTOR_LENGTH,) float32. The
options are recorded with the vectors and with every model that is trained on them.
"""
