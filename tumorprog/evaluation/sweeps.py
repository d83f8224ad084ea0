"""The trials of a sweep -> which settings mattered."""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

LEAST_TRIALS = 8
"""Fewer tell nothing about what mattered."""

_TREES, _REPEATS = 200, 20


def importance(trials: pd.DataFrame, settings: list[str], metric: str, *, seed: int) -> dict[str, float]:
    """How much of the metric hangs on each setting: what a forest loses when that setting is shuffled.

    Args:
        trials: a row per trial with the settings and the metric; rows without the metric are left out.
        settings: names of columns; what is no number counts by its place in the order of its values.
        metric: name of a column.
        seed: of the forest and the shuffling.

    Returns:
        For each setting that was varied the loss of R^2, at least 0, the largest first; empty with fewer than 8 trials,
        or where all reached the same.

    Source: Breiman 2001, Machine Learning 45:5-32 (permutation importance of a random forest).
    """
    told = trials.dropna(subset=[metric])
    varied = [name for name in settings if told[name].nunique() > 1]
    if len(told) < LEAST_TRIALS or not varied or told[metric].nunique() < 2:
        return {}
    places = pd.DataFrame({name: _numbers(told[name]) for name in varied})
    forest = RandomForestRegressor(_TREES, random_state=seed).fit(places, told[metric])
    lost = permutation_importance(forest, places, told[metric], n_repeats=_REPEATS, random_state=seed).importances_mean
    found = {name: max(float(value), 0.0) for name, value in zip(varied, lost, strict=True)}
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _numbers(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(np.float64)
    return pd.Categorical(values.astype(str)).codes.astype(np.float64)
