"""The LSTM of GradBench: its objective and its Jacobian, at its sizes, beside PyTorch and JAX.

GradBench (github.com/gradbench/gradbench, evals/lstm) has it from ADBench (F. Srajer, Z. Kukelova and
A. Fitzgibbon, A benchmark of selected algorithmic differentiation tools, 2018). All weights are
diagonal, the sequence is one row of the bits of a text, and everything is float64. The input and the
forget gate do not see what they see in an ordinary LSTM, and there is a 2 in the logarithm of the sum;
both are kept, as all tools of the benchmark keep them. The Jacobian is the gradient with respect to
main_params and extra_params.

Its data are drawn here as its generator draws them (uniform on [0, 1), and a text of 14 bits a
character), but for the text, which is drawn too. What each side says is compared with a forward and
backward pass written by hand in NumPy; who differs is not timed. Each library runs alone in a process
of its own, on one core, and its time is that of the processor. ``python -m tests.benchmarks.gradbench
SIDE LAYERS CHARACTERS`` is one such process.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time

import numpy as np

from .sequences.workers import ROOT, restricted
from .timing import table

LAYERS, CHARACTERS = (2, 4, 6), (1024, 4096, 8192)
BITS = 14  # of a character; its text has quotation marks that need them
TOLERANCE = 1e-10  # of the largest element of the gradient; that of the benchmark is 1e-4
REPEATS, SECONDS = 30, 1.0  # at most, of each figure
# ms of the Jacobian that GradBench reports (evals/lstm/summary.json at 0003df3e91fe), on its machine
REPORTED = {
    "manual, C++": [12.06, 48.32, 95.66, 38.45, 154.69, 311.51, 87.11, 352.85, 694.41],
    "Futhark": [4.15, 16.14, 32.80, 8.65, 32.79, 64.28, 12.47, 47.80, 96.32],
    "Enzyme": [5.22, 20.84, 42.29, 8.97, 37.35, 76.38, 13.03, 54.36, 110.25],
    "PyTorch": [668.5, 2714.3, 5310.0, 1017.8, 4164.5, 8857.5, 1361.8, 5910.2, 12238.5],
}


def data(layers, characters):
    """Return main_params, extra_params, state and sequence, float64."""
    rng = np.random.default_rng([layers, characters])
    letters = np.array([ord(c) for c in "etaoinshrdlu ,\u2019\n"])
    text = rng.choice(letters, characters)
    sequence = (text[:, None] >> np.arange(BITS)[::-1]) & 1
    shapes = (2 * layers, 4 * BITS), (3, BITS), (2 * layers, BITS)
    return [*(rng.random(shape) for shape in shapes), sequence.astype(np.float64)]


# --- by hand ----------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(main, extra, state, sequence):
    """Return the objective and its gradient, by a forward and a backward pass over all steps."""
    layers, steps = len(main) // 2, len(sequence) - 1
    weights, biases = main[::2].reshape(layers, 4, -1), main[1::2].reshape(layers, 4, -1)
    hidden, memory = state[::2].copy(), state[1::2].copy()
    kept, total = [], 0.0
    for t in range(steps):
        x, of_step = sequence[t] * extra[0], []
        for k in range(layers):
            w, b, h, c = weights[k], biases[k], hidden[k].copy(), memory[k].copy()
            forget, enter = sigmoid(x * w[0] + b[0]), sigmoid(h * w[1] + b[1])
            leave, change = sigmoid(x * w[2] + b[2]), np.tanh(h * w[3] + b[3])
            memory[k] = c * forget + enter * change
            squashed = np.tanh(memory[k])
            hidden[k] = leave * squashed
            of_step.append((x, h, c, forget, enter, leave, change, squashed))
            x = hidden[k].copy()
        y = x * extra[1] + extra[2]
        exponentials = np.exp(y)
        norm = exponentials.sum() + 2
        target = sequence[t + 1]
        total += target @ (y - np.log(norm))
        kept.append((of_step, x, exponentials / norm))
    scale = -1 / (steps * sequence.shape[1])
    d_main, d_extra = np.zeros_like(main), np.zeros_like(extra)
    d_hidden, d_memory = np.zeros_like(hidden), np.zeros_like(memory)
    for t in reversed(range(steps)):
        of_step, x, shares = kept[t]
        target = sequence[t + 1]
        dy = scale * (target - target.sum() * shares)
        d_extra[1] += dy * x
        d_extra[2] += dy
        dx = dy * extra[1]
        for k in reversed(range(layers)):
            x, h, c, forget, enter, leave, change, squashed = of_step[k]
            dh = dx + d_hidden[k]
            dc = d_memory[k] + dh * leave * (1 - squashed**2)
            before = np.stack(
                [
                    dc * c * forget * (1 - forget),
                    dc * change * enter * (1 - enter),
                    dh * squashed * leave * (1 - leave),
                    dc * enter * (1 - change**2),
                ]
            )
            d_main[2 * k] += (before * np.stack([x, h, x, h])).ravel()
            d_main[2 * k + 1] += before.ravel()
            back = before * weights[k]
            d_hidden[k], d_memory[k], dx = back[1] + back[3], dc * forget, back[0] + back[2]
        d_extra[0] += dx * sequence[t]
    return scale * total, np.concatenate([d_main.ravel(), d_extra.ravel()])


# --- the sides: each returns two functions without arguments ----------------------------------------


def ours(main, extra, state, sequence):
    """A plain cell, unrolled in a function that is compiled with its gradient."""
    import tinygrad_rnn as tg

    layers, bits = len(main) // 2, main.shape[1] // 4

    def cell_of(main, extra):
        def cell(x, state):
            x, new = x * extra[0], []
            for k, (h, c) in enumerate(state):
                forget_w, enter_w, leave_w, change_w = main[2 * k].reshape(4, bits)
                forget_b, enter_b, leave_b, change_b = main[2 * k + 1].reshape(4, bits)
                forget, leave = (
                    tg.sigmoid(x * forget_w + forget_b),
                    tg.sigmoid(x * leave_w + leave_b),
                )
                c = c * forget + tg.sigmoid(h * enter_w + enter_b) * tg.tanh(
                    h * change_w + change_b
                )
                x = leave * tg.tanh(c)
                new.append((x, c))
            return x * extra[1] + extra[2], tuple(new)

        return cell

    xs, targets = sequence[:-1, None], sequence[1:, None]
    first = tuple((state[2 * k, None], state[2 * k + 1, None]) for k in range(layers))

    def objective(main, extra):
        ys, _ = tg.unroll(cell_of(main, extra), xs, first)
        norms = tg.log(tg.exp(ys).sum(-1, keepdims=True) + 2)
        return -(targets * (ys - norms)).mean()

    value, gradient = tg.jit(objective), tg.jit(tg.grad(objective, argnums=(0, 1)))
    parameters = tg.tensor(main), tg.tensor(extra)

    def jacobian():
        parts = gradient(*parameters)
        return np.concatenate([part.numpy().ravel() for part in parts])

    return lambda: value(*parameters).item(), jacobian


def torch(main, extra, state, sequence):
    """The same loop in PyTorch, step by step, as GradBench's tool for PyTorch has it."""
    import torch

    torch.set_num_threads(1)
    main, extra, state, sequence = map(torch.from_numpy, (main, extra, state, sequence))
    parameters = [x.requires_grad_() for x in (main, extra)]
    layers, bits = len(main) // 2, main.shape[1] // 4

    def objective():
        weights, biases = main[::2].reshape(layers, 4, bits), main[1::2].reshape(layers, 4, bits)
        weights, biases = ([x.unbind(0) for x in y.unbind(0)] for y in (weights, biases))
        into, out, shift = extra.unbind(0)
        pairs, ys = [(state[2 * k], state[2 * k + 1]) for k in range(layers)], []
        for x in sequence[:-1]:
            x = x * into
            for k, (h, c) in enumerate(pairs):
                w, b = weights[k], biases[k]
                c = c * torch.sigmoid(x * w[0] + b[0]) + torch.sigmoid(
                    h * w[1] + b[1]
                ) * torch.tanh(h * w[3] + b[3])
                x = torch.sigmoid(x * w[2] + b[2]) * torch.tanh(c)
                pairs[k] = x, c
            ys.append(x * out + shift)
        ys = torch.stack(ys)
        norms = torch.log(torch.exp(ys).sum(-1, keepdim=True) + 2)
        return -(sequence[1:] * (ys - norms)).mean()

    def value():
        with torch.no_grad():
            return objective().item()

    def jacobian():
        parts = torch.autograd.grad(objective(), parameters)
        return torch.cat([part.ravel() for part in parts]).numpy()

    return value, jacobian


