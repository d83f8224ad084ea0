"""Section of the report on a hyperparameter sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tumorprog.report import names
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table, number
from tumorprog.report.sweep import figures as sweep_figures

_MAX_ROWS = 10
_TEST_METRICS = {"grader": ("balanced_accuracy", "accuracy"), "progression": ("mae",)}


def section(
    trials: pd.DataFrame, curves: pd.DataFrame, summary: Mapping[str, Any], importance: Mapping[str, float]
) -> Section:
    """Return the section on the trials, the importance of the settings, and the best trial on held-out patients.

    Args:
        trials: content of tune/trials.csv.
        curves: content of tune/curves.csv.
        summary: content of tune/test.json.
        importance: importance by setting, from `evaluation.sweeps.importance`.
    """
    metric, settings = summary["metric"], list(summary["best"])
    ordered = trials.sort_values(metric, ascending=summary["mode"] == "min", kind="stable")
    best = int(ordered["trial"].iloc[0])
    varied = [name for name in settings if trials[name].nunique() > 1]
    pictures = [
        picture(
            "sweep-trials",
            sweep_figures.parallel_coordinates(trials, varied, metric, best=best),
            caption="Settings and metric of each trial, one line per trial.",
            alt=_describe_best(ordered.iloc[0], varied, metric),
            source="tune/trials.csv",
        ),
        picture(
            "sweep-curves",
            sweep_figures.curves(curves, metric, best=best),
            caption="Metric of each trial after each epoch; trials whose line ends early were stopped.",
            alt=_describe_curves(curves, metric, best=best),
            source="tune/curves.csv",
        ),
    ]
    if importance:
        pictures.append(
            picture(
                "sweep-importance",
                sweep_figures.importance(importance),
                caption="Importance of each setting for the metric: permutation importance of a random forest on the "
                "trials.",
                alt="Importance: " + "; ".join(f"{name} {number(value)}" for name, value in importance.items()) + ".",
                source="tune/trials.csv",
            )
        )
    columns = ["trial", *settings, "epochs", metric, "seconds", "status"]
    listed = ordered.head(_MAX_ROWS)[columns].rename(columns={metric: names.metric(metric)})
    return Section(
        id="sweep",
        title=f"Hyperparameter sweep: {summary['model']}",
        paragraphs=[_introduction(summary)],
        tables=[
            Table(caption="The best trials", rows=listed, source="tune/trials.csv"),
            Table(caption="The best trial on the held-out patients", rows=_test_rows(summary), source="tune/test.json"),
        ],
        pictures=pictures,
    )


def _introduction(summary: Mapping[str, Any]) -> str:
    counts = summary["trials"]
    by_status = ", ".join(f"{count} {status}" for status, count in counts.items())
    metric = names.metric(summary["metric"]).lower()
    return (
        f"{sum(counts.values())} trials were run ({by_status}) and compared by their {metric} on patients outside "
        "the test set. The best of many trials is partly due to chance, so its metric on these patients is optimistic. "
        "The held-out patients were tested once, with the best trial only; if they are few, this result is uncertain "
        "as well and should be read together with its confidence interval and the baseline."
    )


def _describe_best(trial: pd.Series, settings: Sequence[str], metric: str) -> str:
    values = ", ".join(f"{name} {trial[name]}" for name in settings)
    return f"Best of the trials: trial {trial['trial']}, {names.metric(metric)} {number(trial[metric])}, with {values}."


def _describe_curves(curves: pd.DataFrame, metric: str, *, best: int) -> str:
    values = curves.loc[curves["trial"] == best].sort_values("epoch")[metric]
    first, last = (number(values.iloc[index]) for index in (0, -1))
    name = names.metric(metric)
    return f"{name} of {curves['trial'].nunique()} trials by epoch; the best trial goes from {first} to {last}."


def _test_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    metrics = _TEST_METRICS[summary["model"]]
    levels = {level: scores for level, scores in summary["test"].items() if isinstance(scores, Mapping)}
    return [
        {
            "Level, model": f"{names.level(level)}: {names.model(name)}",
            "n": scores[metrics[0]]["n"],
            **{names.metric(key): scores[key] for key in metrics},
        }
        for level, best in levels.items()
        for name, scores in {"best trial": best, **best["baselines"]}.items()
    ]
