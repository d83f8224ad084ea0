import csv
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.conventions import SEQUENCES
from tumorprog.sequences.decision import canonical_sequence

T1_ACQUISITION = {"ScanningSequence": "SE", "RepetitionTime": 500.0, "EchoTime": 14.0, "FlipAngle": 90.0}


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
def test_the_ten_descriptions_of_btp_take_precedence_over_the_rest_of_the_header(description, sequence):
    # the agent is in the headers of whole studies; derived maps keep the acquisition parameters of their source
    misleading = {**T1_ACQUISITION, "ProtocolName": "AX T2 FLAIR", "ContrastBolusAgent": "MAGNEVIST"}
    decision = canonical_sequence({"SeriesDescription": description, **misleading})
    assert decision == (sequence, "SeriesDescription", "texts", "")


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
def test_clinical_descriptions_are_recognised_in_any_case(description, sequence):
    assert {described(description), described(description.lower()), described(description.upper())} == {sequence}


def test_the_agent_determines_contrast_if_the_texts_do_not():
    fields = {"SeriesDescription": "SAG T1", "ContrastBolusAgent": "MAGNEVIST"}
    assert canonical_sequence(fields)[:2] == ("T1post", "ContrastBolusAgent")
    assert described("T1 SE PRE", ContrastBolusAgent="MAGNEVIST") == "T1pre"
    assert described("SAG T1", ContrastBolusAgent="NONE") == "T1pre"
    assert described("AX T2 FSE", ContrastBolusAgent="MAGNEVIST") == "T2"
    assert described("T1 W/WO CONTRAST", ContrastBolusAgent="MAGNEVIST") == "T1post"
    assert described("T1 W/WO CONTRAST") == "T1pre"


def test_the_early_echo_of_a_dual_echo_series_is_not_t2():
    assert [described("AX PD/T2", EchoTime=echo) for echo in (20.0, 90.0)] == ["other", "T2"]


def test_the_sources_are_used_in_order_of_precedence():
    texts = {"SeriesDescription": "AX T2 FSE", "ProtocolName": "AX FLAIR", "ImageType": ["ORIGINAL", "LOCALIZER"]}
    decisions = []
    for removed in itertools.accumulate([[], ["SeriesDescription"], ["ProtocolName"], ["ImageType"]]):
        fields = {keyword: value for keyword, value in texts.items() if keyword not in removed}
        acquisition = {} if "SeriesDescription" in fields or "ProtocolName" in fields else T1_ACQUISITION
        decisions.append(canonical_sequence({**acquisition, **fields})[:2])
    assert decisions == [
        ("T2", "SeriesDescription"),
        ("FLAIR", "ProtocolName"),
        ("localizer", "ImageType"),
        ("T1pre", "physics"),
    ]


@pytest.mark.parametrize("protocol", ["BRAIN W/WO T1 T2", "HEAD/PERFUSION", "ROUTINE BRAIN"])
def test_a_protocol_of_a_whole_examination_leaves_it_to_the_acquisition_parameters(protocol):
    assert canonical_sequence({"ProtocolName": protocol, **T1_ACQUISITION})[:2] == ("T1pre", "physics")


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
def test_acquisition_parameters_determine_the_sequence_if_texts_are_missing(scanning, name, times, sequence):
    keywords = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")
    fields = {"ScanningSequence": scanning, "SequenceName": name, **dict(zip(keywords, times, strict=True))}
    decision = canonical_sequence(fields)[:2]
    assert decision == (sequence, "" if sequence == "other" else "physics")


def test_an_empty_header_is_other():
    assert canonical_sequence({}) == ("other", "", "", "")


@given(st.text(), st.one_of(st.none(), st.text()), st.one_of(st.none(), st.floats(), st.text()))
def test_every_header_gives_a_canonical_name(description, protocol, number):
    fields = {"SeriesDescription": description, "ProtocolName": protocol, "EchoTime": number, "RepetitionTime": number}
    sequence, source, _, _ = canonical_sequence(fields)
    assert sequence in {*SEQUENCES, "mask", "localizer"}
    assert (source == "") == (sequence == "other")


