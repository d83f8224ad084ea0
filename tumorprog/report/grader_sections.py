"""The grader's metrics and tables of predictions -> its sections of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tumorprog.report import grader_figures
from tumorprog.report.drawing import LEAKING_PROTOCOL, picture
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


NULL_CONTROL = "null control"
"""Among the baselines: the same training with the grades shuffled between patients."""
_BESIDE = {
    False: "Balanced accuracy beside what knows no image.",
    True: "Balanced accuracy beside what knows no image, and beside the null control: the same training with grades "
    "shuffled between patients, judged by them. Nothing can be learned there; what it is above chance is leaked.",
}
_TITLES = {
    "patient": "The grader, on unseen patients",
    "folds": "The grader, each patient unseen in turn",
    "paper": "The grader, on slices of patients it has seen (leaks)",
}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is to show of the grader under one protocol, or of its cross-validation.

    Attributes:
        folder: in the run directory, of its files.
        levels: what was tested at each level, from `evaluation.metrics.grader_levels`.
        bins: of confidence at each level, from `evaluation.metrics.reliability_bins`.
        groups: from `evaluation.metrics.by_group`, by column.
        initial_weights: what training started from.
        history: rows of `tables.HISTORY`; none of a cross-validation.
        leaks: rows of leaks.csv.
        examples: of `grader_figures.evidence_panel`.
    """

    folder: str
    levels: Mapping[str, pd.DataFrame]
    bins: Mapping[str, pd.DataFrame]
    groups: Mapping[str, Mapping[str, Any]]
    initial_weights: str
    history: pd.DataFrame
    leaks: pd.DataFrame
    examples: Sequence[Mapping[str, Any]]


def sections(metrics: Mapping[str, Any], evidence: Mapping[str, Evidence]) -> list[Section]:
    """A section for each protocol and for the cross-validation; where there are several, one that compares them.

    Args:
        metrics: `metrics.json`'s part `grader`.
        evidence: by protocol, or "folds".
    """
    found = [_section(protocol, metrics[protocol], shown) for protocol, shown in evidence.items()]
    return [*found, _side_by_side(metrics)] if len(found) > 1 else found


def _side_by_side(metrics: Mapping[str, Any]) -> Section:
    return Section(
        id="grader-protocols",
        title="The grader, one way of testing beside the other",
        paragraphs=[
            "The same network and the same slices; what differs is who is tested. Where slices of one patient are on "
            "both sides of the split, as in the paper, recognising the patient is enough."
        ],
        pictures=[
            picture(
                "grader-protocols",
                grader_figures.grader_beside_baselines(metrics, level="slice"),
                caption="Balanced accuracy per slice under each protocol, and what each model must beat there.",
                alt="Bars of balanced accuracy of the models and their baselines, a panel for each protocol.",
                source="metrics.json",
            )
        ],
    )


def _section(protocol: str, metrics: Mapping[str, Any], shown: Evidence) -> Section:
    leaks = protocol == LEAKING_PROTOCOL
    return Section(
        id=f"grader-{protocol}",
        title=_TITLES[protocol],
        paragraphs=[_words(protocol, shown)],
        tables=[_table(metrics, leaks=leaks)],
        pictures=[
            picture(
                f"grader-{protocol}-baselines",
                grader_figures.grader_beside_baselines({protocol: metrics}, level="slice" if leaks else "patient"),
                caption=_BESIDE[NULL_CONTROL in metrics["patient"]["baselines"]],
                alt="Bars of balanced accuracy of the model and of what it must beat.",
                source="metrics.json",
            ),
            *_curves(protocol, shown, leaks=leaks),
            picture(
                f"grader-{protocol}-confusion",
                grader_figures.confusion(shown.levels, "True and predicted grades", leaks=leaks),
                caption="True and predicted grades of what was tested.",
                alt="Confusion matrices of three grades per slice, series and patient.",
                source=f"{shown.folder}/predictions.parquet",
            ),
            picture(
                f"grader-{protocol}-reliability",
                grader_figures.reliability(shown.bins, "Reliability", leaks=leaks),
                caption="How often the grader is right at each confidence.",
                alt="Reliability diagrams per slice, series and patient.",
                source=f"{shown.folder}/predictions.parquet",
            ),
            *_evidence(protocol, shown),
            *(
                picture(
                    f"grader-{protocol}-{column.lower()}",
                    grader_figures.group_bars(groups, f"Test slices by {column.lower()}", leaks=leaks),
                    caption=f"The test slices by {column.lower()}.",
                    alt=f"Bars of accuracy for each {column.lower()}.",
                    source=f"{shown.folder}/predictions.parquet",
                )
                for column, groups in shown.groups.items()
            ),
        ],
    )


def _curves(protocol: str, shown: Evidence, *, leaks: bool) -> list[Picture]:
    if shown.history.empty:
        return []
    curves = picture(
        f"grader-{protocol}-history",
        grader_figures.learning_curves(shown.history, leaks=leaks),
        caption="Losses and accuracies during training; the validation part chooses the epoch. They are no result.",
        alt="Curves of loss and accuracy of training, validation and test part.",
        source=f"{shown.folder}/history.csv",
    )
    return [curves]


def _evidence(protocol: str, shown: Evidence) -> list[Picture]:
    if not shown.examples:
        return []
    attention = picture(
        f"grader-{protocol}-evidence",
        grader_figures.evidence_panel(shown.examples),
        caption="Test slices of whose grade the grader was surest, right and wrong, and where it found the grade that "
        "it told (Grad-CAM). Evidence outside of the brain is a warning.",
        alt="Pairs of MRI slices, plain and with the evidence in orange.",
        source=f"{shown.folder}: model.safetensors, predictions.parquet",
    )
    return [attention]


def _words(protocol: str, shown: Evidence) -> str:
    start = {"imagenet": "ImageNet weights", "none": "random weights (grader.weights: none)"}
    began = f"Training started from {start.get(shown.initial_weights, shown.initial_weights)}. "
    if protocol == "folds":
        return (
            began + f"The patients of each grade were parted into {len(shown.groups['fold'])} folds. In each fold "
            "another part is tested by a model of the others, so that every patient is tested once. A baseline can "
            "fall below chance here: whoever is left out is rarer among the others. Intervals are 95 % bootstrap "
            "intervals over all patients; they do not know that the folds' models share most of their patients."
        )
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
