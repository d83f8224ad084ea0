"""Courses of single patients -> figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, MaxNLocator, StrMethodFormatter

from tumorprog.report import drawing, slices
from tumorprog.report.drawing import BLUE, INK, ORANGE, QUIET, SKY, SMALL, Panels
from tumorprog.report.patients.courses import CENSORED, EVENT, SECOND_DATE, Course
from tumorprog.report.progression.meaning import THRESHOLD_PERCENT, VOLUME

_ENDS: dict[str, dict[str, Any]] = {
    SECOND_DATE: {"marker": "X", "color": ORANGE, "label": "second date, counts as progression"},
    EVENT: {"marker": "X", "color": ORANGE, "label": "progression"},
    CENSORED: {"marker": "|", "color": INK, "label": "censored"},
}


def courses(shown: Sequence[Course]) -> Panels:
    """Draw the scans of each patient on a line from the first scan, and how the course ends.

    Args:
        shown: from top to bottom.
    """
    figures, (axes,) = drawing.panels(1, height=1.8 + 0.24 * max(len(shown), 3))
    rows = range(len(shown))
    axes.hlines(rows, 0, [max([*course.scans, course.end or 0]) for course in shown], color=SKY, linewidth=2)
    scans = np.array([(day, row) for row, course in enumerate(shown) for day in course.scans])
    axes.scatter(scans[:, 0], scans[:, 1], s=22, color=BLUE, zorder=4, label="scan")
    for kind, style in _ENDS.items():
        ends = np.array([(course.end, row) for row, course in enumerate(shown) if course.kind == kind])
        if len(ends):
            axes.scatter(ends[:, 0], ends[:, 1], s=150, zorder=3, linewidths=1.5, **style)
    _label_rows(axes, [course.patient for course in shown], label="Days since the first scan")
    return drawing.add_title(figures, "Scans and end of follow-up of each patient")


def waterfall(changes: pd.DataFrame) -> Panels:
    """Draw the percent change of the masked volume to the next date, one bar each, with the threshold of RANO 2.0.

    Args:
        changes: from `courses.volume_changes`.
    """
    figures, (axes,) = drawing.panels(1, height=1.4 + 0.24 * max(len(changes), 3))
    percent, rows = changes["change_percent"].to_numpy(), range(len(changes))
    axes.barh(rows, percent, color=np.where(percent >= THRESHOLD_PERCENT, ORANGE, SKY))
    axes.axvline(0, color=INK, linewidth=0.8)
    label = f"+{THRESHOLD_PERCENT:.0f}%, RANO 2.0 (unconfirmed)"
    axes.axvline(THRESHOLD_PERCENT, color=INK, linestyle="--", linewidth=1, label=label)
    _label_rows(axes, list(changes["label"]), label="Change of the masked volume (%)")
    return drawing.add_title(figures, "Change of the masked volume to the next date")


def _label_rows(axes: Axes, names: Sequence[str], *, label: str) -> None:
    """Name the rows from top to bottom, label the horizontal axis, and put the legend above."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
    axes.legend(frameon=False, fontsize=SMALL, loc="lower left", bbox_to_anchor=(0, 1))


def months_by_volume(patients: pd.DataFrame) -> Panels:
    """Draw the months of each patient against the masked volume on the first date, both on logarithmic axes.

    Args:
        patients: from `courses.volumes_at_start`.
    """
    figures, (axes,) = drawing.panels(1)
    event = patients["event"].to_numpy(dtype=bool)
    for chosen, face, label in ((event, BLUE, "progression"), (~event, "white", "censored")):
        if chosen.any():
            volumes, months = patients.loc[chosen, "volume_ml"], patients.loc[chosen, "months"]
            axes.scatter(volumes, months, s=36, facecolor=face, edgecolor=BLUE, zorder=3, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.set_xlabel(f"{VOLUME} on the first date")
    axes.set_ylabel("Months")
    axes.legend(frameon=False, fontsize=SMALL)
    return drawing.add_title(figures, "Months and masked volume on the first date")


def kaplan_meier(table: pd.DataFrame, follow_up: pd.DataFrame, median: Mapping[str, Any]) -> Panels:
    """Draw the Kaplan-Meier estimate with its 95% band, censored patients, and the numbers at risk.

    Args:
        table: from `evaluation.survival.life_table`.
        follow_up: months and event (bool) of the same patients.
        median: from `evaluation.survival.median_months`.
    """
    figures, (axes,) = drawing.panels(1, height=4.0)
    last = float(follow_up["months"].max())
    months = [*table["months"], last]
    share, lower, upper = ([*table[name], table[name].iloc[-1]] for name in ("share", "lower", "upper"))
    known = pd.DataFrame({"lower": lower, "upper": upper}).ffill()  # after the last event there is no estimate
    axes.fill_between(
        months, known["lower"], known["upper"], step="post", color=SKY, alpha=0.35, linewidth=0, label="95% band"
    )
    axes.step(months, share, where="post", color=BLUE, linewidth=2, label="Kaplan-Meier")
    censored = follow_up.loc[~follow_up["event"].astype(bool), "months"].to_numpy()
    if len(censored):
        at = table["share"].to_numpy()[np.searchsorted(table["months"], censored, side="right") - 1]
        axes.scatter(censored, at, marker="|", s=70, color=INK, zorder=3, label="censored")
    if median["value"] is not None:
        axes.plot([0, median["value"], median["value"]], [0.5, 0.5, 0], color=QUIET, linestyle=":", label="median")
    _number_at_risk(axes, follow_up["months"].to_numpy(), last)
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("Share without progression")
    axes.legend(frameon=False, fontsize=SMALL)
    return drawing.add_title(figures, "Time to progression (Kaplan-Meier)")


def _number_at_risk(axes: Axes, months: np.ndarray, last: float) -> None:
    axes.set_xlim(0, 1.03 * last)
    ticks = [tick for tick in MaxNLocator(8, integer=True).tick_values(0, last) if 0 <= tick <= 1.03 * last]
    axes.set_xticks(ticks, [f"{tick:g}\n({int((months >= tick).sum())})" for tick in ticks])
    axes.set_xlabel("Months since the first images (patients at risk)")


def outlined(examples: Sequence[Mapping[str, Any]]) -> Panels:
    """Draw slices with the outline of a mask, one per panel.

    Args:
        examples: each with title, image ((H, W) float in [0, 1]), mask ((H, W) bool) and geometry (a
            `report.geometry.Geometry`).
    """
    figures, all_axes = drawing.panels(len(examples), height=4.6)
    for axes, example in zip(all_axes, examples, strict=True):
        axes.set_axis_off()
        slices.draw(axes, example["image"], example["geometry"], vmin=0, vmax=1)
        slices.outline(axes, np.asarray(example["mask"], bool), example["geometry"], colour=ORANGE)
        slices.letter(axes, example["geometry"])
        axes.set_title(example["title"], fontsize=SMALL)
    return figures
