"""Figures of the trials of a sweep; each function returns its panels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tumorprog.report import drawing, names
from tumorprog.report.drawing import BLUE, GREY, INK, ORANGE, Panels

_LOG_RATIO = 20.0
"""An axis is logarithmic above this ratio of the largest to the smallest value."""
_MAX_TICKS = 4


def parallel_coordinates(trials: pd.DataFrame, settings: Sequence[str], metric: str, *, best: int) -> Panels:
    """Draw a line for each trial through the values of its settings and its metric; the best is highlighted.

    Each setting has a horizontal axis, below each other, so that any number of settings fits on a narrow screen.

    Args:
        trials: one row per trial with the columns trial, the settings and the metric.
        settings: columns of the settings, in the order of the axes.
        metric: column of the metric, the last axis.
        best: number of the best trial.
    """
    finished = trials.dropna(subset=[metric])
    columns = [*settings, metric]
    figures, (axes,) = drawing.canvas(1.0 + 0.6 * len(columns), 1, 1)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    positions = np.stack([_draw_axis(axes, number, finished[name]) for number, name in enumerate(columns)], axis=1)
    for row, trial in zip(positions, finished["trial"], strict=True):
        if trial != best:
            axes.plot(row, range(len(columns)), color=BLUE, alpha=0.35, linewidth=1)
    for row in positions[(finished["trial"] == best).to_numpy()]:
        axes.plot(row, range(len(columns)), color=ORANGE, linewidth=2.5, label="best", zorder=3)
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.set_yticks(range(len(columns)), [name.replace(".", ".\n") for name in [*settings, names.metric(metric)]])
    axes.set_xticks([])
    axes.set_ylim(len(columns) - 0.4, -0.3)
    axes.set_xlim(-0.16, 1.16)
    return drawing.add_title(figures, "Trials")


def _draw_axis(axes: Axes, number: int, values: pd.Series) -> np.ndarray:
    """Draw one axis with its ticks and return the positions of the values on it, (N,) in [0, 1]."""
    axes.axhline(number, color=INK, linewidth=0.8)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        raw = values.to_numpy(np.float64)
        logarithmic = len(raw) and raw.min() > 0 and raw.max() / raw.min() > _LOG_RATIO
        scaled = np.log(raw) if logarithmic else raw
        low, high = (scaled.min(), scaled.max()) if len(raw) else (0.0, 1.0)
        ticks = np.unique(scaled) if len(np.unique(scaled)) <= _MAX_TICKS else np.linspace(low, high, _MAX_TICKS)
        labels = [f"{np.exp(tick) if logarithmic else tick:.3g}" for tick in ticks]
    else:
        kinds = pd.Categorical(values.astype(str))
        scaled = kinds.codes.astype(np.float64)
        low, high = 0.0, float(max(len(kinds.categories) - 1, 0))
        ticks, labels = np.arange(len(kinds.categories)), list(kinds.categories)
    span = (high - low) or 1.0
    middle = 0.5 if high == low else 0.0
    for tick, label in zip((ticks - low) / span + middle, labels, strict=True):
        axes.annotate(
            label, (tick, number), (0, -3), textcoords="offset points", ha="center", va="top", fontsize=drawing.SMALL
        )
    return (scaled - low) / span + middle


def importance(values: Mapping[str, float]) -> Panels:
    """Draw the importance of each setting for the metric of the trials.

    Args:
        values: importance by setting, from `evaluation.sweeps.importance`.
    """
    figures, (axes,) = drawing.canvas(1.3 + 0.4 * max(len(values), 1), 1, 1)
    shown = {name: {"value": value, "lower": None, "upper": None} for name, value in values.items()}
    drawing.bars(axes, shown, [BLUE] * len(shown), hatch="")
    axes.set_xlabel("Decrease of R squared when the setting\nis shuffled between trials")
    return drawing.add_title(figures, "Importance of the settings")


def curves(history: pd.DataFrame, metric: str, *, best: int) -> Panels:
    """Draw the metric of each trial at each epoch; the best trial is highlighted.

    Args:
        history: rows with the columns trial, epoch and the metric.
        metric: column of the metric.
        best: number of the best trial.
    """
    figures, (axes,) = drawing.canvas(3.8, 1, 1)
    for trial, rows in history.groupby("trial"):
        style: dict[str, Any] = {"color": GREY, "alpha": 0.6, "linewidth": 1.0}
        if trial == best:
            style = {"color": ORANGE, "linewidth": 2.2, "zorder": 3, "label": "best"}
        axes.plot(rows["epoch"], rows[metric], marker="o", markersize=3, markevery=[len(rows) - 1], **style)
    axes.set_xlabel("Epoch")
    axes.set_ylabel(names.metric(metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(history):
        axes.legend(frameon=False)
    return drawing.add_title(figures, "Learning curves of all trials")
