"""Settings of the segmenter and its training."""

from dataclasses import dataclass
from typing import Literal

from tumorprog.checks import above, at_least, check_batch_size, check_sequences


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """The U-Net that finds the tumour, and its training."""

    sequences: tuple[str, ...] = ("T1post",)
    """Its input, by canonical name. The first is the sequence that is segmented; others are added where the study has
    them on the same grid (registered), and are left empty where it does not."""
    neighbours: int = 1
    """Adjacent slices on either side that are input channels beside the slice itself (2.5-D); 0 for a plain 2-D net."""
    folds: int = 5
    """Folds of the cross-fitting by patient: each patient's region is from the model that is trained without them."""
    epochs: int = 50
    """Passes over the training slices."""
    batch_size: int = 8
    """Slices per optimiser step, over all workers."""
    learning_rate: float = 3e-3
    """Highest learning rate of AdamW, in a one-cycle schedule."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of training; `auto` is bfloat16 on GPUs and CPUs that compute with it (about twice as fast), else
    float32."""
    compile: bool = False
    """Whether to compile the network with torch.compile: minutes at the start, faster epochs on a GPU."""
    workers: int = 1
    """Ray Train workers; 0 trains in the calling process (Ray Train's local mode), faster for small runs."""
    gpu: bool = False
    """Whether each training worker gets a GPU."""

    def __post_init__(self) -> None:
        check_sequences("segmenter.sequences", self.sequences)
        at_least("segmenter.neighbours", self.neighbours, 0)
        at_least("segmenter.folds", self.folds, 2)
        at_least("segmenter.epochs", self.epochs, 1)
        check_batch_size("segmenter", self.batch_size, self.workers)
        above("segmenter.learning_rate", self.learning_rate, 0)
