"""Elements shared by all figures: colours, panels, bar charts with baselines, and the marking of leakage.

A figure is a list of panels, each a matplotlib Figure 4.4 inches wide, so that the page can place them side by side or
below each other. The colours of data are based on those of Okabe and Ito, which colour-blind readers can distinguish,
and have a contrast of at least 3:1 on both grounds of `theme`. Results of a protocol with leakage are grey or hatched
and labelled. pyplot is not used, so matplotlib's global state never changes.
"""

import io
import re
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imsave

from tumorprog.report import names
from tumorprog.report.names import LEAKING_PROTOCOL
from tumorprog.report.page import Picture, shown
from tumorprog.report.theme import LIGHT

BLUE, ORANGE, GREEN, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#3D97D0", "#8A8A8A"
"""Colours of data. Text is INK, QUIET or WARN, whose contrast is at least 4.5:1."""
INK, QUIET, WARN, FAINT, SHADED = (LIGHT[name] for name in ("ink", "quiet", "warn", "line", "panel"))
"""Neutral colours, which follow the mode of the page: text, secondary text, warnings, grid lines, shaded axes."""
WIDTH = 4.4
"""Width of a panel in inches; the page shows it up to 440 pixels wide."""
SMALL = 9.5
"""Smallest size of letters in points: 10 pixels on a screen 375 pixels wide."""
SHADES = LinearSegmentedColormap.from_list("shades", [to_rgba(BLUE, 0.0), to_rgba(BLUE, 0.75)])
"""From transparent to a blue on which INK is legible in light and in dark mode."""
DATA_SETS = {"Train": ("Training", BLUE, "o"), "Validation": ("Validation", ORANGE, "s"), "Test": ("Test", GREEN, "^")}
"""Label, colour and marker of each data set, by the prefix of its columns in a history table."""

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_SVG_FORMAT = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tumorprog",
    "image.composite_image": False,
    "font.sans-serif": ["DejaVu Sans", "system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial"],
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_REFERENCE = re.compile(r"#([\w.-]+)")
_LABEL_LETTERS, _AXIS_LETTERS = 19, 38

Panels = Figure | Sequence[Figure]
"""The panels of a figure, from left to right."""


def svg(figure: Figure, prefix: str) -> str:
    """Return a figure as SVG with text as text; equal figures give equal text.

    Args:
        figure: a panel.
        prefix: start of all ids, unique on the page.
    """
    _fix_layout(figure)
    stream = io.StringIO()
    with mpl.rc_context(_SVG_FORMAT):
        figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(stream.getvalue())  # noqa: S314 - written by matplotlib two lines above
    _share_images(root)
    _make_ids_unique(root, prefix)
    # matplotlib sets these two in a style for all elements, which would be one for all elements of the page
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.remove(next(child for child in root if child.find(f"{{{_SVG}}}style") is not None))
    return ET.tostring(root, encoding="unicode")


