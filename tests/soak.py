"""Long runs: ``python -m tests.soak [--minutes M] [--kills N] [--only PART]``.

- *growth*: several programs train again and again in one process, in eight threads too, and after a
  warm-up memory, open files and threads do not grow;
- *kills*: a training run is killed at random moments, and ends as one that was left alone;
- *disk*: a run on a disk that becomes full goes on, and what it has saved is whole;
- *cache*: eight processes compile the same cell into one empty cache at the same time.

It prints what it found, and ends with exit code 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.disks import small_disk
from tests.test_checkpoint import Training, killed_and_resumed

ROOT = Path(__file__).resolve().parents[1]
GROWTH = 24.0  # MB above what there was after the warm-up; the allocator's own noise is below
STATUS = Path("/proc/self/status")


def resident() -> float:
    """Return the MB that this process holds."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


class Net(tg.Module):
    def __init__(self, seed: int) -> None:
        self.lstm = tg.nn.LSTM(3, 8, rng=seed)
        self.out = tg.nn.Linear(8, 1, rng=seed)

    def forward(self, xs: Any) -> Any:
        return self.out(self.lstm(xs)[0][-1])


def trained(seed: int, steps: int = 20) -> list[float]:
    """Train a model of its own, and return the losses."""
    model, rng = Net(seed), np.random.default_rng(seed)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        xs = tg.tensor(rng.normal(size=(5, 4, 3)).astype(np.float32))
        optimizer.zero_grad()
        loss = (model(xs) ** 2).mean()
        loss.backward()
        tg.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def in_threads(count: int = 8) -> bool:
    """Whether threads that train models of their own get what one after the other gets."""
    found: dict[int, list[float]] = {}
    threads = [
        threading.Thread(target=lambda k=k: found.update({k: trained(k)})) for k in range(count)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return all(found[k] == trained(k) for k in range(count))


def programs() -> dict[str, Callable[[], Any]]:
    """Return what is run again and again."""
    rng = np.random.default_rng(0)
    xs = tg.tensor(rng.normal(size=(12, 3, 3)).astype(np.float32))
    cells = [tg.cells.GRU(3, 6, rng=0), tg.jit(tg.cells.LSTM(3, 6, rng=0))]
    model = Net(0)
    optimizer = tg.optim.SGD(model.parameters(), lr=1e-3)

    @tg.jit
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    def sequence(cell: Any) -> None:
        cell.zero_grad()
        tg.unroll(cell, xs)[0].sum().backward()

    def saved() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run = Training(Path(folder))
            run.step()
            run.checkpoint.save(1)
            run.checkpoint.latest()

    return {
        "a plain cell": lambda: sequence(cells[0]),
        "a compiled cell": lambda: sequence(cells[1]),
        "a compiled step": lambda: step(xs),
        "a model of its own": lambda: trained(1, 2),
        "second order": lambda: tg.hvp(lambda h: (tg.tanh(h) ** 2).sum(), xs, xs),
        "a checkpoint": saved,
        "a picture": lambda: str(tg.draw(tg.unroll(cells[0], xs)[0].sum()).dot),
    }


def growth(minutes: float) -> bool:
    """Run all programs for a while; return whether nothing has grown."""
    if not STATUS.exists():
        print("growth: left out, this system does not say what a process holds")
        return True
    every, rounds = programs(), 0
    began, warm = time.monotonic(), 60 * minutes * 0.25
    before: tuple[float, int, int] | None = None
    right = True
    while (gone := time.monotonic() - began) < 60 * minutes or before is None:
        for run in every.values():
            for _ in range(5):
                run()
        right = in_threads() and right
        rounds += 1
        if before is None and gone >= warm:
            gc.collect()
            before = resident(), handles(), threading.active_count()
    gc.collect()
    after = resident(), handles(), threading.active_count()
    grown = after[0] - before[0]
    print(
        f"growth: {rounds} rounds of {len(every)} programs and 8 threads in {gone:.0f} s: memory {before[0]:.0f} -> {after[0]:.0f} MB, open files {before[1]} -> {after[1]}, "
        f"threads {before[2]} -> {after[2]}; threads give {'what' if right else 'something other than what'} one after the other gives"
    )
    return grown < GROWTH and after[1] <= before[1] and after[2] <= before[2] and right


def kills(count: int) -> bool:
    """Kill a run at random moments; `killed_and_resumed` compares it with one that was left alone."""
    with tempfile.TemporaryDirectory() as folder:
        killed_and_resumed(Path(folder), 12 * count, count, np.random.default_rng())
    print(f"kills: a run that was killed {count} times ended as one that was left alone")
    return True


def disk() -> bool:
    """Train on a small disk until it is full, make room, and go on."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "disk"
        place.mkdir()
        try:
            with small_disk(place, "160k"):
                return on_a_small_disk(place, Path(folder) / "whole")
        except pytest.skip.Exception as reason:
            print(f"disk: left out, {reason}")
            return True


def on_a_small_disk(place: Path, beside: Path) -> bool:
    """Return whether a run on a disk that is full for a while ends as one beside it."""
    run, whole = Training(place / "run"), Training(beside)
    losses, failed = [], 0
    filler = place / "filler"
    for step in range(1, 31):
        losses.append(run.step())
        if step == 10:
            filler.write_bytes(bytes(max(0, os.statvfs(place).f_bavail * 4096 - 8192)))
        if step == 20:
            filler.unlink()
        try:
            run.checkpoint.save(step, losses=losses)
        except OSError:
            failed += 1
    again = Training(place / "run")
    saved = again.checkpoint.latest()
    expected = [whole.step() for _ in range(30)]
    right = saved is not None and saved.step == 30 and saved.values["losses"] == expected
    print(
        f"disk: {failed} saves failed on a full disk, {'none' if right else 'SOMETHING'} was lost"
    )
    return right and failed > 0


COMPILE = """
import numpy as np
import tinygrad_rnn as tg
xs = tg.tensor(np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32))
cell = tg.jit(tg.cells.LSTM(3, 4, rng=0))
ys = tg.unroll(cell, xs)[0]
(ys * ys).sum().backward()
print(ys.numpy().tobytes().hex(), cell.weight_hh.grad.numpy().tobytes().hex())
"""


def cache(count: int = 8) -> bool:
    """Let processes compile the same cell into an empty cache at once; all have to agree."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "XDG_CACHE_HOME": folder, "PYTHONPATH": str(ROOT)}
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", COMPILE],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        told = [p.communicate() for p in processes]
    right = len({out for out, _ in told}) == 1 and not any(err for _, err in told)
    print(
        f"cache: {count} processes compiled one cell into an empty cache: {'equal' if right else told}"
    )
    return right


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of growth (default 30)")
    parser.add_argument("--kills", type=int, default=50, help="of the run (default 50)")
    parser.add_argument("--only", choices=["growth", "kills", "disk", "cache"])
    given = parser.parse_args(arguments)
    parts: dict[str, Callable[[], bool]] = {
        "cache": cache,
        "disk": disk,
        "kills": lambda: kills(given.kills),
        "growth": lambda: growth(given.minutes),
    }
    wrong = [name for name, run in parts.items() if given.only in (None, name) and not run()]
    print(f"wrong: {', '.join(wrong)}" if wrong else "all is right")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
