"""What a series is: its texts, its physics and the contrast agent are three witnesses, and this is the decision.

Where texts and physics contradict each other, the physics decides what weighting it is, if it proves one. Whether a T1
is before or after contrast is told by the words, and where they are silent by the agent.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tumorprog.dicom import contrast, weighting
from tumorprog.dicom.weighting import Physics

PHYSICS_NUMBERS = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "DiffusionBValue")
"""What `canonical_sequence` is told in numbers: ms, degrees, and s/mm2."""

TEXTS = (
    *("SeriesDescription", "ProtocolName", "ImageType", "ContrastBolusAgent", "SequenceName", "ScanningSequence"),
    *("SequenceVariant", "MRAcquisitionType", "ComplexImageComponent", "DerivationDescription", "SOPClassUID"),
)
"""What it is told in words; several values are joined by a backslash or stand in a list."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # its multi-frame children go on where it ends

_BTP = {
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
}
"""Brain-Tumor-Progression's SeriesDescriptions; whole and exact, because "T1" is in three of them."""

_WEIGHTED = {"T1", "T2", "FLAIR"}


class Decision(NamedTuple):
    """What a series is and who says so.

    Attributes:
        sequence: `T1pre`, `T1post`, `dT1`, `FLAIR`, `T2`, `ADC`, `nCBF`, `nRCBV`, `sRCBV`, `mask`, `localizer` or
            `other`.
        source: the DICOM keyword that told it, `physics`, or "" for `other`.
        witnesses: those that agree with it, of "texts", "physics" and "agent", joined by commas; "" if none speaks.
        contradiction: what the witnesses say against each other, as "texts say T2, physics says T1"; or "".
    """

    sequence: str
    source: str
    witnesses: str
    contradiction: str


class _Said(NamedTuple):
    """What a text says: a sequence, "T1" where contrast is told apart, or ""; who says it; before or after contrast."""

    sequence: str
    source: str
    contrast: str


def _words(*alternatives: str) -> re.Pattern[str]:
    """Matches any of them, unless letters go on before or after: "LOC" in "AX LOC", not in "VELOCITY"."""
    return re.compile(rf"(?<![A-Z])(?:{'|'.join(alternatives)})(?![A-Z])")


_MASK = _words("MASKTUMOU?R", "(?:TUMOU?R|LESION|GLIOMA|ROI) ?MASKS?", "MASKS? TUMOU?R", "SEGMENTATIONS?", "SEGMENTED")
_BARE_MASK = _words("MASKS?")
_ANGIOGRAM = re.compile(
    r"ANGIO|TRICKS|TWIST|CARE ?BOLUS|BOLUS|(?<![A-Z])(?:CE-?MRA|MRA|MRV|TOF|DYN[A-Z]*|KEYHOLE|4D-?TRAK|INHANCE)"
    r"(?![A-Z])|(?<![A-Z])PERF|(?<![A-Z])(?:BRAIN|HEAD|FACE|SKULL|GM|WM|CSF)[ -]?MASK"
)
_SUBTRACTION = re.compile(
    r"SUBTR|SOUSTR|SUSTRAC|SOTTRA|(?<![A-Z])(?:SUB(?! ?-?[0-9]{2}|-[A-Z]*[0-9])|SUBS|RESTA)(?![A-Z])"
    r"|(?:POST|(?<![A-Z])(?:GD|GAD|C))[^-]*(?<=[ A-Z0-9])(?:-|MINUS)[^-]*(?:PRE(?![A-Z])|NATIV|W/O)"
)
_DELTA = re.compile(r"(?<![A-Z0-9])(?:D ?T1(?![0-9])|DELTA[ -]?T1)")

