"""A generated module as it is read.

The module is compiled under names of its own, so that equal steps are compiled once, whatever their
authors called things. For readers it is written once more, with other names for the numbers of its
loops (see `names`) and with comments: which of the user's lines a loop holds, what a product
multiplies, and what the arrays are. Comments and these names apart, it is the same text.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence

from ..core.tape import Node
from ..loops import ir
from ..loops.linear import Linear
from .names import ValueNames, bracketed, transposed
from .parts import LoopPart, OverStepsPart, ProductPart, around_steps
from .runner import Runner
from .value import B, CompileError, Value

WHAT = {  # what an array is, of the value that it has room for
    ir.Role.INPUT: "{}, of each time",
    ir.Role.STATE: "the state {}, before each step and after the last",
    ir.Role.FIXED: "{}, the same at each step",
    ir.Role.OUTPUT: "{}, what the step gives",
    ir.Role.EMITTED: "{}, which the step leaves outside",
    ir.Role.RESIDUAL: "{} of each step, kept for backward",
    ir.Role.SCRATCH: "{}, of one step",
    ir.Role.HOISTED: "{}",
    ir.Role.REPLICATED: "{}, repeated for each row",
    ir.Role.COTANGENT: "{}: the gradient of the outputs",
    ir.Role.GRADIENT: "the gradient of {}",
    ir.Role.COLLECTED: "the sum over all steps of {}",
    ir.Role.DEFERRED: "{} of each step, for the products over a span",
}
LEAD = {  # the axis over steps
    ir.Steps.ONCE: [],
    ir.Steps.EACH: ["T"],
    ir.Steps.BETWEEN: ["T + 1"],
    ir.Steps.TWO: ["2"],
    ir.Steps.SPAN: ["span"],
}
TITLES = {
    "forward": "Forward: all steps.",
    "backward": "Backward through time: the gradients of all steps, the last first.",
}
STEPS = 2  # which argument of a call that copies says for how many steps
SIZES = (
    "T steps; B rows of the batch, which begin at `row` of `batch`. Step s is that of time",
    "last + way * s; `span` steps are worked through at a time. The arrays, each flat:",
)


def readable(runner: Runner) -> str:
    """Return the text of the module of a step for readers."""
    names, code = ValueNames(runner), runner.code
    comments: dict[int, list[str]] = {}
    for which in code.functions:
        comments |= _Comments(names, which).found
    return code.text(
        names=names.numbers,
        before=lambda statement: comments.get(id(statement), ()),
        beside=lambda statement: (),
        legend=Legend(names).lines,
    ).text


class _Comments:
    """Comments on one function.

    Attributes
    ----------
    found : dict of int to list of str
        By the `id` of the statement before which they stand: equal statements may differ in these.
    """

    def __init__(self, names: ValueNames, which: str) -> None:
        self.names, self.which = names, which
        self.found: dict[int, list[str]] = {}
        for part in names.parts.of[which]:
            if isinstance(part, LoopPart):
                self.found[id(part.statements[0])] = self._loop(part)
            elif isinstance(part, ProductPart):
                self._product(part)
            else:
                self.found[id(part.call)] = [self._over_steps(part)]

    def _loop(self, part: LoopPart) -> list[str]:
        """Say what a loop computes, and of which lines of the source."""
        value = part.alone
        if value is not None:
            name = self.names.names.get(value) or _target(part).name
            return [f"{name}: {self.names.operation(value)}{_of_line(value.node)}"]
        made = ", ".join(self.names.stored(part))
        if not part.computed:
            return [made or "a copy"]
        held = [*part.computed, *part.assembled]
        nodes = [v.node for v in held if self.names.in_source(v.node)]
        if self.which == "backward":
            lines = source_lines(nodes, reverse=True)
            head = f"{made}: the chain rule through" if made else "the chain rule through"
        else:
            lines = source_lines(nodes)
            head = f"{made}:" if made else "lines of the cell:"
        return [head, *(f"  {line}" for line in lines)]

    def _product(self, part: ProductPart) -> None:
        names = self.names
        target = names.names.get(part.value) or part.target.name
        for k, (call, factor) in enumerate(zip(part.calls, part.factors, strict=True)):
            text = f"{target} {'+=' if k else '='} {names.product(factor)}"
            if not k:
                text += "" if part.bias is None else f" + {names.label(part.bias)}"
                text += f"  ({where})" if (where := str(part.value.node.where)) else ""
            self.found[id(call)] = [text]

    def _over_steps(self, part: OverStepsPart) -> str:
        names = self.names
        left, right = (
            bracketed(names.label(part.product.left)),
            transposed(names.label(part.product.right)),
        )
        text = f"{names.weight_of(part.value)}: the sum over all steps of {left} @ {right}"
        collected = (a for a in ir.arrays([part.call]) if a.role is ir.Role.COLLECTED)
        return text + "".join(
            f"; {a.name} = the sum of {names.label(part.product.left)}" for a in collected
        )


class Legend:
    """What the arrays of a function are."""

    def __init__(self, names: ValueNames) -> None:
        self.names, self.code, self.step = names, names.code, names.step

    def lines(self, function: ir.Function) -> list[str]:
        """Return the comments that stand above a function."""
        rows = [(a.name, *self.array(function, a)) for a in function.arrays]
        width = max([len(name) for name, _, _ in rows], default=0)
        shapes = [f", ({shape})" if shape else "" for _, _, shape in rows]
        arrays = [
            f"  {name:<{width}}  {what}{shape}"
            for (name, what, _), shape in zip(rows, shapes, strict=True)
        ]
        return [TITLES[function.name], *SIZES, *arrays]

    def array(self, function: ir.Function, array: ir.Array) -> tuple[str, str]:
        """Return what an array of a function is, and its shape."""
        if array.role is ir.Role.TABLE:
            return "places of elements", ""
        if array.role is ir.Role.PACKED:
            matrix = ir.arrays([_call_with(function, array)])[0]
            return f"{matrix.name}, packed for products", ""
        if array.role is ir.Role.CALLER:
            return self._of_caller(function, array)
        value = self.code.functions[function.name].held.get(array)
        if value is None:
            return "room for the products over all steps", ""
        text = WHAT[array.role]
        if array.steps is ir.Steps.TWO:
            text = "the gradient of the state {}, of two steps in turn"
        value = self.names.parts.original(value)
        rows = [B] if array.rows and array.role is not ir.Role.REPLICATED else []
        return text.format(self.names.label(value)), _shape(
            [*LEAD[array.steps], *value.features, *rows]
        )

    def _of_caller(self, function: ir.Function, array: ir.Array) -> tuple[str, str]:
        """Return what an array of the caller is: by what is copied from it or to it, and where."""
        names, call = self.names, _call_with(function, array)
        for part in names.parts.of[function.name]:
            if isinstance(part, OverStepsPart) and part.call is call:
                if array == part.target:
                    product = part.product
                    slices = (product.slices,) if product.slices > 1 else ()
                    sizes = (*slices, product.M, product.N)
                    return names.weight_of(part.value), _shape(sizes)
                return self._told(names.label(part.product.right), part.product.right, each=True)
        value, (source, target) = names.parts.value_of(call), ir.arrays([call])
        assert value is not None
        given, other = (True, target) if source == array else (False, source)
        steps = call.arguments[STEPS]
        each = isinstance(steps, Linear) and bool(steps.names)
        name = names.label(value)
        if not each:
            name = f"the {'first' if given == (other.role is ir.Role.STATE) else 'last'} {name}"
        elif other.role not in (ir.Role.INPUT, ir.Role.GRADIENT):
            name = "the outputs"
        gradient = other.role in (ir.Role.COTANGENT, ir.Role.GRADIENT)
        return self._told(f"the gradient of {name}" if gradient else name, value, each=each)

    def _told(self, text: str, value: Value, *, each: bool) -> tuple[str, str]:
        shape = ["batch" if n == B else n for n in value.shape]
        return f"of the caller: {text}", _shape(["T", *shape] if each else shape)


def source_lines(nodes: Iterable[Node], reverse: bool = False) -> list[str]:
    """Return the lines of the source that made nodes.

    File, number and text, in the order in which they were run.
    """
    found: dict[tuple[str, int], str] = {}
    for node in nodes:
        code, line = node.origin[0], node.where.line
        if code is not None and line is not None:
            text = linecache.getline(code.co_filename, line).strip()
            found[code.co_filename, line] = f"{node.where}  {text}".rstrip()
    order = sorted(found, key=lambda key: (key[0], -key[1] if reverse else key[1]))
    return [found[key] for key in order]


def _call_with(function: ir.Function, array: ir.Array) -> ir.Call:
    """Return the first call before or after the loop over time that reads or writes an array."""
    for s in around_steps(function.body):
        if isinstance(s, ir.Call) and array in ir.arrays([s]):
            return s
    raise CompileError(f"no call reads or writes {array.name}")


def _target(part: LoopPart) -> ir.Array:
    """Return the array that a loop writes to first."""
    return next(
        s.access.array for s in ir.walk(part.statements) if isinstance(s, (ir.Store, ir.Accumulate))
    )


def _of_line(node: Node) -> str:
    lines = source_lines([node])
    return f", {lines[0]}" if lines else ""


def _shape(sizes: Sequence[int | str]) -> str:
    return ", ".join(map(str, sizes))
