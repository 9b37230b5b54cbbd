"""How an entry of the vocabulary is written: decorators that make an operation.

They are given a function of NumPy arrays and its derivative rules.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar, cast

import numpy as np

from ..core.errors import ShapeError
from ..core.memory import empty
from ..core.primitive import LARGE, Primitive, Spec
from ..core.record import apply, record
from ..core.tape import NO_PARAMS, context
from ..core.tensor import FLOAT32, FLOAT64, Tensor
from ..loops import elementwise
from .checks import OutOfRangeError, array, kinds_of, of_kind, plain_types
from .facts import taken_from

Rule = Callable[..., Any] | None
ANSWERS = "keywords"
F = TypeVar("F", bound=Callable[..., Any])


def operation(primitive: Primitive, forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the public function of a primitive.

    It has the docstring of the forward function, and takes parameters by position or by name.
    """
    names = list(primitive.defaults)
    count = len(primitive.inputs)
    if names:
        checks = {name: words for name, words in kinds_of(forward).items() if name != "dtype"}
        plain = {name: plain_types(checks.get(name)) for name in names}
        run = of_one(primitive) if count == 1 else None

        def op(*args: Any, **given: Any) -> Any:
            if len(args) > count:
                given.update(zip(names, args[count:], strict=False))
            params = {**primitive.defaults, **given}
            if len(params) > len(names):
                extra = {k: given.pop(k) for k in list(given) if k not in names}
                return further(op, primitive.name, args[:count], given, extra)
            for name, value in given.items():
                if type(value) not in plain[name]:
                    if isinstance(value, Tensor):
                        raise ShapeError(
                            f"{primitive.name}: '{name}' is a setting and must be a number, not a tensor; use .item(), or an operation of two tensors"
                        )
                    if name in checks:
                        of_kind(value, checks[name], f"{primitive.name}: {name}")
            if not count <= len(args) <= count + len(names):
                raise TypeError(
                    f"{primitive.name}() takes the inputs {primitive.inputs} and the parameters {names}; found {len(args)} positional arguments"
                )
            # a number has a shape, too
            first = np.asarray(args[0]) if isinstance(args[0], (int, float)) else args[0]
            return run(first, params) if run else apply(primitive, (first, *args[1:count]), params)

    elif count == 1 and primitive.rules:
        op = _unary(primitive)
    elif count == 2 == len(primitive.rules) and all(primitive.rules):
        op = _binary(primitive)
    else:

        def op(*inputs: Any) -> Any:  # type: ignore[misc]
            if len(inputs) != count and not primitive.variadic:
                raise TypeError(
                    f"{primitive.name}() takes {count} inputs {primitive.inputs}; found {len(inputs)}"
                )
            return apply(primitive, inputs)

    functools.update_wrapper(op, forward)
    op.primitive = primitive  # type: ignore[attr-defined]
    return op


def further(op: Callable[..., Any], name: str, *given: Any) -> Any:
    """Call an operation with keywords that it does not know.

    They are answered in a file that is made of operations, and is loaded by its name here.
    """
    return import_module(f".{ANSWERS}", __package__).call(op, name, *given)


def numpys(count: int = 1) -> Callable[[F], F]:
    """Let a function take what NumPy's of its name takes besides (a decorator).

    Functions that rules call often, as `take` and `concatenate`, ask `further` themselves: this is
    a call more.

    Parameters
    ----------
    count : int
        How many of its parameters are inputs; those behind them are settings.
    """

    def decorate(function: F) -> F:
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        several = bool(code.co_flags & inspect.CO_VARARGS)

        @functools.wraps(function)
        def taking(*args: Any, **given: Any) -> Any:
            if given and not given.keys() <= known:
                extra = {k: given.pop(k) for k in list(given) if k not in known}
                if not several:
                    given.update(zip(names, args, strict=False))
                    args = tuple([given.pop(k) for k in names[:count] if k in given])
                return further(function, function.__name__, args, given, extra)
            return function(*args, **given)

        known = set(names)
        return cast("F", taking)

    return decorate


# The two shortcuts do exactly what `apply` does, for tensors of one floating dtype outside a trace,
# without its general loops: on small arrays those would cost as much as NumPy does. Whatever is
# unusual goes to `apply`.


