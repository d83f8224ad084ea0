"""Sections of the report on the grader."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tumorprog.conventions import GRADES
from tumorprog.evaluation.calibration import MIN_PATIENTS as MIN_PATIENTS_CALIBRATED
from tumorprog.evaluation.intervals import MIN_PATIENTS
from tumorprog.evaluation.ordinal import DECISIONS
from tumorprog.report import names
from tumorprog.report.drawing import picture
from tumorprog.report.grading import figures as grading_figures
from tumorprog.report.grading import verdicts
from tumorprog.report.grading.results import GraderResults
from tumorprog.report.page import Picture, Section, Table
from tumorprog.report.page import shown as in_words

LEVELS = ("patient", "series", "slice")
"""The level of the primary metric first."""

_METRICS = ("balanced_accuracy", "difference", "accuracy", "macro_auc", *(f"recall_{grade}" for grade in GRADES))
_CALIBRATION = (
    *("brier_score", "calibration_slope", "calibration_intercept", "calibration_in_the_large"),
    *("expected_calibration_error", "expected_by_chance"),
)
_DECISIONS = {"low_versus_high": "grade 3 or 4 against 2", "four_versus_lower": "grade 4 against 2 or 3"}
_REGIONS = {"outside_head": "outside the head", "in_tumour": "in the tumour, within the head"}
_NETWORKS = {"model": "grader", "random": "random weights"}
_TITLES = {
    "patient": "Grader on held-out patients",
    "folds": "Grader in cross-validation: each patient held out once",
    "paper": "Grader with the paper's split by slices (leakage)",
}


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
        pictures=[_bars("grader-protocols", metrics)],
    )


def _bars(name: str, grader: Mapping[str, Any]) -> Picture:
    return picture(
        name,
        grading_figures.grader_with_baselines(grader),
        caption="Balanced accuracy per patient of the grader and of a baseline that knows only the institution. Lines: "
        "guessing, and predicting the most frequent grade.",
        alt=". ".join(f"{names.protocol(protocol)}: {_bars_in_words(scores)}" for protocol, scores in grader.items()),
        source="metrics.json",
    )


def _bars_in_words(scores: Mapping[str, Any]) -> str:
    compared = {"model": scores["patient"], **scores["patient"]["baselines"]}
    values = [f"{names.model(name)} {in_words(part['balanced_accuracy'])}" for name, part in compared.items()]
    return f"balanced accuracy per patient: {'; '.join(values)}; chance {grading_figures.chance(scores['patient']):.2f}"


def _section(protocol: str, metrics: Mapping[str, Any], shown: GraderResults) -> Section:
    leaks = names.leaking_last(protocol)
    return Section(
        id=f"grader-{protocol}",
        title=_TITLES[protocol],
        paragraphs=[
            verdicts.primary(protocol, metrics),
            verdicts.comparisons(metrics),
            *_repetitions(metrics, leaks=leaks),
            *verdicts.evidence(metrics.get("evidence", {})),
            *([_EVIDENCE_NOTE] if "evidence" in metrics else []),
            *_calibration_paragraph(metrics),
            *(_groups_paragraph(column, groups) for column, groups in shown.groups.items()),
            _paragraph(protocol, shown),
        ],
        tables=[*(_table(level, metrics, leaks=leaks) for level in LEVELS), *_further_tables(metrics, leaks=leaks)],
        pictures=[
            _bars(f"grader-{protocol}-baselines", {protocol: metrics}),
            *_learning_curves(protocol, shown, leaks=leaks),
            _confusion(protocol, shown, leaks=leaks),
            *_reliability(protocol, shown, leaks=leaks),
            *_grad_cam(protocol, shown),
            *_groups(protocol, shown, leaks=leaks),
        ],
        leaking=leaks,
    )


_EVIDENCE_NOTE = (
    "The evidence is the Grad-CAM heat map of the predicted grade, averaged over the slices of a patient and then over "
    "patients. A heat map has 7 x 7 cells, so that evidence at the edge of the head or of a small tumour also counts "
    "for its surroundings; the random weights show what this and the architecture alone bring about."
)


def _repetitions(metrics: Mapping[str, Any], *, leaks: bool) -> list[str]:
    return [
        *([verdicts.seeds(metrics["seeds"]["balanced_accuracy"])] if "seeds" in metrics else []),
        *([verdicts.null_control(metrics["null_control"], leaks=leaks)] if "null_control" in metrics else []),
    ]


def _calibration_paragraph(metrics: Mapping[str, Any]) -> list[str]:
    scores = {level: metrics[level]["calibration"]["brier_score"] for level in LEVELS}
    refused = [
        f"{names.level(level)} (needs {MIN_PATIENTS_CALIBRATED[level]} patients)"
        for level, score in scores.items()
        if score["value"] is None
    ]
    patients = names.counted("patient", scores["patient"]["patients"])
    explained = (
        "A calibration slope below 1 means that confidences are too extreme, an intercept or a calibration in the "
        "large below 0 that they are too high. The expected calibration error is above 0 by chance even for a "
        "perfectly calibrated grader; the table gives that value beside it."
    )
    return [
        *([f"With {patients} calibration is not estimated {', '.join(refused)}."] if refused else []),
        *([explained] if len(refused) < len(LEVELS) else []),
    ]


def _groups_paragraph(column: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    start = f"By {column.lower()}: "
    if column == "Institution and manufacturer":
        start = (
            "Each institution among the test patients has scanners of one manufacturer and vice versa, so "
            "that their effects cannot be separated. By both together: "
        )
    return start + "; ".join(_group(name, group) for name, group in groups.items()) + "."


def _group(name: str, group: Mapping[str, Any]) -> str:
    metric = group["balanced_accuracy"]
    counts = f"{name} ({names.counted('patient', metric['patients'])}, {names.counted('slice', group['slices'])})"
    if metric["value"] is None:
        return f"{counts}: too few" if metric["patients"] < MIN_PATIENTS else f"{counts}: {metric['reason']}"
    return f"{counts}: balanced accuracy {in_words(metric)}"


def _groups(protocol: str, shown: GraderResults, *, leaks: bool) -> list[Picture]:
    """Return a picture for each grouping with a group that has enough patients."""
    drawn = {
        column: {name: group for name, group in groups.items() if group["accuracy"]["value"] is not None}
        for column, groups in shown.groups.items()
    }
    return [
        picture(
            f"grader-{protocol}-{column.lower().replace(' ', '-')}",
            grading_figures.group_bars(groups, f"Test patients by {column.lower()}", leaks=leaks),
            caption=f"Accuracy and balanced accuracy per patient by {column.lower()}; groups of fewer than "
            f"{MIN_PATIENTS} patients are not drawn. The line is chance for three grades.",
            alt=_groups_paragraph(column, groups),
            source=f"{shown.folder}/predictions.parquet",
        )
        for column, groups in drawn.items()
        if groups
    ]


def _learning_curves(protocol: str, shown: GraderResults, *, leaks: bool) -> list[Picture]:
    if shown.history.empty:
        return []
    first, last = shown.history.iloc[0], shown.history.iloc[-1]
    accuracies = [
        f"{side.lower()} accuracy from {first[f'{side} Acc (%)']:.0f}% to {last[f'{side} Acc (%)']:.0f}%"
        for side in ("Training", "Validation")
    ]
    curves = picture(
        f"grader-{protocol}-history",
        grading_figures.learning_curves(shown.history, leaks=leaks),
        caption="Loss and accuracy during training. The epoch is selected on the validation set; these curves are "
        "not an evaluation of the model.",
        alt=f"Over {len(shown.history)} epochs: {' and '.join(accuracies)} of slices.",
        source=f"{shown.folder}/history.csv",
    )
    return [curves]


def _confusion(protocol: str, shown: GraderResults, *, leaks: bool) -> Picture:
    correct = [
        f"{(level['grade'] == level['predicted']).sum():,} of {names.counted(name, len(level))}"
        for name, level in shown.levels.items()
    ]
    return picture(
        f"grader-{protocol}-confusion",
        grading_figures.confusion(shown.levels, "True and predicted grades", leaks=leaks),
        caption="Confusion matrices of the test set: true and predicted grades per slice, series and patient.",
        alt=f"Predicted correctly: {', '.join(correct)}.",
        source=f"{shown.folder}/predictions.parquet",
    )


def _reliability(protocol: str, shown: GraderResults, *, leaks: bool) -> list[Picture]:
    if not shown.bins:
        return []
    diagram = picture(
        f"grader-{protocol}-reliability",
        grading_figures.reliability(shown.bins, "Reliability", leaks=leaks),
        caption="Accuracy by confidence, in bins of equal numbers of predictions. The bars are Wilson intervals with "
        "the number of patients of the bin, which stands above them, as the sample size, because the slices of a "
        "patient are alike.",
        alt=". ".join(f"{names.level(name)}: {_bins_in_words(bins)}" for name, bins in shown.bins.items()),
        source=f"{shown.folder}/predictions.parquet",
    )
    return [diagram]


def _bins_in_words(bins: pd.DataFrame) -> str:
    return "; ".join(
        f"confidence {row['confidence']:.2f}, accuracy {row['accuracy']:.2f} ({row['lower']:.2f} to {row['upper']:.2f})"
        for row in bins.to_dict("records")
    )


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
        alt="Slices, each also with its heat map: "
        + "; ".join(str(example["title"]).replace("\n", ", ") for example in shown.examples),
        source=f"{shown.folder}: model.safetensors, predictions.parquet",
    )
    return [heat_maps]


def _paragraph(protocol: str, shown: GraderResults) -> str:
    weights = {"imagenet": "ImageNet weights", "none": "random weights (grader.weights: none)"}
    start = f"Training started from {weights.get(shown.initial_weights, shown.initial_weights)}. "
    if protocol == "folds":
        return (
            start + f"The patients of each grade were divided into {len(shown.groups['fold'])} folds. Each fold is "
            "tested with a model trained on the other folds, so that every patient is tested exactly once. A baseline "
            "can fall below chance here, because the grade of a held-out patient is less frequent among the remaining "
            "patients. Intervals are 95% confidence intervals over all patients; they do not account for "
            "the training patients that the models of the folds have in common."
        )
    if protocol == "patient":
        return (
            start
            + f"The data were split by patient. {_audit(shown.leaks)} Intervals are 95% confidence intervals over "
            "the test patients."
        )
    counts = _counted(shown.leaks)
    return (
        start + "Slices were split at random, as in the paper, so slices of one patient are in more than one set. The "
        f"audit counts the identities found in more than one set: {counts or 'none'}. These results describe how well "
        "the network recognises patients, not how well it grades new ones."
    )


def _audit(leaks: pd.DataFrame) -> str:
    if leaks.empty:
        return "The audit found no patient, study, series, SOP instance or identical image in more than one set."
    return (
        f"The audit found no patient in more than one set, and what cohort.allow_shared permits: {_counted(leaks)}. "
        "Check that these do not identify patients."
    )


def _counted(leaks: pd.DataFrame) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in leaks["what"].value_counts().items())


def _table(level: str, metrics: Mapping[str, Any], *, leaks: bool) -> Table:
    own, baselines = metrics[level], metrics[level]["baselines"]
    rows: list[dict[str, Any]] = [
        {
            "Metric": names.metric(metric),
            "Grader": own.get(metric),
            **{f"Baseline: {names.model(name)}": scores[metric] for name, scores in baselines.items()},
        }
        for metric in _METRICS
    ]
    accuracy = own["accuracy"]
    counts = names.counted(level, accuracy["n"])
    if level != "patient":
        counts += f" of {names.counted('patient', accuracy['patients'])}"
    return _listed(
        f"Results {names.level(level)} on the test set, {counts}, with 95% confidence intervals over patients",
        rows,
        leaks=leaks,
    )


def _listed(caption: str, rows: Sequence[Mapping[str, Any]], *, leaks: bool) -> Table:
    leaking = frozenset(range(len(rows))) if leaks else frozenset()
    return Table(caption=caption, rows=rows, source="metrics.json", leaking=leaking)


def _further_tables(metrics: Mapping[str, Any], *, leaks: bool) -> list[Table]:
    tables = {
        "Agreement per patient on the order of the grades, and on the two decisions that they contain: "
        "from the summed probabilities, at one half": _agreement_rows(metrics["patient"]),
        "Calibration": _calibration_rows(metrics),
        "Balanced accuracy per patient of repeated trainings": _repetition_rows(metrics),
        "Share of the Grad-CAM evidence in a part of the image, beside the part's share of the area": _evidence_rows(
            metrics.get("evidence", {})
        ),
    }
    return [_listed(caption, rows, leaks=leaks) for caption, rows in tables.items() if rows]


def _agreement_rows(patients: Mapping[str, Any]) -> list[dict[str, Any]]:
    kappa = {"Agreement": names.metric("weighted_kappa"), "Value": patients["weighted_kappa"]}
    decisions = [
        {"Agreement": f"{names.metric(metric)}, {_DECISIONS[decision]}", "Value": value}
        for decision in DECISIONS
        for metric, value in patients[decision].items()
    ]
    return [kappa, *decisions]


def _calibration_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    estimated = [level for level in LEVELS if metrics[level]["calibration"]["brier_score"]["value"] is not None]
    columns = {names.level(level): metrics[level]["calibration"] for level in estimated}
    return [
        {"Metric": names.metric(metric), **{column: values[metric] for column, values in columns.items()}}
        for metric in _CALIBRATION
        if columns
    ]


def _repetition_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    repeated = {
        "the grader, with different seeds": metrics.get("seeds", {}).get("balanced_accuracy", {}).get("values", []),
        "null control: permuted grades": metrics.get("null_control", {}).get("draws", []),
    }
    return [
        {
            "Trainings": name,
            "Number": len(values),
            "Lowest": min(values),
            "Mean": sum(values) / len(values),
            "Highest": max(values),
        }
        for name, values in repeated.items()
        if values
    ]


def _evidence_rows(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "Part, network": f"{_REGIONS[region]}: {_NETWORKS[network]}",
            "Patients": found["evidence"]["patients"],
            "Slices": found["slices"],
            "Share of the evidence": found["evidence"],
            "Share of the area": found["area"],
            "Difference": found["difference"],
            "Slices without evidence": found["without_evidence"],
        }
        for region, networks in measured.items()
        for network, found in networks.items()
    ]
