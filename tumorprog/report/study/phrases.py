"""Lists and summaries of values as parts of sentences."""

from collections.abc import Iterable, Sequence
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

UNKNOWN = "unknown"
_MOST, _LONGEST = 12, 60
"""Number of different values that are named, and of characters of each."""


def listed(parts: Iterable[str], word: str = "and") -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *first, last = list(parts) or ["none"]
    return f"{', '.join(first)} {word} {last}" if first else last


def tallied(values: pd.Series | Sequence[Any]) -> str:
    """Return how often each value occurs, the most frequent first: "GE (12), Siemens (3), unknown (1)".

    Args:
        values: texts; "" and missing ones are counted as unknown, last. Rare values beyond the first dozen are counted
            together, because free text can be long and identify a patient.
    """
    counts = list(tally(values).items())
    rest = sum(times for _, times in counts[_MOST:])
    named = [f"{shorten(name, _LONGEST, placeholder='...')} ({times:,})" for name, times in counts[:_MOST]]
    return ", ".join([*named, *([f"other ({rest:,})"] if rest else [])]) or "none"


def tally(values: pd.Series | Sequence[Any]) -> dict[str, int]:
    """Return the number of times that each value occurs, by value; unknown ones last."""
    texts = pd.Series(values, dtype=object)
    texts = texts.where(texts.notna() & (texts != ""), UNKNOWN).astype(str)
    ordered = sorted(texts.value_counts().items(), key=lambda item: (item[0] == UNKNOWN, -item[1], item[0]))
    return {str(name): int(times) for name, times in ordered}


def spread(values: pd.Series | Sequence[float], digits: int = 1) -> str:
    """Return the median and range of numbers and how many are missing: "52 (31 to 70); 2 unknown".

    Args:
        values: numbers; NaN is unknown.
        digits: significant decimals at most.
    """
    known = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").astype(float)
    missing = int(known.isna().sum())
    known = known.dropna()
    if not len(known):
        return f"{missing} {UNKNOWN}" if missing else "none"
    low, middle, high = (f"{round(value, digits):g}" for value in (known.min(), np.median(known), known.max()))
    text = middle if low == high else f"{middle} ({low} to {high})"
    return text + (f"; {missing} {UNKNOWN}" if missing else "")
