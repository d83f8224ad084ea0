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

RIM_CONTRAST = 1.0
"""Factor of the degree of contrast enhancement of treated tumours: with less of it they are harder to segment."""

# Ellipsoids on one side, mirrored to the other: centre and radii in mm, in the coordinates of the unwarped head.
_DEEP = (((13, -20, 14), (5, 9, 9)), ((26, -4, 6), (6, 16, 9)), ((11, 9, 8), (8, 13, 9)))
_VENTRICLES = (
    ((9, -23, 15), (5, 12, 8)),
    ((10, 4, 22), (6, 24, 7)),
    ((21, 34, 14), (6, 14, 8)),
    ((0, 9, 5), (2, 10, 8)),
)
_CHOROID = (((21, 33, 11), (3, 7, 4)), ((0, -14, -31), (5, 4, 4)))
"""Choroid plexus of the lateral ventricles, and the pituitary gland, which enhances as much."""
_ARTERIES = (((22, -14, -19), (17, 2, 2)), ((13, -16, -32), (3, 3, 12)), ((0, -6, -32), (2, 2, 12)))
_ORBIT, _GLOBE = ((33, -72, -20), (15, 25, 13)), ((33, -81, -20), (12, 12, 12))
_CEREBELLUM, _STEM = ((0, 48, -40), (54, 42, 27)), ((0, 12, -52), (13, 13, 40))
_PETROUS, _CLIVUS = ((44, 18, -46), (20, 12, 13)), ((0, -4, -46), (13, 8, 14))
_NOSE = ((0, -70, -34), (14, 28, 26))


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
        scalp_mm: thickness of the scalp, most of it fat.
        ventricles: relative size of the ventricles and width of the sulci.
        warp: displacement along x, y and z, in mm.
        folds: a field whose zeros are the sulci.
        veins: a field whose zeros meet the sulci in veins; it also divides the fat and muscles of the face.
        texture: variation of the intensity of the tissues.
    """

    half_axes_mm: np.ndarray
    scalp_mm: float
    ventricles: float
    warp: tuple[Waves, Waves, Waves]
    folds: Waves
    veins: Waves
    texture: Waves


_BRAIN_HALF_AXES_MM = np.array([65.0, 87.0, 85.0])


def random_head(rng: np.random.Generator) -> Head:
    """Return a head of random size, shape and folding."""
    return Head(
        half_axes_mm=np.array([80.0, 102.0, 100.0]) + rng.uniform(-4, 4, 3),
        scalp_mm=rng.uniform(2.5, 5.5),
        ventricles=rng.uniform(0.8, 1.5),
        warp=tuple(random_waves(rng, 6, wavelength_mm=120, deviation=2.2) for _ in range(3)),  # type: ignore[arg-type]  # three
        folds=random_waves(rng, 32, wavelength_mm=24, deviation=1.0),
        veins=random_waves(rng, 24, wavelength_mm=22, deviation=1.0),
        texture=random_waves(rng, 32, wavelength_mm=12, deviation=1.0),
    )


@dataclass(frozen=True, kw_only=True)
class Tumour:
    """A tumour on one date.

    Attributes:
        centre_mm: (3,) centre of the tumour.
        radii_mm: (3,) radii of the ellipsoid before its deformation.
        core: necrotic fraction of the radius, 0 without necrosis.
        roughness: variation of the border of the core, as a fraction of the radius: gaps, nodules and islands.
        enhancement: degree of contrast enhancement of the rim between core and border, in [0, 1].
        unevenness: share of that enhancement that varies within the rim, in [0, 1].
        patches: degree of contrast enhancement of patches within the tumour, in [0, 1].
        oedema_mm: extent of the oedema beyond the border.
        heterogeneity: share of dense tissue, darker on T2 and FLAIR, in the patches without enhancement.
        perfusion: blood volume and flow of the enhancing part, relative to white matter.
        cavity_centre_mm: (3,) centre of the resection cavity.
        cavity_radii_mm: (3,) its radii, 0 without one.
        blood: share of blood, which is bright without enhancing, in patches along the border of the cavity, in [0, 1].
        shape: deformation of the border from the ellipsoid, as a fraction of the radius.
        texture: variation within the tumour.
    """

    centre_mm: np.ndarray
    radii_mm: np.ndarray
    core: float
    roughness: float
    enhancement: float
    unevenness: float
    patches: float
    oedema_mm: float
    heterogeneity: float
    perfusion: float
    cavity_centre_mm: np.ndarray
    cavity_radii_mm: np.ndarray
    blood: float
    shape: Waves
    texture: Waves


def tumour_of_grade(grade: int, rng: np.random.Generator) -> Tumour:
    """Return a tumour with the typical appearance of its grade (2, 3 or 4); the sizes of the grades overlap widely.

    Grade 2 is homogeneous and does not enhance; grade 3 is heterogeneous with faintly enhancing patches; grade 4 has a
    bright rim around a necrotic core and extensive oedema.
    """
    rim = grade == 4
    radius = rng.uniform(15, 23)
    centre = random_centre(rng, radius)
    return Tumour(
        centre_mm=centre,
        radii_mm=radius * rng.uniform(0.85, 1.15, 3),
        core=rng.uniform(0.6, 0.76) if rim else 0.0,
        roughness=0.08,
        enhancement=rng.uniform(0.75, 1.0) if rim else 0.0,
        unevenness=0.3,
        patches={2: 0.0, 3: rng.uniform(0.35, 0.6), 4: 0.0}[grade],
        oedema_mm={2: rng.uniform(0, 4), 3: rng.uniform(5, 12), 4: rng.uniform(10, 20)}[grade],
        heterogeneity={2: 0.0, 3: 1.0, 4: 0.5}[grade],
        perfusion={2: 1.1, 3: 1.8, 4: 4.0}[grade] * rng.uniform(0.8, 1.25),
        cavity_centre_mm=centre,
        cavity_radii_mm=np.zeros(3),
        blood=0.0,
        **_random_shapes(rng, deviation=0.11),
    )


def tumour_of_days(days: int, rng: np.random.Generator) -> Tumour:
    """Return a resected and treated glioblastoma for a given number of days to progression.

    Faster progression means a larger tumour, a thicker rim, more extensive oedema and higher perfusion. Apart from
    random variation between patients each is monotone in the logarithm of the days. The tumour lies at a resection
    cavity, whose size says nothing about the days.
    """
    speed = float(np.log(82 / days)) + rng.normal(0, 0.15)
    radius = float(np.clip(22 + 4.5 * speed, 8, 27))
    rim_mm = float(np.clip(4.8 + 1.0 * speed, 2.2, 8))
    centre = random_centre(rng, radius)
    towards = rng.standard_normal(3)
    return Tumour(
        centre_mm=centre,
        radii_mm=radius * rng.uniform(0.85, 1.15, 3),
        core=1 - rim_mm / radius,
        roughness=0.26,
        enhancement=float(np.clip(RIM_CONTRAST * rng.uniform(0.7, 1.1), 0, 1)),
        unevenness=0.8,
        patches=0.0,
        oedema_mm=float(np.clip(11 + 3.5 * speed, 2, 22)),
        heterogeneity=0.5,
        perfusion=float(np.clip(4 + 1.1 * speed, 1.5, 7)),
        cavity_centre_mm=centre + towards * (0.7 * radius / np.linalg.norm(towards)),
        cavity_radii_mm=rng.choice([0.0, rng.uniform(7, 12)]) * rng.uniform(0.7, 1.3, 3),
        blood=rng.uniform(0, 1),
        **_random_shapes(rng, deviation=0.16),
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


def random_centre(rng: np.random.Generator, radius_mm: float) -> np.ndarray:
    """Return a position in either hemisphere at which a tumour of this radius fits into the brain, (3,) mm."""
    sign, room = rng.choice([-1.0, 1.0]), _BRAIN_HALF_AXES_MM - 1.05 * radius_mm
    while True:
        centre = np.array([sign * rng.uniform(20, 42), rng.uniform(-42, 42), rng.uniform(-16, 46)])
        if np.linalg.norm(centre / room) < 1 and centre[2] - 0.9 * radius_mm > _floor(centre[1]):
            return centre


def _floor(y: np.ndarray) -> np.ndarray:
    """Return the lowest z of the cerebrum in mm: from the front the anterior and middle fossa and the tentorium."""
    return np.clip((y - 8) / 16, 0, 1) * 16 - 14 - 22 * np.clip((y + 34) / 18, 0, 1)


def _random_shapes(rng: np.random.Generator, *, deviation: float) -> dict[str, Waves]:
    return {
        "shape": random_waves(rng, 10, wavelength_mm=34, deviation=deviation),
        "texture": random_waves(rng, 16, wavelength_mm=18, deviation=1.0),
    }


def tumour_mask(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the mask of the tumour, (H, W) bool."""
    return _tumour_radius(tumour, plane) < 1


