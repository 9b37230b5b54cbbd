"""The gradient of a parameter as a sum of products and sums over the batch, each at some places of it.

What leaves the loop over time (`sink.py`) is linear in these products and sums. Mostly it does no more
than turn them, put them into parts of a whole, and add them up; then norms of what each step adds
follow for many steps at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array
from .sink import Sunk
from .value import Value


class Term(NamedTuple):
    """A product or a sum over the batch, as a part of a gradient.

    Attributes
    ----------
    source : Value
    factor : float
    places : array
        Where the elements of the source go, in the order of the gradient.
    """

    source: Value
    factor: float
    places: Array


class Terms(NamedTuple):
    """The terms of a gradient.

    Attributes
    ----------
    groups : list of list of Term
        Those that go to the same places together.
    apart : bool
        Whether no place gets something of two groups.
    """

    groups: list[list[Term]]
    apart: bool


def terms_of(gradient: Value | None, sunk: Sunk) -> Terms | None:
    """Return the terms of a gradient; None if it is no such sum."""
    found = None if gradient is None else _terms(gradient, sunk)
    if found is None:
        return None
    groups: dict[bytes, list[Term]] = {}
    for term in found:
        groups.setdefault(term.places.tobytes(), []).append(term)
    every = np.concatenate([group[0].places for group in groups.values()])
    return Terms([*groups.values()], len(np.unique(every)) == len(every))


def _terms(v: Value, sunk: Sunk) -> list[Term] | None:
    if v in sunk.products or v in sunk.sums:
        return [Term(v, 1.0, np.arange(v.size))]
    if v not in sunk.after or v.primitive is None:
        return None
    varying = [i for i in v.sources if i.varies]
    if any(not i.varies for i in v.sources):
        return None
    if len(varying) == 1 and not v.scalar:
        return _moved(v, varying[0], sunk)
    if not v.scalar or any(i.shape != v.shape for i in varying):
        return None
    found: list[Term] = []
    for k, i in enumerate(v.inputs):
        if not isinstance(i, Value):
            continue
        below = _terms(i, sunk)
        if below is None:
            return None
        # the operation is linear: what it makes of a 1 is the factor
        ones = [
            np.float64(j == k) if isinstance(other, Value) else other
            for j, other in enumerate(v.inputs)
        ]
        factor = float(v.primitive.forward(*ones, **v.params))
        found += [t._replace(factor=t.factor * factor) for t in below]
    return found


def _moved(v: Value, source: Value, sunk: Sunk) -> list[Term] | None:
    """Return the terms of what only brings the elements of one value to other places."""
    below = _terms(source, sunk)
    if below is None:
        return None
    places = _places(v, source)
    if places is None:
        return None
    return [t._replace(places=places[t.places]) for t in below]


def _places(v: Value, source: Value) -> Array | None:
    """Return where each element of the source goes; None if it does something else with them."""
    assert v.primitive is not None

    def made(numbers: Array) -> Array:
        inputs = [numbers.reshape(source.shape) if i is source else i for i in v.inputs]
        found: Any = v.primitive.forward(*inputs, **v.params)  # type: ignore[union-attr]
        return np.asarray(found).ravel()

    if any(not isinstance(n, int) for n in (*source.shape, *v.shape)):
        return None
    numbered = made(np.arange(1.0, source.size + 1))
    there = np.flatnonzero(numbered)
    if not np.array_equal(np.sort(numbered[there]), np.arange(1.0, source.size + 1)):
        return None
    places = np.empty(source.size, np.int64)
    places[numbered[there].astype(np.int64) - 1] = there
    probe = np.random.default_rng(0).standard_normal(source.size)
    expected = np.zeros(len(numbered))
    expected[places] = probe
    return places if np.array_equal(made(probe), expected) else None
