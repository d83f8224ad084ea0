"""Numbers -> pictures: each function takes a table and gives a matplotlib Figure, 900 pixels wide at 100 dpi.

Colours are Okabe and Ito's, which the colour-blind tell apart. What comes from a protocol that leaks is grey or hatched
and labelled so. No pyplot: nothing here changes matplotlib's global state.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tumorprog.tables import DAYS_PER_MONTH, GRADES

BLUE, ORANGE, GREEN, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#8A8A8A"
INK, FAINT = "#222222", "#DDDDDD"
WIDTH = 9.0
"""Inches; 100 dots each make the 900 pixels that the page shows."""

LEAKING_PROTOCOL = "paper"

_SIDES = {"Train": ("Training", BLUE, "o"), "Validation": ("Validation", ORANGE, "s"), "Test": ("Test", GREEN, "^")}
_ACCURACIES = {"Train": "Training Acc (%)", "Validation": "Validation Acc (%)", "Test": "Test Acc (%)"}
_SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", BLUE])
_HEAT = LinearSegmentedColormap.from_list("heat", [(0.84, 0.37, 0.0, 0.0), (0.84, 0.37, 0.0, 0.75)])
_SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "#FFFFFF", ORANGE])


def png(figure: Figure) -> bytes:
    """A figure as a PNG of 1,800 pixels width, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def learning_curves(history: pd.DataFrame, *, leaks: bool = False) -> Figure:
    """Loss and accuracy of each side at each epoch, with the epoch that was kept.

    Args:
        history: rows of `tables.HISTORY`; the last row whose "Best Model Saved" is Yes or true was kept.
        leaks: whether patients stand on several sides.
    """
    figure, (loss, accuracy) = _figure(3.8, 1, 2)
    epochs = history["Epoch"].to_numpy()
    for side, (label, colour, marker) in _SIDES.items():
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "label": label}
        loss.plot(epochs, history[f"{side} Loss"].to_numpy(np.float64), **style)
        accuracy.plot(epochs, history[_ACCURACIES[side]].to_numpy(np.float64), **style)
    saved = history["Best Model Saved"].astype(str).str.lower().isin(["yes", "true", "1"]).to_numpy()
    for axes in (loss, accuracy):
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if saved.any():
            axes.axvline(epochs[saved][-1], color=GREY, linestyle=":", zorder=0, label="kept")
    loss.set_ylabel("Loss (cross-entropy)")
    accuracy.set_ylabel("Accuracy (% of slices)")
    loss.legend(frameon=False)
    return _titled(figure, "Training of the grader", leaks=leaks)


def confusion(level: pd.DataFrame, title: str, *, leaks: bool = False) -> Figure:
    """Counts of true against predicted grades, shaded by the share of each true grade.

    Args:
        level: has columns grade and predicted, as from `evaluation.metrics.grader_levels`.
        title: names the level and the side.
        leaks: whether patients stand on several sides.
    """
    counts = np.array([[_count(level, truth, predicted) for predicted in GRADES] for truth in GRADES])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (axes,) = _figure(4.6, 1, 1, width=5.6)
    axes.grid(visible=False)
    axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = "white" if share > 0.85 else INK
        axes.text(column, row, f"{count:,}\n{share:.0%}", ha="center", va="center", color=colour, fontsize=12)
    axes.set_xticks(range(len(GRADES)), [str(grade) for grade in GRADES])
    axes.set_yticks(range(len(GRADES)), [f"{grade}\nn = {total:,}" for grade, total in _totals(counts)])
    axes.set_xlabel("Predicted grade")
    axes.set_ylabel("True grade")
    return _titled(figure, title, leaks=leaks)


def _count(level: pd.DataFrame, truth: int, predicted: int) -> int:
    return int(((level["grade"] == truth) & (level["predicted"] == predicted)).sum())


def _totals(counts: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(GRADES, counts.sum(axis=1).tolist(), strict=True))


def reliability(bins: pd.DataFrame, title: str, *, leaks: bool = False) -> Figure:
    """How often the grader is right at each confidence, above how many rows have that confidence.

    Args:
        bins: from `evaluation.metrics.reliability_bins`.
        title: names the level and the side.
        leaks: whether patients stand on several sides.
    """
    figure, (axes, counts) = _figure(5.2, 2, 1, width=5.6, sharex=True, height_ratios=(3, 1))
    widths = (bins["upper"] - bins["lower"]).to_numpy()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
    axes.plot(bins["confidence"], bins["accuracy"], color=BLUE, marker="o", label="grader")
    counts.bar(bins["lower"], bins["count"], width=widths, align="edge", color=SKY, edgecolor="white")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("Share that is right")
    axes.legend(frameon=False, loc="upper left")
    counts.set_xlim(0, 1)
    counts.set_ylabel("Rows")
    counts.set_xlabel("Confidence (highest probability)")
    return _titled(figure, title, leaks=leaks)


