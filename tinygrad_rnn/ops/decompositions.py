"""Matrices as products: eigh, svd, qr, and the eigenvalues and singular values alone.

LAPACK computes each, by way of NumPy. What comes out is several matrices; on the tape they are one
result, whose rows lie one after the other, and the parts are cut from it.

Where eigenvalues or singular values coincide, vectors that belong to them are not determined, and
have no derivative: where one is asked for, that is an error. Sums of functions of the values have
one, and get it. Values coincide if their distance is not above the roundings of LAPACK.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.errors import NotDifferentiableError, ShapeError
from ..core.primitive import Spec
from .checks import flag, of_kind, shown
from .define import broadcast, operand, primitive, same_shape
from .elementwise import abs
from .facts import COSTLY
from .linalg import _solve_triangular, by_triangle, matrices, square_shape, symmetric, turned, unit
from .reductions import max
from .shaping import concatenate, expand_dims, swapaxes
from .shifting import tril

ROUNDINGS = 8  # of LAPACK: eigenvalues are right to so many units, times rows, of the largest one


# --- gaps -----------------------------------------------------------------------------------------


def _gaps_shape(k: Any, gap: Any, least: Any) -> Spec:
    return Spec(broadcast(k.shape, gap.shape, least.shape), k.dtype)


def _gaps_tangent(t: Any, out: Any, k: Any, gap: Any, least: Any) -> Any:
    by_k, by_gap, _ = t
    if by_gap is None:
        return None if by_k is None else over_gaps(by_k, gap, least)
    moved = -(out * by_gap)
    return over_gaps(moved if by_k is None else by_k + moved, gap, least)


@primitive(
    lambda g, gap, least: over_gaps(g, gap, least),
    lambda g, out, gap, least: -over_gaps(g * out, gap, least),
    None,
    shape=_gaps_shape,
    tangent=_gaps_tangent,
    floating=True,
    broadcasts=True,
    examples=[
        ([(2, 3, 3), np.array([[9.0, 2.0, -3.0], [-2.0, 9.0, 1.7], [3.0, -1.7, 9.0]]), np.array(1)], {}),
        ([(2, 3), np.array([[0.06], [-0.05]]), np.array([0, 0, 0])], {}),
        ([(0, 2), (1, 2), np.array(0)], {}),
    ],
    cost=COSTLY,
    library="NumPy",
)  # fmt: skip
def over_gaps(k: Any, gap: Any, least: Any) -> Any:
    """Return k / gap, and 0 where the gap is not above the least one and k is 0.

    Raises
    ------
    NotDifferentiableError
        If k is not 0 there.
    """
    near = np.abs(gap) <= least
    _check_determined(near & (k != 0))
    return np.where(near, 0, k / np.where(near, 1, gap)).astype(k.dtype)


@primitive(
    lambda g: g,
    None,
    None,
    shape=same_shape,
    tangent=lambda t, out, vectors, gap, least: t[0],
    floating=True,
    examples=[
        ([(3, 3), np.array([[9, 2, -3], [-2, 9, 4], [3, -4, 9]]), np.array(1)], {}),
        ([(4, 2), np.array([[9, 2], [-2, 9]]), np.array([[1]])], {}),
        ([(0, 2), np.full((2, 2), 9), np.array([[1]])], {}),
    ],
    cost=COSTLY,
    library="NumPy",
)  # fmt: skip
def determined(vectors: Any, gap: Any, least: Any) -> Any:
    """Return what is done to vectors (columns), each of which belongs to a value of its own.

    Raises
    ------
    NotDifferentiableError
        If something is done to one whose value is nearer to another than the least gap.
    """
    twins = np.any(np.abs(gap) <= least, axis=-2, keepdims=True)
    _check_determined(twins & (vectors != 0))
    return vectors.copy()


def _check_determined(wrong: Any) -> None:
    """Raise a NotDifferentiableError if there is any such place."""
    if np.any(wrong):
        raise NotDifferentiableError(
            "two eigenvalues or singular values coincide (or one singular value is 0), and a derivative of the vectors that belong to "
            "them, or a second derivative, was asked for: there is none, since the vectors are not determined. Values alone have one "
            "(eigvalsh, svdvals); a small change of the matrix that is different on each element of the diagonal separates them"
        )


def _least(values: Any, rows: int) -> Any:
    """Return the distance up to which values of a matrix of so many rows may be one."""
    if not values.shape[-1]:
        return np.zeros((), values.dtype)
    unit = ROUNDINGS * rows * float(np.finfo(values.dtype).eps)
    return expand_dims(max(abs(values), axis=-1, keepdims=True) * unit, -1)


def _differences(values: Any, sign: int) -> Any:
    """Return for i and j the value j less the value i (or both added), and inf where i is j."""
    n = values.shape[-1]
    columns, rows = expand_dims(values, -2), expand_dims(values, -1)
    alone = np.diag(np.full(n, np.inf, values.dtype))
    return (columns - rows if sign < 0 else columns + rows) + alone


def _diagonal(x: Any) -> Any:
    return (x * unit(x)).sum(axis=-1)


def _row(x: Any) -> Any:
    return x.reshape((*x.shape[:-1], 1, x.shape[-1]))


# --- eigh -----------------------------------------------------------------------------------------


class EighResult(NamedTuple):
    """The eigenvalues of symmetric matrices, in rising order, and the eigenvectors, as columns."""

    eigenvalues: Any
    eigenvectors: Any


def _eigh_rule(g: Any, out: Any, upper: bool) -> Any:
    w, v = out[..., 0, :], out[..., 1:, :]
    gap, least = _differences(w, -1), _least(w, w.shape[-1])
    turns = over_gaps(turned(v) @ determined(g[..., 1:, :], gap, least), gap, least)
    inside = turns + _row(g[..., 0, :]) * unit(turns)
    return by_triangle(v @ inside @ turned(v), upper)


def _eigh_tangent(t: Any, out: Any, x: Any, upper: bool) -> Any:
    w, v = out[..., 0, :], out[..., 1:, :]
    moved = turned(v) @ symmetric(t, upper) @ v
    gap, least = _differences(w, -1), _least(w, w.shape[-1])
    turns = over_gaps(determined(moved, gap, least), gap, least)
    return concatenate([_row(_diagonal(moved)), v @ turns], -2)


def _eigh_shape(x: Any, **params: Any) -> Spec:
    *lead, n, _ = square_shape(x).shape
    return Spec((*lead, n + 1, n), x.dtype)


_NEARLY_DIAGONAL = np.diag([1.0, 2.5, -1.2]) + 0.2 * np.arange(9).reshape(3, 3) % 0.7
_DISTINCT = [
    ([_NEARLY_DIAGONAL], {}),
    ([_NEARLY_DIAGONAL], {"upper": True}),
    ([0.1 * np.stack([np.diag([1.0, 3.0]), np.diag([2.0, -1.0])]) + 0.03], {}),
    ([np.stack([np.diag([1.0, 3.0]), np.diag([2.0, -1.0]), np.diag([0.0, 1.0])])[None] + 0.3], {}),
    ([np.full((1, 1), 2.0)], {}),
    ([(0, 2, 2)], {}),
    ([(0, 0)], {}),
]


@primitive(
    _eigh_rule,
    shape=_eigh_shape,
    tangent=_eigh_tangent,
    floating=True,
    examples=_DISTINCT,
    cost=COSTLY,
    library="LAPACK",
    name="eigh",
)
def _eigh(x: Any, *, upper: bool = False) -> Any:
    w, v = np.linalg.eigh(x, "U" if upper else "L")
    return np.concatenate([w[..., None, :], v], axis=-2)


def _is_upper(uplo: str, name: str) -> bool:
    of_kind(uplo, ["str"], f"{name}: UPLO")
    if uplo not in ("L", "U"):
        raise ShapeError(f"{name}: UPLO must be 'L' or 'U'; found {shown(uplo)}")
    return uplo == "U"


def eigh(x: Any, UPLO: str = "L") -> EighResult:
    """Return the eigenvalues and eigenvectors of symmetric matrices.

    One triangle of x is read, and only by it there is a gradient. The sign of a vector is as LAPACK
    gives it; a loss should not depend on it.

    Parameters
    ----------
    x : Tensor or array
    UPLO : str
        "L": the lower triangle is read, "U": the upper one.

    Returns
    -------
    EighResult
        ``(eigenvalues, eigenvectors)``: values in rising order, vectors as columns.
    """
    both = _eigh(operand(x, "eigh"), upper=_is_upper(UPLO, "eigh"))
    return EighResult(both[..., 0, :], both[..., 1:, :])


def _values_rule(g: Any, x: Any, upper: bool) -> Any:
    v = _eigh(x, upper=upper)[..., 1:, :]
    return by_triangle((v * _row(g)) @ turned(v), upper)


def _values_tangent(t: Any, out: Any, x: Any, upper: bool) -> Any:
    v = _eigh(x, upper=upper)[..., 1:, :]
    return _diagonal(turned(v) @ symmetric(t, upper) @ v)


@primitive(
    _values_rule,
    shape=lambda x, **params: Spec(square_shape(x).shape[:-1], x.dtype),
    tangent=_values_tangent,
    floating=True,
    examples=_DISTINCT,
    cost=COSTLY,
    library="LAPACK",
    name="eigvalsh",
)
def _eigvalsh(x: Any, *, upper: bool = False) -> Any:
    return np.linalg.eigvalsh(x, "U" if upper else "L")


def eigvalsh(x: Any, UPLO: str = "L") -> Any:
    """Return the eigenvalues of symmetric matrices, in rising order.

    Where some coincide the gradient by each of them is one of several (that of the vectors which
    LAPACK finds), and the gradient of what treats them alike is right. The second derivative is
    refused there.

    Parameters
    ----------
    x : Tensor or array
    UPLO : str
        "L": the lower triangle is read, "U": the upper one.
    """
    return _eigvalsh(operand(x, "eigvalsh"), upper=_is_upper(UPLO, "eigvalsh"))


# --- svd ------------------------------------------------------------------------------------------


class SVDResult(NamedTuple):
    """Matrices U, singular values S in falling order, and Vh: ``x = (U * S) @ Vh``."""

    U: Any
    S: Any
    Vh: Any


def _parts(x: Any, m: int) -> tuple[Any, Any, Any]:
    return x[..., :m, :], x[..., m, :], x[..., m + 1 :, :]


def _svd_rule(g: Any, out: Any, like_x: Any) -> Any:
    m, n = like_x.shape[-2:]
    (u, s, v), (gu, gs, gv) = _parts(out, m), _parts(g, m)
    least = _least(s, m + n)
    apart, joined = _differences(s, -1), _differences(s, 1)
    gu, gv = (determined(part, apart, least) for part in (gu, gv))
    p, q = turned(u) @ gu, turned(v) @ gv
    found = _row(gs) * unit(p)
    for k, sign in ((p, 1), (q, -1)):
        near, far = over_gaps(k, apart, least), over_gaps(k, joined, least)
        found = found + (near + turned(near)) / 2 + (far - turned(far)) * (sign / 2)
    whole = u @ found @ turned(v)
    if m > n:
        whole = whole + over_gaps(gu - u @ p, _row(s), least) @ turned(v)
    if n > m:
        whole = whole + u @ turned(over_gaps(gv - v @ q, _row(s), least))
    return whole


def _svd_tangent(t: Any, out: Any, x: Any) -> Any:
    m, n = t.shape[-2:]
    u, s, v = _parts(out, m)
    least, apart = _least(s, m + n), _differences(s, -1)
    to_left, to_right = determined(t @ v, apart, least), determined(turned(t) @ u, apart, least)
    moved = turned(u) @ to_left
    near, far = over_gaps(moved, apart, least), over_gaps(moved, _differences(s, 1), least)
    one, two = (near - turned(near)) / 2, (far - turned(far)) / 2
    du, dv = u @ (one + two), v @ (one - two)
    if m > n:
        du = du + over_gaps(to_left - u @ moved, _row(s), least)
    if n > m:
        dv = dv + over_gaps(to_right - v @ turned(moved), _row(s), least)
    return concatenate([du, _row(_diagonal(moved)), dv], -2)


def _svd_shape(x: Any) -> Spec:
    *lead, m, n = matrices(x)
    return Spec((*lead, m + n + 1, min(m, n)), x.dtype)


_OF_ALL_SHAPES: list[Any] = [
    ([_NEARLY_DIAGONAL], {}),
    ([0.2 * np.array([[1.0, 0.3], [-0.4, 2.5], [0.2, 0.6]])], {}),
    ([np.array([[[1.0, 0.3, 0.2], [-0.4, 2.5, 0.1]], [[2.0, 0.3, -0.2], [0.4, 0.5, 0.1]]])], {}),
    ([0.2 * np.array([[1.0, 0.3, 0.2], [-0.4, 2.5, 0.1]])], {}),
    ([np.full((1, 1), 2.0)], {}),
    ([(0, 2, 3)], {}),
]


@primitive(
    _svd_rule,
    shape=_svd_shape,
    tangent=_svd_tangent,
    floating=True,
    examples=_OF_ALL_SHAPES,
    cost=COSTLY,
    library="LAPACK",
    name="svd",
)
def _svd(x: Any) -> Any:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, s[..., None, :], vh.swapaxes(-1, -2)], axis=-2)


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Return the singular value decomposition of matrices: ``x = (U * S) @ Vh``.

    Vectors are determined but for their sign, which is as LAPACK gives it.

    Parameters
    ----------
    x : Tensor or array
        ``(..., m, n)``.
    full_matrices : bool
        Must be False for matrices that are not square: the further vectors are not determined.
    compute_uv : bool
        Whether U and Vh are wanted; otherwise the result is that of `svdvals`.

    Returns
    -------
    SVDResult
        ``(U, S, Vh)``, of shapes (..., m, k), (..., k) and (..., k, n), k being the smaller of m
        and n; S in falling order.
    """
    x = operand(x, "svd")
    *_, m, n = matrices(x)
    if not flag(compute_uv, "svd: compute_uv"):
        return svdvals(x)
    if flag(full_matrices, "svd: full_matrices") and m != n:
        raise ShapeError(
            f"svd: of matrices of shape {(m, n)} the vectors beyond the smaller size are not determined and have no derivative; "
            "call svd(x, full_matrices=False)"
        )
    u, s, v = parts_of_svd(x)
    return SVDResult(u, s, swapaxes(v, -1, -2))


