import datetime
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.formats import naming

AXES = {
    "axial": [1, 0, 0, 0, 1, 0],
    "coronal": [1, 0, 0, 0, 0, -1],
    "sagittal": [0, 1, 0, 0, 0, -1],
}


def tilted(degrees, cosines):
    angle = math.radians(degrees)
    rotation = [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    return (np.reshape(cosines, (2, 3)) @ np.transpose(rotation)).ravel().tolist()


@pytest.mark.parametrize(("plane", "cosines"), AXES.items())
def test_the_three_planes_are_named_in_either_direction(plane, cosines):
    row, column = cosines[:3], cosines[3:]
    assert {naming.plane(row + column), naming.plane(column + row)} == {plane}
    assert naming.plane(tilted(30, cosines)) == plane


def test_an_orientation_half_way_between_two_planes_is_oblique():
    assert naming.plane(tilted(45, AXES["axial"])) == "oblique"


@pytest.mark.parametrize("cosines", [[], [1, 0, 0], [0] * 6, [1, 0, 0, 1, 0, 0], [math.nan] * 6, [1e9] * 6])
def test_cosines_that_span_no_plane_have_no_name(cosines):
    assert naming.plane(cosines) == ""
    assert naming.normal_of(cosines) is None


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_the_normal_is_an_orthogonal_unit_vector_whose_largest_component_is_positive(numbers):
    normal = naming.normal_of(numbers)
    if normal is not None:
        np.testing.assert_allclose(np.reshape(numbers, (2, 3)) @ normal, 0, atol=1e-12)
        assert math.isclose(np.linalg.norm(normal), 1)
        assert max(normal) >= -min(normal) - 0.05  # the largest is chosen after rounding to two decimals


def test_slices_that_differ_in_the_last_digits_agree_on_the_direction():
    half = math.sqrt(0.5)
    nearly = [naming.normal_of([1, 0, 0, 0, half + jitter, half - jitter]) for jitter in (-1e-6, 0, 1e-6)]
    np.testing.assert_allclose(nearly, [nearly[0]] * 3, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "19920618",
        "1992.06.18",
        "1992-06-18",
        "06-18-1992",
        " 19920618 ",
        "1992/06/18",
        "6-18-1992",
        "19920618\0",
        "19920618235900.5",
        "199206182359",
    ],
)
def test_a_date_is_read_in_every_format(text):
    assert naming.parse_date(text) == "1992-06-18"


@pytest.mark.parametrize(
    "text",
    ["", "19921318", "19920231", "18-06-1992", "1992", "00000000", "19920618-19920701", "x", "1992-06.18", "٢٠٢٠٠١٠١"],
)
def test_text_that_is_not_a_date_gives_an_empty_string(text):
    assert naming.parse_date(text) == ""


@given(st.dates(min_value=datetime.date(1900, 1, 1), max_value=datetime.date(2200, 12, 31)))
def test_every_date_is_read_in_the_three_usual_formats(day):
    formats = (f"{day:%Y%m%d}", f"{day:%m-%d-%Y}", f"{day:%Y-%m-%d}")
    assert {naming.parse_date(text) for text in formats} == {day.isoformat()}


STUDY_UID, SERIES_UID = "1.3.6.1.4.1.14519.5.2.1.1706.4001.1", "1.3.6.1.4.1.14519.5.2.1.1706.4001.2"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "PGBM-010/06-18-1992-FH-HEADBrain Protocols-39987/5341.000000-MaskTumor-75889/1-01.dcm",
            ("PGBM-010", "1992-06-18", "MaskTumor"),
        ),
        (
            "/a/PGBM-003/10-17-1995-MR RCBV SEQUENCE-57198/34911-T1prereg-46949/000008.dcm",
            ("PGBM-003", "1995-10-17", "T1prereg"),
        ),
        ("/a/900-00-1961/03-01-2005-NA-NA-12345/4.000000-NA-54321/1-01.dcm", ("900-00-1961", "2005-03-01", "")),
        ("/a/900-00-1961/03-01-2005-NA--12345/4.000000--54321/1-01.dcm", ("900-00-1961", "2005-03-01", "")),
        ("/a/900-00-1961/03-01-2005-12345/4-54321/1-01.dcm", ("900-00-1961", "2005-03-01", "")),
        (
            "/a/HF0652/03-01-1995-MR-BRAIN W-WO-.1234/2-AX T1 - 12345-3.123/1.dcm",
            ("HF0652", "1995-03-01", "AX T1 - 12345"),
        ),
        ("/a/P/13-41-1995-X-12345/2-AX-12345/1.dcm", ("P", "", "AX")),
        ("/data/2004/scan-T1-12345/x.dcm", ("", "", "")),
        ("x.dcm", ("", "", "")),
        ("", ("", "", "")),
    ],
)
def test_descriptive_folders_give_patient_date_and_description(path, expected):
    identity = naming.identity_from_folder(path.rpartition("/")[0])
    assert (identity["PatientID"], identity["StudyDate"], identity["SeriesDescription"]) == expected
    assert identity["StudyInstanceUID"] == identity["SeriesInstanceUID"] == ""


def test_classic_folders_give_patient_and_uids_and_flat_folders_the_series_uid():
    classic = naming.identity_from_folder(f"/a/PGBM-001/{STUDY_UID}/{SERIES_UID}")
    flat = naming.identity_from_folder(f"/downloads/{SERIES_UID}")
    empty = dict.fromkeys(classic, "")
    uids = {"StudyInstanceUID": STUDY_UID, "SeriesInstanceUID": SERIES_UID}
    assert classic == {**empty, "PatientID": "PGBM-001", **uids}
    assert flat == {**empty, "SeriesInstanceUID": SERIES_UID}
