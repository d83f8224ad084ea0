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


SPELLINGS = {
    "T1post": (
        "mp rage +c",
        "AX_CUBE_POST",
        "COR POST GAD",
        "t1_se_tra_nach_KM",
        "T1 nach KM",
        "T1 mit KM",
        "t1_mprage_KM",
        "T1 apres injection",
        "T1 après gado",
        "T1 avec gado",
        "T1 con contraste",
        "T1 con mdc",
        "T1 dopo mdc",
        "T1 met contrast",
        "T1 na contrast",
        "T1 na gd",
        "T1 POST W/O FS",
        "T1 POST WITHOUT FAT SAT",
        "AX T1 C+ NO FS",
        "T1C",
        "T1c",
        "T1CE",
        "t1ce",
        "T1Gd",
        "t1gd",
        "t1+",
        "T1 +",
        "T1 civ",
        "T1 ENH",
        "AX T1 W CON",
        "AX T1 W/CON",
        "AX T1 WITH CON",
        "T1 mdc",
        "T1 iv gd",
        "T1 IV CONTRAST",
        "T1 c/c",
        "T1 C/ CONTRASTE",
        "T1 CON GADOLINIO",
        "T1w_post",
        "T1w-Gd",
        "T1w_CE",
        "T1WCE",
        "T1W_C+",
        "T1_CE",
        "T1 3D C+",
        "T1-weighted post-contrast",
        "T1 PRE-OP POST GAD",
        "T1 post op gd",
        "T1 kontrastmittel",
        "T1 W GD",
        "t1_tse_sag_320 KM",
        "T1_KM_SAG",
        "T1 POST CONTRAST 3D MPR",
        "T1 FS POST",
        "T1 GADOVIST",
        "T1 POST MPR",
        "t1_vibe_fs_km",
        "LAVA POST",
        "FSPGR POST",
        "T1 FLAIR POST",
        "WATER T1 POST",
        "T1 MDC SENZA FAT SAT",
        "T1 KM ohne FS",
        "T1 GADO SANS FAT SAT",
        "T1 NON-FS POST",
        "T1 3D GD NO MT",
        "Ax T1+C",
        "AX T1 GD+",
        "SAG T1 +GD",
        "T1 Gd-DTPA",
        "BRAVO C+",
        "CUBE T1 +C",
        "T1 SPACE POST",
        "t1_space_cor_dark-blood_CE",
        "CE T1",
        "T1 inj",
        "T1 INJECTE",
        "T1 EG 3D INJ",
        "T1 DESPUES DE CONTRASTE",
        "T1 dopo gadolinio",
        "T1 post mdc",
        "T1 CON CIV",
        "T1 C/CIV",
    ),
    "T1pre": (
        "T1 SE ohne KM",
        "T1 vor KM",
        "T1 sans gado",
        "T1 avant injection",
        "T1 sin contraste",
        "T1 senza mdc",
        "T1 prima di mdc",
        "T1 prima del mdc",
        "T1 zonder contrast",
        "T1 voor contrast",
        "T1 blanco",
        "T1 nativ",
        "T1 tra native",
        "AX T1 W/O FS",
        "AX T1 WO CON",
        "AX T1 W/O CON",
        "AX T1 NO CON",
        "AX T1 NON CON",
        "T1 s/c",
        "T1 S/ CONTRASTE",
        "T1 SE SANS GADO",
        "T1 SIN GADOLINIO",
        "T1-weighted pre-contrast",
        "T1 pre-op",
        "T1 POST-OP",
        "T1 postop ohne KM",
        "T1 un-enhanced",
        "T1 unenhanced",
        "T1 C-",
        "T1 Gd-",
        "T1 - C",
        "T1 ohne Kontrastmittel",
        "T1 without gadolinium",
        "T1 with",
        "T1 W",
        "T1 W/O",
        "W/O SAG T1",
        "PRE T1",
        "AX T1 PRE GAD",
        "AX T1 PRE AND POST GAD",
        "sub-01_T1w",
        "T1 MPR COR",
        "T1 MPRAGE",
        "t1_mp2rage_UNI",
        "t1_mp2rage_sag_p3_T1_Images",
        "MTC T1",
        "T1 VIBE",
        "LAVA FLEX",
        "AX T1 FLAIR",
        "T1 IR",
        "Patient Aligned MPR AWAKE T1",
        "T1_TFE_3D",
        "T1 VIBE DIXON IN PHASE",
        "T1 VIBE DIXON OPP PHASE",
        "T1 NATIV ohne FS",
        "T1 PRE FS",
        "T1 presat",
        "T1 without contrast fs",
        "T1 (without)",
        "POSTERIOR FOSSA T1",
        "T1 no fs",
        "Ax T1 w/",
        "T1 pre Gd-DTPA",
        "T1 DYN",
        "Synthetic T1 FLAIR",
        "Ax 3D BRAVO",
        "T1 non injecte",
        "T1 non inj",
        "T1 NON RENFORCE",
        "T1 ANTES CONTRASTE",
        "T1 basale",
        "T1 pre mdc",
        "T1 SIN CIV",
        "T1 S/CIV",
        "T1 S/GD",
        "Ax T1 WO",
        "Ax T1 WO GD",
        "t1 w/o and w/ contrast",
        "T1 with and without contrast",
    ),
    "FLAIR": (
        "t2_spc_da-fl_sag",
        "t2_tirm_tra",
        "t2_space_dark-fluid",
        "T2 SPACE DARK FLUID",
        "FLAIR GD",
        "3D FLAIR CUBE",
    ),
    "other": (
        "t2_fl2d_tra_hemo",
        "t2_me2d_tra",
        "t2_medic",
        "T2W_FFE",
        "T2W FFE hemo",
        "T2 GRE",
        "SWI",
        "SWIp",
        "T2 SWI",
        "t2_swi3d_tra",
        "T2_FLASH",
        "t2_fl3d_tra_p2_swi",
        "T2* FFE",
        "T2STAR",
        "t2star",
        "T2_MERGE",
        "FLAIR SUB",
        "T1 MAP",
        "T2 MAP",
        "T2_MAP",
        "T2MAP",
        "T2*MAP",
        "T1 mapping",
        "T1map_MOLLI",
        "T2 MapIt",
        "T1 POST MIP",
        "T1 MIP",
        "T1 MINIP",
        "minIP",
        "MIP_T1",
        "T1 PHASE",
        "EXPONENTIAL ADC",
        "Exponential Apparent Diffusion Coefficient",
        "EXP ADC",
        "eADC",
        "TRICKS MASK",
        "MRA MASK",
        "Mask CE-MRA",
        "MASK ANGIO",
        "BRAIN MASK",
        "FA",
        "ColFA",
        "colour FA",
        "DTI FA",
        "tensor",
        "ASL",
        "pCASL",
        "gre_field_mapping",
        "field map",
        "B0 map",
        "B1 map",
        "T1rho",
        "t1_mp2rage_sag_INV1",
        "t1_mp2rage_sag_INV2",
        "T2 CISS",
        "t2_ci3d_tra",
        "FIESTA",
        "AX FIESTA-C",
        "T2 TRUFI",
        "t2_trufi3d",
        "bSSFP T2",
        "T2 BFFE",
        "DIR",
        "STIR",
        "PD",
        "screen save",
        "Screenshot",
        "Report",
        "T1 DIXON FAT IMAGE",
        "perf_DCE",
    ),
    "dT1": (
        "AX T1 SUB",
        "T1 POST - T1 PRE",
        "T1 post-pre",
        "SUBTRACTED T1",
        "T1 SUBTRACTION",
        "T1_sub",
        "POST GD SUBTRACTION",
        "sub T1 POST",
        "T1 SUBTRAKTION",
        "T1 soustraction",
    ),
    "ADC": (
        "AVERAGE DC",
        "AVG DC",
        "Average ADC",
        "ADC_tra",
        "ADC (10^-6 mm2/s)",
        "ep2d_diff_3scan_trace_p2_ADC",
        "dADC",
        "Apparent Diffusion Coefficient",
    ),
    "mask": (
        "Mask",
        "tumor_mask",
    ),
    "T2": (
        "Ax T2 PROPELLER",
        "T2 BLADE",
        "t2_tse_tra",
        "T2 FRFSE",
        "T2W_TSE",
        "T2 HASTE",
        "T2 SPACE",
        "t2_spc_sag",
        "T2 POST",
        "T2 W/O",
        "DP T2",
    ),
    "localizer": ("localizer",),
}
"""Names that converters and scanners of several vendors and languages give, by what is right."""