def enhancing_mask(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the mask of the rim between necrotic core and border, without the resection cavity, (H, W) bool."""
    radius = _tumour_radius(tumour, plane)
    rim = (radius < 1) & (_core_radius(tumour, radius, tumour.texture.on(plane)) >= tumour.core)
    return rim & (_cavity_depth(tumour, plane) < 0)


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
    x, y, z = plane.points + np.stack([waves.on(plane) for waves in head.warp])
    mirrored, fold, veins = np.stack([np.abs(x), y, z]), np.abs(head.folds.on(plane)), head.veins.on(plane)
    depth = _ellipsoid(np.stack([x, y, np.where(z < 0, z / 4, z)]), (0, 0, 0), head.half_axes_mm)
    skull = depth - np.float32(head.scalp_mm + 1)
    above = z - _floor(y) - 4 * veins
    inside, base = np.minimum(skull - 6, above), np.minimum(skull, -3 - above)
    cerebrum = _cerebrum(head, mirrored, inside=inside, fold=fold)
    brain = _step(inside - 1) * (1 - cerebrum[-1][1])
    painted = [
        *_outside(depth, skull, base=base, veins=veins),
        *_posterior(mirrored, skull=skull, fold=fold),
        *cerebrum,
        *_face(mirrored, base=base, veins=veins),
        *_vessels(mirrored, skull=skull, fold=fold, veins=veins),
    ]
    present = [(tissue, share) for tissue, share in painted if share.any()]
    return present + _diseased(tumour, plane, white=cerebrum[2][1] * brain, brain=brain)


def _outside(depth: np.ndarray, skull: np.ndarray, *, base: np.ndarray, veins: np.ndarray) -> Layers:
    """Return skin, fat, skull with marrow, and the muscles and fat below the base of the skull."""
    face = _step(base)
    return [
        ("muscle", _step(depth)),
        ("fat", _step(depth - 1)),
        ("bone", _step(skull)),
        ("fat", 0.45 * _step(1.5 - np.abs(skull - 3))),
        ("muscle", face),
        ("fat", face * _step(veins - 0.7, 0.6)),
        ("bone", face * _step(-veins - 1.0, 0.6)),
    ]


def _posterior(mirrored: np.ndarray, *, skull: np.ndarray, fold: np.ndarray) -> Layers:
    """Return the cerebellum and the brain stem."""
    below, stem = _ellipsoid(mirrored, *_CEREBELLUM), _ellipsoid(mirrored, *_STEM)
    space = np.minimum(np.maximum(below + 3, stem + 4), skull - 6)
    return [
        ("bone", _step(space + 6)),
        ("csf", _step(space)),
        ("grey", _step(np.minimum(below - 3.5 * np.clip(1 - fold / 0.4, 0, 1), skull - 8))),
        ("white", _step(np.maximum(below - 11, np.minimum(stem, skull - 8)))),
    ]


def _cerebrum(head: Head, mirrored: np.ndarray, *, inside: np.ndarray, fold: np.ndarray) -> Layers:
    """Return fluid, grey and white matter, deep nuclei and, last, the ventricles."""
    callosum = np.maximum(_ellipsoid(mirrored, (0, 2, 18), (18, 38, 14)), 0)
    gap = mirrored[0] + 3 * callosum
    grey = np.minimum(inside - 2 - 18 * np.clip(1 - fold / (0.32 * head.ventricles), 0, 1), gap - 0.7)
    white = np.minimum(inside - 4.5 - 18 * np.clip(1 - fold / 1.2, 0, 1), gap - 4)
    return [
        ("csf", _step(inside)),
        ("grey", _step(grey)),
        ("white", _step(white)),
        ("deep", _step(_union(mirrored, _DEEP, 1.0), 2.0)),
        ("csf", _step(_union(mirrored, _VENTRICLES, head.ventricles))),
    ]


def _face(mirrored: np.ndarray, *, base: np.ndarray, veins: np.ndarray) -> Layers:
    """Return the orbits, the nose and the bones of the base of the skull."""
    nose = _ellipsoid(mirrored, *_NOSE)
    return [
        ("bone", _step(_ellipsoid(mirrored, *_PETROUS))),
        ("fat", 0.6 * _step(_ellipsoid(mirrored, *_CLIVUS))),
        ("bone", _step(np.minimum(nose, base))),
        ("choroid", _step(np.minimum(np.minimum(nose, base), veins * 4 - 2))),
        ("fat", _step(_ellipsoid(mirrored, *_ORBIT))),
        ("csf", _step(_ellipsoid(mirrored, *_GLOBE))),
    ]


def _vessels(mirrored: np.ndarray, *, skull: np.ndarray, fold: np.ndarray, veins: np.ndarray) -> Layers:
    """Return the sagittal and transverse sinuses, veins, arteries and choroid plexus, which all enhance."""
    along = np.abs(skull - 7.5)
    sagittal = np.minimum(np.minimum(3.5 - mirrored[0], 3.5 - along), mirrored[1] + mirrored[2] - 25)
    transverse = np.minimum(np.minimum(3.5 - np.abs(mirrored[2] + 20), 3 - along), mirrored[1] - 22)
    cortical = np.minimum(np.float32(1.1) - 3.5 * np.hypot(fold, veins), 11 - np.abs(skull - 19))
    falx = np.minimum(1 - mirrored[0], np.minimum(skull - 6, mirrored[2] - 5))
    return [
        ("vessel", 0.3 * _step(falx)),
        ("choroid", 0.9 * _step(_union(mirrored, _CHOROID, 1.0))),
        ("vessel", 0.8 * _step(np.maximum(cortical, _union(mirrored, _ARTERIES, 1.0)))),
        ("vessel", _step(np.maximum(sagittal, transverse))),
    ]


def _diseased(tumour: Tumour, plane: Plane, *, white: np.ndarray, brain: np.ndarray) -> Layers:
    radius = _tumour_radius(tumour, plane)
    texture = tumour.texture.on(plane)
    depth = (1 - radius) * np.float32(tumour.radii_mm.mean())
    border = _step(depth)
    patches = _step(texture - 0.2, 0.6) * np.clip(1.25 - radius, 0, 1)
    core = border * _step((tumour.core - _core_radius(tumour, radius, texture)) * np.float32(tumour.radii_mm.mean()))
    spread = _step(depth + tumour.oedema_mm * (1 + 0.12 * texture), 7.0) * (0.3 * brain + 0.7 * white)
    rim = np.float32(tumour.enhancement) * (1 - np.float32(tumour.unevenness) * (1 - _step(texture, 3.4) ** 2))
    cellular = border * np.float32(tumour.heterogeneity) * _step(-texture - 0.3, 0.8)
    cavity = _cavity_depth(tumour, plane)
    return [
        ("oedema", spread if tumour.oedema_mm else np.zeros_like(spread)),
        ("bulk", border),
        ("cellular", cellular),
        ("enhancing", _step(depth + 0.5, 4.0) * np.clip(np.float32(tumour.patches) * patches + rim, 0, 1)),
        ("necrosis", core if tumour.core else np.zeros_like(core)),
        ("cavity", _step(cavity)),
        ("blood", np.float32(tumour.blood) * _step(1.5 - np.abs(cavity - 1.5)) * _step(texture - 0.3)),
    ]


def _cavity_depth(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the depth below the border of the resection cavity, (H, W) float32 mm; negative outside."""
    if not tumour.cavity_radii_mm.any():
        return np.full((plane.rows, plane.columns), -np.inf, np.float32)
    depth = _ellipsoid(plane.points, tumour.cavity_centre_mm, tumour.cavity_radii_mm)
    return depth - np.float32(tumour.cavity_radii_mm.mean()) * tumour.shape.on(plane)


def _tumour_radius(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the distance from the centre relative to that of the border, (H, W) float32: 1 on the border."""
    squared = np.float32(0)
    for along, middle, half in zip(plane.points, tumour.centre_mm, tumour.radii_mm, strict=True):
        scaled = (along - np.float32(middle)) * np.float32(1 / half)
        squared = squared + scaled * scaled
    return np.sqrt(squared) * (1 + tumour.shape.on(plane))


def _core_radius(tumour: Tumour, radius: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Return a radius that equals `core` on the border of the necrosis, which is rougher than that of the tumour."""
    return radius * (1 + np.float32(tumour.roughness) * texture)


_FAR_MM = 12.0


def _ellipsoid(
    point: np.ndarray, centre: Sequence[float] | np.ndarray, radii: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return the approximate depth below the surface of an ellipsoid, (H, W) float32 mm; negative outside.

    If the ellipsoid is far from all points, which is cheap to find out, the depth is `-_FAR_MM` everywhere.

    The distance to a surface f = 1 is (1 - f) / |grad f| to first order (Taubin 1991, IEEE PAMI 13:1115-1138).
    """
    if any(
        np.abs(along - middle).min() > half + _FAR_MM for along, middle, half in zip(point, centre, radii, strict=True)
    ):
        return np.full(point.shape[1:], -_FAR_MM, np.float32)
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
