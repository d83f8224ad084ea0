"""Examples of regions of interest -> a section of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from tumorprog.regions.methods import DESCRIPTIONS
from tumorprog.report.drawing import picture
from tumorprog.report.page import Section, Table
from tumorprog.report.regions import figures as regions_figures

_NUM_FEATURE_EXAMPLES = 3
_DICE_PARAGRAPH = (
    "Where tumour masks are available, the Dice coefficient measures the overlap of the region with the tumour: 1 "
    "means that they are identical, 0 that they do not overlap. It is computed over all slices of a series, including "
    "slices without tumour, for a sample of the series of each sequence."
)


def rois(examples: Sequence[Mapping[str, Any]], overlaps: Mapping[str, Any], *, method: str) -> Section:
    """Return the section on the region of interest (ROI): examples, and the overlap with tumour masks.

    Args:
        examples: examples for `report.regions.figures.roi_panel` and `report.regions.figures.feature_steps`.
        overlaps: part `roi` of metrics.json; empty without masks.
        method: the setting `roi.method`, with which the examples were computed.
    """
    return Section(
        id="roi",
        title="Region of interest",
        paragraphs=[DESCRIPTIONS[method], *([_DICE_PARAGRAPH] if overlaps else [])],
        tables=[_overlap_table(overlaps)] if overlaps else [],
        pictures=[
            picture(
                "roi",
                regions_figures.roi_panel(examples),
                caption="Middle slices of example series of the progression cohort: plain, and with the ROI outline.",
                alt="Pairs of MRI slices, plain and with the outline of the region of interest.",
                source="the archive",
            ),
            *(
                picture(
                    f"features-{number}",
                    regions_figures.feature_steps(example),
                    caption="Steps from a slice to its feature vector; tumorprog features --show draws any slice.",
                    alt="A slice, its clusters and region, the four sub-bands and the kept DCT coefficients.",
                    source="the archive",
                )
                for number, example in enumerate(examples[:_NUM_FEATURE_EXAMPLES], 1)
            ),
        ],
    )


def _overlap_table(overlaps: Mapping[str, Any]) -> Table:
    sequences = sorted({sequence for by_sequence in overlaps.values() for sequence in by_sequence})
    rows = [
        {
            "Sequence": sequence,
            "n": max(scores[sequence]["dice"]["n"] for scores in overlaps.values()),
            **{method: scores[sequence]["dice"] for method, scores in overlaps.items()},
        }
        for sequence in sequences
    ]
    return Table(
        caption="Dice coefficient of the region and the tumour mask (MaskTumor) by roi.method, mean over series",
        rows=rows,
        source="metrics.json",
    )
