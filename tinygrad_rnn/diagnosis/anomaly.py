"""`detect_anomaly`: the first value that is not finite is an error that says where it arose.

While it is open, `Context.watch` is a `Watch`, to which every operation shows its result
(`core/record.py`), every walk its gradients or tangents (`core/walks.py`), and compiled code what it
gives. Compiled code is looked at as a whole; where something in it is not finite, its steps are run
once more, one by one and watched, and so it is the first step that is named.

What is an anomaly, is said by `arising`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from ..core.errors import AnomalyError, TinygradError
from ..core.primitive import Array, Primitive
from ..core.record import describe
from ..core.tape import Node, Where, caller, context, setting
from ..core.tensor import Tensor
from ..ops.facts import FREE, facts_of
from ..recurrent.segment import Segment
from .causes import Fault, Growth, cause_in_backward, cause_in_forward, cause_of_a_sum, ranged

BOUNDED = "a state that is bounded (tg.tanh, a norm, gates), or a smaller recurrent matrix (tg.init.orthogonal)."
GATED = (
    "a cell with gates, a smaller recurrent matrix (tg.init.orthogonal), or shorter windows (tg.tbptt); tg.clip_grad_norm in each "
    "step of the training keeps parameters from getting there."
)


def detect_anomaly() -> Any:
    """Return a context in which the first value that is not finite is an error (in this thread).

    The error names the operation with the ranges of its operands, the cell, layer and step, the
    line, and the likely cause with a way out; where values grew from step to step, from which step
    on, and how fast. It is raised for

    - a nan in the result of an operation that computes;
    - an infinity in the result of an operation whose operands, and numbers among its settings, are
      finite (of an elementwise one: at the same place);
    - the same in gradients and tangents, for the derivative rule of an operation and the gradient
      that it is given, and for the sum of the gradients that arrive at a value.

    So what is given as infinite is passed on, such as the -inf of a mask before a softmax. What
    only moves elements (indexing, ``tg.where``, ``tg.concatenate``) passes a nan on as well, so
    padding may hold it.

    What runs compiled (cells, functions, training steps) is looked at as a whole: what it returns,
    and the gradients that it gives. If one of these is not finite, its steps are run once more, one
    by one, and the first of them is named. A value that was not finite inside of compiled code and
    left no trace in what it gives is not found; within ``tg.eager()`` every operation is looked at.

    Operations take about twice the time in it, compiled code little more; outside of it nothing
    runs slower. What NumPy computes with arrays is not seen, and neither is what an optimiser makes
    of parameters: an infinity that it leaves there counts as given.

    Returns
    -------
    context manager
        It decorates functions, too.

    Raises
    ------
    AnomalyError
        Its attributes `operation` and `where` say the same to programs. A backward that it ends has
        changed no `.grad` of a leaf; what its graph had saved is released as far as it came. A call
        of a compiled function that it ends leaves everything as it was before the call.

    Examples
    --------
    >>> with tg.detect_anomaly():  # doctest: +SKIP
    ...     loss = model(xs)
    ...     loss.backward()
    """
    return setting(watch=Watch())


class Watch:
    """What looks at values while `detect_anomaly` is open."""

    def __init__(self) -> None:
        self.ahead, self.back = Growth(), Growth()

    def result(
        self,
        primitive: Primitive,
        inputs: Sequence[Any],
        arrays: Sequence[Any],
        params: dict[str, Any],
        out: Any,
    ) -> None:
        """Look at what an operation gave, and raise an AnomalyError if a fault arose in it."""
        now = context()
        if now.tracing or out.dtype.kind != "f":
            return
        mark = now.mark if now.origin is None else now.origin[2]
        if _computes(primitive):
            self.ahead.note(mark, out)
        if np.isfinite(out).all() or facts_of(primitive).runs_again:
            return
        numbers = [v for v in params.values() if isinstance(v, float)]
        bad = arising(primitive, [*arrays, *numbers], np.asarray(out))
        if bad is None:
            return
        fault = Fault(primitive, list(arrays), out, bad, params)
        operands = [ranged(x, a) for x, a in zip(inputs, arrays, strict=True)]
        settings = [f"{k}={v!r}" for k, v in params.items()]
        shown = f"{primitive.name}({', '.join([*operands, *settings])})"
        growth = self.ahead.text(mark, "the values of the steps", BOUNDED)
        _raise(
            f"{shown} gave {fault.counted()}",
            _inside(fault) or cause_in_forward(fault, inputs, growth),
            primitive,
            Where(*(now.origin or caller())),
        )

    def ran(self, found: Sequence[Array], again: Callable[[], Sequence[Any]], name: str) -> None:
        """Look at what compiled code gave; if it is not finite, run its steps by `again`.

        These are watched. If nothing arises in them, what is not finite was given so, and both
        have it at the same places, or the compiled code is at fault.
        """
        if all(_finite(a) for a in found):
            return
        with setting(eager=True):
            plain = [getattr(y, "array", y) for y in again()]
        for k, a in enumerate(found):
            if _finite(a):
                continue
            same = k < len(plain) and _alike(a, plain[k])
            # of what the steps do not return, as gradients, an infinity was passed on
            if not same and (k < len(plain) or np.isnan(a).any()):
                self._only_compiled(f"what compiled '{name}' gives", name, Where(*caller()))

    def backward(self, gradients: Any, rule_gives: Any, roots: Sequence[Node]) -> tuple[Any, Any]:
        """Return what stands in place of these two in a walk back, and looks at what they give."""
        walk = _Backward(self, gradients, rule_gives, roots)
        return walk, walk.gradient

    def forward(self, tangent_of: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that gives tangents of nodes as `tangent_of` does, and looks at them."""

        def tangent(node: Node, arriving: list[Any], saved: Sequence[Any]) -> Any:
            with _unless_run_again(node):
                found = tangent_of(node, arriving, saved)
            if _finite(found) or facts_of(node.primitive).runs_again:  # the steps were watched
                return found
            values = _flat(saved)
            if _arises(found, [*arriving, *values]):
                array = _array(found)
                fault = Fault(node.primitive, values[1:], array, ~np.isfinite(array), node.params)
                _raise(
                    f"the tangent of {node.op}({_operands(node, saved)}) has {fault.counted()}",
                    cause_in_backward(fault, None, values, []),
                    node.primitive,
                    node.where,
                )
            return found

        return tangent

    def _only_compiled(self, what: str, name: str, where: Where) -> NoReturn:
        _raise(
            f"{what} is not finite, where the same steps give finite values one by one",
            "Likely cause: a sum that is close to overflow and is rounded otherwise, or a fault of the "
            "compiler. Way out: run it within tg.eager(), or scale the values down.",
            name,
            where,
        )


