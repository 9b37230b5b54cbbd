"""A differentiable neural computer as a user would write it: a step with long chains of values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg


class State(NamedTuple):
    """The controller's vector, the memory, and what addresses it, each with the batch in front."""

    h: Any
    memory: Any  # (slots, width)
    usage: Any  # (slots,)
    link: Any  # (slots, slots)
    precedence: Any  # (slots,)
    write: Any  # (slots,)
    read: Any  # (slots,)


class DNC(tg.Cell):
    """One read head and one write head; A. Graves et al., Nature 538 (2016), equations of Methods."""

    def __init__(self, inputs: int, hidden: int, slots: int, width: int, dtype: Any) -> None:
        rng = np.random.default_rng(0)
        self.hidden, self.slots, self.width = hidden, slots, width
        self.W = tg.Parameter(rng.normal(size=(hidden, inputs + hidden + width)).astype(dtype))
        self.interface = tg.Parameter(rng.normal(size=(4 * width + 8, hidden)).astype(dtype))
        self.out = tg.Parameter(rng.normal(size=(inputs, hidden + width)).astype(dtype))

    def initial_state(self, batch_size: int) -> State:
        n, dtype = self.slots, self.W.dtype
        shapes = [(self.hidden,), (n, self.width), (n,), (n, n), (n,), (n,), (n,)]
        return State(*[tg.tensor(np.full((batch_size, *s), 0.01, dtype)) for s in shapes])

    def by_content(self, memory: Any, key: Any, strength: Any) -> Any:
        """Softmax over the slots of the cosine of their angle to a key."""
        scale = tg.norm(memory, axis=-1) * tg.norm(key, axis=-1, keepdims=True) + 1e-6
        cosine = tg.einsum("bnw,bw->bn", memory, key) / scale
        return tg.softmax(cosine * (1.0 + tg.softplus(strength)), -1)

    def allocation(self, usage: Any) -> Any:
        """(1 - u_i) times the product of the usage of all slots that are used less."""
        less = tg.expand_dims(usage, 1) < tg.expand_dims(usage, 2)
        each = tg.where(less, tg.log(tg.expand_dims(usage, 1) + 1e-6), 0.0)
        return (1.0 - usage) * tg.exp(each.sum(axis=-1))

    def forward(self, x: Any, s: State) -> Any:
        w, n = self.width, self.slots
        held = tg.einsum("bn,bnw->bw", s.read, s.memory)
        h = tg.tanh(tg.concatenate([x, s.h, held], axis=-1) @ self.W.T)
        z = h @ self.interface.T
        read_key, write_key, erase, write = (z[:, k * w : (k + 1) * w] for k in range(4))
        gates = z[:, 4 * w :]
        free, allocate, gate = (tg.sigmoid(gates[:, k : k + 1]) for k in range(3))
        modes = tg.softmax(gates[:, 5:8], -1)
        retained = 1.0 - free * s.read
        usage = (s.usage + s.write - s.usage * s.write) * retained
        content = self.by_content(s.memory, write_key, gates[:, 3:4])
        write_to = gate * (allocate * self.allocation(usage) + (1.0 - allocate) * content)
        kept = 1.0 - tg.expand_dims(write_to, 2) * tg.expand_dims(tg.sigmoid(erase), 1)
        memory = s.memory * kept + tg.expand_dims(write_to, 2) * tg.expand_dims(write, 1)
        to, of = tg.expand_dims(write_to, 2), tg.expand_dims(write_to, 1)
        link = (1.0 - to - of) * s.link + to * tg.expand_dims(s.precedence, 1)
        link = link * (1.0 - np.eye(n, dtype=self.W.dtype))
        precedence = (1.0 - write_to.sum(axis=-1, keepdims=True)) * s.precedence + write_to
        forwards = tg.einsum("bij,bj->bi", link, s.read)
        backwards = tg.einsum("bij,bi->bj", link, s.read)
        found = self.by_content(memory, read_key, gates[:, 4:5])
        read = modes[:, :1] * backwards + modes[:, 1:2] * found + modes[:, 2:] * forwards
        y = tg.concatenate([h, tg.einsum("bn,bnw->bw", read, memory)], axis=-1) @ self.out.T
        return y, State(h, memory, usage, link, precedence, write_to, read)
