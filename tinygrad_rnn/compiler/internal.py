"""Operations that only the compiler knows: how it stores values, and products that it joins.

They stand in programs beside the operations of the tape, so they are described in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from ..core.primitive import Primitive
from ..ops.facts import CHEAP, FREE, Facts
from .value import CompileError


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
        raise CompileError(f"{self.name} is computed by generated code alone")


def _entry(name: str, facts: Facts, **more: Any) -> Primitive:
    """Return an operation as an entry: it has all that the compiler asks of one."""
    return cast("Primitive", Internal(name, facts, **more))


# a copy of a value: into an array of its own, or into its place in a value that is put together
COPY = _entry("copy", Facts(cost=CHEAP), scalar="x")

# the part of an input that lies in a box of a value that is put together; params: view
PART = _entry("part", Facts(cost=FREE, view=lambda params, source, shape: params["view"]))

# zeros, on which parts are put or added
ZEROS = _entry("zeros", Facts(), inputs=())

# a value that is put together: its inputs are copies that stand in it; params: boxes, adds
ASSEMBLED = _entry("assembled", Facts(), inputs=())

# a sum of products of the batch with matrices that do not vary, and a bias; params: products
AFFINE = _entry("affine", Facts(), inputs=())