def _fix_layout(figure: Figure) -> None:
    """Compute the layout once; otherwise saving draws the figure twice."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def _share_images(root: ET.Element) -> None:
    """Replace each image that is shown a second time, at the same scale, by a reference to the first one."""
    first: dict[tuple[str, ...], tuple[str, ...]] = {}
    for image in list(root.iter(f"{{{_SVG}}}image")):
        *scale, x, y = re.findall(r"[-\d.e]+", image.get("transform", "").removeprefix("matrix"))
        content = (image.get(f"{{{_XLINK}}}href", ""), image.get("opacity", ""), *scale)
        if content not in first:
            first[content] = image.get("id", ""), x, y
            continue
        name, first_x, first_y = first[content]
        image.tag = f"{{{_SVG}}}use"
        image.attrib.clear()
        image.attrib |= {
            f"{{{_XLINK}}}href": f"#{name}",
            "transform": f"translate({float(x) - float(first_x):.6f} {float(y) - float(first_y):.6f})",
        }


def _make_ids_unique(root: ET.Element, prefix: str) -> None:
    """Add the prefix to the ids that are referred to, and remove the others."""
    used = {
        name for element in root.iter() for value in _referring(element).values() for name in _REFERENCE.findall(value)
    }
    for element in root.iter():
        name = element.attrib.pop("id", "")
        for key, value in _referring(element).items():
            element.set(key, _REFERENCE.sub(rf"#{prefix}-\1", value))
        if name in used:
            element.set("id", f"{prefix}-{name}")


def _referring(element: ET.Element) -> dict[str, str]:
    return {
        key: value for key, value in element.items() if "url(#" in value or (key.endswith("href") and value[0] == "#")
    }


def png(figures: Panels) -> bytes:
    """Return the panels side by side as a PNG, with the title above the first; equal figures give equal bytes."""
    images = []
    for number, figure in enumerate(_listed(figures)):
        figure.suptitle(
            " " if number else str(figure.get_label()) or " ", x=0.02, ha="left", fontsize=11, weight="bold", color=INK
        )
        figure.set_dpi(200)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    stream = io.BytesIO()
    imsave(stream, np.hstack(images), format="png")
    return stream.getvalue()


def picture(name: str, figures: Panels, *, caption: str, alt: str, source: str) -> Picture:
    """Return a figure as a `Picture` of the page, to be saved under figures/ in the run directory.

    Args:
        name: name of the file without folder and ending; letters, digits and hyphens.
        figures: the panels.
        caption: text below the figure.
        alt: alternative text that states the result, for example from `describe_bars`.
        source: file of the run directory that the numbers come from.
    """
    listed = _listed(figures)
    return Picture(
        name=f"figures/{name}.svg",
        panels=[svg(figure, f"{name}-{number}") for number, figure in enumerate(listed, 1)],
        title=str(listed[0].get_label()),
        caption=caption,
        alt=alt,
        source=source,
    )


def _listed(figures: Panels) -> list[Figure]:
    return [figures] if isinstance(figures, Figure) else list(figures)


def panel(height: float, rows: int, columns: int, **grid: Any) -> tuple[Figure, list[Axes]]:
    """Return one panel and its axes, row by row.

    Args:
        height: height in inches.
        rows: number of rows of axes.
        columns: number of columns of axes.
        grid: further keyword arguments of `Figure.subplots`.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    all_axes = list(figure.subplots(rows, columns, squeeze=False, **grid).flat)
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=SMALL)
    return figure, all_axes


def canvas(height: float, rows: int, columns: int, **grid: Any) -> tuple[list[Figure], list[Axes]]:
    """Return a panel for each column of axes, and the axes, row by row.

    Args:
        height: height of each panel in inches.
        rows: number of rows of axes in each panel.
        columns: number of panels.
        grid: further keyword arguments of `Figure.subplots`, for each panel.
    """
    drawn = [panel(height, rows, 1, **grid) for _ in range(columns)]
    return [figure for figure, _ in drawn], [axes[row] for row in range(rows) for _, axes in drawn]


def panels(count: int, *, height: float = 3.6) -> tuple[list[Figure], list[Axes]]:
    """Return `count` panels and their axes, each `height` inches high; if there are none, a panel with a message."""
    figures, all_axes = canvas(height if count else 1.0, 1, max(count, 1))
    if not count:
        all_axes[0].set_axis_off()
        all_axes[0].text(
            0.5, 0.5, "no patients in this cohort", ha="center", color=QUIET, transform=all_axes[0].transAxes
        )
    return figures, all_axes[:count]


def add_title(figures: Panels, title: str, *, leaks: bool = False) -> Panels:
    """Set the title of the whole figure, with a remark if it has leakage, and return its panels."""
    for figure in _listed(figures):
        figure.set_label(f"{title} (leakage)" if leaks else title)
    return figures


def mark_leakage(axes: Axes, protocol: str) -> None:
    """Shade the axes if the protocol has leakage, and label them unless their title says so; set the title before."""
    if protocol != LEAKING_PROTOCOL:
        return
    axes.set_facecolor(SHADED)
    title = axes.get_title(loc="left")
    if "leakage" in title:
        axes.set_title(title, loc="left", fontsize=10, color=WARN)
    else:
        axes.set_title("leakage", loc="right", fontsize=10, weight="bold", color=WARN)


