import datetime
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.dicom import naming
from tumorprog.settings import SEQUENCES

T1_PHYSICS = {"ScanningSequence": "SE", "RepetitionTime": 500.0, "EchoTime": 14.0, "FlipAngle": 90.0}


def described(text, **fields):
    return naming.canonical_sequence({"SeriesDescription": text, **fields})[0]


@pytest.mark.parametrize(
    ("description", "sequence"),
    {
        "T1post": "T1post",
        "dT1": "dT1",
        "T1prereg": "T1pre",
        "FLAIRreg": "FLAIR",
        "ADCreg": "ADC",
        "sRCBVreg": "sRCBV",
        "nRCBVreg": "nRCBV",
        "nCBFreg": "nCBF",
        "T2reg": "T2",
        "MaskTumor": "mask",
    }.items(),
)
def test_the_ten_descriptions_of_btp_are_known_whatever_else_the_header_says(description, sequence):
    # the agent stands in the headers of whole studies, derived maps keep the physics of what they were made from
    misleading = {**T1_PHYSICS, "ProtocolName": "AX T2 FLAIR", "ContrastBolusAgent": "MAGNEVIST"}
    assert naming.canonical_sequence({"SeriesDescription": description, **misleading}) == (
        sequence,
        "SeriesDescription",
    )


