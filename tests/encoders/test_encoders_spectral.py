import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tumorprog.encoders import spectral
from tumorprog.encoders.settings import Features
from tumorprog.errors import SettingsError
from tumorprog.imaging import intensity

JPEG_8 = (
    "00 01 10 20 11 02 03 12 21 30 40 31 22 13 04 05 14 23 32 41 50 60 51 42 33 24 15 06 07 16 25 34 43 52 61 70 71 62 "
    "53 44 35 26 17 27 36 45 54 63 72 73 64 55 46 37 47 56 65 74 75 66 57 67 76 77"
)


def noise(shape=(128, 128), seed=0):
    return np.random.default_rng(seed).random(shape)


def test_zigzag_is_the_order_of_the_jpeg_standard():
    assert [f"{row}{column}" for row, column in spectral.zigzag(8, 8, 64)] == JPEG_8.split()


@given(height=st.integers(1, 30), width=st.integers(1, 30), share=st.floats(0, 1))
def test_zigzag_goes_from_low_to_high_frequencies_without_repeated_positions(height, width, share):
    count = max(1, round(share * height * width))
    positions = spectral.zigzag(height, width, count)
    assert (positions < [height, width]).all()
    assert len({tuple(position) for position in positions}) == count
    assert (np.diff(positions.sum(axis=1)) >= 0).all()
    assert np.abs(np.diff(positions, axis=0)).max(initial=0) <= 1


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(size=SIZES, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_dct_coefficients_equal_those_of_scipy(size, share, seed):
    image, count = noise(size, seed), max(1, round(share * size[0] * size[1]))
    positions = spectral.zigzag(*size, count)
    expected = scipy.fft.dctn(image, norm="ortho")[positions[:, 0], positions[:, 1]]
    np.testing.assert_allclose(spectral.dct_coefficients(image, count), expected, rtol=1e-5, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(wavelet=st.sampled_from(pywt.wavelist(kind="discrete")), size=SIZES, seed=st.integers(0, 99))
@example(wavelet="haar", size=(1, 1), seed=0)
@example(wavelet="haar", size=(7, 10), seed=0)
@example(wavelet="haar", size=(10, 7), seed=0)
@pytest.mark.filterwarnings("ignore:Level value")
def test_the_sub_bands_equal_those_of_pywavelets(wavelet, size, seed):
    image = noise(size, seed) - 0.5
    low, details = pywt.dwt2(image, wavelet)
    np.testing.assert_allclose(spectral.subbands(image, wavelet), [low, *details], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4", "bior2.2"])
def test_the_inverse_transform_of_the_sub_bands_is_the_image(wavelet):
    low, horizontal, vertical, diagonal = spectral.subbands(noise(), wavelet)
    np.testing.assert_allclose(pywt.idwt2((low, (horizontal, vertical, diagonal)), wavelet), noise(), atol=1e-9)


@pytest.mark.parametrize("wavelet", ["haar", "db3"])
@pytest.mark.parametrize("size", [(32, 32), (31, 20)])
def test_a_batch_gives_the_results_of_its_images_alone(wavelet, size):
    images = noise((3, *size))
    bands = spectral.subbands(images, wavelet)
    for number, image in enumerate(images):
        alone = spectral.subbands(image, wavelet)
        np.testing.assert_array_equal(bands[:, number], alone)
        np.testing.assert_array_equal(spectral.subband_statistics(bands)[:, number], spectral.subband_statistics(alone))
        np.testing.assert_allclose(
            spectral.dct_coefficients(images, 20)[number], spectral.dct_coefficients(image, 20), rtol=1e-12
        )


def test_horizontal_edges_appear_in_lh_and_vertical_edges_in_hl():
    rows = np.zeros((8, 8))
    rows[1::2] = 1
    _, lh, hl, hh = spectral.subbands(rows, "haar")
    assert np.abs(lh).min() > 0
    assert not hl.any()
    assert not hh.any()
    _, lh, hl, _ = spectral.subbands(rows.T, "haar")
    assert np.abs(hl).min() > 0
    assert not lh.any()


def reference_statistics(band):
    """Return mean, standard deviation, energy and entropy."""
    counts, _ = np.histogram(band, bins=64)
    return [band.mean(), band.std(), np.mean(band**2), scipy.stats.entropy(counts, base=2)]


def bands():
    rng = np.random.default_rng(3)
    yield "noise", rng.random((30, 50)) - 0.5
    yield "on a large offset", 1e6 + rng.random((30, 50))
    yield "mostly zero", np.where(rng.random((30, 50)) < 0.1, rng.normal(0, 1, (30, 50)), 0)
    yield "mostly zero and never negative", np.where(rng.random((30, 50)) < 0.1, rng.random((30, 50)), 0)
    yield "on the bin edges", np.append(rng.integers(-31, 32, 1498), [-32, 32]).reshape(30, 50) / 10
    yield "of a slice", spectral.subbands(np.where(noise() > 0.8, noise(), 0), "haar")[1]


@pytest.mark.parametrize(("name", "band"), list(bands()))
def test_statistics_match_their_formulas(name, band):
    np.testing.assert_allclose(spectral.subband_statistics(band), reference_statistics(band), rtol=1e-5, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 8)),
        elements=st.one_of(st.just(0.0), st.floats(-100, 100, width=32), st.integers(-4, 4).map(float)),
    )
)
def test_the_statistics_of_random_bands_match_their_formulas(band):
    statistics, expected = spectral.subband_statistics(band), reference_statistics(band)
    np.testing.assert_allclose(statistics, expected, rtol=1e-5, atol=1e-9 * max(1.0, np.abs(band).max() ** 2))


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_constant_band_has_zero_entropy(value):
    np.testing.assert_allclose(spectral.subband_statistics(np.full((8, 8), value)), [value, 0, value**2, 0])


