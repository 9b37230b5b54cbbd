"""The exercises of lesson 11: a cell of your own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .exercise import Function, Wrong, exercise, expect


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _gradients(step: Function, cell: Any, xs: Any, h: Any) -> list[Any]:
    """Return the gradients of a loss by the parameters of a cell, whose step is called three times."""
    for parameter in cell.parameters():
        parameter.grad = None
    total: Any = 0.0
    for x in xs:
        y, h = step(tg.tensor(x), h)
        total = total + (y * y).sum()
    total.backward()
    return [None if p.grad is None else p.grad.numpy() for p in (cell.W, cell.U, cell.b)]


@exercise("a-cell-of-your-own", "one step and three, and the gradients of all parameters")
def a_cell_of_your_own(cell_class: Function) -> None:
    if not isinstance(cell_class, type):
        raise Wrong(
            f"found a {type(cell_class).__name__}.",
            "Hand over the class, and not a cell made of it.",
        )
    cell: Any = cell_class(3, 4)
    rng = np.random.default_rng(11)
    cell.b.data = rng.standard_normal(8).astype(np.float32)
    W, U, b = (p.numpy() for p in (cell.W, cell.U, cell.b))
    xs = rng.standard_normal((3, 2, 3)).astype(np.float32)
    h = rng.standard_normal((2, 4)).astype(np.float32)
    a = xs[0] @ W + h @ U + b
    u, c = _sigmoid(a[:, :4]), np.tanh(a[:, 4:])
    found = cell.forward(tg.tensor(xs[0]), tg.tensor(h))
    if not isinstance(found, tuple) or len(found) != 2:
        raise Wrong(
            "one step: forward returned nothing."
            if found is None
            else f"one step: forward returned a {type(found).__name__}.",
            "A step returns two things: the output, and the new state.",
        )
    no_bias = xs[0] @ W + h @ U
    mistakes = (
        (h, "The state is unchanged: the equations give a new one."),
        ((1 - u) * h + u * c, "The parts are the wrong way round: u is the part of the old state that stays."),
        (u * h + (1 - u) * a[:, 4:], "The candidate goes through tanh."),
        (a[:, :4] * h + (1 - a[:, :4]) * c, "The gate goes through the sigmoid: it lies between 0 and 1."),
        (u * h + c, "The candidate is weighted by 1 - u."),
        (u * h + (1 - a[:, :4]) * c, "1 - u is made of the sum, and not of its sigmoid."),
        (a[:, :4] * h + (1 - u) * c, "u * h is made of the sum, and not of its sigmoid."),
        (_mixed_by(np.tanh(a[:, :4]), c, h), "The gate goes through the sigmoid: it lies between 0 and 1."),
        (c, "The output is the new state: u * h + (1 - u) * c."),
        ((1 - u) * c, "u * h, what stays of the old state, is missing."),
        (u * c + (1 - u) * h, "The parts are the wrong way round: u is the part of the old state that stays."),
        (_mixed(a[:, 4:], a[:, :4], h), "The first half is the gate, the second the candidate."),
        (_mixed(no_bias[:, :4], no_bias[:, 4:], h), "The bias b is missing."),
    )  # fmt: skip
    right = u * h + (1 - u) * c
    expect(found[0], right, "the output of one step", *mistakes)
    expect(
        found[1],
        right,
        "the new state of one step",
        (h, "The state that is returned is the old one; return the new one twice."),
    )
    reference = _gradients(lambda x, h: _reference(cell, x, h), cell, xs, tg.tensor(h))
    for name, mine, theirs in zip("WUb", _gradients(cell, cell, xs, tg.tensor(h)), reference, strict=True):  # fmt: skip
        if mine is None:
            raise Wrong(
                f"{name} gets no gradient.",
                "Its array was taken out of the tape: use the parameter itself, without .numpy() or .detach().",
            )
        expect(
            mine,
            theirs,
            f"the gradient of {name} over three steps",
            hint="The values are right, the gradient is not: something is cut from the tape (.detach(), .numpy()).",
        )


def _mixed(gate: Any, candidate: Any, h: Any) -> Any:
    return _mixed_by(_sigmoid(gate), np.tanh(candidate), h)


def _mixed_by(u: Any, c: Any, h: Any) -> Any:
    return u * h + (1 - u) * c


def _reference(cell: Any, x: Any, h: Any) -> Any:
    u, c = tg.split(x @ cell.W + h @ cell.U + cell.b, 2, axis=-1)
    u = tg.sigmoid(u)
    h = u * h + (1 - u) * tg.tanh(c)
    return h, h


@exercise("choose-without-if", "values, gradients, and that it can be recorded")
def choose_without_if(choose: Function) -> None:
    rng = np.random.default_rng(12)
    u, h, c = rng.standard_normal((3, 2, 4)).astype(np.float32)
    u[1, 3] = 0.0  # which is not above 0
    spec = tg.Spec((2, 4), np.dtype(np.float32))
    try:
        tg.trace(choose, spec, spec, spec)
    except (tg.TraceError, tg.ShapeError) as error:
        said = str(error)
        if isinstance(error, tg.ShapeError) and not said.startswith("bool:"):
            raise
        found = said.partition(" (")[0] if isinstance(error, tg.TraceError) else "an if of an array"
        raise Wrong(
            f"it cannot be recorded: {found}.",
            "An if in Python takes one decision for the whole array, when it is recorded. tg.where(condition, a, b) takes one for each element.",
        ) from None
    t = np.tanh(c)
    given = [tg.tensor(a, requires_grad=True) for a in (u, h, c)]
    found = choose(*given)
    expect(
        found,
        np.where(u > 0, t, h),
        "values",
        (
            np.where(u > 0, h, t),
            "The two are the wrong way round: where(condition, then, otherwise).",
        ),
        (np.where(u > 0, c, h), "The new state is tanh(c), not c."),
        ((u > 0) * t, "Where u is not above 0, h stays; now there are zeros."),
        (np.where(h > 0, t, h), "The condition asks about u."),
        (np.where(u >= 0, t, h), "Where u is 0 it is not above 0: > and not >=."),
        (
            t if u.mean() > 0 else h,
            "u.mean() is one number, and decides for all elements at once. Compare u itself.",
        ),
        (
            _mixed_by(_sigmoid(u), h, t),
            "That mixes the two, as a gate does. One of them is to be chosen, for each element.",
        ),
        (h, "h comes back unchanged."),
    )
    if not isinstance(found, tg.Tensor) or found.node is None or not found.node.requires_grad:
        raise Wrong(
            "the result is not on the tape.",
            "It was computed with NumPy: use tg.where and tg.tanh.",
        )
    found.sum().backward()
    for name, tensor, right in (
        ("h", given[1], np.where(u > 0, 0, 1)),
        ("c", given[2], np.where(u > 0, 1 - t * t, 0)),
    ):
        expect(
            np.zeros((2, 4)) if tensor.grad is None else tensor.grad,
            right,
            f"the gradient by {name}",
            hint="The values are right, the gradient is not: something is cut from the tape.",
        )


@exercise("read-the-program", "4 numbers")
def read_the_program(found: Any) -> None:
    if not isinstance(found, Mapping):
        raise Wrong(f"found a {type(found).__name__}.", "Hand over the dict with the four numbers.")
    for name, right, hint, mistakes in (
        ("products forward", 2, "Count the calls of multiply between the comments.", {1: "sums is one sum, but it is made by two products."}),
        ("kept", 3, "Count the rows of the table that is headed 'kept'.", {2: "The states are kept too: they are the inputs of the products.", 4: "The row 'in all' is the sum of the others."}),
        ("products backward", 1, "Look for 'product with a packed matrix' in the table of the backward.", {3: "Two of the products are sunk: they are not made in each step.", 2: "One for the gradient of the state. Is the other one made in each step?"}),
        ("products sunk", 2, "Look for 'gradient product, sunk' in the table of the backward.", {3: "The sum for d_b is sunk too, but it is no product.", 1: "W has a gradient, and so has U."}),
    ):  # fmt: skip
        expect(found.get(name, "nothing"), right, f"{name!r}", *mistakes.items(), hint=hint)
