"""A sum of products of matrices over leading axes as one product: the gradient of shared weights.

The gradient of w in ``x @ w``, where x has axes before those of the matrix, is a product for each
place on these axes, added up. As one product over all places it is computed in half the time, and
the single products need no room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..kernels import blas
from ..ops.linear import matmul
from ..ops.reductions import sum as total
from .inside import hosted
from .value import Value


def product(a: Array, b: Array) -> Array:
    """Return a matrix product, a large one by several threads."""
    found: Array | None = blas.divided(a, b)
    return matmul.primitive.forward(a, b) if found is None else found


def _contract(a: Array, b: Array) -> Array:
    """Return the products of matrices, added up over the leading axes."""
    rows, columns = a.shape[-2], b.shape[-1]
    return product(np.moveaxis(a, -2, 0).reshape(rows, -1), b.reshape(-1, columns))


CONTRACT = hosted("contract", _contract)


def contract(values: Sequence[Value], outputs: Collection[Value]) -> None:
    """Let sums of products be one product, where nothing else reads the single products."""
    readers: Counter[Any] = Counter(i for v in values for i in v.sources)
    for v in values:
        if v.primitive is not total.primitive or v.params.get("keepdims"):
            continue
        source = v.inputs[0]
        if source.leaf or source.primitive is not matmul.primitive or source in outputs:
            continue
        a, b = source.inputs
        lead = len(source.shape) - 2
        shared = lead > 0 and a.shape[:-2] == b.shape[:-2] and readers[source] == 1
        axes = v.params.get("axis")
        axes = axes if isinstance(axes, tuple) else (axes,)
        if shared and 0 not in (*a.shape, *b.shape) and sorted(axes) == list(range(lead)):
            v.change(CONTRACT, [a, b], {})
