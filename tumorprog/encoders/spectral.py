"""The 100 features of a slice: DCT coefficients and wavelet statistics of its region of interest."""

import difflib
import itertools
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pywt
import scipy.fft

from tumorprog.encoders.columns import VECTOR_LENGTH
from tumorprog.encoders.settings import Features
from tumorprog.errors import SettingsError

NUM_COEFFICIENTS = VECTOR_LENGTH - 12
"""Number of DCT coefficients in a feature vector: 88, next to four statistics of each of three sub-bands."""

_ENTROPY_BINS = 64
_STEPS = np.arange(_ENTROPY_BINS + 1)


def options(features: Features) -> dict[str, Any]:
    """Return the options of `encode`: everything that a vector depends on besides the slice and its region.

    They are recorded with the vectors and with a model that is trained on them: vectors fit a model if they are equal.

    Raises:
        SettingsError: if the wavelet is not a discrete wavelet of PyWavelets; the message suggests similar names.
    """
    name = features.wavelet
    wavelets = pywt.wavelist(kind="discrete")
    if name not in wavelets:
        similar = difflib.get_close_matches(name, wavelets, n=3)
        hint = f"did you mean {' or '.join(similar)}?" if similar else "examples are haar, db2, sym4, bior2.2"
        raise SettingsError(f"features.wavelet is {name!r}; expected a discrete wavelet of PyWavelets; {hint}")
    return {"wavelet": name}


class FeatureSteps(NamedTuple):
    """The intermediate results and the feature vector of a slice.

    Attributes:
        bands: (4, H, W) float64: LL, LH, HL, HH of the slice, which is set to 0 outside the region.
        vector: (100,) float32.
    """

    bands: np.ndarray
    vector: np.ndarray


def encode(scaled: np.ndarray, region: np.ndarray, *, wavelet: str) -> np.ndarray:
    """Return the feature vector of a slice, (100,) float32; see `feature_steps`."""
    return feature_steps(scaled, region, wavelet=wavelet).vector


def feature_steps(scaled: np.ndarray, region: np.ndarray, *, wavelet: str) -> FeatureSteps:
    """Return the features of a slice with all intermediate results.

    The slice is set to 0 outside its region of interest. A one-level 2-D DWT gives LL, LH, HL, HH. The vector consists
    of the first 88 coefficients, in zigzag order, of the orthonormal 2-D DCT-II of LL, followed by mean, standard
    deviation, energy and entropy of LH, of HL and of HH.

    Args:
        scaled: (256, 256) float32 in [0, 1], from `imaging.intensity.prepare`.
        region: (256, 256) bool, the region of interest.
        wavelet: a discrete wavelet of PyWavelets.

    Returns:
        All steps; zeros for a constant slice and for an empty region.
    """
    bands = subbands(np.multiply(scaled, region, dtype=np.float64), wavelet)
    features = dct_coefficients(bands[0], NUM_COEFFICIENTS), subband_statistics(bands[1:]).ravel()
    return FeatureSteps(bands, np.concatenate(features).astype(np.float32))


def subbands(images: np.ndarray, wavelet: str) -> np.ndarray:
    """Compute one level of the 2-D discrete wavelet transform, with symmetric extension at the edges.

    Args:
        images: (..., H, W).
        wavelet: a discrete wavelet of PyWavelets.

    Returns:
        (4, ..., H', W'), equal to `pywt.dwt2(images, wavelet, mode="symmetric")`: LL, low-pass in both directions; LH,
        low-pass along the rows and high-pass down the columns, which shows horizontal edges (PyWavelets' cH); HL, the
        reverse, vertical edges (cV); HH, high-pass in both (cD).

    Source: Mallat 1989, IEEE TPAMI 11:674-693.
    """
    if wavelet == "haar":  # sums and differences of four pixels: ten times as fast as PyWavelets
        return _haar(images)
    low, details = pywt.dwt2(images, wavelet, mode="symmetric")
    return np.stack([low, *details])


