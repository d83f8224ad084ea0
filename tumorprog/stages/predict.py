"""predict: a finished run's models + features and grades of new patients -> predictions.csv, months to progression."""

from pathlib import Path

import numpy as np
import pandas as pd

from tumorprog import tables
from tumorprog.models import progression
from tumorprog.settings import Settings
from tumorprog.stages import train_progression


def run(folder: Path, out: Path, settings: Settings) -> str:
    """Predicts the months to progression from every series of every date.

    Args:
        folder: holds `progression/` of a finished run, and `features/` and `grades.csv` of the new patients.
        out: receives `predictions.csv`.
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
    half_width = description["interval_half_width_months"]
    known["Predicted_Progression_Timeline"] = months
    known["Lower"] = np.maximum(months - half_width, 0.0) if half_width is not None else np.nan
    known["Upper"] = months + half_width if half_width is not None else np.nan
    tables.write_csv(out / "predictions.csv", known, tables.PREDICTIONS)
    per_patient = known.groupby(["PatientID", "date"])["Predicted_Progression_Timeline"].mean()
    return f"{len(known):,} series of {known['PatientID'].nunique()} patients; " + _told(per_patient)


def _told(per_patient: pd.Series) -> str:
    shown = [f"{months:.1f} months" for months in per_patient.head(3)]
    return "mean over the series: " + ", ".join(shown) + (" ..." if len(per_patient) > len(shown) else "")
