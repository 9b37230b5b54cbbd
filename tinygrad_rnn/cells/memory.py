"""Cells with a memory beside their hidden vector.

A matrix of fast weights, slots that attend to each other, an addressed store.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import init
from ..core.errors import ShapeError
from ..module import Parameter
from ..ops.along import softmax
from ..ops.checks import size
from ..ops.elementwise import relu, sigmoid, softplus, sqrt, square, stop_gradient, tanh
from ..ops.linear import einsum
from ..ops.reductions import norm
from ..ops.shaping import concatenate, expand_dims, split
from ..ops.shifting import roll
from .base import PublishedCell

__all__ = [
    "FastWeights",
    "FastWeightsState",
    "NTMState",
    "NeuralTuringMachine",
    "RelationalMemory",
    "RelationalMemoryState",
]


def normalised(x: Any, gain: Any, offset: Any) -> Any:
    """Normalise a layer over the last axis.

    The result is gain * (x - mean) / sqrt(variance + 1e-5) + offset, with the variance over the
    count.
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    return gain * centred / sqrt(square(centred).mean(axis=-1, keepdims=True) + 1e-5) + offset


class _Memory(PublishedCell):
    """Parameters whose sizes are those of the memory, not of the hidden vector."""

    def constant(self, size: int, value: float) -> Parameter:
        """Return a vector (size,) of one value."""
        return Parameter(np.full(size, value, self._dtype))


class FastWeightsState(NamedTuple):
    """Hidden vector h (batch, hidden_size) and fast weights A (batch, hidden_size, hidden_size)."""

    h: Any
    A: Any


class FastWeights(PublishedCell):
    """Recurrent network with fast weights, which attend to the recent past.

        A' = decay A + rate h h^T
        a  = W h + C x
        s_0     = relu(a)
        s_{k+1} = relu(LN(a + A' s_k)),  k = 0, ..., steps - 1
        h' = s_steps
        LN(v) = gain * (v - mean(v)) / sqrt(var(v) + 1e-5) + offset, the variance divided by H

    The output is h'. The state is (h, A), of shapes (batch, H) and (batch, H, H): the fast weights
    do not yet contain h. W (H, H), C (H, I), gain and offset (H,). W starts at 0.05 times the
    identity, gain at 1, offset and the state at 0.

    J. Ba, G. Hinton, V. Mnih, J. Z. Leibo and C. Ionescu, Using Fast Weights to Attend to the
    Recent Past, NIPS 2016, arXiv:1610.06258.

    As in the paper's formula s_0 is not normalised; some code normalises it.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    steps : int
        How often the fast weights are applied within a step, at least 0.
    decay : float
        How much of the fast weights stays at each step; not trained.
    rate : float
        How strongly a state is written to them; not trained.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = FastWeightsState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        steps: int = 1,
        decay: float = 0.95,
        rate: float = 0.5,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        self.steps, self.decay, self.rate = size(steps, "FastWeights: steps", 0), decay, rate
        self.W, self.C = Parameter(0.05 * np.eye(hidden_size, dtype=dtype)), self.inputs()
        self.gain, self.offset = self.bias(value=1.0), self.bias()

    def initial_state(self, batch_size: int) -> FastWeightsState:
        """Return zeros as the first state."""
        return FastWeightsState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.hidden_size, self.hidden_size),
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, A)."""
        h, A = state
        A = self.decay * A + self.rate * einsum("bi,bj->bij", h, h)
        a = self.from_state(h, self.W) + self.from_input(x, self.C)
        h = relu(a)
        for _ in range(self.steps):
            h = relu(normalised(a + einsum("bij,bj->bi", A, h), self.gain, self.offset))
        return h, FastWeightsState(h, A)


class RelationalMemoryState(NamedTuple):
    """Hidden slots h and memory slots m, each (batch, slots, hidden_size / slots)."""

    h: Any
    m: Any


def attention(queries: Any, keys: Any, values: Any, heads: int) -> Any:
    """Attend with (batch, N, F) to (batch, M, F), with the last axis cut into heads.

    It is dot-product attention; in the result the heads stand side by side again.
    """
    q, k, v = (a.reshape((*a.shape[:2], heads, -1)) for a in (queries, keys, values))
    weights = softmax(einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5, axis=-1)
    return einsum("bhij,bjhd->bihd", weights, v).reshape(queries.shape)


