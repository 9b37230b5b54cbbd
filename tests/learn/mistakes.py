"""Wrong answers to the exercises of the course, each with words of the hint that it has to get.

A file of tests, ``test_lesson_NN.py``, lists those of its lesson::

    MISTAKES = [Mistake("slope", "Square the tanh", lambda x: 1 - math.tanh(x)), ...]

    @pytest.mark.parametrize("mistake", MISTAKES, ids=str)
    def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
        mistake.meets_its_hint(capsys)

`test_lessons.py` says where an exercise has fewer than three. That the answer of the page is right,
the test of the page says, which prints what `check` does.
"""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_rnn as tg


class Mistake:
    """Wrong answers to an exercise, and words of the hint that fits."""

    def __init__(self, exercise: str, hint: str, *answers: Any) -> None:
        self.exercise, self.hint, self.answers = exercise, hint, answers

    def __str__(self) -> str:
        return f"{self.exercise}: {self.hint}"

    def meets_its_hint(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Fail unless the answers are refused with these words in the hint."""
        assert tg.learn.check(self.exercise, *self.answers) is False
        said = capsys.readouterr().out
        assert said.startswith("not yet: ") and self.hint in said.partition("hint: ")[2], said
