"""Stacks -> input of the segmenter, and predictions back to slices."""

import math

import numpy as np
import pytest

from tumorprog.segmenters import stacks
from tumorprog.segmenters.stacks import SIDE, SPACING_MM


def _disc(shape, spacing_mm, *, centre_mm=(10.0, -20.0), radius_mm=15.0):
    rows, columns = ((np.arange(size) - (size - 1) / 2) * step for size, step in zip(shape, spacing_mm, strict=True))
    return np.hypot(rows[:, None] - centre_mm[0], columns - centre_mm[1]) < radius_mm


def _head(shape, spacing_mm, *, gain=1.0):
    head = _disc(shape, spacing_mm, centre_mm=(0, 0), radius_mm=80) * 400.0
    head += _disc(shape, spacing_mm) * 400.0
    return head * gain


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((256, 256), (0.9375, 0.9375)), ((512, 512), (0.47, 0.47)), ((320, 260), (0.75, 0.9)), ((110, 100), (2.0, 2.0))],
)
def test_a_disc_has_its_size_in_millimetres_whatever_the_pixels(shape, spacing_mm):
    mask = stacks.mask_on_input(_disc(shape, spacing_mm)[None], spacing_mm)[0]
    assert mask.sum() * SPACING_MM**2 == pytest.approx(math.pi * 15**2, rel=0.05)
    rows, columns = np.nonzero(mask)
    middle = (SIDE - 1) / 2
    assert (rows.mean() - middle) * SPACING_MM == pytest.approx(10, abs=1)
    assert (columns.mean() - middle) * SPACING_MM == pytest.approx(-20, abs=1)


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((256, 256), (0.9375, 0.9375)), ((512, 512), (0.47, 0.47)), ((320, 260), (0.75, 0.9)), ((128, 160), (2.0, 2.0))],
)
def test_predictions_return_to_where_they_are_from(shape, spacing_mm):
    disc = _disc(shape, spacing_mm)
    returned = stacks.on_slices(stacks.mask_on_input(disc[None], spacing_mm), shape, spacing_mm)[0] > 0.5
    assert returned.shape == shape
    assert 2 * (returned & disc).sum() / (returned.sum() + disc.sum()) > 0.93


def test_intensities_are_those_relative_to_the_head_whatever_the_gain():
    shape, spacing_mm = (128, 128), (1.9, 1.9)
    dim, bright = (stacks.prepare([_head(shape, spacing_mm, gain=gain)] * 3, spacing_mm) for gain in (0.2, 30.0))
    np.testing.assert_allclose(dim.astype(int), bright.astype(int), atol=1)
    brain, tumour = 255 / 2.5, 2 * 255 / 2.5
    assert dim[1, SIDE // 2, SIDE // 2 + 30] == pytest.approx(brain, abs=1)
    assert dim[1, SIDE // 2 + 7, SIDE // 2 - 13] == pytest.approx(tumour, abs=1)


def test_a_stack_is_normalised_as_a_whole():
    shape, spacing_mm = (128, 128), (1.9, 1.9)
    faint = stacks.prepare([_head(shape, spacing_mm), _head(shape, spacing_mm) * 0.8], spacing_mm)
    assert faint[1].max() == pytest.approx(0.8 * faint[0].max(), abs=2)


def test_constant_and_damaged_stacks_give_zeros_and_finite_values():
    assert not stacks.prepare([np.zeros((40, 40))] * 2, (1.0, 1.0)).any()
    holed = _head((128, 128), (1.9, 1.9))
    holed[:5] = np.nan
    holed[5, :5] = np.inf
    prepared = stacks.prepare([holed], (1.9, 1.9))
    assert not prepared[0, :8].any()
    assert prepared.max() > 150


def test_an_unknown_spacing_is_that_of_a_usual_field_of_view():
    image = _head((256, 256), (0.9375, 0.9375))
    np.testing.assert_array_equal(
        stacks.prepare([image], (math.nan, 0.9375)), stacks.prepare([image], (240 / 256, 240 / 256))
    )


def test_channels_are_the_neighbours_of_each_sequence():
    volume = np.broadcast_to(np.arange(1, 5, dtype=np.uint8)[:, None, None], (4, SIDE, SIDE))
    images = stacks.channels([volume, None], neighbours=1)
    assert images.shape == (4, 6, SIDE, SIDE)
    assert images[:, :3, 0, 0].tolist() == [[1, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]]
    assert not images[:, 3:].any()
    assert stacks.channels([volume], neighbours=0)[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
