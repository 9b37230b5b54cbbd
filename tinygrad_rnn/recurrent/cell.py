"""The cell contract: ``(x, state) -> (output, state)``."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, TinygradError
from ..core.record import describe
from ..core.tape import Where, at_step, caller, context
from ..core.tensor import Tensor
from ..core.tree import flatten, leaves, pairs, tree_map
from ..module import Module, Parameter
from .names import Names, names_in
from .products import entered, multiplied, shown, wrappers


class Cell(Module):
    """One step of a recurrent network.

    A subclass defines ``forward(x, state) -> (output, new_state)`` for one step, where x has shape
    (batch, input_size), and ``initial_state(batch_size)``. A state is a Tensor or a tuple, named
    tuple or dict of them, of any shapes whose first axis is the batch. x may be a tuple of tensors,
    and the output may differ from the state. Any plain function with this signature is a cell too,
    if it is given its first state.

    Attributes
    ----------
    input_size : int or None
        Features of x; where it is set, calling the cell checks it.
    hidden_size : int
        The number of units; the default `initial_state` has so many features.
    output_size : int
        Features of the output; to be set only where they are not `hidden_size`.
    bookkeeping : tuple of str
        Components of the state, by name, that are no memory of the cell but serve its computation:
        counters, windows of past values, normalisers and stabilisers. Zoneout leaves them as they
        are. Components of integers or booleans never are memory.
    joined : tuple of str
        Components that hold parts of the same numbers, such as the real and the imaginary part: a
        mask of one is that of the others.

    Notes
    -----
    Wrappers that act inside a step have to know its products. A cell names them by the methods
    `from_input`, `from_state` and `to_output`: ``self.from_state(h, self.U)`` in place of ``h @
    self.U.T``, in all of its products or in none. Dropout of the state and the normalisations
    refuse a step from whose recorded operations they see that its new state depends on ``h @
    self.U.T``, with h a component of the state, a view of one, or a product as r * h. They cannot
    see other operands (``tanh(h) @ self.U.T``), weights that need no gradient, products with x, or
    what runs under `no_grad`.

    Examples
    --------
    >>> class Leaky(tg.Cell):
    ...     def __init__(self, input_size, hidden_size, *, rng=None):
    ...         self.input_size, self.hidden_size = input_size, hidden_size
    ...         self.W = tg.Parameter(tg.init.xavier_uniform((hidden_size, input_size), rng=rng))
    ...
    ...     def initial_state(self, batch_size):
    ...         return {"h": self.zeros(batch_size, self.hidden_size)}
    ...
    ...     def forward(self, x, state):
    ...         h = 0.9 * state["h"] + tg.tanh(x @ self.W.T)
    ...         return h, {"h": h}
    >>> ys, state = tg.unroll(Leaky(3, 4), np.ones((6, 2, 3), np.float32))
    >>> ys.shape, state["h"].shape
    ((6, 2, 4), (2, 4))
    """

    input_size: int | None = None
    hidden_size: int
    bookkeeping: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()

    def initial_state(self, batch_size: int) -> Any:
        """Return the state before the first step: by default zeros (batch_size, hidden_size)."""
        if not hasattr(self, "hidden_size"):
            raise TinygradError(
                f"{type(self).__name__} has no hidden_size; set it, or define initial_state(batch_size)"
            )
        return self.zeros(batch_size, self.hidden_size)

    def zeros(self, *shape: int) -> Tensor:
        """Return zeros of a shape in the dtype of the cell's parameters."""
        return Tensor(np.zeros(shape, dtype_of(self) or np.float32))

    def example_input(self, batch_size: int) -> Any:
        """Return zeros as one step of input, from which wrappers learn the sizes of products.

        By default they have shape (batch_size, input_size); a cell of other inputs defines its own.
        """
        if self.input_size is None:
            raise TinygradError(
                f"{name_of(self)} has no input_size; set it, or define example_input(batch_size)"
            )
        return self.zeros(batch_size, self.input_size)

    # --- what wrappers act on ---------------------------------------------------------------------

    def from_input(
        self,
        x: Any,
        weight: Any,
        product: Callable[..., Any] | None = None,
        *,
        cuts: tuple[int, ...] = (),
    ) -> Any:
        """Return the product of the input with weights, ``x @ weight.T``.

        `nn.RecurrentLayerNorm` and `nn.RecurrentBatchNorm` normalise it.

        Parameters
        ----------
        x : Tensor, shape (batch, columns)
            The input, or what is made of it.
        weight : Tensor, shape (features, columns)
            The weights.
        product : callable, optional
            ``product(x, weight)``, for another product than ``x @ weight.T``.
        cuts : tuple of int
            Features at which layer normalisation begins anew; by default all features of the
            product are normalised together.

        Returns
        -------
        Tensor, shape (batch, features)
        """
        return multiplied(self, "input", "", x, weight, product, cuts)

    def from_state(
        self,
        h: Any,
        weight: Any,
        product: Callable[..., Any] | None = None,
        *,
        name: str | None = "",
        cuts: tuple[int, ...] = (),
    ) -> Any:
        """Return the product of the state, or a part of it, with weights, ``h @ weight.T``.

        `nn.VariationalDropout` masks h here and nowhere else, `nn.RecurrentLayerNorm` and
        `nn.RecurrentBatchNorm` normalise the product; what is carried from step to step past this
        product stays as it is.

        Parameters
        ----------
        h : Tensor, or tuple of Tensor, shape (batch, columns)
            A component of the state, or what is made of it element by element, such as r * h.
            Several parts of one complex number get one mask.
        weight : Tensor, shape (features, columns)
            The weights.
        product : callable, optional
            ``product(h, weight)``, for another product than ``h @ weight.T``.
        name : str or None
            The component of the state to which h belongs: operands of one component (and shape)
            have one mask within a sequence. By default it is found: h is a component of the state
            or a view of one (different parts have masks of their own), or the state has only one
            memory of its shape, of which it must be made. Where that does not say which, dropout of
            the state asks for the name. None: what is multiplied is no component of the state, but
            made of the product of one, so it is not masked again.
        cuts : tuple of int
            As in `from_input`.

        Returns
        -------
        Tensor, shape (batch, features)
        """
        return multiplied(self, "state", name, h, weight, product, cuts)

    def to_output(self, c: Any) -> Any:
        """Return the carried memory where the output is made of it, as c in ``h = o * tanh(c)``.

        Normalising wrappers normalise it there alone.
        """
        return shown("output", c)

    def mask_places(self, state: Any) -> list[int]:
        """Return the number of the mask of each component of a state.

        It is -1 for bookkeeping, which is never masked.
        """
        names = component_names(self, state).short
        bookkeeping, joined = (
            (given,) if isinstance(given, str) else tuple(given)
            for given in (self.bookkeeping, self.joined)
        )
        unknown = [name for name in (*bookkeeping, *joined) if name not in names]
        if unknown:
            raise TinygradError(
                f"{name_of(self)}: bookkeeping or joined has {unknown}; the components of its state are {names}"
            )
        first = next((k for k, name in enumerate(names) if name in joined), 0)
        return [
            -1
            if name in bookkeeping or np.dtype(s.dtype).kind != "f"
            else first
            if name in joined
            else k
            for k, (name, s) in enumerate(zip(names, leaves(state), strict=True))
        ]

    def with_parameters(self, parameters: Mapping[str, Tensor]) -> Cell:
        """Return a copy of the cell with these tensors in place of its own.

        They are named as the attributes of the cell that they replace.
        """
        other = copy.copy(self)
        vars(other).update(parameters)
        return other

    def __call__(self, x: Any, state: Any = None) -> Any:
        """Make one step from a state, by default from the first one."""
        self.check(x)
        first = x[0] if isinstance(x, tuple) and x else x
        if not getattr(first, "shape", ()):
            raise ShapeError(
                f"{name_of(self)}: expected one step of input, a tensor of shape (batch, ...); found {describe(first)}"
            )
        if state is None:
            state = self.initial_state(first.shape[0])
        try:
            result = (
                self._forward(x, state)
                if context().mark.step is not None
                else self._by_hand(x, state)
            )
        except (TinygradError, TypeError, ValueError, AttributeError, IndexError, KeyError):
            check_first_state(
                self, state, first.shape[0], f"{name_of(self)}: the state does not fit"
            )
            raise
        if (
            isinstance(state, Tensor)
            and isinstance(result, tuple)
            and len(result) == 2
            and not isinstance(result[1], Tensor)
        ):
            # rows passed for components
            check_first_state(
                self, state, first.shape[0], f"{name_of(self)}: the state does not fit"
            )
        return result

    def _forward(self, x: Any, state: Any) -> Any:
        """Call `forward` with handles of its own; the wrappers around it learn of its state."""
        if not wrappers():
            return self.forward(*own(x, state))
        given = own(x, state)
        with entered(self, given[1]):
            return self.forward(given.pop(0), given.pop())  # nothing here keeps them in use

    def _by_hand(self, x: Any, state: Any) -> Any:
        """Make a step outside `unroll`.

        Its number is one more than that of the step which made the state.
        """
        name, layer = name_of(self), context().mark.layer
        nodes = [s.node for s in leaves(state) if isinstance(s, Tensor) and s.node is not None]
        marks = {node.origin[2] for node in nodes if node.origin[2].step is not None}
        # made by another cell, or by one inside this one
        if any(mark.cell != name for mark in marks):
            inside = {name_of(m) for _, m in self.named_modules() if isinstance(m, Cell)}
            marks = {mark for mark in marks if mark.cell in inside}
        t = max((mark.step + 1 for mark in marks if mark.step is not None), default=0)
        with at_step(t, name, layer):
            result = self._forward(x, state)
            if not isinstance(result, tuple) or len(result) != 2:
                raise ShapeError(
                    f"{name}: forward must return (output, new_state); it returned {returned(result)}"
                )
            name_state(self, result[1], t + 1)
        return result

    def check(self, x: Any) -> None:
        """Raise a ShapeError if x is not one step of input."""
        first = x[0] if isinstance(x, tuple) and x else x
        if self.input_size is not None and (
            len(getattr(first, "shape", ())) != 2 or first.shape[1] != self.input_size
        ):
            raise ShapeError(
                f"{name_of(self)}: expected one step of shape (batch, {self.input_size}); found {describe(first)}. A sequence has "
                f"shape (time, batch, {self.input_size}); a single one gets its batch axis with xs[:, None].{Where(*caller()).described()}"
            )


