"""Fixtures for all tests. Compiled kernels stay in the user's cache, where the next run finds them.

``pytest --seed N`` lets every random number of the tests come out differently: the number is mixed
into the seeds with which they make generators, also into those that they hand to the package. A
test whose expected numbers were recorded for certain seeds is marked `recorded` and keeps them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.loops import check

_default_rng = np.random.default_rng
_mixed_in = 0


def _seeded(seed: Any = None) -> np.random.Generator:
    """In place of NumPy's function of this name: the same, with `_mixed_in` in the seed."""
    if _mixed_in and isinstance(seed, (int, np.integer, list, tuple)):
        seed = [*np.atleast_1d(seed).tolist(), _mixed_in]
    return _default_rng(seed)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed",
        type=int,
        default=0,
        help="other random numbers in every test (0: those of every day)",
    )


def pytest_configure(config: pytest.Config) -> None:
    global _mixed_in
    _mixed_in = config.getoption("--seed")
    if _mixed_in:
        np.random.default_rng = _seeded


@pytest.fixture(autouse=True, scope="session")
def _programs_of_loops_are_checked() -> None:
    """Every program of loops is looked at before it becomes text."""
    check.enabled = True


@pytest.fixture(autouse=True)
def _recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    global _mixed_in
    before = _mixed_in
    if request.node.get_closest_marker("recorded"):
        _mixed_in = 0
    yield
    _mixed_in = before


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that differ between tests and are the same in every run and in every order of the tests."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A running browser, for tests that are marked `in_browser`."""
    from .browsers import launched  # playwright takes a while to import

    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def eager() -> Iterator[None]:
    """Layers and compiled cells run step by step.

    Compiling takes seconds for each new combination of sizes.
    """
    with tg.eager():
        yield
