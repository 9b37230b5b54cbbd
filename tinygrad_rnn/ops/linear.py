"""Products: matmul, einsum, outer."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Primitive, Spec
from ..core.record import apply
from .define import broadcast, numpys, operand, primitive
from .facts import Contraction


def _matmul_shape(a: Any, b: Any) -> Spec:
    left, right = getattr(a, "shape", ()), getattr(b, "shape", ())
    if not left or not right:
        raise ShapeError(
            f"expected at least one dimension each; found shapes {left} and {right}; use * for a scalar"
        )
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner:
        raise ShapeError(
            f"expected a.shape[-1] == b.shape[{'0' if b.ndim == 1 else '-2'}]; found {a.shape[-1]} != {inner} "
            f"(shapes {a.shape} and {b.shape})"
        )
    lead = broadcast(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    return Spec(
        (*lead, *a.shape[-2:-1], *(b.shape[-1:] if b.ndim > 1 else ())),
        np.result_type(a.dtype, b.dtype),
    )


def _matmul_a(g: Any, b: Any) -> Any:
    if b.ndim == 2 == g.ndim:
        return g.dot(b.T)
    if b.ndim == 1:
        return g.reshape((*g.shape, 1)) * b
    turned = b.swapaxes(-1, -2)
    if g.ndim >= b.ndim:
        return g @ turned
    # a is a vector
    return (g.reshape((*g.shape[:-1], 1, g.shape[-1])) @ turned).reshape(
        (*g.shape[:-1], turned.shape[-1])
    )


def _matmul_b(g: Any, a: Any) -> Any:
    if a.ndim == 2 == g.ndim:
        return a.T.dot(g)
    if a.ndim == 1:
        return (
            a * g
            if g.ndim == 0
            else a.reshape((-1, 1)) * g.reshape((*g.shape[:-1], 1, g.shape[-1]))
        )
    turned = a.swapaxes(-1, -2)
    if g.ndim >= a.ndim:
        return turned @ g
    # b is a vector
    return (turned @ g.reshape((*g.shape, 1))).reshape((*a.shape[:-2], a.shape[-1]))


def _matmul_labels(params: dict[str, Any], ranks: Sequence[int]) -> Contraction:
    lead = [f"lead{k}" for k in range(max(*ranks, 2) - 2)]
    own = [lead[len(lead) - max(rank - 2, 0) :] for rank in ranks]
    row, column = (["row"] if ranks[0] > 1 else []), (["column"] if ranks[1] > 1 else [])
    terms = ((*own[0], *row, "inner"), (*own[1], "inner", *column))
    return Contraction(terms, (*lead, *row, *column))


@primitive(
    _matmul_a,
    _matmul_b,
    shape=_matmul_shape,
    linear="each",
    broadcasts=True,
    examples=[
        ([(2, 3), (3, 4)], {}),
        ([(3,), (3,)], {}),
        ([(2, 3), (3,)], {}),
        ([(3,), (3, 2)], {}),
        ([(2, 2, 3), (3, 2)], {}),
        ([(2, 1, 2, 3), (3, 3, 2)], {}),
        ([(3,), (2, 3, 2)], {}),
        ([(2, 2, 3), (3,)], {}),
        ([(0, 3), (3, 2)], {}),
        ([(3, 3), (3, 3)], {}),
        ([(2, 3, 4), (2, 4, 2)], {}),
        ([(2, 3), (2, 3, 2)], {}),
    ],
    contraction=_matmul_labels,
    formula="a @ b",
)
def matmul(a: Any, b: Any) -> Any:
    """Return the matrix product.

    NumPy's rules hold for 1-D operands and for leading (batch) axes, which broadcast.
    """
    # one product of matrices, not one for each place in the leading axes
    if b.ndim == 2 < a.ndim and a.size:
        return a.reshape(-1, a.shape[-1]).dot(b).reshape((*a.shape[:-1], b.shape[1]))
    # the same; dot starts in half the time
    return a.dot(b) if a.ndim == 2 == b.ndim else np.matmul(a, b)


@numpys(2)
def outer(a: Any, b: Any) -> Any:
    """Return the outer product of two vectors: shape (len(a), len(b))."""
    a, b = operand(a, "outer"), operand(b, "outer")
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(f"outer: expected two vectors; found shapes {a.shape} and {b.shape}")
    return a.reshape((-1, 1)) * b


def _einsum_shape(*operands: Any, subscripts: str) -> Spec:
    terms, output = _terms(subscripts)
    sizes: dict[str, int] = {}
    if len(terms) != len(operands):
        raise ShapeError(f"'{subscripts}' names {len(terms)} operands; found {len(operands)}")
    for term, x in zip(terms, operands, strict=True):
        if len(term) != x.ndim:
            raise ShapeError(f"'{term}' names {len(term)} axes; found shape {x.shape}")
        for label, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(label, n) != n:
                raise ShapeError(
                    f"label '{label}' has size {sizes[label]} in one operand and {n} in another"
                )
    return Spec([sizes[label] for label in output], np.result_type(*(x.dtype for x in operands)))


def _terms(subscripts: str) -> tuple[list[str], str]:
    left, output = subscripts.split("->")
    return left.split(","), output


def _einsum_rule(g: Any, inputs: Any, like_inputs: Any, subscripts: str, position: int) -> Any:
    terms, output = _terms(subscripts)
    others = [(t, x) for i, (t, x) in enumerate(zip(terms, inputs, strict=True)) if i != position]
    term, like = terms[position], like_inputs[position]
    present = output + "".join(t for t, _ in others)
    # summed over alone
    ones = [
        (c, np.ones(n, like.dtype))
        for c, n in zip(term, like.shape, strict=True)
        if c not in present
    ]
    operands = [(output, g), *others, *ones]
    return apply(
        _EINSUM,
        [x for _, x in operands],
        {"subscripts": f"{','.join(t for t, _ in operands)}->{term}"},
    )


def _einsum_labels(params: dict[str, Any], ranks: Sequence[int]) -> Contraction:
    terms, output = _terms(params["subscripts"])
    return Contraction(tuple(tuple(term) for term in terms), tuple(output))


@primitive(
    _einsum_rule,
    shape=_einsum_shape,
    linear="each",
    name="einsum",
    examples=[
        ([(2, 3), (3, 4)], {"subscripts": "ab,bc->ac"}),
        ([(2, 3)], {"subscripts": "ab->b"}),
        ([(2, 3), (3, 2), (2,)], {"subscripts": "ab,bc,c->"}),
        ([(2, 2, 3), (2, 3, 2)], {"subscripts": "nab,nbc->nca"}),
        ([(3, 2), (3, 2)], {"subscripts": "ab,ab->a"}),
        ([(2, 3), (2,)], {"subscripts": "ab,c->c"}),
        ([(0, 3), (3,)], {"subscripts": "ab,b->a"}),
    ],
    contraction=_einsum_labels,
)
def _einsum(*operands: Any, subscripts: str) -> Any:
    terms, output = _terms(subscripts)
    if not _pays(terms, output, operands):
        return np.einsum(subscripts, *operands)
    path = _path(subscripts, tuple([x.shape for x in operands])) if len(terms) > 2 else [(0, 1)]
    parts = list(zip(terms, operands, strict=True))
    for pair in path:
        (t, b), (s, a) = (parts.pop(k) for k in sorted(pair, reverse=True))
        needed = {*output, *(c for term, _ in parts for c in term)}
        kept = "".join(c for c in dict.fromkeys(s + t) if c in needed) if parts else output
        parts.append((kept, _of_pair(a, s, b, t, kept)))
    return parts[0][1]


PAIRED = 30_000  # products of numbers from which on matrix products are worth the preparation


def _pays(terms: Sequence[str], output: str, operands: Sequence[Any]) -> bool:
    """Whether an einsum is to be made of matrix products, of two operands at a time.

    NumPy's own loop over all labels needs no preparation. Rules see one operation either way.
    """
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        sizes.update(zip(term, x.shape, strict=True))
    summed = len(terms) > 1 and len(sizes) > len(output)
    plain = all(x.dtype.kind == "f" for x in operands)
    return summed and plain and math.prod(sizes.values()) >= PAIRED


@functools.lru_cache(512)
def _path(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    """Return which operands are taken together; what is made of them is put behind the others."""
    empty = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    steps = np.einsum_path(subscripts, *empty, optimize=("optimal", sys.maxsize))[0][1:]
    pairs: list[tuple[int, ...]] = []
    for step in steps:  # a step of more is taken from the front
        pairs.append(tuple(step[:2]))
        rest = len(step) - 2
        left = len(shapes) - len(pairs)
        pairs += [(0, left - 1 - k) for k in range(rest)]
    return pairs


def _of_pair(a: Any, s: str, b: Any, t: str, kept: str) -> Any:
    """Return the einsum of two arrays with these labels, by a product of matrices for each slice."""
    both = [c for c in s if c in t]
    slices, summed = [c for c in both if c in kept], [c for c in both if c not in kept]
    if not summed:
        return np.einsum(f"{s},{t}->{kept}", a, b)
    a, s = _summed(a, s, t + kept)
    b, t = _summed(b, t, s + kept)
    rows, columns = [c for c in s if c not in t], [c for c in t if c not in s]
    sizes = dict(zip(s + t, a.shape + b.shape, strict=True))
    number = [math.prod(sizes[c] for c in part) for part in (slices, rows, summed, columns)]
    left = a.transpose([s.index(c) for c in (*slices, *rows, *summed)])
    right = b.transpose([t.index(c) for c in (*slices, *summed, *columns)])
    if slices:  # NumPy has no fast product of stacks with gaps
        left = np.ascontiguousarray(left.reshape(number[:3]))
        right = np.ascontiguousarray(right.reshape((number[0], *number[2:])))
        found = np.matmul(left, right)
    else:
        found = left.reshape(number[1:3]).dot(right.reshape(number[2:]))
    made = (*slices, *rows, *columns)
    found = found.reshape([sizes[c] for c in made])
    return found.transpose([made.index(c) for c in kept])


def _summed(x: Any, term: str, wanted: str) -> tuple[Any, str]:
    """Return an array summed over the labels that nothing else has, and the labels that are left."""
    over = tuple([k for k, c in enumerate(term) if c not in wanted])
    return (x.sum(axis=over), "".join(c for c in term if c in wanted)) if over else (x, term)


_EINSUM = _einsum.primitive


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def einsum(subscripts: Any, *operands: Any, optimize: Any = True) -> Any:
    """Return the Einstein summation of the operands, as `numpy.einsum`.

    The output may be explicit or implicit; ellipsis and repeated labels (diagonals) are allowed.

    Parameters
    ----------
    subscripts : str
        For example ``"tbi,ij->tbj"``.
    *operands : Tensor or array
    optimize : bool, str or list
        A path, as `numpy.einsum_path` returns it: which operands are taken together, one after the
        other; each is an operation of its own on the tape. Otherwise the order is found here, and
        what NumPy takes ("greedy", "optimal", a bool) changes nothing.

    Notes
    -----
    One may also write ``einsum(a, [0, 1], b, [1, 2], [0, 2])``: each operand is followed by its
    labels as numbers, and those of the result may stand at the end.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _numbered((subscripts, *operands))
    given = [x if hasattr(x, "ndim") else np.asarray(x) for x in operands]
    read, output, shapes = _read(subscripts, tuple([tuple(x.shape) for x in given]))
    terms = list(read)
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        if shape is not None:
            given[i] = given[i].reshape(shape)
        if len(set(term)) < len(term):
            terms[i], given[i] = _without_repetitions(term, given[i])
    if optimize is True:
        return _summation(terms, given, output)
    for together in _given_path(optimize, len(terms)):
        taken = [(terms.pop(k), given.pop(k)) for k in sorted(together, reverse=True)][::-1]
        needed = {*output, *"".join(terms)}
        kept = "".join(c for c in dict.fromkeys("".join(t for t, _ in taken)) if c in needed)
        given.append(_summation([t for t, _ in taken], [x for _, x in taken], kept))
        terms.append(kept)
    return _summation(terms, given, output)


