"""Validation of settings: a value that cannot work is rejected by its dotted name."""

from tumorprog.conventions import SEQUENCES
from tumorprog.errors import SettingsError


def at_least(name: str, value: float, minimum: float) -> None:
    """Raise SettingsError if a value is less than its minimum, or NaN."""
    if not value >= minimum:
        raise SettingsError(f"{name} is {value}; it must be {minimum} or more")


def above(name: str, value: float, bound: float) -> None:
    """Raise SettingsError if a value is not greater than a bound."""
    if not value > bound:
        raise SettingsError(f"{name} is {value}; it must be greater than {bound}")


def check_batch_size(group: str, batch_size: int, workers: int) -> None:
    """Raise SettingsError if a batch cannot be divided equally between the workers of a training.

    Args:
        group: of the settings, such as grader.
        batch_size: over all workers.
        workers: of the training; with 0 it is in the calling process.
    """
    at_least(f"{group}.batch_size", batch_size, 2)
    at_least(f"{group}.workers", workers, 0)
    if workers and batch_size % workers:
        raise SettingsError(f"{group}.batch_size is {batch_size}; it must be a multiple of {group}.workers ({workers})")


def check_sequences(name: str, sequences: tuple[str, ...]) -> None:
    """Raise SettingsError if there are no sequences, or unknown ones."""
    if not sequences or set(sequences) - set(SEQUENCES):
        value = list(sequences) or "empty"
        raise SettingsError(f"{name} is {value}; choose from {', '.join(SEQUENCES)}")
