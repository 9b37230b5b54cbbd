"""The exercises of lesson 3: folded and unrolled."""

from __future__ import annotations

import math
from typing import Any

from .exercise import Function, Wrong, exercise, expect

_CARRY = "Each step has to get the state that the step before has left: y, h = step(x, h)."


@exercise("unroll-by-hand", "outputs and the last state, of 0, 1 and 5 steps")
def unroll_by_hand(unroll: Function) -> None:
    for n in (5, 1, 0):
        xs = [0.5 + k for k in range(n)]
        seen: list[tuple[float, float]] = []

        def step(x: float, h: float, seen: list[tuple[float, float]] = seen) -> tuple[float, float]:
            seen.append((x, h))
            return 10 * h + x, 2 * h + x

        outputs, states, h = [], [], 1.0
        for x in xs:
            outputs.append(10 * h + x)
            h = 2 * h + x
            states.append(h)
        found = unroll(step, list(xs), 1.0)
        case = f"a sequence of {n} steps"
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise Wrong(
                f"{case}: found {type(found).__name__}.",
                "Return two things: the list of outputs, and the last state.",
            )
        asked = [x for x, _ in seen]
        expect(
            asked,
            xs,
            f"{case}: the inputs for which the step was called",
            (xs[:-1], "The last input has had no step."),
            (xs[1:], "The first input has had no step."),
            (xs[::-1], "The steps go from the first input to the last."),
            (
                lambda asked: asked[:1] == [1.0],
                "The step was given the state first. It is called as step(x, h).",
            ),
            hint="Call the step once for each x, in order.",
        )
        expect(
            [h for _, h in seen],
            [1.0, *states][:n],
            f"{case}: the states that the step was given",
            ([1.0] * n, _CARRY),
            hint=_CARRY,
        )
        expect(
            found[0],
            outputs,
            f"{case}: the outputs",
            (states, "Those are the states. The step returns the output first."),
            ([1.0, *outputs], "The first state is no output: begin with an empty list."),
            (outputs[-1:], "All outputs are asked for, not the last one alone."),
            hint="Append the output of each step to the list.",
        )
        expect(
            found[1],
            h,
            f"{case}: the last state",
            (1.0, "That is the state with which it began."),
            (states, "The last state is asked for, not all of them."),
            hint="The last state is what the last step has left.",
        )


GRAPHS = [
    ("Elman's network", {"sum": [("x", 0), ("h", 1)], "h": [("sum", 0)]}),
    ("a network without memory", {"sum": [("x", 0)], "y": [("sum", 0)]}),
    ("a network that looks back by 1 and by 3", {"h": [("x", 0), ("h", 1), ("h", 3)]}),
    ("an LSTM", {"gates": [("x", 0), ("h", 1)], "c": [("gates", 0), ("c", 1)], "h": [("gates", 0), ("c", 0)]}),
]  # fmt: skip


@exercise("unroll-a-graph", "4 networks, with 1, 3 and 5 steps")
def unroll_a_graph(unrolled: Function) -> None:
    for name, graph in GRAPHS:
        for steps in (3, 1, 5):
            _compare(f"{name}, {steps} steps", graph, steps, unrolled(dict(graph), steps))


def _compare(case: str, graph: dict[str, Any], steps: int, found: Any) -> None:
    """Raise `Wrong` unless the graph is unrolled."""
    if not isinstance(found, dict):
        raise Wrong(
            f"{case}: found {type(found).__name__}.", "Return a dict from pairs to lists of pairs."
        )
    nodes = {(name, t) for t in range(steps) for name in graph}
    if found.keys() != nodes:
        more, less = sorted(found.keys() - nodes, key=str), sorted(nodes - found.keys(), key=str)
        what = f"{more[0]} should not be there" if more else f"{less[0]} is missing"
        raise Wrong(
            f"{case}: the node {what}.",
            f"There is a node (name, t) for each name that is computed, and t from 0 to {steps - 1}.",
        )
    for name, t in sorted(nodes, key=lambda node: (-node[1], node[0])):
        sources = graph[name]
        pairs = [(source, t - delay) for source, delay in sources]
        expect(
            [tuple(pair) for pair in found[name, t]],
            pairs,
            f"{case}: what {(name, t)} is made from",
            (lambda found, pairs=pairs: len(found) == len(pairs) and all(pair in found for pair in pairs), "The pairs are right, and in another order than the sources have. A set has no order: take a list."),
            ([], "The list is empty: for each source of the folded graph, a pair."),
            ([(source, max(t - delay, 0)) for source, delay in sources], "What comes from before the first step has a negative t: it is the first state, and not step 0."),
            ([(source, t) for source, _ in sources], "The delay is left out, and so the cycle is still there."),
            ([(source, t + delay) for source, delay in sources], "A delay leads back in time, to a smaller t: the future is not known yet."),
            ([(source, t - delay) for source, delay in sources if delay <= t], "What comes from before the first step belongs to the list too, with a negative t."),
            ([(source, t - bool(delay)) for source, delay in sources], "A delay may be larger than 1: go back by as many steps."),
            hint="A source with the delay d comes from the step t - d.",
        )  # fmt: skip


@exercise("reach", "5 sequences, against the slope found by trying")
def reach(reach: Function) -> None:
    for w, xs, first in (
        (1.5, [0.9, -1.2, 0.3, 0.05], 0.0),
        (0.5, [0.2], 0.4),
        (-1.1, [0.3, 0.1, -0.4], -0.6),
        (2.0, [0.1, 0.0, 0.2, -0.1, 0.3, 0.1], 0.05),
        (0.7, [], 0.3),
    ):
        states, h = [], first
        for x in xs:
            h = math.tanh(w * h + x)
            states.append(h)
        before = [first, *states[:-1]] if states else []
        n = len(xs)

        expect(
            reach(w, list(xs), first),
            math.prod(w * (1 - s * s) for s in states),
            f"w = {w}, {n} inputs",
            (0.0, "Begin with 1, and multiply by what each step passes on."),
            (math.prod(w * (1 - h * h) for _ in xs), "That uses the last state in every step. Each step has its own."),
            (math.prod(w * (1 - s * s) for s in before), "The tanh of a step gave the new state: take h after the line with tanh, not before."),
            (math.prod(1 - s * s for s in states), "w is missing: the state is multiplied by it in each step."),
            (w * math.prod(1 - s * s for s in states), "w is used in every step, so it comes in as often as there are steps."),
            (w**n, "The slope of tanh is missing: 1 - h * h, in each step."),
            (sum(w * (1 - s * s) for s in states), "Along a chain the factors are multiplied, not added."),
            (1 + sum(w * (1 - s * s) for s in states), "Along a chain the factors are multiplied, not added."),
            (h, "That is the last state itself."),
            hint="Each step multiplies by w * (1 - h * h), with the h that it has computed.",
        )  # fmt: skip
