"""Whole training steps beside PyTorch and JAX: loss, backward, clipping, Adam; one call.

Each library runs alone in a process of its own, which may use one core or two and is told nothing
else. All begin with the same weights and see the same numbers; their losses after some steps have to
agree. Where there is dropout, whose masks are each library's own, these steps are taken without it.
``python -m tests.benchmarks.training SIDE PROGRAM`` is one such process.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time

import numpy as np

from .sequences.workers import ROOT, cores, restricted
from .timing import table

STEPS, SECONDS = 10, 3.0  # before the loss is compared; of timing
TOLERANCE = 2e-3


class Problem:
    """Sizes, first weights and data.

    Sequences of vectors (`inputs`) or of ids below `vocabulary` (embedded to `inputs`) go through
    LSTMs and a linear layer to `classes`. `dropout` is what is dropped of the vectors, and of the
    outputs of the LSTMs.
    """

    def __init__(
        self, steps, batch, inputs, units, classes, *, vocabulary=0, levels=1, dropout=(0, 0)
    ):
        self.steps, self.batch, self.inputs, self.units = steps, batch, inputs, units
        self.classes, self.vocabulary, self.levels = classes, vocabulary, levels
        self.dropout = dropout

    def weights(self):
        rng = np.random.default_rng(0)

        def uniform(*shape):
            bound = self.units**-0.5
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        found = {"embedding": uniform(self.vocabulary, self.inputs)} if self.vocabulary else {}
        for level in range(self.levels):
            size = self.units if level else self.inputs
            found[f"weight_ih_l{level}"] = uniform(4 * self.units, size)
            found[f"weight_hh_l{level}"] = uniform(4 * self.units, self.units)
            found[f"bias_ih_l{level}"] = uniform(4 * self.units)
            found[f"bias_hh_l{level}"] = uniform(4 * self.units)
        return found | {"weight": uniform(self.classes, self.units), "bias": uniform(self.classes)}

    def batches(self, count=16):
        rng, shape = np.random.default_rng(1), (self.steps, self.batch)
        for _ in range(count):
            xs = rng.normal(size=(*shape, self.inputs)).astype(np.float32)
            if self.vocabulary:
                xs = rng.integers(0, self.vocabulary, shape)
            yield xs, rng.integers(0, self.classes, shape)


PROBLEMS = {
    "LSTM tiny": Problem(64, 1, 16, 32, 10),
    "LSTM small": Problem(100, 32, 64, 64, 10),
    "LSTM medium": Problem(100, 32, 128, 256, 10),
    "two levels": Problem(50, 16, 64, 128, 10, levels=2),
    "characters": Problem(32, 24, 32, 128, 98, vocabulary=98),
    "demo": Problem(24, 32, 32, 192, 98, vocabulary=98, dropout=(0.05, 0.3)),
}


# --- what each library does -----------------------------------------------------------------------


def ours(problem, compiled=True):
    import tinygrad_rnn as tg

    class Model(tg.Module):
        def __init__(self):
            if problem.vocabulary:
                self.embedding = tg.nn.Embedding(problem.vocabulary, problem.inputs)
            self.lstm = tg.nn.LSTM(problem.inputs, problem.units, num_layers=problem.levels)
            self.out = tg.nn.Linear(problem.units, problem.classes)
            self.before, self.after = (tg.nn.Dropout(p, rng=0) for p in problem.dropout)

        def forward(self, xs):
            xs = self.embedding(xs) if problem.vocabulary else xs
            return self.out(self.after(self.lstm(self.before(xs))[0]))

    model, weights = Model(), problem.weights()
    for name, p in model.named_parameters():
        key = "embedding" if name.startswith("embedding") else name.rpartition(".")[2]
        p.data = weights[key]
    optimizer = tg.optim.Adam(model.parameters(), lr=1e-3)

    def step(xs, targets):
        optimizer.zero_grad()
        loss = tg.nn.cross_entropy(model(xs), targets)
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return loss

    run = tg.jit(step) if compiled else step
    data = [(tg.tensor(xs), tg.tensor(targets)) for xs, targets in problem.batches()]
    return data, lambda xs, targets: run(xs, targets).item(), model.train


def torch(problem, fused=False):
    import torch

    torch.set_num_threads(len(cores() or [0]))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            if problem.vocabulary:
                self.embedding = torch.nn.Embedding(problem.vocabulary, problem.inputs)
            self.lstm = torch.nn.LSTM(problem.inputs, problem.units, num_layers=problem.levels)
            self.out = torch.nn.Linear(problem.units, problem.classes)
            self.before, self.after = (torch.nn.Dropout(p) for p in problem.dropout)

        def forward(self, xs):
            xs = self.embedding(xs) if problem.vocabulary else xs
            return self.out(self.after(self.lstm(self.before(xs))[0]))

    model, weights = Model(), problem.weights()
    with torch.no_grad():
        for name, p in model.named_parameters():
            key = "embedding" if name.startswith("embedding") else name.rpartition(".")[2]
            p.copy_(torch.tensor(weights[key]))
    how = {"fused": True} if fused else {"foreach": True}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **how)

    def step(xs, targets):
        optimizer.zero_grad()
        found = model(xs).reshape(-1, problem.classes)
        loss = torch.nn.functional.cross_entropy(found, targets.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    data = [(torch.tensor(xs), torch.tensor(targets)) for xs, targets in problem.batches()]
    return data, step, model.train


def jax(problem):
    import jax
    import optax
    from jax import numpy as jnp

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))

    def level(weights, k, xs):
        wi, wh = weights[f"weight_ih_l{k}"], weights[f"weight_hh_l{k}"]
        given = xs @ wi.T + weights[f"bias_ih_l{k}"] + weights[f"bias_hh_l{k}"]

        def cell(state, x):
            h, c = state
            i, f, g, o = jnp.split(x + h @ wh.T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((problem.batch, problem.units))
        return jax.lax.scan(cell, (zero, zero), given)[1]

    def dropped(key, xs, p):
        return xs * jax.random.bernoulli(key, 1 - p, xs.shape) / (1 - p) if p else xs

    def loss(weights, xs, targets, key):
        first, second = (None, None) if key is None else jax.random.split(key)
        before, after = (0, 0) if key is None else problem.dropout
        xs = weights["embedding"][xs] if problem.vocabulary else xs
        xs = dropped(first, xs, before)
        for k in range(problem.levels):
            xs = level(weights, k, xs)
        xs = dropped(second, xs, after)
        found = xs @ weights["weight"].T + weights["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(found, targets).mean()

    @jax.jit
    def update(weights, state, key, xs, targets):
        key, now = (None, None) if key is None else jax.random.split(key)
        value, gradients = jax.value_and_grad(loss)(weights, xs, targets, now)
        changes, state = optimizer.update(gradients, state, weights)
        return value, optax.apply_updates(weights, changes), state, key

    held = [{k: jnp.asarray(v) for k, v in problem.weights().items()}]
    held += [optimizer.init(held[0]), None]

    def step(xs, targets):
        value, *held[:] = update(*held, xs, targets)
        return float(value)

    def train(mode):
        held[2] = jax.random.key(0) if mode else None

    data = [(jnp.asarray(xs), jnp.asarray(targets)) for xs, targets in problem.batches()]
    return data, step, train


SIDES = {
    "tg.jit": ours,
    "tg plain": lambda problem: ours(problem, compiled=False),
    "torch": torch,
    "torch fused": lambda problem: torch(problem, fused=True),
    "jax": jax,
}
NEEDS = {"torch": "torch", "torch fused": "torch", "jax": "optax"}


def measure(side, name):
    """Return the loss after some steps, the seconds of the first, and the time of one."""
    data, step, train = SIDES[side](PROBLEMS[name])
    train(False)
    started = time.perf_counter()
    losses = [step(*data[k]) for k in range(STEPS)]
    began = time.perf_counter() - started
    train(True)
    step(*data[0])
    times, begun = [], time.perf_counter()
    while time.perf_counter() - begun < SECONDS or len(times) < 10:
        start = time.perf_counter()
        step(*data[len(times) % len(data)])
        times.append(time.perf_counter() - start)
    return {"loss": losses[-1], "begin": began, "ms": 1e3 * statistics.median(times)}


def main():
    """Print a table for one core, and one for two; return whether all losses agree."""
    agreed, speeds = True, []
    sides = [s for s in SIDES if s not in NEEDS or importlib.util.find_spec(NEEDS[s]) is not None]
    for threads in (1, 2) if len(cores() or [0]) > 1 else (1,):
        rows = [("", *sides, "of torch", "of jax")]
        for name in PROBLEMS:
            found = {}
            for side in sides:
                command = [sys.executable, "-m", "tests.benchmarks.training", side, name]
                with restricted(threads):
                    done = subprocess.run(
                        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
                    )
                found[side] = json.loads(done.stdout.splitlines()[-1])
            losses = [one["loss"] for one in found.values()]
            if max(losses) - min(losses) > TOLERANCE:
                agreed = False
                print(f"{name}: the losses differ: {dict(zip(found, losses, strict=True))}")
            ms = {side: one["ms"] for side, one in found.items()}
            peers = [
                min((ms[s] for s in sides if s.startswith(p)), default=None)
                for p in ("torch", "jax")
            ]
            ratios = ["" if p is None else f"{p / ms['tg.jit']:.2f}" for p in peers]
            rows.append((name, *[f"{ms[s]:.3f}" for s in sides], *ratios))
            problem = PROBLEMS[name]
            if problem.vocabulary:
                read = [f"{1e3 * problem.steps * problem.batch / ms[s]:,.0f}" for s in sides]
                speeds.append((f"{name}, {threads}", *read))
        cores_ = "1 core" if threads == 1 else f"{threads} cores"
        table(f"training steps, ms, on {cores_}; ratios to the quickest of each peer", rows)
    table("characters per second, by the number of cores", [("", *sides), *speeds])
    return agreed


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
