"""Rank correlation of two measurements of the patients, with its confidence interval."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

_MIN_PATIENTS = 5
_ROUNDING = 1e-12


def spearman(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Return Spearman's rank correlation with a 95 % confidence interval.

    The interval is that of Fisher's transformation with the variance (1 + rho^2 / 2) / (n - 3) for ranks.

    Args:
        first: (N,) one finite value per patient.
        second: (N,) the other finite value.

    Returns:
        A metric: value, lower, upper, n, patients and reason (why there is no value or no interval, or "").

    Source: Bonett & Wright 2000, Psychometrika 65:23-28.
    """
    count = len(first)
    metric: dict[str, Any] = {"value": None, "lower": None, "upper": None, "n": count, "patients": count, "reason": ""}
    if count < _MIN_PATIENTS:
        return {**metric, "reason": f"{count} patients; a rank correlation needs {_MIN_PATIENTS}"}
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return {**metric, "reason": "all patients have the same value"}
    rho = float(pd.Series(first).rank().corr(pd.Series(second).rank()))
    if abs(rho) > 1 - _ROUNDING:
        reason = "the interval of a perfect rank correlation is not defined"
        return {**metric, "value": float(round(rho)), "reason": reason}
    half_width = NormalDist().inv_cdf(0.975) * np.sqrt((1 + rho**2 / 2) / (count - 3))
    lower, upper = (float(np.tanh(np.arctanh(rho) + sign * half_width)) for sign in (-1, 1))
    return {**metric, "value": rho, "lower": lower, "upper": upper}
