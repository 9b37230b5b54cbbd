"""Steps with other products than rows by a matrix, under tg.jit, step by step, and as a jitted JAX scan.

Forward and backward of a whole sequence: stacked matrices, heads, experts, a product of three
operands, a memory of slots, a convolution. The text of each step is one for all libraries. Each of
them runs alone in a process of its own, on all cores that the benchmark may use; their losses have to
agree. ``python -m tests.benchmarks.forms SIDE FORM`` is one such process.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time

import numpy as np

from .sequences.workers import ROOT
from .timing import table

T, BATCH, SIZE = 50, 32, 64
SECONDS, ROUNDS = 1.5, 3  # of timing in one process; processes of each side, in turns
TOLERANCE = 1e-4  # of losses, as a part of them


def stacked(m, p, h, x):
    i, f, g, _ = h @ p[0] + x @ p[1]
    h = m.sigmoid(f) * h + m.sigmoid(i) * m.tanh(g)
    return h, h


def heads(m, p, h, x):
    read = (h.reshape(-1, 4, 1, 16) @ p[0]).reshape(-1, SIZE)
    h = m.tanh(read + x @ p[1])
    return h, h


def experts(m, p, h, x):
    gates = m.softmax(h @ p[1])
    each = m.einsum("bi,kij->bkj", h, p[0])
    h = m.tanh((gates[:, :, None] * each).sum(1) + x @ p[2])
    return h, h


def three(m, p, h, x):
    h = m.tanh(m.einsum("bi,bh,ihk->bk", x, h, p[0]) + h)
    return h, h


def slots(m, p, memory, x):
    query = x @ p[0]
    found = m.softmax((memory * query[:, None, :]).sum(-1))
    read = (found[:, :, None] * memory).sum(1)
    memory = memory * 0.95 + found[:, :, None] * m.tanh(x @ p[1])[:, None, :]
    return m.tanh(read @ p[2]), memory


def convolution(m, p, h, x):
    h = m.tanh(m.convolve(x, p[0]) + m.convolve(h, p[1]))
    return h, h


# for each a step, the shapes of weights, and those of a row of state and input
FORMS = {
    "stacked matrices": (stacked, [(4, SIZE, SIZE)] * 2, (SIZE,), (SIZE,)),
    "heads": (heads, [(4, 16, 16), (SIZE, SIZE)], (SIZE,), (SIZE,)),
    "experts": (experts, [(4, SIZE, SIZE), (SIZE, 4), (SIZE, SIZE)], (SIZE,), (SIZE,)),
    "three operands": (three, [(SIZE, SIZE, SIZE)], (SIZE,), (SIZE,)),
    "memory of slots": (slots, [(SIZE, 32), (SIZE, 32), (32, SIZE)], (16, 32), (SIZE,)),
    "convolution": (convolution, [(8, 4, 3, 3), (8, 8, 3, 3)], (8, 8, 8), (4, 8, 8)),
}


def drawn(name):
    """Return the step, weights, first state and inputs of a form."""
    step, shapes, state, given = FORMS[name]
    rng = np.random.default_rng(0)
    weights = [0.1 * rng.normal(size=shape).astype(np.float32) for shape in shapes]
    xs = rng.normal(size=(T, BATCH, *given)).astype(np.float32)
    return step, weights, np.zeros((BATCH, *state), np.float32), xs


def ours(name, compiled=True):
    import tinygrad_rnn as tg

    class Names:
        sigmoid, tanh, einsum = tg.sigmoid, tg.tanh, tg.einsum
        softmax = staticmethod(lambda x: tg.softmax(x, axis=-1))
        convolve = staticmethod(lambda x, w: tg.conv2d(x, w, padding=1))

    step, weights, state, xs = drawn(name)
    held = [tg.Parameter(w) for w in weights]

    def cell(x, h):
        return step(Names, held, h, x)

    run = tg.jit(cell) if compiled else cell

    def train():
        loss = tg.square(tg.unroll(run, xs, state)[0]).mean()
        loss.backward()
        for p in held:
            p.grad = None
        return loss.item()

    return train


def jax(name):
    import jax
    from jax import numpy as jnp

    class Names:
        sigmoid, tanh, einsum = jax.nn.sigmoid, jnp.tanh, jnp.einsum
        softmax = staticmethod(jax.nn.softmax)
        convolve = staticmethod(
            lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (1, 1)))
        )

    step, weights, state, xs = drawn(name)

    def loss(held):
        def run(h, x):
            y, h = step(Names, held, h, x)
            return h, y

        return (jax.lax.scan(run, state, xs)[1] ** 2).mean()

    update = jax.jit(jax.value_and_grad(loss))
    held = [jnp.asarray(w) for w in weights]
    return lambda: float(jax.block_until_ready(update(held))[0])


SIDES = {"tg.jit": ours, "tg plain": lambda name: ours(name, compiled=False), "jax": jax}


def measure(side, name):
    """Return the loss, and the time of one step of training."""
    train = SIDES[side](name)
    loss, times, begun = train(), [], time.perf_counter()
    while time.perf_counter() - begun < SECONDS or len(times) < 5:
        start = time.perf_counter()
        train()
        times.append(time.perf_counter() - start)
    return {"loss": loss, "ms": 1e3 * statistics.median(times)}


def main():
    """Print a table; return whether all losses agree."""
    agreed = True
    sides = [s for s in SIDES if s != "jax" or importlib.util.find_spec("jax") is not None]
    rows = [("", *sides, "of plain", "of jax")]
    for name in FORMS:
        ms, losses = {side: [] for side in sides}, []
        for _ in range(ROUNDS):
            for side in sides:
                command = [sys.executable, "-m", "tests.benchmarks.forms", side, name]
                done = subprocess.run(
                    command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
                )
                found = json.loads(done.stdout.splitlines()[-1])
                ms[side].append(found["ms"])
                losses.append(found["loss"])
        if max(losses) - min(losses) > TOLERANCE * max(losses):
            agreed = False
            print(f"{name}: the losses differ: {losses}")
        medians = {side: statistics.median(times) for side, times in ms.items()}
        ratios = [
            f"{medians[s] / medians['tg.jit']:.2f}" if s in medians else ""
            for s in ("tg plain", "jax")
        ]
        rows.append((name, *[f"{medians[s]:.2f}" for s in sides], *ratios))
    table("products of other forms in a step, ms for a sequence forward and backward", rows)
    return agreed


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
