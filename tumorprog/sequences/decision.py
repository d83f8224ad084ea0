"""Canonical sequence of a series, from its texts, its acquisition parameters and the contrast agent.

If texts and acquisition parameters contradict each other, the parameters determine the weighting, provided that they
prove one. Whether a T1 image is before or after contrast is determined by the texts, or by the agent if the texts do
not state it.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tumorprog.sequences import weighting, words
from tumorprog.sequences.contrast import AFTER, BEFORE, from_agent, from_text, normalise
from tumorprog.sequences.weighting import AcquisitionParameters

ACQUISITION_NUMBERS = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "DiffusionBValue")
"""Numeric inputs of `canonical_sequence`: ms, degrees and s/mm2."""

TEXTS = (
    *("SeriesDescription", "ProtocolName", "ImageType", "ContrastBolusAgent", "SequenceName", "ScanningSequence"),
    *("SequenceVariant", "MRAcquisitionType", "ComplexImageComponent", "DerivationDescription", "SOPClassUID"),
    "AcquisitionContrast",
)
"""Text inputs of `canonical_sequence`; several values are joined by a backslash or given as a list."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # the multi-frame variants append to this UID

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
"""The ten SeriesDescriptions of Brain-Tumor-Progression; matched exactly, because three of them contain "T1"."""

_WEIGHTED = {"T1", "T2", "FLAIR"}


class Decision(NamedTuple):
    """The sequence of a series and the evidence for it.

    Attributes:
        sequence: `T1pre`, `T1post`, `dT1`, `FLAIR`, `T2`, `ADC`, `nCBF`, `nRCBV`, `sRCBV`, `mask`, `localizer` or
            `other`.
        source: the DICOM keyword that determined it, `physics` for the acquisition parameters, or "" for `other`.
        witnesses: the sources of evidence that agree with it, of "texts", "physics" and "agent", joined by commas; ""
            if there is none.
        contradiction: how the sources contradict each other, for example "texts say T2, physics says T1"; or "".
    """

    sequence: str
    source: str
    witnesses: str
    contradiction: str


class _Statement(NamedTuple):
    """Sequence stated by the texts ("T1" without regard to contrast; "" if none), its source, and contrast."""

    sequence: str
    source: str
    contrast: str


def canonical_sequence(fields: Mapping[str, Any]) -> Decision:
    """Return the canonical name of the sequence of a series, and the evidence for it.

    Args:
        fields: values by DICOM keyword, each possibly missing, None or empty: `TEXTS`, `ACQUISITION_NUMBERS` and
            EchoNumbers.
    """
    texts = tuple((keyword, _text(fields, keyword)) for keyword in TEXTS)
    return _decide(
        texts, tuple((keyword, _number(fields, keyword)) for keyword in (*ACQUISITION_NUMBERS, "EchoNumbers"))
    )


def _text(fields: Mapping[str, Any], keyword: str) -> str:
    value = fields.get(keyword)
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return "\\".join(str(part).strip() for part in value) if isinstance(value, Sequence) else str(value)


def _number(fields: Mapping[str, Any], keyword: str) -> float:
    """Return a number of the header; NaN if it is missing or 0, which also means missing."""
    try:
        return float(fields.get(keyword) or math.nan)
    except (TypeError, ValueError):
        return math.nan


@functools.lru_cache(maxsize=1024)  # shared by the slices of a series
def _decide(texts: tuple[tuple[str, str], ...], numbers: tuple[tuple[str, float], ...]) -> Decision:
    fields: dict[str, Any] = dict(texts + numbers)
    description = fields["SeriesDescription"]
    if description in BTP:
        return Decision(BTP[description], "SeriesDescription", "texts", "")
    acquisition = _acquisition(fields)
    stated = _read_texts(fields, acquisition)
    measured = weighting.weighting(acquisition)
    if stated.sequence in _WEIGHTED:
        return _decide_by_texts(stated, acquisition, measured, from_agent(fields["ContrastBolusAgent"]))
    if stated.sequence:
        agreeing = "texts,physics" if stated.sequence == measured else "texts"
        return Decision(stated.sequence, "" if stated.sequence == "other" else stated.source, agreeing, "")
    return _decide_by_acquisition(stated, measured, fields)


