"""Functions of functions: grad, value_and_grad, vjp, jvp.

Arguments may be trees of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import DtypeError, GraphError, ShapeError
from .record import describe
from .tape import Leaf, Older, context, reachable, setting
from .tensor import Tensor, tensor
from .trace import constants_too
from .tree import detach, leaves, pairs, tree_map, unflatten
from .walks import like, pull_back, push_forward

Function = Callable[..., Any]


class _Inputs:
    """The arguments of a transform: tensors of its own, by whose nodes alone it differentiates.

    Where recording is on and an argument requires gradients, the tensor in its place hangs on the
    tape of the argument. The results of the transform then hang on it, too, and can be
    differentiated by what was given, inside another transform and outside. Otherwise the tensor is
    a leaf.
    """

    def __init__(self, given: Any, name: str) -> None:
        self.name, self.given = name, leaves(given)
        self.recording, self.tracing = context().grad_enabled, context().tracing
        self.handles = tree_map(self._handle, given)
        self.nodes: list[Any] = [handle.node for handle in leaves(self.handles)]
        self.older = Older()
        self.running = setting(grad_enabled=True, inputs=context().inputs.union(self.nodes))

    def _handle(self, x: Any) -> Tensor:
        traced = isinstance(x, Tensor) and x.unknown and x.dtype.kind == "f"
        if traced or (isinstance(x, Tensor) and x.requires_grad and self.recording):
            handle: Any = +x
            handle.node.requires_grad = True  # also of a traced one without gradients
            return handle  # type: ignore[no-any-return]
        try:
            made = tensor(
                x.array if isinstance(x, Tensor) else x,
                requires_grad=True,
                name=getattr(x, "name", None),
            )
        except DtypeError as error:
            raise DtypeError(
                f"{self.name}: an argument to differentiate by is a {type(x).__name__}: {error}. Arguments are tensors, arrays, numbers, modules "
                "or nests of them"
            ) from error
        return made.handle()  # the function may write to it: it is not the tensor of the leaf

    def linked(self, outputs: Sequence[Tensor]) -> bool:
        """Whether to record the results, because the outputs depend on tensors from outside."""
        found = reachable(
            [o.node for o in outputs if o.node is not None and o.requires_grad], self.older
        )
        inner, reached = set(self.nodes), set(found)
        for x, node in zip(self.given, self.nodes, strict=True):
            if (
                isinstance(x, Tensor)
                and x.requires_grad
                and x.node in reached
                and node not in reached
            ):
                raise GraphError(
                    f"{self.name}: the function uses {describe(x)} itself, as a variable from outside, not the argument in its place, by which the "
                    "gradient would be zero. Use the argument; a module takes other parameters by tg.functional_call(module, parameters, ...)"
                )
        return self.recording and (
            self.tracing
            or any(n.edges if n in inner else n in self.older or isinstance(n, Leaf) for n in found)
        )

    def pull(
        self,
        y: Sequence[Tensor],
        seeds: Sequence[Tensor],
        record: bool,
        retain_graph: bool | None = None,
    ) -> Any:
        """Return the gradients of the arguments in their structure; zeros where no path leads."""
        create = record or self.tracing
        paths = [(o, s) for o, s in zip(y, seeds, strict=True) if o.requires_grad]
        roots, seeds = [o.node for o, _ in paths if o.node], [s for _, s in paths]
        found = (
            pull_back(
                roots, seeds, targets=self.nodes, create_graph=create, retain_graph=retain_graph
            )
            if paths
            else {}
        )
        given = [found.get(n, Tensor(np.zeros(n.shape, n.dtype))) for n in self.nodes]
        return unflatten(self.handles, given if record or not self.tracing else detach(given))


def _one_number(y: Any) -> Tensor:
    """Return what a function returned as a tensor; raise a ShapeError if it is not one number."""
    y = tensor(y) if isinstance(y, (int, float, np.ndarray, np.generic)) else y
    if not isinstance(y, Tensor) or y.size != 1:
        raise ShapeError(
            f"grad: the function must return one number; it returned {getattr(y, 'shape', y)!r}. Sum it, or use jacobian."
        )
    return y


def numbers_of(argnums: int | Sequence[int], args: Sequence[Any], name: str) -> list[int]:
    """Return which arguments to differentiate by, counted from the first."""
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    if any(not -len(args) <= i < len(args) for i in numbers):
        raise GraphError(
            f"{name}: argnums={argnums}, but the function was called with {len(args)} arguments"
        )
    return [i % len(args) for i in numbers]


def value_and_grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return a function that computes ``(f(*args), gradient)``; see `grad`."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        numbers = numbers_of(argnums, args, "grad")
        inputs = _Inputs([args[i] for i in numbers], "grad")
        full = list(args)
        for i, handle in zip(numbers, inputs.handles, strict=True):
            full[i] = handle
        with inputs.running:
            y = _one_number(f(*full, **kwargs))
            linked = inputs.linked([y])
            found = inputs.pull([y], [Tensor(np.ones(y.shape, y.dtype))], linked)
        return (y if linked else y.detach()), (
            found[0] if isinstance(argnums, int) else tuple(found)
        )

    return wrapped


def grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return the gradient of a function that returns one number.

    Parameters
    ----------
    f : callable
        A function of tensors or trees of tensors.
    argnums : int or sequence of int
        The arguments to differentiate by.

    Returns
    -------
    callable
        A function of the arguments of `f`. It returns the gradient in the structure of the argument
        (a tuple for several).

    Notes
    -----
    The result, like that of every transform, is part of the computation in which it is asked for:
    it can be differentiated by tensors that require gradients, whether they were given or `f` uses
    them besides. So transforms nest, ``grad(lambda x: grad(f)(x).sum())``, and a loss may be made
    of gradients. Where nothing is recorded (`no_grad`), and for arguments without gradients,
    results are constants.

    Raises
    ------
    ShapeError
        If `f` returns something else than one number.
    GraphError
        If `f` does not use the argument, but the very tensor that was given for it, as a variable
        from outside: the gradient would be zero.
    """
    both = value_and_grad(f, argnums)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]


