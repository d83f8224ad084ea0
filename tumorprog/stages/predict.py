"""predict: a finished run's models + features and grades of new patients -> predictions.csv, months to progression."""

from pathlib import Path

import numpy as np
import pandas as pd

from tumorprog import tables
from tumorprog.evaluation import combination
from tumorprog.models import progression
from tumorprog.settings import Settings
from tumorprog.stages import train_progression


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Predicts the months to progression from every series of every date.

    Args:
        folder: holds `progression/` of a finished run, and `features/` and `grades.csv` of the new patients.
        out: receives `predictions.csv`, and `patient_predictions.csv` with one prediction for each patient and date.
        settings: not asked; the model and the features say themselves what they were made with.

    Raises:
        InputError: if a file is missing, or the features were made with another wavelet or region than the model's.
    """
    del settings
    made_with = tables.read_summary(folder / "features")
    model, description = train_progression.load(
        folder / "progression", wavelet=made_with["wavelet"], roi=made_with["roi"]
    )
    series = train_progression.read_series(folder / "features")
    grades = tables.read_csv(folder / "grades.csv", tables.SERIES_GRADES)
    keys = ["PatientID", "date", "Type"]
    known = series.drop(columns="vectors").merge(
        grades.drop_duplicates(keys)[[*keys, "PredictedGrade"]], on=keys, how="left"
    )
    months = np.maximum(progression.predict_months(model, list(series["vectors"])), 0.0)
    weight = combination.weights(known["sequence"].to_numpy(), description["validation_errors_months"])
    known = known.assign(Predicted_Progression_Timeline=months, Weight=weight)
    patients = combination.weighted_means(known, keys[:2]).reset_index()
    told = _with_interval(known, description["interval_half_width_months"])
    tables.write_csv(out / "predictions.csv", told, tables.PREDICTIONS)
    combined = _with_interval(patients, description["patient_interval_half_width_months"])
    tables.write_csv(out / "patient_predictions.csv", combined, tables.NEW_PATIENTS)
    return f"{len(known):,} series of {known['PatientID'].nunique()} patients; " + _told(patients)


def _with_interval(predictions: pd.DataFrame, half_width: float | None) -> pd.DataFrame:
    months, width = predictions["Predicted_Progression_Timeline"], np.nan if half_width is None else half_width
    return predictions.assign(Lower=np.maximum(months - width, 0.0), Upper=months + width)


def _told(patients: pd.DataFrame) -> str:
    shown = [f"{months:.1f} months" for months in patients["Predicted_Progression_Timeline"].head(3)]
    return "mean over the series: " + ", ".join(shown) + (" ..." if len(patients) > len(shown) else "")
