"""The progression model's metrics and tables of predictions -> its section of the page."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tumorprog.report import progression_figures
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table

_METRICS = ("mae", "median_ae", "rmse", "concordance", "coverage")


def section(
    metrics: Mapping[str, Any], predictions: pd.DataFrame, history: pd.DataFrame, sheet: pd.DataFrame
) -> Section:
    """The months to progression, for the grid of protocols and cohorts.

    Args:
        metrics: `metrics.json`'s part `progression`.
        predictions: rows of `tables.PROGRESSION_PREDICTIONS`.
        history: rows of `tables.PROGRESSION_HISTORY`.
        sheet: rows of `tables.REFERENCE_SHEET`.
    """
    return Section(
        id="progression",
        title="Months to progression",
        paragraphs=_words(sheet),
        tables=[_table(metrics)],
        pictures=[
            picture(
                "months",
                progression_figures.months_scatter(predictions),
                caption="Predicted and measured months; bars are prediction intervals of nominally 80 %.",
                alt="Scatter of predicted against measured months for each protocol and cohort.",
                source="progression/predictions.csv",
            ),
            picture(
                "months-baselines",
                progression_figures.errors_beside_baselines(metrics),
                caption="Mean absolute error per patient beside the baselines, run through the same folds.",
                alt="Bars of mean absolute error of the model and of its baselines.",
                source="metrics.json",
            ),
            picture(
                "months-history",
                progression_figures.progression_curves(history),
                caption="Losses during training, a thin line for each fold.",
                alt="Curves of training and validation loss.",
                source="progression/history.csv",
            ),
        ],
    )


def _words(sheet: pd.DataFrame) -> list[str]:
    patients = sheet.drop_duplicates("PatientID")
    rising = int((patients["LaterGrade"] > patients["FirstGrade"]).sum())
    return [
        "Only the first date's series are inputs; the target is the time to the second date, on which the tumour had "
        "progressed. All patients of Brain-Tumor-Progression have a glioblastoma on both dates, so a grade that rises "
        "between them is the network's noise; the paper keeps those patients (cohort grade_rise), the cohort all keeps "
        "everyone.",
        f"{len(patients)} patients have two dates; the predicted grade rises in {rising}. "
        + ("With fewer than three, that cohort is empty here and has no progression_figures. " if rising < 3 else "")
        + "Under the patient protocol one patient is left out in turn. The paper's split puts series of one patient on "
        "both sides, and all of them share one target: recognising the patient is enough.",
    ]


def _table(metrics: Mapping[str, Any]) -> Table:
    rows: list[dict[str, Any]] = []
    leaking = set()
    for protocol, cohorts in metrics.items():
        for cohort_name, levels in cohorts.items():
            for level, judged in levels.items():
                for name, of in {"model": judged, **judged["baselines"]}.items():
                    if protocol == "paper":
                        leaking.add(len(rows))
                    label = f"{protocol}, {cohort_name}, {level}: {name}"
                    shown = {metric: of[metric] for metric in _METRICS}
                    rows.append({"Protocol, cohort, level": label, "n": of["mae"]["n"], **shown})
    return Table(
        caption="Errors in months, concordance, and the share of intervals that hold the truth",
        rows=rows,
        source="metrics.json",
        leaking=frozenset(leaking),
    )
