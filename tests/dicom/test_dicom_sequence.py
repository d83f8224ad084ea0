import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.dicom.sequence import canonical_sequence
from tumorprog.settings import SEQUENCES

T1_PHYSICS = {"ScanningSequence": "SE", "RepetitionTime": 500.0, "EchoTime": 14.0, "FlipAngle": 90.0}


def described(text, **fields):
    return canonical_sequence({"SeriesDescription": text, **fields})[0]


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
    told = canonical_sequence({"SeriesDescription": description, **misleading})
    assert told == (sequence, "SeriesDescription", "texts", "")


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
    assert canonical_sequence(fields)[:2] == ("T1post", "ContrastBolusAgent")
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
        physics = {} if "SeriesDescription" in fields or "ProtocolName" in fields else T1_PHYSICS
        told.append(canonical_sequence({**physics, **fields})[:2])
    assert told == [
        ("T2", "SeriesDescription"),
        ("FLAIR", "ProtocolName"),
        ("localizer", "ImageType"),
        ("T1pre", "physics"),
    ]


@pytest.mark.parametrize("protocol", ["BRAIN W/WO T1 T2", "HEAD/PERFUSION", "ROUTINE BRAIN"])
def test_the_name_of_a_whole_examination_leaves_it_to_the_physics(protocol):
    assert canonical_sequence({"ProtocolName": protocol, **T1_PHYSICS})[:2] == ("T1pre", "physics")


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
    told = canonical_sequence(fields)[:2]
    assert told == (sequence, "" if sequence == "other" else "physics")


def test_nothing_known_is_other():
    assert canonical_sequence({}) == ("other", "", "", "")


@given(st.text(), st.one_of(st.none(), st.text()), st.one_of(st.none(), st.floats(), st.text()))
def test_any_header_gets_one_of_the_known_names(description, protocol, number):
    fields = {"SeriesDescription": description, "ProtocolName": protocol, "EchoTime": number, "RepetitionTime": number}
    sequence, source, _, _ = canonical_sequence(fields)
    assert sequence in {*SEQUENCES, "mask", "localizer"}
    assert (source == "") == (sequence == "other")
