"""A program as a straight line on the host: calls of compiled loops and of NumPy, without a tape."""

from __future__ import annotations

import itertools
import keyword
import linecache
import math
import os
import pickle
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.primitive import Array
from ..kernels import blas, runtime
from ..loops import ir
from ..loops.elementwise import SHARED
from ..loops.launch import CodeRefused, Launch, compiled, why
from ..loops.lift import Lifted
from ..loops.style import KERNELS
from ..loops.writer import Text, write
from ..ops.facts import Cost, facts_of, is_logical, is_zero
from ..ops.linear import matmul
from .contracted import CONTRACT, contract, product
from .fusion import FusionGroup, Rules, dtypes_of, fuse, read_outside
from .inside import RUN
from .layout import Layout, Where, base, contiguous, is_view, seen_through, spread
from .natives import Unfit
from .nest import BOUNDS, Nest
from .program import SMALL, constant_of
from .straight import Left, Straight
from .value import CompileError, Refused, Value, alive, operations

# no fault of the code: NumPy can do without it
MACHINE = (OSError, MemoryError, EOFError, pickle.UnpicklingError)
BOOL = np.dtype(np.bool_)


class NoCode(Exception):
    """The machine failed to compile loops: it has no room for them."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class NoLines(Exception):
    """What a program is given was left by one call, and lines cannot read it."""


def fusable(value: Value) -> bool:
    """Whether there is a loop for an elementwise operation on these dtypes."""
    if value.leaf or 0 in value.shape:
        return False
    kinds = [i.dtype for i in value.sources]
    dtypes = dtypes_of(value)
    if len({d for d in dtypes if d in ir.FLOATS}) != 1:
        return False
    if any(d not in ir.FLOATS and d != BOOL for d in dtypes):
        return False
    if facts_of(value.primitive).casts:
        return value.dtype in ir.FLOATS
    primitive = value.primitive
    if primitive is None or primitive.scalar is None:
        return False
    if is_logical(primitive):
        return all(d == BOOL for d in kinds)
    numeric = range(len(value.inputs))[primitive.promotes]  # the others are conditions
    return all(
        (i.dtype in ir.FLOATS if k in numeric else i.dtype == BOOL)
        for k, i in enumerate(value.inputs)
        if isinstance(i, Value)
    )


def reducible(value: Value) -> bool:
    """Whether it is a reduction of floating values for which there is a loop."""
    reduction = facts_of(value.primitive).reduction
    if value.leaf or reduction is None or isinstance(reduction.start, bool):
        return False
    return value.inputs[0].dtype in ir.FLOATS and 0 not in value.inputs[0].shape


def _float_of(value: Value) -> np.dtype[Any]:
    return next(d for d in dtypes_of(value) if d in ir.FLOATS)


RULES = Rules(fusable, reducible, _float_of, any_last=False, contracts=False, repeats=True)


def whole_layout(value: Value, stored: dict[Value, tuple[int, ...]]) -> tuple[Value, Layout]:
    """Return the value whose array holds the elements of a value, and where in it they are.

    An array may have fewer elements than its value, which repeats them: `stored` has the shapes of
    the arrays. Where a view is then none any more, it has an array of its own.
    """
    chain = [value]
    while is_view(chain[-1]):
        chain.append(chain[-1].inputs[0])
    source = chain.pop()
    shape = stored.get(source, source.shape)
    layout = spread(contiguous(shape), shape, source.shape)
    for view in reversed(chain):
        found = seen_through(view, layout)
        if found is None:
            source, layout = view, contiguous(view.shape)
        else:
            layout = found
    return source, layout


class KernelCall:
    """The compiled loops of a group, as a function of arrays to a list of arrays.

    Parameters
    ----------
    group : FusionGroup
    results : sequence of Value
        The members that others use, in order.
    stored : dict of Value to shape
        The shapes of the arrays of values that have fewer elements than their values; completed
        with the results.

    Attributes
    ----------
    arrays : list of Value
        What it reads, in order.
    """

    def __init__(
        self, group: FusionGroup, results: Sequence[Value], stored: dict[Value, tuple[int, ...]]
    ) -> None:
        self.group, self.arrays = group, list[Value]()
        self.dtype: np.dtype[Any] = group.apart
        places: dict[Value, ir.Array] = {}

        def find(value: Value, by_rows: bool) -> Where:
            source, layout = whole_layout(value, stored)
            if source not in places:
                kind = ir.kind_of(source.dtype, self.dtype)
                places[source] = ir.Array(
                    f"x{len(places)}", kind, ir.Role.INPUT, axes=len(source.shape), written=False
                )
                self.arrays.append(source)
            return Where(places[source], layout)

        self.last = [r in group.last for r in results]
        self.shapes: list[tuple[int, ...]] = []
        targets: dict[Value, list[Where]] = {}
        outs: list[ir.Array] = []
        for k, r in enumerate(results):
            axes = group.axes[r]
            shape = tuple([1 if a is None else n for a, n in zip(axes, r.shape, strict=True)])
            stored[r] = shape
            self.shapes.append(shape)
            dtype = np.dtype(np.float64) if self.last[k] and math.prod(shape) == 1 else r.dtype
            out = ir.Array(f"o{k}", ir.kind_of(r.dtype, self.dtype), ir.Role.OUTPUT, dtype=dtype)
            outs.append(out)
            targets[r] = [Where(out, spread(contiguous(shape), shape, r.shape))]
        nest = Nest(group, find, targets, self.dtype, itertools.count(), shared=True)
        count = nest.count.constant
        assert count is not None
        arrays = (*places.values(), *outs)
        function = ir.Function("kernel", BOUNDS, arrays, tuple(nest.statements))
        self.lifted = Lifted(function, self.dtype)
        made = [(s, o.dtype) for s, o in zip(self.shapes, outs, strict=True)]
        costly = any(facts_of(m.primitive).cost >= Cost.COSTLY for m in group.members)
        least = SHARED // 4 if costly else SHARED
        shared = count > 1 and math.prod(group.shape) >= least
        self.launch = Launch(self.lifted, count, made, self.last, shared)
        self.code: Callable[..., Any] | None = None

    def __call__(self, *arrays: Array) -> list[Array]:
        """Return the results, from loops that are compiled at the first call."""
        return self.launch(self.code or self._compiled(), arrays)

    def compile(self) -> None:
        """Compile the loops now."""
        self.code = self.code or self._compiled()

    def text(self, line_of: Callable[[Value], str] | None = None) -> Text:
        """Return the module; `line_of` gives the place in the user's code."""
        module = ir.Module(
            "the loops of a group of operations", self.dtype, (self.lifted.function,)
        )
        return write(module, KERNELS, beside=None if line_of is None else operations(line_of))

    def _compiled(self) -> Callable[..., Any]:
        try:
            self.code = compiled(self.text()).kernel
        except MACHINE as error:
            raise NoCode(error) from error
        except CodeRefused as refused:
            statement = refused.statement
            found = (
                None if statement is None or statement.origin is None else statement.origin.value
            )
            members = self.group.members if found is None else [found]
            raise refused_code(members, refused.reason) from refused
        return self.code


