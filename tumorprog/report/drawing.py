"""Elements shared by all figures: colours, axes, bar charts with baselines, and the marking of leakage.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish. Results of a protocol with leakage
are grey or hatched and labelled. pyplot is not used, so matplotlib's global state never changes.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tumorprog.report.page import Picture

BLUE, ORANGE, GREEN, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#8A8A8A"
INK, FAINT = "#222222", "#DDDDDD"
WIDTH = 9.0
"""Width of a figure in inches; at 100 dpi it is the 900 pixels shown on the page."""
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", BLUE])
DATA_SETS = {"Train": ("Training", BLUE, "o"), "Validation": ("Validation", ORANGE, "s"), "Test": ("Test", GREEN, "^")}
"""Label, colour and marker of each data set, by the prefix of its columns in a history table."""

LEAKING_PROTOCOL = "paper"


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG 1,800 pixels wide; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def picture(name: str, figure: Figure, *, caption: str, alt: str, source: str) -> Picture:
    """Return a figure as a `Picture` of the page, to be saved under figures/ in the run directory."""
    return Picture(name=f"figures/{name}.png", png=png(figure), caption=caption, alt=alt, source=source)


def canvas(height: float, rows: int, columns: int, *, width: float = WIDTH, **grid: Any) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes, row by row.

    Args:
        height: height in inches.
        rows: number of rows of axes.
        columns: number of columns of axes.
        width: width in inches.
        grid: further keyword arguments of `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    all_axes = list(figure.subplots(rows, columns, squeeze=False, **grid).flat)
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    return figure, all_axes


def panels(count: int, *, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` axes, two per row, each row `height` inches high; without axes it shows a message."""
    columns = 1 if count < 2 else 2
    rows = max(-(-count // columns), 1)
    figure, all_axes = canvas(height * rows, rows, columns)
    for axes in all_axes[count:]:
        axes.set_axis_off()
    if not count:
        all_axes[0].text(
            0.5, 0.5, "no patients in this cohort", ha="center", color=GREY, transform=all_axes[0].transAxes
        )
    return figure, all_axes[:count]


def add_title(figure: Figure, title: str, *, leaks: bool = False) -> Figure:
    """Add the title to a figure, with a remark if it has leakage, and return the figure."""
    figure.suptitle(
        f"{title} (leakage)" if leaks else title, fontsize=12, weight="bold", color=ORANGE if leaks else INK
    )
    return figure


def mark_leakage(axes: Axes, protocol: str) -> None:
    """Shade and label the axes if the protocol has leakage."""
    if protocol != LEAKING_PROTOCOL:
        return
    axes.set_facecolor("#F1F1F1")
    axes.set_title("leakage", loc="right", fontsize=10, weight="bold", color=ORANGE)


def draw_image_pairs(examples: Sequence[Mapping[str, Any]], *, max_intensity: float) -> tuple[Figure, list[Axes]]:
    """Draw each example's image twice, two examples per row.

    Args:
        examples: each with title and image.
        max_intensity: intensity shown as white.

    Returns:
        The figure, and the axes of each second image, for drawing on top of it.
    """
    rows, pairs = max((len(examples) + 1) // 2, 1), min(max(len(examples), 1), 2)
    figure, all_axes = canvas(0.35 + 2.42 * rows * 2 / pairs, rows, 2 * pairs)
    for axes in all_axes:
        axes.set_axis_off()
    for index, example in enumerate(examples):
        for axes in all_axes[2 * index : 2 * index + 2]:
            axes.imshow(example["image"], cmap="gray", vmin=0, vmax=max_intensity, interpolation="nearest")
        all_axes[2 * index].set_title(example["title"], fontsize=9)
    return figure, all_axes[1 : 2 * len(examples) : 2]


def bars(axes: Axes, bars: Mapping[str, Mapping[str, Any]], colours: Sequence[str], *, hatch: str) -> None:
    """Draw horizontal bars of metrics {value, lower, upper, n} with their names and confidence intervals."""
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


def compare_with_baselines(
    levels: Mapping[tuple[str, str], Mapping[str, Any]], metric: str, *, label: str, title: str
) -> Figure:
    """Draw a metric of a model and of its baselines, one panel per protocol; protocols with leakage come last.

    Args:
        levels: metrics, and baselines -> name -> metrics, by protocol and panel title.
        metric: key of the metric.
        label: label of the axis.
        title: title of the figure.
    """
    leaking_last = sorted(levels.items(), key=lambda panel: panel[0][0] == LEAKING_PROTOCOL)
    highest = max([_max_extent(level, metric) for level in levels.values()], default=1.0)
    figure, all_axes = panels(len(levels), height=2.9)
    for axes, ((protocol, name), level) in zip(all_axes, leaking_last, strict=True):
        baselines = level.get("baselines", {})
        shown = {"model": level[metric], **{baseline: metrics[metric] for baseline, metrics in baselines.items()}}
        leaks = protocol == LEAKING_PROTOCOL
        bars(axes, shown, [GREY if leaks else BLUE] + [SKY] * len(baselines), hatch="///" if leaks else "")
        axes.set_xlim(0, 1.15 * highest)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(f"{label}, 95 % CI")
        mark_leakage(axes, protocol)
    return add_title(figure, title)


def _max_extent(level: Mapping[str, Any], metric: str) -> float:
    bars = [level[metric], *(metrics[metric] for metrics in level.get("baselines", {}).values())]
    return max([float(bar[end]) for bar in bars for end in ("value", "upper") if bar[end] is not None], default=1.0)


def by_protocol_and_cohort(rows: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the rows of each protocol and cohort, those with leakage last."""
    panels = {(str(protocol), str(cohort)): part for (protocol, cohort), part in rows.groupby(["Protocol", "Cohort"])}
    return dict(sorted(panels.items(), key=lambda panel: (panel[0][0] == LEAKING_PROTOCOL, panel[0])))


def panel_title(protocol: str, cohort: str) -> str:
    """Return the title of the panel of a protocol and a cohort."""
    return f"protocol: {protocol}, cohort: {cohort}"
