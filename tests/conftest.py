"""Fixtures for all tests. Compiled kernels stay in the user's cache, where the next run finds them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that differ between tests and are the same in every run and in every order of the tests."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="module")
def eager() -> Iterator[None]:
    """Layers and compiled cells run step by step: compiling takes seconds for each new combination of sizes."""
    with tg.eager():
        yield
