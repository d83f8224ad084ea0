"""What all pictures share: colours, axes, bars beside bars, and the marks of what leaks.

Colours are Okabe and Ito's, which the colour-blind tell apart. What comes from a protocol that leaks is grey or hatched
and labelled so. No pyplot: nothing here changes matplotlib's global state.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tumorprog.report.page import Picture

BLUE, ORANGE, GREEN, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#8A8A8A"
INK, FAINT = "#222222", "#DDDDDD"
WIDTH = 9.0
"""Inches; 100 dots each make the 900 pixels that the page shows."""
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", BLUE])
SIDES = {"Train": ("Training", BLUE, "o"), "Validation": ("Validation", ORANGE, "s"), "Test": ("Test", GREEN, "^")}
"""Label, colour and marker of each side, by the beginning of its columns in a history."""

LEAKING_PROTOCOL = "paper"


def png(figure: Figure) -> bytes:
    """A figure as a PNG of 1,800 pixels width, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def picture(name: str, figure: Figure, *, caption: str, alt: str, source: str) -> Picture:
    """A figure as a picture of the page, under figures/ in the run directory."""
    return Picture(name=f"figures/{name}.png", png=png(figure), caption=caption, alt=alt, source=source)


def canvas(height: float, rows: int, columns: int, *, width: float = WIDTH, **grid: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row.

    Args:
        height: inches.
        rows: of axes.
        columns: of axes.
        width: inches.
        grid: more words of `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    all_axes = list(figure.subplots(rows, columns, squeeze=False, **grid).flat)
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    return figure, all_axes


def panels(count: int, *, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, two a row, each row `height` inches; with none, words that say so."""
    columns = 1 if count < 2 else 2
    rows = max(-(-count // columns), 1)
    figure, all_axes = canvas(height * rows, rows, columns)
    for axes in all_axes[count:]:
        axes.set_axis_off()
    if not count:
        all_axes[0].text(0.5, 0.5, "nobody in this cohort", ha="center", color=GREY, transform=all_axes[0].transAxes)
    return figure, all_axes[:count]


def titled(figure: Figure, title: str, *, leaks: bool = False) -> Figure:
    """The figure under its title, which says if it leaks."""
    figure.suptitle(f"{title} (leaks)" if leaks else title, fontsize=12, weight="bold", color=ORANGE if leaks else INK)
    return figure


def mark_leak(axes: Axes, protocol: str) -> None:
    """Greys the axes of a protocol that leaks, and says so."""
    if protocol != LEAKING_PROTOCOL:
        return
    axes.set_facecolor("#F1F1F1")
    axes.set_title("leaks", loc="right", fontsize=10, weight="bold", color=ORANGE)


def in_pairs(examples: Sequence[Mapping[str, Any]], *, brightest: float) -> tuple[Figure, list[Axes]]:
    """Each example's image twice, two examples a row: the figure, and the axes of the second ones, to be drawn on."""
    rows, pairs = max((len(examples) + 1) // 2, 1), min(max(len(examples), 1), 2)
    figure, all_axes = canvas(0.35 + 2.42 * rows * 2 / pairs, rows, 2 * pairs)
    for axes in all_axes:
        axes.set_axis_off()
    for index, example in enumerate(examples):
        for axes in all_axes[2 * index : 2 * index + 2]:
            axes.imshow(example["image"], cmap="gray", vmin=0, vmax=brightest, interpolation="nearest")
        all_axes[2 * index].set_title(example["title"], fontsize=9)
    return figure, all_axes[1 : 2 * len(examples) : 2]


def bars(axes: Axes, bars: Mapping[str, Mapping[str, Any]], colours: Sequence[str], *, hatch: str) -> None:
    """Horizontal bars of metrics {value, lower, upper, n}, with their intervals and names."""
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


def beside_baselines(
    levels: Mapping[tuple[str, str], Mapping[str, Any]], metric: str, *, label: str, title: str
) -> Figure:
    """A metric of a model beside that of its baselines, axes for each protocol, honest ones first.

    Args:
        levels: metrics, and baselines -> name -> metrics, by protocol and title.
        metric: which.
        label: of the axis.
        title: of the figure.
    """
    honest_first = sorted(levels.items(), key=lambda panel: panel[0][0] == LEAKING_PROTOCOL)
    highest = max([_farthest(level, metric) for level in levels.values()], default=1.0)
    figure, all_axes = panels(len(levels), height=2.9)
    for axes, ((protocol, name), level) in zip(all_axes, honest_first, strict=True):
        baselines = level.get("baselines", {})
        shown = {"model": level[metric], **{baseline: metrics[metric] for baseline, metrics in baselines.items()}}
        leaks = protocol == LEAKING_PROTOCOL
        bars(axes, shown, [GREY if leaks else BLUE] + [SKY] * len(baselines), hatch="///" if leaks else "")
        axes.set_xlim(0, 1.15 * highest)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(f"{label}, 95 % interval")
        mark_leak(axes, protocol)
    return titled(figure, title)


def _farthest(level: Mapping[str, Any], metric: str) -> float:
    bars = [level[metric], *(metrics[metric] for metrics in level.get("baselines", {}).values())]
    return max([float(bar[end]) for bar in bars for end in ("value", "upper") if bar[end] is not None], default=1.0)
