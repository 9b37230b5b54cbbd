"""Ordinary functions under tg.jit against the same functions as they are; float32, one thread.

Losses with their backward.
"""

import numpy as np

import tinygrad_rnn as tg

from .timing import interleaved, optional, table

LIMIT = 0.4  # seconds for a contender, roughly


def mixture(xp):
    """The negative log likelihood of points under a mixture of K Gaussians with diagonal covariances."""

    def loss(x, mean, log_scale, logits):
        z = (x[:, None] - mean) * xp.exp(-log_scale)
        each = -0.5 * (z * z).sum(-1) - log_scale.sum(-1) + xp.log_softmax(logits, -1)
        return -xp.logsumexp(each, -1).mean()

    return loss


def adam(xp):
    """One step of Adam."""

    def step(p, m, v, g, rate):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        return p - rate * m / (xp.sqrt(v) + 1e-8), m, v

    return step


def smoothed(xp):
    """Cross entropy with label smoothing."""

    def loss(logits, targets):
        logp = xp.log_softmax(logits, -1)
        return -(0.9 * (targets * logp).sum(-1) + 0.1 * logp.mean(-1)).mean()

    return loss


def mlp(xp):
    """Layer normalisation, a hidden layer with GELU, and back, around a residual connection."""
    mean = (
        (lambda x: x.mean(-1, keepdim=True))
        if xp is not tg
        else (lambda x: x.mean(axis=-1, keepdims=True))
    )
    gelu = xp.gelu if xp is tg else xp.nn.functional.gelu

    def loss(x, scale, shift, w1, b1, w2, b2):
        centred = x - mean(x)
        normal = centred / xp.sqrt(mean(centred * centred) + 1e-5) * scale + shift
        y = x + gelu(normal @ w1 + b1) @ w2 + b2
        return (y * y).mean()

    return loss


def arrays(name, size, rng):
    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    if name == "mixture":
        n, k, d = size
        return [normal(n, d), normal(k, d), 0.1 * normal(k, d), normal(k)], (1, 2, 3)
    if name == "Adam step":
        return [
            normal(*size),
            normal(*size),
            normal(*size) ** 2,
            normal(*size),
            np.float32(0.01).reshape(()),
        ], ()
    if name == "cross entropy":
        n, k = size
        return [normal(n, k), np.eye(k, dtype=np.float32)[rng.integers(k, size=n)]], (0,)
    n, d = size
    return [
        normal(n, d),
        normal(d),
        normal(d),
        normal(d, 2 * d) / d**0.5,
        normal(2 * d),
        normal(2 * d, d) / d**0.5,
        normal(d),
    ], range(7)


FUNCTIONS = {
    "mixture": (mixture, [(16, 4, 2), (256, 8, 16), (4096, 16, 32)]),
    "Adam step": (adam, [(10,), (1_000,), (30_000,), (1_000_000,)]),
    "cross entropy": (smoothed, [(8, 10), (128, 100), (2_000, 1_000)]),
    "MLP": (mlp, [(8, 16), (64, 64), (1024, 256)]),
}


def ours(function, given, wanted):
    return step(function, [tg.tensor(a, requires_grad=i in wanted) for i, a in enumerate(given)])


def theirs(torch, function, given, wanted):
    return step(
        function,
        [torch.from_numpy(np.array(a)).requires_grad_(i in wanted) for i, a in enumerate(given)],
    )


def step(function, tensors):
    """A call, and backward where gradients are asked for."""
    asked = [t for t in tensors if t.requires_grad]

    def run():
        for t in asked:
            t.grad = None
        y = function(*tensors)
        if asked:
            y.backward()

    return run


def main():
    torch = optional("torch")
    if torch is not None:
        torch.set_num_threads(1)
    tg.set_num_threads(1)
    rows = [("", "tg.jit, us", "plain / tg.jit", *(["torch / tg.jit"] if torch else []))]
    for name, (make, sizes) in FUNCTIONS.items():
        for size in sizes:
            given, wanted = arrays(name, size, np.random.default_rng(0))
            f = make(tg)
            contenders = {"jit": ours(tg.jit(f), given, wanted), "plain": ours(f, given, wanted)}
            if torch is not None:
                contenders["torch"] = theirs(torch, make(torch), given, wanted)
            first = interleaved(contenders, rounds=3)
            inner = max(1, int(0.002 / first["plain"]))
            rounds = min(100, max(5, int(LIMIT / (inner * first["plain"]))))
            found = interleaved(contenders, rounds=rounds, inner=inner)
            ratios = {peer: f"{t / found['jit']:.2f}" for peer, t in found.items()}
            shown = [ratios["plain"], *([ratios["torch"]] if torch else [])]
            rows.append((f"{name} {'x'.join(map(str, size))}", f"{found['jit'] * 1e6:.0f}", *shown))
    table("functions; losses with backward", rows)
