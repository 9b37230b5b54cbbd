"""Cells with gates of their own kind.

In the docstrings I is input_size, H hidden_size, h the old state and h' the new one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..module import Parameter
from ..ops.elementwise import relu, sigmoid, tanh
from ..ops.shaping import split
from .base import LSTMState, PublishedCell

__all__ = [
    "ATR",
    "CFN",
    "RAN",
    "STAR",
    "UGRNN",
    "IntersectionRNN",
    "MinimalRNN",
    "RecurrentHighway",
    "TypedRNN",
]


class RecurrentHighway(PublishedCell):
    """Recurrent highway network (RHN): several gated layers within one step.

        s = h
        for l = 1 ... L:
            n = tanh(W_n x [only for l = 1] + R_nl s + b_nl)
            t = sigmoid(W_t x [only for l = 1] + R_tl s + b_tl)
            s = n * t + s * (1 - t)
        h' = s

    The output is h', and h, shape (batch, H), is the state. W (2H, I): blocks in the order n, t. R
    (2 L H, H) and b (2 L H,): L parts, one for each layer, of two blocks in the order n, t. b_t
    starts at `transform_bias`.

    J. G. Zilly, R. K. Srivastava, J. Koutnik and J. Schmidhuber, Recurrent Highway Networks, ICML
    2017, arXiv:1607.03474, with the carry gate coupled to the transform gate, c = 1 - t, as in the
    paper's experiments. The paper writes h_l for n.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    depth : int
        L, the number of layers within a step, at least 1.
    transform_bias : float
        Where b_t starts; negative, so that a layer at first carries its input on.
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
        depth: int = 3,
        transform_bias: float = -2.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if depth < 1:
            raise ShapeError(f"RecurrentHighway: depth must be at least 1; found {depth}")
        self.depth = depth
        self.W, self.R = self.inputs(2), self.recurrent(2 * depth)
        self.b = Parameter(
            np.tile(np.repeat([0.0, transform_bias], hidden_size), depth).astype(dtype)
        )

    def forward(self, x: Any, s: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        layers = zip(split(self.R, self.depth), split(self.b, self.depth), strict=True)
        for layer, (R, b) in enumerate(layers):
            a = self.from_state(s, R) + b
            n, t = split(a + self.from_input(x, self.W) if layer == 0 else a, 2, axis=-1)
            n, t = tanh(n), sigmoid(t)
            s = n * t + s * (1.0 - t)
        return s, s


class MinimalRNN(PublishedCell):
    """Minimal recurrent network: the state moves towards an embedding of the input.

        z  = tanh(W x + b_z)
        u  = sigmoid(U h + V z + b_u)
        h' = u * h + (1 - u) * z

    The output is h', and h, shape (batch, H), is the state. W (H, I), U (H, H), V (H, H), b_z (H,),
    b_u (H,).

    M. Chen, MinimalRNN: Toward More Interpretable and Trainable Recurrent Neural Networks (2017),
    arXiv:1711.06788, with one dense layer as the embedding of x.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.V = self.inputs(), self.recurrent(), self.inputs(columns=hidden_size)
        self.b_z, self.b_u = self.bias(), self.bias()

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        z = tanh(self.from_input(x, self.W) + self.b_z)
        u = sigmoid(self.from_state(h, self.U) + self.from_input(z, self.V) + self.b_u)
        h = u * h + (1.0 - u) * z
        return h, h


class UGRNN(PublishedCell):
    """Update gate network: a simple recurrent network with one gate.

        c  = tanh(W_c x + U_c h + b_c)
        g  = sigmoid(W_g x + U_g h + b_g)
        h' = g * h + (1 - g) * c

    The output is h', and h, shape (batch, H), is the state. W (2H, I), U (2H, H), b (2H,): blocks
    in the order c, g. b_g starts at 1.

    J. Collins, J. Sohl-Dickstein and D. Sussillo, Capacity and Trainability in Recurrent Neural
    Networks, ICLR 2017, arXiv:1611.09913.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.b = self.inputs(2), self.recurrent(2), self.bias(2)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size, gates=2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        c, g = split(self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 2, axis=-1)
        c, g = tanh(c), sigmoid(g)
        h = g * h + (1.0 - g) * c
        return h, h


class IntersectionRNN(PublishedCell):
    """Intersection network (+RNN): one gate through time, one through depth.

        p    = x if I == H, else W_x x
        y_in = relu(W_y p + U_y h + b_y)
        h_in = tanh(W_h p + U_h h + b_h)
        g_y  = sigmoid(W_gy p + U_gy h + b_gy)
        g_h  = sigmoid(W_gh p + U_gh h + b_gh)
        y    = g_y * p + (1 - g_y) * y_in
        h'   = g_h * h + (1 - g_h) * h_in

    The output is y, shape (batch, H), and h, shape (batch, H), is the state. W (4H, H), U (4H, H),
    b (4H,): blocks in the order y, h, gy, gh; W_x (H, I), or None if I == H. b_gy and b_gh start at
    1.

    J. Collins, J. Sohl-Dickstein and D. Sussillo, Capacity and Trainability in Recurrent Neural
    Networks, ICLR 2017, arXiv:1611.09913; relu and tanh are the choice of its experiments.

    The depth gate needs an input of H features; a first layer with another number projects it, as
    in the first author's implementation (which adds a bias there). The cell is meant for stacks: in
    a single layer y sees the past through y_in and g_y only.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W_x = None if input_size == hidden_size else self.inputs()
        self.W, self.U = self.inputs(4, hidden_size), self.recurrent(4)
        self.b = Parameter(np.repeat([0.0, 0.0, 1.0, 1.0], hidden_size).astype(dtype))

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        p = x if self.W_x is None else x @ self.W_x.T
        y_in, h_in, g_y, g_h = split(
            self.from_input(p, self.W) + self.from_state(h, self.U) + self.b, 4, axis=-1
        )
        y_in, h_in, g_y, g_h = relu(y_in), tanh(h_in), sigmoid(g_y), sigmoid(g_h)
        y = g_y * p + (1.0 - g_y) * y_in
        h = g_h * h + (1.0 - g_h) * h_in
        return y, h


class RAN(PublishedCell):
    """Recurrent additive network: the cell is a gated sum of projected inputs.

        i  = sigmoid(W_i x + U_i h + b_i)
        f  = sigmoid(W_f x + U_f h + b_f)
        c' = i * (W_c x) + f * c
        h' = tanh(c')

    The output is h'; the state is (h, c), each (batch, H). W (3H, I): blocks in the order i, f, c;
    U (2H, H) and b (2H,): blocks in the order i, f. b_f starts at 1.

    K. Lee, O. Levy and L. Zettlemoyer, Recurrent Additive Networks (2017), arXiv:1705.07393. The
    paper also tries h' = c'.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LSTMState

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.b = self.inputs(3), self.recurrent(2), self.bias(2)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size, gates=2)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        xi, xf, xc = split(self.from_input(x, self.W), 3, axis=-1)
        hi, hf = split(self.from_state(h, self.U) + self.b, 2, axis=-1)
        c = sigmoid(xi + hi) * xc + sigmoid(xf + hf) * c
        h = tanh(self.to_output(c))
        return h, LSTMState(h, c)


