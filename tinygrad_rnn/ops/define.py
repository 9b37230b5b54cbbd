"""How an entry of the vocabulary is written: decorators that turn a NumPy function and its rules into an operation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Primitive, Spec
from ..core.record import apply
from ..kernels import fused

Rule = Callable[..., Any] | None


def operation(primitive: Primitive, forward: Callable[..., Any]) -> Callable[..., Any]:
    """The public function of a primitive: with the docstring of its forward function, parameters by position or name."""
    names = list(primitive.defaults)
    count = len(primitive.inputs)
    if names:

        def op(*args: Any, **given: Any) -> Any:
            given.update(zip(names, args[count:], strict=False))
            params = {**primitive.defaults, **given}
            if len(params) > len(names) or len(args) > count + len(names) or len(args) < count:
                raise TypeError(f"{primitive.name}() takes the inputs {primitive.inputs} and the parameters {names}")
            return apply(primitive, args[:count], params)

    elif count == 1:

        def op(x: Any) -> Any:  # type: ignore[misc]
            return apply(primitive, (x,))

    elif count == 2:

        def op(a: Any, b: Any) -> Any:  # type: ignore[misc]
            return apply(primitive, (a, b))

    else:

        def op(*inputs: Any) -> Any:  # type: ignore[misc]
            return apply(primitive, inputs)

    functools.update_wrapper(op, forward)
    op.primitive = primitive  # type: ignore[attr-defined]
    return op


def primitive(*rules: Rule, shape: Callable[..., Spec], name: str | None = None, **facts: Any) -> Callable[..., Any]:
    """Decorator: an operation that is not elementwise. `facts` as in `Primitive`."""

    def decorate(forward: Callable[..., Any]) -> Any:
        entry = Primitive(name or forward.__name__, forward, rules, shape=shape, **facts)
        return operation(entry, forward)

    return decorate


def pointwise(
    scalar: str, *rules: Rule, numpy: Any = None, floating: bool = False, boolean: bool = False, kernel: bool = False, domain: Any = (-2.0, 2.0),
    **facts: Any,
) -> Callable[..., Any]:
    """Decorator: an elementwise operation.

    Parameters
    ----------
    scalar : str
        Its expression on scalars, in the vocabulary of ``kernels/scalar.py``.
    *rules : callable
        For each input, the gradient; broadcasting is undone by the walk.
    numpy : ufunc, optional
        The forward function where it is a NumPy function as it stands; the decorated function then only documents.
    floating : bool
        Integers become float32 first.
    boolean : bool
        The result is bool.
    kernel : bool
        Large arrays go to a numba kernel (where it beats NumPy).
    domain : (low, high) or a list of them
        Where inputs are drawn from in tests; one for all inputs or one for each.
    """

    def decorate(forward: Callable[..., Any]) -> Any:
        entry = Primitive(
            forward.__name__, forward, [], shape=broadcast_rule(forward.__name__, boolean), scalar=scalar, floating=floating,
            domain=domain, **facts,
        )  # fmt: skip
        if numpy is not None:
            entry.forward = numpy
        if rules:
            entry.set_rules(rules)
            for rule in entry.rules:
                if rule is not None:
                    rule.large = fused.LargeRule(rule.function)
        if kernel:
            entry.forward = fused.dispatching(entry, entry.forward)
        return operation(entry, forward)

    return decorate


def broadcast_rule(name: str, boolean: bool = False) -> Callable[..., Spec]:
    """Shape rule of an elementwise operation."""

    def rule(*specs: Any, **params: Any) -> Spec:
        arrays = [s for s in specs if hasattr(s, "shape")]
        dtype = np.result_type(*(s.dtype if hasattr(s, "dtype") else s for s in specs if not _is_condition(s, specs)))
        return Spec(broadcast(*(a.shape for a in arrays)), bool if boolean else dtype)

    return rule


def _is_condition(s: Any, specs: Sequence[Any]) -> bool:
    return len(specs) > 1 and getattr(s, "dtype", None) == np.bool_


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape, or a ShapeError that says which axis does not fit."""
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


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """An axis argument (None, int or tuple) as a sorted tuple of non-negative axes."""
    if axis is None:
        return tuple(range(ndim))
    axes = []
    for a in axis if isinstance(axis, (tuple, list)) else (axis,):
        if not -ndim <= a < ndim:
            raise ShapeError(f"axis {a} is out of range; expected {-ndim} to {ndim - 1} for {ndim} dimensions")
        axes.append(a % ndim)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis {axis} names an axis twice")
    return tuple(sorted(axes))


def same_shape(*specs: Any, **params: Any) -> Spec:
    """Shape rule of an operation whose output is like its first input."""
    return Spec(specs[0].shape, specs[0].dtype)



