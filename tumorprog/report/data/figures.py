"""Tables of the cohort -> figures."""

import pandas as pd
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tumorprog.report import drawing
from tumorprog.report.drawing import BLUE, GREEN, ORANGE, Panels


def cohort_overview(counts: pd.DataFrame) -> Panels:
    """Draw the number of slices of each sequence in each cohort.

    Args:
        counts: numbers of slices, one row per sequence and one column per cohort (`pandas.crosstab`).
    """
    figures, all_axes = drawing.canvas(1.5 + 0.3 * max(len(counts), 3), 1, max(counts.shape[1], 1))
    for axes, name, colour in zip(all_axes, counts.columns, (BLUE, ORANGE, GREEN) * counts.shape[1], strict=False):
        values = counts[name].to_numpy()
        axes.grid(visible=False, axis="y")
        axes.barh(range(len(counts)), values, color=colour, height=0.7)
        for row, value in enumerate(values):
            axes.annotate(
                f"{value:,}", (value, row), (4, 0), textcoords="offset points", va="center", fontsize=drawing.SMALL
            )
        axes.set_title(f"{name} ({values.sum():,} slices)", fontsize=10)
        axes.set_xlabel("Slices")
        axes.margins(x=0.18)
        axes.set_yticks(range(len(counts)), [str(sequence) for sequence in counts.index])
        axes.set_ylim(len(counts) - 0.4, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return drawing.add_title(figures, "Slices of each sequence by cohort")