def parts_of_svd(x: Any) -> tuple[Any, Any, Any]:
    """Return U, S and V: the last one not transposed."""
    return _parts(_svd(x), x.shape[-2])


def _svdvals_rule(g: Any, x: Any) -> Any:
    u, _, v = parts_of_svd(x)
    return (u * _row(g)) @ turned(v)


def _svdvals_tangent(t: Any, out: Any, x: Any) -> Any:
    u, _, v = parts_of_svd(x)
    return _diagonal(turned(u) @ t @ v)


def _svdvals_shape(x: Any) -> Spec:
    *lead, m, n = matrices(x)
    return Spec((*lead, min(m, n)), x.dtype)


@primitive(
    _svdvals_rule,
    shape=_svdvals_shape,
    tangent=_svdvals_tangent,
    floating=True,
    examples=_OF_ALL_SHAPES,
    cost=COSTLY,
    library="LAPACK",
    name="svdvals",
)
def _svdvals(x: Any) -> Any:
    return np.linalg.svd(x, compute_uv=False)


def svdvals(x: Any) -> Any:
    """Return the singular values of matrices, in falling order.

    Where some coincide, or are 0, the gradient by each of them is one of several (that of the
    vectors which LAPACK finds). The second derivative is refused there.
    """
    return _svdvals(operand(x, "svdvals"))


