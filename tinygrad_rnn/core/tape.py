"""The tape: what a node is, where it was made, and how a list of nodes is shown."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar
from operator import attrgetter
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from .errors import GraphError
from .primitive import Primitive, Rule

NO_PARAMS: dict[str, Any] = {}
_next_index = itertools.count().__next__
_here = os.path.dirname(os.path.abspath(__file__))
_engine_files = {
    os.path.join(folder, name) for folder in (_here, *(os.path.join(os.path.dirname(_here), f) for f in ("ops", "recurrent", "compiler"))) for name in os.listdir(folder)
}
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
        lines = (number for start, stop, number in self.code.co_lines() if start <= self.offset < stop)
        return next(lines, None)

    def __str__(self) -> str:
        return "" if self.code is None else f"{os.path.basename(self.code.co_filename)}:{self.line}"

    def described(self) -> str:
        """For messages: " (in cell 'lstm', layer 0, step t=3, at train.py:12)", or nothing."""
        cell, layer, step = self.mark
        parts = [f"in cell '{cell}'" if cell else "", f"layer {layer}" if layer is not None else "",
                 f"step t={step}" if step is not None else "", f"at {self}" if self.code else ""]  # fmt: skip
        text = ", ".join(p for p in parts if p)
        return f" ({text})" if text else ""


class Context:
    """What recording depends on. Each thread (and asynchronous task) has its own; `setting` changes it for a while."""

    __slots__ = ("depth", "eager", "grad_enabled", "mark", "origin", "sequence", "tracing")

    def __init__(self) -> None:
        self.grad_enabled = True
        self.tracing = False
        self.eager = _EAGER  # whether what could run compiled runs step by step, each operation a node
        self.depth = 0  # how many transforms (grad, jvp, ...) are running
        self.mark = Mark()
        self.sequence: dict[Any, Any] | None = None  # what belongs to the sequence that is being unrolled: masks by who drew them, ...
        self.origin: tuple[Any, ...] | None = None  # where new nodes are said to come from; None: from the line that runs

    def but(self, changes: dict[str, Any]) -> Context:
        """A copy with some fields changed."""
        other = Context()
        for name in self.__slots__:
            setattr(other, name, changes[name] if name in changes else getattr(self, name))
        return other


_context: ContextVar[Context] = ContextVar("tinygrad_rnn", default=Context())  # noqa: B039  (never changed in place)
context = _context.get


class setting(ContextDecorator):
    """Context manager, and decorator: change fields of the context."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.tokens: list[Any] = []  # one for each time that it was entered

    def __enter__(self) -> None:
        self.tokens.append(_context.set(context().but(self.changes)))

    def __exit__(self, *error: object) -> None:
        _context.reset(self.tokens.pop())


class Node:
    """One recorded application of a primitive.

    Attributes
    ----------
    primitive : Primitive or None
        None for a Leaf.
    inputs : tuple of Node or number
        In order, with duplicates. Python numbers stay literals.
    edges : tuple of (Node, int, Rule)
        The inputs that need gradients, with their positions and rules: what the backward walk follows.
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

    __slots__ = ("dtype", "edges", "hooks", "index", "inputs", "name", "origin", "params", "primitive", "requires_grad", "saved", "shape")

    def __init__(
        self,
        primitive: Primitive,
        inputs: tuple[Any, ...],
        edges: tuple[tuple[Node, int, Rule], ...],
        params: dict[str, Any],
        saved: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        requires_grad: bool,
        origin: tuple[Any, ...],
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.edges = edges
        self.params = params
        self.saved = saved
        self.shape = shape
        self.dtype = dtype
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

    `tensor` is a weak reference to the tensor whose `.grad` it fills; `replaced` is the place where that tensor was given
    another array after this leaf was used.
    """

    __slots__ = ("replaced", "tensor", "value")

    def __init__(self, value: Any, requires_grad: bool = False, name: str | None = None) -> None:
        origin = (None, 0, context().mark)
        super().__init__(None, (), (), NO_PARAMS, None, value.shape, value.dtype, requires_grad, origin)  # type: ignore[arg-type]
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
    """Inside a `setting`: say of the nodes made from now on that they come from where this node came from."""
    _context.set(context().but({"origin": node.origin}))


