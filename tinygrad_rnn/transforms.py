"""Functions of functions: grad, value_and_grad, vjp, jvp, jacobian, hessian, hvp.

They are those of ``core/transforms.py``, and take modules among their arguments: these count as the
dicts of their parameters, and the function is given copies that hold others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .core import transforms
from .core.errors import ShapeError, TinygradError
from .core.tensor import Tensor
from .core.transforms import numbers_of
from .core.tree import leaves, tree_map, unflatten
from .functional import substituted
from .module import Module
from .ops.checks import shown

Function = Callable[..., Any]


def opened(tree: Any) -> Any:
    """Return a tree with the dict of its parameters, by name, in place of each module."""
    return tree_map(lambda x: x.parameters_dict() if isinstance(x, Module) else x, tree)


def by_parameters(
    what: str, f: Function, args: Sequence[Any], places: Sequence[int]
) -> tuple[Function, Any]:
    """Return a function of dicts of parameters where `f` is given modules, and its arguments.

    Parameters
    ----------
    what : str
        The transform, for messages.
    f : callable
    args : sequence
        The arguments of `f`.
    places : sequence of int
        Those by which it is differentiated; modules among the others stay.
    """
    trees = {i: args[i] for i in places if any(isinstance(x, Module) for x in leaves(args[i]))}
    if not trees:
        return f, args

    def of_parameters(*given: Any, **kwargs: Any) -> Any:
        full, ends = list(given), []

        def closed(x: Any, found: Any) -> Any:
            if not isinstance(x, Module):
                return found
            made, finish = substituted(x, found, f"{what}: the function")
            ends.append(finish)
            return made

        for i, tree in trees.items():
            full[i] = tree_map(closed, tree, given[i])
        result = f(*full, **kwargs)
        for finish in ends:
            finish(result)
        return result

    return of_parameters, [opened(x) if i in trees else x for i, x in enumerate(args)]


def value_and_grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return a function that computes ``(f(*args), gradient)``; see `grad`."""
    several = isinstance(argnums, (tuple, list))
    _check("grad", f, *(argnums if several else (argnums,)))  # type: ignore[misc]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        function, given = by_parameters("grad", f, args, numbers_of(argnums, args, "grad"))
        return transforms.value_and_grad(function, argnums)(*given, **kwargs)

    return wrapped


