"""A program as a straight line.

Calls of compiled nests and of NumPy, one after the other, without a tape.
"""

from __future__ import annotations

import keyword
import linecache
import math
import os
import pickle
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..core.tape import Leaf
from ..kernels import runtime
from ..kernels.fused import SHARED
from .groups import Group, arrange
from .nests import Nest
from .op import CompileError
from .values import SMALL, Value, alive, base

# no fault of the code: NumPy can do without it
MACHINE = (OSError, MemoryError, EOFError, pickle.UnpicklingError)


class NoCode(Exception):
    """The machine failed to compile a nest: it has no room for it."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Launch:
    """A compiled nest, as a function of arrays to a list of arrays."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.results = [
            (shape, np.dtype(np.float64) if nest.total(r) else r.dtype)
            for r, shape in zip(nest.results, nest.shapes, strict=True)
        ]
        self.last = [r in nest.group.last for r in nest.results]
        self.flat = [
            (np.zeros if last else np.empty, math.prod(s), d)
            for (s, d), last in zip(self.results, self.last, strict=True)
        ]
        self.adds = any(self.last)
        self.large = nest.count > 1 and math.prod(nest.group.shape) >= SHARED
        self.code: Callable[..., Any] | None = None

    def __call__(self, *arrays: Array) -> list[Array]:
        """The results of the nest, which is compiled at the first call."""
        nest, code = self.nest, self.code
        if code is None:
            try:
                code = self.code = runtime.load(nest.source(), distinct=True).kernel
            except MACHINE as error:
                raise NoCode(error) from error
            except Exception as error:
                raise self._refused(error) from error
        parts = min(runtime.threads(), nest.count) if self.large else 1
        if parts == 1:
            flat = [make(size, dtype) for make, size, dtype in self.flat]
            code(nest.sizes, nest.numbers, 0, nest.count, *arrays, *flat)
            outs = [o.reshape(shape) for o, (shape, _) in zip(flat, self.results, strict=True)]
        else:
            outs = [
                np.zeros((parts, *shape), dtype) if last else np.empty(shape, dtype)
                for (shape, dtype), last in zip(self.results, self.last, strict=True)
            ]
            jobs = []
            for i in range(parts):
                lo, hi = nest.count * i // parts, nest.count * (i + 1) // parts
                mine = [
                    (o[i : i + 1] if last else o).reshape(-1)
                    for o, last in zip(outs, self.last, strict=True)
                ]
                jobs.append((nest.sizes, nest.numbers, lo, hi, *arrays, *mine))
            runtime.share(code, jobs)
            outs = [o.sum(axis=0) if last else o for o, last in zip(outs, self.last, strict=True)]
        if self.adds:
            outs = [
                np.asarray(o, nest.group.dtype) if last else o
                for o, last in zip(outs, self.last, strict=True)
            ]
        return outs

    def _refused(self, error: Exception) -> CompileError:
        """What a fault of the generated code is to its user.

        The operation, or all of them, with the lines that they come from.
        """
        said = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
        numbers = [getattr(error, "lineno", None), *map(int, re.findall(r"line (\d+)", said))]
        lines = self.nest.source(line_of).splitlines()
        found = [
            lines[n - 1].partition("  # ")[2]
            for n in numbers
            if n is not None and 0 < n <= len(lines) and "  # " in lines[n - 1]
        ]
        found = found[-1:] or list(
            dict.fromkeys(f"{m.op}{line_of(m)}" for m in self.nest.group.members)
        )
        found = found if len(found) < 4 else [*found[:3], f"{len(found) - 3} others"]
        first = next(
            (
                line.strip()
                for line in said.splitlines()
                if line.strip() and not line.startswith(("Failed in", "During:", "File "))
            ),
            "",
        )
        return CompileError(
            f"tg.jit: the code for {'; '.join(found)} is refused ({type(error).__name__}: {first[:200]}). The fault is the compiler's; within tg.eager() the "
            "function runs as if it were not compiled."
        )


