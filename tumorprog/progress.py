"""The progress of long work, as records of the log."""

import logging
import time

log = logging.getLogger(__name__)


class Progress:
    """Progress of a long task: one log record at each step, which the command line draws as a bar or thins out."""

    def __init__(self, label: str, *, total: int, items: str) -> None:
        self._label, self._total, self._items = label, total, items
        self._done = 0
        self._started = time.monotonic()
        self.add(0)

    def add(self, done: int) -> None:
        """Add the number of items finished since the last call."""
        self._done += done
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        log.info(
            "  %s: %s of %s %s, %s a second",
            self._label,
            f"{self._done:,}",
            f"{self._total:,}",
            self._items,
            f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}",
            extra={"progress": (self._label, self._done, self._total, self._items)},
        )
