"""Random steps of products, plain and compiled: batched, contracted, convolved.

Operands have their axes in any order, the batch among them; weights have leading axes or none, are
shared or not, and a product may have two or three operands, of which some vary. Batches of one row,
of a few and of more than a tile; lengths and resets.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tests.interpreted import interpreting

WIDTH = 24  # features of state and input
NEAR = 1e-10


class Step(tg.Cell):
    """One to three products of state and input, and what is made of them."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.rng, self.hidden_size = rng, WIDTH
        self.said: list[str] = []
        makers = (self._einsum, self._matmul, self._convolution, self._whole)
        count = int(rng.integers(1, 4))
        made = [makers[rng.choice(4, p=(0.45, 0.25, 0.2, 0.1))]() for _ in range(count)]
        self.terms = [term for term, _ in made]
        self.outs = [self.weight(size, WIDTH) for _, size in made]
        self.bias = self.weight(WIDTH)

    def weight(self, *shape: int) -> tg.Parameter:
        """Return a weight, which has a name of its own."""
        made = tg.Parameter(self.rng.normal(size=shape) / math.sqrt(max(math.prod(shape[-2:]), 1)))
        setattr(self, f"w{len(list(self.parameters()))}", made)
        return made

    def initial_state(self, batch: int, dtype: Any = None) -> Any:
        return tg.tensor(np.zeros((batch, WIDTH)))

    def forward(self, x: Any, h: Any) -> Any:
        total: Any = self.bias
        for term, out in zip(self.terms, self.outs, strict=True):
            found = term(x, h)
            total = total + found.reshape((x.shape[0], -1)) @ out
        h = tg.tanh(total)
        return h, h

    # --- operands and products --------------------------------------------------------------------

    def _moving(self, shape: tuple[int, ...]) -> Callable[[Any, Any], Any]:
        """Return a function of input and state, to a value of this shape behind the batch."""
        kind, size = int(self.rng.integers(3)), math.prod(shape)
        begin = int(self.rng.integers(WIDTH - size + 1))

        def made(x: Any, h: Any) -> Any:
            source = (x, h, x * h)[kind]
            return source[:, begin : begin + size].reshape((x.shape[0], *shape))

        return made

    def _sizes(self, labels: str, most: int) -> dict[str, int]:
        sizes = {
            label: int(self.rng.choice((1, 2, 3, 5), p=(0.15, 0.4, 0.3, 0.15))) for label in labels
        }
        while math.prod(sizes.values()) > most:
            sizes[max(sizes, key=lambda label: sizes[label])] -= 1
        return sizes

    def _subset(self, labels: str, least: int = 0) -> str:
        count = int(self.rng.integers(least, len(labels) + 1))
        return "".join(self.rng.permutation(list(labels))[:count])

    def _einsum(self) -> tuple[Any, int]:
        rng = self.rng
        labels = "acde"[: int(rng.integers(2, 5))]
        sizes = self._sizes(labels, WIDTH)
        count = int(rng.integers(2, 4))
        moves = [k == 0 or bool(rng.random() < 0.45) for k in range(count)]
        terms = [self._subset(labels + ("b" if m else ""), 1) for m in moves]
        terms = [t if "b" in t or not m else t + "b" for t, m in zip(terms, moves, strict=True)]
        kept = self._subset("".join(sorted({c for t in terms for c in t if c != "b"})))
        result = "".join(rng.permutation(list(kept + "b")))
        order = [int(k) for k in rng.permutation(count)]
        subscripts = f"{','.join(terms[k] for k in order)}->{result}"
        operands = []
        for term, moving in zip(terms, moves, strict=True):
            shape = tuple(sizes[c] for c in term if c != "b")
            if moving:
                found, at = self._moving(shape), term.index("b")
                axes = (*range(1, at + 1), 0, *range(at + 1, len(term)))
                operands.append(lambda x, h, f=found, a=axes: tg.transpose(f(x, h), a))
            else:
                weight = self.weight(*shape)
                operands.append(lambda x, h, w=weight: w)
        self.said.append(f"einsum {subscripts} {sizes}")

        def term(x: Any, h: Any) -> Any:
            found = tg.einsum(subscripts, *[operands[k](x, h) for k in order])
            at = result.index("b")
            return tg.transpose(found, (at, *(k for k in range(len(result)) if k != at)))

        return term, math.prod(sizes[c] for c in kept)

    def _matmul(self) -> tuple[Any, int]:
        rng = self.rng
        lead = tuple(int(n) for n in rng.integers(1, 4, size=int(rng.integers(0, 3))))
        n, k, m = (int(n) for n in rng.integers(1, 4, size=3))
        lead = lead if math.prod((*lead, n, k)) <= WIDTH else ()
        moving = self._moving((*lead, n, k))
        shared = tuple(int(rng.choice((1, c))) for c in lead)[int(rng.integers(len(lead) + 1)) :]
        own, swapped = bool(rng.random() < 0.3), bool(rng.random() < 0.3)
        self.said.append(f"matmul {lead}, {n, k, m}, weight {shared}, {own=}, {swapped=}")
        if own and math.prod((*lead, k, m)) <= WIDTH:  # the matrix of each row is its own
            other = self._moving((*lead, k, m))
            return lambda x, h: moving(x, h) @ other(x, h), math.prod((*lead, n, m))
        if swapped:
            weight = self.weight(*shared, m, n)
            return lambda x, h: weight @ moving(x, h), math.prod((*lead, m, k))
        weight = self.weight(*shared, k, m)
        bias = self.weight(*lead, 1, m) if rng.random() < 0.5 else 0.0
        if rng.random() < 0.5:  # a sum of two products
            second, more = self._moving((*lead, n, k)), self.weight(*shared, k, m)
            return (
                lambda x, h: second(x, h) @ more + (moving(x, h) @ weight + bias),
                math.prod((*lead, n, m)),
            )
        return lambda x, h: moving(x, h) @ weight + bias, math.prod((*lead, n, m))

    def _whole(self) -> tuple[Any, int]:
        """Return a product of whole rows with stacked matrices, as for all gates at once."""
        count, m = int(self.rng.integers(1, 5)), int(self.rng.integers(1, 5))
        weight, which = self.weight(count, WIDTH, m), int(self.rng.integers(2))
        bias = self.weight(count, 1, m) if self.rng.random() < 0.5 else 0.0
        self.said.append(f"stacked {count, m}")

        def term(x: Any, h: Any) -> Any:
            first = (x if which else h) @ weight + bias
            return tg.transpose(first, (1, 0, 2))

        return term, count * m

    def _convolution(self) -> tuple[Any, int]:
        rng = self.rng
        groups, inner = (int(n) for n in rng.integers(1, 3, size=2))
        channels, two = groups * inner, bool(rng.random() < 0.5)
        room = WIDTH // channels
        length = (int(rng.integers(2, 4)), room // 3) if two and room >= 6 else (room,)
        size = tuple(int(rng.integers(1, min(n, 3) + 1)) for n in length)
        stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, 2))
        out = groups * int(rng.integers(1, 3))
        moving = self._moving((channels, *length))
        weight = self.weight(out, inner, *size)
        bias = self.weight(out) if rng.random() < 0.5 else None
        convolve = tg.conv2d if len(length) == 2 else tg.conv1d
        settings = {"stride": stride, "padding": padding, "groups": groups}
        self.said.append(f"convolution {channels}x{length} with {out}x{size}, {settings}")
        places = [(n + 2 * padding - s) // stride + 1 for n, s in zip(length, size, strict=True)]

        def term(x: Any, h: Any) -> Any:
            return convolve(moving(x, h), weight, bias, **settings)

        return term, out * math.prod(places)


class Case:
    """A step with inputs, and how it is run."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 71])
        self.seed, self.step = seed, Step(rng)
        self.batch, steps = int(rng.choice((1, 5, 33))), int(rng.integers(1, 5))
        self.xs = rng.normal(size=(steps, self.batch, WIDTH))
        self.start = rng.normal(size=(self.batch, WIDTH)) if rng.random() < 0.5 else None
        self.given: dict[str, Any] = {}
        if rng.random() < 0.3:
            self.given["lengths"] = rng.integers(1, steps + 1, size=self.batch)
        elif rng.random() < 0.3:
            self.given["resets"] = rng.random((steps, self.batch)) < 0.3
        self.weights = rng.normal(size=(steps, self.batch, WIDTH))

    def run(self, step: Any) -> list[tuple[str, Any]]:
        """Return outputs and all gradients, each with a name."""
        xs = tg.tensor(self.xs, requires_grad=True)
        start = None if self.start is None else tg.tensor(self.start, requires_grad=True)
        ys, last = tg.unroll(step, xs, start, **self.given)
        ((ys * self.weights).sum() + tg.square(last).sum()).backward()
        found = [("outputs", ys.numpy()), ("last state", last.numpy())]
        given = {"x": xs, **({} if start is None else {"start": start})}
        for name, t in [*given.items(), *self.step.named_parameters()]:
            found.append((f"d {name}", np.zeros(t.shape) if t.grad is None else t.grad.numpy()))
            t.grad = None
        return found

    def __str__(self) -> str:
        given = {name: np.asarray(v).tolist() for name, v in self.given.items()}
        products = "\n".join(self.step.said)
        return f"seed {self.seed}: {products}\nbatch {self.batch}, {len(self.xs)} steps, {given}"


def case(seed: int, *, compiled: bool) -> str:
    """Run one random step plain and compiled, see `cells.case`."""
    one = Case(seed)
    expected = one.run(one.step)
    with contextlib.nullcontext() if compiled else interpreting():
        fast = tg.jit(one.step)
        try:
            found = one.run(fast)
            str(fast.source()), str(fast.explain())
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{one}") from error
    for (name, a), (_, b) in zip(expected, found, strict=True):
        scale = max(float(np.max(np.abs(a), initial=0.0)), 1.0)
        assert a.shape == b.shape, f"{name}: {a.shape} and {b.shape}\n{one}"
        far = float(np.max(np.abs(a - b), initial=0.0))
        assert far <= NEAR * scale, f"{name} is {far} from plain\n{one}"
    return "equal"


def cases(first: int, count: int, *, compiled: bool) -> Iterator[tuple[int, str]]:
    """The kinds of several cases."""
    for seed in range(first, first + count):
        yield seed, case(seed, compiled=compiled)
