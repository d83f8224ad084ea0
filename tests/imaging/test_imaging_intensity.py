import numpy as np
import pytest

from tumorprog.imaging import intensity


def noise(shape=(90, 70), seed=0):
    return np.random.default_rng(seed).normal(500, 100, shape).astype(np.float32)


@pytest.mark.parametrize("method", ["minmax", "robust"])
def test_a_scaled_image_spans_zero_to_one_in_any_unit(method):
    scaled = intensity.scale(noise(), method=method)
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)
    np.testing.assert_allclose(intensity.scale(noise() * 3 - 7000, method=method), scaled, atol=1e-3)


def test_minmax_is_the_formula_of_the_paper():
    image = noise()
    expected = (image - image.min()) / (image.max() - image.min())
    np.testing.assert_allclose(intensity.scale(image, method="minmax"), expected, atol=1e-6)


def test_a_dead_pixel_does_not_darken_the_robust_image():
    image = noise()
    with_outlier = image.copy()
    with_outlier[0, 0] = 1e6
    expected = intensity.scale(image, method="robust")[1:]
    np.testing.assert_allclose(intensity.scale(with_outlier, method="robust")[1:], expected, atol=0.02)
    assert np.abs(intensity.scale(with_outlier, method="minmax")[1:]).max() < 0.01


@pytest.mark.parametrize("method", ["minmax", "robust"])
@pytest.mark.parametrize("value", [0.0, 42.0, np.nan, np.inf])
def test_a_constant_or_non_finite_image_becomes_zeros(method, value):
    assert not intensity.scale(np.full((8, 8), value, np.float32), method=method).any()


def test_a_binary_mask_stays_binary_under_robust_scaling():
    mask = np.zeros((100, 100), np.float32)
    mask[0, 0] = 1
    assert set(np.unique(intensity.scale(mask, method="robust"))) == {0.0, 1.0}


def test_non_finite_pixels_become_the_minimum():
    image = noise()
    image[3, 3] = np.nan
    scaled = intensity.scale(image, method="minmax")
    assert np.isfinite(scaled).all()
    assert scaled[3, 3] == 0


@pytest.mark.parametrize("shape", [(512, 512), (320, 260), (64, 64), (256, 100), (1, 7)])
def test_resizing_keeps_range_and_mean(shape):
    image = noise(shape)
    small = intensity.resize(image, 224)
    assert small.shape == (224, 224)
    assert small.min() >= image.min()
    assert small.max() <= image.max()
    assert small.mean() == pytest.approx(image.mean(), abs=40)


def test_shrinking_averages_instead_of_subsampling():
    """A pattern of single rows becomes its mean, where subsampling would give stripes or a constant."""
    stripes = np.tile(np.array([[0.0], [1.0]], np.float32), (224, 448))
    np.testing.assert_allclose(intensity.resize(stripes, 224), 0.5, atol=1e-6)


def test_an_image_of_the_target_size_is_unchanged():
    image = noise((224, 224))
    np.testing.assert_array_equal(intensity.resize(image, 224), image)


def test_the_grader_input_is_the_scaled_image_as_uint8():
    stored = intensity.grader_input(noise((300, 200)), scaling="minmax")
    assert stored.dtype == np.uint8
    assert stored.shape == (224, 224)
    expected = intensity.resize(intensity.scale(noise((300, 200)), method="minmax"), 224)
    np.testing.assert_allclose(stored / 255, expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("method", ["minmax", "robust"])
@pytest.mark.parametrize("shape", [(256, 256), (90, 70), (400, 300)])
def test_integers_are_scaled_as_the_same_values_in_float32(dtype, method, shape):
    """Integers use another method: test it with a background, with mostly equal pixels and with neither."""
    limits, rng = np.iinfo(dtype), np.random.default_rng(0)
    noisy = rng.normal(limits.max / 3, limits.max / 9, shape)
    background = rng.random(shape)
    for image in (
        noisy,
        np.where(background < 0.4, limits.min, noisy),
        np.where(background < 0.004, limits.min, noisy),
        np.where(background < 0.95, limits.min, limits.max),
        np.where(background < 0.5, limits.max, noisy),
        rng.integers(limits.min, limits.max, shape, endpoint=True),
        np.full(shape, limits.max),
    ):
        stored = image.clip(limits.min, limits.max).astype(dtype)
        np.testing.assert_array_equal(
            intensity.scale(stored, method=method), intensity.scale(stored.astype(np.float32), method=method)
        )
        np.testing.assert_array_equal(
            intensity.grader_input(stored, scaling=method),
            intensity.grader_input(stored.astype(np.float32), scaling=method),
        )
