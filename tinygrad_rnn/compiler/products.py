"""Products of the batch with matrices that do not vary, which a matrix kernel computes.

Sums of them and of biases, such as ``x @ W.T + b + h @ U.T + c``, are one operation, `AFFINE`. Its
products are added up in place, and begin at the sum of its biases, which is computed once for a
whole sequence: what the loops over elements read is the finished sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..ops.facts import Contraction, signs
from .fusion import contraction
from .internal import AFFINE
from .layout import view_of
from .value import Value


class Factor(NamedTuple):
    """One product: a matrix (N, K) with strides, and a value that varies, (K, batch) in memory."""

    moving: Value
    matrix: Value
    N: int
    K: int
    row: int
    column: int

    @property
    def transposed(self) -> bool:
        """Whether the matrix is read along its columns."""
        return self.row == 1 and self.column != 1


def untransposed(value: Value) -> tuple[Value, bool]:
    """Return what lies under transposes of a matrix, and whether it is turned over."""
    turned = False
    while len(value.shape) == 2 and value.primitive is not None:
        view = view_of(value, hoisted=True)
        if view is None or value.inputs[0].dtype != value.dtype:
            break
        permutation = getattr(view, "permutation", None)
        source = value.inputs[0]
        if permutation is None or permutation(source.shape, value.shape) != (1, 0):
            break
        value, turned = source, not turned
    return value, turned


def _of_matrices(value: Value, dtype: np.dtype[Any]) -> Contraction | None:
    """Return the labels of a product of two matrices in this dtype; None for other values."""
    labels, sources = contraction(value), value.sources
    if labels is None or len(sources) != 2 or len(value.shape) != 2:
        return None
    if any(len(t) != 2 or len(set(t)) != 2 for t in (*labels.terms, labels.result)):
        return None
    return labels if all(v.dtype == dtype for v in (value, *sources)) else None


def factor(value: Value, dtype: np.dtype[Any]) -> Factor | None:
    """Return a product of the batch with a matrix that does not vary; None for other values."""
    labels, sources = _of_matrices(value, dtype), value.sources
    if labels is None or value.batch is None:
        return None
    moving = next((k for k, v in enumerate(sources) if v.varies and v.batch is not None), None)
    if moving is None or sources[1 - moving].varies or sources[1 - moving].batch is not None:
        return None
    rows = labels.terms[moving][sources[moving].batch or 0]
    summed = next(label for label in labels.terms[moving] if label != rows)
    fixed = labels.terms[1 - moving]
    others = [label for label in fixed if label != summed]
    if len(others) != 1 or set(labels.result) != {rows, others[0]}:
        return None
    if sources[moving].features[0] != sources[1 - moving].shape[fixed.index(summed)]:
        return None
    matrix, turned = untransposed(sources[1 - moving])
    place = fixed.index(others[0])
    place = 1 - place if turned else place
    N, K = matrix.shape[place], matrix.shape[1 - place]
    strides = (matrix.shape[1], 1)
    return Factor(sources[moving], matrix, N, K, strides[place], strides[1 - place])


def over_batch(value: Value, dtype: np.dtype[Any]) -> tuple[Value, Value] | None:
    """Return the two sides of a product that is summed over the batch, as rows and columns.

    None for other values. Both sides are features by batch in memory.
    """
    labels, sources = _of_matrices(value, dtype), value.sources
    if labels is None or value.batch is not None or any(v.batch is None for v in sources):
        return None
    rows = [t[v.batch or 0] for t, v in zip(labels.terms, sources, strict=True)]
    if rows[0] != rows[1] or rows[0] in labels.result:
        return None
    first = next(k for k, t in enumerate(labels.terms) if labels.result[0] in t)
    return sources[first], sources[1 - first]


def factors(value: Value) -> tuple[list[Factor], Value | None]:
    """Return the products of an `AFFINE`, and its bias."""
    shapes = value.params["shapes"]
    pairs = zip(value.inputs[::2], value.inputs[1::2], shapes, strict=False)
    found = [Factor(moving, matrix, *shape) for moving, matrix, shape in pairs]
    return found, value.inputs[-1] if len(value.inputs) % 2 else None


def join(programs: Iterable[list[Value]], ends: Iterable[Value], dtype: np.dtype[Any]) -> None:
    """Make every product with a matrix that does not vary an `AFFINE`, and sums of them one.

    Parameters
    ----------
    programs : iterable of list of Value
        They are changed in place.
    ends : iterable of Value
        What somebody else reads, so that it stays.
    dtype : dtype
        The floating dtype of the module.
    """
    programs = list(programs)
    uses = Counter(i for program in programs for v in program for i in v.sources)
    uses.update(list(ends) * 2)
    for program in programs:
        inner = {
            i
            for v in program
            if _is_sum(v, dtype)
            for i in v.sources
            if _is_sum(i, dtype) and uses[i] == 1 and i.shape == v.shape
        }
        gone: set[Value] = set()
        for v in [v for v in program if _is_sum(v, dtype) and v not in inner]:
            _join(v, uses, inner, program, gone, dtype)
        program[:] = [v for v in program if v not in gone]
        for v in program:
            found = factor(v, dtype)
            if found is not None:
                v.change(AFFINE, [found.moving, found.matrix], {"shapes": (found[2:],)})


def _is_sum(value: Value, dtype: np.dtype[Any]) -> bool:
    """Whether it is a sum of values of a batch, in the dtype of the module."""
    if value.leaf or signs(value.primitive) != (1, 1) or value.batch != 0:
        return False
    same = all(isinstance(i, Value) and i.dtype == value.dtype == dtype for i in value.inputs)
    return same and value.varies and len(value.shape) == 2


def _join(
    top: Value,
    uses: Counter[Any],
    inner: set[Value],
    program: list[Value],
    gone: set[Value],
    dtype: np.dtype[Any],
) -> None:
    terms: list[Value] = []
    dropped: list[Value] = []
    stack: list[Value] = list(reversed(top.inputs))
    while stack:
        v = stack.pop()
        if v in inner and uses[v] == 1:
            dropped.append(v)
            stack += reversed(v.inputs)
        else:
            terms.append(v)
    found = {v: f for v in terms if uses[v] == 1 and (f := factor(v, dtype)) is not None}
    found = {v: f for v, f in found.items() if v.batch == 0}
    biases = [
        v
        for v in terms
        if not v.varies and v.batch is None and v.size == top.size and len(v.shape) <= 2
    ]
    if not found or len(found) + len(biases) < 2:
        return

    def add(a: Value, b: Value, shape: Any) -> Value:
        made = Value(top.primitive, [a, b], top.params, shape, top.node, dtype=top.dtype)
        program.insert(program.index(top), made)
        return made

    bias: Value | None = None
    for term in biases:
        shape = term.shape if bias is None else max(bias.shape, term.shape, key=len)
        bias = term if bias is None else add(bias, term, shape)
        bias.hoisted = bias.hoisted or bias.given is None
    inputs = [i for f in found.values() for i in f[:2]] + ([] if bias is None else [bias])
    params = {"shapes": tuple(f[2:] for f in found.values())}
    rest = [v for v in terms if v not in found and v not in biases]
    gone.update(dropped, found)
    if not rest:
        top.change(AFFINE, inputs, params)
        return
    joined = Value(AFFINE, inputs, params, top.shape, top.node, dtype=top.dtype)
    program.insert(program.index(top), joined)
    for term in rest[:-1]:
        joined = add(joined, term, top.shape)
    assert top.primitive is not None
    top.change(top.primitive, [joined, rest[-1]], top.params)
