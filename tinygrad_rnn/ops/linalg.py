"""Linear algebra: solve, inv, pinv, cholesky, expm, and powers of matrices.

LAPACK computes matrices as a whole, by way of NumPy; `expm` is SciPy's. The last two axes are the
matrix, those in front of them a batch. A derivative that does not exist is an error, and so is
NumPy's own for a matrix that has no inverse. They are loaded when first used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import NotDifferentiableError, ShapeError, TinygradError
from ..core.primitive import Spec
from .checks import flag, of_kind
from .define import broadcast, operand, primitive
from .elementwise import zeros_like
from .facts import COSTLY
from .shaping import concatenate, expand_dims, split, swapaxes
from .shifting import tril, triu


class SingularError(TinygradError, ValueError, ArithmeticError):
    """A matrix that has no inverse where one is needed; also a ValueError, as NumPy's error is."""


def _inverting(compute: Any, a: Any, *right: Any) -> Any:
    """Return what NumPy makes of matrices by inverting them, or raise a SingularError."""
    try:
        return compute(a, *right)
    except np.linalg.LinAlgError:
        if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
            raise  # which the shape rule explains
        ranks = np.linalg.matrix_rank(a).reshape(-1)
        number, n = int(ranks.argmin()), a.shape[-1]
        which = f"matrix {number} of the {len(ranks)}" if len(ranks) > 1 else "the matrix"
        raise SingularError(
            f"{which} is singular (of rank {ranks[number]}, where {n} is expected), so there is no inverse. Ways out: add a small "
            f"number to its diagonal, x + 1e-6 * np.eye({n}); tg.linalg.pinv of the columns that are independent; or tg.linalg.det, "
            "whose gradient needs no inverse, in place of inv or slogdet"
        ) from None


def turned(x: Any) -> Any:
    """Return the transposes of matrices."""
    return x.swapaxes(-1, -2)