class CFN(PublishedCell):
    """Chaos free network: without input every unit decays to 0.

        theta = sigmoid(V_theta x + U_theta h + b_theta)
        eta   = sigmoid(V_eta x + U_eta h + b_eta)
        h'    = theta * tanh(h) + eta * tanh(W x)

    The output is h', and h, shape (batch, H), is the state. V (2H, I), U (2H, H), b (2H,): blocks
    in the order theta, eta; W (H, I). b_theta starts at 1, b_eta at -1.

    T. Laurent and J. von Brecht, A Recurrent Neural Network Without Chaos, ICLR 2017,
    arXiv:1612.06212.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.V, self.U, self.W = self.inputs(2), self.recurrent(2), self.inputs()
        self.b = Parameter(np.repeat([1.0, -1.0], hidden_size).astype(dtype))

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        theta, eta = split(
            sigmoid(self.from_input(x, self.V) + self.from_state(h, self.U) + self.b), 2, axis=-1
        )
        h = theta * tanh(h) + eta * tanh(self.from_input(x, self.W))
        return h, h


class ATR(PublishedCell):
    """Addition-subtraction twin-gated network: both gates from the same two products.

        p  = W x
        q  = U h
        i  = sigmoid(p + q)
        f  = sigmoid(p - q)
        h' = i * p + f * h

    The output is h', and h, shape (batch, H), is the state. W (H, I), U (H, H); no biases.

    B. Zhang, D. Xiong, J. Su, Q. Lin and H. Zhang, Simplifying Neural Machine Translation with
    Addition-Subtraction Twin-Gated Recurrent Networks, EMNLP 2018, arXiv:1810.12546.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U = self.inputs(), self.recurrent()

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        p, q = self.from_input(x, self.W), self.from_state(h, self.U)
        i, f = sigmoid(p + q), sigmoid(p - q)
        h = i * p + f * h
        return h, h


class STAR(PublishedCell):
    """Stackable recurrent cell.

        k  = sigmoid(W_k x + U h + b_k)
        z  = tanh(W_z x + b_z)
        h' = tanh((1 - k) * h + k * z)

    The output is h', and h, shape (batch, H), is the state. W (2H, I) and b (2H,): blocks in the
    order k, z; U (H, H).

    M. O. Turkoglu, S. D'Aronco, J. D. Wegner and K. Schindler, Gating Revisited: Deep Multi-layer
    RNNs That Can Be Trained (2019), arXiv:1911.11033.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.b = self.inputs(2), self.recurrent(), self.bias(2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        k, z = split(self.from_input(x, self.W) + self.b, 2, axis=-1)
        k, z = sigmoid(k + self.from_state(h, self.U)), tanh(z)
        h = tanh((1.0 - k) * h + k * z)
        return h, h


class TypedRNN(PublishedCell):
    """Strongly-typed recurrent network (T-RNN): the gate hears the input only.

        z  = W_z x
        f  = sigmoid(W_f x + b)
        h' = f * h + (1 - f) * z

    The output is h', and h, shape (batch, H), is the state. W (2H, I): blocks in the order z, f; b
    (H,) is the bias of f and starts at 1.

    D. Balduzzi and M. Ghifary, Strongly-Typed Recurrent Neural Networks, ICML 2016,
    arXiv:1602.02218.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rng: Any = None, dtype: Any = np.float32
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.b = self.inputs(2), self.bias(value=1.0)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        z, f = split(self.from_input(x, self.W), 2, axis=-1)
        f = sigmoid(f + self.b)
        h = f * h + (1.0 - f) * z
        return h, h
