"""Examples of regions of interest and feature vectors -> figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from tumorprog.report import drawing
from tumorprog.report.drawing import BLUE, ORANGE, Panels

_SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "#FFFFFF", ORANGE])


def roi_panel(examples: Sequence[Mapping[str, Any]]) -> Panels:
    """Draw slices in pairs: plain, and with the outline of the region of interest (ROI).

    Args:
        examples: two per row, each with title, image ((H, W) float in [0, 1]) and mask ((H, W) bool).
    """
    figures, overlays = drawing.draw_image_pairs(examples, max_intensity=1)
    for example, outlined in zip(examples, overlays, strict=True):
        mask = np.asarray(example["mask"], bool)
        outlined.set_title(f"ROI: {mask.mean():.1%} of the slice", fontsize=drawing.SMALL)
        if mask.any() and not mask.all():
            outlined.contour(mask.astype(np.float64), levels=[0.5], colors=[ORANGE], linewidths=1.2)
    return figures


def feature_steps(example: Mapping[str, Any]) -> Panels:
    """Draw the steps to the feature vector of a slice: clusters, ROI, four sub-bands, DCT coefficients.

    Args:
        example: title; image ((H, W) float in [0, 1]); clusters ((H, W) int, 0 to 2); mask ((H, W) bool); bands
            ((4, h, w), LL, LH, HL, HH); coefficients ((N,) float) and positions ((N, 2) int) of the DCT of LL.
    """
    drawn = [drawing.panel(4.6, 2, 2) for _ in range(2)]
    figures, all_axes = [figure for figure, _ in drawn], [*drawn[0][1], *drawn[1][1]]
    for axes in all_axes:
        axes.set_axis_off()
    image, mask = np.asarray(example["image"], np.float64), np.asarray(example["mask"], bool)
    low, *details = np.asarray(example["bands"], np.float64)
    shown = [("slice", image), ("three clusters", example["clusters"]), (f"ROI: {mask.mean():.1%}", image), ("LL", low)]
    for axes, (title, values) in zip(all_axes, shown, strict=False):
        axes.imshow(values, cmap="gray", interpolation="none")
        axes.set_title(title, fontsize=drawing.SMALL)
    if mask.any() and not mask.all():
        all_axes[2].contour(mask.astype(np.float64), levels=[0.5], colors=[ORANGE], linewidths=1.0)
    largest = max(float(np.abs(details).max()), 1e-9)
    for axes, title, values in zip(all_axes[4:], ("LH", "HL", "HH"), details, strict=False):
        axes.imshow(values, cmap=_SIGNED, vmin=-largest, vmax=largest, interpolation="none")
        axes.set_title(f"{title} (blue -, orange +)", fontsize=drawing.SMALL)
    _draw_coefficients(all_axes[7], np.asarray(example["coefficients"]), np.asarray(example["positions"]))
    return drawing.add_title(figures, str(example["title"]))


def _draw_coefficients(axes: Axes, coefficients: np.ndarray, positions: np.ndarray) -> None:
    kept = np.full(positions.max(axis=0) + 1, np.nan)
    kept[positions[:, 0], positions[:, 1]] = np.log10(np.abs(coefficients) + 1e-6)
    axes.imshow(kept, cmap=drawing.SHADES, interpolation="none")
    axes.set_title(f"{len(coefficients)} DCT coefficients\nof LL (log)", fontsize=drawing.SMALL)
