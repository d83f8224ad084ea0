"""Section of the report on the months to progression."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tumorprog.conventions import DAYS_PER_MONTH
from tumorprog.evaluation.measures import outcome
from tumorprog.evaluation.prediction_intervals import COVERAGE
from tumorprog.report import drawing, names, verdicts
from tumorprog.report.drawing import LEAKING_PROTOCOL, picture
from tumorprog.report.identifiers import Identifiers
from tumorprog.report.page import Picture, Section, Table, number
from tumorprog.report.progression import figures as progression_figures
from tumorprog.report.progression import meaning

_METRICS = {
    "mae": "Mean absolute error",
    "difference": "Mean absolute error, model minus baseline",
    "median_ae": "Median absolute error",
    "rmse": "Root mean square error",
    "concordance": "Concordance",
    "coverage": "Coverage of the prediction intervals",
    "interval_width": "Median width of the prediction intervals",
    "interval_score": "Interval score",
}
"""Metrics shown, with the names of their rows."""
_MAX_ROWS = 40
_INFORMATIVE = {
    "better": "They are informative.",
    "worse": "They are less informative than that.",
    "undecided": "It is not shown that they are informative.",
    "unknown": "It is not shown that they are informative.",
}


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
        metrics: the parts progression, published_intervals and, if available, progression_seeds and null_control of
            metrics.json.
        results: the tables that the figures are drawn from.
    """
    tables = [*_metrics_tables(metrics["progression"]), _baseline_table(metrics)]
    tables += [_patients_table(results), *_excluded_table(results)]
    null = metrics.get("null_control")
    return Section(
        id="progression",
        title="Months to progression",
        paragraphs=[
            *_conclusion(metrics["progression"]),
            *_introduction(results),
            *_coverage(metrics["progression"]),
            *([_seeds_paragraph(metrics["progression_seeds"])] if "progression_seeds" in metrics else []),
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
            f"coverage of {COVERAGE:.0%}, where there are enough patients for them.",
            alt=_describe_months(results.patients),
            source="progression/predictions.csv, progression/patient_predictions.csv",
        ),
        picture(
            "months-baselines",
            progression_figures.errors_with_baselines(progression),
            caption="Mean absolute error per patient of the model and of the baselines, evaluated on the same folds.",
            alt=drawing.describe_bars(
                progression_figures.compared_panels(progression), "mae", label="Mean absolute error (months)"
            ),
            source="metrics.json",
        ),
        picture(
            "months-history",
            progression_figures.progression_curves(results.history),
            caption="Loss during training: thin lines are folds, thick lines the mean over the folds.",
            alt=_describe_losses(results.history),
            source="progression/history.csv",
        ),
    ]


def _describe_months(patients: pd.DataFrame) -> str:
    """Return the ranges of the measured and the predicted months of the patients under each protocol, in words."""
    parts = []
    for protocol, rows in patients.groupby("Protocol", sort=False):
        measured, predicted = rows["days"] / DAYS_PER_MONTH, rows["Predicted_Progression_Timeline"]
        parts.append(
            f"{names.protocol(str(protocol))}: measured {number(measured.min())} to {number(measured.max())} months, "
            f"predicted {number(predicted.min())} to {number(predicted.max())}"
        )
    return "; ".join(parts) + "."


def _describe_losses(history: pd.DataFrame) -> str:
    """Return the validation loss at the start and at its lowest, mean over the folds, under each protocol, in words."""
    parts = []
    for protocol, rows in history.groupby("Protocol", sort=False):
        folds = rows.groupby(["Cohort", "Fold"])["Validation Loss"]
        parts.append(
            f"{names.protocol(str(protocol))}: mean validation loss {number(float(folds.first().mean()))} after the "
            f"first epoch, {number(float(folds.min().mean()))} at the best"
        )
    return "; ".join(parts) + "."


def _null_control_picture(null: Mapping[str, Any]) -> Picture:
    described = [
        f"{names.protocol(protocol)}: {number(control['observed'])} months with the true months, "
        f"{number(min(control['draws']))} to {number(max(control['draws']))} in the permutations"
        for protocol, control in null.items()
    ]
    return picture(
        "months-null-control",
        progression_figures.null_control(null),
        caption="Mean absolute error per patient of the model minus that of the mean of the training patients, with "
        "the true months and with each permutation of the months between patients: left of 0 the model is better. The "
        "vertical position has no meaning.",
        alt="; ".join(described),
        source="progression/null_control.csv",
    )


def _introduction(results: ProgressionResults) -> list[str]:
    intervals = results.sheet.drop_duplicates(["PatientID", "date"])
    return [
        meaning.inputs(intervals),
        *meaning.between_dates(intervals, results.timeline, results.volumes),
        _rising_grades(intervals, known=meaning.is_brain_tumor_progression(results.timeline["PatientID"])),
        "The prediction for a patient is the weighted mean of the predictions for the patient's series. The weight is "
        "the inverse of the model's error on that type of sequence in the validation patients of the fold.",
        "The baselines mean and median (of the other patients' months) have a concordance near 0 instead of 0.5 under "
        "the patient protocol, because holding out a patient with a long time lowers the mean and the median of the "
        "others. Compare them with the model by their errors.",
    ]


