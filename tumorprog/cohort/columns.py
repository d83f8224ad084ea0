"""The columns of the tables about patients: grades, dates, outcomes, tumour volumes."""

PATHOLOGY = ("Histology", "IDH", "Codeletion", "MGMT", "Edition")
"""What a table of grades may state besides the grade; text, "" if it is not known."""
COHORT = ("PatientID", "grade", "Institution", "status", *PATHOLOGY)

TIMELINE = ("PatientID", "studies", "dates", "time_points", "status")
LABELS = (1, 2, 3, 4)
"""Values of masks that have a column of their own in the table of volumes."""
VOLUMES = (
    *("PatientID", "date", "method", "volume_ml", *(f"label_{label}_ml" for label in LABELS), "other_labels_ml"),
    *("masks", "days_since", "change_ml", "change_percent"),
)
"""method is mask or learned; volume_ml is that of the region (of the labels in roi.labels, without margin)."""

OUTCOMES = ("PatientID", "date", "outcome_date", "months", "event", "status")