def dtype_of(cell: Any) -> np.dtype[Any] | None:
    """Return the dtype of a module's parameters, or of the floating tensors in their places.

    It is None for a module without any, and for a function.
    """
    if not isinstance(cell, Module):
        return None
    for value in vars(cell).values():  # the usual case, kept short: it is paid at every unrolling
        if isinstance(value, Parameter):
            return value.dtype
    kinds: tuple[type[Tensor], ...] = (Parameter, Tensor)
    return next(
        (t.dtype for kind in kinds for t in cell.tensors(kind) if t.dtype.kind == "f"), None
    )


class CompiledCell(Cell):
    """A cell that runs whole sequences in its own way; `tinygrad_rnn.compiler` makes such cells.

    Attributes
    ----------
    plain : Cell or callable
        The cell that it was made of.
    """

    __slots__ = ("plain",)  # not among the attributes, which are those of the plain cell

    plain: Any

    def run_steps(self, span: Any) -> Any:
        """Run a `Span` of a sequence, in place of `Sequence.steps`."""
        raise NotImplementedError

    def step_bytes(self, span: Any) -> int | None:
        """Return the bytes that each step more of a `Span` keeps, and works on, while recorded.

        None where the steps run one by one.
        """
        raise NotImplementedError


# It compiles a cell. The compiler is above this floor: the face of the package puts a function here
# that loads it.
compile_cell: Callable[[Cell], Cell] | None = None