def vjp(f: Function, *xs: Any) -> tuple[Any, Function]:
    """Return ``f(*xs)`` and a function that pulls gradients back through it (reverse mode).

    Parameters
    ----------
    f : callable
        A function of tensors or trees of tensors, which returns a tensor or a tree of tensors.
    *xs : tensors, arrays, numbers or trees of them
        The arguments.

    Returns
    -------
    y : tensor or tree of tensors
    pull : callable
        ``pull(v)`` is the tuple of the gradients of ``sum(v * y)`` by the arguments; v is like y.
        It may be called any number of times.
    """
    inputs = _Inputs(xs, "vjp")
    with inputs.running:
        y = constants_too(f(*inputs.handles))
        linked = inputs.linked(leaves(y))

    def pull(v: Any) -> Any:
        seeds = [like(o, s, "vjp: the gradient") for o, s in pairs(y, v, "vjp, the gradient")]
        record = context().grad_enabled and (linked or any(s.requires_grad for s in seeds))
        return inputs.pull(leaves(y), seeds, record, retain_graph=True)

    return (y if linked else detach(y)), pull


def jvp(f: Function, xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Any, Any]:
    """Return ``f(*xs)`` and its derivative in the direction `vs` (forward mode).

    Parameters
    ----------
    f : callable
        A function of tensors or trees of tensors, which returns a tensor or a tree of tensors.
    xs, vs : sequences of tensors or trees of tensors
        The arguments, and a direction of the same structure and shapes.

    Returns
    -------
    y, tangent : tensors or trees of tensors
    """
    inputs = _Inputs(tuple(xs), "jvp")
    directions = [
        like(x, v, "jvp: a direction")
        for x, v in pairs(inputs.handles, tuple(vs), "jvp, the directions")
    ]
    with inputs.running:
        y = constants_too(f(*inputs.handles))
        linked = inputs.linked(leaves(y))
        kept = linked or (inputs.recording and any(v.requires_grad for v in directions))
        record = kept or inputs.tracing
        tangents: dict[Any, Any] = {
            n: v if record else v.array for n, v in zip(inputs.nodes, directions, strict=True)
        }
        outs = [o for o in leaves(y) if o.requires_grad]
        push_forward([o.node for o in outs], tangents, create_graph=record)

    def tangent(o: Tensor) -> Tensor:
        t = tangents.get(o.node)
        return (
            t.handle()
            if isinstance(t, Tensor)
            else Tensor(np.zeros(o.shape, o.dtype) if t is None else np.asarray(t))
        )

    found = tree_map(tangent, y)
    return (y if linked else detach(y)), found if kept or not record else detach(found)
