"""What the report says -> one HTML file that needs nothing else: no script, no address outside, pictures inside.

Everything that is text is escaped. The stage fills the dataclasses; page.html decides how they look.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One of the few numbers that a reader should leave with."""

    label: str
    """What is measured, e.g. "Balanced accuracy, new patients"."""
    metric: Mapping[str, Any] | str
    """{value, lower, upper, n} as in metrics.json, or text."""
    unit: str = ""
    """Follows the number, e.g. "months"."""
    note: str = ""
    """What to compare it with."""
    leaks: bool = False
    """Whether it comes from a protocol that leaks."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a caption; the first column names each row."""

    caption: str
    rows: pd.DataFrame | Sequence[Mapping[str, object]]
    """Cells: text, numbers, None, or metrics {value, lower, upper, n}; one mapping per row, with the same keys."""
    source: str
    """The file of the run directory that the numbers come from."""
    leaking: frozenset[int] = frozenset()
    """Which rows, counted from 0, come from a protocol that leaks."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure with its words."""

    name: str
    """Its file in the run directory, e.g. "figures/months.png"."""
    png: bytes
    caption: str
    alt: str
    """What it shows, for those who cannot see it."""
    source: str = ""
    """The file of the run directory that the numbers come from."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page, listed in its table of contents."""

    id: str
    """Its anchor: letters, digits, hyphens; unique in the page."""
    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report."""

    title: str
    summary: str
    """A sentence or two under the title: what was run, on what."""
    headlines: Sequence[Headline] = ()
    sections: Sequence[Section] = ()
    footer: Mapping[str, str] = field(default_factory=dict)
    """Versions, seed, fingerprint of the data: name -> value."""


def render(page: Page) -> str:
    """The page as HTML.

    Args:
        page: what it says; every text is plain and gets escaped.

    Returns:
        One self-contained document.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        cell=_cell, is_number=_is_number, table_rows=_table_rows, data_uri=_data_uri, shown_size=_shown_size
    )
    environment.globals.update(interval=_interval, value=_value)
    return environment.get_template("page.html").render(page=page)


def number(value: float) -> str:
    """A number as it is read: whole ones in full, others to two decimals, small ones to two digits.

    Args:
        value: finite.
    """
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if value != 0 and abs(value) < 0.095:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _value(metric: Mapping[str, Any] | str) -> str:
    return metric if isinstance(metric, str) else _cell(metric["value"], missing="not defined")


def _interval(metric: Mapping[str, Any] | str) -> str:
    if isinstance(metric, str) or metric["lower"] is None or metric["upper"] is None:
        return ""
    return f"{_cell(metric['lower'])} to {_cell(metric['upper'])}"


def _cell(content: Any, missing: str = "–") -> str:
    if content is None or (pd.api.types.is_scalar(content) and pd.isna(content)):
        return missing
    if isinstance(content, (bool, np.bool_)):
        return "yes" if content else "no"
    return number(content) if _is_number(content) else str(content)


def _is_number(content: object) -> bool:
    return isinstance(content, (int, float, np.integer, np.floating)) and not isinstance(content, bool)


def _table_rows(table: Table) -> tuple[list[str], list[list[object]]]:
    frame = table.rows if isinstance(table.rows, pd.DataFrame) else pd.DataFrame(list(table.rows), dtype=object)
    # column by column: a row of a mixed frame would turn its integers into floats
    columns = [frame.iloc[:, index].tolist() for index in range(frame.shape[1])]
    return [str(name) for name in frame.columns], [list(row) for row in zip(*columns, strict=True)]


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _shown_size(png: bytes) -> tuple[int, int]:
    # the header of a PNG holds its width and height from byte 16 on; figures are drawn at two dots a pixel
    width, height = struct.unpack(">II", png[16:24])
    return width // 2, height // 2
