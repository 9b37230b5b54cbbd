"""Clipping of gradients, by their joint norm or element by element."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array, Spec
from ..core.tape import Where
from ..core.tensor import FLOAT64, Tensor
from ..kernels import norm
from ..kernels.table import Call
from ..ops.as_code import AsCode, Memory, behind, nothing, shares
from ..ops.checks import number
from ..ops.postponed import postponed
from .given import gradient_of, tensors_of


class _Clipping(AsCode):
    """`clip_grad_norm` of some tensors, where the norm is the root of the sum of the squares."""

    clips = True

    def __init__(self, tensors: list[Tensor], most: float) -> None:
        self.tensors, self.most, self.reads = tensors, most, []
        self.makes = [*[Spec(t.shape, t.dtype) for t in tensors], Spec((), FLOAT64)]

    def calls(
        self,
        gradients: Sequence[Any],
        reads: Sequence[Any],
        makes: Sequence[Any],
        memory: Memory,
        threads: int,
    ) -> tuple[list[Call], list[list[Call]]]:
        """See `AsCode`."""
        *made, total = makes
        count = len(gradients)
        sums, scale = memory.room(8 * count), memory.room(8)
        limits = memory.constant(np.array([self.most, max(_tiny(t.dtype) for t in self.tensors)]))
        first: list[Call] = []
        then: list[list[Call]] = [[] for _ in range(threads)]
        for k, (t, g, out) in enumerate(zip(self.tensors, gradients, made, strict=True)):
            size = t.dtype.itemsize
            sum_, scaled = (norm.address(f"{name}_{8 * size}") for name in ("squares", "scaled"))
            first.append(Call(sum_, False, [t.size, g, behind(sums, 8 * k)]))
            for mine, (lo, hi) in zip(then, shares(t.size, threads), strict=True):
                at = [behind(g, lo * size), scale, behind(out, lo * size)]
                mine.append(Call(scaled, False, [hi - lo, *at]))
        clipping = Call(norm.address("clipping"), True, [count, sums, limits, total, scale])
        return [*first, clipping], then

    def finished(self, made: Sequence[Array], where: Where) -> tuple[Callable[[], None], float]:
        """See `AsCode`."""
        return nothing, made[-1].item()

    def described(self) -> str:
        """See `AsCode`."""
        return f"clip_grad_norm of {len(self.tensors)} gradients"


def _clipping(
    has: Callable[[Tensor], bool], parameters: list[Tensor] | Tensor, max_norm: float
) -> AsCode | None:
    if type(max_norm) not in (float, int) or not max_norm >= 0:
        return None
    once = {id(p): p for p in tensors_of("clip_grad_norm", parameters)}
    tensors = [p for p in once.values() if has(p)]
    return _Clipping(tensors, float(max_norm)) if tensors else None


def _tiny(dtype: np.dtype[Any]) -> float:
    """Return the smallest scale by which gradients of a dtype are multiplied."""
    return float(np.finfo(dtype).tiny)


@postponed(
    lambda parameters, max_norm: tensors_of("clip_grad_norm", parameters),
    values=False,
    native=_clipping,
)
def clip_grad_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most `max_norm`.

    Pascanu et al. 2013.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are passed over; one that occurs twice counts once. An empty
        iterable is an error.
    max_norm : float
        At least 0; with inf the norm is measured only.

    Returns
    -------
    float
        The norm before; inf or nan leaves the gradients as they are, for the caller to see.
    """
    most = number(max_norm, "clip_grad_norm: max_norm", "[0, inf]")
    graded = _graded("clip_grad_norm", parameters)
    total = _joint_norm([g for _, g in graded])
    if math.isfinite(total) and total > most:
        scale = most / total
        for p, g in graded:
            # as a number of the gradients' dtype it would lose digits, or be 0
            if scale < _tiny(g.dtype):
                p.grad = Tensor(np.asarray((g / np.float64(total)) * most, g.dtype))
            else:
                p.grad = Tensor(np.multiply(g, scale, out=np.empty_like(g)))
    return total


def _joint_norm(arrays: list[Array]) -> float:
    """Return the Euclidean norm of all numbers.

    It is right also where their squares are too large or too small for the dtype.
    """
    total = _squares(arrays)
    if norm.LEAST < total < norm.MOST:
        return math.sqrt(total)
    with np.errstate(under="ignore", invalid="ignore"):
        # nan if there is one
        largest = max((float(np.abs(g).max(initial=0)) for g in arrays), default=0.0)
        if not 0 < largest < math.inf:
            return largest
        return largest * math.sqrt(_squares([g.astype(np.float64) / largest for g in arrays]))


def _squares(arrays: list[Array]) -> float:
    total = 0.0
    for g in arrays:
        total += norm.squares(g)
    return total


@postponed(lambda parameters, max_value: tensors_of("clip_grad_value", parameters), values=False)
def clip_grad_value(parameters: Tensor | Iterable[Tensor], max_value: float) -> None:
    """Bring every element of the gradients into [-max_value, max_value].

    A nan stays, for the caller to see.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        As in `clip_grad_norm`.
    max_value : float
        At least 0.
    """
    most = number(max_value, "clip_grad_value: max_value", "[0, inf]")
    for p, g in _graded("clip_grad_value", parameters):
        p.grad = Tensor(np.clip(g, -most, most, out=np.empty_like(g)))


def _graded(name: str, parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Array]]:
    """Return the tensors that have a gradient, each once, with it."""
    once = {id(p): p for p in tensors_of(name, parameters)}
    return [(p, gradient_of(name, p)) for p in once.values() if p.grad is not None]