def compiled(cell: Cell) -> Cell:
    """Return a cell with the attributes of this one that runs whole sequences compiled.

    Where there is no compiler, that is the cell itself.
    """
    return cell if compile_cell is None else compile_cell(cell)


def plain_of(cell: Any) -> Any:
    """Return the cell that a compiled one was made of; any other cell is returned as it is."""
    return cell.plain if isinstance(cell, CompiledCell) else cell


def name_of(cell: Any) -> str:
    """Return what messages, tables and pictures call a cell.

    That is its `name`, or else the name of a function, or of its class.
    """
    cell = plain_of(cell)
    return getattr(cell, "name", None) or getattr(cell, "__name__", None) or type(cell).__name__


def no_cell(found: Any) -> str:
    """Describe what was given in place of a cell, for messages."""
    if isinstance(found, type):
        return f"the class {found.__name__}; make one: {found.__name__}(...)"
    if isinstance(found, Module) and not isinstance(found, Cell):
        return f"the layer {type(found).__name__}, {way_to_cell(found)}"
    return f"a {type(found).__name__}"


def way_to_cell(layer: Module) -> str:
    """Say what can be used in place of a module that is no cell, for messages."""
    step = getattr(layer, "cell", None)
    if not callable(step) or isinstance(step, Module):
        return "which is no cell: a module that makes one step is one if its class is derived from tg.Cell"
    kind = type(step()).__name__
    return f"which runs over whole sequences; its step is the cell tg.cells.{kind}: give a new one, tg.cells.{kind}(...), or that of the layer, layer.cell()"


