"""Progression model: a bidirectional LSTM over the feature vectors of a series, with its standardisation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from tumorprog import model_files
from tumorprog.encoders.columns import VECTOR_LENGTH

_PREDICT_BATCH = 256  # series per batch; bounds the memory of the padded copy


class ProgressionLSTM(nn.Module):
    """One bidirectional LSTM layer over the slices of a series, with one or several outputs.

    The mean and standard deviation of features and months are buffers, so that the weights file alone is sufficient to
    predict months from raw vectors.

    Source: Hochreiter & Schmidhuber 1997, Neural Computation 9:1735; Schuster & Paliwal 1997, IEEE TSP 45:2673.
    """

    def __init__(self, hidden: int, *, outputs: int = 1) -> None:
        """Initialise random weights from torch's global generator and an identity standardisation.

        Args:
            hidden: number of units in each direction.
            outputs: 1 for months, or the number of time intervals for hazards (`heads.hazard`).
        """
        super().__init__()
        self.lstm = nn.LSTM(VECTOR_LENGTH, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, outputs)
        self.register_buffer("vector_mean", torch.zeros(VECTOR_LENGTH))
        self.register_buffer("vector_std", torch.ones(VECTOR_LENGTH))
        self.register_buffer("months_mean", torch.zeros(()))
        self.register_buffer("months_std", torch.ones(()))

    def fit_standardisation(self, vectors: Sequence[np.ndarray], months: np.ndarray) -> None:
        """Fit the standardisation of the features over all slices and of the months over the series.

        Pass the training set only. Constant features are centred but not scaled.

        Args:
            vectors: one (L, 100) array for each series, at least one.
            months: (N,), one value for each series.
        """
        mean, std = _scale(np.concatenate(vectors))
        self.vector_mean.copy_(torch.from_numpy(mean))
        self.vector_std.copy_(torch.from_numpy(std))
        mean, std = _scale(np.asarray(months))
        self.months_mean.copy_(torch.from_numpy(mean))
        self.months_std.copy_(torch.from_numpy(std))

    def standardise_months(self, months: torch.Tensor) -> torch.Tensor:
        """Convert months to the standardised scale of `forward`."""
        return (months - self.months_mean) / self.months_std

    def restore_months(self, standardised: torch.Tensor) -> torch.Tensor:
        """Convert the output of `forward` to months."""
        return standardised * self.months_std + self.months_mean

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Predict the standardised months of each series, or the log-odds of its hazards.

        Args:
            vectors: (N, L, 100) float32, raw; values beyond the length of a series are ignored.
            lengths: (N,) int64, number of slices of each series, 1 to L, in any order.

        Returns:
            (N,) float32 for one output, otherwise (N, outputs).
        """
        standardised = (vectors - self.vector_mean) / self.vector_std
        packed = pack_padded_sequence(standardised, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return self.head(torch.cat([last[0], last[1]], dim=1)).squeeze(1)


def pad(vectors: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad series of different lengths to one tensor.

    Args:
        vectors: one (L, 100) array with L >= 1 for each of N >= 1 series.

    Returns:
        The padded vectors, (N, longest, 100) float32, with zeros after the end of each series, and the lengths, (N,)
        int64.
    """
    lengths = [len(series) for series in vectors]
    padded = np.zeros((len(vectors), max(lengths), VECTOR_LENGTH), np.float32)
    for row, series in zip(padded, vectors, strict=True):
        row[: len(series)] = series
    return torch.from_numpy(padded), torch.tensor(lengths)


def predict_months(model: ProgressionLSTM, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Predict the months to progression of each series.

    Args:
        model: trained model; it is left in evaluation mode.
        vectors: one raw (L, 100) array for each of N series, rows in slice order; N may be 0.

    Returns:
        (N,) float64, months.
    """
    return _predict(model, vectors, model.restore_months)


def predict_log_odds(model: ProgressionLSTM, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Predict the log-odds of progression in each time interval, with a model of several outputs.

    Args:
        model: trained model; it is left in evaluation mode.
        vectors: as for `predict_months`.

    Returns:
        (N, outputs) float64.
    """
    return _predict(model, vectors, lambda log_odds: log_odds)


def _predict(
    model: ProgressionLSTM, vectors: Sequence[np.ndarray], convert: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    model.eval()
    device = model.vector_mean.device
    batches = []
    with torch.inference_mode():
        for start in range(0, len(vectors), _PREDICT_BATCH):
            padded, lengths = pad(vectors[start : start + _PREDICT_BATCH])
            batches.append(convert(model(padded.to(device), lengths)).cpu().numpy().astype(np.float64))
    shape = (0,) if model.head.out_features == 1 else (0, model.head.out_features)
    return np.concatenate(batches) if batches else np.empty(shape)


def _scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Float32 rounding gives a constant feature a deviation of this order, which must not be used as a scale.
    values = values.astype(np.float64)
    mean, std = values.mean(axis=0), values.std(axis=0)
    constant = std <= 1e-6 * np.abs(values).max(axis=0)
    return np.asarray(mean), np.where(constant, 1.0, std)


def load(folder: Path, options: Mapping[str, str]) -> tuple[ProgressionLSTM, dict[str, Any]]:
    """Load the final model of a run and its description.

    Args:
        folder: of the model.
        options: of the encoder that computed the features to which the model is applied.

    Raises:
        InputError: if the run has no model, or it was trained on features that were computed with other options.
    """
    description = model_files.load_description(folder)
    edges = description.get("interval_edges_months", [0.0, 0.0])
    model = ProgressionLSTM(description["progression"]["hidden"], outputs=len(edges) - 1)
    model_files.load_into(folder, model, expected={"vector_length": VECTOR_LENGTH, **options})
    return model.eval(), description
