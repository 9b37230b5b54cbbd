"""Products: matmul, einsum, outer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Primitive, Spec
from ..core.record import apply
from .define import broadcast, operand, primitive
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
    return np.einsum(subscripts, *operands)


_EINSUM = _einsum.primitive


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def einsum(subscripts: Any, *operands: Any) -> Any:
    """Return the Einstein summation of the operands, as `numpy.einsum`.

    The output may be explicit or implicit; ellipsis and repeated labels (diagonals) are allowed.

    Parameters
    ----------
    subscripts : str
        For example ``"tbi,ij->tbj"``.
    *operands : Tensor or array

    Notes
    -----
    One may also write ``einsum(a, [0, 1], b, [1, 2], [0, 2])``: each operand is followed by its
    labels as numbers, and those of the result may stand at the end.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _numbered((subscripts, *operands))
    operands = tuple(x if hasattr(x, "ndim") else np.asarray(x) for x in operands)
    terms, output = _spelled_out(subscripts, operands)
    terms, given = _without_spread_axes(terms, operands)
    free = [c for c in LETTERS if c not in "".join(terms) + output]
    for i, term in enumerate(list(terms)):
        for label in sorted({c for c in term if term.count(c) > 1}):
            # a diagonal: the second label gets its own name, tied by an identity matrix
            while terms[i].count(label) > 1:
                fresh, at = free.pop(0), terms[i].rindex(label)
                terms[i] = terms[i][:at] + fresh + terms[i][at + 1 :]
                terms.append(label + fresh)
                given.append(np.eye(given[i].shape[at], dtype=given[i].dtype))
    return apply(_EINSUM, given, {"subscripts": f"{','.join(terms)}->{output}"})


def _spelled_out(subscripts: str, operands: Sequence[Any]) -> tuple[list[str], str]:
    """Return the terms and the output of subscripts, with letters in place of '...'."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    _check_subscripts(subscripts, terms, output, operands)
    free = [c for c in LETTERS if c not in text]
    spread = [
        x.ndim - len(t.replace("...", "")) if "..." in t else 0
        for t, x in zip(terms, operands, strict=True)
    ]
    dots = "".join(free.pop(0) for _ in range(max(spread, default=0)))
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, spread, strict=True)]
    if arrow:
        return terms, output.replace("...", dots)
    joined = "".join(terms)
    return terms, dots + "".join(sorted(c for c in set(joined) - set(dots) if joined.count(c) == 1))


def _check_subscripts(
    subscripts: str, terms: Sequence[str], output: str, operands: Sequence[Any]
) -> None:
    """Raise a ShapeError unless the terms and the output fit each other and the operands."""
    for part in (*terms, output):
        if part.replace("...", "", 1).strip(LETTERS):
            raise ShapeError(
                f"einsum: '{subscripts}' may hold letters, commas, one '->', and '...' once in a term; found '{part}'"
            )
    if len(terms) != len(operands):
        raise ShapeError(
            f"einsum: '{subscripts}' names {len(terms)} operands; found {len(operands)}"
        )
    for c in output.replace("...", ""):
        if c not in "".join(terms) or output.count(c) > 1:
            raise ShapeError(
                f"einsum: label '{c}' of the result of '{subscripts}' must be one of the operands', and stand there once"
            )
    for term, x in zip(terms, operands, strict=True):
        named = len(term.replace("...", ""))
        if named > x.ndim or (named < x.ndim and "..." not in term):
            raise ShapeError(
                f"einsum of '{subscripts}': '{term}' names {named} axes; found shape {tuple(x.shape)}"
            )


def _without_spread_axes(
    terms: Sequence[str], operands: Sequence[Any]
) -> tuple[list[str], list[Any]]:
    """Return terms and operands without the axes of size 1 that broadcast: they need no label."""
    terms = list(terms)
    given = list(operands)
    pairs = [
        (c, n) for t, x in zip(terms, given, strict=True) for c, n in zip(t, x.shape, strict=False)
    ]
    spread_over = {c for c, n in pairs if n != 1}
    for i, (term, x) in enumerate(zip(list(terms), operands, strict=True)):
        kept = [
            k
            for k, (c, n) in enumerate(zip(term, x.shape, strict=False))
            if n != 1 or c not in spread_over
        ]
        if len(kept) < len(term) == x.ndim:
            terms[i], given[i] = (
                "".join(term[k] for k in kept),
                x.reshape([x.shape[k] for k in kept]),
            )
    return terms, given


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
