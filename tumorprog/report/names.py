"""Names shown to readers for the protocols, cohorts, levels, models, baselines and metrics of metrics.json.

Every function returns an unknown key unchanged, for example the name of an institution.
"""

from tumorprog.evaluation.intervals import count_of

LEAKING_PROTOCOL = "paper"
"""Protocol whose sets share patients."""

PROTOCOLS = {
    "patient": "held-out patients",
    "folds": "held-out patients, cross-validated",
    "paper": "paper's split (leakage)",
}
COHORTS = {"all": "all patients", "grade_rise": "patients with a rising grade"}
LEVELS = {"slice": "per slice", "series": "per series", "patient": "per patient"}
COUNTED = {"slice": "slices", "series": "series", "patient": "patients"}
MODELS = {
    "model": "model",
    "best trial": "best trial",
    "majority": "majority class",
    "institution": "institution only",
    "mean": "mean of the training patients",
    "median": "median of the training patients",
    "ridge": "ridge regression on the features",
    "volume": "masked volume only",
    "life table": "life table",
    "null control": "null control",
}
"""Names of the models and of the baselines."""
_WITHOUT_ARTICLE = {"institution", "ridge", "volume"}
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_auc": "Area under the ROC curve",
    "expected_calibration_error": "Expected calibration error",
    "recall_2": "Recall of grade 2",
    "recall_3": "Recall of grade 3",
    "recall_4": "Recall of grade 4",
    "difference": "Balanced accuracy, grader minus baseline",
    "weighted_kappa": "Quadratic weighted kappa",
    "brier_score": "Brier score",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "calibration_in_the_large": "Calibration in the large",
    "expected_by_chance": "Expected calibration error of a perfectly calibrated grader",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "mae": "Mean absolute error",
    "median_ae": "Median absolute error",
    "rmse": "Root mean square error",
    "concordance": "Concordance",
    "coverage": "Coverage of the prediction intervals",
    "integrated_brier_score": "Integrated Brier score",
    "dice": "Dice coefficient",
}
"""Names of the metrics; errors of the progression model are in months."""


REGIONS = {
    "mask": "tumour mask",
    "learned": "segmenter",
    "component": "largest bright component",
    "brightest": "brightest cluster (paper)",
}
"""Names of the methods that find the region of interest, from the most to the least trusted."""


def protocol(key: str) -> str:
    """Return the name of a protocol, e.g. "held-out patients"."""
    return PROTOCOLS.get(key, key)


def cohort(key: str) -> str:
    """Return the name of a cohort of the progression model, e.g. "patients with a rising grade"."""
    return COHORTS.get(key, key)


def level(key: str) -> str:
    """Return the name of a level, e.g. "per patient"."""
    return LEVELS.get(key, key)


def counted(key: str, count: int) -> str:
    """Return a number of slices, series or patients, e.g. "12 patients", "1 patient".

    Args:
        key: "slice", "series" or "patient".
        count: how many.
    """
    return count_of(count, key, COUNTED[key])


def model(key: str) -> str:
    """Return the name of a model or baseline, e.g. "median of the training patients"."""
    return MODELS.get(key, key)


def model_in_text(key: str) -> str:
    """Return the name of a model or baseline inside a sentence, e.g. "the median of the training patients"."""
    return model(key) if key in _WITHOUT_ARTICLE else f"the {model(key)}"


def metric(key: str) -> str:
    """Return the name of a metric, e.g. "Balanced accuracy"."""
    return METRICS.get(key, key)


def region(key: str) -> str:
    """Return the name of a method that finds the region of interest, e.g. "largest bright component"."""
    return REGIONS.get(key, key)


def leaking_last(key: str) -> bool:
    """Return whether a protocol has leakage: as the key of `sorted`, it puts that protocol last."""
    return key == LEAKING_PROTOCOL