def _acquisition(fields: Mapping[str, Any]) -> AcquisitionParameters:
    name = fields["SequenceName"].upper().lstrip("*")
    kinds, variants = (_values(fields[keyword]) for keyword in ("ScanningSequence", "SequenceVariant"))
    numbers = (fields[keyword] for keyword in ACQUISITION_NUMBERS)
    return AcquisitionParameters(
        frozenset(kinds) - {""}, frozenset(variants), name, fields["MRAcquisitionType"].upper(), *numbers
    )


def _values(text: str) -> list[str]:
    return [value.strip().upper() for value in text.split("\\")]


def _decide_by_texts(stated: _Statement, acquisition: AcquisitionParameters, measured: str, agent: str) -> Decision:
    """Return the decision for a series whose texts state a weighting."""
    proven = weighting.contradicting_weighting(stated.sequence, acquisition)
    weighted = proven or stated.sequence
    contradiction = f"texts say {stated.sequence}, physics says {proven}" if proven else ""
    agreeing = ["physics"] if proven else ["texts", "physics"] if measured == weighted else ["texts"]
    return _with_contrast(weighted, "physics" if proven else stated.source, stated, agent, agreeing, contradiction)


def _decide_by_acquisition(stated: _Statement, measured: str, fields: Mapping[str, Any]) -> Decision:
    """Return the decision for a series whose texts state no weighting."""
    agent = from_agent(fields["ContrastBolusAgent"])
    if measured in _WEIGHTED:
        return _with_contrast(measured, "physics", stated, agent, ["physics"], "")
    if measured:
        return Decision(measured, "" if measured == "other" else "physics", "physics", "")
    if stated.contrast and stated.source:  # a series named only "COR POST GAD" is T1-weighted
        return _with_contrast("T1", stated.source, stated, agent, ["texts"], "")
    return Decision("other", "", "", "")


def _with_contrast(
    weighted: str, source: str, stated: _Statement, agent: str, agreeing: list[str], contradiction: str
) -> Decision:
    """Return the decision for a weighting, with T1 divided into before and after contrast."""
    if weighted != "T1":
        return Decision(weighted, "" if weighted == "other" else source, ",".join(agreeing), contradiction)
    after = (stated.contrast or agent) == AFTER
    name = "T1post" if after else "T1pre"
    if not stated.contrast and after:
        source = "ContrastBolusAgent"
    if stated.contrast and "texts" not in agreeing and not contradiction:
        agreeing = ["texts", *agreeing]
    if agent and (agent == AFTER) == after:
        agreeing = [*agreeing, "agent"]
    if stated.contrast == AFTER and agent == BEFORE:
        contradiction = "; ".join(filter(None, (contradiction, "texts say T1post, agent says none")))
    return Decision(name, source, ",".join(agreeing), contradiction)


def _read_texts(fields: Mapping[str, Any], acquisition: AcquisitionParameters) -> _Statement:
    """Return what all texts together state; an image type that excludes a weighted image takes precedence."""
    description, protocol = (normalise(fields[keyword]) for keyword in ("SeriesDescription", "ProtocolName"))
    described = _sequence_in_text(description, acquisition, fields)
    not_weighted = _not_weighted(fields, described, description, acquisition)
    if not_weighted:
        return _Statement(not_weighted, "ImageType" if not_weighted == "ADC" else "SeriesDescription", "")
    described_contrast = from_text(description)
    # the protocol often names the whole examination, so a term such as perfusion need not apply to this series
    by_protocol = described if protocol == description else _sequence_in_text(protocol, acquisition, fields)
    of_series = by_protocol == "T1" or (protocol and not description and not words.EXAMINATION.search(protocol))
    before_or_after = described_contrast or (from_text(protocol) if of_series else "")
    if described:
        return _Statement(described, "SeriesDescription", before_or_after)
    if by_protocol in _WEIGHTED or (by_protocol not in {"", "other"} and not described_contrast):
        return _Statement(by_protocol, "ProtocolName", before_or_after)
    sequence, source = _sequence_in_codes(fields)
    return _Statement(
        sequence,
        source or ("SeriesDescription" if described_contrast else "ProtocolName" if before_or_after else ""),
        before_or_after,
    )


