"""Discrete-time survival model: targets and loss for censored outcomes, and survival curves from predicted hazards.

Time is divided into intervals. For each interval the model predicts the log-odds of progression within it, given no
progression before it.

Source: Gensheimer & Narasimhan 2019, PeerJ 7:e6257.
"""

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch.nn.functional import logsigmoid

INTERVALS = 10
"""Number of intervals if there are enough distinct times."""

_MIN_HAZARD = 1e-3  # a hazard of 0 or 1 has no log-odds


def interval_edges(months: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return edges of intervals from 0 to the last event, with equal numbers of events in the intervals.

    Args:
        months: (N,) time to the event or the last follow-up of each training patient, above 0.
        event: (N,) bool; if no event was observed, the times of the last follow-up are used instead.

    Returns:
        (K + 1,) float64 months, ascending, K from 2 to `INTERVALS`.
    """
    months, event = np.asarray(months, np.float64), np.asarray(event, bool)
    times = months[event] if event.any() else months
    edges = np.unique([0.0, *np.quantile(times, np.linspace(0, 1, INTERVALS + 1)[1:])])
    return edges if len(edges) > 2 else np.array([0.0, edges[-1] / 2, edges[-1]])


def targets(months: np.ndarray, event: np.ndarray, edges: np.ndarray) -> torch.Tensor:
    """Return the intervals that each patient survived without progression and the interval of progression.

    A patient censored within an interval counts as having survived it if at least half of it had elapsed.

    Args:
        months: (N,).
        event: (N,) bool.
        edges: (K + 1,) from `interval_edges`.

    Returns:
        (N, 2, K) float32 of 0 and 1: survived, progressed in.
    """
    time, observed = np.asarray(months, np.float64)[:, None], np.asarray(event, bool)[:, None]
    lower, upper = edges[:-1], edges[1:]
    survived = np.where(observed, time > upper, time >= (lower + upper) / 2)
    progressed = observed & (lower < time) & (time <= upper)
    return torch.from_numpy(np.stack([survived, progressed], axis=1).astype(np.float32))


def loss(log_odds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood, averaged over the series.

    Args:
        log_odds: (N, K).
        target: (N, 2, K) from `targets`.
    """
    survived, progressed = target.unbind(1)
    return -(progressed * logsigmoid(log_odds) + survived * logsigmoid(-log_odds)).sum(1).mean()


def baseline_log_odds(target: torch.Tensor) -> np.ndarray:
    """Return the log-odds of the maximum-likelihood hazards common to all patients, the life-table baseline.

    Args:
        target: (N, 2, K) from `targets`.

    Returns:
        (K,) float64.
    """
    survived, progressed = target.double().sum(0).numpy()
    at_risk = np.maximum(survived + progressed, 1.0)
    hazards = np.clip(progressed / at_risk, _MIN_HAZARD, 1 - _MIN_HAZARD)
    return np.log(hazards / (1 - hazards))


def survival(log_odds: np.ndarray, edges: np.ndarray, months: np.ndarray) -> np.ndarray:
    """Return the probability of no progression up to the given times.

    The hazard rate is constant within an interval; that of the last interval also applies after it.

    Args:
        log_odds: (N, K).
        edges: (K + 1,).
        months: (M,) times of at least 0.

    Returns:
        (N, M) float64 in [0, 1], non-increasing in the months.
    """
    cumulative = np.log1p(np.exp(-np.abs(log_odds))) + np.maximum(log_odds, 0.0)  # -log(1 - hazard), stable
    rates = cumulative / np.diff(edges)
    elapsed = np.clip(months[:, None] - edges[:-1], 0.0, np.append(np.diff(edges)[:-1], np.inf))
    return np.exp(-np.asarray(rates, np.float64) @ elapsed.T)


def expected_months(log_odds: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the mean time to progression, restricted to the last event of the training data: (N,) float64 months.

    Args:
        log_odds: (N, K).
        edges: (K + 1,).

    Source: restricted mean survival time, Royston & Parmar 2013, BMC Med Res Methodol 13:152.
    """
    grid = np.linspace(0.0, edges[-1], 200)
    return trapezoid(survival(log_odds, edges, grid), grid, axis=1)