@pytest.mark.parametrize(
    ("description", "sequence"),
    [
        ("AX T1 POST GD", "T1post"),
        ("AX T1 +C", "T1post"),
        ("AX T1 + C", "T1post"),
        ("T1 SE POST", "T1post"),
        ("COR T1 GD", "T1post"),
        ("SAG T1 W/C", "T1post"),
        ("AX T1 WITH CONTRAST", "T1post"),
        ("AXT1POSTGAD", "T1post"),
        ("t1_se_tra_post km", "T1post"),
        ("MPRAGE POST", "T1post"),
        ("T1 IR PREP POST GD", "T1post"),
        ("T1 SE PRE", "T1pre"),
        ("SAG T1", "T1pre"),
        ("AX T1 W/O", "T1pre"),
        ("AX T1 WITHOUT CONTRAST", "T1pre"),
        ("AX T1 NON-CONTRAST", "T1pre"),
        ("T1 POSTERIOR FOSSA", "T1pre"),
        ("anat-T1w", "T1pre"),
        ("AX T1 FLAIR", "T1pre"),
        ("3D T1 SPGR", "T1pre"),
        ("AX T1 GRE", "T1pre"),
        ("AX T2 FLAIR", "FLAIR"),
        ("AX FLAIR POST GD", "FLAIR"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("AX T2 FSE", "T2"),
        ("T2 TSE COR", "T2"),
        ("AX T2* GRE", "other"),
        ("T2 STAR", "other"),
        ("AX T2 GRE", "other"),
        ("AX PD", "other"),
        ("DWI", "other"),
        ("AX DIFFUSION B1000", "other"),
        ("AX STIR", "other"),
        ("MRA TOF", "other"),
        ("eADC", "other"),
        ("rCBV", "other"),
        ("AX ADC MAP", "ADC"),
        ("Apparent Diffusion Coefficient (mm2/s)", "ADC"),
        ("T1 SUBTRACTION", "dT1"),
        ("delta T1", "dT1"),
        ("3-plane loc", "localizer"),
        ("LOCALIZER", "localizer"),
        ("3 PLANE LOCALISER", "localizer"),
        ("scout", "localizer"),
        ("tumor mask", "mask"),
        ("Segmentation", "mask"),
    ],
)
def test_clinical_spellings_are_understood_in_any_case(description, sequence):
    assert {described(description), described(description.lower()), described(description.upper())} == {sequence}


def test_the_agent_tells_contrast_where_the_words_do_not():
    fields = {"SeriesDescription": "SAG T1", "ContrastBolusAgent": "MAGNEVIST"}
    assert naming.canonical_sequence(fields) == ("T1post", "ContrastBolusAgent")
    assert described("T1 SE PRE", ContrastBolusAgent="MAGNEVIST") == "T1pre"
    assert described("SAG T1", ContrastBolusAgent="NONE") == "T1pre"
    assert described("AX T2 FSE", ContrastBolusAgent="MAGNEVIST") == "T2"
    assert described("T1 W/WO CONTRAST", ContrastBolusAgent="MAGNEVIST") == "T1post"
    assert described("T1 W/WO CONTRAST") == "T1pre"


def test_the_early_echo_of_a_dual_echo_series_is_not_t2():
    assert [described("AX PD/T2", EchoTime=echo) for echo in (20.0, 90.0)] == ["other", "T2"]


def test_the_sources_are_asked_in_their_order():
    texts = {"SeriesDescription": "AX T2 FSE", "ProtocolName": "AX FLAIR", "ImageType": ["ORIGINAL", "LOCALIZER"]}
    told = []
    for left_out in itertools.accumulate([[], ["SeriesDescription"], ["ProtocolName"], ["ImageType"]]):
        fields = {keyword: value for keyword, value in texts.items() if keyword not in left_out}
        told.append(naming.canonical_sequence({**T1_PHYSICS, **fields}))
    assert told == [
        ("T2", "SeriesDescription"),
        ("FLAIR", "ProtocolName"),
        ("localizer", "ImageType"),
        ("T1pre", "physics"),
    ]


@pytest.mark.parametrize("protocol", ["BRAIN W/WO T1 T2", "HEAD/PERFUSION", "ROUTINE BRAIN"])
def test_the_name_of_a_whole_examination_leaves_it_to_the_physics(protocol):
    assert naming.canonical_sequence({"ProtocolName": protocol, **T1_PHYSICS}) == ("T1pre", "physics")


@pytest.mark.parametrize(
    ("scanning", "name", "times", "sequence"),
    [
        ("SE", "*se2d1", (500, 14, 0, 90), "T1pre"),
        ("", "", (450, 10, None, None), "T1pre"),
        ("SE", "*tse2d1_15", (3800, 98, 0, 180), "T2"),
        ("SE\\IR", "*tir2d1_21", (9000, 115, 2300, 180), "FLAIR"),
        (["SE", "IR"], "", (8000, 120, None, 90), "FLAIR"),
        ("GR\\IR", "*tfl3d1", (2000, 3.5, 1100, 15), "T1pre"),
        ("GR", "*fl3d1", (25, 5, None, 40), "T1pre"),
        ("GR", "*fl2d1", (250, 5, None, 70), "T1pre"),
        ("GR", "*fl2d1", (15, 6, None, 40), "localizer"),
        ("SE", "", (2500, 20, None, 90), "other"),
        ("IR", "", (5000, 50, 150, 90), "other"),
        ("GR", "", (600, 25, None, 20), "other"),
        ("EP", "*ep_b1000", (8000, 100, None, 90), "other"),
        ("EP", "*epfid2d1_128", (1900, 54, None, 90), "other"),
        ("SE", "", (None, None, None, None), "other"),
        ("", "", (math.nan, 14, math.nan, math.nan), "other"),
    ],
)
def test_physics_tells_the_sequence_where_nothing_is_written(scanning, name, times, sequence):
    keywords = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")
    fields = {"ScanningSequence": scanning, "SequenceName": name, **dict(zip(keywords, times, strict=True))}
    told = naming.canonical_sequence(fields)
    assert told == (sequence, "" if sequence == "other" else "physics")


def test_nothing_known_is_other():
    assert naming.canonical_sequence({}) == ("other", "")


@given(st.text(), st.one_of(st.none(), st.text()), st.one_of(st.none(), st.floats(), st.text()))
def test_any_header_gets_one_of_the_known_names(description, protocol, number):
    fields = {"SeriesDescription": description, "ProtocolName": protocol, "EchoTime": number, "RepetitionTime": number}
    sequence, source = naming.canonical_sequence(fields)
    assert sequence in {*SEQUENCES, "mask", "localizer"}
    assert (source == "") == (sequence == "other")


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
def test_the_three_planes_have_their_names_in_either_direction(plane, cosines):
    row, column = cosines[:3], cosines[3:]
    assert {naming.plane(row + column), naming.plane(column + row)} == {plane}
    assert naming.plane(tilted(30, cosines)) == plane


def test_half_way_between_two_planes_is_oblique():
    assert naming.plane(tilted(45, AXES["axial"])) == "oblique"


@pytest.mark.parametrize("cosines", [[], [1, 0, 0], [0] * 6, [1, 0, 0, 1, 0, 0], [math.nan] * 6, [1e9] * 6])
def test_what_spans_no_plane_has_no_name(cosines):
    assert naming.plane(cosines) == ""
    assert naming.normal_of(cosines) is None


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_the_normal_is_a_unit_vector_at_right_angles_that_points_up_its_largest_axis(numbers):
    normal = naming.normal_of(numbers)
    if normal is not None:
        np.testing.assert_allclose(np.reshape(numbers, (2, 3)) @ normal, 0, atol=1e-12)
        assert math.isclose(np.linalg.norm(normal), 1)
        assert max(normal) >= -min(normal) - 0.05  # the largest is chosen among numbers of two decimals


def test_slices_that_differ_in_the_last_digits_agree_on_the_direction():
    half = math.sqrt(0.5)
    nearly = [naming.normal_of([1, 0, 0, 0, half + jitter, half - jitter]) for jitter in (-1e-6, 0, 1e-6)]
    np.testing.assert_allclose(nearly, [nearly[0]] * 3, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    ["19920618", "1992.06.18", "1992-06-18", "06-18-1992", " 19920618 ", "1992/06/18", "6-18-1992", "19920618\0"],
)
def test_a_date_is_read_in_every_spelling(text):
    assert naming.parse_date(text) == "1992-06-18"


@pytest.mark.parametrize(
    "text",
    ["", "19921318", "19920231", "18-06-1992", "1992", "00000000", "19920618-19920701", "x", "1992-06.18", "٢٠٢٠٠١٠١"],
)
def test_what_is_no_date_is_empty(text):
    assert naming.parse_date(text) == ""


@given(st.dates(min_value=datetime.date(1900, 1, 1), max_value=datetime.date(2200, 12, 31)))
def test_every_date_survives_the_three_usual_spellings(day):
    spellings = (f"{day:%Y%m%d}", f"{day:%m-%d-%Y}", f"{day:%Y-%m-%d}")
    assert {naming.parse_date(text) for text in spellings} == {day.isoformat()}


STUDY_UID, SERIES_UID = "1.3.6.1.4.1.14519.5.2.1.1706.4001.1", "1.3.6.1.4.1.14519.5.2.1.1706.4001.2"


@pytest.mark.parametrize(
    ("path", "told"),
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
def test_descriptive_folders_tell_patient_date_and_description(path, told):
    identity = naming.identity_from_folder(path.rpartition("/")[0])
    assert (identity["PatientID"], identity["StudyDate"], identity["SeriesDescription"]) == told
    assert identity["StudyInstanceUID"] == identity["SeriesInstanceUID"] == ""


def test_classic_folders_tell_patient_and_uids_and_flat_ones_the_series():
    classic = naming.identity_from_folder(f"/a/PGBM-001/{STUDY_UID}/{SERIES_UID}")
    flat = naming.identity_from_folder(f"/downloads/{SERIES_UID}")
    nothing = dict.fromkeys(classic, "")
    uids = {"StudyInstanceUID": STUDY_UID, "SeriesInstanceUID": SERIES_UID}
    assert classic == {**nothing, "PatientID": "PGBM-001", **uids}
    assert flat == {**nothing, "SeriesInstanceUID": SERIES_UID}