# In the order in which they are asked: what a word means can depend on the words above it.
_KINDS: tuple[tuple[str, tuple[re.Pattern[str], ...]], ...] = (
    ("mask", (_MASK,)),
    (
        "localizer",
        (
            _words(
                "LOC", "LOCALI[SZ](?:ERS?|ATION)", "LOKALISER", "SCOUTS?", "SURVEY", "PILOT", "TOPOGRAM", "SCANOGRAM"
            ),
            _words(
                "(?:3|THREE|TRI)[- ]?PL(?:ANE)?", "AAHEAD ?SCOUT", "AAHSCOUT", "REPERAGE", "LOCALIZADOR", "SMARTBRAIN"
            ),
        ),
    ),
    ("nRCBV", (_words("NRCBV", "NORMALI[SZ]ED RCBV"),)),
    ("sRCBV", (_words("SRCBV", "STANDARDI[SZ]ED RCBV"),)),
    ("nCBF", (_words("NCBF", "NORMALI[SZ]ED CBF"),)),
    (
        "other",  # an exponential ADC, which is no ADC
        (
            re.compile(
                r"(?<![A-Z])(?:E|EXP)[ -]?ADC|(?<![A-Z])EXP[A-Z]*[ -]+(?:ADC|APPARENT|DIFF|ATTEN)|ATTENUATION COEFF"
            ),
        ),
    ),
    (
        "ADC",
        (
            _words("[DS]?ADC ?(?:MAPS?|KARTE)?", "APPARENT DIFFUSION COEFFICIENT", "(?:AVERAGE|AVG|AVE) ?(?:DC|ADC)"),
            _words("ISO(?:TROPIC)? ?ADC", "DC MAP", "ADC[A-Z]*"),
        ),
    ),
    (
        "other",  # diffusion and perfusion, vessels, function, spectra
        (
            re.compile(
                r"DWI|DTI|DIFF|TRACE|T2 ?\*|T2[ -]?STAR|PERF|SPECTRO|ANGIO|FMRI|BOLD|FIELD ?MAP|TENSOR|TRICKS|TWIST"
            ),
            _words(
                "E?SWI", "E?SWAN[A-Z]*", "SWIP", "MRA", "MRV", "TOF", "DSC", "DCE", "PWI", "MRS", "R?CBV", "CBF", "MTT"
            ),
            _words(
                "TTP", "TMAX", "KTRANS", "ASL", "P?C?ASL", "DKI", "HARDI", "IVIM", "NODDI", "PCA", "CSI", "SVS", "PRESS"
            ),
            _words(
                "VENO(?:BOLD)?", "B ?[0-9]{3,4}", "C?FA", "COL(?:OU?R)? ?FA", "FRACTIONAL ANISO[A-Z]*", "MD", "RD", "AD"
            ),
            _words(
                "GRE ?FIELD[A-Z]*", "B[01] ?MAP[A-Z]*", "QSM", "SUSCEPT[A-Z]*", "CARE ?BOLUS", "SMART ?PREP", "MRCP"
            ),
        ),
    ),
    (
        "other",  # relaxation maps and other quantities
        (
            _words("(?:[TR][12]|T1W|PD|Q|MWF)[ -]?MAP[A-Z]*", "MAPS?", "MAPPING", "MAPIT", "MOLLI", "RELAX[A-Z]*"),
            _words(
                "T1[ -]?RHO", "[A-Z]*KARTE", "CARTE", "CARTOGRAPHIE", "MAPP?A", "MTR", "MWF", "R[12] ?\\*?", "STD ?DEV"
            ),
            re.compile(r"T[12]RHO|(?<![A-Z])CARTO|CARTOGR"),
        ),
    ),
    (
        "other",  # projections and renderings
        (
            _words(
                "MIN?M?IPS?",
                "MINIP",
                "MIPS?",
                "M ?I ?P",
                "PROJ(?:ECTIONS?)?",
                "COLLAPSED?",
                "PJN",
                "RAYSUM",
                "VRT",
                "SSD",
            ),
            re.compile(
                r"MINIP|MIN ?IP(?![A-Z])|MAX ?IP(?![A-Z])|PROJECTION|VOLUME REND|3D REND|RENDERING|PROYEC|PROIEZ"
            ),
        ),
    ),
    (
        "other",  # other pictures than weighted magnitudes
        (
            re.compile(
                r"(?<![A-Z])(?<!IN )(?<!IN-)(?<!OF )(?<!OF-)(?<!OPP )(?<!OPPOSED )(?<!OUT )(?:PHASE|PHA)(?![A-Z])"
            ),
            _words(
                "REAL(?! ?TIME)",
                "IMAG(?:INARY)?",
                "PSIR",
                "CALIBRATION",
                "ASSET CAL",
                "ASSET",
                "CAL(?:IB)?",
                "SHIM[A-Z]*",
            ),
            _words(
                "MOSAIC",
                "SCREEN ?(?:SAVES?|SHOTS?|CAPTURES?)",
                "KEY ?IMAGES?",
                "[A-Z]*REPORT",
                "INV ?-?[12]",
                "REF ?SCAN",
            ),
            _words(
                "NOISE",
                "SENSE REF",
                "MRE?LASTO[A-Z]*",
                "QUANT[A-Z]*",
                "FAT(?: ONLY| IMAGE| FRACTION)",
                "SUMMARY",
                "DIR",
            ),
            _words("STIR", "T2S", "T2 STIR", "DOUBLE INV[A-Z]*", "DOSE"),
        ),
    ),
    (
        "other",  # steady states that are not spoiled
        (
            _words(
                "FIESTA[A-Z-]*", "CISS", "TRUE?[ -]?FI(?:SP)?", "B-?SSFP", "SSFP", "B-?FFE", "BALANCED", "DESS", "PSIF"
            ),
        ),
    ),
    (
        "other",  # T2* and blood, unless T1 is said
        (
            re.compile(
                r"^(?!.*T1).*(?<![A-Z])(?:GRE|GRADIENT|MEDIC|MERGE|H[AE]{1,2}MO[A-Z]*|ME[23]D[0-9A-Z]*)(?![A-Z])"
            ),
            re.compile(
                r"^(?!.*T1).*T2.*(?<![A-Z])(?:FL[23]D[0-9]*|CI3D|FFE|FLASH|FISP|FI[23]D|SPGR|EPI|ECHO ?PLANAR)(?![A-Z])"
            ),
            re.compile(r"^(?!.*T1).*T2W?[-]?FFE"),
        ),
    ),
)
_T1 = re.compile(r"T1(?![0-9])|MP-? ?2?-?RAGE|SPGR|BRAVO|(?<![A-Z])(?:[A-Z]*VIBE|LAVA[A-Z]*|E?-?THRIVE|FAME)(?![A-Z])")
_T2 = re.compile(r"T2(?![0-9])")
_FLAIR = re.compile(r"FLAIR|DARK[ -]?FL|(?<![A-Z])DA[ -]?FL|TIRM|FLUID[ -]?ATT|(?<![A-Z])SPC[ -]?IR(?![A-Z])")
_PROTON = _words("PDW?", "PROTON[A-Z]*", "DUAL ECHO", "RHO", "DP", "DENSITY")
_EXAMINATION = re.compile(
    r"BRAIN|HEAD|ROUTINE|TUMOU?R|EXAM|PROTOC|KOPF|SCH(?:AE|A)DEL|CRAN|CEREB|ENCEPH|(?<![A-Z])(?:MRI|IRM)"
)

