"""Relatives of the LSTM.

In the docstrings I is input_size, H hidden_size, (h, c) the old state and (h', c') the new one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..core.errors import TinygradError
from ..module import Parameter
from ..ops.checks import number
from ..ops.elementwise import sigmoid, sqrt, square, tanh
from ..ops.reductions import mean
from ..ops.shaping import split
from .base import LSTMState, PublishedCell

__all__ = [
    "JANET",
    "LSTM1997",
    "WMCLSTM",
    "CoupledLSTM",
    "GreffLSTM",
    "LayerNormLSTM",
    "PeepholeLSTM",
]


class LSTM1997(PublishedCell):
    """Long short-term memory as first published: no forget gate.

        i  = sigmoid(W_i x + U_i h + b_i)
        o  = sigmoid(W_o x + U_o h + b_o)
        g  = 4 * sigmoid(W_g x + U_g h + b_g) - 2
        c' = c + i * g
        h' = o * (2 * sigmoid(c') - 1)

    The output is h'; the state is (h, c), each (batch, H). W (3H, I), U (3H, H), b (3H,): blocks in
    the order i, o, g.

    S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9 (1997).

    The two squashing functions are the paper's, with ranges (-2, 2) and (-1, 1); later accounts put
    tanh for both. Each memory block has one cell. In the paper's experiments gates may also hear
    the gates of the step before; here they hear h only.

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
        self.W, self.U, self.b = self.inputs(3), self.recurrent(3), self.bias(3)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        i, o, g = split(
            sigmoid(self.from_input(x, self.W) + self.from_state(h, self.U) + self.b), 3, axis=-1
        )
        c = c + i * (4.0 * g - 2.0)
        h = o * (2.0 * sigmoid(self.to_output(c)) - 1.0)
        return h, LSTMState(h, c)


class PeepholeLSTM(PublishedCell):
    """LSTM whose gates see the cell.

        i  = sigmoid(W_i x + U_i h + p_i * c + b_i)
        f  = sigmoid(W_f x + U_f h + p_f * c + b_f)
        g  = tanh(W_g x + U_g h + b_g)
        c' = f * c + i * g
        o  = sigmoid(W_o x + U_o h + p_o * c' + b_o)
        h' = o * tanh(c')

    The output is h'; the state is (h, c), each (batch, H). W (4H, I), U (4H, H), b (4H,): blocks in
    the order i, f, g, o. p (3H,): blocks in the order i, f, o. b_f starts at 1.

    F. A. Gers and J. Schmidhuber, Recurrent Nets that Time and Count, IJCNN 2000; F. A. Gers, N. N.
    Schraudolph and J. Schmidhuber, Learning Precise Timing with LSTM Recurrent Networks, JMLR 3
    (2002).

    The later paper leaves out the tanh of c' in the last line; it stands here as in A. Graves,
    Generating Sequences With Recurrent Neural Networks (2013), arXiv:1308.0850, and in K. Greff et
    al. (2017).

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
        self.W, self.U, self.b = self.inputs(4), self.recurrent(4), self.bias(4)
        self.p = self.vector(blocks=3)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        i, f, g, o = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 4, axis=-1
        )
        p_i, p_f, p_o = split(self.p, 3, axis=-1)
        i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), tanh(g)
        c = f * c + i * g
        h = sigmoid(o + p_o * c) * tanh(self.to_output(c))
        return h, LSTMState(h, c)


class CoupledLSTM(PublishedCell):
    """LSTM with coupled input and forget gate (CIFG).

        i  = sigmoid(W_i x + U_i h + p_i * c + b_i)
        g  = tanh(W_g x + U_g h + b_g)
        c' = (1 - i) * c + i * g
        o  = sigmoid(W_o x + U_o h + p_o * c' + b_o)
        h' = o * tanh(c')

    The output is h'; the state is (h, c), each (batch, H). W (3H, I), U (3H, H), b (3H,): blocks in
    the order i, g, o. p (2H,): blocks in the order i, o; with ``peepholes=False`` p is None and its
    two terms are left out. b_i starts at -1, so that the cell keeps more than it takes in.

    K. Greff, R. K. Srivastava, J. Koutnik, B. R. Steunebrink and J. Schmidhuber, LSTM: A Search
    Space Odyssey, IEEE Transactions on Neural Networks and Learning Systems 28 (2017),
    arXiv:1503.04069: the variant f = 1 - i of an LSTM with peepholes.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    peepholes : bool
        Whether the gates see the cell.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peepholes: bool = True,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.W, self.U, self.b = self.inputs(3), self.recurrent(3), self.bias(3)
        self.p = self.vector(blocks=2) if peepholes else None
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size, -1.0, gate=0, gates=3)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        i, g, o = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 3, axis=-1
        )
        p_i, p_o = (None, None) if self.p is None else split(self.p, 2, axis=-1)
        i, g = sigmoid(i if self.p is None else i + p_i * c), tanh(g)
        c = (1.0 - i) * c + i * g
        h = sigmoid(o if self.p is None else o + p_o * c) * tanh(self.to_output(c))
        return h, LSTMState(h, c)