SPELLINGS = list(csv.DictReader(Path(__file__).with_name("series_names.csv").open(encoding="utf-8", newline="")))
"""Series names from converters and scanners of several vendors and languages, with the expected sequence."""


@pytest.mark.parametrize(("name", "expected"), [(row["name"], row["right"]) for row in SPELLINGS])
def test_series_names_of_several_vendors_and_languages_are_recognised(name, expected):
    decision = canonical_sequence({"SeriesDescription": name})
    assert (decision.sequence, decision.contradiction) == (expected, "")
    spaced = canonical_sequence({"SeriesDescription": f"  {name.replace(' ', '_')} "})
    assert spaced.sequence == expected


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("NO CONTRAST USED", "T1pre"),
        ("pre", "T1pre"),
        ("NC", "T1pre"),
        ("plain", "T1pre"),
        ("negative", "T1pre"),
        ("niets", "T1pre"),
        ("Saline flush", "T1pre"),
        ("contraindicated", "T1pre"),
        ("contrast held", "T1pre"),
        ("cancelled", "T1pre"),
        ("pas d'injection", "T1pre"),
        ("Gadavist not given", "T1pre"),
        ("Dotarem: aucun", "T1pre"),
        ("+", "T1post"),
        ("Gadovist ohne Probleme", "T1post"),
        ("Gadovist, keine Reaktion", "T1post"),
        ("Dotarem sans effet", "T1post"),
        ("MAGNEVIST lot no 1234", "T1post"),
        ("Magnevist NO. 5", "T1post"),
        ("Gadavist w/o incident", "T1post"),
        ("Gadovist 1.0 mmol/ml 0 ml/s", "T1post"),
        ("Gadavist pre-filled syringe", "T1post"),
        ("Gadavist, saline flush", "T1post"),
        ("15 cc, no waste", "T1post"),
        ("Non-ionic", "T1post"),
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
def test_the_agent_is_read_as_free_text_in_several_languages(agent, expected):
    assert described("AX T1", ContrastBolusAgent=agent) == expected
    assert described("T1 PRE", ContrastBolusAgent=agent) == "T1pre"


@pytest.mark.parametrize(
    "name",
    [
        *("T1 prae KM", "T1 prä KM", "T1 praekontrast", "T1 v. KM", "T1 ohne iv KM", "T1W OHNE KM", "T1 NCE", "T1 NC"),
        *("T1 pas d'injection", "T1 previo a contraste", "T1 simple", "T1 diretta", "T1 in bianco", "T1 s.m.d.c."),
        *("T1 C -", "T1 (-)", "T1 -", "T1-", "T1 Gd(-)", "T1 CE(-)", "T1 GD -", "T1 KM -", "T1 - KM", "T1 axial C -"),
        *("AX T1 W/O CON", "AX T1 WO CON", "T1 WITHOUT CON", "T1 sans IV", "T1 ohne Kontrast", "T1 NON-GAD"),
        *("T1_W_O_CONTRAST", "T1_W-O_GAD", "AX T1 PRE GAD", "T1 senza mdc", "T1 sin gd", "T1 zonder contrast"),
        *(
            "SAG T1 PRE",
            "t1n",
            "T1 tra nativ",
            "T1W SIN CONTRASTE",
            "T1W - sans gado",
            "AX T1 PRE1",
            "T1 voor contrast",
        ),
    ],
)
def test_terms_for_before_contrast_take_precedence_over_the_agent(name):
    assert described(name, ContrastBolusAgent="Gadovist") == "T1pre"


