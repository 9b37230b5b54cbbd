"""Programs for PyTorch and libraries that are called like it: modules, optimisers, training loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def expression_of_values() -> None:
    """The expression of numbers on micrograd's front page, with its two gradients.

    Written for: micrograd, README. Changed: `Value(2.0)` is `tg.tensor(2.0, requires_grad=True)`,
    `a.relu()` is `tg.relu(a)`, `.data` of a number is `.item()`.
    """
    a, b = (tg.tensor(np.float64(x), requires_grad=True) for x in (-4.0, 2.0))
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + tg.relu(b + a)
    d += 3 * d + tg.relu(b - a)
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    assert f"{g.item():.4f}" == "24.7041"
    g.backward()
    assert f"{a.grad.item():.4f} {b.grad.item():.4f}" == "138.8338 645.5773"


def net_for_two_moons() -> None:
    """micrograd's net of two hidden layers, for two moons, with the hinge loss.

    Written for: micrograd, demo.ipynb. Changed: a layer is `nn.Linear` and not a list of neurons;
    the list of scores is one tensor.
    """
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, np.pi, 50)
    first = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.concatenate([first, [1.0, 0.5] - first * [1.0, 1.0]]) + 0.1 * rng.normal(size=(100, 2))
    x, y = x.astype(np.float32), np.repeat([1.0, -1.0], 50).astype(np.float32)

    class MLP(tg.Module):
        def __init__(self) -> None:
            sizes = [2, 16, 16, 1]
            self.layers = [nn.Linear(m, n, rng=m + n) for m, n in itertools.pairwise(sizes)]

        def forward(self, x: Any) -> Any:
            for layer in self.layers[:-1]:
                x = tg.relu(layer(x))
            return self.layers[-1](x)

    model = MLP()
    assert sum(p.size for p in model.parameters()) == 337
    for k in range(100):
        scores = model(x)[:, 0]
        penalty = 1e-4 * sum((p * p).sum() for p in model.parameters())
        total = tg.relu(1 - y * scores).mean() + penalty
        for p in model.parameters():
            p.grad = None
        total.backward()
        for p in model.parameters():
            p.data -= (1.0 - 0.9 * k / 100) * p.grad.numpy()
    assert ((model(x).numpy()[:, 0] > 0) == (y > 0)).mean() > 0.97


def names_by_bigrams() -> None:
    """A model of names by pairs of letters, learnt by gradient descent, against counts.

    Written for: PyTorch, makemore, part 1. Changed: `F.one_hot(xs, num_classes=27).float()` is
    `tg.one_hot(xs, 27)`; `W.grad = None` and `W.data += ...` as they are, with `.numpy()`.
    """
    xs, ys, letters = _pairs()
    w = tg.tensor(np.zeros((letters, letters)), requires_grad=True)
    for _ in range(300):
        encoded = tg.one_hot(xs, letters).astype(np.float64)
        logits = encoded @ w
        counts = logits.exp()
        probs = counts / counts.sum(1, keepdims=True)
        loss = -probs[np.arange(len(xs)), ys].log().mean()
        w.grad = None
        loss.backward()
        w.data += -20 * w.grad.numpy()
    table = np.full((letters, letters), 1e-3)
    np.add.at(table, (xs, ys), 1)
    table /= table.sum(1, keepdims=True)
    assert loss.item() - -np.log(table[xs, ys]).mean() < 0.02


NAMES = [
    "emma",
    "olivia",
    "ava",
    "isabella",
    "sophia",
    "charlotte",
    "mia",
    "amelia",
    "harper",
    "evelyn",
    "abigail",
    "emily",
    "ella",
    "liam",
    "noah",
    "oliver",
]


def _pairs() -> tuple[Any, Any, int]:
    letters = sorted(set("." + "".join(NAMES)))
    ids = [[letters.index(c) for c in f".{name}."] for name in NAMES]
    xs = np.array([a for word in ids for a in word[:-1]])
    ys = np.array([b for word in ids for b in word[1:]])
    return xs, ys, len(letters)


def _contexts(size: int) -> tuple[Any, Any, int]:
    letters = sorted(set("." + "".join(NAMES)))
    found, targets = [], []
    for name in NAMES:
        context = [0] * size
        for c in [*name, "."]:
            found.append(context)
            targets.append(letters.index(c))
            context = [*context[1:], targets[-1]]
    return np.array(found), np.array(targets), len(letters)


def names_by_a_net() -> None:
    """Letters from the three before them: embeddings, a hidden layer with batch normalisation, a loss.

    Written for: PyTorch, makemore, parts 2 and 3. Changed: the normalisation by hand is the same but
    for `keepdim=True`, which is `keepdims=True`, and `x.std(0)`, whose count is `correction=1`.
    """
    xs, ys, letters = _contexts(3)
    rng = np.random.default_rng(0)
    shapes = [(letters, 8), (24, 64), (64, letters)]
    c, w1, w2 = (tg.Parameter((rng.normal(size=s) * 0.2).astype(np.float32)) for s in shapes)
    b2, gain, shift = (
        tg.Parameter(np.full(n, v, np.float32)) for n, v in ((letters, 0.0), (64, 1.0), (64, 0.0))
    )
    parameters, losses = [c, w1, w2, b2, gain, shift], []
    for _ in range(100):
        emb = c[xs]
        before = emb.reshape(emb.shape[0], -1) @ w1
        normal = (before - before.mean(0, keepdims=True)) / (
            before.std(0, correction=1, keepdims=True) + 1e-5
        )
        h = tg.tanh(gain * normal + shift)
        loss = nn.cross_entropy(h @ w2 + b2, ys)
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data -= 0.5 * p.grad.numpy()
        losses.append(loss.item())
    assert losses[-1] < 0.45 * losses[0]


def names_by_a_wavenet() -> None:
    """makemore's WaveNet: neighbours are joined in pairs, level by level.

    Written for: PyTorch, makemore, part 5. Changed: `x.view(B, T // n, C * n)` is `x.reshape(...)`;
    `Sequential` is a loop over a list; `BatchNorm1d` over two axes is `nn.BatchNorm` of reshaped rows.
    """
    xs, ys, letters = _contexts(8)

    class FlattenConsecutive(tg.Module):
        def __init__(self, n: int) -> None:
            self.n = n

        def forward(self, x: Any) -> Any:
            rows, time, features = x.shape
            x = x.reshape(rows, time // self.n, features * self.n)
            return x.squeeze(1) if x.shape[1] == 1 else x

    class Tanh(tg.Module):
        def forward(self, x: Any) -> Any:
            return tg.tanh(x)

    class BatchNorm1d(tg.Module):
        def __init__(self, size: int) -> None:
            self.norm = nn.BatchNorm(size)

        def forward(self, x: Any) -> Any:
            return self.norm(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    def level(size: int, seed: int) -> list[tg.Module]:
        return [
            FlattenConsecutive(2),
            nn.Linear(2 * size, 24, bias=False, rng=seed),
            BatchNorm1d(24),
            Tanh(),
        ]

    layers = [
        nn.Embedding(letters, 8, rng=0),
        *level(8, 1),
        *level(24, 2),
        *level(24, 3),
        nn.Linear(24, letters, rng=4),
    ]

    def model(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    parameters = [p for layer in layers for p in layer.parameters()]
    optimizer, losses = tg.optim.Adam(parameters, lr=0.02), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.cross_entropy(model(xs), ys)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def recurrent_net_from_scratch() -> None:
    """A recurrent language model from scratch: one-hot letters, a state, clipped gradients, perplexity.

    Written for: PyTorch, Dive into Deep Learning, chapter 9. Changed: `F.one_hot(X.T, n)` is
    `tg.one_hot(X.T, n)`, of float32; the loop over time may stay, `tg.unroll` compiles it.
    """
    text = "the time traveller for so it will be convenient to speak of him " * 2
    letters = sorted(set(text))
    corpus = np.array([letters.index(c) for c in text])
    hidden, n = 32, len(letters)
    rng = np.random.default_rng(0)

    class RNNScratch(tg.Cell):
        def __init__(self) -> None:
            self.W_xh, self.W_hh, self.W_hq = (
                tg.Parameter((rng.normal(size=s) * 0.1).astype(np.float32))
                for s in ((n, hidden), (hidden, hidden), (hidden, n))
            )
            self.b_h, self.b_q = (
                tg.Parameter(np.zeros(hidden, np.float32)),
                tg.Parameter(np.zeros(n, np.float32)),
            )

        def initial_state(self, batch: int) -> Any:
            return tg.zeros(batch, hidden)

        def forward(self, x: Any, state: Any) -> Any:
            state = tg.tanh(x @ self.W_xh + state @ self.W_hh + self.b_h)
            return state @ self.W_hq + self.b_q, state

    net, steps = RNNScratch(), 16
    cell = tg.jit(net)
    starts = np.arange(0, len(corpus) - steps - 1, 4)
    x, y = (np.stack([corpus[s + k : s + k + steps] for s in starts]) for k in (0, 1))
    perplexities = []
    for _ in range(120):
        for p in net.parameters():
            p.grad = None
        logits, _ = tg.unroll(cell, tg.one_hot(x.T, n))
        loss = nn.cross_entropy(logits, y.T)
        loss.backward()
        tg.clip_grad_norm(net.parameters(), 1.0)
        for p in net.parameters():
            p.data -= 1.0 * p.grad.numpy()
        perplexities.append(np.exp(loss.item()))
    assert perplexities[0] > 0.8 * n and perplexities[-1] < 2.5


def polynomial_for_a_sine() -> None:
    """A third-order polynomial fitted to a sine by gradient descent.

    Written for: PyTorch, Learning PyTorch with Examples. Changed: `torch.randn((), requires_grad=
    True)` is `tg.random.normal((), rng=..., requires_grad=True)`; inside `no_grad`, `a -= lr * a.grad`
    as it was.
    """
    x = tg.linspace(-np.pi, np.pi, 500)
    y = tg.sin(x)
    a, b, c, d = (tg.random.normal((), rng=k, requires_grad=True) for k in range(4))
    for _ in range(3000):
        y_pred = a + b * x + c * x**2 + d * x**3
        loss = ((y_pred - y) ** 2).sum()
        loss.backward()
        with tg.no_grad():
            for p in (a, b, c, d):
                p -= 3e-6 * p.grad
                p.grad = None
    assert loss.item() < 12
    np.testing.assert_allclose([b.item(), d.item()], [0.85, -0.092], atol=0.05)


def one_head_of_attention() -> None:
    """A language model by one head of masked self-attention, with positions.

    Written for: PyTorch, the lecture on GPT. Changed: `k.transpose(-2, -1)` is `k.swapaxes(-2, -1)`;
    `wei.masked_fill(tril == 0, -inf)` is `tg.where(tril, wei, -np.inf)`; `F.softmax(w, dim=-1)` is
    `tg.softmax(w, axis=-1)`.
    """
    xs, ys, letters = _contexts(6)
    rng, size = np.random.default_rng(0), 24
    embedding = nn.Embedding(letters, size, rng=1)
    key, query, value = (nn.Linear(size, size, bias=False, rng=k) for k in range(2, 5))
    head = nn.Linear(size, letters, rng=5)
    position = tg.Parameter((0.1 * rng.normal(size=(6, size))).astype(np.float32))
    tril = np.tril(np.ones((6, 6), bool))

    def model(x: Any) -> Any:
        x = embedding(x) + position
        k, q, v = key(x), query(x), value(x)
        wei = q @ k.swapaxes(-2, -1) * size**-0.5
        wei = tg.softmax(tg.where(tril, wei, -np.inf), axis=-1)
        return head(x + wei @ v)[:, -1]

    modules = [embedding, key, query, value, head]
    parameters = [position, *(p for m in modules for p in m.parameters())]
    optimizer, losses = tg.optim.Adam(parameters, lr=0.02), []
    step = tg.jit(lambda x, y: nn.cross_entropy(model(x), y))
    for _ in range(80):
        optimizer.zero_grad()
        loss = step(xs, ys)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def gradient_of_a_product() -> None:
    """tinygrad's front page: a matrix product, and a net as a chain of methods.

    Written for: tinygrad, README. Changed: `Tensor.eye(3, requires_grad=True)` is
    `tg.tensor(np.eye(3), requires_grad=True)`; `x.dot(w).relu().dot(v).log_softmax()` is written with `@` and functions.
    """
    x = tg.tensor(np.eye(3), requires_grad=True)
    y = tg.tensor([[2.0, 0, -2.0]], dtype=np.float64, requires_grad=True)
    z = (y @ x).sum()
    z.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[2, 2, 2], [0, 0, 0], [-2, -2, -2]])
    np.testing.assert_array_equal(y.grad.numpy(), [[1, 1, 1]])

    class TinyNet(tg.Module):
        def __init__(self) -> None:
            self.l1 = tg.Parameter(tg.init.xavier_uniform((8, 16), rng=0))
            self.l2 = tg.Parameter(tg.init.xavier_uniform((16, 4), rng=1))

        def forward(self, x: Any) -> Any:
            return tg.log_softmax(tg.relu(x @ self.l1) @ self.l2)

    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 8)).astype(np.float32)
    labels = data[:, :4].argmax(1)
    model = TinyNet()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(150):
        optimizer.zero_grad()
        loss = -tg.take_along_axis(model(data), labels[:, None], axis=1).mean()
        loss.backward()
        optimizer.step()
    assert (model(data).numpy().argmax(1) == labels).mean() > 0.9
