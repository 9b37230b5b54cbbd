"""NumPy's functions on tensors: ``np.tanh(t)``, ``np.sum(t, axis=0)``, ``np.concatenate([t, t])``.

A tensor answers NumPy's two protocols, ``__array_ufunc__`` and ``__array_function__``, with the
operation of the same meaning. What has no derivative here is an error, since NumPy would convert
the tensor to an array and cut the tape.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from ..core.errors import NotDifferentiableError
from ..core.primitive import Spec
from ..core.tensor import Tensor
from . import along, bounds, elementwise, linear, reductions, shaping, shifting, taking
from .custom import UFUNCS


def _on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function for the bare values, which it compares or shows."""

    def call(*args: Any, **kwargs: Any) -> Any:
        bare = [a.numpy() if isinstance(a, Tensor) else a for a in args]
        return function(
            *bare, **{k: v.numpy() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        )

    return call


def _on_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function that looks only at the shape and dtype of its first argument.

    These are known while a function is traced, too.
    """
    call = _on_values(function)

    def of_first(x: Any, *args: Any, **kwargs: Any) -> Any:
        traced = isinstance(x, Tensor) and isinstance(x.array, Spec)
        return call(
            np.broadcast_to(np.zeros((), x.dtype), x.shape) if traced else x, *args, **kwargs
        )

    return of_first


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    f: _on_values(f)
    for f in (np.array_equal, np.allclose, np.isclose, np.array_repr, np.array_str, np.array2string)
}
_LIKE = (np.zeros_like, np.ones_like, np.empty_like)
for _function in (np.shape, np.ndim, np.size, *_LIKE, np.result_type, np.can_cast):
    _FUNCTIONS[_function] = _on_shapes(_function)


def _full_like(a: Any, fill_value: Any, *args: Any, **kwargs: Any) -> Any:
    """Fill an array as NumPy does; a value with gradients is refused."""
    return _on_shapes(np.full_like)(a, np.asarray(fill_value), *args, **kwargs)


_FUNCTIONS[np.full_like] = _full_like

_NAMES = (
    "abs add cos divide equal exp expm1 floor greater greater_equal isfinite isnan less less_equal log log1p logaddexp logical_and "
    "logical_not logical_or maximum minimum mod multiply not_equal positive power reciprocal sign sin sqrt square subtract tanh"
)
for _name in _NAMES.split():
    UFUNCS[getattr(np, _name)] = getattr(elementwise, _name)
UFUNCS[np.matmul] = linear.matmul
UFUNCS[np.negative] = elementwise.neg


def later(family: str, name: str) -> Callable[..., Any]:
    """Return an operation of a file of `ops` that is loaded when it is first called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(f"..{family}", __name__), name)(*args, **kwargs)

    return call


def dot(a: Any, b: Any, **others: Any) -> Any:
    """Multiply as ``np.dot`` does; the product of matrices, which rules compute, begins at once.

    Parameters
    ----------
    a, b : Tensor, array or number
    **others
        NumPy's `out`, which has to be None.
    """
    if getattr(b, "ndim", 0) == 2 == getattr(a, "ndim", 0) and not others:
        return linear.matmul(a, b)
    return _dot(a, b, **others)


_dot = later("contracting", "dot")


