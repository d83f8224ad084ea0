"""Figures of the trials of a sweep; each function returns a matplotlib Figure 900 pixels wide."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tumorprog.report import drawing
from tumorprog.report.drawing import BLUE, GREY, INK, ORANGE

_LOG_RATIO = 20.0
"""An axis is logarithmic above this ratio of the largest to the smallest value."""
_MAX_TICKS = 5


def parallel_coordinates(trials: pd.DataFrame, settings: Sequence[str], metric: str, *, best: int) -> Figure:
    """Draw a line for each trial through the values of its settings and its metric; the best is highlighted.

    Args:
        trials: one row per trial with the columns trial, the settings and the metric.
        settings: columns of the settings, in the order of the axes.
        metric: column of the metric, the last axis.
        best: number of the best trial.
    """
    finished = trials.dropna(subset=[metric])
    columns = [*settings, metric]
    figure, (axes,) = drawing.canvas(4.2, 1, 1)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    positions = np.stack([_draw_axis(axes, number, finished[name]) for number, name in enumerate(columns)], axis=1)
    for row, trial in zip(positions, finished["trial"], strict=True):
        if trial != best:
            axes.plot(range(len(columns)), row, color=BLUE, alpha=0.35, linewidth=1)
    for row in positions[(finished["trial"] == best).to_numpy()]:
        axes.plot(range(len(columns)), row, color=ORANGE, linewidth=2.5, label="best", zorder=3)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.12))
    axes.set_xticks(range(len(columns)), [name.replace(".", ".\n") for name in columns])
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 0.55)
    axes.set_ylim(-0.05, 1.08)
    return drawing.add_title(figure, "Trials")


def _draw_axis(axes: Axes, number: int, values: pd.Series) -> np.ndarray:
    """Draw one axis with its ticks and return the positions of the values on it, (N,) in [0, 1]."""
    axes.axvline(number, color=INK, linewidth=0.8)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        raw = values.to_numpy(np.float64)
        logarithmic = len(raw) and raw.min() > 0 and raw.max() / raw.min() > _LOG_RATIO
        scaled = np.log(raw) if logarithmic else raw
        low, high = (scaled.min(), scaled.max()) if len(raw) else (0.0, 1.0)
        ticks = np.unique(scaled) if len(np.unique(scaled)) <= _MAX_TICKS else np.linspace(low, high, _MAX_TICKS)
        names = [f"{np.exp(tick) if logarithmic else tick:.3g}" for tick in ticks]
    else:
        kinds = pd.Categorical(values.astype(str))
        scaled = kinds.codes.astype(np.float64)
        low, high = 0.0, float(max(len(kinds.categories) - 1, 0))
        ticks, names = np.arange(len(kinds.categories)), list(kinds.categories)
    span = (high - low) or 1.0
    middle = 0.5 if high == low else 0.0
    for tick, name in zip((ticks - low) / span + middle, names, strict=True):
        axes.annotate(name, (number, tick), (4, 0), textcoords="offset points", va="center", fontsize=8)
    return (scaled - low) / span + middle


def importance(values: Mapping[str, float]) -> Figure:
    """Draw the importance of each setting for the metric of the trials.

    Args:
        values: importance by setting, from `evaluation.sweeps.importance`.
    """
    figure, (axes,) = drawing.canvas(1.3 + 0.4 * max(len(values), 1), 1, 1)
    shown = {name: {"value": value, "lower": None, "upper": None} for name, value in values.items()}
    drawing.bars(axes, shown, [BLUE] * len(shown), hatch="")
    axes.set_xlabel("Decrease of R squared when the setting is shuffled between trials")
    return drawing.add_title(figure, "Importance of the settings")


def curves(history: pd.DataFrame, metric: str, *, best: int) -> Figure:
    """Draw the metric of each trial at each epoch; the best trial is highlighted.

    Args:
        history: rows with the columns trial, epoch and the metric.
        metric: column of the metric.
        best: number of the best trial.
    """
    figure, (axes,) = drawing.canvas(3.8, 1, 1)
    for trial, rows in history.groupby("trial"):
        style: dict[str, Any] = {"color": GREY, "alpha": 0.6, "linewidth": 1.0}
        if trial == best:
            style = {"color": ORANGE, "linewidth": 2.2, "zorder": 3, "label": "best"}
        axes.plot(rows["epoch"], rows[metric], marker="o", markersize=3, markevery=[len(rows) - 1], **style)
    axes.set_xlabel("Epoch")
    axes.set_ylabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(history):
        axes.legend(frameon=False)
    return drawing.add_title(figure, "Learning curves of all trials")
