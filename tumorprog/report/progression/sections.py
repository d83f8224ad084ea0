"""Section of the report on the months to progression."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.report.drawing import picture
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.page import Picture, Section, Table, number
from tumorprog.report.progression import figures as progression_figures
from tumorprog.report.progression import meaning

_METRICS = {
    "mae": "MAE",
    "median_ae": "Median AE",
    "rmse": "RMSE",
    "concordance": "Concordance",
    "coverage": "Coverage",
}
"""Metrics shown, with the headings of their columns."""
_MAX_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class ProgressionResults:
    """Tables that are shown in addition to the metrics, each with the columns of a table in `tables`."""

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
    identifiers: Identifiers
    """What patients and dates are called."""
    largest_errors: Sequence[Picture] = ()
    """Picture of the patients with the largest errors, if their images can be read."""


def section(metrics: Mapping[str, Any], results: ProgressionResults) -> Section:
    """Return the section on the months to progression, for all protocols and cohorts.

    Args:
        metrics: the parts progression, published_intervals and, if available, null_control of metrics.json.
        results: the tables that the figures are drawn from.
    """
    tables = [_baseline_table(metrics), _metrics_table(metrics["progression"])]
    tables += [_patients_table(results), *_excluded_table(results)]
    null = metrics.get("null_control")
    return Section(
        id="progression",
        title="Months to progression",
        paragraphs=[
            *_introduction(results),
            *_conclusion(metrics["progression"]),
            *_coverage(metrics["progression"]),
            *([_null_control_paragraph(null)] if null else []),
        ],
        tables=tables,
        pictures=[
            *_pictures(metrics["progression"], results),
            *results.largest_errors,
            *([_null_control_picture(null)] if null else []),
        ],
    )


def _pictures(progression: Mapping[str, Any], results: ProgressionResults) -> list[Picture]:
    return [
        picture(
            "months",
            progression_figures.months_scatter(results.predictions, results.patients),
            caption="Predicted and measured months to progression; error bars are prediction intervals with a nominal "
            "coverage of 80 %.",
            alt="Scatter of predicted against measured months for each protocol and cohort.",
            source="progression/predictions.csv, progression/patient_predictions.csv",
        ),
        picture(
            "months-baselines",
            progression_figures.errors_with_baselines(progression),
            caption="Mean absolute error per patient of the model and of the baselines, evaluated on the same folds.",
            alt="Bars of mean absolute error of the model and its baselines.",
            source="metrics.json",
        ),
        picture(
            "months-history",
            progression_figures.progression_curves(results.history),
            caption="Loss during training: thin lines are folds, thick lines the mean over the folds.",
            alt="Curves of training and validation loss.",
            source="progression/history.csv",
        ),
    ]


def _null_control_picture(null: Mapping[str, Any]) -> Picture:
    return picture(
        "months-null-control",
        progression_figures.null_control(null),
        caption="Mean absolute error of series after shuffling the months between patients (one permutation).",
        alt="Bars of mean absolute error of the model and of the mean baseline with shuffled months, by protocol.",
        source="progression/null_control.csv",
    )


def _introduction(results: ProgressionResults) -> list[str]:
    intervals = results.sheet.drop_duplicates(["PatientID", "date"])
    return [
        "The inputs are the series of the first date only; the target is the time to the second date.",
        *meaning.between_dates(intervals, results.timeline, results.volumes),
        _rising_grades(intervals, known=meaning.is_brain_tumor_progression(results.timeline["PatientID"])),
        "The prediction for a patient is the weighted mean of the predictions for the patient's series. The weight is "
        "the inverse of the model's error on that type of sequence in the validation patients of the fold.",
        "The baselines mean and median (of the other patients' months) have a concordance near 0 instead of 0.5 under "
        "the patient protocol, because holding out a patient with a long time lowers the mean and the median of the "
        "others. Compare them with the model by their errors.",
    ]


def _rising_grades(intervals: pd.DataFrame, *, known: bool) -> str:
    """Describe the cohorts and the protocols of the paper."""
    num_rising = int((intervals["LaterGrade"] > intervals["FirstGrade"]).sum())
    noise = (
        "Because the collection documents a glioblastoma on both dates, a rise is noise of the grader. "
        if known
        else "The true grades on both dates are not recorded, so a rise may be noise of the grader. "
    )
    return (
        "The paper selects the patients whose predicted grade rises between the dates (cohort grade_rise); the cohort "
        f"all contains every patient. The predicted grade rises in {num_rising} of {len(intervals)} intervals. {noise}"
        + ("With fewer than three such patients, the cohort grade_rise is empty. " if num_rising < 3 else "")
        + "The patient protocol is leave-one-patient-out. The paper's split puts series of one patient into both the "
        "training set and the test set, and all series of a patient have the same target: recognising the patient is "
        "enough to predict it."
    )


def _conclusion(progression: Mapping[str, Any]) -> list[str]:
    """State whether the model is better than its baselines on held-out patients."""
    evaluated = progression.get("patient", {}).get("all", {}).get("patient", {})
    if not evaluated or evaluated["mae"]["value"] is None:
        return []
    model_mae = evaluated["mae"]["value"]
    baselines = {name: scores["mae"]["value"] for name, scores in evaluated["baselines"].items()}
    defined = {name: value for name, value in baselines.items() if value is not None}
    as_good = [
        f"{name} ({value:.2f})"
        for name, value in sorted(defined.items(), key=lambda item: item[1])
        if value <= model_mae
    ]
    start = f"On held-out patients the mean absolute error of the model is {model_mae:.2f} months"
    if as_good:
        return [
            f"{start}. Baselines with an equal or lower error: {', '.join(as_good)}. On these data the model shows no "
            "benefit."
        ]
    compared = ", ".join(f"{name} {value:.2f}" for name, value in defined.items())
    return [
        f"{start}, lower than that of each baseline ({compared}). The confidence intervals in the table indicate "
        "whether the difference may be due to chance."
    ]


def _coverage(progression: Mapping[str, Any]) -> list[str]:
    """State the nominal and the observed coverage for each protocol and cohort with prediction intervals."""
    observed = [
        f"{patient['value']:.0%} of the {patient['n']} patients and {series['value']:.0%} of the series under the "
        f"{protocol} protocol (cohort {cohort})"
        for protocol, cohorts in progression.items()
        for cohort, levels in cohorts.items()
        if levels
        for patient, series in [(levels["patient"]["coverage"], levels["series"]["coverage"])]
        if patient["value"] is not None and series["value"] is not None
    ]
    if not observed:
        return []
    return [
        "Prediction intervals are constructed to contain 80 % of the true values. The observed coverage is "
        f"{'; '.join(observed)}."
    ]


def _null_control_paragraph(null: Mapping[str, Any]) -> str:
    """Describe the null control and its results."""
    errors = [
        f"{levels['series']['mae']['value']:.2f} months under the {protocol} protocol (mean of the other patients: "
        f"{levels['series']['baselines']['mean']['mae']['value']:.2f} months)"
        for protocol, levels in sorted(null.items(), key=lambda item: item[0] == "paper")
    ]
    return (
        "The permutation control (null control) uses the same folds with the months shuffled between patients, so that "
        "the images no longer predict the months and a model can only memorise patients. In leave-one-patient-out "
        "evaluation it can then be better than the mean of the other patients' months only by chance; under the "
        "paper's split, where other series of the patient are in the training set, it can be better through leakage. "
        f"The mean absolute error per series is {'; '.join(errors)}."
    )


def _baseline_table(metrics: Mapping[str, Any]) -> Table:
    published, evaluated = metrics["published_intervals"], metrics["progression"]["patient"]["all"]["patient"]
    compared = {
        "Brain-Tumor-Progression, 20 published intervals: median of the other patients": published["median"],
        "Brain-Tumor-Progression, 20 published intervals: mean of the other patients": published["mean"],
        "This run, held-out patients: median of the other patients": evaluated["baselines"]["median"],
        "This run, held-out patients: model": evaluated,
    }
    rows = [
        {
            "Data: predictor": name,
            "n": scores["mae"]["n"],
            **{_METRICS[key]: scores[key] for key in ("mae", "median_ae")},
        }
        for name, scores in compared.items()
    ]
    caption = (
        "The baseline: errors in months of constant predictions on the published intervals, and of the model. MAE: "
        "mean absolute error; Median AE: median absolute error"
    )
    return Table(caption=caption, rows=rows, source="metrics.json")


def _patients_table(results: ProgressionResults) -> Table:
    """List the held-out patients with their predictions and, if masks are available, their masked volumes."""
    patients = results.patients
    held_out = patients[(patients["Protocol"] == "patient") & (patients["Cohort"] == "all")].merge(
        results.volumes[["PatientID", "date", "volume_ml"]], on=["PatientID", "date"], how="left"
    )
    later = results.volumes.groupby("PatientID")[["change_ml", "change_percent"]].shift(-1)
    changes = results.volumes[["PatientID", "date"]].join(later)
    listed = held_out.merge(changes, on=["PatientID", "date"], how="left")
    names = [results.identifiers.patient(patient) for patient in listed["PatientID"]]
    shown = listed.assign(name=names).sort_values("name", kind="stable").head(_MAX_ROWS)
    truncated = f", the first {_MAX_ROWS} of {len(listed)}" if len(listed) > _MAX_ROWS else ""
    return Table(
        caption=f"Held-out patients{truncated}",
        rows=[_patient_row(row, results.identifiers) for row in shown.to_dict("records")],
        source="progression/patient_predictions.csv, volumes.csv",
    )


def _patient_row(row: Mapping[Hashable, Any], identifiers: Identifiers) -> dict[str, Any]:
    return {
        "Patient, date": f"{row['name']}, {identifiers.date(row['PatientID'], row['date'])}",
        meaning.VOLUME: row["volume_ml"],
        "Change to the next date (ml)": row["change_ml"],
        "Change (%)": row["change_percent"],
        "Measured (months)": row["days"] / DAYS_PER_MONTH,
        "Predicted (months)": row["Predicted_Progression_Timeline"],
        "Prediction interval": "" if pd.isna(row["Lower"]) else f"{number(row['Lower'])} to {number(row['Upper'])}",
    }


def _excluded_table(results: ProgressionResults) -> list[Table]:
    without = results.timeline[results.timeline["status"] != "two dates or more"]
    if without.empty:
        return []
    names = [results.identifiers.patient(patient) for patient in without["PatientID"]]
    shown = pd.DataFrame(
        {
            "Patient": names,
            "Status": without["status"].to_numpy(),
            "Dates": [_dates(row, results.identifiers) for row in without.to_dict("records")],
            "Studies": without["studies"].to_numpy(),
        }
    )
    caption = f"Patients of the progression cohort excluded because they do not have two dates ({len(without)})"
    return [Table(caption=caption, rows=shown.sort_values("Patient").head(_MAX_ROWS), source="timeline.csv")]


def _dates(row: Mapping[Hashable, Any], identifiers: Identifiers) -> str:
    dates = "" if pd.isna(row["dates"]) else row["dates"]
    return ", ".join(identifiers.date(row["PatientID"], date) for date in dates.split())


def _metrics_table(metrics: Mapping[str, Any]) -> Table:
    rows: list[dict[str, Any]] = []
    leaking = set()
    for protocol, cohorts in metrics.items():
        for cohort_name, levels in cohorts.items():
            for level, model in levels.items():
                for name, scores in {"model": model, **model["baselines"]}.items():
                    if protocol == "paper":
                        leaking.add(len(rows))
                    label = f"{protocol}, {cohort_name}, {level}: {name}"
                    shown = {title: scores[metric] for metric, title in _METRICS.items()}
                    rows.append({"Protocol, cohort, level": label, "n": scores["mae"]["n"], **shown})
    return Table(
        caption="Errors in months (MAE: mean absolute error; Median AE: median absolute error; RMSE: root mean square "
        "error), concordance, and coverage (share of prediction intervals that contain the true value)",
        rows=rows,
        source="metrics.json",
        leaking=frozenset(leaking),
    )
