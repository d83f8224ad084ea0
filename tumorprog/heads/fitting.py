"""Training of the progression model on series with months to progression or with censored outcomes."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.functional import mse_loss

from tumorprog.errors import TumorprogError
from tumorprog.heads import hazard
from tumorprog.heads.bilstm import ProgressionLSTM, pad
from tumorprog.heads.settings import Progression

_Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class EarlyStopping:
    """Early stopping on the loss of each epoch.

    Attributes:
        best_epoch: the epoch with the lowest loss so far, counted from 1; 0 before the first epoch.
        best_loss: the loss of that epoch.
    """

    def __init__(self, patience: int, min_improvement: float) -> None:
        """Initialise the state before the first epoch.

        Args:
            patience: number of epochs without an improvement after which training stops.
            min_improvement: minimum decrease since the last improvement that counts as an improvement. An epoch with a
                smaller decrease can still be the best epoch, but does not reset the patience.
        """
        self.patience = patience
        self.min_improvement = min_improvement
        self.best_epoch = 0
        self.best_loss = math.inf
        self._epoch = 0
        self._improved_epoch = 0
        self._improved_loss = math.inf

    def update(self, loss: float) -> bool:
        """Record the loss of the next epoch and return whether training should stop."""
        self._epoch += 1
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = self._epoch, loss
        if loss < self._improved_loss and self._improved_loss - loss >= self.min_improvement:
            self._improved_epoch, self._improved_loss = self._epoch, loss
        return self._epoch - self._improved_epoch >= self.patience


@dataclass(frozen=True)
class SeriesDataset:
    """The series of one set of a progression split."""

    vectors: Sequence[np.ndarray]
    """One (L, 100) array for each of N series, rows in slice order."""
    months: np.ndarray
    """(N,), months to progression, or to the last follow-up of a censored patient."""
    event: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    """(N,) bool, whether progression was observed; required for survival training only."""

    def __post_init__(self) -> None:
        if len(self.vectors) != len(self.months):
            raise ValueError(f"{len(self.vectors)} series but {len(self.months)} months")


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """The state of a training run after an epoch."""

    model: ProgressionLSTM
    """The model after the epoch; the next epoch continues to train the same object."""
    losses: dict[str, float]
    """`Epoch` (from 1), `Train Loss` (each batch before its step), `Validation Loss` (NaN without a validation set)."""
    is_best: bool
    """Whether this epoch has the lowest loss so far."""
    is_last: bool
    """Whether training ends with this epoch."""


def fit_progression(
    training: SeriesDataset, validation: SeriesDataset, *, settings: Progression, seed: int
) -> tuple[ProgressionLSTM, list[dict[str, float]]]:
    """Train a model that predicts months on the CPU and return its best epoch.

    The loss is the mean squared error of the standardised months; features and months are standardised with the mean
    and standard deviation of the training set. Early stopping uses the validation loss, or the training loss if the
    validation set is empty. The same seed and number of threads give the same model. The global random state is not
    changed.

    Args:
        training: the training set, at least one series.
        validation: the validation set; its patients should not be in the training set.
        settings: settings of the model and its training.
        seed: random seed of the initial weights and of the shuffling.

    Returns:
        The model with the weights of the epoch with the lowest loss, in evaluation mode, and for each epoch `Epoch`
        (from 1), `Train Loss` (each batch before its step) and `Validation Loss` (NaN without a validation set).

    Raises:
        TumorprogError: if a loss is not finite.
    """
    return _keep_best(progression_epochs(training, validation, settings=settings, seed=seed))


def progression_epochs(
    training: SeriesDataset, validation: SeriesDataset, *, settings: Progression, seed: int
) -> Iterator[EpochResult]:
    """Train as `fit_progression` does and yield the state after each epoch.

    Args:
        training: as for `fit_progression`.
        validation: as for `fit_progression`.
        settings: as for `fit_progression`.
        seed: as for `fit_progression`.

    Raises:
        TumorprogError: if a loss is not finite.
    """
    model = _new_progression(settings.hidden, outputs=1, seed=seed)
    model.fit_standardisation(training.vectors, training.months)

    def to_tensors(dataset: SeriesDataset) -> _Series:
        months = torch.tensor(np.asarray(dataset.months), dtype=torch.float32)
        return _Series(*pad(dataset.vectors), model.standardise_months(months))

    validation_series = to_tensors(validation) if len(validation.months) else None
    return _train_epochs(model, to_tensors(training), validation_series, loss=mse_loss, settings=settings, seed=seed)


def fit_survival(
    training: SeriesDataset, validation: SeriesDataset, *, edges: np.ndarray, settings: Progression, seed: int
) -> tuple[ProgressionLSTM, list[dict[str, float]]]:
    """Train a model that predicts the hazard of each time interval.

    Args:
        training: the training set, at least one series, with `event`.
        validation: the validation set of other patients, at least one series, with `event`.
        edges: interval edges, from `heads.hazard.interval_edges` of the training patients.
        settings: settings of the model and its training.
        seed: random seed of the initial weights and of the shuffling.

    Returns:
        As for `fit_progression`; the model has one output for each interval, and the loss is `heads.hazard.loss`.
    """
    model = _new_progression(settings.hidden, outputs=len(edges) - 1, seed=seed)
    model.fit_standardisation(training.vectors, training.months)
    training_series, validation_series = (
        _Series(*pad(dataset.vectors), hazard.targets(dataset.months, dataset.event, edges))
        for dataset in (training, validation)
    )
    return _keep_best(
        _train_epochs(model, training_series, validation_series, loss=hazard.loss, settings=settings, seed=seed)
    )


def _new_progression(hidden: int, *, outputs: int, seed: int) -> ProgressionLSTM:
    # Seed the CPU generator only: torch.manual_seed also seeds every GPU, which fork_rng(devices=[]) does not restore.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return ProgressionLSTM(hidden, outputs=outputs)


@dataclass(frozen=True)
class _Series:
    """Series as tensors: padded feature vectors, lengths and prediction targets."""

    vectors: torch.Tensor
    lengths: torch.Tensor
    target: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> "_Series":
        return _Series(self.vectors[rows], self.lengths[rows], self.target[rows])


def _train_epochs(
    model: ProgressionLSTM,
    training: _Series,
    validation: _Series | None,
    *,
    loss: _Loss,
    settings: Progression,
    seed: int,
) -> Iterator[EpochResult]:
    """Yield the result of each epoch until early stopping."""
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    stopping = EarlyStopping(settings.patience, settings.min_improvement)
    shuffling = torch.Generator().manual_seed(seed)
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(training.target), generator=shuffling).split(settings.batch_size)
        train_loss = _train_epoch(model, training, loss, optimiser=optimiser, order=order)
        validation_loss = _evaluate(model, validation, loss) if validation else math.nan
        monitored_loss = validation_loss if validation else train_loss
        if not math.isfinite(monitored_loss):
            raise TumorprogError(
                f"progression, epoch {epoch}: the loss is {monitored_loss}, expected a finite number; check "
                f"features/*.parquet and the months for non-finite values, or lower --progression.learning_rate"
            )
        stop = stopping.update(monitored_loss) or epoch == settings.epochs
        losses = {"Epoch": epoch, "Train Loss": train_loss, "Validation Loss": validation_loss}
        yield EpochResult(model=model, losses=losses, is_best=stopping.best_epoch == epoch, is_last=stop)
        if stop:
            return


def _keep_best(results: Iterator[EpochResult]) -> tuple[ProgressionLSTM, list[dict[str, float]]]:
    """Return the model with the weights of its best epoch, in evaluation mode, and the losses of all epochs."""
    history, best = [], {}
    for result in results:
        history.append(result.losses)
        model = result.model
        if result.is_best:
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model.eval(), history


def _train_epoch(
    model: ProgressionLSTM,
    series: _Series,
    loss: _Loss,
    *,
    optimiser: torch.optim.Optimizer,
    order: Sequence[torch.Tensor],
) -> float:
    model.train()
    loss_sum = 0.0
    for rows in order:
        batch = series[rows]
        batch_loss = loss(model(batch.vectors, batch.lengths), batch.target)
        optimiser.zero_grad()
        batch_loss.backward()
        optimiser.step()
        loss_sum += batch_loss.item() * len(rows)
    return loss_sum / len(series.target)


def _evaluate(model: ProgressionLSTM, series: _Series, loss: _Loss) -> float:
    model.eval()
    with torch.inference_mode():
        return loss(model(series.vectors, series.lengths), series.target).item()