class _Backward:
    """The gradients of one walk back, looked at.

    It stands in place of the `Gradients` of the walk, and `gradient` in place of what calls a
    rule.
    """

    def __init__(
        self, watch: Watch, gradients: Any, rule_gives: Any, roots: Sequence[Node]
    ) -> None:
        self.watch, self.gradients, self.rule_gives = watch, gradients, rule_gives
        # nodes whose gradient may be infinite: it was passed on, or given to backward
        self.passed: set[Node] = set(roots)
        self.readers: dict[Node, list[Node]] = {}  # from which nodes a gradient came

    def add(self, node: Node, gradient: Any) -> None:
        """See `Gradients.add`."""
        with setting(watch=None):
            self.gradients.add(node, gradient)

    def add_part(self, node: Node, g: Any, add_into: Any) -> None:
        """See `Gradients.add_part`."""
        source = node.edges[0][0]
        self.readers.setdefault(source, []).append(node)
        if not _finite(g):
            self.passed.add(source)
        self.gradients.add_part(node, g, add_into)

    def pop(self, node: Node, default: Any) -> Any:
        """Return the whole gradient of a node."""
        g = self.gradients.pop(node, default)
        if g is None:
            return g
        if node.primitive is not None and _computes(node.primitive):
            self.watch.back.note(node.where.mark, g)
        if not _finite(g) and node not in self.passed:
            array = _array(g)
            growth = self.watch.back.text(node.where.mark, "gradients", GATED)
            bad = Fault(node.primitive, [], array, ~np.isfinite(array), node.params)
            _raise(
                f"the sum of the gradients that arrive at {_named(node)} has {bad.counted()}",
                cause_of_a_sum(self.readers.get(node, []), growth),
                node.primitive or "sum of gradients",
                node.where if node.primitive else self.readers.get(node, [node])[0].where,
            )
        return g

    def gradient(
        self, rule: Any, g: Any, saved: Any, node: Node, source: Node, position: int
    ) -> Any:
        """Return the gradient of one input, as the walk computes it."""
        with _unless_run_again(node):
            found = self.rule_gives(rule, g, saved, node, source, position)
        self.readers.setdefault(source, []).append(node)
        if found is None or _finite(found):
            return found
        if facts_of(node.primitive).runs_again:
            self._again(g, saved, node, position, found)
        elif _arises(found, [g, *_flat(saved)]):
            self._fail(found, g, saved, node, position)
        self.passed.add(source)
        return found

    def _again(self, g: Any, saved: Any, node: Node, position: int, found: Any) -> None:
        """Compute the gradients of what runs again by its steps, which are watched."""
        segment = node.params["segment"]
        if "of" in node.params:  # a gradient of it, which was computed so
            return
        with setting(eager=True):
            plain = Segment.gradients(segment, g.reshape((-1,)), saved[1])[position]
        if plain is None or not _alike(_array(found), _array(plain)):
            what = f"the gradient that compiled '{segment.mark.cell or node.op}' gives"
            self.watch._only_compiled(what, node.op, node.where)

    def _fail(self, found: Any, g: Any, saved: Any, node: Node, position: int) -> NoReturn:
        primitive, array = node.primitive, _array(found)
        fault = Fault(primitive, _flat(saved)[1:], array, ~np.isfinite(array), node.params)
        name = f"input {position}" if primitive.variadic else f"'{primitive.inputs[position]}'"
        growth = self.watch.back.text(node.where.mark, "gradients", GATED)
        readers = self.readers.get(node, [])
        _raise(
            f"the gradient of {primitive.name}({_operands(node, saved)}) for {name}{_result(saved)} has {fault.counted()}; "
            f"the gradient that arrived was {ranged(None, _array(g))}",
            _inside(fault, _array(g))
            or cause_in_backward(fault, _array(g), _flat(saved), readers, growth),
            primitive,
            node.where,
        )


