import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import Dataset

from tumorprog.errors import InputError
from tumorprog.evaluation.overlap import COUNTS
from tumorprog.imaging import roi
from tumorprog.settings import Settings, with_values
from tumorprog.stages import regions

SIDE = 64


def written(path, image):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"1.2.{abs(hash(path.name)) % 10**9}"
    dataset.Modality, dataset.PatientID, dataset.SeriesInstanceUID = "MR", "P", "1.2.3"
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = image.astype(np.uint16).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    return str(path)


@pytest.fixture
def slices(tmp_path):
    """Two slices of one series, and of its mask: the tumour stands on the second, beside something as bright."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    tumour = (abs(rows - 20) < 6) & (abs(columns - 40) < 6)
    other = (abs(rows - 44) < 6) & (abs(columns - 20) < 6)
    head = np.where(np.hypot(rows - 32, columns - 32) < 30, 400, 10)
    images = {0: head, 1: np.where(tumour | other, 900, head)}
    masks = {0: np.zeros_like(head), 1: tumour}
    known = {"frame": 0, "PatientID": "P", "StudyDate": "2000-01-01", "Rows": SIDE, "Columns": SIDE}
    return pd.DataFrame(
        [
            {
                **known,
                "path": written(tmp_path / f"{kind}-{order}.dcm", image),
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
    )[list(regions.COLUMNS)]


def test_an_overlap_counts_the_pixels_of_all_slices_with_the_same_position(slices):
    found = regions.overlaps(slices)
    assert list(found.columns) == [name for name in COUNTS if name in found.columns]
    assert found["method"].tolist() == sorted(roi.REGIONS)
    brightest = found.set_index("method").loc["brightest"]
    tumour = 121 * 16  # 11 x 11 pixels, four times as large on either side
    assert brightest["mask"] == pytest.approx(tumour, rel=0.1)
    assert brightest["both"] == pytest.approx(tumour, rel=0.1)
    # the head of the slice without tumour is its brightest cluster; on the other slice there are two squares
    assert brightest["region"] > 2 * tumour + 10_000


def test_a_mask_at_another_place_or_of_another_size_is_not_compared(slices):
    moved = slices.assign(position_mm=slices["position_mm"] + 1.0 * (slices["sequence"] == "mask"))
    assert regions.overlaps(moved).empty
    assert regions.overlaps(slices.assign(Rows=np.where(slices["sequence"] == "mask", 32, SIDE))).empty
    assert regions.overlaps(slices[slices["sequence"] != "mask"]).empty


def test_of_a_series_of_several_stacks_the_middle_of_the_first_is_shown(slices):
    """Not the middle of all slices, which is where one stack ends."""
    one = slices[slices["sequence"] == "T1post"]
    both = pd.concat([one.assign(order=3 * stack + np.arange(2), stack=stack) for stack in range(3)])
    assert regions.example(one, Settings())["title"] == "T1post, slice 1 (of 0 to 1)"
    assert regions.example(both, Settings())["title"] == "T1post, stack 1 of 3, slice 1 (of 0 to 7)"
    assert regions.example(both, Settings(), order=7)["title"] == "T1post, stack 3 of 3, slice 7 (of 0 to 7)"


def test_a_series_is_found_by_its_uid_or_by_patient_date_and_type(slices):
    by_uid = regions.series_named(slices, ["1.T1post"])
    pd.testing.assert_frame_equal(by_uid, regions.series_named(slices, ["P", "2000-01-01", "T1post"]))
    assert len(by_uid) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["1.9"], r"no SeriesInstanceUID '1\.9'; there is 1\.T1post, 1\.mask"),
        (["P", "2000-01-02", "T1post"], "no StudyDate '2000-01-02'; there is 2000-01-01"),
        (["P", "2000-01-01"], "name a SeriesInstanceUID, or PatientID, date and Type"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(slices, words, told):
    with pytest.raises(InputError, match=told):
        regions.series_named(slices, words)


def test_two_series_of_one_name_are_told(slices):
    both = pd.concat([slices, slices.assign(SeriesInstanceUID="1.again")])
    with pytest.raises(InputError, match=r"2 series are called so: 1\.T1post, 1\.again"):
        regions.series_named(both, ["P", "2000-01-01", "T1post"])


def test_an_example_is_the_middle_slice_or_the_one_that_is_asked_for(slices):
    series = regions.series_named(slices, ["1.T1post"])
    middle = regions.example(series, Settings())
    assert middle["title"] == "T1post, slice 1 (of 0 to 1)"
    assert set(np.unique(middle["clusters"])) == {0, 1, 2}
    np.testing.assert_array_equal(middle["mask"], middle["clusters"] == 2)
    assert regions.example(series, Settings(), order=0)["title"] == "T1post, slice 0 (of 0 to 1)"
    component = regions.example(series, with_values(Settings(), {"roi.method": "component"}))
    assert 0 < component["mask"].sum() < middle["mask"].sum()
    with pytest.raises(InputError, match="--slice 2: the series has slices 0 to 1"):
        regions.example(series, Settings(), order=2)
