"""Likely causes of values that are not finite, with a way out of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.primitive import Array, Primitive
from ..core.record import describe
from ..core.tape import Mark, Node
from ..core.tensor import Tensor

GROWN = 1e3  # from this ratio on, values that grow from step to step are spoken of


@dataclass
class Fault:
    """An operation with a fault in its result, or in a gradient that its rule gave.

    Attributes
    ----------
    primitive : Primitive or None
    operands : list
        The values of its operands as far as they are known.
    out : array
        What has the fault.
    bad : array of bool
        Where.
    params : dict
    """

    primitive: Any
    operands: list[Any]
    out: Any
    bad: Array
    params: dict[str, Any]

    def counted(self) -> str:
        """Say what it is, and in how many elements."""
        values = np.asarray(self.out)[self.bad]
        kind = "nan" if np.isnan(values).any() else "-inf" if (values < 0).all() else "inf"
        return f"{kind} in {np.count_nonzero(self.bad)} of {np.size(self.out)} elements"

    @property
    def nan(self) -> bool:
        """Whether it is a nan."""
        return bool(np.isnan(np.asarray(self.out)[self.bad]).any())

    def at(self, k: int) -> Any:
        """Return what operand k is at the places of the fault; all of it where that cannot be said."""
        value = self.operands[k] if k < len(self.operands) else None
        if value is None or not hasattr(value, "shape"):
            return None if value is None else np.asarray([value])
        try:
            return np.broadcast_to(value, self.bad.shape)[self.bad]
        except ValueError:
            return np.asarray(value).ravel()


class Growth:
    """How large values were in each step, in order; for each cell and layer the latest sequence."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, int | None], list[tuple[int, float]]] = {}

    def note(self, mark: Mark, value: Any) -> None:
        """Note the largest finite number of a value that was computed in a step."""
        array = value.array if isinstance(value, Tensor) else value
        if mark.step is None or not isinstance(array, (np.ndarray, np.generic)) or not array.size:
            return
        sizes = np.abs(array)
        size = float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))
        series = self.series.setdefault((mark.cell, mark.layer), [])
        if series and series[-1][0] == mark.step:
            series[-1] = (mark.step, max(series[-1][1], size))
            return
        if series and abs(series[-1][0] - mark.step) != 1:
            series.clear()
        if len(series) > 1 and series[-2][0] == mark.step:  # it turned round
            series.clear()
        series.append((mark.step, size))

    def text(self, mark: Mark, what: str, way_out: str) -> str:
        """Say from which step on the values grew, and how fast; nothing if they did not."""
        series = [s for s in self.series.get((mark.cell, mark.layer), []) if s[1] > 0]
        if len(series) > 1 and series[-1][1] < series[-2][1]:
            series.pop()  # the step with the fault, which did not come to its end
        if len(series) < 3:
            return ""
        last, end = series[-1]
        k = len(series) - 1
        while k and series[k - 1][1] <= series[k][1]:
            k -= 1
        first, begin = series[k]
        if end < GROWN * begin or abs(last - first) < 2:
            return ""
        factor = (end / begin) ** (1 / abs(last - first))
        # what ran compiled before is not known by steps
        earlier = " or before" if not k and begin > GROWN else ""
        return (
            f" The size of {what} grew from {begin:.2g} at step t={first}{earlier} to {end:.2g} at step t={last}, by a factor of "
            f"{factor:.3g} a step. Way out: {way_out}"
        )


def ranged(x: Any, value: Any) -> str:
    """Return an operand with the range of its finite values, and what others it has."""
    if value is None:
        return describe(x)
    if not hasattr(value, "shape"):
        return repr(value)
    name = f"{value.dtype}{tuple(value.shape)}" if x is None else describe(x)
    if value.dtype.kind != "f" or not value.size:
        return name
    finite = np.isfinite(value)
    text = name
    if finite.any():
        low, high = (float(f(value, where=finite, initial=i)) for f, i in _BOUNDS)
        text += f" in [{low:.4g}, {high:.4g}]"
    others = {"nan": np.isnan(value), "inf": np.isposinf(value), "-inf": np.isneginf(value)}
    counts = [f"{np.count_nonzero(v)} {k}" for k, v in others.items() if v.any()]
    return f"{text} with {', '.join(counts)}" if counts else text


_BOUNDS: Any = ((np.min, np.inf), (np.max, -np.inf))


# --- forward --------------------------------------------------------------------------------------