@pytest.mark.parametrize(("name", "right"), [(name, right) for right, names in SPELLINGS.items() for name in names])
def test_names_of_archives_of_many_lands_are_understood(name, right):
    told = canonical_sequence({"SeriesDescription": name})
    assert (told.sequence, told.contradiction) == (right, "")
    spaced = canonical_sequence({"SeriesDescription": f"  {name.replace(' ', '_')} "})
    assert spaced.sequence == right


@pytest.mark.parametrize(
    ("agent", "right"),
    [
        ("NO CONTRAST USED", "T1pre"),
        ("none given", "T1pre"),
        ("without", "T1pre"),
        ("keine", "T1pre"),
        ("kein KM", "T1pre"),
        ("aucun", "T1pre"),
        ("N/A", "T1pre"),
        ("ohne", "T1pre"),
        ("Not given", "T1pre"),
        ("no contrast", "T1pre"),
        ("0 ml", "T1pre"),
        ("0", "T1pre"),
        ("none", "T1pre"),
        ("Non-contrast", "T1pre"),
        ("Unenhanced", "T1pre"),
        ("NO GADOLINIUM", "T1pre"),
        ("Gadovist", "T1post"),
        ("10 ml Gadovist", "T1post"),
        ("Gadavist, no reaction", "T1post"),
        ("Magnevist w/o reaction", "T1post"),
        ("GAD", "T1post"),
        ("IV", "T1post"),
        ("YES", "T1post"),
        ("Y", "T1post"),
        ("0.1 mmol/kg Gd-DTPA", "T1post"),
        ("ninguno", "T1pre"),
        ("nessuno", "T1pre"),
        ("geen", "T1pre"),
        ("--", "T1pre"),
        ("No IV contrast administered", "T1pre"),
        ("CONTRAST: NO", "T1pre"),
        ("Gadolinium not given", "T1pre"),
        ("Gadolinium: none", "T1pre"),
        ("Dotarem 0 ml", "T1pre"),
        ("Nil", "T1pre"),
        ("saline", "T1pre"),
        ("declined", "T1pre"),
        ("W/O CONTRAST", "T1pre"),
        ("Contrast not administered", "T1pre"),
        ("DOTAREM NON", "T1pre"),
        ("w", "T1post"),
        ("with", "T1post"),
        ("unknown", "T1pre"),
        ("NO AGENT", "T1pre"),
        ("None/None", "T1pre"),
        ("n", "T1pre"),
        ("PROHANCE", "T1post"),
        ("no contrast agent", "T1pre"),
        ("ohne Kontrastmittel", "T1pre"),
        ("pas de contraste", "T1pre"),
        ("sin contraste", "T1pre"),
        ("Omniscan 15cc", "T1post"),
    ],
)
def test_the_agent_is_free_text_in_many_languages(agent, right):
    assert described("AX T1", ContrastBolusAgent=agent) == right
    assert described("T1 PRE", ContrastBolusAgent=agent) == "T1pre"


