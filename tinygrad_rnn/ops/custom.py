"""Operations of the user's own: `elementwise`, `custom_vjp`, `register_ufunc`.

The built-in ones that are made in the same way stand at the end.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import NotDifferentiableError, RuleError
from ..core.primitive import REGISTRY, Primitive, Spec, parameters
from ..core.record import apply
from ..core.tape import context
from ..core.trace import Program, trace
from ..loops.elementwise import VARIANTS, ElementwiseKernel
from .define import broadcast_rule, operation
from .elementwise import erf, sigmoid, zeros_like
from .facts import Facts
from .guards import Changes, Guards, Key

KEPT = 64  # versions of one scalar function
READS: dict[Primitive, Guards] = {}  # of operations whose forward is a function of the user's


def _signed(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """State the names of the inputs of a function of any arguments, for Primitive and Rule."""
    inputs = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    function.__signature__ = inspect.Signature(inputs)  # type: ignore[attr-defined]
    return function


def _chain_primitive(
    name: str,
    count: int,
    body: Callable[[], Program],
    domain: Any = (-2.0, 2.0),
    compiles: Callable[[], bool] = lambda: True,
) -> Primitive:
    """Return an elementwise primitive that is defined by a program.

    Its derivatives are primitives of the same kind, made when first needed.
    """
    names = [f"v{i}" for i in range(count)]

    @functools.cache
    def chain() -> ElementwiseKernel:
        made = ElementwiseKernel(body())
        made.fusable = made.fusable and compiles()
        return made

    @functools.cache
    def derivative(position: int) -> Primitive:
        def program() -> Program:
            whole = body()
            back = whole.backward([whole.inputs[position]])
            if back.outputs[0] is None:  # the function does not depend on this input
                return trace(lambda g, *_: zeros_like(g), *[Spec(())] * (count + 1))
            return Program([back.inputs[-1], *whole.inputs], back.outputs)

        return _chain_primitive(f"{name}_d{position}", count + 1, program, compiles=compiles)

    def rule(position: int) -> Callable[..., Any]:
        return _signed(lambda g, *values: apply(derivative(position), (g, *values)), ["g", *names])

    forward = _signed(lambda *arrays: chain()(*arrays)[0], names)
    entry = Primitive(
        name,
        forward,
        [rule(i) for i in range(count)],
        shape=broadcast_rule(name),
        floating=True,
        elementwise=True,
        domain=domain,
        facts=Facts(decomposition=lambda *values: body()(*values)[0]),
    )
    entry.body = body
    return entry


def elementwise(function: Callable[..., Any] | None = None, *, domain: Any = (-2.0, 2.0)) -> Any:
    """Make one operation of a scalar expression (a decorator).

    The function is written for numbers, with operators and elementwise `tg` functions. It becomes
    one node on the tape, a numba kernel on large arrays, it broadcasts, can be differentiated to
    any order, and fuses with its neighbours.

    Numbers that it closes over, or reads as globals, attributes or defaults, are looked at in each
    call; the backward of a call is of the numbers that it had. With each other number it is another
    operation: after 16 of them no further kernels are compiled, so what changes from call to call
    is better an argument.

    Parameters
    ----------
    function : callable
        Of one or more numbers, without `if` on them (use `tg.where`).
    domain : (low, high) or list
        Where inputs are drawn from in checks.

    Examples
    --------
    >>> @tg.elementwise
    ... def swish(x):
    ...     return x / (1 + tg.exp(-x))

    Raises
    ------
    RuleError
        On first use, if the function uses an operation that is not elementwise, an array from
        outside, or the size of its arguments.
    TraceError
        On first use, if it looks at the value of its arguments, draws random numbers, or changes
        what is outside of it.
    """
    if function is None:
        return functools.partial(elementwise, domain=domain)
    own = function.__module__.startswith("tinygrad_rnn.")
    versions = _Versions(
        function,
        function.__name__ if own else f"{function.__module__}.{function.__qualname__}",
        domain,
    )
    # the package's own functions read nothing that changes
    return versions.first if own else versions.operation()


class _Versions:
    """The operations that a scalar function is made into.

    There is one for each state of what the function reads besides its arguments.

    The numbers that the function closes over stand in its program. A node keeps the primitive that
    made it, so its backward is of the numbers that its forward had.
    """

    def __init__(self, function: Callable[..., Any], name: str, domain: Any) -> None:
        self.function, self.name, self.domain = function, name, domain
        self.count = len(parameters(function)[0])
        self.guards = Guards(function)
        self.made: dict[Any, Callable[..., Any]] = {}
        self.number = 0
        self.first = self._make(name)  # which is there before it is called: pickled graphs name it

    def operation(self) -> Callable[..., Any]:
        """Return the operation that looks at each call which version is the right one."""

        def op(*inputs: Any) -> Any:
            guard = self.guards.now()
            found = self.made.get(guard.key)
            if asked := context().asked:
                asked.note(guard)
            if found is None:
                found = self._make(f"{self.name}[{self.number}]") if self.number else self.first
                found.primitive.body()  # type: ignore[attr-defined]
            op.primitive = found.primitive  # type: ignore[attr-defined]
            return found(*inputs)

        functools.update_wrapper(op, self.function)
        op.primitive = self.first.primitive  # type: ignore[attr-defined]
        return op

    def _make(self, name: str) -> Callable[..., Any]:
        @functools.cache
        def body() -> Program:
            key, program = self._recorded()
            if len(self.made) >= KEPT:
                old = self.made.pop(next(iter(self.made)))
                REGISTRY.pop(old.primitive.name, None)  # type: ignore[attr-defined]
            self.made[key] = made
            self.number += 1
            return program

        made = operation(
            _chain_primitive(name, self.count, body, self.domain, lambda: self.number <= VARIANTS),
            self.function,
        )
        return made

    def _recorded(self) -> tuple[Key, Program]:
        """Return what the function read, and its program."""
        what = f"tg.elementwise: '{self.function.__name__}'"
        changes = Changes(self.guards, self.guards.now(), what)
        programs = []
        with changes:
            for shape in ((), (), (2, 3)):
                programs.append(self._program(what, shape))
                changes.after_run()
        if str(programs[0]) != str(programs[1]):
            raise RuleError(
                f"{what} did not do the same in two runs: random numbers, the time, or a count of calls. Make it an argument."
            )
        if _steps(programs[1]) != _steps(programs[2]):
            raise RuleError(
                f"{what} reads the shape or the size of its arguments, which are single numbers in it, whatever it is called with. "
                "Give the size as one more argument, or write an ordinary function of tensors."
            )
        return changes.kept().key, programs[1]

    def _program(self, what: str, shape: tuple[int, ...]) -> Program:
        program = trace(self._scalar, *[Spec(shape) for _ in range(self.count)])
        wrong = [n.op for n in program.nodes if not n.primitive.elementwise]
        if wrong or program.constants or len(program.outputs) != 1:
            fault = (
                f"it uses {wrong[0]}, which is not elementwise"
                if wrong
                else "it may use its arguments and Python numbers only"
            )
            fault = fault if len(program.outputs) == 1 else "it must return one value"
            raise RuleError(f"{what} cannot be a scalar expression: {fault}.")
        return program

    def _scalar(self, *xs: Any) -> Any:
        y = self.function(*xs)
        return zeros_like(xs[0]) + y if isinstance(y, (int, float)) else y


def _steps(program: Program) -> list[Any]:
    """Return the operations of a program, with their numbers and settings, and without shapes."""
    return [
        (n.op, [i for i in n.inputs if not hasattr(i, "shape")], n.params) for n in program.nodes
    ]


def _read_only(values: Sequence[Any]) -> list[Any]:
    """Return values with read-only views in place of arrays: the arrays are the tape's."""
    views = []
    for value in values:
        if isinstance(value, np.ndarray):
            value = value.view()
            value.flags.writeable = False
        views.append(value)
    return views


