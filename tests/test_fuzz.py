"""A small run of every generator of random programs; `make test-all` has the large ones, `make fuzz` any number."""

from __future__ import annotations

import importlib

import pytest

from tests.fuzz import NAMES

SMALL, LARGE, COMPILED = 60, 2000, 100
CHUNK = 20


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