def timed(scanning, repetition, echo, inversion=None, flip=None, **more):
    numbers = {"RepetitionTime": repetition, "EchoTime": echo, "InversionTime": inversion, "FlipAngle": flip}
    return {"ScanningSequence": scanning, **numbers, **more}


@pytest.mark.parametrize(
    ("text", "physics", "right", "against"),
    [
        ("AX T2", timed("SE", 500, 14, None, 90), "T1pre", "texts say T2, physics says T1"),
        ("AX T2", timed("", 500, 14), "T1pre", "texts say T2, physics says T1"),
        ("AX T2 POST", timed("SE", 500, 14, None, 90), "T1post", "texts say T2, physics says T1"),
        ("AX FLAIR", timed("SE", 500, 14, None, 90), "T1pre", "texts say FLAIR, physics says T1"),
        ("FLAIR", timed("SE\\IR", 2500, 22, 860, 90), "T1pre", "texts say FLAIR, physics says T1"),
        ("AX FLAIR", timed("SE", 4000, 100, SequenceName="*tse2d1_15"), "T2", "texts say FLAIR, physics says T2"),
        ("AX T1", timed("SE", 4000, 100), "T2", "texts say T1, physics says T2"),
        ("AX T2", timed("SE\\IR", 9000, 120, 2300), "FLAIR", "texts say T2, physics says FLAIR"),
        ("t2_spc_sag", timed("SE\\IR", 5000, 390, 1800), "FLAIR", "texts say T2, physics says FLAIR"),
        ("t2_tirm_cor", timed("SE\\IR", 5000, 60, 150), "other", "texts say FLAIR, physics says other"),
        ("AX T2", timed("GR", 600, 20, None, 20), "other", "texts say T2, physics says other"),
        ("AX T2 FSE", timed("SE", 3000, 17), "other", "texts say T2, physics says other"),
        ("AX T2", timed("EP", 4000, 90), "other", "texts say T2, physics says other"),
        ("T2", timed("SE", 3000, 90, DiffusionBValue=1000), "other", "texts say T2, physics says other"),
        ("AX T1", timed("GR", 600, 25, None, 20), "other", "texts say T1, physics says other"),
    ],
)
def test_where_texts_and_physics_contradict_each_other_the_physics_decides(text, physics, right, against):
    told = canonical_sequence({"SeriesDescription": text, **physics})
    assert (told.sequence, told.witnesses.split(",")[0], told.contradiction) == (right, "physics", against)
    assert told.source == ("" if right == "other" else "physics")


