"""What the metrics of the grader show, in sentences.

A sentence says "better" or "worse" only where the interval of the paired difference excludes 0.
"""

from collections.abc import Mapping
from typing import Any

from tumorprog.evaluation import measures
from tumorprog.report import names
from tumorprog.report.page import number, shown
from tumorprog.report.verdicts import compared

Metric = Mapping[str, Any]

_REGIONS = {
    "outside_head": {
        "lies": "of the frame lies outside the head",
        "better": "the evidence prefers what is outside the head, a warning sign",
        "worse": "the evidence prefers the head",
        "undecided": "no preference for the head",
        "unknown": "too few patients to say whether the evidence prefers the head",
    },
    "in_tumour": {
        "lies": "of the head lies inside the tumour's mask, on the cohort that has masks",
        "better": "the evidence prefers the tumour",
        "worse": "the evidence avoids the tumour",
        "undecided": "no preference for the tumour",
        "unknown": "too few patients to say whether the evidence prefers the tumour",
    },
}
"""What is compared, and the verdict by the outcome of the difference between the evidence and the area."""
_NETWORKS = {"model": "", "random": " The same network with random weights: "}
_SEEDS_NOTE = "The spread comes from the initial weights and the order of the slices alone."


def primary(protocol: str, scores: Mapping[str, Any]) -> str:
    """Name the primary metric and its value, and say how many other figures there are.

    Args:
        protocol: "patient", "folds" or "paper".
        scores: part of metrics.json on the protocol.
    """
    metric = scores["patient"]["balanced_accuracy"]
    measured = f"balanced accuracy per patient, {names.counted('patient', metric['patients'])}: {shown(metric)}"
    if names.leaking_last(protocol):
        return f"With leakage, and therefore not a result on new patients: {measured}."
    return (
        f"Primary metric, {names.protocol(protocol)}: {measured}. The {_count(scores) - 1:,} other figures on this "
        "protocol are secondary, and intervals are not adjusted for their number."
    )


def _count(scores: Any) -> int:
    """Return the number of metrics that have a value in a part of metrics.json."""
    if not isinstance(scores, Mapping):
        return 0
    if "value" in scores:
        return int(scores["value"] is not None)
    return sum(map(_count, scores.values()))


def comparisons(scores: Mapping[str, Any]) -> str:
    """Say for each baseline whether the grader is better, worse, or cannot be distinguished from it, per patient.

    Args:
        scores: part of metrics.json on a protocol.
    """
    found = [
        compared(name, baseline["difference"], lower_is_better=False)
        for name, baseline in scores["patient"]["baselines"].items()
    ]
    return f"By the paired difference on the same patients, the grader is {'; '.join(found)}."


def seeds(spread: Mapping[str, Any]) -> str:
    """Say how much the balanced accuracy per patient differs between trainings that differ in their seed only.

    Args:
        spread: part `seeds.balanced_accuracy` of metrics.json.
    """
    values = spread["values"]
    return (
        f"{len(values)} trainings that differ in their seed only have a balanced accuracy per patient of "
        f"{number(min(values))} to {number(max(values))} (mean {number(spread['mean'])}, standard deviation "
        f"{number(spread['sd'])}). {_SEEDS_NOTE}"
    )


def null_control(test: Mapping[str, Any], *, leaks: bool) -> str:
    """Say how many trainings on permuted grades reach the balanced accuracy of the grader.

    Args:
        test: part `null_control` of metrics.json.
        leaks: whether the patients of the test set are known from training.
    """
    meaning = (
        "The patients of this test set are known from training: a grader that recognises them reaches more than chance "
        "(0.33) with permuted grades as well."
        if leaks
        else "Permuted grades cannot be predicted from the images of new patients: single draws differ from chance "
        "(0.33 for three grades) by luck, but a mean of many draws well above it indicates leakage."
    )
    draws, least = test["draws"], 1 / (1 + len(test["draws"]))
    return (
        f"Null control: {len(draws)} {'training' if len(draws) == 1 else 'trainings'} with the grades permuted between "
        f"patients reached a balanced accuracy per patient of {number(min(draws))} to {number(max(draws))} "
        f"(mean {number(sum(draws) / len(draws))}); "
        f"{test['as_good']} of them reached that of the grader ({number(test['observed'])}), p = {number(test['p'])}. "
        f"The lowest p that {len(draws)} can give is {number(least)}. {meaning}"
    )


def evidence(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say for each region whether the evidence prefers it, for the grader and for a network with random weights.

    Args:
        measured: part `evidence` of metrics.json.
    """
    return [
        "".join(
            _NETWORKS[network] + _preference(region, found, first=network == "model")
            for network, found in networks.items()
        )
        for region, networks in measured.items()
    ]


def _preference(region: str, found: Mapping[str, Any], *, first: bool) -> str:
    words, counted = _REGIONS[region], ""
    verdict = words[measures.outcome(found["difference"], lower_is_better=False)]
    if first:
        verdict = verdict[0].upper() + verdict[1:]
        counted = f" {found['slices']:,} slices of {names.counted('patient', found['evidence']['patients'])}."
    missing = f" {found['without_evidence']:,} slices have an empty heat map." if found["without_evidence"] else ""
    if found["evidence"]["value"] is None:
        return f"{verdict}: no slice has evidence.{missing}"
    shares = f"{_percent(found['evidence'])} of the evidence against {_percent(found['area'])} {words['lies']}"
    return f"{verdict}: {shares} (difference {_points(found['difference'])}).{counted}{missing}"


def _percent(metric: Metric) -> str:
    return f"{100 * metric['value']:.2g}%" if metric["value"] < 0.1 else f"{metric['value']:.0%}"


def _points(difference: Metric) -> str:
    digits = 0 if abs(difference["value"]) >= 0.01 else 1
    value, lower, upper = (
        None if difference[end] is None else round(100 * difference[end], digits) + 0.0  # + 0.0 turns -0.0 into 0.0
        for end in ("value", "lower", "upper")
    )
    if lower is None or upper is None:
        return f"{value:+.{digits}f} points; {difference['reason']}"
    return f"{value:+.{digits}f} points, {lower:.{digits}f} to {upper:.{digits}f}"
