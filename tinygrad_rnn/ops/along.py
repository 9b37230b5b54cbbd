"""Operations along one axis, which keeps its size: softmax and the running ones."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.memory import empty
from ..core.primitive import Spec
from ..kernels import places
from .define import axes_of, numpys, operand, primitive
from .elementwise import exp, log, logaddexp, logical_and, where
from .facts import LARGEST, SMALLEST, SUM
from .reductions import max, plain_zero, sum
from .shaping import concatenate
from .taking import add_along_axis, take, take_along_axis


def _softmax_rule(g: Any, out: Any, axis: int) -> Any:
    return out * (g - (g * out).sum(axis=axis, keepdims=True))


def _one_axis(x: Any, *, axis: int = -1, **_: Any) -> Spec:
    if axis is None or isinstance(axis, (tuple, list)):
        raise ShapeError(f"axis {axis}: expected one axis")
    axes_of(axis, x.ndim)
    return Spec(x.shape, x.dtype)


def _cumsum_shape(x: Any, *, axis: int = -1) -> Spec:
    return Spec(_one_axis(x, axis=axis).shape, np.sum(np.zeros(0, x.dtype)).dtype)


ALONG = [
    ([(2, 3)], {}),
    ([(2, 3, 2)], {"axis": 1}),
    ([(4,)], {"axis": 0}),
    ([(0, 3)], {"axis": -1}),
]


def _softmax_of_others(x: Any, axis: int) -> Any:
    e = exp(x - max(x, axis, True))
    return e / sum(e, axis, True)


@primitive(
    _softmax_rule,
    shape=_one_axis,
    tangent=lambda t, out, x, axis: _softmax_rule(t, out, axis),
    floating=True,
    examples=ALONG,
    decomposition=_softmax_of_others,
)
def softmax(x: Any, *, axis: int = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along an axis, without overflow."""
    e = np.exp(x - x.max(axis, keepdims=True)) if x.size else x
    return e / e.sum(axis, keepdims=True)


def _log_softmax_of_others(x: Any, axis: int) -> Any:
    shifted = x - max(x, axis, True)
    return shifted - log(sum(exp(shifted), axis, True))


@primitive(
    lambda g, out, axis: g - exp(out) * g.sum(axis=axis, keepdims=True),
    shape=_one_axis,
    floating=True,
    examples=ALONG,
    tangent=lambda t, out, x, axis: t - (t * exp(out)).sum(axis=axis, keepdims=True),
    decomposition=_log_softmax_of_others,
)
def log_softmax(x: Any, *, axis: int = -1) -> Any:
    """Return log(softmax(x)) along an axis, without overflow or loss of small values."""
    if not x.size:
        return x
    shifted = x - plain_zero(x.max(axis, keepdims=True))
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


@primitive(
    lambda g, axis: (
        cumsum(g[_reverse(g.ndim, axis)], axis)[_reverse(g.ndim, axis)] if g.ndim else g
    ),
    shape=_cumsum_shape,
    linear="jointly",
    examples=[
        ([(2, 3)], {"axis": 1}),
        ([(3, 2)], {"axis": 0}),
        ([(2, 3, 2)], {"axis": -2}),
        ([(2, 3)], {}),
        ([(0, 3)], {"axis": 0}),
        ([()], {"axis": 0}),
    ],
    scan=SUM,
)
def cumsum(x: Any, *, axis: int = -1) -> Any:
    """Return the running sum along an axis (the last by default)."""
    return np.cumsum(x, axis=axis).reshape(x.shape)


def _reverse(ndim: int, axis: int) -> tuple[slice, ...]:
    return tuple([slice(None, None, -1) if i == axis % ndim else slice(None) for i in range(ndim)])


@numpys()
def cumprod(x: Any, axis: int = -1) -> Any:
    """Return the running product along an axis (the last by default).

    It is recorded as about log2(n) shifted multiplications (Hillis and Steele 1986), so gradients
    of every order are exact at zeros.
    """
    x = operand(x, "cumprod")
    _one_axis(x, axis=axis)
    return _running(operator.mul, x, axis)


def _running(op: Callable[[Any, Any], Any], x: Any, axis: int) -> Any:
    """Put together by `op` all elements up to each place, by shifts (Hillis and Steele 1986)."""
    if not x.ndim:
        return x
    axis, n, shift = axis % x.ndim, x.shape[axis], 1
    while shift < n:
        later = op(_part(x, axis, shift, n), _part(x, axis, 0, n - shift))
        x = concatenate([_part(x, axis, 0, shift), later], axis=axis)
        shift *= 2
    return x


