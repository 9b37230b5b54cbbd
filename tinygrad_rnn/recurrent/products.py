"""The products of a step with the weights of its cell, and how wrappers of the cell change them.

A wrapper may drop elements of an operand, or normalise a result. A cell writes ``self.from_input(x,
W)``, ``self.from_state(h, U)`` and ``self.to_output(c)`` (see `Cell`). Without a wrapper these are
``x @ W.T``, ``h @ U.T`` and ``c``. A wrapper that is to act there makes the step of its cell within
`around`.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import TinygradError
from ..core.tape import Where, at_step, caller, no_grad, setting
from ..core.tensor import Tensor
from ..core.tree import leaves, tree_map, unflatten
from .context import SequenceContext


class UnclearOperand(TinygradError):
    """A wrapper cannot tell to which component of the state an operand belongs."""


class Around:
    """What a wrapper does while the cell inside it makes a step; this one does nothing."""

    def enter(self, owner: Any, state: Any) -> None:
        """Note that a cell, `owner`, begins a step within this one, from `state`."""

    def leave(self) -> None:
        """Note that the step which began last has ended."""

    def operand(self, owner: Any, name: str, value: Any, original: Any) -> Any:
        """Return what takes the place of an operand of recurrent weights.

        Parameters
        ----------
        owner : Cell
            The cell whose step it is.
        name : str
            What the cell calls the component of its state, "" where it does not say.
        value : Tensor, or tuple of Tensor
            What other wrappers made of the operand.
        original : Tensor, or tuple of Tensor
            The operand as the cell gave it.
        """
        return value

    def product(self, kind: str, value: Any, cuts: Sequence[int]) -> Any:
        """Return what takes the place of a product, or of the memory that is shown.

        Parameters
        ----------
        kind : {"input", "state", "output"}
            A product with the input, one with the state, or the memory.
        value : Tensor
            What other wrappers made of it.
        cuts : sequence of int
            Features at which layer normalisation begins anew.
        """
        return value

    def here(self) -> Around:
        """Return one that begins where this one stands, for a part of the step that runs again."""
        return self


_around: ContextVar[tuple[Around, ...]] = ContextVar("tinygrad_rnn_around", default=())
wrappers = _around.get  # the outermost first


@contextlib.contextmanager
def around(*others: Around, only: bool = False) -> Iterator[None]:
    """Let products pass through `others` too, inside of those that are there, within the block.

    With `only` they pass through no others.
    """
    token = _around.set(others if only else (*_around.get(), *others))
    try:
        yield
    finally:
        _around.reset(token)


@contextlib.contextmanager
def entered(owner: Any, state: Any) -> Iterator[None]:
    """Let the wrappers know that `owner` makes a step from `state` within the block."""
    others = _around.get()
    for other in others:
        other.enter(owner, state)
    try:
        yield
    finally:
        for other in others:
            other.leave()


class Components:
    """The components of the state from which a cell makes a step, to recognise its operands by.

    None of the cell's tensors is kept in use.
    """

    def __init__(self, state: Any) -> None:
        parts = leaves(state)
        self.references = [weakref.ref(s) if isinstance(s, Tensor) else None for s in parts]
        self.state = unflatten(state, [s.handle() if isinstance(s, Tensor) else s for s in parts])

    def part(self, value: Any) -> tuple[int, str] | None:
        """Return which component a tensor is, through handles and views, and which part of it.

        It is None if the tensor is no component and no view of one.
        """
        path: list[Any] = []
        reference, link = weakref.ref(value), getattr(value, "viewed", None)
        while True:
            for k, (own, kept) in enumerate(zip(self.references, leaves(self.state), strict=True)):
                if own is not None and (own is reference or _same(reference(), kept)):
                    return k, repr(path[::-1]) if value.shape != kept.shape else ""
            if link is None:
                return None
            reference, index, link = link
            if index is not None:
                path.append(index)


def _same(t: Any, kept: Tensor) -> bool:
    """Whether two tensors are handles of one value.

    Specs are shared between values, so they tell nothing.
    """
    return t is not None and (
        (t.node is not None and t.node is kept.node)
        or (t.array is kept.array and isinstance(t.array, np.ndarray))
    )


def rows(values: Any, weight: Any) -> Any:
    """Return values @ weight.T: each row of the weight gives a feature."""
    return values @ weight.T


def scaled(values: Any, weight: Any) -> Any:
    """Return weight * values: there is a weight for each feature, as in a diagonal matrix."""
    return weight * values


def multiplied(
    owner: Any,
    kind: str,
    name: str | None,
    value: Any,
    weight: Any,
    product: Callable[..., Any] | None,
    cuts: Sequence[int],
) -> Any:
    """Return a product of a cell as the wrappers around it want it; see `Cell.from_state`."""
    others, original = _around.get(), value
    if kind == "state" and name is not None:
        for other in others:
            try:
                value = other.operand(owner, name, value, original)
            except UnclearOperand as error:
                raise UnclearOperand(f"{error}{Where(*caller()).described()}") from None
    result = rows(value, weight) if product is None else product(value, weight)
    return shown(kind, result, cuts) if others else result


def shown(kind: str, value: Any, cuts: Sequence[int] = ()) -> Any:
    """Return a product, or a memory, of a cell as the wrappers around it want it."""
    for other in reversed(_around.get()):
        value = other.product(kind, value, cuts)
    return value


class Product(NamedTuple):
    """What a step of a cell multiplies or shows.

    Attributes
    ----------
    kind : {"input", "state", "output"}
        See `Around.product`.
    value : Tensor, or tuple of Tensor
        Its value for a batch of 2.
    cuts : tuple of int
        Where it is cut for normalisation.
    """

    kind: str
    value: Any
    cuts: tuple[int, ...]


class _Noting(Around):
    def __init__(self) -> None:
        self.found: list[Product] = []

    def product(self, kind: str, value: Any, cuts: Sequence[int]) -> Any:
        # not the tensor itself: while that is in use its views cannot be written to
        noted = tree_map(lambda t: t.handle() if isinstance(t, Tensor) else t, value)
        self.found.append(Product(kind, noted, tuple(cuts)))
        return value


class _Apart:
    """The effects of a step that is only looked at: it gets ones for masks, and emits to nobody."""

    def draw(self, make: Any, shape: tuple[int, ...], dtype: Any, per: str) -> Any:
        return np.ones(shape, dtype)

    def emit(self, receive: Any, values: Any, batch: int, changes: Any) -> None:
        pass


def products_of(cell: Any, name: str, x: Any, state: Any) -> list[Product]:
    """Return the products of a step in their order; it draws no masks and moves no statistics."""
    noting = _Noting()
    with (
        no_grad(),
        setting(sequence=SequenceContext(effects=_Apart())),
        at_step(0, name),
        around(noting, only=True),
        np.errstate(all="ignore"),
    ):
        cell(x, state)
    return noting.found
