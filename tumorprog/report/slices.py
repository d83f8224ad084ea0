"""Drawing of slices: to scale, turned as radiologists see them, with the patient's directions at the edges."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from tumorprog.imaging import orientation
from tumorprog.report.geometry import Geometry

GREYS = mpl.colormaps["gray"].with_extremes(bad="black")
"""From black to white; padding, which is NaN, is black."""

_LETTERS, _EDGE = "#fefefe", "#010101"
"""Not white and black, which the dark mode exchanges: the image below does not change either."""
_DARK_EDGE = (withStroke(linewidth=2.5, foreground=_EDGE),)


def draw(axes: Axes, values: np.ndarray, shape: Geometry, *, left_mm: float = 0.0, **style: Any) -> AxesImage:
    """Draw an image of a slice to scale.

    Args:
        axes: in millimetres, with y downwards.
        values: (H, W) of any resolution, as stored.
        shape: of the slice.
        left_mm: position of the left edge.
        style: keyword arguments of `Axes.imshow`.
    """
    extent = (left_mm, left_mm + shape.shown_width_mm, shape.shown_height_mm, 0.0)
    turned = orientation.turn(values, shape.display)
    return axes.imshow(turned, extent=extent, **{"cmap": GREYS, "interpolation": "none", **style})


def outline(axes: Axes, mask: np.ndarray, shape: Geometry, *, colour: str, linestyle: str = "solid") -> None:
    """Draw the outline of a mask, (H, W) bool of any resolution, on a slice; nothing if it has no edge."""
    if not mask.any() or mask.all():
        return
    turned = orientation.turn(mask, shape.display).astype(np.float64)
    rows, columns = turned.shape
    x = (np.arange(columns) + 0.5) * shape.shown_width_mm / columns
    y = (np.arange(rows) + 0.5) * shape.shown_height_mm / rows
    axes.contour(x, y, turned, levels=[0.5], colors=[colour], linewidths=1.2, linestyles=[linestyle])


def letter(axes: Axes, shape: Geometry, *, left_mm: float = 0.0) -> None:
    """Write the patient's directions at the edges of a slice."""
    width, height, shown = shape.shown_width_mm, shape.shown_height_mm, shape.display
    for text, x, y, across, down in (
        (shown.left, 0.02 * width, height / 2, "left", "center"),
        (shown.right, 0.98 * width, height / 2, "right", "center"),
        (shown.top, width / 2, 0.02 * height, "center", "top"),
        (shown.bottom, width / 2, 0.98 * height, "center", "bottom"),
    ):
        axes.text(left_mm + x, y, text, ha=across, va=down, color=_LETTERS, fontsize=9.5, path_effects=_DARK_EDGE)
