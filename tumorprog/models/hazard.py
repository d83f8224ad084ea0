"""Outcomes that may be censored -> what a model of hazards learns, and what its outputs say of the time to come.

Time is cut into intervals. A model tells for each the log-odds of progressing in it, of who has not before.

Source: Gensheimer & Narasimhan 2019, PeerJ 7:e6257.
"""

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch.nn.functional import logsigmoid

INTERVALS = 10
"""As many where there are enough different times."""

_LEAST = 1e-3  # a hazard of 0 or 1 has no log-odds


def interval_edges(months: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Where time is cut: from 0 to the last event, with as many events in each interval.

    Args:
        months: (N,) to the event or to the last sight, above 0, one of each training patient.
        event: (N,) bool; without any, the last sights are taken.

    Returns:
        (K + 1,) float64 months, rising, K from 2 to `INTERVALS`.
    """
    months, event = np.asarray(months, np.float64), np.asarray(event, bool)
    times = months[event] if event.any() else months
    edges = np.unique([0.0, *np.quantile(times, np.linspace(0, 1, INTERVALS + 1)[1:])])
    return edges if len(edges) > 2 else np.array([0.0, edges[-1] / 2, edges[-1]])


def targets(months: np.ndarray, event: np.ndarray, edges: np.ndarray) -> torch.Tensor:
    """Which intervals a patient has come through, and in which it progressed.

    Who is not seen any more counts as having come through an interval when that was half over.

    Args:
        months: (N,).
        event: (N,) bool.
        edges: (K + 1,) of `interval_edges`.

    Returns:
        (N, 2, K) float32 of 0 and 1: come through, progressed in.
    """
    time, happened = np.asarray(months, np.float64)[:, None], np.asarray(event, bool)[:, None]
    lower, upper = edges[:-1], edges[1:]
    through = np.where(happened, time > upper, time >= (lower + upper) / 2)
    progressed = happened & (lower < time) & (time <= upper)
    return torch.from_numpy(np.stack([through, progressed], axis=1).astype(np.float32))


def loss(log_odds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihood, the mean over the series.

    Args:
        log_odds: (N, K).
        target: (N, 2, K) of `targets`.
    """
    through, progressed = target.unbind(1)
    return -(progressed * logsigmoid(log_odds) + through * logsigmoid(-log_odds)).sum(1).mean()


def common_log_odds(target: torch.Tensor) -> np.ndarray:
    """The hazards that fit everyone best who has the same: a life table, and the bar for a model.

    Args:
        target: (N, 2, K) of `targets`.

    Returns:
        (K,) float64.
    """
    through, progressed = target.double().sum(0).numpy()
    at_risk = np.maximum(through + progressed, 1.0)
    hazards = np.clip(progressed / at_risk, _LEAST, 1 - _LEAST)
    return np.log(hazards / (1 - hazards))


def survival(log_odds: np.ndarray, edges: np.ndarray, months: np.ndarray) -> np.ndarray:
    """The probability of not having progressed by some times.

    Within an interval the hazard is constant, and that of the last one goes on after it.

    Args:
        log_odds: (N, K).
        edges: (K + 1,).
        months: (M,) at least 0.

    Returns:
        (N, M) float64 in [0, 1], falling with the months.
    """
    steps = np.log1p(np.exp(-np.abs(log_odds))) + np.maximum(log_odds, 0.0)  # -log(1 - hazard), stable
    rates = steps / np.diff(edges)
    spent = np.clip(months[:, None] - edges[:-1], 0.0, np.append(np.diff(edges)[:-1], np.inf))
    return np.exp(-np.asarray(rates, np.float64) @ spent.T)


def expected_months(log_odds: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The mean time to progression up to the last event that was learned from, (N,) float64 months.

    Args:
        log_odds: (N, K).
        edges: (K + 1,).

    Source: restricted mean survival time, Royston & Parmar 2013, BMC Med Res Methodol 13:152.
    """
    grid = np.linspace(0.0, edges[-1], 200)
    return trapezoid(survival(log_odds, edges, grid), grid, axis=1)
