"""A convolution for each frame and an LSTM over the frames.

They tell which of two signs in a film comes first.

A sign may stand anywhere, which the convolution and its pooling do not mind; no single frame shows
the order, which the LSTM keeps.
"""

import numpy as np

import tinygrad_rnn as tg

# a plus and a cross
SIGNS = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[1, 0, 1], [0, 1, 0], [1, 0, 1]]])
SIZE, FRAMES = 8, 5


def draw(rng, batch):
    """Films, (time, batch, 1, height, width), of noise, with both signs in two of the frames.

    And the number of the first.
    """
    films = 0.2 * rng.standard_normal((FRAMES, batch, 1, SIZE, SIZE))
    first = rng.integers(2, size=batch)
    for film in range(batch):
        when = np.sort(rng.permutation(FRAMES)[:2])
        for frame, sign in zip(when, (first[film], 1 - first[film]), strict=True):
            row, column = rng.integers(SIZE - 2, size=2)
            films[frame, film, 0, row : row + 3, column : column + 3] += SIGNS[sign]
    return films.astype(np.float32), first


def linear_accuracy(rng, count=2000):
    """Least squares from all pixels of all frames, on new films."""
    (films, first), (test_films, test_first) = draw(rng, count), draw(rng, count)
    rows, test_rows = (
        np.c_[x.swapaxes(0, 1).reshape(count, -1), np.ones(count)] for x in (films, test_films)
    )
    weights = np.linalg.lstsq(rows, np.eye(2)[first], rcond=None)[0]
    return float(np.mean((test_rows @ weights).argmax(-1) == test_first))


def main(steps=300):
    """Train, and print the accuracies; they are returned."""
    rng = np.random.default_rng(0)
    model = tg.nn.CNNLSTM(1, SIZE, SIZE, filters=4, hidden_size=16, output_size=2, pool=4, rng=rng)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1, steps + 1):
        films, first = draw(rng, 32)
        logits = model(films)
        loss = tg.nn.cross_entropy(logits, first)
        optimizer.zero_grad()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    films, first = draw(rng, 500)
    with tg.no_grad():
        right = float(np.mean(model(films).numpy().argmax(-1) == first))
    found = {"chance": 0.5, "linear": linear_accuracy(rng), "CNN and LSTM": right}
    print(
        "accuracy on new films: "
        + ", ".join(f"{name} {accuracy:.0%}" for name, accuracy in found.items())
    )
    return found


if __name__ == "__main__":
    main()
