"""The progression model's metrics and tables of predictions -> its section of the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tumorprog.report import progression_figures
from tumorprog.report.drawing import picture
from tumorprog.report.page import Picture, Section, Table, number
from tumorprog.tables import DAYS_PER_MONTH

_METRICS = ("mae", "median_ae", "rmse", "concordance", "coverage")
_MOST_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is shown of the months to progression besides the metrics, each a table of `tables`."""

    predictions: pd.DataFrame
    """PROGRESSION_PREDICTIONS."""
    patients: pd.DataFrame
    """PATIENT_PREDICTIONS."""
    history: pd.DataFrame
    """PROGRESSION_HISTORY."""
    sheet: pd.DataFrame
    """REFERENCE_SHEET."""
    timeline: pd.DataFrame
    """TIMELINE."""
    volumes: pd.DataFrame
    """VOLUMES."""


def section(metrics: Mapping[str, Any], evidence: Evidence) -> Section:
    """The months to progression, for the grid of protocols and cohorts.

    Args:
        metrics: of `metrics.json`: progression, published_intervals, and null_control if there is one.
        evidence: the tables that the pictures are drawn from.
    """
    tables = [_bar_table(metrics), _table(metrics["progression"])]
    tables += [_patients_table(evidence), *_left_out(evidence.timeline)]
    null = metrics.get("null_control")
    return Section(
        id="progression",
        title="Months to progression",
        paragraphs=[
            *_words(evidence.sheet),
            *_verdict(metrics["progression"]),
            *_coverage(metrics["progression"]),
            *([_null_words(null)] if null else []),
        ],
        tables=tables,
        pictures=[*_pictures(metrics["progression"], evidence), *([_null_picture(null)] if null else [])],
    )


def _pictures(progression: Mapping[str, Any], evidence: Evidence) -> list[Picture]:
    return [
        picture(
            "months",
            progression_figures.months_scatter(evidence.predictions, evidence.patients),
            caption="Predicted and measured months; bars are prediction intervals of nominally 80 %.",
            alt="Scatter of predicted against measured months for each protocol and cohort.",
            source="progression/predictions.csv, progression/patient_predictions.csv",
        ),
        picture(
            "months-baselines",
            progression_figures.errors_beside_baselines(progression),
            caption="Mean absolute error per patient beside the baselines, run through the same folds.",
            alt="Bars of mean absolute error of the model and of its baselines.",
            source="metrics.json",
        ),
        picture(
            "months-history",
            progression_figures.progression_curves(evidence.history),
            caption="Losses during training, a thin line for each fold.",
            alt="Curves of training and validation loss.",
            source="progression/history.csv",
        ),
    ]


def _null_picture(null: Mapping[str, Any]) -> Picture:
    return picture(
        "months-null-control",
        progression_figures.null_control(null),
        caption="Mean absolute error of series after the months were shuffled between patients, one draw.",
        alt="Bars of mean absolute error of the model and of the mean, by protocol, with shuffled months.",
        source="progression/null_control.csv",
    )


def _words(sheet: pd.DataFrame) -> list[str]:
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
        "A patient's prediction is the mean over its series, each weighted by the inverse of the error that the model "
        "had on its kind of sequence among the validation patients of the fold.",
        "The mean and the median of the others have a concordance near 0 and not 0.5, because leaving out a long time "
        "lowers what the others tell: judge them by their errors.",
    ]


def _verdict(progression: Mapping[str, Any]) -> list[str]:
    """Whether the model is worth more, on unseen patients, than what looks at no image, or at a volume alone."""
    judged = progression.get("patient", {}).get("all", {}).get("patient", {})
    if not judged or judged["mae"]["value"] is None:
        return []
    ours, baselines = judged["mae"]["value"], {name: of["mae"]["value"] for name, of in judged["baselines"].items()}
    known = {name: value for name, value in baselines.items() if value is not None}
    as_good = [
        f"{name} ({value:.2f})" for name, value in sorted(known.items(), key=lambda item: item[1]) if value <= ours
    ]
    told = f"On unseen patients the model is off by {ours:.2f} months on average"
    if as_good:
        return [f"{told}, and so no better than {', '.join(as_good)}: on these data it shows no use."]
    beside = ", ".join(f"{name} {value:.2f}" for name, value in known.items())
    return [
        f"{told}, less than each of the baselines ({beside}). Whether that is more than luck, the intervals in the "
        "table tell."
    ]


