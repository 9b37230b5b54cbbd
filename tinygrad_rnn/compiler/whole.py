"""Operations on whole values.

What is read and written at places that a loop over one element at a time cannot follow.

Their sources are stored, and each is a nest of plain loops over the features, with the rows of the
batch innermost. Where a place is known beforehand (an index of numbers, windows, a roll over
several axes) it stands in a table, which is found by asking NumPy: the operation is run on the
numbers of the elements. Where a place is a value of the step (a token, the result of argmax) the
loop reads it, and checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Array
from ..ops.define import axes_of
from .effects import B
from .lower import Store, counted, linear
from .op import Op
from .scalars import kind_of, literal, wrapped
from .step import at_size
from .views import unsupported

GATHERED = ("getitem", "roll", "pad", "tril", "triu", "windows", "reshape")
SCATTERED = ("scatter", "unwindows")
READ = ("take", "take_along_axis", "one_hot", "argmax", "argmin", "cumsum")
ADDED = ("index_add", "add_along_axis")
WHOLE = (*GATHERED, *SCATTERED, *READ, *ADDED, "setitem")

Lines = list[str]
Read = Callable[[Op], Store]


def written(
    op: Op, out: Store, read: Read, table: Callable[[Array], str], base: np.dtype[Any], onto: bool
) -> Lines:
    """The loops that store a value.

    Parameters
    ----------
    op : Op
    out : Store
    read : callable
        The Store of a source.
    table : callable
        From an array of integers to its name in the code.
    base : dtype
        The floating dtype of the module.
    onto : bool
        What is scattered is added to what stands there; otherwise the value begins as zeros, or
        with the copy that stands there.
    """
    name = op.op
    if name in GATHERED:
        return _gathered(op, out, read, table, base)
    if name in SCATTERED:
        return _scattered(op, out, read, table, base, onto)
    if name == "setitem":
        return _assigned(op, out, read, table, base)
    if name in ADDED:
        return _added(op, out, read)
    return {
        "take": _take,
        "take_along_axis": _take,
        "one_hot": _one_hot,
        "argmax": _extreme,
        "argmin": _extreme,
        "cumsum": _cumsum,
    }[name](op, out, read)


# --- places that are known beforehand -------------------------------------------------------------------------------------------


def _numbers(op: Op, batch: int) -> Array:
    """The numbers of a value's elements, from 1, where the rows of an element stand side by side."""
    count = op.size * (batch if op.batch is not None else 1)
    whole = np.arange(1, count + 1).reshape(
        (*op.features, *([batch] if op.batch is not None else []))
    )
    return whole if op.batch is None else np.moveaxis(whole, -1, op.batch)


def _flat(op: Op, values: Array) -> Array:
    flat: Array = (values if op.batch is None else np.moveaxis(values, op.batch, -1)).reshape(-1)
    return flat


def _places(op: Op, run: Callable[[int], Array], like: Op) -> Array:
    """From the features of `like` to the number that `run` finds for each, the same for every row.

    0: none.
    """
    one, two = (run(batch) for batch in (1, 2))
    expected = [like.size * (b if like.batch is not None else 1) for b in (1, 2)]
    places = _flat(like, one) if one.size == expected[0] else None
    if places is None or two.size != expected[1]:
        raise unsupported(op, "it takes some rows of the batch, or moves them; give it whole rows")
    if like.batch is not None:
        wanted = np.where(places[:, None] > 0, 2 * (places[:, None] - 1) + 1 + np.arange(2), 0)
        if not np.array_equal(_flat(like, two).reshape(-1, 2), wanted):
            raise unsupported(
                op, "it takes some rows of the batch, or moves them; give it whole rows"
            )
    return places


def _forward(op: Op, *arrays: Any, batch: int, **changes: Any) -> Array:
    primitive = op.node.primitive
    assert primitive is not None
    found: Array = np.asarray(primitive.forward(*arrays, **(at_size(op.params, batch) | changes)))
    return found


def _gathered(op: Op, out: Store, read: Read, table: Any, base: np.dtype[Any]) -> Lines:
    source = op.inputs[0]
    if (source.batch is None) != (op.batch is None):
        raise unsupported(op, "it takes single rows of the batch")
    changes = {"value": 0} if op.op == "pad" else {}
    places = _places(op, lambda n: _forward(op, _numbers(source, n), batch=n, **changes), op)
    fill = literal(op.params.get("value", 0) or 0, kind_of(op.dtype, base))
    return _copied(op, out, read(source), places, table, fill if not places.all() else None)