def caller() -> tuple[Any, ...]:
    """The first line outside the engine, and the current mark, as a node's `origin`."""
    frame: Any = sys._getframe(2)
    code = frame.f_code
    while code.co_filename in _engine_files:
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

    For what looks at single steps: tables of the tape, hooks (pictures open what ran compiled); and where compiling takes longer than the run itself. The
    environment variable TINYGRAD_RNN_EAGER=1 says the same for a whole program.
    """
    return setting(eager=True)


def at_step(step: int | None, cell: str = "", layer: int | None = None) -> Any:
    """Context that marks every node made in it with a time step, a cell and a layer."""
    return setting(mark=Mark(cell, layer, step))


def reachable(roots: Iterable[Node], ends: Container[Node] = (), *, every: bool = False) -> list[Node]:
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


class Tape(Sequence[Node]):
    """What a tensor depends on, in the order in which it was recorded.

    Prints as a table: index, time step, cell, operation, inputs (as indices), shape, source line.
    """

    def __init__(self, root: Node) -> None:
        self.root = root
        self.nodes = reachable([root], every=True)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: Any) -> Any:
        return self.nodes[index]

    def table(self, limit: int | None = 40) -> str:
        """The rows as text; of a tape longer than `limit`, the head and the last rows."""
        return self._rows(range(len(self.nodes)), limit)

    def backward_table(self, limit: int | None = 40) -> str:
        """The reverse walk: the same rows in the order in which backward visits them, with the values each rule reads."""
        return self._rows([i for i in reversed(range(len(self.nodes))) if self.nodes[i].requires_grad], limit, backward=True)

    def _rows(self, order: Sequence[int], limit: int | None, backward: bool = False) -> str:
        number = {node: i for i, node in enumerate(self.nodes)}
        hidden = 0 if limit is None else max(0, len(order) - limit)
        head = len(order) - hidden - (limit // 4 if hidden and limit else 0)
        rows = [("", "t", "cell", "op", "adds to" if backward else "inputs", "shape", "reads" if backward else "name", "line")]
        for place, i in enumerate(order):
            if hidden and head <= place < head + hidden:
                continue
            node = self.nodes[i]
            inputs = [f"%{number[n]}" if isinstance(n, Node) else repr(n) for n in node.inputs]
            if backward:
                inputs = [f"%{number[n]}" for n, _, _ in node.edges] or [".grad"]
            step = "" if node.where.mark.step is None else str(node.where.mark.step)
            note = _reads(node) if backward else node.name or ""
            shape = "x".join(map(str, node.shape)) or "scalar"
            rows.append((f"%{i}", step, node.where.mark.cell, node.op, " ".join(inputs), shape, note, str(node.where)))
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        used = [k for k in range(len(widths)) if any(row[k] for row in rows[1:])]
        lines = ["  ".join(row[k].ljust(widths[k]) for k in used).rstrip() for row in rows]
        if hidden:
            lines.insert(head + 1, f"... {hidden} more nodes")
        return "\n".join(lines)

    __str__ = table
    __repr__ = table


def _reads(node: Node) -> str:
    if node.primitive is None:
        return ""
    names = ["out", "inputs"] if node.primitive.variadic else ["out", *node.primitive.inputs]
    return " ".join(names[k] for k in sorted({k for _, _, rule in node.edges for k in rule.needs}))


def tape(y: Any) -> Tape:
    """The tape of a tensor: an ordered view of every node that it depends on."""
    if y.node is None:
        raise GraphError(
            "tape: this tensor was not recorded: nothing it was made from requires gradients. Set requires_grad=True on an input."
        )
    return Tape(y.node)
