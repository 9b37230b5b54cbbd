"""Linear algebra and Fourier transforms against NumPy, SciPy and recorded figures of PyTorch.

Values, first and second derivatives, compiled, empty, and what has no derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_conventions import TWINS
from tinygrad_rnn.ops.determinants import cofactors

TORCH = np.load(Path(__file__).parent / "data" / "torch_linalg.npz")
L = tg.linalg


def turned(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def symmetric(x: Any) -> Any:
    return (x + turned(x)) / 2


def positive(x: Any) -> Any:
    return x @ turned(x) + np.eye(x.shape[-1])


def squared(parts: Any) -> list[Any]:
    return [part * part for part in parts]


CASES: dict[str, Callable[[Any], list[Any]]] = {
    "solve": lambda x: [L.solve(x, x[..., :2] ** 2)],
    "solve_triangular": lambda x: [L.solve_triangular(x, x[:, :2] ** 2, lower=True)],
    "inv": lambda x: [L.inv(x)], "pinv": lambda x: [L.pinv(x)],
    "det": lambda x: [L.det(x)], "slogdet": lambda x: [L.slogdet(x).logabsdet],
    "cholesky": lambda x: [L.cholesky(positive(x))],
    "eigh": lambda x: [L.eigh(symmetric(x))[0], L.eigh(symmetric(x))[1] ** 2],
    "eigvalsh": lambda x: [L.eigvalsh(symmetric(x))],
    "svd": lambda x: squared(L.svd(x, full_matrices=False)), "svdvals": lambda x: [L.svdvals(x)],
    "qr": lambda x: squared(L.qr(x)), "expm": lambda x: [L.expm(x)], "matrix_power": lambda x: [L.matrix_power(x, -3)],
    **{f"norm {p}": lambda x, p=p: [L.norm(x, p, 1)] for p in (1, 2, 3, 2.5, 0.5, -1, np.inf)},
    **{f"matrix norm {p}": lambda x, p=p: [L.norm(x, p)] for p in (1, -1, 2, -2, "fro", "nuc", np.inf)},
    "rfft": lambda x: list(tg.fft.rfft(x)), "irfft": lambda x: [tg.fft.irfft((x[0], x[1]), 6)],
}  # fmt: skip


def loss_of(name: str) -> Callable[[Any], Any]:
    def loss(x: Any) -> Any:
        parts = CASES[name](x)
        return sum((y * np.cos(np.arange(y.size).reshape(y.shape))).sum() for y in parts)

    return loss


@pytest.mark.parametrize("name", CASES)
def test_values_and_two_derivatives_are_those_of_torch(name: str) -> None:
    x, loss = TORCH[f"{name}/x"], loss_of(name)
    for k, y in enumerate(CASES[name](tg.tensor(x))):
        np.testing.assert_allclose(y.numpy(), TORCH[f"{name}/y{k}"], rtol=1e-9, atol=1e-11)
    first = tg.grad(loss)
    np.testing.assert_allclose(first(x).numpy(), TORCH[f"{name}/d"], rtol=1e-8, atol=1e-9)
    weights = np.sin(np.arange(x.size).reshape(x.shape))
    expected = TORCH[f"{name}/dd"]
    for second in (tg.grad(lambda x: (first(x) * weights).sum())(x), tg.hvp(loss, x, weights)):
        np.testing.assert_allclose(second.numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_compiled_functions(name: str, dtype: Any) -> None:
    """A line for each, forward and backward, gives what the plain operations give."""
    given = TORCH[f"{name}/x"].astype(dtype)

    def loss(x: Any) -> Any:
        parts = CASES[name](1.5 * x) if "cholesky" not in name else [L.cholesky(x @ turned(x))]
        return sum((y * y).sum() for y in parts)

    found = []
    for f in (loss, tg.jit(loss)):
        x = tg.tensor(given, requires_grad=True)
        y = f(x)
        y.backward()
        assert y.dtype == x.grad.dtype == dtype
        found.append((y.numpy(), x.grad.numpy()))
    for plain, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-3 if dtype == np.float32 else 1e-9)


def test_no_rows_and_no_matrices() -> None:
    for shape in ((0, 0), (0, 3, 3), (2, 0, 0)):
        x = tg.tensor(np.zeros(shape), requires_grad=True)
        results = [L.inv(x), L.det(x), L.slogdet(x)[1], L.cholesky(x), L.solve(x, x), L.pinv(x)]
        results += [*L.eigh(x), L.eigvalsh(x), *L.svd(x), L.svdvals(x), *L.qr(x), L.expm(x)]
        results += [L.matrix_power(x, 0), L.matrix_power(x, 3)]
        sum((y * y).sum() for y in results).backward()
        assert x.grad is not None and x.grad.shape == shape
    np.testing.assert_array_equal(L.det(np.zeros((2, 0, 0))), np.ones(2))


@pytest.mark.parametrize("op", [L.inv, L.det, L.eigvalsh, L.svdvals, L.expm, lambda x: L.qr(x).R])
def test_matrices_that_lie_otherwise_in_memory(op: Callable[[Any], Any]) -> None:
    whole = np.random.default_rng(0).normal(size=(6, 4, 3)) + 2 * np.eye(6, 4)[:, :, None]
    for view in (whole[::2, :3], whole[:3, 1:].transpose(2, 1, 0), whole[::-1][1:4, :3].T):
        assert not view.flags.c_contiguous
        np.testing.assert_array_equal(
            op(tg.tensor(view)).numpy(), op(tg.tensor(view.copy())).numpy()
        )


def test_solve_takes_vectors_and_broadcasts() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 1, 2, 2)) + 2 * np.eye(2), rng.normal(size=(4, 2, 5))
    np.testing.assert_allclose(L.solve(tg.tensor(a), b).numpy(), np.linalg.solve(a, b))
    np.testing.assert_allclose(
        L.solve(a, tg.tensor(b[0, :, 0])).numpy(), np.linalg.solve(a, b[0, :, 0])
    )
    tg.gradcheck(L.solve, a, b, order=2)
    tg.gradcheck(L.solve, a, b[0, :, 0], order=2)
    tg.gradcheck(lambda a, b: L.solve_triangular(a, b, lower=True), a, b[0, :, 0], order=2)


def test_only_one_triangle_is_read() -> None:
    x = positive(np.random.default_rng(2).normal(size=(3, 3)))
    odd = x + 9.0 * np.triu(np.ones((3, 3)), 1)
    for op in (L.cholesky, L.eigvalsh, lambda x: L.eigh(x)[1] ** 2):
        np.testing.assert_array_equal(op(odd), op(x))
        assert not np.triu(tg.grad(lambda x, op=op: (op(x) ** 3).sum())(odd).numpy(), 1).any()
        tg.gradcheck(op, odd, order=2)
    for op in (lambda x: L.cholesky(x, upper=True), lambda x: L.eigvalsh(x, "U"), lambda x: L.eigh(x, "U")[1] ** 2):  # fmt: skip
        np.testing.assert_array_equal(op(odd.T), op(x))
        tg.gradcheck(op, odd.T, order=2)


def test_wide_and_tall_matrices() -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 5))
    for y in (x, turned(x).copy()):
        u, s, vh = L.svd(tg.tensor(y), full_matrices=False)
        np.testing.assert_allclose(((u * s.reshape(2, 1, 3)) @ vh).numpy(), y, rtol=1e-12)
        q, r = L.qr(tg.tensor(y))
        np.testing.assert_allclose((q @ r).numpy(), y, rtol=1e-12)
        np.testing.assert_array_equal(r.numpy(), np.triu(r.numpy()))
        tg.gradcheck(lambda x: squared(L.qr(x))[0], y, order=2)
        tg.gradcheck(lambda x: L.qr(x, "r") ** 2, y, order=2)
        tg.gradcheck(lambda x: squared(L.svd(x, full_matrices=False))[2], y, order=2)


def test_integers_become_float32() -> None:
    x = tg.tensor(np.array([[2, 1], [1, 3]]))
    for y in (L.inv(x), L.det(tg.tensor(np.eye(4, dtype=int))), L.solve(x, np.array([1, 2])), *L.eigh(x), tg.fft.rfft(x).real):  # fmt: skip
        assert np.asarray(y).dtype == np.float32


# --- where values coincide, and singular matrices ---------------------------------------------------


def test_the_message_says_which_operation_and_where() -> None:
    x = tg.tensor(TWINS, requires_grad=True, name="covariance")
    loss = (L.eigh(x)[1][0] * np.arange(3.0)).sum()  # the line
    with pytest.raises(tg.NotDifferentiableError, match=r"eigh\(covariance float64\(3, 3\)\)") as caught:  # fmt: skip
        loss.backward()
    assert "test_linalg.py" in str(caught.value) and "eigvalsh" in str(caught.value)


def test_values_that_coincide_have_gradients() -> None:
    """What treats them alike: sums of functions of values."""
    found = tg.grad(lambda x: (L.eigvalsh(x) ** 3).sum())(TWINS).numpy()
    np.testing.assert_allclose(found, 3 * TWINS**2, atol=1e-14)
    found = tg.grad(lambda x: L.eigh(x).eigenvalues.sum())(np.eye(3)).numpy()
    np.testing.assert_allclose(found, np.eye(3), atol=1e-14)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(tg.grad(lambda x: L.norm(x, "nuc"))(turn).numpy(), turn, atol=1e-14)
    moved = tg.jvp(lambda x: L.eigvalsh(x).sum(), (TWINS,), (np.ones((3, 3)),))[1]
    np.testing.assert_allclose(moved.numpy(), 3.0)


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4, 5])
def test_determinants_of_singular_matrices(rank: int) -> None:
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(5, rank)) @ rng.normal(size=(rank, 5))
    tg.gradcheck(L.det, x, order=2)
    exact = np.diag([2.0] * rank + [0.0] * (5 - rank))
    tg.gradcheck(L.det, exact, order=2)
    expected = np.zeros((5, 5))
    if rank == 4:
        expected[4, 4] = 16.0
    if rank < 5:
        np.testing.assert_allclose(tg.grad(L.det)(exact).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_determinants_have_all_derivatives(n: int) -> None:
    x = np.zeros((2, n, n))
    np.testing.assert_allclose(L.det(x + np.eye(n)), np.ones(2))
    drawn = np.random.default_rng(n).normal(size=(2, n, n))
    np.testing.assert_allclose(L.det(tg.tensor(drawn)).numpy(), np.linalg.det(drawn), rtol=1e-12)
    for y in (x, drawn):
        tg.gradcheck(lambda x: tg.grad(lambda x: L.det(x).sum())(x), y, order=2)


def test_cofactors_against_minors() -> None:
    x = np.random.default_rng(5).normal(size=(4, 4))
    for y in (x, np.where(np.arange(4) == 3, x[:, :1], x), 1e-200 * x):
        minors = [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(y, i, 0), j, 1)) for j in range(4)]
            for i in range(4)
        ]
        np.testing.assert_allclose(cofactors(y), minors, rtol=1e-9, atol=1e-13)


def test_slogdet_of_a_singular_matrix() -> None:
    x = np.diag([1.0, 0.0])
    sign, logarithm = L.slogdet(tg.tensor(x))
    assert sign.item() == 0.0 and logarithm.item() == -np.inf
    with pytest.raises(ValueError, match=r"rule of slogdet.*inv.*is singular.*Ways out"):
        tg.grad(lambda x: L.slogdet(x)[1])(x)
    assert not tg.grad(lambda x: L.slogdet(x)[0])(np.eye(2)).numpy().any()


def test_norms() -> None:
    x = np.random.default_rng(6).normal(size=(2, 3, 4))
    for order in (None, 0, 1, 2, 3, 0.5, -2.5, np.inf, -np.inf):
        for keep in (False, True):
            found = L.norm(tg.tensor(x), order, axis=1, keepdims=keep)
            np.testing.assert_allclose(found.numpy(), np.linalg.norm(x, order, 1, keep), rtol=1e-12)
        if order != 0:
            tg.gradcheck(lambda x, order=order: L.norm(x, order, 1), x, order=2)
    for order in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        for axes in ((0, 2), (-1, 1), (1, 0)):
            for keep in (False, True):
                found = L.norm(tg.tensor(x), order, axis=axes, keepdims=keep)
                expected = np.linalg.norm(x, order, axes, keep)
                np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    for order in (1, 1.5, 2, 3):  # no slope at 0, as of the Euclidean one
        found = tg.grad(lambda x, order=order: L.norm(x, order))(np.zeros(3)).numpy()
        np.testing.assert_array_equal(found, np.zeros(3))
    np.testing.assert_allclose(L.norm(np.full(2, 1e200), 3), 2 ** (1 / 3) * 1e200)
    np.testing.assert_allclose(L.norm(np.full(2, 1e-200), 3), 2 ** (1 / 3) * 1e-200)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: L.inv(np.ones((2, 3))), tg.ShapeError, r"square matrices.*found \(2, 3\)"),
        (lambda: L.inv(np.ones((2, 2))), ValueError, r"is singular \(of rank 1, where 2 is expected\)"),
        (lambda: L.solve(np.ones((2, 2)), np.ones(2)), ValueError, r"is singular \(of rank 1, where 2 is expected\)"),
        (lambda: L.solve(np.eye(2), np.ones((3, 1))), tg.ShapeError, r"right side of shape \(\.\.\., 2, k\)"),
        (lambda: L.solve(np.ones((3, 2, 2)), np.ones((4, 2, 1))), tg.ShapeError, "do not broadcast"),
        (lambda: L.cholesky(-np.eye(2)), ValueError, "not positive definite"),
        (lambda: L.svd(np.ones((2, 3))), tg.ShapeError, "full_matrices=False"),
        (lambda: L.qr(np.ones((2, 2)), "complete"), tg.ShapeError, "not determined"),
        (lambda: L.eigh(np.eye(2), "l"), tg.ShapeError, "'L' or 'U'"),
        (lambda: L.pinv(np.ones((3, 2))), tg.NotDifferentiableError, "full rank"),
        (lambda: L.norm(np.ones((2, 2)), 3), tg.ShapeError, "expected ord 1, -1, 2"),
        (lambda: L.norm(np.ones(2), "nuc"), tg.ShapeError, "is of matrices"),
        (lambda: L.norm(np.ones((2, 2, 2)), 1), tg.ShapeError, "one axis or two"),
        (lambda: L.matrix_power(np.eye(2), 0.5), tg.TinygradError, "whole number"),
        (lambda: tg.fft.rfft(np.ones((2, 0))), tg.ShapeError, "at least one value"),
        (lambda: tg.fft.irfft(np.ones((2, 3))), tg.NotDifferentiableError, "expected a pair"),
        (lambda: tg.fft.irfft((np.ones(3), np.ones(2))), tg.ShapeError, "two parts of one shape"),
        (lambda: tg.fft.irfft((np.ones(1), np.ones(1))), tg.ShapeError, "at least two frequencies"),
        (lambda: tg.fft.rfft(np.ones(3), norm="none"), tg.ShapeError, "'ortho'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: Callable[[], Any], kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        call()


# --- Fourier ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_transforms_are_those_of_numpy(axis: int, norm: Any) -> None:
    x = np.random.default_rng(7).normal(size=(4, 5, 6))
    for n in (None, 1, 2, 3, 4, 7, 8):
        expected = np.fft.rfft(x, n, axis, norm)
        for pair in (tg.fft.rfft(tg.tensor(x), n, axis, norm), np.fft.rfft(tg.tensor(x), n, axis, norm)):  # fmt: skip
            np.testing.assert_allclose(pair.real.numpy(), expected.real, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(pair.imag.numpy(), expected.imag, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(np.abs(pair).numpy(), np.abs(expected), rtol=1e-9)
        back = np.fft.irfft(x + 1j * x[::-1], n, axis, norm)
        found = tg.fft.irfft((tg.tensor(x), x[::-1]), n, axis, norm)
        np.testing.assert_allclose(found.numpy(), back, rtol=1e-11, atol=1e-13)
    pair = np.fft.rfft(tg.tensor(x), None, axis, norm)
    found = np.fft.irfft(pair, x.shape[axis], axis, norm)
    np.testing.assert_allclose(found.numpy(), x, rtol=1e-12, atol=1e-13)


def test_derivatives_of_transforms() -> None:
    x = np.random.default_rng(8).normal(size=(3, 5))
    for axis in (0, 1):
        tg.gradcheck(lambda x, axis=axis: abs(tg.fft.rfft(x, 4, axis, "ortho")) ** 2, x, order=2)
        tg.gradcheck(lambda a, b, axis=axis: tg.fft.irfft((a, b), 7, axis) ** 2, x, x[::-1].copy(), order=2)  # fmt: skip


def test_a_pair_is_no_complex_tensor() -> None:
    pair = tg.fft.rfft(tg.tensor(np.arange(4.0)))
    for use in (
        lambda: pair + pair, lambda: 2 * pair, lambda: pair @ pair, lambda: pair / 2, lambda: 1 - pair,
        lambda: np.asarray(pair), lambda: np.exp(pair), lambda: np.angle(pair), lambda: np.ones(3) * pair,
    ):  # fmt: skip
        with pytest.raises(tg.NotDifferentiableError, match=r"z\.real and z\.imag"):
            use()


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_transforms_in_a_compiled_step(n: int) -> None:
    """A cell whose state is filtered in its spectrum: products with the matrix of cosines and sines."""
    found = []
    for compiled in (False, True):
        gain = tg.Parameter(np.linspace(0.5, 1.0, n // 2 + 1))

        def step(x: Any, h: Any) -> Any:
            z = tg.fft.rfft(tg.tanh(h + x))
            h = tg.fft.irfft((z.real * gain, z.imag * gain), n)  # noqa: B023
            return h, h

        xs = tg.tensor(np.random.default_rng(n).normal(size=(4, 3, n)), requires_grad=True)
        ys, _ = tg.unroll(tg.jit(step) if compiled else step, xs, tg.zeros(3, n, dtype=np.float64))
        (ys**2).sum().backward()
        found.append([ys.numpy(), xs.grad.numpy(), gain.grad.numpy()])
    for plain, fast in zip(*found, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-11, atol=1e-12)


# --- in steps ---------------------------------------------------------------------------------------


def test_a_compiled_step_refuses_what_a_library_computes() -> None:
    pytest.importorskip("numba")

    def step(x: Any, h: Any) -> Any:
        h = L.solve(x + 2 * np.eye(2, dtype=np.float32), h)
        return h, h

    xs, first = np.full((3, 4, 2, 2), 0.1, np.float32), np.ones((4, 2, 1), np.float32)
    with pytest.raises(tg.CompileError, match=r"solve.*LAPACK computes it as a whole.*test_linalg"):
        tg.unroll(tg.jit(step), xs, first)
    ys, _ = tg.unroll(step, xs, first)
    assert np.isfinite(ys.numpy()).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_determinants_in_a_compiled_step(n: int) -> None:
    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(L.det(x * h.reshape(-1, 1, 1)))
        return h, h

    found = []
    for compiled in (False, True):
        xs = tg.tensor(np.random.default_rng(n).normal(size=(3, 4, n, n)), requires_grad=True)
        ys, _ = tg.unroll(tg.jit(step) if compiled else step, xs, tg.ones(4, dtype=np.float64))
        (ys**2).sum().backward()
        found.append((ys.numpy(), xs.grad.numpy()))
    for plain, fast in zip(*found, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-11, atol=1e-13)


def test_what_is_made_of_parameters_is_computed_before_the_steps() -> None:
    """An orthogonal recurrence by the exponential of an antisymmetric matrix."""
    found = []
    for compiled in (False, True):
        weight = tg.Parameter(np.random.default_rng(0).normal(size=(3, 3)) * 0.3)
        turn = L.expm(weight - weight.T)

        def step(x: Any, h: Any) -> Any:
            h = h @ turn + x  # noqa: B023
            return h, h

        xs = np.random.default_rng(1).normal(size=(5, 2, 3))
        ys, _ = tg.unroll(tg.jit(step) if compiled else step, xs, tg.zeros(2, 3, dtype=np.float64))
        (ys**3).sum().backward()
        found.append((ys.numpy(), weight.grad.numpy()))
    for plain, fast in zip(*found, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-11, atol=1e-12)


def test_names_of_other_libraries() -> None:
    for name, words in (("det", r"tg\.linalg\.det"), ("inverse", r"tg\.linalg\.inv"), ("matrix_exp", "expm"), ("svd", r"tg\.linalg\.svd")):  # fmt: skip
        with pytest.raises(AttributeError, match=words):
            getattr(tg, name)
