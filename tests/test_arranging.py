"""The further operations on shapes against NumPy: values, derivatives, traces, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

A = np.random.default_rng(0).normal(size=(2, 3, 4))
M, V, S = A[0], A[0, 0], A[0, 0, 0]
LAYOUTS = [A, A[:, ::2, ::-1], np.asfortranarray(A), A[:, :0], A.transpose(2, 0, 1)]

# the same expression in our names and in NumPy's, and the inputs
CASES: dict[str, tuple[Callable[[Any, Any], Any], list[Any]]] = {
    "ravel": (lambda n, x: n.ravel(x), [*LAYOUTS, V, S]),
    "moveaxis": (lambda n, x: n.moveaxis(x, 0, -1), LAYOUTS), "moveaxis several": (lambda n, x: n.moveaxis(x, (0, -1), (1, 0)), LAYOUTS),
    "repeat": (lambda n, x: n.repeat(x, 3), [*LAYOUTS, V, S]), "repeat axis": (lambda n, x: n.repeat(x, 2, axis=1), LAYOUTS), "repeat none": (lambda n, x: n.repeat(x, 0, axis=-1), LAYOUTS),
    "repeat each": (lambda n, x: n.repeat(x, [1, 0, 2, 3], axis=-1), [A, M]), "tile": (lambda n, x: n.tile(x, 2), [*LAYOUTS, V, S]),
    "tile more axes": (lambda n, x: n.tile(x, (2, 1, 3, 2)), [*LAYOUTS, V, S]), "tile fewer axes": (lambda n, x: n.tile(x, (3, 1)), [*LAYOUTS, V]), "tile none": (lambda n, x: n.tile(x, 0), [A]),
    "vstack": (lambda n, x: n.vstack([x, 2 * x, x]), [*LAYOUTS, V, S]), "hstack": (lambda n, x: n.hstack([x, 2 * x]), [*LAYOUTS, V, S]),
    "dstack": (lambda n, x: n.dstack([x, 2 * x]), [*LAYOUTS, M, V, S]), "column_stack": (lambda n, x: n.column_stack([x, 2 * x]), [M, V]),
    "atleast_1d": (lambda n, x: n.atleast_1d(x), [A, V, S]), "atleast_2d": (lambda n, x: n.atleast_2d(x), [A, V, S]), "atleast_3d": (lambda n, x: n.atleast_3d(x), [A, M, V, S]),
    "append": (lambda n, x: n.append(x, 2 * x), [*LAYOUTS, V, S]), "append axis": (lambda n, x: n.append(x, 2 * x, axis=1), LAYOUTS),
    "array_split": (lambda n, x: n.array_split(x, 3, axis=-1), [A, M, V]), "array_split at": (lambda n, x: n.array_split(x, [1, 3], axis=-1), [A, M, V]),
    **{f"rot90 {k}": (lambda n, x, k=k: n.rot90(x, k, (1, 2)), LAYOUTS) for k in (-1, 0, 1, 2, 3, 5)}, "rot90 other way": (lambda n, x: n.rot90(x, axes=(-1, 0)), LAYOUTS),
    "diff": (lambda n, x: n.diff(x), [*LAYOUTS, V]), "diff twice": (lambda n, x: n.diff(x, 2, axis=0), [A, M, V]), "diff of none": (lambda n, x: n.diff(x, n=5), [A, V]),
    "meshgrid": (lambda n, x: n.meshgrid(x, x[:2], x[1:]), [V]), "meshgrid ij": (lambda n, x: n.meshgrid(x, x[:2], indexing="ij"), [V]), "meshgrid of one": (lambda n, x: n.meshgrid(x), [V]),
}  # fmt: skip
EACH = [(name, k) for name, (_, inputs) in CASES.items() for k in range(len(inputs))]


def several(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


@pytest.mark.parametrize(("name", "k"), EACH)
def test_values(name: str, k: int) -> None:
    function, inputs = CASES[name]
    x = np.asarray(inputs[k])
    expected = several(function(np, x))
    traced = tg.trace(lambda t: function(tg, t), tg.tensor(x))
    for found in (
        several(function(tg, tg.tensor(x))),
        several(traced(tg.tensor(x))),
        several(function(tg, x)),
    ):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            assert f.dtype == e.dtype and f.shape == e.shape
            np.testing.assert_array_equal(np.asarray(f), e)


@pytest.mark.parametrize(("name", "k"), EACH)
def test_derivatives(name: str, k: int) -> None:
    function, inputs = CASES[name]

    def summed(x: Any) -> Any:
        return sum((r * r * (j + 1)).sum() for j, r in enumerate(several(function(tg, x))))

    tg.gradcheck(summed, np.asarray(inputs[k], np.float64), order=2)


@pytest.mark.parametrize("name", CASES)
def test_compiled(name: str) -> None:
    function, inputs = CASES[name]
    x = tg.tensor(np.asarray(inputs[0]), requires_grad=True)
    whole = lambda t: [r * 2 for r in several(function(tg, t))]  # noqa: E731
    for f, e in zip(tg.jit(whole)(x), whole(x), strict=True):
        np.testing.assert_array_equal(f.numpy(), e.numpy())


def test_others() -> None:
    x = tg.tensor(A)
    np.testing.assert_array_equal(tg.flatten(x, 1).numpy(), A.reshape(2, 12))
    np.testing.assert_array_equal(x.flatten(0, 1).numpy(), A.reshape(6, 4))
    assert tg.flatten(tg.tensor(2.0)).shape == (1,) and x.ravel().shape == (24,)
    np.testing.assert_array_equal(x.repeat(2, 0).numpy(), A.repeat(2, 0))
    for k, part in enumerate(tg.unstack(x, 1)):
        np.testing.assert_array_equal(part.numpy(), A[:, k])
    np.testing.assert_array_equal(tg.diff(np.array([True, True, False])), [False, True])
    copied = x.copy()
    copied[0] = 0.0
    np.testing.assert_array_equal(x.numpy(), A)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.repeat(A, [1, 2], 0 - 1), r"2 numbers of repeats for axis -1"),
        (lambda: tg.repeat(A, -1), "repeats must be at least 0"),
        (lambda: tg.tile(A, (1, -1)), "reps must be at least 0"),
        (lambda: tg.moveaxis(A, (0, 1), 0), "as many places as axes"),
        (lambda: tg.moveaxis(A, (0, 0), (0, 1)), "twice"),
        (lambda: tg.rot90(A, axes=(1, 1)), "twice"),
        (lambda: tg.rot90(A, axes=(0,)), "two axes"),
        (lambda: tg.flatten(A, 2, 1), "lies before"),
        (lambda: tg.meshgrid(M), "expected tensors of one axis"),
        (lambda: tg.meshgrid(V, indexing="yx"), "'xy' or 'ij'"),
        (lambda: tg.vstack([]), "expected a list of tensors"),
        (lambda: tg.hstack([V, M]), "operand 1 has shape"),
        (lambda: tg.array_split(A, 0), "at least 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(tg.ShapeError, match=words):
        call()


ALONG: list[tuple[Any, Any, int]] = [
    (np.arange(6.0).reshape(2, 3), [[2]], 1),
    (np.arange(6.0).reshape(2, 3), [[1], [0], [1]], 0),
    (np.arange(3.0).reshape(1, 3), [[0, 2], [1, 1], [-1, 0]], 1),
    (np.arange(12.0).reshape(2, 1, 6), [[[0, 5], [1, 1], [2, 2]]], 2),
    (np.arange(12.0).reshape(6, 2, 1).T, [[[3]]], -1),
    (np.zeros((0, 3)), [[1, 1]], 1),
]


@pytest.mark.parametrize("x, indices, axis", ALONG)
def test_rows_and_their_indices_broadcast(x: Any, indices: Any, axis: int) -> None:
    indices = np.array(indices)
    expected = np.take_along_axis(x, indices, axis)
    np.testing.assert_array_equal(tg.take_along_axis(tg.tensor(x), indices, axis).numpy(), expected)
    tg.gradcheck(lambda t: tg.take_along_axis(t, indices, axis) ** 2, x, order=2)
    fast = tg.jit(lambda t: tg.take_along_axis(t, indices, axis).sum())
    t, u = (tg.tensor(x, requires_grad=True) for _ in range(2))
    fast(t).backward()
    tg.take_along_axis(u, indices, axis).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), u.grad.numpy())


def test_rows_and_indices_that_do_not_broadcast() -> None:
    with pytest.raises(
        tg.ShapeError,
        match=r"take_along_axis\(.*expected indices of shape \(2, 3\) except on axis 1",
    ):
        tg.take_along_axis(tg.ones(2, 3), np.zeros((3, 1), int), 1)


def test_bounds_that_do_not_broadcast_are_named() -> None:
    for low, high, text in [
        (tg.ones(2), None, r"low of shape \(2,\)"),
        (None, np.ones((2, 2)), r"high of shape \(2, 2\)"),
    ]:
        with pytest.raises(
            tg.ShapeError, match=f"clip: {text} does not broadcast with x of shape \\(3,\\)"
        ):
            tg.clip(tg.ones(3), low, high)
    assert tg.clip(tg.ones(3), tg.zeros(2, 1), None).shape == (2, 3)


@pytest.mark.parametrize("mask", [np.array([True, False]), np.array(True), True])
def test_numbers_that_are_chosen_are_those_of_the_dtype_that_they_meet(mask: Any) -> None:
    """Whether the mask is an array or a tensor, and whether it is compiled."""
    for dtype in (np.float32, np.float64):
        x = tg.tensor([1.0, 1.0], dtype=dtype)
        expected = np.where(mask, 0.1, 0.3).astype(dtype) * np.ones(2, dtype)
        for choose in (
            lambda t, m: tg.where(m, 0.1, 0.3) * t,
            lambda t, m: t * tg.where(m, 0.1, 0.3),
        ):
            for given in (mask, tg.tensor(mask)):
                for function in (choose, tg.jit(choose)):
                    found = function(x, given)
                    assert found.dtype == dtype
                    np.testing.assert_array_equal(found.numpy(), expected)


def test_a_scalar_function_that_reads_a_size_is_refused() -> None:
    def mean(x: Any) -> Any:
        return x / x.size

    def by_rank(x: Any) -> Any:
        return x * 2.0 if x.ndim else x

    for function in (mean, by_rank):
        with pytest.raises(tg.RuleError, match="reads the shape or the size of its arguments"):
            tg.elementwise(function)(tg.ones(4))
    np.testing.assert_array_equal(
        tg.elementwise(lambda x, n: x / n)(tg.ones(4), 4.0).numpy(), np.full(4, 0.25)
    )