def of_one(primitive: Primitive) -> Callable[[Any, dict[str, Any]], Any]:
    """Return `apply` for a primitive of one input, as a function of it and the parameters."""
    rule: Any = primitive.rules[0] if primitive.rules else None
    keeps_out, keeps_input = (k in primitive.kept[1] for k in (0, 1))

    def run(x: Any, params: dict[str, Any]) -> Any:
        now, alone = context(), type(x) is np.ndarray
        if not (alone or isinstance(x, Tensor)) or now.tracing or now.watch is not None:
            return apply(primitive, (x,), params)
        array, node = (x, None) if alone else (x.array, x.node)
        dtype = array.dtype
        if dtype is not FLOAT32 and dtype is not FLOAT64:
            return apply(primitive, (x,), params)
        try:
            out = primitive.forward(array, **params)
        except Exception:
            return apply(primitive, (x,), params)  # fails again, and explains
        if alone:
            return out
        if type(out) is not np.ndarray:
            out = np.asarray(out)
        if node is None or not node.requires_grad or not now.grad_enabled:
            return Tensor(out)
        if rule is None or (out.dtype is not dtype and out.dtype.kind != "f"):
            return Tensor(out)  # a comparison: no gradient
        saved = (out if keeps_out else None, array if keeps_input else None)
        return record(primitive, (node,), ((node, 0, rule),), params, saved, out)

    return run


def _unary(primitive: Primitive) -> Callable[..., Any]:
    """Return the public function of a primitive of one input and no parameters."""
    run = of_one(primitive)

    def op(x: Any) -> Any:
        return run(np.asarray(x) if isinstance(x, bool) else x, NO_PARAMS)

    return op


def _binary(primitive: Primitive) -> Callable[..., Any]:
    """Return the public function of a primitive of two inputs and no parameters."""
    first, second = primitive.rules[0], primitive.rules[1]
    ufunc = type(primitive.forward) is np.ufunc  # which can be told where to write

    def op(a: Any, b: Any) -> Any:
        now = context()
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            return apply(primitive, (a, b))
        if now.tracing or now.watch is not None:
            return apply(primitive, (a, b))
        x, y = a.array, b.array
        dtype = x.dtype
        if dtype is not y.dtype or (dtype is not FLOAT32 and dtype is not FLOAT64):
            return apply(primitive, (a, b))
        try:
            out = (
                primitive.forward(x, y, out=empty(x.shape, dtype))
                if ufunc and x.size >= LARGE and x.shape == y.shape
                else primitive.forward(x, y)
            )
        except Exception:
            return apply(primitive, (a, b))
        if type(out) is not np.ndarray:
            out = np.asarray(out)
        left, right = a.node or a.leaf(), b.node or b.leaf()
        mask = left.requires_grad + 2 * right.requires_grad
        if not mask or not now.grad_enabled:
            return Tensor(out)
        edges: Any
        if mask == 3:
            edges = ((left, 0, first), (right, 1, second))
        else:
            edges = ((left, 0, first),) if mask == 1 else ((right, 1, second),)
        kept = primitive.kept[mask]
        saved = (
            (out if 0 in kept else None, x if 1 in kept else None, y if 2 in kept else None)
            if kept
            else _NOTHING
        )
        return record(primitive, (left, right), edges, NO_PARAMS, saved, out)

    return op


_NOTHING = (None, None, None)


def primitive(
    *rules: Rule, shape: Callable[..., Spec], name: str | None = None, **given: Any
) -> Callable[..., Any]:
    """Make the decorated function an operation that is not elementwise.

    Parameters
    ----------
    *rules : callable or None
        For each input, the gradient.
    shape : callable
        The shape rule.
    name : str, optional
        The name of the operation where it is not that of the function.
    **given
        Further arguments of `Primitive`, and the fields of `Facts`.
    """

    def decorate(forward: Callable[..., Any]) -> Any:
        known = taken_from(given)
        entry = Primitive(
            name or forward.__name__, forward, rules, shape=shape, facts=known, **given
        )
        return operation(entry, forward)

    return decorate


