"""The evaluation of progression: series, cross-validation folds, baselines, null control and the final model."""
