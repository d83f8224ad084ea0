"""The report on the prediction of months."""
