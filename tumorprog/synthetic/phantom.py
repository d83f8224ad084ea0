"""Phantom heads with tumours: MR images of single slices, computed with numpy.

`anatomy` has the healthy head, `tumours` the tumour, `fields` what both are made of. An image is drawn by painting the
tissues over each other in order. Volumes are never held in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tumorprog.synthetic.anatomy import Head, healthy
from tumorprog.synthetic.fields import Layers, Plane, Waves, random_waves
from tumorprog.synthetic.tumours import Tumour, diseased

_HEALTHY = ("fat", "bone", "muscle", "csf", "grey", "white", "deep", "vessel", "choroid")
_DISEASED = ("oedema", "bulk", "cellular", "enhancing", "necrosis", "cavity", "blood")
_CONTRAST = {
    # in the order of _HEALTHY and _DISEASED; T1, T2 and FLAIR in arbitrary units, ADC in 1e-6 mm2/s, perfusion relative
    # to white matter (100); T1post as measured on patients (docs/phantoms.md)
    "T1pre": (1330, 130, 430, 230, 470, 560, 510, 330, 430, 480, 430, 450, 440, 270, 210, 800),
    "T1post": (1350, 130, 560, 260, 500, 580, 540, 1150, 950, 505, 470, 500, 1050, 400, 230, 860),
    "T2": (560, 40, 170, 850, 470, 330, 380, 120, 700, 660, 780, 440, 480, 900, 880, 600),
    "FLAIR": (430, 40, 170, 90, 470, 390, 430, 100, 380, 720, 820, 520, 640, 260, 110, 600),
    "ADC": (0, 0, 0, 2900, 850, 740, 780, 900, 1500, 1450, 1300, 800, 1050, 2200, 2900, 900),
    "nCBF": (0, 0, 0, 20, 220, 100, 190, 420, 250, 80, 120, 180, 100, 15, 10, 30),
    "nRCBV": (0, 0, 0, 25, 190, 100, 170, 450, 260, 85, 120, 190, 100, 15, 10, 30),
    "sRCBV": (0, 0, 0, 500, 3200, 1900, 2900, 7500, 4500, 1700, 2300, 3500, 1900, 400, 300, 700),
}
_PERFUSION = ("nCBF", "nRCBV", "sRCBV")
_MAPS = ("dT1", "ADC", *_PERFUSION)
"""Derived images: without receive field and arbitrary gain, and with Gaussian noise."""

_NOISE = {"dT1": 22.0, "ADC": 60.0, "nCBF": 14.0, "nRCBV": 12.0, "sRCBV": 210.0}
"""Standard deviation of the noise of a map, in the units of the map."""


def layers(head: Head, tumour: Tumour, plane: Plane) -> Layers:
    """Return the tissues on a plane; they are the same for all sequences and are computed once per plane."""
    tissues, white, brain = healthy(head, plane)
    return tissues + diseased(tumour, plane, white=white, brain=brain)


@dataclass(frozen=True)
class Receiver:
    """The receive chain of a scanner for one series.

    Attributes:
        gain: scale of the arbitrary units.
        field: logarithm of the receive field.
        noise: standard deviation of the noise, in units in which white matter is 560 on T1.
    """

    gain: float
    field: Waves
    noise: float


def random_receiver(rng: np.random.Generator) -> Receiver:
    """Return a receiver with a gain that is independent of the patient."""
    field = random_waves(rng, 5, wavelength_mm=330, deviation=0.07)
    return Receiver(float(np.exp(rng.normal(0, 0.25))), field, rng.uniform(8, 18))


def image(head: Head, tumour: Tumour, *, sequence: str, painted: Layers, plane: Plane) -> np.ndarray:
    """Return the noise-free signal, (H, W) float32 in the units of the sequence; dT1 also has negative values."""
    shade = 1 + np.float32(0.02) * head.texture.on(plane)
    if sequence == "dT1":
        return (_paint(painted, _values("T1post", tumour)) - _paint(painted, _values("T1pre", tumour))) * shade
    return _paint(painted, _values(sequence, tumour)) * shade


def received(
    signal: np.ndarray, receiver: Receiver, rng: np.random.Generator, *, sequence: str, plane: Plane
) -> np.ndarray:
    """Return the signal with receive field, gain and noise, (H, W) float32.

    Magnitude images have Rician noise (Gudbjartsson & Patz 1995, Magn Reson Med 34:910-914). Diffusion and perfusion
    are acquired with half the matrix size, so that blocks of two by two pixels share their noise.
    """
    if sequence not in _MAPS:
        modulated = signal * np.exp(receiver.field.on(plane))
        real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(receiver.noise)
        return np.float32(receiver.gain) * np.hypot(modulated + real, imaginary)
    block = 1 if sequence == "dT1" else 2
    coarse_noise = rng.standard_normal([-(-side // block) for side in signal.shape], dtype=np.float32)
    noise = coarse_noise.repeat(block, axis=0).repeat(block, axis=1)[: signal.shape[0], : signal.shape[1]]
    if sequence == "dT1":
        return signal + np.float32(_NOISE[sequence]) * noise
    brain = signal > 0
    return np.where(brain, np.maximum(signal + np.float32(_NOISE[sequence]) * noise, 0), 0)


def _values(sequence: str, tumour: Tumour) -> dict[str, float]:
    values: dict[str, float] = dict(zip((*_HEALTHY, *_DISEASED), _CONTRAST[sequence], strict=True))
    if sequence in _PERFUSION:
        values["enhancing"] *= tumour.perfusion
        values["bulk"] *= 1 + 0.25 * (tumour.perfusion - 1)
    return values


def _paint(painted: Layers, values: Mapping[str, float]) -> np.ndarray:
    signal = np.zeros_like(painted[0][1])
    for tissue, share in painted:
        signal += share * (np.float32(values[tissue]) - signal)
    return signal
