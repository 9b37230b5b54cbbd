"""Training on several ranks: what one rank computes with the whole batch, and how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

ROOT = Path(__file__).resolve().parents[1]
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="needs mpi4py and mpiexec: pip install 'tinygrad-rnn[mpi]'",
)

COMMON = """
    import sys
    import time
    from pathlib import Path
    import numpy as np
    import tinygrad_rnn as tg

    F64 = np.float64
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(48, 6, 3)), rng.normal(size=(48, 1))

    class Net(tg.Module):
        def __init__(self, seed=0):
            self.lstm = tg.nn.LSTM(3, 5, num_layers=2, rng=seed, dtype=F64)
            self.unused = tg.nn.Linear(2, 2, rng=1, dtype=F64)
            self.out = tg.nn.Linear(5, 1, rng=2, dtype=F64)

        def forward(self, xs):
            return self.out(self.lstm(xs)[0][-1])

    def batches(**more):
        return tg.data.Batches(xs, ys, batch_size=16, time=[True, False], **{"rng": 3, **more})
"""


def run(command: list[Any], timeout: float = 120) -> Any:
    """Run a command in a process of its own, which finds the package of this folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def ranks(count: int, program: str, *arguments: Any) -> Any:
    """Run a program on so many ranks."""
    text = textwrap.dedent(COMMON) + textwrap.dedent(program)
    return run([MPIEXEC, "-n", count, sys.executable, "-c", text, *arguments])


STEPS = """
    model = Net()
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    parallel = tg.parallel.DataParallel(model, bucket=int(sys.argv[3]))
    data = parallel.shared(batches())
    twice = sys.argv[2] == "accumulated"

    def step(x, y):
        optimizer.zero_grad()
        loss = tg.nn.mse_loss(model(x), y)
        parallel.backward(loss)
        if twice:
            parallel.backward(tg.nn.mse_loss(model(x * 0.5), y))
        tg.clip_grad_norm(model.parameters(), 0.7)
        optimizer.step()
        return loss

    run = tg.jit(step) if sys.argv[2] == "jit" else step
    losses = []
    with tg.eager() if sys.argv[2] == "eager" else tg.enable_grad():
        for _ in range(4):
            losses += [parallel.mean(run(x, y).item())[0] for x, y in data]
    parallel.check()
    assert model.unused.weight.grad is None
    if parallel.is_first:
        tg.save(sys.argv[1], {"losses": np.array(losses), **model.state_dict()})
"""


@mpi
@pytest.mark.parametrize(
    "how", ["plain", pytest.param("eager", marks=pytest.mark.full), "jit", "accumulated"]
)
def test_ranks_do_what_one_does_with_the_whole_batch(how: str, tmp_path: Path) -> None:
    found = []
    for count, bucket in ((1, 1000), (2, 1), (2, 10**6)):
        path = tmp_path / f"{count}-{bucket}"
        done = ranks(count, STEPS, path, how, bucket)
        assert done.returncode == 0, done.stderr
        found.append(tg.load(path))
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-10, err_msg=name)


OVERLAP = """
    from tinygrad_rnn import parallel as module
    sent = []
    finish = module._Sending.finish
    def noting(self, before):
        sent.append((len(self.sent), len(self.parallel.buckets)))
        finish(self, before)
    module._Sending.finish = noting
    model = Net()
    parallel = tg.parallel.DataParallel(model, bucket=1)
    x, y = next(iter(parallel.shared(batches())))
    parallel.backward(tg.nn.mse_loss(model(x), y))
    if parallel.is_first:
        print(*sent[0])
"""


@mpi
def test_buckets_travel_before_the_walk_ends() -> None:
    done = ranks(2, OVERLAP)
    assert done.returncode == 0, done.stderr
    before, every = map(int, done.stdout.split())
    assert every == 12 and before == 2  # of the layer behind the parameters without a gradient


