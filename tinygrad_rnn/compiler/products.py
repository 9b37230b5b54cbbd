"""Products of the batch with matrices that do not vary, which a matrix kernel computes.

Sums of them and of biases, such as ``x @ W.T + b + h @ U.T + c``, are one operation, `AFFINE`. Its
products are added up in place, and begin at the sum of its biases, which is computed once for a
whole sequence: what the loops over elements read is the finished sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ops.facts import signs
from ..ops.shaping import TRANSPOSE
from .forms import Form, form_of, inverse, strides_of, turned
from .internal import AFFINE
from .value import Value, put_before, uses_of


class Factor(NamedTuple):
    """Products of a value that varies with a matrix, or with one matrix for each slice of it.

    Attributes
    ----------
    moving, matrix : Value
        In memory: slices, K, places, batch; the matrices (N, K) with strides.
    N, K, row, column : int
        The size of a matrix, and its strides.
    slices, apart : int
        How many products there are, and how many elements the matrix of one lies behind that of
        the one before; 0 if all have the same.
    places : int
        Columns for each row of the batch.
    """

    moving: Value
    matrix: Value
    N: int
    K: int
    row: int
    column: int
    slices: int
    apart: int
    places: int

    @property
    def transposed(self) -> bool:
        """Whether the matrix is read along its columns."""
        return self.row == 1 and self.column != 1


def _factor(form: Form, program: list[Value], at: Value) -> Factor:
    """Return the product that a form is; values in another order are put into the program."""
    found = strides_of(form)
    if found is None:
        matrix = turned(form.fixed, form.matrix_order, program, at)
        found = matrix, (form.N * form.K, form.K, 1)
    matrix, (apart, row, column) = found
    moving = turned(form.moving, form.into, program, at)
    apart = apart if form.own else 0
    return Factor(moving, matrix, form.N, form.K, row, column, form.slices, apart, form.places)


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
    uses = uses_of(programs, ends)
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
        for v in list(program):
            if (form := form_of(v, dtype)) is not None:
                _make(v, [form], None, program)


def _make(value: Value, forms: Sequence[Form], bias: Value | None, program: list[Value]) -> None:
    """Change a value into the `AFFINE` of several forms with the same order of the result."""
    several = [_factor(form, program, value) for form in forms]
    inputs = [i for f in several for i in f[:2]] + ([] if bias is None else [bias])
    params, order = {"shapes": tuple(f[2:] for f in several)}, forms[0].out
    if order is None:
        value.change(AFFINE, inputs, params)
        return
    shape = [value.shape[k] for k in order]
    made = put_before(value, program, AFFINE, inputs, params, shape)
    value.change(TRANSPOSE, [made], {"axes": inverse(order)})


def _is_sum(value: Value, dtype: np.dtype[Any]) -> bool:
    """Whether it is a sum of values of a batch, in the dtype of the module."""
    if value.leaf or signs(value.primitive) != (1, 1) or value.batch is None:
        return False
    same = all(isinstance(i, Value) and i.dtype == value.dtype == dtype for i in value.inputs)
    return same and value.varies


def _is_bias(value: Value, top: Value, form: Form) -> bool:
    """Whether it has a number for each row of the matrices of a form, in their order."""
    if value.varies or value.batch is not None or form.out is not None:
        return False
    shape = (1,) * (len(top.shape) - len(value.shape)) + value.shape
    wanted = (n if k in form.rows else 1 for k, n in enumerate(top.shape))
    return len(shape) == len(top.shape) and shape == tuple(wanted)


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
    alone = (v for v in terms if uses[v] == 1 and v.shape == top.shape)
    found = {v: f for v in alone if (f := form_of(v, dtype)) is not None}
    first = next(iter(found.values()), None)
    found = {v: f for v, f in found.items() if first is not None and f.result == first.result}
    biases = [v for v in terms if first is not None and _is_bias(v, top, first)]
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
    rest = [v for v in terms if v not in found and v not in biases]
    gone.update(dropped, found)
    if not rest:
        _make(top, list(found.values()), bias, program)
        return
    joined = add(top, top, top.shape)  # it becomes the sum of products
    _make(joined, list(found.values()), bias, program)
    for term in rest[:-1]:
        joined = add(joined, term, top.shape)
    assert top.primitive is not None
    top.change(top.primitive, [joined, rest[-1]], top.params)
