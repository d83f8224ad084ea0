"""Results -> the section that compares them with the paper's."""

from collections.abc import Mapping
from typing import Any

from tumorprog.report import names
from tumorprog.report.page import Section, Table


def paper(metrics: Mapping[str, Any]) -> Section:
    """Return the section that compares the results reported in the paper with those of this run.

    Args:
        metrics: the content of metrics.json.
    """
    grader_metrics, months = metrics.get("grader", {}), metrics.get("progression", {})
    rows = [
        {
            "Result": "Grader, accuracy of test slices",
            "Paper": 0.862,
            **{
                f"This run, {names.protocol(protocol)}": grader_metrics.get(protocol, {})
                .get("slice", {})
                .get("accuracy")
                for protocol in ("paper", "patient")
            },
        },
        {
            "Result": "Progression, mean absolute error of series (months)",
            "Paper": 0.02,
            **{
                f"This run, {names.protocol(protocol)}": months.get(protocol, {})
                .get("all", {})
                .get("series", {})
                .get("mae")
                for protocol in ("paper", "patient")
            },
        },
    ]
    return Section(
        id="paper",
        title="Comparison with the paper",
        paragraphs=[
            "The paper splits by slice and by series, so data of one patient are in both the training set and the "
            "test set (leakage). Only the results of held-out patients apply to new patients."
        ],
        tables=[
            Table(caption="Results reported in the paper and results of this run", rows=rows, source="metrics.json")
        ],
    )