def _part(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[tuple([slice(start, stop) if i == axis else slice(None) for i in range(x.ndim)])]


def _holders_of_others(out: Any, axis: int) -> Any:
    n, along = out.shape[axis], [1] * out.ndim
    along[axis] = n
    before = take(out, np.maximum(np.arange(n) - 1, 0), axis)
    begins = logical_and(out != before, before == before)  # after a nan nothing begins
    return cummax(where(begins, np.arange(n).reshape(along), 0), axis)


def _holders_shape(out: Any, *, axis: int = -1) -> Spec:
    return Spec(_one_axis(out, axis=axis).shape, np.int64)


@primitive(shape=_holders_shape, name="holders", examples=ALONG, decomposition=_holders_of_others)
def _holders(out: Any, *, axis: int = -1) -> Any:
    """Return for each running extreme the index of its element: the first of equal ones."""
    found = empty(out.shape, np.dtype(np.int64))
    if places.holders(out, found, axis % out.ndim):
        return found
    return _holders_of_others(out, axis % out.ndim)


def _running_extreme_rule(g: Any, out: Any, axis: int) -> Any:
    if not g.ndim:
        return g
    return add_along_axis(np.zeros(g.shape, g.dtype), _holders(out, axis), g, axis)


def _running_extreme_tangent(t: Any, out: Any, x: Any, *, axis: int) -> Any:
    return take_along_axis(t, _holders(out, axis), axis) if t.ndim else t


@primitive(
    _running_extreme_rule,
    shape=_one_axis,
    tangent=_running_extreme_tangent,
    examples=[*ALONG, ([()], {"axis": 0})],
    scan=LARGEST,
    rule_in_words="Each maximum gives its gradient to the element that it is, the first of equal ones.",
)
def cummax(x: Any, *, axis: int = -1) -> Any:
    """Return the running maximum along an axis (the last by default).

    The gradient of each goes to the element that `argmax` finds up to there: the first of equal
    ones, where `max` lets them share. From the first nan on it is nan; 0.0 stands for -0.0.
    """
    return _extremes(x, axis, np.maximum)


@primitive(
    _running_extreme_rule,
    shape=_one_axis,
    tangent=_running_extreme_tangent,
    examples=[*ALONG, ([()], {"axis": 0})],
    scan=SMALLEST,
    rule_in_words="Each minimum gives its gradient to the element that it is, the first of equal ones.",
)
def cummin(x: Any, *, axis: int = -1) -> Any:
    """Return the running minimum along an axis (the last by default).

    The gradient of each goes to the first of equal ones, as that of `cummax`.
    """
    return _extremes(x, axis, np.minimum)


def _extremes(x: Any, axis: int, extreme: np.ufunc) -> Any:
    _one_axis(x, axis=axis)
    out = empty(x.shape, x.dtype)
    if x.ndim and places.running(x, out, axis % x.ndim, extreme is np.maximum):
        return out
    return plain_zero(extreme.accumulate(np.atleast_1d(x), axis=axis).reshape(x.shape))


# --- running logarithms of sums -------------------------------------------------------------------


def _logcumsumexp_of_others(x: Any, axis: int) -> Any:
    return _running(logaddexp, x, axis)


def _passed_back(g: Any, share: Any, axis: int) -> Any:
    """Return the sums of g from each place on, of which each place passes on a share to the next.

    That is s[j] = g[j] + share[j] * s[j + 1], by about log2(n) shifted sums.
    """
    n = g.shape[axis]
    for k in range((n - 1).bit_length()):
        shift = 1 << k
        later = share * _part(g, axis, shift, n)  # there is a share for each of these
        sums = _part(g, axis, 0, n - shift) + later
        g = concatenate([sums, _part(g, axis, n - shift, n)], axis=axis)
        left = builtins.max(n - 2 * shift, 0)
        share = _part(share, axis, 0, left) * _part(share, axis, shift, shift + left)
    return g


def _shares(out: Any, x: Any, axis: int) -> tuple[Any, Any]:
    """Return what part of each sum is its last term, and what part of the next one it is itself.

    Where a sum is 0 and its logarithm -inf, both are 0, and have no derivative.
    """
    n, none = out.shape[axis], out == -np.inf
    here = where(none, 0.0, out)
    begins, after = _part(none, axis, 0, n - 1), _part(here, axis, 1, n)
    before = where(begins, after, _part(here, axis, 0, n - 1))  # no overflow where it is not chosen
    return exp(x - here), where(begins, 0.0, exp(before - after))


def _logcumsumexp_rule(g: Any, out: Any, x: Any, axis: int) -> Any:
    if not g.ndim or not g.size:
        return g
    a = axis % g.ndim
    term, share = _shares(out, x, a)
    return term * _passed_back(g, share, a)


def _logcumsumexp_tangent(t: Any, out: Any, x: Any, *, axis: int) -> Any:
    if not t.ndim or not t.size:
        return t
    a = axis % t.ndim
    term, share = _shares(out, x, a)
    back = _reverse(t.ndim, a)
    return _passed_back((term * t)[back], share[back], a)[back]


@primitive(
    _logcumsumexp_rule,
    shape=_one_axis,
    tangent=_logcumsumexp_tangent,
    floating=True,
    examples=[*ALONG, ([(7,)], {"axis": 0}), ([()], {"axis": 0})],
    decomposition=_logcumsumexp_of_others,
    left_to_numpy=True,
    rule_in_words="Each element gets the gradients of all sums from it on, by its part of each.",
)
def logcumsumexp(x: Any, *, axis: int = -1) -> Any:
    """Return log(cumsum(exp(x))) along an axis (the last by default), without overflow.

    It is -inf as long as all are; the gradient of such an element is 0.
    """
    return np.logaddexp.accumulate(np.atleast_1d(x), axis=axis).reshape(x.shape)
