"""Figures of the progression model's predictions; each function returns its panels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.report import drawing, names
from tumorprog.report.drawing import BLUE, GREY, LEAKING_PROTOCOL, Panels, by_protocol_and_cohort, panel_title


def progression_curves(history: pd.DataFrame) -> Panels:
    """Draw the training and validation loss at each epoch: each fold, and the mean over the folds.

    A fold that stopped early keeps its last loss, so that every point is a mean over all folds.

    Args:
        history: rows of `progression.columns.PROGRESSION_HISTORY`.
    """
    panels = by_protocol_and_cohort(history)
    figures, all_axes = drawing.panels(len(panels))
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        for name, (label, colour, _) in list(drawing.DATA_SETS.items())[:2]:
            by_fold = rows.pivot_table(index="Epoch", columns="Fold", values=f"{name} Loss").ffill()
            axes.plot(by_fold.index, by_fold.to_numpy(), color=colour, alpha=0.4, linewidth=0.8)
            axes.plot(by_fold.index, by_fold.mean(axis=1), color=colour, linewidth=2, label=label)
        axes.set_title(panel_title(protocol, cohort), loc="left", fontsize=10)
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Loss (squared error, standardised)")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawing.mark_leakage(axes, protocol)
        axes.legend(frameon=False)
    return drawing.add_title(figures, "Training of the progression model")


def months_scatter(predictions: pd.DataFrame, patients: pd.DataFrame) -> Panels:
    """Draw predicted against measured months: dots are series, rings with prediction intervals are patients.

    The axes are linear up to one month and logarithmic above, because most times are short and a few are long.

    Args:
        predictions: rows of `progression.columns.PROGRESSION_PREDICTIONS`, of one or more protocols and cohorts.
        patients: rows of `progression.columns.PATIENT_PREDICTIONS` of the same.
    """
    panels, combined = by_protocol_and_cohort(predictions), by_protocol_and_cohort(patients)
    figures, all_axes = drawing.panels(len(panels), height=4.4)
    measured, predicted = predictions["days"] / DAYS_PER_MONTH, predictions["Predicted_Progression_Timeline"]
    limits = min(-0.15, 1.2 * predicted.min()), 1.2 * max([2.0, *measured, *predicted, *patients["Upper"].dropna()])
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        axes.set_title(panel_title(protocol, cohort), loc="left", fontsize=10)
        axes.plot(
            [0, limits[1]],
            [0, limits[1]],
            color=GREY,
            linestyle="--",
            linewidth=1,
            zorder=1,
            label="perfect prediction",
        )
        colour = GREY if protocol == LEAKING_PROTOCOL else BLUE
        months = rows["days"] / DAYS_PER_MONTH
        axes.scatter(months, rows["Predicted_Progression_Timeline"], s=7, color=colour, alpha=0.45, label="series")
        _draw_patients(axes, combined[protocol, cohort], colour)
        _set_month_axes(axes, limits)
        drawing.mark_leakage(axes, protocol)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=drawing.SMALL)
    return drawing.add_title(figures, "Months to progression")


def _draw_patients(axes: Axes, patients: pd.DataFrame, colour: str) -> None:
    predicted = patients["Predicted_Progression_Timeline"]
    bars = np.stack([predicted - patients["Lower"], patients["Upper"] - predicted]).clip(min=0)
    style: dict[str, Any] = {"fmt": "o", "color": colour, "markerfacecolor": "white", "elinewidth": 1, "capsize": 2}
    months = patients["days"] / DAYS_PER_MONTH
    label = "patient, prediction interval" if patients["Upper"].notna().any() else "patient"
    axes.errorbar(months, predicted, yerr=bars, label=label, **style)


def _set_month_axes(axes: Axes, limits: tuple[float, float]) -> None:
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


def errors_with_baselines(
    progression: Mapping[str, Any],
    *,
    metric: str = "mae",
    level: str = "patient",
    label: str = "Mean absolute error (months)",
) -> Panels:
    """Draw the error of the progression model and of its baselines, one panel per protocol and cohort.

    Args:
        progression: part `progression` of metrics.json: protocol -> cohort -> level -> metric, and baselines -> name
            -> metric. An empty cohort has no levels and no panel.
        metric: key of a metric in months.
        level: "series" or "patient".
        label: label of the axis, with the unit.
    """
    panels = compared_panels(progression, level=level)
    return drawing.compare_with_baselines(panels, metric, label=label, title="Progression model and baselines")


def compared_panels(progression: Mapping[str, Any], *, level: str = "patient") -> dict[tuple[str, str], Any]:
    """Return the metrics at a level by protocol and panel title, without cohorts that are too small."""
    return {
        (protocol, panel_title(protocol, cohort)): levels[level]
        for protocol, cohorts in progression.items()
        for cohort, levels in cohorts.items()
        if level in levels
    }


def null_control(null: Mapping[str, Any]) -> Panels:
    """Draw the benefit of the model over the mean of the training patients, with true and with permuted months.

    Args:
        null: part `null_control` of metrics.json: protocol -> result of `evaluation.repetitions.permutation_test`.
    """
    figure, all_axes = drawing.panels(len(null), height=2.2)
    ordered = sorted(null.items(), key=lambda item: item[0] == LEAKING_PROTOCOL)
    for axes, (protocol, control) in zip(all_axes, ordered, strict=True):
        heights = np.linspace(0.2, 0.8, len(control["draws"]))
        axes.plot(control["draws"], heights, "o", color=GREY, markersize=4, label="months permuted")
        axes.axvline(control["observed"], color=BLUE, linewidth=2, label="true months")
        axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.set_title(names.protocol(protocol), loc="left", fontsize=10)
        axes.set_xlabel("Error of the model minus that of the mean (months)")
        drawing.mark_leakage(axes, protocol)
        axes.legend(frameon=False, fontsize=drawing.SMALL)
    return drawing.add_title(figure, "Null control: months permuted between patients")
