"""Compute metrics with confidence intervals from tables of predictions, for the models and the baselines."""