def _written(function: Callable[..., Any], error: ValueError) -> Exception:
    """Return what to raise for a ValueError in a user's function.

    If the function wrote to its arguments, the message says so.
    """
    if "read-only" not in str(error):
        return error
    return RuleError(
        f"custom_vjp: '{function.__name__}' writes to an array that it was given; those are the tape's. Work on a copy: x = x.copy()"
    )


class custom_vjp:
    """Make an operation whose derivative you state (a decorator).

    The derivative may differ from the function's own.

    The function is given arrays and may use NumPy or `tg`. It and its derivative are called anew
    each time, so what they close over counts as it is then (that of the derivative in backward). If
    it returns integers or booleans they become the dtype of its floating inputs. The derivative is
    stated with ``@f.vjp``: a function of ``g`` (the gradient of the output), ``out`` and the
    inputs, by name, in any selection; it returns the gradient of the input, or a tuple with one for
    each. Written with operators and `tg` functions it can be differentiated again. Forward mode
    needs ``@f.jvp``: a function of the tangents (one, or a tuple with None for a constant input),
    ``out`` and the inputs.

    Examples
    --------
    >>> @tg.custom_vjp
    ... def spike(x):
    ...     return x > 0
    >>> @spike.vjp
    ... def _(g, out, x):
    ...     return g / (1 + abs(x)) ** 2
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        @functools.wraps(function)
        def forward(*arrays: Any, **params: Any) -> Any:
            try:
                out = np.asarray(function(*_read_only(arrays), **params))
            except ValueError as error:
                raise _written(function, error) from error
            out = out if out.flags.writeable else out.copy()  # a function may return its argument
            dtypes = [
                a.dtype for a in arrays if getattr(getattr(a, "dtype", None), "kind", "") == "f"
            ]
            return out.astype(dtypes[0]) if out.dtype.kind != "f" and dtypes else out

        def shape(*specs: Any, **params: Any) -> Spec:
            out = forward(
                *[np.zeros(s.shape, s.dtype) if isinstance(s, Spec) else s for s in specs], **params
            )
            return Spec(out.shape, out.dtype)

        functools.update_wrapper(self, function)
        several = len(parameters(forward)[0]) > 1
        self.primitive = Primitive(
            f"{function.__module__}.{function.__qualname__}",
            forward,
            [],
            shape=shape,
            joint=several,
            tangent=self._no_tangent,
            facts=Facts(decomposition=function),
        )
        self._op = operation(self.primitive, forward)
        READS[self.primitive] = Guards(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the operation."""
        if not self.primitive.rules:
            raise RuleError(
                f"custom_vjp: '{self.__name__}' has no derivative yet: state it with @{self.__name__}.vjp"  # type: ignore[attr-defined]
            )
        return self._op(*args, **kwargs)

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """State the derivative (a decorator)."""
        count = len(self.primitive.inputs)

        @functools.wraps(rule)
        def checked(*values: Any) -> Any:
            try:
                found = rule(*_read_only(values))
            except ValueError as error:
                raise _written(rule, error) from error
            if count > 1 and (not isinstance(found, tuple) or len(found) != count):
                got = (
                    f"a tuple of {len(found)}" if isinstance(found, tuple) else type(found).__name__
                )
                raise RuleError(
                    f"expected a tuple of {count} gradients, one for each of {self.primitive.inputs}; found {got}"
                )
            return found

        self.primitive.set_rules([checked])
        return rule

    def jvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """State how tangents pass (a decorator)."""
        self.primitive.tangent = rule
        return rule

    def _no_tangent(self, *values: Any, **params: Any) -> Any:
        name = self.primitive.name.rpartition(".")[2]
        raise NotDifferentiableError(
            f"forward mode reached '{name}', which states only a vjp; state how tangents pass with @{name}.jvp"
        )


