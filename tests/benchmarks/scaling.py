"""Training on several ranks: compute and communication of a step, and what follows for more of them.

``python -m tests.benchmarks.scaling`` runs itself under mpiexec with one and with two ranks, each of
which has one thread. With several ranks each works on its share of a batch of 64 sequences for each
rank (weak scaling), so that one rank's compute stays. The model is written in docs/scaling.md.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from .sequences.workers import ROOT
from .timing import table

SIZES = {"small": (16, 32), "medium": (64, 256), "large": (128, 512)}  # inputs, units of an LSTM
STEPS, BATCH = 20, 64
REPEATS, SECONDS = 40, 2.5  # at most, of each figure
RANKS = (2, 16, 256, 4096)
# latency in seconds, bytes a second between two ranks: an assumption for a cluster, and no measurement
CLUSTER = (2e-6, 10e9)


def timed(run, comm):
    """Return the median seconds of a call, of the slowest rank."""
    run()
    comm.Barrier()
    start = time.perf_counter()
    run()
    once = comm.allreduce(time.perf_counter() - start) / comm.size
    found = []
    for _ in range(max(5, min(REPEATS, int(SECONDS / once)))):
        comm.Barrier()
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return max(comm.allgather(statistics.median(found)))


def worker(name):
    """Measure one size on this rank; the first prints the figures."""
    from mpi4py import MPI

    import tinygrad_rnn as tg

    tg.set_num_threads(1)
    comm, (inputs, units) = MPI.COMM_WORLD, SIZES[name]
    rng = np.random.default_rng(comm.rank)
    x = tg.tensor(rng.normal(size=(STEPS, BATCH, inputs)).astype(np.float32))

    class Net(tg.Module):
        def __init__(self):
            self.lstm = tg.nn.LSTM(inputs, units, num_layers=2, rng=0)
            self.out = tg.nn.Linear(units, 10, rng=1)

        def loss(self):
            return (self.out(self.lstm(x)[0]) ** 2).mean()

    model = Net()
    optimizer = tg.optim.SGD(model.parameters(), lr=1e-6)
    parallel = tg.parallel.DataParallel(model)

    def step(backward):
        optimizer.zero_grad()
        backward(model.loss())
        optimizer.step()

    def afterwards(loss):
        loss.backward()
        parallel.average()

    size = sum(p.array.nbytes for p in model.parameters())
    flat, total = np.zeros(size // 4, np.float32), np.zeros(size // 4, np.float32)
    one, other = np.zeros(1), np.zeros(1)
    found = {
        "bytes": size,
        "compute": timed(lambda: step(tg.Tensor.backward), comm),
        "overlapped": timed(lambda: step(parallel.backward), comm),
        "afterwards": timed(lambda: step(afterwards), comm),
        "allreduce": timed(lambda: comm.Allreduce(flat, total), comm),
        "latency": timed(lambda: comm.Allreduce(one, other), comm),
    }
    if comm.rank == 0:
        print(json.dumps(found))


def predicted(compute, size, ranks, latency, bandwidth):
    """Return the seconds of a step without overlap: compute, and an Allreduce by halving and doubling."""
    rounds = 2 * math.ceil(math.log2(ranks))
    return compute + rounds * latency + 2 * (ranks - 1) / ranks * size / bandwidth


def main():
    """Print what was measured on one and two ranks, and what the model predicts for more."""
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else "mpiexec"
    rows = [
        ("", "MB", "1 rank", "2, alone", "2, together", "no overlap", "Allreduce", "of 8 bytes")
    ]
    efficiency = [("", *(f"{n:,} ranks" for n in RANKS), "cluster 16", "256", "4,096")]
    for name in SIZES:
        found = {}
        for ranks in (1, 2):
            command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "tests.benchmarks.scaling"]
            env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            done = subprocess.run(
                [*command, name], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True
            )
            found[ranks] = json.loads(done.stdout)
        one, two = found[1], found[2]
        ms = [one["compute"], two["compute"], *(two[k] for k in ("overlapped", "afterwards"))]
        ms += [two["allreduce"], two["latency"]]
        rows.append((name, f"{one['bytes'] / 1e6:.2f}", *(f"{1e3 * t:.3f}" for t in ms)))
        # of two ranks: an Allreduce is two rounds and moves all bytes once
        latency = two["latency"] / 2
        bandwidth = one["bytes"] / max(two["allreduce"] - two["latency"], 1e-9)
        here = [
            two["compute"] / predicted(two["compute"], one["bytes"], n, latency, bandwidth)
            for n in RANKS
        ]
        there = [
            one["compute"] / predicted(one["compute"], one["bytes"], n, *CLUSTER) for n in RANKS[1:]
        ]
        efficiency.append((name, *(f"{e:.2f}" for e in (*here, *there))))
    table("a step, ms, on two cores of one machine (weak scaling)", rows)
    table(
        "efficiency without overlap, predicted: with the figures of this machine, and of a cluster",
        efficiency,
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker(sys.argv[1])
    else:
        main()
