"""Compile times of every cell: nothing on disk but the products, another variant, found on disk; beside ``jax.jit``.

Each cell has a process of its own for each column. The figure is the time of the first sequence,
forward and backward, without imports and without the first use of plain kernels, by the clock; so
measure with nothing else running. ``python -m tests.benchmarks.compiling SIDE CELL`` is one such
process; with a cell that is not named there are all.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from .sequences import problems
from .sequences.workers import ROOT
from .timing import table

STEPS = 5
JAX = (*problems.BUILT_IN, *problems.CUSTOM)


def ready(name):
    """Load the products, and what a first sequence needs besides; the cell is none of the table."""
    import tinygrad_rnn as tg
    from tinygrad_rnn.kernels import products

    products.library(np.dtype(np.float32))
    small = tg.tensor(np.ones((2, 1, 2), np.float32), requires_grad=True)
    tg.unroll(tg.jit(lambda x, h: (x * h, h + x)), small, small[0])[0].sum().backward()
    return []


def ours(name):
    """Return the seconds of the first sequence, and of the first one with lengths."""
    import tinygrad_rnn as tg
    from tests.cell_checks import CASES
    from tinygrad_rnn.core.tree import leaves

    case = next(c for c in CASES if c.cell.__name__ == name)
    cell = case.cell(*case.sizes, **case.options, rng=np.random.default_rng(0), dtype=np.float32)
    rng = np.random.default_rng(1)
    drawn = case.inputs(rng)
    parts = [np.repeat(x, -(-STEPS // len(x)), 0)[:STEPS].astype(np.float32) for x in
             (drawn if isinstance(drawn, tuple) else (drawn,))]  # fmt: skip
    xs = tuple(parts) if isinstance(drawn, tuple) else parts[0]
    ready("")
    fast, found = tg.jit(cell), []
    for more in ({}, {"lengths": [STEPS, *[2] * (parts[0].shape[1] - 1)]}):
        start = time.perf_counter()
        ys, _ = tg.unroll(fast, xs, **more)
        sum((y * y).sum() for y in leaves(ys)).backward()
        found.append(time.perf_counter() - start)
    return found


def jaxs(name):
    """Return the seconds of the first step of ``jax.jit``."""
    import jax

    from .sequences import jax_cells

    problem = problems.problem(name, problems.SIZES["small"])
    jax.jit(lambda x: x * 2)(1.0)
    start = time.perf_counter()
    step, _ = jax_cells.training(name, problem)
    step()
    return [time.perf_counter() - start]


SIDES = {"ready": ready, "ours": ours, "jax": jaxs}


def measured(side, name, folder):
    """Return what a process of its own measures."""
    command = [sys.executable, "-m", "tests.benchmarks.compiling", side, name]
    environment = {**os.environ, "TINYGRAD_RNN_CACHE": folder}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def with_products(names):
    """Return, for each cell, the seconds: of the first sequence, with lengths, from the disk, of JAX."""
    there = importlib.util.find_spec("jax") is not None
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            measured("ready", name, folder)  # so that the products are on disk
            first, variant = measured("ours", name, folder)
            kept, _ = measured("ours", name, folder)
            jax = measured("jax", name, folder)[0] if there and name in JAX else None
        yield name, first, variant, kept, jax


def main(names=()):
    """Print a table of all cells, and the mean ratio to JAX."""
    from tests.cell_checks import CASES

    rows, ratios = [("seconds", "first", "with lengths", "on disk", "jax.jit")], []
    every = list(dict.fromkeys(c.cell.__name__ for c in CASES))
    for name, *times in with_products(names or every):
        rows.append((name, *("" if t is None else f"{t:.2f}" for t in times)))
        if times[-1] is not None:
            ratios.append(times[0] / times[-1])
    table("compiling: the first sequence, forward and backward", rows)
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"  geometric mean of the ratio to jax.jit over {len(ratios)} cells: {mean:.2f}")
    return True


if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]](sys.argv[2])))
