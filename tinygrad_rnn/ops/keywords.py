"""What NumPy's functions take besides what ours do: dtype, where, initial, out, and other names.

An operation that is given a keyword which it does not know asks here; so the ordinary call pays
nothing. Each keyword is answered by operations that are recorded, or refused with a sentence.
Loaded when first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, NotDifferentiableError, ShapeError
from ..core.tensor import check_dtype
from . import elementwise, reductions, shaping
from .checks import SettingError, of_kind, shown
from .define import axes_of, axis_of, broadcasts_to, operand

Inputs = tuple[Any, ...]
Settings = dict[str, Any]
Op = Callable[..., Any]


def call(op: Op, name: str, inputs: Inputs, known: Settings, extra: Settings) -> Any:
    """Call an operation with keywords of NumPy's.

    Parameters
    ----------
    op : callable
        The operation, which takes the inputs by position.
    name : str
    inputs : tuple
    known : dict
        The settings that the operation has itself.
    extra : dict
        The other keywords.
    """
    answer, taken = TAKES.get(name, (None, ""))
    unknown = [k for k in extra if k not in taken.split()]
    if unknown:
        raise TypeError(
            f"{name}() got the keyword {unknown[0]!r}, which it does not have"
            + (f"; besides its settings it takes {', '.join(taken.split())}" if taken else "")
        )
    if extra.pop("out", None) is not None:
        raise no_out(name)
    extra = {k: v for k, v in extra.items() if v is not None}
    if not extra or answer is None:
        return op(*inputs, **known)
    return answer(op, name, inputs, known, **extra)


def no_out(name: str) -> NotDifferentiableError:
    """Make the error for a result that is to be written into an array."""
    return NotDifferentiableError(
        f"{name} was asked by out= to write its result into an existing array, which the tape cannot record. "
        f"Use what it returns: y = {name}(...)"
    )


# --- what several have ----------------------------------------------------------------------------


def _cast(name: str, x: Any, dtype: Any, kinds: str = "fiu") -> Any:
    """Return an operand in the dtype in which it is to be computed."""
    x = operand(x, name)
    if dtype is None:
        return x
    found = check_dtype(dtype)
    if found.kind not in kinds:
        what = "float32 or float64" if kinds == "f" else "one of numbers"
        raise DtypeError(f"{name}: dtype must be {what}; found {shown(dtype)}")
    return x if x.dtype == found else x.astype(found)


def _in(found: Any, dtype: Any) -> Any:
    """Return a result in the dtype that was asked for; NumPy adds small integers up in int64."""
    return found if dtype is None or found.dtype == np.dtype(dtype) else found.astype(dtype)


def _mask(name: str, x: Any, where: Any) -> Any:
    """Return what says for each element whether it counts."""
    mask = operand(where, f"{name}: where")
    if mask.dtype != np.bool_:
        raise DtypeError(
            f"{name}: where must be True or False for each element; found {mask.dtype}"
        )
    if not broadcasts_to(mask.shape, x.shape):
        raise ShapeError(
            f"{name}: where of shape {tuple(mask.shape)} cannot be spread to the shape {tuple(x.shape)} of x"
        )
    return mask


def _initial(name: str, initial: Any, dtype: Any) -> Any:
    """Return a number with which a reduction begins, of the kind of its dtype."""
    kinds = ["int", "float"] if dtype.kind == "f" else ["int"]
    of_kind(initial, kinds, f"{name}: initial of {dtype}")
    return float(initial) if dtype.kind == "f" else int(initial)


# --- reductions -----------------------------------------------------------------------------------


def _accumulated(neutral: int, join: Op) -> Op:
    """Answer for a sum or a product: masked elements are neutral, and the result is joined."""

    def of(
        op: Op,
        name: str,
        inputs: Inputs,
        known: Settings,
        dtype: Any = None,
        initial: Any = None,
        where: Any = None,
    ) -> Any:
        x = _cast(name, inputs[0], dtype)
        if where is not None:
            x = elementwise.where(_mask(name, x, where), x, neutral)
        found = _in(op(x, **known), dtype)
        return found if initial is None else join(found, _initial(name, initial, found.dtype))

    return of


def _extreme(join: Op, least: bool) -> Op:
    """Answer for `max` and `min`, where what begins is one of two whose extreme is taken."""

    def of(
        op: Op, name: str, inputs: Inputs, known: Settings, initial: Any = None, where: Any = None
    ) -> Any:
        x = operand(inputs[0], name)
        if initial is None:
            raise SettingError(
                f"{name}: with where= an initial= is needed, which is the result where no element counts"
            )
        begin = _initial(name, initial, x.dtype)
        if where is not None:
            x = elementwise.where(_mask(name, x, where), x, reductions.end_of(x.dtype, least))
        if 0 in [x.shape[a] for a in axes_of(known.get("axis"), x.ndim)]:
            return (reductions.sum(x, **known) + begin).astype(x.dtype)
        return join(op(x, **known), begin)

    return of


def _counted(name: str, x: Any, where: Any, settings: Settings) -> tuple[Any, Any]:
    """Return the mask, and how many elements count, in the dtype of x."""
    mask = shaping.broadcast_to(_mask(name, x, where), x.shape)
    return mask, reductions.sum(mask, **settings).astype(x.dtype)


def _floating(name: str, x: Any, dtype: Any) -> Any:
    x = _cast(name, x, dtype, "f")
    return x if x.dtype.kind == "f" else x.astype(np.float32)


def _mean(
    op: Op, name: str, inputs: Inputs, known: Settings, dtype: Any = None, where: Any = None
) -> Any:
    x = _floating(name, inputs[0], dtype)
    if where is None:
        return op(x, **known)
    mask, count = _counted(name, x, where, known)
    return reductions.sum(elementwise.where(mask, x, 0.0), **known) / count


def _spread_out(
    op: Op,
    name: str,
    inputs: Inputs,
    known: Settings,
    dtype: Any = None,
    where: Any = None,
    mean: Any = None,
    ddof: Any = None,
) -> Any:
    """Answer for `var` and `std`."""
    x = _floating(name, inputs[0], dtype)
    if ddof is not None:
        if "correction" in known:
            raise SettingError(f"{name}: ddof and correction are two names of one setting")
        known = {**known, "correction": ddof}
    if where is None and mean is None:
        return op(x, **known)
    correction = known.pop("correction", 0)
    of_kind(correction, ["int", "float"], f"{name}: correction")
    kept = {"axis": known.get("axis"), "keepdims": True}
    mask, count = _counted(name, x, True if where is None else where, known)
    if mean is None:
        mean = _mean(reductions.mean, name, (x,), kept, where=mask)
    apart = elementwise.where(mask, x - mean, 0.0)
    freedom = elementwise.maximum(count - correction, 0.0)
    if name == "std":
        return reductions.norm(apart, **known) / elementwise.sqrt(freedom)
    return reductions.sum(elementwise.square(apart), **known) / freedom


def _nanmean(
    op: Op, name: str, inputs: Inputs, known: Settings, dtype: Any = None, where: Any = None
) -> Any:
    x = _floating(name, inputs[0], dtype)
    if where is not None:
        x = elementwise.where(_mask(name, x, where), x, np.nan)
    return op(x, **known)


def _held(op: Op, name: str, inputs: Inputs, known: Settings, where: Any = None) -> Any:
    """Answer for `any` and `all`."""
    x = operand(inputs[0], name)
    mask = _mask(name, x, where)
    if name == "any":
        return op(elementwise.logical_and(x, mask), **known)
    return op(elementwise.logical_or(x, elementwise.logical_not(mask)), **known)


# --- others ---------------------------------------------------------------------------------------


def _in_dtype(op: Op, name: str, inputs: Inputs, known: Settings, dtype: Any = None) -> Any:
    return _in(op(_cast(name, inputs[0], dtype), *inputs[1:], **known), dtype)


def _joined(
    op: Op, name: str, inputs: Inputs, known: Settings, dtype: Any = None, casting: Any = None
) -> Any:
    """Answer for what joins a list of tensors, each of which is converted first."""
    _only(name, "casting", casting, "same_kind")
    if dtype is None:
        return op(*inputs, **known)
    found = check_dtype(dtype)
    parts = [operand(t, name) for t in inputs[0]]
    wrong = [t.dtype for t in parts if not np.can_cast(t.dtype, found, "same_kind")]
    if wrong:
        raise DtypeError(f"{name}: {wrong[0]} cannot become {found} without loss; use .astype(...)")
    return op([t if t.dtype == found else t.astype(found) for t in parts], *inputs[1:], **known)


def _only(name: str, setting: str, value: Any, *allowed: Any) -> None:
    """Refuse a setting of which NumPy has other values as well."""
    if value is not None and value not in allowed:
        raise SettingError(
            f"{name}: {setting} must be {' or '.join(map(repr, allowed))} here; found {shown(value)}"
        )


def _reshape(
    op: Op,
    name: str,
    inputs: Inputs,
    known: Settings,
    shape: Any = None,
    order: Any = None,
    copy: Any = None,
) -> Any:
    if order is not None and order != "C":
        raise SettingError(
            f"{name}: order must be 'C', rows one after the other; found {shown(order)}. Columns one after the other are t.T in "
            "order 'C', and the result turned"
        )
    _only(name, "copy", copy, True)
    if shape is not None and len(inputs) > 1:
        raise SettingError(f"{name}: the shape was given twice")
    return op(*inputs, **known) if shape is None else op(inputs[0], shape)


def _transpose(op: Op, name: str, inputs: Inputs, known: Settings, axes: Any = None) -> Any:
    if len(inputs) > 1:
        raise SettingError(f"{name}: the axes were given twice")
    return op(inputs[0], axes)


def _split(
    op: Op, name: str, inputs: Inputs, known: Settings, indices_or_sections: Any = None
) -> Any:
    if "parts" in known or len(inputs) > 1:
        raise SettingError(f"{name}: parts and indices_or_sections are two names of one setting")
    return op(*inputs, parts=indices_or_sections, **known)


def _pad(op: Op, name: str, inputs: Inputs, known: Settings, constant_values: Any = None) -> Any:
    if "value" in known:
        raise SettingError(f"{name}: value and constant_values are two names of one setting")
    return op(*inputs, value=constant_values, **known)


def _diff(
    op: Op, name: str, inputs: Inputs, known: Settings, prepend: Any = None, append: Any = None
) -> Any:
    """Answer for differences of a row with something before and behind it; a number stands once."""
    x = operand(inputs[0], name)
    a = axis_of(known.get("axis", -1), x.ndim)
    edges = []
    for given in (prepend, append):
        if given is not None:
            edge = operand(given, f"{name}: an edge")
            one = [1 if k == a else n for k, n in enumerate(x.shape)]
            edges.append(edge if edge.ndim else shaping.broadcast_to(edge, one))
    parts = [*edges[: prepend is not None], x, *edges[prepend is not None :]]
    return op(shaping.concatenate(parts, a), *inputs[1:], **known)


def _round(op: Op, name: str, inputs: Inputs, known: Settings, decimals: Any = None) -> Any:
    of_kind(decimals, ["int"], f"{name}: decimals")
    x = operand(inputs[0], name)
    if decimals == 0 or (x.dtype.kind != "f" and decimals > 0):
        return op(x)
    scale = 10.0 ** abs(int(decimals))
    if x.dtype.kind != "f":
        raise DtypeError(f"{name}: decimals below 0 are of floats; found {x.dtype}")
    return op(x * scale) / scale if decimals > 0 else op(x / scale) * scale


def _take(op: Op, name: str, inputs: Inputs, known: Settings, mode: Any = None) -> Any:
    if mode == "raise":
        return op(*inputs, **known)
    _only(name, "mode", mode, "raise", "wrap", "clip")
    from .taking import integers

    x, indices = operand(inputs[0], name), integers(inputs[1], f"{name}: the indices")
    n = x.shape[axis_of(known.get("axis", 0), x.ndim)]
    if mode == "wrap":
        chosen = elementwise.mod(indices, n)
    else:
        chosen = elementwise.clip(indices, 0, n - 1)
    return op(x, chosen, **known)


def _overwriting(op: Op, name: str, inputs: Inputs, known: Settings, overwrite_input: Any) -> Any:
    """Answer for what may use its operand as memory: here it does not."""
    of_kind(overwrite_input, ["bool"], f"{name}: overwrite_input")
    return op(*inputs, **known)


_ADDED = _accumulated(0, lambda a, b: a + b)
_SPREAD = "dtype where mean ddof out"
# for each operation who answers, and the keywords
TAKES: dict[str, tuple[Op | None, str]] = {
    "sum": (_ADDED, "dtype initial where out"),
    "nansum": (_ADDED, "dtype initial where out"),
    "prod": (_accumulated(1, lambda a, b: a * b), "dtype initial where out"),
    "max": (_extreme(elementwise.maximum, True), "initial where out"),
    "min": (_extreme(elementwise.minimum, False), "initial where out"),
    "mean": (_mean, "dtype where out"),
    "nanmean": (_nanmean, "dtype where out"),
    "var": (_spread_out, _SPREAD),
    "std": (_spread_out, _SPREAD),
    "any": (_held, "where out"),
    "all": (_held, "where out"),
    "argmax": (None, "out"),
    "argmin": (None, "out"),
    "cumsum": (_in_dtype, "dtype out"),
    "cumprod": (_in_dtype, "dtype out"),
    "clip": (None, "out"),
    "outer": (None, "out"),
    "dot": (None, "out"),
    "round": (_round, "decimals out"),
    "trace": (_in_dtype, "dtype out"),
    "concatenate": (_joined, "dtype casting out"),
    "stack": (_joined, "dtype casting out"),
    "vstack": (_joined, "dtype casting"),
    "hstack": (_joined, "dtype casting"),
    "reshape": (_reshape, "shape order copy"),
    "transpose": (_transpose, "axes"),
    "split": (_split, "indices_or_sections"),
    "pad": (_pad, "constant_values"),
    "diff": (_diff, "prepend append"),
    "take": (_take, "mode out"),
    "median": (_overwriting, "overwrite_input out"),
    "quantile": (_overwriting, "overwrite_input out"),
}
