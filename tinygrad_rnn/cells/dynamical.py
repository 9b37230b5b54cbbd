"""Cells that are time steps of ordinary differential equations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.errors import TinygradError
from ..module import Parameter
from ..ops.checks import number
from ..ops.elementwise import sigmoid, softplus, tanh
from ..ops.shaping import split
from ..recurrent.products import scaled
from .base import PublishedCell

__all__ = [
    "LEM",
    "LTC",
    "AntisymmetricRNN",
    "CoRNN",
    "GatedAntisymmetricRNN",
    "OscillatorState",
    "UnICORNN",
]


class OscillatorState(NamedTuple):
    """Position y and velocity z (in LEM: the slower memory), each (batch, hidden_size)."""

    y: Any
    z: Any


def antisymmetric(h: Any, weights: Any) -> Any:
    """Return (W - W^T - gamma I) h."""
    W, gamma = weights
    return h @ (W - W.T).T - gamma * h


class AntisymmetricRNN(PublishedCell):
    """Antisymmetric recurrent network: a step of Euler's method whose matrix is antisymmetric.

        h' = h + epsilon * tanh((W - W^T - gamma I) h + V x + b)

    The output is h'. The state is h, shape (batch, hidden_size). W (hidden_size, hidden_size), V
    (hidden_size, input_size), b (hidden_size,); I is the unit matrix.

    B. Chang, M. Chen, E. Haber and E. H. Chi, AntisymmetricRNN: A Dynamical System View on
    Recurrent Neural Networks, ICLR 2019, arXiv:1902.09689. There W is W_h, V is V_h, b is b_h.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    epsilon : float
        The step size; it is not trained.
    gamma : float
        The diffusion; it is not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        epsilon: float = 0.1,
        gamma: float = 0.01,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.epsilon, self.gamma = epsilon, gamma
        self.W, self.V, self.b = self.recurrent(), self.inputs(), self.bias()

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        a = self.from_state(h, (self.W, self.gamma), antisymmetric)
        h = h + self.epsilon * tanh(a + self.from_input(x, self.V) + self.b)
        return h, h


