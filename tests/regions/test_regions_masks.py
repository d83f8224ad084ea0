import numpy as np
import pytest

from tumorprog.regions import masks

VALUES = np.array([[-1.0, 0.0, 1.0], [2.0, 3.99, 255.0]])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((), [[False, False, True], [True, True, True]]),
        ((1,), [[False, False, True], [False, False, False]]),
        ((1, 4), [[False, False, True], [False, True, False]]),
        ((5,), [[False] * 3] * 2),
    ],
)
def test_the_labels_choose_the_voxels(labels, expected):
    assert masks.labelled(VALUES, labels).tolist() == expected


@pytest.mark.parametrize(("pixel_mm", "margin"), [((1.0, 1.0), 3.0), ((0.5, 2.0), 3.0), ((2.0, 0.7), 5.0)])
def test_a_margin_adds_what_is_within_its_distance(pixel_mm, margin):
    region = np.zeros((64, 64), bool)
    region[30, 20] = region[33, 41] = True
    rows, columns = np.mgrid[:64, :64]
    distances = [np.hypot((rows - r) * pixel_mm[0], (columns - c) * pixel_mm[1]) for r, c in ((30, 20), (33, 41))]
    expected = np.minimum(*distances) <= margin
    assert (masks.enlarge(region, margin, pixel_mm) == expected).all()


def test_no_margin_and_no_region_change_nothing():
    region = np.eye(8, dtype=bool)
    assert (masks.enlarge(region, 0.0, (1.0, 1.0)) == region).all()
    assert not masks.enlarge(np.zeros((8, 8), bool), 5.0, (1.0, 1.0)).any()
