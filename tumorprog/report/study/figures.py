"""Flow of participants -> figure."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from tumorprog.report import drawing
from tumorprog.report.study.steps import Step

_LINE_CHARACTERS = 46
_LINE_INCHES, _GAP_LINES = 0.17, 1.6


def flow(flows: Mapping[str, Sequence[Step]]) -> Any:
    """Draw the flow of participants of each cohort, from top to bottom.

    Args:
        flows: steps by name of the cohort.
    """
    texts = {name: [_text(step) for step in steps] for name, steps in flows.items()}
    lines = {name: sum(len(text) + _GAP_LINES for text in boxes) for name, boxes in texts.items()}
    height = max(lines.values(), default=1)
    figure, all_axes = drawing.canvas(0.8 + _LINE_INCHES * height, 1, max(len(texts), 1))
    for axes, (name, boxes) in zip(all_axes, texts.items(), strict=False):
        axes.set_axis_off()
        axes.set(xlim=(0, 1), ylim=(height, 0))
        axes.set_title(f"{name} cohort", fontsize=10)
        _draw(axes, boxes)
    return drawing.add_title(figure, "Flow of participants")


def _text(step: Step) -> list[str]:
    excluded = textwrap.wrap(f"excluded: {step.excluded}", _LINE_CHARACTERS) if step.excluded else []
    return [step.label, *textwrap.wrap(step.included, _LINE_CHARACTERS), *excluded]


def _draw(axes: Axes, boxes: Sequence[Sequence[str]]) -> None:
    """Draw boxes below each other, joined by arrows."""
    top = 0.0
    frame = {"boxstyle": "square,pad=0.4", "facecolor": "white", "edgecolor": drawing.BLUE}
    for index, (label, *rest) in enumerate(boxes):
        middle = top + len(boxes[index]) / 2
        if index:
            axes.annotate(
                "", (0.5, top - 0.45), (0.5, top - _GAP_LINES + 0.45), arrowprops={"arrowstyle": "->", "color": drawing.INK}
            )
        text = "\n".join([label, *rest])
        axes.text(0.5, middle, text, ha="center", va="center", fontsize=8, linespacing=1.25, bbox=frame)
        top += len(boxes[index]) + _GAP_LINES