# --- what is an anomaly ---------------------------------------------------------------------------


def arising(primitive: Primitive, operands: Sequence[Any], out: Array) -> Array | None:
    """Return where in the result of an operation a fault arose; None if none did.

    What only moves elements passes everything on. In what computes, a nan is a fault (where it
    arose, if it did not come in with an operand everywhere), and so is an infinity that was made of
    finite numbers: of an elementwise operation, of those at its place.
    """
    if only_moves(primitive):
        return None
    given = [np.asarray(a) for a in operands if np.asarray(a).dtype.kind == "f"]
    nan, infinite = np.isnan(out), np.isinf(out)
    if nan.any():
        came = _somewhere(primitive, [np.isnan(a) for a in given], out)
        return nan & ~came if (nan & ~came).any() else nan
    made = infinite & ~_somewhere(primitive, [~np.isfinite(a) for a in given], out)
    return made if made.any() else None


def only_moves(primitive: Primitive) -> bool:
    """Whether the elements of the result are elements of the operands, or constants."""
    facts = facts_of(primitive)
    chooses = (primitive.scalar or "").startswith("select(")
    free = primitive.scalar is not None and facts.cost == FREE
    return bool(facts.view or facts.pieces or facts.moves or facts.casts or chooses or free)


def _computes(primitive: Primitive) -> bool:
    """Whether the size of the result says something about a step."""
    return not (only_moves(primitive) or facts_of(primitive).runs_again)