# --- qr -------------------------------------------------------------------------------------------


class QRResult(NamedTuple):
    """Matrices Q with orthonormal columns and upper triangles R: ``x = Q @ R``."""

    Q: Any
    R: Any


def _qr_rule(g: Any, out: Any, like_x: Any) -> Any:
    m = like_x.shape[-2]
    q, r, gq, gr = out[..., :m, :], turned(out[..., m:, :]), g[..., :m, :], g[..., m:, :]
    turns = r @ gr - turned(gq) @ q
    right = gq + q @ (tril(turns) + turned(tril(turns, -1)))
    return turned(_solve_triangular(r, turned(right), independent=True))


def _qr_tangent(t: Any, out: Any, x: Any) -> Any:
    m = t.shape[-2]
    q, upper = out[..., :m, :], out[..., m:, :]
    moved = turned(_solve_triangular(upper, turned(t), lower=True, independent=True))
    inside = turned(q) @ moved
    below = tril(inside, -1)
    change = inside - below + turned(below)
    return concatenate([moved - q @ change, upper @ turned(change)], -2)


def _qr_shape(x: Any) -> Spec:
    *lead, m, n = matrices(x)
    if m < n:
        raise ShapeError(f"expected at least as many rows as columns; found {(m, n)}")
    return Spec((*lead, m + n, n), x.dtype)


