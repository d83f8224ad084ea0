"""predict: models of a finished run + features and grades of new patients -> predictions.csv, months to progression."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tumorprog import tables
from tumorprog.errors import InputError
from tumorprog.evaluation import combination, prediction_intervals
from tumorprog.graders.columns import SERIES_GRADES
from tumorprog.heads import bilstm, hazard
from tumorprog.progression.columns import NEW_PATIENTS, PREDICTIONS
from tumorprog.progression.series import read_options, read_series
from tumorprog.settings import Settings


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Predict the months to progression from every series of every date.

    Args:
        folder: contains `progression/` of a finished run, and `features/` and `grades.csv` of the new patients.
        out: receives `predictions.csv`, and `patient_predictions.csv` with one prediction for each patient and date.
        settings: not used; the model and the features record the settings they were computed with.

    Raises:
        InputError: if a file is missing, the features were computed with other options than the model's, or the model
            is of an earlier version.
    """
    del settings
    model, description = bilstm.load(folder / "progression", read_options(folder))
    series = read_series(folder / "features")
    grades = tables.read_csv(folder / "grades.csv", SERIES_GRADES)
    keys = ["PatientID", "date", "Type"]
    graded = series.drop(columns="vectors").merge(
        grades.drop_duplicates(keys)[[*keys, "PredictedGrade"]], on=keys, how="left"
    )
    months = _months(model, list(series["vectors"]), description)
    weight = combination.weights(graded, description["validation_errors_months"])
    graded = graded.assign(Predicted_Progression_Timeline=months, Weight=weight)
    patients = combination.weighted_means(graded, keys[:2], ["Predicted_Progression_Timeline"]).reset_index()
    if "interval_factor" not in description:
        raise InputError(
            f"{folder / 'progression'}: the model is of an earlier version, without prediction intervals on the "
            "logarithmic scale; run `tumorprog train-progression` again"
        )
    predictions = _with_interval(graded, description["interval_factor"])
    tables.write_csv(out / "predictions.csv", predictions, PREDICTIONS)
    combined = _with_interval(patients, description["patient_interval_factor"])
    tables.write_csv(out / "patient_predictions.csv", combined, NEW_PATIENTS)
    return f"{len(graded):,} series of {graded['PatientID'].nunique()} patients; " + _format_months(patients)


def _months(model: bilstm.ProgressionLSTM, vectors: list[np.ndarray], description: dict[str, Any]) -> np.ndarray:
    """Return the predicted months of each series; of a hazard model the mean restricted to the last training event."""
    if "interval_edges_months" in description:
        edges = np.array(description["interval_edges_months"])
        return hazard.expected_months(bilstm.predict_log_odds(model, vectors), edges)
    return np.maximum(bilstm.predict_months(model, vectors), 0.0)


def _with_interval(predictions: pd.DataFrame, factor: float | None) -> pd.DataFrame:
    return prediction_intervals.add_bounds(predictions, np.nan if factor is None else factor)


def _format_months(patients: pd.DataFrame) -> str:
    shown = [f"{months:.1f} months" for months in patients["Predicted_Progression_Timeline"].head(3)]
    return "mean over the series: " + ", ".join(shown) + (" ..." if len(patients) > len(shown) else "")