@mpi
def test_ranks_with_other_weights_are_refused() -> None:
    done = ranks(
        2,
        """
        from mpi4py import MPI
        try:
            tg.parallel.DataParallel(Net(MPI.COMM_WORLD.rank))
        except tg.TinygradError as error:
            print(error)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is not that of rank 1. Make the model from one seed") == 2


FIT = """
    parallel = tg.parallel.DataParallel(Net())
    model = Net()
    parallel = tg.parallel.DataParallel(model)
    folder, steps, fault = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

    def trouble(run):
        if fault == "error" and parallel.rank == 1 and run.step == 4:
            raise ValueError("rank 1 is broken")
        if fault == "slow":
            (folder / "begun").write_text("")
            time.sleep(0.1)

    def full(*_, **__):
        raise OSError(28, "No space left on device", "the disk")

    checkpoint = tg.Checkpoint(folder / "run")
    if fault == "full" and parallel.rank == 0:
        checkpoint.save = full
    run = tg.fit(model, batches(), loss=lambda m, x, y: tg.nn.mse_loss(m(x), y), steps=steps, every=2, parallel=parallel,
                 checkpoint=checkpoint, save_every=60.0 if fault == "slow" else 0.0, log=folder / "log.csv", callbacks=[trouble], progress=False)
    parallel.check()
    if parallel.is_first:
        print(repr(run.losses))
"""


def told(done: Any) -> list[float]:
    assert done.returncode == 0, done.stderr
    return [float(x) for x in done.stdout.splitlines()[-1].strip("[]").split(", ")]


@mpi
def test_fit_on_ranks(tmp_path: Path) -> None:
    one = told(ranks(1, FIT, tmp_path / "one", 9, ""))
    two = told(ranks(2, FIT, tmp_path / "two", 9, ""))
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-10)
    assert (tmp_path / "two" / "log.csv").read_text().count("\n") == 6


@mpi
def test_a_rank_that_fails_ends_the_run_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    whole = told(ranks(2, FIT, tmp_path / "whole", 9, ""))
    done = ranks(2, FIT, tmp_path / "run", 9, "error")
    assert done.returncode != 0 and "rank 1 ends the run of all ranks" in done.stderr
    assert "ValueError: rank 1 is broken" in done.stderr
    assert tg.Checkpoint(tmp_path / "run" / "run").steps
    assert told(ranks(2, FIT, tmp_path / "run", 9, "")) == whole


@mpi
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a group of processes")
def test_ctrl_c_ends_all_ranks_after_a_save(tmp_path: Path) -> None:
    """As a terminal does it: each process of the group gets the signal, mpiexec and the ranks."""
    whole = told(ranks(2, FIT, tmp_path / "whole", 60, ""))
    (tmp_path / "run").mkdir()
    program = textwrap.dedent(COMMON) + textwrap.dedent(FIT)
    with subprocess.Popen(
        [str(MPIEXEC), "-n", "2", sys.executable, "-c", program, tmp_path / "run", "60", "slow"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        for _ in range(600):
            if (tmp_path / "run" / "begun").exists():
                break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    steps = tg.Checkpoint(tmp_path / "run" / "run").steps
    assert len(steps) == 1 and 1 < steps[0] < 60
    assert told(ranks(2, FIT, tmp_path / "run", 60, "")) == whole


@mpi
def test_a_full_disk_of_the_first_rank_ends_nothing(tmp_path: Path) -> None:
    done = ranks(2, FIT, tmp_path, 5, "full")
    assert len(told(done)) == 5 and "cannot be written now" in done.stdout


CARRIED = """
    ids = np.random.default_rng(1).integers(0, 4, 150)

    class Speaker(tg.Module):
        def __init__(self):
            self.embedding = tg.nn.Embedding(4, 3, rng=0, dtype=F64)
            self.lstm = tg.nn.LSTM(3, 5, rng=1, dtype=F64)
            self.out = tg.nn.Linear(5, 4, rng=2, dtype=F64)

        def loss(self, x, y, state):
            h, state = self.lstm(self.embedding(x), state)
            return tg.nn.cross_entropy(self.out(h), y), state

    model = Speaker()
    parallel = tg.parallel.DataParallel(model)
    run = tg.fit(model, tg.data.Windows(ids, 4, 5, rng=0), loss=Speaker.loss, carry=True, steps=int(sys.argv[2]), parallel=parallel,
                 checkpoint=Path(sys.argv[1]), progress=False)
    if parallel.is_first:
        print(repr(run.losses))
"""


@mpi
def test_carried_states_of_ranks_are_kept(tmp_path: Path) -> None:
    whole = told(ranks(1, CARRIED, tmp_path / "whole", 12))
    told(ranks(2, CARRIED, tmp_path / "run", 5))
    done = ranks(1, CARRIED, tmp_path / "run", 8)
    assert "the carried states of 2 ranks; go on with as many" in done.stderr
    np.testing.assert_allclose(told(ranks(2, CARRIED, tmp_path / "run", 12)), whole, atol=1e-10)


@mpi
def test_work_is_shared_and_a_failure_is_everybodys(tmp_path: Path) -> None:
    script = tmp_path / "grid.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, pathlib, sys
            import tinygrad_rnn as tg

            def train(lr):
                if lr < 0:
                    raise ValueError(f"a rate of {lr}")
                return lr * 2, os.getpid()

            found = tg.parallel.map(train, [0.1, 0.2, 0.3])
            told = [str([a for a, _ in found]), str(os.getpid() in {p for _, p in found})]
            try:
                tg.parallel.map(train, [0.1, -1.0])
            except ValueError as error:
                told.append(str(error))
            pathlib.Path(sys.argv[1], str(os.getpid())).write_text("; ".join(told))
            """
        )
    )

    def told_by(*before: object) -> list[str]:
        folder = tmp_path / f"told{len(before)}"
        folder.mkdir()
        done = run([*before, sys.executable, script, folder])
        assert done.returncode == 0, done.stderr
        return sorted(file.read_text() for file in folder.iterdir())

    assert told_by() == ["[0.2, 0.4, 0.6]; True; a rate of -1.0"]
    # the first rank hands out, the second computes
    both = [f"[0.2, 0.4, 0.6]; {computes}; a rate of -1.0" for computes in (False, True)]
    assert told_by(MPIEXEC, "-n", 2) == both


@mpi
def test_seeds_of_a_task_over_ranks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tinygrad_rnn", "tasks", "run", "sunspots"]
    command += ["--seeds", "2", "--budget", "1.5"]
    found = []
    for name, before in (("one", []), ("two", [str(MPIEXEC), "-n", "2"])):
        file = tmp_path / f"{name}.json"
        done = run([*before, *command, "--json", file], timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("sunspots:") == 1
        found.append(json.loads(file.read_text()))
    for one, two in zip(found[0]["arms"], found[1]["arms"], strict=True):
        assert one["name"] == two["name"] and one["seeds"] == two["seeds"]
        if len(one["seeds"]) == 1:  # there is nothing random in it
            assert one["results"][0]["score"] == two["results"][0]["score"]


def test_batches_that_cannot_be_shared_are_refused() -> None:
    data = tg.data.Batches(np.ones((20, 2)), batch_size=8)
    with pytest.raises(tg.ShapeError, match="a batch of 4 cannot be shared evenly by 8 ranks"):
        data.share(0, 8)
    tg.data.Batches(np.ones((20, 2)), batch_size=8, drop_last=True).share(0, 8)


def test_without_mpi4py_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(tg.TinygradError, match=r"pip install 'tinygrad-rnn\[mpi\]'"):
        tg.parallel.DataParallel(tg.nn.Linear(1, 1, rng=0))