def _not_weighted(
    fields: Mapping[str, Any], described: str, description: str, acquisition: AcquisitionParameters
) -> str:
    """Return `other`, `ADC` or `dT1` for an image that is not weighted whatever its description; "" otherwise."""
    kinds = {kind.replace("_", " ") for kind in _values(fields["ImageType"])[2:]}
    if is_secondary_capture(fields["SOPClassUID"]) and described != "mask":
        return "other"
    if described in {"mask", "localizer", "nRCBV", "sRCBV", "nCBF"}:
        return ""
    if _is_adc(kinds, described, description):
        return "" if described == "ADC" else "ADC"
    component = fields["ComplexImageComponent"].upper()
    derived = words.DERIVED.search(normalise(fields["DerivationDescription"]))
    projected = derived and derived[0] != "SUBTRACT"
    if projected or component in {"PHASE", "REAL", "IMAGINARY"} or any(map(words.NON_WEIGHTED_TYPE.fullmatch, kinds)):
        return "other"
    return _subtraction(description, acquisition, fields) if derived or kinds & words.SUBTRACTION_TYPES else ""


def _is_adc(kinds: set[str], described: str, description: str) -> bool:
    """Return whether description or image type state an ADC map; an exponential ADC map is excluded."""
    exponential = any(words.EXPONENTIAL_ADC.search(text) for text in (*kinds, description))
    return not exponential and (bool(kinds & words.ADC_TYPES) or (described == "ADC" and "MOSAIC" not in kinds))


def is_secondary_capture(sop_class: str) -> bool:
    """Return whether a SOP class is Secondary Capture or one of its multi-frame variants."""
    return sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}.")


def _sequence_in_text(text: str, acquisition: AcquisitionParameters, fields: Mapping[str, Any]) -> str:
    """Return the sequence that a text states, "T1" without regard to contrast; "" if it is not certain."""
    if words.BARE_MASK.search(text) and not words.MASK.search(text):
        return _bare_mask(text, fields)
    kind = next((name for name, pattern in words.KINDS if pattern.search(text)), "")
    if not kind and words.SUBTRACTION.search(text):
        return _subtraction(text, acquisition, fields)
    return kind or _weighting_of(text, acquisition, fields)


def _bare_mask(text: str, fields: Mapping[str, Any]) -> str:
    """Return `mask` for a tumour mask; `other` for the mask image of an angiogram or the mask of an organ."""
    context = " ".join(normalise(fields[keyword]) for keyword in ("ProtocolName", "ImageType"))
    acquired = fields["ImageType"].upper().startswith("ORIGINAL") and not math.isnan(fields["RepetitionTime"])
    return "other" if acquired or words.ANGIOGRAM.search(f"{text} {context}") else "mask"


def _subtraction(text: str, acquisition: AcquisitionParameters, fields: Mapping[str, Any]) -> str:
    """Return `dT1` for a subtraction of T1 images, else `other`; the protocol counts if the description is unclear."""
    if not any(pattern.search(text) for pattern in (words.T1, words.T2, words.FLAIR, words.ANGIOGRAM)):
        text = f"{text} {normalise(fields['ProtocolName'])}"
    if words.ANGIOGRAM.search(text):
        return "other"
    if words.T1.search(text):
        return "dT1"
    not_t1 = words.T2.search(text) or words.FLAIR.search(text)
    return "dT1" if not not_t1 and (from_text(text) or weighting.weighting(acquisition) == "T1") else "other"


def _weighting_of(text: str, acquisition: AcquisitionParameters, fields: Mapping[str, Any]) -> str:
    t1, t2 = bool(words.T1.search(text)), bool(words.T2.search(text))
    if t1:
        return "" if t2 else "T1"  # both: the name of a whole protocol; the acquisition parameters decide
    if words.FLAIR.search(text):
        return "FLAIR"
    if words.PROTON.search(text):
        # a dual-echo series has two stacks: the early echo is proton-density weighted, the late one T2-weighted
        if weighting.is_early_echo(acquisition, fields["EchoNumbers"]):
            return "other"
        return "T2" if t2 else "other" if math.isnan(acquisition.echo) else ""
    return "T2" if t2 else ""


def _sequence_in_codes(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the sequence in ImageType or AcquisitionContrast, and its keyword; "" and "" if neither states one."""
    for keyword in ("ImageType", "AcquisitionContrast"):
        kinds = {kind.replace("_", " ") for kind in _values(fields[keyword])}
        for name, codes in words.IMAGE_TYPES:
            if kinds & codes:
                return name, keyword
    return "", ""
