"""Examples of regions of interest and feature vectors -> figures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.lines import Line2D

from tumorprog.report import drawing, slices
from tumorprog.report.drawing import BLUE, ORANGE, SKY, Panels
from tumorprog.report.geometry import Geometry
from tumorprog.report.regions.level import Level, View

_SIGNED = LinearSegmentedColormap.from_list(
    "signed", [to_rgba(BLUE), to_rgba(BLUE, 0), to_rgba(ORANGE, 0), to_rgba(ORANGE)]
)


def level_panel(shown: Level) -> Panels:
    """Draw one level of a study in all sequences, with the outlines of the region of interest and of the tumour mask.

    Args:
        shown: from `report.regions.level`.
    """
    figure, all_axes = drawing.panels(len(shown.views), height=4.0)
    for axes, view in zip(all_axes, shown.views, strict=True):
        _draw_view(axes, view)
    if shown.views:
        all_axes[0].legend(handles=_legend(shown), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False)
    return drawing.add_title(figure, shown.name)


def _draw_view(axes: Axes, view: View) -> None:
    axes.set_axis_off()
    low, high = view.window
    image = slices.draw(axes, view.image, view.geometry, vmin=low, vmax=high)
    slices.outline(axes, view.region, view.geometry, colour=ORANGE)
    if view.tumour is not None:
        slices.outline(axes, view.tumour, view.geometry, colour=SKY, linestyle="dashed")
    slices.letter(axes, view.geometry)
    axes.set_title(view.title, fontsize=drawing.SMALL)
    if view.is_map:
        axes.figure.colorbar(image, ax=axes, shrink=0.8, label="stored values")


def _legend(shown: Level) -> list[Line2D]:
    region = Line2D([], [], color=ORANGE, label="ROI")
    tumour = Line2D([], [], color=SKY, linestyle="dashed", label="MaskTumor")
    return [region, tumour] if shown.has_tumour else [region]


def feature_steps(example: Mapping[str, Any]) -> Panels:
    """Draw the steps to the feature vector of a slice: clusters, ROI, four sub-bands, DCT coefficients.

    Args:
        example: title; geometry; image ((H, W) float in [0, 1]); clusters ((H, W) int, 0 to 2); mask ((H, W) bool);
            bands ((4, h, w), LL, LH, HL, HH); coefficients ((N,) float) and positions ((N, 2) int) of the DCT of LL.
    """
    drawn = [drawing.panel(4.6, 2, 2) for _ in range(2)]
    figures, all_axes = [figure for figure, _ in drawn], [*drawn[0][1], *drawn[1][1]]
    for axes in all_axes:
        axes.set_axis_off()
    image, mask = np.asarray(example["image"], np.float64), np.asarray(example["mask"], bool)
    shape: Geometry = example["geometry"]
    low, *details = np.asarray(example["bands"], np.float64)
    shown = [("slice", image), ("three clusters", example["clusters"]), (f"ROI: {mask.mean():.1%}", image), ("LL", low)]
    for axes, (title, values) in zip(all_axes, shown, strict=False):
        slices.draw(axes, np.asarray(values), shape)
        axes.set_title(title, fontsize=drawing.SMALL)
    slices.letter(all_axes[0], shape)
    slices.outline(all_axes[2], mask, shape, colour=ORANGE)
    largest = max(float(np.abs(details).max()), 1e-9)
    for axes, title, values in zip(all_axes[4:], ("LH", "HL", "HH"), details, strict=False):
        slices.draw(axes, values, shape, cmap=_SIGNED, vmin=-largest, vmax=largest)
        axes.set_title(f"{title} (blue -, orange +)", fontsize=drawing.SMALL)
    _draw_coefficients(all_axes[7], np.asarray(example["coefficients"]), np.asarray(example["positions"]))
    return drawing.add_title(figures, str(example["title"]))


def _draw_coefficients(axes: Axes, coefficients: np.ndarray, positions: np.ndarray) -> None:
    kept = np.full(positions.max(axis=0) + 1, np.nan)
    kept[positions[:, 0], positions[:, 1]] = np.log10(np.abs(coefficients) + 1e-6)
    axes.imshow(kept, cmap=drawing.SHADES, interpolation="none")
    axes.set_title(f"{len(coefficients)} DCT coefficients\nof LL (log)", fontsize=drawing.SMALL)