def _held_out(progression: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics per held-out patient of the cohort `all`; empty if there are none."""
    return progression.get("patient", {}).get("all", {}).get("patient", {})


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
    return verdicts.comparisons(
        _held_out(progression).get("baselines", {}),
        metric="mean absolute error per patient",
        unit="months",
        lower_is_better=True,
    )


def _coverage(progression: Mapping[str, Any]) -> list[str]:
    """State how the prediction intervals are made, their coverage and width, and whether they are informative."""
    evaluated = _held_out(progression)
    if not evaluated or evaluated["coverage"]["value"] is None:
        return []
    coverage, width = evaluated["coverage"], evaluated["interval_width"]
    return [
        f"Prediction intervals should contain {COVERAGE:.0%} of the true values. The interval of a patient divides and "
        "multiplies the prediction by a factor, taken from the errors of the other patients in models that were "
        "trained on neither, so that the patient has no part in it. The intervals contain the true value of "
        f"{coverage['value']:.0%} of {_counted(coverage)} (95% interval {coverage['lower']:.0%} to "
        f"{coverage['upper']:.0%}): {_coverage_verdict(coverage)}. Half of them are wider than "
        f"{number(width['value'])} months. {_informative(evaluated['baselines']['median'])}"
    ]


def _counted(metric: Mapping[str, Any]) -> str:
    """Return the number of rows of a metric per patient: patients, or their dates where patients have several."""
    patients = names.counted("patient", metric["patients"])
    return patients if metric["n"] == metric["patients"] else f"{metric['n']} dates of {patients}"


def _coverage_verdict(coverage: Mapping[str, Any]) -> str:
    if coverage["upper"] < COVERAGE:
        return "they are too narrow"
    return "they are too wide" if coverage["lower"] > COVERAGE else "this is compatible with the promise"


def _informative(constant: Mapping[str, Any]) -> str:
    """State whether the intervals are better than one made of the other patients' months without images."""
    difference = constant["interval_score_difference"]
    if difference["value"] is None:
        return "There are too few patients for an interval without images to compare them with."
    compared = verdicts.compared("median", difference, unit="months", lower_is_better=True)
    verdict = _INFORMATIVE[outcome(dict(difference), lower_is_better=True)]
    return (
        "By the interval score, which adds to the width a penalty for each value missed (lower is better), they are "
        f"{compared}, whose interval is made of the other patients' months without images. {verdict}"
    )


def _seeds_paragraph(seeds: Mapping[str, Any]) -> str:
    """State the spread of the primary metric over trainings with other seeds."""
    errors = seeds["mae"]
    shown = ", ".join(number(value) for value in errors["values"])
    return (
        f"The folds by patient were trained with {len(errors['values'])} seeds: mean absolute errors per patient of "
        f"{shown} months (mean {number(errors['mean'])}, standard deviation {number(errors['sd'])}). The first is the "
        "result that is reported."
    )


def _null_control_paragraph(null: Mapping[str, Any]) -> str:
    """Describe the null control and its results."""
    results = [
        f"{names.protocol(protocol)}, {number(control['observed'])} months with the true months and "
        f"{number(min(control['draws']))} to {number(max(control['draws']))} in {len(control['draws'])} permutations, "
        f"of which {control['as_good']} are at least as good (p = {number(control['p'])})"
        for protocol, control in sorted(null.items(), key=lambda item: item[0] == LEAKING_PROTOCOL)
    ]
    return (
        "The permutation control (null control) trains on months that are permuted between patients, so that the "
        "images no longer predict them and a model can only memorise patients; for comparison, the same folds are "
        "trained on the true months. These are five folds by patient instead of leave-one-patient-out, so the "
        "difference on the true months is not that of the results above. Of the held-out patients the model can then "
        "be better than the mean of the training patients only by chance; under the paper's split, where other series "
        "of the patient are in the training set, it can be better through leakage. The mean absolute error per patient "
        f"of the model minus that of the mean of the training patients is: {'; '.join(results)}."
    )


def _baseline_table(metrics: Mapping[str, Any]) -> Table:
    published, evaluated = metrics["published_intervals"], metrics["progression"]["patient"]["all"]["patient"]
    compared = {
        "Brain-Tumor-Progression, 20 published intervals: median of the training patients": published["median"],
        "Brain-Tumor-Progression, 20 published intervals: mean of the training patients": published["mean"],
        "This run, held-out patients: median of the training patients": evaluated["baselines"]["median"],
        "This run, held-out patients: model": evaluated,
    }
    rows = [
        {
            "Data: predictor": name,
            "n": scores["mae"]["n"],
            **{names.metric(key): scores[key] for key in ("mae", "median_ae")},
        }
        for name, scores in compared.items()
    ]
    caption = "The baseline: errors in months of constant predictions on the published intervals, and of the model"
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


def _metrics_tables(metrics: Mapping[str, Any]) -> list[Table]:
    return [
        _metrics_table((protocol, cohort, level), model)
        for protocol, cohorts in metrics.items()
        for cohort, levels in cohorts.items()
        for level, model in sorted(levels.items(), key=lambda item: item[0] != "patient")
    ]


def _rows_of(metric: Mapping[str, Any], level: str) -> str:
    if level == "patient":
        return _counted(metric)
    patients = names.counted("patient", metric["patients"])
    return patients if metric["n"] == metric["patients"] else f"{patients}, {metric['n']} series"


def _metrics_table(group: tuple[str, str, str], model: Mapping[str, Any]) -> Table:
    """Return the metrics of the model and its baselines, a row per metric, without metrics that none of them has."""
    compared = {"model": model, **model["baselines"]}
    rows = [
        {"Metric": title, **{names.model(name): scores.get(metric, "") for name, scores in compared.items()}}
        for metric, title in _METRICS.items()
        if any(scores.get(metric, {"value": None})["value"] is not None for scores in compared.values())
    ]
    protocol, cohort, level = group
    title = f"{names.protocol(protocol)}, {names.cohort(cohort)}, {names.level(level)}, {_rows_of(model['mae'], level)}"
    return Table(
        caption=f"Results: {title}, with 95% confidence intervals over patients. Errors and widths are in months",
        rows=rows,
        source="metrics.json",
        leaking=frozenset(range(len(rows))) if protocol == LEAKING_PROTOCOL else frozenset(),
    )
