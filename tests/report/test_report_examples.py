"""Examples of feature vectors: which slice of which series they show."""

import numpy as np
import pandas as pd
import pytest

from tumorprog.errors import InputError
from tumorprog.report.regions import examples as feature_examples

SIDE = 64
OPTIONS = {"wavelet": "haar"}
PLACE = "axial, slice 2 of 2, z = 5 mm; region: mask"


@pytest.fixture
def slices(tmp_path, write_dicom):
    """Two slices of a series and of its mask; the second shows the tumour and another region of the same intensity."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    tumour = (abs(rows - 20) < 6) & (abs(columns - 40) < 6)
    other = (abs(rows - 44) < 6) & (abs(columns - 20) < 6)
    head = np.where(np.hypot(rows - 32, columns - 32) < 30, 400, 10)
    images = {0: head, 1: np.where(tumour | other, 900, head)}
    masks = {0: np.zeros_like(head), 1: tumour}
    common = {"frame": 0, "PatientID": "P", "StudyDate": "2000-01-01", "Rows": SIDE, "Columns": SIDE}
    common |= {"row_spacing_mm": 1.0, "column_spacing_mm": 1.0, "plane": "axial", "orientation": "1,0,0,0,1,0"}
    return pd.DataFrame(
        [
            {
                **common,
                "path": write_dicom(tmp_path / f"{kind}-{order}.dcm", image),
                "SeriesInstanceUID": f"1.{kind}",
                "Type": "T1post" if kind == "T1post" else "MaskTumor",
                "sequence": kind,
                "position_mm": 5.0 * order,
                "stack": 0,
                "order": order,
            }
            for kind, stack in (("T1post", images), ("mask", masks))
            for order, image in stack.items()
        ]
    )[list(feature_examples.COLUMNS)]


def test_the_example_of_a_series_of_several_stacks_is_the_middle_slice_of_the_first_stack(slices, write_regions):
    """The middle of all slices would be at the end of a stack."""
    regions = write_regions(slices)
    one = slices[slices["sequence"] == "T1post"]
    both = pd.concat([one.assign(order=3 * stack + np.arange(2), stack=stack) for stack in range(3)])
    assert feature_examples.example(one, regions, OPTIONS)["title"] == f"T1post, {PLACE}"
    first, last = (feature_examples.example(both, regions, OPTIONS, order=order) for order in (None, 7))
    assert (first["title"], first["order"]) == (f"T1post, stack 1 of 3, {PLACE}", 1)
    assert (last["title"], last["order"]) == (f"T1post, stack 3 of 3, {PLACE}", 7)


def test_a_series_is_found_by_its_uid_or_by_patient_date_and_type(slices):
    by_uid = feature_examples.select_series(slices, ["1.T1post"])
    pd.testing.assert_frame_equal(by_uid, feature_examples.select_series(slices, ["P", "2000-01-01", "T1post"]))
    assert len(by_uid) == 2


@pytest.mark.parametrize(
    ("identifiers", "message"),
    [
        (["1.9"], r"no SeriesInstanceUID '1\.9'; available: 1\.T1post, 1\.mask"),
        (["P", "2000-01-02", "T1post"], "no StudyDate '2000-01-02'; available: 2000-01-01"),
        (["P", "2000-01-01"], "give a SeriesInstanceUID, or PatientID, date and Type"),
    ],
)
def test_the_error_for_a_missing_series_lists_the_available_values(slices, identifiers, message):
    with pytest.raises(InputError, match=message):
        feature_examples.select_series(slices, identifiers)


def test_an_ambiguous_series_is_an_error(slices):
    both = pd.concat([slices, slices.assign(SeriesInstanceUID="1.again")])
    with pytest.raises(InputError, match=r"2 series match: 1\.T1post, 1\.again"):
        feature_examples.select_series(both, ["P", "2000-01-01", "T1post"])


def test_an_example_is_the_middle_slice_or_the_requested_one(slices, write_regions):
    series, regions = feature_examples.select_series(slices, ["1.T1post"]), write_regions(slices)
    middle = feature_examples.example(series, regions, OPTIONS)
    assert middle["title"] == f"T1post, {PLACE}"
    assert set(np.unique(middle["clusters"])) == {0, 1, 2}
    assert middle["mask"].sum() == 50 * 70  # of the table of regions
    first = feature_examples.example(series, regions, OPTIONS, order=0)
    assert first["title"] == "T1post, axial, slice 1 of 2, z = 0 mm; region: mask"
    with pytest.raises(InputError, match="--slice 2: the series has slices 0 to 1"):
        feature_examples.example(series, regions, OPTIONS, order=2)