def jax(main, extra, state, sequence):
    """The same step in a scan, jitted."""
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp, layers, bits = jax.numpy, len(main) // 2, main.shape[1] // 4

    def objective(main, extra):
        weights, biases = main[::2].reshape(layers, 4, bits), main[1::2].reshape(layers, 4, bits)

        def step(pairs, x):
            x, new = x * extra[0], []
            for k, (h, c) in enumerate(pairs):
                w, b = weights[k], biases[k]
                c = c * jax.nn.sigmoid(x * w[0] + b[0]) + jax.nn.sigmoid(
                    h * w[1] + b[1]
                ) * jnp.tanh(h * w[3] + b[3])
                x = jax.nn.sigmoid(x * w[2] + b[2]) * jnp.tanh(c)
                new.append((x, c))
            return new, x * extra[1] + extra[2]

        _, ys = jax.lax.scan(
            step, [(state[2 * k], state[2 * k + 1]) for k in range(layers)], sequence[:-1]
        )
        norms = jnp.log(jnp.exp(ys).sum(-1, keepdims=True) + 2)
        return -(sequence[1:] * (ys - norms)).mean()

    value, gradient = jax.jit(objective), jax.jit(jax.grad(objective, argnums=(0, 1)))
    main, extra = jnp.asarray(main), jnp.asarray(extra)

    def jacobian():
        return np.concatenate([np.asarray(part).ravel() for part in gradient(main, extra)])

    return lambda: float(value(main, extra)), jacobian


