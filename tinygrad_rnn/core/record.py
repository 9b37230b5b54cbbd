"""`apply`: how an operation is computed and recorded.

`ops/define.py` has a short cut for the most common case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import AnomalyError, DtypeError, ShapeError, TinygradError, TraceError, restated
from .memory import copied
from .primitive import Primitive, Rule, Spec
from .tape import NO_PARAMS, Leaf, Node, Where, caller, context
from .tensor import FLOAT32, FLOAT64, Tensor, as_array


def apply(primitive: Primitive, inputs: Sequence[Any], params: dict[str, Any] = NO_PARAMS) -> Any:
    """Compute a primitive, and record a node where a gradient (or a trace) will want it.

    Given arrays only, it returns an array and records nothing: so the derivative rules, which are
    written in operations, run on plain arrays as fast as NumPy does.

    Parameters
    ----------
    primitive : Primitive
    inputs : sequence of Tensor, array or number
    params : dict
        The parameters of the primitive, complete and in its order.

    Returns
    -------
    Tensor, or an array where no tensor is among the inputs

    Raises
    ------
    ShapeError, DtypeError, TraceError
        If the operation fails; the message says with which operands, in which step, on which line.
    """
    arrays: list[Any] = []
    nodes: list[Any] = []
    mask, bit = 0, 1  # which inputs need gradients
    dtype, mixed = None, False
    for x in inputs:
        if isinstance(x, Tensor):
            node: Any = x.node
            if node is not None and node.requires_grad:
                mask += bit
            x = x.array
            if x.dtype is not dtype:
                mixed = mixed or dtype is not None
                dtype = x.dtype
        elif isinstance(x, (float, int)) and not isinstance(x, np.float64):
            node = x
        else:
            given, x = x, _array(primitive, x, inputs)
            if x is not given:
                inputs = [x if i is given else i for i in inputs]
            node, mixed = None, True
        arrays.append(x)
        nodes.append(node)
        bit += bit
    odd = mixed or (dtype is not FLOAT32 and dtype is not FLOAT64)
    if odd and dtype is not None and (cast := _promote(primitive, inputs)) is not None:
        return apply(primitive, cast, params)
    now = context()
    traced = now.tracing and any(isinstance(a, Spec) for a in arrays)
    try:
        out = primitive.shape(*arrays, **params) if traced else primitive.forward(*arrays, **params)
    except AnomalyError:  # of a step within, which it names
        raise
    except Exception as error:
        raise _explain(primitive, inputs, arrays, params, error) from error
    if now.watch is not None:
        now.watch.result(primitive, inputs, arrays, params, out)
    if dtype is None:  # no tensor among them
        return out
    if type(out) is not np.ndarray and not traced:
        out = np.asarray(out)  # NumPy turns 0-d results into scalars
    if not now.grad_enabled or not primitive.rules or out.dtype.kind != "f":
        mask = 0
    seen = now.tracing and any(isinstance(n, Node) and n.may_change for n in nodes)
    if not (mask or traced or seen):
        return Tensor(out)
    if mixed:  # an array of the caller's may be written to later: what is kept of it is a copy
        arrays = [
            copied(a) if type(x) is np.ndarray else a for x, a in zip(inputs, arrays, strict=True)
        ]
    if None in nodes:
        nodes = list(map(_node_of, inputs, arrays, nodes))
    values = (out, tuple(arrays)) if primitive.variadic else (out, *arrays)
    saved: list[Any] = [None] * len(values)
    for k in primitive.kept[mask]:
        saved[k] = values[k]
    edges = primitive.edges(nodes) if mask else ()
    return record(primitive, tuple(nodes), edges, params, saved, out, mask > 0)


def record(
    primitive: Primitive,
    inputs: tuple[Any, ...],
    edges: tuple[tuple[Node, int, Rule], ...],
    params: dict[str, Any],
    saved: Sequence[Any],
    out: Any,
    requires_grad: bool = True,
    origin: tuple[Any, ...] | None = None,
) -> Tensor:
    """Return the output of an operation as a tensor with a node; the arguments are those of `Node`.

    Where no `origin` is given, the node comes from where the context says, or else from the line of
    the user's that is running.
    """
    origin = origin or context().origin or caller(3)
    return Tensor(out, Node(primitive, inputs, edges, params, saved, out, requires_grad, origin))


def _node_of(x: Any, array: Any, node: Any) -> Any:
    """Return the node of an operand (a number is its own): a constant without one gets a leaf."""
    if node is None:  # the tensor may have one by now: it may be an operand twice
        node = x.node if isinstance(x, Tensor) else Leaf(array)
    return x.leaf() if node is None else node


def _array(primitive: Primitive, x: Any, inputs: Sequence[Any]) -> Any:
    """Return an operand that is no tensor and no number as an array."""
    try:
        if (found := as_array(x)).dtype.kind in "fbiu":
            return found
        fault = f"expected tensors, arrays or numbers; found {type(x).__name__}"
    except DtypeError as error:
        fault = str(error)
    raise DtypeError(
        f"{primitive.name}({', '.join(describe(i) for i in inputs)}): {fault}{Where(*caller()).described()}"
    )


def _promote(primitive: Primitive, inputs: Sequence[Any]) -> list[Any] | None:
    """Bring the inputs to one floating dtype (docs/design.md, "Numbers").

    Returns
    -------
    list or None
        The inputs, some of them converted; None if they are as they should be.
    """
    places = range(len(inputs))[primitive.promotes]
    chosen = [inputs[i] for i in places]
    typed = [x for x in chosen if hasattr(x, "dtype")]
    floats = {x.dtype for x in typed if x.dtype.kind == "f"}
    strong = [x for x in typed if isinstance(x, Tensor) and not getattr(x, "weak", False)]
    decisive = {x.dtype for x in strong if x.dtype.kind == "f"} or floats
    if len(decisive) > 1:
        raise DtypeError(
            f"{primitive.name}: float32 and float64 do not mix; the inputs are {', '.join(describe(x) for x in chosen)}. "
            f"Make them of one dtype (an array from NumPy is float64 unless it is made with dtype=np.float32), or convert one "
            f"with .astype(...).{Where(*caller()).described()}"
        )
    if not floats and not primitive.floating and not any(type(x) is float for x in chosen):
        return None  # integers and booleans among themselves: NumPy's own promotion
    target = decisive.pop() if decisive else FLOAT32
    out, changed = list(inputs), False
    for i in places:
        x = out[i]
        if hasattr(x, "dtype") and x.dtype != target:
            out[i], changed = x.astype(target), True
    return out if changed else None


def describe(x: Any) -> str:
    """Return an operand as error messages show it: its name, dtype and shape."""
    if not hasattr(x, "shape"):
        return repr(x)
    node = x.node if isinstance(x, Tensor) else x if isinstance(x, Node) else None
    name = getattr(x, "name", None)
    if name is None and node is not None and node.op == "transpose":
        whole = getattr(node.inputs[0], "name", None)
        name = whole and f"{whole}.T"
    kind = "array " if isinstance(x, np.ndarray) else ""
    return f"{kind}{name + ' ' if name else ''}{x.dtype}{tuple(x.shape)}"


def _explain(
    primitive: Primitive, inputs: Sequence[Any], arrays: list[Any], params: Any, error: Exception
) -> Exception:
    """Make the error of a failed operation.

    It says what the shape rule has to say, with the operands, the step and the line.
    """
    shown = f"{primitive.name}({', '.join(describe(x) for x in inputs)}{''.join(f', {k}={v!r}' for k, v in params.items())})"
    place = Where(*caller()).described()
    reason: Exception = error
    if any(isinstance(a, Spec) for a in arrays) and not context().tracing:
        reason = TraceError(
            "an operand was left by a recording (tg.jit, tg.trace), in which only shapes are known: it has no values"
        )
    elif not isinstance(error, TinygradError):
        try:
            specs = [Spec(a.shape, a.dtype) if isinstance(a, np.ndarray) else a for a in arrays]
            primitive.shape(*specs, **params)
        except TinygradError as found:
            # with it, this frame and the error would hold each other
            reason = found.with_traceback(None)
        except Exception:  # the rule met what the operation met
            pass
    # NumPy has no kinds of its own for what is about shapes, or about booleans
    if type(reason) is IndexError or (
        type(reason) is ValueError and re.search("shape|dimension|broadcast|axis", str(reason))
    ):
        return ShapeError(f"{shown}: {reason}{place}")
    if isinstance(reason, TypeError) and any(getattr(a, "dtype", None) == np.bool_ for a in arrays):
        return DtypeError(f"{shown}: {reason}{place}")
    if isinstance(reason, ImportError):
        place = f". Install what is missing: pip install {reason.name}{place}"
    return restated(reason, f"{shown}: {reason}{place}")
