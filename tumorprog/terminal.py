"""Display of log records on the terminal: one line each; the progress of long work as a bar or as occasional lines."""

import logging
import sys
import time
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_INTERVAL_S = 5.0
"""Minimum time between two lines of a progress, in seconds."""
_FORMAT = logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")


def write(text: str) -> None:
    """Write to standard output immediately."""
    sys.stdout.write(text)
    sys.stdout.flush()


def handler(stream: TextIO) -> logging.Handler:
    """Return a log handler that writes to the stream.

    Progress is a bar on a terminal, and otherwise a line every five seconds. Records of progress have an attribute
    `progress`: (label, number done, total number, name of the items).
    """
    if stream.isatty():
        return _ProgressBars(Console(file=stream))
    lines = logging.StreamHandler(stream)
    lines.setFormatter(_FORMAT)
    lines.addFilter(_ProgressThrottle())
    return lines


class _ProgressThrottle(logging.Filter):
    """Pass the last record of a progress, and of the others at most one per interval."""

    def __init__(self) -> None:
        super().__init__()
        self._last_passed = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        progress = getattr(record, "progress", None)
        if progress is None:
            return True
        _, done, total, _ = progress
        now = time.monotonic()
        if done == 0:
            self._last_passed = now
        if done < total and now - self._last_passed < _INTERVAL_S:
            return False
        self._last_passed = now
        return True


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:,.0f} {task.fields['items']}/s" if task.elapsed else "")


class _ProgressBars(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._progress: Progress | None = None
        self._task: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None:
            self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)
            return
        label, done, total, items = progress
        if self._progress is None or done == 0:
            self._end()
            columns = (TextColumn("         {task.description}"), BarColumn(), MofNCompleteColumn())
            self._progress = Progress(*columns, _Rate(), TimeRemainingColumn(), console=self._console)
            self._task = self._progress.add_task(label, total=total, items=items)
            self._progress.start()
        self._progress.update(self._task, completed=done)
        if done >= total:
            self._end()

    def format(self, record: logging.LogRecord) -> str:
        return _FORMAT.format(record)

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
