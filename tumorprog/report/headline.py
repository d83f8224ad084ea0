"""The main results of metrics.json, as lines for the terminal and tiles for the report."""

from collections.abc import Mapping
from typing import Any

from tumorprog.report.page import Headline, number

Metrics = Mapping[str, Any]
"""Content of metrics.json, or a part of it."""


def tiles(metrics: Metrics) -> list[Headline]:
    """Return the available main results; protocols with leakage come last.

    Args:
        metrics: the content of metrics.json.
    """
    months, survival = metrics.get("progression", {}), metrics.get("survival", {})
    return [*_grader(metrics.get("grader", {})), *_progression(months), *_survival(survival)]


def lines(metrics: Metrics) -> list[str]:
    """Return the main results as one line each, for the end of a command.

    Args:
        metrics: the content of metrics.json.
    """
    return [_line(tile) for tile in tiles(metrics)] or ["no predictions to evaluate yet"]


def _grader(grader: Metrics) -> list[Headline]:
    headlines = []
    for protocol, levels in sorted(grader.items(), key=lambda item: item[0] == "paper"):
        level = "slice" if protocol == "paper" else "patient"
        evaluated = levels[level]
        majority = _value(evaluated["baselines"]["majority"]["balanced_accuracy"])
        note = f"majority class {majority}; {evaluated['balanced_accuracy']['n']} test {_plural(level)}"
        headlines.append(
            Headline(
                label=f"Grade, balanced accuracy per {level}, {_protocol(protocol)}",
                metric=evaluated["balanced_accuracy"],
                note=note,
                leaks=protocol == "paper",
            )
        )
    return headlines


def _progression(progression: Metrics) -> list[Headline]:
    headlines = []
    for protocol, cohorts in sorted(progression.items(), key=lambda item: item[0] == "paper"):
        evaluated = cohorts.get("all", {}).get("patient", {})
        if not evaluated:
            continue
        median = _value(evaluated["baselines"]["median"]["mae"])
        headlines.append(
            Headline(
                label=f"Months to progression, mean absolute error per patient, {_protocol(protocol)}",
                metric=evaluated["mae"],
                unit="months",
                note=f"median of the other patients {median}; {evaluated['mae']['n']} patients",
                leaks=protocol == "paper",
            )
        )
    return headlines


def _survival(survival: Metrics) -> list[Headline]:
    headlines = []
    for protocol, cohorts in sorted(survival.items(), key=lambda item: item[0] == "paper"):
        evaluated = cohorts["all"]["patient"]
        score, table = (
            _value(scores["integrated_brier_score"]) for scores in (evaluated, evaluated["baselines"]["life table"])
        )
        headlines.append(
            Headline(
                label=f"Time to progression, concordance per patient, {_protocol(protocol)}",
                metric=evaluated["concordance"],
                note=f"integrated Brier score {score}, life table {table}; {evaluated['concordance']['n']} patients",
                leaks=protocol == "paper",
            )
        )
    return headlines


def _protocol(protocol: str) -> str:
    names = {"paper": "paper's split (leakage)", "folds": "held-out patients, cross-validated"}
    return names.get(protocol, "held-out patients")


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
