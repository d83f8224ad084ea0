"""The columns of the tables about patients: grades, dates, outcomes, tumour volumes."""

COHORT = ("PatientID", "grade", "Institution", "status")

TIMELINE = ("PatientID", "studies", "dates", "time_points", "status")
VOLUMES = ("PatientID", "date", "volume_ml", "masks", "days_since", "change_ml", "change_percent")

OUTCOMES = ("PatientID", "date", "outcome_date", "months", "event", "status")
