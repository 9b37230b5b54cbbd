"""A process for each library, and runs in turns.

How many threads a library uses is settled in part when it is imported. So for each number of
threads every library gets a process of its own, which may use as many cores (one logical core of
each real one first) and whose environment names the number to OpenBLAS, OpenMP and XLA; where a
library has a call for it, it is made too. JAX has none: the cores decide. Where the system does not
let a process choose its cores (macOS), JAX has all of them, and a line says so.

The processes live side by side, and only one works at a time: in each round each contender has a
turn, so a drift of the machine's speed reaches all alike. A turn is one run, or, where that takes
less than half of TURN seconds, as many more as fill the turn; then the first is not counted, since
another's turn has emptied the caches. Before a turn there is a pause, in which those threads of the
last contender that wait for more work go to sleep. What is kept is the time of each run; the figure
is their median.
"""

import contextlib
import importlib
import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from . import problems

ROOT = Path(__file__).resolve().parents[3]
TOLERANCE = 1e-4
TURN, PAUSE = 0.1, 0.03
# pause where there are threads: those of the last one wait for their next work busily, on a core
# that the next one needs
LONG = 0.3
ROUNDS = (3, 15)  # at least, at most
# what each side needs
LIBRARIES = {"ours": "tinygrad_rnn", "torch_cells": "torch", "jax_cells": "jax", "limit": "numpy"}
KINDS = {
    "jit": "ours",
    "cell": "ours",
    "plain": "ours",
    "layer": "torch_cells",
    "loop": "torch_cells",
    "scan": "jax_cells",
    "sgemm": "limit",
}
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Failure(Exception):
    """What went wrong in a process, as a line to print."""


def installed(side):
    return importlib.util.find_spec(LIBRARIES[side]) is not None


def cores():
    """The cores that this process may use, those that share one with another last.

    None where a process cannot choose.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    first, others, seen = [], [], set()
    for core in sorted(os.sched_getaffinity(0)):
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        siblings = path.read_text() if path.exists() else str(core)
        (others if siblings in seen else first).append(core)
        seen.add(siblings)
    return first + others


@contextlib.contextmanager
def restricted(threads):
    """Processes that are started meanwhile may use so many cores."""
    mine = cores()
    if mine is not None:
        os.sched_setaffinity(0, mine[:threads])
    try:
        yield
    finally:
        if mine is not None:
            os.sched_setaffinity(0, mine)


class Worker:
    """A process that makes training steps and times them; `call` runs a method of `Bench` there."""

    def __init__(self, side, threads):
        self.side = side
        code = f"from tests.benchmarks.sequences.workers import serve; serve({side!r}, {threads})"
        environment = os.environ | dict.fromkeys(VARIABLES, str(threads))
        if threads == 1:
            environment["XLA_FLAGS"] = (
                f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
            )
        with restricted(threads):
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    def call(self, method, *arguments):
        try:
            pickle.dump((method, arguments), self.process.stdin)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise Failure(
                f"the process of {LIBRARIES[self.side]} ended with code {self.process.wait()}"
            ) from None
        if isinstance(answer, Failure):
            raise answer
        return answer

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()  # before waiting: the process may be about to write an answer
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # in the middle of something long
            self.process.kill()
            self.process.wait()


class Workers:
    """The processes for one number of threads, each started when it is first needed; `with` ends them."""

    def __init__(self, threads):
        self.threads, self.running = threads, {}

    def __getitem__(self, kind):
        side = KINDS[kind]
        if side in self.running and self.running[side].process.poll() is not None:
            self.running.pop(side).close()
        if side not in self.running:
            self.running[side] = Worker(side, self.threads)
        return self.running[side]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.running.values():
            worker.close()


def serve(name, threads):
    """What a process does: answer calls until there are no more."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not get between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that reads the answers ends this one
    side = importlib.import_module(f"{__package__}.{name}")
    side.use_threads(threads)
    bench = Bench(side)
    while True:
        try:
            method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = getattr(bench, method)(*arguments)
        except Exception as error:
            answer = Failure(f"{type(error).__name__}: {' '.join(str(error).split())}")
        try:
            pickle.dump(answer, channel)
            channel.flush()
        except BrokenPipeError:  # nobody waits for it any more
            os._exit(1)


class Bench:
    """The methods that a process offers."""

    def __init__(self, side):
        self.side, self.steps = side, {}

    def prepare(self, key, kind, problem):
        """Make a training step, run it, and return its outputs and gradients by name."""
        self.steps[key], read = self.side.training(kind, problem)
        return read()

    def turn(self, key, seconds):
        """Seconds of each run of a turn."""
        end = time.perf_counter() + seconds
        first = timed(self.steps[key])
        if first > seconds / 2:
            return [first]
        times = [timed(self.steps[key])]
        while time.perf_counter() < end:
            times.append(timed(self.steps[key]))
        return times

    def repeat(self, key, count):
        """Run many times."""
        for _ in range(count):
            self.steps[key]()

    def forget(self):
        self.steps.clear()

    def memory(self):
        """Bytes of the process that are in memory; None where the system does not say."""
        path = Path("/proc/self/statm")
        return (
            int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else None
        )


def timed(step):
    """Seconds of one run. What it returns is kept until the clock has stopped."""
    start = time.perf_counter()
    result = step()
    spent = time.perf_counter() - start
    del result
    return spent


class Row(NamedTuple):
    """Times of contenders by their keys, in seconds, and what was said about those that have none."""

    times: dict[str, list[float]]
    notes: dict[str, str]


def race(workers, contenders, seconds, pause=PAUSE):
    """Prepare contenders, key.

    (kind, problem), and let them run in turns, for `seconds` if ROUNDS allow it.

    The results of those that solve the first one's problem are compared with the first one's.
    Without the first there is no race.
    """
    times, notes, first, reference = {}, {}, None, None
    for key, (kind, problem) in contenders.items():
        try:
            found = workers[kind].call("prepare", key, kind, problem)
        except Failure as failure:
            notes[key] = str(failure)
            if first is None:
                break
            continue
        if first is None:
            first, reference = problem, found
        elif found and problem is first:
            name, error = problems.difference(found, reference)
            if not error <= TOLERANCE:
                notes[key] = f"not timed: {name} differs from ours by {error:.1e} of its norm"
                continue
        times[key] = []
    end = time.perf_counter() + seconds
    for done in range(ROUNDS[1]):
        if done >= ROUNDS[0] and time.perf_counter() > end:
            break
        for key in list(times):
            time.sleep(pause)
            try:
                times[key] += workers[contenders[key][0]].call("turn", key, TURN)
            except Failure as failure:
                notes[key] = str(failure)
                del times[key]
    for worker in workers.running.values():
        with contextlib.suppress(Failure):
            worker.call("forget")
    return Row(times, notes)
