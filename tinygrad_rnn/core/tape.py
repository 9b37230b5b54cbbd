"""The tape: what a node is, where it was made, and what recording depends on."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Container, Iterable
from contextlib import ContextDecorator
from contextvars import ContextVar
from operator import attrgetter
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from .primitive import Primitive, Rule

NO_PARAMS: dict[str, Any] = {}
_next_index = itertools.count().__next__
ENGINE_FILES: set[str] = set()  # the source files that `caller` passes over
_EAGER = os.environ.get("TINYGRAD_RNN_EAGER", "0") not in ("", "0")


class Mark(NamedTuple):
    """Where in a network a node was made: the cell, its layer, the time step."""

    cell: str = ""
    layer: int | None = None
    step: int | None = None


class Where(NamedTuple):
    """The code that made a node: cheap to take, turned into a file and a line only when asked."""

    code: CodeType | None
    offset: int
    mark: Mark

    @property
    def line(self) -> int | None:
        """The line number in the file of `code`."""
        if self.code is None:
            return None
        lines = (
            number for start, stop, number in self.code.co_lines() if start <= self.offset < stop
        )
        return next(lines, None)

    def __str__(self) -> str:
        return "" if self.code is None else f"{os.path.basename(self.code.co_filename)}:{self.line}"

    def described(self) -> str:
        """For messages: " (in cell 'lstm', layer 0, step t=3, at train.py:12)", or nothing."""
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
    """What recording depends on.

    Each thread (and asynchronous task) has its own; `setting` changes it for a while.
    """

    def __init__(self) -> None:
        self.grad_enabled = True
        self.tracing = False
        # whether what could run compiled runs step by step, each operation a node
        self.eager = _EAGER
        # what the running transforms (grad, jvp, ...) and traces were given
        self.inputs: frozenset[Node] = frozenset()
        self.mark = Mark()
        # what belongs to the sequence that is being unrolled: masks by who drew them, ...
        self.sequence: dict[Any, Any] | None = None
        # where new nodes are said to come from; None: from the line that runs
        self.origin: tuple[Any, ...] | None = None
        # while tracing: the tensors that were written to, with what they had
        self.written: list[Any] | None = None
        self.outer: Context = self
        self.changes: dict[str, Any] = {}

    def take(self, outer: Context, changes: dict[str, Any]) -> Context:
        """Become what `outer` is, but for the changes."""
        vars(self).update(vars(outer), outer=outer, changes=changes, **changes)
        return self


_context: ContextVar[Context] = ContextVar("tinygrad_rnn", default=Context())  # noqa: B039  (only `setting` changes one in place, never this one)
context = _context.get


class setting(ContextDecorator):
    """Context manager, and decorator: change fields of the context.

    Settings may end in another order than that of nested blocks, as those of two generators do:
    each takes back its own changes alone.
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
        inside = [context()]
        while inside[-1] not in self.entered and inside[-1] is not inside[-1].outer:
            inside.append(inside[-1].outer)
        # the latter was entered in another thread
        own = inside.pop() if inside[-1] in self.entered else self.entered[-1]
        self.entered.remove(own)
        if not inside:
            _context.set(own.outer)
        elif own is inside[-1].outer:
            for outer, inner in zip([own.outer, *reversed(inside)], reversed(inside), strict=False):
                inner.take(outer, inner.changes)
        else:
            own.take(own.outer, {})


class Node:
    """One recorded application of a primitive.

    Attributes
    ----------
    primitive : Primitive or None
        None for a Leaf.
    inputs : tuple of Node or number
        In order, with duplicates. Python numbers stay literals.
    edges : tuple of (Node, int, Rule)
        The inputs that need gradients, with their positions and rules: what the backward walk
        follows.
    params : dict
        Parameters of the primitive, complete and in its order.
    saved : tuple, or Freed
        Values the rules asked for, at their places in ``(out, *inputs)``; None elsewhere.
    shape, dtype
        Of the output.
    requires_grad : bool
        False for nodes that exist only in a trace.
    origin : tuple
        ``(code, offset, mark)``: what `where` is made from.
    index : int
        Grows as nodes are made, so rising index is a topological order.
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
        requires_grad: bool = True,
        origin: tuple[Any, ...] | None = None,
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.edges = edges
        self.params = params
        self.saved = saved
        self.shape: tuple[int, ...] = out.shape
        self.dtype: np.dtype[Any] = out.dtype
        self.requires_grad = requires_grad
        self.origin = origin or context().origin or caller(3)
        self.hooks: list[Callable[[Any], Any]] | None = None
        self.name: str | None = None
        self.index: int = _next_index()

    @property
    def ndim(self) -> int:
        """Number of axes of the output."""
        return len(self.shape)

    @property
    def may_change(self) -> bool:
        """Whether a trace may not take the value for a constant.

        It is computed in the trace, or is that of a parameter.
        """
        return self.requires_grad or self.primitive is not None

    @property
    def where(self) -> Where:
        """Source line and mark."""
        return Where(*self.origin)

    @property
    def op(self) -> str:
        """The primitive's name without its module, or "leaf"."""
        return "leaf" if self.primitive is None else self.primitive.name.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"<{self.op}{' ' + repr(self.name) if self.name else ''} {self.shape} {self.dtype}{self.where.described()}>"