def bars(axes: Axes, bars: Mapping[str, Mapping[str, Any]], colours: Sequence[str], *, hatch: str) -> None:
    """Draw horizontal bars of metrics {value, lower, upper, n} with their names and confidence intervals."""
    axes.grid(visible=False, axis="y")
    for row, (metric, colour) in enumerate(zip(bars.values(), colours, strict=True)):
        value, lower, upper = (metric[key] for key in ("value", "lower", "upper"))
        if value is None:
            axes.text(0, row, " not defined", va="center", color=QUIET, fontsize=SMALL)
            continue
        axes.barh(row, value, color=colour, hatch=hatch, edgecolor="white", height=0.62)
        if lower is not None and upper is not None:
            ends = [[max(value - lower, 0.0)], [max(upper - value, 0.0)]]
            axes.errorbar(value, row, xerr=ends, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
        end = value if upper is None else max(value, upper)
        axes.annotate(f"{value:.2f}", (end, row), (5, 0), textcoords="offset points", va="center", fontsize=SMALL)
    axes.set_yticks(range(len(bars)), [fill(name, _LABEL_LETTERS, break_long_words=False) for name in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)


def compare_with_baselines(
    levels: Mapping[tuple[str, str], Mapping[str, Any]], metric: str, *, label: str, title: str
) -> Panels:
    """Draw a metric of a model and of its baselines, one panel per protocol; protocols with leakage come last.

    Args:
        levels: metrics, and baselines -> name -> metrics, by protocol and panel title.
        metric: key of the metric.
        label: label of the axis.
        title: title of the figure.
    """
    highest = max([_max_extent(level, metric) for level in levels.values()], default=1.0)
    most = max([len(_compared(level, metric)) for level in levels.values()], default=1)
    figures, all_axes = panels(len(levels), height=1.2 + 0.45 * most)
    for axes, ((protocol, name), level) in zip(all_axes, _leaking_last(levels), strict=True):
        drawn = _compared(level, metric)
        leaks = protocol == LEAKING_PROTOCOL
        colours = [GREY if leaks else BLUE] + [SKY] * (len(drawn) - 1)
        bars(axes, drawn, colours, hatch="///" if leaks else "")
        axes.set_xlim(0, 1.2 * highest)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(fill(f"{label}, 95% CI", _AXIS_LETTERS))
        mark_leakage(axes, protocol)
    return add_title(figures, title)


def describe_bars(levels: Mapping[tuple[str, str], Mapping[str, Any]], metric: str, *, label: str) -> str:
    """Return the numbers of `compare_with_baselines` in words, as its alternative text.

    For example "Mean absolute error (months). Held-out patients: model 6.98 (4.10 to 9.90); median of the other
    patients 2.94 (1.20 to 4.50)."

    Args:
        levels: as in `compare_with_baselines`.
        metric: key of the metric.
        label: label of the axis.
    """
    parts = [f"{name}: {_in_words(_compared(level, metric))}" for (_, name), level in _leaking_last(levels)]
    return ". ".join([label, *(part.replace("\n", ", ") for part in parts)]) + "."


def _in_words(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(f"{name} {shown(metric)}" for name, metric in metrics.items())


def _compared(level: Mapping[str, Any], metric: str) -> dict[str, Mapping[str, Any]]:
    """Return a metric of the model and of its baselines by their names."""
    return {names.model(key): scores[metric] for key, scores in {"model": level, **level.get("baselines", {})}.items()}


def _leaking_last(
    levels: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[tuple[tuple[str, str], Mapping[str, Any]]]:
    return sorted(levels.items(), key=lambda item: names.leaking_last(item[0][0]))


def _max_extent(level: Mapping[str, Any], metric: str) -> float:
    ends = [bar[end] for bar in _compared(level, metric).values() for end in ("value", "upper")]
    return max([float(end) for end in ends if end is not None], default=1.0)


def by_protocol_and_cohort(rows: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the rows of each protocol and cohort, those with leakage last."""
    panels = {(str(protocol), str(cohort)): part for (protocol, cohort), part in rows.groupby(["Protocol", "Cohort"])}
    return dict(sorted(panels.items(), key=lambda panel: (names.leaking_last(panel[0][0]), panel[0])))


def panel_title(protocol: str, cohort: str) -> str:
    """Return the title of the panel of a protocol and a cohort, in two lines."""
    return f"{names.protocol(protocol)}\n{names.cohort(cohort)}"
