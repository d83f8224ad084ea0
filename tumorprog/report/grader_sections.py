"""The grader's metrics and tables of predictions -> its sections of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tumorprog.report import grader_figures
from tumorprog.report.drawing import picture
from tumorprog.report.page import Picture, Section, Table

LEVELS = ("slice", "series", "patient")

_METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced",
    "macro_auc": "AUC",
    "recall_2": "Recall 2",
    "recall_3": "Recall 3",
    "recall_4": "Recall 4",
    "expected_calibration_error": "ECE",
}
"""What is shown of the grader, and the title of its column."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is to show of one protocol's grader.

    Attributes:
        history: rows of `tables.HISTORY`.
        levels: the test part at each level, from `evaluation.metrics.grader_levels`.
        bins: of confidence, from `evaluation.metrics.reliability_bins`, of the test slices.
        groups: from `evaluation.metrics.by_group`, by column.
        leaks: rows of leaks.csv.
        initial_weights: what training started from.
        examples: of `grader_figures.evidence_panel`.
    """

    history: pd.DataFrame
    levels: Mapping[str, pd.DataFrame]
    bins: pd.DataFrame
    groups: Mapping[str, Mapping[str, Any]]
    leaks: pd.DataFrame
    initial_weights: str
    examples: Sequence[Mapping[str, Any]]


def sections(metrics: Mapping[str, Any], evidence: Mapping[str, Evidence]) -> list[Section]:
    """A section for each protocol.

    Args:
        metrics: `metrics.json`'s part `grader`.
        evidence: by protocol.
    """
    return [_section(protocol, metrics[protocol], shown) for protocol, shown in evidence.items()]


def _section(protocol: str, metrics: Mapping[str, Any], shown: Evidence) -> Section:
    leaks = protocol == "paper"
    folder = "grader" if not leaks else "grader (paper protocol)"
    return Section(
        id=f"grader-{protocol}",
        title="The grader, on slices of patients it has seen (leaks)" if leaks else "The grader, on unseen patients",
        paragraphs=[_words(protocol, shown)],
        tables=[_table(metrics, leaks=leaks)],
        pictures=[
            picture(
                f"grader-{protocol}-baselines",
                grader_figures.grader_beside_baselines({protocol: metrics}, level="slice" if leaks else "patient"),
                caption="Balanced accuracy beside what knows no image.",
                alt="Bars of balanced accuracy of the model, the majority class and the institution.",
                source="metrics.json",
            ),
            picture(
                f"grader-{protocol}-history",
                grader_figures.learning_curves(shown.history, leaks=leaks),
                caption="Losses and accuracies during training. They choose the epoch and are no result.",
                alt="Curves of loss and accuracy of training, validation and test part.",
                source=f"{folder}: history.csv",
            ),
            picture(
                f"grader-{protocol}-confusion",
                grader_figures.confusion(shown.levels["slice"], "Test slices", leaks=leaks),
                caption="True and predicted grades of the test slices.",
                alt="Confusion matrix of three grades.",
                source=f"{folder}: predictions.parquet",
            ),
            picture(
                f"grader-{protocol}-reliability",
                grader_figures.reliability(shown.bins, "Test slices", leaks=leaks),
                caption="How often the grader is right at each confidence.",
                alt="Reliability diagram.",
                source=f"{folder}: predictions.parquet",
            ),
            *_evidence(protocol, folder, shown.examples),
            *(
                picture(
                    f"grader-{protocol}-{column.lower()}",
                    grader_figures.group_bars(groups, f"Test slices by {column.lower()}", leaks=leaks),
                    caption=f"The same by {column.lower()}.",
                    alt=f"Bars of accuracy for each {column.lower()}.",
                    source=f"{folder}: predictions.parquet",
                )
                for column, groups in shown.groups.items()
            ),
        ],
    )


def _evidence(protocol: str, folder: str, examples: Sequence[Mapping[str, Any]]) -> list[Picture]:
    if not examples:
        return []
    attention = picture(
        f"grader-{protocol}-evidence",
        grader_figures.evidence_panel(examples),
        caption="Test slices of whose grade the grader was surest, right and wrong, and where it found the grade that "
        "it told (Grad-CAM). Evidence outside of the brain is a warning.",
        alt="Pairs of MRI slices, plain and with the evidence in orange.",
        source=f"{folder}: model.safetensors, predictions.parquet",
    )
    return [attention]


def _words(protocol: str, shown: Evidence) -> str:
    start = {"imagenet": "ImageNet weights", "none": "random weights (grader.weights: none)"}
    began = f"Training started from {start.get(shown.initial_weights, shown.initial_weights)}. "
    if protocol == "patient":
        return (
            began + "Patients were split, never their slices; the audit found no patient, study, series, SOP instance "
            "or identical image on two sides. Intervals are 95 % bootstrap intervals over the test patients."
        )
    counts = ", ".join(f"{count:,} of {what}" for what, count in shown.leaks["what"].value_counts().items())
    return (
        began + "Slices were split at random, as in the paper, so slices of one patient stand on both sides. "
        f"The audit counts what stands on more than one side: {counts or 'nothing'}. These figures say how well the "
        "network recognises patients, not how well it grades new ones."
    )


def _table(metrics: Mapping[str, Any], *, leaks: bool) -> Table:
    rows = [
        {
            "Test part": f"{level}: {name}",
            "n": of["accuracy"]["n"],
            **{title: of[metric] for metric, title in _METRICS.items()},
        }
        for level in LEVELS
        for name, of in {"model": metrics[level], **metrics[level]["baselines"]}.items()
    ]
    return Table(
        caption="The test part, with 95 % intervals over patients; ECE is the expected calibration error",
        rows=rows,
        source="metrics.json",
        leaking=frozenset(range(len(rows))) if leaks else frozenset(),
    )
