"""Render the report as one self-contained HTML file: no scripts, no external addresses, embedded pictures.

All texts are escaped. The stage fills the dataclasses; page.html defines the layout.
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tumorprog.report import theme

_NEGLIGIBLE = 1e-9
"""A smaller number is a rounding error of zero."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A main result, shown as a tile at the top of the page."""

    label: str
    """Name of the measure, e.g. "Balanced accuracy, held-out patients"."""
    metric: Mapping[str, Any] | str
    """{value, lower, upper, n, reason} as in metrics.json, or text."""
    unit: str = ""
    """Unit shown after the number, e.g. "months"."""
    note: str = ""
    """Values for comparison, e.g. of a baseline."""
    leaks: bool = False
    """Whether it comes from a protocol with leakage."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption; the first column names each row."""

    caption: str
    rows: pd.DataFrame | Sequence[Mapping[str, object]]
    """One mapping per row, all with the same keys; a cell is text, a number, None or {value, lower, upper, reason}."""
    source: str
    """File of the run directory that the numbers come from."""
    leaking: frozenset[int] = frozenset()
    """Indices of the rows, from 0, that come from a protocol with leakage."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure with its title, caption and alternative text."""

    name: str
    """File in the run directory, e.g. "figures/months.svg"; with several panels they are months-1.svg and so on."""
    panels: Sequence[str]
    """SVG of each panel; all ids are unique on the page."""
    caption: str
    alt: str
    """Alternative text for screen readers, which states the result."""
    title: str = ""
    """Heading above the panels."""
    source: str = ""
    """File of the run directory that the numbers come from."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A numbered section of the page, listed in the table of contents."""

    id: str
    """Anchor of letters, digits and hyphens, unique on the page."""
    title: str
    paragraphs: Sequence[str] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    """Terms and their explanations."""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    leaking: bool = False
    """Whether its results have leakage; the section is then folded."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report."""

    title: str
    summary: str
    """One or two sentences under the title."""
    verdicts: Sequence[str] = ()
    """What the results mean, one sentence or two per task."""
    alerts: Sequence[str] = ()
    """Warnings that a reader must see before the results."""
    headlines: Sequence[Headline] = ()
    sections: Sequence[Section] = ()
    footer: Mapping[str, str] = field(default_factory=dict)
    """Provenance (versions, seed, fingerprint of the data): name -> value."""


def render(page: Page) -> str:
    """Render the page as HTML.

    Args:
        page: content of the page; all texts are plain text and are escaped.

    Returns:
        One self-contained HTML document.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(cell=_cell, is_number=_is_number, table_rows=table_rows)
    environment.globals.update(interval=_interval, value=_value, reason=_reason, reasons=_reasons, files=files)
    by_variable = {name: f"var(--{name})" for name in theme.LIGHT}
    colours = {
        "light": theme.variables(theme.LIGHT),
        "dark": theme.variables(theme.DARK),
        "figures": theme.rules(by_variable),
    }
    return environment.get_template("page.html").render(page=page, colours=colours)


def files(picture: Picture) -> dict[str, str]:
    """Return the SVG of each panel of a picture by the name of its file in the run directory."""
    stem = picture.name.removesuffix(".svg")
    one = len(picture.panels) == 1
    return {f"{stem}.svg" if one else f"{stem}-{number}.svg": svg for number, svg in enumerate(picture.panels, 1)}


def number(value: float) -> str:
    """Format a number: integers in full, others with two decimals, small ones with two significant digits.

    Args:
        value: a finite number.
    """
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if abs(value) < _NEGLIGIBLE:
        return "0.00"
    if abs(value) < 0.095:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def shown(metric: Mapping[str, Any], *, signed: bool = False) -> str:
    """Return a metric as text, e.g. "0.50 (0.41 to 0.62)", "0.50 (3 patients; an interval needs 5)", "not defined".

    Args:
        metric: {value, lower, upper, reason} as in metrics.json.
        signed: whether positive values have a sign, as for a difference.
    """
    sign = "+" if signed and metric["value"] is not None and metric["value"] > 0 else ""
    remark = _interval(metric) or _reason(metric)
    return f"{sign}{_value(metric)} ({remark})" if remark else f"{sign}{_value(metric)}"


def _value(metric: Mapping[str, Any] | str) -> str:
    return metric if isinstance(metric, str) else _cell(metric["value"], missing="not defined")


def _interval(metric: Mapping[str, Any] | str) -> str:
    if isinstance(metric, str) or metric["lower"] is None or metric["upper"] is None:
        return ""
    return f"{_cell(metric['lower'])} to {_cell(metric['upper'])}"


def _reasons(rows: Sequence[Sequence[object]]) -> dict[str, str]:
    """Return the reasons for missing values and intervals of a table's cells, each with the letter of its note."""
    found = [_reason(cell) for row in rows for cell in row if isinstance(cell, Mapping)]
    return {reason: _letter(number) for number, reason in enumerate(dict.fromkeys(filter(None, found)))}


def _letter(number: int) -> str:
    return string.ascii_lowercase[number % 26] * (1 + number // 26)


def _reason(metric: Mapping[str, Any] | str) -> str:
    """Return why a metric has no interval or no value, "" if it has both."""
    return "" if isinstance(metric, str) or _interval(metric) else str(metric.get("reason", ""))


def _cell(content: Any, missing: str = "–") -> str:
    if content is None or (pd.api.types.is_scalar(content) and pd.isna(content)):
        return missing
    if isinstance(content, (bool, np.bool_)):
        return "yes" if content else "no"
    return number(content) if _is_number(content) else str(content)


def _is_number(content: object) -> bool:
    return isinstance(content, (int, float, np.integer, np.floating)) and not isinstance(content, bool)


def table_rows(table: Table) -> tuple[list[str], list[list[object]]]:
    """Return the names of the columns of a table, and its rows of cells."""
    frame = table.rows if isinstance(table.rows, pd.DataFrame) else pd.DataFrame(list(table.rows), dtype=object)
    # column by column, because taking rows of a mixed frame converts integers to floats
    columns = [frame.iloc[:, index].tolist() for index in range(frame.shape[1])]
    return [str(name) for name in frame.columns], [list(row) for row in zip(*columns, strict=True)]
