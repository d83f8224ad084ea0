"""What a user can mend: every error that ends a command with one line and exit code 2.

The message says what is wrong, where, what was expected and what to do. Only `cli.main` catches these; anything else is
a defect of ours and keeps its traceback.
"""

from collections.abc import Iterable

_NAMED = 4


def some(names: Iterable[str]) -> str:
    """The first few names, for a message, and how many more there are."""
    every = list(names)
    return ", ".join(every[:_NAMED]) + (f" and {len(every) - _NAMED} more" if len(every) > _NAMED else "")


class TumorprogError(Exception):
    """A user's mistake or a missing thing, with a message that says how to mend it."""


class SettingsError(TumorprogError):
    """A setting has a wrong name, type or value; the message names it by its dotted name."""


class InputError(TumorprogError):
    """A folder, table or run directory lacks what a command needs; the message names the file."""


class LeakError(TumorprogError):
    """A patient, study, series or identical image stands on two sides of a split."""


class DicomError(TumorprogError):
    """One file or frame cannot be used; it becomes a row of `quarantine.csv` and the run goes on.

    Attributes:
        reason: one of `tumorprog.tables.REASONS`.
        detail: what was found, without any identifying header.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["DicomError"], tuple[str, str]]:
        """Pickles by its two parts: it crosses process borders."""
        return type(self), (self.reason, self.detail)
