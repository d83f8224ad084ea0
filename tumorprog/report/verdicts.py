"""Sentences on what the results show, derived from metrics.json and nothing else."""

from collections.abc import Mapping
from typing import Any

from tumorprog.evaluation import overlap
from tumorprog.evaluation.intervals import count_of
from tumorprog.evaluation.measures import outcome
from tumorprog.evaluation.prediction_intervals import COVERAGE
from tumorprog.report import names
from tumorprog.report.page import number, shown

_SIGNIFICANT, _MIN_DRAWS = 0.05, 19
"""With fewer draws than these, a permutation test cannot reach this level."""

_LOW_DICE = 0.5
"""Dice coefficient below which more than half of a region that is as large as the tumour lies outside of it."""

_WORDS = {
    "better": "better than",
    "worse": "worse than",
    "undecided": "not distinguishable from",
    "unknown": "not comparable with",
}
_CONCLUSIONS = {
    "better": "is better than",
    "worse": "is worse than",
    "undecided": "cannot be distinguished from",
    "unknown": "cannot be compared with",
}


def compared(name: str, difference: Mapping[str, Any], *, unit: str = "", lower_is_better: bool) -> str:
    """Return what the difference to a baseline shows, e.g. "better than life table (difference -0.5 ...)".

    Args:
        name: key of the baseline.
        difference: the metric from `evaluation.measures.difference`.
        unit: unit of the difference.
        lower_is_better: whether the compared metric is an error.
    """
    shown = outcome(dict(difference), lower_is_better=lower_is_better)
    return f"{_WORDS[shown]} {names.model_in_text(name)} ({_describe(difference, unit)})"


