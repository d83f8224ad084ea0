"""Agreement of two measurements of the same volume: limits of agreement with intervals over patients."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tumorprog.evaluation import measures
from tumorprog.evaluation.intervals import bootstrap, group_rows
from tumorprog.evaluation.measures import Metric

_NORMAL_975 = NormalDist().inv_cdf(0.975)


def limits_of_agreement(
    patients: np.ndarray, differences: np.ndarray, *, resamples: int, seed: int
) -> tuple[Metric, Metric]:
    """Return the limits between which 95 % of the differences of two measurements are expected.

    They are the mean difference minus and plus 1.96 standard deviations. A patient has several scans: the variance is
    the sum of the variances within and between patients from a one-way analysis of variance.

    Args:
        patients: (N,) patient of each scan.
        differences: (N,) one measurement minus the other.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        The lower and the upper limit; not defined for a single patient.

    Source: Bland & Altman 1986, Lancet 327:307-310; for several measurements per patient whose true value varies,
    Bland & Altman 2007, Journal of Biopharmaceutical Statistics 17:571-582, section 3.
    """
    summary = _Summary.of([differences[rows] for rows in group_rows(patients)])
    whole = np.arange(len(summary.counts))
    return _limit(patients, summary, whole, 0, resamples, seed), _limit(patients, summary, whole, 1, resamples, seed)


@dataclass(frozen=True, kw_only=True)
class _Summary:
    """What the limits depend on, for each patient, so that a patient who is drawn twice counts as two."""

    counts: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    """Sums of the squared deviations from the patient's mean."""

    @classmethod
    def of(cls, groups: list[np.ndarray]) -> "_Summary":
        return cls(
            counts=np.array([len(group) for group in groups]),
            means=np.array([group.mean() for group in groups]),
            squares=np.array([((group - group.mean()) ** 2).sum() for group in groups]),
        )

    def limits(self, drawn: np.ndarray) -> tuple[float, float]:
        counts, means, number = self.counts[drawn], self.means[drawn], len(drawn)
        if number < 2:
            return math.nan, math.nan
        total = counts.sum()
        bias = (counts * means).sum() / total
        between = (counts * (means - bias) ** 2).sum() / (number - 1)
        within = self.squares[drawn].sum() / (total - number) if total > number else 0.0
        scans = (total**2 - (counts**2).sum()) / ((number - 1) * total)
        half_width = _NORMAL_975 * math.sqrt(within + max(between - within, 0.0) / scans)
        return bias - half_width, bias + half_width


def _limit(patients: np.ndarray, summary: _Summary, whole: np.ndarray, side: int, resamples: int, seed: int) -> Metric:
    value = summary.limits(whole)[side]
    if not math.isfinite(value):
        return measures.not_measured(patients, "limits of agreement need two patients")
    interval = bootstrap(whole, lambda drawn: summary.limits(drawn)[side], resamples=resamples, seed=seed)
    return measures.metric(patients, value, interval)
