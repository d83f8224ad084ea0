"""Confidence intervals of metrics: a bootstrap over patients, and Wilson's interval for proportions.

Rows of one patient are not independent, so patients rather than rows are resampled.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

MIN_PATIENTS = 5
"""Number of patients below which the bootstrap gives no interval: its quantiles would be those of a few values."""

_MIN_SKEWED = 10
"""Number of patients below which skewness is not corrected: its estimate would be noise."""
_TAIL = 0.025
_DECIMALS = 12
"""Resampled values are rounded to this, so that equal values are equal whatever the order of their sums."""

Statistic = Callable[[np.ndarray], float]
"""From (M,) int64 row indices, repeated as often as their patient was drawn, to a number or NaN."""


class Interval(NamedTuple):
    """The bounds of a 95 % confidence interval, or NaN and the reason why there is none."""

    lower: float
    upper: float
    reason: str = ""


def no_interval(reason: str) -> Interval:
    """Return the interval that states why there is none."""
    return Interval(math.nan, math.nan, reason)


def bootstrap(
    groups: np.ndarray,
    statistic: Statistic,
    *,
    resamples: int,
    seed: int,
    strata: np.ndarray | None = None,
    skewed: bool = False,
) -> Interval:
    """Return the 95 % bootstrap interval of a statistic, resampling patients with replacement.

    Where there are at most `resamples` different resamples, all of them are evaluated with their probabilities, so that
    the interval is exact; otherwise they are drawn at random. Bounds are values that occur: quantiles are not
    interpolated. Their levels are wider than 2.5 % and 97.5 % for few patients, as a t-interval is wider than a normal
    one, because the resampled values vary too little. Resamples in which the statistic is undefined (NaN) are excluded.

    Args:
        groups: (N,) patient of each row.
        statistic: the statistic.
        resamples: number of resamples.
        seed: of the random generator; the same seed, `groups` and `strata` give the same resamples for every statistic.
        strata: (N,) stratum of each row, the same for all rows of a patient. Each resample has as many patients of each
            stratum as the data, for example of each grade.
        skewed: whether to correct the interval for bias and skewness (BCa), for errors, which are bounded below only;
            from ten patients on.

    Returns:
        The interval. There is none, with a reason, for fewer than five patients or two in a stratum, where most
        resamples are undefined, or where all give the same value.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13 and 14.3 (BCa); Fisher & Hall 1991,
    Journal of Statistical Planning and Inference 27:157-169 (exact enumeration); Hesterberg 2015, The American
    Statistician 69:371-386, section 4.3 (wider levels for small samples); whole clusters are drawn as in Davison &
    Hinkley 1997, Bootstrap Methods and their Application, section 3.8.
    """
    patients, members = _by_stratum(groups, strata)
    if reason := _too_few(members, stratified=strata is not None):
        return no_interval(reason)
    draws, probabilities = _resamples(members, resamples=resamples, seed=seed)
    values = np.array([statistic(np.concatenate([patients[index] for index in draw])) for draw in draws], np.float64)
    defined = np.isfinite(values)
    if probabilities[defined].sum() <= 0.5:
        return no_interval("undefined in most resamples of the patients")
    values, weights = values[defined].round(_DECIMALS), probabilities[defined] / probabilities[defined].sum()
    if values.min() == values.max():
        return no_interval("every resample of the patients gives the same value")
    scores = _expanded_scores(len(patients), len(members))
    levels = norm.cdf(scores)
    if skewed and len(patients) >= _MIN_SKEWED:
        levels = _corrected_levels(values, weights, scores, patients, statistic)
    lower, upper = (_quantile(values, weights, level) for level in levels)
    return Interval(lower, upper)


def _by_stratum(groups: np.ndarray, strata: np.ndarray | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the rows of each patient, and the indices of the patients in each stratum."""
    patients = group_rows(groups)
    if strata is None:
        return patients, [np.arange(len(patients))]
    return patients, group_rows(np.array([strata[rows[0]] for rows in patients]))


