"""Predictions of the progression model -> pictures: each function gives a matplotlib Figure, 900 pixels wide."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tumorprog.report import drawing
from tumorprog.report.drawing import BLUE, GREY, INK, LEAKING_PROTOCOL
from tumorprog.tables import DAYS_PER_MONTH


def progression_curves(history: pd.DataFrame) -> Figure:
    """Training and validation loss at each epoch, the mean over the folds and the folds behind it.

    A fold that stopped early keeps its last loss, so that every point is a mean over all folds.

    Args:
        history: rows of `tables.PROGRESSION_HISTORY`.
    """
    panels = _by_grid(history)
    figure, all_axes = drawing.panels(len(panels))
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        for side, (label, colour, _) in list(drawing.SIDES.items())[:2]:
            by_fold = rows.pivot_table(index="Epoch", columns="Fold", values=f"{side} Loss").ffill()
            axes.plot(by_fold.index, by_fold.to_numpy(), color=colour, alpha=0.18, linewidth=0.8)
            axes.plot(by_fold.index, by_fold.mean(axis=1), color=colour, linewidth=2, label=label)
        axes.set_title(_grid_title(protocol, cohort), loc="left", fontsize=10)
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Loss (squared, standardised)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawing.mark_leak(axes, protocol)
        axes.legend(frameon=False)
    return drawing.titled(figure, "Training of the progression model: mean over folds")


def months_scatter(predictions: pd.DataFrame, patients: pd.DataFrame) -> Figure:
    """Predicted against measured months: dots for series, rings with intervals for patients.

    The axes are linear up to one month and logarithmic above, because most intervals are short and a few are long.

    Args:
        predictions: rows of `tables.PROGRESSION_PREDICTIONS`, of one or more protocols and cohorts.
        patients: rows of `tables.PATIENT_PREDICTIONS` of the same.
    """
    panels, combined = _by_grid(predictions), _by_grid(patients)
    figure, all_axes = drawing.panels(len(panels), height=4.4)
    measured, predicted = predictions["days"] / DAYS_PER_MONTH, predictions["Predicted_Progression_Timeline"]
    limits = min(-0.15, 1.2 * predicted.min()), 1.2 * max([2.0, *measured, *predicted, *patients["Upper"].dropna()])
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        axes.set_title(_grid_title(protocol, cohort), loc="left", fontsize=10)
        axes.plot([0, limits[1]], [0, limits[1]], color=GREY, linestyle="--", linewidth=1, zorder=1, label="perfect")
        colour = GREY if protocol == LEAKING_PROTOCOL else BLUE
        told = rows["Predicted_Progression_Timeline"]
        axes.scatter(rows["days"] / DAYS_PER_MONTH, told, s=7, color=colour, alpha=0.45, label="series")
        _draw_patients(axes, combined[protocol, cohort], colour)
        _month_axes(axes, limits)
        drawing.mark_leak(axes, protocol)
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    return drawing.titled(figure, "Months to progression")


def _draw_patients(axes: Axes, patients: pd.DataFrame, colour: str) -> None:
    predicted = patients["Predicted_Progression_Timeline"]
    bars = np.stack([predicted - patients["Lower"], patients["Upper"] - predicted]).clip(min=0)
    style: dict[str, Any] = {"fmt": "o", "color": colour, "markerfacecolor": "white", "elinewidth": 1, "capsize": 2}
    months = patients["days"] / DAYS_PER_MONTH
    axes.errorbar(months, predicted, yerr=bars, label="patient, prediction interval", **style)


def _month_axes(axes: Axes, limits: tuple[float, float]) -> None:
    ticks = [tick for tick in (-12, -6, -3, -1, 0, 1, 2, 3, 6, 12, 24, 48, 96) if limits[0] <= tick <= limits[1]]
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.6)
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.set_xlim(-0.15, limits[1])
    axes.set_ylim(*limits)
    axes.set_xlabel("Measured months")
    axes.set_ylabel("Predicted months")


def errors_beside_baselines(
    progression: Mapping[str, Any],
    *,
    metric: str = "mae",
    level: str = "patient",
    label: str = "Mean absolute error (months)",
) -> Figure:
    """The error of the progression model beside its baselines, a panel for each protocol and cohort.

    Args:
        progression: `metrics.json`'s part: protocol -> cohort -> level -> metric, and baselines -> name -> metric. An
            empty cohort has no level and no panel.
        metric: one in months.
        level: "series" or "patient".
        label: of the axis, with the unit.
    """
    panels = {
        (protocol, _grid_title(protocol, cohort)): levels[level]
        for protocol, cohorts in progression.items()
        for cohort, levels in cohorts.items()
        if level in levels
    }
    return drawing.beside_baselines(panels, metric, label=label, title="Progression model beside its baselines")


def null_control(judged: Mapping[str, Any]) -> Figure:
    """What is left of the model where each patient has another's months, beside the mean of the others' months.

    Args:
        judged: `metrics.json`'s part `null_control`: protocol -> level -> metric, and the baseline mean.
    """
    panels = {
        (protocol, f"protocol: {protocol}, months shuffled"): levels["series"] for protocol, levels in judged.items()
    }
    label, title = "Mean absolute error of series (months)", "Null control: nothing to learn but who is who"
    return drawing.beside_baselines(panels, "mae", label=label, title=title)


def survival_curves(
    patients: pd.DataFrame, measured: Mapping[str, tuple[np.ndarray, np.ndarray]], months: Sequence[int]
) -> Figure:
    """The share that has not progressed by each month: predicted for each patient and on average, and measured.

    Args:
        patients: rows of `tables.PATIENT_SURVIVAL` of the model.
        measured: the steps of `evaluation.survival.kaplan_meier` for each protocol's patients.
        months: of the curves.
    """
    panels = _by_grid(patients)
    figure, all_axes = drawing.panels(len(panels))
    last = max([*patients["months"], 1.0])
    columns = [f"Survival_{month}m" for month in months]
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        colour = GREY if protocol == LEAKING_PROTOCOL else BLUE
        curves = np.column_stack([np.ones(len(rows)), rows[columns].to_numpy()])
        times, share = measured[protocol]
        axes.plot([0, *months], curves.T, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot([0, *months], curves.mean(axis=0), color=colour, linewidth=2, label="predicted, mean of patients")
        axes.step([*times, last], [*share, share[-1]], where="post", color=INK, linewidth=1.4, label="Kaplan-Meier")
        axes.set_xlim(0, 1.05 * last)
        axes.set_ylim(0, 1.03)
        axes.set_title(_grid_title(protocol, cohort), loc="left", fontsize=10)
        axes.set_xlabel("Months since the first images")
        axes.set_ylabel("Share not progressed")
        drawing.mark_leak(axes, protocol)
        axes.legend(frameon=False, fontsize=8)
    return drawing.titled(figure, "Time to progression, also of those who have not progressed yet")


def _by_grid(rows: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    panels = {(str(protocol), str(cohort)): part for (protocol, cohort), part in rows.groupby(["Protocol", "Cohort"])}
    return dict(sorted(panels.items(), key=lambda panel: (panel[0][0] == LEAKING_PROTOCOL, panel[0])))


def _grid_title(protocol: str, cohort: str) -> str:
    return f"protocol: {protocol}, cohort: {cohort}"