_NO_IMAGE_TYPES = frozenset(
    (
        *(
            "PROJECTION IMAGE",
            "MIP",
            "MINIP",
            "MIN IP",
            "MOSAIC",
            "PHASE",
            "PHASE MAP",
            "P",
            "REAL",
            "R",
            "IMAGINARY",
            "I",
        ),
        *("MAX_IP", "MIN_IP", "MAXIMUM", "VOLUME_RENDER", "SCREEN SAVE", "SCREENSAVE", "STDDEV", "T1 MAP", "T2 MAP"),
        *(
            "T2_STAR MAP",
            "R2 MAP",
            "R2_STAR MAP",
            "T1_MAP",
            "T2_MAP",
            "T2STAR_MAP",
            "T1MAP",
            "T2MAP",
            "EXP_ADC",
            "EADC",
        ),
        *("FA", "TENSOR", "FIELD_MAP", "FIELDMAP", "B0 MAP", "B1 MAP", "VELOCITY", "PROPELLER MAP", "PHASE_CONTRAST"),
        *(
            "FAT",
            "FAT_FRACTION",
            "R_FFE",
            "I_FFE",
            "P_FFE",
            "R_SE",
            "I_SE",
            "P_SE",
            "R_IR",
            "I_IR",
            "P_IR",
            "RCBV",
            "RCBF",
        ),
        *("EXPONENTIAL_ADC", "PHASE_MAP", "REPORT", "SCREEN CAPTURE", "PJN", "COLLAPSE", "VRT"),
    )
)
"""Values of ImageType from the third on that no weighted image has, whatever its description says."""
_OTHER_IMAGE_TYPES = frozenset(("DIFFUSION", "TRACEW", "PERFUSION", "ANGIO", "FMRI", "ASL"))
_DERIVED = re.compile(r"SUBTRACT|(?<![A-Z])(?:MIP|MINIP|PROJECTION|MAXIMUM INTENSITY|MINIMUM INTENSITY)(?![A-Z])")