def _summation(terms: Sequence[str], operands: Sequence[Any], output: str) -> Any:
    return apply(_EINSUM, operands, {"subscripts": f"{','.join(terms)}->{output}"})


def _without_repetitions(term: str, x: Any) -> tuple[str, Any]:
    """Return a term in which each label stands once, and the diagonals of the operand."""
    from .diagonals import diagonal

    while label := next((c for c in term if term.count(c) > 1), ""):
        first, second = term.index(label), term.rindex(label)
        if x.shape[first] != x.shape[second]:
            raise ShapeError(
                f"einsum: label '{label}' has size {x.shape[first]} and size {x.shape[second]} in shape {tuple(x.shape)}"
            )
        x = diagonal(x, 0, first, second)
        term = "".join(c for k, c in enumerate(term) if k not in (first, second)) + label
    return term, x


def _given_path(optimize: Any, count: int) -> list[tuple[int, ...]]:
    """Return the steps of a path but for the last, which takes all that is left; [] if none is given."""
    path = optimize
    if path is None or isinstance(path, (bool, np.bool_)):
        return []
    if isinstance(path, str) and path in ("greedy", "optimal"):
        return []
    if isinstance(path, tuple) and len(path) == 2 and path[0] in ("greedy", "optimal"):
        return []  # with the memory that NumPy may use
    named = isinstance(path, (list, tuple)) and len(path) > 1 and path[0] == "einsum_path"
    steps = list(path)[1:] if named else [()]
    left = count
    for step in steps:
        fits = isinstance(step, (tuple, list)) and bool(step) and len(set(step)) == len(step)
        if not fits or any(type(k) is not int or not 0 <= k < left for k in step):
            raise ShapeError(
                "einsum: optimize must be True, False, 'greedy', 'optimal', or a path as np.einsum_path returns it, "
                f"['einsum_path', (0, 1), ...], for {count} operands; found {optimize!r}"
            )
        left += 1 - len(step)
    return [tuple(step) for step in steps][: -1 if left == 1 else None]


