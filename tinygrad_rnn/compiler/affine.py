"""Sums of matrix products and biases, such as ``x @ W.T + b + h @ U.T + c``, as one operation.

The products of one sum are added up in place, and begin at the sum of its biases, which is computed
once for a whole sequence: what the loops over elements read is the finished sum.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .op import Op
from .step import Step


def join_sums(step: Step, dtype: np.dtype[Any]) -> None:
    """Change the programs of a step.

    Each sum of at least two products, or of a product and a bias, becomes one `affine`.
    """
    ops = [*step.forward, *step.backward]
    uses = Counter(i for op in ops for i in op.inputs if isinstance(i, Op))
    ends = [*step.outputs, *step.new_states, *[g for g in step.gradients.values() if g is not None]]
    uses.update(ends * 2)  # what somebody else reads stays
    gone: set[Op] = set()
    for program in (step.forward, step.backward):
        inner = {
            i
            for op in program
            if _sum(op, dtype)
            for i in op.inputs
            if isinstance(i, Op) and _sum(i, dtype) and uses[i] == 1 and i.shape == op.shape
        }
        for op in [op for op in program if _sum(op, dtype) and op not in inner]:
            _join(op, uses, inner, program, gone)
        program[:] = [op for op in program if op not in gone]


def _sum(op: Op, dtype: np.dtype[Any]) -> bool:
    """Whether it is a sum of values of a batch, in the dtype of the module."""
    same = all(isinstance(i, Op) and i.dtype == op.dtype == dtype for i in op.inputs)
    return (
        same
        and op.op == "add"
        and op.elementwise
        and op.varies
        and op.batch == 0
        and len(op.shape) == 2
    )


def _join(top: Op, uses: Counter[Any], inner: set[Op], program: list[Op], gone: set[Op]) -> None:
    terms: list[Op] = []
    dropped: list[Op] = []
    stack: list[Op] = list(reversed(top.inputs))
    while stack:
        op = stack.pop()
        if op in inner and uses[op] == 1:
            dropped.append(op)
            stack += reversed(op.inputs)
        else:
            terms.append(op)
    products = [
        op
        for op in terms
        if uses[op] == 1
        and factors(op) is not None
        and op.batch == 0
        and all(i.dtype == op.dtype for i in op.inputs)
    ]
    biases = [op for op in terms if not op.varies and op.size == top.size and len(op.shape) <= 2]
    if not products or len(products) + len(biases) < 2:
        return
    bias: Op | None = None
    for term in biases:
        if bias is None:
            bias = term
        else:
            bias = Op("add", top.node, max(bias.shape, term.shape, key=len), [bias, term], {})
            program.insert(program.index(top), bias)
    given = [i for product in products for i in product.inputs] + ([] if bias is None else [bias])
    rest = [op for op in terms if op not in products and op not in biases]
    gone.update(dropped, products)
    if not rest:
        top.op, top.inputs, top.params = "affine", given, {"products": len(products)}
        return
    joined = Op("affine", top.node, top.shape, given, {"products": len(products)})
    program.insert(program.index(top), joined)
    for term in rest[:-1]:
        joined = Op("add", top.node, top.shape, [joined, term], {})
        program.insert(program.index(top), joined)
    top.inputs = [joined, rest[-1]]


def products(op: Op) -> tuple[list[tuple[Op, Op]], Op | None]:
    """Of an `affine`, or of one product.

    What varies and the matrix of each product, and the bias.
    """
    if op.op == "matmul":
        pair = factors(op)
        return ([] if pair is None else [pair]), None
    count = op.params["products"]
    pairs = [
        (a, b) if a.varies else (b, a)
        for a, b in zip(op.inputs[: 2 * count : 2], op.inputs[1 : 2 * count : 2], strict=True)
    ]
    return pairs, op.inputs[-1] if len(op.inputs) > 2 * count else None


def factors(op: Op) -> tuple[Op, Op] | None:
    """Of a product of a batch with a matrix that does not vary: what varies, and the matrix.

    None for other operations.
    """
    if op.op != "matmul" or len(op.shape) != 2:
        return None
    a, b = op.inputs
    if not (isinstance(a, Op) and isinstance(b, Op)) or a.varies == b.varies:
        return None
    moving, fixed = (a, b) if a.varies else (b, a)
    return (
        (moving, fixed)
        if moving.batch is not None and len(moving.shape) == len(fixed.shape) == 2
        else None
    )
