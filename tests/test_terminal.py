import io
import logging

import pytest

from tumorprog import terminal


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def log_records(stream, *records):
    log = logging.Logger("test")
    log.addHandler(terminal.handler(stream))
    for entry in records:
        log.info(
            entry if isinstance(entry, str) else "  thing: %d of %d",
            *([] if isinstance(entry, str) else entry),
            extra={"progress": None if isinstance(entry, str) else ("thing", *entry, "things")},
        )
    return stream.getvalue()


def test_without_a_terminal_a_short_progress_is_one_line_at_its_end():
    output = log_records(io.StringIO(), "before", (0, 3), (1, 3), (2, 3), (3, 3), "after")
    assert [line.split(" ", 1)[1].strip() for line in output.splitlines()] == ["before", "thing: 3 of 3", "after"]


def test_without_a_terminal_a_long_progress_is_a_line_every_five_seconds(monkeypatch):
    clock = iter(range(100, 200, 2))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    output = log_records(io.StringIO(), *((done, 100) for done in range(10)))
    assert 2 <= len(output.splitlines()) <= 4


def test_on_a_terminal_progress_is_a_bar_with_counts_and_rate():
    output = log_records(FakeTerminal(), "before", (0, 30), (30, 30), "after [bold]")
    assert "30/30" in output
    assert "things/s" in output
    assert "after [bold]" in output


@pytest.mark.parametrize("stream", [io.StringIO, FakeTerminal])
def test_a_progress_without_steps_is_handled(stream):
    assert "after" in log_records(stream(), (0, 0), "after")
