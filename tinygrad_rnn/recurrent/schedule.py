"""Which steps of a sequence are kept and which are run again, within a budget of memory.

Where nothing is kept but states, and a stretch of steps is run again from the state before it, the
question is where to keep states so that the fewest steps are run again. This is answered by dynamic
programming.

A. Gruslys, R. Munos, I. Danihelka, M. Lanctot and A. Graves, Memory-Efficient Backpropagation
Through Time (2016), arXiv:1606.03401.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import TinygradError

UNITS = {"B": 1} | {
    prefix + "B": base**power
    for base, prefixes in ((1000, ("k", "M", "G", "T")), (1024, ("Ki", "Mi", "Gi", "Ti")))
    for power, prefix in enumerate(prefixes, 1)
}
EXACT = 1024  # pieces into which a sequence is divided at most, to find the best schedule
NESTED = 32  # how often a step may be run again: segments within segments are calls within calls
_FEWER = 1 << 20  # steps that are run again weigh so much more than one piece more


class Stretch(NamedTuple):
    """Steps that follow each other, and how they are run.

    Attributes
    ----------
    steps : int
        How many there are.
    parts : tuple of Stretch
        Without any all steps are recorded. Otherwise the last one is run as it says, and of each of
        the others only the state before it is kept: when its turn comes in backward it is run
        again, in the way that its own parts say.
    again : int
        How many steps are run again until backward is through, each as often as it is.
    depth : int
        How often a step is run again, at most.
    """

    steps: int
    parts: tuple[Stretch, ...] = ()
    again: int = 0
    depth: int = 0


def even(T: int, length: int) -> Stretch:
    """Return T steps in segments of one length, all of which are run again."""
    segments = [Stretch(min(length, T - start)) for start in range(0, T, length)]
    return _joined((*segments, Stretch(0)))


def size_of(text: str) -> int:
    """Return the number of bytes that a text such as "200 MB" says.

    Raises
    ------
    TinygradError
        If it says none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text, re.ASCII)
    size = round(float(found[1]) * UNITS[found[2]]) if found and found[2] in UNITS else 0
    if size < 1:
        raise TinygradError(
            "unroll: checkpoint as a text is a size of memory, a number above 0 and a unit "
            f"({', '.join(UNITS)}), such as '200 MB'; found {text!r}"
        )
    return size


