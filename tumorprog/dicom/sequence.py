"""What a series is: its texts, its physics and the contrast agent are three witnesses, and this is the decision.

Where texts and physics contradict each other, the physics decides what weighting it is, if it proves one. Whether a T1
is before or after contrast is told by the words, and where they are silent by the agent.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tumorprog.dicom import contrast, weighting, words
from tumorprog.dicom.weighting import Physics

PHYSICS_NUMBERS = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "DiffusionBValue")
"""What `canonical_sequence` is told in numbers: ms, degrees, and s/mm2."""

TEXTS = (
    *("SeriesDescription", "ProtocolName", "ImageType", "ContrastBolusAgent", "SequenceName", "ScanningSequence"),
    *("SequenceVariant", "MRAcquisitionType", "ComplexImageComponent", "DerivationDescription", "SOPClassUID"),
    "AcquisitionContrast",
)
"""What it is told in words; several values are joined by a backslash or stand in a list."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # its multi-frame children go on where it ends

BTP = {
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
"""Brain-Tumor-Progression's ten SeriesDescriptions and what they are; whole and exact, because "T1" is in three."""

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
    if description in BTP:
        return Decision(BTP[description], "SeriesDescription", "texts", "")
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
    numbers = (fields[keyword] for keyword in PHYSICS_NUMBERS)
    return Physics(frozenset(kinds) - {""}, frozenset(variants), name, fields["MRAcquisitionType"].upper(), *numbers)


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
    told = _by_words(description, physics, fields)
    refused = _no_image(fields, told, description, physics)
    if refused:
        return _Said(refused, "ImageType" if refused == "ADC" else "SeriesDescription", "")
    first = contrast.by_words(description)
    # often the name of the whole examination: that it holds perfusion, say, tells nothing of this series
    second = told if protocol == description else _by_words(protocol, physics, fields)
    of_series = second == "T1" or (protocol and not description and not words.EXAMINATION.search(protocol))
    when = first or (contrast.by_words(protocol) if of_series else "")
    if told:
        return _Said(told, "SeriesDescription", when)
    if second in _WEIGHTED or (second not in {"", "other"} and not first):
        return _Said(second, "ProtocolName", when)
    kind, source = _by_image_type(fields)
    return _Said(kind, source or ("SeriesDescription" if first else "ProtocolName" if when else ""), when)


def _no_image(fields: Mapping[str, Any], said: str, description: str, physics: Physics) -> str:
    """`other`, `ADC` or `dT1` for what is no weighted image whatever the description says; "" for all else."""
    kinds = {kind.replace("_", " ") for kind in _values(fields["ImageType"])[2:]}
    if is_capture(fields["SOPClassUID"]) and said != "mask":
        return "other"
    if said in {"mask", "localizer", "nRCBV", "sRCBV", "nCBF"}:
        return ""
    if _is_adc(kinds, said, description):
        return "" if said == "ADC" else "ADC"
    component = fields["ComplexImageComponent"].upper()
    derived = words.DERIVED.search(contrast.upper(fields["DerivationDescription"]))
    projected = derived and derived[0] != "SUBTRACT"
    if projected or component in {"PHASE", "REAL", "IMAGINARY"} or any(map(words.NO_IMAGE_TYPE.fullmatch, kinds)):
        return "other"
    return _subtracted(description, physics, fields) if derived or kinds & words.SUBTRACTION_TYPES else ""


def _is_adc(kinds: set[str], said: str, description: str) -> bool:
    """By the image type, where the description names only the diffusion series; an exponential ADC is none."""
    exponential = any(words.EXPONENTIAL_ADC.search(text) for text in (*kinds, description))
    return not exponential and (bool(kinds & words.ADC_TYPES) or (said == "ADC" and "MOSAIC" not in kinds))


def is_capture(sop_class: str) -> bool:
    """Whether a SOP class is Secondary Capture or one of its multi-frame children."""
    return sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}.")


def _by_words(spoken: str, physics: Physics, fields: Mapping[str, Any]) -> str:
    """What a description says: a sequence, "T1" with contrast left open, or "" if it says nothing certain."""
    if words.BARE_MASK.search(spoken) and not words.MASK.search(spoken):
        return _bare_mask(spoken, fields)
    kind = next((name for name, pattern in words.KINDS if pattern.search(spoken)), "")
    if not kind and words.SUBTRACTION.search(spoken):
        return _subtracted(spoken, physics, fields)
    return kind or _weighting_of(spoken, physics, fields)


def _bare_mask(spoken: str, fields: Mapping[str, Any]) -> str:
    """A mask of a tumour, unless it is the image before the bolus, which an angiogram subtracts, or of an organ."""
    context = " ".join(contrast.upper(fields[keyword]) for keyword in ("ProtocolName", "ImageType"))
    acquired = fields["ImageType"].upper().startswith("ORIGINAL") and not math.isnan(fields["RepetitionTime"])
    return "other" if acquired or words.ANGIOGRAM.search(f"{spoken} {context}") else "mask"


def _subtracted(spoken: str, physics: Physics, fields: Mapping[str, Any]) -> str:
    """`dT1` where T1s were subtracted; of what is told by the protocol where the description does not tell it."""
    if not any(pattern.search(spoken) for pattern in (words.T1, words.T2, words.FLAIR, words.ANGIOGRAM)):
        spoken = f"{spoken} {contrast.upper(fields['ProtocolName'])}"
    if words.ANGIOGRAM.search(spoken):
        return "other"
    if words.T1.search(spoken):
        return "dT1"
    other = words.T2.search(spoken) or words.FLAIR.search(spoken)
    return "dT1" if not other and (contrast.by_words(spoken) or weighting.weighting(physics) == "T1") else "other"


def _weighting_of(spoken: str, physics: Physics, fields: Mapping[str, Any]) -> str:
    t1, t2 = bool(words.T1.search(spoken)), bool(words.T2.search(spoken))
    if t1:
        return "" if t2 else "T1"  # both: the name of a whole protocol; the physics knows which of the two it is
    if words.FLAIR.search(spoken):
        return "FLAIR"
    if words.PROTON.search(spoken):
        # a dual-echo series is two stacks: its early echo shows proton density, its late one T2
        if weighting.early_echo(physics, fields["EchoNumbers"]):
            return "other"
        return "T2" if t2 else "other" if math.isnan(physics.echo) else ""
    return "T2" if t2 else ""


def _by_image_type(fields: Mapping[str, Any]) -> tuple[str, str]:
    """What the codes of image type and acquisition contrast say, and which of them; "" and "" if neither does."""
    for keyword in ("ImageType", "AcquisitionContrast"):
        kinds = {kind.replace("_", " ") for kind in _values(fields[keyword])}
        for name, codes in words.IMAGE_TYPES:
            if kinds & codes:
                return name, keyword
    return "", ""