class Leaf(Node):
    """A node without a primitive: an input, a parameter or a constant; it holds its array.

    `tensor` is a weak reference to the tensor whose `.grad` it fills; `replaced` is the place where
    that tensor was given another array after this leaf was used.
    """

    __slots__ = ("replaced", "tensor", "value")

    def __init__(self, value: Any, requires_grad: bool = False, name: str | None = None) -> None:
        origin = (None, 0, context().mark)
        super().__init__(
            None,  # type: ignore[arg-type]
            (),
            (),
            NO_PARAMS,
            None,
            value,
            requires_grad,
            origin,
        )
        self.value = value
        self.tensor: Any = None
        self.replaced: Where | None = None
        self.name = name


class Freed(NamedTuple):
    """Stands in `saved` of a node whose values a backward pass has released."""

    root: str
    where: Any  # a Where, or its text


# --- recording on and off, and where it happens -------------------------------------------------------------------------


def at_origin(node: Node) -> None:
    """Directly inside a `setting`.

    Say of the nodes made from now on that they come from where this node came from.
    """
    context().origin = node.origin


def add_to_engine(folders: Iterable[str]) -> None:
    """Count the source files in these folders as the engine's.

    A folder does so with its own ``__path__``. Cells and layers do not: a node is said to come from
    the line of the cell that computed it.
    """
    ENGINE_FILES.update(
        os.path.join(folder, file) for folder in folders for file in os.listdir(folder)
    )


def caller(depth: int = 2) -> tuple[Any, ...]:
    """Find the first line outside the engine, and the current mark: the `origin` of a node.

    The search begins `depth` frames above this one.
    """
    frame: Any = sys._getframe(depth)
    code = frame.f_code
    while code.co_filename in ENGINE_FILES:
        frame = frame.f_back
        code = frame.f_code
    return (code, frame.f_lasti, context().mark)


def no_grad() -> Any:
    """Context in which nothing is recorded (in this thread)."""
    return setting(grad_enabled=False)


def enable_grad() -> Any:
    """Context in which recording is on again, inside `no_grad`."""
    return setting(grad_enabled=True)


def eager() -> Any:
    """Context in which layers and cells of `tg.jit` run step by step, each operation a node on the tape (in this thread).

    For what looks at single steps: tables of the tape, hooks (pictures open what ran compiled); and
    where compiling takes longer than the run itself. The environment variable TINYGRAD_RNN_EAGER=1
    says the same for a whole program.
    """
    return setting(eager=True)


def at_step(step: int | None, cell: str = "", layer: int | None = None) -> Any:
    """Context that marks every node made in it with a time step, a cell and a layer."""
    return setting(mark=Mark(cell, layer, step))


class Older:
    """The nodes that were made until now, or those with a smaller index than this one, as a container."""

    def __init__(self, index: int | None = None) -> None:
        self.index = _next_index() if index is None else index

    def __contains__(self, node: object) -> bool:
        return isinstance(node, Node) and node.index < self.index


def reachable(
    roots: Iterable[Node], ends: Container[Node] = (), *, every: bool = False
) -> list[Node]:
    """Nodes that the roots depend on, not beyond `ends`, in the order in which they were made.

    Only those that need gradients, unless `every`.
    """
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if node in ends:
                continue
            if every:
                stack += [source for source in node.inputs if isinstance(source, Node)]
            else:
                for source, _, _ in node.edges:
                    stack.append(source)
    return sorted(seen, key=attrgetter("index"))
