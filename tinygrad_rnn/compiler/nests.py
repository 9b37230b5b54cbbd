"""The text of the loops of a group, as a module for numba.

Loops run over the axes of the group, adjacent ones as one where every array allows it. The
innermost loop is the one that LLVM turns into vector instructions; the first one is shared among
threads. A reduction that is used again in the same row cuts the row into phases: a loop for the
sum, then what is computed of the sum, then the next loop. What a later phase reads of an earlier
one is computed again if it is cheap, and otherwise stored, in a buffer as long as a row. Sums for
others are added up in arrays of their own, one for each thread.

Sizes, strides and numbers are arguments, so one module serves arrays of any sizes (short innermost
loops excepted, which are unrolled).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels.fused import _expression
from .groups import REDUCTIONS, Axes, Group
from .lower import COSTLY
from .values import Layout, Value, contiguous, seen_through, spread

# elements of a flat loop that are summed in the dtype of the elements; blocks are added up in
# float64
BLOCK = 4_096
LONG = 32_768  # rows of more elements than this are summed in float64
SHORT = 64  # innermost loops of at most this many elements have their length in the text
# numbers that stand in the text, with their negatives
PLAIN = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, math.inf)
STEP = {"sum": ("0.0", "plus"), "max": ("-inf", "largest"), "min": ("inf", "smallest")}


class Place(NamedTuple):
    """Where a value of a nest lies in an array.

    Which array, where it begins, and a stride for each axis of the group.
    """

    array: Any
    offset: int
    strides: tuple[int, ...]


def layout(value: Value, stored: dict[Value, tuple[int, ...]]) -> tuple[Value, Layout]:
    """The value whose array holds the elements of a value, and where in it they are.

    `stored` has the shapes of the arrays of values.

    An array may have fewer elements than its value, which repeats them: where a view is then none
    any more, it has an array of its own.
    """
    chain = [value]
    while chain[-1].view:
        chain.append(chain[-1].inputs[0])
    source = chain.pop()
    shape = stored.get(source, source.shape)
    place = spread(contiguous(shape), shape, source.shape)
    for view in reversed(chain):
        found = seen_through(view, place)
        source, place = (view, contiguous(view.shape)) if found is None else (source, found)
    return source, place


class Nest:
    """The loops of one group.

    Parameters
    ----------
    group : Group
    results : list of Value
        The members that others use, in order.
    stored : dict of Value to shape
        The shapes of the arrays in which values lie that have fewer elements than their own shapes
        say; completed with the results.

    Attributes
    ----------
    arrays : list of Value
        What the compiled function reads, in order.
    sizes, numbers : arrays
        What it is given besides.
    count : int
        Length of the loop that is shared among threads.
    """

    def __init__(
        self, group: Group, results: Sequence[Value], stored: dict[Value, tuple[int, ...]]
    ) -> None:
        self.group, self.results = group, list(results)
        self.arrays: list[Value] = []
        self._places: dict[Any, Place] = {}
        self._operands: dict[tuple[Value, Value], Place] = {}
        for member in group.members:
            axes = (
                group.axes[member]
                if member.op not in REDUCTIONS
                else group.where(member.inputs[0]) or group.whole
            )
            for source in member.sources:
                if group.where(source) is None:
                    self._operands[source, member] = self._operand(source, axes, stored)
        for k, result in enumerate(self.results):
            axes = group.axes[result]
            stored[result] = shape = tuple(
                [1 if a is None else n for a, n in zip(axes, result.shape, strict=True)]
            )
            self._places[result] = Place(
                f"o{k}", 0, self._spread(axes, contiguous(shape).strides, shape)
            )
        self.shapes = [stored[r] for r in self.results]
        self._scalars = {f"x{k}" for k, a in enumerate(self.arrays) if not a.shape}
        self._loops()
        self._phases()
        self._write()

    # --- where things are ------------------------------------------------------------------------------------------------------

    def _operand(self, source: Value, axes: Axes, stored: dict[Value, tuple[int, ...]]) -> Place:
        base, place = layout(source, stored)
        if base not in self.arrays:
            self.arrays.append(base)
        axes = axes[len(axes) - len(source.shape) :]
        return Place(
            f"x{self.arrays.index(base)}",
            place.offset,
            self._spread(axes, place.strides, source.shape),
        )

    def _spread(self, axes: Axes, steps: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
        strides = [0] * len(self.group.shape)
        for a, step, n in zip(axes, steps, shape, strict=True):
            if a is not None and n > 1:
                strides[a] = step
        return tuple(strides)

    def _loops(self) -> None:
        """Which axes of the group each loop runs over."""
        group, shape = self.group, self.group.shape
        places = [*self._operands.values(), *self._places.values()]
        loops: list[list[int]] = []
        for a in sorted(group.live):
            if (
                loops
                and a != group.split
                and all(p.strides[loops[-1][-1]] == p.strides[a] * shape[a] for p in places)
            ):
                loops[-1].append(a)
            else:
                loops.append([a])
        self.flat = group.split is None and len(loops) == 1
        cut = len([axes for axes in loops if group.split is None or axes[0] < group.split])
        self.outer = [] if self.flat else loops[: cut if group.split is not None else -1]
        self.inner = loops[len(self.outer) :]
        self.length = [math.prod(shape[a] for a in axes) for axes in loops]
        self.inner_axes = {a for axes in self.inner for a in axes}
        self.row = math.prod(self.length[len(self.outer) :])
        self.count = self.length[0] if self.flat or self.outer else 1

    def _inside(self, value: Value) -> bool:
        """Whether a member depends on where in the row it is."""
        return any(a in self.inner_axes for a in self.group.axes[value])

    def _member(self, source: Value) -> Value | None:
        """The member that a value is or looks at, if the group may use it."""
        if self.group.where(source) is None:
            return None
        while source.view:
            source = source.inputs[0]
        return source

    def _phases(self) -> None:
        """After which loops of the row each member can be computed."""
        self.phase: dict[Value, int] = {}
        for member in self.group.members:
            phases = [self.phase[m] for s in member.sources if (m := self._member(s)) is not None]
            after = member.op in REDUCTIONS and self._source_inside(member)
            self.phase[member] = max(phases, default=0) + (after and member not in self.group.last)

    def _source_inside(self, reduction: Value) -> bool:
        member = self._member(reduction.inputs[0])
        return self._inside(member) if member is not None else True

    # --- the text --------------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        self._kept: dict[Value, Place] = {}
        while True:
            self._numbers: list[float] = []
            self._sizes: list[int] = []
            self._loaded: dict[Any, str] = {}
            self._used = {"wide_vectors"}
            self._names: dict[Value, str] = {}
            self._computed: dict[Value, set[int]] = {}
            body = self._body()
            twice = [
                m
                for m, phases in self._computed.items()
                if len(phases) > 1
                and m.op in COSTLY
                and m not in self._kept
                and m not in self._places
            ]
            if not twice:
                break
            for m in twice:
                strides = [0] * len(self.group.shape)
                step = 1
                for a in sorted(self.inner_axes, reverse=True):
                    if a in self.group.axes[m]:
                        strides[a] = step
                        step *= self.group.shape[a]
                self._kept[m] = Place(f"w{len(self._kept)}", 0, tuple(strides))
        self._lines = body
        self.sizes = np.array(self._sizes, np.int64)
        self.numbers = np.array(self._numbers, self.group.dtype)

    def _size(self, value: int, name: str) -> str:
        """A variable for a size or a stride."""
        if name not in self._loaded:
            self._loaded[name] = f"{name} = n[{len(self._sizes)}]"
            self._sizes.append(value)
        return name

    def _literal(self, value: Any) -> str:
        number = float(value)
        if abs(number) in PLAIN or number != number:
            return f"F({number!r})" if number == number else "F(inf * 0)"
        if number not in self._numbers:
            self._numbers.append(number)
        return f"c{self._numbers.index(number)}"

    def _start(self, place: Place, loops: Sequence[int]) -> str:
        """Where the part of an array begins at which these loops stand."""
        parts = []
        everything = [*self.outer, *self.inner]
        for k in loops:
            stride = place.strides[everything[k][-1]]
            if stride == 1:
                parts.append(f"i{k}")
            elif stride:
                parts.append(f"i{k} * {self._size(stride, f's{self._number(place)}_{k}')}")
        if place.offset:
            parts.append(self._size(place.offset, f"f{self._number(place)}"))
        return " + ".join(parts) or "0"

    def _number(self, place: Place) -> int:
        known = list(
            dict.fromkeys([*self._operands.values(), *self._places.values(), *self._kept.values()])
        )
        return known.index(place)

    def _at(self, place: Place, loops: Sequence[int]) -> str:
        """The element at which these loops stand."""
        return (
            f"{place.array}[{self._start(place, loops)}]"
            if place.array not in self._scalars
            else place.array
        )

    def _stride(self, place: Place) -> int:
        """Along the innermost loop."""
        return place.strides[self.inner[-1][-1]] if self.inner else 0

    def _body(self) -> list[tuple[str, Value | None]]:
        lines: list[tuple[str, Value | None]] = []
        indent = 0

        def put(text: str, value: Value | None = None) -> None:
            lines.append(("    " * indent + text, value))

        loops = list(range(len(self.outer)))
        if self.flat:
            put(f"for i0 in range(lo, hi, {BLOCK}):")
            indent += 1
            put(f"m = min({BLOCK}, hi - i0)")
            self._m = "m"
            loops = [0]
        else:
            put("for i0 in range(lo, hi):")
            indent += 1
            for k in loops[1:]:
                put(f"for i{k} in range({self._size(self.length[k], f'n{k}')}):")
                indent += 1
            last = self.length[-1] if self.inner else 1
            self._m = str(last) if last <= SHORT else self._size(last, "m")
        self._row_names: dict[Any, str] = {}
        for phase in range(max(self.phase.values(), default=0) + 1):
            for member in self.group.members:
                if (
                    self.phase[member] == phase
                    and not self._inside(member)
                    and (member.op not in REDUCTIONS or member in self.group.last)
                ):
                    self._row_line(member, loops, put)
                elif (
                    self.phase[member] == phase
                    and member.op in REDUCTIONS
                    and member not in self.group.last
                    and member in self._places
                ):
                    put(
                        f"{self._places[member].array}[{self._start(self._places[member], loops)}] = {self._names[member]}",
                        member,
                    )
            indent = self._phase(phase, loops, put, lines, indent)
        return lines

    def _row_line(self, member: Value, loops: list[int], put: Any) -> None:
        """A member that is one number for the whole row."""
        if member in self.group.last:
            if self._source_inside(member):
                return
            source = self._member(member.inputs[0])
            assert source is not None
            place = self._places[member]
            put(f"{place.array}[{self._start(place, loops)}] += {self._names[source]}", member)
            return
        names: dict[Value, str] = {}
        for source in member.sources:
            inner = self._member(source)
            if inner is not None:
                names[source] = self._names[inner]
                continue
            place = self._operands[source, member]
            if place not in self._row_names:
                self._row_names[place] = f"q{len(self._row_names)}"
                put(f"{self._row_names[place]} = {self._at(place, loops)}")
            names[source] = self._row_names[place]
        self._names[member] = f"r{len(self._names)}"
        put(f"{self._names[member]} = {self._text(member, names)}", member)
        if member in self._places:
            place = self._places[member]
            put(f"{place.array}[{self._start(place, loops)}] = {self._names[member]}")

    def _phase(self, phase: int, loops: list[int], put: Any, lines: list[Any], indent: int) -> int:
        """The loop of one phase over the row."""
        group = self.group
        writes: list[Value] = []
        sums: list[Value] = []
        adds: list[Value] = []
        for member in group.members:
            if member.op in REDUCTIONS:
                source = self._member(member.inputs[0])
                at = 0 if source is None else self.phase[source]
                if at == phase and self._source_inside(member):
                    here = (
                        adds
                        if member in group.last and self._stride(self._places[member])
                        else sums
                    )
                    here.append(member)
            elif (
                self.phase[member] == phase
                and self._inside(member)
                and (member in self._places or member in self._kept)
            ):
                writes.append(member)
        if not (writes or sums or adds):
            return indent
        nest = (
            list(range(len(self.outer), len(self.outer) + len(self.inner) - 1))
            if not self.flat
            else []
        )
        depth = indent
        long = "D" if self.row > LONG and not self.flat else "F"
        totals: dict[Value, str] = {}
        for s in sums:
            totals[s] = f"a{len(self._names) + len(totals)}_{phase}"
            if s not in group.last:
                lines.append(("    " * depth + f"{totals[s]} = {long}({STEP[s.op][0]})", None))
        for k in nest:
            lines.append(
                (
                    "    " * depth + f"for i{k} in range({self._size(self.length[k], f'n{k}')}):",
                    None,
                )
            )
            depth += 1
        everything = [*loops, *nest]
        head: list[str] = []
        inside: list[tuple[str, Value | None]] = []
        names: dict[Any, str] = {}

        def array(place: Place) -> str:
            """A variable for an element of an array."""
            if ("element", place) not in names:
                number = self._number(place)
                start, stride = self._start(place, everything), self._stride(place)
                if stride == 0:
                    head.append(f"e{number} = {self._at(place, everything)}")
                    names["element", place] = f"e{number}"
                elif stride == 1:
                    head.append(f"p{number} = {start}")
                    head.append(f"b{number} = {place.array}[p{number} : p{number} + {self._m}]")
                    names["element", place] = f"b{number}[j]"
                else:
                    head.append(f"p{number} = {start}")
                    names["element", place] = (
                        f"{place.array}[p{number} + j * {self._size(stride, f's{number}_j')}]"
                    )
            return names["element", place]

        def element(source: Value, member: Value) -> str:
            m = self._member(source)
            if m is None:
                place = self._operands[source, member]
                if place not in names:
                    text = array(place)
                    if text.isidentifier():
                        names[place] = text
                    else:
                        names[place] = f"v{self._number(place)}"
                        inside.append((f"{names[place]} = {text}", None))
                return names[place]
            return compute(m)

        def compute(m: Value) -> str:
            if not self._inside(m):
                return self._names[m]
            if m not in names:
                place = self._places.get(m) or self._kept.get(m)
                if place is not None and self.phase[m] < phase:
                    text, value = array(place), None
                else:
                    self._computed.setdefault(m, set()).add(phase)
                    text, value = self._text(m, {s: element(s, m) for s in m.sources}), m
                names[m] = f"t{group.members.index(m)}"
                inside.append((f"{names[m]} = {text}", value))
            return names[m]

        for w in writes:
            text = compute(w)
            for place in [p for p in (self._places.get(w), self._kept.get(w)) if p is not None]:
                target = array(place) if self._stride(place) else self._at(place, everything)
                inside.append((f"{target} = {text}", None))
        for s in adds:
            text = element(s.inputs[0], s)
            inside.append((f"{array(self._places[s])} += {text}", s))
        for s in sums:
            text = element(s.inputs[0], s)
            self._used.add(STEP[s.op][1])
            inside.append(
                (
                    f"{totals[s]} = {STEP[s.op][1]}({totals[s]}, {long + '(' + text + ')' if long == 'D' else text})",
                    s,
                )
            )
        pad = "    " * depth
        for s in sums:
            if s in group.last:
                lines.append((f"{pad}{totals[s]} = {long}({STEP[s.op][0]})", None))
        lines += [(pad + text, None) for text in head]
        lines.append((f"{pad}for j in range({self._m}):", None))
        lines += [(f"{pad}    {text}", value) for text, value in inside]
        for s in sums:
            if s in group.last:
                place = self._places[s]
                lines.append(
                    (
                        f"{pad}{place.array}[{self._start(place, [] if self.flat else everything)}] += {totals[s]}",
                        None,
                    )
                )
        for s in sums:
            if s not in group.last:
                self._names[s] = f"r{len(self._names)}"
                # the largest and smallest elements have no -0.0, as in `ops/reductions.py`
                zero = "" if s.op == "sum" else " + F(0.0)"
                lines.append((f"{'    ' * indent}{self._names[s]} = F({totals[s]}){zero}", s))
        return indent

    def _text(self, member: Value, names: dict[Value, str]) -> str:
        """A member's expression."""
        first = member.inputs[0]
        if member.op == "astype":
            if first.dtype != np.bool_:
                return names[first]
            self._used.add("select")
            return f"select({names[first]}, F(1.0), F(0.0))"
        if (
            member.op == "power"
            and isinstance(member.inputs[1], (int, float))
            and member.inputs[1] in (2, 3, 4)
        ):
            return " * ".join([names[first]] * int(member.inputs[1]))
        text, functions = _expression(member, names, self._literal)
        self._used |= functions
        return text

    def source(self, where: Any = None) -> str:
        """The module; `where` gives for a value what to say of it besides its operation."""
        kind = self.group.dtype.name
        arrays = [
            f"Array(types.{_kind(a)}, {len(a.shape)}, 'C', readonly=True)" for a in self.arrays
        ]
        results = [
            f"Array(types.{_kind(r) if not self.total(r) else 'float64'}, 1, 'C')"
            for r in self.results
        ]
        ints, floats = (
            "Array(types.int64, 1, 'C', readonly=True)",
            f"Array(types.{kind}, 1, 'C', readonly=True)",
        )
        kinds = [ints, floats, "types.int64", "types.int64", *arrays, *results]
        names = [
            "n",
            "c",
            "lo",
            "hi",
            *(f"u{k}" for k in range(len(self.arrays))),
            *(f"o{k}" for k in range(len(self.results))),
        ]
        top = [
            "wide_vectors()",
            *(f"c{k} = c[{k}]" for k in range(len(self._numbers))),
            *self._loaded.values(),
        ]
        top += [
            f"x{k} = u{k}.reshape(u{k}.size)" if a.shape else f"x{k} = u{k}[()]"
            for k, a in enumerate(self.arrays)
        ]
        top += [
            f"{place.array} = empty({self.row if self.row <= SHORT else self._row_length()}, F)"
            for place in self._kept.values()
        ]
        lines: list[tuple[str, Value | None]] = [(f"    {text}", None) for text in top] + [
            (f"    {text}", value) for text, value in self._lines
        ]
        text = [
            line
            + ("" if value is None else f"  # {value.op}" + ("" if where is None else where(value)))
            for line, value in lines
        ]
        return "\n".join(
            [
                '"""Generated: the loops of a group of operations."""',
                "from numba import njit, types",
                f"from numpy import empty, float64 as D, {kind} as F, inf",
                f"from tinygrad_rnn.kernels.scalar import {', '.join(sorted(self._used))}",
                "",
                "Array = types.Array",
                f"signature = types.void({', '.join(kinds)})",
                "",
                "",
                '@njit(signature, error_model="numpy", fastmath={"contract"}, nogil=True, cache=True)',
                f"def kernel({', '.join(names)}):",
                *text,
                "",
            ]
        )

    def _row_length(self) -> str:
        inner = range(len(self.outer), len(self.length))
        return " * ".join(
            [*(f"n{k}" for k in itertools.islice(inner, len(self.inner) - 1)), self._m]
        )

    def total(self, result: Value) -> bool:
        """Whether a result is one number, added up in float64."""
        return result in self.group.last and math.prod(self.shapes[self.results.index(result)]) == 1


def _kind(value: Value) -> str:
    return "boolean" if value.dtype == np.bool_ else value.dtype.name