class _Slots(_Memory):
    """The part of a `RelationalMemory` without gates: what a step may write into each slot."""

    def __init__(
        self, input_size: int, hidden_size: int, slots: int, heads: int, *, rng: Any, dtype: Any
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if slots < 1 or heads < 1 or hidden_size % (slots * heads):
            raise ShapeError(
                f"RelationalMemory: slots * heads must divide hidden_size = {hidden_size}; found {slots} * {heads}"
            )
        self.slots, self.heads, F = slots, heads, hidden_size // slots
        self.W_e, self.b_e = self.xavier(F, input_size), self.constant(F, 0.0)
        self.W_qkv = self.xavier(3 * F, F, 3)
        self.W_1, self.b_1, self.W_2, self.b_2 = (
            self.xavier(F, F),
            self.constant(F, 0.0),
            self.xavier(F, F),
            self.constant(F, 0.0),
        )
        self.gain_1, self.offset_1 = self.constant(F, 1.0), self.constant(F, 0.0)
        self.gain_2, self.offset_2 = self.constant(F, 1.0), self.constant(F, 0.0)

    def content(self, x: Any, m: Any) -> Any:
        """Return the new content (batch, N, F) from x (batch, input_size) and (batch, N, F)."""
        rows = concatenate([m, expand_dims(x @ self.W_e.T + self.b_e, 1)], axis=1)
        q, k, v = split(rows @ self.W_qkv.T, 3, axis=-1)
        s = normalised(
            m + attention(q[:, : self.slots], k, v, self.heads), self.gain_1, self.offset_1
        )
        return normalised(
            s + relu(s @ self.W_1.T + self.b_1) @ self.W_2.T + self.b_2, self.gain_2, self.offset_2
        )


class RelationalMemory(_Slots):
    """Relational memory core: slots that attend to each other and to the input.

    They keep their content by gates.

        rows = m, and below it W_e x + b_e: N + 1 rows of F
        q, k, v = rows W_q^T, rows W_k^T, rows W_v^T, and of q the N rows of m alone
        A  = softmax(q k^T / sqrt(D)) v, in each head, the heads side by side
        s  = LN_1(m + A)
        r  = LN_2(s + relu(s W_1^T + b_1) W_2^T + b_2)
        f, i, o = sigmoid(W x + h U^T + b), W x the same for every slot
        m' = f * m + i * r
        h' = o * tanh(m')
        LN_j(v) = gain_j * (v - mean(v)) / sqrt(var(v) + 1e-5) + offset_j in each row, the variance
        divided by F

    The output is h' slot after slot, (batch, H). The state is (h, m), each (batch, N, F): N =
    `slots`, F = H / N, D = F / `heads`; head j has the columns j D to (j + 1) D - 1 of q, k and v.
    W (3F, I), U (3F, F), b (3F,): blocks in the order f, i, o. W_qkv (3F, F): blocks q, k, v. W_e
    (F, I); W_1, W_2 (F, F); b_e, b_1, b_2, gain_1, gain_2, offset_1, offset_2 (F,). m starts as the
    first N rows of the identity, so that slots differ, and h at zero; b_f and both gains start at
    1.

    A. Santoro et al., Relational Recurrent Neural Networks, NeurIPS 2018, arXiv:1806.01822.

    The gates are those of the paper's equations, one number for each unit. The authors' code
    differs: tanh(m) stands for h, there is no o and the output is m', tanh(r) takes the place of r,
    the row of the input asks too, and q, k, v have biases and are normalised.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    slots, heads : int
        N and the number of heads; their product divides hidden_size.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = RelationalMemoryState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        slots: int = 4,
        heads: int = 1,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, slots, heads, rng=rng, dtype=dtype)
        F = hidden_size // slots
        self.W, self.U = self.xavier(3 * F, input_size, 3), self.xavier(3 * F, F, 3)
        self.b = Parameter(init.forget_bias(init.zeros((3 * F,), dtype=dtype), F, gate=0, gates=3))

    def initial_state(self, batch_size: int) -> RelationalMemoryState:
        """Return h = 0 and m = the identity, cut or continued with zeros."""
        zeros = self.zeros(batch_size, self.slots, self.hidden_size // self.slots)
        return RelationalMemoryState(zeros, zeros + np.eye(*zeros.shape[1:], dtype=self._dtype))

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, m)."""
        h, m = state
        gates = expand_dims(self.from_input(x, self.W), 1) + self.from_state(h, self.U) + self.b
        f, i, o = split(sigmoid(gates), 3, axis=-1)
        m = f * m + i * self.content(x, m)
        h = o * tanh(m)
        return h.reshape((-1, self.hidden_size)), RelationalMemoryState(h, m)


class NTMState(NamedTuple):
    """The state of a neural Turing machine with N slots of M numbers.

    It has the controller h (batch, hidden_size), the vector r (batch, M) that was read last, the
    weightings (batch, N) of the two heads, and the memory (batch, N, M).
    """

    h: Any
    r: Any
    w_read: Any
    w_write: Any
    memory: Any


def addressed(memory: Any, w: Any, head: Any) -> Any:
    """Return the weighting (batch, N) of a head.

    It is made from the memory (batch, N, M), the last weighting, and the M + 6 numbers of the head
    (batch, M + 6).
    """
    M = memory.shape[-1]
    k, beta, g, s, gamma = split(head, [M, M + 1, M + 2, M + 5], axis=-1)
    lengths = norm(memory, axis=-1) * norm(k, axis=-1, keepdims=True)
    similarity = einsum("bnm,bm->bn", memory, k) / (lengths + 1e-8)
    g, s = sigmoid(g), softmax(s, axis=-1)
    w = g * softmax(softplus(beta) * similarity, axis=-1) + (1 - g) * w
    w = (
        s[:, 0:1] * roll(w, shift=-1, axis=-1)
        + s[:, 1:2] * w
        + s[:, 2:3] * roll(w, shift=1, axis=-1)
    )
    # the largest is 1, so that a high power leaves it
    w = (w / stop_gradient(w.max(axis=-1, keepdims=True))) ** (1 + softplus(gamma))
    return w / w.sum(axis=-1, keepdims=True)


class NeuralTuringMachine(_Memory):
    """Neural Turing machine: a simple recurrent controller, a head that writes and one that reads.

        h' = tanh(W [x; r] + U h + b)
        read, write, e, a = W_heads h' + b_heads, cut into M + 6, M + 6, M, M
        w_write' = address(memory, w_write, write)
        memory'_n = memory_n * (1 - w_write'_n sigmoid(e)) + w_write'_n a
        w_read' = address(memory', w_read, read)
        r' = sum_n w_read'_n memory'_n
        y  = W_y [h'; r'] + b_y

    A head's numbers are k (M), beta, g, s (3), gamma, and address(memory, w, head) is

        w_c = softmax over n of softplus(beta) * (k . memory_n) / (|k| |memory_n| + 1e-8)
        w_g = sigmoid(g) * w_c + (1 - sigmoid(g)) * w
        t   = softmax(s)
        v_n = t_0 w_g[n + 1] + t_1 w_g[n] + t_2 w_g[n - 1], the index modulo N
        w'_n = v_n^p / sum_j v_j^p,  p = 1 + softplus(gamma)

    The output is y, shape (batch, H). The state is (h, r, w_read, w_write, memory), of shapes
    (batch, H), (batch, M), (batch, N), (batch, N) and (batch, N, M): N = `slots`, M = `width`. W
    (H, I + M), U (H, H), b (H,), W_heads (4M + 12, H), b_heads (4M + 12,), W_y (H, H + M), b_y
    (H,). b_heads starts uniform on [-0.1, 0.1], since a key of zeros has no direction. The
    weightings start on slot 0, the memory at 1e-6 (M. Collier and J. Beel, Implementing Neural
    Turing Machines, ICANN 2018, arXiv:1807.08518), h and r at zero.

    A. Graves, G. Wayne and I. Danihelka, Neural Turing Machines (2014), arXiv:1410.5401.

    The paper does not say which head comes first; much code reads before it writes. Here the read
    head sees what was just written.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input, and units.
    slots, width : int
        N and M: how many slots the memory has, and how many numbers are in each.
    rng : numpy Generator or int, optional
        For first values.
    dtype : dtype
        Of the parameters: float32 or float64.
    """

    State = NTMState
    bookkeeping = ("w_read", "w_write")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        slots: int = 16,
        width: int = 8,
        rng: Any = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(input_size, hidden_size, rng=rng, dtype=dtype)
        if slots < 1 or width < 1:
            raise ShapeError(
                f"NeuralTuringMachine: slots and width must be at least 1; found {slots} and {width}"
            )
        self.slots, self.width, numbers = slots, width, 4 * width + 12
        self.W, self.U, self.b = (
            self.inputs(columns=input_size + width),
            self.recurrent(),
            self.bias(),
        )
        self.W_heads = self.xavier(numbers, hidden_size)
        # a key of zeros would have no direction
        self.b_heads = Parameter(init.uniform((numbers,), 0.1, rng=self._rng, dtype=dtype))
        self.W_y, self.b_y = self.xavier(hidden_size, hidden_size + width), self.bias()

    def initial_state(self, batch_size: int) -> NTMState:
        """Return the heads on slot 0, an even and nearly empty memory, and zeros for the rest."""
        first = self.zeros(batch_size, self.slots) + np.eye(1, self.slots, dtype=self._dtype)
        memory = self.zeros(batch_size, self.slots, self.width) + 1e-6
        return NTMState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.width),
            first,
            first,
            memory,
        )

    def forward(self, x: Any, state: Any) -> Any:
        """Make one step from x (batch, input_size) and (h, r, w_read, w_write, memory)."""
        h, r, w_read, w_write, memory = state
        h = tanh(
            self.from_input(concatenate([x, r], axis=-1), self.W)
            + self.from_state(h, self.U)
            + self.b
        )
        M = self.width
        read, write, e, a = split(
            h @ self.W_heads.T + self.b_heads, [M + 6, 2 * M + 12, 3 * M + 12], axis=-1
        )
        w_write = addressed(memory, w_write, write)
        memory = memory * (1 - einsum("bn,bm->bnm", w_write, sigmoid(e))) + einsum(
            "bn,bm->bnm", w_write, a
        )
        w_read = addressed(memory, w_read, read)
        r = einsum("bn,bnm->bm", w_read, memory)
        y = concatenate([h, r], axis=-1) @ self.W_y.T + self.b_y
        return y, NTMState(h, r, w_read, w_write, memory)
