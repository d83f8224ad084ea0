"""The main results of metrics.json, as lines for the terminal and tiles for the report."""

from collections.abc import Mapping
from typing import Any

from tumorprog.evaluation import overlap
from tumorprog.report import names
from tumorprog.report.names import LEAKING_PROTOCOL
from tumorprog.report.page import Headline, number, shown

Metrics = Mapping[str, Any]
"""Content of metrics.json, or a part of it."""


def tiles(metrics: Metrics) -> list[Headline]:
    """Return the available main results; protocols with leakage come last.

    Args:
        metrics: the content of metrics.json.
    """
    months, survival = metrics.get("progression", {}), metrics.get("survival", {})
    tasks = [*_grader(metrics.get("grader", {})), *_progression(months), *_survival(survival)]
    return [*tasks, *_regions(metrics.get("roi", {}))]


def lines(metrics: Metrics) -> list[str]:
    """Return the main results as one line each, for the end of a command.

    Args:
        metrics: the content of metrics.json.
    """
    return [_line(tile) for tile in tiles(metrics)] or ["no predictions to evaluate yet"]


def _grader(grader: Metrics) -> list[Headline]:
    headlines = []
    for protocol, levels in _by_protocol(grader):
        evaluated = levels["patient"]
        headlines.append(
            Headline(
                label=f"Grade: balanced accuracy per patient, {names.protocol(protocol)}",
                metric=evaluated["balanced_accuracy"],
                note=_note(evaluated, "balanced_accuracy", "majority"),
                leaks=protocol == LEAKING_PROTOCOL,
            )
        )
    return headlines


def _progression(progression: Metrics) -> list[Headline]:
    headlines = []
    for protocol, cohorts in _by_protocol(progression):
        evaluated = cohorts.get("all", {}).get("patient", {})
        if not evaluated:
            continue
        headlines.append(
            Headline(
                label=f"Months to progression: mean absolute error per patient, {names.protocol(protocol)}",
                metric=evaluated["mae"],
                unit="months",
                note=_note(evaluated, "mae", "median"),
                leaks=protocol == LEAKING_PROTOCOL,
            )
        )
    return headlines


def _survival(survival: Metrics) -> list[Headline]:
    headlines = []
    for protocol, cohorts in _by_protocol(survival):
        evaluated = cohorts["all"]["patient"]
        compared = _note(evaluated, "integrated_brier_score", "life table")
        headlines.append(
            Headline(
                label=f"Time to progression: integrated Brier score per patient, {names.protocol(protocol)}",
                metric=evaluated["integrated_brier_score"],
                note=f"{compared}; lower is better; concordance {shown(evaluated['concordance'])}",
                leaks=protocol == LEAKING_PROTOCOL,
            )
        )
    return headlines


def _regions(agreement: Metrics) -> list[Headline]:
    """Return the overlap of the regions of the segmenter with the tumour masks, if there is one."""
    sequence = overlap.scored_in_full(agreement)
    evaluated = agreement.get("learned", {}).get(sequence)
    if not evaluated:
        return []
    paper = agreement.get("brightest", {}).get(sequence)
    compared = [f"{names.region('brightest')} {_value(paper['dice'])}"] if paper else []
    label = f"Region of interest: Dice coefficient on {sequence}, held-out patients"
    note = "; ".join([*compared, names.counted("patient", evaluated["dice"]["patients"])])
    return [Headline(label=label, metric=evaluated["dice"], note=note)]


def _by_protocol(part: Metrics) -> list[tuple[str, Any]]:
    return sorted(part.items(), key=lambda item: names.leaking_last(item[0]))


def _note(evaluated: Metrics, metric: str, baseline: str) -> str:
    """Return a baseline, the difference to it if it was computed, and the number of patients."""
    compared = evaluated["baselines"][baseline]
    parts = [f"{names.model(baseline)} {_value(compared[metric])}"]
    if "difference" in compared:
        parts.append(f"difference {shown(compared['difference'], signed=True)}")
    return "; ".join([*parts, names.counted("patient", evaluated[metric]["patients"])])


def _value(metric: Metrics) -> str:
    return "not defined" if metric["value"] is None else number(metric["value"])


def _line(tile: Headline) -> str:
    metric = tile.metric
    if isinstance(metric, str):
        return f"{tile.label}: {metric}"
    unit = f" {tile.unit}" if tile.unit else ""
    return f"{tile.label}: {shown(metric)}{unit}; {tile.note}"
