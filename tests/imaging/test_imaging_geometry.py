"""Grids of stacks, compared with a coordinate transformation by SciPy."""

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tumorprog.imaging import geometry

AXIAL, CORONAL = "1,0,0,0,1,0", "1,0,0,0,0,-1"


def columns(count=4, *, orientation=AXIAL, step=(0.0, 0.0, 5.0), **changes):
    """Return the columns of the catalogue for a stack of 8 x 10 pixels of 2 x 3 mm."""
    corners = [",".join(f"{mm:g}" for mm in np.array([-10.0, 20.0, 30.0]) + k * np.array(step)) for k in range(count)]
    one = {"orientation": orientation, "row_spacing_mm": 2.0, "column_spacing_mm": 3.0, "Rows": 8, "Columns": 10}
    one |= {"SliceThickness": 4.0, "FrameOfReferenceUID": "1.2"}
    return {name: [value] * count for name, value in one.items()} | {"ImagePositionPatient": corners, **changes}


def grid(*args, **changes):
    return geometry.grid_of(columns(*args, **changes))


def corners(found):
    """Return the patient coordinates of all pixels, (N, H, W, 3), by the formula of the standard."""
    rows, columns_ = np.meshgrid(*map(np.arange, found.shape), indexing="ij")
    across = columns_[..., None] * found.spacing_mm[1] * found.along_row
    down = rows[..., None] * found.spacing_mm[0] * found.along_column
    return found.origins[:, None, None] + across + down


def by_scipy(values, source, target, index, side):
    """Nearest voxel of a regular stack, with the inverse of its affine matrix."""
    step = source.origins[1] - source.origins[0]
    matrix = np.stack([step, source.along_column * source.spacing_mm[0], source.along_row * source.spacing_mm[1]], 1)
    rows, columns_ = np.meshgrid(*((np.arange(side) + 0.5) * n / side - 0.5 for n in target.shape), indexing="ij")
    points = target.origins[index] + rows[..., None] * target.spacing_mm[0] * target.along_column
    points = points + columns_[..., None] * target.spacing_mm[1] * target.along_row
    voxels = np.linalg.solve(matrix, (points - source.origins[0]).reshape(-1, 3).T)
    found = ndimage.map_coordinates(values, voxels, order=0, mode="grid-constant", cval=0)
    return found.reshape(side, side)


def test_a_grid_has_the_values_of_the_header():
    found = grid(orientation=CORONAL, step=(0, 6, 0))
    assert found.origins.tolist() == [[-10, 20 + 6 * k, 30] for k in range(4)]
    assert (found.spacing_mm, found.shape, found.thickness_mm) == ((2.0, 3.0), (8, 10), 4.0)
    assert np.abs(found.normal).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "unknown",
    [
        {"orientation": ""},
        {"ImagePositionPatient": ["1,2,3", "", "1,2,5", "1,2,6"]},
        {"row_spacing_mm": [math.nan] * 4},
        {"column_spacing_mm": [0.0] * 4},
    ],
)
def test_a_stack_without_position_orientation_or_spacing_has_no_grid(unknown):
    assert geometry.grid_of(columns(**unknown)) is None


@pytest.mark.parametrize("seed", range(6))
def test_an_oblique_slice_through_an_oblique_stack_agrees_with_scipy(seed):
    generator = np.random.default_rng(seed)
    values = generator.integers(1, 100, (7, 12, 9)).astype(np.float32)
    turned = Rotation.random(2, rng=generator).as_matrix()
    source, target = (
        geometry.Grid(
            origins=rotation @ [-12.0, -14.0, -10.0] + np.arange(count)[:, None] * thickness * rotation[:, 2],
            along_row=rotation[:, 0],
            along_column=rotation[:, 1],
            spacing_mm=spacing,
            shape=shape,
            thickness_mm=thickness - 1,
        )
        for rotation, count, thickness, spacing, shape in (
            (turned[0], 7, 4.0, (2.5, 3.1), (12, 9)),
            (turned[1], 5, 5.0, (1.7, 2.3), (20, 16)),
        )
    )
    for index in range(5):
        found = geometry.sample(values, source, target, index, 32)
        expected = by_scipy(values, source, target, index, 32)
        assert np.mean(found != expected) < 0.002  # exactly between two voxels, rounding decides; the reach is rounded
        assert found.any()


def test_slices_in_any_order_are_found_by_position():
    values = np.random.default_rng(0).random((4, 8, 10))
    source, order = grid(), [2, 0, 3, 1]
    shuffled = geometry.Grid(**{**vars(source), "origins": source.origins[order]})
    for index in range(4):
        expected = geometry.sample(values, source, source, index, 8)
        assert (geometry.sample(values[order], shuffled, source, index, 8) == expected).all()
    assert geometry.coinciding(source, shuffled).tolist() == order


@pytest.mark.parametrize(("mm", "nearest"), [(0.0, 0), (2.4, 0), (2.6, 1), (17.4, 3), (17.6, None), (-2.6, None)])
def test_the_nearest_slice_counts_within_half_the_spacing(mm, nearest):
    values = np.arange(1, 5)[:, None, None] * np.ones((4, 8, 10), int)
    target = grid(1, ImagePositionPatient=[f"-10,20,{30 + mm}"])
    found = geometry.sample(values, grid(), target, 0, 8)
    assert np.unique(found).tolist() == [0 if nearest is None else nearest + 1]


@pytest.mark.parametrize(("thickness", "reach"), [(4.0, 2.5), (9.0, 4.5), (math.nan, 2.5)])
def test_the_reach_is_half_the_spacing_or_half_the_thickness(thickness, reach):
    assert geometry.reach_mm(grid(SliceThickness=[thickness] * 4)) == pytest.approx(reach, abs=0.02)
    assert geometry.reach_mm(grid(1, SliceThickness=[thickness])) == pytest.approx(
        0 if math.isnan(thickness) else thickness / 2, abs=0.02
    )


def test_a_missing_slice_leaves_a_gap():
    kept = [0, 1, 3]
    source = geometry.Grid(**{**vars(grid()), "origins": grid().origins[kept]})
    found = [geometry.sample(np.ones((3, 8, 10)), source, grid(), index, 8).all() for index in range(4)]
    assert found == [True, True, False, True]
    assert geometry.coinciding(source, grid()).tolist() == [0, 1, -1, 2]


@pytest.mark.parametrize(
    "other",
    [
        {"orientation": "0,1,0,1,0,0"},
        {"orientation": "-1,0,0,0,1,0"},
        {"row_spacing_mm": [2.1] * 4},
        {"Rows": [9] * 4},
        {"ImagePositionPatient": [f"-9,20,{30 + 5 * k}" for k in range(4)]},
    ],
)
def test_other_directions_spacings_sizes_and_positions_are_another_grid(other):
    assert geometry.same_grid(grid(), grid())
    assert not geometry.same_grid(grid(), grid(**other))
    assert (geometry.coinciding(grid(), grid(**other)) == -1).all()
    assert not geometry.same_grid(grid(), grid(3))


def test_the_formula_of_the_standard_is_used():
    """A slice of 8 x 8 points of a stack of its own returns its pixels; each is where the standard says."""
    source = grid(orientation="0.6,0.8,0,0,0,-1", step=(4.0, -3.0, 0.0), Rows=[8] * 4, Columns=[8] * 4)
    places = corners(source)
    for axis in range(3):
        found = geometry.sample(places[..., axis], source, source, 2, 8)
        assert np.allclose(found, places[2, ..., axis])
