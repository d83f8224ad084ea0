"""The tumour of a phantom: its size, shape and appearance, and its masks."""

from dataclasses import dataclass

import numpy as np

from tumorprog.synthetic.anatomy import floor_of_cerebrum
from tumorprog.synthetic.fields import Layers, Plane, Waves, ellipsoid, random_waves, step

RIM_CONTRAST = 1.0
"""Factor of the degree of contrast enhancement of treated tumours: with less of it they are harder to segment."""

_BRAIN_HALF_AXES_MM = np.array([65.0, 87.0, 85.0])


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
        if np.linalg.norm(centre / room) < 1 and centre[2] - 0.9 * radius_mm > floor_of_cerebrum(centre[1]):
            return centre


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


def diseased(tumour: Tumour, plane: Plane, *, white: np.ndarray, brain: np.ndarray) -> Layers:
    """Return the tissues of a tumour on a plane, in painting order.

    Args:
        tumour: the tumour.
        plane: the plane.
        white: share of white matter, (H, W) float32, along which oedema spreads.
        brain: share of brain, likewise.
    """
    radius = _tumour_radius(tumour, plane)
    texture = tumour.texture.on(plane)
    depth = (1 - radius) * np.float32(tumour.radii_mm.mean())
    border = step(depth)
    patches = step(texture - 0.2, 0.6) * np.clip(1.25 - radius, 0, 1)
    core = border * step((tumour.core - _core_radius(tumour, radius, texture)) * np.float32(tumour.radii_mm.mean()))
    spread = step(depth + tumour.oedema_mm * (1 + 0.12 * texture), 7.0) * (0.3 * brain + 0.7 * white)
    rim = np.float32(tumour.enhancement) * (1 - np.float32(tumour.unevenness) * (1 - step(texture, 3.4) ** 2))
    cellular = border * np.float32(tumour.heterogeneity) * step(-texture - 0.3, 0.8)
    cavity = _cavity_depth(tumour, plane)
    return [
        ("oedema", spread if tumour.oedema_mm else np.zeros_like(spread)),
        ("bulk", border),
        ("cellular", cellular),
        ("enhancing", step(depth + 0.5, 4.0) * np.clip(np.float32(tumour.patches) * patches + rim, 0, 1)),
        ("necrosis", core if tumour.core else np.zeros_like(core)),
        ("cavity", step(cavity)),
        ("blood", np.float32(tumour.blood) * step(1.5 - np.abs(cavity - 1.5)) * step(texture - 0.3)),
    ]


def _cavity_depth(tumour: Tumour, plane: Plane) -> np.ndarray:
    """Return the depth below the border of the resection cavity, (H, W) float32 mm; negative outside."""
    if not tumour.cavity_radii_mm.any():
        return np.full((plane.rows, plane.columns), -np.inf, np.float32)
    depth = ellipsoid(plane.points, tumour.cavity_centre_mm, tumour.cavity_radii_mm)
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
