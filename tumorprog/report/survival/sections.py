"""Section of the report on the survival model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.progression.columns import SURVIVAL_MODELS
from tumorprog.report import names, verdicts
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table, shown
from tumorprog.report.progression import meaning
from tumorprog.report.survival import figures as survival_figures

_METRICS = ("integrated_brier_score", "concordance")
"""Metrics shown."""


def section(
    metrics: Mapping[str, Any],
    patients: pd.DataFrame,
    measured: Mapping[str, tuple[np.ndarray, np.ndarray]],
    outcomes: pd.DataFrame,
    volumes: pd.DataFrame,
) -> Section:
    """Return the section on the prediction of the time to progression with censored patients.

    Args:
        metrics: part `survival` of metrics.json.
        patients: rows of `progression.columns.PATIENT_SURVIVAL` of the model.
        measured: steps of `evaluation.survival.kaplan_meier` for the patients of each protocol.
        outcomes: rows of `cohort.columns.OUTCOMES`.
        volumes: rows of `cohort.columns.VOLUMES`.
    """
    return Section(
        id="survival",
        title="Time to progression, with censoring",
        paragraphs=[*_conclusion(metrics), *_introduction(outcomes, volumes)],
        tables=[_metrics_table(metrics), *_excluded_table(outcomes)],
        pictures=[
            picture(
                "survival",
                survival_figures.survival_curves(patients, measured, SURVIVAL_MONTHS),
                caption="Predicted share of patients without progression (thin lines: single patients) and the "
                "Kaplan-Meier estimate.",
                alt=_describe(metrics),
                source="progression/patient_survival.csv",
            )
        ],
    )


def _conclusion(metrics: Mapping[str, Any]) -> list[str]:
    return verdicts.comparisons(
        metrics.get("patient", {}).get("all", {}).get("patient", {}).get("baselines", {}),
        metric="integrated Brier score per patient",
        lower_is_better=True,
    )


def _introduction(outcomes: pd.DataFrame, volumes: pd.DataFrame) -> list[str]:
    return [
        *meaning.until_outcomes(outcomes, volumes),
        "The model predicts the hazard of each time interval, so that censored patients contribute for as long as they "
        "were followed up. The curve of a patient is the weighted mean of the curves of the patient's series. The "
        "weight is the inverse of the model's loss on that type of sequence in the validation patients of the fold.",
        "Concordance and Brier score weight the patients by the inverse probability of not being censored. The "
        "baseline is a life table, which predicts the same curve for all test patients of a fold. In "
        "leave-one-patient-out evaluation its concordance tends to be below 0.5, because holding out a patient with a "
        "long time shortens the times of the others. Compare the Brier scores.",
    ]


def _describe(metrics: Mapping[str, Any]) -> str:
    scores = []
    for protocol, cohorts in sorted(metrics.items(), key=lambda item: names.leaking_last(item[0])):
        model = cohorts["all"]["patient"]
        own, table = (part["integrated_brier_score"] for part in (model, model["baselines"][SURVIVAL_MODELS[1]]))
        scores.append(
            f"{names.protocol(protocol)}: integrated Brier score of the model {shown(own)}, of the life table "
            f"{shown(table)}"
        )
    return f"Curves of the share of patients without progression by month. {'; '.join(scores)}."


def _metrics_table(metrics: Mapping[str, Any]) -> Table:
    rows: list[dict[str, Any]] = []
    leaking = set()
    for protocol, cohorts in sorted(metrics.items(), key=lambda item: names.leaking_last(item[0])):
        model = cohorts["all"]["patient"]
        for name, scores in {SURVIVAL_MODELS[0]: model, **model["baselines"]}.items():
            if protocol == "paper":
                leaking.add(len(rows))
            cells = {names.metric(metric): scores[metric] for metric in _METRICS}
            cells["Brier score, model minus baseline"] = scores.get("difference", "")
            rows.append(
                {
                    "Protocol, model": f"{names.protocol(protocol)}: {names.model(name)}",
                    "n": scores["concordance"]["n"],
                    **cells,
                }
            )
    caption = "Integrated Brier score (lower is better) and concordance (higher is better), both weighted for censoring"
    return Table(caption=caption, rows=rows, source="metrics.json", leaking=frozenset(leaking))


def _excluded_table(outcomes: pd.DataFrame) -> list[Table]:
    counts = outcomes.loc[outcomes["status"] != "followed", "status"].value_counts()
    if counts.empty:
        return []
    rows = [{"Reason": reason, "Patients": int(count)} for reason, count in counts.items()]
    return [
        Table(
            caption="Patients excluded from the survival analysis, by reason",
            rows=rows,
            source="progression/outcomes.csv",
        )
    ]
