"""Planes through phantom heads with tumours in, MR images and masks out: pure numpy, a slice at a time.

Coordinates are the patient's (DICOM's LPS: x to the left, y to the back, z up), in mm from the middle of the head. A
tissue's border is a signed distance that positive values lie inside of; a soft step over it gives the partial volume of
a pixel, and an image is its tissues painted over each other in order. No volume is ever held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Layers = list[tuple[str, np.ndarray]]
"""Tissues in the order of painting, each with its share of every pixel, (H, W) float32 in [0, 1]."""

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
"""Computed from other images: no receive field, no arbitrary gain, noise that is not Rician."""

_NOISE = {"dT1": 22.0, "ADC": 60.0, "nCBF": 14.0, "nRCBV": 12.0, "sRCBV": 210.0}
"""Standard deviation of the noise of a map, in its own units."""

# On the right, mirrored to the left: centre and radii in mm, in the coordinates of a head that is not warped.
_DEEP = (((13, -20, 14), (5, 9, 9)), ((26, -4, 6), (6, 16, 9)), ((11, 9, 8), (8, 13, 9)))
_CEREBRUM, _WHITE, _VENTRICULAR = 4, 5, 10
"""Places of the layers of `_healthy` that oedema keeps to or out of."""
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
        row_mm: (3,) from one row to the next.
        column_mm: (3,) from one column to the next.
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
        vectors: (K, 3) radians per mm.
        phases: (K,) radians.
        amplitude: of each wave.
    """

    vectors: np.ndarray
    phases: np.ndarray
    amplitude: float

    def on(self, plane: Plane) -> np.ndarray:
        """The field on a plane, (H, W) float32.

        A phase is linear in row and column, so sin(a + b) = sin a cos b + cos a sin b makes the sum one product of thin
        matrices: a hundred times fewer sines. Through einsum, because BLAS would start threads in every process.
        """
        start = self.vectors @ plane.origin_mm + self.phases
        down = start[:, None] + np.outer(self.vectors @ plane.row_mm, np.arange(plane.rows))
        across = np.outer(self.vectors @ plane.column_mm, np.arange(plane.columns))
        down, across = down.astype(np.float32), across.astype(np.float32)
        left = np.concatenate([np.sin(down), np.cos(down)])
        right = np.concatenate([np.cos(across), np.sin(across)])
        return np.float32(self.amplitude) * np.einsum("kh,kw->hw", left, right)


def random_waves(rng: np.random.Generator, count: int, *, wavelength_mm: float, deviation: float) -> Waves:
    """A random field of about one wavelength (within 30 %) in all directions, with mean 0 and a given deviation."""
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = wavelength_mm * rng.uniform(0.7, 1.3, count)
    vectors = directions * (2 * np.pi / lengths)[:, None]
    return Waves(vectors, rng.uniform(0, 2 * np.pi, count), deviation * float(np.sqrt(2 / count)))


@dataclass(frozen=True)
class Head:
    """The anatomy of one patient.

    Attributes:
        half_axes_mm: (3,) of the head's outer ellipsoid.
        ventricles: size of the ventricles, 1 for an average one.
        warp: displacement along x, y and z, in mm.
        folds: its zeros are the sulci.
        texture: of the tissues.
    """

    half_axes_mm: np.ndarray
    ventricles: float
    warp: tuple[Waves, Waves, Waves]
    folds: Waves
    texture: Waves


def random_head(rng: np.random.Generator) -> Head:
    """A head of a random size, shape and folding."""
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
        centre_mm: (3,).
        radii_mm: (3,) of the ellipsoid that the shape departs from.
        core: part of the radius that is necrotic, 0 for none.
        enhancement: share of contrast agent in the rim between core and border, in [0, 1].
        patches: the same, in patches within the tumour.
        oedema_mm: how far oedema reaches beyond the border.
        uneven: share of dense tissue, darker on T2 and FLAIR, in the patches without contrast agent.
        blood: blood volume and flow of the enhancing part, in white matter's.
        shape: departure of the border from the ellipsoid, as a part of the radius.
        inside: variation within.
    """

    centre_mm: np.ndarray
    radii_mm: np.ndarray
    core: float
    enhancement: float
    patches: float
    oedema_mm: float
    uneven: float
    blood: float
    shape: Waves
    inside: Waves


def tumour_of_grade(grade: int, rng: np.random.Generator) -> Tumour:
    """A tumour as its grade (2, 3 or 4) tends to look; the sizes of the grades overlap widely.

    Grade 2 is homogeneous and does not enhance; grade 3 is uneven and enhances faintly in patches; grade 4 has a bright
    rim around a necrotic core and wide oedema.
    """
    rim = grade == 4
    return Tumour(
        centre_mm=random_centre(rng),
        radii_mm=rng.uniform(15, 23) * rng.uniform(0.85, 1.15, 3),
        core=rng.uniform(0.6, 0.76) if rim else 0.0,
        enhancement=rng.uniform(0.75, 1.0) if rim else 0.0,
        patches={2: 0.0, 3: rng.uniform(0.35, 0.6), 4: 0.0}[grade],
        oedema_mm={2: rng.uniform(0, 4), 3: rng.uniform(5, 12), 4: rng.uniform(10, 20)}[grade],
        uneven={2: 0.0, 3: 1.0, 4: 0.5}[grade],
        blood={2: 1.1, 3: 1.8, 4: 4.0}[grade] * rng.uniform(0.8, 1.25),
        **_shapes(rng),
    )


def tumour_of_days(days: int, rng: np.random.Generator) -> Tumour:
    """A glioblastoma after treatment, by the days in which it will progress.

    The faster, the larger it is, the thicker its rim, the wider its oedema and the richer in blood: each monotone in
    the logarithm of the days, but for what varies between patients.
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
        uneven=0.5,
        blood=float(np.clip(4 + 1.1 * speed, 1.5, 7)),
        **_shapes(rng),
    )


