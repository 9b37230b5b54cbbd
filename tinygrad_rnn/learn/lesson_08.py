"""The exercises of lesson 8: clipping, and first values that leave lengths alone."""

from __future__ import annotations

import numpy as np

from .exercise import Function, Wrong, exercise, expect, shape_of


@exercise("clip", "gradients of 1 to 3 arrays that are longer than the limit, as long, and shorter")
def clip(answer: Function) -> None:
    rng = np.random.default_rng(8)
    for shapes, limit, length in (
        ([(3, 2), (3,)], 1.0, 20.0),
        ([(4,)], 0.5, 2.0),
        ([(2, 2), (5,), ()], 3.0, 30.0),
        ([(3, 2), (3,)], 2.0, 2.0),
        ([(3, 2), (3,)], 5.0, 0.1),
    ):
        given = [rng.standard_normal(shape) for shape in shapes]
        norm = _length(given)
        given = [g * (length / norm) for g in given]
        factor = min(1.0, limit / length)
        each = [np.sqrt(np.sum(g * g)) for g in given]
        expect(
            answer([np.array(g) for g in given], limit),
            [factor * g for g in given],
            f"{len(given)} array{'s' if len(given) > 1 else ''} of length {length:g} together, limit {limit:g}",
            (
                [limit / length * g for g in given],
                "A gradient that is shorter than the limit stays as it is; yours is made longer.",
            ),
            (given, "Nothing was scaled, though the gradient is longer than the limit."),
            (
                [np.clip(g, -limit, limit) for g in given],
                "You cut each element by itself, and that turns the gradient into another direction. Scale all of them by one factor.",
            ),
            (
                [min(1.0, limit / n) * g for g, n in zip(given, each, strict=True)],
                "You scale each array by itself. All arrays together have one length, and get one factor.",
            ),
            (
                [min(1.0, limit / length**2) * g for g in given],
                "The sum of the squares is the square of the length: the root is missing.",
            ),
            (
                [min(1.0, limit / sum(each)) * g for g in given],
                "Lengths of arrays do not add up. Their squares do: sqrt(a² + b²).",
            ),
            (
                [g / length if length > limit else g for g in given],
                "Too long a gradient gets length 1 from you, whatever the limit. Its length has to become the limit.",
            ),
            (
                [length / limit * g for g in given],
                "The factor is the other way round: limit / length, which is below 1 for a gradient that is too long.",
            ),
            (
                lambda found, given=given: (
                    len(given) > 1 and shape_of(found) == (sum(np.size(g) for g in given),)
                ),
                "That is one long array. Return a list of as many arrays as were given, each in its shape.",
            ),
            hint="Compute one length, sqrt of the sum of all squares; if it is above the limit, multiply all by limit / length.",
        )


@exercise("orthogonal-start", "sizes 16, 5 and 2: the lengths of vectors, and that it is random")
def orthogonal_start(answer: Function) -> None:
    for size in (16, 5, 2):
        given = [answer(size, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4, 5, 6)]
        case = f"size {size}"
        if given[0] is None:
            raise Wrong(f"{case}: your function returned nothing.", "Is there a return at its end?")
        found, again, *others = (np.asarray(matrix) for matrix in given)
        if np.iscomplexobj(found):
            raise Wrong(
                f"{case}: found complex numbers.",
                "Eigenvectors may be complex, and need not be perpendicular. Try np.linalg.qr.",
            )
        if found.shape != (size, size):
            raise Wrong(
                f"{case}: expected a matrix of shape {(size, size)}, found {found.shape}.",
                "If your function calls np.linalg.qr, it gets two matrices, Q and R. Return the first.",
            )
        v = np.random.default_rng(size).standard_normal(size)
        before, after = _length([v]), _length([found @ v])
        if not np.allclose(found.T @ found, np.eye(size), atol=1e-6):
            raise Wrong(
                f"{case}: a vector of length {before:.3g} became one of length {after:.3g}.",
                _why_not(found, size),
            )
        if not np.allclose(found, again):
            raise Wrong(
                f"{case}: the same generator, begun anew, gave another matrix.",
                "Draw from rng and not from np.random, so that a seed gives the same matrix again.",
            )
        if all(np.allclose(found, other) for other in others):
            raise Wrong(
                f"{case}: another generator gave the same matrix.",
                "It leaves lengths alone, but it is not random: draw from rng.",
            )


def _length(arrays: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(a * a) for a in arrays)))


def _why_not(found: np.ndarray, size: int) -> str:
    """Return the hint for a matrix that is not orthogonal."""
    rows, columns = (np.sqrt((found**2).sum(axis=axis)) for axis in (1, 0))
    if np.allclose(found, np.triu(found)):
        return "np.linalg.qr returns Q and R, in this order. R is the triangle; the other one is wanted."
    if np.allclose(rows, 1) or np.allclose(columns, 1):
        return (
            "All rows, or columns, have length 1, but they are not perpendicular to each other. "
            "np.linalg.qr makes them so."
        )
    if 0.4 < (found**2).sum() / size < 1.6:
        return (
            "On average lengths stay, but some directions are stretched and others are shrunk, and a step is taken many times. "
            "np.linalg.qr splits a matrix into one that stretches nothing, and the rest."
        )
    return "Try np.linalg.qr of a random matrix: the first of the two that it returns."
