"""The agreement of the regions with the tumour masks -> paragraphs, tables and pictures of the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tumorprog import queries, tables
from tumorprog.evaluation import overlap
from tumorprog.evaluation.intervals import count_of
from tumorprog.regions.columns import LESIONS, SCORES
from tumorprog.report import names
from tumorprog.report.drawing import picture
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.page import Picture, Table, number, shown
from tumorprog.report.regions import figures
from tumorprog.report.regions.literature import READERS
from tumorprog.report.regions.outlines import Outlined, Source, outlines
from tumorprog.settings import Settings

_SCORES = "regions/_scores.csv"
_ROWS = {
    "dice": "Dice coefficient",
    "dice_over_10_ml": "Dice coefficient, masks of 10 ml or more",
    "dice_minus_component": "Dice coefficient, minus that of the largest bright component",
    "dice_minus_brightest": "Dice coefficient, minus that of the brightest cluster",
    "hd95_mm": "Distance of the surfaces, 95th percentile (mm)",
    "volume_error_ml": "Volume, region minus mask (ml)",
    "volume_error_lower_limit_ml": "Lower limit of agreement (ml)",
    "volume_error_upper_limit_ml": "Upper limit of agreement (ml)",
    "absolute_volume_error_ml": "Absolute error of the volume (ml)",
    "lesions_found": "Share of lesions found",
    "lesions_found_under_1_ml": "Share found, lesions under 1 ml",
    "lesions_found_1_to_10_ml": "Share found, lesions of 1 to 10 ml",
    "lesions_found_over_10_ml": "Share found, lesions of 10 ml or more",
    "false_lesions": "False lesions per scan",
}
_OF_BEST = {
    "scans": "Scans",
    "mask_ml": "Mask (ml)",
    "region_ml": "Region (ml)",
    "hd95_mm": "Distance (mm)",
    "lesions": "Lesions",
    "lesions_found": "Lesions found",
    "false_lesions": "False lesions",
}
"""Columns of the best method in the table of the patients."""
_MEASURES = (
    "The Dice coefficient measures the overlap of the region with the tumour mask: 1 means that they are identical, 0 "
    "that they do not overlap. It is computed over all slices of a scan, including slices without tumour. A lesion is "
    "a connected component of the mask; it is found if the region touches it. A false lesion is a connected component "
    "of the region that touches no mask. Regions are compared without margin. Values are means over scans; intervals "
    "are over patients."
)
_CROSS_FITTED = (
    "The segmenter is cross-fitted: the region of every patient who has masks comes from a model that was trained "
    "without this patient."
)
_CONFORMITY = (
    "The conformity index of several readers is a Jaccard index J; two regions with this index have a Dice coefficient "
    "of 2 J / (1 + J): 0.88, 0.48 and 0.79 for 0.79, 0.32 and 0.65."
)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the regions agree with the tumour masks."""

    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """Part `roi` of metrics.json: method -> sequence -> metrics."""
    scores: pd.DataFrame
    """Rows of `regions.columns.SCORES` with a mask that is not empty."""
    outlined: Sequence[Outlined]
    """Of the best, the median and the worst patient."""
    identifiers: Identifiers

    @property
    def sequence(self) -> str:
        """The sequence that is scored in full; "" if there is none."""
        return overlap.scored_in_full(self.metrics)

    def on_sequence(self) -> dict[str, Mapping[str, Any]]:
        """Return the metrics of this sequence by method, the best method first."""
        methods = [method for method in reversed(overlap.METHODS) if self.sequence in self.metrics.get(method, {})]
        return {method: self.metrics[method][self.sequence] for method in methods}


