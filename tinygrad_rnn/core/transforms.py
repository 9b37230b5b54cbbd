"""Functions of functions: grad, vjp, jvp, jacobian, hessian, hvp. Arguments may be nests of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import GraphError, ShapeError
from .tape import Leaf, context, reachable, setting
from .tensor import Tensor, tensor
from .trace import constants_too
from .tree import detach, leaves, pairs, tree_map, unflatten
from .walks import like, pull_back, push_forward

Function = Callable[..., Any]


def _enter(tree: Any) -> tuple[Any, list[Any]]:
    """The nest with fresh handles in place of its leaves, and their nodes: gradients are taken with respect to these alone."""

    def fresh(x: Any) -> Tensor:
        if isinstance(x, Tensor) and x.requires_grad and context().depth > 1:
            return +x  # stays on the tape of the transform around this one
        return tensor(x, requires_grad=True, name=getattr(x, "name", None))

    handles = tree_map(fresh, tree)
    return handles, [handle.node for handle in leaves(handles)]


def _linked(outputs: Sequence[Tensor], inputs: Sequence[Any]) -> bool:
    """Whether the result is part of a larger graph, and so has to be recorded.

    It is inside another transform, or if the outputs depend on a tensor with gradients that is none of the inputs (a parameter that
    the function closes over).
    """
    inner = set(inputs)
    roots = [o.node for o in outputs if o.requires_grad and o.node]
    return context().depth > 1 or any(isinstance(n, Leaf) and n not in inner for n in reachable(roots))


def _one_number(y: Any) -> Tensor:
    y = tensor(y) if isinstance(y, (int, float, np.ndarray, np.generic)) else y
    if not isinstance(y, Tensor) or y.size != 1:
        raise ShapeError(f"grad: the function must return one number; it returned {getattr(y, 'shape', y)!r}. Sum it, or use jacobian.")
    return y


def _pull(y: Sequence[Tensor], seeds: Sequence[Tensor], nodes: list[Any], retain_graph: bool | None = None) -> list[Tensor]:
    """Gradients of the inputs with these nodes; zeros where there is no path."""
    paths = [(o, s) for o, s in zip(y, seeds, strict=True) if o.requires_grad]
    record = _linked(y, nodes) or any(s.requires_grad for s in seeds)
    found = pull_back(
        [o.node for o, _ in paths if o.node], [s for _, s in paths], targets=nodes, create_graph=record, retain_graph=retain_graph
    ) if paths else {}  # fmt: skip
    return [found.get(n, Tensor(np.zeros(n.shape, n.dtype))) for n in nodes]


def _numbers(argnums: int | Sequence[int], args: Sequence[Any], name: str) -> list[int]:
    """Which arguments to differentiate by, counted from the first."""
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    if any(not -len(args) <= i < len(args) for i in numbers):
        raise GraphError(f"{name}: argnums={argnums}, but the function was called with {len(args)} arguments")
    return [i % len(args) for i in numbers]


def value_and_grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """``value_and_grad(f)(*args) -> (f(*args), gradient)``; see `grad`."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        numbers = _numbers(argnums, args, "grad")
        with setting(depth=context().depth + 1, grad_enabled=True):
            chosen, inputs = _enter([args[i] for i in numbers])
            full = list(args)
            for i, handle in zip(numbers, chosen, strict=True):
                full[i] = handle
            y = _one_number(f(*full, **kwargs))
            found = unflatten(chosen, _pull([y], [Tensor(np.ones(y.shape, y.dtype))], inputs))
            linked = _linked([y], inputs)
        return (y if linked else y.detach()), (found[0] if isinstance(argnums, int) else tuple(found))

    return wrapped


def grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The gradient of a function that returns one number.

    Parameters
    ----------
    f : callable
        Of tensors or nests of tensors.
    argnums : int or sequence of int
        The arguments to differentiate by.

    Returns
    -------
    callable
        With the arguments of `f`; returns the gradient in the structure of the argument (a tuple for several). Transforms
        nest: ``grad(lambda x: grad(f)(x).sum())``. If `f` uses tensors with gradients that are no arguments (parameters), the
        result is recorded and can be differentiated by them.
    """
    both = value_and_grad(f, argnums)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]


def vjp(f: Function, *xs: Any) -> tuple[Any, Function]:
    """``y, pull = vjp(f, *xs)``; ``pull(v)`` is the tuple of gradients of ``sum(v * y)`` by the arguments."""
    with setting(depth=context().depth + 1, grad_enabled=True):
        handles, inputs = _enter(xs)
        y = constants_too(f(*handles))
        linked = _linked(leaves(y), inputs)

    def pull(v: Any) -> Any:
        with setting(depth=context().depth + 1):
            seeds = [like(o, s, "vjp: the gradient") for o, s in pairs(y, v, "vjp, the gradient")]
            return unflatten(handles, _pull(leaves(y), seeds, inputs, retain_graph=True))

    return (y if linked else detach(y)), pull


def jvp(f: Function, xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Any, Any]:
    """Forward mode: ``f(*xs)`` and its derivative in the direction `vs`, by a walk up the tape with tangents.

    Parameters
    ----------
    xs, vs : sequences of tensors or nests
        The arguments, and a direction of the same structure and shapes.
    """
    with setting(depth=context().depth + 1, grad_enabled=True):
        handles, inputs = _enter(tuple(xs))
        directions = [like(x, v, "jvp: a direction") for x, v in pairs(handles, tuple(vs), "jvp, the directions")]
        y = constants_too(f(*handles))
        linked = _linked(leaves(y), inputs)
        record = linked or any(v.requires_grad for v in directions)
        tangents: dict[Any, Any] = {n: v if record else v.array for n, v in zip(inputs, directions, strict=True)}
        outs = [o for o in leaves(y) if o.requires_grad]
        push_forward([o.node for o in outs], tangents, create_graph=record)

    def tangent(o: Tensor) -> Tensor:
        t = tangents.get(o.node)
        return t if isinstance(t, Tensor) else Tensor(np.zeros(o.shape, o.dtype) if t is None else np.asarray(t))

    return (y if linked else detach(y)), tree_map(tangent, y)


def jacobian(f: Function, argnums: int = 0) -> Function:
    """All derivatives of a tensor by a tensor: the result has shape ``output.shape + input.shape``."""

    def wrapped(*args: Any) -> Tensor:
        (place,) = _numbers(argnums, args, "jacobian")

        def of_one(x: Any) -> Any:
            return f(*args[:place], x, *args[place + 1 :])

        y, pull = vjp(of_one, args[place])
        if not isinstance(y, Tensor):
            raise ShapeError(f"jacobian: the function must return one tensor; it returned a {type(y).__name__}")
        rows = [pull(Tensor(row.reshape(y.shape)))[0] for row in np.eye(y.size, dtype=y.dtype)]
        whole: Any = np.stack(rows) if rows else Tensor(np.zeros(0, y.dtype))
        return whole.reshape((*y.shape, *np.shape(args[place])))  # type: ignore[no-any-return]

    return wrapped


def hessian(f: Function, argnums: int = 0) -> Function:
    """Second derivatives of a function that returns one number: shape ``input.shape + input.shape``."""
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Function, x: Any, v: Any) -> Any:
    """The Hessian of `f` at `x` times `v`, without the Hessian: forward mode over the gradient."""
    return jvp(grad(f), (x,), (v,))[1]
