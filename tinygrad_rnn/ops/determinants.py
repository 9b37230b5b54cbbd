"""Determinants of matrices: det, slogdet, and the cofactors. They are loaded when first used."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Spec
from .decompositions import parts_of_svd
from .define import operand, primitive
from .elementwise import stop_gradient, where
from .facts import COSTLY
from .linalg import _inv, square_shape, turned, with_positive_diagonals
from .reductions import prod


def _numbers_shape(x: Any) -> Spec:
    return Spec(square_shape(x).shape[:-2], x.dtype)


def _cofactors_by_svd(x: Any) -> Any:
    """Return the cofactors of matrices, which may be singular."""
    u, s, vh = np.linalg.svd(x)
    n = x.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return np.asarray(sign[..., None, None] * np.matmul(u * others[..., None, :], vh), x.dtype)


def _cofactor_rule(g: Any, x: Any) -> Any:
    """Return the second derivative of `det` in a direction, exact for singular matrices too.

    In the bases of the singular value decomposition it is made of the products of all values but
    two.
    """
    n = x.shape[-1]
    if n == 0:
        return g
    u, s, v = parts_of_svd(x)
    here = np.eye(n, dtype=bool)
    kept = ~(here[:, None] | here)  # for i, j and k: whether k is neither
    products = prod(where(kept, s.reshape((*s.shape[:-1], 1, 1, n)), 1.0), axis=-1) * ~here
    inside = turned(u) @ g @ v
    diagonal = (inside * here).sum(axis=-2, keepdims=True)
    moved = (products * diagonal).sum(axis=-1, keepdims=True) * here - products * turned(inside)
    sign = stop_gradient(_slogdet(u @ turned(v))[..., 0])
    return _spread(sign) * (u @ moved @ turned(v))


def _spread(x: Any) -> Any:
    return x.reshape((*x.shape, 1, 1))


_MATRICES: list[Any] = [
    ([with_positive_diagonals(4)[[1, 0, 2, 3]]], {}),
    ([with_positive_diagonals(3, 1, 2)], {}),
    ([with_positive_diagonals(2)[::-1].copy()], {}),
    ([np.full((1, 1), -2.0)], {}),
    ([np.zeros((0, 0))], {}),
    ([(0, 2, 2)], {}),
]


@primitive(
    _cofactor_rule,
    shape=square_shape,
    tangent=lambda t, out, x: _cofactor_rule(t, x),
    floating=True,
    examples=_MATRICES,
    cost=COSTLY,
    library="LAPACK",
)
def cofactors(x: Any) -> Any:
    """Return the cofactors of square matrices: the derivatives of `det` by each element.

    They are finite for every matrix, and so is their own derivative.
    """
    if x.shape[-1] < 2 or not x.size:
        return np.ones(x.shape, x.dtype)
    try:
        with np.errstate(all="ignore"):
            found = np.linalg.det(x)[..., None, None] * np.linalg.inv(x).swapaxes(-1, -2)
        if np.isfinite(found).all():
            return found
    except np.linalg.LinAlgError:
        pass
    return _cofactors_by_svd(x)


@primitive(
    lambda g, x: _spread(g) * cofactors(x),
    shape=_numbers_shape,
    tangent=lambda t, out, x: (t * cofactors(x)).sum(axis=(-2, -1)),
    floating=True,
    examples=_MATRICES,
    cost=COSTLY,
    library="LAPACK",
    name="det",
)
def det_of(x: Any) -> Any:
    """Return the determinants by LAPACK."""
    return np.linalg.det(x)


def det(x: Any) -> Any:
    """Return the determinants of square matrices.

    The first two derivatives exist for every matrix, singular ones as well. Up to three rows it is
    the sum of products, and all others exist, too; from four rows on the third one is refused where
    singular values coincide.
    """
    x = operand(x, "det")
    n = square_shape(x).shape[-1]
    if n == 0 or n > 3:
        return det_of(x)
    if n == 1:
        return x[..., 0, 0]
    if n == 2:
        return x[..., 0, 0] * x[..., 1, 1] - x[..., 0, 1] * x[..., 1, 0]
    minors = [
        x[..., 1, (k + 1) % 3] * x[..., 2, (k + 2) % 3]
        - x[..., 1, (k + 2) % 3] * x[..., 2, (k + 1) % 3]
        for k in range(3)
    ]
    return x[..., 0, 0] * minors[0] + x[..., 0, 1] * minors[1] + x[..., 0, 2] * minors[2]


class SlogdetResult(NamedTuple):
    """The signs and the logarithms of the magnitudes of determinants."""

    sign: Any
    logabsdet: Any


def _slogdet_shape(x: Any) -> Spec:
    return Spec((*_numbers_shape(x).shape, 2), x.dtype)


@primitive(
    lambda g, x: _spread(g[..., 1]) * turned(_inv(x)),
    shape=_slogdet_shape,
    tangent=lambda t, out, x: (
        (t * turned(_inv(x))).sum(axis=(-2, -1), keepdims=True)[..., 0] * np.array([0, 1], t.dtype)
    ),
    floating=True,
    examples=_MATRICES,
    cost=COSTLY,
    library="LAPACK",
    name="slogdet",
)
def _slogdet(x: Any) -> Any:
    return np.stack(np.linalg.slogdet(x), axis=-1)


def slogdet(x: Any) -> SlogdetResult:
    """Return the signs of determinants, and the logarithms of their magnitudes.

    Of a singular matrix they are 0 and -inf, and the gradient is refused. The sign has no gradient.

    Returns
    -------
    SlogdetResult
        ``(sign, logabsdet)``.
    """
    both = _slogdet(operand(x, "slogdet"))
    return SlogdetResult(stop_gradient(both[..., 0]), both[..., 1])