SIDES = {"ours": (ours, "tinygrad_rnn"), "torch": (torch, "torch"), "jax": (jax, "jax")}


# --- comparing and timing ---------------------------------------------------------------------------


def difference(found, expected):
    """The largest difference of two arrays or numbers, as a share of the largest that is expected."""
    return float(np.max(np.abs(np.subtract(found, expected))) / np.max(np.abs(expected)))


def timed(run):
    """Median seconds of the processor for a call; the first one was made before."""
    start = time.process_time()
    run()
    once = time.process_time() - start
    found = [once]
    for _ in range(min(REPEATS, int(SECONDS / once))):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return statistics.median(found)


def worker(side, layers, characters):
    """Run one side at one size, and return its largest error and its seconds."""
    problem = data(layers, characters)
    value, jacobian = SIDES[side][0](*(x.copy() for x in problem))
    expected = by_hand(*problem)
    error = max(difference(value(), expected[0]), difference(jacobian(), expected[1]))
    found = {"error": error}
    if error <= TOLERANCE:
        found |= {"objective": timed(value), "jacobian": timed(jacobian)}
    return found


def run(side, layers, characters):
    """What `worker` says in a process of its own, which may use one core."""
    command = [sys.executable, "-m", __name__, side, str(layers), str(characters)]
    with restricted(1):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main():
    """Print what each side takes, and the errors; return whether all are right."""
    sides = [side for side, (_, module) in SIDES.items() if importlib.util.find_spec(module)]
    sizes = [(layers, count) for layers in LAYERS for count in CHARACTERS]
    found = {size: {side: run(side, *size) for side in sides} for size in sizes}
    for what in ("objective", "jacobian"):
        rows = [("", *sides, *(f"of {side}" for side in sides[1:]))]
        for (layers, count), each in found.items():
            seconds = [each[side].get(what, float("nan")) for side in sides]
            ratios = [f"{other / seconds[0]:.1f}" for other in seconds[1:]]
            rows.append((f"l={layers}, c={count}", *(f"{1e3 * s:.2f}" for s in seconds), *ratios))
        table(f"GradBench's LSTM, {what}, ms on one core; ratios to ours", rows)
    reported = [("Jacobian, ms", *REPORTED)]
    for k, (layers, count) in enumerate(sizes):
        reported.append((f"l={layers}, c={count}", *(f"{REPORTED[tool][k]}" for tool in REPORTED)))
    table("as GradBench reports it, on another machine", reported)
    worst = {side: max(each[side]["error"] for each in found.values()) for side in sides}
    print("\nlargest difference from the passes by hand: ", end="")
    print(", ".join(f"{side} {error:.1e}" for side, error in worst.items()))
    return max(worst.values()) <= TOLERANCE


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(worker(sys.argv[1], *map(int, sys.argv[2:]))))
    else:
        sys.exit(not main())
