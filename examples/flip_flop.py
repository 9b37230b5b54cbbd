"""An LSTM that remembers three bits, and the eight states in which it does so.

Pulses of +1 and -1 come on three channels, and the outputs hold the last pulse of each (D. Sussillo and
O. Barak, Opening the Black Box, Neural Computation 25, 2013). Without a pulse, the network rests: each
memory of three bits is a stable fixed point, and between them are saddles. To draw: flip_flop.py portrait.svg
"""

import sys

import numpy as np

import tinygrad_rnn as tg


def flip_flop(rng, steps, batch):
    """Pulses, with one on each channel at the first step, and what the outputs should be."""
    pulses = (rng.random((steps, batch, 3)) < 0.2) * rng.choice([-1.0, 1.0], (steps, batch, 3))
    pulses[0] = rng.choice([-1.0, 1.0], (batch, 3))
    targets = pulses.copy()
    for t in range(1, steps):
        targets[t] = np.where(pulses[t] == 0, targets[t - 1], pulses[t])
    return pulses.astype(np.float32), targets.astype(np.float32)


def train(seed, units=16, steps=800):
    """Return a trained cell and its readout."""
    rng = np.random.default_rng(seed)
    cell, readout = tg.cells.LSTM(3, units, rng=rng), tg.nn.Linear(units, 3, rng=rng)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=0.01)

    @tg.jit
    def step(pulses, targets):
        optimizer.zero_grad()
        loss = ((readout(tg.unroll(cell, pulses)[0]) - targets) ** 2).mean()
        loss.backward()
        tg.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        return loss

    for _ in range(steps):
        step(*flip_flop(rng, 24, 64))
    return cell, readout


def memories(points, readout):
    """The bits that the readout shows at each stable point."""
    return [tuple(bits) for bits in np.sign(readout(points[points.stable].states.h).numpy())]


def main(picture=None, seed=0):
    """Train, search from states that were visited, and show what was found."""
    cell, readout = train(seed)
    pulses, _ = flip_flop(np.random.default_rng(1), 50, 64)
    _, visited = tg.unroll(cell, pulses, return_states=True)
    system = tg.dynamics(cell)
    points = system.points(visited, count=500, method="descent")
    print(points)
    if picture:
        _, paths = tg.unroll(cell, pulses[:, :16], return_states=True)
        system.portrait(points, paths).save(picture)
        print("wrote", picture)
    return memories(points, readout)


if __name__ == "__main__":
    main(*sys.argv[1:2])
