"""Compute metrics of predicted survival curves that account for censoring.

They are computed by torchsurv, an optional dependency (`tumorprog[survival]`) that is imported on first use.
"""

import math
import warnings
from collections.abc import Mapping
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from tumorprog.conventions import SURVIVAL_MONTHS
from tumorprog.evaluation import measures
from tumorprog.evaluation.intervals import MIN_PATIENTS, Interval, Statistic
from tumorprog.evaluation.measures import Metric
from tumorprog.evaluation.progression import MIN_RANKED

_NORMAL_975 = NormalDist().inv_cdf(0.975)
_ROUNDING = 1e-12


def survival_metrics(
    level: pd.DataFrame, baselines: Mapping[str, pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Compute the metrics of the predicted time to progression for patients of whom some are censored.

    Both metrics weight the patients by the inverse probability of not being censored before, estimated from all
    patients. The Brier score is integrated over `SURVIVAL_MONTHS` within the range of the patients' times,
    and divided by their span; it is undefined if there are fewer than two of these months.

    Args:
        level: rows of `progression.columns.PATIENT_SURVIVAL`, of one model, protocol and cohort.
        baselines: by name, the rows of a baseline for the same patients.
        resamples: number of bootstrap resamples of the patients for each interval.
        seed: of the bootstrap.

    Returns:
        integrated_brier_score, 0 for a perfect model, 0.25 for one that always predicts a survival probability of one
        half, for five patients who progressed or more; concordance, 0.5 at chance level, 1 if all comparable pairs are
        in the correct order, for ten or more; and `baselines` -> name -> metric, with `difference`: the integrated
        Brier score of the model minus that of the baseline on the same patients.

    Source: Uno et al. 2011, Statistics in Medicine 30:1105-1117; Graf et al. 1999, Statistics in Medicine 18:2529-2545.
    """
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    ordered = level.sort_values("PatientID")
    brier, concordance = _statistics(ordered)
    measured: dict[str, Any] = {**_measure(ordered, brier, concordance, **options), "baselines": {}}
    for name, rows in baselines.items():
        other = rows.sort_values("PatientID")
        other_brier, other_concordance = _statistics(other)
        measured["baselines"][name] = {
            **_measure(other, other_brier, other_concordance, **options),
            "difference": measures.difference(ordered["PatientID"].to_numpy(), brier, other_brier, **options),
        }
    return measured


def _measure(
    level: pd.DataFrame, brier: Statistic, concordance: Statistic, *, resamples: int, seed: int
) -> dict[str, Metric]:
    patients = level["PatientID"].to_numpy()
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    progressed = level.loc[level["event"] == 1, "PatientID"].to_numpy()
    metrics = {}
    for name, statistic, minimum in (
        ("integrated_brier_score", brier, MIN_PATIENTS),
        ("concordance", concordance, MIN_RANKED),
    ):
        few = measures.too_few(progressed, minimum, "this metric").replace("patient", "progressed patient", 1)
        skewed = name == "integrated_brier_score"
        metrics[name] = (
            measures.not_measured(patients, few)
            if few
            else measures.measure(patients, statistic, skewed=skewed, **options)
        )
    return metrics


def _statistics(level: pd.DataFrame) -> tuple[Statistic, Statistic]:
    """Return the integrated Brier score and the concordance of a selection of the rows."""
    months, event = level["months"].to_numpy(np.float64), level["event"].to_numpy() == 1
    event_months = months[event]
    if not len(event_months):
        return _undefined, _undefined
    within = [month for month in SURVIVAL_MONTHS if event_months.min() <= month < months.max()]
    curves = level[[f"Survival_{month}m" for month in within]].to_numpy(np.float64)
    risk = -level["Expected_Months"].to_numpy(np.float64)
    scorer = _Scorer(months, event, np.array(within, np.float64))
    return lambda rows: scorer.brier(curves, rows), lambda rows: scorer.concordance(risk, rows)


def _undefined(rows: np.ndarray) -> float:
    del rows
    return float("nan")


class _Scorer:
    """Scores of a subset of the patients by torchsurv, with weights from all patients."""

    def __init__(self, months: np.ndarray, event: np.ndarray, within: np.ndarray) -> None:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torchmetrics 1.9 uses torch.jit on import
            from torchsurv.metrics import brier_score, cindex
            from torchsurv.stats import ipcw
        self._tensor = partial(torch.tensor, dtype=torch.float32)
        self._brier, self._concordance = brier_score.BrierScore, cindex.ConcordanceIndex
        self.months, self.event, self.within = self._tensor(months), torch.tensor(event), self._tensor(within)
        self.weight = ipcw.get_ipcw(self.event, self.months)
        self.weight_within = ipcw.get_ipcw(self.event, self.months, self.within) if len(within) else None

    def concordance(self, risk: np.ndarray, rows: np.ndarray) -> float:
        months, event = self.months[rows], self.event[rows]
        if not (event & (months < months.max())).any():  # no comparable pairs
            return float("nan")
        return float(self._concordance()(self._tensor(risk[rows]), event, months, weight=self.weight[rows]))

    def brier(self, curves: np.ndarray, rows: np.ndarray) -> float:
        if len(self.within) < 2 or not self.event[rows].any():
            return float("nan")
        score, weights = self._brier(), {"weight": self.weight[rows], "weight_new_time": self.weight_within}
        score(self._tensor(curves[rows]), self.event[rows], self.months[rows], new_time=self.within, **weights)
        return float(score.integral())


def kaplan_meier(months: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Kaplan-Meier estimate of the share of patients without progression, as a step function.

    Args:
        months: (N,) months to the event or to the last follow-up.
        event: (N,) bool.

    Returns:
        (K,) months, 0 followed by those of the events; (K,) the share from each of these times on.
    """
    table = life_table(months, event)
    return table["months"].to_numpy(), table["share"].to_numpy()


def life_table(months: np.ndarray, event: np.ndarray) -> pd.DataFrame:
    """Return the Kaplan-Meier estimate with its pointwise 95 % confidence band.

    The variance is that of Greenwood; the band is symmetric on the scale of log(-log(share)), which keeps it between 0
    and 1.

    Args:
        months: (N,) months to the event or to the last follow-up.
        event: (N,) bool.

    Returns:
        A row for month 0 and one for each month with an event: months, at_risk, events, share (from this month on),
        lower and upper, which are NaN where the share is 0.

    Source: Kaplan & Meier 1958, JASA 53:457-481; Kalbfleisch & Prentice 2002, The Statistical Analysis of Failure Time
    Data, 2nd ed., section 1.4.
    """
    times = np.append(0.0, np.unique(months[event]))
    at_risk = (months[:, None] >= times).sum(axis=0)
    events = ((months[:, None] == times) & event[:, None]).sum(axis=0)
    share = np.cumprod(1 - events / np.maximum(at_risk, 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # at a share of 1, which has no variance, and of 0
        variance = np.cumsum(events / (at_risk * (at_risk - events)))
        half_width = _NORMAL_975 * np.sqrt(variance) / -np.log(share)
        bounds = [np.where(share == 1, 1.0, share ** np.exp(sign * half_width)) for sign in (1, -1)]
    lower, upper = (np.where(share > 0, bound, np.nan) for bound in bounds)
    columns = {"months": times, "at_risk": at_risk, "events": events, "share": share, "lower": lower, "upper": upper}
    return pd.DataFrame(columns)


def median_months(table: pd.DataFrame) -> Metric:
    """Return the median of a life table: the first month from which on at most half the patients are without event.

    The bounds are the first months from which on the lower and the upper bound of the share are at most one half. What
    is not reached is None.

    Args:
        table: from `life_table`.

    Returns:
        A metric: value, lower, upper, n, patients and reason (why a number is None).

    Source: Brookmeyer & Crowley 1982, Biometrics 38:29-41.
    """
    value, lower, upper = (_first_half(table, column) for column in ("share", "lower", "upper"))
    reason = "" if math.isfinite(upper) else "the upper bound is not reached"
    reason = reason if math.isfinite(value) else "more than half the patients are without event at the last one"
    return measures.metric(np.arange(table["at_risk"].iloc[0]), value, Interval(lower, upper, reason))


def _first_half(table: pd.DataFrame, column: str) -> float:
    reached = table.loc[table[column] <= 0.5 + _ROUNDING, "months"]
    return float(reached.iloc[0]) if len(reached) else math.nan