def _bitwise(op: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the operator & | ^ or ~: of booleans the logical operation, of integers their bits."""
    of_integers = later("elementary", name)

    def chosen(*operands: Any) -> Any:
        bools = all(getattr(x, "dtype", np.dtype(type(x))) == np.bool_ for x in operands)
        return (op if bools else of_integers)(*operands)

    return chosen


LOGICAL = {
    "and": _bitwise(elementwise.logical_and, "bitwise_and"),
    "or": _bitwise(elementwise.logical_or, "bitwise_or"),
    "xor": _bitwise(elementwise.not_equal, "bitwise_xor"),
}
for _name, _op in LOGICAL.items():  # which an array of NumPy calls where it stands on the left
    UFUNCS[getattr(np, f"bitwise_{_name}")] = _op
logical_not = _bitwise(elementwise.logical_not, "bitwise_not")
UFUNCS[np.invert] = logical_not
SHIFTS = {"lshift": later("elementary", "left_shift"), "rshift": later("elementary", "right_shift")}
_LATER = (
    "arccos arccosh arcsin arcsinh arctan arctan2 arctanh ceil copysign cosh exp2 floor_divide fmax fmin hypot isinf left_shift log10 "
    "log2 right_shift sinh tan trunc"
)
for _name in _LATER.split():
    UFUNCS[getattr(np, _name)] = later("elementary", _name)
UFUNCS[np.rint] = later("elementary", "round")
for _name in ("matvec", "vecmat"):  # which NumPy has since 2.2
    if hasattr(np, _name):
        UFUNCS[getattr(np, _name)] = later("contracting", _name)


def _flat(op: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation that flattens the array where no axis is given, as NumPy's does."""

    def call(x: Any, *args: Any, axis: Any = None, **others: Any) -> Any:
        x = x if isinstance(x, Tensor) else np.asarray(x)
        given, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
        return op(given, *args, axis=axis, **others)

    return call


def _by_kind(name: str) -> Callable[..., Any]:
    """Return an order; `kind` and `stable` change nothing, since equal elements keep theirs."""
    op = later("order", name)

    def call(x: Any, axis: Any = -1, kind: Any = None, stable: Any = None) -> Any:
        return op(x, axis)

    return call


def _percentile(x: Any, q: Any, **settings: Any) -> Any:
    """Compute a quantile, of which the share is given in hundredths."""
    return later("order", "quantile")(x, np.true_divide(q, 100), **settings)


# For each function of NumPy ours, and the names of NumPy's parameters in their order: first those
# that are inputs, then the settings. Where a setting has another name here, that stands behind a
# colon. One in brackets does not exist here: it may be given with its default, which is None or
# stands behind the sign of equality.
_OUT = "dtype out"
_TAKEN: dict[Any, tuple[Callable[..., Any], str, str]] = {
    np.clip: (bounds.clip, "a", "a_min:low a_max:high out min:low max:high"),
    np.where: (elementwise.where, "condition x y", ""),
    np.sinc: (later("special", "sinc"), "x", ""),
    np.round: (later("elementary", "round"), "a", "decimals out"),
    np.sum: (reductions.sum, "a", f"axis {_OUT} keepdims initial where"),
    np.prod: (reductions.prod, "a", f"axis {_OUT} keepdims initial where"),
    np.mean: (reductions.mean, "a", f"axis {_OUT} keepdims where"),
    np.std: (reductions.std, "a", f"axis {_OUT} ddof:correction keepdims where mean correction"),
    np.var: (reductions.var, "a", f"axis {_OUT} ddof:correction keepdims where mean correction"),
    np.max: (reductions.max, "a", "axis out keepdims initial where"),
    np.min: (reductions.min, "a", "axis out keepdims initial where"),
    np.all: (reductions.all, "a", "axis out keepdims where"),
    np.any: (reductions.any, "a", "axis out keepdims where"),
    np.argmax: (reductions.argmax, "a", "axis out keepdims"),
    np.argmin: (reductions.argmin, "a", "axis out keepdims"),
    np.cumsum: (_flat(along.cumsum), "a", f"axis {_OUT}"),
    np.cumprod: (_flat(along.cumprod), "a", f"axis {_OUT}"),
    np.outer: (linear.outer, "a b", "out"),
    np.dot: (dot, "a b", "out"),
    np.linalg.norm: (later("norms", "norm"), "x", "ord axis keepdims"),
    np.linalg.solve: (later("linalg", "solve"), "a b", ""),
    np.linalg.inv: (later("linalg", "inv"), "a", ""),
    np.linalg.pinv: (later("linalg", "pinv"), "a", "[rcond] [hermitian=False]"),
    np.linalg.det: (later("determinants", "det"), "a", ""),
    np.linalg.slogdet: (later("determinants", "slogdet"), "a", ""),
    np.linalg.cholesky: (later("linalg", "cholesky"), "a", "upper"),
    np.linalg.matrix_power: (later("linalg", "matrix_power"), "a n", ""),
    np.linalg.eigh: (later("decompositions", "eigh"), "a", "UPLO"),
    np.linalg.eigvalsh: (later("decompositions", "eigvalsh"), "a", "UPLO"),
    np.linalg.svd: (
        later("decompositions", "svd"),
        "a",
        "full_matrices compute_uv [hermitian=False]",
    ),
    np.linalg.svdvals: (later("decompositions", "svdvals"), "x", ""),
    np.linalg.qr: (later("decompositions", "qr"), "a", "mode"),
    np.fft.rfft: (later("fourier", "rfft"), "a", "n axis norm [out]"),
    np.broadcast_to: (shaping.broadcast_to, "array", "shape [subok=False]"),
    np.concatenate: (shaping.concatenate, "arrays", "axis out dtype casting"),
    np.stack: (shaping.stack, "arrays", "axis out dtype casting"),
    np.expand_dims: (shaping.expand_dims, "a", "axis"),
    np.squeeze: (shaping.squeeze, "a", "axis"),
    np.flip: (shifting.flip, "m", "axis"),
    np.roll: (shifting.roll, "a", "shift axis"),
    np.pad: (later("padding", "pad"), "array", "pad_width mode constant_values:value"),
    np.reshape: (shaping.reshape, "a shape", "order copy"),
    np.transpose: (lambda x, axes=None: shaping.transpose(x, axes), "a", "axes"),
    np.swapaxes: (shaping.swapaxes, "a axis1 axis2", ""),
    np.split: (shaping.split, "ary", "indices_or_sections:parts axis"),
    np.take: (_flat(taking.take), "a indices", "axis out mode"),
    np.take_along_axis: (taking.take_along_axis, "arr indices", "axis"),
    np.tril: (shifting.tril, "m", "k"),
    np.triu: (shifting.triu, "m", "k"),
    np.ravel: (later("arranging", "ravel"), "a", "[order=C]"),
    np.moveaxis: (later("arranging", "moveaxis"), "a source destination", ""),
    np.repeat: (later("arranging", "repeat"), "a repeats", "axis"),
    np.tile: (later("arranging", "tile"), "A reps", ""),
    np.vstack: (later("arranging", "vstack"), "tup", "dtype casting"),
    np.hstack: (later("arranging", "hstack"), "tup", "dtype casting"),
    np.dstack: (later("arranging", "dstack"), "tup", ""),
    np.column_stack: (later("arranging", "column_stack"), "tup", ""),
    np.append: (later("arranging", "append"), "arr values", "axis"),
    np.array_split: (later("arranging", "array_split"), "ary indices_or_sections", "axis"),
    np.rot90: (later("arranging", "rot90"), "m", "k axes"),
    np.sort: (_by_kind("sort"), "a", "axis kind [order] stable [descending=False]"),
    np.argsort: (_by_kind("argsort"), "a", "axis kind [order] stable [descending=False]"),
    np.median: (later("order", "median"), "a", "axis out overwrite_input keepdims"),
    np.quantile: (
        later("order", "quantile"),
        "a",
        "q axis out overwrite_input method keepdims [weights]",
    ),
    np.percentile: (_percentile, "a", "q axis out overwrite_input method keepdims [weights]"),
    np.nansum: (later("counting", "nansum"), "a", f"axis {_OUT} keepdims initial where"),
    np.nanmean: (later("counting", "nanmean"), "a", f"axis {_OUT} keepdims where"),
    np.unique: (
        later("counting", "unique"),
        "ar",
        "return_index return_inverse return_counts axis [equal_nan=True] [sorted=True]",
    ),
    np.searchsorted: (later("counting", "searchsorted"), "a v", "side sorter"),
    np.bincount: (later("counting", "bincount"), "x", "weights minlength"),
    np.histogram: (later("counting", "histogram"), "a", "bins range density weights"),
    np.tensordot: (later("contracting", "tensordot"), "a b", "axes"),
    np.inner: (later("contracting", "inner"), "a b", ""),
    np.vdot: (later("contracting", "vdot"), "a b", ""),
    np.kron: (later("contracting", "kron"), "a b", ""),
    np.cross: (later("contracting", "cross"), "a b", "[axisa=-1] [axisb=-1] [axisc=-1] axis"),
    np.diagonal: (later("diagonals", "diagonal"), "a", "offset axis1 axis2"),
    np.diag: (later("diagonals", "diag"), "v", "k"),
    np.trace: (later("diagonals", "trace"), "a", "offset axis1 axis2 dtype out"),
    np.diff: (later("arranging", "diff"), "a", "n axis prepend append"),
}


def _called(function: Any) -> Callable[..., Any]:
    """Return our function with the signature of NumPy's."""
    op, inputs, settings = _TAKEN[function]
    names = [
        *inputs.split(),
        *(word.strip("[]").partition("=")[0].partition(":")[0] for word in settings.split()),
    ]
    ours = dict(word.split(":") for word in settings.split() if ":" in word)
    left = {
        name: default
        for name, _, default in (
            w.strip("[]").partition("=") for w in settings.split() if w.startswith("[")
        )
    }

    def call(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(names, args, strict=False))
        wrong = [name for name in kwargs if name not in names or name in given]
        lacking = [name for name in inputs.split() if name not in given and name not in kwargs]
        if wrong or lacking or len(args) > len(names):
            found = (
                f"without {lacking[0]}"
                if lacking
                else f"with {sorted(wrong)}"
                if wrong
                else f"of {len(args)} arguments"
            )
            raise _unknown(
                f"{function.__name__} {found}",
                f"Here it takes {', '.join(n for n in names if n not in left)}. ",
            )
        settled: dict[str, Any] = {}
        for name, value in (given | kwargs).items():
            if name in inputs.split() or value is np._NoValue:
                continue
            if name in left:
                if value is not None and str(value) != left[name]:
                    raise _unknown(f"{function.__name__} with {name}={value!r}", "")
            elif settled.setdefault(ours.get(name, name), value) is not value:
                raise _unknown(f"{function.__name__} with two values for {name}", "")
        return op(*[(given | kwargs)[name] for name in inputs.split()], **settled)

    return call


_TAKEN |= {np.amax: _TAKEN[np.max], np.amin: _TAKEN[np.min]}
_FUNCTIONS |= {function: _called(function) for function in _TAKEN}


def _einsum(*operands: Any, optimize: Any = True, **settings: Any) -> Any:
    """Compute ``np.einsum``."""
    given = {k: v for k, v in settings.items() if v is not None}
    if given:
        raise _unknown(f"einsum with {sorted(given)}", "")
    return linear.einsum(*operands, optimize=optimize)


_FUNCTIONS[np.einsum] = _einsum
_ACCUMULATE: dict[Any, Callable[..., Any]] = {
    np.add: along.cumsum,
    np.multiply: along.cumprod,
    np.maximum: along.cummax,
    np.minimum: along.cummin,
    np.logaddexp: along.logcumsumexp,
}
_REDUCE = {
    np.add: reductions.sum,
    np.multiply: reductions.prod,
    np.maximum: reductions.max,
    np.minimum: reductions.min,
}


def array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """Answer to a ufunc of NumPy that was called with a tensor (NumPy's ``__array_ufunc__``)."""
    if kwargs.get("out") is not None:
        raise NotDifferentiableError(
            f"np.{ufunc.__name__} was asked to write its result into an existing array (out=, or an operator such as += on an ndarray); "
            "the tape cannot record that. Use the result instead: a = a + t."
        )
    kwargs = {
        name: value
        for name, value in kwargs.items()
        if name == "axis" or not (value is None or value is np._NoValue)
    }
    if method == "__call__" and ufunc in UFUNCS and not kwargs:
        return UFUNCS[ufunc](*inputs)
    if method == "reduce" and ufunc in _REDUCE:
        return _REDUCE[ufunc](inputs[0], **{"axis": 0, **kwargs})
    if method == "accumulate" and ufunc in _ACCUMULATE and set(kwargs) <= {"axis"}:
        return _ACCUMULATE[ufunc](inputs[0], axis=kwargs.get("axis", 0))
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    extra = f" with {sorted(kwargs)}" if kwargs else ""
    raise _unknown(name + extra, "tg.register_ufunc states the derivative of a ufunc; ")


def array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """Answer to another function of NumPy, called with a tensor (``__array_function__``)."""
    op = _FUNCTIONS.get(function)
    if op is None:
        family = function.__module__.removeprefix("numpy").lstrip(".")
        way = "tg.fft.rfft gives the real and the imaginary parts. " if family == "fft" else ""
        raise _unknown(f"{family}.{function.__name__}".lstrip("."), way)
    return op(*args, **kwargs)


def _unknown(name: str, hint: str) -> NotDifferentiableError:
    """Make the error for a function, or a use of one, that has no derivative here."""
    return NotDifferentiableError(
        f"np.{name} has no derivative here, and converting the tensor would cut the tape. {hint}"
        "t.numpy() or t.detach().numpy() gives NumPy the values where no gradient is wanted."
    )