def grown(tumour: Tumour, days: int, rng: np.random.Generator) -> Tumour:
    """The tumour on the date of its progression, that many days later: the rim's thickness stays, the radius grows.

    The growth is 3 mm in 82 days and goes with the 0.3th power of the time, so its rate falls with the time.
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
    """A place in the white matter of either side where a tumour fits into the brain, (3,) mm."""
    side = rng.choice([-1.0, 1.0])
    return np.array([side * rng.uniform(26, 33), rng.uniform(-28, 34), rng.uniform(8, 24)])


def _shapes(rng: np.random.Generator) -> dict[str, Waves]:
    return {
        "shape": random_waves(rng, 10, wavelength_mm=34, deviation=0.11),
        "inside": random_waves(rng, 16, wavelength_mm=13, deviation=1.0),
    }


def tumour_mask(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Where the tumour lies, (H, W) bool."""
    return _tumour_radius(tumour, plane) < 1


def enhancing_mask(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Where the rim lies, between necrotic core and border, (H, W) bool."""
    radius = _tumour_radius(tumour, plane)
    return (radius < 1) & (_core_radius(tumour, radius, tumour.inside.on(plane)) >= tumour.core)


def volumes_ml(tumour: Tumour) -> tuple[float, float]:
    """The volumes of the tumour and of its enhancing rim, summed over a grid of 1.5 mm."""
    step = 1.5
    reach = float(tumour.radii_mm.max()) * 1.8
    side = int(2 * reach / step) + 1
    voxels = np.zeros(2, np.int64)
    for depth in np.arange(-reach, reach, step):
        origin = tumour.centre_mm + np.array([-reach, -reach, depth])
        plane = Plane(origin, np.array([0.0, step, 0.0]), np.array([step, 0.0, 0.0]), side, side)
        voxels += [np.count_nonzero(tumour_mask(tumour, plane)), np.count_nonzero(enhancing_mask(tumour, plane))]
    whole, rim = (voxels * step**3 / 1000).tolist()
    return whole, rim


def layers(head: Head, tumour: Tumour, plane: Plane) -> Layers:
    """The tissues on a plane: the same for every sequence, so a study of ten needs them once."""
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
    inside = tumour.inside.on(plane)
    depth = (1 - radius) * np.float32(tumour.radii_mm.mean())
    border = _step(depth)
    patches = _step(inside - 0.2, 0.6) * np.clip(1.25 - radius, 0, 1)
    core = _step((tumour.core - _core_radius(tumour, radius, inside)) * np.float32(tumour.radii_mm.mean()))
    spread = _step(depth + tumour.oedema_mm * (1 + 0.12 * inside), 7.0) * (0.3 * brain + 0.7 * white)
    rim = np.float32(tumour.enhancement) * (np.float32(0.8) + np.float32(0.2) * _step(inside, 2.0))
    cellular = border * np.float32(tumour.uneven) * _step(-inside - 0.3, 0.8)
    return [
        ("oedema", spread if tumour.oedema_mm else np.zeros_like(spread)),
        ("bulk", border),
        ("cellular", cellular),
        ("enhancing", border * np.clip(np.float32(tumour.patches) * patches + rim, 0, 1)),
        ("necrosis", core if tumour.core else np.zeros_like(core)),
    ]


def _tumour_radius(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Distance from the centre as a part of the border's, (H, W) float32: 1 on the border."""
    squared = np.float32(0)
    for along, middle, half in zip(plane.points, tumour.centre_mm, tumour.radii_mm, strict=True):
        scaled = (along - np.float32(middle)) * np.float32(1 / half)
        squared = squared + scaled * scaled
    return np.sqrt(squared) * (1 + tumour.shape.on(plane))


def _core_radius(tumour: Tumour, radius: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The radius that reaches `core` on the border of the necrosis, which is rougher than the tumour's."""
    return radius * (1 + np.float32(0.16 * tumour.uneven) * inside)


def _ellipsoid(point: np.ndarray, centre: Sequence[float], radii: Sequence[float] | np.ndarray) -> np.ndarray:
    """About the depth below an ellipsoid's surface, (H, W) float32 mm; negative outside.

    The distance to a surface f = 1 is (1 - f) / |grad f| to first order (Taubin 1991, IEEE PAMI 13:1115-1138).
    """
    radius, gradient = np.float32(0), np.float32(0)
    for along, middle, half in zip(point, centre, radii, strict=True):
        scaled = (along - np.float32(middle)) * np.float32(1 / half)
        squared = scaled * scaled
        radius = radius + squared
        gradient = gradient + squared * np.float32(1 / half**2)
    radius = np.sqrt(radius)
    tiny = np.float32(1e-3)  # keeps the quotient finite in the centre
    return (1 - radius) * (radius + tiny) / (np.sqrt(gradient) + tiny / np.float32(min(radii)))


def _union(point: np.ndarray, parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], size: float) -> np.ndarray:
    depths = [_ellipsoid(point, centre, [half * size for half in radii]) for centre, radii in parts]
    return np.maximum.reduce(depths)


def _step(depth_mm: np.ndarray, width_mm: float = 1.4) -> np.ndarray:
    """The share of a pixel that lies inside a border which its centre is so deep below."""
    return np.clip(depth_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)


@dataclass(frozen=True)
class Receiver:
    """What a scanner adds to a series.

    Attributes:
        gain: of the arbitrary units.
        field: logarithm of the receive field.
        noise: standard deviation, in the units of white matter on T1 (560).
    """

    gain: float
    field: Waves
    noise: float


def random_receiver(rng: np.random.Generator) -> Receiver:
    """A receiver whose gain says nothing about the patient."""
    field = random_waves(rng, 5, wavelength_mm=330, deviation=0.12)
    return Receiver(float(np.exp(rng.normal(0, 0.25))), field, rng.uniform(8, 22))


def image(head: Head, tumour: Tumour, *, sequence: str, painted: Layers, plane: Plane) -> np.ndarray:
    """What a perfect scanner would see, (H, W) float32 in the units of the sequence; dT1 is below 0 at places."""
    shade = 1 + np.float32(0.025) * head.texture.on(plane)
    if sequence == "dT1":
        return (_paint(painted, _values("T1post", tumour)) - _paint(painted, _values("T1pre", tumour))) * shade
    return _paint(painted, _values(sequence, tumour)) * shade


def received(
    signal: np.ndarray, receiver: Receiver, rng: np.random.Generator, *, sequence: str, plane: Plane
) -> np.ndarray:
    """The signal with receive field, gain and noise, (H, W) float32.

    Magnitude images get Rician noise (Gudbjartsson & Patz 1995, Magn Reson Med 34:910-914). Diffusion and perfusion
    are acquired at half the matrix, so their noise is shared by two by two pixels.
    """
    if sequence not in _MAPS:
        bright = signal * np.exp(receiver.field.on(plane))
        real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(receiver.noise)
        return np.float32(receiver.gain) * np.hypot(bright + real, imaginary)
    coarse = 1 if sequence == "dT1" else 2
    few = rng.standard_normal([-(-side // coarse) for side in signal.shape], dtype=np.float32)
    noise = few.repeat(coarse, axis=0).repeat(coarse, axis=1)[: signal.shape[0], : signal.shape[1]]
    if sequence == "dT1":
        return signal + np.float32(_NOISE[sequence]) * noise
    brain = signal > 0
    return np.where(brain, np.maximum(signal + np.float32(_NOISE[sequence]) * noise, 0), 0)


def _values(sequence: str, tumour: Tumour) -> dict[str, float]:
    values: dict[str, float] = dict(zip((*_HEALTHY, *_DISEASED), _CONTRAST[sequence], strict=True))
    if sequence in _PERFUSION:
        values["enhancing"] *= tumour.blood
        values["bulk"] *= 1 + 0.25 * (tumour.blood - 1)
    return values


def _paint(painted: Layers, values: Mapping[str, float]) -> np.ndarray:
    signal = np.zeros_like(painted[0][1])
    for tissue, share in painted:
        signal += share * (np.float32(values[tissue]) - signal)
    return signal
