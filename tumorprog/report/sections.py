"""Archive, cohort, regions and the paper's figures -> their sections of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tumorprog.report import figures
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table

_STEPS_SHOWN = 3
_OVERLAP_WORDS = (
    "Where there are masks of the tumour, Dice's coefficient says how far a region is the tumour: 1 is the same, 0 "
    "nothing in common. It counts all slices of a series, also those without tumour, and some series of each sequence."
)


def archive(
    summary: Mapping[str, Any], catalogue: pd.DataFrame, quarantine: pd.DataFrame, *, synthetic: bool
) -> Section:
    """What went in, what was used, and why the rest was not.

    Args:
        summary: of catalogue/_summary.json.
        catalogue: cohort and sequence of each slice.
        quarantine: rows of `tables.QUARANTINE`.
        synthetic: whether the patients are those of `tumorprog synthesize`.
    """
    invented = (
        [
            "These patients do not exist: their images were computed by tumorprog synthesize. No figure of this "
            "page says anything about a person or a real collection."
        ]
        if synthetic
        else []
    )
    counts = pd.crosstab(catalogue["sequence"], catalogue["cohort"])
    reasons = quarantine["reason"].value_counts().rename_axis("Reason").reset_index(name="Files")
    return Section(
        id="archive",
        title="What went in",
        paragraphs=[
            *invented,
            f"{summary['found']:,} files were found: {summary['used']:,} are used, {summary['quarantined']:,} are in "
            f"quarantine with a reason. The used ones hold {summary['slices']:,} slices.",
        ],
        tables=[Table(caption="Files not used", rows=reasons, source="quarantine.csv")] if len(reasons) else [],
        pictures=[
            picture(
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
            picture(
                "roi",
                figures.roi_panel(examples),
                caption="The middle slice of some series of the progression cohort, and the outline of its ROI.",
                alt="Pairs of MRI slices, plain and with the outline of the region of interest.",
                source="the archive",
            ),
            *(
                picture(
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
