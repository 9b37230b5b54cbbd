"""Cells whose recurrent matrix is unitary: it changes the length of no state."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError, TinygradError
from ..module import Parameter
from ..ops.elementwise import cos, relu, sin, sqrt
from ..ops.shaping import concatenate, reshape, split, stack
from .base import PublishedCell
from .linear_memory import ComplexState

__all__ = ["EURNN"]


def rotate(z: ComplexState, theta: Any, phi: Any) -> ComplexState:
    """Rotate pairs of neighbours.

    (a, b) becomes (exp(i phi) (a cos(theta) - b sin(theta)), a sin(theta) + b cos(theta)).
    """
    (a, b), (a_imag, b_imag) = ((part[:, 0::2], part[:, 1::2]) for part in z)
    cosine, sine, turn, turn_imag = cos(theta), sin(theta), cos(phi), sin(phi)
    c, c_imag = a * cosine - b * sine, a_imag * cosine - b_imag * sine
    first = (c * turn - c_imag * turn_imag, c * turn_imag + c_imag * turn)
    second = (a * sine + b * cosine, a_imag * sine + b_imag * cosine)
    return ComplexState(
        *(reshape(stack(pair, axis=-1), z.real.shape) for pair in zip(first, second, strict=True))
    )


def turned(z: ComplexState, weights: Any) -> ComplexState:
    """Return D F_1 ... F_L z.

    Parameters
    ----------
    z : ComplexState
        The vectors.
    weights : tuple
        The numbers of pairs in F_1, ..., F_L, their angles theta and phi, and the angles of D.
    """
    sizes, theta, phi, omega = weights
    cuts = np.cumsum(sizes)[:-1].tolist()
    layers = enumerate(zip(sizes, split(theta, cuts), split(phi, cuts), strict=True))
    for k, (n, theta_l, phi_l) in reversed(list(layers)):
        first, last = k % 2, k % 2 + 2 * n
        middle = rotate(ComplexState(z.real[:, first:last], z.imag[:, first:last]), theta_l, phi_l)
        z = ComplexState(
            *(
                concatenate([a[:, :first], m, a[:, last:]], axis=1)
                for a, m in zip(z, middle, strict=True)
            )
        )
    turn, turn_imag = cos(omega), sin(omega)
    return ComplexState(z.real * turn - z.imag * turn_imag, z.real * turn_imag + z.imag * turn)


class EURNN(PublishedCell):
    """A unitary recurrent network: the matrix is a product of rotations of pairs of units.

        h'           = modrelu(D F_1 F_2 ... F_L h + V x, b)
        modrelu(z, b) = z / r * relu(r + b), with r = sqrt(|z|^2 + 1e-5)

    The output is the real part of h' beside the imaginary, shape (batch, 2 * hidden_size).

    h, V and the matrices are complex; D is diagonal, exp(i omega). F_l rotates pairs of neighbours
    (see below), for odd l units (0, 1), (2, 3), ..., for even l units (1, 2), (3, 4), ...; a unit
    without a neighbour stays as it is. The pair (p, q) with its angles theta and phi becomes (exp(i
    phi) * (p cos(theta) - q sin(theta)), p sin(theta) + q cos(theta)). The state is (real, imag),
    each (batch, hidden_size). V (2 * hidden_size, input_size) has the blocks real, imaginary; b and
    omega (hidden_size,); theta and phi hold the angles of F_1, ..., F_L one after the other,
    hidden_size // 2 of them for an odd l, (hidden_size - 1) // 2 for an even l. L is `capacity`.
    Angles start uniform on [-pi, pi], b at zero.

    L. Jing et al., Tunable Efficient Unitary Neural Networks (EUNN) and their application to RNNs,
    ICML 2017, arXiv:1612.05231: the tunable form. The 1e-5 inside r is for z = 0, where |z| has no
    derivative.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and complex units, at least 2; the output has twice as many.
    capacity : int
        L, the number of factors F, at least 1.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = ComplexState
    joined = ("real", "imag")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        capacity: int = 2,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.output_size = 2 * hidden_size  # the real and the imaginary part
        if hidden_size < 2:
            raise ShapeError(
                f"EURNN: hidden_size must be at least 2, because units are rotated in pairs; found {hidden_size}"
            )
        if capacity < 1:
            raise TinygradError(f"EURNN: capacity must be at least 1; found {capacity}")
        self.sizes = [(hidden_size - k % 2) // 2 for k in range(capacity)]
        angles = [
            self._rng.uniform(-np.pi, np.pi, n).astype(self._dtype)
            for n in (sum(self.sizes), sum(self.sizes), hidden_size)
        ]
        self.theta, self.phi, self.omega = (Parameter(a) for a in angles)
        self.V, self.b = self.inputs(2), self.bias()

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (real, imag)."""
        z = self.from_state(
            ComplexState(*state), (self.sizes, self.theta, self.phi, self.omega), turned, name="z"
        )
        x_real, x_imag = split(self.from_input(x, self.V), 2, axis=-1)
        real, imag = z.real + x_real, z.imag + x_imag
        r = sqrt(real * real + imag * imag + 1e-5)
        scale = relu(r + self.b) / r
        return concatenate([real * scale, imag * scale], axis=-1), ComplexState(
            real * scale, imag * scale
        )
