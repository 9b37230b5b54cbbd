"""What writes to a tensor: ``t[i] = v``, ``t += v`` and its kin, ``t.data = v``.

A write changes the tensor that it is applied to, and no other. Arrays are never written to: the
tensor gets a new array, and where the write is recorded a new node, while nodes and tensors that
were made of the old values keep them.

A view (the result of a basic index, reshape, transpose, ...) shows in NumPy what is written to it
in the tensor that it was taken from; here it has values of its own, so a write to it would be lost
there. It is refused as long as that tensor is in use.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable
from dis import opmap
from types import FrameType
from typing import Any

import numpy as np

from ..core.errors import DtypeError, GraphError, ShapeError, TraceError, restated
from ..core.primitive import Spec
from ..core.record import apply, describe
from ..core.tape import Leaf, Where, caller, context
from ..core.tensor import Tensor, as_array, tensor
from . import elementwise, indexing, linear, shaping
from .checks import fitting
from .weak import Weak

# --- views ---------------------------------------------------------------------------------------


def _whole(t: Tensor) -> tuple[Tensor, Any] | None:
    """Return the tensor of which t is a view, while it is in use, and the index that made t.

    The index is None if t was made by another operation.
    """
    link = getattr(t, "viewed", None)
    # an advanced index gives a copy
    while link is not None and (link[1] is None or indexing.is_basic(link[1])):
        reference, index, link = link
        if (whole := reference()) is not None:
            return whole, index
    return None


def _refuse_view(t: Tensor, what: str) -> None:
    """Raise if a write to t would be lost on a tensor of which it is a view."""
    if (found := _whole(t)) is not None:
        whole, index = found
        name = whole.name or "t"
        part = (
            f"{name}{indexing.show_index(index)}, a view,"
            if index is not None
            else f"a view of {name},"
        )
        way = f"{name}{indexing.show_index(index)}" if index is not None else f"{name}[...]"
        raise GraphError(
            f"{what}: this {describe(t)} is {part} and {describe(whole)} would not see the write. Write to the whole tensor with one "
            f"index, as in {way} = v, out[0, 1] = v or out[i] += v; or to a copy: view.copy(){Where(*caller()).described()}"
        )


# --- the write itself ---------------------------------------------------------------------------


def _become(t: Tensor, new: Tensor, what: str) -> None:
    """Give t the values and the node of `new`."""
    now, node = context(), t.node
    if new.dtype != t.dtype:
        raise DtypeError(
            f"{what}: {describe(t)} keeps its dtype, but the new values are {new.dtype}. Convert with .astype, or make a new tensor: t = t + v"
        )
    if new.shape != t.shape:
        raise ShapeError(
            f"{what}: {describe(t)} keeps its shape, but the new values have shape {new.shape}. Make a new tensor: t = t + v"
        )
    if node is not None and node.requires_grad:
        if isinstance(node, Leaf) and node.tensor is not None and node.tensor() is t:
            if now.grad_enabled:
                raise GraphError(
                    f"{what}, assignment to {t.name or 'a leaf that requires gradients'}: its gradient would be lost. "
                    "Assign to a copy (t = t + 0), or inside tg.no_grad() if the new values are to be the leaf's."
                )
            t.data = new.array
            return
        if not now.grad_enabled:
            raise GraphError(
                f"{what}: inside no_grad this would cut {describe(t)}, which was computed, from its tape; write outside, or to t.detach()"
            )
    if type(t) not in (Tensor, Weak):  # a buffer, or a parameter that is frozen
        if new.requires_grad or isinstance(new.array, Spec):
            raise GraphError(
                f"{what}: {type(t).__name__} {describe(t)} holds values without gradients, and would hang on a tape. Write v.detach(), or make a new tensor: t = t + v"
            )
        t.data = new.array
        return
    if now.written is not None and not isinstance(t.array, Spec):
        now.written.append((weakref.ref(t), t.array, t.node))
    name = t.name
    t.array, t.node = new.array, new.node
    if name is not None and t.node is None:
        t.name = name


def setitem(t: Tensor, index: Any, value: Any) -> None:
    """``t[i] = v``: t gets a copy of its values with new ones at the index.

    Of an element that is named twice, the last value counts.
    """
    _refuse_view(t, "t[i] = v")
    if isinstance(value, Tensor) and value.dtype != t.dtype:
        value = value.astype(t.dtype)
    elif isinstance(value, (list, tuple)) and any(
        isinstance(v, Tensor) and v.requires_grad for v in value
    ):
        raise GraphError(
            "assignment of a list of recorded tensors would cut the tape; join them first with tg.stack"
        )
    elif not isinstance(value, Tensor):
        value = _in_dtype(value, t.dtype)
    index, value = _last_values(t.shape, indexing.plain_index(index), value)
    # which NumPy drops
    while value.ndim and value.shape[0] == 1 and value.ndim > _axes(t.shape, index):
        value = value.reshape(value.shape[1:])
    _become(t, apply(indexing.setitem.primitive, (t, value), {"index": index}), "t[i] = v")


def _in_dtype(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return what is assigned, as an array of this dtype.

    A Python number that it cannot hold is an error, as for NumPy; arrays are cast.
    """
    given = as_array(value)
    if given.dtype.kind not in "fbiu":
        raise DtypeError(
            f"t[i] = v: expected a tensor, an array or numbers; found {given.dtype if given.dtype.kind == 'c' else type(value).__name__}"
        )
    if (
        dtype.kind in "iu"
        and given.dtype.kind in "iuf"
        and not isinstance(value, (np.ndarray, np.generic))
    ):
        # a float loses its decimals, as in NumPy
        return fitting(np.trunc(given), dtype, "t[i] = v: the tensor")
    return given.astype(dtype)


