"""Fixtures for all tests. Compiled kernels stay in the user's cache, where the next run finds them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that differ between tests and are the same in every run and in every order of the tests."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
