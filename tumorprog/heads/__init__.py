"""Heads predict progression from the feature vectors of a series; `bilstm` is the one head, `fitting` trains it.

The contract of a head is a module that takes padded series of vectors and their lengths, holds the scales of its inputs
and outputs, and is saved and loaded with its description; it has one output for months, or one for each interval of
time for the hazard (`hazard`).
"""
