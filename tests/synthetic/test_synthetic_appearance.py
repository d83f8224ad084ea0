"""The figures of a stack on constructed heads, and those of phantoms against what was measured on patients.

docs/phantoms.md has the figures of patients; the ranges here are around them.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tumorprog.synthetic import phantom, plan, tumours
from tumorprog.synthetic.appearance import Scan, dice, figures
from tumorprog.synthetic.settings import Synthetic

SHAPE = Synthetic(series_slices=20, size=128)

PATIENTS = {
    "scalp_p50": (0.9, 1.6),
    "scalp_p90": (2.1, 2.8),
    "fat_percent_of_base": (5, 30),
    "brain_p2": (0.3, 0.5),
    "brain_p10": (0.5, 0.8),
    "brain_p50": (0.93, 1.02),
    "brain_p90": (1.06, 1.2),
    "brain_p99": (1.4, 2.4),
    "noise_percent": (1.5, 5),  # 2 to 3.5 for patients, whose pixels are half as large
    "bias_percent": (6, 20),
    "bright_ml": (25, 140),
    "mask_percent": (0.15, 0.6),
    "tumour_slices": (6, 10),
    "mask_p5": (0.9, 1.1),
    "mask_p50": (1.15, 1.42),
    "mask_p95": (1.45, 2.05),
    "ring_p50": (0.81, 0.98),
    "dice_brightest": (0.0, 0.117),
    "dice_component": (0.081, 0.281),
}
"""Ranges for the mean over the phantoms: those of the patients, or 0.1 around the mean Dice of the patients."""


def scan_of(number):
    """Return the T1post stack of a phantom at its first date, as the archive has it before rounding."""
    patient = plan.plan_patient("progression", number, shape=SHAPE, seed=0)
    tumour, (stack,) = patient.studies[0].tumour, patient.studies[0].stacks
    rng = np.random.default_rng(number)
    receiver, images, masks = phantom.random_receiver(rng), [], []
    for plane in sorted(stack.planes, key=lambda plane: plane.origin_mm[2]):
        painted = phantom.layers(patient.head, tumour, plane)
        signal = phantom.image(patient.head, tumour, sequence="T1post", painted=painted, plane=plane)
        images.append(phantom.received(signal, receiver, rng, sequence="T1post", plane=plane))
        masks.append(tumours.enhancing_mask(tumour, plane))
    pixel_mm = float(np.linalg.norm(stack.planes[0].row_mm))
    return Scan(images=np.stack(images), mask=np.stack(masks), pixel_mm=pixel_mm, spacing_mm=stack.spacing_mm)


@pytest.fixture(scope="module")
def scans():
    return [scan_of(number) for number in range(7)]


@pytest.fixture(scope="module")
def phantoms(scans):
    return pd.DataFrame([figures(scan) for scan in scans])


@pytest.mark.parametrize("name", PATIENTS)
def test_phantoms_are_like_patients(phantoms, name):
    low, high = PATIENTS[name]
    assert low <= phantoms[name].mean() <= high


def test_the_scalp_is_brighter_than_the_tumour_and_outside_it_there_is_more_enhancing_tissue(phantoms):
    assert (phantoms["scalp_p90"] > phantoms["mask_p95"]).all()
    assert (phantoms["bright_ml"] > 0.5 * phantoms["mask_ml"]).all()


def test_the_mask_is_inside_the_skull(scans):
    for scan in scans:
        assert np.percentile(scan.depth_mm[scan.mask], 2) > 8


def test_a_stack_covers_the_head_and_few_slices_show_the_tumour():
    for slices, expected_mm in ((20, 132), (33, 132), (4, 40)):
        shape = Synthetic(series_slices=slices, size=64)
        for number in range(6):
            study = plan.plan_patient("progression", number, shape=shape, seed=0).studies[0]
            heights = sorted(plane.origin_mm[2] for plane in study.stacks[0].planes)
            assert heights[-1] - heights[0] + study.stacks[0].spacing_mm == pytest.approx(expected_mm, abs=0.1)
            shown = [tumours.enhancing_mask(study.tumour, plane).any() for plane in study.stacks[0].planes]
            assert np.mean(shown) < 0.7 if slices >= 20 else np.sum(shown) >= 2
            assert heights[0] - 3 < study.tumour.centre_mm[2] < heights[-1] + 3


def head(side=96, slices=9, *, noise=0.0, scalp=2.0, tilt=0.0):
    """Return discs of intensity 100 with a rim of 8 pixels of another intensity and a square mask of 150."""
    rows, columns = np.indices((side, side)) - side // 2
    radius = np.hypot(rows, columns)
    inside = np.where(radius < 40, np.where(radius < 32, 100.0, 100 * scalp), 0) * np.exp(tilt * rows / 32)
    image = np.where((np.abs(rows) < 3) & (np.abs(columns) < 3), 150.0, inside)
    images = np.stack([image] * slices) + np.random.default_rng(0).normal(0, 100 * noise, (slices, side, side))
    mask = np.zeros(images.shape, bool)
    mask[3:6] = (np.abs(rows) < 3) & (np.abs(columns) < 3)
    return Scan(images=images.astype(np.float32), mask=mask, pixel_mm=1.5, spacing_mm=5.0)


def test_the_figures_of_a_constructed_head_are_what_it_was_constructed_of():
    found = figures(head(noise=0.01))
    assert found["scalp_p50"] == pytest.approx(2, rel=0.03)
    assert found["brain_p50"] == pytest.approx(1, abs=0.02)
    assert found["mask_p50"] == pytest.approx(1.5, rel=0.03)
    assert found["ring_p50"] == pytest.approx(1, abs=0.03)
    assert found["noise_percent"] == pytest.approx(1, rel=0.25)
    assert found["mask_ml"] == pytest.approx(3 * 25 * 1.5**2 * 5 / 1000)
    assert found["mask_percent"] == pytest.approx(100 * 3 * 25 / (9 * 96 * 96))
    assert (found["tumour_slices"], found["lesions"]) == (3, 1)
    assert found["head_percent_of_image"] == pytest.approx(100 * np.pi * 40**2 / 96**2, rel=0.02)


def test_the_bias_field_of_a_constructed_head_is_measured():
    flat, tilted = (figures(head(noise=0.01, tilt=tilt))["bias_percent"] for tilt in (0.0, 0.1))
    assert flat < 1
    assert tilted == pytest.approx(100 * 0.1 * 2 * 0.805 * (40 - 16 / 1.5) / 32, rel=0.1)  # 90 % of a disc


def test_dice_is_that_of_all_slices_together():
    images = np.zeros((9, 64, 64), np.float32)
    images[:, 8:56, 8:56], images[:, 20:44, 20:44] = 100, 300
    mask = images > 200
    mask[3:] = False
    scan = Scan(images=images, mask=mask, pixel_mm=1.0, spacing_mm=5.0)
    # the bright square is the region on all nine slices and the mask on three of them: 2 * 3 / (9 + 3)
    assert dice(scan, "brightest") == pytest.approx(0.5, abs=0.02)


def test_a_head_without_mask_has_the_figures_of_the_head_only():
    whole = head()
    found = figures(Scan(images=whole.images, mask=np.zeros_like(whole.mask), pixel_mm=1.5, spacing_mm=5.0))
    assert "mask_ml" not in found
    assert {"scalp_p50", "noise_percent"} <= set(found)


def test_the_days_are_still_readable_from_the_first_images():
    """Volume of the mask on the stack against the days, for the first 20 patients."""
    days, volumes = [], []
    for number in range(20):
        patient = plan.plan_patient("progression", number, shape=SHAPE, seed=0)
        days.append((patient.studies[1].day - patient.studies[0].day).days)
        planes = patient.studies[0].stacks[0].planes
        volumes.append(sum(tumours.enhancing_mask(patient.studies[0].tumour, plane).sum() for plane in planes))
    assert stats.spearmanr(days, volumes).statistic < -0.7
