"""The columns of the tables about progression."""

from tumorprog.conventions import SURVIVAL_MONTHS

REFERENCE_SHEET = ("PatientID", "date", "Type", "PredictedGrade", "MonthDif", "days", "FirstGrade", "LaterGrade")
PREDICTIONS = (
    *("PatientID", "date", "Type", "PredictedGrade", "Predicted_Progression_Timeline", "Lower", "Upper"),
    *("SeriesInstanceUID", "stack", "region"),
)
"""region is what the regions of interest of the series come from, such as mask or learned."""

_SURVIVAL = ("months", "event", "Expected_Months", *(f"Survival_{months}m" for months in SURVIVAL_MONTHS))
SURVIVAL_MODELS = ("model", "life table")
"""The models whose curves `PATIENT_SURVIVAL` holds; the life table, one curve for all patients, is the baseline."""
SURVIVAL_PREDICTIONS = (
    *("PatientID", "date", "Type", "Fold", "Protocol", "Cohort", *_SURVIVAL, "Weight"),
    *("SeriesInstanceUID", "stack"),
)
PATIENT_SURVIVAL = ("Model", "PatientID", "date", "Fold", "Protocol", "Cohort", *_SURVIVAL, "Series")
NEW_PATIENTS = ("PatientID", "date", "Predicted_Progression_Timeline", "Lower", "Upper", "Series")
FOLDS = ("Protocol", "Cohort", "Fold", "PatientID", "date", "Type", "side")
PROGRESSION_HISTORY = ("Protocol", "Cohort", "Fold", "Epoch", "Train Loss", "Validation Loss")
PROGRESSION_PREDICTIONS = (
    "PatientID",
    "date",
    "Type",
    "PredictedGrade",
    "MonthDif",
    "Predicted_Progression_Timeline",
    "Fold",
    "Protocol",
    "Cohort",
    "Lower",
    "Upper",
    "days",
    "Weight",
    "SeriesInstanceUID",
    "stack",
)
PATIENT_PREDICTIONS = (
    *("PatientID", "date", "MonthDif", "Predicted_Progression_Timeline", "Fold", "Protocol", "Cohort"),
    *("Lower", "Upper", "days", "Series"),
)
BASELINES = ("Baseline", *PROGRESSION_PREDICTIONS)
NULL_CONTROL = ("Model", "Draw", *PROGRESSION_PREDICTIONS)
"""Predictions of the model and of the mean; draw 0 has the true months, the others permuted ones."""
SEEDS = ("Seed", *PROGRESSION_PREDICTIONS)
LEFT_OUT = ("Group", *PROGRESSION_PREDICTIONS)
"""Predictions for patients of two groups (Fold) by models trained on the others, and the group of each patient."""
