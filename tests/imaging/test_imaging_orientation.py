"""Slices are turned as radiologists see them: the oracle is a volume that knows where each voxel is in the patient."""

import itertools
import math

import numpy as np
import pytest

from tumorprog.imaging import orientation

PLANES = {
    # plane: the patient's direction at the left, right, top and bottom of the picture
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
AXES = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def cosines(along_row, along_column):
    return (*AXES[along_row], *AXES[along_column])


def storings(plane):
    """Return the eight ways to store a slice of a plane, right- and left-handed, as pairs of directions."""
    across, down = PLANES[plane][:2], PLANES[plane][2:]
    return [pair for a, b in ((across, down), (down, across)) for pair in itertools.product(a, b)]


def slice_stored_as(along_row, along_column):
    """Return the position of each pixel in the patient, (4, 6, 3), one apart."""
    rows, columns = np.indices((4, 6))
    row_axis, column_axis = np.array(AXES[along_row]), np.array(AXES[along_column])
    return columns[..., None] * row_axis + rows[..., None] * column_axis


@pytest.mark.parametrize(
    ("plane", "pair"), [(plane, pair) for plane in PLANES for pair in storings(plane)], ids="".join
)
def test_every_storing_of_a_plane_is_turned_alike(plane, pair):
    display = orientation.display(cosines(*pair))
    assert (display.left, display.right, display.top, display.bottom) == PLANES[plane]
    where = slice_stored_as(*pair)
    turned = np.stack([orientation.turn(where[..., axis], display) for axis in range(3)], axis=-1)
    to_right, down = turned[0, 1] - turned[0, 0], turned[1, 0] - turned[0, 0]
    assert tuple(to_right) == AXES[PLANES[plane][1]]
    assert tuple(down) == AXES[PLANES[plane][3]]


def test_the_corner_of_a_slice_stored_upside_down_and_mirrored():
    stored = np.array([[1, 2, 3], [4, 5, 6]])
    display = orientation.display(cosines("A", "R"))  # columns run from left to right of the patient: transposed
    assert (display.transpose, display.flip_rows, display.flip_columns) == (True, True, True)
    # the last row and last column is at the right and front of the patient: the top left corner
    np.testing.assert_array_equal(orientation.turn(stored, display), [[6, 3], [5, 2], [4, 1]])


def test_a_gantry_tilt_changes_nothing_but_the_axis():
    angle = math.radians(20)
    tilted = (1, 0, 0, 0, math.cos(angle), math.sin(angle))
    assert orientation.display(tilted) == orientation.display((1, 0, 0, 0, 1, 0))
    assert (orientation.axis(tilted), orientation.axis((1, 0, 0, 0, 1, 0))) == ("", "z")


def test_an_oblique_slice_has_two_letters_and_is_turned_as_the_nearest_plane():
    angle = math.radians(40)  # between coronal and sagittal, nearer to coronal
    display = orientation.display((-math.cos(angle), -math.sin(angle), 0, 0, 0, -1))
    assert (display.left, display.right, display.top, display.bottom) == ("RA", "LP", "S", "I")
    assert (display.transpose, display.flip_rows, display.flip_columns) == (False, False, True)


def test_the_axis_of_a_slice():
    assert [orientation.axis(cosines(*storings(plane)[0])) for plane in PLANES] == ["z", "y", "x"]
    assert orientation.axis(()) == ""


def test_without_an_orientation_a_slice_is_shown_as_stored():
    stored = np.arange(6).reshape(2, 3)
    assert orientation.display(()) is orientation.AS_STORED
    np.testing.assert_array_equal(orientation.turn(stored, orientation.AS_STORED), stored)
    assert orientation.AS_STORED.left == ""


def test_the_text_of_the_catalogue():
    assert orientation.parse("1,0,0,0,0.5,-0.866025") == (1, 0, 0, 0, 0.5, -0.866025)
    assert orientation.parse("") == ()