@functools.lru_cache(512)
def _read(
    subscripts: str, shapes: tuple[tuple[int, ...], ...]
) -> tuple[tuple[str, ...], str, tuple[tuple[int, ...] | None, ...]]:
    """Return the term of each operand, that of the result, and the shapes that operands get.

    There are letters in place of '...', and none for the axes of size 1 that broadcast.
    """
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    _check_subscripts(subscripts, terms, output, shapes)
    free = [c for c in LETTERS if c not in text]
    spread = [
        len(shape) - len(t.replace("...", "")) if "..." in t else 0
        for t, shape in zip(terms, shapes, strict=True)
    ]
    dots = "".join(free.pop(0) for _ in range(max(spread, default=0)))
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, spread, strict=True)]
    joined = "".join(terms)
    output = (
        output.replace("...", dots)
        if arrow
        else dots + "".join(sorted(c for c in set(joined) - set(dots) if joined.count(c) == 1))
    )
    left, kept = _without_spread_axes(terms, shapes)
    return left, output, kept


def _check_subscripts(
    subscripts: str, terms: Sequence[str], output: str, shapes: Sequence[tuple[int, ...]]
) -> None:
    """Raise a ShapeError unless the terms and the output fit each other and the operands."""
    for part in (*terms, output):
        if part.replace("...", "", 1).strip(LETTERS):
            raise ShapeError(
                f"einsum: '{subscripts}' may hold letters, commas, one '->', and '...' once in a term; found '{part}'"
            )
    if len(terms) != len(shapes):
        raise ShapeError(f"einsum: '{subscripts}' names {len(terms)} operands; found {len(shapes)}")
    for c in output.replace("...", ""):
        if c not in "".join(terms) or output.count(c) > 1:
            raise ShapeError(
                f"einsum: label '{c}' of the result of '{subscripts}' must be one of the operands', and stand there once"
            )
    for term, shape in zip(terms, shapes, strict=True):
        named = len(term.replace("...", ""))
        if named > len(shape) or (named < len(shape) and "..." not in term):
            raise ShapeError(
                f"einsum of '{subscripts}': '{term}' names {named} axes; found shape {shape}"
            )


