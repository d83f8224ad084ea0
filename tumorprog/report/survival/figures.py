"""Predicted and observed survival -> figures."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tumorprog.report import drawing
from tumorprog.report.drawing import BLUE, GREY, INK, LEAKING_PROTOCOL, Panels, by_protocol_and_cohort, panel_title


def survival_curves(
    patients: pd.DataFrame, measured: Mapping[str, tuple[np.ndarray, np.ndarray]], months: Sequence[int]
) -> Panels:
    """Draw the progression-free share by month: predicted per patient, their mean, and the Kaplan-Meier estimate.

    Args:
        patients: rows of `progression.columns.PATIENT_SURVIVAL` of the model.
        measured: steps of `evaluation.survival.kaplan_meier` for the patients of each protocol.
        months: months of the predicted curves.
    """
    panels = by_protocol_and_cohort(patients)
    figures, all_axes = drawing.panels(len(panels))
    last = max([*patients["months"], 1.0])
    columns = [f"Survival_{month}m" for month in months]
    for axes, ((protocol, cohort), rows) in zip(all_axes, panels.items(), strict=True):
        colour = GREY if protocol == LEAKING_PROTOCOL else BLUE
        curves = np.column_stack([np.ones(len(rows)), rows[columns].to_numpy()])
        times, share = measured[protocol]
        axes.plot([0, *months], curves.T, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot([0, *months], curves.mean(axis=0), color=colour, linewidth=2, label="predicted, mean over patients")
        axes.step([*times, last], [*share, share[-1]], where="post", color=INK, linewidth=1.4, label="Kaplan-Meier")
        axes.set_xlim(0, 1.05 * last)
        axes.set_ylim(0, 1.03)
        axes.set_title(panel_title(protocol, cohort), loc="left", fontsize=10)
        axes.set_xlabel("Months since the first images")
        axes.set_ylabel("Share without progression")
        drawing.mark_leakage(axes, protocol)
        axes.legend(frameon=False, fontsize=drawing.SMALL)
    return drawing.add_title(figures, "Time to progression, including censored patients")