def returned(result: Any) -> str:
    """Describe what a cell returned in place of a pair, for messages."""
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__


def own(*trees: Any) -> list[Any]:
    """Return trees with handles of a step's own.

    What the step writes to them does not change those of the caller.
    """
    return [
        t.handle()
        if isinstance(t, Tensor)
        else tree_map(lambda s: s.handle() if isinstance(s, Tensor) else s, t)
        for t in trees
    ]


def name_state(cell: Any, state: Any, t: int) -> None:
    """Name the components of the state after t steps for pictures and messages, such as h_20."""
    components = leaves(state)
    if any(isinstance(s, Tensor) and s.name is None for s in components):
        for s, name in zip(components, component_names(cell, state).short, strict=True):
            if isinstance(s, Tensor) and s.name is None:
                s.name = f"{name}_{t}"


def check_first_state(cell: Any, state: Any, batch: int, head: str, one_row: bool = False) -> None:
    """Raise an error if a given first state has another structure, shape or dtype than the cell's.

    Parameters
    ----------
    cell : Cell or callable
        The cell that is to begin with it.
    state : tree of tensors
        The given state.
    batch : int
        The size of the batch.
    head : str
        How the message begins.
    one_row : bool
        Whether a component may have a batch axis of 1.

    Raises
    ------
    ShapeError, DtypeError
    """
    cell = plain_of(cell)
    if type(cell).initial_state is Cell.initial_state and not hasattr(cell, "hidden_size"):
        return  # it cannot say what it expects
    expected = cell.initial_state(batch)
    for (a, b), name in zip(
        matched(cell, expected, state, head), component_names(cell, expected), strict=True
    ):
        shape = getattr(b, "shape", None)
        if shape is None:
            raise ShapeError(
                f"{head}: {name} is a {type(b).__name__}; expected a tensor of shape {a.shape}"
            )
        wanted, found = tuple(a.shape), tuple(shape)
        if found != wanted and not (one_row and found == (1, *wanted[1:])):
            way = (
                f". A cell's state has no axis of levels as a layer's has: pass {name}[i] of level i"
                if found[1:] == wanted
                else ""
            )
            raise ShapeError(f"{head}: {name} has shape {found}; expected {wanted}{way}")
        own = dtype_of(cell)
        # the cell's own state may have been made without a look at its parameters
        follows = a.dtype.kind == "f" and b.dtype == own
        if b.dtype != a.dtype and isinstance(b, Tensor) and own is not None and not follows:
            raise DtypeError(
                f"{head}: {name} is {b.dtype}; expected {a.dtype}. Convert it with .astype({a.dtype})."
            )


def matched(cell: Any, before: Any, after: Any, head: str) -> list[tuple[Any, Any]]:
    """Return the corresponding components of two states.

    Raises
    ------
    ShapeError
        If they do not correspond; it names the components as the cell does.
    """
    try:
        return pairs(before, after, head)
    except ShapeError:
        names = component_names(cell, before)
        expected, found = list(names), [path for path, _ in flatten(after, names.root)]
        if type(before) is type(after):
            found = list(component_names(cell, after))
        raise ShapeError(f"{head}: expected the components {expected}; found {found}") from None


def component_names(cell: Callable[..., Any], state: Any) -> Names:
    """Return what the user's own code calls the components of a state.

    The second parameter of the cell names the whole. A component of a dict or named tuple is called
    by its key or field; one of a plain tuple by the variable into which the cell unpacks it (``h, c
    = state``), if its source can be read.
    """
    cell = plain_of(cell)
    function: Any = inspect.unwrap(cell.forward if isinstance(cell, Module) else cell)
    code: CodeType | None = getattr(getattr(function, "__func__", function), "__code__", None)
    return names_in(
        code,
        hasattr(function, "__func__"),
        type(state) in (tuple, list),
        tuple([path for path, _ in flatten(state)]),
    )
