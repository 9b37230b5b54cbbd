"""Fourier transforms of real values: `rfft` and `irfft`, by pairs of real and imaginary parts.

There are no complex tensors. NumPy's transforms compute whole arrays; in a compiled step they are
products with the matrix of cosines and sines. They are loaded when first used.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..core.errors import NotDifferentiableError, ShapeError
from ..core.primitive import Array, Spec
from .checks import of_kind, shown, size
from .define import axis_of, operand, primitive
from .facts import COSTLY
from .shaping import stack, swapaxes
from .shifting import pad


def _weights(n: int, inner: float, dtype: Any) -> Array:
    """Return 1 for the frequencies that stand once in a spectrum, `inner` for those with a twin."""
    found = np.full(n // 2 + 1, inner, dtype)
    found[0] = 1.0
    if n % 2 == 0:
        found[-1] = 1.0
    return found


def _angles(n: int) -> Array:
    """Return the angle of each value (row) at each frequency (column), from exact remainders."""
    turns = np.outer(np.arange(n), np.arange(n // 2 + 1)) % n
    return 2 * np.pi / n * turns


def _matrix(n: int, dtype: Any) -> Array:
    """Return the matrix by which n values become the real parts, and then the imaginary ones."""
    angles = _angles(n)
    return np.concatenate([np.cos(angles), -np.sin(angles)], axis=1).astype(dtype)


def _rfft_in_steps(x: Any) -> Any:
    n = x.shape[-1]
    return (x @ _matrix(n, x.dtype)).reshape((*x.shape[:-1], 2, n // 2 + 1))


def _irfft_in_steps(x: Any, n: int) -> Any:
    weights = np.tile(_weights(n, 2.0, x.dtype), 2) / n
    matrix = _matrix(n, x.dtype) * weights.astype(x.dtype)
    return x.reshape((*x.shape[:-2], 2 * x.shape[-1])) @ matrix.T.copy()


def _rfft_shape(x: Any) -> Spec:
    if not x.ndim or not x.shape[-1]:
        raise ShapeError(f"expected at least one value to transform; found shape {tuple(x.shape)}")
    return Spec((*x.shape[:-1], 2, x.shape[-1] // 2 + 1), x.dtype)


def _rfft_rule(g: Any, like_x: Any) -> Any:
    n = like_x.shape[-1]
    return _irfft(g * (_weights(n, 0.5, g.dtype) * n), n)


@primitive(
    _rfft_rule,
    shape=_rfft_shape,
    linear="jointly",
    floating=True,
    examples=[([(5,)], {}), ([(2, 6)], {}), ([(1,)], {}), ([(2,)], {}), ([(2, 0, 4)], {})],
    cost=COSTLY,
    library="NumPy",
    in_steps=_rfft_in_steps,
    name="rfft",
)
def _rfft(x: Any) -> Any:
    found = np.fft.rfft(x)
    return np.stack([found.real, found.imag], axis=-2)


def _irfft_shape(x: Any, *, n: int = 4) -> Spec:
    if x.ndim < 2 or x.shape[-2:] != (2, n // 2 + 1):
        raise ShapeError(
            f"expected pairs of {n // 2 + 1} frequencies; found shape {tuple(x.shape)}"
        )
    return Spec((*x.shape[:-2], n), x.dtype)


def _irfft_rule(g: Any, n: int) -> Any:
    return _rfft(g) * (_weights(n, 2.0, g.dtype) / n).astype(g.dtype)


@primitive(
    _irfft_rule,
    shape=_irfft_shape,
    linear="jointly",
    floating=True,
    examples=[
        ([(2, 3)], {}),
        ([(2, 3)], {"n": 5}),
        ([(3, 2, 4)], {"n": 6}),
        ([(2, 1)], {"n": 1}),
        ([(2, 2)], {"n": 2}),
        ([(0, 2, 3)], {"n": 4}),
    ],
    cost=COSTLY,
    library="NumPy",
    in_steps=_irfft_in_steps,
    name="irfft",
)
def _irfft(x: Any, *, n: int = 4) -> Any:
    return np.fft.irfft(x[..., 0, :] + 1j * x[..., 1, :], n)


# --- what is called -------------------------------------------------------------------------------


class Pair(NamedTuple):
    """The real and the imaginary parts of complex values, as two tensors of one shape."""

    real: Any
    imag: Any

    def __abs__(self) -> Any:
        """Return the magnitudes."""
        from .elementary import hypot

        return hypot(self.real, self.imag)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Answer to a function of NumPy: the magnitudes are there, all else is refused."""
        if ufunc is np.absolute and method == "__call__" and not kwargs:
            return abs(self)
        _refused(f"np.{ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Answer to another function of NumPy: the inverse transform is there, all else is refused."""
        if function is np.fft.irfft and args and args[0] is self:
            return irfft(*args, **kwargs)
        _refused(f"np.{function.__name__}")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to become an array of two rows."""
        _refused("np.asarray")


def _refused(what: str) -> NoReturn:
    raise NotDifferentiableError(
        f"{what} of the result of rfft: there are no complex tensors; it is a pair of tensors, z.real and z.imag. Write it with these: the "
        "product is (a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real), abs(z) the magnitude"
    )


def _no_operator(sign: str) -> Any:
    """Return the operator that refuses what would join or repeat tuples."""
    return lambda self, other: _refused(sign)


for _sign, _name in (("+", "add"), ("-", "sub"), ("*", "mul"), ("/", "truediv"), ("@", "matmul")):
    setattr(Pair, f"__{_name}__", _no_operator(_sign))
    setattr(Pair, f"__r{_name}__", _no_operator(_sign))


def _settled(axis: Any, norm: Any, ndim: int, what: str) -> int:
    of_kind(norm, ["str", "None"], f"{what}: norm")
    if norm not in (None, "backward", "ortho", "forward"):
        raise ShapeError(
            f"{what}: norm must be 'backward', 'ortho' or 'forward'; found {shown(norm)}"
        )
    return axis_of(axis, ndim)


def _last(x: Any, axis: int) -> Any:
    """Return x with an axis in the last place, or back from there."""
    return x if axis == x.ndim - 1 else swapaxes(x, axis, -1)


def _resized(x: Any, n: int) -> Any:
    """Return the first n values along the last axis, or all, and zeros behind."""
    given = x.shape[-1]
    if n <= given:
        return x[..., :n] if n < given else x
    return pad(x, ((0, 0),) * (x.ndim - 1) + ((0, n - given),))


def _factor(norm: Any, n: int, forward: bool) -> float:
    """Return by what a transform is multiplied; NumPy's own divides the inverse by n."""
    if norm in (None, "backward"):
        return 1.0
    divided = n**-0.5 if norm == "ortho" else 1.0 / n
    return divided if forward else 1.0 / divided


def rfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Pair:
    """Return the discrete Fourier transform of real values, as real and imaginary parts.

    Parameters
    ----------
    x : Tensor or array
    n : int, optional
        So many values are transformed: the first ones, or all with zeros behind.
    axis : int
        Along which axis.
    norm : {"backward", "ortho", "forward"}, optional
        Which of the two transforms is divided by n, as in NumPy; "ortho": both by its root.

    Returns
    -------
    Pair
        ``(real, imag)`` of the frequencies 0 to n // 2, in place of the axis. ``abs(pair)`` is the
        magnitude.
    """
    x = operand(x, "rfft")
    a = _settled(axis, norm, x.ndim, "rfft")
    y = _last(x, a)
    y = y if n is None else _resized(y, size(n, "rfft: n"))
    both = _rfft(y)
    factor = _factor(norm, y.shape[-1], True)
    both = both if factor == 1.0 else both * factor
    return Pair(*(_last(both[..., k, :], a) for k in (0, 1)))


def irfft(pair: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """Return the real values of which `rfft` gives these frequencies.

    The imaginary parts of frequency 0, and of n / 2 for even n, are not read.

    Parameters
    ----------
    pair : Pair, or tuple of two tensors
        The real and the imaginary parts.
    n : int, optional
        How many values; by default 2 (m - 1) of m frequencies.
    axis : int
        Along which axis.
    norm : {"backward", "ortho", "forward"}, optional
        As for `rfft`.
    """
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise NotDifferentiableError(
            f"irfft: expected a pair of tensors, the real and the imaginary parts; found {shown(pair)}. There are no complex tensors"
        )
    parts = [operand(p, "irfft: a part") for p in pair]
    if parts[0].shape != parts[1].shape:
        shapes = [tuple(p.shape) for p in parts]
        raise ShapeError(f"irfft: expected two parts of one shape; found {shapes}")
    a = _settled(axis, norm, parts[0].ndim, "irfft")
    count = 2 * (parts[0].shape[a] - 1) if n is None else size(n, "irfft: n")
    if count < 1:
        raise ShapeError(
            f"irfft: expected at least two frequencies along axis {axis}, or n; found shape {tuple(parts[0].shape)}"
        )
    both = stack([_resized(_last(p, a), count // 2 + 1) for p in parts], axis=-2)
    found = _irfft(both, n=count)
    factor = _factor(norm, count, False)
    return _last(found if factor == 1.0 else found * factor, a)
