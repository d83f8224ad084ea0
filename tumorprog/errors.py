"""Errors that a user can correct: each ends a command with a one-line message and exit code 2.

The message states what is wrong, where, what was expected and what to do. Only `cli.main` catches these errors; any
other exception is a defect of tumorprog and keeps its traceback.
"""

from collections.abc import Iterable

_MAX_NAMED = 4


def shorten(names: Iterable[str]) -> str:
    """Return the first few names for a message, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:_MAX_NAMED]) + (
        f" and {len(listed) - _MAX_NAMED} more" if len(listed) > _MAX_NAMED else ""
    )


class TumorprogError(Exception):
    """A mistake or missing input that the user can correct, with a message that says how."""


class SettingsError(TumorprogError):
    """A setting has a wrong name, type or value; the message gives its dotted name."""


class InputError(TumorprogError):
    """A folder, table or run directory lacks something that a command needs; the message names the file."""


class LeakError(TumorprogError):
    """Data leakage: a patient, study, series or identical image is in more than one set of a split."""


class DicomError(TumorprogError):
    """A file or frame that cannot be used; it is listed in `quarantine.csv` and the run continues.

    Attributes:
        reason: one of `formats.columns.REASONS`.
        detail: what was found, without any identifying header value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["DicomError"], tuple[str, str]]:
        """Pickle by both arguments, because the error is passed between processes."""
        return type(self), (self.reason, self.detail)
