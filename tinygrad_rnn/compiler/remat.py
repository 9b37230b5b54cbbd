"""What forward leaves for backward, and what backward computes again.

Memory costs more than arithmetic: a number that is kept is written and read again long after, while
a sum or product of numbers that are kept anyway is one more instruction in a loop that reads them.
So what is cheap is computed again, where that does not make more to be kept. What is kept is called
the residuals. What is computed again is made anew, as values of the backward program.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence

from ..ops.facts import Cost, facts_of
from .layout import is_view
from .value import Given, Value

# operations that are looked at, at most, to find less: of programs with thousands of them the first
# choice stays
WORK = 200_000


def residuals(
    read: Iterable[Value], there: Container[Value], most: Cost, alone: Cost
) -> list[Value]:
    """Return the values to be kept.

    Parameters
    ----------
    read : iterable of Value
        What the backward program reads of the forward one.
    there : container of Value
        What it finds in any case.
    most : Cost
        What may be computed again at most.
    alone : Cost
        The same for what follows from one value that is there, such as the tanh of a state.
    """
    roots = list(read)
    whole: set[Value] = set()  # kept, though they could be computed again
    found, again = _reached(roots, there, whole, most, alone)
    total = _bytes(found)
    if len(again) * (len(again) + len(found)) > WORK:
        return list(found)
    slices = [
        readers
        for value, readers in found.items()
        if value not in readers and all(is_view(r) and r.size < value.size for r in readers)
    ]
    for group in [*slices, *([value] for value in again)]:
        others, _ = _reached(roots, there, whole | set(group), most, alone)
        if _bytes(others) < total:
            whole |= set(group)
            found, total = others, _bytes(others)
    return list(found)


def _reached(
    roots: Sequence[Value], there: Container[Value], whole: set[Value], most: Cost, alone: Cost
) -> tuple[dict[Value, list[Value]], list[Value]]:
    """Return what has to be kept, each with its readers, and what is computed again.

    A value that the backward program reads itself is among its own readers.
    """
    found: dict[Value, list[Value]] = {}
    again: dict[Value, None] = {}
    stack = [(value, value) for value in roots]
    seen: set[tuple[Value, Value]] = set()
    while stack:
        value, reader = stack.pop()
        if (value, reader) in seen or value in there:
            continue
        seen.add((value, reader))
        if value in whole or not (_is_cheap(value, most) or _follows(value, there, alone)):
            found.setdefault(value, []).append(reader)
        elif value not in again:
            again[value] = None
            stack += [(i, value) for i in value.sources if i.varies and not i.leaf]
    return found, list(again)


def _is_cheap(value: Value, most: Cost) -> bool:
    facts = facts_of(value.primitive)
    if is_view(value) or facts.casts or (value.scalar and value.dtype.kind == "b"):
        return True
    return value.scalar and facts.cost <= most


def _follows(value: Value, there: Container[Value], alone: Cost) -> bool:
    """Whether a value is a function of one that backward finds in any case, element by element."""
    varying = [i for i in value.sources if i.varies]
    follows = value.scalar and len(varying) == 1 and varying[0] in there
    return follows and facts_of(value.primitive).cost <= alone


def _bytes(values: Iterable[Value]) -> int:
    return sum(value.nbytes for value in values)


def remade(
    values: Iterable[Value], given: Iterable[Value], wanted: Collection[Value]
) -> tuple[list[Value], dict[Value, Value]]:
    """Make a program anew on top of residuals.

    What was a view of a view need not be one of a copy, so no value of the other program is used.

    Parameters
    ----------
    values : iterable of Value
        The program, in order: what is computed again of the forward program, and the backward one.
    given : iterable of Value
        The residuals, and whatever else of the forward program is found as an array.
    wanted : collection of Value
        What has to be computed.

    Returns
    -------
    program : list of Value
    names : dict of Value to Value
        For each value of `values` and `given` the one that stands for it.
    """
    names: dict[Value, Value] = {}
    for k, v in enumerate(given):
        leaf = Value(None, [], {}, v.shape, v.node, dtype=v.dtype, given=Given.RESIDUAL, place=k)
        leaf.varies, names[v] = v.varies, leaf
    needed: set[Value] = set(wanted)
    order = list(values)
    for v in reversed(order):
        if v in needed and v not in names and not v.leaf:
            needed.update(v.sources)
    program: list[Value] = []
    for v in order:
        if v in names or v not in needed or v.leaf:
            continue
        inputs = [names.get(i, i) if isinstance(i, Value) else i for i in v.inputs]
        copy = Value(v.primitive, inputs, v.params, v.shape, v.node, dtype=v.dtype)
        copy.varies, names[v] = v.varies, copy
        program.append(copy)
    return program, names
