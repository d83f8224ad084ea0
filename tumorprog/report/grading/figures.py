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
from tumorprog.report import drawing, names, slices
from tumorprog.report.drawing import BLUE, GREEN, GREY, INK, ORANGE, SKY, SMALL, Panels

_ACCURACIES = {"Train": "Training Acc (%)", "Validation": "Validation Acc (%)"}
_CHANCE = 1 / len(GRADES)
"""Balanced accuracy of guessing."""

_HEAT = LinearSegmentedColormap.from_list("heat", [(0.84, 0.37, 0.0, 0.0), (0.84, 0.37, 0.0, 0.75)])


def learning_curves(history: pd.DataFrame, *, leaks: bool = False) -> Panels:
    """Draw the loss and accuracy on the training and the validation set at each epoch, and the selected epoch.

    The test set is not drawn, so that nobody chooses an epoch or a setting by it.

    Args:
        history: rows of `HISTORY`; the last row whose "Best Model Saved" is Yes or true is the selected epoch.
        leaks: whether patients are in more than one data set.
    """
    figures, (loss, accuracy) = drawing.canvas(3.8, 1, 2)
    epochs = history["Epoch"].to_numpy()
    for name in _ACCURACIES:
        label, colour, marker = drawing.DATA_SETS[name]
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
        axes.set_title(names.level(name), fontsize=10)
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
    """Draw the accuracy in each bin of confidence with its interval, for each level.

    Points are not joined: between two bins nothing was measured.

    Args:
        bins: from `evaluation.calibration.reliability_bins`, by level; at least one.
        title: title of the figure.
        leaks: whether patients are in more than one data set.
    """
    figures, all_axes = drawing.canvas(3.8, 1, len(bins))
    for axes, (name, level) in zip(all_axes, bins.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
        accuracy = level["accuracy"].to_numpy()
        ends = np.stack([accuracy - level["lower"], level["upper"] - accuracy]).clip(0)
        axes.errorbar(level["confidence"], accuracy, yerr=ends, color=BLUE, fmt="o", capsize=3, label="grader")
        for row in level.to_dict("records"):
            place = (row["confidence"], row["upper"])
            text = f"{row['patients']:,}"
            axes.annotate(text, place, (0, 4), textcoords="offset points", ha="center", fontsize=SMALL)
        axes.set_title(names.level(name), fontsize=10)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.02, 1.12)
        axes.set_xlabel("Confidence (highest probability)")
        axes.set_ylabel("Accuracy, 95% CI")
    all_axes[0].legend(frameon=False, loc="upper left")
    return drawing.add_title(figures, title, leaks=leaks)


def chance(level: Mapping[str, Any]) -> float:
    """Return the balanced accuracy of guessing: one divided by the number of grades among the tested patients.

    Args:
        level: metrics of `evaluation.metrics.grader_metrics`.
    """
    return 1 / max(sum(level[f"recall_{grade}"]["value"] is not None for grade in GRADES), 1)


def grader_with_baselines(grader: Mapping[str, Any]) -> Panels:
    """Draw the balanced accuracy per patient of the grader and of its baselines, one panel per protocol.

    Chance and the majority class are lines rather than bars. Trainings with other seeds and those of the null control
    are points.

    Args:
        grader: part `grader` of metrics.json.
    """
    ordered = sorted(grader.items(), key=lambda item: names.leaking_last(item[0]))
    figures, all_axes = drawing.panels(len(ordered), height=2.9)
    for axes, (protocol, scores) in zip(all_axes, ordered, strict=True):
        _draw_comparison(axes, scores, leaks=names.leaking_last(protocol))
        axes.set_title(names.protocol(protocol), loc="left", fontsize=10)
        drawing.mark_leakage(axes, protocol)
    return drawing.add_title(figures, "Balanced accuracy per patient")


def _draw_comparison(axes: Axes, scores: Mapping[str, Any], *, leaks: bool) -> None:
    compared = {"model": scores["patient"], **scores["patient"]["baselines"]}
    majority = compared.pop("majority")["balanced_accuracy"]["value"]
    bars = {names.model(name): level["balanced_accuracy"] for name, level in compared.items()}
    drawing.bars(axes, bars, [GREY if leaks else BLUE] + [SKY] * (len(bars) - 1), hatch="///" if leaks else "")
    repeated = {
        "other seeds": scores.get("seeds", {}).get("balanced_accuracy", {}).get("values", [])[1:],
        "null control": scores.get("null_control", {}).get("draws", []),
    }
    labels = list(bars)
    for name, values in repeated.items():
        if values:
            axes.scatter(values, [len(labels)] * len(values), color=INK, s=16, zorder=3)
            labels.append(name)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    guessing = chance(scores["patient"])
    if majority is None or abs(majority - guessing) < 0.005:
        axes.axvline(guessing, color=ORANGE, linestyle="--", label=f"chance and majority class ({guessing:.2f})")
    else:
        axes.axvline(guessing, color=ORANGE, linestyle="--", label=f"chance ({guessing:.2f})")
        axes.axvline(majority, color=GREEN, linestyle=":", label=f"majority class ({majority:.2f})")
    axes.legend(frameon=False, fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    axes.set_xlim(0, 1.15)
    axes.set_xlabel("Balanced accuracy, 95% CI")


def group_bars(groups: Mapping[str, Mapping[str, Any]], title: str, *, leaks: bool = False) -> Panels:
    """Draw the accuracy and balanced accuracy of each institution, manufacturer or fold.

    Args:
        groups: groups with enough patients, as in `report.grading.results.GraderResults.groups`.
        title: title of the figure.
        leaks: whether patients are in more than one data set.
    """
    figures, all_axes = drawing.canvas(1.6 + 0.42 * max(len(groups), 2), 1, 2)
    for axes, metric, colour in zip(all_axes, ("accuracy", "balanced_accuracy"), (BLUE, GREEN), strict=True):
        bars = {f"{name} ({group['accuracy']['patients']} patients)": group[metric] for name, group in groups.items()}
        drawing.bars(axes, bars, [GREY if leaks else colour] * len(bars), hatch="///" if leaks else "")
        axes.axvline(_CHANCE, color=ORANGE, linestyle="--")
        axes.set_xlim(0, 1.15)
        axes.set_xlabel(f"{names.metric(metric)}, 95% CI")
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
