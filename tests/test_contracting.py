"""The further products and the diagonals against NumPy: values, derivatives, traces, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

rng = np.random.default_rng(0)
A, B = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 3, 2))
M, N, V, W, S = A[0], B[0], A[0, 0], B[:, 0, 0], np.float64(1.5)
SQUARE, STACK = rng.normal(size=(3, 3)), rng.normal(size=(2, 3, 3))
GAPS = rng.normal(size=(4, 6, 8))[::2, ::2, ::-2]  # of the shape of A
C = A.transpose(0, 2, 1)
R = rng.normal(size=(5, 2, 3))


def trace(n: Any, x: Any, *args: Any) -> Any:
    """The sum of a diagonal, which is a method here: `tg.trace` records functions."""
    return np.trace(x, *args) if n is np else tg.add(x, 0).trace(*args)


# the same expression in our names and in NumPy's, and the inputs of each case
CASES: dict[str, tuple[Callable[..., Any], list[tuple[Any, ...]]]] = {
    "tensordot": (lambda n, a, b: n.tensordot(a, b), [(A, B.transpose(1, 0, 2)), (GAPS, B.transpose(1, 0, 2)), (M, M), (A[:, :0], B[:, :0].transpose(1, 0, 2))]),
    "tensordot 0": (lambda n, a, b: n.tensordot(a, b, 0), [(M, V), (S, A), (S, S), (A[:0], V)]),
    "tensordot 1": (lambda n, a, b: n.tensordot(a, b, 1), [(A, B), (M, B[:, 0]), (V, W), (V, B), (GAPS, B[:, 0])]),
    "tensordot pairs": (lambda n, a, b: n.tensordot(a, b, ([0, -2], [2, 1])), [(A, B), (GAPS, B)]),
    "tensordot pair": (lambda n, a, b: n.tensordot(a, b, (-1, 0)), [(A, B), (A, W)]),
    "inner": (lambda n, a, b: n.inner(a, b), [(A, M), (A, GAPS), (V, W), (S, A), (A, S), (V, A), (A[:0], M)]),
    "dot": (lambda n, a, b: n.dot(a, b), [(A, C), (V, C), (M, C), (A, W), (A, B[:, 0]), (S, A), (V, W), (A, rng.normal(size=(2, 2, 4, 3)))]),
    "vdot": (lambda n, a, b: n.vdot(a, b), [(A, GAPS), (V, W), (S, S), (A[:0], B[:0]), (A, B)]),
    "matvec": (lambda n, a, x: n.matvec(a, x), [(A, V), (A, rng.normal(size=(2, 4))), (M, rng.normal(size=(5, 4))), (M, V), (rng.normal(size=(5, 1, 3, 4)), rng.normal(size=(2, 4)))]),
    "vecmat": (lambda n, x, a: n.vecmat(x, a), [(W, B[:, 0]), (rng.normal(size=(2, 3)), A), (rng.normal(size=(5, 3)), M), (rng.normal(size=(5, 1, 3)), A), (V[:3], A)]),
    "kron": (lambda n, a, b: n.kron(a, b), [(M, N), (A, B), (V, W), (A, V), (V, A), (S, A), (S, S), (M[:0], N)]),
    "cross": (lambda n, a, b: n.cross(a, b), [(R, R[0, 0]), (R, R[::-1] + 1), (R[0, 0], R[1, 1]), (R[:0], R[0, 0]), (R[:, :1], R), (np.asfortranarray(R), R[1])]),
    "cross axis": (lambda n, a, b: n.cross(a, b, axis=1), [(A[:, :, :2], R.transpose(0, 2, 1)[:1]), (A, GAPS)]),
    "diagonal": (lambda n, x: n.diagonal(x), [(A,), (M,), (SQUARE,), (GAPS,), (M[:0],)]), "diagonal axes": (lambda n, x: n.diagonal(x, 1, -1, 0), [(A,), (GAPS,), (STACK,)]),
    **{f"diagonal {k}": (lambda n, x, k=k: n.diagonal(x, k, 1, 2), [(A,), (STACK,), (GAPS,)]) for k in (-5, -2, -1, 2, 3, 9)},
    **{f"diag {k}": (lambda n, x, k=k: n.diag(x, k), [(V,), (M,), (V[::2],), (V[:0],), (SQUARE.T,)]) for k in (-2, 0, 1)},
    "trace": (trace, [(M,), (STACK,), (GAPS,), (M[:0],)]), "trace axes": (lambda n, x: trace(n, x, -1, 2, 1), [(A,), (STACK,)]),
    "einsum of a diagonal": (lambda n, x: n.einsum("kii->ik", x), [(STACK,)]), "einsum of a trace": (lambda n, x, y: n.einsum("ii,j->j", x, y), [(SQUARE, V)]),
    "einsum of three": (lambda n, x: n.einsum("iii->i", x), [(rng.normal(size=(2, 2, 2)),)]), "einsum of two pairs": (lambda n, x: n.einsum("ijij", x), [(rng.normal(size=(2, 3, 2, 3)),)]),
    "einsum by numbers": (lambda n, a, b: n.einsum(a, [0, 1, 2], b, [2, 1, 3], [3, 0]), [(A, B)]), "einsum by numbers, no result": (lambda n, a: n.einsum(a, [3, 3]), [(SQUARE,)]),
    "einsum in an order": (lambda n, a, b, c: n.einsum("ijk,kjl,lm->im", a, b, c, optimize=["einsum_path", (1, 2), (0, 1)]), [(A, B, rng.normal(size=(2, 3)))]),
    "einsum begun": (lambda n, a, b, c: n.einsum("ij,jk,kl->", a, b, c, optimize=["einsum_path", (0, 1, 2)]), [(M.T, M, M.T)]),
    "einsum one by one": (lambda n, a, b: n.einsum("ij,jk->", a, b, optimize=["einsum_path", (0,), (0,), (0, 1)]), [(M.T, M)]),
}  # fmt: skip
EACH = [(name, k) for name, (_, inputs) in CASES.items() for k in range(len(inputs))]
TOLERANCE = {"rtol": 1e-13, "atol": 1e-13}


@pytest.mark.parametrize(("name", "k"), EACH)
def test_values(name: str, k: int) -> None:
    function, inputs = CASES[name]
    xs = [np.asarray(x) for x in inputs[k]]
    expected = function(np, *xs)
    given = [tg.tensor(x) for x in xs]
    [traced] = tg.trace(lambda *ts: [function(tg, *ts)], *given)(*given)
    for found in (function(tg, *given), function(tg, *xs), traced, function(np, *given)):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        np.testing.assert_allclose(np.asarray(found), expected, **TOLERANCE)


@pytest.mark.parametrize(("name", "k"), EACH)
def test_derivatives(name: str, k: int) -> None:
    function, inputs = CASES[name]

    def summed(*xs: Any) -> Any:
        found = function(tg, *xs)
        return (found * np.cos(np.arange(found.size)).reshape(found.shape)).sum()

    xs = [np.asarray(x, np.float64) for x in inputs[k]]
    tg.gradcheck(summed, *xs, order=2)


@pytest.mark.parametrize("name", CASES)
def test_compiled(name: str) -> None:
    function, inputs = CASES[name]
    xs = [tg.tensor(np.asarray(x), requires_grad=True) for x in inputs[0]]
    whole = lambda *ts: function(tg, *ts) * 2  # noqa: E731
    found, expected = tg.jit(whole)(*xs), whole(*xs)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), **TOLERANCE)
    for y in (found, expected):
        y.sum().backward()
        grads = [x.grad.numpy() for x in xs]
        for x in xs:
            x.grad = None
    for f, x in zip(grads, xs, strict=True):
        assert f.shape == x.shape


# what reads the rows of a batch one by one: (of a step's input and state, shape of the input)
STEPS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "tensordot": (lambda x: tg.tensordot(x, M, ([1], [1])), (4,)), "tensordot of two axes": (lambda x: tg.tensordot(x, B.transpose(1, 0, 2)), (3, 4)),
    "inner": (lambda x: tg.inner(x, M), (4,)), "dot": (lambda x: tg.dot(x, B.transpose(2, 0, 1)), (4,)), "matvec": (lambda x: tg.matvec(M, x), (4,)), "matvec of rows": (lambda x: tg.matvec(x, x[:, 0]), (3, 3)),
    "vecmat": (lambda x: tg.vecmat(x[:, 0], x), (3, 3)), "cross": (lambda x: tg.cross(x, np.array([1.0, 2.0, -1.0])), (2, 3)), "cross of rows": (lambda x: tg.cross(x, x[:, ::-1]), (2, 3)),
    "diagonal": (lambda x: tg.diagonal(x, 1, 1, 2), (3, 4)), "trace": (lambda x: x.trace(0, 2, 1), (3, 3)),
    "einsum in an order": (lambda x: tg.einsum("bi,ij,bj->b", x, SQUARE, x, optimize=["einsum_path", (0, 1), (0, 1)]), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_in_a_step(name: str) -> None:
    function, shape = STEPS[name]
    xs = np.random.default_rng(1).normal(size=(3, 5, *shape))

    def cell(x: Any, h: Any) -> Any:
        y = function(x * h.reshape((-1,) + (1,) * len(shape)))
        return y, tg.tanh(h + (y.reshape((y.shape[0], -1)).sum(axis=1)))

    found = []
    for step in (cell, tg.jit(cell)):
        x, h = tg.tensor(xs, requires_grad=True), tg.tensor(np.full(5, 0.4), requires_grad=True)
        ys, last = tg.unroll(step, x, h)
        ((ys * ys).sum() + last.sum()).backward()
        found.append([ys.numpy(), last.numpy(), x.grad.numpy(), h.grad.numpy()])
    for f, e in zip(*found, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diagonal_is_not_multiplied_by_what_stands_beside_it() -> None:
    x = np.array([[1.0, np.inf], [np.nan, 2.0]])
    np.testing.assert_array_equal(tg.einsum("ii->i", tg.tensor(x)).numpy(), [1.0, 2.0])
    t = tg.tensor(x, requires_grad=True)
    tg.einsum("ii", t * t).backward()
    np.testing.assert_array_equal(t.grad.numpy()[[0, 1], [0, 1]], [2.0, 4.0])


def test_an_order_is_an_operation_for_each_pair() -> None:
    xs = [tg.tensor(x, requires_grad=True) for x in (M.T, M, M.T)]
    y = tg.einsum("ij,jk,kl->il", *xs, optimize=["einsum_path", (1, 2), (0, 1)])
    assert [n.params["subscripts"] for n in tg.tape(y) if n.op == "einsum"] == [
        "jk,kl->jl",
        "ij,jl->il",
    ]
    whole = tg.einsum("ij,jk,kl->il", *xs, optimize="greedy")
    assert [n.op for n in tg.tape(whole)].count("einsum") == 1


def test_a_diagonal_is_a_view_and_is_not_written_to() -> None:
    t = tg.tensor(SQUARE)
    d = t.diagonal()
    with pytest.raises(tg.GraphError, match="a view of t"):
        d += 1
    c = d.copy()
    c[0] = 9.0
    np.testing.assert_array_equal(t.numpy(), SQUARE)


def test_whole_numbers_and_float32() -> None:
    a = np.arange(9, dtype=np.int32).reshape(3, 3)
    for function in (
        lambda n, x: n.cross(x, x[::-1]),
        lambda n, x: n.kron(x, x),
        lambda n, x: n.tensordot(x, x),
    ):
        e, f = function(np, a), function(tg, tg.tensor(a))
        assert f.dtype == e.dtype
        np.testing.assert_array_equal(f.numpy(), e)
        assert function(tg, tg.tensor(a.astype(np.float32))).dtype == np.float32
    assert tg.cross([True, False, True], [True, True, False]).dtype == np.int64


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.tensordot(A, B), r"axis 1 of a has size 3, and axis 0 of b size 4"),
        (lambda: tg.tensordot(A, B, 4), "expected 0 to 3"),
        (lambda: tg.tensordot(A, B, ([0], [0, 1])), "as many axes of a as of b"),
        (lambda: tg.tensordot(A, B, ([0, 0], [0, 1])), "twice"),
        (lambda: tg.tensordot(A, B, "ij"), "a whole number, or a pair"),
        (lambda: tg.inner(A, B), "axis 2 of a has size 4, and axis 2 of b size 2"),
        (lambda: tg.dot(A, A), "axis 2 of a has size 4, and axis 1 of b size 3"),
        (lambda: tg.vdot(A, V), "as many elements"),
        (lambda: tg.matvec(V, V), r"expected shapes \(..., m, n\) and \(..., n\)"),
        (lambda: tg.vecmat(V, M), r"expected shapes \(..., m\) and \(..., m, n\)"),
        (lambda: tg.cross(M, M), "vectors of 3 numbers"),
        (lambda: tg.diagonal(V), "two axes or more"),
        (lambda: tg.diagonal(A, 0, 1, -2), "which are one"),
        (lambda: tg.diag(A), "a vector or a matrix"),
        (lambda: tg.einsum("ii->i", M), "label 'i' has size 3 and size 4"),
        (lambda: tg.einsum("ij,jk->ik", M, M.T, optimize="best"), "a path as np.einsum_path"),
        (lambda: tg.einsum("ij,jk->ik", M, M.T, optimize=[(0, 1)]), "a path as np.einsum_path"),
        (lambda: tg.einsum("ij,jk->ik", M, M.T, optimize=["einsum_path", (0, 2)]), "a path"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(tg.ShapeError, match=words):
        call()
