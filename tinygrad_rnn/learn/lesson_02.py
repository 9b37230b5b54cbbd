"""The exercises of lesson 2: broadcasting, and its way back."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg

from .exercise import Function, exercise, expect

PAIRS = [
    ((3,), (4, 3)),
    ((4, 1), (4, 3)),
    ((1, 3), (4, 3)),
    ((), (4, 3)),
    ((4, 3), (4, 3)),
    ((2, 1, 3), (5, 2, 4, 3)),
    ((1, 1), (1, 4)),
    ((1, 2), (5, 1, 2)),
]


@exercise("undo-broadcasting", "8 pairs of shapes, and the gradients that the engine has for them")
def undo_broadcasting(undo: Function) -> None:
    rng = np.random.default_rng(2)
    for shape, result in PAIRS:
        g = rng.standard_normal(result)
        operand = tg.tensor(np.zeros(shape), requires_grad=True)
        (operand + np.zeros(result)).backward(g)
        new = tuple(range(len(result) - len(shape)))  # the axes that the operand did not have
        aligned = (*(1 for _ in new), *shape)
        spread = tuple(i for i, size in enumerate(aligned) if i in new or size < result[i])
        expect(
            undo(g.copy(), shape),
            operand.grad,
            f"g of shape {result} for an operand of shape {shape}",
            (
                g,
                "Nothing was summed. "
                + (
                    "The operand did not have all of these axes."
                    if new
                    else "An axis in which the operand had one element, and the result more, is spread too."
                ),
            ),
            (
                g.mean(axis=spread).reshape(shape),
                "Each use of a number counts in full: sum, and do not take the mean.",
            ),
            (
                g.sum(axis=0),
                "You sum along axis 0, whatever the shapes. Align them at their last axes first.",
            ),
            (
                g.sum(axis=spread),
                "The numbers are right. An axis in which the operand had one element stays, with one element: keepdims=True.",
            ),
            hint="Align the shapes at their last axes, and sum where the operand had no axis, or had one element.",
        )


@exercise("mean-of-squares", "both gradients at 3 sizes, against the engine's")
def mean_of_squares(by_hand: Function) -> None:
    rng = np.random.default_rng(3)
    for rows, columns in ((4, 3), (1, 5), (6, 1)):
        x, b = rng.standard_normal((rows, columns)), rng.standard_normal(columns)
        given = [tg.tensor(a, requires_grad=True) for a in (x, b)]
        ((given[0] + given[1]) ** 2).mean().backward()
        right = tuple(t.grad for t in given)
        y = x + b
        n = y.size
        case = f"x of shape {x.shape}, b of shape {b.shape}"
        expect(
            by_hand(x.copy(), b.copy()),
            right,
            case,
            *(
                ((dy, undone), hint)
                for dy, hint in (
                    (
                        2 * y,
                        "The mean hands each element 1/n of what arrives: divide by the number of elements.",
                    ),
                    (y / n, "The derivative of y ** 2 is 2 * y."),
                    (
                        2 * y / rows,
                        "A mean over all elements divides by all of them, and not by the number of rows.",
                    ),
                    (y, "Begin at the end: the mean divides by n, and the square gives 2 * y."),
                )
                for undone in (dy.sum(axis=0), dy)
            ),
            (
                (2 * y / n, 2 * y / n),
                "What arrives at y is right. b was spread over the rows: bring its gradient back to its shape with undo.",
            ),
            (
                (2 * y / n, (2 * y / n).mean(axis=0)),
                "b is used once in each row, and each use counts in full: sum over the rows.",
            ),
            (
                lambda found: not isinstance(found, (tuple, list)) or len(found) != 2,
                "Return two arrays: the gradient by x, and the one by b.",
            ),
            (
                (2 * y / n, (2 * y / n).sum(axis=1)),
                "The gradient by x is right. The one by b has the shape of b: sum over the rows, which is axis 0.",
            ),
            hint="What arrives at y is 2 * y / n. x gets it as it is, and b its sum over the rows.",
        )
