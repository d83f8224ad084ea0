"""Weighting of a series from its acquisition parameters, and weightings that these rule out.

Source: the usual ranges of spin-echo weighting (McRobbie et al., MRI from Picture to Proton, ch. 3), widened for
scanners of the 1990s; fluid is nulled near TI = 2,000 ms, fat near 150 ms.
"""

import math
from typing import NamedTuple

_SHORT_REPETITION_MS, _LONG_REPETITION_MS = 1200.0, 1800.0
_SHORT_ECHO_MS, _LONG_ECHO_MS = 35.0, 60.0
_FLUID_INVERSION_MS = 1500.0
_LOCALIZER_REPETITION_MS = 50.0
_T1, _T2, _FLAIR, _OTHER = "T1", "T2", "FLAIR", "other"
_GRADIENT_NAMES = (
    "FL",
    "TFL",
    "SPGR",
    "FSPGR",
    "TFE",
    "FFE",
    "ME2D",
    "ME3D",
    "CI3D",
    "TFI",
    "FI3D",
    "FI2D",
    "SWI",
    "QFL",
)


class AcquisitionParameters(NamedTuple):
    """Acquisition parameters of an image, from its header.

    Attributes:
        kinds: the values of ScanningSequence, in capitals: SE, IR, GR, EP, RM.
        variants: the values of SequenceVariant.
        name: SequenceName in capitals, without the asterisk.
        dimensions: MRAcquisitionType: 2D or 3D.
        repetition: RepetitionTime in ms; NaN if unknown, like the other numbers.
        echo: EchoTime in ms.
        inversion: InversionTime in ms.
        flip: FlipAngle in degrees.
        b_value: DiffusionBValue in s/mm2.
    """

    kinds: frozenset[str]
    variants: frozenset[str]
    name: str
    dimensions: str
    repetition: float
    echo: float
    inversion: float
    flip: float
    b_value: float

    @property
    def is_inversion_recovery(self) -> bool:
        """Whether an inversion pulse precedes the excitation, other than for fat suppression."""
        stated = "IR" in self.kinds or self.name.startswith(("TIR", "IR", "SPCIR"))
        return stated or self.inversion >= 300 or (self.inversion > 0 and not self.kinds)

    @property
    def is_3d(self) -> bool:
        """Whether the acquisition is three-dimensional."""
        return self.dimensions == "3D" or "3D" in self.name

    @property
    def is_2d(self) -> bool:
        """Whether the acquisition is two-dimensional."""
        return self.dimensions == "2D" or "2D" in self.name

    @property
    def is_gradient_echo(self) -> bool:
        """Whether the sequence is a gradient echo and not a combination with spin echoes."""
        return ("GR" in self.kinds and "SE" not in self.kinds) or self.name.startswith(_GRADIENT_NAMES)

    @property
    def is_echo_planar(self) -> bool:
        """Whether the readout is echo-planar, or the image diffusion-weighted."""
        return "EP" in self.kinds or self.name.startswith("EP") or self.b_value >= 100


def weighting(acquisition: AcquisitionParameters) -> str:
    """Return the weighting that follows from the acquisition parameters alone.

    Returns:
        "T1", "T2", "FLAIR", "localizer", "other" if it is certainly none of these, or "" if it is undetermined.
    """
    if acquisition.is_echo_planar:
        return _OTHER
    if acquisition.is_inversion_recovery:
        return _from_inversion(acquisition.repetition, acquisition.echo, acquisition.inversion)
    if acquisition.is_gradient_echo or "GR" in acquisition.kinds:
        return _from_gradient_echo(acquisition)
    return _from_spin_echo(acquisition.repetition, acquisition.echo)


def _from_spin_echo(repetition: float, echo: float) -> str:
    if repetition <= _SHORT_REPETITION_MS and echo <= _SHORT_ECHO_MS:
        return _T1
    if repetition >= _LONG_REPETITION_MS and echo >= _LONG_ECHO_MS:
        return _T2
    return _OTHER if repetition >= _LONG_REPETITION_MS and echo <= _SHORT_ECHO_MS else ""  # proton density


def _from_inversion(repetition: float, echo: float, inversion: float) -> str:
    if repetition >= 4000 and echo >= _LONG_ECHO_MS and not inversion < _FLUID_INVERSION_MS:
        return _FLAIR
    # T1 weighting takes an inversion time of 400 to 1,200 ms and a short echo
    if 300 <= inversion < _FLUID_INVERSION_MS and echo <= _SHORT_ECHO_MS:
        return _T1
    return _OTHER if 50 <= inversion < 300 else ""