@pytest.mark.parametrize(
    ("text", "physics", "right"),
    [
        ("AX T2", timed("", 500, None), "T2"),
        ("AX T2", timed("SE", 1500, 50), "T2"),
        ("AX T2", timed("GR\\SE", 4000, 90), "T2"),
        ("AX FLAIR", timed("SE", 9000, 120), "FLAIR"),
        ("AX T1", timed("SE", 2500, 20), "T1pre"),
        ("T1 MPRAGE", timed("GR\\IR", 2300, 2.98, 900, 9), "T1pre"),
        ("AX T1 FLAIR", timed("SE\\IR", 2500, 22, 860), "T1pre"),
        ("ADC", timed("SE", 500, 14), "ADC"),
        ("tumor mask", timed("SE", 500, 14), "mask"),
    ],
)
def test_physics_that_is_missing_or_ambiguous_contradicts_nothing(text, physics, right):
    told = canonical_sequence({"SeriesDescription": text, **physics})
    assert (told.sequence, told.contradiction) == (right, "")


@pytest.mark.parametrize(
    ("fields", "witnesses"),
    [
        ({"SeriesDescription": "AX T1", **T1_PHYSICS}, "texts,physics"),
        ({"SeriesDescription": "AX T1 POST", **T1_PHYSICS, "ContrastBolusAgent": "Gadovist"}, "texts,physics,agent"),
        ({"SeriesDescription": "AX T1 PRE", **T1_PHYSICS, "ContrastBolusAgent": "Gadovist"}, "texts,physics"),
        ({"SeriesDescription": "AX T1 PRE", **T1_PHYSICS, "ContrastBolusAgent": "none"}, "texts,physics,agent"),
        (T1_PHYSICS, "physics"),
        ({**T1_PHYSICS, "ContrastBolusAgent": "Gadovist"}, "physics,agent"),
        ({"SeriesDescription": "AX T2"}, "texts"),
        ({"SeriesDescription": "DWI", "ScanningSequence": "EP"}, "texts,physics"),
        ({}, ""),
    ],
)
def test_the_witnesses_that_agree_are_named(fields, witnesses):
    assert canonical_sequence(fields)[2:] == (witnesses, "")


def test_an_agent_that_says_none_beside_words_of_contrast_is_a_contradiction():
    told = canonical_sequence({"SeriesDescription": "AX T1 POST", "ContrastBolusAgent": "NO CONTRAST USED"})
    assert told == ("T1post", "SeriesDescription", "texts", "texts say T1post, agent says none")


