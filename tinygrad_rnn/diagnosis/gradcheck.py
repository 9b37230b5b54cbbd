"""gradcheck compares derivatives in both modes with finite differences.

Its report says what is likely wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import TinygradError
from ..core.primitive import Array
from ..core.tape import no_grad
from ..core.tensor import Tensor, tensor
from ..core.transforms import jvp, vjp
from ..core.tree import flatten, leaves, unflatten
from ..ops.checks import number, shown, size
from ..transforms import by_parameters


class GradcheckError(TinygradError, AssertionError):
    """A derivative differs from finite differences.

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
        A function of tensors, or of trees of tensors, that returns a tensor or a tree. It must be
        deterministic.
    *inputs : Tensor, array, module, or tree of them
        Where to check. Floating leaves are converted to float64, and `f` is differentiated by them;
        others are passed as they are. Of a module these are its parameters.
    order : int
        The highest order. 2 also checks the gradient's own gradient.
    modes : tuple of {"reverse", "forward"}
        Which modes to check.
    eps : float
        Step of the differences.
    rtol, atol : float
        Allowed deviation, relative to the largest element and absolute.
    seed : int
        Seed of the random weights of the outputs, and of the direction of the forward mode.

    Returns
    -------
    bool
        True; a failure raises.

    Raises
    ------
    GradcheckError
        If a derivative differs, with mode, order, the input by path, the worst element, both
        values, and a likely cause; or if two calls of `f` differ.
    TinygradError
        If a setting is none.
    """
    if not callable(f):
        raise TinygradError(f"gradcheck: expected a function and its inputs; found {shown(f)}")
    order = size(order, "gradcheck: order")
    limits = _Limits(
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
    of_values, values, names = _of_values(
        *by_parameters("gradcheck", f, inputs, range(len(inputs)))
    )
    if not values:
        raise GradcheckError(
            "gradcheck: none of the inputs is a tensor or an array of floating numbers, so there is nothing to differentiate by"
        )
    _refuse_if_not_deterministic(of_values, values)
    check = _Check(of_values, values, names, tuple(modes), limits, rng)
    for _ in range(order):
        check = check.run()
    return True


@dataclass(frozen=True)
class _Limits:
    """The step of the differences, and the allowed deviation."""

    eps: float
    rtol: float
    atol: float


def _of_values(
    f: Callable[..., Any], inputs: Sequence[Any]
) -> tuple[Callable[..., list[Tensor]], list[Array], list[str]]:
    """Return a function of the floating leaves alone, these leaves in float64, and their paths."""
    inputs = tuple(inputs)
    paths = flatten(inputs, "input")
    points = [np.array(x.numpy() if isinstance(x, Tensor) else x) for _, x in paths]
    floating = [i for i, x in enumerate(points) if x.dtype.kind == "f"]

    def of_values(*xs: Any) -> list[Tensor]:
        full: list[Any] = [tensor(x) for x in points]
        for i, x in zip(floating, xs, strict=True):
            full[i] = x
        outputs = leaves(f(*unflatten(inputs, full)))
        return [y for y in outputs if isinstance(y, Tensor) and y.dtype.kind == "f"]

    values = [points[i].astype(np.float64) for i in floating]
    return of_values, values, [paths[i][0] for i in floating]


def _refuse_if_not_deterministic(f: Callable[..., list[Tensor]], values: list[Array]) -> None:
    """Raise a GradcheckError if a function gives no number, or other numbers at a second call."""
    first, again = ([y.numpy() for y in f(*map(tensor, values))] for _ in range(2))
    if not first:
        raise GradcheckError(
            "gradcheck: f returned no tensor of floating numbers, so there is nothing to differentiate"
        )
    if [y.shape for y in first] != [y.shape for y in again] or not all(map(_same, first, again)):
        raise GradcheckError(
            "gradcheck: two calls of f with the same inputs gave different results, so differences say nothing. "
            "Make cells and other modules outside of f, and give what draws random numbers a seed in each call, or use eval()."
        )


@dataclass(frozen=True)
class _Check:
    """The comparison of the derivatives of one order.

    Attributes
    ----------
    f : callable
        It takes tensors and returns a list of tensors.
    values : list of ndarray
        Where to check.
    names : list of str
        What the inputs are called in messages.
    modes : tuple of str
    limits : _Limits
    rng : Generator
    level : int
        The order.
    """

    f: Callable[..., list[Tensor]]
    values: list[Array]
    names: list[str]
    modes: tuple[str, ...]
    limits: _Limits
    rng: Any
    level: int = 1

    def run(self) -> _Check:
        """Compare, and return the check of the gradient's own derivatives.

        Raises
        ------
        GradcheckError
            If a derivative differs.
        """
        cotangents = [self.rng.standard_normal(y.shape) for y in self._numbers(self.values)]
        directions = [self.rng.standard_normal(x.shape) for x in self.values]
        if "reverse" in self.modes:
            self._reverse(cotangents)
        if "forward" in self.modes:
            self._forward(cotangents, directions)

        def gradient(*xs: Any) -> list[Tensor]:
            _, pull = vjp(self.f, *xs)
            return [g for g in pull([tensor(c) for c in cotangents]) if isinstance(g, Tensor)]

        return replace(self, f=gradient, level=self.level + 1)

    def _numbers(self, xs: list[Array]) -> list[Array]:
        """Return the outputs of the function as arrays."""
        with no_grad():
            return [y.numpy().astype(np.float64) for y in self.f(*[tensor(x) for x in xs])]

    def _moved(self, directions: list[Array], step: float) -> list[Array]:
        """Return the values, a step further in some directions."""
        return [x + step * d for x, d in zip(self.values, directions, strict=True)]

    def _total(self, cotangents: list[Array]) -> Callable[[list[Array]], float]:
        """Return the function that gives the sum of all outputs, weighted by cotangents."""

        def total(xs: list[Array]) -> float:
            pairs = zip(cotangents, self._numbers(xs), strict=True)
            return sum((float((c * y).sum()) for c, y in pairs), 0.0)

        return total

    def _reverse(self, cotangents: list[Array]) -> None:
        """Compare the gradients of the weighted sum of the outputs."""
        total = self._total(cotangents)
        expected = _differences(total, self.values, self.limits.eps)
        _, pull = vjp(self.f, *[tensor(x) for x in self.values])
        found = [g.numpy() for g in pull([tensor(c) for c in cotangents])]
        for k, (name, a, n) in enumerate(zip(self.names, found, expected, strict=True)):
            at = self._worst(name, a, n, "reverse")
            if at is not None:
                along = [np.zeros_like(x) for x in self.values]
                along[k][at] = 1.0
                raise self._error(name, a, n, at, "reverse", self._kink(total, along))

    def _forward(self, cotangents: list[Array], directions: list[Array]) -> None:
        """Compare the tangents of the outputs in one direction."""
        eps = self.limits.eps
        primals = [tensor(x) for x in self.values]
        _, tangents = jvp(self.f, primals, [tensor(d) for d in directions])
        ends = zip(
            self._numbers(self._moved(directions, eps)),
            self._numbers(self._moved(directions, -eps)),
            strict=True,
        )
        for k, (t, (up, down)) in enumerate(zip(tangents, ends, strict=True)):
            a, n, name = t.numpy(), (up - down) / (2 * eps), f"output[{k}]"
            at = self._worst(name, a, n, "forward")
            if at is not None:
                kink = self._kink(self._total(cotangents), directions)
                raise self._error(name, a, n, at, "forward", kink)

    def _worst(self, name: str, a: Array, n: Array, mode: str) -> tuple[Any, ...] | None:
        """Return where a derivative deviates most, or None if it deviates nowhere too much."""
        if a.shape != n.shape:
            raise GradcheckError(
                f"gradcheck, {mode} mode, order {self.level}: {name} has shape {a.shape}, its derivative should have {n.shape}"
            )
        error = np.abs(a - n)
        if not error.size or error.max() <= self._limit(n):
            return None
        place = int(np.nanargmax(np.where(np.isnan(error), np.inf, error)))
        return np.unravel_index(place, error.shape)

    def _limit(self, n: Array) -> float:
        """Return the allowed deviation from a derivative."""
        return float(self.limits.atol + self.limits.rtol * max(np.abs(n).max(initial=0.0), 1.0))

    def _error(
        self, name: str, a: Array, n: Array, at: tuple[Any, ...], mode: str, kink: str
    ) -> GradcheckError:
        """Return the error for a derivative `a` where `n` is right."""
        return GradcheckError(
            f"gradcheck, {mode} mode, order {self.level}: worst at {name}{list(map(int, at))}: computed {a[at]:.8g}, finite differences "
            f"{n[at]:.8g} (allowed deviation {self._limit(n):.2g}). Likely cause: {kink or _cause(a, n)}."
        )

    def _kink(self, total: Callable[[list[Array]], float], directions: list[Array]) -> str:
        """Return what the differences to one side each say, if there is a kink in a direction.

        The text is empty if there is none.
        """
        eps = self.limits.eps
        up, at, down = (total(self._moved(directions, s * eps)) for s in (1, 0, -1))
        right, left = (up - at) / eps, (at - down) / eps
        scale = max(abs(right), abs(left))
        noise = 1e-14 * max(abs(up), abs(at), abs(down)) / eps
        if not abs(right - left) > 1e-2 * scale + noise + 1e-3:
            return ""
        return (
            f"the function has a kink or a jump at this point (the differences to one side each are {left:.6g} and {right:.6g}), where no derivative is "
            "right; check it at another point"
        )


def _same(a: Array, b: Array) -> bool:
    """Whether two arrays are equal but for roundings."""
    return bool(np.allclose(a, b, rtol=1e-12, atol=1e-12, equal_nan=True))


def _differences(f: Callable[[list[Array]], float], values: list[Array], eps: float) -> list[Array]:
    """Return central differences of a number, by every element of every value."""
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
    """Return what kind of mistake makes `a` where `n` is right."""

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
