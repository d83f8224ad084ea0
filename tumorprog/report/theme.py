"""Colours of the page and of the figures in light and in dark mode.

Figures are drawn in the light colours. The page and the saved SVG files replace the neutral ones in dark mode by rules
that select elements by the colour in their style, as matplotlib writes it; colours of data are the same in both modes.
"""

from collections.abc import Mapping

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f3f4f6",
    "ink": "#1c2126",
    "quiet": "#59636e",
    "line": "#d9dee3",
    "accent": "#005a8e",
    "warn": "#a83e00",
    "warn-panel": "#fff3e6",
    "warn-line": "#c9691f",
}
"""Colours of the light mode by the name of their CSS variable."""
DARK = {
    "paper": "#14181c",
    "panel": "#1d2329",
    "ink": "#e6eaee",
    "quiet": "#a3aeb9",
    "line": "#37414b",
    "accent": "#7cc4f0",
    "warn": "#ffab73",
    "warn-panel": "#33210f",
    "warn-line": "#a8632c",
}
"""The same of the dark mode."""
NEUTRAL = {"#000000": "ink", **{LIGHT[name]: name for name in ("paper", "panel", "ink", "quiet", "line", "warn")}}
"""Colours of figures that follow the mode, as matplotlib writes them, with the name of their variable."""


def variables(colours: Mapping[str, str]) -> str:
    """Return the declarations of CSS variables, for example `--ink: #1c2126;`."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def rules(colours: Mapping[str, str]) -> str:
    """Return CSS rules that give the neutral elements of all SVGs other colours.

    The selectors have no ancestors, because the markers and ticks of matplotlib are copies (`use`), which have none.

    Args:
        colours: CSS colour by the name of a variable.
    """
    properties = [
        f'[style*="{kind}: {written}"] {{ {kind}: {colours[name]} !important; }}'
        for written, name in NEUTRAL.items()
        for kind in ("fill", "stroke")
    ]
    return "\n".join([f"text {{ fill: {colours['ink']}; }}", *properties])


def standalone(svg: str) -> str:
    """Return an SVG with rules for the dark mode inside, to be saved as a file of its own.

    Args:
        svg: text of the SVG, from `report.drawing.svg`.
    """
    start, closed, rest = svg.partition(">")
    dark = rules(DARK)
    style = f"<style>@media (prefers-color-scheme: dark) {{\nsvg {{ background: {DARK['paper']}; }}\n{dark}\n}}</style>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n{start}{closed}{style}{rest}'
