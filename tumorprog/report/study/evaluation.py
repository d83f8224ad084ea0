"""How the results of a run were evaluated, as sentences: only what its metrics.json contains is described."""

from collections.abc import Iterator, Mapping
from typing import Any

from tumorprog.evaluation.intervals import MIN_PATIENTS, count_of
from tumorprog.report.names import leaking_last, model_in_text, protocol
from tumorprog.report.study.phrases import listed

_TITLES = {
    "grader": "the grader",
    "progression": "the progression model",
    "survival": "the progression model with censoring",
}
_PRIMARY = {
    "grader": "balanced accuracy",
    "progression": "mean absolute error and the interval score",
    "survival": "integrated Brier score",
}
_SHARES = {
    "grader": ("accuracy", "recall", "sensitivity", "specificity"),
    "progression": ("coverage of the prediction intervals",),
    "roi": ("lesions found",),
}
_CORRECTED = {
    "progression": ("mean absolute error", "root mean square error", "interval score"),
    "survival": ("integrated Brier score",),
    "roi": ("distance of the surfaces", "absolute error of the volume", "false lesions per scan"),
}
_PERCENTILES = {
    "grader": ("Brier score", "slope and intercepts of the calibration"),
    "progression": ("median absolute error", "width of the prediction intervals", "concordance"),
    "survival": ("concordance",),
    "roi": ("Dice coefficient and its differences", "error of the volume and its limits of agreement"),
}


def sentences(metrics: Mapping[str, Any], *, resamples: int) -> Iterator[str]:
    """Yield how intervals were computed for each kind of metric, what was compared, repeated and permuted.

    Args:
        metrics: content of metrics.json.
        resamples: number of bootstrap resamples.
    """
    measured = {name: part for name, part in metrics.items() if part}
    if not measured:
        yield "Nothing was evaluated."
        return
    yield "Confidence intervals are at 95% and over patients."
    yield from _shares(measured)
    if "grader" in measured:
        yield from _by_grade()
    yield from _bootstrap(measured, resamples)
    if "patients" in measured:
        yield from _over_time(measured["patients"])
    yield from _comparisons(measured)
    yield from _repetitions(measured)
    if "grader" in measured:
        yield "The probabilities of a series or patient are the means over its slices."


def _of(measured: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the names of the parts that were measured, each once."""
    return list(dict.fromkeys(name for part, known in names.items() if part in measured for name in known))


def _shares(measured: Mapping[str, Any]) -> Iterator[str]:
    shares = _of(measured, _SHARES)
    if shares:
        yield (
            f"Shares ({listed(shares)}) with one row per patient have Wilson's interval; those of several rows per "
            "patient have a bootstrap interval, or Wilson's for the number of patients where there are fewer than "
            f"{MIN_PATIENTS} of them or all rows agree."
        )


def _by_grade() -> Iterator[str]:
    yield (
        "The bootstrap resamples of balanced accuracy, the area under the ROC curve, weighted kappa and differences of "
        "balanced accuracy have as many patients of each grade as the data. Where the predictions for each grade are "
        "all right or all wrong, but not all the same, the interval of the balanced accuracy over the grades is "
        "combined from Wilson's limits of the recalls (Zou & Donner). A difference from a baseline that predicts one "
        "grade for all has the interval of the grader's balanced accuracy, shifted, where the bootstrap gives none. "
        "The expected calibration error has no interval, because its bootstrap is biased upwards."
    )


def _bootstrap(measured: Mapping[str, Any], resamples: int) -> Iterator[str]:
    corrected = _of(measured, _CORRECTED) + (["differences from a baseline"] if _compared(measured) else [])
    if corrected:
        yield f"Bootstrap intervals corrected for bias and skewness (BCa): {listed(corrected)}."
    percentiles = _of(measured, _PERCENTILES)
    if any("evidence" in part for part in _graders(measured).values()):
        percentiles.append("shares of the grader's evidence")
    if percentiles:
        yield f"Percentile bootstrap intervals: {listed(percentiles)}."
    if corrected or percentiles or _of(measured, _SHARES):
        few = " or two in a grade that the resamples keep" if "grader" in measured else ""
        yield (
            f"The bootstrap draws patients with all their rows: {resamples:,} resamples, or all different ones where "
            "there are at most as many; quantiles are not interpolated. It gives no interval for fewer than "
            f"{MIN_PATIENTS} patients{few}, where the metric is undefined in most resamples, or where all resamples "
            "give the same value."
        )


def _over_time(patients: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "The band of the Kaplan-Meier estimate has Greenwood's variance on the log-log scale; the interval of the "
        "median is where the band crosses one half (Brookmeyer & Crowley)."
    )
    if patients["volume_spearman"]["lower"] is not None:
        yield "The interval of the rank correlation is that of Bonett and Wright."


def _comparisons(measured: Mapping[str, Any]) -> Iterator[str]:
    compared = _compared(measured)
    if compared:
        primary = listed(f"{_PRIMARY[task]} of {_TITLES[task]}" for task in compared)
        yield (
            f"The {primary} are compared with those of each baseline by the difference on the same patients; a model "
            "counts as better or worse if the interval of the difference does not contain 0. Intervals are not "
            "adjusted for the number of comparisons."
        )
    for task, baselines in compared.items():
        yield f"Baselines for {_TITLES[task]} are: {listed(map(model_in_text, baselines))}."


def _compared(measured: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the baselines of each task that has some."""
    found = {task: sorted(_baselines(measured.get(task, {}))) for task in _TITLES}
    return {task: baselines for task, baselines in found.items() if baselines}


def _baselines(evaluated: Any) -> set[str]:
    """Return the names below every key `baselines` of a part of metrics.json."""
    if not isinstance(evaluated, dict):
        return set()
    nested = [_baselines(value) for name, value in evaluated.items() if name != "baselines"]
    return {*evaluated.get("baselines", {})}.union(*nested)


def _graders(measured: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the results of the grader by protocol, those with leakage last."""
    return dict(sorted(measured.get("grader", {}).items(), key=lambda item: leaking_last(item[0])))


def _repetitions(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield how often models were trained with other seeds and on permuted targets."""
    graders = _graders(measured)
    nulls = {"grades": {name: part["null_control"] for name, part in graders.items() if "null_control" in part}}
    nulls["months"] = dict(sorted(measured.get("null_control", {}).items(), key=lambda item: leaking_last(item[0])))
    for target, controls in nulls.items():
        if controls:
            draws = listed(
                f"{count_of(len(part['draws']), 'time')} ({protocol(name)})" for name, part in controls.items()
            )
            yield (
                f"Null control: the {target} were permuted between patients {draws}, and a model trained on each; "
                "p = (1 + number of permutations at least as good as the true ones) / (1 + number of permutations)."
            )
    seeds = [("grader", part["seeds"]["balanced_accuracy"]) for part in graders.values() if "seeds" in part]
    if "progression_seeds" in measured:
        seeds.append(("progression", measured["progression_seeds"]["mae"]))
    for task, spread in seeds:
        yield (
            f"Training of {_TITLES[task]} was repeated with the same test patients and other seeds: "
            f"{count_of(len(spread['values']), 'seed')} in total, of which the first gives the results."
        )
