"""Regions of interest, their agreement with masks, and feature vectors -> figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.lines import Line2D

from tumorprog.evaluation import overlap
from tumorprog.report import drawing, names, slices
from tumorprog.report.drawing import BLUE, GREEN, GREY, ORANGE, SKY, SMALL, Panels
from tumorprog.report.geometry import Geometry
from tumorprog.report.regions.level import Level, View
from tumorprog.report.regions.outlines import Outlined

_SIGNED = LinearSegmentedColormap.from_list(
    "signed", [to_rgba(BLUE), to_rgba(BLUE, 0), to_rgba(ORANGE, 0), to_rgba(ORANGE)]
)

_STYLES = {"learned": (ORANGE, "o"), "component": (GREEN, "^"), "brightest": (GREY, "s")}
"""Colour and marker of each method."""
_LINES = {
    "mask": (SKY, "dashed"),
    "learned": (ORANGE, "solid"),
    "component": (GREEN, "solid"),
    "brightest": (GREY, "dotted"),
}
"""Colour and style of the outline of each region."""
_VOLUME_TICKS = (0, 1, 10, 100, 1000)


def volume_agreement(scores: pd.DataFrame, metrics: Mapping[str, Mapping[str, Any]]) -> Panels:
    """Draw the difference of the volumes of region and mask against their mean, with the limits of agreement.

    Args:
        scores: rows of `regions.columns.SCORES` of one sequence.
        metrics: of `evaluation.overlap` for this sequence, by method; a panel for each.

    Source: Bland & Altman 1986, Lancet 327:307-310.
    """
    figures, all_axes = drawing.panels(len(metrics))
    for axes, (method, known) in zip(all_axes, metrics.items(), strict=True):
        rows = scores[scores["method"] == method]
        colour, marker = _STYLES[method]
        error = rows["region_ml"] - rows["mask_ml"]
        axes.scatter((rows["region_ml"] + rows["mask_ml"]) / 2, error, s=16, color=colour, marker=marker, alpha=0.7)
        axes.axhline(0, color=drawing.FAINT, linewidth=1, zorder=0)
        for name, style in (("", "solid"), ("lower_limit_", "dashed"), ("upper_limit_", "dashed")):
            value = known[f"volume_error_{name}ml"]["value"]
            if value is not None:
                axes.axhline(value, color=drawing.QUIET, linestyle=style, linewidth=1)
        _set_volume_axis(axes, "Mean of region and mask (ml)")
        axes.set_ylabel("Region minus mask (ml)")
        axes.set_title(names.region(method), loc="left", fontsize=10)
    return drawing.add_title(figures, "Agreement of the volumes")


def dice_by_volume(scores: pd.DataFrame) -> Panels:
    """Draw the Dice coefficient of each scan against the volume of its mask, for each method.

    Args:
        scores: rows of `regions.columns.SCORES` of one sequence.
    """
    figures, (axes,) = drawing.panels(1, height=4.2)
    for method, (colour, marker) in _STYLES.items():
        rows = scores[scores["method"] == method]
        if len(rows):
            style: dict[str, Any] = {"s": 20, "color": colour, "marker": marker, "alpha": 0.75}
            axes.scatter(rows["mask_ml"], overlap.dice(rows), label=names.region(method), **style)
    _set_volume_axis(axes, "Volume of the mask (ml)")
    axes.set_ylabel("Dice coefficient")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=SMALL)
    return drawing.add_title(figures, "Agreement and size of the tumour")


def _set_volume_axis(axes: Axes, label: str) -> None:
    """Linear up to 1 ml and logarithmic above, because volumes span two orders of magnitude and can be 0."""
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.5)
    axes.set_xlim(left=0)
    shown = [tick for tick in _VOLUME_TICKS if tick <= max(10, axes.get_xlim()[1])]
    axes.set_xticks(shown, [str(tick) for tick in shown])
    axes.set_xlabel(label)


def outlined_panels(outlined: Sequence[Outlined]) -> Panels:
    """Draw slices with the outlines of several regions.

    Args:
        outlined: a panel for each, at least one.
    """
    figures, all_axes = drawing.panels(len(outlined), height=4.4)
    for axes, one in zip(all_axes, outlined, strict=True):
        axes.set_axis_off()
        low, high = one.window
        slices.draw(axes, one.image, one.geometry, vmin=low, vmax=high)
        for method, region in one.regions.items():
            colour, style = _LINES[method]
            slices.outline(axes, region, one.geometry, colour=colour, linestyle=style)
        slices.letter(axes, one.geometry)
        axes.set_title(one.title, fontsize=SMALL)
    drawn = [method for method in _LINES if any(method in one.regions for one in outlined)]
    handles = [
        Line2D([], [], color=_LINES[method][0], linestyle=_LINES[method][1], label=names.region(method))
        for method in drawn
    ]
    all_axes[0].legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False, fontsize=SMALL)
    return drawing.add_title(figures, "Regions of the best, the median and the worst patient")


def level_panel(shown: Level) -> Panels:
    """Draw one level of a study in all sequences, with the outlines of the region of interest and of the tumour mask.

    Args:
        shown: from `report.regions.level`.
    """
    figures, all_axes = drawing.panels(len(shown.views), height=4.0)
    for axes, view in zip(all_axes, shown.views, strict=True):
        _draw_view(axes, view)
    if shown.views:
        all_axes[0].legend(handles=_legend(shown), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False)
    return drawing.add_title(figures, shown.name)


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
