"""Series with their months, or with outcomes -> a trained progression model and its losses."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.functional import mse_loss

from tumorprog.errors import TumorprogError
from tumorprog.models import hazard
from tumorprog.models.progression import ProgressionLSTM, pad
from tumorprog.settings import Progression

_Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class EarlyStopping:
    """Watches the losses of the epochs: which was the best, and when to give up.

    Attributes:
        best_epoch: the epoch of the lowest loss so far, from 1; 0 before the first.
        best_loss: its loss.
    """

    def __init__(self, patience: int, min_improvement: float) -> None:
        """A watch that has seen nothing.

        Args:
            patience: epochs without an improvement after which to stop.
            min_improvement: how much lower than the last improvement a loss must be to count as one. A smaller gain
                still makes an epoch the best, but does not keep training alive.
        """
        self.patience = patience
        self.min_improvement = min_improvement
        self.best_epoch = 0
        self.best_loss = math.inf
        self._epoch = 0
        self._improved_epoch = 0
        self._improved_loss = math.inf

    def update(self, loss: float) -> bool:
        """Takes the loss of the next epoch; whether to stop now."""
        self._epoch += 1
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = self._epoch, loss
        if loss < self._improved_loss and self._improved_loss - loss >= self.min_improvement:
            self._improved_epoch, self._improved_loss = self._epoch, loss
        return self._epoch - self._improved_epoch >= self.patience


@dataclass(frozen=True)
class SeriesPart:
    """One side of a progression split."""

    vectors: Sequence[np.ndarray]
    """Of each of N series, (L, 100), in the order of its slices."""
    months: np.ndarray
    """(N,), the months to progression of each series, or to the last sight of a patient without one."""
    event: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    """(N,) bool, whether the patient progressed then; needed for survival only."""

    def __post_init__(self) -> None:
        if len(self.vectors) != len(self.months):
            raise ValueError(f"{len(self.vectors)} series but {len(self.months)} months")


@dataclass(frozen=True, kw_only=True)
class Step:
    """An epoch of a training."""

    model: ProgressionLSTM
    """As it is after the epoch; the next one goes on with it."""
    losses: dict[str, float]
    """`Epoch` (from 1), `Train Loss` (each batch before its step), `Validation Loss` (NaN without that part)."""
    is_best: bool
    """Whether no epoch before had a lower loss."""
    is_last: bool
    """Whether the training ends here."""


def fit_progression(
    training: SeriesPart, validation: SeriesPart, *, settings: Progression, seed: int
) -> tuple[ProgressionLSTM, list[dict[str, float]]]:
    """Trains a model of months on the CPU and keeps its best epoch.

    The loss is the mean squared error of standardised months; the scales are the training part's. Early stopping
    watches the validation part, or the training loss if that part is empty. The same seed and number of threads give
    the same model, and the global random state is left as it was.

    Args:
        training: at least one series.
        validation: of other patients than the training part, if it is to tell anything.
        settings: of the model and its training.
        seed: of the initial weights and the shuffling.

    Returns:
        The model with the weights of the epoch with the lowest loss, in evaluation mode, and for each epoch `Epoch`
        (from 1), `Train Loss` (each batch before its step) and `Validation Loss` (NaN without a validation part).

    Raises:
        TumorprogError: if a loss is not finite.
    """
    return _best_of(progression_epochs(training, validation, settings=settings, seed=seed))


def progression_epochs(
    training: SeriesPart, validation: SeriesPart, *, settings: Progression, seed: int
) -> Iterator[Step]:
    """The same training an epoch at a time, for those who watch it.

    Args:
        training: as for `fit_progression`, as all others.
        validation: see there.
        settings: see there.
        seed: see there.

    Raises:
        TumorprogError: if a loss is not finite.
    """
    model = _new_progression(settings.hidden, outputs=1, seed=seed)
    model.fit_standardisation(training.vectors, training.months)

    def tensors(part: SeriesPart) -> _Series:
        months = torch.tensor(np.asarray(part.months), dtype=torch.float32)
        return _Series(*pad(part.vectors), model.standardise_months(months))

    watched = tensors(validation) if len(validation.months) else None
    return _epochs(model, tensors(training), watched, loss=mse_loss, settings=settings, seed=seed)


def fit_survival(
    training: SeriesPart, validation: SeriesPart, *, edges: np.ndarray, settings: Progression, seed: int
) -> tuple[ProgressionLSTM, list[dict[str, float]]]:
    """Trains a model of the hazard of each interval of time, as `fit_progression` trains one of months.

    Args:
        training: at least one series, with `event`.
        validation: likewise, of other patients; at least one series.
        edges: of the intervals, `hazard.interval_edges` of the training patients.
        settings: of the model and its training.
        seed: of the initial weights and the shuffling.

    Returns:
        As `fit_progression`; the model has an output for each interval, and the loss is `hazard.loss`.
    """
    model = _new_progression(settings.hidden, outputs=len(edges) - 1, seed=seed)
    model.fit_standardisation(training.vectors, training.months)
    learned, watched = (
        _Series(*pad(part.vectors), hazard.targets(part.months, part.event, edges)) for part in (training, validation)
    )
    return _best_of(_epochs(model, learned, watched, loss=hazard.loss, settings=settings, seed=seed))


def _new_progression(hidden: int, *, outputs: int, seed: int) -> ProgressionLSTM:
    # Only the CPU's generator: torch.manual_seed would also reseed every GPU, which fork_rng(devices=[]) does not undo.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return ProgressionLSTM(hidden, outputs=outputs)


@dataclass(frozen=True)
class _Series:
    """Series as tensors: padded vectors, their lengths, what is to be told of each."""

    vectors: torch.Tensor
    lengths: torch.Tensor
    target: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> "_Series":
        return _Series(self.vectors[rows], self.lengths[rows], self.target[rows])


def _epochs(
    model: ProgressionLSTM,
    learned: _Series,
    watched: _Series | None,
    *,
    loss: _Loss,
    settings: Progression,
    seed: int,
) -> Iterator[Step]:
    """All epochs until early stopping."""
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    stopping = EarlyStopping(settings.patience, settings.min_improvement)
    shuffling = torch.Generator().manual_seed(seed)
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(learned.target), generator=shuffling).split(settings.batch_size)
        train_loss = _epoch(model, learned, loss, optimiser=optimiser, order=order)
        validation_loss = _loss_of(model, watched, loss) if watched else math.nan
        decisive = validation_loss if watched else train_loss
        if not math.isfinite(decisive):
            raise TumorprogError(
                f"progression, epoch {epoch}: the loss is {decisive}, expected a finite number; look for infinite "
                f"values in features/*.parquet and in the months, or lower --progression.learning_rate"
            )
        stop = stopping.update(decisive) or epoch == settings.epochs
        losses = {"Epoch": epoch, "Train Loss": train_loss, "Validation Loss": validation_loss}
        yield Step(model=model, losses=losses, is_best=stopping.best_epoch == epoch, is_last=stop)
        if stop:
            return


def _best_of(steps: Iterator[Step]) -> tuple[ProgressionLSTM, list[dict[str, float]]]:
    """The model with the weights of its best epoch, in evaluation mode, and the losses of all."""
    history, best = [], {}
    for step in steps:
        history.append(step.losses)
        model = step.model
        if step.is_best:
            best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model.eval(), history


def _epoch(
    model: ProgressionLSTM,
    series: _Series,
    loss: _Loss,
    *,
    optimiser: torch.optim.Optimizer,
    order: Sequence[torch.Tensor],
) -> float:
    model.train()
    summed = 0.0
    for rows in order:
        some = series[rows]
        reached = loss(model(some.vectors, some.lengths), some.target)
        optimiser.zero_grad()
        reached.backward()
        optimiser.step()
        summed += reached.item() * len(rows)
    return summed / len(series.target)


def _loss_of(model: ProgressionLSTM, series: _Series, loss: _Loss) -> float:
    model.eval()
    with torch.inference_mode():
        return loss(model(series.vectors, series.lengths), series.target).item()