@pytest.mark.parametrize("wavelet", ["haar", "db4"])
def test_a_vector_equals_the_result_of_the_reference_libraries(wavelet):
    scaled, region = intensity.prepare(noise((320, 260)) * 900), noise((256, 256), seed=1) > 0.6
    low, details = pywt.dwt2(np.where(region, scaled, 0).astype(float), wavelet)
    positions = spectral.zigzag(*low.shape, 88)
    expected = [
        *scipy.fft.dctn(low, norm="ortho")[positions[:, 0], positions[:, 1]],
        *map(reference_statistics, details),
    ]
    vector = spectral.encode(scaled, region, wavelet=wavelet)
    assert vector.shape == (100,)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, np.hstack(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_a_constant_or_undefined_slice_has_a_vector_of_zeros(value):
    scaled = intensity.prepare(np.full((50, 50), value, np.float32))
    assert not spectral.encode(scaled, np.ones((256, 256), bool), wavelet="haar").any()


def test_only_the_pixels_of_the_region_count():
    scaled, region = intensity.prepare(noise((256, 256))), np.zeros((256, 256), bool)
    assert not spectral.encode(scaled, region, wavelet="haar").any()
    region[40:90, 60:120] = True
    vector = spectral.encode(scaled, region, wavelet="haar")
    outside_changed = np.where(region, scaled, 1 - scaled)
    np.testing.assert_array_equal(spectral.encode(outside_changed, region, wavelet="haar"), vector)
    region[40, 60] = False
    assert (spectral.encode(scaled, region, wavelet="haar") != vector).any()


def test_an_unknown_wavelet_is_rejected_with_a_suggestion():
    with pytest.raises(SettingsError, match=r"features\.wavelet is 'dbb2'.*db2"):
        spectral.options(Features(wavelet="dbb2"))
    with pytest.raises(SettingsError, match="discrete"):
        spectral.options(Features(wavelet="morl"))
