"""A slice -> 100 features: DCT coefficients and wavelet statistics of its region of interest."""

import difflib
from functools import lru_cache

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


def slice_vector(image: np.ndarray, *, wavelet: str) -> np.ndarray:
    """The features of a slice.

    The slice is brought to [0, 1] (minimum to maximum) and 256 x 256; outside of its region of interest it is set to 0;
    a one-level 2-D DWT gives LL, LH, HL, HH; the vector is the first 88 coefficients, in zigzag order, of the
    orthonormal 2-D DCT-II of LL, then mean, standard deviation, energy and entropy of LH, of HL and of HH.

    Args:
        image: (H, W) in any unit.
        wavelet: a discrete wavelet of PyWavelets.

    Returns:
        (100,) float32; zeros for a flat slice.
    """
    scaled = intensity.resize(intensity.scale(image, method="minmax"), SIDE)
    low, *details = subbands(np.where(roi.brightest_region(scaled), scaled, 0.0), wavelet)
    statistics = [subband_statistics(band) for band in details]
    return np.concatenate([dct_coefficients(low, NUM_COEFFICIENTS), *statistics]).astype(np.float32)


def subbands(image: np.ndarray, wavelet: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One level of the 2-D discrete wavelet transform, with symmetric extension at the edges.

    Args:
        image: (H, W).
        wavelet: a discrete wavelet of PyWavelets.

    Returns:
        (LL, LH, HL, HH): low-pass in both directions; low-pass along the rows and high-pass down the columns, which
        shows horizontal edges (PyWavelets' cH); the reverse, vertical edges (cV); high-pass in both (cD).

    Source: Mallat 1989, IEEE TPAMI 11:674-693.
    """
    low, (horizontal, vertical, diagonal) = pywt.dwt2(image, wavelet, mode="symmetric")
    return low, horizontal, vertical, diagonal


def subband_statistics(band: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, energy and entropy of a sub-band.

    Energy is the mean square. Entropy is Shannon's, in bits, of the histogram of the coefficients in 64 equal bins
    between their minimum and maximum; it is 0 where all are equal.

    Args:
        band: (H, W).

    Returns:
        (4,) float64.

    Source: Shannon 1948, Bell System Technical Journal 27:379-423; Haralick et al. 1973, IEEE SMC 3:610-621, for such
    statistics as texture features.
    """
    counts, _ = np.histogram(band, bins=_ENTROPY_BINS) if np.ptp(band) > 0 else (np.array([band.size]), None)
    shares = counts[counts > 0] / band.size
    entropy = -np.sum(shares * np.log2(shares))
    return np.array([band.mean(), band.std(), np.mean(np.square(band)), abs(entropy)])


def dct_coefficients(image: np.ndarray, count: int) -> np.ndarray:
    """The first coefficients of the orthonormal 2-D DCT-II, in zigzag order.

    Only the low frequencies that hold them are computed, as two products with thin matrices.

    Args:
        image: (N, N).
        count: how many.

    Returns:
        (count,) float64, equal to `scipy.fft.dctn(image, norm="ortho")` at those places.

    Source: Ahmed, Natarajan & Rao 1974, IEEE Trans. Computers C-23:90-93.
    """
    places = zigzag(len(image), count)
    kept = int(places.max()) + 1
    rows, columns = _dct_rows(image.shape[0], kept), _dct_rows(image.shape[1], kept)
    return (rows @ image @ columns.T)[places[:, 0], places[:, 1]]


@lru_cache(maxsize=8)
def _dct_rows(length: int, kept: int) -> np.ndarray:
    return scipy.fft.dct(np.eye(length), axis=0, norm="ortho")[:kept]


@lru_cache(maxsize=8)
def zigzag(size: int, count: int) -> np.ndarray:
    """The first places of a square matrix in JPEG's zigzag order, from low to high frequencies.

    Args:
        size: of the matrix.
        count: how many places, at most size x size.

    Returns:
        (count, 2) int64: row and column; begins (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2).

    Source: ITU-T Recommendation T.81 (1992), figure 5, for any size.
    """
    row, column = np.indices((size, size)).reshape(2, -1)
    diagonal = row + column
    along = np.where(diagonal % 2 == 0, column, row)  # even diagonals run upwards, odd ones downwards
    order = np.lexsort((along, diagonal))[:count]
    return np.stack([row[order], column[order]], axis=1)
