"""Overhead of recording: h = tanh(h @ w + x), 100 times on 8 x 8 float32, forward and backward.

And a long chain.
"""

import itertools
import time

import numpy as np

import tinygrad_rnn as tg

from .timing import interleaved, optional, table

STEPS, SIZE = 100, 8
OPS = 3 * STEPS


def contenders():
    rng = np.random.default_rng(0)
    W = (0.3 * rng.normal(size=(SIZE, SIZE))).astype(np.float32)
    X = rng.normal(size=(SIZE, SIZE)).astype(np.float32)
    H = np.zeros((SIZE, SIZE), np.float32)

    def ours():
        w, x, h = tg.tensor(W, requires_grad=True), tg.tensor(X, requires_grad=True), tg.tensor(H)
        for _ in range(STEPS):
            h = tg.tanh(h @ w + x)
        h.sum().backward()
        return w.grad.numpy()

    def numpy_by_hand():
        h, saved = H, []
        for _ in range(STEPS):
            before, h = h, np.tanh(h.dot(W) + X)
            saved.append((before, h))
        g, gw, gx = np.ones_like(H), np.zeros_like(W), np.zeros_like(X)
        for before, h in reversed(saved):
            g = g - g * h * h
            gx += g
            gw += before.T.dot(g)
            g = g.dot(W.T)
        return gw

    found = {"tinygrad_rnn": ours, "NumPy by hand": numpy_by_hand}
    if torch := optional("torch"):
        torch.set_num_threads(1)

        def theirs():
            w, x, h = (
                torch.tensor(W, requires_grad=True),
                torch.tensor(X, requires_grad=True),
                torch.tensor(H),
            )
            for _ in range(STEPS):
                h = torch.tanh(h @ w + x)
            h.sum().backward()
            return w.grad.numpy()

        found["torch eager"] = theirs
    if optional("autograd"):
        import autograd
        import autograd.numpy as anp

        def loss(w, x):
            h = H
            for _ in range(STEPS):
                h = anp.tanh(anp.dot(h, w) + x)
            return anp.sum(h)

        gradient = autograd.grad(loss, (0, 1))
        found["HIPS autograd"] = lambda: gradient(W, X)[0]
    if optional("jax"):
        import jax

        def jax_loss(w, x):
            h = H
            for _ in range(STEPS):
                h = jax.numpy.tanh(h @ w + x)
            return h.sum()

        found["JAX, not jitted"] = lambda: np.asarray(jax.grad(jax_loss, (0, 1))(W, X)[0])
    expected = numpy_by_hand()
    for name, run in found.items():
        np.testing.assert_allclose(run(), expected, rtol=1e-3, atol=1e-4, err_msg=name)
    return found


def main():
    found = contenders()
    slow = {name: run for name, run in found.items() if "JAX" in name}
    times = interleaved({name: run for name, run in found.items() if name not in slow}, rounds=60)
    times |= interleaved(slow, rounds=3)
    peer = times.get("torch eager")
    rows = [("", "us per op", "of torch")]
    rows += [
        (name, f"{1e6 * t / OPS:.2f}", f"{t / peer:.3f}" if peer else "-")
        for name, t in times.items()
    ]
    table(
        f"eager overhead: h = tanh(h @ w + x), {STEPS} steps on {SIZE} x {SIZE} float32, forward + backward",
        rows,
    )

    rows = [("ops", "build s", "backward s", "print head s", "free s", "us per op")]
    for n in (100_000, 1_000_000):
        x = tg.tensor(1.0, requires_grad=True)
        marks = [time.perf_counter()]
        y = x
        for _ in range(n):
            y = y * 1.000001
        marks.append(time.perf_counter())
        y.backward(retain_graph=True)
        marks.append(time.perf_counter())
        str(tg.tape(y))
        marks.append(time.perf_counter())
        del y
        marks.append(time.perf_counter())
        spans = [b - a for a, b in itertools.pairwise(marks)]
        rows.append((f"{n:,}", *(f"{s:.2f}" for s in spans), f"{1e6 * sum(spans) / n:.2f}"))
    table("a chain of multiplications", rows)
