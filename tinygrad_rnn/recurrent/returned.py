"""Checks of what the steps of a cell return: all states have one form, and so have all outputs."""

from __future__ import annotations

from typing import Any

from ..core.errors import DtypeError, ShapeError
from ..core.tape import Where, caller
from ..core.tensor import Tensor
from ..core.tree import flatten, pairs
from .cell import component_names, matched


class Returned:
    """What the steps of one piece of a sequence have returned so far.

    Parameters
    ----------
    cell : Cell or callable
        The cell whose steps they are.
    name : str
        What messages call it.
    state : tree of tensors
        The state before the first step.

    Attributes
    ----------
    outputs : list of trees of tensors
        In the order in which the steps ran.
    """

    def __init__(self, cell: Any, name: str, state: Any) -> None:
        self.cell, self.name = cell, name
        self.outputs: list[Any] = []
        self.state_signature = _signature(state)
        self.output_signature: Any = None

    def check(self, y: Any, before: Any, after: Any, t: int) -> None:
        """Raise an error if step t returned an output or a state of another form than before.

        Raises
        ------
        ShapeError, DtypeError
        """
        found = _signature(after)
        if found != self.state_signature:
            self._check_state(before, after, t)
            self.state_signature = found
        found = _signature(y)
        if found != self.output_signature:
            self._check_output(self.outputs[0] if self.outputs else y, y, t)
            self.output_signature = found

    def _check_state(self, before: Any, after: Any, t: int) -> None:
        """Check that a step kept structure, shapes and dtypes of the state.

        A plain tuple may become the cell's named one.
        """
        head = f"unroll: the state of cell '{self.name}' changed over step t={t}"
        for (a, b), name in zip(
            matched(self.cell, before, after, head), component_names(self.cell, before), strict=True
        ):
            shape, dtype, shape2, dtype2 = (
                getattr(x, what, None) for x in (a, b) for what in ("shape", "dtype")
            )
            if not isinstance(b, Tensor):
                raise ShapeError(
                    f"{head}: {name} is now a {type(b).__name__}; expected a tensor of shape {shape}. What is no tensor has no gradient: "
                    f"return the tensor itself, or a constant as tg.tensor(...){Where(*caller()).described()}"
                )
            if shape != shape2:
                raise ShapeError(
                    f"{head}: {name} had shape {shape}, now {shape2}. A state keeps its shape; broadcasting a first state is not enough."
                )
            if dtype != dtype2:
                raise DtypeError(
                    f"{head}: {name} was {dtype}, now {dtype2}. Make the first state {dtype2}, or cast with .astype({dtype}) in the cell."
                )

    def _check_output(self, first: Any, y: Any, t: int) -> None:
        """Check that an output can be stacked with the first."""
        head = f"unroll: the output of cell '{self.name}'"
        for path, part in flatten(y, "output"):
            if not isinstance(part, Tensor):
                raise ShapeError(
                    f"{head} at step t={t}: {path} is a {type(part).__name__}; expected a tensor. What is no tensor has no gradient: return the "
                    f"tensor itself, or a constant as tg.tensor(...){Where(*caller()).described()}"
                )
        names = [path for path, _ in flatten(first, "output")]
        head += f" changed at step t={t}"
        for (a, b), name in zip(pairs(first, y, head, "output"), names, strict=True):
            shape, dtype, shape2, dtype2 = (
                getattr(x, what, None) for x in (a, b) for what in ("shape", "dtype")
            )
            if shape != shape2:
                raise ShapeError(
                    f"{head}: {name} had shape {shape}, now {shape2}. All steps must give one shape."
                )
            if dtype != dtype2:
                raise DtypeError(
                    f"{head}: {name} was {dtype}, now {dtype2}. All steps must give one dtype."
                )


def _signature(tree: Any) -> tuple[Any, ...]:
    """Return structure, shapes and dtypes of a tree, which are cheap to compare."""
    if isinstance(tree, Tensor):
        return (Tensor, tree.array.shape, tree.array.dtype)
    if isinstance(tree, dict):
        return (dict, *[(key, _signature(part)) for key, part in tree.items()])
    if isinstance(tree, (tuple, list)):
        return (type(tree), *[_signature(part) for part in tree])
    return (type(tree), getattr(tree, "shape", None), getattr(tree, "dtype", None))
