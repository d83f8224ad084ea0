"""What the metrics of the grader show, in sentences.

A sentence says "better" or "worse" only where the interval of the paired difference excludes 0.
"""

from collections.abc import Mapping
from typing import Any

from tumorprog.evaluation import measures
from tumorprog.report import names
from tumorprog.report.page import number, shown

Metric = Mapping[str, Any]

_REGIONS = {
    "outside_head": ("outside the head", "of the frame", "the area outside the head"),
    "in_tumour": ("inside the tumour's mask", "of the head", "the tumour"),
}
_NETWORKS = {"model": "", "random": " The same network with random weights: "}
_SEEDS_NOTE = "The spread comes from the initial weights and the order of the slices alone."


def primary(protocol: str, scores: Mapping[str, Any]) -> str:
    """Name the primary metric and its value, and say how many other figures there are.

    Args:
        protocol: "patient", "folds" or "paper".
        scores: part of metrics.json on the protocol.
    """
    metric = scores["patient"]["balanced_accuracy"]
    others = _count(scores) - 1
    patients = names.counted("patient", metric["patients"])
    return (
        f"Primary metric: balanced accuracy per patient, {names.protocol(protocol)}: {shown(metric)}, {patients}. "
        f"The {others:,} other figures on this protocol are secondary, and intervals are not adjusted for their number."
    )


def _count(scores: Any) -> int:
    """Return the number of metrics that have a value in a part of metrics.json."""
    if not isinstance(scores, Mapping):
        return 0
    if "value" in scores:
        return int(scores["value"] is not None)
    return sum(map(_count, scores.values()))


def comparisons(scores: Mapping[str, Any]) -> list[str]:
    """Say for each baseline whether the grader is better, worse, or cannot be told apart from it, per patient.

    Args:
        scores: part of metrics.json on a protocol.
    """
    baselines = scores["patient"]["baselines"]
    return [
        _comparison(names.model(name), scores["patient"]["balanced_accuracy"], baseline)
        for name, baseline in baselines.items()
    ]


def _comparison(name: str, own: Metric, baseline: Mapping[str, Any]) -> str:
    difference = baseline["difference"]
    verdict = {
        "better": f"The grader is better than the baseline “{name}”",
        "worse": f"The grader is worse than the baseline “{name}”",
        "undecided": f"The grader cannot be told apart from the baseline “{name}”",
        "unknown": f"Too few patients to compare the grader with the baseline “{name}”",
    }[measures.outcome(difference, lower_is_better=False)]
    values = f"{_value(own)} against {_value(baseline['balanced_accuracy'])}"
    return f"{verdict}: balanced accuracy per patient {values}, difference {shown(difference, signed=True)}."


def _value(metric: Metric) -> str:
    return "not defined" if metric["value"] is None else number(metric["value"])


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


def null_control(test: Mapping[str, Any]) -> str:
    """Say how many trainings on permuted grades reach the balanced accuracy of the grader.

    Args:
        test: part `null_control` of metrics.json.
    """
    draws, least = test["draws"], 1 / (1 + len(test["draws"]))
    return (
        f"Null control: {len(draws)} {'training' if len(draws) == 1 else 'trainings'} with the grades permuted between "
        f"patients reached a balanced accuracy per patient of {number(min(draws))} to {number(max(draws))}; "
        f"{test['as_good']} of them reached that of the grader ({number(test['observed'])}), p = {number(test['p'])}. "
        f"The lowest p that {len(draws)} can give is {number(least)}. Permuted grades cannot be predicted from the "
        "images of new patients, so that a null control above chance (0.33) indicates leakage."
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
    where, whole, preferred = _REGIONS[region]
    outcome = measures.outcome(found["difference"], lower_is_better=False)
    verdict = {
        "better": f"the evidence prefers {preferred}",
        "worse": f"the evidence avoids {preferred}",
        "undecided": f"no preference for or against {preferred}",
        "unknown": f"too few patients to say whether the evidence prefers {preferred}",
    }[outcome]
    counted = (
        f" {found['slices']:,} slices of {names.counted('patient', found['evidence']['patients'])}." if first else ""
    )
    missing = f" {found['without_evidence']:,} slices have an empty heat map." if found["without_evidence"] else ""
    start = verdict[0].upper() + verdict[1:] if first else verdict
    if found["evidence"]["value"] is None:
        return f"{start}: no slice has evidence.{missing}"
    shares = f"{_percent(found['evidence'])} of the evidence against {_percent(found['area'])} {whole} lies {where}"
    return f"{start}: {shares} (difference {_points(found['difference'])}).{counted}{missing}"


def _percent(metric: Metric) -> str:
    return f"{100 * metric['value']:.2g} %" if metric["value"] < 0.1 else f"{metric['value']:.0%}".replace("%", " %")


def _points(difference: Metric) -> str:
    digits = 0 if abs(difference["value"]) >= 0.01 else 1
    value = f"{100 * difference['value']:+.{digits}f} points"
    if difference["lower"] is None:
        return f"{value}; {difference['reason']}"
    return f"{value}, {100 * difference['lower']:.{digits}f} to {100 * difference['upper']:.{digits}f}"
