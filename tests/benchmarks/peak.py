"""The most memory that a training step takes above what the process had before, beside PyTorch.

Each side runs in a process of its own: an LSTM over a sequence, the sum of the squared outputs, and
backward. ``python -m tests.benchmarks.peak SIDE [BUDGET]`` is one such process.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from .sequences.workers import ROOT
from .timing import table

T, BATCH, INPUT, HIDDEN = 2_000, 32, 128, 256
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
BUDGETS = ("100 MB", "23 MB")


def main():
    """Print the table; there is none where the system does not say the most that a process had."""
    if not STATUS.exists():
        print("\npeak memory is left out: this system does not say it")
        return
    sides = [("tg.jit", ["tg"]), *((f"tg.jit, checkpoint {b}", ["tg", b]) for b in BUDGETS)]
    if importlib.util.find_spec("torch"):
        sides.append(("torch nn", ["torch"]))
    rows = [("", "first step, MB", "after six, MB")]
    for name, arguments in sides:
        command = [sys.executable, "-m", "tests.benchmarks.peak", *arguments]
        found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        rows.append((name, *found.stdout.split()))
    table(f"peak of an LSTM's training step, T={T:,}, batch {BATCH}, {INPUT} to {HIDDEN}", rows)


def training_step(side, budget):
    """Return a training step over so many steps of one side."""
    xs = np.random.default_rng(0).normal(size=(T, BATCH, INPUT)).astype(np.float32)
    if side == "torch":
        import torch

        layer, given = torch.nn.LSTM(INPUT, HIDDEN), torch.from_numpy(xs)

        def step(steps=T):
            layer.zero_grad()
            ys, _ = layer(given[:steps])
            (ys * ys).sum().backward()

        return step
    import tinygrad_rnn as tg

    cell, given = tg.jit(tg.cells.LSTM(INPUT, HIDDEN, rng=0)), tg.tensor(xs)

    def step(steps=T):
        cell.zero_grad()
        ys, _ = tg.unroll(cell, given[:steps], checkpoint=budget if steps == T else None)
        (ys * ys).sum().backward()

    return step


def megabytes(name):
    """Return a figure of the process's memory."""
    return int(re.search(rf"{name}:\s+(\d+)", STATUS.read_text())[1]) / 1000


if __name__ == "__main__":
    side, budget = [*sys.argv[1:], None][:2]
    step = training_step(side, budget)
    step(2)  # what is loaded and compiled once
    RESET.write_text("5")  # the most is counted from here on
    before = megabytes("VmRSS")
    for count in (1, 5):
        for _ in range(count):
            step()
        print(f"{megabytes('VmHWM') - before:.0f}")
