"""Phantom heads with tumours: MR images and masks of single slices, computed with numpy.

Coordinates are patient coordinates (LPS in DICOM: x to the left, y to the back, z up), in mm from the centre of the
head. The border of a tissue is a signed distance, positive inside; a soft step over it gives the partial volume of a
pixel, and an image is drawn by painting the tissues over each other in order. Volumes are never held in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Layers = list[tuple[str, np.ndarray]]
"""Tissues in painting order, each with its share of every pixel, (H, W) float32 in [0, 1]."""

_HEALTHY = ("scalp", "bone", "muscle", "csf", "grey", "white", "deep", "vessel")
_DISEASED = ("oedema", "bulk", "cellular", "enhancing", "necrosis")
_CONTRAST = {
    # in the order of _HEALTHY and _DISEASED; T1, T2 and FLAIR in arbitrary units, ADC in 1e-6 mm2/s, perfusion relative
    # to white matter (100)
    "T1pre": (620, 60, 300, 130, 400, 560, 470, 300, 420, 340, 400, 370, 210),
    "T1post": (600, 60, 330, 140, 430, 580, 500, 850, 430, 350, 420, 1000, 210),
    "T2": (420, 40, 170, 850, 470, 330, 380, 120, 660, 780, 440, 480, 900),
    "FLAIR": (330, 40, 170, 90, 470, 390, 430, 100, 720, 820, 520, 640, 260),
    "ADC": (0, 0, 0, 2900, 850, 740, 780, 900, 1450, 1300, 800, 1050, 2200),
    "nCBF": (0, 0, 0, 20, 220, 100, 190, 420, 80, 120, 180, 100, 15),
    "nRCBV": (0, 0, 0, 25, 190, 100, 170, 450, 85, 120, 190, 100, 15),
    "sRCBV": (0, 0, 0, 500, 3200, 1900, 2900, 7500, 1700, 2300, 3500, 1900, 400),
}
_PERFUSION = ("nCBF", "nRCBV", "sRCBV")
_MAPS = ("dT1", "ADC", *_PERFUSION)
"""Derived images: without receive field and arbitrary gain, and with Gaussian noise."""

_NOISE = {"dT1": 22.0, "ADC": 60.0, "nCBF": 14.0, "nRCBV": 12.0, "sRCBV": 210.0}
"""Standard deviation of the noise of a map, in the units of the map."""

# Ellipsoids on one side, mirrored to the other: centre and radii in mm, in the coordinates of the unwarped head.
_DEEP = (((13, -20, 14), (5, 9, 9)), ((26, -4, 6), (6, 16, 9)), ((11, 9, 8), (8, 13, 9)))
_CEREBRUM, _WHITE, _VENTRICULAR = 4, 5, 10
"""Indices of the layers of `_healthy` that confine oedema or exclude it."""
_VENTRICLES = (
    ((9, -23, 15), (5, 12, 8)),
    ((10, 4, 22), (6, 24, 7)),
    ((21, 34, 14), (6, 14, 8)),
    ((0, 9, 5), (2, 10, 8)),
)


@dataclass(frozen=True)
class Plane:
    """The pixel grid of one slice.

    Attributes:
        origin_mm: (3,) centre of the first pixel.
        row_mm: (3,) step from one row to the next.
        column_mm: (3,) step from one column to the next.
        rows: H.
        columns: W.
    """

    origin_mm: np.ndarray
    row_mm: np.ndarray
    column_mm: np.ndarray
    rows: int
    columns: int

    @cached_property
    def points(self) -> np.ndarray:
        """Centres of the pixels, (3, H, W) float32."""
        down = np.arange(self.rows)[:, None] * self.row_mm[:, None, None]
        across = np.arange(self.columns) * self.column_mm[:, None, None]
        return (self.origin_mm[:, None, None] + down + across).astype(np.float32)


@dataclass(frozen=True)
class Waves:
    """A smooth random field: a sum of plane waves.

    Attributes:
        vectors: (K, 3) wave vectors in radians per mm.
        phases: (K,) in radians.
        amplitude: amplitude of each wave.
    """

    vectors: np.ndarray
    phases: np.ndarray
    amplitude: float

    def on(self, plane: Plane) -> np.ndarray:
        """Return the field on a plane, (H, W) float32.

        The phase is linear in row and column, so by sin(a + b) = sin a cos b + cos a sin b the sum is one product of
        thin matrices, which needs a hundred times fewer sines. It uses einsum, because BLAS would start threads in
        every process.
        """
        start = self.vectors @ plane.origin_mm + self.phases
        down = start[:, None] + np.outer(self.vectors @ plane.row_mm, np.arange(plane.rows))
        across = np.outer(self.vectors @ plane.column_mm, np.arange(plane.columns))
        down, across = down.astype(np.float32), across.astype(np.float32)
        left = np.concatenate([np.sin(down), np.cos(down)])
        right = np.concatenate([np.cos(across), np.sin(across)])
        return np.float32(self.amplitude) * np.einsum("kh,kw->hw", left, right)


def random_waves(rng: np.random.Generator, count: int, *, wavelength_mm: float, deviation: float) -> Waves:
    """Return a random field with waves in all directions, wavelengths within 30 % of the given one, and mean 0."""
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = wavelength_mm * rng.uniform(0.7, 1.3, count)
    vectors = directions * (2 * np.pi / lengths)[:, None]
    return Waves(vectors, rng.uniform(0, 2 * np.pi, count), deviation * float(np.sqrt(2 / count)))


@dataclass(frozen=True)
class Head:
    """The anatomy of one patient.

    Attributes:
        half_axes_mm: (3,) half axes of the outer ellipsoid of the head.
        ventricles: relative size of the ventricles, 1 on average.
        warp: displacement along x, y and z, in mm.
        folds: a field whose zeros are the sulci.
        texture: variation of the intensity of the tissues.
    """

    half_axes_mm: np.ndarray
    ventricles: float
    warp: tuple[Waves, Waves, Waves]
    folds: Waves
    texture: Waves


def random_head(rng: np.random.Generator) -> Head:
    """Return a head of random size, shape and folding."""
    return Head(
        half_axes_mm=np.array([76.0, 95.0, 90.0]) + rng.uniform(-4, 4, 3),
        ventricles=rng.uniform(0.75, 1.3),
        warp=tuple(random_waves(rng, 6, wavelength_mm=120, deviation=2.2) for _ in range(3)),  # type: ignore[arg-type]  # three
        folds=random_waves(rng, 32, wavelength_mm=24, deviation=1.0),
        texture=random_waves(rng, 32, wavelength_mm=12, deviation=1.0),
    )


@dataclass(frozen=True, kw_only=True)
class Tumour:
    """A tumour on one date.

    Attributes:
        centre_mm: (3,) centre of the tumour.
        radii_mm: (3,) radii of the ellipsoid before its deformation.
        core: necrotic fraction of the radius, 0 without necrosis.
        enhancement: degree of contrast enhancement of the rim between core and border, in [0, 1].
        patches: degree of contrast enhancement of patches within the tumour, in [0, 1].
        oedema_mm: extent of the oedema beyond the border.
        heterogeneity: share of dense tissue, darker on T2 and FLAIR, in the patches without enhancement.
        perfusion: blood volume and flow of the enhancing part, relative to white matter.
        shape: deformation of the border from the ellipsoid, as a fraction of the radius.
        texture: variation within the tumour.
    """

    centre_mm: np.ndarray
    radii_mm: np.ndarray
    core: float
    enhancement: float
    patches: float
    oedema_mm: float
    heterogeneity: float
    perfusion: float
    shape: Waves
    texture: Waves


def tumour_of_grade(grade: int, rng: np.random.Generator) -> Tumour:
    """Return a tumour with the typical appearance of its grade (2, 3 or 4); the sizes of the grades overlap widely.

    Grade 2 is homogeneous and does not enhance; grade 3 is heterogeneous with faintly enhancing patches; grade 4 has a
    bright rim around a necrotic core and extensive oedema.
    """
    rim = grade == 4
    return Tumour(
        centre_mm=random_centre(rng),
        radii_mm=rng.uniform(15, 23) * rng.uniform(0.85, 1.15, 3),
        core=rng.uniform(0.6, 0.76) if rim else 0.0,
        enhancement=rng.uniform(0.75, 1.0) if rim else 0.0,
        patches={2: 0.0, 3: rng.uniform(0.35, 0.6), 4: 0.0}[grade],
        oedema_mm={2: rng.uniform(0, 4), 3: rng.uniform(5, 12), 4: rng.uniform(10, 20)}[grade],
        heterogeneity={2: 0.0, 3: 1.0, 4: 0.5}[grade],
        perfusion={2: 1.1, 3: 1.8, 4: 4.0}[grade] * rng.uniform(0.8, 1.25),
        **_random_shapes(rng),
    )


def tumour_of_days(days: int, rng: np.random.Generator) -> Tumour:
    """Return a treated glioblastoma for a given number of days to progression.

    Faster progression means a larger tumour, a thicker rim, more extensive oedema and higher perfusion. Apart from
    random variation between patients each is monotone in the logarithm of the days.
    """
    speed = float(np.log(82 / days)) + rng.normal(0, 0.15)
    radius = float(np.clip(14.5 + 2.8 * speed, 7, 21))
    rim_mm = float(np.clip(4.2 + 0.9 * speed, 2.0, 7))
    return Tumour(
        centre_mm=random_centre(rng),
        radii_mm=radius * rng.uniform(0.9, 1.1, 3),
        core=1 - rim_mm / radius,
        enhancement=rng.uniform(0.85, 1.0),
        patches=0.0,
        oedema_mm=float(np.clip(11 + 3.5 * speed, 2, 22)),
        heterogeneity=0.5,
        perfusion=float(np.clip(4 + 1.1 * speed, 1.5, 7)),
        **_random_shapes(rng),
    )


def grow(tumour: Tumour, days: int, rng: np.random.Generator) -> Tumour:
    """Return the tumour at progression, a number of days later, with a larger radius and a rim of equal thickness.

    The growth is 3 mm in 82 days and proportional to the 0.3th power of the time, so that its rate falls with time.
    """
    growth_mm = 3.0 * (days / 82) ** 0.3 * float(np.exp(rng.normal(0, 0.15)))
    radius = float(tumour.radii_mm.mean())
    rim_mm = (1 - tumour.core) * radius
    changed = {
        "radii_mm": tumour.radii_mm * (1 + growth_mm / radius),
        "core": 1 - rim_mm / (radius + growth_mm),
        "oedema_mm": tumour.oedema_mm + growth_mm,
    }
    return Tumour(**{**vars(tumour), **changed})


def random_centre(rng: np.random.Generator) -> np.ndarray:
    """Return a position in the white matter of either hemisphere at which a tumour fits into the brain, (3,) mm."""
    sign = rng.choice([-1.0, 1.0])
    return np.array([sign * rng.uniform(26, 33), rng.uniform(-28, 34), rng.uniform(8, 24)])


def _random_shapes(rng: np.random.Generator) -> dict[str, Waves]:
    return {
        "shape": random_waves(rng, 10, wavelength_mm=34, deviation=0.11),
        "texture": random_waves(rng, 16, wavelength_mm=13, deviation=1.0),
    }


def tumour_mask(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the mask of the tumour, (H, W) bool."""
    return _tumour_radius(tumour, plane) < 1