class GreffLSTM(PublishedCell):
    """LSTM with peepholes from which one part has been taken away.

        i  = sigmoid(W_i x + U_i h + p_i * c + b_i)      variant "NIG": i = 1
        f  = sigmoid(W_f x + U_f h + p_f * c + b_f)      variant "NFG": f = 1
        g  = tanh(W_g x + U_g h + b_g)                   variant "NIAF": without the tanh
        c' = f * c + i * g
        o  = sigmoid(W_o x + U_o h + p_o * c' + b_o)     variant "NOG": o = 1
        h' = o * tanh(c')                                variant "NOAF": without the tanh

    The output is h'; the state is (h, c), each (batch, H). With n = 3 gates, or 2 in NIG, NFG and
    NOG: W ((n + 1) H, I), U ((n + 1) H, H), b ((n + 1) H,): blocks in the order i, f, o, g; p (n
    H,): blocks in the order i, f, o; without the missing gate. b_f starts at 1.

    K. Greff, R. K. Srivastava, J. Koutnik, B. R. Steunebrink and J. Schmidhuber, LSTM: A Search
    Space Odyssey, IEEE Transactions on Neural Networks and Learning Systems 28 (2017),
    arXiv:1503.04069. Of its other variants CIFG is `CoupledLSTM`, and NP, without peepholes,
    `LSTM`; FGR, in which gates hear gates, is left out.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    variant : {"NIG", "NFG", "NOG", "NIAF", "NOAF"}
        Which part is missing: the input, forget or output gate, or the tanh of the input or of the
        output.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        variant: str = "NIG",
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if variant not in ("NIG", "NFG", "NOG", "NIAF", "NOAF"):
            raise TinygradError(
                f"GreffLSTM: variant must be 'NIG', 'NFG', 'NOG', 'NIAF' or 'NOAF'; found {variant!r}"
            )
        self.variant = variant
        self.gates = [k for k in "ifo" if variant != f"N{k.upper()}G"]
        n = len(self.gates)
        self.W, self.U, self.p = self.inputs(n + 1), self.recurrent(n + 1), self.vector(blocks=n)
        self.b = Parameter(
            np.repeat([float(k == "f") for k in [*self.gates, "g"]], hidden_size).astype(dtype)
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        *sums, g = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b,
            len(self.gates) + 1,
            axis=-1,
        )
        a, p = (
            dict(zip(self.gates, sums)),
            dict(zip(self.gates, split(self.p, len(self.gates), axis=-1))),
        )
        i, f = (sigmoid(a[k] + p[k] * c) if k in self.gates else 1.0 for k in "if")
        c = f * c + i * (g if self.variant == "NIAF" else tanh(g))
        o = sigmoid(a["o"] + p["o"] * c) if "o" in self.gates else 1.0
        h = o * (self.to_output(c) if self.variant == "NOAF" else tanh(self.to_output(c)))
        return h, LSTMState(h, c)


class LayerNormLSTM(PublishedCell):
    """LSTM with layer normalisation.

        a = norm(U h) * alpha_1 + beta_1 + norm(W x) * alpha_2 + beta_2 + b, cut into i, f, g, o
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(norm(c') * alpha_3 + beta_3)
        norm(z) = (z - mean(z)) / sqrt(mean((z - mean(z)) ** 2) + eps), over all features of z (4H
        or H) of one sequence

    The output is h'; the state is (h, c), each (batch, H); the c' that is handed on is not
    normalised. W (4H, I), U (4H, H); b, alpha_1, beta_1, alpha_2 and beta_2 (4H,): blocks in the
    order i, f, g, o; alpha_3 and beta_3 (H,). The gains alpha start at 1, the shifts beta at 0, b_f
    at 1.

    J. L. Ba, J. R. Kiros and G. E. Hinton, Layer Normalization (2016), arXiv:1607.06450, equations
    20 to 22.

    The paper has no eps; it is needed where U h is 0, as at the first step. Other implementations
    normalise each gate by itself, or hand the normalised cell on.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    eps : float
        Is added to each variance, above 0.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        eps: float = 1e-5,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.eps = number(eps, "LayerNormLSTM: eps", "(0, inf)")
        self.W, self.U, self.b = self.inputs(4), self.recurrent(4), self.bias(4)
        self.alpha_1, self.alpha_2, self.alpha_3 = (
            self.bias(4, 1.0),
            self.bias(4, 1.0),
            self.bias(1, 1.0),
        )
        self.beta_1, self.beta_2, self.beta_3 = self.bias(4), self.bias(4), self.bias(1)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size)

    def norm(self, z: Any) -> Any:
        """Return x with mean 0 and variance 1 over the last axis."""
        d = z - mean(z, axis=-1, keepdims=True)
        return d / sqrt(mean(square(d), axis=-1, keepdims=True) + self.eps)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        a = (
            self.norm(self.from_state(h, self.U)) * self.alpha_1
            + self.beta_1
            + self.norm(self.from_input(x, self.W)) * self.alpha_2
            + self.beta_2
            + self.b
        )
        i, f, g, o = split(a, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(self.norm(c) * self.alpha_3 + self.beta_3)
        return h, LSTMState(h, c)


class JANET(PublishedCell):
    """Just another network: an LSTM with the forget gate alone.

        s  = W_f x + U_f h + b_f
        g  = tanh(W_g x + U_g h + b_g)
        h' = sigmoid(s) * h + (1 - sigmoid(s - beta)) * g

    The output is h', and h, shape (batch, H), is the state; the paper also calls it c. W (2H, I), U
    (2H, H), b (2H,): blocks in the order f, g. b_f starts at 1.

    J. van der Westhuizen and J. Lasenby, The Unreasonable Effectiveness of the Forget Gate (2018),
    arXiv:1804.04849, with beta = 1.

    For sequences of length T the paper starts b_f at log(u) with u uniform on [1, T - 1] (C. Tallec
    and Y. Ollivier, 2018); that is for the user to set, who knows T.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    beta : float
        What is taken from the forget gate's sum for the share of the new content; it is not
        trained.
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
        beta: float = 1.0,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.beta = beta
        self.W, self.U, self.b = self.inputs(2), self.recurrent(2), self.bias(2)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size, gate=0, gates=2)

    def forward(self, x: Any, h: Any) -> Any:
        """Make one step from x (batch, input_size) and the state."""
        s, g = split(self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 2, axis=-1)
        h = sigmoid(s) * h + (1.0 - sigmoid(s - self.beta)) * tanh(g)
        return h, h


class WMCLSTM(PublishedCell):
    """LSTM with working memory connections: the gates see a projection of the cell.

        i  = sigmoid(W_i x + U_i h + tanh(V_i c) + b_i)
        f  = sigmoid(W_f x + U_f h + tanh(V_f c) + b_f)
        g  = tanh(W_g x + U_g h + b_g)
        c' = f * c + i * g
        o  = sigmoid(W_o x + U_o h + tanh(V_o c') + b_o)
        h' = o * tanh(c')

    The output is h'; the state is (h, c), each (batch, H). W (4H, I), U (4H, H), b (4H,): blocks in
    the order i, f, g, o. V (2H, H): V_i, V_f; V_o (H, H). b_f starts at 1.

    F. Landi, L. Baraldi, M. Cornia and R. Cucchiara, Working Memory Connections for LSTM, Neural
    Networks 144 (2021), arXiv:2109.00020.

    The output gate sees the new cell c'; one public implementation gives it the old.

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
        self.W, self.U, self.b = self.inputs(4), self.recurrent(4), self.bias(4)
        self.V, self.V_o = self.inputs(2, hidden_size), self.inputs(1, hidden_size)
        self.b.data = init.forget_bias(self.b.numpy(), hidden_size)

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, c)."""
        h, c = state
        i, f, g, o = split(
            self.from_input(x, self.W) + self.from_state(h, self.U) + self.b, 4, axis=-1
        )
        ci, cf = split(tanh(self.from_state(c, self.V, name="c")), 2, axis=-1)
        c = sigmoid(f + cf) * c + sigmoid(i + ci) * tanh(g)
        h = sigmoid(o + tanh(self.from_state(c, self.V_o, name="c"))) * tanh(self.to_output(c))
        return h, LSTMState(h, c)
