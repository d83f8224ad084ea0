"""Flow of participants -> figure."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from tumorprog.report import drawing
from tumorprog.report.study.steps import Step

_LINE_CHARACTERS = 48
_LINE_INCHES, _GAP_LINES = 0.2, 1.6


def flow(flows: Mapping[str, Sequence[Step]]) -> drawing.Panels:
    """Draw the flow of participants of each cohort, from top to bottom.

    Args:
        flows: steps by name of the cohort.
    """
    height = max((sum(len(_text(step)) + _GAP_LINES for step in steps) for steps in flows.values()), default=1)
    figure, all_axes = drawing.canvas(0.8 + _LINE_INCHES * height, 1, max(len(flows), 1))
    for axes, (name, steps) in zip(all_axes, flows.items(), strict=False):
        axes.set_axis_off()
        axes.set(xlim=(0, 1), ylim=(height, 0))
        axes.set_title(f"{name} cohort")
        _draw(axes, steps)
    return drawing.add_title(figure, "Flow of participants")


def _text(step: Step) -> list[str]:
    lines = [*step.included, *([f"excluded: {step.excluded}"] if step.excluded else [])]
    return [step.label, *(part for line in lines for part in textwrap.wrap(line, _LINE_CHARACTERS))]


def _draw(axes: Axes, steps: Sequence[Step]) -> None:
    """Draw boxes below each other, joined by arrows, or by "or" before an alternative."""
    top = 0.0
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": drawing.SMALL}
    frame = {"boxstyle": "square,pad=0.4", "facecolor": "none", "edgecolor": drawing.BLUE}
    for index, step in enumerate(steps):
        lines = _text(step)
        if index and step.alternative:
            axes.text(0.5, top - _GAP_LINES / 2, "or", **centred)
        elif index:
            arrow = {"arrowstyle": "->", "color": drawing.INK}
            axes.annotate("", (0.5, top - 0.45), (0.5, top - _GAP_LINES + 0.45), arrowprops=arrow)
        middle = top + len(lines) / 2
        axes.text(
            0.5,
            middle,
            "\n".join(lines),
            ha="center",
            va="center",
            fontsize=drawing.SMALL,
            linespacing=1.25,
            bbox=frame,
        )
        top += len(lines) + _GAP_LINES
