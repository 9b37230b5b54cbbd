"""Operations that only the compiler knows: how it stores values, and products that it joins.

They stand in programs beside the operations of the tape, so they are described in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ops.facts import CHEAP, FREE, Facts


@dataclass(frozen=True, eq=False)
class Internal:
    """An operation of the compiler; see `Primitive` for the attributes."""

    name: str
    facts: Facts
    scalar: str | None = None
    inputs: tuple[str, ...] = ("x",)
    promotes: ClassVar[slice] = slice(None)
    linear: str = "jointly"
    rules: tuple[Any, ...] = ()
    body: Callable[..., Any] | None = None

    def forward(self, *inputs: Any, **params: Any) -> Any:
        """Fail: none of these is ever computed outside of generated code."""
        raise NotImplementedError(self.name)


# a copy of a value: into an array of its own, or into its place in a value that is put together
COPY = Internal("copy", Facts(cost=CHEAP), scalar="x")

# the part of an input that lies in a box of a value that is put together; params: view
PART = Internal("part", Facts(cost=FREE, view=lambda params, source, shape: params["view"]))

# zeros, on which parts are put or added
ZEROS = Internal("zeros", Facts(), inputs=())

# a value that is put together: its inputs are copies that stand in it; params: boxes, adds
ASSEMBLED = Internal("assembled", Facts(), inputs=())

# a sum of products of the batch with matrices that do not vary, and a bias; params: products
AFFINE = Internal("affine", Facts(), inputs=())
