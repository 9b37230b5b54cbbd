"""The line that says what is being compiled."""

from __future__ import annotations

import io
import sys
import time

import pytest

from tinygrad_rnn.kernels import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_lasts_has_a_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setattr(progress, "PERIOD", 0.05)
    said = Terminal()
    monkeypatch.setattr(sys, "stderr", said)
    with progress.progress("compiling LSTM"), progress.progress("something inside"):
        time.sleep(0.3)
    lines = said.getvalue().split("\r")
    assert any(line.startswith("compiling LSTM: 0 s") for line in lines)
    assert not lines[-1] and not lines[-2].strip() and "inside" not in said.getvalue()


def test_nothing_is_said_of_what_is_short_or_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short, no_terminal = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", short)
    with progress.progress("compiling LSTM"):
        pass
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", no_terminal)
    with progress.progress("compiling LSTM"):
        time.sleep(0.05)
    assert not short.getvalue() and not no_terminal.getvalue()


def test_a_failure_ends_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    said = Terminal()
    monkeypatch.setattr(sys, "stderr", said)
    with pytest.raises(ValueError, match="no"), progress.progress("compiling LSTM"):
        time.sleep(0.1)
        raise ValueError("no")
    assert said.getvalue().endswith("\r")
    assert progress._running.acquire(blocking=False)
    progress._running.release()