@pytest.mark.parametrize(
    ("text", "physics", "right"),
    [
        ("mp rage +c", timed("GR\\IR", 2300, 3, 900, 9), "T1post"),
        ("AX_CUBE_POST", timed("SE", 600, 20), "T1post"),
        ("AX_CUBE_POST", timed("SE", 2500, 90), "T2"),
        ("AX_CUBE_POST", timed("SE\\IR", 6000, 120, 1850), "FLAIR"),
        ("STEALTH POST", timed("GR", 8, 3, None, 12, MRAcquisitionType="3D"), "T1post"),
        ("COR POST GAD", {}, "T1post"),
        ("AX PRE GAD", {}, "T1pre"),
        ("", timed("SE", 500, 14, ProtocolName="T1 POST GD"), "T1post"),
        ("", timed("SE", 500, 14, ProtocolName="BRAIN W CONTRAST"), "T1pre"),
        ("AX T1", {"ProtocolName": "T1_AX_POST"}, "T1post"),
    ],
)
def test_words_of_contrast_count_where_the_text_says_no_weighting(text, physics, right):
    assert described(text, **physics) == right


ORIGINAL, DERIVED = "ORIGINAL\\PRIMARY", "DERIVED\\SECONDARY"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(
    ("text", "fields", "right"),
    [
        ("T1 SPGR", {"ImageType": ORIGINAL + "\\M\\ND"}, "T1pre"),
        ("T1 SPGR", {"ImageType": ORIGINAL + "\\P\\ND"}, "other"),
        ("T1 SPGR", {"ImageType": ORIGINAL + "\\PHASE MAP\\P\\FFE"}, "other"),
        ("T1 SPGR", {"ImageType": ORIGINAL + "\\R\\IR"}, "other"),
        ("T1 SPGR", {"ImageType": ORIGINAL + "\\I\\IR"}, "other"),
        ("T1 SPGR", {"ComplexImageComponent": "PHASE"}, "other"),
        ("T1 SPGR", {"ComplexImageComponent": "MAGNITUDE"}, "T1pre"),
        ("T2 tse", {"ImageType": ORIGINAL + "\\M\\ND\\MOSAIC"}, "other"),
        ("T1 POST", {"ImageType": DERIVED + "\\PROJECTION IMAGE\\MIP"}, "other"),
        ("T1 POST", {"ImageType": DERIVED + "\\MINIP"}, "other"),
        ("T1 POST", {"ImageType": DERIVED + "\\MPR"}, "T1post"),
        ("T1 POST", {"ImageType": DERIVED + "\\REFORMATTED\\AVERAGE"}, "T1post"),
        ("T1 POST", {"ImageType": DERIVED + "\\M\\SUB"}, "dT1"),
        ("FLAIR", {"ImageType": DERIVED + "\\M\\SUB"}, "other"),
        ("T1", {"ImageType": DERIVED + "\\T1 MAP"}, "other"),
        ("T1 POST", {"DerivationDescription": "maximum intensity projection"}, "other"),
        ("T1 POST", {"DerivationDescription": "Subtraction"}, "dT1"),
        ("ADC", {"ImageType": DERIVED + "\\EADC"}, "other"),
        ("T1 POST", {"SOPClassUID": CAPTURE}, "other"),
        ("T1 POST", {"SOPClassUID": CAPTURE + ".2"}, "other"),
        ("tumor mask", {"SOPClassUID": CAPTURE}, "mask"),
        ("MaskTumor", {"SOPClassUID": CAPTURE}, "mask"),
        ("T1post", {"SOPClassUID": CAPTURE}, "T1post"),
        ("Mask", {"ProtocolName": "TRICKS"}, "other"),
        ("Mask", {"ImageType": ORIGINAL + "\\OTHER", "RepetitionTime": 4.0}, "other"),
    ],
)
def test_what_is_no_weighted_image_is_none_whatever_it_is_called(text, fields, right):
    assert described(text, **fields) == right


def test_the_number_of_the_echo_tells_it_where_the_time_is_missing():
    assert [described("PD/T2 FSE", EchoNumbers=number) for number in (1, 2)] == ["other", "T2"]
