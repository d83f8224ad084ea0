import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.imaging import volume


def ball_ml(radius_mm, *, pixel_mm, positions_mm, thickness_mm=np.nan):
    """Return the volume of a ball from the pixel counts of its slices at the given positions."""
    axis = np.arange(-40, 40, pixel_mm) + pixel_mm / 2
    squared = axis[:, None] ** 2 + axis**2
    voxels = np.array([np.count_nonzero(squared + position**2 < radius_mm**2) for position in positions_mm])
    slabs = volume.slab_thicknesses(np.asarray(positions_mm, np.float64), thickness_mm)
    return volume.volume_ml(voxels, np.full(len(voxels), pixel_mm**2), slabs)


@pytest.mark.parametrize("spacing_mm", [1.0, 2.5, 5.0])
@pytest.mark.parametrize("pixel_mm", [0.5, 1.2])
def test_a_ball_has_the_correct_volume_for_any_spacing(spacing_mm, pixel_mm):
    found = ball_ml(20, pixel_mm=pixel_mm, positions_mm=np.arange(-40, 40, spacing_mm))
    assert found == pytest.approx(4 / 3 * np.pi * 20**3 / 1000, rel=0.02)


def test_gaps_and_overlaps_between_slices_do_not_change_the_volume():
    """Slices of 5 mm every 6.5 mm or every 2.5 mm: the spacing determines the volume, not the thickness."""
    for spacing_mm in (6.5, 2.5):
        found = ball_ml(20, pixel_mm=0.5, positions_mm=np.arange(-39, 40, spacing_mm), thickness_mm=5.0)
        assert found == pytest.approx(4 / 3 * np.pi * 20**3 / 1000, rel=0.03)


def test_a_missing_slice_is_covered_by_its_neighbours():
    positions = np.delete(np.arange(-40.0, 40.0, 2.5), 14)
    assert ball_ml(20, pixel_mm=0.5, positions_mm=positions) == pytest.approx(4 / 3 * np.pi * 20**3 / 1000, rel=0.02)


@given(steps=st.lists(st.floats(0.5, 9), min_size=1, max_size=12), start=st.floats(-90, 90), seed=st.integers(0, 99))
def test_slabs_fill_the_stack_in_any_order_and_a_repeated_slice_adds_no_volume(steps, start, seed):
    positions = start + np.concatenate([[0], np.cumsum(np.round(steps, 2))])
    slabs = volume.slab_thicknesses(positions, 5.0)
    assert slabs.sum() == pytest.approx(np.ptp(positions) + np.median(np.diff(positions)), abs=0.1)
    order = np.random.default_rng(seed).permutation(len(positions))
    np.testing.assert_allclose(volume.slab_thicknesses(positions[order], 5.0), slabs[order])
    repeated = volume.slab_thicknesses(np.append(positions, positions[0]), 5.0)
    assert repeated[0] == repeated[-1] == pytest.approx(slabs[0] / 2)


def test_a_single_slice_or_unknown_positions_use_the_slice_thickness():
    assert volume.slab_thicknesses(np.array([3.0]), 4.0).tolist() == [4.0]
    assert volume.slab_thicknesses(np.array([3.0, 3.0]), 4.0).tolist() == [2.0, 2.0]
    assert volume.slab_thicknesses(np.array([3.0, np.nan]), 4.0).tolist() == [4.0, 4.0]
    assert np.isnan(volume.slab_thicknesses(np.array([3.0]), np.nan)).all()
