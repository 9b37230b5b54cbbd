"""A recurrent cell of one's own, trained to remember the first symbol of a sequence, and drawn.

The cell is the minimal gated unit (Zhou et al. 2016): one gate, f, that both resets and updates. To
draw: custom_cell.py graph.svg
"""

import sys

import numpy as np

import tinygrad_rnn as tg


class MinimalGatedUnit(tg.Cell):
    """f = sigmoid(x W_f + h U_f + b_f); n = tanh(x W_n + (f * h) U_n + b_n).

    H' = (1 - f) * h + f * n.
    """

    def __init__(self, input_size, hidden_size, *, rng=None):
        rng = tg.init.generator(rng)
        self.hidden_size = hidden_size
        for gate in "fn":
            setattr(
                self,
                f"W_{gate}",
                tg.Parameter(tg.init.xavier_uniform((input_size, hidden_size), rng=rng)),
            )
            setattr(
                self,
                f"U_{gate}",
                tg.Parameter(tg.init.orthogonal((hidden_size, hidden_size), rng=rng)),
            )
            setattr(self, f"b_{gate}", tg.Parameter(tg.init.zeros((hidden_size,))))

    def forward(self, x, h):
        """One step."""
        f = tg.sigmoid(x @ self.W_f + h @ self.U_f + self.b_f)
        n = tg.tanh(x @ self.W_n + (f * h) @ self.U_n + self.b_n)
        h = (1 - f) * h + f * n
        return h, h


def main(picture=None, steps=300):
    """Train, report the accuracy, and draw the graph of one short sequence."""
    rng = np.random.default_rng(0)
    symbols, length, batch = 4, 10, 32
    cell = MinimalGatedUnit(symbols, 16, rng=rng)
    readout = tg.nn.Linear(16, symbols, rng=rng)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=0.01)
    hits = 0.0
    for step in range(1, steps + 1):
        ids = rng.integers(symbols, size=(length, batch))
        _, h = tg.unroll(cell, tg.one_hot(ids, symbols))
        logits = readout(h)
        loss = tg.nn.cross_entropy(logits, ids[0])
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        hits = float((tg.argmax(logits, axis=-1).numpy() == ids[0]).mean())
        if step % 100 == 0:
            print(
                f"step {step}: loss {loss.item():.3f}, first symbol recalled after {length} steps: {hits:.0%}"
            )
    if picture:
        ys, _ = tg.unroll(cell, tg.one_hot(rng.integers(symbols, size=(3, 1)), symbols))
        tg.draw((ys * ys).mean()).save(picture)
        print("wrote", picture)
    return hits


if __name__ == "__main__":
    main(*sys.argv[1:2])
