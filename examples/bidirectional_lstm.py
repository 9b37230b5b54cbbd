"""A label for every step that needs both sides: how many of the two neighbours are 1.

An LSTM that reads forwards knows the bit before and has to guess the bit after: it is right half of
the time.
"""

import numpy as np

import tinygrad_rnn as tg


def draw(rng, batch, longest=12):
    """Bits (time, batch, 1), the lengths of the sequences, and for each step the sum of the bits beside it."""
    lengths = rng.integers(longest // 2, longest + 1, batch)
    inside = np.arange(longest)[:, None] < lengths
    bits = rng.integers(2, size=(longest, batch)) * inside
    none = np.zeros((1, batch), bits.dtype)
    return (
        bits[..., None].astype(np.float32),
        lengths,
        np.concatenate([none, bits[:-1]]) + np.concatenate([bits[1:], none]),
        inside,
    )


class Forward(tg.nn.Module):
    """An LSTM and a linear layer on its output at each step."""

    def __init__(self, rng):
        self.lstm, self.output = tg.nn.LSTM(1, 16, rng=rng), tg.nn.Linear(16, 3, rng=rng)

    def forward(self, xs, lengths):
        """(time, batch, 1) to (time, batch, 3)."""
        return self.output(self.lstm(xs, lengths=lengths)[0])


def train(model, rng, steps):
    """The share of right labels on new sequences, after training."""
    optimizer = tg.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        xs, lengths, labels, inside = draw(rng, 32)
        loss = tg.nn.cross_entropy(model(xs, lengths), labels, inside)
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
    xs, lengths, labels, inside = draw(rng, 500)
    with tg.no_grad():
        right = model(xs, lengths).numpy().argmax(-1) == labels
    return float(right[inside].mean()), float((labels == 1)[inside].mean())


def main(steps=120):
    """Train both, and print the accuracies; they are returned."""
    forwards, _ = train(Forward(rng=0), np.random.default_rng(1), steps)
    both, always_one = train(
        tg.nn.BidirectionalLSTM(1, 16, 3, rng=0), np.random.default_rng(1), steps
    )
    found = {"always 1": always_one, "forwards only": forwards, "both directions": both}
    print(
        "right labels on new sequences: "
        + ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in found.items())
    )
    return found


if __name__ == "__main__":
    main()