def _haar(images: np.ndarray) -> np.ndarray:
    height, width = images.shape[-2:]
    if height % 2 or width % 2:  # repeat the last row or column
        leading = [(0, 0)] * (images.ndim - 2)
        images = np.pad(images, [*leading, (0, height % 2), (0, width % 2)], mode="edge")
    above, below = images[..., 0::2, :], images[..., 1::2, :]
    sums, differences = above + below, above - below
    bands = np.empty((4, *sums.shape[:-1], sums.shape[-1] // 2), sums.dtype)
    for number, (rows, combine) in enumerate(itertools.product((sums, differences), (np.add, np.subtract))):
        # in the order LL, HL, LH, HH
        combine(rows[..., 0::2], rows[..., 1::2], out=bands[(0, 2, 1, 3)[number]])
    bands *= 0.5
    return bands


def subband_statistics(bands: np.ndarray) -> np.ndarray:
    """Return mean, standard deviation, energy and entropy of sub-bands.

    Energy is the mean square. Entropy is the Shannon entropy, in bits, of a histogram of the coefficients with 64 equal
    bins between their minimum and maximum; it is 0 if all coefficients are equal.

    Args:
        bands: (..., H, W).

    Returns:
        (..., 4) float64.

    Source: Shannon 1948, Bell System Technical Journal 27:379-423; Haralick et al. 1973, IEEE SMC 3:610-621, for such
    statistics as texture features.
    """
    flat = bands.reshape(-1, bands.shape[-2] * bands.shape[-1]).astype(np.float64, copy=False)
    mean = flat.mean(axis=1)
    centred = flat - mean[:, None]
    variance = np.einsum("bn,bn->b", centred, centred) / flat.shape[1]
    entropy = [_entropy(band) for band in flat]
    statistics = np.stack([mean, np.sqrt(variance), variance + mean**2, entropy], axis=-1)
    return statistics.reshape(*bands.shape[:-2], 4)


def _entropy(band: np.ndarray) -> float:
    low, high = band.min(), band.max()
    if low == high:
        return 0.0
    # outside the region of interest all coefficients are 0: count them together, as one appended value
    values = np.append(band[band != 0], 0.0)
    edges = low + _STEPS * ((high - low) / _ENTROPY_BINS)
    edges[-1] = high
    bins = ((values - low) / (high - low) * _ENTROPY_BINS).astype(np.int64)
    np.clip(bins, 0, _ENTROPY_BINS - 1, out=bins)
    bins -= values < edges[bins]  # correct rounding errors, as `np.histogram` does
    bins += (values >= edges[bins + 1]) & (bins < _ENTROPY_BINS - 1)
    counts = np.bincount(bins[:-1], minlength=_ENTROPY_BINS)
    counts[bins[-1]] += len(band) - len(values) + 1
    shares = counts[counts > 0] / len(band)
    return float(abs(np.sum(shares * np.log2(shares))))


def dct_coefficients(images: np.ndarray, count: int) -> np.ndarray:
    """Return the first coefficients of the orthonormal 2-D DCT-II in zigzag order.

    Only the required low frequencies are computed, as two products with thin matrices.

    Args:
        images: (..., H, W).
        count: number of coefficients, at most H x W.

    Returns:
        (..., count) float64, equal to `scipy.fft.dctn(image, norm="ortho")` at these positions.

    Source: Ahmed, Natarajan & Rao 1974, IEEE Trans. Computers C-23:90-93.
    """
    height, width = images.shape[-2:]
    positions = zigzag(height, width, count)
    rows, columns = (
        _dct_rows(side, int(highest) + 1) for side, highest in zip((height, width), positions.max(axis=0), strict=True)
    )
    return (rows @ images @ columns.T)[..., positions[:, 0], positions[:, 1]]


@lru_cache(maxsize=8)
def _dct_rows(length: int, num_rows: int) -> np.ndarray:
    return scipy.fft.dct(np.eye(length), axis=0, norm="ortho")[:num_rows]


@lru_cache(maxsize=8)
def zigzag(height: int, width: int, count: int) -> np.ndarray:
    """Return the first positions of a matrix in the zigzag order of JPEG, from low to high frequencies.

    Args:
        height: number of rows of the matrix.
        width: number of columns of the matrix.
        count: number of positions, at most height x width.

    Returns:
        (count, 2) int64, row and column; starts with (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2).

    Source: ITU-T Recommendation T.81 (1992), figure 5, extended to any size.
    """
    row, column = np.indices((height, width)).reshape(2, -1)
    diagonal = row + column
    along = np.where(diagonal % 2 == 0, column, row)  # even diagonals run upwards, odd ones downwards
    order = np.lexsort((along, diagonal))[:count]
    return np.stack([row[order], column[order]], axis=1)
