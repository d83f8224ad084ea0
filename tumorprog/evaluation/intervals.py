"""Confidence intervals of metrics and prediction intervals of months.

Rows of one patient are not independent, so patients rather than rows are resampled and held out.
"""

from collections.abc import Callable

import numpy as np

NO_INTERVAL = (float("nan"), float("nan"))
"""The interval where there is too little data for one."""


def bootstrap(
    groups: np.ndarray, statistic: Callable[[np.ndarray], float], *, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a statistic, resampling patients with replacement.

    Resamples in which the statistic is undefined (NaN, for example if no drawn patient has a class) are excluded. With
    few patients the interval is too narrow, and its width is zero if all patients have the same value.

    Args:
        groups: (N,) patient of each row.
        statistic: from (M,) int64 row indices, repeated as often as their patient was drawn, to a number or NaN.
        resamples: number of resamples.
        seed: of the random generator; the same seed and `groups` give the same resamples for every statistic.

    Returns:
        (lower, upper); (NaN, NaN) with fewer than two patients, or where most resamples are undefined.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13; whole clusters are drawn as in
    Davison & Hinkley 1997, Bootstrap Methods and their Application, section 3.8.
    """
    rows = group_rows(groups)
    if len(rows) < 2:
        return NO_INTERVAL
    generator = np.random.default_rng(seed)
    draws = (generator.integers(len(rows), size=len(rows)) for _ in range(resamples))
    values = np.array([statistic(np.concatenate([rows[index] for index in draw])) for draw in draws], np.float64)
    defined = values[np.isfinite(values)]
    if 2 * len(defined) <= resamples:
        return NO_INTERVAL
    lower, upper = np.quantile(defined, [0.025, 0.975])
    return float(lower), float(upper)


def group_rows(groups: np.ndarray) -> list[np.ndarray]:
    """Return the row indices of each group, with the groups sorted by name.

    Args:
        groups: (N,) group of each row.

    Returns:
        One (M,) int64 array per group; together they contain each of 0 .. N - 1 once.
    """
    if not len(groups):
        return []
    _, codes = np.unique(groups, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def prediction_intervals(
    predicted: np.ndarray, truth: np.ndarray, *, groups: np.ndarray, coverage: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    """Return a prediction interval in months for each row, based on the residuals of the other patients.

    A patient's residual is the mean absolute residual of its rows. A row's interval is its prediction plus and minus
    the ceil(coverage (n + 1))-th smallest residual of the n other patients, clipped at 0 months; its own truth is not
    used. Each prediction should come from a model that was not trained on its patient, or the residuals are too small.

    Args:
        predicted: (N,) months.
        truth: (N,) months.
        groups: (N,) patient of each row.
        coverage: the share of new patients whose truth the intervals should contain, in (0, 1).

    Returns:
        (lower, upper): (N,) float64 months; NaN where n is too small for the coverage (n < 4 for 0.8).

    Source: the jackknife in Barber et al. 2021, Annals of Statistics 49:486-507 (near nominal for a stable model, not
    guaranteed, which is why the observed coverage is reported), over groups as in Dunn, Wasserman & Ramdas 2023, JASA
    118:2491-2502.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    residuals = np.abs(predicted - truth)
    rows = group_rows(groups)
    by_group = np.array([residuals[members].mean() for members in rows])
    half_width = np.full(len(predicted), np.nan)
    for index, members in enumerate(rows):
        half_width[members] = _conformal_quantile(np.delete(by_group, index), coverage)
    return np.maximum(predicted - half_width, 0.0), np.maximum(predicted + half_width, 0.0)


def half_width(predicted: np.ndarray, truth: np.ndarray, *, groups: np.ndarray, coverage: float = 0.8) -> float:
    """Return half the width, in months, of the prediction interval for a new patient.

    Args:
        predicted: (N,) months, each from a model that was not trained on its patient.
        truth: (N,) months.
        groups: (N,) patient of each row.
        coverage: as for `prediction_intervals`, which uses the same rule.

    Returns:
        Months; NaN if there are too few patients for the coverage.
    """
    residuals = np.abs(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64))
    return _conformal_quantile(np.array([residuals[members].mean() for members in group_rows(groups)]), coverage)


def _conformal_quantile(residuals: np.ndarray, coverage: float) -> float:
    # 1e-9: floating-point rounding must not turn 0.56 * 25 into rank 15.
    rank = int(np.ceil(coverage * (len(residuals) + 1) - 1e-9))
    return float(np.sort(residuals)[rank - 1]) if 1 <= rank <= len(residuals) else float("nan")


def observed_coverage(truth: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Return the share of rows whose interval contains the truth, in [0, 1].

    Args:
        truth: (N,).
        lower: (N,); rows with NaN have no interval and are not counted.
        upper: (N,).

    Returns:
        The share; NaN if no row has an interval.
    """
    has_interval = np.isfinite(lower) & np.isfinite(upper)
    if not has_interval.any():
        return float("nan")
    return float(np.mean(((lower <= truth) & (truth <= upper))[has_interval]))