def _axes(shape: tuple[int, ...], index: Any) -> float:
    """Return how many axes the place has that is written to.

    It is infinite where the index does not fit, of which the operation tells.
    """
    try:
        return len(np.broadcast_to(False, shape)[index].shape)
    except IndexError:
        return np.inf


def _last_values(shape: tuple[int, ...], index: Any, value: Any) -> tuple[Any, Any]:
    """Return the index and the value without the elements that the same assignment writes again."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(
        isinstance(i, (list, np.ndarray)) and np.asarray(i).dtype != np.bool_ for i in parts
    ):
        return index, value
    try:
        places = np.arange(int(np.prod(shape))).reshape(shape)[index]
        spread = np.broadcast_shapes(places.shape, value.shape) == places.shape
    except (IndexError, ValueError):
        spread = False
    if not spread:
        return index, value  # the operation says what does not fit
    flat = places.ravel()
    last = np.sort(flat.size - 1 - np.unique(flat[::-1], return_index=True)[1])
    if last.size == flat.size:
        return index, value
    if _after_addition(sys._getframe(2)):
        raise ShapeError(
            "t[i] += v, or another such operator: the index names an element more than once, and all but the last of what is added there "
            "would be lost. tg.index_add(t, i, v, axis=0) adds all of them, and so does t + tg.scatter(v, index=i, shape=t.shape)"
            f"{Where(*caller()).described()}"
        )
    return np.unravel_index(flat[last], shape), shaping.broadcast_to(value, places.shape).reshape(
        -1
    )[last]


def _augmented(symbol: str, op: Callable[..., Any]) -> Callable[[Tensor, Any], Tensor]:
    """Return the method for ``t += v`` or one of its kin.

    t itself changes, as an array does, and keeps its shape and dtype.
    """

    def write(self: Tensor, other: Any) -> Tensor:
        new = op(self, other)
        if new is NotImplemented:
            return new  # type: ignore[no-any-return]
        what = f"t {symbol} v"
        if getattr(self, "viewed", None) is not None and _whole(self) is not None:
            if sys.getrefcount(self) > _TEMPORARY or not _stored_back(_ITEM):
                _refuse_view(self, what)
            if new.shape == self.shape and new.dtype == self.dtype:
                return new  # type: ignore[no-any-return]
        _become(self, new, what)
        return self

    return write


def _stored_back(stores: set[int]) -> bool:
    """Whether the caller's caller runs ``x[i] += v``, or ``x.a += v``.

    Python then writes the result there, by the instruction that follows.
    """
    frame = sys._getframe(2)
    code, place = frame.f_code.co_code, frame.f_lasti + 2
    while code[place] in _BETWEEN:
        place += 2
    return code[place] in stores


def _after_addition(frame: FrameType) -> bool:
    """Whether the statement that a frame runs is ``x[i] += v``, and now writes back the sum."""
    code, place = frame.f_code.co_code, frame.f_lasti - 2
    while place >= 0 and code[place] in _BETWEEN:
        place -= 2
    return place >= 0 and code[place] == opmap["BINARY_OP"] and code[place + 1] in _IN_PLACE


class _Probe:
    """A probe for how many references an operand has which only the running statement holds."""

    def __getitem__(self, index: int) -> _Probe:
        return _Probe()

    def __iadd__(self, other: int) -> Any:
        return sys.getrefcount(self)

    def __setitem__(self, index: int, found: int) -> None:
        self.found = found


_probe = _Probe()
_probe[0] += 0
_TEMPORARY = _probe.found
_BETWEEN = {opmap["CACHE"], opmap["SWAP"]}
_IN_PLACE = range(13, 26)  # what a binary operator says that is += or one of its kin
_ITEM = {opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in opmap}
_ATTRIBUTE = {opmap["STORE_ATTR"]}

OPERATORS: dict[str, Callable[..., Any]] = {
    "iadd": _augmented("+=", elementwise.add),
    "isub": _augmented("-=", elementwise.subtract),
    "imul": _augmented("*=", elementwise.multiply),
    "itruediv": _augmented("/=", elementwise.divide),
    "ipow": _augmented("**=", elementwise.power),
    "imod": _augmented("%=", elementwise.mod),
    "imatmul": _augmented("@=", linear.matmul),
    "ifloordiv": _augmented("//=", operator.floordiv),
    "ilshift": _augmented("<<=", operator.lshift),
    "irshift": _augmented(">>=", operator.rshift),
    "iand": _augmented("&=", operator.and_),
    "ior": _augmented("|=", operator.or_),
    "ixor": _augmented("^=", operator.xor),
}


# --- all values at once -------------------------------------------------------------------------


class Values(np.ndarray[Any, Any]):
    """The values of a tensor, to read.

    ``t.data -= a`` makes a new array, which ``t.data`` is set to; other writes raise an error that
    says how to write.
    """

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else array.view(np.ndarray)

    def __setitem__(self, index: Any, value: Any) -> None:
        try:
            super().__setitem__(index, value)
        except ValueError as error:
            way = (
                ""
                if self.flags.writeable
                else "; t.data is set as a whole: t.data = array, or inside tg.no_grad() t[i] = v"
            )
            raise restated(error, f"{error}{way}") from error


def _augmented_values(
    op: Callable[..., Any], in_place: Callable[..., Any]
) -> Callable[[Any, Any], Any]:
    def write(self: Any, other: Any) -> Any:
        if self.flags.writeable:
            return in_place(self, other)
        if not _stored_back(_ATTRIBUTE):
            raise GraphError(
                "the values of a tensor are read-only, and a new array under this name would leave the tensor as it is. Write t.data -= v with the "
                f"tensor's name, t -= v inside tg.no_grad(), or work on a copy: t.data.copy(){Where(*caller()).described()}"
            )
        return op(self, other)

    return write


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
):
    _names = (f"__{_name}__", f"__i{_name}__")
    setattr(Values, _names[1], _augmented_values(*(getattr(np.ndarray, n) for n in _names)))


def _data(t: Tensor) -> Any:
    """The values, to read.

    Setting it gives the tensor a new array, without recording; ``t.data -= a`` does. What its dtype
    cannot hold is an error.
    """
    return t.numpy().view(Values)


def _set_data(t: Tensor, value: Any) -> None:
    if context().tracing:
        raise TraceError(
            f"t.data = v is not recorded, so the function that is being traced would not do it when it runs: write t[...] = v{Where(*caller()).described()}"
        )
    _refuse_view(t, "t.data = v")
    if not isinstance(value, (Tensor, np.ndarray)) or value.dtype != t.dtype:
        value = fitting(value, t.dtype, f"{t.name or type(t).__name__}.data")
    array = tensor(value.detach() if isinstance(value, Tensor) else value, t.dtype).array
    if array.shape != t.shape:
        raise ShapeError(f"data: this tensor has shape {t.shape}, the new array {array.shape}")
    node = t.node
    if node is not None and not isinstance(node, Leaf):
        raise GraphError("data: this tensor was computed; assign to a leaf, or work on t.detach()")
    give(t, array, Where(*caller()))


def give(t: Tensor, array: Any, where: Where) -> None:
    """Give a leaf another array of its shape and dtype; `where` says what line does it."""
    t.array, node = array, t.node
    if isinstance(node, Leaf):
        # otherwise the leaf is that of another tensor, which keeps its values
        if node.tensor is not None and node.tensor() is t:
            node.replaced = where
        t.leaf(node.requires_grad, node.name)


data = property(_data, _set_data)
