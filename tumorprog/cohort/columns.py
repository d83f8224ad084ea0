"""The columns of the tables about patients: grades, dates, outcomes, tumour volumes."""

PATHOLOGY = ("Histology", "IDH", "Codeletion", "MGMT", "Edition")
"""What a table of grades may state besides the grade; text, "" if it is not known."""
COHORT = ("PatientID", "grade", "Institution", "status", *PATHOLOGY)

TIMELINE = ("PatientID", "studies", "dates", "time_points", "status")
VOLUMES = ("PatientID", "date", "volume_ml", "masks", "days_since", "change_ml", "change_percent")

OUTCOMES = ("PatientID", "date", "outcome_date", "months", "event", "status")
