"""`tg.learn.check`: what it says, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.learn.exercise import (
    EXERCISES,
    Function,
    Wrong,
    exercise,
    expect,
    explaining,
    same,
    told,
)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An exercise: twice a number."""
    monkeypatch.setattr(
        "tinygrad_rnn.learn.checking.exercises", lambda: {"double": EXERCISES["double"]}
    )

    @exercise("double", "2 numbers")
    def test(answer: Function) -> None:
        for x in (2.0, 3.0):
            expect(
                answer(x),
                2 * x,
                f"at {x:.0f}",
                (x * x, "That is the square."),
                hint="Add x to itself.",
            )

    yield
    del EXERCISES["double"]


def said(capsys: pytest.CaptureFixture[str], answer: object) -> tuple[bool, str]:
    return tg.learn.check("double", answer), capsys.readouterr().out


@pytest.mark.usefixtures("double")
def test_what_check_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, lambda x: x + x) == (True, "right: 2 numbers\n")
    wrong = "not yet: at 3: expected 6, found 9.\nhint: That is the square.\n"
    assert said(capsys, lambda x: x**2) == (False, wrong)
    assert said(capsys, lambda x: 4.0) == (
        False,
        "not yet: at 3: expected 6, found 4.\nhint: Add x to itself.\n",
    )
    assert "Is there a return" in said(capsys, lambda x: None)[1]


@pytest.mark.usefixtures("double")
def test_an_error_of_the_reader_is_said_with_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(x):
        y = [x, x]
        return y[2]

    right, text = said(capsys, answer)
    line = answer.__code__.co_firstlineno + 2
    assert not right
    assert text == (
        "not yet: answer raised IndexError: list index out of range\n"
        f"at line {line} of test_check.py: return y[2]\n"
    )
    # the error is the engine's, the line is still the reader's
    text = said(capsys, lambda x: tg.tensor([1.0, 2.0]) + tg.tensor([x, x, x]))[1]
    assert "raised ShapeError: add(float32(2,), float32(3,))" in text and "of test_check.py" in text


@pytest.mark.usefixtures("double")
def test_a_line_in_a_notebook_is_said_as_one_of_its_cell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    space: dict[str, Any] = {}
    code = "def answer(x):\n    return [x][2]\n"
    exec(compile(code, "/tmp/ipykernel_71/3096524.py", "exec"), space)
    assert "\nat line 2 of its cell" in said(capsys, space["answer"])[1]


def test_an_error_of_the_reader_gets_the_hint_that_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "tinygrad_rnn.learn.checking.exercises", lambda: {"double": EXERCISES["double"]}
    )

    @exercise("double", "")
    def test(answer: Function) -> None:
        with explaining(IndexError, "out of range", "Count from 0."):
            answer([2.0])

    try:
        said_of_index = said(capsys, lambda x: x[1])[1]
        said_of_other = said(capsys, lambda x: x.missing)[1]
    finally:
        del EXERCISES["double"]
    assert said_of_index.endswith("x[1])[1]\nhint: Count from 0.\n")
    assert "AttributeError" in said_of_other and "hint" not in said_of_other


def test_a_function_that_cannot_be_called_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no line of the reader's to say."""
    assert tg.learn.check("undo-broadcasting", lambda: 1.0) is False
    text = capsys.readouterr().out
    assert text.startswith("not yet: the answer could not be tested: TypeError: ")
    assert "takes 0 positional arguments but 2 were given" in text


@pytest.mark.usefixtures("double")
def test_what_check_refuses() -> None:
    with pytest.raises(
        tg.TinygradError, match=r"no exercise of this name\. The exercises are double"
    ):
        tg.learn.check("dobule", lambda x: x)
    with pytest.raises(
        tg.TinygradError, match=r"takes 1 answer after the name \(answer\); found 2"
    ):
        tg.learn.check("double", lambda x: x, 3)
    with pytest.raises(tg.TinygradError, match=r"has to be a function; found 4\. Hand over"):
        tg.learn.check("double", 4.0)


def test_the_names_of_all_exercises_are_listed() -> None:
    with pytest.raises(tg.TinygradError, match=r"The exercises are .*undo-broadcasting"):
        tg.learn.check("")


@pytest.mark.parametrize(
    ("found", "right", "expected"),
    [
        (1.0, 1, True),
        ([1.0], 1.0, True),
        (1.0, [1.0], False),
        ([[1.0, 2.0]], np.array([[1.0, 2.0]]), True),
        ([1.0, 2.0], np.array([[1.0, 2.0]]), False),
        (tg.tensor([1.0, 2.0], requires_grad=True), (1.0, 2.0), True),
        ([np.zeros(2), 1.0], (np.zeros(2), 1.0), True),
        ((1.0, 2.0), (1.0, 2.0, 3.0), False),
        (3.0, (3.0,), False),
        ("abc", "abc", True),
        (1, True, False),
        ({"a": [1.0]}, {"a": np.ones(1)}, True),
        ({"a": 1.0}, {"b": 1.0}, False),
        ([[1.0], [2.0, 3.0]], np.zeros(2), False),
        ("abc", 1.0, False),
        (np.nan, np.nan, True),
        (100.001, 100.0, True),
        (100.1, 100.0, False),
    ],
)
def test_same(found: object, right: object, expected: bool) -> None:
    assert same(found, right) is expected


def test_values_are_told() -> None:
    assert told(1 / 3) == "0.333333" and told("a") == "'a'"
    assert told([np.array([1.0, 2.0]), 3]) == "[[1., 2.] of shape (2,), 3]"
    assert told(tg.tensor(np.zeros((3, 4)))) == "an array of shape (3, 4)"
    assert told(np.ones((2, 2))) == "[[1., 1.], [1., 1.]] of shape (2, 2)"
    assert told({3: np.ones((3, 3))}) == "{3: an array of shape (3, 3)}"
    with pytest.raises(Wrong, match=r"of a dict, \['b'\]: expected 2, found 3"):
        expect({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 2.0}, "of a dict")
    with pytest.raises(Wrong, match="no numbers: expected 1, found <object"):
        expect(object(), 1.0, "no numbers")
    with pytest.raises(
        Wrong, match=r"large: expected an array of shape \(9,\), found other numbers"
    ):
        expect(np.zeros(9), np.ones(9), "large")


def test_two_lessons_cannot_have_an_exercise_of_one_name(double: None) -> None:
    def other(answer: Function) -> None: ...

    other.__module__ = "another_lesson"
    with pytest.raises(tg.TinygradError, match="two lessons"):
        exercise("double", "")(other)


def test_the_exercises_are_loaded_when_they_are_first_used() -> None:
    code = (
        "import sys, tinygrad_rnn as tg; print('tinygrad_rnn.learn' in sys.modules); tg.learn.check"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