def read(folder: Path, identifiers: Identifiers, settings: Settings) -> Agreement | None:
    """Evaluate the scores of the stage `regions`.

    Args:
        folder: run directory.
        identifiers: what patients and dates are called.
        settings: of the run.

    Returns:
        None if no mask could be compared.
    """
    scores = tables.read_csv(folder / _SCORES, SCORES)
    lesions = tables.read_csv(folder / "regions" / "_lesions.csv", LESIONS)
    bootstrap = {"resamples": settings.report.bootstrap, "seed": settings.seed}
    metrics = overlap.agreement_by_sequence(scores, lesions, **bootstrap)
    if not metrics:
        return None
    known = Agreement(metrics=metrics, scores=scores[scores["mask"] > 0], outlined=(), identifiers=identifiers)
    source = Source(
        catalogue=tables.shards(folder / "catalogue"), segmenter=folder / "segmenter", labels=settings.roi.labels
    )
    best = next(iter(known.on_sequence()), "")
    drawn = outlines(known.scores, best, known.sequence, source, identifiers) if best else []
    return Agreement(metrics=metrics, scores=known.scores, outlined=drawn, identifiers=identifiers)


def used(regions: list[Path]) -> pd.DataFrame:
    """Return inside which regions the features were computed.

    Args:
        regions: shards of `regions.columns.REGIONS`.

    Returns:
        A row per method in the order of `report.names.REGIONS`: method, slices, series, dates and patients.
    """
    counts = queries.fetch(
        """SELECT method, count(*) AS slices, count(DISTINCT SeriesInstanceUID) AS series,
        count(DISTINCT (PatientID, date)) AS dates, count(DISTINCT PatientID) AS patients
        FROM regions WHERE cohort = 'progression' GROUP BY method""",
        regions=regions,
    )
    order = list(names.REGIONS)
    return counts.sort_values("method", key=lambda column: column.map(order.index)).reset_index(drop=True)


def used_sentence(counts: pd.DataFrame) -> str:
    """Return inside which regions the features were computed, as a sentence.

    Args:
        counts: from `used`, not empty.
    """
    total = int(counts["slices"].sum())
    parts = [
        f"{names.region(str(method))} on {count_of(int(number), 'slice')} ({number / total:.0%})"
        for method, number in zip(counts["method"], counts["slices"], strict=True)
    ]
    return f"The features were computed inside these regions: {'; '.join(parts)}."


def used_table(counts: pd.DataFrame) -> Table:
    """Return inside which regions the features were computed, as a table; see `used_sentence`."""
    rows = [
        {"Region": names.region(row["method"]), **{name.capitalize(): row[name] for name in counts.columns[1:]}}
        for row in counts.to_dict("records")
    ]
    return Table(caption="Regions from which the features were computed", rows=rows, source="regions/*.parquet")


def paragraphs(known: Agreement) -> list[str]:
    """Return what was compared, and what it means beside the agreement of readers."""
    fitted = [_CROSS_FITTED] if "learned" in known.metrics else []
    best = next(iter(known.on_sequence().items()), None)
    if best is None:
        return [_MEASURES, *fitted]
    method, metrics = best
    compared = (
        f"On {known.sequence}, {count_of(metrics['dice']['n'], 'scan')} of "
        f"{count_of(metrics['dice']['patients'], 'patient')} with a mask, the mean Dice coefficient of the "
        f"{names.region(method)} is {shown(metrics['dice'])}."
    )
    return [_MEASURES, *fitted, compared, _CONFORMITY]


def agreement_tables(known: Agreement) -> list[Table]:
    """Return the tables of the methods, of the sequences, of the patients, and of the literature."""
    by_method = known.on_sequence()
    in_full = [_methods_table(known, by_method), _patients_table(known)] if by_method else []
    readers = Table(caption="Agreement of readers in the literature", rows=list(READERS), source="the literature")
    return [*in_full[:1], _sequences_table(known), *in_full[1:], readers]


def _methods_table(known: Agreement, by_method: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        {"Agreement with the mask": label, **{names.region(name): one.get(key) for name, one in by_method.items()}}
        for key, label in _ROWS.items()
        if any(key in one for one in by_method.values())
    ]
    dice = next(iter(by_method.values()))["dice"]
    counted = f"{count_of(dice['n'], 'scan')} of {count_of(dice['patients'], 'patient')}"
    caption = f"Regions and tumour masks on {known.sequence}: {counted}; limits of agreement by Bland and Altman"
    return Table(caption=caption, rows=rows, source="metrics.json")


