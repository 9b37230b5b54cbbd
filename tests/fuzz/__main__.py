"""``python -m tests.fuzz NAME --count N --seed S [--compiled]``.

Run a generator over many seeds and report what it found.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import sys
import time
from typing import Any

from tests.fuzz import NAMES
from tests.fuzz._outcome import outcome

TOTAL = 10_000  # cases, unless a count is given
SHOWN = 10  # failures that are shown whole


def run(name: str, seeds: range, compiled: bool, jobs: int) -> int:
    """Run the cases, print a summary, and return the number of failures."""
    started = time.perf_counter()
    kinds: collections.Counter[str] = collections.Counter()
    failures: list[tuple[int, str]] = []
    tasks = [(name, seed, compiled) for seed in seeds]
    show = sys.stderr.isatty()
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=500) as pool:
        for done, (seed, kind, text) in enumerate(
            pool.imap_unordered(outcome, tasks, chunksize=4 if compiled else 20), 1
        ):
            kinds[kind] += 1
            if text:
                failures.append((seed, text))
            if show:
                print(
                    f"\r{name}: {done}/{len(tasks)}, {len(failures)} failed",
                    end="",
                    file=sys.stderr,
                )
    if show:
        print(file=sys.stderr)
    for seed, text in sorted(failures)[:SHOWN]:
        print(f"--- {name}, seed {seed}\n{text}\n")
    for seed, _ in sorted(failures)[SHOWN:]:
        print(f"--- {name}, seed {seed} failed too")
    how = "compiled" if compiled else "interpreted"
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    print(
        f"{name}, {how}, seeds {seeds.start} to {seeds.stop - 1}: {counts}; {time.perf_counter() - started:.0f} s"
    )
    return len(failures)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        choices=[*NAMES, []],
        metavar="NAME",
        help=f"of {', '.join(NAMES)}; all if none is named",
    )
    parser.add_argument("--count", type=int, help=f"how many cases of each ({TOTAL:,} in all)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (0)")
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="compile the generated code, in place of running it as Python",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    options: Any = parser.parse_args(arguments)
    names = options.names or NAMES
    count = TOTAL // len(names) if options.count is None else options.count
    seeds = range(options.seed, options.seed + count)
    failed = [run(name, seeds, options.compiled, options.jobs) for name in names]
    return 1 if any(failed) else 0


if __name__ == "__main__":
    sys.exit(main())
