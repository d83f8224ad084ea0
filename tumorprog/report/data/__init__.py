"""The report on the archive and the cohort."""
