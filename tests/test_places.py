"""Machine code that goes by places along an axis gives what NumPy gives, whichever does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import places, runtime

SHAPE = (3, 40, 5)
rng = np.random.default_rng(0)
INDICES = rng.integers(-40, 40, SHAPE)
VALUES: dict[str, Any] = {
    "numbers": rng.standard_normal(SHAPE),
    "ties, zeros of both signs": np.copysign(rng.integers(0, 3, SHAPE), rng.standard_normal(SHAPE)),
    "nan": np.where(rng.random(SHAPE) < 0.2, np.nan, rng.standard_normal(SHAPE)),
    "infinities": np.where(rng.random(SHAPE) < 0.3, -np.inf, rng.standard_normal(SHAPE)),
}
CASES: dict[str, Callable[[Any, Any], Any]] = {
    "take": lambda x, v: tg.take_along_axis(x, INDICES, 1),
    "take, last axis": lambda x, v: tg.take_along_axis(x, INDICES[..., :4] % 5, -1),
    "take, int32": lambda x, v: tg.take_along_axis(x, INDICES.astype(np.int32), 1),
    "put": lambda x, v: tg.put_along_axis(x, INDICES, v, 1),
    "cummax": lambda x, v: tg.cummax(x, 1),
    "cummin, last axis": lambda x, v: tg.cummin(x, -1),
    "cummax, one row": lambda x, v: tg.cummax(x.reshape(-1), 0),
    "max_pool1d": lambda x, v: tg.max_pool1d(x, 2, 1, 1),
    "max_pool2d": lambda x, v: tg.max_pool2d(x[None], (3, 2), 2, 1),
    "max_pool2d, dilation": lambda x, v: tg.max_pool2d(x[None], 2, (3, 1), dilation=(2, 1)),
    "adaptive_max_pool1d": lambda x, v: tg.adaptive_max_pool1d(x, 2),
    "adaptive_max_pool2d": lambda x, v: tg.adaptive_max_pool2d(x[None], (7, 3)),
}


def outcome(function: Callable[[Any, Any], Any], x: Any) -> list[Any]:
    """Return the result of a function, and its gradients."""
    a, b = tg.tensor(x, requires_grad=True), tg.tensor(x[::-1], requires_grad=True)
    y = function(a, b)
    y.backward(np.arange(y.size, dtype=x.dtype).reshape(y.shape) - 7)
    return [y.numpy(), *(t.grad.numpy() for t in (a, b) if t.grad is not None)]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("case", CASES)
def test_machine_code_is_numpy(case: str, values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in (np.float32, np.float64):
        x = VALUES[values].astype(dtype)
        assert runtime.available()  # so that few elements are done by machine code as well
        assert places.library(x, x.size) is not None
        ours = outcome(CASES[case], x)
        with monkeypatch.context() as patch:
            patch.setattr(places, "library", lambda array, size: None)
            theirs = outcome(CASES[case], x)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(np.signbit(a), np.signbit(b))
            assert a.dtype == b.dtype == dtype


def test_indices_beyond_the_axis_are_refused() -> None:
    x = tg.tensor(VALUES["numbers"])
    assert runtime.available()
    for wrong in (40, -41):
        indices = INDICES.copy()
        indices[-1, -1, -1] = wrong
        for call in (
            lambda i=indices: tg.take_along_axis(x, i, 1),
            lambda i=indices: tg.put_along_axis(x, i, 1.0, 1),
        ):
            with pytest.raises(IndexError, match=rf"{wrong}.* on an axis of size 40"):
                call()


def test_few_elements_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_available", None)
    monkeypatch.setattr(places, "_library", lambda dtype: pytest.fail("compiled"))
    assert tg.take_along_axis(tg.tensor(VALUES["numbers"]), INDICES, 1).shape == SHAPE


def test_an_image_whose_places_do_not_fit_in_32_bits_is_left_to_numpy() -> None:
    assert runtime.available()
    x = np.broadcast_to(np.float32(0), (1, 1, 1 << 31))
    assert not places.largest(x, (1, 1, 1, 1, 1, 1), np.empty((1, 1, 1), np.int64))
