"""Settings of the head that predicts progression, and of its training."""

from dataclasses import dataclass
from typing import Literal

from tumorprog.checks import above, at_least


@dataclass(frozen=True, kw_only=True)
class Progression:
    """The bidirectional LSTM and its training."""

    target: Literal["months", "survival"] = "months"
    """Predict the months to the next date, or, from archive.outcomes, the hazard over time with censored patients."""
    hidden: int = 128
    """Hidden units in each direction."""
    epochs: int = 30
    """Maximum number of passes over the training series."""
    patience: int = 5
    """Number of epochs without improvement of the validation loss after which training stops."""
    min_improvement: float = 0.01
    """Smallest improvement of the validation loss that counts (mean squared error of standardised months)."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    batch_size: int = 16
    """Series per optimiser step."""
    null_control: bool = True
    """Whether to add a null control: trainings with months permuted between patients, which reveal leakage."""
    null_draws: int = 19
    """Permutations of the null control; each takes six trainings. 19 is the fewest that can reach p = 0.05."""
    seeds: int = 1
    """How often the folds by patient are trained, each time with another seed; the first is the result."""

    def __post_init__(self) -> None:
        at_least("progression.hidden", self.hidden, 1)
        at_least("progression.epochs", self.epochs, 1)
        at_least("progression.patience", self.patience, 1)
        at_least("progression.min_improvement", self.min_improvement, 0)
        above("progression.learning_rate", self.learning_rate, 0)
        at_least("progression.batch_size", self.batch_size, 1)
        at_least("progression.null_draws", self.null_draws, 1)
        at_least("progression.seeds", self.seeds, 1)