@pytest.mark.parametrize(
    "name",
    [
        *("T1 +/- GAD", "T1 -/+ GAD", "T1 +-", "T1 C+/C-", "T1 C-/C+", "T1 C-/+", "T1 GAD +/-", "T1W WWO", "T1 W WO"),
        *("T1 WITHOUT AND WITH", "T1 w/ and w/o", "T1 w & w/out", "T1 PRE/POST", "T1 POST/PRE", "T1 POST AND PRE"),
        *("T1 mit und ohne KM", "T1 nativ/KM", "T1 nativ + KM", "T1 nativ und nach KM", "T1 vor/nach KM", "T1 prepost"),
        *("T1 vor und nach KM", "T1 sans et avec gado", "T1 avec et sans gado", "T1 avant et apres gado"),
        *("T1 avant/après", "T1 sin y con contraste", "T1 con y sin contraste", "T1 antes y despues"),
        *("T1 con e senza mdc", "T1 prima e dopo mdc", "T1 met en zonder contrast", "T1 zonder en met contrast"),
        *("T1 voor en na contrast", "T1 POST FOSSA", "T1 C-SPINE", "T1 C2", "T1 IV VENTRICLE"),
    ],
)
def test_terms_for_both_or_neither_leave_it_to_the_agent(name):
    assert [described(name, ContrastBolusAgent=agent) for agent in ("", "Gadovist")] == ["T1pre", "T1post"]


def test_a_number_after_a_term_that_ends_in_t_is_not_a_weighting():
    assert [described(name) for name in ("AX POST2", "TEST1", "PART2")] == ["T1post", "other", "other"]
    assert described("AX T2 POST1") == "T2"


def timed(scanning, repetition, echo, inversion=None, flip=None, **more):
    numbers = {"RepetitionTime": repetition, "EchoTime": echo, "InversionTime": inversion, "FlipAngle": flip}
    return {"ScanningSequence": scanning, **numbers, **more}