@primitive(
    _qr_rule,
    shape=_qr_shape,
    tangent=_qr_tangent,
    floating=True,
    examples=[
        *(e for e in _OF_ALL_SHAPES if np.ndim(e[0][0]) == 2 and len(e[0][0]) >= len(e[0][0][0])),
        ([(0, 3, 2)], {}),
    ],
    cost=COSTLY,
    library="LAPACK",
    name="qr",
)
def _qr(x: Any) -> Any:
    q, r = np.linalg.qr(x)
    return np.concatenate([q, r.swapaxes(-1, -2)], axis=-2)


def qr(x: Any, mode: str = "reduced") -> Any:
    """Return Q with orthonormal columns and an upper triangle R: ``x = Q @ R``.

    Where the first columns of x are linearly dependent (all of them, or as many as there are rows)
    there is no derivative, and asking for it is an error. Signs are as LAPACK gives them.

    Parameters
    ----------
    x : Tensor or array
        ``(..., m, n)``.
    mode : str
        "reduced": Q and R of shapes (..., m, k) and (..., k, n), k being the smaller of m and n;
        "r": R alone.
    """
    x = operand(x, "qr")
    of_kind(mode, ["str"], "qr: mode")
    if mode not in ("reduced", "r"):
        raise ShapeError(
            f"qr: mode must be 'reduced' or 'r'; found {shown(mode)}. The further columns of 'complete' are not determined"
        )
    *_, m, n = matrices(x)
    k = min(m, n)
    both = _qr(x[..., :k] if m < n else x)
    q, r = both[..., :m, :], swapaxes(both[..., m:, :], -1, -2)
    if m < n:
        r = concatenate([r, swapaxes(q, -1, -2) @ x[..., k:]], -1)
    return r if mode == "r" else QRResult(q, r)