def pointwise(
    scalar: str,
    *rules: Rule,
    numpy: Any = None,
    floating: bool = False,
    boolean: bool = False,
    kernel: int = 0,
    domain: Any = (-2.0, 2.0),
    name: str | None = None,
    **given: Any,
) -> Callable[..., Any]:
    """Make the decorated function an elementwise operation.

    Parameters
    ----------
    scalar : str
        Its expression on scalars, in the vocabulary of ``kernels/scalar.py``.
    *rules : callable
        For each input, the gradient; broadcasting is undone by the walk.
    numpy : ufunc, optional
        The forward function where it is a NumPy function as it stands; the decorated function then
        only documents.
    floating : bool
        Integers become float32 first.
    boolean : bool
        The result is bool.
    kernel : int
        From this many elements on a numba kernel is used, because it beats NumPy there (measured by
        ``make bench``); 0: never.
    domain : (low, high) or a list of them
        Where inputs are drawn from in tests; one for all inputs or one for each.
    name : str, optional
        The name of the operation where it is not that of the function.
    **given
        Further arguments of `Primitive`, and the fields of `Facts`.
    """

    def decorate(forward: Callable[..., Any]) -> Any:
        known = taken_from(given, scalar)
        called = name or forward.__name__
        shape = broadcast_rule(called, boolean, numpy or forward)
        entry = Primitive(
            called,
            forward,
            [],
            shape=shape,
            scalar=scalar,
            floating=floating,
            domain=domain,
            facts=known,
            **given,
        )
        if numpy is not None:
            entry.forward = numpy
        if rules:
            entry.set_rules(rules)
            for rule in entry.rules:
                if rule is not None:
                    rule.large = elementwise.LargeRule(rule.function)
        if kernel:
            entry.forward = elementwise.dispatching(entry, entry.forward, kernel)
        return operation(entry, forward)

    return decorate


def operand(x: Any, name: str) -> Any:
    """Return what a function that is written in operations was given, as a Tensor or an array.

    Both have a shape.
    """
    if isinstance(x, (Tensor, Spec)) or (type(x) is np.ndarray and x.dtype.kind in "fiub"):
        return x
    return array(x, name if ":" in name else f"{name}: x")


def broadcast_rule(
    name: str, boolean: bool = False, forward: Callable[..., Any] | None = None
) -> Callable[..., Spec]:
    """Return the shape rule of an elementwise operation.

    The dtype for integers and booleans is found by trying `forward` on ones.
    """

    def rule(*specs: Any, **params: Any) -> Spec:
        arrays = [s for s in specs if hasattr(s, "shape")]
        if boolean:
            dtype: Any = bool
        elif forward is None or all(a.dtype.kind == "f" for a in arrays):
            dtype = np.result_type(*(s.dtype if hasattr(s, "dtype") else s for s in specs))
        else:
            n = int(all(0 not in a.shape for a in arrays))  # of none there are negative powers
            ones = (np.ones(n, s.dtype) if hasattr(s, "dtype") else s for s in specs)
            dtype = np.asarray(forward(*ones, **params)).dtype
        return Spec(broadcast(*(a.shape for a in arrays)), dtype)

    return rule


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the common shape, or raise a ShapeError that says which axis does not fit."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        ndim = max(len(s) for s in shapes)
        padded = [(1,) * (ndim - len(s)) + tuple(s) for s in shapes]
        bad = next(i for i in range(ndim) if len({s[i] for s in padded} - {1}) > 1)
        sizes = " and ".join(str(s[bad]) for s in padded)
        raise ShapeError(
            f"shapes {' and '.join(map(str, shapes))} do not broadcast: axis {bad - ndim} has sizes {sizes}; expected equal, or 1"
        ) from None


def broadcasts_to(shape: Sequence[int], onto: Sequence[int]) -> bool:
    """Whether an array of a shape can be broadcast to another one."""
    return len(shape) <= len(onto) and all(
        n in (1, m) for n, m in zip(reversed(shape), reversed(onto), strict=False)
    )


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return an axis argument (None, int or tuple) as a sorted tuple of non-negative axes.

    Axis 0 or -1 of no dimensions is no axis: what reduces one number, or runs along it, leaves it
    as it is.
    """
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:  # which is usual
        return (axis % ndim,)
    axes: list[int] = []
    for a in axis if isinstance(axis, (tuple, list)) else (axis,):
        if not isinstance(a, (int, np.integer)) or isinstance(a, bool):
            raise ShapeError(f"axis {axis!r}: expected None, an int or a tuple of them")
        if not -(ndim or 1) <= a < (ndim or 1):
            raise OutOfRangeError(
                f"axis {a} is out of range; expected {-(ndim or 1)} to {(ndim or 1) - 1} for {ndim} dimensions"
            )
        axes.append(int(a) % (ndim or 1))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis {axis} names an axis twice")
    return tuple(sorted(axes)) if ndim else ()


def axis_of(axis: Any, ndim: int) -> int:
    """Return an axis argument that must be one axis, as a non-negative int."""
    if not isinstance(axis, (int, np.integer)) or not ndim:
        raise ShapeError(
            f"axis {axis!r}: expected one axis"
            + ("" if ndim else ", of which a tensor of no dimensions has none")
        )
    return axes_of(axis, ndim)[0]


def same_shape(*specs: Any, **params: Any) -> Spec:
    """Return the Spec of the first input: a shape rule of operations whose output is like it."""
    return Spec(specs[0].shape, specs[0].dtype)