def square_shape(x: Any, **params: Any) -> Spec:
    """Return the Spec of square matrices, or raise a ShapeError."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"expected square matrices, of shape (..., n, n); found {tuple(x.shape)}")
    return Spec(x.shape, x.dtype)


def matrices(x: Any) -> tuple[int, ...]:
    """Return the shape of matrices, or raise a ShapeError."""
    if x.ndim < 2:
        raise ShapeError(f"expected matrices, of shape (..., m, n); found {tuple(x.shape)}")
    return tuple(x.shape)


def unit(x: Any) -> Any:
    """Return the unit matrix of the size of square matrices."""
    return np.eye(x.shape[-1], dtype=x.dtype)


def by_triangle(s: Any, upper: bool = False) -> Any:
    """Turn the gradient by a symmetric matrix into that by the triangle which alone is read.

    `s` is any matrix whose products with symmetric changes are the changes of the result.
    """
    both = (s + turned(s)) * (1 - unit(s) / 2)
    return triu(both) if upper else tril(both)


def symmetric(t: Any, upper: bool = False) -> Any:
    """Return the symmetric matrix that a triangle stands for."""
    low = turned(t) if upper else t
    return tril(low) + turned(tril(low, -1))


def with_positive_diagonals(n: int, *batch: int) -> Any:
    """Return matrices for tests that are well conditioned, and not symmetric."""
    x = np.random.default_rng(n).normal(size=(*batch, n, n))
    return x @ x.swapaxes(-1, -2) / n + np.eye(n) + 0.1 * x


# --- systems of equations -------------------------------------------------------------------------


def _solve_shape(a: Any, b: Any, **params: Any) -> Spec:
    square_shape(a)
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(
            f"expected a right side of shape (..., {a.shape[-1]}, k) for matrices of shape {tuple(a.shape)}; "
            f"found {tuple(b.shape)}"
        )
    lead = broadcast(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    return Spec((*lead, *b.shape[-2:]), np.result_type(a.dtype, b.dtype))


def _solve_rule(g: Any, out: Any, a: Any) -> Any:
    by_b = _solve(turned(a), g)
    return -by_b @ turned(out), by_b


def _solve_tangent(t: Any, out: Any, a: Any, b: Any) -> Any:
    by_a, by_b = t
    moved = 0.0 if by_a is None else by_a @ out
    return _solve(a, -moved if by_b is None else by_b - moved)


_SYSTEMS: list[Any] = [
    ([with_positive_diagonals(3), (3, 2)], {}),
    ([with_positive_diagonals(2, 3), (3, 2, 1)], {}),
    ([with_positive_diagonals(2, 3, 1), (2, 2, 2)], {}),
    ([np.full((1, 1), 2.5), (1, 3)], {}),
    ([(0, 2, 2), (0, 2, 1)], {}),
    ([(0, 0), (0, 2)], {}),
]


@primitive(
    _solve_rule,
    shape=_solve_shape,
    tangent=_solve_tangent,
    floating=True,
    broadcasts=True,
    joint=True,
    examples=_SYSTEMS,
    cost=COSTLY,
    library="LAPACK",
    name="solve",
)
def _solve(a: Any, b: Any) -> Any:
    return _inverting(np.linalg.solve, a, b)


def _of_columns(op: Any, a: Any, b: Any, name: str, **params: Any) -> Any:
    """Solve for a right side that may be one vector."""
    a, b = operand(a, f"{name}: a"), operand(b, f"{name}: b")
    if b.ndim == 1:
        return op(a, expand_dims(b, -1), **params)[..., 0]
    return op(a, b, **params)


def solve(a: Any, b: Any) -> Any:
    """Return x with ``a @ x = b``.

    Parameters
    ----------
    a : Tensor or array
        Square matrices, ``(..., n, n)``.
    b : Tensor or array
        One vector ``(n,)``, or matrices ``(..., n, k)``, whose leading axes broadcast.

    Raises
    ------
    ValueError
        If a matrix has no inverse.
    """
    return _of_columns(_solve, a, b, "solve")


def _triangle(x: Any, lower: bool) -> Any:
    return tril(x) if lower else triu(x)


def _triangular_rule(g: Any, out: Any, a: Any, lower: bool, independent: bool) -> Any:
    by_b = _solve_triangular(turned(a), g, lower=not lower, independent=independent)
    return -_triangle(by_b @ turned(out), lower), by_b


def _triangular_tangent(t: Any, out: Any, a: Any, b: Any, lower: bool, independent: bool) -> Any:
    by_a, by_b = t
    moved = 0.0 if by_a is None else _triangle(by_a, lower) @ out
    right = -moved if by_b is None else by_b - moved
    return _solve_triangular(a, right, lower=lower, independent=independent)


@primitive(
    _triangular_rule,
    shape=_solve_shape,
    tangent=_triangular_tangent,
    floating=True,
    broadcasts=True,
    joint=True,
    examples=[
        *_SYSTEMS,
        ([with_positive_diagonals(3), (3, 2)], {"lower": True}),
        ([with_positive_diagonals(2, 2), (1, 2, 1)], {"lower": True, "independent": True}),
    ],
    cost=COSTLY,
    library="LAPACK",
    name="solve_triangular",
)
def _solve_triangular(a: Any, b: Any, *, lower: bool = False, independent: bool = False) -> Any:
    if independent and a.size:
        sizes = np.abs(np.diagonal(a, axis1=-2, axis2=-1))
        if np.any(sizes.min(-1) <= a.shape[-1] * np.finfo(a.dtype).eps * sizes.max(-1)):
            raise NotDifferentiableError(
                "the columns of the matrix are linearly dependent, and there is no derivative of its parts"
            )
    return _inverting(np.linalg.solve, np.tril(a) if lower else np.triu(a), b)


def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """Return x with ``a @ x = b`` for triangular matrices; the other triangle is not read.

    Parameters
    ----------
    a : Tensor or array
        ``(..., n, n)``; such as the result of `cholesky`.
    b : Tensor or array
        One vector ``(n,)``, or matrices ``(..., n, k)``, whose leading axes broadcast.
    lower : bool
        Whether the lower triangle is read, and not the upper one.
    """
    low = flag(lower, "solve_triangular: lower")
    return _of_columns(_solve_triangular, a, b, "solve_triangular", lower=low)


@primitive(
    lambda g, out: -(turned(out) @ g @ turned(out)),
    shape=square_shape,
    tangent=lambda t, out, x: -(out @ t @ out),
    floating=True,
    examples=[
        ([with_positive_diagonals(3)], {}),
        ([with_positive_diagonals(2, 3)], {}),
        ([np.full((1, 1), -2.0)], {}),
        ([(0, 2, 2)], {}),
    ],
    cost=COSTLY,
    library="LAPACK",
    name="inv",
)
def _inv(x: Any) -> Any:
    return _inverting(np.linalg.inv, x)


def inv(x: Any) -> Any:
    """Return the inverses of square matrices; `solve` is quicker and more accurate for ``inv(a) @ b``.

    Raises
    ------
    ValueError
        If a matrix has no inverse.
    """
    return _inv(operand(x, "inv"))


def _pinv_rule(g: Any, out: Any, x: Any) -> Any:
    across = turned(g)
    return (
        -(turned(out) @ g @ turned(out))
        + _rest(x @ out) @ across @ (out @ turned(out))
        + (turned(out) @ out) @ across @ _rest(out @ x)
    )


def _pinv_tangent(t: Any, out: Any, x: Any) -> Any:
    across = turned(t)
    return (
        -(out @ t @ out)
        + (out @ turned(out)) @ across @ _rest(x @ out)
        + _rest(out @ x) @ across @ (turned(out) @ out)
    )


def _rest(projection: Any) -> Any:
    """Return the projection to what a projection leaves out."""
    return unit(projection) - projection


def _pinv_shape(x: Any) -> Spec:
    *lead, m, n = matrices(x)
    return Spec((*lead, n, m), x.dtype)


@primitive(
    _pinv_rule,
    shape=_pinv_shape,
    tangent=_pinv_tangent,
    floating=True,
    examples=[
        ([with_positive_diagonals(3)[:, :2]], {}),
        ([with_positive_diagonals(3, 2)[:, 1:]], {}),
        ([with_positive_diagonals(2)], {}),
        ([(0, 2, 3)], {}),
    ],
    cost=COSTLY,
    library="LAPACK",
    name="pinv",
)
def _pinv(x: Any) -> Any:
    if not x.size:
        return np.zeros(_pinv_shape(x).shape, x.dtype)
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    least = max(x.shape[-2:]) * np.finfo(x.dtype).eps * s[..., :1]
    if np.any(s <= least):
        raise NotDifferentiableError(
            "expected matrices of full rank, since where the rank changes the pseudo-inverse jumps; found a singular value of "
            f"{float(s.min()):.3g} beside {float(s.max()):.3g}. Of an array without gradients it is np.linalg.pinv(t.numpy())"
        )
    return np.matmul(vh.swapaxes(-1, -2) / s[..., None, :], u.swapaxes(-1, -2))


def pinv(x: Any) -> Any:
    """Return the pseudo-inverses of matrices of full rank.

    Raises
    ------
    NotDifferentiableError
        If a matrix has not its full rank: there the pseudo-inverse jumps.
    """
    return _pinv(operand(x, "pinv"))


# --- cholesky, exponential, powers ----------------------------------------------------------------


def _halved(x: Any) -> Any:
    """Return the lower triangle, with half of the diagonal."""
    return tril(x) * (1 - unit(x) / 2)


def _cholesky_rule(g: Any, out: Any) -> Any:
    upper = turned(out)
    left = _solve_triangular(upper, _halved(upper @ g))
    return by_triangle(_solve_triangular(upper, turned(left)))


def _cholesky_tangent(t: Any, out: Any, x: Any) -> Any:
    left = _solve_triangular(out, symmetric(t), lower=True)
    return out @ _halved(_solve_triangular(out, turned(left), lower=True))


@primitive(
    _cholesky_rule,
    shape=square_shape,
    tangent=_cholesky_tangent,
    floating=True,
    examples=[
        ([with_positive_diagonals(3)], {}),
        ([with_positive_diagonals(2, 3)], {}),
        ([np.full((1, 1), 2.0)], {}),
        ([(0, 2, 2)], {}),
    ],
    cost=COSTLY,
    library="LAPACK",
    name="cholesky",
)
def _cholesky(x: Any) -> Any:
    return np.linalg.cholesky(x)


def cholesky(x: Any, upper: bool = False) -> Any:
    """Return L, a lower triangle, with ``x = L @ L.T`` for symmetric positive definite matrices.

    Only the lower triangle of x is read, and only by it there is a gradient.

    Parameters
    ----------
    x : Tensor or array
    upper : bool
        The upper triangle is read, and L.T returned.

    Raises
    ------
    ValueError
        If a matrix is not positive definite.
    """
    x = operand(x, "cholesky")
    if flag(upper, "cholesky: upper"):
        square_shape(x)
        return swapaxes(_cholesky(swapaxes(x, -1, -2)), -1, -2)
    return _cholesky(x)


def _frechet(x: Any, t: Any) -> Any:
    """Return the derivative of `expm` at x in the direction t."""
    block = concatenate([concatenate([x, t], -1), concatenate([zeros_like(x), x], -1)], -2)
    return split(split(_expm(block), 2, -1)[1], 2, -2)[0]


@primitive(
    lambda g, x: _frechet(turned(x), g),
    shape=square_shape,
    tangent=lambda t, out, x: _frechet(x, t),
    floating=True,
    examples=[([(3, 3)], {}), ([(2, 2, 2)], {}), ([(1, 1)], {}), ([(0, 2, 2)], {})],
    cost=COSTLY,
    library="SciPy",
    name="expm",
)
def _expm(x: Any) -> Any:
    from scipy.linalg import expm as scipy_expm

    square_shape(x)
    return np.asarray(scipy_expm(x), x.dtype) if x.size else x.copy()


def expm(x: Any) -> Any:
    """Return the exponentials of square matrices, ``I + x + x @ x / 2 + ...``; needs SciPy."""
    return _expm(operand(x, "expm"))


def matrix_power(x: Any, n: int) -> Any:
    """Return products of n times the same square matrix; below 0, of its inverse.

    Parameters
    ----------
    x : Tensor or array
    n : int
    """
    x = operand(x, "matrix_power")
    square_shape(x)
    of_kind(n, ["int"], "matrix_power: n")
    if n == 0:
        return x * 0 + unit(x)
    x, found, left = (inv(x) if n < 0 else x), None, int(np.abs(n))
    while left:
        if left % 2:
            found = x if found is None else found @ x
        left //= 2
        if left:
            x = x @ x
    return found