def _copied(
    op: Op, out: Store, source: Store, places: Array, table: Any, fill: str | None
) -> Lines:
    name = table(places - 1)
    rows = op.batch is not None
    q, many = (" * B + q", "B") if rows else ("", "1")
    lines = [f"for i in range({counted(op.size)}):", f"    j = {name}[i]"]
    pad = "    "
    if fill is not None:
        lines += [
            "    if j < 0:",
            f"        for q in range({many}):",
            f"            {out.spot(f'i{q}')} = {fill}",
            "    else:",
        ]
        pad = "        "
    return [
        *lines,
        f"{pad}for q in range({many}):",
        f"{pad}    {out.spot(f'i{q}')} = {source.spot(f'j{q}')}",
    ]


def _scattered(
    op: Op, out: Store, read: Read, table: Any, base: np.dtype[Any], onto: bool
) -> Lines:
    source = op.inputs[0]
    if (source.batch is None) != (op.batch is None):
        raise unsupported(op, "it fills single rows of the batch")

    def places_in(n: int) -> Array:
        if op.op == "scatter":
            chosen: Array = _numbers(op, n)[at_size(op.params, n)["index"]]
            return chosen
        from ..ops.windows import _windows

        params = at_size(op.params, n)
        size = source.node.shape[len(source.node.shape) - len(params["shape"]) :]
        return np.asarray(
            _windows.primitive.forward(
                _numbers(op, n), size=size, stride=params["stride"], dilation=params["dilation"]
            )
        )

    name = table(_places(op, places_in, source) - 1)
    q, many = (" * B + q", "B") if op.batch is not None else ("", "1")
    given = read(source)
    lines = [] if onto else out.filled(literal(0, kind_of(op.dtype, base)))
    return [
        *lines,
        f"for i in range({counted(source.size)}):",
        f"    j = {name}[i]",
        f"    for q in range({many}):",
        f"        {out.spot(f'j{q}')} += {given.spot(f'i{q}')}",
    ]


def _assigned(op: Op, out: Store, read: Read, table: Any, base: np.dtype[Any]) -> Lines:
    """A copy with some elements from elsewhere; x stands in `out` already."""
    x, value = op.inputs
    if x.batch != op.batch:
        raise unsupported(
            op, "a value of the batch is put into one without rows; broadcast that first"
        )

    def places_in(n: int) -> Array:
        return _forward(
            op,
            np.zeros([n if m == B else m for m in op.shape], int),
            _numbers(value, n) if isinstance(value, Op) else 1,
            batch=n,
        )

    if isinstance(value, Op) and value.batch is not None:
        places = _places(op, places_in, op)
    else:
        places = _flat(op, places_in(1))
        if not np.array_equal(
            np.repeat(places, 2 if op.batch is not None else 1), _flat(op, places_in(2))
        ):
            raise unsupported(op, "it fills single rows of the batch")
    name = table(places - 1)
    q, many = (" * B + q", "B") if op.batch is not None else ("", "1")
    text = (
        read(value).spot("j * B + q" if value.batch is not None else "j")
        if isinstance(value, Op)
        else literal(value, kind_of(op.dtype, base))
    )
    return [
        f"for i in range({counted(op.size)}):",
        f"    j = {name}[i]",
        "    if j >= 0:",
        f"        for q in range({many}):",
        f"            {out.spot(f'i{q}')} = {text}",
    ]


# --- places that are values of the step -----------------------------------------------------------------------------------------


def _nest(shape: Sequence[Any], skip: Sequence[int] = ()) -> tuple[list[str], Lines, str]:
    """Names for the axes, loops over them with the batch innermost, and the indentation inside."""
    names = [f"i{k}" for k in range(len(shape))]
    order = sorted((k for k in range(len(shape)) if k not in skip), key=lambda k: shape[k] == B)
    lines = [
        f"{'    ' * depth}for {names[k]} in range({counted(shape[k])}):"
        for depth, k in enumerate(order)
    ]
    return names, lines, "    " * len(order)


def _at(store: Store, names: Sequence[str]) -> str:
    """An element by the names of its axes; an axis of size 1 stands still."""
    parts = [
        f"{name} * ({linear(*stride)})"
        for name, stride, n in zip(names, store.strides, store.op.shape, strict=True)
        if n != 1
    ]
    return store.spot(" + ".join(parts) or "0")


def _index(pad: str, text: str, n: int) -> Lines:
    """An index that is read: from the end where it is negative, and inside the axis."""
    return [
        f"{pad}k = {text}",
        f"{pad}if k < 0:",
        f"{pad}    k += {n}",
        f"{pad}if k < 0 or k >= {n}:",
        f'{pad}    raise IndexError("out of range")',
    ]


