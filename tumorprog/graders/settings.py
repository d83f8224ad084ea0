"""Settings of the grader's images, training and votes."""

from dataclasses import dataclass
from typing import Any, Literal

from tumorprog.checks import above, at_least, check_batch_size, check_sequences
from tumorprog.conventions import SEQUENCES
from tumorprog.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Slices:
    """How slices are prepared for the grader."""

    scaling: Literal["robust", "minmax"] = "robust"
    """How intensities are scaled to [0, 1]: by the 0.5th and 99.5th percentiles, or by minimum and maximum (paper)."""
    sequences: tuple[str, ...] = SEQUENCES
    """Sequences that the grader is trained on and applied to, by canonical name."""
    only: Literal["all", "tumour"] = "all"
    """All slices, or only those that show the tumour: whose mask or learned region is at least min_tumour_mm2."""
    min_tumour_mm2: float = 50.0
    """Smallest area of the region on a slice that counts as showing the tumour."""

    def __post_init__(self) -> None:
        check_sequences("slices.sequences", self.sequences)
        above("slices.min_tumour_mm2", self.min_tumour_mm2, 0)

    @property
    def selection(self) -> dict[str, Any]:
        """Which slices are used; a grader grades those that were selected as its training slices were."""
        smallest = {"min_tumour_mm2": self.min_tumour_mm2} if self.only == "tumour" else {}
        return {"only": self.only, **smallest}


@dataclass(frozen=True, kw_only=True)
class Grader:
    """The ResNet-18 and its training."""

    weights: str = "imagenet"
    """Initial weights: `imagenet` (torchvision's, downloaded once), `none` (random), or a file of ResNet-18 weights."""
    epochs: int = 10
    """Passes over the training slices."""
    batch_size: int = 64
    """Slices per optimiser step, over all workers."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Weight decay of Adam."""
    step_epochs: int = 5
    """Number of epochs after which the learning rate is multiplied by step_factor."""
    step_factor: float = 0.1
    """Factor of the learning rate after each step_epochs."""
    augment: bool = False
    """Whether training slices are randomly flipped, rotated and changed in brightness; the paper does not."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of training; bfloat16 is about twice as fast on a GPU with tensor cores."""
    compile: bool = False
    """Whether to compile the network with torch.compile: minutes at the start, faster epochs on a GPU."""
    split: str = ""
    """A CSV with columns patient and side (train, validation, test), to use instead of a random split."""
    folds: int = 0
    """Folds of an additional cross-validation by patient; 0 for none. Short form: --folds K."""
    seeds: int = 1
    """Trainings on the patient split that differ only in their seed (initial weights, order of slices)."""
    null_control: bool = False
    """Whether to add a null control: trainings with grades permuted between patients, which reveal leakage."""
    null_draws: int = 5
    """Trainings of the null control, each with a permutation of its own."""
    workers: int = 1
    """Ray Train workers; 0 trains in the calling process (Ray Train's local mode), faster for small runs."""
    gpu: bool = False
    """Whether each training worker and each grading actor gets a GPU."""

    def __post_init__(self) -> None:
        at_least("grader.epochs", self.epochs, 1)
        check_batch_size("grader", self.batch_size, self.workers)
        above("grader.learning_rate", self.learning_rate, 0)
        at_least("grader.weight_decay", self.weight_decay, 0)
        at_least("grader.step_epochs", self.step_epochs, 1)
        above("grader.step_factor", self.step_factor, 0)
        at_least("grader.seeds", self.seeds, 1)
        at_least("grader.null_draws", self.null_draws, 1)
        if self.folds != 0 and not self.folds >= 2:
            raise SettingsError(f"grader.folds is {self.folds}; it must be 0 (none), or 2 or more")


@dataclass(frozen=True, kw_only=True)
class Grade:
    """How the grades of slices are combined into the grade of a patient on a date."""

    sequences: tuple[str, ...] = ("T1post", "FLAIR")
    """Sequences whose slices vote, by canonical name; on a date without any of them, all slices vote."""

    def __post_init__(self) -> None:
        check_sequences("grade.sequences", self.sequences)
