"""Interleaved timing.

Every contender runs once in each round, so that a drift of the machine's speed reaches all alike.
"""

import statistics
import time


def interleaved(contenders, rounds=30, inner=1, clock=time.perf_counter):
    """Median seconds of each of a dict of functions of no arguments, after one warm-up call of each.

    With ``clock=time.process_time`` of the processor, for what runs in one thread on a machine that
    others use too.
    """
    for run in contenders.values():
        run()
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = clock()
            for _ in range(inner):
                run()
            times[name].append((clock() - start) / inner)
    return {name: statistics.median(t) for name, t in times.items()}


def optional(name):
    """A module if it is installed, else None."""
    try:
        return __import__(name)
    except ImportError:
        return None


def table(title, rows):
    """Print rows of strings in columns; the first row is the head."""
    widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
    print(f"\n{title}")
    for i, row in enumerate(rows):
        print(
            "  "
            + "  ".join(
                str(cell).ljust(w) if k == 0 else str(cell).rjust(w)
                for k, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
        if i == 0:
            print("  " + "  ".join("-" * w for w in widths))