def refused_code(values: Sequence[Value], why: str) -> CompileError:
    """Return the error for code of operations that cannot be compiled: the first few of them."""
    found = list(dict.fromkeys(f"{v.op}{line_of(v)}" for v in values))
    found = found if len(found) < 4 else [*found[:3], f"{len(found) - 3} others"]
    return CompileError(
        f"tg.jit: the code for {'; '.join(found)} is refused ({why}). The fault is the compiler's; "
        "within tg.eager() the function runs as if it were not compiled."
    )


class HostLine(NamedTuple):
    """A line of a program, the variables that it reads or sets, and what it computes."""

    text: str
    names: tuple[str, ...]
    origin: Value | KernelCall | None


class HostProgram:
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
        self.kernels: list[KernelCall] = []
        self._names = {v: f"g{k}" for k, v in enumerate(self.inputs)}
        self._scope: dict[str, Any] = {"asarray": np.asarray, "broadcast_to": np.broadcast_to}
        self._lines: list[HostLine] = []
        self._stored: dict[Value, tuple[int, ...]] = {}
        self._tidy: set[Value] = set()  # what is known to be an array without gaps
        self._computed: set[Value] = set()  # what has a variable of its own, not given or constant
        contract(values, self.outputs)
        values = alive(values, self.outputs)
        # Beside loops over time, which run in our threads, no product is to start NumPy's.
        self._multiplies = any(v.primitive is RUN for v in values) and any(
            v.primitive in (matmul.primitive, CONTRACT)
            and v.inputs[0].size * v.shape[-1] >= blas.FEW
            for v in values
            if v.shape
        )
        self.values, self._threads = values, 0
        self._straight: Straight | None = None
        self.unfit = ""  # why the program is not one call
        self._write(values)
        self.run: Callable[..., tuple[Any, ...]] = self._compiled()

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        """Return the outputs for these inputs."""
        if self._threads != runtime.threads():  # at the first call, or after they were set
            self.compile()
        if self._straight is not None and (found := self._straight(arrays)) is not None:
            return found
        if any(type(a) is Left for a in arrays):
            raise NoLines
        return self.lines(*arrays)

    def lines(self, *arrays: Any) -> tuple[Any, ...]:
        """Return the outputs, line by line."""
        if not self._multiplies:
            return self.run(*arrays)
        with blas.single:
            return self.run(*arrays)

    def compile(self) -> None:
        """Compile the loops now: those of the whole program as one call, or each of them."""
        self._straight, self._threads = self._as_one(), runtime.threads()
        if self._straight is None:
            for kernel in self.kernels:
                kernel.compile()

    def _as_one(self) -> Straight | None:
        """Return the program as one call; None if it cannot be one, which `unfit` says."""
        try:
            return Straight(self.values, self.inputs, self.outputs)
        except Unfit as why:
            self.unfit = str(why)
        except MACHINE as error:
            raise NoCode(error) from error
        except Exception as error:  # a fault of ours; the lines do not have it
            self.unfit = f"a fault of the compiler ({type(error).__name__}: {error})"
        return None

    def _write(self, values: Sequence[Value]) -> None:
        order = fuse(values, RULES)
        read = read_outside(order) | {base(output) for output in self.outputs}
        for entry in order:
            if isinstance(entry, Value):
                self._numpy(entry)
            elif math.prod(entry.shape) < SMALL or not _pays(entry):
                for member in entry.members:
                    self._numpy(member)
            elif results := [m for m in entry.members if m in read]:
                self._kernel(entry, results)
            # else there are only zeros, which loops do not read
        outputs = "".join(self._array(o) + ", " for o in self.outputs)
        self._put(f"return ({outputs})", None, self.outputs)

    def _kernel(self, group: FusionGroup, results: list[Value]) -> None:
        try:
            kernel = KernelCall(group, results, self._stored)
        except Refused as refused:
            error = refused.__cause__
            raise refused_code([refused.value], why(error)) from error
        for array in kernel.arrays:
            self._make_tidy(array)
        for r in results:
            self._names[r] = f"v{len(self._names)}"
            self._tidy.add(r)
            self._computed.add(r)
        called = f"k{len(self.kernels)}"
        self._scope[called] = kernel
        self.kernels.append(kernel)
        targets = ", ".join(self._names[r] for r in results)
        comma = "," if len(results) == 1 else ""
        arguments = ", ".join(self._names[a] for a in kernel.arrays)
        text = f"{targets}{comma} = {called}({arguments})"
        self._put(text, kernel, [*results, *kernel.arrays])

    def _put(self, text: str, origin: Value | KernelCall | None, values: Sequence[Value]) -> None:
        """Append a line; `values` are those that it reads or computes."""
        names = dict.fromkeys(self._names[v] for v in values if v in self._computed)
        self._lines.append(HostLine(text, tuple(names), origin))

    def _make_tidy(self, value: Value) -> None:
        """Make the variable of a value an array without gaps."""
        name = self._name(value)
        if value not in self._tidy:
            self._tidy.add(value)
            self._put(f"{name} = asarray({name}, order='C')", None, [value])

    def _array(self, value: Value) -> str:
        """Return a variable with a value as an array of its own shape."""
        name = self._name(value)
        if value in self._stored and self._stored[value] != value.shape:
            return f"broadcast_to({name}, {value.shape})"
        return name

    def _name(self, value: Value) -> str:
        """Return the variable of a value; a view is made here."""
        if value not in self._names:
            if value.leaf:
                self._names[value] = name = f"a{len(self._names)}"
                self._scope[name] = constant_of(value)
                self._tidy.add(value)
            else:
                assert is_view(value)
                self._numpy(value)
        return self._names[value]

    def _numpy(self, value: Value) -> None:
        """Compute one operation by its own forward function."""
        assert value.primitive is not None
        arguments = [
            self._array(i) if isinstance(i, Value) else self._constant(i) for i in value.inputs
        ]
        arguments += [f"{k}={self._constant(p)}" for k, p in value.params.items()]
        plain = value.op.isidentifier() and not keyword.iskeyword(value.op)
        function = value.op if plain else "operation"
        forward = value.primitive.forward
        if self._multiplies and value.primitive is matmul.primitive:
            forward = product
        if self._scope.setdefault(function, forward) is not forward:
            function = f"{value.op}_{len(self._scope)}"
            self._scope[function] = forward
        self._names[value] = f"v{len(self._names)}"
        self._computed.add(value)
        text = f"{self._names[value]} = {function}({', '.join(arguments)})"
        self._put(text, value, [value, *value.sources])

    def _constant(self, value: Any) -> str:
        exact = type(value) in (bool, int, type(None))
        if exact or (type(value) is float and math.isfinite(value)):
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
        body = [
            f"    {text}" + (note(value) if note is not None and value is not None else "")
            for text, value in self._released()
        ]
        arguments = ", ".join(f"g{k}" for k in range(len(self.inputs)))
        return "\n".join([f"def {self.name}({arguments}):", *body, ""])

    def _released(self) -> list[tuple[str, Any]]:
        """Return the lines, each variable deleted after the last line that reads it.

        So its memory is used again.
        """
        last = {name: k for k, line in enumerate(self._lines) for name in line.names}
        lines: list[tuple[str, Any]] = []
        for k, line in enumerate(self._lines[:-1]):
            lines.append((line.text, line.origin))
            gone = sorted(name for name in line.names if last[name] == k)
            if gone:
                lines.append((f"del {', '.join(gone)}", None))
        return [*lines, (self._lines[-1].text, None)]

    def source(self) -> str:
        """Return the text, with the lines of the user's code that each part holds, and the loops."""

        def note(value: Any) -> str:
            return "" if isinstance(value, KernelCall) else f"  #{line_of(value)}"

        if self._straight is not None:
            return self._straight.source(self.name, line_of)
        nests = []
        for k, kernel in enumerate(self.kernels):
            text = kernel.text(line_of).text.partition("\n\n\n")[2]
            text = re.sub(r"types\.void\(.*\), ", "signature, ", text)  # long, and tells nothing
            shape = "x".join(map(str, kernel.group.shape))
            nests.append(f"# {shape}\n{text.replace('def kernel(', f'def k{k}(')}")
        return "\n\n".join([*nests, self._text(note)])


def _pays(group: FusionGroup) -> bool:
    """Whether one loop is better than NumPy's: for several operations, not for one."""

    def works(member: Value) -> bool:
        return not (facts_of(member.primitive).casts or is_zero(member.primitive))

    return len([m for m in group.members if works(m)]) > 1


def line_of(value: Value) -> str:
    """Return the place in the user's code that a value comes from, and what stands there."""
    where = value.node.where
    if where.code is None or where.line is None:
        return ""
    text = linecache.getline(where.code.co_filename, where.line).strip()
    name = os.path.basename(where.code.co_filename)
    return f" {name}:{where.line}{': ' + text if text else ''}"
