"""Metrics of the regions from made-up tables of the stage `regions`."""

import numpy as np
import pandas as pd
import pytest

from tumorprog.evaluation import overlap
from tumorprog.regions.columns import LESIONS, SCORES

OPTIONS = {"resamples": 200, "seed": 0}
ROWS = [
    # patient, series, sequence, method, both, region, mask, region_ml, mask_ml, hd95_mm, lesions, found, false
    ("A", "1", "T1post", "learned", 50, 100, 100, 20.0, 20.0, 4.0, 2, 1, 3),
    ("A", "2", "T1post", "learned", 100, 100, 100, 12.0, 12.0, 0.0, 1, 1, 0),
    ("B", "3", "T1post", "learned", 0, 0, 10, 0.0, 2.0, np.nan, 1, 0, 0),
    ("B", "4", "T1post", "learned", 0, 70, 0, 7.0, 0.0, np.nan, 0, 0, 1),  # empty mask
    ("A", "1", "T1post", "brightest", 10, 900, 100, 180.0, 20.0, 60.0, 2, 1, 9),
    ("B", "3", "T1post", "brightest", 5, 90, 10, 18.0, 2.0, 50.0, 1, 1, 9),
    ("A", "5", "T2", "component", 30, 40, 80, 4.0, 8.0, np.nan, np.nan, np.nan, np.nan),
]
FOUND = [
    ("A", "1", "T1post", "learned", 1, 19.5, 15.0),
    ("A", "1", "T1post", "learned", 2, 0.5, 0.0),
    ("A", "2", "T1post", "learned", 1, 12.0, 12.0),
    ("B", "3", "T1post", "learned", 1, 2.0, 0.0),
    ("A", "1", "T1post", "brightest", 1, 19.5, 0.1),
]


def tables():
    names = ["PatientID", "SeriesInstanceUID", "sequence", "method", *SCORES[7:]]
    scores = pd.DataFrame(ROWS, columns=names).assign(date="2000-01-01", stack=0, model="")[list(SCORES)]
    lesions = pd.DataFrame(FOUND, columns=[name for name in LESIONS if name != "date"]).assign(date="2000-01-01")
    return scores, lesions


def metrics():
    return overlap.agreement_by_sequence(*tables(), **OPTIONS)


def values(method, sequence):
    return {name: metric["value"] for name, metric in metrics()[method][sequence].items()}


def test_the_metrics_of_the_segmented_sequence():
    found = values("learned", "T1post")
    assert found["dice"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)  # without the empty mask
    assert found["dice_over_10_ml"] == pytest.approx(0.75)
    assert found["hd95_mm"] == 2.0
    assert found["volume_error_ml"] == pytest.approx((0 + 0 - 2 + 7) / 4)
    assert found["absolute_volume_error_ml"] == pytest.approx(9 / 4)
    assert found["volume_error_lower_limit_ml"] < found["volume_error_ml"] < found["volume_error_upper_limit_ml"]
    assert found["false_lesions"] == 1.0
    assert found["lesions_found"] == 0.5
    by_size = {name.removeprefix("lesions_found_"): value for name, value in found.items() if "found_" in name}
    assert by_size == {"under_1_ml": 0.0, "1_to_10_ml": 0.0, "over_10_ml": 1.0}


def test_methods_are_compared_on_the_scans_that_both_have():
    found = metrics()["learned"]["T1post"]["dice_minus_brightest"]
    assert found["value"] == pytest.approx((0.5 - 0.02 + 0.0 - 0.1) / 2)
    assert (found["n"], found["patients"]) == (2, 2)
    assert "dice_minus_component" not in metrics()["learned"]["T1post"]
    assert not any(name.startswith("dice_minus") for name in metrics()["brightest"]["T1post"])


def test_other_sequences_have_no_distances_and_lesions():
    found = values("component", "T2")
    assert found["dice"] == pytest.approx(0.5)
    assert found["volume_error_ml"] == -4.0
    assert not {"hd95_mm", "lesions_found", "false_lesions"} & found.keys()
    assert overlap.scored_in_full(metrics()) == "T1post"
    assert overlap.scored_in_full({"component": metrics()["component"]}) == ""


def test_what_is_not_defined_says_why():
    found = metrics()["component"]["T2"]
    assert found["dice_over_10_ml"]["value"] is None
    assert found["dice_over_10_ml"]["reason"] == "no mask is so large"
    assert found["dice"]["reason"] == "1 patient; an interval needs 5"
    scores, lesions = tables()
    unknown = scores.assign(region_ml=np.nan, mask_ml=np.nan, hd95_mm=np.nan)
    found = overlap.agreement_by_sequence(unknown, lesions[:0], **OPTIONS)["learned"]["T1post"]
    assert found["volume_error_lower_limit_ml"]["reason"] == "volumes are unknown"
    assert found["hd95_mm"]["reason"] == "every region is empty"
    assert found["lesions_found"]["reason"] == "no lesion has this size"


def test_the_intervals_are_over_patients():
    scores, lesions = tables()
    many = [
        pd.concat(table.assign(PatientID=table["PatientID"] + str(n)) for n in range(3)) for table in (scores, lesions)
    ]
    found = overlap.agreement_by_sequence(*many, **OPTIONS)["learned"]["T1post"]
    assert {found[name]["patients"] for name in ("dice", "lesions_found", "volume_error_upper_limit_ml")} == {6}
    for name in ("dice", "lesions_found", "volume_error_ml", "false_lesions", "dice_minus_brightest"):
        assert found[name]["lower"] < found[name]["value"] < found[name]["upper"], name


def test_without_masks_there_are_no_metrics():
    scores, lesions = tables()
    assert overlap.agreement_by_sequence(scores.assign(mask=0), lesions, **OPTIONS) == {}
    assert overlap.agreement_by_sequence(scores[:0], lesions[:0], **OPTIONS) == {}


def test_the_table_of_the_patients_has_means_over_scans_and_numbers_of_lesions():
    found = overlap.by_patient(tables()[0], "T1post").set_index(["PatientID", "method"])
    one = found.loc[("A", "learned")]
    assert one.to_dict() == {
        **{"scans": 2, "mask_ml": 16.0, "region_ml": 16.0, "dice": 0.75, "hd95_mm": 2.0},
        **{"lesions": 3, "lesions_found": 2, "false_lesions": 3},
    }
    assert found.loc[("B", "learned"), "scans"] == 1
    assert len(found) == 4