class Line:
    """A program that is run on arrays, by its attribute `run`.

    Parameters
    ----------
    values : list of Value
        In order.
    inputs : list of Value
        What is given.
    outputs : list of Value
    name : str
        Of the function in the generated text.
    """

    def __init__(
        self, values: Sequence[Value], inputs: Sequence[Value], outputs: Sequence[Value], name: str
    ) -> None:
        self.name, self.inputs, self.outputs = name, list(inputs), list(outputs)
        self.launches: list[Launch] = []
        self._names = {v: f"g{k}" for k, v in enumerate(self.inputs)}
        self._scope: dict[str, Any] = {"asarray": np.asarray, "broadcast_to": np.broadcast_to}
        self._lines: list[tuple[str, Value | Launch | None]] = []
        self._stored: dict[Value, tuple[int, ...]] = {}
        self._tidy: set[Value] = set()  # what is known to be an array without gaps
        self._write(alive(values, self.outputs))
        self.run: Callable[..., tuple[Any, ...]] = self._compiled()

    def _write(self, values: Sequence[Value]) -> None:
        order = arrange(values)
        readers: dict[Value, set[Any]] = {}
        for entry in order:
            for value in entry.members if isinstance(entry, Group) else [entry]:
                for source in value.sources:
                    if not (isinstance(entry, Group) and entry.where(source) is not None):
                        readers.setdefault(base(source), set()).add(entry)
        for output in self.outputs:
            readers.setdefault(base(output), set()).add(None)
        for entry in order:
            if isinstance(entry, Value):
                self._numpy(entry)
                continue
            if math.prod(entry.shape) < SMALL or not _pays(entry):
                for member in entry.members:
                    self._numpy(member)
                continue
            results = [m for m in entry.members if m in readers]
            nest = Nest(entry, results, self._stored)
            launch = Launch(nest)
            for array in nest.arrays:
                self._make_tidy(array)
            for r in results:
                self._names[r] = f"v{len(self._names)}"
                self._tidy.add(r)
            called = f"k{len(self.launches)}"
            self._scope[called] = launch
            self.launches.append(launch)
            targets = ", ".join(self._names[r] for r in results)
            self._put(
                f"{targets}{',' if len(results) == 1 else ''} = {called}({', '.join(self._names[a] for a in nest.arrays)})",
                launch,
            )
        self._put(f"return ({''.join(self._array(o) + ', ' for o in self.outputs)})")

    def _put(self, text: str, value: Value | Launch | None = None) -> None:
        self._lines.append((text, value))

    def _make_tidy(self, value: Value) -> None:
        """Make the variable of a value an array without gaps."""
        name = self._name(value)
        if value not in self._tidy:
            self._tidy.add(value)
            self._put(f"{name} = asarray({name}, order='C')")

    def _array(self, value: Value) -> str:
        """A variable with a value as an array of its own shape."""
        name = self._name(value)
        if value in self._stored and self._stored[value] != value.shape:
            return f"broadcast_to({name}, {value.shape})"
        return name

    def _name(self, value: Value) -> str:
        """The variable of a value; a view is made here."""
        if value not in self._names:
            if value.primitive is None:
                self._names[value] = name = f"a{len(self._names)}"
                assert isinstance(value.node, Leaf)  # a constant of the recording
                self._scope[name] = np.asarray(value.node.value, order="C")
                self._tidy.add(value)
            else:
                assert value.view
                self._numpy(value)
        return self._names[value]

    def _numpy(self, value: Value) -> None:
        """One operation by its own forward function."""
        assert value.primitive is not None
        arguments = []
        for i in value.inputs:
            if isinstance(i, Value):
                arguments.append(self._array(i))
            else:
                arguments.append(self._constant(i))
        arguments += [f"{k}={self._constant(p)}" for k, p in value.params.items()]
        function = (
            value.op if value.op.isidentifier() and not keyword.iskeyword(value.op) else "operation"
        )
        if self._scope.setdefault(function, value.primitive.forward) is not value.primitive.forward:
            function = f"{value.op}_{len(self._scope)}"
            self._scope[function] = value.primitive.forward
        self._names[value] = f"v{len(self._names)}"
        self._put(f"{self._names[value]} = {function}({', '.join(arguments)})", value)

    def _constant(self, value: Any) -> str:
        if type(value) in (bool, int, type(None)) or (
            type(value) is float and math.isfinite(value)
        ):
            return repr(value)
        if type(value) is tuple and all(type(v) is int for v in value):
            return repr(value)
        name = f"p{len(self._scope)}"
        self._scope[name] = value
        return name

    def _compiled(self) -> Callable[..., tuple[Any, ...]]:
        scope = dict(self._scope)
        exec(compile(self._text(None), f"<tg.jit {self.name}>", "exec"), scope)
        found: Callable[..., tuple[Any, ...]] = scope[self.name]
        return found

    def _text(self, note: Callable[[Any], str] | None) -> str:
        lines = self._released()
        body = [
            f"    {text}" + (note(value) if note is not None and value is not None else "")
            for text, value in lines
        ]
        return "\n".join(
            [f"def {self.name}({', '.join(f'g{k}' for k in range(len(self.inputs)))}):", *body, ""]
        )

    def _released(self) -> list[tuple[str, Any]]:
        """The lines, each variable deleted after the last line that reads it, so that its memory is used again."""
        last: dict[str, int] = {}
        for k, (text, _) in enumerate(self._lines):
            for name in re.findall(r"\bv\d+\b", text):
                last[name] = k
        lines: list[tuple[str, Any]] = []
        for k, (text, value) in enumerate(self._lines):
            lines.append((text, value))
            gone = sorted(name for name, at in last.items() if at == k and k < len(self._lines) - 1)
            if gone:
                lines.append((f"del {', '.join(gone)}", None))
        return lines

    def source(self) -> str:
        """The text, with the lines of the user's code that each part holds, and the nests."""

        def note(value: Any) -> str:
            return "" if isinstance(value, Launch) else f"  #{line_of(value)}"

        nests = []
        for k, launch in enumerate(self.launches):
            text = launch.nest.source(line_of).partition("\n\n\n")[2]
            nests.append(
                f"# {'x'.join(map(str, launch.nest.group.shape))}\n{text.replace('def kernel(', f'def k{k}(')}"
            )
        return "\n\n".join([*nests, self._text(note)])


def _pays(group: Group) -> bool:
    """Whether one loop is better than NumPy's: for several operations, not for one."""
    return len([m for m in group.members if m.op not in ("zeros_like", "astype")]) > 1


def line_of(value: Value) -> str:
    """For comments: the place in the user's code that a value comes from, and what stands there."""
    where = value.node.where
    if where.code is None or where.line is None:
        return ""
    text = linecache.getline(where.code.co_filename, where.line).strip()
    return f" {os.path.basename(where.code.co_filename)}:{where.line}{': ' + text if text else ''}"
