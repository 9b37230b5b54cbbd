"""What of the gradients of parameters leaves the loop over time.

A product that is summed over the batch, such as ``x.T @ d_gates``, is put off and done as one
product over all steps. A sum over the batch is collected for each row, and added up at the end. What
is linear in these is computed once, after the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ..ops.facts import facts_of, linear_groups
from .forms import Outer, outer_of
from .value import Value


@dataclass
class Sunk:
    """What is done after the loop.

    Attributes
    ----------
    products : dict of Value to Outer
        Each product over the batch.
    sums : dict of Value to Value
        Each sum over the batch, with what is summed; what is added up over the steps as it stands,
        with itself.
    after : list of Value
        What is computed of these, in order.
    """

    products: dict[Value, Outer] = field(default_factory=dict)
    sums: dict[Value, Value] = field(default_factory=dict)
    after: list[Value] = field(default_factory=list)

    @property
    def collected(self) -> list[Value]:
        """What is collected in the loop, each once; sides of products are summed with these."""
        sides = {side for product in self.products.values() for side in product[:2]}
        found = [s for v, s in self.sums.items() if s is v or s not in sides]
        return list(dict.fromkeys(found))


def sink(
    gradients: Iterable[Value | None],
    order: dict[Value, int],
    dtype: np.dtype[np.generic],
    keep: Callable[[Value], None],
) -> Sunk:
    """Go from the gradients of parameters back to the sums and products over the batch.

    Parameters
    ----------
    gradients : iterable of Value or None
    order : dict of Value to int
        Where values stand in the backward program.
    dtype : dtype
        The floating dtype of the module.
    keep : callable
        Is told each value that is wanted for all steps.
    """
    found = Sunk()
    stack = [g for g in gradients if g is not None]
    seen: set[Value] = set()
    while stack:
        v = stack.pop()
        if v in seen or not v.varies:
            continue
        seen.add(v)
        reduction = facts_of(v.primitive).reduction
        if reduction is not None and reduction.additive and v.inputs[0].batch is not None:
            found.sums[v] = v.inputs[0]
            continue
        outer = outer_of(v, dtype)
        if outer is not None and not any(outer[1]):
            product = outer[0].on_memory()
            keep(product.left)
            keep(product.right)
            found.products[v] = product
            continue
        if not _is_linear(v) or any(i.batch is not None for i in v.sources if i.varies):
            found.sums[v] = v  # it stays in the loop, and is added up there
            continue
        found.after.append(v)
        stack += [i for i in v.sources if i.varies]
    found.after.sort(key=order.__getitem__)
    return found


def _is_linear(v: Value) -> bool:
    """Whether a value is linear in all of its inputs that vary."""
    varying = {k for k, i in enumerate(v.inputs) if isinstance(i, Value) and i.varies}
    groups = linear_groups(v.primitive, v.params, len(v.inputs))
    if facts_of(v.primitive).casts:
        return True
    return any(varying <= group for group in groups)
