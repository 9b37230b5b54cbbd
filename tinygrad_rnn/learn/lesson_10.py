"""The exercises of lesson 10: gradients of gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .exercise import Function, Wrong, exercise, expect, same

_NUMBERS = "The rule computes with numbers (.value), which leave no trace. Compute with the nodes g and out."


@exercise(
    "a-rule-that-records",
    "the first three derivatives, at 3 points, and of tanh inside of a product",
)
def a_rule_that_records(node: Function, backward: Function, tanh: Function) -> None:
    for x in (0.3, -1.2, 0.0):
        y = math.tanh(x)
        d = 1 - y * y
        right = [y, d, -2 * y * d, d * (6 * y * y - 2)]
        a = node(x)
        out = tanh(a)
        if out is not None and not hasattr(out, "value"):
            raise Wrong(f"tanh at {x:g}: found a {type(out).__name__}.", "Return a Node.")
        expect(getattr(out, "value", out), y, f"tanh at {x:g}")
        if callable(out.rules):
            raise Wrong(
                f"tanh at {x:g}: its rules are a function.",
                "The rules are a tuple with one for each input, also if there is one: (lambda g: ...,) with a comma.",
            )
        for order in (1, 2, 3):
            gradients = backward(out)
            case = f"derivative {order} of tanh at {x:g}"
            if a not in gradients:
                raise Wrong(
                    f"{case}: nothing leads from it to a.",
                    _NUMBERS
                    if order > 1
                    else "The input of the new node is a: without it nobody can walk back.",
                )
            out = gradients[a]
            if not hasattr(out, "value"):
                raise Wrong(
                    f"{case}: found a {type(out).__name__}.", "A rule has to return a Node."
                )
            expect(
                out.value,
                right[order],
                case,
                (d, "The rule has to multiply by the g that arrives."),
                (1.0, "The rule passes g on unchanged; it has to multiply by 1 - tanh²."),
                (1 - y, "The derivative is 1 - tanh²: the square is missing."),
                (1 + y * y, "The sign: g and -g * out * out are added."),
                (y * y, "g itself is missing: g - g * out * out."),
                (1 - x * x, "1 - tanh²: square the result, and not what went in."),
                (
                    -2 * y - y * y,
                    "A g is missing: from g, g times the square is taken off. (A g of 1 hides that in the first derivative.)",
                ),
                hint="The rule is g - g * out * out, where the minus is a product with Node(-1.0)."
                if order == 1
                else "The first derivative is right. Compute with the nodes g and out alone.",
            )
    a = node(0.5)
    y = math.tanh(0.5)
    first = backward(tanh(a) * a)[a]
    found = backward(first)[a].value
    d = 1 - y * y
    expect(
        found,
        2 * d - 2 * y * d * 0.5,
        "the second derivative of tanh(a) * a at 0.5",
        hint="The rule has to multiply by the g that arrives.",
    )


def _quadratic(x: Any) -> Any:
    return (x * (np.array([[2.0, 1.0, 0.0], [0.0, 3.0, -1.0], [1.0, 0.0, 1.0]]) @ x)).sum()


FUNCTIONS: list[tuple[str, Function]] = [
    ("xᵀ A x", _quadratic),
    ("the sum of tanh(x) ** 2", lambda x: (tg.tanh(x) ** 2).sum()),
    ("the product of all x", tg.prod),
]


@exercise("times-hessian", "3 functions, against the whole Hessian of the engine")
def times_hessian(times_hessian: Function) -> None:
    rng = np.random.default_rng(10)
    for name, f in FUNCTIONS:
        x, v = tg.tensor(rng.uniform(0.5, 1.5, 3)), rng.standard_normal(3)
        table = tg.hessian(f)(x).numpy()
        gradient = tg.grad(f)(x).numpy()
        expect(
            times_hessian(f, x, v),
            table @ v,
            f"f = {name}, x and v of 3 numbers",
            (gradient * v, "That is the gradient times v. Sum it, so that it is one number, and take its gradient in turn."),
            ((gradient * v).sum(), "That is the slope along v, one number. Take its gradient by x."),
            (gradient, "That is the gradient itself: it has to be differentiated once more."),
            (table.sum(0), "v is missing: weight the gradient by v before you sum."),
            (table.sum(0) * v, "Weight by v before you sum, and not afterwards: (gradient * v).sum()."),
            (np.diag(table) * v, "That is the diagonal of the Hessian alone, times v."),
            (table, "That is the whole Hessian; its product with v is asked for."),
            (np.zeros(3), "The inner gradient was taken at a constant, so nothing depends on x any more: take it at the argument of the outer function."),
            (v @ table @ v, "That is vᵀ H v, one number; H v is asked for."),
            (callable, "You return a function. Call it at x."),
            (lambda found, right=table @ v: same(found, right, 1e-2), "That is near, as slopes by trying are. Take the gradient of (gradient * v).sum(), which is exact."),
            (tg.grad(f)(x + v).numpy() - gradient, "That is the change over a whole step v. The derivative is asked for: take the gradient of (gradient * v).sum()."),
            hint="Let z be the argument of a function that returns (tg.grad(f)(z) * v).sum(), and take its gradient at x.",
        )  # fmt: skip


@exercise("by-the-rate", "3 losses, against the slope found by trying")
def by_the_rate(by_the_rate: Function) -> None:
    for (name, loss), start, rate in zip(FUNCTIONS, ([1.0, -0.5, 0.3], [0.5, 1.0, -1.0], [1.2, 0.8, 1.1]), (0.05, 0.3, 0.2), strict=True):  # fmt: skip
        w = tg.tensor(np.array(start))
        g = tg.grad(loss)(w)
        after = tg.grad(loss)(w - rate * g).numpy()
        before = g.numpy()
        expect(
            by_the_rate(loss, w, tg.tensor(rate, dtype=np.float64)),
            -(after @ before),
            f"the loss {name}, rate {rate}",
            (0.0, "The rate changes nothing in yours: take the loss after the step, at w - rate * gradient, with the rate that `after` is given."),
            (after @ before, "The sign is the other way round: the step goes against the gradient."),
            (-(before @ before), "That is the slope at rate 0. Take the loss at w - rate * gradient with the rate that is given."),
            (tg.grad(loss)(w + rate * g).numpy() @ before, "The step goes downhill: w - rate * gradient."),
            (after, "That is the gradient by w after the step; the derivative by the rate is one number."),
            (loss(w - rate * g), "That is the loss after the step: its derivative by the rate is asked for."),
            hint="`after` returns the loss at w - rate * tg.grad(loss)(w); tg.grad of it is taken at the rate that is given.",
        )  # fmt: skip
