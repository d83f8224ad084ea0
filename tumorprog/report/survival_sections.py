"""The metrics and curves of a model of survival -> its section of the page."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.report import progression_figures
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table
from tumorprog.tables import SURVIVAL_MODELS, SURVIVAL_MONTHS

_METRICS = ("concordance", "integrated_brier_score")


def section(
    metrics: Mapping[str, Any],
    patients: pd.DataFrame,
    measured: Mapping[str, tuple[np.ndarray, np.ndarray]],
    who: pd.DataFrame,
) -> Section:
    """How well the time to progression is told where some patients have not progressed.

    Args:
        metrics: `metrics.json`'s part `survival`.
        patients: rows of `tables.PATIENT_SURVIVAL` of the model.
        measured: the steps of `evaluation.survival.kaplan_meier` for each protocol's patients.
        who: rows of `tables.OUTCOMES`.
    """
    return Section(
        id="survival",
        title="Time to progression, with censoring",
        paragraphs=_words(who),
        tables=[_table(metrics), *_left_out(who)],
        pictures=[
            picture(
                "survival",
                progression_figures.survival_curves(patients, measured, SURVIVAL_MONTHS),
                caption="Predicted curves, a thin line for each patient, and the share measured by Kaplan and Meier.",
                alt="Curves of the share of patients who have not progressed by each month.",
                source="progression/patient_survival.csv",
            )
        ],
    )


def _words(who: pd.DataFrame) -> list[str]:
    taken = who[who["status"] == "followed"]
    return [
        f"{len(taken)} patients are followed from their first images on: {int(taken['event'].sum())} progressed, the "
        "others had not when they were last seen. The model tells the hazard of each interval of time, so that they "
        "count for as long as they were seen. A patient's curve is the mean over its series, each weighted by the "
        "inverse of the loss that the model had on its kind of sequence among the validation patients of the fold.",
        "Concordance and Brier score weigh the patients by the inverse of their probability of not being censored. The "
        "bar is a life table, which tells the same for everyone: one patient left out in turn, its concordance is "
        "below one half, because leaving out a long time makes the others' shorter. Compare the Brier scores.",
    ]


def _table(metrics: Mapping[str, Any]) -> Table:
    rows: list[dict[str, Any]] = []
    leaking = set()
    for protocol, cohorts in sorted(metrics.items(), key=lambda item: item[0] == "paper"):
        judged = cohorts["all"]["patient"]
        for name, of in {SURVIVAL_MODELS[0]: judged, **judged["baselines"]}.items():
            if protocol == "paper":
                leaking.add(len(rows))
            shown = {metric: of[metric] for metric in _METRICS}
            rows.append({"Protocol, level": f"{protocol}, patient: {name}", "n": of["concordance"]["n"], **shown})
    caption = "Concordance (more is better) and integrated Brier score (less is better) under censoring"
    return Table(caption=caption, rows=rows, source="metrics.json", leaking=frozenset(leaking))


def _left_out(who: pd.DataFrame) -> list[Table]:
    counts = who.loc[who["status"] != "followed", "status"].value_counts()
    if counts.empty:
        return []
    rows = [{"Why": why, "Patients": int(count)} for why, count in counts.items()]
    return [Table(caption="Patients who are not followed", rows=rows, source="progression/outcomes.csv")]
