"""Random training steps: `tg.jit` of one does what the step does without it, call by call, or refuses.

A program is a list of statements, written out as Python: losses of modules and sequences, with masks
and lengths; `backward`, `zero_grad`, changes of `.grad`, clipping, optimisers, schedules. It is
called some times, and between the calls settings, parameters and gradients are changed. Results,
parameters, gradients, the states of optimisers and of generators have to be the same each time.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.core.tree import leaves

nn, optim = tg.nn, tg.optim
T, BATCH, SIZE, CALLS = 4, 3, 3, 4

CELLS = ["Elman", "GRU", "LSTM"]
WRAPPERS = ["{}", "nn.Zoneout({}, 0.3, rng=5)", "nn.VariationalDropout({}, input=0.3, rng=6)"]
RULES = [
    "optim.SGD({}, lr=0.05, momentum=0.9)",
    "optim.Adam({}, lr=0.02)",
    "optim.AdamW({}, lr=0.02)",
    "optim.RMSprop({}, lr=0.01, centered=True)",
    "optim.Adagrad({}, lr=0.05, weight_decay=0.1)",
]
VALUES = [
    "m(x[0])",
    "tg.tanh(m(x[1]))",
    "d(m(x[2]))",
    "tg.unroll(c, x)[0]",
    "tg.unroll(c, x, lengths=n)[0]",
    "tg.unroll(c, x, reverse=True)[0]",
    "tg.unroll(c, x, checkpoint=2)[0]",
    "tg.unroll(c, d(x), lengths=n)[0]",
    "layer(x)[0]",
    "layer(x, lengths=n)[0]",
    "(w * w).sum()",
    "nn.dropout(x * w, 0.3, rng=g)",
]
STATEMENTS = [
    "o.zero_grad()",
    "o.zero_grad()",
    "q.zero_grad()",
    "w.grad = None",
    "loss = ({v} ** 2).mean() + ({v} * 0.3).sum()",
    "loss = ({v} ** 2).mean()",
    "loss = loss + ({v} ** 2).sum() * 0.1",
    "loss.backward()",
    "loss.backward()",
    "loss.backward(retain_graph=True)",
    "({v} ** 2).mean().backward()",
    "said.append(tg.clip_grad_norm(ps, 0.5))",
    "tg.clip_grad_value(ps, 0.1)",
    "o.step()",
    "o.step()",
    "q.step()",
    "s.step()",
    "w.grad = None if w.grad is None else w.grad * 0.5",
    "said.append((w.grad ** 2).sum() if w.grad is not None else 0.0)",
    "said.append(w * 2.0)",
    "said.append(tg.grad(lambda w: ((w * m(x * w).sum()) ** 2).mean())(w))",
]
CHANGES = [
    "pass",
    "o.lr = 0.01",
    "q.lr = 0.03",
    "c.eval()",
    "c.train(); d.train()",
    "d.eval()",
    "w.data = w.numpy() * 0.5",
    "m.weight.data = m.weight.numpy() + 0.1",
    "m.zero_grad()",
    "w.grad = tg.tensor(np.ones(SIZE))",
    "o.load_state_dict(o.state_dict())",
    "w.requires_grad = not w.requires_grad; w.grad = None",
]


class Step:
    """The program of a seed."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = np.random.default_rng(seed)

        def one(of: list[str]) -> str:
            return of[rng.integers(len(of))]

        self.cell = one(WRAPPERS).format(f"tg.cells.{one(CELLS)}(SIZE, 4, rng=1, dtype=np.float64)")
        if rng.random() < 0.5:
            self.cell = f"tg.jit({self.cell})"
        self.rules = one(RULES), one(RULES)
        body = ["loss = (m(x[0]) ** 2).mean()"] if rng.random() < 0.7 else []
        body += ["o.zero_grad()", "q.zero_grad()"] if rng.random() < 0.7 else []
        for _ in range(rng.integers(2, 8)):
            text = one(STATEMENTS)
            while "{v}" in text:
                text = text.replace("{v}", one(VALUES), 1)
            body.append(text)
        self.body = ["loss = (w * x[0]).sum()", *body]
        self.changes = [one(CHANGES) for _ in range(CALLS)]

    @property
    def text(self) -> str:
        """The program, to be read in a report."""
        lines = [f"c = {self.cell}; o = {self.rules[0]}; q = {self.rules[1]}", "def f(x, n, said):"]
        return "\n".join([*lines, *(f"    {b}" for b in self.body), "    return loss, said",
                          *(f"# then {c}" for c in self.changes)])  # fmt: skip

    def outcome(self, compiled: bool) -> list[Any]:
        """What comes out of each call, or the kind of the error that ends the calls."""
        space: dict[str, Any] = {**globals(), "g": np.random.default_rng(4)}
        space["m"] = nn.Linear(SIZE, 2, rng=1, dtype=np.float64)
        space["layer"] = nn.GRU(SIZE, 4, num_layers=2, dropout=0.2, rng=2, dtype=np.float64)
        space["d"], space["c"] = nn.Dropout(0.3, rng=3), eval(self.cell, space)
        space["w"] = tg.tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)
        first = [space["w"], *space["m"].parameters()]
        second = [*space["c"].parameters(), *space["layer"].parameters()]
        for name, rule, ps in (("o", 0, first), ("q", 1, second)):
            space["held"] = ps
            space[name] = eval(self.rules[rule].format("held"), space)
        space["ps"] = [*first, *second]
        space["s"] = optim.Schedule(space["o"], optim.exponential_decay(0.05, 0.9))
        body = ["def f(x, n):", "    said = []", *(f"    {b}" for b in self.body), "    return loss, said"]  # fmt: skip
        exec("\n".join(body), space)
        run = tg.jit(space["f"]) if compiled else space["f"]
        rng, found = np.random.default_rng(7), []
        for change in self.changes:
            x, n = tg.tensor(rng.normal(size=(T, BATCH, SIZE))), rng.integers(1, T + 1, BATCH)
            try:
                loss, said = run(x, n)
            except (tg.TinygradError, TypeError) as error:
                return [*found, error]
            state = [loss, said, space["o"].state_dict(), space["q"].state_dict(), space["o"].lr]
            grads = [p.grad for p in space["ps"]]
            drawn = space["g"].bit_generator.state["state"]["state"] % 2**31
            found.append([*map(_array, [*leaves(state), *space["ps"], drawn]), *map(_array, grads)])
            exec(change, space)
        return found