def cause_in_forward(fault: Fault, inputs: Sequence[Any], growth: str) -> str:
    """Return the likely cause of a value that is not finite, and a way out.

    `growth` says how the values grew from step to step, if they did.
    """
    if fault.nan:
        for k, x in enumerate(inputs):
            value = fault.at(k)
            if value is not None and value.dtype.kind == "f" and np.isnan(value).any():
                return (
                    f"Likely cause: the nan came in with the operand {describe(x)}, which was given so{_made(x)}. Way out: "
                    "look at the data or the parameters; choose good values first, tg.where(tg.isnan(x), 0.0, x)."
                )
    name = fault.primitive.name.rpartition(".")[2]
    found = _FORWARD.get(name, _nothing)(fault)
    if growth and not fault.nan:
        return f"Likely cause: overflow.{growth}"
    return found or _general(fault)


def is_users(primitive: Primitive) -> bool:
    """Whether an operation was made by the user, so that its name says where."""
    return "." in primitive.name


def _made(x: Any) -> str:
    node = getattr(x, "node", None)
    return node.where.described() if node is not None and node.primitive is not None else ""


def _nothing(fault: Fault) -> str | None:
    return None


def _general(fault: Fault) -> str:
    infinite = any(
        v is not None and np.asarray(v).dtype.kind == "f" and np.isinf(v).any()
        for v in fault.operands
    )
    if fault.nan and infinite:
        return (
            "Likely cause: infinities meet, as in inf - inf, 0 * inf or inf / inf; one of the operands has some. Way out: masks "
            "of -inf belong right before a softmax; elsewhere use tg.where with a finite value."
        )
    if fault.nan:
        return (
            "Likely cause: the operation is not defined for these operands. Way out: choose good operands before it, with "
            "tg.where or tg.clip."
        )
    if is_users(fault.primitive):
        return "Likely cause: what it computes is not finite for these operands. Way out: look at its code for operands in these ranges."
    largest = np.finfo(np.asarray(fault.out).dtype).max
    return (
        f"Likely cause: overflow; the result is beyond {largest:.2g}, the largest number of {np.asarray(fault.out).dtype}. Way "
        "out: scale the operands down."
    )


def _log(fault: Fault) -> str:
    edge = -1 if fault.primitive.name == "log1p" else 0
    what = f"{edge}" if not fault.nan else f"numbers below {edge}"
    return (
        f"Likely cause: the {fault.primitive.name} of {what}. Way out: tg.log(tg.maximum(x, 1e-8)), or a function that does both, "
        "such as tg.log_softmax, tg.logsumexp, tg.log_sigmoid; for a mask, tg.where(m, 0.0, -np.inf)."
    )


def _sqrt(fault: Fault) -> str:
    return (
        "Likely cause: the square root of numbers below 0, which roundings may make of 0. Way out: "
        "tg.sqrt(tg.maximum(x, 0.0) + eps)."
    )


def _divide(fault: Fault) -> str | None:
    below = fault.at(0 if fault.primitive.name == "reciprocal" else 1)
    if below is None or (below != 0).all():
        return None
    what = "0 / 0" if fault.nan else "a division by 0"
    return (
        f"Likely cause: {what}. Way out: make the divisor safe before the division, a / tg.where(b == 0, 1.0, b), or add an "
        "epsilon to it."
    )


def _exp(fault: Fault) -> str:
    dtype = np.asarray(fault.out).dtype
    limit = float(np.log(np.finfo(dtype).max))
    return (
        f"Likely cause: overflow; {fault.primitive.name} of {dtype} takes numbers up to {limit:.4g}. Way out: subtract the largest "
        "one first (tg.softmax and tg.logsumexp do), tg.softplus in place of log(1 + exp(x)), or tg.clip."
    )


def _power(fault: Fault) -> str | None:
    base, exponent = fault.at(0), fault.at(1)
    if base is None or exponent is None:
        return None
    if fault.nan and (base < 0).any():
        return (
            "Likely cause: a power of a number below 0 with an exponent that is no integer. Way out: tg.abs, or tg.maximum(x, 0.0), "
            "of the base."
        )
    if (base == 0).any() and (np.asarray(exponent) < 0).any():
        return "Likely cause: a negative power of 0. Way out: tg.maximum(x, 1e-8) of the base."
    return None


def _softmax(fault: Fault) -> str | None:
    value = np.asarray(fault.operands[0])
    if np.isposinf(value).any():
        return "Likely cause: a softmax of inf. Way out: look at where the scores become infinite."
    return (
        "Likely cause: all elements of a row are -inf, so there is nothing to choose from. Way out: leave one place unmasked in "
        "each row, or use a large negative number, such as -1e9, in place of -inf."
    )


def _mean(fault: Fault) -> str | None:
    if np.size(fault.operands[0]):
        return None
    return f"Likely cause: {fault.primitive.name} of no elements. Way out: leave empty batches out."


