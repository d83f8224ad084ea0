import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.errors import SettingsError
from tumorprog.imaging import intensity, roi, spectral

JPEG_8 = (
    "00 01 10 20 11 02 03 12 21 30 40 31 22 13 04 05 14 23 32 41 50 60 51 42 33 24 15 06 07 16 25 34 43 52 61 70 71 62 "
    "53 44 35 26 17 27 36 45 54 63 72 73 64 55 46 37 47 56 65 74 75 66 57 67 76 77"
)


def noise(shape=(128, 128), seed=0):
    return np.random.default_rng(seed).random(shape)


def test_zigzag_is_the_order_of_jpegs_standard():
    assert [f"{row}{column}" for row, column in spectral.zigzag(8, 64)] == JPEG_8.split()


@given(size=st.integers(1, 40), share=st.floats(0, 1))
def test_zigzag_goes_from_low_to_high_frequencies_and_to_no_place_twice(size, share):
    count = max(1, round(share * size * size))
    places = spectral.zigzag(size, count)
    assert len({tuple(place) for place in places}) == count
    assert (np.diff(places.sum(axis=1)) >= 0).all()
    assert np.abs(np.diff(places, axis=0)).max(initial=0) <= 1


@pytest.mark.parametrize("size", [16, 128, 131])
def test_dct_coefficients_are_scipys(size):
    image = noise((size, size))
    places = spectral.zigzag(size, 88)
    expected = scipy.fft.dctn(image, norm="ortho")[places[:, 0], places[:, 1]]
    np.testing.assert_allclose(spectral.dct_coefficients(image, 88), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4", "bior2.2"])
def test_the_sub_bands_give_the_image_back(wavelet):
    low, horizontal, vertical, diagonal = spectral.subbands(noise(), wavelet)
    np.testing.assert_allclose(pywt.idwt2((low, (horizontal, vertical, diagonal)), wavelet), noise(), atol=1e-9)


def test_a_horizontal_edge_stands_in_lh_and_a_vertical_one_in_hl():
    rows = np.zeros((8, 8))
    rows[1::2] = 1
    _, lh, hl, hh = spectral.subbands(rows, "haar")
    assert np.abs(lh).min() > 0
    assert not hl.any()
    assert not hh.any()
    _, lh, hl, _ = spectral.subbands(rows.T, "haar")
    assert np.abs(hl).min() > 0
    assert not lh.any()


def test_statistics_are_those_of_their_formulas():
    band = noise((30, 50), seed=3) - 0.5
    mean, std, energy, entropy = spectral.subband_statistics(band)
    assert mean == pytest.approx(np.sum(band) / band.size)
    assert std == pytest.approx(np.sqrt(np.sum((band - band.mean()) ** 2) / band.size))
    assert energy == pytest.approx(std**2 + mean**2)
    assert entropy == pytest.approx(scipy.stats.entropy(np.histogram(band, bins=64)[0], base=2))


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_flat_band_has_no_entropy(value):
    np.testing.assert_allclose(spectral.subband_statistics(np.full((8, 8), value)), [value, 0, value**2, 0])


@pytest.mark.parametrize("wavelet", ["haar", "db4"])
def test_a_vector_is_what_the_libraries_make_of_the_slice(wavelet):
    image = noise((320, 260)) * 900
    scaled = intensity.resize(intensity.scale(image, method="minmax"), 256)
    masked = np.where(roi.brightest_region(scaled), scaled, 0)
    low, details = pywt.dwt2(masked, wavelet)
    places = spectral.zigzag(len(low), 88)
    expected = [*scipy.fft.dctn(low, norm="ortho")[places[:, 0], places[:, 1]]]
    for band in details:
        shares = np.histogram(band, bins=64)[0] / band.size
        expected += [band.mean(), band.std(), np.mean(band**2), scipy.stats.entropy(shares, base=2)]
    vector = spectral.slice_vector(image, wavelet=wavelet)
    assert vector.shape == (100,)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-5)


def test_a_flat_slice_has_a_vector_of_zeros():
    assert not spectral.slice_vector(np.full((50, 50), 7.0, np.float32), wavelet="haar").any()


def test_a_wrong_wavelet_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"features\.wavelet is 'dbb2'.*db2"):
        spectral.check_wavelet("dbb2")
    with pytest.raises(SettingsError, match="discrete"):
        spectral.check_wavelet("morl")
