"""The tables of a sweep -> its section of the page."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tumorprog.report import sweep_figures
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table

_SHOWN = 10
_TESTED = {"grader": ("balanced_accuracy", "accuracy"), "progression": ("mae",)}


def section(
    trials: pd.DataFrame, curves: pd.DataFrame, told: Mapping[str, Any], importance: Mapping[str, float]
) -> Section:
    """What was tried, what mattered, and how the best did on patients that no trial saw.

    Args:
        trials: tune/trials.csv.
        curves: tune/curves.csv.
        told: tune/test.json.
        importance: of `evaluation.sweeps.importance`.
    """
    metric, settings = told["metric"], list(told["best"])
    ordered = trials.sort_values(metric, ascending=told["mode"] == "min", kind="stable")
    best = int(ordered["trial"].iloc[0])
    varied = [name for name in settings if trials[name].nunique() > 1]
    pictures = [
        picture(
            "sweep-trials",
            sweep_figures.parallel_coordinates(trials, varied, metric, best=best),
            caption="A line for each trial, through its settings to what it reached.",
            alt="Parallel coordinates of the trials' settings and their metric.",
            source="tune/trials.csv",
        ),
        picture(
            "sweep-curves",
            sweep_figures.curves(curves, metric, best=best),
            caption="What each trial had reached after each epoch; a line that ends early was stopped.",
            alt="Learning curves of all trials.",
            source="tune/curves.csv",
        ),
    ]
    if importance:
        pictures.append(
            picture(
                "sweep-importance",
                sweep_figures.importance(importance),
                caption="How much of what was reached hangs on each setting, by a random forest over the trials.",
                alt="Bars of the importance of each setting.",
                source="tune/trials.csv",
            )
        )
    shown = ordered.head(_SHOWN)[["trial", *settings, "epochs", metric, "seconds", "status"]]
    return Section(
        id="sweep",
        title=f"A sweep of the {told['model']}",
        paragraphs=[_words(told)],
        tables=[
            Table(caption="The best trials", rows=shown, source="tune/trials.csv"),
            Table(caption="The best trial on the patients held out", rows=_tested(told), source="tune/test.json"),
        ],
        pictures=pictures,
    )


def _words(told: Mapping[str, Any]) -> str:
    counts = told["trials"]
    each = ", ".join(f"{count} {status}" for status, count in counts.items())
    return (
        f"{sum(counts.values())} trials were tried ({each}) and compared by {told['metric']}, on patients who were not "
        "the test part's. The best of many is partly luck, so that its figure there flatters it; the patients held out "
        "were tested once, with the best trial alone; where they are few, that figure is luck too: read its interval "
        "and the baseline beside it."
    )


def _tested(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = _TESTED[told["model"]]
    levels = {level: of for level, of in told["test"].items() if isinstance(of, Mapping)}
    return [
        {"Level": f"{level}: {who}", "n": of[names[0]]["n"], **{name: of[name] for name in names}}
        for level, judged in levels.items()
        for who, of in {"best trial": judged, **judged["baselines"]}.items()
    ]