def progression_curves(history: pd.DataFrame) -> Figure:
    """Training and validation loss at each epoch, the mean over the folds and the folds behind it.

    A fold that stopped early keeps its last loss, so that every point is a mean over all folds.

    Args:
        history: rows of `tables.PROGRESSION_HISTORY`.
    """
    panels = _by_grid(history)
    figure, all_axes = _panels(len(panels))
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        for side, (label, colour, _) in list(_SIDES.items())[:2]:
            by_fold = rows.pivot_table(index="Epoch", columns="Fold", values=f"{side} Loss").ffill()
            axes.plot(by_fold.index, by_fold.to_numpy(), color=colour, alpha=0.18, linewidth=0.8)
            axes.plot(by_fold.index, by_fold.mean(axis=1), color=colour, linewidth=2, label=label)
        axes.set_title(_grid_title(protocol, cohort), loc="left", fontsize=10)
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Loss (squared, standardised)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _mark_leak(axes, protocol)
        axes.legend(frameon=False)
    return _titled(figure, "Training of the progression model: mean over folds")


def months_scatter(predictions: pd.DataFrame) -> Figure:
    """Predicted against measured months: dots for series, rings with intervals for patients.

    The axes are linear up to one month and logarithmic above, because most intervals are short and a few are long.

    Args:
        predictions: rows of `tables.PROGRESSION_PREDICTIONS`, of one or more protocols and cohorts.
    """
    panels = _by_grid(predictions)
    figure, all_axes = _panels(len(panels), height=4.4)
    measured, predicted = predictions["days"] / DAYS_PER_MONTH, predictions["Predicted_Progression_Timeline"]
    limits = min(-0.15, 1.2 * predicted.min()), 1.2 * max([2.0, *measured, *predicted, *predictions["Upper"].dropna()])
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        axes.set_title(_grid_title(protocol, cohort), loc="left", fontsize=10)
        axes.plot([0, limits[1]], [0, limits[1]], color=GREY, linestyle="--", linewidth=1, zorder=1, label="perfect")
        _draw_patients(axes, rows, GREY if protocol == LEAKING_PROTOCOL else BLUE)
        _month_axes(axes, limits)
        _mark_leak(axes, protocol)
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    return _titled(figure, "Months to progression")


def _draw_patients(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    months = rows["days"] / DAYS_PER_MONTH
    axes.scatter(months, rows["Predicted_Progression_Timeline"], s=7, color=colour, alpha=0.45, label="series")
    columns = ["days", "Predicted_Progression_Timeline", "Lower", "Upper"]
    patients = rows.groupby(["PatientID", "date"])[columns].mean()
    predicted = patients["Predicted_Progression_Timeline"]
    bars = np.stack([predicted - patients["Lower"], patients["Upper"] - predicted]).clip(min=0)
    style: dict[str, Any] = {"fmt": "o", "color": colour, "markerfacecolor": "white", "elinewidth": 1, "capsize": 2}
    axes.errorbar(
        patients["days"] / DAYS_PER_MONTH, predicted, yerr=bars, label="patient, prediction interval", **style
    )


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
    return _beside_baselines(panels, metric, label=label, title="Progression model beside its baselines")


def grader_beside_baselines(
    grader: Mapping[str, Any],
    *,
    metric: str = "balanced_accuracy",
    level: str = "patient",
    label: str = "Balanced accuracy",
) -> Figure:
    """A metric of the grader beside its baselines, a panel for each protocol.

    Args:
        grader: `metrics.json`'s part: protocol -> level -> metric, and baselines -> name -> metric.
        metric: any of `evaluation.metrics.grader_metrics`.
        level: "slice", "series" or "patient".
        label: of the axis.
    """
    panels = {(protocol, f"protocol: {protocol}"): levels[level] for protocol, levels in grader.items()}
    return _beside_baselines(panels, metric, label=label, title="Grader beside its baselines")


def _beside_baselines(
    panels: Mapping[tuple[str, str], Mapping[str, Any]], metric: str, *, label: str, title: str
) -> Figure:
    honest_first = sorted(panels.items(), key=lambda panel: panel[0][0] == LEAKING_PROTOCOL)
    highest = max([_farthest(level, metric) for level in panels.values()], default=1.0)
    figure, all_axes = _panels(len(panels), height=2.9)
    for axes, ((protocol, name), level) in zip(all_axes, honest_first, strict=True):
        baselines = level.get("baselines", {})
        bars = {"model": level[metric], **{baseline: metrics[metric] for baseline, metrics in baselines.items()}}
        leaks = protocol == LEAKING_PROTOCOL
        _bars(axes, bars, [GREY if leaks else BLUE] + [SKY] * len(baselines), hatch="///" if leaks else "")
        axes.set_xlim(0, 1.15 * highest)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(f"{label}, 95 % interval")
        _mark_leak(axes, protocol)
    return _titled(figure, title)


def _farthest(level: Mapping[str, Any], metric: str) -> float:
    bars = [level[metric], *(metrics[metric] for metrics in level.get("baselines", {}).values())]
    return max([float(bar[end]) for bar in bars for end in ("value", "upper") if bar[end] is not None], default=1.0)


def group_bars(groups: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str, *, leaks: bool = False) -> Figure:
    """Accuracy and balanced accuracy of each institution or vendor.

    Args:
        groups: from `evaluation.metrics.by_group`.
        title: names the level and the column.
        leaks: whether patients stand on several sides.
    """
    figure, all_axes = _figure(1.6 + 0.42 * max(len(groups), 2), 1, 2, sharey=True)
    names = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}
    for axes, (metric, label), colour in zip(all_axes, names.items(), (BLUE, GREEN), strict=True):
        bars = {f"{name} (n = {group[metric]['n']:,})": group[metric] for name, group in groups.items()}
        _bars(axes, bars, [GREY if leaks else colour] * len(bars), hatch="///" if leaks else "")
        axes.set_xlim(0, 1.15)
        axes.set_xlabel(f"{label}, 95 % interval")
    return _titled(figure, title, leaks=leaks)


