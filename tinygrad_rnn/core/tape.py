"""The tape: what a node is, where it was made, and what recording depends on.

A tensor holds the node that made it, a node holds its inputs, and nothing points back: so what
nobody can reach is freed at once. A list of the nodes behind a result is made by `reachable`, when
a walk needs it.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Container, Iterable
from contextlib import ContextDecorator
from contextvars import ContextVar
from operator import attrgetter, itemgetter
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from .primitive import Primitive, Rule

NO_PARAMS: dict[str, Any] = {}
_next_index = itertools.count().__next__
ENGINE_FILES: set[str] = set()  # the source files that `caller` passes over
_EAGER = os.environ.get("TINYGRAD_RNN_EAGER", "0") not in ("", "0")


class Mark(NamedTuple):
    """The place in a network where a node was made: the cell, its layer, the time step."""

    cell: str = ""
    layer: int | None = None
    step: int | None = None


class Derived(Mark):
    """The mark of a node that a derivative rule made: it stands on the line of what it derives."""

    __slots__ = ()


class Where(NamedTuple):
    """The code that made a node: cheap to take; file and line are looked up only when asked for."""

    code: CodeType | None
    offset: int
    mark: Mark

    @property
    def line(self) -> int | None:
        """The number of the line in the file of `code`."""
        if self.code is None:
            return None
        lines = (n for start, stop, n in self.code.co_lines() if start <= self.offset < stop)
        return next(lines, None)

    def __str__(self) -> str:
        return "" if self.code is None else f"{os.path.basename(self.code.co_filename)}:{self.line}"

    def described(self) -> str:
        """Say it as messages do: " (in cell 'lstm', layer 0, step t=3, at train.py:12)", or ""."""
        cell, layer, step = self.mark
        parts = [
            f"in cell '{cell}'" if cell else "",
            f"layer {layer}" if layer is not None else "",
            f"step t={step}" if step is not None else "",
            f"at {self}" if self.code else "",
        ]
        text = ", ".join(p for p in parts if p)
        return f" ({text})" if text else ""


class Context:
    """What recording depends on; `setting` changes it for a while.

    Each thread, and each asynchronous task, has its own.
    """

    def __init__(self) -> None:
        self.grad_enabled = True
        self.tracing = False
        # whether what could run compiled runs step by step, each operation a node
        self.eager = _EAGER
        # the nodes that the running transforms (grad, jvp, ...) and traces were given
        self.inputs: frozenset[Node] = frozenset()
        self.mark = Mark()
        # what belongs to the sequence that is being unrolled: a recurrent.context.SequenceContext
        self.sequence: Any = None
        # while a function is recorded: what it does besides computing, and what runs its sequences
        # (an ops.postponed.Effects)
        self.effects: Any = None
        # while a function is recorded: the constants that stand in it as inputs (an ops.guards.Asked)
        self.asked: Any = ()
        # what looks at the values that operations and walks give (a diagnosis.anomaly.Watch)
        self.watch: Any = None
        # where new nodes are said to come from; None: from the line that runs
        self.origin: tuple[Any, ...] | None = None
        # while tracing: the tensors that were written to, with what they had
        self.written: list[Any] | None = None
        self.outer: Context = self
        self.changes: dict[str, Any] = {}

    def take(self, outer: Context, changes: dict[str, Any]) -> Context:
        """Become like `outer`, but for the changes."""
        vars(self).update(vars(outer), outer=outer, changes=changes, **changes)
        return self


# `setting` changes contexts in place, but never this one
_context: ContextVar[Context] = ContextVar("tinygrad_rnn", default=Context())  # noqa: B039
context = _context.get


class setting(ContextDecorator):
    """Context manager and decorator that changes fields of the context.

    Settings need not end in the order of nested blocks (those of two generators do not): each takes
    back its own changes alone.
    """

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.entered: list[Context] = []

    def _recreate_cm(self) -> setting:
        # each call of a decorated function has its own: several threads may call it
        return setting(**self.changes)

    def __enter__(self) -> None:
        self.entered.append(Context.__new__(Context).take(context(), self.changes))
        _context.set(self.entered[-1])

    def __exit__(self, *error: object) -> None:
        above = [context()]  # the contexts that stay open on top of the one that ends
        while above[-1] not in self.entered and above[-1] is not above[-1].outer:
            above.append(above[-1].outer)
        # one that was entered in another thread is not in the chain of this one
        own = above.pop() if above[-1] in self.entered else self.entered[-1]
        self.entered.remove(own)
        if not above:
            _context.set(own.outer)
        elif own is above[-1].outer:
            for outer, inner in zip([own.outer, *reversed(above)], reversed(above), strict=False):
                inner.take(outer, inner.changes)
        else:
            own.take(own.outer, {})


class Node:
    """One recorded application of a primitive.

    Parameters
    ----------
    primitive : Primitive or None
        The operation; None for a Leaf.
    inputs : tuple of Node or number
        The operands in order, with duplicates. Python numbers stay literals.
    edges : tuple of (Node, int, Rule)
        The inputs that need gradients, with their positions and rules: what the backward walk
        follows.
    params : dict
        The parameters of the primitive, complete and in its order.
    saved : sequence, or Freed
        The values that the rules asked for, at their places in ``(out, *inputs)``; None elsewhere.
    out : array, Spec or Node
        What has the shape and dtype of the output; it is not kept.
    requires_grad : bool
        False for a node that exists only in a trace.
    origin : tuple
        ``(code, offset, mark)``, from which `where` is made.

    Attributes
    ----------
    shape, dtype
        Those of the output.
    hooks : list of callable, or None
        The functions that backward calls with the gradient of the output; see
        `Tensor.register_hook`.
    name : str or None
        A name for pictures, tables and messages.
    index : int
        A running number. A node can be made only after its inputs, so rising index is a topological
        order.
    """

    __slots__ = (
        "dtype",
        "edges",
        "hooks",
        "index",
        "inputs",
        "name",
        "origin",
        "params",
        "primitive",
        "requires_grad",
        "saved",
        "shape",
    )

    def __init__(
        self,
        primitive: Primitive,
        inputs: tuple[Any, ...],
        edges: tuple[tuple[Node, int, Rule], ...],
        params: dict[str, Any],
        saved: Any,
        out: Any,
        requires_grad: bool,
        origin: tuple[Any, ...],
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.edges = edges
        self.params = params
        self.saved = saved
        self.shape: tuple[int, ...] = out.shape
        self.dtype: np.dtype[Any] = out.dtype
        self.requires_grad = requires_grad
        self.origin = origin
        self.hooks: list[Callable[[Any], Any]] | None = None
        self.name: str | None = None
        self.index: int = _next_index()

    @property
    def ndim(self) -> int:
        """Number of axes of the output."""
        return len(self.shape)

    @property
    def may_change(self) -> bool:
        """Whether a trace must not take the value for a constant.

        Such a value is computed in the trace, belongs to a parameter, or is asked for at each call.
        """
        return self.requires_grad or self.primitive is not None or self in context().asked

    @property
    def where(self) -> Where:
        """The source line and the mark."""
        return Where(*self.origin)

    @property
    def op(self) -> str:
        """The name of the primitive without its module, or "leaf"."""
        return "leaf" if self.primitive is None else self.primitive.name.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"<{self.op}{' ' + repr(self.name) if self.name else ''} {self.shape} {self.dtype}{self.where.described()}>"


class Leaf(Node):
    """A node without a primitive: an input, a parameter or a constant. It holds its array.

    Attributes
    ----------
    value : ndarray, or Spec while tracing
    tensor : weak reference or None
        The tensor whose `.grad` the leaf fills.
    replaced : Where or None
        The line on which that tensor was given another array after this leaf was used.
    """

    __slots__ = ("replaced", "tensor", "value")

    def __init__(self, value: Any, requires_grad: bool = False, name: str | None = None) -> None:
        primitive: Any = None
        origin = (None, 0, context().mark)
        super().__init__(primitive, (), (), NO_PARAMS, None, value, requires_grad, origin)
        self.value = value
        self.tensor: Any = None
        self.replaced: Where | None = None
        self.name = name


class Freed(NamedTuple):
    """What stands in `saved` of a node whose values a backward has released."""

    root: str
    where: Any  # a Where, or its text


# --- recording on and off, and where it happens ---------------------------------------------------


def at_origin(node: Node) -> None:
    """Let the nodes that are made from now on come from where this node came from.

    To be called directly inside a `setting`, which ends it.
    """
    context().origin = node.origin


def add_to_engine(folders: Iterable[str]) -> None:
    """Count the source files in these folders as the engine's, so that `caller` passes over them.

    Each folder of the engine does this with its own ``__path__``. Cells and layers do not: a node
    is said to come from the line of the cell that computed it.
    """
    ENGINE_FILES.update(
        os.path.join(folder, file) for folder in folders for file in os.listdir(folder)
    )


def caller(depth: int = 2) -> tuple[Any, ...]:
    """Find the first line outside the engine, and the current mark: the `origin` of a node.

    The search begins `depth` frames above this one.
    """
    frame: Any = sys._getframe(depth)
    while frame.f_code.co_filename in ENGINE_FILES:
        frame = frame.f_back
    return (frame.f_code, frame.f_lasti, context().mark)


def no_grad() -> Any:
    """Return a context in which nothing is recorded (in this thread)."""
    return setting(grad_enabled=False)


def enable_grad() -> Any:
    """Return a context in which recording is on again, inside `no_grad`."""
    return setting(grad_enabled=True)


def eager() -> Any:
    """Return a context in which layers and cells of `tg.jit` run step by step (in this thread).

    Each operation is a node on the tape then. That is wanted by what looks at single steps, such as
    tables of the tape and hooks (pictures open what ran compiled), and where compiling takes longer
    than the run itself. The environment variable TINYGRAD_RNN_EAGER=1 says the same for a whole
    program.
    """
    return setting(eager=True)


def at_step(step: int | None, cell: str = "", layer: int | None = None) -> Any:
    """Return a context that marks every node made in it with a time step, a cell and a layer.

    Parameters
    ----------
    step : int or None
        The time step, from 0; None for no step.
    cell : str
        The name of the cell, as pictures and messages show it.
    layer : int, optional
        The level in a network of several.
    """
    return setting(mark=Mark(cell, layer, step))


class Older:
    """The nodes that were made until now, or with a smaller index than `index`, as a container."""

    def __init__(self, index: int | None = None) -> None:
        self.index = _next_index() if index is None else index

    def __contains__(self, node: object) -> bool:
        return isinstance(node, Node) and node.index < self.index


def reachable(
    roots: Iterable[Node], ends: Container[Node] = (), *, every: bool = False
) -> list[Node]:
    """Return the nodes that the roots depend on, in the order in which they were made.

    The search does not go beyond `ends`, and only through nodes that need gradients unless `every`.
    """
    seen = set(roots)
    found: list[Node] = []
    stack = list(seen)
    while stack:
        node = stack.pop()
        found.append(node)
        if node in ends:
            continue
        for source in node.inputs if every else map(itemgetter(0), node.edges):
            if source not in seen and isinstance(source, Node):
                seen.add(source)
                stack.append(source)
    found.sort(key=attrgetter("index"))  # it is nearly in order, which is soon done
    return found
