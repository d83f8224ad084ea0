"""A slice -> 100 features: DCT coefficients and wavelet statistics of its region of interest."""

import difflib
import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pywt
import scipy.fft

from tumorprog.errors import SettingsError
from tumorprog.imaging import intensity, roi
from tumorprog.tables import VECTOR_LENGTH

SIDE = 256
"""Side of the slice that the features are computed from, in pixels."""

NUM_COEFFICIENTS = VECTOR_LENGTH - 12
"""DCT coefficients that are kept: what the four statistics of three sub-bands leave of a vector, 88."""

_ENTROPY_BINS = 64
_STEPS = np.arange(_ENTROPY_BINS + 1)


def check_wavelet(name: str) -> None:
    """Refuses what is no discrete wavelet.

    Raises:
        SettingsError: offers the nearest names.
    """
    known = pywt.wavelist(kind="discrete")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "such as haar, db2, sym4, bior2.2"
        raise SettingsError(f"features.wavelet is {name!r}; it must be a discrete wavelet of PyWavelets, {hint}")


class Parts(NamedTuple):
    """What a slice's vector is made of, step by step.

    Attributes:
        scaled: (256, 256) float32 in [0, 1].
        region: (256, 256) bool, the region of interest.
        bands: (4, H, W) float64: LL, LH, HL, HH of the slice that is 0 outside of the region.
        vector: (100,) float32.
    """

    scaled: np.ndarray
    region: np.ndarray
    bands: np.ndarray
    vector: np.ndarray


def slice_vector(image: np.ndarray, *, wavelet: str, method: roi.Method) -> np.ndarray:
    """The features of a slice: the last of its `parts`."""
    return parts(image, wavelet=wavelet, method=method).vector


def parts(image: np.ndarray, *, wavelet: str, method: roi.Method) -> Parts:
    """The features of a slice, and the steps to them.

    The slice is brought to [0, 1] (minimum to maximum) and 256 x 256; outside of its region of interest it is set to 0;
    a one-level 2-D DWT gives LL, LH, HL, HH; the vector is the first 88 coefficients, in zigzag order, of the
    orthonormal 2-D DCT-II of LL, then mean, standard deviation, energy and entropy of LH, of HL and of HH.

    Args:
        image: (H, W) in any unit.
        wavelet: a discrete wavelet of PyWavelets.
        method: of the region, a key of `roi.REGIONS`.

    Returns:
        All steps; zeros for a flat slice.
    """
    scaled = prepared(image)
    region = roi.REGIONS[method](scaled)
    bands = subbands(np.multiply(scaled, region, dtype=np.float64), wavelet)
    told = dct_coefficients(bands[0], NUM_COEFFICIENTS), subband_statistics(bands[1:]).ravel()
    return Parts(scaled, region, bands, np.concatenate(told).astype(np.float32))


def prepared(image: np.ndarray) -> np.ndarray:
    """A slice, (H, W) in any unit, as its features are computed from it: (256, 256) float32 in [0, 1]."""
    return intensity.resize(intensity.scale(image, method="minmax"), SIDE)


def subbands(images: np.ndarray, wavelet: str) -> np.ndarray:
    """One level of the 2-D discrete wavelet transform, with symmetric extension at the edges.

    Args:
        images: (..., H, W).
        wavelet: a discrete wavelet of PyWavelets.

    Returns:
        (4, ..., H', W'), equal to `pywt.dwt2(images, wavelet, mode="symmetric")`: LL, low-pass in both directions; LH,
        low-pass along the rows and high-pass down the columns, which shows horizontal edges (PyWavelets' cH); HL, the
        reverse, vertical edges (cV); HH, high-pass in both (cD).

    Source: Mallat 1989, IEEE TPAMI 11:674-693.
    """
    if wavelet == "haar":  # sums and differences of four pixels: a tenth of PyWavelets' time
        return _haar(images)
    low, details = pywt.dwt2(images, wavelet, mode="symmetric")
    return np.stack([low, *details])