def enhancing_mask(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the mask of the rim between necrotic core and border, (H, W) bool."""
    radius = _tumour_radius(tumour, plane)
    return (radius < 1) & (_core_radius(tumour, radius, tumour.texture.on(plane)) >= tumour.core)


def volumes_ml(tumour: Tumour) -> tuple[float, float]:
    """Return the volumes of the tumour and of its enhancing rim in ml, summed over a grid of 1.5 mm."""
    step = 1.5
    reach = float(tumour.radii_mm.max()) * 1.8
    side = int(2 * reach / step) + 1
    voxels = np.zeros(2, np.int64)
    for depth in np.arange(-reach, reach, step):
        origin = tumour.centre_mm + np.array([-reach, -reach, depth])
        plane = Plane(origin, np.array([0.0, step, 0.0]), np.array([step, 0.0, 0.0]), side, side)
        voxels += [np.count_nonzero(tumour_mask(tumour, plane)), np.count_nonzero(enhancing_mask(tumour, plane))]
    tumour_ml, rim_ml = (voxels * step**3 / 1000).tolist()
    return tumour_ml, rim_ml


def layers(head: Head, tumour: Tumour, plane: Plane) -> Layers:
    """Return the tissues on a plane; they are the same for all sequences and are computed once per plane."""
    warped = plane.points + np.stack([waves.on(plane) for waves in head.warp])
    healthy = _healthy(head, warped, plane)
    shares = [share for _, share in healthy]
    brain = shares[_CEREBRUM] * (1 - shares[_VENTRICULAR])
    return healthy + _diseased(tumour, plane, white=shares[_WHITE] * brain, brain=brain)


def _healthy(head: Head, point: np.ndarray, plane: Plane) -> Layers:
    x, y, z = point
    depth = _ellipsoid(point, (0, 0, 0), head.half_axes_mm)
    neck = np.minimum(52 - np.hypot(x, y - 12), -58 - z)
    mirrored = np.stack([np.abs(x), y, z])
    fold = np.abs(head.folds.on(plane))
    callosum = np.maximum(_ellipsoid(mirrored, (0, 2, 18), (18, 38, 14)), 0)
    gap = mirrored[0] + 3 * callosum
    grey = np.minimum(depth - 11.5 - 18 * np.clip(1 - fold / 0.2, 0, 1), gap - 0.7)
    white = np.minimum(depth - 15.5 - 18 * np.clip(1 - fold / 1.1, 0, 1), gap - 4)
    sinus = np.minimum(np.minimum(3.5 - mirrored[0], 2.5 - np.abs(depth - 11.5)), y + z - 25)
    below = _ellipsoid(mirrored, (20, 42, -46), (30, 26, 22))
    stem = _ellipsoid(mirrored, (0, 14, -58), (12, 12, 34))
    return [
        ("scalp", _step(np.maximum(depth, neck))),
        ("muscle", _step(neck - 6)),
        ("bone", _step(depth - 4.5)),
        ("csf", _step(depth - 10)),
        ("grey", _step(grey)),
        ("white", _step(white)),
        ("csf", _step(np.minimum(below + 2.5, depth - 10))),
        ("grey", _step(np.minimum(below - 3.5 * np.clip(1 - fold / 0.4, 0, 1), depth - 12))),
        ("white", _step(np.maximum(below - 11, np.minimum(stem, depth - 4)))),
        ("deep", _step(_union(mirrored, _DEEP, 1.0), 2.0)),
        ("csf", _step(_union(mirrored, _VENTRICLES, head.ventricles))),
        ("vessel", _step(sinus)),
    ]


def _diseased(tumour: Tumour, plane: Plane, *, white: np.ndarray, brain: np.ndarray) -> Layers:
    radius = _tumour_radius(tumour, plane)
    texture = tumour.texture.on(plane)
    depth = (1 - radius) * np.float32(tumour.radii_mm.mean())
    border = _step(depth)
    patches = _step(texture - 0.2, 0.6) * np.clip(1.25 - radius, 0, 1)
    core = _step((tumour.core - _core_radius(tumour, radius, texture)) * np.float32(tumour.radii_mm.mean()))
    spread = _step(depth + tumour.oedema_mm * (1 + 0.12 * texture), 7.0) * (0.3 * brain + 0.7 * white)
    rim = np.float32(tumour.enhancement) * (np.float32(0.8) + np.float32(0.2) * _step(texture, 2.0))
    cellular = border * np.float32(tumour.heterogeneity) * _step(-texture - 0.3, 0.8)
    return [
        ("oedema", spread if tumour.oedema_mm else np.zeros_like(spread)),
        ("bulk", border),
        ("cellular", cellular),
        ("enhancing", border * np.clip(np.float32(tumour.patches) * patches + rim, 0, 1)),
        ("necrosis", core if tumour.core else np.zeros_like(core)),
    ]


def _tumour_radius(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the distance from the centre relative to that of the border, (H, W) float32: 1 on the border."""
    squared = np.float32(0)
    for along, middle, half in zip(plane.points, tumour.centre_mm, tumour.radii_mm, strict=True):
        scaled = (along - np.float32(middle)) * np.float32(1 / half)
        squared = squared + scaled * scaled
    return np.sqrt(squared) * (1 + tumour.shape.on(plane))


def _core_radius(tumour: Tumour, radius: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Return a radius that equals `core` on the border of the necrosis, which is rougher than that of the tumour."""
    return radius * (1 + np.float32(0.16 * tumour.heterogeneity) * texture)


def _ellipsoid(point: np.ndarray, centre: Sequence[float], radii: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the approximate depth below the surface of an ellipsoid, (H, W) float32 mm; negative outside.

    The distance to a surface f = 1 is (1 - f) / |grad f| to first order (Taubin 1991, IEEE PAMI 13:1115-1138).
    """
    radius, gradient = np.float32(0), np.float32(0)
    for along, middle, half in zip(point, centre, radii, strict=True):
        scaled = (along - np.float32(middle)) * np.float32(1 / half)
        squared = scaled * scaled
        radius = radius + squared
        gradient = gradient + squared * np.float32(1 / half**2)
    radius = np.sqrt(radius)
    tiny = np.float32(1e-3)  # keeps the quotient finite at the centre
    return (1 - radius) * (radius + tiny) / (np.sqrt(gradient) + tiny / np.float32(min(radii)))


def _union(point: np.ndarray, parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], size: float) -> np.ndarray:
    depths = [_ellipsoid(point, centre, [half * size for half in radii]) for centre, radii in parts]
    return np.maximum.reduce(depths)


def _step(depth_mm: np.ndarray, width_mm: float = 1.4) -> np.ndarray:
    """Return the share of a pixel inside a border, given the depth of the pixel centre below the border."""
    return np.clip(depth_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)


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
    field = random_waves(rng, 5, wavelength_mm=330, deviation=0.12)
    return Receiver(float(np.exp(rng.normal(0, 0.25))), field, rng.uniform(8, 22))


def image(head: Head, tumour: Tumour, *, sequence: str, painted: Layers, plane: Plane) -> np.ndarray:
    """Return the noise-free signal, (H, W) float32 in the units of the sequence; dT1 also has negative values."""
    shade = 1 + np.float32(0.025) * head.texture.on(plane)
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