def _describe(difference: Mapping[str, Any], unit: str) -> str:
    if difference["value"] is None:
        return str(difference["reason"])
    value = f"difference {_signed(difference['value'])}{f' {unit}' if unit else ''}"
    if difference["lower"] is None:
        return f"{value}; {difference['reason']}"
    return f"{value}, {_signed(difference['lower'])} to {_signed(difference['upper'])}"


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def comparisons(baselines: Mapping[str, Any], *, metric: str, unit: str = "", lower_is_better: bool) -> list[str]:
    """Return the paragraph that compares a model with its baselines on the primary metric, as a list.

    Args:
        baselines: name -> metrics with `difference`.
        metric: what is compared, e.g. "mean absolute error per patient".
        unit: unit of the metric.
        lower_is_better: whether it is an error.
    """
    if not baselines:
        return []
    statements = [
        compared(name, scores["difference"], unit=unit, lower_is_better=lower_is_better)
        for name, scores in baselines.items()
    ]
    return [
        f"Primary metric: {metric} on held-out patients. By the paired difference, model minus baseline on the same "
        f"patients with its 95% interval, the model is {'; '.join(statements)}. These are "
        f"{count_of(len(statements), 'comparison')}, each at 95%, without correction for their number, and "
        "not for the training patients that the models of the folds share; all other figures are secondary."
    ]


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each task: whether the model is better than the baseline of its primary metric.

    One more compares the best method for the region of interest with the others.

    Args:
        metrics: the content of metrics.json.
    """
    sentences = []
    grader = metrics.get("grader", {})
    for protocol in ("folds", "patient"):
        if protocol in grader:
            evaluated = grader[protocol]["patient"]
            sentences.append(
                _conclusion("Grade", evaluated, "balanced_accuracy", "majority", "balanced accuracy", lower=False)
            )
            break
    months = metrics.get("progression", {}).get("patient", {}).get("all", {}).get("patient", {})
    if months:
        sentences.append(
            _conclusion("Months to progression", months, "mae", "median", "mean absolute error in months", lower=True)
        )
    survival = metrics.get("survival", {}).get("patient", {}).get("all", {}).get("patient", {})
    if survival:
        score = "integrated_brier_score"
        sentences.append(
            _conclusion("Time to progression", survival, score, "life table", "integrated Brier score", lower=True)
        )
    return [*sentences, *_regions(metrics.get("roi", {}))]


def _regions(agreement: Mapping[str, Any]) -> list[str]:
    """Return how well the best method finds the tumour, compared with the methods before it."""
    sequence = overlap.scored_in_full(agreement)
    methods = [method for method in overlap.METHODS if sequence in agreement.get(method, {})]
    if len(methods) < 2:
        return []
    *others, best = methods
    evaluated = agreement[best][sequence]
    statements = [
        f"it {_CONCLUSIONS[outcome(difference, lower_is_better=False)]} that of the {names.region(other)} "
        f"({_describe(difference, '')})"
        for other in reversed(others)
        if (difference := evaluated.get(f"dice_minus_{other}"))
    ]
    return [
        f"Region of interest: on {sequence}, {count_of(evaluated['dice']['patients'], 'patient')} with tumour masks, "
        f"the Dice coefficient of the {names.region(best)} is {shown(evaluated['dice'])}; {'; '.join(statements)}."
    ]


def _conclusion(task: str, evaluated: Mapping[str, Any], metric: str, baseline: str, label: str, *, lower: bool) -> str:
    compared_with = evaluated["baselines"][baseline]
    difference, value, other = compared_with["difference"], evaluated[metric]["value"], compared_with[metric]["value"]
    shown = outcome(dict(difference), lower_is_better=lower)
    others = [
        compared(name, scores["difference"], lower_is_better=lower)
        for name, scores in evaluated["baselines"].items()
        if name != baseline
    ]
    also = f" Against the other baselines: {'; '.join(others)}." if others else ""
    values = "" if value is None or other is None else f"{label} {number(value)} against {number(other)}; "
    return (
        f"{task}: on {count_of(evaluated[metric]['patients'], 'held-out patient')} the model {_CONCLUSIONS[shown]} "
        f"the baseline, {names.model_in_text(baseline)} ({values}{_describe(difference, '')}).{also}"
    )


def alerts(metrics: Mapping[str, Any]) -> list[str]:
    """Return warnings that follow from the results: on prediction intervals, null controls and regions of interest.

    Args:
        metrics: the content of metrics.json.
    """
    found = []
    coverage = metrics.get("progression", {}).get("patient", {}).get("all", {}).get("patient", {}).get("coverage", {})
    if coverage and coverage["upper"] is not None and coverage["upper"] < COVERAGE:
        found.append(
            f"Prediction intervals of months are too narrow: they contain {coverage['value']:.0%} of the true values, "
            f"not {COVERAGE:.0%}."
        )
    controls = {
        "Months to progression": metrics.get("null_control", {}).get("patient"),
        "Grade": metrics.get("grader", {}).get("patient", {}).get("null_control"),
    }
    for task, control in controls.items():
        if control and len(control["draws"]) >= _MIN_DRAWS and control["p"] > _SIGNIFICANT:
            found.append(_not_shown(task, control))
    return [*found, *_wrong_regions(metrics)]


def _wrong_regions(metrics: Mapping[str, Any]) -> list[str]:
    """Return a warning for each method whose regions were used although they hardly match the masks."""
    agreement, slices = metrics.get("roi", {}), metrics.get("roi_slices", {})
    sequence = overlap.scored_in_full(agreement)
    found = []
    for method, count in slices.items():
        evaluated = agreement.get(method, {}).get(sequence, {}).get("dice", {"value": None})
        if evaluated["value"] is not None and evaluated["value"] < _LOW_DICE:
            found.append(
                f"Region of interest: the features of {count / sum(slices.values()):.0%} of the slices were computed "
                f"inside the {names.region(method)}, whose Dice coefficient with the tumour masks on {sequence} is "
                f"{shown(evaluated)}: they mostly describe other tissue than the tumour."
            )
    return found


def _not_shown(task: str, control: Mapping[str, Any]) -> str:
    return (
        f"{task}: {control['as_good']} of {len(control['draws'])} trainings on permuted targets are at least as good "
        f"as that on the true targets (p = {number(control['p'])}): it is not shown that the model learns from the "
        "images."
    )