def canonical_sequence(fields: Mapping[str, Any]) -> Decision:
    """The one name of the sequence that a series is of, and who says so.

    Args:
        fields: values by DICOM keyword, any of them missing, None or empty: those of `TEXTS`, those of
            `PHYSICS_NUMBERS` and EchoNumbers.
    """
    texts = tuple((keyword, _text(fields, keyword)) for keyword in TEXTS)
    return _decided(texts, tuple((keyword, _number(fields, keyword)) for keyword in (*PHYSICS_NUMBERS, "EchoNumbers")))


def _text(fields: Mapping[str, Any], keyword: str) -> str:
    value = fields.get(keyword)
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return "\\".join(str(part).strip() for part in value) if isinstance(value, Sequence) else str(value)


def _number(fields: Mapping[str, Any], keyword: str) -> float:
    """A time or an angle; NaN if it is missing, and 0 means that it is missing."""
    try:
        return float(fields.get(keyword) or math.nan)
    except (TypeError, ValueError):
        return math.nan


@functools.lru_cache(maxsize=1024)  # the slices of a series share it
def _decided(texts: tuple[tuple[str, str], ...], numbers: tuple[tuple[str, float], ...]) -> Decision:
    fields: dict[str, Any] = dict(texts + numbers)
    description = fields["SeriesDescription"]
    if description in _BTP:
        return Decision(_BTP[description], "SeriesDescription", "texts", "")
    physics = _physics(fields)
    said = _said(fields, physics)
    measured = weighting.weighting(physics)
    if said.sequence in _WEIGHTED:
        return _weighed(said, physics, measured, contrast.by_agent(fields["ContrastBolusAgent"]))
    if said.sequence:
        agrees = "texts,physics" if said.sequence == measured else "texts"
        return Decision(said.sequence, "" if said.sequence == "other" else said.source, agrees, "")
    return _measured(said, measured, fields)


def _physics(fields: Mapping[str, Any]) -> Physics:
    name = fields["SequenceName"].upper().lstrip("*")
    kinds, variants = (_values(fields[keyword]) for keyword in ("ScanningSequence", "SequenceVariant"))
    in_3d = fields["MRAcquisitionType"].upper() == "3D" or "3D" in name
    return Physics(
        frozenset(kinds) - {""}, frozenset(variants), name, in_3d, *(fields[name] for name in PHYSICS_NUMBERS)
    )


def _values(text: str) -> list[str]:
    return [value.strip().upper() for value in text.split("\\")]


def _weighed(said: _Said, physics: Physics, measured: str, agent: str) -> Decision:
    """Where texts say a weighting."""
    proven = weighting.objection(said.sequence, physics)
    told = proven or said.sequence
    against = f"texts say {said.sequence}, physics says {proven}" if proven else ""
    agree = ["physics"] if proven else ["texts", "physics"] if measured == told else ["texts"]
    return _with_contrast(told, "physics" if proven else said.source, said, agent, agree, against)


def _measured(said: _Said, measured: str, fields: Mapping[str, Any]) -> Decision:
    """Where texts leave the weighting open."""
    agent = contrast.by_agent(fields["ContrastBolusAgent"])
    if measured in _WEIGHTED:
        return _with_contrast(measured, "physics", said, agent, ["physics"], "")
    if measured:
        return Decision(measured, "" if measured == "other" else "physics", "physics", "")
    if said.contrast and said.source:  # what is called "COR POST GAD" without more is a T1
        return _with_contrast("T1", said.source, said, agent, ["texts"], "")
    return Decision("other", "", "", "")


def _with_contrast(told: str, source: str, said: _Said, agent: str, agree: list[str], against: str) -> Decision:
    """Whether a T1 is before or after contrast."""
    if told != "T1":
        return Decision(told, "" if told == "other" else source, ",".join(agree), against)
    after = (said.contrast or agent) == contrast.AFTER
    name = "T1post" if after else "T1pre"
    if not said.contrast and after:
        source = "ContrastBolusAgent"
    if said.contrast and "texts" not in agree and not against:
        agree = ["texts", *agree]
    if agent and (agent == contrast.AFTER) == after:
        agree = [*agree, "agent"]
    if said.contrast == contrast.AFTER and agent == contrast.BEFORE:
        against = "; ".join(filter(None, (against, "texts say T1post, agent says none")))
    return Decision(name, source, ",".join(agree), against)


