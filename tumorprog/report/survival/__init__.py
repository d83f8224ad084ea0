"""The report on survival."""
