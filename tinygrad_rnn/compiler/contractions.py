"""Sums of products of a step, rewritten before products are joined: each as few and as small ones as can be.

- A sum over axes of a contraction is a contraction: the gradient of shared weights is no product
  for each row that is then added up.
- A label that is summed over and stands in one operand alone is summed there first.
- A contraction of three or more values is taken in pairs, see `pairs.py`.
- A product that is summed over the batch is brought into the order of axes in which it leaves the
  loop over time, see `forms.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..ops.linear import EINSUM
from ..ops.reductions import sum as total
from ..ops.shaping import RESHAPE, TRANSPOSE
from .forms import inverse, outer_of, turned
from .fusion import contraction, reduction_axes, sizes_of
from .pairs import einsum, in_pairs
from .value import Value, put_before, uses_of


def arrange(programs: Iterable[list[Value]], ends: Iterable[Value], dtype: np.dtype[Any]) -> None:
    """Rewrite the contractions of several programs, which are changed in place.

    Parameters
    ----------
    programs : iterable of list of Value
    ends : iterable of Value
        What somebody else reads, so that it stays.
    dtype : dtype
        The floating dtype of the module.
    """
    programs = list(programs)
    uses = uses_of(programs, ends)
    for program in programs:
        own = set(program)
        for v in list(program):
            if v.dtype == dtype and v.varies and v.inputs and v.inputs[0] in own:
                _sum_of_products(v, uses, program)
        for v in list(program):
            if _is_product(v, dtype):
                _sum_first(v, program)
    in_pairs(programs)
    for program in programs:
        for v in list(program):
            _in_order(v, program, dtype)


def _is_product(value: Value, dtype: np.dtype[Any]) -> bool:
    """Whether a value is a contraction of several values, which varies, in this dtype."""
    if not value.varies or contraction(value) is None or len(value.sources) < 2:
        return False
    return all(isinstance(i, Value) and i.dtype == value.dtype == dtype for i in value.inputs)


def _sum_of_products(v: Value, uses: Counter[Any], program: list[Value]) -> None:
    """Let the sum over axes of a contraction be a contraction, if nothing else reads that."""
    if v.primitive is not total.primitive:
        return
    source = v.inputs[0]
    if uses[source] != 1 or not _is_product(source, v.dtype):
        return
    labels, inputs = contraction(source), source.inputs
    assert labels is not None
    over = reduction_axes(v)
    result = [label for k, label in enumerate(labels.result) if k not in over]
    params = einsum(labels.terms, result)
    program.remove(source)
    if not v.params["keepdims"]:
        v.change(EINSUM, inputs, params)
        return
    shape = [n for k, n in enumerate(source.shape) if k not in over]
    made = put_before(v, program, EINSUM, inputs, params, shape)
    v.change(RESHAPE, [made], {"shape": v.shape})


def _sum_first(v: Value, program: list[Value]) -> None:
    """Sum each operand over the labels that no other operand has, and the result has not."""
    labels = contraction(v)
    assert labels is not None
    whole: Counter[str] = Counter()
    sizes = sizes_of(labels, v)
    pairs = [
        (label, n)
        for term, source in zip(labels.terms, v.sources, strict=True)
        for label, n in zip(term, source.shape, strict=True)
    ]
    whole.update(label for label, n in pairs if n == sizes[label])
    alone = {t for t in sizes if whole[t] < 2 and t not in labels.result}
    if not alone or any(len(set(t)) != len(t) for t in labels.terms):
        return
    inputs: list[Value] = []
    for term, source in zip(labels.terms, v.sources, strict=True):
        over = tuple(k for k, label in enumerate(term) if label in alone)
        shape = [n for k, n in enumerate(source.shape) if k not in over]
        params = {"axis": over, "keepdims": False}
        inputs.append(
            put_before(v, program, total.primitive, [source], params, shape) if over else source
        )
    terms = [[label for label in term if label not in alone] for term in labels.terms]
    v.change(EINSUM, inputs, einsum(terms, labels.result))


def _in_order(v: Value, program: list[Value], dtype: np.dtype[Any]) -> None:
    """Bring a product that is summed over the batch, and its sides, into their order."""
    found = outer_of(v, dtype)
    if found is None or not any(found[1]):
        return
    _, (left, right, result), first = found
    labels = contraction(v)
    assert labels is not None
    sides, terms = [], []
    for k, order in ((first, left), (1 - first, right)):
        term, side = labels.terms[k], v.sources[k]
        sides.append(turned(side, order, program, v))
        terms.append(term if order is None else [term[k] for k in order])
    if result is None:
        v.change(EINSUM, sides, einsum(terms, labels.result))
        return
    params = einsum(terms, [labels.result[k] for k in result])
    made = put_before(v, program, EINSUM, sides, params, [v.shape[k] for k in result])
    v.change(TRANSPOSE, [made], {"axes": inverse(result)})