# NumPy ufuncs and numba vectorised functions that record on the tape
UFUNCS: dict[Any, Callable[..., Any]] = {}


def register_ufunc(ufunc: Any, *rules: Callable[..., Any]) -> Callable[..., Any]:
    """Let a NumPy ufunc, or a function made with numba's ``@vectorize``, record on the tape.

    Parameters
    ----------
    ufunc : ufunc or numba DUFunc
        Called with tensors afterwards, it records.
    *rules : callable
        For each input a function of ``g``, ``out`` and the inputs (named ``a``, ``b``, ...; a
        single one ``x``), in any selection.

    Returns
    -------
    callable
        The operation; calling the ufunc itself does the same.

    Examples
    --------
    >>> @numba.vectorize
    ... def cube(x):
    ...     return x * x * x
    >>> tg.register_ufunc(cube, lambda g, x: g * 3 * x * x)
    """
    names = ["x"] if len(rules) == 1 else [chr(ord("a") + i) for i in range(len(rules))]
    count = getattr(ufunc, "nin", len(rules))
    if count != len(rules):
        raise RuleError(
            f"register_ufunc: '{ufunc.__name__}' has {count} inputs; found {len(rules)} rules"
        )

    def compute(*arrays: Any) -> Any:
        out = ufunc(*arrays)  # numba's may have been compiled for float64 only
        dtype = next((a.dtype for a in arrays if isinstance(a, np.ndarray)), out.dtype)
        return out.astype(dtype) if out.dtype.kind == "f" else out

    forward = _signed(compute, names)
    name = f"{getattr(ufunc, '__module__', None) or 'ufunc'}.{ufunc.__name__}"
    entry = Primitive(
        name,
        forward,
        rules,
        shape=broadcast_rule(name),
        floating=True,
        broadcasts=True,
        elementwise=True,
    )
    forward.__name__ = ufunc.__name__
    UFUNCS[ufunc] = op = operation(entry, forward)
    return op


# --- built-in operations that are expressions of others -----------------------------------------


@elementwise
def silu(x: Any) -> Any:
    """Return x * sigmoid(x), also called swish (Elfwing et al. 2017)."""
    return x * sigmoid(x)


@elementwise
def gelu(x: Any) -> Any:
    """Return x times the standard normal distribution function of x, computed exactly, by erf.

    Hendrycks and Gimpel 2016.
    """
    return 0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))
