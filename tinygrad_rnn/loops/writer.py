"""The writer: from the loop language to Python for numba. No other file writes text for numba.

What was tuned stands here, as options with their reason (`Style`). Two of them are about places. A
loop over lanes needs, for each array, the place of its first element. Where that does not change
within a step it is computed at the top of the step, else just before the loop, so that the loop
itself only adds its index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels.products import symbol
from . import ir
from .check import checked
from .linear import Linear
from .style import Style

PRECEDENCE = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "neg": 7}
COMPARED = ("<", "<=", ">", ">=", "==", "!=")
INDENT = "    "
TYPES = {  # what the usual arrays are called
    ir.Kind.FLOAT: "floats",
    ir.Kind.OTHER_FLOAT: "others",
    ir.Kind.INTEGER: "integers",
    ir.Kind.BOOLEAN: "flags",
}


@dataclass(frozen=True)
class Text:
    """The text of a module.

    `statements` has for each line the one that it comes from, or None; `used` the functions of
    numbers that it calls.
    """

    text: str
    statements: tuple[ir.Statement | None, ...]
    module: ir.Module
    style: Style
    used: frozenset[str]


Line = tuple[str, ir.Statement | None]
Comments = Callable[[ir.Statement], Sequence[str]]


def write(
    module: ir.Module,
    style: Style,
    *,
    names: Mapping[str, str] | None = None,
    before: Comments | None = None,
    beside: Comments | None = None,
    legend: Callable[[ir.Function], Sequence[str]] | None = None,
) -> Text:
    """Write a module.

    Parameters
    ----------
    module : ir.Module
    style : Style
    names : mapping of str to str, optional
        Other names for numbers, for readers.
    before, beside : callable, optional
        Comments on a statement: lines that stand before it, and one behind its first line.
        Default: the operation of a number stands behind it.
    legend : callable, optional
        Comments that stand above a function.
    """
    checked(module)
    written = [_Function(module, f, style, names or {}, before, beside) for f in module.functions]
    lines: list[Line] = [(text, None) for text in _head(module, style, written)]
    for function in written:
        above = [] if legend is None else legend(function.function)
        lines += [("", None), ("", None), *((f"# {text}", None) for text in above)]
        lines += function.lines()
    text = "\n".join([line for line, _ in lines] + [""])
    used = frozenset().union(*(function.used for function in written))
    return Text(text, tuple(statement for _, statement in lines), module, style, used)


def _head(module: ir.Module, style: Style, written: Sequence[_Function]) -> list[str]:
    """Write what stands before the functions: imports, types and options."""
    kind = module.dtype.name
    other = ir.dtype_of(ir.Kind.OTHER_FLOAT, module.dtype).name
    used = sorted({name for function in written for name in function.used})
    called = {
        s.routine
        for f in module.functions
        for s in ir.walk(f.body)
        if isinstance(s, ir.Call) and s.routine in ir.ROUTINES
    }
    inner = any(f.inner for f in module.functions)
    packed = any(f.packed for f in module.functions)
    tiles = [
        *(["at"] if called else []),
        *(["start"] if inner else []),
        *(["pointer"] if packed else []),
    ]
    head = [
        f'"""Generated: {module.title}."""',
        "import numpy as np",
        f"from numba import {'carray, ' if inner or packed else ''}njit, types",
        f"from numpy import {kind} as F, {other} as D, int64 as I, uint64 as U, inf",
        f"from tinygrad_rnn.kernels.scalar import {', '.join(n for n in used if not n.startswith('int'))}",
        *(f"from tinygrad_rnn.kernels.integers import {n}" for n in used if n.startswith("int")),
        *([f"from tinygrad_rnn.kernels.tiles import {', '.join(tiles)}"] if tiles else []),
        "",
        f'options = {{{style.options}, "nogil": True, "cache": True}}',
    ]
    for array_kind, name in TYPES.items():
        if any(name in function.types for function in written):
            dtype = ir.dtype_of(array_kind, module.dtype)
            text = _type("boolean" if dtype.kind == "b" else dtype.name, 1, False)
            head.append(f"{name} = {text}")
    if inner:  # these are compiled for whoever calls them
        flags = '"no_cpython_wrapper": True, "no_cfunc_wrapper": True'
        head.append(f"of_loops = {{{style.options}, {flags}}}")
    if called:
        head.append(
            "# A matrix (N, K) with strides is packed once, and then multiplied with (K, B) to (N, B)."
        )
    for name in sorted(called):
        types = f"types.void(*[types.int64] * {ir.ROUTINES[name]})"
        head.append(f'{name} = types.ExternalFunction("{symbol(name, module.dtype)}", {types})')
    return head


class _Function:
    """The text of one function."""

    def __init__(
        self,
        module: ir.Module,
        function: ir.Function,
        style: Style,
        names: Mapping[str, str],
        before: Comments | None,
        beside: Comments | None,
    ) -> None:
        self.module, self.function, self.style, self.names = module, function, style, names
        self.before, self.beside = before, beside
        self.used = {"wide_vectors"}
        self.starts: dict[
            str, str
        ] = {}  # places that stand at the top of the step, with their names
        self.steady = {
            *function.sizes,
            *(function.size_table or ()),
        }  # names that do not change in a step
        self.count = 0
        body = self._block(function.body, 1)
        self.body = [*self._starts(1), *body]
        given = [] if function.inner or function.packed else function.arrays
        self.types = [self._type(a) for a in given]

    # --- the frame --------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """Return the function, line by line."""
        f = self.function
        given = [self._given(a) for a in f.arrays]
        if f.inner:
            head = [
                "@njit(**of_loops)",
                f"def {f.name}({', '.join([*(a.name for a in f.arrays), *f.sizes])}):",
            ]
            return [*((text, None) for text in (*head, f"{INDENT}wide_vectors()")), *self.body]
        tables = [] if f.size_table is None else ["n"]
        tables += [] if f.number_table is None else ["c"]
        kinds = [f"*[types.int64] * {len(f.sizes)}"]
        kinds += [_table("int64" if t == "n" else self.module.dtype.name) for t in tables]
        top = [f"{INDENT}wide_vectors()"]
        if f.packed:
            kinds.append(_type("int64", 1, True))
            arguments = [*f.sizes, *tables, "places"]
            top += [f"{INDENT}{a.name} = {_pointer(a, k)}" for k, a in enumerate(f.arrays)]
        else:
            kinds += self.types
            arguments = [*f.sizes, *tables, *given]
            top += [f"{INDENT}{line}" for a in f.arrays for line in _flattened(a)]
        top += [f"{INDENT}{name} = n[{k}]" for k, name in enumerate(f.size_table or ())]
        top += [f"{INDENT}{name} = c[{k}]" for k, name in enumerate(f.number_table or ())]
        head = [
            f"@njit(types.void({', '.join(kinds)}), **options)",
            f"def {f.name}({', '.join(arguments)}):",
        ]
        return [*((text, None) for text in (*head, *top)), *self.body]

    def _given(self, array: ir.Array) -> str:
        return array.name if array.axes == 1 else f"{array.name}_"

    def _type(self, array: ir.Array) -> str:
        dtype = array.in_memory(self.module.dtype)
        if array.axes == 1 and array.written and array.dtype is None:
            return TYPES[array.kind]
        return _type("boolean" if dtype.kind == "b" else dtype.name, array.axes, not array.written)

    # --- statements -------------------------------------------------------------------------------

    def _block(self, statements: Iterable[ir.Statement], depth: int) -> list[Line]:
        lines: list[Line] = []
        for statement in statements:
            if self.before is not None:
                lines += [(f"{INDENT * depth}# {text}", None) for text in self.before(statement)]
            lines += self._statement(statement, depth)
        return lines

    def _statement(self, statement: ir.Statement, depth: int) -> list[Line]:
        if isinstance(statement, ir.Loop):
            lanes = statement.kind is ir.LoopKind.LANES
            return self._lanes(statement, depth) if lanes else self._loop(statement, depth)
        pad = INDENT * depth
        if isinstance(statement, ir.Branch):
            lines: list[Line] = [(f"{pad}if {self._text(statement.condition)}:", statement)]
            lines += self._block(statement.then, depth + 1)
            if statement.otherwise:
                lines += [(f"{pad}else:", statement), *self._block(statement.otherwise, depth + 1)]
            return lines
        if isinstance(statement, ir.Define):
            rest = "" if statement.modulo is None else f" % {statement.modulo}"
            text = (
                f"({statement.value})"
                if rest and len(statement.value.terms) > 1
                else str(statement.value)
            )
            return [(f"{pad}{statement.name} = {text}{rest}", statement)]
        if isinstance(statement, ir.Buffer):
            dtype = ir.dtype_of(statement.array.kind, self.module.dtype).name
            return [
                (
                    f"{pad}{statement.array.name} = np.empty({statement.length}, np.{dtype})",
                    statement,
                )
            ]
        if isinstance(statement, ir.Fail):
            return [(f'{pad}raise IndexError("{statement.message}")', statement)]
        if isinstance(statement, ir.Call):
            arguments = ", ".join(self._argument(a) for a in statement.arguments)
            return [(f"{pad}{statement.routine}({arguments})", statement)]
        return [(pad + self._simple(statement, self._element), statement)]

    def _argument(self, argument: ir.Address | Linear | ir.Array) -> str:
        if isinstance(argument, ir.Address):
            return f"at({argument.array.name}, {argument.place})"
        if isinstance(argument, ir.Array):
            # a boolean in memory is no boolean to a pointer
            return argument.name if argument.kind is ir.Kind.BOOLEAN else f"start({argument.name})"
        return str(argument)

    def _simple(self, statement: ir.Statement, element: Callable[[ir.Access], str]) -> str:
        """Write a statement that is one line."""
        if isinstance(statement, ir.Load):
            text = f"{self._name(statement.name)} = {element(statement.access)}"
        elif isinstance(statement, (ir.Let, ir.Set)):
            text = f"{self._name(statement.name)} = {self._text(statement.value)}"
        elif isinstance(statement, ir.Store):
            text = f"{element(statement.access)} = {self._text(statement.value)}"
        else:
            assert isinstance(statement, ir.Accumulate)
            place = element(statement.access)
            text = f"{place} = {self._combined(place, statement)}"
        return text + self._comment(statement)

    def _comment(self, statement: ir.Statement) -> str:
        if self.beside is not None:
            found = list(self.beside(statement))
            return f"  # {found[0]}" if found else ""
        known = isinstance(statement, ir.Let) and statement.origin is not None
        return f"  # {statement.origin.operation}" if known and statement.origin else ""

    def _combined(self, place: str, statement: ir.Accumulate) -> str:
        value = ir.Apply(statement.combine, (ir.Var(place), statement.value))
        dtype = statement.dtype
        narrow = dtype is not None and dtype.kind in "iu" and dtype != np.int64
        return self._text(ir.Convert(ir.Kind.INTEGER, value, dtype) if narrow else value, raw=place)

    # --- loops ------------------------------------------------------------------------------------

    def _loop(self, loop: ir.Loop, depth: int) -> list[Line]:
        pad, time = INDENT * depth, loop.kind is ir.LoopKind.TIME
        lines: list[Line] = [(f"{pad}for {loop.index} in {self._range(loop)}:", loop)]
        if loop.rest:
            rest = f"min({loop.block}, {loop.stop} - {loop.index})"
            lines.append((f"{pad}{INDENT}{loop.rest} = {rest}", loop))
        if not time:
            return [*lines, *self._block(loop.body, depth + 1)]
        outer, self.starts = self.starts, {}
        defined = [s for s in loop.body if isinstance(s, ir.Define)]
        names = {loop.index, *([loop.rest] if loop.rest else []), *(s.name for s in defined)}
        self.steady |= names
        body = self._block([s for s in loop.body if not isinstance(s, ir.Define)], depth + 1)
        first = self._block(defined, depth + 1)
        lines += [*first, *self._starts(depth + 1), *body]
        self.steady -= names
        self.starts = outer
        return lines

    def _starts(self, depth: int) -> list[Line]:
        return [(f"{INDENT * depth}{name} = U({text})", None) for text, name in self.starts.items()]

    def _range(self, loop: ir.Loop) -> str:
        if loop.descending:
            return f"range({loop.stop + -1}, {loop.start + -1}, -1)"
        stop = self._stop(loop)
        if loop.block != 1:
            return f"range({loop.start}, {stop}, {loop.block})"
        return f"range({loop.start}, {stop})" if loop.start else f"range({stop})"

    def _stop(self, loop: ir.Loop) -> str:
        known = loop.stop.constant is not None
        return f"{loop.stop} * one" if known and self.style.open_extents else str(loop.stop)

    def _lanes(self, loop: ir.Loop, depth: int) -> list[Line]:
        """Write an innermost loop: the places where it begins, what it reads once, and its body."""
        places = _Places(self, loop, depth)
        body: list[Line] = []
        for statement in loop.body:
            if isinstance(statement, ir.Load) and not statement.access.place.stride(loop.index):
                text = self._simple(statement, lambda a: places.element(a))
                places.head.append((INDENT * depth + text, statement))
            else:
                text = self._simple(statement, lambda a: places.element(a))
                body.append((INDENT * (depth + 1) + text, statement))
        stop = self._stop(loop)
        span = f"range(U({stop}))" if self.style.unsigned else f"range({stop})"
        return [*places.head, (f"{INDENT * depth}for {loop.index} in {span}:", loop), *body]

    def _element(self, access: ir.Access) -> str:
        return f"{access.array.name}[{access.place}]"

    def fresh(self, letter: str) -> str:
        """Return a name for a place."""
        self.count += 1
        return f"{letter}_{self.count - 1}"  # no other name has such a form

    # --- numbers ----------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        return self.names.get(name, name)

    def _text(self, value: ir.Scalar, above: int = 0, raw: str = "") -> str:
        """Write a number; in brackets where an operator of precedence `above` needs them."""
        if isinstance(value, ir.Var):
            return value.name if value.name == raw else self._name(value.name)
        if isinstance(value, ir.Number):
            return literal(value.value, value.kind)
        if isinstance(value, ir.Index):
            text, terms = str(value.value), value.value.terms
            own = PRECEDENCE["+" if len(terms) > 1 else "*" if "*" in text else "neg"]
            return f"({text})" if own < above else text
        if isinstance(value, ir.SizeNumber):
            return _size_number(value)
        if isinstance(value, ir.Convert):
            inner = self._text(value.value, 0, raw)
            cut = value.dtype is not None and value.dtype != np.int64
            return (
                f"I(np.{value.dtype.name}({inner}))"
                if cut and value.dtype
                else f"{value.kind.value}({inner})"
            )
        assert isinstance(value, ir.Apply)
        sign, inputs = value.function, value.inputs
        own = PRECEDENCE.get(sign, 4 if sign in COMPARED else 0)
        if not own:
            self.used.add(sign)
            return f"{sign}({', '.join(self._text(v, 0, raw) for v in inputs)})"
        if sign in ("neg", "not"):
            text = f"{'-' if sign == 'neg' else 'not '}{self._text(inputs[0], own, raw)}"
        else:
            first, *others = inputs
            parts = [self._text(first, own if sign not in COMPARED else own + 1, raw)]
            parts += [self._text(v, own + (sign not in ("and", "or")), raw) for v in others]
            text = f" {sign} ".join(parts)
        return f"({text})" if own < above else text


class _Places:
    """Where the arrays of one loop over lanes begin."""

    def __init__(self, function: _Function, loop: ir.Loop, depth: int) -> None:
        self.function, self.loop, self.depth = function, loop, depth
        self.head: list[Line] = []
        self.known: dict[tuple[str, str], str] = {}

    def element(self, access: ir.Access) -> str:
        """Write an element of an array at the index of the loop."""
        stride = access.place.stride(self.loop.index)
        start = access.place.without(self.loop.index)
        array, index = access.array.name, self.loop.index
        unsigned = self.function.style.unsigned
        if not stride and not unsigned:
            return f"{array}[{start}]"
        place = self._start(start)
        if not stride:
            return f"{array}[{place}]"
        if stride.constant != 1:
            down = all(n < 0 for _, n in stride.terms)  # an unsigned number is not negative
            size = stride * -1 if down else stride
            step = f"U({size})" if unsigned else str(size)
            return f"{array}[{place} {'-' if down else '+'} {index} * {step}]"
        return (
            f"{array}[{place} + {index}]" if unsigned else f"{self._slice(array, place)}[{index}]"
        )

    def _start(self, start: Linear) -> str:
        """Return the name of a place: at the top of the step if it stays the same there."""
        function, text = self.function, str(start)
        if function.style.unsigned and start.names <= function.steady:
            if text not in function.starts:
                function.starts[text] = function.fresh("p")
            return function.starts[text]
        if ("", text) not in self.known:
            name = self.known["", text] = function.fresh("p")
            value = f"U({text})" if function.style.unsigned else text
            self.head.append((f"{INDENT * self.depth}{name} = {value}", self.loop))
        return self.known["", text]

    def _slice(self, array: str, place: str) -> str:
        if (array, place) not in self.known:
            name = self.known[array, place] = self.function.fresh("b")
            span = f"{place} : {place} + {self.loop.stop}"
            self.head.append((f"{INDENT * self.depth}{name} = {array}[{span}]", self.loop))
        return self.known[array, place]


def literal(value: Any, kind: ir.Kind) -> str:
    """Write a number as code of a kind."""
    if kind is ir.Kind.INTEGER:
        value = int(
            value
        )  # Python would read -(2 ** 63) as the negative of a number that is too large
        return str(value) if value > -(2**63) else f"({value + 1} - 1)"
    if kind is ir.Kind.BOOLEAN:
        return str(bool(value))
    number = float(value)
    return f"{kind.value}(inf * 0)" if math.isnan(number) else f"{kind.value}({number!r})"


def _size_number(n: ir.SizeNumber) -> str:
    if n.kind is ir.Kind.INTEGER:
        return f"({int(n.factor)} * ({n.size} + {int(n.offset)}))"
    return f"{n.kind.value}({float(n.factor)!r} * ({n.size} + {float(n.offset)!r}) ** {float(n.power)!r})"


def _type(dtype: str, axes: int, readonly: bool) -> str:
    return f"types.Array(types.{dtype}, {axes}, 'C'{', readonly=True' if readonly else ''})"


def _table(dtype: str) -> str:
    return _type(dtype, 1, True)


def _flattened(array: ir.Array) -> list[str]:
    if array.axes == 1:
        return []
    given = f"{array.name}_"
    flat = f"{given}.reshape({given}.size)" if array.axes else f"{given}.reshape(1)"
    return [f"{array.name} = {flat}"]


def _pointer(array: ir.Array, k: int) -> str:
    if array.kind is ir.Kind.BOOLEAN:
        return f"carray(pointer(places[{k}], False), (1,))"
    return f"pointer(places[{k}], {array.kind.value}(0))"
