import numpy as np
import pytest

from tumorprog.imaging.window import window


def test_air_and_outliers_do_not_set_the_window():
    values = np.concatenate([np.zeros(10_000), np.linspace(100, 200, 1001), [1e6]]).astype(np.int32)
    low, high = window(values.reshape(2, -1))
    assert (low, high) == pytest.approx((101, 199), abs=0.5)


def test_the_window_of_signed_values_with_padding():
    values = np.concatenate([np.full(50, np.nan), np.zeros(500), np.linspace(-50, 50, 1001)])
    low, high = window(values)
    assert (low, high) == pytest.approx((-49, 49), abs=0.5)


@pytest.mark.parametrize("values", [np.zeros((3, 3)), np.full((2, 2), np.nan), np.full((2, 2), 7.0), np.empty((0, 4))])
def test_without_a_foreground_the_window_is_not_empty(values):
    low, high = window(values)
    assert high > low