_FORWARD: dict[str, Callable[[Fault], str | None]] = {
    **dict.fromkeys(("log", "log1p"), _log),
    **dict.fromkeys(("divide", "reciprocal"), _divide),
    **dict.fromkeys(("exp", "expm1"), _exp),
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp"), _softmax),
    **dict.fromkeys(("mean", "std", "var"), _mean),
    "sqrt": _sqrt,
    "power": _power,
}


# --- backward -------------------------------------------------------------------------------------


def cause_in_backward(
    fault: Fault, g: Any, saved: Sequence[Any], readers: Sequence[Node], growth: str = ""
) -> str:
    """Return the likely cause of a gradient (or tangent) that is not finite, and a way out.

    Parameters
    ----------
    fault : Fault
    g : array or None
        The gradient that arrived; None for a tangent.
    saved : sequence
        The output and the operands, as far as they were kept.
    readers : sequence of Node
        The operations from which it came.
    growth : str
        How gradients grew, if they did.
    """
    if g is not None and not np.isfinite(g).all():
        return "Likely cause: the gradient that arrived is not finite; it was given so to backward, or returned by a hook."
    primitive: Primitive = fault.primitive
    name = primitive.name.rpartition(".")[2]
    edge = _edge(name, fault, saved)
    if edge and _zero_there(fault, g):
        line = next((f" at {n.where}" for n in readers if n.op == "where"), "")
        return (
            f"Likely cause: {edge}, at places where the gradient that arrives is 0, as from a tg.where{line} that chose its other "
            f"branch: 0 * inf is no number. Way out: make the operand safe before the operation, as in tg.where(m, "
            f"{_SAFE[name].format('tg.where(m, x, 1.0)')}, 0.0)."
        )
    if edge:
        safe = _SAFE[name].format("x + 1e-8" if "(" in _SAFE[name] else "(x + 1e-8)")
        return f"Likely cause: {edge}, where the derivative is infinite. Way out: keep away from it: {safe}."
    return _general_in_backward(fault, g, saved, growth)


_SAFE = {
    "sqrt": "tg.sqrt({})",
    "log": "tg.log({})",
    "power": "tg.power({}, p)",
    "divide": "a / {}",
    "reciprocal": "1 / {}",
}


def cause_of_a_sum(readers: Sequence[Node], growth: str) -> str:
    """Return the likely cause of a sum of gradients that is not finite."""
    if growth:
        return f"Likely cause: an exploding gradient.{growth}"
    names = ", ".join(dict.fromkeys(f"{n.op}{n.where.described()}" for n in readers))
    return (
        f"Likely cause: overflow; each of the gradients is finite, and together they are not (from {names}). Way out: scale the "
        "loss down, or clip what makes it large."
    )


def _edge(name: str, fault: Fault, saved: Sequence[Any]) -> str:
    """Say which operand is where the derivative of an operation is infinite; "" if none is."""
    out = saved[0] if saved else None
    zero_out = out is not None and bool((np.asarray(out) == 0).any())
    first, second = fault.at(0), fault.at(1)
    zero_first = first is not None and bool((first == 0).any())
    if name == "sqrt" and (zero_out or zero_first):
        return "the square root at 0"
    if name == "power" and zero_first:
        return "a power of 0 with an exponent below 1"
    if name == "log" and zero_first:
        return "the log at 0"
    if name == "divide" and second is not None and (second == 0).any():
        return "a division by 0"
    if name == "reciprocal" and zero_first:
        return "a division by 0"
    return ""


def _zero_there(fault: Fault, g: Any) -> bool:
    if g is None or not isinstance(g, np.ndarray):
        return False
    try:
        return bool((np.broadcast_to(g, fault.bad.shape)[fault.bad] == 0).any())
    except ValueError:
        return False


def _general_in_backward(fault: Fault, g: Any, saved: Sequence[Any], growth: str) -> str:
    known = [v for v in saved if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    if any(not np.isfinite(v).all() for v in known):
        return (
            "Likely cause: a value of the forward pass that the rule reads is not finite (see the ranges). Way out: run the forward "
            "pass within detect_anomaly, too."
        )
    if fault.nan:
        return (
            "Likely cause: the derivative is not defined for these operands. Way out: choose good ones first, with tg.where or "
            "tg.clip."
        )
    if growth:
        return f"Likely cause: an exploding gradient.{growth}"
    if is_users(fault.primitive):
        return (
            "Likely cause: its derivative rule divides by 0, or overflows, for these operands. Way out: look at the rule for operands "
            "in these ranges."
        )
    return (
        "Likely cause: overflow; the gradient, or what the rule multiplies it by, is large. Way out: scale the loss or the operands "
        "down."
    )