class GatedAntisymmetricRNN(PublishedCell):
    """Antisymmetric recurrent network with an input gate, which shares its matrix with the update.

        a  = (W - W^T - gamma I) h
        z  = sigmoid(a + V_z x + b_z)
        h' = h + epsilon * z * tanh(a + V_h x + b_h)

    The output is h'. The state is h, shape (batch, hidden_size). W (hidden_size, hidden_size); V (2
    * hidden_size, input_size) and b (2 * hidden_size,) have the blocks z, h; I is the unit matrix.

    B. Chang, M. Chen, E. Haber and E. H. Chi, AntisymmetricRNN: A Dynamical System View on
    Recurrent Neural Networks, ICLR 2019, arXiv:1902.09689: the form with an input gate.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    epsilon : float
        The step size; it is not trained.
    gamma : float
        The diffusion; it is not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        epsilon: float = 0.1,
        gamma: float = 0.01,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.epsilon, self.gamma = epsilon, gamma
        self.W, self.V, self.b = self.recurrent(), self.inputs(2), self.bias(2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        a = self.from_state(h, (self.W, self.gamma), antisymmetric)
        x_z, x_h = split(self.from_input(x, self.V) + self.b, 2, axis=-1)
        z = sigmoid(a + x_z)
        h = h + self.epsilon * z * tanh(a + x_h)
        return h, h


class CoRNN(PublishedCell):
    """Coupled oscillatory recurrent network: damped oscillators that drive each other.

        z' = z + dt * (tanh(W y + W_z z + V x + b) - gamma * y - epsilon * z)
        y' = y + dt * z'

    The output is y'. The state is (y, z), each (batch, hidden_size). W and W_z (hidden_size,
    hidden_size), V (hidden_size, input_size), b (hidden_size,).

    T. K. Rusch and S. Mishra, Coupled Oscillatory Recurrent Neural Network (coRNN): An accurate and
    (gradient) stable architecture for learning long time dependencies, ICLR 2021, arXiv:2010.00951.
    The paper leaves open whether the damping acts on z or on z'; here, as in the authors' code, on
    z.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    dt : float
        The step size, above 0; none of these three is trained.
    gamma : float
        The frequency.
    epsilon : float
        The damping.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = OscillatorState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 0.042,
        gamma: float = 2.7,
        epsilon: float = 4.7,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.dt, self.gamma, self.epsilon = number(dt, "CoRNN: dt", "(0, inf)"), gamma, epsilon
        self.W, self.W_z, self.V, self.b = (
            self.recurrent(),
            self.recurrent(),
            self.inputs(),
            self.bias(),
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (y, z)."""
        y, z = state
        force = tanh(
            self.from_state(y, self.W, name="y")
            + self.from_state(z, self.W_z, name="z")
            + self.from_input(x, self.V)
            + self.b
        )
        z = z + self.dt * (force - self.gamma * y - self.epsilon * z)
        y = y + self.dt * z
        return y, OscillatorState(y, z)


class UnICORNN(PublishedCell):
    """Undamped independent oscillators: each unit has a time scale of its own and sees only itself.

        z' = z - dt * sigmoid(c) * (tanh(w * y + V x + b) + alpha * y)
        y' = y + dt * sigmoid(c) * z'

    The output is y'. The state is (y, z), each (batch, hidden_size). w, b and c (hidden_size,), V
    (hidden_size, input_size); w starts uniform on [0, 1], c on [-0.1, 0.1].

    T. K. Rusch and S. Mishra, UnICORNN: A recurrent model for learning very long time dependencies,
    ICML 2021, arXiv:2103.05487: one layer. The paper writes 0.5 + 0.5 tanh(c / 2), which is
    sigmoid(c).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    dt : float
        The step size, above 0; it is not trained.
    alpha : float
        The frequency; it is not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = OscillatorState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 0.1,
        alpha: float = 1.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.dt, self.alpha = number(dt, "UnICORNN: dt", "(0, inf)"), alpha
        self.w = Parameter(self._rng.uniform(0, 1, hidden_size).astype(self._dtype))
        self.V, self.b, self.c = self.inputs(), self.bias(), self.vector()

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (y, z)."""
        y, z = state
        step = self.dt * sigmoid(self.c)
        z = z - step * (
            tanh(self.from_state(y, self.w, scaled, name="y") + self.from_input(x, self.V) + self.b)
            + self.alpha * y
        )
        y = y + step * z
        return y, OscillatorState(y, z)


class LEM(PublishedCell):
    """Long expressive memory: every unit has time steps of its own, which change with the input.

        s_1, s_2 = dt * sigmoid(W_i y + V_i x + b_i), for i = 1, 2
        z'       = (1 - s_1) * z + s_1 * tanh(W_z y + V_z x + b_z)
        y'       = (1 - s_2) * y + s_2 * tanh(W_y z' + V_y x + b_y)

    The output is y'. The state is (y, z), each (batch, hidden_size). V (4 * hidden_size,
    input_size) and b (4 * hidden_size,) have the blocks 1, 2, z, y; W (3 * hidden_size,
    hidden_size) has the blocks 1, 2, z, which multiply y; W_y (hidden_size, hidden_size) multiplies
    z'.

    T. K. Rusch, S. Mishra, N. B. Erichson and M. W. Mahoney, Long Expressive Memory for Sequence
    Modeling, ICLR 2022, arXiv:2110.04744; s_1 and s_2 are its two time steps. The update of y reads
    the new z', as in the paper and the authors' code; some collections of cells read the old z
    there.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    dt : float
        The longest time step of a unit, above 0; it is not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = OscillatorState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 1.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.dt = number(dt, "LEM: dt", "(0, inf)")
        self.W, self.W_y, self.V, self.b = (
            self.recurrent(3),
            self.recurrent(),
            self.inputs(4),
            self.bias(4),
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (y, z)."""
        y, z = state
        x_1, x_2, x_z, x_y = split(self.from_input(x, self.V) + self.b, 4, axis=-1)
        y_1, y_2, y_z = split(self.from_state(y, self.W, name="y"), 3, axis=-1)
        s_1, s_2 = self.dt * sigmoid(y_1 + x_1), self.dt * sigmoid(y_2 + x_2)
        z = (1 - s_1) * z + s_1 * tanh(y_z + x_z)
        y = (1 - s_2) * y + s_2 * tanh(self.from_state(z, self.W_y, name="z") + x_y)
        return y, OscillatorState(y, z)


class LTC(PublishedCell):
    """Liquid time-constant network, in its compact form.

        `unfolds` times, with d = dt / unfolds and the same x each time:
            f = sigmoid(W x + U h + b)
            h = (h + d * f * A) / (1 + d * (softplus(rho) + f))

    The output is the last h. This is a fused step (explicit in f, implicit in h) of dh/dt = -(1 /
    tau + f) * h + f * A, with 1 / tau = softplus(rho). The state is h, shape (batch, hidden_size).
    W (hidden_size, input_size), U (hidden_size, hidden_size), b, A, rho (hidden_size,); A starts
    uniform on [-1, 1], rho where tau is 10, b at -2, so that a unit forgets slowly.

    R. Hasani, M. Lechner, A. Amini, D. Rus and R. Grosu, Liquid Time-constant Networks, AAAI 2021,
    arXiv:2006.04439: the paper's compact form and its fused solver, with f one layer. f is a
    sigmoid, because the paper's bounds on the time constant need f >= 0. The authors' code has
    instead a conductance and a reversal potential for each pair of units, which is another cell of
    the same family.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    unfolds : int
        How many steps the solver makes for each input, at least 1.
    dt : float
        The time between two inputs, above 0; it is not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        unfolds: int = 6,
        dt: float = 1.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if unfolds < 1:
            raise TinygradError(f"LTC: unfolds must be at least 1; found {unfolds}")
        self.unfolds, self.dt = unfolds, number(dt, "LTC: dt", "(0, inf)")
        self.W, self.U, self.b = self.inputs(), self.recurrent(), self.bias(value=-2.0)
        self.A, self.rho = self.vector(bound=1.0), self.bias(value=float(np.log(np.expm1(0.1))))

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        d = self.dt / self.unfolds
        drive, rate = self.from_input(x, self.W) + self.b, softplus(self.rho)
        for _ in range(self.unfolds):
            f = sigmoid(drive + self.from_state(h, self.U))
            h = (h + d * f * self.A) / (1 + d * (rate + f))
        return h, h