def _too_few(members: list[np.ndarray], *, stratified: bool) -> str:
    total = sum(map(len, members))
    if total < MIN_PATIENTS:
        return f"{count_of(total, 'patient')}; an interval needs {MIN_PATIENTS}"
    if stratified and min(map(len, members)) < 2:
        return "a grade has one patient only; an interval needs 2 of each"
    return ""


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, e.g. "1 patient", "1,127 slices".

    Args:
        number: how many.
        noun: in the singular.
        plural: of the noun; if empty, the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _resamples(members: list[np.ndarray], *, resamples: int, seed: int) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Return indices of patients for each resample, and the probability of each."""
    if math.prod(math.comb(2 * len(stratum) - 1, len(stratum)) for stratum in members) <= resamples:
        combinations = list(
            itertools.product(*(itertools.combinations_with_replacement(stratum, len(stratum)) for stratum in members))
        )
        probabilities = [math.prod(map(_probability, combination)) for combination in combinations]
        return (np.concatenate(combination) for combination in combinations), np.array(probabilities)
    generator = np.random.default_rng(seed)
    draws = (
        np.concatenate([stratum[generator.integers(len(stratum), size=len(stratum))] for stratum in members])
        for _ in range(resamples)
    )
    return draws, np.full(resamples, 1 / resamples)


def _probability(draw: tuple[int, ...]) -> float:
    """Return the probability of a multiset in drawing as many patients as there are, with replacement."""
    counts = np.unique(draw, return_counts=True)[1].tolist()
    return math.factorial(len(draw)) / math.prod(map(math.factorial, counts)) / len(draw) ** len(draw)


def _quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    """Return the smallest value whose cumulative probability reaches the level."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= level - 1e-12
    return float(values[order][reached.argmax()] if reached.any() else values[order][-1])


def _expanded_scores(count: int, strata: int) -> np.ndarray:
    """Return the standard normal scores of the two levels for a number of patients in a number of strata."""
    freedom = max(count - strata, 1)
    return math.sqrt(count / freedom) * t.ppf([_TAIL, 1 - _TAIL], freedom)


def _corrected_levels(
    values: np.ndarray, weights: np.ndarray, scores: np.ndarray, patients: list[np.ndarray], statistic: Statistic
) -> np.ndarray:
    """Return the levels of the BCa interval; the plain ones where the bias or the skewness cannot be estimated."""
    estimate = round(statistic(np.concatenate(patients)), _DECIMALS)
    below = float(weights[values < estimate].sum() + weights[values == estimate].sum() / 2)
    others = (np.concatenate(patients[:left] + patients[left + 1 :]) for left in range(len(patients)))
    jackknife = np.array([statistic(rows) for rows in others], np.float64)
    deviations = jackknife.mean() - jackknife
    spread = 6 * float((deviations**2).sum()) ** 1.5
    if not 0 < below < 1 or not np.isfinite(spread) or spread == 0:
        return np.asarray(norm.cdf(scores))
    bias, skewness = float(norm.ppf(below)), float((deviations**3).sum()) / spread
    shifted = bias + scores
    return np.asarray(norm.cdf(bias + shifted / np.maximum(1 - skewness * shifted, 1e-6)))


def wilson(hits: float, count: float) -> Interval:
    """Return Wilson's 95 % interval of a proportion.

    Args:
        hits: number of hits; may be a fraction if `count` is an effective number.
        count: number of independent trials, above 0.

    Source: Wilson 1927, JASA 22:209-212; Brown, Cai & DasGupta 2001, Statistical Science 16:101-133.
    """
    z = float(norm.ppf(1 - _TAIL))
    share, scale = hits / count, 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / scale
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0))


def mean_of_proportions(hits: np.ndarray, counts: np.ndarray) -> Interval:
    """Return the 95 % interval of the unweighted mean of independent proportions, such as recalls.

    It is not empty where all proportions are 0 or 1, unlike a bootstrap interval.

    Args:
        hits: (K,) number of hits of each.
        counts: (K,) number of trials of each, above 0.

    Source: Zou & Donner 2008, Statistics in Medicine 27:1693-1702, from Wilson's limits as in Newcombe 1998, Statistics
    in Medicine 17:873-890.
    """
    limits = np.array([wilson(hit, count)[:2] for hit, count in zip(hits, counts, strict=True)])
    shares = hits / counts
    below, above = np.sqrt(((limits - shares[:, None]) ** 2).sum(axis=0)) / len(shares)
    return Interval(max(float(shares.mean() - below), 0.0), min(float(shares.mean() + above), 1.0))


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
