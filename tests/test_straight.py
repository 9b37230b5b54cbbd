"""Small programs as one foreign call: equal to plain ones, and refused or run by lines where they do not fit."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import test_whole_programs as whole
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import straight
from tinygrad_rnn.compiler.recorded import Recording
from tinygrad_rnn.kernels import driver, runtime
from tinygrad_rnn.kernels.driver import Call, Given, Inside, Place, Table


def recordings(jitted: Any) -> list[Recording]:
    return [r for k, r in jitted._programs.items() if k != "full"]


def is_one_call(jitted: Any) -> list[bool]:
    """Whether the forward programs are one call, by the latest recording last."""
    return [r._forward._straight is not None for r in recordings(jitted)]


def outcome(function: Any, *arrays: np.ndarray, **how: Any) -> list[np.ndarray]:
    """Value and gradients by all arguments of floats."""
    places = tuple(k for k, a in enumerate(arrays) if a.dtype.kind == "f")
    run = tg.value_and_grad(function, argnums=places)
    jitted = tg.jit(run)
    found: list[np.ndarray] = []
    for _ in range(2):  # the second call has the memory of the first
        value, gradients = jitted(*map(tg.tensor, arrays))
        found = [value.numpy(), *[g.numpy() for g in gradients]]
    assert is_one_call(jitted) == [how.get("one", True)]
    return found


def plain(function: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    places = tuple(k for k, a in enumerate(arrays) if a.dtype.kind == "f")
    with tg.eager():
        value, gradients = tg.value_and_grad(function, argnums=places)(*map(tg.tensor, arrays))
    return [value.numpy(), *[g.numpy() for g in gradients]]


def agree(function: Any, *arrays: np.ndarray, tolerance: float = 1e-10, **how: Any) -> None:
    for a, b in zip(outcome(function, *arrays, **how), plain(function, *arrays), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# --- whole programs -------------------------------------------------------------------------------


def trained(program: whole.Program, x: np.ndarray, compiled: bool, calls: int = 2) -> Any:
    """Loss and gradients of all parameters, from a step with `backward` inside, at its last call."""

    def step(x: Any) -> Any:
        for p in program.parameters():
            p.grad = None
        loss = program.function(x)
        loss.backward()
        return loss

    run = tg.jit(step) if compiled else step
    for _ in range(calls):
        loss = run(tg.tensor(x))
    return run, [loss.numpy(), *[p.grad.numpy() for p in program.parameters()]]


@pytest.mark.parametrize("make", whole.PROGRAMS, ids=lambda f: f.__name__)
def test_programs_with_sequences(make: Any) -> None:
    x = whole.normal(whole.T, whole.BATCH, whole.INPUT)
    run, found = trained(make(), x, True)
    with tg.eager():
        _, expected = trained(make(), x, False)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    print(make.__name__, is_one_call(run), getattr(recordings(run)[0]._forward,"unfit",""))
