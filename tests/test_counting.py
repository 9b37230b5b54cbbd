"""Places in a sorted row, counts, indices of triangles, and rows and columns in brackets, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

ROW = np.array([-1.0, 0.0, 0.0, 2.0, np.inf, np.nan, np.nan])
WANTED = np.array([[-2.0, -1.0, 0.0, 0.5], [2.0, np.inf, np.nan, 9.0]])


def same(found: Any, expected: Any) -> None:
    assert isinstance(found, tg.Tensor)
    assert found.shape == np.shape(expected) and found.dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("row", [ROW, ROW[:4], ROW[:0], ROW[::-1][::-1], np.array([1, 4, 4, 9])])
def test_places_in_a_sorted_row(row: Any, side: str) -> None:
    for wanted in (WANTED, WANTED.T, WANTED[0, 0], WANTED[:0], np.array([4, 5])):
        expected = np.searchsorted(row.astype(float), wanted.astype(float), side)
        v = tg.tensor(wanted.astype(float))
        same(tg.searchsorted(row.astype(float), v, side), expected)
        same(np.searchsorted(row.astype(float), v, side), expected)
        same(tg.jit(lambda v, row=row: tg.searchsorted(row.astype(float), v, side))(v), expected)
    same(tg.searchsorted(tg.tensor([3, 1, 2]), tg.tensor([2, 3]), side, np.array([1, 2, 0])), np.searchsorted([1, 2, 3], [2, 3], side))  # fmt: skip


def test_places_in_a_step() -> None:
    edges = np.array([-0.5, 0.0, 0.5], np.float32)

    def step(x: Any, h: Any) -> Any:
        h = 0.5 * h + tg.searchsorted(edges, x).astype(np.float32)
        return h, h

    xs = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    xs[0, 0, 0] = np.nan
    plain, fast = (tg.unroll(f, xs, tg.zeros(2, 3))[0].numpy() for f in (step, tg.jit(step)))
    np.testing.assert_array_equal(plain, fast)


def test_counts_and_histograms() -> None:
    x, w = np.array([0, 3, 3, 1]), np.array([0.5, 1.0, 2.0, -1.0])
    same(tg.bincount(tg.tensor(x)), np.bincount(x))
    same(tg.bincount(x, minlength=6), np.bincount(x, minlength=6))
    same(tg.bincount(tg.tensor(x[:0])), np.bincount(x[:0]))
    same(tg.bincount(x, w), np.bincount(x, w))
    tg.gradcheck(lambda t: tg.bincount(x, t, 5) ** 2, w, order=2)
    for settings in (
        {},
        {"bins": 3},
        {"range": (-1.0, 1.0)},
        {"bins": np.array([-2.0, 0.0, 2.0])},
        {"density": True},
        {"weights": w},
    ):
        for found, expected in zip(tg.histogram(tg.tensor(w), **settings), np.histogram(w, **settings), strict=True):  # fmt: skip
            same(found, expected)


def test_indices_of_triangles_and_diagonals() -> None:
    x = tg.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    for name, args in [
        ("tril_indices", (3, 0, 4)),
        ("tril_indices", (3, -1)),
        ("triu_indices", (3, 1, 4)),
        ("triu_indices", (0,)),
        ("diag_indices", (3,)),
        ("diag_indices", (2, 3)),
    ]:
        found, expected = getattr(tg, name)(*args), getattr(np, name)(*args)
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            same(f, e)
    x[tg.triu_indices(3, 1, 4)].sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.triu(np.ones((3, 4)), 1))


A, B = np.array([0.5, -1.0, 2.0]), np.arange(6.0).reshape(3, 2)
JOINED: list[Callable[[Any, Any, Any], Any]] = [
    lambda n, a, b: n.r_[a, 0.0, 1:4], lambda n, a, b: n.r_[a], lambda n, a, b: n.r_[0:1:5j, a[0], a], lambda n, a, b: n.r_[b, b], lambda n, a, b: n.r_[5:0:-2, a[::-1]],
    lambda n, a, b: n.c_[a, a], lambda n, a, b: n.c_[b, a], lambda n, a, b: n.c_[a], lambda n, a, b: n.c_[0:3, a, b], lambda n, a, b: n.c_[a[0], 2.0], lambda n, a, b: n.r_[a, [1, 2]],
]  # fmt: skip


@pytest.mark.parametrize("join", JOINED)
def test_rows_and_columns_in_brackets(join: Callable[[Any, Any, Any], Any]) -> None:
    same(join(tg, tg.tensor(A), tg.tensor(B)), join(np, A, B))
    tg.gradcheck(lambda a, b: join(tg, a, b) ** 2 + 0.0 * b.sum(), A, B, order=2)
    same(tg.jit(lambda a, b: join(tg, a, b))(tg.tensor(A), tg.tensor(B)), join(np, A, B))


def test_rows_without_tensors() -> None:
    same(tg.r_[1:4, 7], np.r_[1:4, 7])
    same(tg.r_[0.5, 1:3], np.r_[0.5, 1:3].astype(np.float32))
    same(tg.c_[np.array([1, 2]), np.array([3, 4])], np.c_[np.array([1, 2]), np.array([3, 4])])
    assert tg.r_[tg.ones(2), 1.5, np.ones(2)].dtype == np.float32


X = tg.tensor([1.0, 2.0], requires_grad=True)
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: tg.searchsorted(np.array([2.0, 1.0]), X), "ascending order.*tg.sort"), (lambda: tg.searchsorted(np.array([np.nan, 1.0]), X), "ascending order"),
    (lambda: tg.searchsorted(np.ones((2, 2)), X), "one row of numbers"), (lambda: tg.searchsorted(X, X, "middle"), "side must be 'left' or 'right'"),
    (lambda: tg.bincount(np.array([-1, 2])), "at least 0 along one axis; found -1"), (lambda: tg.bincount(np.ones((2, 2), int)), r"found shape \(2, 2\)"),
    (lambda: tg.bincount(np.ones(3, int), X), "a weight for each of the 3"), (lambda: tg.bincount(X), "x must be integers"), (lambda: tg.histogram(X), "give x.detach"),
    (lambda: tg.histogram(X.detach(), bins=0), "histogram: .*positive"), (lambda: tg.jit(lambda t: tg.bincount(t))(tg.tensor([1, 2])), "not known while"),
    (lambda: tg.r_["0,2", X], "the word '0,2' is not taken"), (lambda: tg.c_[0:X, X], "numbers, not tensors"), (lambda: tg.r_[1:, X], "a range needs its end"),
    (lambda: tg.r_[()], "nothing in the brackets"), (lambda: tg.tril_indices(-1), "n must be at least 0"), (lambda: tg.diag_indices(2, 0), "ndim must be at least 1"),
]  # fmt: skip


@pytest.mark.parametrize("call, text", REFUSED)
def test_what_is_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(tg.TinygradError, match=text):
        call()
