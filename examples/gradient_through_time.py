"""How much of the gradient is left k steps back.

An Elman network against an LSTM, from one backward pass each.
"""

import numpy as np

import tinygrad_rnn as tg


def norms(cell, xs):
    """The norm of d loss / d h_t for each step, where the loss looks at the last output only."""
    kept = []

    def watched(x, state):
        y, state = cell(x, state)
        y.retain_grad()
        kept.append(y)
        return y, state

    tg.unroll(watched, xs, cell.initial_state(xs.shape[1]))
    (kept[-1] * kept[-1]).sum().backward()
    return [float(np.linalg.norm(h.grad.numpy())) if h.grad is not None else 0.0 for h in kept]


def main(length=40):
    """Print the norms every five steps, as a share of the last."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(length, 8, 4)).astype(np.float32)
    found = {
        "Elman": norms(tg.cells.Elman(4, 16, rng=1), xs),
        "LSTM": norms(tg.cells.LSTM(4, 16, rng=1), xs),
    }
    print("steps back  " + "  ".join(f"{name:>9}" for name in found))
    for back in range(0, length, 5):
        print(f"{back:10}  " + "  ".join(f"{n[-1 - back] / n[-1]:9.2e}" for n in found.values()))
    return found


if __name__ == "__main__":
    main()
