import numpy as np
import pytest
from sklearn.cluster import KMeans

from tumorprog.imaging import roi


def images():
    rng = np.random.default_rng(0)
    yield "uniform", rng.random((40, 40)).astype(np.float32)
    yield "three bumps", np.clip(rng.choice([0.1, 0.5, 0.8], (40, 40)) + rng.normal(0, 0.05, (40, 40)), 0, 1)
    yield "mostly dark", np.clip(rng.exponential(0.05, (40, 40)), 0, 1)
    yield "three values", rng.choice([0.0, 0.4, 1.0], (40, 40))
    yield "few bright", np.where(rng.random((40, 40)) > 0.995, 1.0, rng.random((40, 40)) * 0.1)


def inertia(levels, labels):
    parts = (levels[labels == label] for label in np.unique(labels))
    return sum(float(((part - part.mean()) ** 2).sum()) for part in parts)


@pytest.mark.parametrize(("name", "image"), list(images()))
def test_no_k_means_has_less_squared_error(name, image):
    levels = np.rint(image * 255).astype(float) / 255
    low, high = roi.cluster_thresholds(image)
    ours = inertia(levels, np.digitize(levels, [low, high], right=True))
    theirs = KMeans(3, n_init=10, random_state=0).fit(levels.reshape(-1, 1)).inertia_
    assert ours <= theirs * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(("name", "image"), list(images()))
def test_the_region_is_what_is_brighter_than_the_upper_threshold(name, image):
    low, high = roi.cluster_thresholds(image)
    assert 0 <= low <= high <= 1
    levels = np.rint(image * 255).astype(float) / 255
    np.testing.assert_array_equal(roi.brightest_region(image), levels > high)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_slice_has_an_empty_region(value):
    assert not roi.brightest_region(np.full((16, 16), value, np.float32)).any()


def test_of_two_values_the_brighter_is_the_region():
    image = np.zeros((16, 16), np.float32)
    image[4:8, 4:8] = 0.7
    np.testing.assert_array_equal(roi.brightest_region(image), image > 0)


def test_the_region_does_not_depend_on_where_the_pixels_are():
    image = np.random.default_rng(1).random((32, 32)).astype(np.float32)
    np.testing.assert_array_equal(roi.brightest_region(image[::-1].T), roi.brightest_region(image)[::-1].T)