def _axis(op: Op, source: Op) -> int:
    axis = int(op.params["axis"]) % len(source.shape)
    if source.shape[axis] == B:
        raise unsupported(
            op, "its axis is the batch: rows of other places in the batch would be read"
        )
    return axis


def _take(op: Op, out: Store, read: Read) -> Lines:
    x, indices = op.inputs
    axis, wide = _axis(op, x), len(indices.shape) if op.op == "take" else 1
    names, lines, pad = _nest(op.shape)
    which = names[axis : axis + wide] if op.op == "take" else names
    lines += _index(pad, _at(read(indices), which), x.shape[axis])
    return [
        *lines,
        f"{pad}{_at(out, names)} = {_at(read(x), [*names[:axis], 'k', *names[axis + wide :]])}",
    ]


def _added(op: Op, out: Store, read: Read) -> Lines:
    """Values added at indices onto what stands in `out`."""
    x, indices, value = op.inputs
    axis, wide = _axis(op, x), len(indices.shape) if op.op == "index_add" else 1
    if op.batch != x.batch:
        raise unsupported(
            op, "values of the batch are added into a value without rows; broadcast that first"
        )
    names, lines, pad = _nest(value.shape)
    which = names[axis : axis + wide] if op.op == "index_add" else names
    lines += _index(pad, _at(read(indices), which), x.shape[axis])
    place, added = _at(out, [*names[:axis], "k", *names[axis + wide :]]), _at(read(value), names)
    return [
        *lines,
        f"{pad}{place} = {f'{place} or {added}' if op.dtype.kind == 'b' else _sum(op, place, added)}",
    ]


def _sum(op: Op, a: str, b: str) -> str:
    """Two numbers added in the dtype of an operation."""
    return wrapped(f"int_add({a}, {b})", op.dtype) if op.dtype.kind in "iu" else f"{a} + {b}"


def _one_hot(op: Op, out: Store, read: Read) -> Lines:
    indices, n = op.inputs[0], op.shape[-1]
    names, lines, pad = _nest(indices.shape)
    check = [
        f"{pad}k = {_at(read(indices), names)}",
        f"{pad}if k < 0 or k >= {n}:",
        f'{pad}    raise IndexError("out of range")',
    ]
    return [*out.filled("0"), *lines, *check, f"{pad}{_at(out, [*names, 'k'])} = 1"]


def _extreme(op: Op, out: Store, read: Read) -> Lines:
    """The place of the first largest or smallest element; a nan counts as such, as in NumPy."""
    source = op.inputs[0]
    axes = axes_of(op.params["axis"], len(source.shape))
    if any(source.shape[a] == B for a in axes):
        raise unsupported(op, "it looks for an element over the rows of the batch")
    names, lines, pad = _nest(source.shape, axes)
    shape = [source.shape[a] for a in axes]
    order = "<" if op.op == "argmin" else ">"
    kept = [n for k, n in enumerate(names) if k not in axes or op.params["keepdims"]]
    if len(axes) == 1:
        here, at_k = list(names), "k"
        here[axes[0]] = at_k
        spot = _at(read(source), here)
    elif not lines:
        spot = read(source).spot("k")
    else:
        raise unsupported(
            op, "it looks for an element over several axes of the rows; give it one axis"
        )
    # another type may have another in the same function
    v, top = f"v_{out.name}", f"top_{out.name}"
    return [
        *lines,
        f"{pad}best = k = 0",
        f"{pad}{top} = {spot}",
        f"{pad}for k in range(1, {counted(int(np.prod(shape)))}):",
        f"{pad}    {v} = {spot}",
        f"{pad}    if {v} {order} {top} or ({v} != {v} and {top} == {top}):",
        f"{pad}        best, {top} = k, {v}",
        f"{pad}{_at(out, kept)} = best",
    ]


def _cumsum(op: Op, out: Store, read: Read) -> Lines:
    source = op.inputs[0]
    axis = _axis(op, source)
    names, lines, pad = _nest(op.shape)
    before = [*names[:axis], f"({names[axis]} - 1)", *names[axis + 1 :]]
    here, start = _at(out, names), _at(read(source), names)
    return [
        *lines,
        f"{pad}if {names[axis]} == 0:",
        f"{pad}    {here} = {start}",
        f"{pad}else:",
        f"{pad}    {here} = {_sum(op, _at(out, before), start)}",
    ]
