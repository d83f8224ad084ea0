"""Sections of the report on the grader."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tumorprog.report.drawing import LEAKING_PROTOCOL, picture
from tumorprog.report.grading import figures as grading_figures
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
"""Metrics shown, with the headings of their columns."""

NULL_CONTROL = "null control"
"""Name among the baselines of the permutation control: the same training with shuffled grades."""
_BASELINES_CAPTION = "Balanced accuracy of the grader and of baselines that use no image."
_NULL_CONTROL_CAPTION = (
    " The null control (permutation control) is the same training with the grades shuffled between patients, evaluated "
    "against the shuffled grades. Shuffled grades cannot be predicted from images; a null control above chance "
    "indicates leakage."
)
_TITLES = {
    "patient": "Grader on held-out patients",
    "folds": "Grader in cross-validation: each patient held out once",
    "paper": "Grader with the paper's split by slices (leakage)",
}


@dataclass(frozen=True, kw_only=True)
class GraderResults:
    """Results of the grader under one protocol, or in cross-validation.

    Attributes:
        folder: folder of its files in the run directory.
        levels: test predictions at each level, from `evaluation.metrics.grader_levels`.
        bins: bins of confidence at each level, from `evaluation.metrics.reliability_bins`.
        groups: metrics from `evaluation.metrics.by_group`, by column.
        initial_weights: `initial_weights` of model.json.
        history: rows of `graders.columns.HISTORY`; empty for a cross-validation.
        leaks: rows of leaks.csv.
        examples: examples for `report.grading.figures.grad_cam_panel`.
    """

    folder: str
    levels: Mapping[str, pd.DataFrame]
    bins: Mapping[str, pd.DataFrame]
    groups: Mapping[str, Mapping[str, Any]]
    initial_weights: str
    history: pd.DataFrame
    leaks: pd.DataFrame
    examples: Sequence[Mapping[str, Any]]


def sections(metrics: Mapping[str, Any], results: Mapping[str, GraderResults]) -> list[Section]:
    """Return a section for each protocol and for the cross-validation and, if there are several, their comparison.

    Args:
        metrics: part `grader` of metrics.json.
        results: results by protocol; "folds" is the cross-validation.
    """
    by_protocol = [_section(protocol, metrics[protocol], shown) for protocol, shown in results.items()]
    return [*by_protocol, _comparison(metrics)] if len(by_protocol) > 1 else by_protocol


def _comparison(metrics: Mapping[str, Any]) -> Section:
    return Section(
        id="grader-protocols",
        title="Grader: comparison of the protocols",
        paragraphs=[
            "All protocols use the same network architecture and the same slices; they differ in the split "
            "into training, validation and test sets. If slices of one patient are in both the training set and the "
            "test set, as in the paper, recognising the patient is enough to predict the grade."
        ],
        pictures=[
            picture(
                "grader-protocols",
                grading_figures.grader_with_baselines(metrics, level="slice"),
                caption="Balanced accuracy per slice of the grader and its baselines under each protocol.",
                alt="Bar charts of balanced accuracy of the models and their baselines, one panel per protocol.",
                source="metrics.json",
            )
        ],
    )


def _section(protocol: str, metrics: Mapping[str, Any], shown: GraderResults) -> Section:
    leaks = protocol == LEAKING_PROTOCOL
    null = _NULL_CONTROL_CAPTION if NULL_CONTROL in metrics["patient"]["baselines"] else ""
    return Section(
        id=f"grader-{protocol}",
        title=_TITLES[protocol],
        leaking=leaks,
        paragraphs=[_paragraph(protocol, shown)],
        tables=[_table(metrics, leaks=leaks)],
        pictures=[
            picture(
                f"grader-{protocol}-baselines",
                grading_figures.grader_with_baselines({protocol: metrics}, level="slice" if leaks else "patient"),
                caption=_BASELINES_CAPTION + null,
                alt="Bars of balanced accuracy of the model and its baselines.",
                source="metrics.json",
            ),
            *_learning_curves(protocol, shown, leaks=leaks),
            picture(
                f"grader-{protocol}-confusion",
                grading_figures.confusion(shown.levels, "True and predicted grades", leaks=leaks),
                caption="Confusion matrices of the test set: true and predicted grades per slice, series and patient.",
                alt="Confusion matrices of three grades per slice, series and patient.",
                source=f"{shown.folder}/predictions.parquet",
            ),
            picture(
                f"grader-{protocol}-reliability",
                grading_figures.reliability(shown.bins, "Reliability", leaks=leaks),
                caption="Reliability diagrams: accuracy and number of predictions by confidence.",
                alt="Reliability diagrams per slice, series and patient.",
                source=f"{shown.folder}/predictions.parquet",
            ),
            *_grad_cam(protocol, shown),
            *(
                picture(
                    f"grader-{protocol}-{column.lower()}",
                    grading_figures.group_bars(groups, f"Test slices by {column.lower()}", leaks=leaks),
                    caption=f"Accuracy and balanced accuracy on the test slices by {column.lower()}.",
                    alt=f"Bars of accuracy and balanced accuracy for each {column.lower()}.",
                    source=f"{shown.folder}/predictions.parquet",
                )
                for column, groups in shown.groups.items()
            ),
        ],
    )


def _learning_curves(protocol: str, shown: GraderResults, *, leaks: bool) -> list[Picture]:
    if shown.history.empty:
        return []
    curves = picture(
        f"grader-{protocol}-history",
        grading_figures.learning_curves(shown.history, leaks=leaks),
        caption="Loss and accuracy during training. The epoch is selected on the validation set; these curves are "
        "not an evaluation of the model.",
        alt="Curves of loss and accuracy on the training, validation and test sets.",
        source=f"{shown.folder}/history.csv",
    )
    return [curves]


def _grad_cam(protocol: str, shown: GraderResults) -> list[Picture]:
    if not shown.examples:
        return []
    heat_maps = picture(
        f"grader-{protocol}-evidence",
        grading_figures.grad_cam_panel(shown.examples),
        caption="Test slices with the most confident predictions, correct and incorrect, and the image regions that "
        "contributed to the predicted grade (Grad-CAM). Highlighted regions outside the brain are a warning sign. "
        "Slices are drawn to scale with the patient's directions at their edges, as in the section on the region of "
        "interest.",
        alt="Pairs of MRI slices, plain and with the Grad-CAM heat map in orange.",
        source=f"{shown.folder}: model.safetensors, predictions.parquet",
    )
    return [heat_maps]


def _paragraph(protocol: str, shown: GraderResults) -> str:
    names = {"imagenet": "ImageNet weights", "none": "random weights (grader.weights: none)"}
    start = f"Training started from {names.get(shown.initial_weights, shown.initial_weights)}. "
    if protocol == "folds":
        return (
            start + f"The patients of each grade were divided into {len(shown.groups['fold'])} folds. Each fold is "
            "tested with a model trained on the other folds, so that every patient is tested exactly once. A baseline "
            "can fall below chance here, because the grade of a held-out patient is less frequent among the remaining "
            "patients. Intervals are 95 % bootstrap confidence intervals over all patients; they do not account for "
            "the training patients that the models of the folds have in common."
        )
    if protocol == "patient":
        return (
            start + "The data were split by patient; the audit found no patient, study, series, SOP instance or "
            "identical image in more than one set. Intervals are 95 % bootstrap confidence intervals over the test "
            "patients."
        )
    counts = ", ".join(f"{what} {count:,}" for what, count in shown.leaks["what"].value_counts().items())
    return (
        start + "Slices were split at random, as in the paper, so slices of one patient are in more than one set. The "
        f"audit counts the identities found in more than one set: {counts or 'none'}. These results describe how well "
        "the network recognises patients, not how well it grades new ones."
    )


def _table(metrics: Mapping[str, Any], *, leaks: bool) -> Table:
    rows = [
        {
            "Level, model": f"{level}: {name}",
            "n": scores["accuracy"]["n"],
            **{title: scores[metric] for metric, title in _METRICS.items()},
        }
        for level in LEVELS
        for name, scores in {"model": metrics[level], **metrics[level]["baselines"]}.items()
    ]
    return Table(
        caption="Results on the test set with 95 % confidence intervals over patients. Balanced: balanced accuracy; "
        "AUC: macro-averaged area under the ROC curve; ECE: expected calibration error",
        rows=rows,
        source="metrics.json",
        leaking=frozenset(range(len(rows))) if leaks else frozenset(),
    )