@pytest.mark.parametrize(
    ("text", "acquisition", "expected", "contradiction"),
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
def test_acquisition_parameters_take_precedence_over_contradicting_texts(text, acquisition, expected, contradiction):
    decision = canonical_sequence({"SeriesDescription": text, **acquisition})
    assert (decision.sequence, decision.witnesses.split(",")[0], decision.contradiction) == (
        expected,
        "physics",
        contradiction,
    )
    assert decision.source == ("" if expected == "other" else "physics")


@pytest.mark.parametrize(
    ("text", "acquisition", "expected"),
    [
        ("AX T2", timed("", 500, None), "T2"),
        ("AX T2", timed("SE", 1500, 50), "T2"),
        ("AX T2", timed("GR\\SE", 4000, 90), "T2"),
        ("AX FLAIR", timed("SE", 9000, 120), "FLAIR"),
        ("AX T1", timed("SE", 2500, 20), "T1pre"),
        ("T1 MPRAGE", timed("GR\\IR", 2300, 2.98, 900, 9), "T1pre"),
        ("AX T1 FLAIR", timed("SE\\IR", 2500, 22, 860), "T1pre"),
        ("T2 SPAIR", timed("SE", 3000, 80, 160), "T2"),
        ("T1 SPIR", timed("SE", 600, 12, 160, 90), "T1pre"),
        ("COR POST GAD", timed("SE", 600, 12, 160, 90), "T1post"),
        ("3D T1 TFE", timed("GR", 8, 4, 120, 8, MRAcquisitionType="3D"), "T1pre"),
        ("STEALTH POST", timed("GR", 34, 8, None, 45), "T1post"),
        ("ADC", timed("SE", 500, 14), "ADC"),
        ("tumor mask", timed("SE", 500, 14), "mask"),
    ],
)
def test_missing_or_ambiguous_acquisition_parameters_contradict_nothing(text, acquisition, expected):
    decision = canonical_sequence({"SeriesDescription": text, **acquisition})
    assert (decision.sequence, decision.contradiction) == (expected, "")


@pytest.mark.parametrize(
    ("fields", "witnesses"),
    [
        ({"SeriesDescription": "AX T1", **T1_ACQUISITION}, "texts,physics"),
        (
            {"SeriesDescription": "AX T1 POST", **T1_ACQUISITION, "ContrastBolusAgent": "Gadovist"},
            "texts,physics,agent",
        ),
        ({"SeriesDescription": "AX T1 PRE", **T1_ACQUISITION, "ContrastBolusAgent": "Gadovist"}, "texts,physics"),
        ({"SeriesDescription": "AX T1 PRE", **T1_ACQUISITION, "ContrastBolusAgent": "none"}, "texts,physics,agent"),
        (T1_ACQUISITION, "physics"),
        ({**T1_ACQUISITION, "ContrastBolusAgent": "Gadovist"}, "physics,agent"),
        ({"SeriesDescription": "AX T2"}, "texts"),
        ({"SeriesDescription": "DWI", "ScanningSequence": "EP"}, "texts,physics"),
        ({}, ""),
    ],
)
def test_the_agreeing_sources_of_evidence_are_listed(fields, witnesses):
    assert canonical_sequence(fields)[2:] == (witnesses, "")


def test_an_agent_of_none_contradicts_texts_that_state_contrast():
    decision = canonical_sequence({"SeriesDescription": "AX T1 POST", "ContrastBolusAgent": "NO CONTRAST USED"})
    assert decision == ("T1post", "SeriesDescription", "texts", "texts say T1post, agent says none")


@pytest.mark.parametrize(
    ("text", "acquisition", "expected"),
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
def test_terms_of_contrast_count_if_the_text_states_no_weighting(text, acquisition, expected):
    assert described(text, **acquisition) == expected


ORIGINAL, DERIVED = "ORIGINAL\\PRIMARY", "DERIVED\\SECONDARY"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
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
        ("T1", {"ImageType": DERIVED + "\\MNIP\\NORM"}, "other"),
        ("AX T2", {"ImageType": DERIVED + "\\R2_MAP"}, "other"),
        ("ep2d_diff", {"ImageType": DERIVED + "\\DIFFUSION\\ADC\\ND\\NORM"}, "ADC"),
        ("Ax DWI", {"ImageType": DERIVED + "\\ADC"}, "ADC"),
        ("DTI", {"ImageType": DERIVED + "\\ADC_MAP"}, "ADC"),
        ("ep2d_diff", {"ImageType": DERIVED + "\\DIFFUSION\\TRACEW"}, "other"),
        ("eADC", {"ImageType": DERIVED + "\\ADC"}, "other"),
        ("ADC", {"ImageType": DERIVED + "\\EXPONENTIAL_ADC"}, "other"),
        ("SUB", {"ProtocolName": "t1_vibe_KM"}, "dT1"),
        ("SUB", {"ProtocolName": "FLAIR"}, "other"),
        ("SUB", {"ProtocolName": "TWIST ANGIO"}, "other"),
        ("subtraction", {"ProtocolName": "MPRAGE"}, "dT1"),
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
def test_an_image_that_is_not_weighted_is_recognised_whatever_its_description(text, fields, expected):
    assert described(text, **fields) == expected


def test_the_echo_number_determines_the_echo_if_the_echo_time_is_missing():
    assert [described("PD/T2 FSE", EchoNumbers=number) for number in (1, 2)] == ["other", "T2"]


@pytest.mark.parametrize("name", ["AX DUAL ECHO", "AX PD", "AX PD T2"])
def test_the_late_echo_of_a_dual_echo_series_is_t2_by_its_acquisition_parameters(name):
    assert [described(name, **timed("SE", 3000, echo)) for echo in (20, 90)] == ["other", "T2"]


def test_a_flow_rephased_gradient_echo_is_an_angiogram():
    acquisition = timed("GR", 22, 4, None, 18, MRAcquisitionType="3D")
    assert canonical_sequence({**acquisition, "SequenceName": "*fl3d1r_tv"}).sequence == "other"
    assert described("AX T1", **acquisition, SequenceName="*fl3d1r") == "T1pre"