def grad(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Return the gradient of a function that returns one number.

    Parameters
    ----------
    f : callable
        A function of tensors, modules, or trees of them.
    argnums : int or sequence of int
        The arguments to differentiate by.

    Returns
    -------
    callable
        A function of the arguments of `f`. It returns the gradient in the structure of the argument
        (a tuple for several); that by a module is a dict by the names of its parameters.

    Notes
    -----
    The result, like that of every transform, is part of the computation in which it is asked for:
    it can be differentiated by tensors that require gradients, whether they were given or `f` uses
    them besides. So transforms nest, ``grad(lambda x: grad(f)(x).sum())``, and a loss may be made
    of gradients. Where nothing is recorded (`no_grad`), and for arguments without gradients,
    results are constants.

    A module is not changed: `f` is given a copy with tensors in place of its parameters, as
    `functional_call` makes it. Its ``.grad`` stays as it is.

    Raises
    ------
    ShapeError
        If `f` returns something else than one number.
    GraphError
        If `f` does not use the argument, but the very tensor that was given for it, as a variable
        from outside: the gradient would be zero.

    Examples
    --------
    >>> model = tg.nn.Linear(2, 1, rng=0)
    >>> loss = lambda model, xs: (model(xs) ** 2).sum()
    >>> sorted(tg.grad(loss)(model, np.ones((1, 2), np.float32)))
    ['bias', 'weight']
    """
    both = value_and_grad(f, argnums)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]


def vjp(f: Function, *xs: Any) -> tuple[Any, Function]:
    """Return ``f(*xs)`` and a function that pulls gradients back through it (reverse mode).

    Parameters
    ----------
    f : callable
        A function of tensors, modules or trees of them, which returns a tensor or a tree of
        tensors.
    *xs : tensors, arrays, numbers, modules or trees of them
        The arguments.

    Returns
    -------
    y : tensor or tree of tensors
    pull : callable
        ``pull(v)`` is the tuple of the gradients of ``sum(v * y)`` by the arguments; v is like y.
        It may be called any number of times.
    """
    _check("vjp", f)
    function, given = by_parameters("vjp", f, xs, range(len(xs)))
    return transforms.vjp(function, *given)


def jvp(f: Function, xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Any, Any]:
    """Return ``f(*xs)`` and its derivative in the direction `vs` (forward mode).

    Parameters
    ----------
    f : callable
        A function of tensors, modules or trees of them, which returns a tensor or a tree of
        tensors.
    xs, vs : sequences of tensors, modules or trees of them
        The arguments, and a direction of the same structure and shapes; that of a module is a dict
        by the names of its parameters.

    Returns
    -------
    y, tangent : tensors or trees of tensors
    """
    _check("jvp", f)
    for name, given in (("xs", xs), ("vs", vs)):
        if not isinstance(given, (tuple, list)):
            raise TinygradError(f"jvp: {name} must be a tuple of arguments; found {shown(given)}")
    function, given = by_parameters("jvp", f, tuple(xs), range(len(xs)))
    return transforms.jvp(function, given, opened(tuple(vs)))


def jacobian(f: Function, argnums: int = 0) -> Function:
    """Return a function that computes all derivatives of a tensor by a tensor.

    Parameters
    ----------
    f : callable
    argnums : int
        By which argument of `f` to differentiate.

    Returns
    -------
    callable
        A function of the arguments of `f`. Its result has the shape ``output.shape + input.shape``.
        Of a tree, or a module, it has the structure of the argument; of a function that returns a
        tree that of the output, and in it that of the argument.
    """
    _check("jacobian", f, argnums)

    def wrapped(*args: Any) -> Any:
        (place,) = numbers_of(argnums, args, "jacobian")
        function, given = by_parameters("jacobian", f, args, [place])

        def of_one(x: Any) -> Any:
            return function(*given[:place], x, *given[place + 1 :])

        y, pull = transforms.vjp(of_one, given[place])
        outputs = leaves(y)
        if not outputs or not all(isinstance(o, Tensor) for o in outputs):
            raise ShapeError(
                f"jacobian: the function must return one tensor, or a tree of them; it returned a {type(y).__name__}"
            )
        found = [_rows(y, k, pull, given[place]) for k in range(len(outputs))]
        return unflatten(y, found)

    return wrapped


def _rows(y: Any, place: int, pull: Function, x: Any) -> Any:
    """Return the derivatives of one output of several by the argument, in its structure."""
    outputs = leaves(y)
    seeds = [Tensor(np.zeros(o.shape, o.dtype)) for o in outputs]
    size, shape, dtype = outputs[place].size, outputs[place].shape, outputs[place].dtype
    rows = []
    for row in np.eye(size, dtype=dtype):
        seeds[place] = Tensor(row.reshape(shape))
        rows.append(pull(unflatten(y, seeds))[0])

    def stacked(like: Any, *parts: Any) -> Any:
        whole: Any = np.stack(parts) if parts else Tensor(np.zeros(0, dtype))
        return whole.reshape((*shape, *np.shape(like)))

    return tree_map(stacked, x, *rows)


def hessian(f: Function, argnums: int = 0) -> Function:
    """Return a function that computes the second derivatives of a function that returns one number.

    Its result has the shape ``input.shape + input.shape``; of a tree, or a module, it has twice its
    structure: ``hessian(f)(p)["a"]["b"]``. `argnums` says by which argument of `f` to differentiate.
    """
    _check("hessian", f, argnums)

    def wrapped(*args: Any) -> Any:
        (place,) = numbers_of(argnums, args, "hessian")
        function, given = by_parameters("hessian", f, args, [place])
        return jacobian(transforms.grad(function, place), place)(*given)

    return wrapped


def hvp(f: Function, x: Any, v: Any, *args: Any) -> Any:
    """Return the Hessian of `f` at `x` times `v`.

    The Hessian itself is not computed: this is forward mode over the gradient.

    Parameters
    ----------
    f : callable
        A function that gives one number: ``f(x, *args)``.
    x : Tensor, module, or tree of them
        Where the Hessian is taken.
    v : Tensor, or tree of tensors
        What it is multiplied by, of the shapes of x; for a module a dict by the names of its
        parameters.
    *args
        Further arguments of `f`, by which nobody differentiates.
    """
    _check("hvp", f)
    function, (given, *rest) = by_parameters("hvp", f, (x, *args), [0])
    gradient = transforms.grad(function)
    return transforms.jvp(lambda x: gradient(x, *rest), (given,), (opened(v),))[1]


def _check(what: str, f: Any, *argnums: Any) -> None:
    """Raise a TinygradError for what is no function, or no number of an argument."""
    if isinstance(f, type) or not callable(f):
        raise TinygradError(f"{what}: expected a function of tensors; found {shown(f)}")
    for number in argnums:
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TinygradError(f"{what}: argnums must be a whole number; found {shown(number)}")
