"""Records of the log -> what a person sees: a line each; the progress of long work as a bar, or a line now and then."""

import logging
import sys
import time
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_EVERY_S = 5.0
_FORMAT = logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")


def write(text: str) -> None:
    """Write to standard output immediately."""
    sys.stdout.write(text)
    sys.stdout.flush()


def handler(stream: TextIO) -> logging.Handler:
    """Writes to the stream; progress is a bar on a terminal, and a line every five seconds elsewhere.

    Records of progress carry `progress`: what it is, how much is done, of how much, of what.
    """
    if stream.isatty():
        return _Bars(Console(file=stream))
    lines = logging.StreamHandler(stream)
    lines.setFormatter(_FORMAT)
    lines.addFilter(_NowAndThen())
    return lines


class _NowAndThen(logging.Filter):
    """Lets the last record of a progress through, and no more than one of the others in five seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        told = getattr(record, "progress", None)
        if told is None:
            return True
        _, done, total, _ = told
        now = time.monotonic()
        if done == 0:
            self._said = now
        if done < total and now - self._said < _EVERY_S:
            return False
        self._said = now
        return True


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:,.0f} {task.fields['items']}/s" if task.elapsed else "")


class _Bars(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._progress: Progress | None = None
        self._task: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        told = getattr(record, "progress", None)
        if told is None:
            self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)
            return
        label, done, total, items = told
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
