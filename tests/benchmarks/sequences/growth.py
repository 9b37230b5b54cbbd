"""Table 5: what grows with the number of steps, and with the number of training steps."""

import itertools

from ..timing import table
from . import problems
from .report import NAMES, median_ms, note_down, progress, said
from .workers import LONG, PAUSE, Failure, race

LENGTHS = (1_000, 10_000, 100_000)
TRAINED = 1_000  # training steps over which memory is watched


def lengths(workers, options, figures):
    """Sequences of one row and 32 units, each ten times as long as the one before."""
    if "length" not in options.tables:
        return
    rows = [
        (
            said(workers.threads),
            *(f"T={T:,}, ms" for T in LENGTHS),
            *(f"{b:,} / {a:,}" for a, b in itertools.pairwise(LENGTHS)),
        )
    ]
    for cell in ("Elman", "LSTM"):
        if cell not in options.cells:
            continue
        progress(f"{cell}, lengths")
        contenders = {
            T: ("jit", problems.problem(cell, problems.Size(T, 1, 16, 32))) for T in LENGTHS
        }
        times, failed = race(
            workers,
            contenders,
            1.0 if options.quick else 4.0,
            PAUSE if workers.threads == 1 else LONG,
        )
        ms = {T: median_ms(t) for T, t in times.items()}
        for T, note in failed.items():
            note_down(figures, f"{cell}, T={T:,}: {note}")
        if len(ms) == len(LENGTHS):
            ratios = [b / a for a, b in zip(ms.values(), list(ms.values())[1:])]
            rows.append((cell, *(f"{t:.2f}" for t in ms.values()), *(f"{r:.2f}" for r in ratios)))
            figures["length"].append({"cell": cell, "ms": ms, "ratios": ratios})
    if len(rows) > 1:
        table("time for ten times the steps: tg.jit, one row, 16 inputs, 32 units", rows)


def memory(workers, options, figures):
    """The process's memory before and after many training steps.

    The first tenth as many are not watched.
    """
    if "memory" not in options.tables:
        return
    rows = [(said(workers.threads), "before, MB", "after, MB", "growth, MB")]
    for cell in ("Elman", "LSTM"):
        for kind, size in (("jit", "tiny"), ("jit", "small"), ("plain", "tiny")):
            if (
                cell not in options.cells
                or size not in options.sizes
                or (options.quick and size == "small")
            ):
                continue
            progress(f"{cell}, {size}, {NAMES[kind]}, memory")
            worker = workers[kind]
            try:
                worker.call("prepare", "memory", kind, problems.problem(cell, problems.SIZES[size]))
                worker.call("repeat", "memory", TRAINED // 10)
                before = worker.call("memory")
                worker.call("repeat", "memory", TRAINED)
                after = worker.call("memory")
                worker.call("forget")
            except Failure as failure:
                note_down(figures, f"{cell}, {size}, {NAMES[kind]}, memory: {failure}")
                continue
            if before is None:
                print("\nmemory is left out: this system does not say how much a process has")
                return
            mb = [before / 1e6, after / 1e6, (after - before) / 1e6]
            rows.append(
                (f"{cell}, {size}, {NAMES[kind]}", f"{mb[0]:.1f}", f"{mb[1]:.1f}", f"{mb[2]:+.2f}")
            )
            figures["memory"].append(
                {"cell": cell, "size": size, "kind": kind, "before_mb": mb[0], "after_mb": mb[1]}
            )
    if len(rows) > 1:
        table(f"memory of the process over {TRAINED:,} training steps", rows)
