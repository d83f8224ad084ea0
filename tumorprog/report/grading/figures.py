"""Figures of the grader's predictions; each function returns its panels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from tumorprog.conventions import GRADES
from tumorprog.report import drawing, slices
from tumorprog.report.drawing import BLUE, GREEN, GREY, INK, SKY, Panels

_ACCURACIES = {"Train": "Training Acc (%)", "Validation": "Validation Acc (%)", "Test": "Test Acc (%)"}
_HEAT = LinearSegmentedColormap.from_list("heat", [(0.84, 0.37, 0.0, 0.0), (0.84, 0.37, 0.0, 0.75)])


def learning_curves(history: pd.DataFrame, *, leaks: bool = False) -> Panels:
    """Draw the loss and accuracy on each data set at each epoch, and the selected epoch.

    Args:
        history: rows of `HISTORY`; the last row whose "Best Model Saved" is Yes or true is the selected epoch.
        leaks: whether patients are in more than one data set.
    """
    figures, (loss, accuracy) = drawing.canvas(3.8, 1, 2)
    epochs = history["Epoch"].to_numpy()
    for name, (label, colour, marker) in drawing.DATA_SETS.items():
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "label": label}
        loss.plot(epochs, history[f"{name} Loss"].to_numpy(np.float64), **style)
        accuracy.plot(epochs, history[_ACCURACIES[name]].to_numpy(np.float64), **style)
    saved = history["Best Model Saved"].astype(str).str.lower().isin(["yes", "true", "1"]).to_numpy()
    for axes in (loss, accuracy):
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if saved.any():
            axes.axvline(epochs[saved][-1], color=GREY, linestyle=":", zorder=0, label="selected epoch")
    loss.set_ylabel("Loss (cross-entropy)")
    accuracy.set_ylabel("Accuracy (% of slices)")
    loss.legend(frameon=False)
    return drawing.add_title(figures, "Training of the grader", leaks=leaks)


def confusion(levels: Mapping[str, pd.DataFrame], title: str, *, leaks: bool = False) -> Panels:
    """Draw a confusion matrix of the grades at each level; cells are shaded by their share of the true grade.

    Args:
        levels: tables with the columns grade and predicted, as from `evaluation.metrics.grader_levels`.
        title: title of the figure.
        leaks: whether patients are in more than one data set.
    """
    figures, all_axes = drawing.canvas(3.6, 1, max(len(levels), 1))
    for axes, (name, level) in zip(all_axes, levels.items(), strict=False):
        counts = np.array([[_count(level, truth, predicted) for predicted in GRADES] for truth in GRADES])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.grid(visible=False)
        axes.imshow(shares, cmap=drawing.SHADES, vmin=0, vmax=1, interpolation="none")
        for (row, column), count in np.ndenumerate(counts):
            share = shares[row, column]
            axes.text(column, row, f"{count:,}\n{share:.0%}", ha="center", va="center", color=INK)
        axes.set_title(f"per {name}", fontsize=10)
        axes.set_xticks(range(len(GRADES)), [str(grade) for grade in GRADES])
        axes.set_yticks(range(len(GRADES)), [f"{grade}\nn = {total:,}" for grade, total in _totals(counts)])
        axes.set_xlabel("Predicted grade")
        axes.set_ylabel("True grade")
    return drawing.add_title(figures, title, leaks=leaks)


def _count(level: pd.DataFrame, truth: int, predicted: int) -> int:
    return int(((level["grade"] == truth) & (level["predicted"] == predicted)).sum())


def _totals(counts: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(GRADES, counts.sum(axis=1).tolist(), strict=True))


def reliability(bins: Mapping[str, pd.DataFrame], title: str, *, leaks: bool = False) -> Panels:
    """Draw the accuracy and the number of predictions by confidence, for each level.

    Args:
        bins: from `evaluation.metrics.reliability_bins`, by level.
        title: title of the figure.
        leaks: whether patients are in more than one data set.
    """
    columns = max(len(bins), 1)
    figures, all_axes = drawing.canvas(4.4, 2, columns, sharex=True, height_ratios=(3, 1))
    for axes, counts, (name, level) in zip(all_axes[:columns], all_axes[columns:], bins.items(), strict=False):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
        axes.plot(level["confidence"], level["accuracy"], color=BLUE, marker="o", label="grader")
        widths = (level["upper"] - level["lower"]).to_numpy()
        counts.bar(level["lower"], level["count"], width=widths, align="edge", color=SKY, edgecolor="white")
        axes.set_title(f"per {name}", fontsize=10)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("Accuracy")
        axes.legend(frameon=False, loc="upper left")
        counts.set_ylabel("Predictions")
        counts.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        counts.set_xlim(0, 1)
        counts.set_xlabel("Confidence (highest probability)")
    return drawing.add_title(figures, title, leaks=leaks)


def grader_with_baselines(
    grader: Mapping[str, Any],
    *,
    metric: str = "balanced_accuracy",
    level: str = "patient",
    label: str = "Balanced accuracy",
) -> Panels:
    """Draw a metric of the grader and of its baselines, one panel per protocol.

    Args:
        grader: part `grader` of metrics.json: protocol -> level -> metric, and baselines -> name -> metric.
        metric: a key of `evaluation.metrics.grader_metrics`.
        level: "slice", "series" or "patient".
        label: label of the axis.
    """
    panels = {(protocol, f"protocol: {protocol}"): levels[level] for protocol, levels in grader.items()}
    return drawing.compare_with_baselines(panels, metric, label=label, title="Grader and baselines")


def group_bars(groups: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str, *, leaks: bool = False) -> Panels:
    """Draw the accuracy and balanced accuracy of each institution, manufacturer or fold.

    Args:
        groups: from `evaluation.metrics.by_group`.
        title: title of the figure.
        leaks: whether patients are in more than one data set.
    """
    figures, all_axes = drawing.canvas(1.6 + 0.42 * max(len(groups), 2), 1, 2)
    names = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}
    for axes, (metric, label), colour in zip(all_axes, names.items(), (BLUE, GREEN), strict=True):
        bars = {f"{name} (n = {group[metric]['n']:,})": group[metric] for name, group in groups.items()}
        drawing.bars(axes, bars, [GREY if leaks else colour] * len(bars), hatch="///" if leaks else "")
        axes.set_xlim(0, 1.15)
        axes.set_xlabel(f"{label}, 95% CI")
    return drawing.add_title(figures, title, leaks=leaks)


def grad_cam_panel(examples: Sequence[Mapping[str, Any]]) -> Panels:
    """Draw slices in pairs: plain, and with the Grad-CAM heat map of the predicted grade.

    Args:
        examples: each with title, image ((H, W) uint8), heat_map ((H, W) float in [0, 1]) and geometry (a
            `report.geometry.Geometry`).
    """
    figures, all_axes = drawing.panels(len(examples), height=2.9)
    for axes, example in zip(all_axes, examples, strict=True):
        heat = _draw_pair(axes, example)
        axes.set_title(example["title"], fontsize=drawing.SMALL)
        bar = axes.figure.colorbar(heat, ax=axes, shrink=0.7, ticks=[0, 1], label="Grad-CAM")
        bar.ax.set_yticklabels(["none", "most"])
    return figures


def _draw_pair(axes: Axes, example: Mapping[str, Any]) -> AxesImage:
    """Draw the plain slice and, to the right of it in the same axes, the one with the heat map, which is returned."""
    shape = example["geometry"]
    second = 1.03 * shape.shown_width_mm
    axes.set_axis_off()
    for left in (0.0, second):
        slices.draw(axes, example["image"], shape, left_mm=left, vmin=0, vmax=255)
        slices.letter(axes, shape, left_mm=left)
    heat = slices.draw(axes, example["heat_map"], shape, left_mm=second, cmap=_HEAT, vmin=0, vmax=1)
    axes.set_xlim(0, second + shape.shown_width_mm)
    return heat
