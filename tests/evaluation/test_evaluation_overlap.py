import pandas as pd
import pytest

from tumorprog.evaluation import overlap
from tumorprog.regions.columns import OVERLAPS

ROWS = [
    ("A", "1", "FLAIR", "brightest", 50, 100, 100),
    ("A", "2", "FLAIR", "brightest", 100, 100, 100),
    ("B", "3", "FLAIR", "brightest", 0, 0, 10),
    ("B", "4", "FLAIR", "brightest", 0, 70, 0),  # empty mask
    ("A", "5", "T2", "component", 30, 40, 80),
]


def dice_metrics():
    table = pd.DataFrame(ROWS, columns=list(OVERLAPS))
    return overlap.dice_by_sequence(table, resamples=200, seed=0)


def test_dice_is_the_mean_over_series_with_a_mask():
    assert dice_metrics()["brightest"]["FLAIR"]["dice"]["value"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert dice_metrics()["brightest"]["FLAIR"]["dice"]["n"] == 3
    assert dice_metrics()["component"]["T2"]["dice"]["value"] == pytest.approx(0.5)


def test_the_interval_is_over_patients():
    dice = dice_metrics()["brightest"]["FLAIR"]["dice"]
    assert (dice["lower"], dice["reason"]) == (None, "2 patients; an interval needs 5")
    many = pd.concat(
        pd.DataFrame(ROWS, columns=list(OVERLAPS)).assign(PatientID=lambda rows, n=n: rows["PatientID"] + str(n))
        for n in range(3)
    )
    found = overlap.dice_by_sequence(many, resamples=200, seed=0)["brightest"]["FLAIR"]["dice"]
    assert found["patients"] == 6
    assert found["lower"] < found["value"] < found["upper"]


def test_without_masks_there_are_no_metrics():
    table = pd.DataFrame(ROWS, columns=list(OVERLAPS)).assign(mask=0)
    assert overlap.dice_by_sequence(table, resamples=10, seed=0) == {}
