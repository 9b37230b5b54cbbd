"""One LSTM reads a sequence, another writes one of another length.

Digits are to be sorted, each kind written once.

The decoder learns from true beginnings (teacher forcing) and is used on its own, by greedy choice
and by beam search.
"""

import numpy as np

import tinygrad_rnn as tg

START, STOP, KINDS = 0, 1, 5  # tokens: 0 and 1 stand before and after, the digits are 2 to 6


def draw(rng, batch, longest=5):
    """Sources (S, batch), their lengths, targets (T, batch) with stop at their ends, and a mask of what counts in these."""
    lengths = rng.integers(1, longest + 1, batch)
    source = rng.integers(2, 2 + KINDS, (longest, batch))
    target = np.full((KINDS + 1, batch), STOP)
    mask = np.zeros((KINDS + 1, batch))
    for row in range(batch):
        kinds = np.unique(source[: lengths[row], row])
        target[: len(kinds), row] = kinds
        mask[: len(kinds) + 1, row] = 1
    return source, lengths, target, mask


def exact(found, target):
    """The share of outputs that are right in every digit."""
    return float(
        np.mean(
            [
                words == [t for t in wanted if t != STOP]
                for words, wanted in zip(found, target.T.tolist(), strict=True)
            ]
        )
    )


def main(steps=250):
    """Train, and print the shares of right outputs; they are returned."""
    rng = np.random.default_rng(0)
    model = tg.nn.EncoderDecoderLSTM(2 + KINDS, 2 + KINDS, 8, 48, start=START, stop=STOP, rng=rng)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    schedule = tg.optim.Schedule(optimizer, tg.optim.cosine(0.01, steps))
    for step in range(1, steps + 1):
        source, lengths, target, mask = draw(rng, 64)
        loss = tg.nn.cross_entropy(model(source, target, lengths), target, mask)
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f} nats for a token")
    source, lengths, target, _ = draw(rng, 500)
    subsets = 2**KINDS - 1
    found = {"a random set": 1 / subsets}
    for name, beam in (("greedy", 1), ("a beam of 4", 4)):
        found[name] = exact(model.decode(source, lengths, max_length=KINDS + 1, beam=beam), target)
    example = model.decode(source[:, :1], lengths[:1], max_length=KINDS + 1)[0]
    print(f"for example {source[: lengths[0], 0].tolist()} gives {example}")
    print(
        "right in every digit, on new sequences: "
        + ", ".join(f"{name} {share:.1%}" for name, share in found.items())
    )
    return found


if __name__ == "__main__":
    main()