def _without_spread_axes(
    terms: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> tuple[tuple[str, ...], tuple[tuple[int, ...] | None, ...]]:
    """Return terms and new shapes without the axes of size 1 that broadcast: they need no label."""
    pairs = [
        (c, n)
        for term, shape in zip(terms, shapes, strict=True)
        for c, n in zip(term, shape, strict=False)
    ]
    spread_over = {c for c, n in pairs if n != 1}
    left, kept_shapes = list(terms), cast("list[tuple[int, ...] | None]", [None] * len(terms))
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        kept = [
            k
            for k, (c, n) in enumerate(zip(term, shape, strict=False))
            if n != 1 or c not in spread_over
        ]
        if len(kept) < len(term) == len(shape):
            left[i], kept_shapes[i] = "".join(term[k] for k in kept), tuple(shape[k] for k in kept)
    return tuple(left), tuple(kept_shapes)


def _numbered(given: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """Return subscripts and operands from operands that are each followed by labels as numbers."""
    operands, labels, result = (
        given[: len(given) // 2 * 2 : 2],
        given[1::2],
        given[-1] if len(given) % 2 else None,
    )
    parts: list[str] = []
    for part in (*labels, *(() if result is None else (result,))):
        if not isinstance(part, (list, tuple)) or not all(
            n is Ellipsis or (type(n) is int and 0 <= n < len(LETTERS)) for n in part
        ):
            raise ShapeError(
                "einsum: expected subscripts such as 'ij,jk->ik', or each operand followed by a list of its labels, numbers from 0 to "
                f"{len(LETTERS) - 1}; found {part if isinstance(part, (list, tuple, str)) else type(part).__name__}"
            )
        parts.append("".join("..." if n is Ellipsis else LETTERS[n] for n in part))
    count = len(labels)
    return ",".join(parts[:count]) + (f"->{parts[count]}" if result is not None else ""), tuple(
        operands
    )


EINSUM: Primitive = _einsum.primitive
