"""Feature vectors of a series' slices -> months to progression: a bidirectional LSTM that carries its own scales."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from tumorprog.tables import VECTOR_LENGTH

_PREDICT_SERIES = 256  # at a time: bounds the padded copy whatever the number of series


class ProgressionLSTM(nn.Module):
    """One bidirectional LSTM layer over the slices of a series, and one output or several.

    The scales of inputs and target are buffers, so that the weights file alone predicts months from raw vectors.

    Source: Hochreiter & Schmidhuber 1997, Neural Computation 9:1735; Schuster & Paliwal 1997, IEEE TSP 45:2673.
    """

    def __init__(self, hidden: int, *, outputs: int = 1) -> None:
        """A model with random weights from torch's global generator and scales that change nothing.

        Args:
            hidden: units in each direction.
            outputs: one for months, or one for each interval of time for hazards (`models.hazard`).
        """
        super().__init__()
        self.lstm = nn.LSTM(VECTOR_LENGTH, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, outputs)
        self.register_buffer("vector_mean", torch.zeros(VECTOR_LENGTH))
        self.register_buffer("vector_std", torch.ones(VECTOR_LENGTH))
        self.register_buffer("months_mean", torch.zeros(()))
        self.register_buffer("months_std", torch.ones(()))

    def fit_standardisation(self, vectors: Sequence[np.ndarray], months: np.ndarray) -> None:
        """Takes mean and standard deviation of the features, over all slices, and of the months, over the series.

        Give the training part only. What does not vary is shifted and not scaled.

        Args:
            vectors: of each series, (L, 100), at least one series.
            months: (N,), of each series.
        """
        mean, std = _scale(np.concatenate(vectors))
        self.vector_mean.copy_(torch.from_numpy(mean))
        self.vector_std.copy_(torch.from_numpy(std))
        mean, std = _scale(np.asarray(months))
        self.months_mean.copy_(torch.from_numpy(mean))
        self.months_std.copy_(torch.from_numpy(std))

    def standardise_months(self, months: torch.Tensor) -> torch.Tensor:
        """Months as the output of `forward` counts them."""
        return (months - self.months_mean) / self.months_std

    def restore_months(self, standardised: torch.Tensor) -> torch.Tensor:
        """The output of `forward` in months."""
        return standardised * self.months_std + self.months_mean

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Standardised months of each series, or the log-odds of its hazards.

        Args:
            vectors: (N, L, 100) float32, raw; beyond a series' length anything may stand.
            lengths: (N,) int64, slices of each series, 1 to L, in any order.

        Returns:
            (N,) float32; (N, outputs) where there are several.
        """
        standardised = (vectors - self.vector_mean) / self.vector_std
        packed = pack_padded_sequence(standardised, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return self.head(torch.cat([last[0], last[1]], dim=1)).squeeze(1)


def pad(vectors: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Series of different lengths as one tensor.

    Args:
        vectors: of each of N series, (L, 100) with L >= 1; N >= 1.

    Returns:
        (N, longest, 100) float32, zeros after each series' end, and the lengths, (N,) int64.
    """
    lengths = [len(series) for series in vectors]
    padded = np.zeros((len(vectors), max(lengths), VECTOR_LENGTH), np.float32)
    for row, series in zip(padded, vectors, strict=True):
        row[: len(series)] = series
    return torch.from_numpy(padded), torch.tensor(lengths)


def predict_months(model: ProgressionLSTM, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The months to progression that the model expects for each series.

    Args:
        model: trained; it is left in evaluation mode.
        vectors: of each of N series, (L, 100) raw, in the order of its slices; N may be 0.

    Returns:
        (N,) float64, months.
    """
    return _predict(model, vectors, model.restore_months)


def predict_log_odds(model: ProgressionLSTM, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The log-odds of progressing in each interval of time, of a model with several outputs.

    Args:
        model: trained; it is left in evaluation mode.
        vectors: as for `predict_months`.

    Returns:
        (N, outputs) float64.
    """
    return _predict(model, vectors, lambda log_odds: log_odds)


def _predict(
    model: ProgressionLSTM, vectors: Sequence[np.ndarray], told: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    model.eval()
    device = model.vector_mean.device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(vectors), _PREDICT_SERIES):
            padded, lengths = pad(vectors[start : start + _PREDICT_SERIES])
            parts.append(told(model(padded.to(device), lengths)).cpu().numpy().astype(np.float64))
    shape = (0,) if model.head.out_features == 1 else (0, model.head.out_features)
    return np.concatenate(parts) if parts else np.empty(shape)


def _scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Float32 rounding leaves a constant feature with a deviation of this order, which is no scale to divide by.
    values = values.astype(np.float64)
    mean, std = values.mean(axis=0), values.std(axis=0)
    constant = std <= 1e-6 * np.abs(values).max(axis=0)
    return np.asarray(mean), np.where(constant, 1.0, std)
