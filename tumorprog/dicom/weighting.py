"""Timing in, weighting out: what the physics of a series says that it is, and how surely.

Source: the usual ranges of spin-echo weighting (McRobbie et al., MRI from Picture to Proton, ch. 3), with room for the
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


class Physics(NamedTuple):
    """What a header says of how an image was taken.

    Attributes:
        kinds: the values of ScanningSequence, in capitals: SE, IR, GR, EP, RM.
        variants: the values of SequenceVariant.
        name: SequenceName in capitals, without the asterisk.
        dimensions: MRAcquisitionType: 2D or 3D.
        repetition: RepetitionTime in ms; NaN if unknown, as the others.
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
    def inverted(self) -> bool:
        """Whether an inversion stands before the excitation that does more than suppress fat."""
        stated = "IR" in self.kinds or self.name.startswith(("TIR", "IR", "SPCIR"))
        return stated or self.inversion >= 300 or (self.inversion > 0 and not self.kinds)

    @property
    def in_3d(self) -> bool:
        """Whether the acquisition is of a volume."""
        return self.dimensions == "3D" or "3D" in self.name

    @property
    def in_2d(self) -> bool:
        """Whether it is of single slices."""
        return self.dimensions == "2D" or "2D" in self.name

    @property
    def by_gradients(self) -> bool:
        """Whether it is a gradient echo, and no mixture of both kinds."""
        return ("GR" in self.kinds and "SE" not in self.kinds) or self.name.startswith(_GRADIENT_NAMES)

    @property
    def echo_planar(self) -> bool:
        """Whether it is read out as echo-planar images are, or weighted by diffusion."""
        return "EP" in self.kinds or self.name.startswith("EP") or self.b_value >= 100


def weighting(physics: Physics) -> str:
    """The weighting that follows from timing where no text tells one.

    Returns:
        "T1", "T2", "FLAIR", "localizer", "other" where it is surely none of them, or "" if the timing leaves it open.
    """
    if physics.echo_planar:
        return _OTHER
    if physics.inverted:
        return _by_inversion(physics.repetition, physics.echo, physics.inversion)
    if physics.by_gradients or "GR" in physics.kinds:
        return _by_gradient_echo(physics)
    return _by_spin_echo(physics.repetition, physics.echo)


def _by_spin_echo(repetition: float, echo: float) -> str:
    if repetition <= _SHORT_REPETITION_MS and echo <= _SHORT_ECHO_MS:
        return _T1
    if repetition >= _LONG_REPETITION_MS and echo >= _LONG_ECHO_MS:
        return _T2
    return _OTHER if repetition >= _LONG_REPETITION_MS and echo <= _SHORT_ECHO_MS else ""  # proton density


def _by_inversion(repetition: float, echo: float, inversion: float) -> str:
    if repetition >= 4000 and echo >= _LONG_ECHO_MS and not inversion < _FLUID_INVERSION_MS:
        return _FLAIR
    # T1 is weighted by 400 to 1,200 ms and a short echo
    if 300 <= inversion < _FLUID_INVERSION_MS and echo <= _SHORT_ECHO_MS:
        return _T1
    return _OTHER if 50 <= inversion < 300 else ""


def _by_gradient_echo(physics: Physics) -> str:
    if physics.echo > 15:
        return _OTHER  # a late gradient echo is weighted by T2*
    if not physics.echo <= 15:
        return ""
    if physics.name.startswith(("CI3D", "TFI", "FI3D", "FI2D", "FL3D1R", "FL2D1R")):
        return _OTHER  # a steady state that is not spoiled shows T2/T1; one with rephased flow shows vessels
    if physics.in_3d:
        return _T1 if physics.repetition <= 3000 else ""
    if physics.repetition < _LOCALIZER_REPETITION_MS:
        return "localizer" if physics.in_2d else ""
    return _T1 if physics.repetition <= _SHORT_REPETITION_MS and physics.flip >= 40 else ""


def objection(said: str, physics: Physics) -> str:
    """The weighting that the physics proves where texts say another.

    Only limits that no image of the weighting said would pass count; what is missing contradicts nothing.

    Args:
        said: "T1", "T2" or "FLAIR".
        physics: of the same series.

    Returns:
        "T1", "T2", "FLAIR" or "other" where that is surely another than what is said; "" otherwise.
    """
    proven = _proven(said, physics)
    return "" if proven == said else proven


def _proven(said: str, physics: Physics) -> str:
    if physics.echo_planar:
        return "" if said == _T1 and not physics.echo > _SHORT_ECHO_MS else _OTHER
    if physics.by_gradients:
        return _gradient_against(said, physics)
    if physics.inverted:
        return _inversion_against(physics)
    return _spin_echo_against(said, physics)


def _gradient_against(said: str, physics: Physics) -> str:
    if said == _T1:
        return _OTHER if physics.echo >= 20 and not physics.inverted else ""
    if 300 <= physics.inversion < _FLUID_INVERSION_MS and physics.echo <= 10:
        return _T1  # a prepared volume, such as MP-RAGE
    spoiled = "SP" in physics.variants and physics.repetition < 50 and physics.echo <= 10 and physics.flip >= 10
    if spoiled and physics.in_3d:
        return _T1
    return _OTHER if said == _T2 else ""


def _inversion_against(physics: Physics) -> str:
    if physics.repetition >= 4000 and physics.echo >= _LONG_ECHO_MS and physics.inversion >= _FLUID_INVERSION_MS:
        return _FLAIR
    if 400 <= physics.inversion < 1300 and physics.echo <= _SHORT_ECHO_MS and physics.repetition < 4000:
        return _T1
    # fat is nulled
    return _OTHER if 80 <= physics.inversion < 300 and physics.repetition >= 1500 else ""


def _spin_echo_against(said: str, physics: Physics) -> str:
    known = "SE" in physics.kinds or (not physics.kinds and not physics.flip < 60)
    if not known:
        return ""
    if physics.repetition <= 1000 and physics.echo <= 30:
        return _T1
    if said == _T1 and physics.repetition >= 2500 and physics.echo >= 70:
        return _T2
    if said == _FLAIR and physics.name.startswith(("TSE", "SE")) and physics.echo >= _LONG_ECHO_MS:
        return _T2  # a scanner that names the inversion in its sequences says that there is none
    # the early echo of a series with a long repetition shows proton density
    return _OTHER if said == _T2 and physics.repetition >= _LONG_REPETITION_MS and physics.echo < 40 else ""


def early_echo(physics: Physics, echo_number: float) -> bool:
    """Whether an image of a dual-echo series is of its first echo; it is taken as late where nothing tells."""
    return physics.echo < _LONG_ECHO_MS or (math.isnan(physics.echo) and echo_number == 1)
