"""Settings of the feature vectors."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Features:
    """The feature vector of a slice."""

    wavelet: str = "haar"
    """Any discrete wavelet of PyWavelets."""
