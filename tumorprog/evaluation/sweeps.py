"""Estimate the importance of the settings from the trials of a sweep."""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

MIN_TRIALS = 8
"""Minimum number of trials for an estimate of importance."""

_TREES, _REPEATS = 200, 20


def importance(trials: pd.DataFrame, settings: list[str], metric: str, *, seed: int) -> dict[str, float]:
    """Return the permutation importance of each setting for the metric, from a random forest.

    Args:
        trials: a row per trial with the settings and the metric; rows without the metric are excluded.
        settings: names of columns; non-numeric values are replaced by their rank in sorted order.
        metric: name of a column.
        seed: of the forest and the permutations.

    Returns:
        The loss of R^2, at least 0, for each setting that was varied, the largest first; empty with fewer than 8 trials
        or if all trials have the same metric.

    Source: Breiman 2001, Machine Learning 45:5-32 (permutation importance of a random forest).
    """
    finished = trials.dropna(subset=[metric])
    varied = [name for name in settings if finished[name].nunique() > 1]
    if len(finished) < MIN_TRIALS or not varied or finished[metric].nunique() < 2:
        return {}
    x = pd.DataFrame({name: _to_numeric(finished[name]) for name in varied})
    forest = RandomForestRegressor(_TREES, random_state=seed).fit(x, finished[metric])
    losses = permutation_importance(forest, x, finished[metric], n_repeats=_REPEATS, random_state=seed).importances_mean
    by_setting = {name: max(float(loss), 0.0) for name, loss in zip(varied, losses, strict=True)}
    return dict(sorted(by_setting.items(), key=lambda item: -item[1]))


def _to_numeric(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(np.float64)
    return pd.Categorical(values.astype(str)).codes.astype(np.float64)
