import io
import logging

import pytest

from tumorprog import terminal


class Screen(io.StringIO):
    def isatty(self):
        return True


def logged(stream, *records):
    log = logging.Logger("test")
    log.addHandler(terminal.handler(stream))
    for told in records:
        log.info(
            told if isinstance(told, str) else "  thing: %d of %d",
            *([] if isinstance(told, str) else told),
            extra={"progress": None if isinstance(told, str) else ("thing", *told, "things")},
        )
    return stream.getvalue()


def test_elsewhere_than_on_a_terminal_only_the_end_of_a_short_progress_is_told():
    told = logged(io.StringIO(), "before", (0, 3), (1, 3), (2, 3), (3, 3), "after")
    assert [line.split(" ", 1)[1].strip() for line in told.splitlines()] == ["before", "thing: 3 of 3", "after"]


def test_a_long_progress_is_told_every_five_seconds(monkeypatch):
    clock = iter(range(100, 200, 2))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    told = logged(io.StringIO(), *((done, 100) for done in range(10)))
    assert 2 <= len(told.splitlines()) <= 4


def test_on_a_terminal_it_is_a_bar_with_counts_and_rate():
    told = logged(Screen(), "before", (0, 30), (30, 30), "after [bold]")
    assert "30/30" in told
    assert "things/s" in told
    assert "after [bold]" in told


@pytest.mark.parametrize("stream", [io.StringIO, Screen])
def test_a_progress_without_steps_does_no_harm(stream):
    assert "after" in logged(stream(), (0, 0), "after")
