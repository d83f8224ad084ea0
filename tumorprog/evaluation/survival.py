"""Curves of patients some of whom have not progressed yet -> metrics that know of the censoring.

The library that judges is torchsurv, which wants tensors: an extra (`tumorprog[survival]`), imported when it is asked.
"""

import warnings
from functools import partial

import numpy as np
import pandas as pd

from tumorprog.evaluation.metrics import Metric, measure
from tumorprog.tables import SURVIVAL_MONTHS


def survival_metrics(level: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Metric]:
    """How well a time to progression is told where it is known of some patients only that it has not come yet.

    Both weigh the patients by the inverse of the probability of not being censored before, as estimated from all of
    them. The Brier score is integrated over those of `tables.SURVIVAL_MONTHS` that lie within the times of the
    patients, and divided by their span; it is undefined with fewer than two of them.

    Args:
        level: rows of `tables.PATIENT_SURVIVAL`, of one model, protocol and cohort.
        resamples: of the patients, for each interval.
        seed: of the resampling.

    Returns:
        concordance, 0.5 by chance, 1 if all pairs that can be compared are in the right order; integrated_brier_score,
        0 for a model that knows, 0.25 for one that tells one half for everyone at all times.

    Source: Uno et al. 2011, Statistics in Medicine 30:1105-1117; Graf et al. 1999, Statistics in Medicine 18:2529-2545.
    """
    months, event = level["months"].to_numpy(np.float64), level["event"].to_numpy() == 1
    known = months[event]
    within = [month for month in SURVIVAL_MONTHS if len(known) and known.min() <= month < months.max()]
    curves = level[[f"Survival_{month}m" for month in within]].to_numpy(np.float64)
    risk = -level["Expected_Months"].to_numpy(np.float64)
    judge = _Judge(months, event, np.array(within, np.float64)) if len(known) else None
    statistics = {
        "concordance": lambda rows: judge.concordance(risk, rows) if judge else float("nan"),
        "integrated_brier_score": lambda rows: judge.brier(curves, rows) if judge else float("nan"),
    }
    patients = level["PatientID"].to_numpy()
    return {name: measure(patients, of, resamples=resamples, seed=seed) for name, of in statistics.items()}


class _Judge:
    """torchsurv's scores of some of the patients, with weights from all of them."""

    def __init__(self, months: np.ndarray, event: np.ndarray, within: np.ndarray) -> None:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torchmetrics 1.9 compiles with torch.jit as it is imported
            from torchsurv.metrics import brier_score, cindex
            from torchsurv.stats import ipcw
        self._tensor = partial(torch.tensor, dtype=torch.float32)
        self._brier, self._concordance = brier_score.BrierScore, cindex.ConcordanceIndex
        self.months, self.event, self.within = self._tensor(months), torch.tensor(event), self._tensor(within)
        self.weight = ipcw.get_ipcw(self.event, self.months)
        self.weight_within = ipcw.get_ipcw(self.event, self.months, self.within) if len(within) else None

    def concordance(self, risk: np.ndarray, rows: np.ndarray) -> float:
        months, event = self.months[rows], self.event[rows]
        if not (event & (months < months.max())).any():  # no pair can be compared
            return float("nan")
        return float(self._concordance()(self._tensor(risk[rows]), event, months, weight=self.weight[rows]))

    def brier(self, curves: np.ndarray, rows: np.ndarray) -> float:
        if len(self.within) < 2 or not self.event[rows].any():
            return float("nan")
        score, weights = self._brier(), {"weight": self.weight[rows], "weight_new_time": self.weight_within}
        score(self._tensor(curves[rows]), self.event[rows], self.months[rows], new_time=self.within, **weights)
        return float(score.integral())


def kaplan_meier(months: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of patients who have not progressed, as a step function.

    Args:
        months: (N,) to the event or to the last sight.
        event: (N,) bool.

    Returns:
        (K,) months, the first 0 and then those of the events; (K,) the share from each on.

    Source: Kaplan & Meier 1958, JASA 53:457-481.
    """
    times = np.unique(months[event])
    at_risk = (months[:, None] >= times).sum(axis=0)
    progressed = ((months[:, None] == times) & event[:, None]).sum(axis=0)
    return np.append(0.0, times), np.append(1.0, np.cumprod(1 - progressed / at_risk))
