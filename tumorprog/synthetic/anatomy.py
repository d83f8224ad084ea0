"""The healthy head of a phantom: skin, fat, skull, face, brain and vessels."""

from dataclasses import dataclass

import numpy as np

from tumorprog.synthetic.fields import Layers, Plane, Waves, ellipsoid, random_waves, step, union

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


def floor_of_cerebrum(y: np.ndarray) -> np.ndarray:
    """Return the lowest z of the cerebrum in mm: from the front the anterior and middle fossa and the tentorium."""
    return np.clip((y - 8) / 16, 0, 1) * 16 - 14 - 22 * np.clip((y + 34) / 18, 0, 1)


def healthy(head: Head, plane: Plane) -> tuple[Layers, np.ndarray, np.ndarray]:
    """Return the tissues of a head on a plane.

    Returns:
        The tissues that occur, in painting order; the share of white matter, and the share of brain without ventricles,
        (H, W) float32.
    """
    x, y, z = plane.points + np.stack([waves.on(plane) for waves in head.warp])
    mirrored, fold, veins = np.stack([np.abs(x), y, z]), np.abs(head.folds.on(plane)), head.veins.on(plane)
    depth = ellipsoid(np.stack([x, y, np.where(z < 0, z / 4, z)]), (0, 0, 0), head.half_axes_mm)
    skull = depth - np.float32(head.scalp_mm + 1)
    above = z - floor_of_cerebrum(y) - 4 * veins
    inside, base = np.minimum(skull - 6, above), np.minimum(skull, -3 - above)
    cerebrum = _cerebrum(head, mirrored, inside=inside, fold=fold)
    brain = step(inside - 1) * (1 - cerebrum[-1][1])
    painted = [
        *_outside(depth, skull, base=base, veins=veins),
        *_posterior(mirrored, skull=skull, fold=fold),
        *cerebrum,
        *_face(mirrored, base=base, veins=veins),
        *_vessels(mirrored, skull=skull, fold=fold, veins=veins),
    ]
    present = [(tissue, share) for tissue, share in painted if share.any()]
    return present, cerebrum[2][1] * brain, brain


def _outside(depth: np.ndarray, skull: np.ndarray, *, base: np.ndarray, veins: np.ndarray) -> Layers:
    """Return skin, fat, skull with marrow, and the muscles and fat below the base of the skull."""
    face = step(base)
    return [
        ("muscle", step(depth)),
        ("fat", step(depth - 1)),
        ("bone", step(skull)),
        ("fat", 0.45 * step(1.5 - np.abs(skull - 3))),
        ("muscle", face),
        ("fat", face * step(veins - 0.7, 0.6)),
        ("bone", face * step(-veins - 1.0, 0.6)),
    ]


def _posterior(mirrored: np.ndarray, *, skull: np.ndarray, fold: np.ndarray) -> Layers:
    """Return the cerebellum and the brain stem."""
    below, stem = ellipsoid(mirrored, *_CEREBELLUM), ellipsoid(mirrored, *_STEM)
    space = np.minimum(np.maximum(below + 3, stem + 4), skull - 6)
    return [
        ("bone", step(space + 6)),
        ("csf", step(space)),
        ("grey", step(np.minimum(below - 3.5 * np.clip(1 - fold / 0.4, 0, 1), skull - 8))),
        ("white", step(np.maximum(below - 11, np.minimum(stem, skull - 8)))),
    ]


def _cerebrum(head: Head, mirrored: np.ndarray, *, inside: np.ndarray, fold: np.ndarray) -> Layers:
    """Return fluid, grey and white matter, deep nuclei and, last, the ventricles."""
    callosum = np.maximum(ellipsoid(mirrored, (0, 2, 18), (18, 38, 14)), 0)
    gap = mirrored[0] + 3 * callosum
    grey = np.minimum(inside - 2 - 18 * np.clip(1 - fold / (0.32 * head.ventricles), 0, 1), gap - 0.7)
    white = np.minimum(inside - 4.5 - 18 * np.clip(1 - fold / 1.2, 0, 1), gap - 4)
    return [
        ("csf", step(inside)),
        ("grey", step(grey)),
        ("white", step(white)),
        ("deep", step(union(mirrored, _DEEP, 1.0), 2.0)),
        ("csf", step(union(mirrored, _VENTRICLES, head.ventricles))),
    ]


def _face(mirrored: np.ndarray, *, base: np.ndarray, veins: np.ndarray) -> Layers:
    """Return the orbits, the nose and the bones of the base of the skull."""
    nose = ellipsoid(mirrored, *_NOSE)
    return [
        ("bone", step(ellipsoid(mirrored, *_PETROUS))),
        ("fat", 0.6 * step(ellipsoid(mirrored, *_CLIVUS))),
        ("bone", step(np.minimum(nose, base))),
        ("choroid", step(np.minimum(np.minimum(nose, base), veins * 4 - 2))),
        ("fat", step(ellipsoid(mirrored, *_ORBIT))),
        ("csf", step(ellipsoid(mirrored, *_GLOBE))),
    ]


def _vessels(mirrored: np.ndarray, *, skull: np.ndarray, fold: np.ndarray, veins: np.ndarray) -> Layers:
    """Return the sagittal and transverse sinuses, veins, arteries and choroid plexus, which all enhance."""
    along = np.abs(skull - 7.5)
    sagittal = np.minimum(np.minimum(3.5 - mirrored[0], 3.5 - along), mirrored[1] + mirrored[2] - 25)
    transverse = np.minimum(np.minimum(3.5 - np.abs(mirrored[2] + 20), 3 - along), mirrored[1] - 22)
    cortical = np.minimum(np.float32(1.1) - 3.5 * np.hypot(fold, veins), 11 - np.abs(skull - 19))
    falx = np.minimum(1 - mirrored[0], np.minimum(skull - 6, mirrored[2] - 5))
    return [
        ("vessel", 0.3 * step(falx)),
        ("choroid", 0.9 * step(union(mirrored, _CHOROID, 1.0))),
        ("vessel", 0.8 * step(np.maximum(cortical, union(mirrored, _ARTERIES, 1.0)))),
        ("vessel", step(np.maximum(sagittal, transverse))),
    ]