def _from_gradient_echo(acquisition: AcquisitionParameters) -> str:
    if acquisition.echo > 15:
        return _OTHER  # a gradient echo with a long echo time is T2*-weighted
    if not acquisition.echo <= 15:
        return ""
    if acquisition.name.startswith(("CI3D", "TFI", "FI3D", "FI2D", "FL3D1R", "FL2D1R")):
        return _OTHER  # an unspoiled steady state has T2/T1 contrast; flow rephasing shows vessels
    if acquisition.is_3d:
        return _T1 if acquisition.repetition <= 3000 else ""
    if acquisition.repetition < _LOCALIZER_REPETITION_MS:
        return "localizer" if acquisition.is_2d else ""
    return _T1 if acquisition.repetition <= _SHORT_REPETITION_MS and acquisition.flip >= 40 else ""


def contradicting_weighting(stated: str, acquisition: AcquisitionParameters) -> str:
    """Return the weighting that the acquisition parameters prove if it contradicts the one stated in the texts.

    Only limits that no image of the stated weighting would exceed are used; missing values contradict nothing.

    Args:
        stated: "T1", "T2" or "FLAIR".
        acquisition: of the same series.

    Returns:
        "T1", "T2", "FLAIR" or "other" if that is proven and differs from the stated weighting; "" otherwise.
    """
    proven = _proven(stated, acquisition)
    return "" if proven == stated else proven


def _proven(stated: str, acquisition: AcquisitionParameters) -> str:
    if acquisition.is_echo_planar:
        return "" if stated == _T1 and not acquisition.echo > _SHORT_ECHO_MS else _OTHER
    if acquisition.is_gradient_echo:
        return _proven_by_gradient_echo(stated, acquisition)
    if acquisition.is_inversion_recovery:
        return _proven_by_inversion(acquisition)
    return _proven_by_spin_echo(stated, acquisition)


def _proven_by_gradient_echo(stated: str, acquisition: AcquisitionParameters) -> str:
    if stated == _T1:
        return _OTHER if acquisition.echo >= 20 and not acquisition.is_inversion_recovery else ""
    if 300 <= acquisition.inversion < _FLUID_INVERSION_MS and acquisition.echo <= 10:
        return _T1  # an inversion-prepared volume, such as MP-RAGE
    spoiled = (
        "SP" in acquisition.variants
        and acquisition.repetition < 50
        and acquisition.echo <= 10
        and acquisition.flip >= 10
    )
    if spoiled and acquisition.is_3d:
        return _T1
    return _OTHER if stated == _T2 else ""


def _proven_by_inversion(acquisition: AcquisitionParameters) -> str:
    if (
        acquisition.repetition >= 4000
        and acquisition.echo >= _LONG_ECHO_MS
        and acquisition.inversion >= _FLUID_INVERSION_MS
    ):
        return _FLAIR
    if 400 <= acquisition.inversion < 1300 and acquisition.echo <= _SHORT_ECHO_MS and acquisition.repetition < 4000:
        return _T1
    # an inversion time that nulls fat
    return _OTHER if 80 <= acquisition.inversion < 300 and acquisition.repetition >= 1500 else ""


def _proven_by_spin_echo(stated: str, acquisition: AcquisitionParameters) -> str:
    comparable = "SE" in acquisition.kinds or (not acquisition.kinds and not acquisition.flip < 60)
    if not comparable:
        return ""
    if acquisition.repetition <= 1000 and acquisition.echo <= 30:
        return _T1
    if stated == _T1 and acquisition.repetition >= 2500 and acquisition.echo >= 70:
        return _T2
    if stated == _FLAIR and acquisition.name.startswith(("TSE", "SE")) and acquisition.echo >= _LONG_ECHO_MS:
        return _T2  # a scanner that encodes inversion in its sequence names states none
    # the early echo of a series with a long repetition time is proton-density weighted
    return _OTHER if stated == _T2 and acquisition.repetition >= _LONG_REPETITION_MS and acquisition.echo < 40 else ""


def is_early_echo(acquisition: AcquisitionParameters, echo_number: float) -> bool:
    """Return whether an image of a dual-echo series is of the first echo; False if that is unknown."""
    return acquisition.echo < _LONG_ECHO_MS or (math.isnan(acquisition.echo) and echo_number == 1)
