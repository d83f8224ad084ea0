"""What the workers of a distributed training have counted -> the sums over all of them."""

from dataclasses import astuple
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Tally = TypeVar("Tally", bound="DataclassInstance")


def summed_over_workers(tally: Tally) -> Tally:
    """Return the sums over all workers, or the tally itself outside distributed training.

    Every worker must call this function, and all receive the same result.

    Args:
        tally: a dataclass of numbers, whole ones up to 2^53.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tally
    own = astuple(tally)
    # NCCL reduces tensors in GPU memory only; float64 represents counts up to 2^53 exactly
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    sums = torch.tensor(own, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    return type(tally)(*(type(value)(total) for value, total in zip(own, sums.tolist(), strict=True)))
