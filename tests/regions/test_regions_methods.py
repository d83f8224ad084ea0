import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.cluster import KMeans

from tumorprog.regions import brightest
from tumorprog.regions.brightest import brightest_region, cluster_thresholds
from tumorprog.regions.component import brightest_component
from tumorprog.regions.methods import DESCRIPTIONS, REGIONS
from tumorprog.regions.settings import ImageMethod, Method


def squared_error(values, low, high):
    """Return the squared error of three clusters in float64."""
    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    clusters = values[values <= low], values[(values > low) & (values <= high)], values[values > high]
    return sum(float(((cluster - cluster.mean()) ** 2).sum()) for cluster in clusters if cluster.size)


def min_squared_error(values):
    """Return the minimum squared error over all pairs of thresholds."""
    distinct = np.unique(values)
    pairs = itertools.combinations_with_replacement(distinct, 2)
    return min((squared_error(values, low, high) for low, high in pairs), default=0.0)


def images():
    rng = np.random.default_rng(0)
    shape = (40, 40)
    yield "uniform", rng.random(shape).astype(np.float32)
    yield "three modes", rng.choice([0.1, 0.5, 0.8], shape) + rng.normal(0, 0.05, shape)
    yield "mostly dark", rng.exponential(0.05, shape).astype(np.float32)
    yield "three values", rng.choice([0.0, 0.4, 1.0], shape)
    yield "few bright", np.where(rng.random(shape) > 0.995, 1.0, rng.random(shape) * 0.1)
    yield "12 bits", np.clip(rng.normal(900, 300, shape), 0, 4095).astype(np.uint16)
    yield "16 bits", rng.integers(0, 65536, shape).astype(np.uint16)
    yield "signed", rng.integers(-32768, 32768, shape).astype(np.int16)
    yield "powers of two", (2.0 ** rng.integers(-30, 30, shape)).astype(np.float32)
    yield "small differences on a large offset", 1e6 + rng.random(shape)
    yield "with NaN", np.where(rng.random(shape) < 0.2, np.nan, rng.random(shape))


@pytest.mark.parametrize(("name", "image"), list(images()))
def test_k_means_never_has_a_lower_squared_error(name, image):
    finite = image[np.isfinite(image)].astype(np.float64)
    k_means_error = KMeans(3, n_init=10, random_state=0, tol=0).fit((finite - finite.min()).reshape(-1, 1)).inertia_
    assert squared_error(image, *cluster_thresholds(image)) <= k_means_error * (1 + 1e-9) + 1e-12


@pytest.mark.no_cover
@settings(max_examples=300)
@given(
    st.one_of(
        arrays.arrays(np.uint16, st.integers(0, 40), elements=st.integers(0, 65535)),
        arrays.arrays(np.int16, st.integers(0, 40), elements=st.integers(-5, 5)),
        arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(-1e6, 1e6, width=32)),
        arrays.arrays(np.float64, st.integers(0, 40), elements=st.sampled_from([0, 1, 1.5, 7, np.nan, np.inf])),
    )
)
@example(
    np.array([-499_990.0, 3.3e-38, *[0.0] * 17], np.float32)
)  # two values closer than the resolution of the heights
def test_no_pair_of_thresholds_has_a_lower_squared_error(values):
    low, high = cluster_thresholds(values)
    finite = values[np.isfinite(values)].astype(np.float64)
    spread = float(np.ptp(finite)) ** 2 * finite.size if finite.size else 0.0
    assert low <= high
    assert squared_error(values, low, high) <= min_squared_error(finite) + 1e-9 * spread


def test_the_search_continues_until_few_enough_pairs_remain(monkeypatch):
    monkeypatch.setattr(brightest, "_MAX_COMPARED_PAIRS", 1)
    for name, image in images():
        small = image[:8]
        finite = small[np.isfinite(small)].astype(np.float64)
        k_means_error = KMeans(3, n_init=10, random_state=0, tol=0).fit((finite - finite.min()).reshape(-1, 1)).inertia_
        assert squared_error(small, *cluster_thresholds(small)) <= k_means_error * (1 + 1e-9) + 1e-12, name


def test_16_bit_images_are_clustered_on_their_original_values():
    """Two of the three groups would fall into the same one of 256 levels."""
    image = np.repeat(np.array([10, 12, 60_000], np.uint16), 20).reshape(6, 10)
    assert cluster_thresholds(image) == (10, 12)
    np.testing.assert_array_equal(brightest_region(image), image == 60_000)


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_a_constant_slice_has_an_empty_region(value):
    image = np.full((16, 16), value, np.float32)
    assert cluster_thresholds(image) == (np.float32(value), np.float32(value))
    assert not any(region(image).any() for region in REGIONS.values())


@pytest.mark.parametrize("image", [np.empty((0, 0), np.float32), np.full((4, 4), np.nan, np.float32)])
def test_a_slice_without_a_finite_pixel_has_an_empty_region(image):
    assert cluster_thresholds(image) == (0, 0)
    for region in REGIONS.values():
        assert region(image).shape == image.shape
        assert not region(image).any()


def test_the_region_of_a_binary_image_is_the_brighter_value():
    image = np.zeros((16, 16), np.float32)
    image[4:8, 4:8] = 0.7
    np.testing.assert_array_equal(brightest_region(image), image > 0)


def test_non_finite_pixels_are_in_no_region():
    image = np.random.default_rng(1).random((32, 32)).astype(np.float32)
    complete = brightest_region(image)
    image[:4] = np.nan
    assert not brightest_region(image)[:4].any()
    assert brightest_region(image)[4:].any()
    assert complete[:4].any()


def test_the_region_does_not_depend_on_the_positions_of_the_pixels():
    image = np.random.default_rng(1).random((32, 32)).astype(np.float32)
    np.testing.assert_array_equal(brightest_region(image[::-1].T), brightest_region(image)[::-1].T)


def head(size=128):
    """Return a head with bright scalp, grey brain, a bright lesion and a smaller bright spot, and the lesion mask."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(rows / 0.9, columns / 0.75)
    image = np.where(radius < 1, 0.4, 0.02)
    image[(radius > 0.92) & (radius < 1)] = 1.0
    lesion = np.hypot(rows + 0.2, columns - 0.2) < 0.15
    image[lesion] = 0.9
    image[np.hypot(rows - 0.3, columns + 0.3) < 0.05] = 0.9
    return image.astype(np.float32), lesion


def test_the_component_is_the_lesion_without_the_scalp_and_the_spot():
    image, lesion = head()
    np.testing.assert_array_equal(brightest_component(image), lesion)
    assert brightest_region(image).sum() > 2 * lesion.sum()  # includes the scalp


def test_a_head_cropped_by_the_image_border_also_has_a_rim_there():
    image, lesion = head()
    cropped = image[:, 40:].copy()
    cropped[40:90, :4] = 1.0
    np.testing.assert_array_equal(brightest_component(cropped), lesion[:, 40:])


def test_every_method_is_a_choice_and_is_described_in_the_report():
    assert set(get_args(ImageMethod)) == set(REGIONS)
    assert set(get_args(Method)) == set(DESCRIPTIONS) == {"auto", "mask", "learned", *REGIONS}