def _sequences_table(known: Agreement) -> Table:
    methods = [method for method in reversed(overlap.METHODS) if method in known.metrics]
    sequences = sorted({sequence for by_sequence in known.metrics.values() for sequence in by_sequence})
    rows = [
        {
            "Sequence": sequence,
            "Scans": max(known.metrics[method][sequence]["dice"]["n"] for method in _having(known, methods, sequence)),
            **{
                names.region(method): known.metrics[method][sequence]["dice"]
                if sequence in known.metrics[method]
                else None
                for method in methods
            },
        }
        for sequence in sequences
    ]
    caption = "Dice coefficient of the regions and the tumour masks on each sequence, mean over scans"
    return Table(caption=caption, rows=rows, source="metrics.json")


def _having(known: Agreement, methods: Sequence[str], sequence: str) -> list[str]:
    return [method for method in methods if sequence in known.metrics[method]]


def _patients_table(known: Agreement) -> Table:
    by_patient = overlap.by_patient(known.scores, known.sequence)
    methods = list(known.on_sequence())
    rows = [
        _patient_row(known.identifiers.patient(str(patient)), {row["method"]: row for row in own.to_dict("records")}, methods)
        for patient, own in by_patient.groupby("PatientID", sort=True)
    ]
    best = names.region(methods[0])
    caption = (
        f"Agreement for each patient on {known.sequence}, means over the patient's scans; distance, volume and lesions "
        f"are those of the {best}"
    )
    return Table(caption=caption, rows=sorted(rows, key=lambda row: str(row["Patient"])), source=_SCORES)


def _patient_row(patient: str, by_method: Mapping[str, Mapping[Any, Any]], methods: Sequence[str]) -> dict[str, object]:
    best = by_method.get(methods[0], dict.fromkeys(_OF_BEST))
    coefficients = {f"Dice, {names.region(name)}": by_method.get(name, {}).get("dice") for name in methods}
    return {
        "Patient": patient,
        **coefficients,
        **{label: best[name] for name, label in _OF_BEST.items()},
    }


def pictures(known: Agreement) -> Iterator[Picture]:
    """Yield the figures of the sequence that is scored in full: outlines, Dice by volume, agreement of volumes."""
    by_method = known.on_sequence()
    if not by_method:
        return
    scores = known.scores[known.scores["sequence"] == known.sequence]
    best = next(iter(by_method))
    if known.outlined:
        yield picture(
            "roi-outlines",
            figures.outlined_panels(known.outlined),
            caption=f"Patients with the highest, the middle and the lowest mean Dice coefficient of the "
            f"{names.region(best)}: of the scan that is closest to the patient's mean, the slice with the largest area "
            "of the mask.",
            alt="; ".join(one.title.replace("\n", ", ") for one in known.outlined),
            source="the archive",
        )
    yield picture(
        "roi-dice",
        figures.dice_by_volume(scores),
        caption=f"Each point is a scan of {known.sequence} with a tumour mask. Small tumours overlap less for the same "
        "error of the outline.",
        alt="Mean Dice coefficient: "
        + "; ".join(f"{names.region(name)} {shown(one['dice'])}" for name, one in by_method.items()),
        source=_SCORES,
    )
    yield picture(
        "roi-volumes",
        figures.volume_agreement(scores, by_method),
        caption="Each point is a scan. Solid: mean difference; dashed: limits between which 95% of the differences are "
        "expected, from the variance within and between patients (Bland and Altman 1986, 2007).",
        alt="Limits of agreement in ml: "
        + "; ".join(f"{names.region(name)} {_limits(one)}" for name, one in by_method.items()),
        source=_SCORES,
    )


def _limits(metrics: Mapping[str, Any]) -> str:
    ends = [metrics[f"volume_error_{side}_limit_ml"]["value"] for side in ("lower", "upper")]
    return " to ".join("not defined" if end is None else number(end) for end in ends)
