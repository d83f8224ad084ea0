"""The head mask on phantoms, the choice of slices, and shares of evidence against constructed heat maps."""

import numpy as np
import pandas as pd
import pytest

from tumorprog.graders import evidence, resnet18
from tumorprog.graders.evidence import EVIDENCE, Regions, head_mask, shares, spread_over_patients

SIDE = 224
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
HEAD = np.hypot((ROWS - 112) / 90, (COLUMNS - 112) / 70) < 1


def phantom(*, brain=120):
    """A bright scalp, a dark skull, grey brain with a black ventricle, and noise in the air."""
    radius = np.hypot((ROWS - 112) / 90, (COLUMNS - 112) / 70)
    image = np.select([radius > 1, radius > 0.94, radius > 0.88], [0, 220, 10], brain).astype(np.float64)
    image[100:124, 105:119] = 0
    return np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("brain", [40, 120, 200])
def test_the_head_contains_scalp_skull_brain_and_ventricles(brain):
    found = head_mask(phantom(brain=brain))
    assert (found & HEAD).sum() / (found | HEAD).sum() > 0.97
    assert found[112, 112]


def test_a_small_bright_object_beside_the_head_is_not_head():
    image = phantom()
    image[5:15, 5:15] = 255
    assert not head_mask(image)[5:15, 5:15].any()


def test_a_head_cut_off_by_the_border_reaches_the_border():
    found = head_mask(np.roll(phantom(), -60, axis=0) * (ROWS < 140).astype(np.uint8))
    assert found[0, 112]


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_constant_image_has_no_head(value):
    assert not head_mask(np.full((SIDE, SIDE), value, np.uint8)).any()


def test_slices_are_spread_over_the_patients():
    rows = pd.DataFrame({"PatientID": ["A"] * 50 + ["B"] * 3 + ["C"] * 10, "slice": range(63)})
    chosen = spread_over_patients(rows, count=15, seed=0)
    assert chosen["PatientID"].value_counts().to_dict() == {"A": 6, "B": 3, "C": 6}
    assert chosen["slice"].is_unique
    assert spread_over_patients(rows, count=15, seed=0).equals(chosen)
    assert len(spread_over_patients(rows, count=1000, seed=0)) == 63


def regions(parts, wholes=None):
    count = len(parts)
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    images[:] = np.arange(count)[:, None, None]
    wholes = np.ones_like(parts) if wholes is None else wholes
    return Regions(
        patients=np.array([f"P{number}" for number in range(count)]), images=images, parts=parts, wholes=wholes
    )


@pytest.fixture
def heat(monkeypatch):
    """Heat maps that are 1 in the upper half of all slices but those with a value of 0, which have none."""

    def grad_cam(model, images, classes, *, device):
        assert classes is None
        return np.where(ROWS < SIDE // 2, 1.0, 0.0) * (images > 0)

    monkeypatch.setattr(resnet18, "grad_cam", grad_cam)


@pytest.mark.usefixtures("heat")
def test_shares_are_ratios_of_evidence_and_of_area_within_the_whole():
    part = np.broadcast_to(ROWS < SIDE // 4, (70, SIDE, SIDE))  # more slices than a batch
    found = shares(None, regions(part))
    assert list(found.columns) == list(EVIDENCE)
    assert found.loc[0, ["evidence", "area"]].isna().all()  # the empty heat map
    assert found.loc[1:, "evidence"].tolist() == pytest.approx([0.5] * 69)
    assert found.loc[1:, "area"].tolist() == pytest.approx([0.25] * 69)

    lower = np.broadcast_to(SIDE // 2 <= ROWS, part.shape)
    assert shares(None, regions(part, wholes=lower))["evidence"].isna().all()  # no evidence in the whole
    left = np.broadcast_to(COLUMNS < SIDE // 2, part.shape)
    within = shares(None, regions(part & left, wholes=left)).loc[1:]
    assert within["evidence"].tolist() == pytest.approx([0.5] * 69)
    assert within["area"].tolist() == pytest.approx([0.25] * 69)


def test_without_classes_the_heat_map_is_that_of_the_most_probable_grade():
    model = resnet18.build("none", seed=3)
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE), dtype=np.uint8)
    classes = resnet18.probabilities(model, images, device="cpu").argmax(axis=1)
    expected = resnet18.grad_cam(model, images, classes, device="cpu")
    np.testing.assert_allclose(resnet18.grad_cam(model, images, None, device="cpu"), expected, atol=1e-6)


def test_slices_with_a_tumour_are_those_whose_mask_is_not_empty(monkeypatch):
    """The mask is resized like the image; empty masks and slices that cannot be read are skipped."""
    head = np.where(HEAD, 500, 0)
    tumour = (abs(ROWS - 60) < 10) & (abs(COLUMNS - 112) < 10)
    frames = {"image": head, "mask": tumour * 1, "empty": tumour * 0}

    def read_frame(path, frame):
        if path == "broken":
            raise evidence.DicomError("undecodable", "x")
        return frames[path]

    monkeypatch.setattr(evidence.reading, "read_frame", read_frame)
    common = {"StudyDate": "2000-01-01", "Rows": SIDE, "Columns": SIDE, "frame": 0, "plane": "axial"}
    rows = [
        {**common, "PatientID": patient, "sequence": sequence, "position_mm": position, "path": path}
        for patient in ("A", "B")
        for position, (image, mask) in enumerate([("image", "mask"), ("image", "empty"), ("broken", "mask")])
        for sequence, path in (("T1post", image), ("mask", mask))
    ]
    found = evidence.in_tumour(pd.DataFrame(rows), scaling="robust", count=10, seed=0)
    assert sorted(found.patients) == ["A", "B"]
    assert (found.parts == tumour).all()
    assert (found.wholes & HEAD).sum() / (found.wholes | HEAD).sum() > 0.97
    assert len(evidence.in_tumour(pd.DataFrame(rows), scaling="robust", count=1, seed=0).patients) == 1
    without = pd.DataFrame(rows)[lambda table: table["sequence"] != "mask"]
    assert evidence.in_tumour(without, scaling="robust", count=5, seed=0).parts.shape == (0, SIDE, SIDE)