def _bars(axes: Axes, bars: Mapping[str, Mapping[str, Any]], colours: Sequence[str], *, hatch: str) -> None:
    axes.grid(visible=False, axis="y")
    for row, (metric, colour) in enumerate(zip(bars.values(), colours, strict=True)):
        value, lower, upper = (metric[key] for key in ("value", "lower", "upper"))
        if value is None:
            axes.text(0, row, " not defined", va="center", color=GREY, fontsize=9)
            continue
        axes.barh(row, value, color=colour, hatch=hatch, edgecolor="white", height=0.62)
        if lower is not None and upper is not None:
            ends = [[max(value - lower, 0.0)], [max(upper - value, 0.0)]]
            axes.errorbar(value, row, xerr=ends, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
        end = value if upper is None else max(value, upper)
        axes.annotate(f"{value:.2f}", (end, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_ylim(len(bars) - 0.4, -0.6)


def cohort_overview(counts: pd.DataFrame) -> Figure:
    """How many slices of each sequence each cohort has.

    Args:
        counts: a row per sequence, a column per cohort, cells are numbers of slices (`pandas.crosstab`).
    """
    figure, all_axes = _figure(1.5 + 0.3 * max(len(counts), 3), 1, max(counts.shape[1], 1), sharey=True)
    for axes, name, colour in zip(all_axes, counts.columns, (BLUE, ORANGE, GREEN) * counts.shape[1], strict=False):
        values = counts[name].to_numpy()
        axes.grid(visible=False, axis="y")
        axes.barh(range(len(counts)), values, color=colour, height=0.7)
        for row, value in enumerate(values):
            axes.annotate(f"{value:,}", (value, row), (4, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_title(f"{name} ({values.sum():,} slices)", fontsize=10)
        axes.set_xlabel("Slices")
        axes.margins(x=0.18)
        axes.set_yticks(range(len(counts)), [str(sequence) for sequence in counts.index])
        axes.set_ylim(len(counts) - 0.4, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return _titled(figure, "The cohorts by sequence")


def roi_panel(examples: Sequence[Mapping[str, Any]]) -> Figure:
    """Slices, and beside each the outline of its region of interest.

    Args:
        examples: two a row, each with title, image ((H, W) float in [0, 1]) and mask ((H, W) bool).
    """
    figure, beside = _in_pairs(examples, brightest=1)
    for example, outlined in zip(examples, beside, strict=True):
        mask = np.asarray(example["mask"], bool)
        outlined.set_title(f"ROI: {mask.mean():.1%} of the slice", fontsize=9)
        if mask.any() and not mask.all():
            outlined.contour(mask.astype(np.float64), levels=[0.5], colors=[ORANGE], linewidths=1.2)
    return figure


def evidence_panel(examples: Sequence[Mapping[str, Any]]) -> Figure:
    """Slices that the grader got right or wrong, and beside each where it found the grade that it told.

    Args:
        examples: two a row, each with title, image ((H, W) uint8) and evidence ((H, W) float in [0, 1]).
    """
    figure, beside = _in_pairs(examples, brightest=255)
    for example, marked in zip(examples, beside, strict=True):
        marked.imshow(example["evidence"], cmap=_HEAT, vmin=0, vmax=1)
        marked.set_title("evidence", fontsize=9)
    return figure


def _in_pairs(examples: Sequence[Mapping[str, Any]], *, brightest: float) -> tuple[Figure, list[Axes]]:
    """Each example's image twice, two examples a row: the figure, and the axes of the second ones, to be drawn on."""
    rows, pairs = max((len(examples) + 1) // 2, 1), min(max(len(examples), 1), 2)
    figure, all_axes = _figure(0.35 + 2.42 * rows * 2 / pairs, rows, 2 * pairs)
    for axes in all_axes:
        axes.set_axis_off()
    for index, example in enumerate(examples):
        for axes in all_axes[2 * index : 2 * index + 2]:
            axes.imshow(example["image"], cmap="gray", vmin=0, vmax=brightest, interpolation="nearest")
        all_axes[2 * index].set_title(example["title"], fontsize=9)
    return figure, all_axes[1 : 2 * len(examples) : 2]


def feature_steps(example: Mapping[str, Any]) -> Figure:
    """What the vector of one slice is made of: slice, clusters, region, four sub-bands, the coefficients kept.

    Args:
        example: title; image ((H, W) float in [0, 1]); clusters ((H, W) int, 0 to 2); mask ((H, W) bool); bands
            ((4, h, w), LL, LH, HL, HH); coefficients ((N,) float) and places ((N, 2) int) of the DCT of LL.
    """
    figure, all_axes = _figure(5.0, 2, 4)
    for axes in all_axes:
        axes.set_axis_off()
    image, mask = np.asarray(example["image"], np.float64), np.asarray(example["mask"], bool)
    low, *details = np.asarray(example["bands"], np.float64)
    shown = [("slice", image), ("three clusters", example["clusters"]), (f"ROI: {mask.mean():.1%}", image), ("LL", low)]
    for axes, (title, values) in zip(all_axes, shown, strict=False):
        axes.imshow(values, cmap="gray", interpolation="nearest")
        axes.set_title(title, fontsize=9)
    if mask.any() and not mask.all():
        all_axes[2].contour(mask.astype(np.float64), levels=[0.5], colors=[ORANGE], linewidths=1.0)
    most = max(float(np.abs(details).max()), 1e-9)
    for axes, title, values in zip(all_axes[4:], ("LH", "HL", "HH"), details, strict=False):
        axes.imshow(values, cmap=_SIGNED, vmin=-most, vmax=most, interpolation="nearest")
        axes.set_title(f"{title} (blue -, orange +)", fontsize=9)
    _coefficients(all_axes[7], np.asarray(example["coefficients"]), np.asarray(example["places"]))
    return _titled(figure, str(example["title"]))


def _coefficients(axes: Axes, coefficients: np.ndarray, places: np.ndarray) -> None:
    kept = np.full(places.max(axis=0) + 1, np.nan)
    kept[places[:, 0], places[:, 1]] = np.log10(np.abs(coefficients) + 1e-6)
    axes.imshow(kept, cmap=_SHADES, interpolation="nearest")
    axes.set_title(f"{len(coefficients)} DCT coefficients of LL, log", fontsize=9)


def _by_grid(rows: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    panels = {(str(protocol), str(cohort)): part for (protocol, cohort), part in rows.groupby(["Protocol", "Cohort"])}
    return dict(sorted(panels.items(), key=lambda panel: (panel[0][0] == LEAKING_PROTOCOL, panel[0])))


def _grid_title(protocol: str, cohort: str) -> str:
    return f"protocol: {protocol}, cohort: {cohort}"


def _mark_leak(axes: Axes, protocol: str) -> None:
    if protocol != LEAKING_PROTOCOL:
        return
    axes.set_facecolor("#F1F1F1")
    axes.set_title("leaks", loc="right", fontsize=10, weight="bold", color=ORANGE)


def _panels(count: int, *, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    columns = 1 if count < 2 else 2
    rows = max(-(-count // columns), 1)
    figure, all_axes = _figure(height * rows, rows, columns)
    for axes in all_axes[count:]:
        axes.set_axis_off()
    if not count:
        all_axes[0].text(0.5, 0.5, "nobody in this cohort", ha="center", color=GREY, transform=all_axes[0].transAxes)
    return figure, all_axes[:count]


def _figure(height: float, rows: int, columns: int, *, width: float = WIDTH, **grid: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    all_axes = list(figure.subplots(rows, columns, squeeze=False, **grid).flat)
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    return figure, all_axes


def _titled(figure: Figure, title: str, *, leaks: bool = False) -> Figure:
    figure.suptitle(f"{title} (leaks)" if leaks else title, fontsize=12, weight="bold", color=ORANGE if leaks else INK)
    return figure