def _coverage(progression: Mapping[str, Any]) -> list[str]:
    """The nominal and the observed coverage in words, for each protocol and cohort with intervals."""
    told = [
        f"{patient['value']:.0%} of the {patient['n']} patients and {series['value']:.0%} of the series under the "
        f"{protocol} protocol ({cohort})"
        for protocol, cohorts in progression.items()
        for cohort, levels in cohorts.items()
        if levels
        for patient, series in [(levels["patient"]["coverage"], levels["series"]["coverage"])]
        if patient["value"] is not None and series["value"] is not None
    ]
    return [f"Prediction intervals are made to hold 80 % of the truths. They hold {'; '.join(told)}."] if told else []


def _null_words(null: Mapping[str, Any]) -> str:
    """What the null control is, and what it found."""
    told = [
        f"{levels['series']['mae']['value']:.2f} under the {protocol} protocol, where the mean of the others' months "
        f"is off by {levels['series']['baselines']['mean']['mae']['value']:.2f}"
        for protocol, levels in sorted(null.items(), key=lambda item: item[0] == "paper")
    ]
    return (
        "The null control: the same folds with each patient given another's months. There is nothing to learn then but "
        "who is who. Leaving one patient out, a model can be no better than the mean of the others' months, but for "
        "luck; the paper's split, where series of the patient were seen, lets it be. Its mean absolute error per "
        f"series in months is {'; '.join(told)}."
    )


def _bar_table(metrics: Mapping[str, Any]) -> Table:
    published, here = metrics["published_intervals"], metrics["progression"]["patient"]["all"]["patient"]
    compared = {
        "Brain-Tumor-Progression's 20 intervals: the median of the others": published["median"],
        "Brain-Tumor-Progression's 20 intervals: the mean of the others": published["mean"],
        "This run, unseen patients: the median of the others": here["baselines"]["median"],
        "This run, unseen patients: the model": here,
    }
    rows = [
        {"What": what, "n": of["mae"]["n"], "mae": of["mae"], "median_ae": of["median_ae"]}
        for what, of in compared.items()
    ]
    caption = "The bar: what a constant reaches on the published intervals, and the model (errors in months)"
    return Table(caption=caption, rows=rows, source="metrics.json")


def _patients_table(evidence: Evidence) -> Table:
    """The patients left out in turn, with their tumours' volumes where there are masks."""
    told = evidence.patients
    honest = told[(told["Protocol"] == "patient") & (told["Cohort"] == "all")].merge(
        evidence.volumes[["PatientID", "date", "volume_ml"]], on=["PatientID", "date"], how="left"
    )
    later = evidence.volumes.groupby("PatientID")[["date", "change_ml"]].shift(-1)
    changes = evidence.volumes[["PatientID", "date"]].assign(change=later["change_ml"])
    shown = honest.merge(changes, on=["PatientID", "date"], how="left")
    rows = [
        {
            "Patient, date": f"{row['PatientID']}, {row['date']}",
            "Tumour (ml)": row["volume_ml"],
            "Change to the next date (ml)": row["change"],
            "Months": row["days"] / DAYS_PER_MONTH,
            "Predicted": row["Predicted_Progression_Timeline"],
            "Interval": "" if pd.isna(row["Lower"]) else f"{number(row['Lower'])} to {number(row['Upper'])}",
        }
        for row in shown.head(_MOST_ROWS).to_dict("records")
    ]
    cut = f", the first {_MOST_ROWS} of {len(shown)}" if len(shown) > _MOST_ROWS else ""
    return Table(caption=f"Unseen patients{cut}", rows=rows, source="progression/patient_predictions.csv, volumes.csv")


def _left_out(timeline: pd.DataFrame) -> list[Table]:
    without = timeline[timeline["status"] != "two dates or more"]
    if without.empty:
        return []
    shown = without.head(_MOST_ROWS)[["PatientID", "status", "dates", "studies"]]
    caption = f"{len(without)} patients of the progression cohort without two dates: no months to learn from"
    return [Table(caption=caption, rows=shown, source="timeline.csv")]


def _table(metrics: Mapping[str, Any]) -> Table:
    rows: list[dict[str, Any]] = []
    leaking = set()
    for protocol, cohorts in metrics.items():
        for cohort_name, levels in cohorts.items():
            for level, judged in levels.items():
                for name, of in {"model": judged, **judged["baselines"]}.items():
                    if protocol == "paper":
                        leaking.add(len(rows))
                    label = f"{protocol}, {cohort_name}, {level}: {name}"
                    shown = {metric: of[metric] for metric in _METRICS}
                    rows.append({"Protocol, cohort, level": label, "n": of["mae"]["n"], **shown})
    return Table(
        caption="Errors in months, concordance, and the share of intervals that hold the truth",
        rows=rows,
        source="metrics.json",
        leaking=frozenset(leaking),
    )
