from __future__ import annotations

import math

import pytest

from .mistakes import Mistake


def unroll(xs=lambda xs: xs, keep=lambda y, h: y, carry=True, last=lambda h, first: h):
    def function(step, inputs, first):
        outputs, h = [], first
        for x in xs(inputs):
            y, new = step(x, h)
            outputs.append(keep(y, new))
            h = new if carry else h
        return outputs, last(h, first)

    return function


def unrolled(time=lambda t, delay: t - delay, steps=range, takes=lambda t, delay: True):
    def function(graph, n):
        return {
            (name, t): [(s, time(t, delay)) for s, delay in sources if takes(t, delay)]
            for t in steps(n)
            for name, sources in graph.items()
        }

    return function


def states_of(w, xs, h):
    states = [h]
    for x in xs:
        states.append(math.tanh(w * states[-1] + x))
    return states


def reach(result):
    return lambda w, xs, h: result(w, states_of(w, xs, h))


def slopes(states):
    return math.prod(1 - s * s for s in states)


MISTAKES = [
    Mistake("unroll-by-hand", "Call the step once", lambda step, xs, h: ([], h)),
    Mistake("unroll-by-hand", "The last input", unroll(lambda xs: xs[:-1])),
    Mistake("unroll-by-hand", "from the first input", unroll(lambda xs: xs[::-1])),
    Mistake("unroll-by-hand", "that the step before has left", unroll(carry=False)),
    Mistake("unroll-by-hand", "Those are the states", unroll(keep=lambda y, h: h)),
    Mistake("unroll-by-hand", "with which it began", unroll(last=lambda h, first: first)),
    Mistake("unroll-by-hand", "step(x, h)", lambda step, xs, h: unroll()(lambda x, h: step(h, x), xs, h)),
    Mistake("unroll-by-hand", "is no output", lambda step, xs, h: ([h, *unroll()(step, xs, h)[0]], h)),
    Mistake("unroll-by-hand", "Return two things", lambda step, xs, h: unroll()(step, xs, h)[0]),
    Mistake("unroll-a-graph", "The list is empty", unrolled(takes=lambda t, delay: False)),
    Mistake("unroll-a-graph", "the cycle is still there", unrolled(lambda t, delay: t)),
    Mistake("unroll-a-graph", "leads back in time", unrolled(lambda t, delay: t + delay)),
    Mistake("unroll-a-graph", "and not step 0", unrolled(lambda t, delay: max(t - delay, 0))),
    Mistake("unroll-a-graph", "belongs to the list", unrolled(takes=lambda t, delay: delay <= t)),
    Mistake("unroll-a-graph", "larger than 1", unrolled(lambda t, delay: t - bool(delay))),
    Mistake("unroll-a-graph", "from 0 to 2", unrolled(steps=lambda n: range(1, n + 1))),
    Mistake("unroll-a-graph", "in another order", lambda graph, n: {node: pairs[::-1] for node, pairs in unrolled()(graph, n).items()}),
    Mistake("unroll-a-graph", "Return a dict", lambda graph, n: list(graph)),
    Mistake("reach", "Begin with 1", reach(lambda w, s: 0.0)),
    Mistake("reach", "Each step has its own", reach(lambda w, s: math.prod([w * (1 - s[-1] ** 2)] * (len(s) - 1)))),
    Mistake("reach", "after the line with tanh", reach(lambda w, s: w ** (len(s) - 1) * slopes(s[:-1]))),
    Mistake("reach", "w is missing", reach(lambda w, s: slopes(s[1:]))),
    Mistake("reach", "as often as there are steps", reach(lambda w, s: w * slopes(s[1:]))),
    Mistake("reach", "The slope of tanh is missing", reach(lambda w, s: w ** (len(s) - 1))),
    Mistake("reach", "not added", reach(lambda w, s: sum(w * (1 - h * h) for h in s[1:]))),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
