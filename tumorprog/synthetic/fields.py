"""What phantoms are made of: the pixels of a slice, smooth random fields, and soft borders of tissues.

Coordinates are patient coordinates (LPS in DICOM: x to the left, y to the back, z up), in mm from the centre of the
head. The border of a tissue is a signed distance, positive inside; a soft step over it gives the partial volume of a
pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Layers = list[tuple[str, np.ndarray]]
"""Tissues in painting order, each with its share of every pixel, (H, W) float32 in [0, 1]."""


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


_FAR_MM = 12.0


def ellipsoid(
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


def union(point: np.ndarray, parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], size: float) -> np.ndarray:
    """Return the depth below the surface of the union of ellipsoids, whose radii are multiplied by a size."""
    depths = [ellipsoid(point, centre, [half * size for half in radii]) for centre, radii in parts]
    return np.maximum.reduce(depths)


def step(depth_mm: np.ndarray, width_mm: float = 1.4) -> np.ndarray:
    """Return the share of a pixel inside a border, given the depth of the pixel centre below the border."""
    return np.clip(depth_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)
