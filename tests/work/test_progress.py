"""Progress for people: a bar on a terminal, rare lines in a log."""

import io

import pytest

from latentsync.work import progress
from latentsync.work.progress import ProgressBar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_reaches_the_end() -> None:
    stream = Terminal()
    with ProgressBar(stream=stream) as bar:
        for done in (0.5, 3.0, 10.0):
            bar(done, 10)
    assert "100%" in stream.getvalue()
    assert "10/10" in stream.getvalue()


def test_a_log_gets_no_line_for_a_short_job() -> None:
    stream = io.StringIO()
    with ProgressBar(stream=stream) as bar:
        for done in range(100):
            bar(done, 100)
    assert stream.getvalue() == ""


def test_a_log_gets_a_line_with_the_time_left_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    stream = io.StringIO()
    with ProgressBar(stream=stream) as bar:
        bar(4, 8)
    assert stream.getvalue().startswith("frames: 4 of 8, 0 s left")
