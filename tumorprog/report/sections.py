"""Metrics and tables of predictions -> the sections of the page, with the words that say how far to trust them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tumorprog.report import figures
from tumorprog.report.page import Picture, Section, Table

LEVELS = ("slice", "series", "patient")

_GRADER_METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced",
    "macro_auc": "AUC",
    "recall_2": "Recall 2",
    "recall_3": "Recall 3",
    "recall_4": "Recall 4",
    "expected_calibration_error": "ECE",
}
"""What is shown of the grader, and the title of its column."""
_STEPS_SHOWN = 3
_OVERLAP_WORDS = (
    "Where there are masks of the tumour, Dice's coefficient says how far a region is the tumour: 1 is the same, 0 "
    "nothing in common. It counts all slices of a series, also those without tumour, and some series of each sequence."
)
_MONTHS_METRICS = ("mae", "median_ae", "rmse", "concordance", "coverage")


@dataclass(frozen=True, kw_only=True)
class GraderEvidence:
    """What there is to show of one protocol's grader.

    Attributes:
        history: rows of `tables.HISTORY`.
        levels: the test part at each level, from `evaluation.metrics.grader_levels`.
        bins: of confidence, from `evaluation.metrics.reliability_bins`, of the test slices.
        groups: from `evaluation.metrics.by_group`, by column.
        leaks: rows of leaks.csv.
        initial_weights: what training started from.
        examples: of `figures.evidence_panel`.
    """

    history: pd.DataFrame
    levels: Mapping[str, pd.DataFrame]
    bins: pd.DataFrame
    groups: Mapping[str, Mapping[str, Any]]
    leaks: pd.DataFrame
    initial_weights: str
    examples: Sequence[Mapping[str, Any]]


def archive(summary: Mapping[str, Any], catalogue: pd.DataFrame, quarantine: pd.DataFrame) -> Section:
    """What went in, what was used, and why the rest was not.

    Args:
        summary: of catalogue/_summary.json.
        catalogue: cohort and sequence of each slice.
        quarantine: rows of `tables.QUARANTINE`.
    """
    counts = pd.crosstab(catalogue["sequence"], catalogue["cohort"])
    reasons = quarantine["reason"].value_counts().rename_axis("Reason").reset_index(name="Files")
    return Section(
        id="archive",
        title="What went in",
        paragraphs=[
            f"{summary['found']:,} files were found: {summary['used']:,} are used, {summary['quarantined']:,} are in "
            f"quarantine with a reason. The used ones hold {summary['slices']:,} slices."
        ],
        tables=[Table(caption="Files not used", rows=reasons, source="quarantine.csv")] if len(reasons) else [],
        pictures=[
            _picture(
                "archive",
                figures.cohort_overview(counts),
                caption="Slices of each sequence in each cohort.",
                alt="Bars of the number of slices of each sequence.",
                source="catalogue/*.parquet",
            )
        ],
    )


def cohort(patients: pd.DataFrame) -> Section:
    """Which patients take part in the grading, and why the others do not.

    Args:
        patients: rows of `tables.COHORT`.
    """
    known = patients.assign(grade=patients["grade"].astype("Int64"))
    counts = known.groupby(["Institution", "status", "grade"], dropna=False).size().reset_index(name="Patients")
    return Section(
        id="cohort",
        title="Patients and grades",
        paragraphs=[
            "Patients without a grade are left out of training; no grade does not mean healthy. Where grades and "
            "institutions go together, a network can tell the grade from the scanner: compare the baseline that sees "
            "nothing but the institution."
        ],
        tables=[Table(caption="Patients of the grading cohort", rows=counts, source="slices/_cohort.csv")],
    )


def grader(metrics: Mapping[str, Any], evidence: Mapping[str, GraderEvidence]) -> list[Section]:
    """A section for each protocol.

    Args:
        metrics: `metrics.json`'s part `grader`.
        evidence: by protocol.
    """
    return [_grader(protocol, metrics[protocol], shown) for protocol, shown in evidence.items()]


def _grader(protocol: str, metrics: Mapping[str, Any], shown: GraderEvidence) -> Section:
    leaks = protocol == "paper"
    folder = "grader" if not leaks else "grader (paper protocol)"
    return Section(
        id=f"grader-{protocol}",
        title="The grader, on slices of patients it has seen (leaks)" if leaks else "The grader, on unseen patients",
        paragraphs=[_grader_words(protocol, shown)],
        tables=[_grader_table(metrics, leaks=leaks)],
        pictures=[
            _picture(
                f"grader-{protocol}-baselines",
                figures.grader_beside_baselines({protocol: metrics}, level="slice" if leaks else "patient"),
                caption="Balanced accuracy beside what knows no image.",
                alt="Bars of balanced accuracy of the model, the majority class and the institution.",
                source="metrics.json",
            ),
            _picture(
                f"grader-{protocol}-history",
                figures.learning_curves(shown.history, leaks=leaks),
                caption="Losses and accuracies during training. They choose the epoch and are no result.",
                alt="Curves of loss and accuracy of training, validation and test part.",
                source=f"{folder}: history.csv",
            ),
            _picture(
                f"grader-{protocol}-confusion",
                figures.confusion(shown.levels["slice"], "Test slices", leaks=leaks),
                caption="True and predicted grades of the test slices.",
                alt="Confusion matrix of three grades.",
                source=f"{folder}: predictions.parquet",
            ),
            _picture(
                f"grader-{protocol}-reliability",
                figures.reliability(shown.bins, "Test slices", leaks=leaks),
                caption="How often the grader is right at each confidence.",
                alt="Reliability diagram.",
                source=f"{folder}: predictions.parquet",
            ),
            *_evidence(protocol, folder, shown.examples),
            *(
                _picture(
                    f"grader-{protocol}-{column.lower()}",
                    figures.group_bars(groups, f"Test slices by {column.lower()}", leaks=leaks),
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
    picture = _picture(
        f"grader-{protocol}-evidence",
        figures.evidence_panel(examples),
        caption="Test slices of whose grade the grader was surest, right and wrong, and where it found the grade that "
        "it told (Grad-CAM). Evidence outside of the brain is a warning.",
        alt="Pairs of MRI slices, plain and with the evidence in orange.",
        source=f"{folder}: model.safetensors, predictions.parquet",
    )
    return [picture]


def _grader_words(protocol: str, shown: GraderEvidence) -> str:
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


def _grader_table(metrics: Mapping[str, Any], *, leaks: bool) -> Table:
    rows = [
        {
            "Test part": f"{level}: {name}",
            "n": of["accuracy"]["n"],
            **{title: of[metric] for metric, title in _GRADER_METRICS.items()},
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


def rois(examples: Sequence[Mapping[str, Any]], overlaps: Mapping[str, Any], *, method: str) -> Section:
    """Slices with the region that the features are computed from, and how well each method's region is the tumour.

    Args:
        examples: of `figures.roi_panel` and `figures.feature_steps`.
        overlaps: `metrics.json`'s part `roi`; empty without masks.
        method: of the examples' regions, the setting `roi.method`.
    """
    told = {
        "brightest": "The region is the brightest of three clusters of intensity, which the paper takes for the "
        "tumour. Where something else is as bright (fat of the scalp, vessels with contrast agent, fluid on T2), it "
        "holds that as well: look. The alternative is roi.method: component.",
        "component": "The region is the largest piece of what is unusually bright inside the skull, not the brightest "
        "cluster of the paper (roi.method: brightest). It can still be a vessel or a ventricle: look.",
    }
    return Section(
        id="roi",
        title="The region of interest",
        paragraphs=[told[method], *([_OVERLAP_WORDS] if overlaps else [])],
        tables=[_overlap_table(overlaps)] if overlaps else [],
        pictures=[
            _picture(
                "roi",
                figures.roi_panel(examples),
                caption="The middle slice of some series of the progression cohort, and the outline of its ROI.",
                alt="Pairs of MRI slices, plain and with the outline of the region of interest.",
                source="the archive",
            ),
            *(
                _picture(
                    f"features-{number}",
                    figures.feature_steps(example),
                    caption="From a slice to its features; tumorprog features --show draws any other.",
                    alt="A slice, its clusters and region, the four sub-bands and the kept DCT coefficients.",
                    source="the archive",
                )
                for number, example in enumerate(examples[:_STEPS_SHOWN], 1)
            ),
        ],
    )


def _overlap_table(overlaps: Mapping[str, Any]) -> Table:
    sequences = sorted({sequence for by_sequence in overlaps.values() for sequence in by_sequence})
    rows = [
        {
            "Sequence": sequence,
            "n": max(of[sequence]["dice"]["n"] for of in overlaps.values()),
            **{method: of[sequence]["dice"] for method, of in overlaps.items()},
        }
        for sequence in sequences
    ]
    return Table(
        caption="Dice's coefficient of region and MaskTumor, mean over series", rows=rows, source="metrics.json"
    )


def progression(
    metrics: Mapping[str, Any], predictions: pd.DataFrame, history: pd.DataFrame, sheet: pd.DataFrame
) -> Section:
    """The months to progression, for the grid of protocols and cohorts.

    Args:
        metrics: `metrics.json`'s part `progression`.
        predictions: rows of `tables.PROGRESSION_PREDICTIONS`.
        history: rows of `tables.PROGRESSION_HISTORY`.
        sheet: rows of `tables.REFERENCE_SHEET`.
    """
    return Section(
        id="progression",
        title="Months to progression",
        paragraphs=_progression_words(sheet),
        tables=[_months_table(metrics)],
        pictures=[
            _picture(
                "months",
                figures.months_scatter(predictions),
                caption="Predicted and measured months; bars are prediction intervals of nominally 80 %.",
                alt="Scatter of predicted against measured months for each protocol and cohort.",
                source="progression/predictions.csv",
            ),
            _picture(
                "months-baselines",
                figures.errors_beside_baselines(metrics),
                caption="Mean absolute error per patient beside the baselines, run through the same folds.",
                alt="Bars of mean absolute error of the model and of its baselines.",
                source="metrics.json",
            ),
            _picture(
                "months-history",
                figures.progression_curves(history),
                caption="Losses during training, a thin line for each fold.",
                alt="Curves of training and validation loss.",
                source="progression/history.csv",
            ),
        ],
    )


def _progression_words(sheet: pd.DataFrame) -> list[str]:
    patients = sheet.drop_duplicates("PatientID")
    rising = int((patients["LaterGrade"] > patients["FirstGrade"]).sum())
    return [
        "Only the first date's series are inputs; the target is the time to the second date, on which the tumour had "
        "progressed. All patients of Brain-Tumor-Progression have a glioblastoma on both dates, so a grade that rises "
        "between them is the network's noise; the paper keeps those patients (cohort grade_rise), the cohort all keeps "
        "everyone.",
        f"{len(patients)} patients have two dates; the predicted grade rises in {rising}. "
        + ("With fewer than three, that cohort is empty here and has no figures. " if rising < 3 else "")
        + "Under the patient protocol one patient is left out in turn. The paper's split puts series of one patient on "
        "both sides, and all of them share one target: recognising the patient is enough.",
    ]


def _months_table(metrics: Mapping[str, Any]) -> Table:
    rows: list[dict[str, Any]] = []
    leaking = set()
    for protocol, cohorts in metrics.items():
        for cohort_name, levels in cohorts.items():
            for level, judged in levels.items():
                for name, of in {"model": judged, **judged["baselines"]}.items():
                    if protocol == "paper":
                        leaking.add(len(rows))
                    label = f"{protocol}, {cohort_name}, {level}: {name}"
                    shown = {metric: of[metric] for metric in _MONTHS_METRICS}
                    rows.append({"Protocol, cohort, level": label, "n": of["mae"]["n"], **shown})
    return Table(
        caption="Errors in months, concordance, and the share of intervals that hold the truth",
        rows=rows,
        source="metrics.json",
        leaking=frozenset(leaking),
    )


def paper(metrics: Mapping[str, Any]) -> Section:
    """The figures that the paper reports, beside those of this run.

    Args:
        metrics: the content of metrics.json.
    """
    grader_metrics, months = metrics.get("grader", {}), metrics.get("progression", {})
    rows = [
        {
            "Figure": "Grader, test accuracy of slices",
            "Paper": 0.862,
            **{
                f"Here, {protocol} protocol": grader_metrics.get(protocol, {}).get("slice", {}).get("accuracy")
                for protocol in ("paper", "patient")
            },
        },
        {
            "Figure": "Progression, mean absolute error of series (months)",
            "Paper": 0.02,
            **{
                f"Here, {protocol} protocol": months.get(protocol, {}).get("all", {}).get("series", {}).get("mae")
                for protocol in ("paper", "patient")
            },
        },
    ]
    return Section(
        id="paper",
        title="Beside the paper",
        paragraphs=[
            "The paper splits by slice and by series, which leaks. The column of the patient protocol is the one that "
            "says something about new patients."
        ],
        tables=[Table(caption="The paper's figures", rows=rows, source="metrics.json")],
    )


def _picture(name: str, figure: Any, *, caption: str, alt: str, source: str) -> Picture:
    png = figures.png(figure)
    return Picture(name=f"figures/{name}.png", png=png, caption=caption, alt=alt, source=source)
