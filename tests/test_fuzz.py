"""A small run of every generator of random programs, and all programs that one of them has found.

`make test-all` has large runs, `make fuzz` any number.
"""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.fuzz import NAMES, _program
from tests.fuzz._program import Input, Program
from tests.fuzz._shrink import settled
from tinygrad_rnn.core.primitive import REGISTRY

SMALL, LARGE, COMPILED = 60, 2000, 100
CHUNK = 20
CORPUS = sorted((Path(__file__).parent / "fuzz" / "corpus").glob("*.py"))


def run(name: str, seeds: range, compiled: bool = False) -> None:
    """Run some cases; a failure names its seed."""
    case = importlib.import_module(f"tests.fuzz.{name}").case
    for seed in seeds:
        try:
            case(seed, compiled=compiled)
        except Exception as error:
            error.add_note(
                f"python -m tests.fuzz {name} --seed {seed} --count 1{' --compiled' if compiled else ''}"
            )
            raise


@pytest.mark.parametrize("first", range(0, SMALL, CHUNK))
@pytest.mark.parametrize("name", NAMES)
def test_random_programs(name: str, first: int, request: pytest.FixtureRequest) -> None:
    first += 100_000 * request.config.getoption("--seed")
    run(name, range(first, first + CHUNK))


@pytest.mark.full
@pytest.mark.parametrize("first", range(SMALL, LARGE, 5 * CHUNK))
@pytest.mark.parametrize("name", NAMES)
def test_many_random_programs(name: str, first: int) -> None:
    run(name, range(first, first + 5 * CHUNK))


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, COMPILED, CHUNK // 4))
@pytest.mark.parametrize("name", NAMES)
def test_random_programs_compiled(name: str, first: int) -> None:
    run(name, range(first, first + CHUNK // 4), compiled=True)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_found(path: Path, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_program, "COMPILED", compiled)
    runpy.run_path(str(path))


# --- the search itself ----------------------------------------------------------------------------


@pytest.fixture
def wrong_slope() -> Iterator[None]:
    """The arctan has a derivative that is wrong by a hundredth."""
    entry = REGISTRY["arctan"]
    before = [rule.function for rule in entry.rules if rule]
    entry.set_rules([lambda g, x: g / (1.01 + x * x)])
    yield
    entry.set_rules(before)


LONG = Program(
    {
        "x0": Input(np.linspace(-1.3, 1.7, 12).reshape(4, 3)),
        "x1": Input(np.arange(12).reshape(4, 3)),
        "c0": Input(np.linspace(0.2, 0.9, 3), role="outside"),
    },
    (
        ("v0", "v0 = tg.tanh(x0) * c0"),
        ("v1", "v1 = tg.concatenate([v0, x0 + x1], axis=-1)"),
        ("v2", "v2 = op('arctan', 0.5 * v1[:, ::2] - 0.25)"),
        ("v3", "v3 = v2.sum(axis=0, keepdims=True)"),
        ("v4", "v4 = tg.exp(v0)"),
    ),
    ("v3", "v4", "v1"),
)


def test_a_program_that_fails_is_made_as_small_as_can_be(wrong_slope: None) -> None:
    with pytest.raises(AssertionError, match="finite differences: gradients") as caught:
        settled(LONG, compiled=False)
    text = str(caught.value).partition("\n\n")[2]
    assert "def f(x0):\n    v2 = op('arctan', x0)\n    return (v2, )\n" in text
    with pytest.raises(AssertionError, match="finite differences: gradients"):
        exec(compile(text, "<program>", "exec"), {})  # it runs by itself


def test_kinks_and_jumps_are_no_faults() -> None:
    inputs = {"x0": Input(np.array([0.0, -0.0, 1.0, 2e-5]))}

    def f(x0):  # type: ignore[no-untyped-def]
        return tg.abs(x0), tg.floor(x0), tg.relu(x0), tg.where(x0 > 1e-5, x0, 0.0)

    assert _program.check(f, inputs) == "equal"

    def stairs(x0):  # type: ignore[no-untyped-def]
        return tg.floor_divide(3.3, x0)

    assert _program.check(stairs, {"x0": Input(np.array([0.0158111, 0.31, -0.91]))}) == "equal"