def _array(x: Any) -> Any:
    if x is None:
        return None
    return np.asarray(x.numpy() if isinstance(x, tg.Tensor) else x, np.float64).copy()


def case(seed: int, *, compiled: bool) -> str:
    """One program; "refused" if `tg.jit` refuses it, "invalid" if it fails without that too."""
    step = Step(seed)
    with tg.eager():
        expected = step.outcome(False)
    with contextlib.nullcontext() if compiled else interpreting():
        found = step.outcome(True)
    if isinstance(found[-1], Exception) or isinstance(expected[-1], Exception):
        here, there = (isinstance(f[-1], Exception) for f in (found, expected))
        assert here or not there, (
            f"seed {seed}\n{step.text}\nplain: {expected[-1]!r}; compiled: no error"
        )
        kind = "invalid" if there else "refused"
        found, expected = found[:-1], expected[: len(found) - 1]
    else:
        kind = "equal"
    for k, (call, reference) in enumerate(zip(found, expected, strict=False)):
        assert len(call) == len(reference), f"seed {seed}, call {k}\n{step.text}"
        for i, (a, b) in enumerate(zip(call, reference, strict=True)):
            same = (a is None) == (b is None)
            same = same and (a is None or np.allclose(a, b, rtol=1e-8, atol=1e-10))
            assert same, f"seed {seed}, call {k}, value {i}: {a} in place of {b}\n{step.text}"
    return kind
