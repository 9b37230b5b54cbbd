"""One LSTM layer, from a sequence to one number.

To repeat the value that was marked, somewhere in the sequence.

A linear model of the whole sequence cannot: what it would have to multiply by is itself an input.
"""

import numpy as np

import tinygrad_rnn as tg


def draw(rng, batch, length):
    """Pairs of a value from [-1, 1] and a mark, one of which is 1, as (time, batch, 2).

    And the marked values, (batch, 1).
    """
    values, marks = rng.uniform(-1, 1, (length, batch)), np.zeros((length, batch))
    marked = rng.integers(length, size=batch)
    marks[marked, np.arange(batch)] = 1
    return np.stack([values, marks], axis=-1).astype(np.float32), values[marked, np.arange(batch)][
        :, None
    ].astype(np.float32)


def linear_error(rng, length, count=4000):
    """The error of least squares on all values and marks, on fresh sequences."""
    (xs, targets), (test_xs, test_targets) = draw(rng, count, length), draw(rng, count, length)
    rows, test_rows = (
        np.c_[x.swapaxes(0, 1).reshape(count, -1), np.ones(count)] for x in (xs, test_xs)
    )
    weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return float(np.mean((test_rows @ weights - test_targets) ** 2))


def main(steps=300, length=15):
    """Train, and print the errors; they are returned."""
    rng = np.random.default_rng(0)
    model = tg.nn.VanillaLSTM(2, 16, 1, rng=rng)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1, steps + 1):
        xs, targets = draw(rng, 32, length)
        loss = tg.nn.mse_loss(model(xs), targets)
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: mean squared error {loss.item():.4f}")
    xs, targets = draw(rng, 1000, length)
    with tg.no_grad():
        found = {
            "the mean": float(np.mean(targets**2)),
            "linear": linear_error(rng, length),
            "LSTM": tg.nn.mse_loss(model(xs), targets).item(),
        }
    print(
        f"mean squared error on new sequences of {length}: "
        + ", ".join(f"{name} {error:.4f}" for name, error in found.items())
    )
    return found


if __name__ == "__main__":
    main()