def _said(fields: Mapping[str, Any], physics: Physics) -> _Said:
    """What the texts say together; the image type first where it says that this is no weighted image."""
    description, protocol = (contrast.upper(fields[keyword]) for keyword in ("SeriesDescription", "ProtocolName"))
    refused = _no_image(fields, description, protocol, physics)
    if refused:
        return _Said(refused, "ImageType" if refused == "ADC" else "SeriesDescription", "")
    first = contrast.by_words(description)
    told = _by_words(description, physics, fields)
    # often the name of the whole examination: that it holds perfusion, say, tells nothing of this series
    second = _by_words(protocol, physics, fields)
    of_series = second == "T1" or (protocol and not description and not _EXAMINATION.search(protocol))
    when = first or (contrast.by_words(protocol) if of_series else "")
    if told:
        return _Said(told, "SeriesDescription", when)
    if first and second not in _WEIGHTED:
        return _Said("", "SeriesDescription", first)
    if second not in {"", "other"}:
        return _Said(second, "ProtocolName", when)
    kind = _by_image_type(fields)
    return _Said(kind, "ImageType" if kind else "ProtocolName" if when else "", when)


def _no_image(fields: Mapping[str, Any], description: str, protocol: str, physics: Physics) -> str:
    """`other` or `dT1` for what is no weighted image whatever the description says; "" for all else."""
    kinds = set(_values(fields["ImageType"])[2:])
    said = _by_words(description, physics, fields)
    if _captured(fields["SOPClassUID"]) and said != "mask":
        return "other"
    if said == "ADC" and not kinds & {"EXP_ADC", "EADC", "EXPONENTIAL_ADC", "MOSAIC"}:
        return ""
    if kinds & _NO_IMAGE_TYPES or fields["ComplexImageComponent"].upper() in {"PHASE", "REAL", "IMAGINARY"}:
        return "other" if said not in {"mask", "localizer", "nRCBV", "sRCBV", "nCBF"} else ""
    derived = _DERIVED.search(contrast.upper(fields["DerivationDescription"]))
    if derived and derived[0] != "SUBTRACT":
        return "other"
    if derived or kinds & {"SUB", "SUBTRACT", "SUBTRACTION"}:
        return _subtracted(f"{description} {protocol}" if not said else description, physics)
    return ""


def _captured(sop_class: str) -> bool:
    return sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}.")


def _by_words(words: str, physics: Physics, fields: Mapping[str, Any]) -> str:
    """What a description says: a sequence, "T1" with contrast left open, or "" if it says nothing certain."""
    if _BARE_MASK.search(words) and not _MASK.search(words):
        return _bare_mask(words, fields)
    kind = next((name for name, patterns in _KINDS if any(pattern.search(words) for pattern in patterns)), "")
    if kind:
        return kind
    if _DELTA.search(words):
        return "dT1"
    return _subtracted(words, physics) if _SUBTRACTION.search(words) else _weighting_of(words, physics, fields)


def _bare_mask(words: str, fields: Mapping[str, Any]) -> str:
    """A mask of a tumour, unless it is the image before the bolus, which an angiogram subtracts, or of an organ."""
    context = " ".join(contrast.upper(fields[keyword]) for keyword in ("ProtocolName", "ImageType"))
    acquired = fields["ImageType"].upper().startswith("ORIGINAL") and not math.isnan(fields["RepetitionTime"])
    return "other" if acquired or _ANGIOGRAM.search(f"{words} {context}") else "mask"


def _subtracted(words: str, physics: Physics) -> str:
    if _T2.search(words) or _FLAIR.search(words) or _ANGIOGRAM.search(words):
        return "dT1" if _T1.search(words) and not _ANGIOGRAM.search(words) else "other"
    known = _T1.search(words) or contrast.by_words(words) or weighting.weighting(physics) == "T1"
    return "dT1" if known else "other"


def _weighting_of(words: str, physics: Physics, fields: Mapping[str, Any]) -> str:
    t1, t2 = bool(_T1.search(words)), bool(_T2.search(words))
    if t1:
        return "" if t2 else "T1"  # both: the name of a whole protocol; the physics knows which of the two it is
    if _FLAIR.search(words):
        return "FLAIR"
    if _PROTON.search(words):
        # a dual-echo series is two stacks: its early echo shows proton density, its late one T2
        return "T2" if t2 and not weighting.early_echo(physics, fields["EchoNumbers"]) else "other"
    return "T2" if t2 else ""


def _by_image_type(fields: Mapping[str, Any]) -> str:
    kinds = set(_values(fields["ImageType"]))
    for name in ("LOCALIZER", "ADC"):
        if name in kinds:
            return "localizer" if name == "LOCALIZER" else name
    return "other" if kinds & _OTHER_IMAGE_TYPES else ""
