"""Examples of regions of interest -> a section of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.imaging.window import SHARE
from tumorprog.regions.methods import DESCRIPTIONS
from tumorprog.regions.settings import Method
from tumorprog.report.drawing import picture
from tumorprog.report.page import Picture, Section
from tumorprog.report.regions import agreement
from tumorprog.report.regions import figures as regions_figures
from tumorprog.report.regions.agreement import Agreement
from tumorprog.report.regions.level import Level
from tumorprog.sequences.glossary import GLOSSARY

_WINDOWS = (
    "Slices are drawn to scale, with the patient's directions at their edges: R right, L left, A anterior, P "
    f"posterior, S superior, I inferior. Black to white is the {SHARE:g}st to the {100 - SHARE:g}th percentile of the "
    "foreground: of the slice for T1, T2 and FLAIR, of the whole stack for ADC, perfusion maps and dT1, whose "
    "values at the bar are the stored ones after rescaling, in the unit of the scanner."
)


def rois(
    examples: Sequence[Mapping[str, Any]],
    shown: Level | None,
    counts: pd.DataFrame,
    known: Agreement | None,
    *,
    method: Method,
) -> Section:
    """Return the section on the region of interest (ROI): examples, and the agreement with tumour masks.

    Args:
        examples: examples for `report.regions.figures.feature_steps`.
        shown: a level of a study for `report.regions.figures.level_panel`; None if no slice can be shown.
        counts: from `report.regions.agreement.used`.
        known: the agreement; None without masks.
        method: the setting `roi.method`.
    """
    without = "There are no tumour masks with which the regions could be compared."
    return Section(
        id="roi",
        title="Region of interest",
        paragraphs=[
            DESCRIPTIONS[method],
            agreement.used_sentence(counts),
            *(agreement.paragraphs(known) if known else [without]),
        ],
        tables=[agreement.used_table(counts), *(agreement.agreement_tables(known) if known else [])],
        pictures=[
            *(agreement.pictures(known) if known else []),
            *([_level(shown)] if shown else []),
            *(
                picture(
                    f"features-{number}",
                    regions_figures.feature_steps(example),
                    caption="Steps from a slice to its feature vector; tumorprog features --show draws any slice. LH "
                    "and HL are named for the rows and columns as stored.",
                    alt=f"{example['title']}: region {np.mean(example['mask']):.1%} of the slice, its sub-bands and "
                    f"{len(example['coefficients'])} DCT coefficients.",
                    source="the archive",
                )
                for number, example in enumerate(examples, 1)
            ),
        ],
        definitions=GLOSSARY,
    )


def _level(shown: Level) -> Picture:
    mask = " (orange) and of the tumour mask (blue, dashed)" if shown.has_tumour else ""
    return picture(
        "roi",
        regions_figures.level_panel(shown),
        caption=f"One level of a study of the progression cohort in its sequences, with the outline of the ROI{mask}; "
        f"{shown.choice}. {_WINDOWS}",
        alt="Share of the slice inside the region of interest: "
        + "; ".join(f"{view.title.replace(chr(10), ', ')} {view.region.mean():.1%}" for view in shown.views),
        source="the archive",
    )