def _somewhere(primitive: Primitive, masks: Sequence[Array], out: Array) -> Array:
    """Return where a result depends on an operand at a place that is marked."""
    found = np.zeros(out.shape, bool)
    for mask in masks:
        found |= mask if primitive.elementwise else mask.any()
    return found


def _arises(found: Any, known: Sequence[Any]) -> bool:
    """Whether a gradient or a tangent has a nan, or an infinity that was made of finite values."""
    return bool(np.isnan(_array(found)).any()) or all(_finite(x) for x in known)


# --- helpers --------------------------------------------------------------------------------------


def _raise(what: str, cause: str, operation: Any, where: Where) -> NoReturn:
    error = AnomalyError(f"detect_anomaly: {what}{where.described()}. {cause}")
    error.operation = operation if isinstance(operation, str) else operation.name
    error.where = where
    raise error


def _inside(fault: Fault, g: Any = None) -> str:
    """Run a user's elementwise operation by the operations that it is made of; say what arose."""
    body = fault.primitive.body
    if body is None or not fault.operands or any(a is None for a in fault.operands):
        return ""
    handles = [Tensor(np.asarray(a)) for a in fault.operands]
    for handle in handles:
        handle.leaf(g is not None and handle.dtype.kind == "f")
    try:
        with setting(watch=Watch(), origin=None, grad_enabled=g is not None):
            found = body()(*handles)[0]
            if g is not None:
                found.backward(g)
    except AnomalyError as error:
        return f"Inside of it: {str(error).removeprefix('detect_anomaly: ')}"
    except TinygradError:  # it takes them in another form: shapes of operands that are spread
        return ""
    return ""


def _unless_run_again(node: Node) -> Any:
    """Return a context in which rules are not watched inside: only what they give counts.

    What runs again is watched as it was at first.
    """
    return setting() if facts_of(node.primitive).runs_again else setting(watch=None)


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _finite(x: Any) -> bool:
    """Whether all numbers are finite; what has none (a Spec, what rules did not keep) is."""
    x = _array(x)
    if isinstance(x, float):
        return math.isfinite(x)
    known = isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind == "f"
    return not known or bool(np.isfinite(x).all())


def _alike(a: Array, b: Array) -> bool:
    """Whether two arrays have the same nan and infinities at the same places."""
    finite = np.isfinite(a)
    return np.array_equal(finite, np.isfinite(b)) and np.array_equal(
        a[~finite], b[~finite], equal_nan=True
    )


def _flat(saved: Any) -> list[Any]:
    """Return the output and the operands as far as they were kept, as arrays; None for others."""
    if isinstance(saved, (tuple, list)):
        out, *rest = saved
        if len(rest) == 1 and isinstance(rest[0], (tuple, list)):
            rest = list(rest[0])
        return [_array(v) for v in (out, *rest)]
    return []


def _operands(node: Node, saved: Any) -> str:
    kept = [*_flat(saved)[1:], *[None] * len(node.inputs)]
    values = (v if v is not None else getattr(n, "value", None) for n, v in zip(node.inputs, kept))
    return ", ".join(ranged(n, v) for n, v in zip(node.inputs, values, strict=True))


def _result(saved: Any) -> str:
    """Say what the result was, where the rule reads it."""
    out = next(iter(_flat(saved)), None)
    return f" (result: {ranged(None, out)})" if isinstance(out, np.ndarray) else ""


def _named(node: Node) -> str:
    return f"'{node.name}'" if node.name else f"{node.op} {describe(node)}"