def _haar(images: np.ndarray) -> np.ndarray:
    height, width = images.shape[-2:]
    if height % 2 or width % 2:  # the last row or column is extended by itself
        beside = [(0, 0)] * (images.ndim - 2)
        images = np.pad(images, [*beside, (0, height % 2), (0, width % 2)], mode="edge")
    above, below = images[..., 0::2, :], images[..., 1::2, :]
    sums, differences = above + below, above - below
    bands = np.empty((4, *sums.shape[:-1], sums.shape[-1] // 2), sums.dtype)
    for number, (rows, combine) in enumerate(itertools.product((sums, differences), (np.add, np.subtract))):
        # in the order LL, HL, LH, HH
        combine(rows[..., 0::2], rows[..., 1::2], out=bands[(0, 2, 1, 3)[number]])
    bands *= 0.5
    return bands


def subband_statistics(bands: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, energy and entropy of sub-bands.

    Energy is the mean square. Entropy is Shannon's, in bits, of the histogram of the coefficients in 64 equal bins
    between their minimum and maximum; it is 0 where all are equal.

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
    told = np.stack([mean, np.sqrt(variance), variance + mean**2, entropy], axis=-1)
    return told.reshape(*bands.shape[:-2], 4)


def _entropy(band: np.ndarray) -> float:
    low, high = band.min(), band.max()
    if low == high:
        return 0.0
    # outside of the region of interest all coefficients are 0: they are counted at once
    others = np.append(band[band != 0], 0.0)
    edges = low + _STEPS * ((high - low) / _ENTROPY_BINS)
    edges[-1] = high
    bins = ((others - low) / (high - low) * _ENTROPY_BINS).astype(np.int64)
    np.clip(bins, 0, _ENTROPY_BINS - 1, out=bins)
    bins -= others < edges[bins]  # rounding; as `np.histogram` does it
    bins += (others >= edges[bins + 1]) & (bins < _ENTROPY_BINS - 1)
    counts = np.bincount(bins[:-1], minlength=_ENTROPY_BINS)
    counts[bins[-1]] += len(band) - len(others) + 1
    shares = counts[counts > 0] / len(band)
    return float(abs(np.sum(shares * np.log2(shares))))


def dct_coefficients(images: np.ndarray, count: int) -> np.ndarray:
    """The first coefficients of the orthonormal 2-D DCT-II, in zigzag order.

    Only the low frequencies that hold them are computed, as two products with thin matrices.

    Args:
        images: (..., H, W).
        count: how many, at most H x W.

    Returns:
        (..., count) float64, equal to `scipy.fft.dctn(image, norm="ortho")` at those places.

    Source: Ahmed, Natarajan & Rao 1974, IEEE Trans. Computers C-23:90-93.
    """
    height, width = images.shape[-2:]
    places = zigzag(height, width, count)
    rows, columns = (
        _dct_rows(side, int(most) + 1) for side, most in zip((height, width), places.max(axis=0), strict=True)
    )
    return (rows @ images @ columns.T)[..., places[:, 0], places[:, 1]]


@lru_cache(maxsize=8)
def _dct_rows(length: int, kept: int) -> np.ndarray:
    return scipy.fft.dct(np.eye(length), axis=0, norm="ortho")[:kept]


@lru_cache(maxsize=8)
def zigzag(height: int, width: int, count: int) -> np.ndarray:
    """The first places of a matrix in JPEG's zigzag order, from low to high frequencies.

    Args:
        height: rows of the matrix.
        width: columns of the matrix.
        count: how many places, at most height x width.

    Returns:
        (count, 2) int64: row and column; begins (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2).

    Source: ITU-T Recommendation T.81 (1992), figure 5, for any size.
    """
    row, column = np.indices((height, width)).reshape(2, -1)
    diagonal = row + column
    along = np.where(diagonal % 2 == 0, column, row)  # even diagonals run upwards, odd ones downwards
    order = np.lexsort((along, diagonal))[:count]
    return np.stack([row[order], column[order]], axis=1)