def size_in_words(size: int) -> str:
    """Return a text that `size_of` reads as this number of bytes or a few more."""
    power = min(3, (len(str(size)) - 1) // 3)
    number = -(-size * 100 // 1000**power) / 100
    return f"{number:.12g} {('B', 'kB', 'MB', 'GB')[power]}"


def schedule(T: int, state: int, step: int, budget: int) -> Stretch:
    """Return how T steps are run so that the fewest are run again.

    A schedule keeps states, and holds what one stretch of recorded steps keeps for backward; at no
    time both together take more than the budget. The state before the first step is not counted.
    Sequences of more than `EXACT` steps are divided into as many pieces, of so many steps each.

    Parameters
    ----------
    T : int
        The number of steps.
    state : int
        Bytes of a state.
    step : int
        Bytes that a recorded step keeps.
    budget : int
        Bytes that may be used.

    Raises
    ------
    TinygradError
        If the budget is too small for any schedule in which each step is run again at most
        `NESTED` times.
    """
    found = _within(T, state, step, budget)
    if found is None:
        least = size_in_words(_least(T, state, step, budget))
        raise TinygradError(
            f"unroll: checkpoint of {size_in_words(budget)} is too little for {T} steps: a state takes {size_in_words(state)} and what a step keeps for "
            f"backward {size_in_words(step)}; expected at least {least}"
        )
    return found


def _within(T: int, state: int, step: int, budget: int) -> Stretch | None:
    """Return the best schedule within a budget, or None."""
    grain = -(-T // EXACT)
    pieces = -(-T // grain)
    longest = _longest(pieces, state, step * grain, budget)
    found = _best(pieces, longest) if longest else None
    if found is None or found.depth > NESTED:
        return None
    return _in_steps(found, grain, T) if grain > 1 else found


def _longest(T: int, state: int, step: int, budget: int) -> tuple[int, ...]:
    """Return how many steps may be recorded while 0, 1, 2, ... states are kept.

    There are no more states than it takes to run each step again once at most: with more of them
    fewer steps are recorded in the end, so more are run again.
    """
    found: list[int] = []
    while sum(found) < T:
        room = budget - len(found) * state
        if room < step:
            break
        found.append(min(room // step, T) if step else T)
    return tuple(found)


@functools.lru_cache(maxsize=64)
def _best(T: int, longest: tuple[int, ...]) -> Stretch | None:
    """Return the schedule of T steps that runs the fewest again, or None if there is none.

    Let again(k, t) be the least number of steps that are run again for t steps, while k states are
    kept. It is 0 if they can be recorded; otherwise the first y of them, for the best y, are run
    and later run again, and a state is kept behind them while the others are worked on:

        again(k, t) = min over y of  y + again(k, y) + again(k + 1, t - y)

    Of schedules with equal numbers that with the fewest pieces is taken.
    """
    levels = len(longest)
    never = np.int64(1) << 60
    cost = np.full((levels + 1, T + 1), never)  # steps that are run again times _FEWER, and pieces
    first = np.zeros((levels, T + 1), np.int64)  # the best y
    run_again = np.full((levels, T + 1), never)  # the cost of a segment of so many steps
    for k, n in enumerate(longest):
        cost[k, 1 : n + 1] = 1
        run_again[k, 1 : n + 1] = np.arange(1, n + 1) * _FEWER + 1
    rows = np.arange(levels)
    for t in range(longest[-1] + 1, T + 1):
        few = int(np.searchsorted(-np.asarray(longest), -t, side="right"))  # these record t steps
        total = cost[few + 1 :, t - 1 : 0 : -1] + run_again[few:, 1:t]
        y = total.argmin(axis=1)
        least = np.minimum(total[rows[: levels - few], y], never)
        cost[few:levels, t], first[few:, t] = least, y + 1
        run_again[few:, t] = np.minimum(least + t * _FEWER, never)
    if cost[0, T] >= never:
        return None
    made: dict[tuple[int, int], tuple[Stretch, ...]] = {}
    stack = [(0, T)]
    while stack:  # without recursion, which may be deep
        k, t = stack[-1]
        if t <= longest[k]:
            made[k, t] = (Stretch(t),)
        else:
            y = int(first[k, t])
            missing = [key for key in ((k, y), (k + 1, t - y)) if key not in made]
            if missing:
                stack += missing
                continue
            made[k, t] = (_joined(made[k, y]), *made[k + 1, t - y])
        stack.pop()
    return _joined(made[0, T])


def _joined(parts: tuple[Stretch, ...]) -> Stretch:
    """Return the stretch that has these parts."""
    if len(parts) == 1:
        return parts[0]
    *others, last = parts
    again = sum(p.steps + p.again for p in others) + last.again
    depth = max([1 + p.depth for p in others] + [last.depth])
    return Stretch(sum(p.steps for p in parts), parts, again, depth)


def _in_steps(found: Stretch, grain: int, T: int) -> Stretch:
    """Return a schedule of pieces of `grain` steps in steps; there are T, and the first is shorter."""
    if not found.parts:
        return Stretch(T)
    parts = found.parts
    sizes = [p.steps * grain for p in parts]
    sizes[0] -= sum(sizes) - T
    return _joined(tuple(_in_steps(p, grain, n) for p, n in zip(parts, sizes, strict=True)))


def _least(T: int, state: int, step: int, budget: int) -> int:
    """Return the least budget for which there is a schedule; `budget` is too small for one."""
    enough = max(budget, step)
    while _within(T, state, step, enough) is None:
        enough *= 2
    return _between(T, state, step, budget, enough)


def _between(T: int, state: int, step: int, low: Any, high: int) -> int:
    """Return the least budget above `low` for which there is a schedule, to a thousandth."""
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if _within(T, state, step, middle) is None:
            low = middle
        else:
            high = middle
    return high
