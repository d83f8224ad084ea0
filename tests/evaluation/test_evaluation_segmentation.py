"""Measures of a region against its mask, compared with brute force on small arrays."""

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tumorprog.evaluation import segmentation

SPACING = (5.0, 1.0, 0.5)
SHAPE = (5, 9, 10)


def random_pair(seed, density=0.7):
    """Voxels at random in a part of the volume, which reaches one of its ends."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(2):
        volume = np.zeros(SHAPE, bool)
        volume[1:, 2:7, 1:8] = generator.random((4, 5, 7)) > density
        found.append(volume)
    return found[0], found[1]


def surface(volume):
    """Voxels of which a face is not shared with another voxel of the volume, in mm."""
    inside = set(map(tuple, np.argwhere(volume)))
    steps = [tuple(sign * unit for unit in axis) for axis in np.eye(3, dtype=int) for sign in (-1, 1)]
    edge = [voxel for voxel in sorted(inside) if any(tuple(np.add(voxel, step)) not in inside for step in steps)]
    return np.array(edge) * SPACING


def components(volume):
    """Sets of voxels that touch at faces, edges or corners, by flooding."""
    left, found = set(map(tuple, np.argwhere(volume))), []
    while left:
        pending, component = [left.pop()], set()
        while pending:
            voxel = pending.pop()
            component.add(voxel)
            near = {tuple(np.add(voxel, step)) for step in itertools.product((-1, 0, 1), repeat=3)} & left
            left -= near
            pending += near
        found.append(component)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_distance_is_the_larger_95th_percentile_of_the_distances_between_the_surfaces(seed):
    region, mask = random_pair(seed, density=0.1 + 0.2 * seed)  # from nearly full, with an inside, to sparse
    distances = cdist(surface(region), surface(mask))
    expected = max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))
    assert segmentation.score(region, mask, SPACING)["hd95_mm"] == pytest.approx(expected, rel=1e-5)


def test_a_shift_by_one_slice_is_the_distance_of_the_slices():
    mask = np.zeros((5, 8, 8), bool)
    mask[1, 2:6, 2:6] = True
    assert segmentation.score(np.roll(mask, 1, axis=0), mask, SPACING)["hd95_mm"] == pytest.approx(5.0)
    assert segmentation.score(np.roll(mask, 1, axis=2), mask, SPACING)["hd95_mm"] == pytest.approx(0.5)
    assert segmentation.score(mask, mask, SPACING)["hd95_mm"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_counts_volumes_and_lesions_are_those_of_the_voxels(seed):
    region, mask = random_pair(seed)
    inside, tumour = (set(map(tuple, np.argwhere(volume))) for volume in (region, mask))
    lesions, parts = components(mask), components(region)
    found = segmentation.score(region, mask, SPACING)
    del found["hd95_mm"]
    assert found == {
        "both": len(inside & tumour),
        "region": len(inside),
        "mask": len(tumour),
        "region_ml": pytest.approx(len(inside) * 0.0025),
        "mask_ml": pytest.approx(len(tumour) * 0.0025),
        "lesions": len(lesions),
        "lesions_found": sum(bool(lesion & inside) for lesion in lesions),
        "false_lesions": sum(not part & tumour for part in parts),
    }
    each = sorted((len(lesion) * 0.0025, len(lesion & inside) * 0.0025) for lesion in lesions)
    assert sorted(segmentation.lesions(region, mask, SPACING)) == [pytest.approx(one) for one in each]


def test_lesions_that_touch_at_a_corner_are_one():
    mask = np.zeros(SHAPE, bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 8, 9] = True
    region = np.zeros(SHAPE, bool)
    region[1, 1, 1] = region[0, 8, 0] = True
    found = segmentation.score(region, mask, SPACING)
    assert (found["lesions"], found["lesions_found"], found["false_lesions"]) == (2, 1, 1)
    assert segmentation.lesions(region, mask, SPACING) == [pytest.approx((0.005, 0.0025)), pytest.approx((0.0025, 0))]


@pytest.mark.parametrize(("region", "mask"), [(True, False), (False, True), (False, False)])
def test_an_empty_region_or_mask_has_no_distance(region, mask):
    whole, empty = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    found = segmentation.score(whole if region else empty, whole if mask else empty, SPACING)
    assert math.isnan(found["hd95_mm"])
    assert (found["lesions"], found["lesions_found"], found["false_lesions"]) == (int(mask), 0, int(region))
    assert (found["both"], found["mask"]) == (0, 450 * mask)
    assert segmentation.lesions(empty, whole if mask else empty, SPACING) == ([(pytest.approx(1.125), 0.0)] * mask)


def test_without_a_known_spacing_only_voxels_and_lesions_are_counted():
    region, mask = random_pair(0)
    found, known = (segmentation.score(region, mask, spacing) for spacing in ((math.nan, 1.0, 0.5), SPACING))
    unknown = {name for name, value in found.items() if math.isnan(value)}
    assert unknown == {"region_ml", "mask_ml", "hd95_mm"}
    assert all(found[name] == known[name] for name in found.keys() - unknown)
