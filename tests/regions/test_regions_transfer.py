"""Regions carried over between the stacks of a study: what lies at a point of the patient is the same on each."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tumorprog.imaging import intensity
from tumorprog.imaging.geometry import Grid
from tumorprog.regions import transfer

CENTRE, RADIUS = np.array([6.0, -9.0, 12.0]), 40.0


def axial(count=24, *, z=-60.0, spacing=6.0, size=256, **changes):
    """Return the grid of axial slices of 240 mm about the origin."""
    pixel = 240 / size
    corner = -120 + pixel / 2
    origins = np.stack([np.full(count, corner), np.full(count, corner), z + spacing * np.arange(count)], axis=1)
    whole = {"along_row": np.array([1.0, 0, 0]), "along_column": np.array([0, 1.0, 0]), "thickness_mm": 5.0}
    return Grid(**{**whole, "origins": origins, "spacing_mm": (pixel, pixel), "shape": (size, size), **changes})


def coronal(count=40, *, spacing=5.0):
    corner = np.array([-119.5, -100.0, 119.5])
    return Grid(
        origins=corner + np.arange(count)[:, None] * np.array([0, spacing, 0]),
        along_row=np.array([1.0, 0, 0]),
        along_column=np.array([0, 0, -1.0]),
        spacing_mm=(1.0, 1.0),
        shape=(240, 240),
        thickness_mm=4.0,
    )


def ball(grid):
    """Return the pixels of a grid inside a ball, (N, H, W) bool."""
    rows, columns = np.meshgrid(*map(np.arange, grid.shape), indexing="ij")
    across, down = columns[..., None] * grid.spacing_mm[1] * grid.along_row, rows[..., None] * grid.spacing_mm[0]
    points = grid.origins[:, None, None] + across + down * grid.along_column
    return ((points - CENTRE) ** 2).sum(axis=-1) < RADIUS**2


def resized(region):
    return np.stack([transfer.on_side(one) for one in region])


def dice(found, expected):
    return 2 * np.count_nonzero(found & expected) / (np.count_nonzero(found) + np.count_nonzero(expected))


def test_a_region_on_the_same_grid_is_unchanged():
    found = transfer.carry_over(ball(axial()), axial(), axial())
    assert found.any()
    assert (found == ball(axial())).all()


def test_the_region_of_a_larger_slice_is_resized_like_the_slice():
    found = transfer.carry_over(ball(axial(size=512)), axial(size=512), axial(size=512))
    half = ball(axial(size=512)).astype(np.float32).reshape(-1, 256, 2, 256, 2).mean(axis=(2, 4))
    assert (found[half == 1]).all()
    assert not (found[half == 0]).any()


@pytest.mark.parametrize(
    ("target", "least"),
    [
        (axial(size=512), 0.99),
        (axial(size=192), 0.98),
        (axial(30, z=-58.0, spacing=4.5), 0.94),
        (axial(24, z=-57.0), 0.93),
        (coronal(), 0.94),
        (replace(axial(), origins=axial().origins[::-1]), 1.0),
        (replace(axial(), origins=axial().origins + np.array([239.0625, 0, 0]), along_row=np.array([-1.0, 0, 0])), 1.0),
    ],
    ids=["finer", "coarser", "other slices", "shifted by half", "coronal", "reversed", "mirrored"],
)
def test_the_same_place_is_inside_on_every_grid(target, least):
    found, expected = transfer.carry_over(ball(axial()), axial(), target), resized(ball(target))
    assert found.shape == (len(target.origins), intensity.SIDE, intensity.SIDE)
    assert dice(found, expected) >= least
    assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(expected), rel=0.05)


def test_what_lies_beyond_the_source_is_outside():
    region = np.ones((10, 256, 256), bool)
    found = transfer.carry_over(region, axial(10), axial(24))
    assert found.reshape(24, -1).all(axis=1).tolist() == [True] * 10 + [False] * 14
    assert not found[10:].any()
    half = transfer.carry_over(
        region, axial(10), replace(axial(10), origins=axial(10).origins + np.array([120.0, 0, 0]))
    )
    assert half[:, :, :128].all()
    assert not half[:, :, 128:].any()


def test_an_empty_region_stays_empty():
    found = transfer.carry_over(np.zeros((24, 256, 256), bool), axial(), coronal())
    assert found.shape == (40, 256, 256)
    assert not found.any()


def test_another_frame_of_reference_is_refused_unless_the_pixels_are_copies():
    source, region = axial(frame_of_reference="1.2.3"), ball(axial())
    copied, shifted = axial(frame_of_reference="1.2.4"), axial(z=-57.0, frame_of_reference="1.2.4")
    assert (transfer.carry_over(region, source, copied) == region).all()
    assert transfer.carry_over(region, source, shifted) is None
    assert transfer.carry_over(region, source, axial(23, frame_of_reference="1.2.4")) is None
    for frame in ("", "1.2.3"):
        assert transfer.carry_over(region, source, replace(shifted, frame_of_reference=frame)) is not None


def test_a_stack_without_a_grid_receives_and_gives_nothing():
    assert transfer.carry_over(ball(axial()), axial(), None) is None
    assert transfer.carry_over(ball(axial()), None, axial()) is None


def test_the_pixels_of_the_resized_slice_cover_the_same_field_of_view():
    assert transfer.pixel_mm((512, 128), (0.5, 1.0)) == (1.0, 0.5)
    assert math.isnan(transfer.pixel_mm((512, 128), (math.nan, 1.0))[0])
