"""metrics.json -> the few numbers that a reader should leave with, as lines for the terminal and tiles for the page."""

from collections.abc import Mapping
from typing import Any

from tumorprog.report.page import Headline, number

Metrics = Mapping[str, Any]
"""What metrics.json holds."""


def tiles(metrics: Metrics) -> list[Headline]:
    """The headline numbers that there are, honest ones first.

    Args:
        metrics: the content of metrics.json.
    """
    months, survival = metrics.get("progression", {}), metrics.get("survival", {})
    return [*_grader(metrics.get("grader", {})), *_progression(months), *_survival(survival)]


def lines(metrics: Metrics) -> list[str]:
    """The same, a line each, for the end of a command.

    Args:
        metrics: the content of metrics.json.
    """
    return [_line(tile) for tile in tiles(metrics)] or ["no predictions to judge yet"]


def _grader(grader: Metrics) -> list[Headline]:
    found = []
    for protocol, levels in sorted(grader.items(), key=lambda item: item[0] == "paper"):
        level = "slice" if protocol == "paper" else "patient"
        judged = levels[level]
        majority = _value(judged["baselines"]["majority"]["balanced_accuracy"])
        beside = f"majority class {majority}; {judged['balanced_accuracy']['n']} test {_plural(level)}"
        found.append(
            Headline(
                label=f"Grade, balanced accuracy per {level}, {_protocol(protocol)}",
                metric=judged["balanced_accuracy"],
                note=beside,
                leaks=protocol == "paper",
            )
        )
    return found


def _progression(progression: Metrics) -> list[Headline]:
    found = []
    for protocol, cohorts in sorted(progression.items(), key=lambda item: item[0] == "paper"):
        judged = cohorts.get("all", {}).get("patient", {})
        if not judged:
            continue
        median = _value(judged["baselines"]["median"]["mae"])
        found.append(
            Headline(
                label=f"Months to progression, mean absolute error per patient, {_protocol(protocol)}",
                metric=judged["mae"],
                unit="months",
                note=f"median of the other patients {median}; {judged['mae']['n']} patients",
                leaks=protocol == "paper",
            )
        )
    return found


def _survival(survival: Metrics) -> list[Headline]:
    found = []
    for protocol, cohorts in sorted(survival.items(), key=lambda item: item[0] == "paper"):
        judged = cohorts["all"]["patient"]
        score, table = (_value(of["integrated_brier_score"]) for of in (judged, judged["baselines"]["life table"]))
        found.append(
            Headline(
                label=f"Time to progression, concordance per patient, {_protocol(protocol)}",
                metric=judged["concordance"],
                note=f"integrated Brier score {score}, of a life table {table}; {judged['concordance']['n']} patients",
                leaks=protocol == "paper",
            )
        )
    return found


def _protocol(protocol: str) -> str:
    told = {"paper": "paper's split (leaks)", "folds": "unseen patients, cross-validated"}
    return told.get(protocol, "unseen patients")


def _plural(level: str) -> str:
    return "series" if level == "series" else f"{level}s"


def _value(metric: Metrics) -> str:
    return "not defined" if metric["value"] is None else number(metric["value"])


def _line(tile: Headline) -> str:
    metric = tile.metric
    if isinstance(metric, str):
        return f"{tile.label}: {metric}"
    bounds = ""
    if metric["lower"] is not None and metric["upper"] is not None:
        bounds = f" [{number(metric['lower'])}, {number(metric['upper'])}]"
    unit = f" {tile.unit}" if tile.unit else ""
    return f"{tile.label}: {_value(metric)}{unit}{bounds} ({tile.note})"
