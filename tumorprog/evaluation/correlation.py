"""Rank correlation of two measurements of the patients, with its confidence interval."""

from statistics import NormalDist

import numpy as np
import pandas as pd

from tumorprog.evaluation import measures
from tumorprog.evaluation.intervals import MIN_PATIENTS, Interval, no_interval

_ROUNDING = 1e-12


def spearman(first: np.ndarray, second: np.ndarray) -> measures.Metric:
    """Return Spearman's rank correlation with a 95 % confidence interval.

    The interval is that of Fisher's transformation with the variance (1 + rho^2 / 2) / (n - 3) for ranks.

    Args:
        first: (N,) one finite value per patient.
        second: (N,) the other finite value.

    Returns:
        A metric: value, lower, upper, n, patients and reason (why there is no value or no interval, or "").

    Source: Bonett & Wright 2000, Psychometrika 65:23-28.
    """
    patients = np.arange(len(first))
    if reason := measures.too_few(patients, MIN_PATIENTS, "a rank correlation"):
        return measures.not_measured(patients, reason)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return measures.not_measured(patients, "all patients have the same value")
    rho = float(pd.Series(first).rank().corr(pd.Series(second).rank()))
    if abs(rho) > 1 - _ROUNDING:
        missing = no_interval("the interval of a perfect rank correlation is not defined")
        return measures.metric(patients, round(rho), missing)
    half_width = NormalDist().inv_cdf(0.975) * np.sqrt((1 + rho**2 / 2) / (len(patients) - 3))
    lower, upper = (float(np.tanh(np.arctanh(rho) + sign * half_width)) for sign in (-1, 1))
    return measures.metric(patients, rho, Interval(lower, upper))
