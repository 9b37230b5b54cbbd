from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import tinygrad_rnn as tg

from .mistakes import Mistake

running = itertools.count()


class Node:
    def __init__(self, value, inputs=(), rules=()):
        self.value, self.inputs, self.rules = value, inputs, rules
        self.index = next(running)

    def __add__(self, other):
        return Node(self.value + other.value, (self, other), (lambda g: g, lambda g: g))

    def __mul__(self, other):
        rules = (lambda g: g * other, lambda g: g * self)
        return Node(self.value * other.value, (self, other), rules)


def backward(root):
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += node.inputs
    gradients = {root: Node(1.0)}
    for node in sorted(seen, key=lambda node: -node.index):
        for source, rule in zip(node.inputs, node.rules, strict=True):
            given = rule(gradients[node])
            gradients[source] = gradients[source] + given if source in gradients else given
    return gradients


def tanh(hint, rule):
    def function(a):
        out = Node(math.tanh(a.value), (a,), (lambda g: rule(g, a, out),))
        return out

    return Mistake("a-rule-that-records", hint, Node, backward, function)


minus = Node(-1.0)


def table(f, x):
    return tg.hessian(f)(x).numpy()


def through(seed):
    """The gradient by the rate of `seed(loss, w, rate, gradient)`."""

    def by_the_rate(loss, w, rate):
        return tg.grad(lambda rate: seed(loss, w, rate, tg.grad(loss)(w)))(rate)

    return by_the_rate


MISTAKES = [
    tanh("which leave no trace", lambda g, a, out: Node(g.value * (1 - out.value**2))),
    tanh("which leave no trace", lambda g, a, out: g * Node(1 - out.value**2)),
    tanh("multiply by 1 - tanh²", lambda g, a, out: g),
    tanh("the square is missing", lambda g, a, out: g + g * out * minus),
    tanh("The sign", lambda g, a, out: g + g * out * out),
    tanh("g itself is missing", lambda g, a, out: g * out * out),
    tanh("not what went in", lambda g, a, out: g + g * a * a * minus),
    tanh("has to return a Node", lambda g, a, out: 1 - out.value**2),
    tanh("the g that arrives", lambda g, a, out: Node(1.0) + out * out * minus),
    tanh("A g is missing", lambda g, a, out: g + out * out * minus),
    Mistake("a-rule-that-records", "with a comma", Node, backward, lambda a: Node(math.tanh(a.value), (a,), lambda g: g)),
    Mistake("a-rule-that-records", "Return a Node", Node, backward, lambda a: math.tanh(a.value)),
    Mistake("times-hessian", "Call it at x", lambda f, x, v: tg.grad(lambda z: (tg.grad(f)(z) * v).sum())),
    Mistake("times-hessian", "as slopes by trying are", lambda f, x, v: (tg.grad(f)(x + 1e-3 * v) - tg.grad(f)(x)) / 1e-3),
    Mistake("times-hessian", "a whole step v", lambda f, x, v: tg.grad(f)(x + v) - tg.grad(f)(x)),
    Mistake("times-hessian", "Let z be the argument", lambda f, x, v: x),
    Mistake("by-the-rate", "`after` returns", lambda f, w, r: f(w) * 7),
    Mistake("times-hessian", "so that it is one number", lambda f, x, v: tg.grad(f)(x) * v),
    Mistake("times-hessian", "slope along v", lambda f, x, v: (tg.grad(f)(x) * v).sum()),
    Mistake("times-hessian", "differentiated once more", lambda f, x, v: tg.grad(f)(x)),
    Mistake(
        "times-hessian",
        "v is missing",
        lambda f, x, v: tg.grad(lambda z: tg.grad(f)(z).sum())(x),
    ),
    Mistake(
        "times-hessian",
        "and not afterwards",
        lambda f, x, v: tg.grad(lambda z: tg.grad(f)(z).sum())(x) * v,
    ),
    Mistake("times-hessian", "the diagonal", lambda f, x, v: np.diag(table(f, x)) * v),
    Mistake("times-hessian", "its product with v", lambda f, x, v: tg.hessian(f)(x)),
    Mistake("times-hessian", "one number; H v", lambda f, x, v: v @ table(f, x) @ v),
    Mistake(
        "times-hessian",
        "taken at a constant",
        lambda f, x, v: tg.grad(lambda z: (tg.grad(f)(x) * v).sum() + 0.0 * z.sum())(x),
    ),
    Mistake("by-the-rate", "The rate changes nothing", through(lambda f, w, r, g: f(w) + 0 * r)),
    Mistake("by-the-rate", "goes downhill", through(lambda f, w, r, g: f(w + r * g))),
    Mistake("by-the-rate", "The sign", lambda f, w, r: -through(lambda f, w, r, g: f(w - r * g))(f, w, r)),
    Mistake("by-the-rate", "the slope at rate 0", lambda f, w, r: -(tg.grad(f)(w) ** 2).sum()),
    Mistake("by-the-rate", "is one number", lambda f, w, r: tg.grad(f)(w - r * tg.grad(f)(w))),
    Mistake("by-the-rate", "the loss after the step: its", lambda f, w, r: f(w - r * tg.grad(f)(w))),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_hint_fits(mistake: Mistake, capsys: pytest.CaptureFixture[str]) -> None:
    mistake.meets_its_hint(capsys)
