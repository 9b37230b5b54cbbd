"""Table 4: from nothing to the first result.

A fresh process that imports a library, unrolls an LSTM over 100 steps and goes backward once.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

from ..timing import table
from .report import note_down, progress
from .workers import ROOT, Failure, installed

OURS = """
import numpy as np
import tinygrad_rnn as tg
x = np.random.default_rng(0).standard_normal((100, 32, 64), dtype=np.float32)
cell = {wrapped}(tg.cells.LSTM(64, 64, rng=0))
ys, _ = tg.unroll(cell, x)
(ys * ys).mean().backward()
print(float(sum(abs(p.grad.numpy()).sum() for p in cell.parameters())), flush=True)
"""
TORCH = """
import torch
x = torch.randn(100, 32, 64)
layer = torch.nn.LSTM(64, 64)
ys, _ = layer(x)
(ys * ys).mean().backward()
print(float(sum(p.grad.abs().sum() for p in layer.parameters())), flush=True)
"""
JAX = """
import jax, numpy as np
from jax import numpy as jnp
rng = np.random.default_rng(0)
x = rng.standard_normal((100, 32, 64), dtype=np.float32)
p = [0.1 * rng.standard_normal(shape, dtype=np.float32) for shape in ((64, 256), (64, 256), (256,))]
def loss(p):
    W, U, b = p
    def one(state, a):
        h, c = state
        i, f, g, o = jnp.split(a + h @ U, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h
    zeros = jnp.zeros((32, 64), jnp.float32)
    _, ys = jax.lax.scan(one, (zeros, zeros), x @ W + b)
    return jnp.mean(ys * ys)
print(float(sum(abs(g).sum() for g in jax.jit(jax.grad(loss))(p))), flush=True)
"""
SIDES = {  # side, script, whether it has a cache on disk
    "tg.jit": ("ours", OURS.format(wrapped="tg.jit"), True),
    "step by step": ("ours", OURS.format(wrapped=""), False),
    "JAX": ("jax_cells", JAX, True),
    "torch nn.LSTM": ("torch_cells", TORCH, False),
}


def seconds(script, folder):
    """Until the result is printed, of a new process with the caches of the libraries in `folder`."""
    # compiled files, as an installed package has
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {
        "TINYGRAD_RNN_CACHE": folder,
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    ) as process:
        printed = process.stdout.readline()
        spent = time.perf_counter() - start
    if process.returncode or not printed:
        raise Failure(f"the process ended with code {process.returncode}")
    return spent


def measure(rounds):
    """Seconds of each round by side: {name: {"empty": [...], "filled": [...]}}.

    The second where there is a cache on disk.
    """
    found = {
        name: {"empty": [], **({"filled": []} if cached else {})}
        for name, (side, _, cached) in SIDES.items()
        if installed(side)
    }
    for name in found:
        with tempfile.TemporaryDirectory() as folder:
            # so that the files of the library are in memory, and its Python is compiled
            seconds(SIDES[name][1], folder)
    for _ in range(rounds):
        for name, times in found.items():
            with tempfile.TemporaryDirectory() as folder:
                for state in times:
                    times[state].append(seconds(SIDES[name][1], folder))
    return found


def first_results(options, figures):
    progress("first results")
    try:
        found = measure(1 if options.quick else 3)
    except Failure as failure:
        note_down(figures, f"from nothing to the first result: {failure}")
        return
    medians = {
        name: {state: statistics.median(t) for state, t in times.items()}
        for name, times in found.items()
    }
    figures["start"] = medians
    rows = [("seconds", "nothing on disk", "after an earlier process")]
    rows += [
        (name, f"{t['empty']:.2f}", f"{t['filled']:.2f}" if "filled" in t else "")
        for name, t in medians.items()
    ]
    table(
        "from nothing to the first result: a new process, import, forward and backward of an LSTM, 100 x 32 x 64",
        rows,
    )
