"""The exercises of lesson 12: windows of a series, and a gradient from costs alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.primitive import Array
from .exercise import Function, Wrong, exercise, expect, shape_of


@exercise("windows", "5 series and sizes, down to one row")
def windows(answer: Function) -> None:
    rng = np.random.default_rng(12)
    for length, size in ((6, 2), (10, 3), (8, 1), (40, 12), (5, 4)):
        series = rng.integers(100, 1000, length).astype(float)
        view = np.lib.stride_tricks.sliding_window_view(series, size)
        right = view[:-1], series[size:]
        found = answer(series.copy(), size)
        case = f"{length} values, windows of {size}"
        if found is not None and (not isinstance(found, (tuple, list)) or len(found) != 2):
            raise Wrong(
                f"{case}: expected two arrays.", "Return the rows, and the values that follow them."
            )
        expect(
            found,
            right,
            case,
            *_mistaken_windows(series, size),
            hint="Row k is series[k : k + size], and series[k + size] follows it, for k from 0 to len(series) - size - 1.",
        )


def _mistaken_windows(series: Array, size: int) -> list[tuple[Any, str]]:
    """Return what typical mistakes give, with their hints."""
    view = np.lib.stride_tricks.sliding_window_view(series, size)
    right = view[:-1], series[size:]
    return [
        (
            right[::-1],
            "Both are right, in the other order: the rows first, then the values that follow.",
        ),
        (
            lambda found: _ragged(found[0]),
            "The last rows are shorter than the others. A row is a stretch of the full size that another value follows.",
        ),
        (
            lambda found: _rows(found, view),
            "The last stretch is followed by nothing, so it is no row: there are len(series) - size of them.",
        ),
        (
            (view[:-1, ::-1], right[1]),
            "The values of a row are in the other order: the oldest comes first.",
        ),
        (
            (view[:-1], series[size - 1 : -1]),
            "What you predict is the last value of the row itself, so the model sees the answer. Take the one after.",
        ),
        (
            (view[1:], right[1]),
            "Your rows end with the value that is to be predicted, so the model sees the answer. Begin with series[0].",
        ),
        (
            (view[:-2], series[size + 1 :]),
            "You leave a value out between the row and what follows it: the one after series[k : k + size] is series[k + size].",
        ),
        ((view[:-1].T, right[1]), "Rows and columns have changed places: one window is one row."),
        *_mistaken_sizes(series, size),
    ]


def _mistaken_sizes(series: Array, size: int) -> list[tuple[Any, str]]:
    """Return mistakes in how many rows or values there are, with their hints."""
    view = np.lib.stride_tricks.sliding_window_view(series, size)
    right = view[:-1], series[size:]
    return [
        (
            lambda found: shape_of(found[1]) == (len(series) - size, 1),
            "The values that follow are a list of numbers, of shape (n - size,), and no column.",
        ),
        (
            lambda found: shape_of(found[0]) == (len(series) - size, size + 1),
            "The rows are one value too long: series[k : k + size] has `size` values.",
        ),
        (
            lambda found: _rows(found, series[: len(series) // size * size].reshape(-1, size)),
            "Your rows begin `size` values apart. All stretches are asked for: each begins one value after the one before.",
        ),
        (
            (view[:-2], right[1][:-1]),
            "The last row is missing: there are len(series) - size of them.",
        ),
        (
            lambda found: _begun(found, right),
            "The first rows are right and the last are still zeros. There are len(series) - size rows, and not `size`.",
        ),
        (
            (np.zeros_like(right[0]), right[1]),
            "The values that follow are right; now fill the rows.",
        ),
        (
            (right[0], np.zeros_like(right[1])),
            "The rows are right; now fill the values that follow.",
        ),
    ]


def _ragged(rows: Any) -> bool:
    """Whether rows are of different lengths."""
    return isinstance(rows, (list, tuple)) and len({np.size(row) for row in rows}) > 1


def _rows(found: Any, all_rows: Array) -> bool:
    """Whether the rows that were found are all stretches, the last one included."""
    rows = np.asarray(found[0])
    return rows.shape == all_rows.shape and bool(np.allclose(rows, all_rows))


def _begun(found: Any, right: tuple[Array, Array]) -> bool:
    """Whether some rows are right, and all after them are zeros."""
    if shape_of(found[0]) != right[0].shape:
        return False
    rows = np.asarray(found[0])
    done = int(np.any(rows != 0, axis=1).sum())
    return 0 < done < len(rows) and bool(np.allclose(rows[:done], right[0][:done]))


@exercise("estimate", "3 costs with 1 to 5 directions, one of them curved")
def estimate(answer: Function) -> None:
    rng = np.random.default_rng(12)
    slopes = rng.standard_normal(4)
    cases: list[tuple[str, Callable[[Array], float], int, float]] = [
        ("a linear cost", lambda w: float(w @ slopes), 1, 0.2),
        ("a linear cost plus 10", lambda w: float(w @ slopes) + 10.0, 3, 0.1),
        ("the cost (w ** 4).sum()", lambda w: float((w**4).sum()), 5, 0.3),
    ]
    for name, cost, pairs, sigma in cases:
        w, directions = rng.standard_normal(4), rng.standard_normal((pairs, 4))
        steepness = [(cost(w + sigma * d) - cost(w - sigma * d)) / (2 * sigma) for d in directions]
        right = np.array(steepness) @ directions / pairs
        expect(
            answer(cost, w.copy(), directions.copy(), sigma),
            right,
            f"{name}, {pairs} direction{'s' if pairs > 1 else ''}, sigma {sigma:g}",
            *_mistaken_estimates(cost, w, directions, sigma),
            hint="For each direction: slope = (cost(w + sigma * d) - cost(w - sigma * d)) / (2 * sigma); the estimate is the mean of slope * d.",
        )


def _mistaken_estimates(
    cost: Callable[[Array], float], w: Array, directions: Array, sigma: float
) -> list[tuple[Any, str]]:
    """Return what typical mistakes give, with their hints."""
    pairs, here = len(directions), cost(w)
    ups, downs = (np.array([cost(w + way * d) for d in directions]) for way in (sigma, -sigma))
    ones = np.array([cost(w + d) - cost(w - d) for d in directions]) / (2 * sigma)
    slopes = (ups - downs) / (2 * sigma)

    def mean(slopes: Array) -> Array:
        found: Array = slopes @ directions / pairs
        return found

    right = mean(slopes)
    return [
        (-right, "The sign is the other one: cost(w + sigma * d) less cost(w - sigma * d)."),
        (right * 2, "From w - sigma * d to w + sigma * d is a way of 2 * sigma, and not of sigma."),
        (right * 2 * sigma, "The difference has to be divided by the way, 2 * sigma."),
        (right * pairs, "That is the sum over the directions; take the mean."),
        (
            mean((ups - here) / sigma),
            "Try each direction both ways. With one way, the curve of the cost gets into the slope.",
        ),
        (mean(ups / sigma), "The cost itself is no slope: take the difference between both ways."),
        (mean(ones), "The weights move by sigma * d, and not by d."),
        (mean(ones) * sigma, "The weights move by sigma * d, and not by d."),
        (right * sigma**2, "x / 2 * sigma is (x / 2) * sigma: put 2 * sigma into brackets."),
        (
            slopes[0] * directions[0],
            "That is the first direction alone. Is the return inside of the loop?",
        ),
        (slopes[-1] * directions[-1], "That is the last direction alone: add each to found."),
        (w - right, "That is the next place of the weights. The gradient alone is asked for."),
        (
            np.mean(slopes),
            "That is the mean slope, one number. Each slope belongs to its direction: add slope * d.",
        ),
    ]
