"""A contraction of three or more values of a step as contractions of two.

Each way to take the operands two by two has its own cost, and what two contractions have in common
is computed once: the gradients of an einsum have most of their operands in common with it and with
each other. So the ways of all contractions of a step are chosen together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..ops.elementwise import multiply
from ..ops.linear import EINSUM, LETTERS
from ..ops.shaping import RESHAPE, TRANSPOSE
from .fusion import contraction
from .value import B, Value, put_before

ROWS = 32  # of the batch, for which costs are compared
LOOPED = 4  # what a product in a loop costs, in products of register tiles
WRITTEN = 4  # what it costs to write a number of a result
KEPT = 16  # and to keep it for backward
ONCE = 0.1  # how much counts of what is computed once for a sequence
TOGETHER = 2_000  # ways of several contractions that are compared with each other
MOST = 4  # operands of which all ways are tried; of more those that cost least are joined first


class Part(NamedTuple):
    """An operand, or what two parts are contracted to.

    Attributes
    ----------
    key : object
        A number for a value, the same for equal parts.
    labels : tuple of str
    varies : bool
    """

    key: Any
    labels: tuple[str, ...]
    varies: bool


class Pair(NamedTuple):
    """Two parts, and what they are contracted to; `sums` says whether anything is summed over."""

    left: Part
    right: Part
    whole: Part
    cost: float
    size: float
    sums: bool


Way = tuple[Pair, ...]


class _Job(NamedTuple):
    """A contraction of several values: its parts, the labels of the result, and sizes of labels."""

    value: Value
    parts: list[Part]
    result: tuple[str, ...]
    sizes: dict[str, int]

    def pair(self, a: Part, b: Part, others: Sequence[Part]) -> Pair:
        """Return two parts as one."""
        a, b = sorted((a, b), key=lambda part: repr(part.key))
        every = tuple(dict.fromkeys((*a.labels, *b.labels)))
        needed = {*self.result, *(label for part in others for label in part.labels)}
        kept = tuple(label for label in every if label in needed)
        number = {label: k for k, label in enumerate(every)}
        pattern = tuple(
            tuple(number[label] for label in labels) for labels in (a.labels, b.labels, kept)
        )
        work, size = (math.prod(self.sizes[t] for t in labels) for labels in (every, kept))
        varies, sums = a.varies or b.varies, len(kept) < len(every)
        each = LOOPED if (a.varies and b.varies) or not sums else 1
        cost = (work * each + size * WRITTEN) * (1 if varies else ONCE)
        return Pair(a, b, Part((a.key, b.key, pattern), kept, varies), cost, size, sums)

    def ways(self, parts: Sequence[Part]) -> Iterator[Way]:
        """Yield the ways to contract parts two by two."""
        pairs = [
            self.pair(a, b, [c for c in parts if c is not a and c is not b])
            for a, b in itertools.combinations(parts, 2)
        ]
        if len(parts) > MOST:
            pairs = [min(pairs, key=lambda pair: pair.cost)]
        for pair in pairs:
            rest = [c for c in parts if c is not pair.left and c is not pair.right]
            if not rest:
                yield (pair,)
            else:
                for way in self.ways([*rest, pair.whole]):
                    yield (pair, *way)


def in_pairs(programs: Sequence[list[Value]]) -> None:
    """Make contractions of three or more values contractions of two, in programs that are changed."""
    numbers: dict[Value, int] = {}
    jobs = [
        [job for v in list(program) if (job := _job(v, numbers)) is not None]
        for program in programs
    ]
    chosen = iter(
        _chosen([list(job.ways(job.parts)) for several in jobs for job in several], len(jobs[0]))
    )
    known: dict[Any, Value] = {k: v for v, k in numbers.items()}
    for program, several in zip(programs, jobs, strict=True):
        for job in several:
            *first, last = next(chosen)
            for pair in first:
                if pair.whole.key not in known:
                    known[pair.whole.key] = _made(pair, job, known, program)
            inputs = [known[part.key] for part in last[:2]]
            terms = [part.labels for part in last[:2]]
            job.value.change(EINSUM, inputs, einsum(terms, job.result))


def _job(value: Value, numbers: dict[Value, int]) -> _Job | None:
    """Return a contraction of three or more values that can be taken in pairs."""
    labels = contraction(value)
    if labels is None or len(value.sources) < 3 or not value.varies:
        return None
    floats = all(isinstance(i, Value) and i.dtype == value.dtype for i in value.inputs)
    if not floats or value.dtype.kind != "f":
        return None
    sizes: dict[str, Any] = {}
    parts = []
    for term, source in zip(labels.terms, value.sources, strict=True):
        for label, n in zip(term, source.shape, strict=True):
            if sizes.setdefault(label, n) != n:
                return None
        if len(set(term)) != len(term) or 0 in source.shape:
            return None
        number = numbers.setdefault(source, len(numbers))
        parts.append(Part(number, tuple(term), source.varies))
    counted = {label: ROWS if n == B else n for label, n in sizes.items()}
    return _Job(value, parts, tuple(labels.result), counted)


def _chosen(ways: Sequence[Sequence[Way]], forward: int) -> list[Way]:
    """Return a way for each of several contractions, of which so many belong to the forward program."""
    users: dict[Any, int] = {}
    for several in ways:
        for key in {pair.whole.key for way in several for pair in way}:
            users[key] = users.get(key, 0) + 1
    found = [
        min(several, key=lambda way: sum(pair.cost / users[pair.whole.key] for pair in way))
        for several in ways
    ]
    if math.prod(map(len, ways)) <= TOGETHER:
        return list(min(itertools.product(*ways), key=lambda choice: _cost(choice, forward)))
    for k, several in enumerate(ways):
        found[k] = min(several, key=lambda way: _cost([*found[:k], way, *found[k + 1 :]], forward))
    return found


def _cost(choice: Iterable[Way], forward: int) -> float:
    """Return what all contractions cost together, if what they have in common is computed once."""
    pairs: dict[Any, Pair] = {}
    early: set[Any] = set()
    kept: set[Any] = set()
    for k, way in enumerate(choice):
        for pair in way:
            key = pair.whole.key
            pairs[key] = pair
            if k < forward:
                early.add(key)
            elif key in early and pair.sums and pair.whole.varies:
                kept.add(key)
    return sum(p.cost + (KEPT * p.size if key in kept else 0) for key, p in pairs.items())


def _made(pair: Pair, job: _Job, known: dict[Any, Value], program: list[Value]) -> Value:
    """Return the value of a pair, which is put into a program before the contraction."""
    a, b = (known[part.key] for part in (pair.left, pair.right))
    sizes = {
        t: n
        for part, v in ((pair.left, a), (pair.right, b))
        for t, n in zip(part.labels, v.shape, strict=True)
    }
    shape = [sizes[label] for label in pair.whole.labels]
    if pair.sums:
        params = einsum([pair.left.labels, pair.right.labels], pair.whole.labels)
        return put_before(job.value, program, EINSUM, [a, b], params, shape)
    spread = [
        _spread(v, part.labels, pair.whole.labels, job.value, program)
        for v, part in ((a, pair.left), (b, pair.right))
    ]
    return put_before(job.value, program, multiply.primitive, spread, {}, shape)


def _spread(
    value: Value, labels: Sequence[str], wanted: Sequence[str], at: Value, program: list[Value]
) -> Value:
    """Return a value with axes for all of these labels, of one element where it has none."""
    order = tuple(labels.index(label) for label in wanted if label in labels)
    if order != tuple(range(len(order))):
        shape = [value.shape[k] for k in order]
        value = put_before(at, program, TRANSPOSE, [value], {"axes": order}, shape)
    sizes = iter(value.shape)
    shape = [next(sizes) if label in labels else 1 for label in wanted]
    if len(shape) == len(value.shape):
        return value
    return put_before(at, program, RESHAPE, [value], {"shape": tuple(shape)}, shape)


def einsum(terms: Sequence[Sequence[str]], result: Sequence[str]) -> dict[str, str]:
    """Return the parameters of a contraction with these labels."""
    every = dict.fromkeys(label for term in terms for label in term)
    letter = dict(zip(every, LETTERS, strict=False))
    texts = ["".join(letter[label] for label in term) for term in (*terms, result)]
    return {"subscripts": f"{','.join(texts[:-1])}->{texts[-1]}"}
