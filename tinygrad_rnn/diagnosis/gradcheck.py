"""gradcheck.

Derivatives in both modes against finite differences, with a report that says what is likely wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..core.tape import no_grad
from ..core.tensor import Tensor, tensor
from ..core.transforms import jvp, vjp
from ..core.tree import flatten, leaves, unflatten
from ..ops.checks import number, shown, size


class GradcheckError(TinygradError, AssertionError):
    """A derivative that differs from finite differences.

    The message names mode, order, input, element and likely cause.
    """


def gradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    modes: tuple[str, ...] = ("reverse", "forward"),
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    seed: int = 0,
) -> bool:
    """Compare derivatives of `f` with central differences, in float64.

    Parameters
    ----------
    f : callable
        Of tensors or nests of tensors; returns a tensor or a nest. It must be deterministic.
    *inputs : Tensor, array, or nest of them
        Where to check. Floating leaves are converted to float64 and differentiated by; others are
        passed as they are.
    order : int
        2 also checks the gradient's own gradient.
    modes : tuple of {"reverse", "forward"}
    eps : float
        Step of the differences.
    rtol, atol : float
        Allowed deviation, relative to the largest element and absolute.

    Returns
    -------
    bool
        True; a failure raises.

    Raises
    ------
    GradcheckError
        With mode, order, the input by path, the worst element, both values, and a likely cause; or
        if two calls of `f` differ.
    """
    if not callable(f):
        raise TinygradError(f"gradcheck: expected a function and its inputs; found {shown(f)}")
    order = size(order, "gradcheck: order")
    eps, rtol, atol = (
        number(eps, "gradcheck: eps", "(0, inf)"),
        number(rtol, "gradcheck: rtol", "[0, inf)"),
        number(atol, "gradcheck: atol", "[0, inf)"),
    )
    if (
        not isinstance(modes, (tuple, list))
        or not modes
        or not set(modes) <= {"reverse", "forward"}
    ):
        raise TinygradError(
            f"gradcheck: modes must be 'reverse', 'forward', or both, in a tuple; found {shown(modes)}"
        )
    rng = np.random.default_rng(size(seed, "gradcheck: seed", 0))
    paths = flatten(inputs, "input")
    points = [np.array(x.numpy() if isinstance(x, Tensor) else x) for _, x in paths]
    floating = [i for i, x in enumerate(points) if x.dtype.kind == "f"]
    values = [points[i].astype(np.float64) for i in floating]
    if not values:
        raise GradcheckError(
            "gradcheck: none of the inputs is a tensor or an array of floating numbers, so there is nothing to differentiate by"
        )

    def of_values(*xs: Any) -> list[Tensor]:
        full: list[Any] = [tensor(x) for x in points]
        for i, x in zip(floating, xs, strict=True):
            full[i] = x
        return [
            y
            for y in leaves(f(*unflatten(inputs, full)))
            if isinstance(y, Tensor) and y.dtype.kind == "f"
        ]

    first, again = ([y.numpy() for y in of_values(*map(tensor, values))] for _ in range(2))
    if not first:
        raise GradcheckError(
            "gradcheck: f returned no tensor of floating numbers, so there is nothing to differentiate"
        )
    if [y.shape for y in first] != [y.shape for y in again] or not all(map(_same, first, again)):
        raise GradcheckError(
            "gradcheck: two calls of f with the same inputs gave different results, so differences say nothing. "
            "Make cells and other modules outside of f, and give what draws random numbers a seed in each call, or use eval()."
        )
    _check(
        of_values,
        values,
        [paths[i][0] for i in floating],
        order,
        modes,
        rng,
        eps,
        rtol,
        atol,
        level=1,
    )
    return True


def _check(
    f: Any,
    values: list[Array],
    names: list[str],
    order: int,
    modes: Any,
    rng: Any,
    eps: float,
    rtol: float,
    atol: float,
    level: int,
) -> None:
    def numbers(xs: list[Array]) -> list[Array]:
        with no_grad():
            return [y.numpy().astype(np.float64) for y in f(*[tensor(x) for x in xs])]

    cotangents = [rng.standard_normal(y.shape) for y in numbers(values)]
    seeds = [tensor(c) for c in cotangents]
    directions = [rng.standard_normal(x.shape) for x in values]

    def total(xs: list[Array]) -> float:
        return sum(
            (float((c * y).sum()) for c, y in zip(cotangents, numbers(xs), strict=True)), 0.0
        )

    def kink(directions: list[Array]) -> str:
        """What differences to one side each say, if the function has a kink in this direction.

        "" if it has none.
        """
        up, at, down = (
            total([x + s * eps * d for x, d in zip(values, directions, strict=True)])
            for s in (1, 0, -1)
        )
        right, left = (up - at) / eps, (at - down) / eps
        scale = max(abs(right), abs(left))
        noise = 1e-14 * max(abs(up), abs(at), abs(down)) / eps
        if not abs(right - left) > 1e-2 * scale + noise + 1e-3:
            return ""
        return (
            f"the function has a kink or a jump at this point (the differences to one side each are {left:.6g} and {right:.6g}), where no derivative is "
            "right; check it at another point"
        )

    def compare(found: list[Array], expected: list[Array], mode: str, labels: list[str]) -> None:
        for k, (name, a, n) in enumerate(zip(labels, found, expected, strict=True)):
            if a.shape != n.shape:
                raise GradcheckError(
                    f"gradcheck, {mode} mode, order {level}: {name} has shape {a.shape}, its derivative should have {n.shape}"
                )
            error = np.abs(a - n)
            limit = atol + rtol * max(np.abs(n).max(initial=0.0), 1.0)
            if error.size and not error.max() <= limit:
                at = np.unravel_index(
                    int(np.nanargmax(np.where(np.isnan(error), np.inf, error))), error.shape
                )
                along = directions if mode == "forward" else [np.zeros_like(x) for x in values]
                if mode == "reverse":
                    along[k][at] = 1.0
                raise GradcheckError(
                    f"gradcheck, {mode} mode, order {level}: worst at {name}{list(map(int, at))}: computed {a[at]:.8g}, finite differences "
                    f"{n[at]:.8g} (allowed deviation {limit:.2g}). Likely cause: {kink(along) or _cause(a, n)}."
                )

    numeric = _differences(total, values, eps)
    if "reverse" in modes:
        _, pull = vjp(f, *[tensor(x) for x in values])
        compare([g.numpy() for g in pull(seeds)], numeric, "reverse", names)
    if "forward" in modes:
        _, tangents = jvp(f, [tensor(x) for x in values], [tensor(d) for d in directions])
        up = numbers([x + eps * d for x, d in zip(values, directions, strict=True)])
        down = numbers([x - eps * d for x, d in zip(values, directions, strict=True)])
        along = [(u - d) / (2 * eps) for u, d in zip(up, down, strict=True)]
        compare(
            [t.numpy() for t in tangents],
            along,
            "forward",
            [f"output[{i}]" for i in range(len(along))],
        )
    if order > 1:

        def gradient(*xs: Any) -> list[Tensor]:
            _, pull = vjp(f, *xs)
            return [g for g in pull(seeds) if isinstance(g, Tensor)]

        _check(gradient, values, names, order - 1, modes, rng, eps, rtol, atol, level + 1)


def _same(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-12, atol=1e-12, equal_nan=True))


def _differences(f: Callable[[list[Array]], float], values: list[Array], eps: float) -> list[Array]:
    """Central differences of a number by every element of every value."""
    results = []
    for k, x in enumerate(values):
        slope = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            ends = []
            for sign in (eps, -eps):
                moved = x.copy()
                moved[at] += sign
                ends.append(f([*values[:k], moved, *values[k + 1 :]]))
            slope[at] = (ends[0] - ends[1]) / (2 * eps)
        results.append(slope)
    return results


def _cause(a: Array, n: Array) -> str:
    """What kind of mistake makes `a` where `n` is right."""

    def close(x: Array, y: Array) -> bool:
        return x.shape == y.shape and bool(np.allclose(x, y, rtol=1e-3, atol=1e-6))

    if not np.isfinite(a).all():
        return "a value that is not finite (division by zero, or 0 * inf, in the rule)"
    if close(a, -n):
        return "a wrong sign"
    if not a.any():
        return (
            "no gradient arrives: the path is cut (detach, a missing rule) or the rule returns zero"
        )
    if a.ndim >= 2 and (close(a.swapaxes(-1, -2), n) or (a.T.shape == n.shape and close(a.T, n))):
        return "a missing transpose"
    ratio = n / np.where(a == 0, np.nan, a)
    usable = ratio[np.isfinite(ratio)]
    if usable.size and np.allclose(usable, usable.flat[0], rtol=1e-3):
        k = float(usable.flat[0])
        if k > 1.5 and abs(k - round(k)) < 1e-2:
            return f"a missing sum over a broadcast axis, a mean in place of a sum, or a wrong constant factor ({round(k)} times too small)"
        return f"a wrong constant factor ({1 / k:.4g} times too large)"
    return "a missing or wrong term in the rule"
