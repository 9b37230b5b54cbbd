"""A model that writes.

It learns brackets from examples, and its own texts close every bracket that they open.

Counts of pairs of characters are the baseline: they do not know how many brackets are open.
"""

import numpy as np

import tinygrad_rnn as tg

CHARACTERS = "\n()"  # a line ends with what the next one begins with
DEEPEST = 3


def line(rng, longest=12):
    """Brackets that are balanced and at most three deep."""
    text, depth = "", 0
    while not text or depth or (len(text) < longest and rng.random() < 0.7):
        opens = depth == 0 or (
            depth < DEEPEST and len(text) + depth < longest and rng.random() < 0.6
        )
        text, depth = text + ("(" if opens else ")"), depth + (1 if opens else -1)
    return text + "\n"


def balanced(text):
    """Whether no bracket closes that was not open, all are closed, and none is too deep."""
    depths = np.cumsum([1 if c == "(" else -1 for c in text])
    return bool(text) and depths.min() >= 0 and depths.max() <= DEEPEST and depths[-1] == 0


def lines(ids):
    """The lines of a text, without what has no end."""
    return "".join(CHARACTERS[i] for i in ids).split("\n")[:-1]


def pairs(ids, rng, length):
    """A text drawn from the counts of pairs."""
    counts = np.zeros((3, 3))
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    text = [0]
    for _ in range(length):
        text.append(int(rng.choice(3, p=counts[text[-1]] / counts[text[-1]].sum())))
    return text[1:]


def main(steps=400, window=25, batch=16):
    """Train window by window, and print the shares of balanced lines; they are returned."""
    rng = np.random.default_rng(0)
    text = "".join(line(rng) for _ in range(4000))
    ids = np.array([CHARACTERS.index(c) for c in text])
    # (time, batch): each column a part of the text
    columns = ids[: len(ids) // batch * batch].reshape(batch, -1).T
    model = tg.nn.GenerativeLSTM(3, 4, 32, rng=rng)
    optimizer, state, place = tg.optim.Adam(model.parameters(), lr=0.01), None, 0
    for step in range(1, steps + 1):
        if place + window >= len(columns):
            state, place = None, 0
        logits, state = model(columns[place : place + window], state)
        loss = tg.nn.cross_entropy(logits, columns[place + 1 : place + window + 1])
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        state, place = tg.detach(state), place + window
        if step % 50 == 0:
            print(f"step {step}: {loss.item() / np.log(2):.3f} bits per character")
    # 20 texts at once, each after the end of a line
    drawn = model.generate(np.zeros((1, 20), int), 150, rng=rng)
    written = {
        "pairs of characters": lines(pairs(ids, rng, 10000)),
        "LSTM": [text for column in drawn.T for text in lines(column)],
    }
    print("for example:", " ".join(written["LSTM"][:5]))
    found = {
        name: float(np.mean([balanced(text) for text in texts])) for name, texts in written.items()
    }
    print(
        "balanced lines: " + ", ".join(f"{name} {portion:.1%}" for name, portion in found.items())
    )
    return found


if __name__ == "__main__":
    main()
