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


def check_sequences(name: str, sequences: tuple[str, ...]) -> None:
    """Raise SettingsError if there are no sequences, or unknown ones."""
    if not sequences or set(sequences) - set(SEQUENCES):
        value = list(sequences) or "empty"
        raise SettingsError(f"{name} is {value}; choose from {', '.join(SEQUENCES)}")
