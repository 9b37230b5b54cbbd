"""The machinery of the benchmark of sequences.

On sizes that take no time, without numba and without any peer.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.trainer import Settings

from .benchmarks import sequences, training
from .benchmarks.sequences import growth, limit, problems, start, steps, workers

SIZE = problems.Size(3, 2, 3, 4)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    # in the processes that are timed: tg.jit goes step by step there
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setattr(workers, "TURN", 1e-4)
    monkeypatch.setattr(problems, "SIZES", {"tiny": SIZE})


def options(*words):
    parser = argparse.ArgumentParser()
    sequences.add_options(parser)
    return parser.parse_args([*words, "--quick"])


def alone(side):
    return side in ("ours", "limit")


def test_a_run_without_peers(monkeypatch, tmp_path, capsys):
    for module in (sequences, steps, start):
        monkeypatch.setattr(module, "installed", alone)
    monkeypatch.setattr(growth, "LENGTHS", (2, 4, 8))
    monkeypatch.setattr(growth, "TRAINED", 20)
    file = tmp_path / "figures.json"
    words = (
        "--cells",
        "Elman,MGU",
        "--tables",
        "built-in,custom,length,memory",
        "--threads",
        "1,1000",
        "--json",
        str(file),
    )
    assert sequences.main(options(*words))
    said = capsys.readouterr().out
    for line in ("torch is not installed", "jax is not installed", "1000 threads are left out"):
        assert line in said
    found = json.loads(file.read_text())
    assert found["notes"] == [] and set(found["machine"]) == {
        "cpu",
        "cores",
        "load",
        "python",
        "numpy",
    }
    built_in, custom = found["steps"]
    assert (built_in["cell"], built_in["size"], built_in["threads"]) == ("Elman", "tiny", 1)
    assert set(built_in["times"]) == {"jit", "cell", "plain"}
    assert set(custom["times"]) == {"jit", "cell"}
    for figures in built_in["times"].values():
        low, high = figures["quartiles_ms"]
        assert 0 < low <= figures["ms"] <= high and figures["runs"] >= 3
    assert built_in["ratios"] == {
        kind: built_in["times"][kind]["ms"] / built_in["times"]["jit"]["ms"]
        for kind in ("cell", "plain")
    }
    assert (
        f"{built_in['times']['jit']['ms']:.2f}" in said
        and f"{built_in['ratios']['plain']:.2f}" in said
    )
    (length,) = found["length"]
    assert (
        list(length["ms"]) == ["2", "4", "8"]
        and length["ratios"][1] == length["ms"]["8"] / length["ms"]["4"]
    )
    assert {row["kind"] for row in found["memory"]} <= {"jit", "plain"}


def test_shares_and_means(monkeypatch, tmp_path, capsys):
    times = {
        "Elman": {"jit": [0.002, 0.001, 0.004], "layer": [0.004], "scan": [0.001], "sgemm": [0.5]},
        "MGU": {"jit": [0.001], "scan": [0.002]},
        "NAS": {"jit": [0.001], "scan": [0.008]},
    }
    monkeypatch.setattr(steps, "installed", lambda side: True)
    monkeypatch.setattr(problems, "EAGER", ())
    monkeypatch.setattr(problems, "LIMITED", ("tiny",))
    asked = []

    def race(_, contenders, seconds, pause):
        asked.append(list(contenders))
        return workers.Row(times[contenders["jit"][1].cell], {})

    monkeypatch.setattr(steps, "race", race)
    figures = {"steps": [], "notes": []}
    with workers.Workers(1) as none:
        steps.training_steps(none, options("--cells", "Elman,MGU,NAS"), figures)
    custom = ["jit", "cell", "scan"]
    assert asked == [["jit", "cell", "layer", "scan", "sgemm"], custom, custom]
    row = figures["steps"][0]
    assert row["ratios"] == pytest.approx({"layer": 2.0, "scan": 0.5})
    work = 2 * 3 * 2 * (2 * 3 * 4 + 3 * 4 * 4)
    assert row["shares"]["jit"] == pytest.approx(work / 0.002 / (2 * limit.SIDE**3 / 0.5))
    said = capsys.readouterr().out
    assert (
        said.count("geometric mean") == 1
        and f"{math.sqrt(2 * 8):.2f}" in said.split("geometric mean")[1].split("\n")[0]
    )


class Fake:
    """A process that is none: what it finds, and what it does when it is asked to run."""

    def __init__(self, found, run=lambda: None):
        self.found, self.action = found, run

    def call(self, method, *arguments):
        if method == "prepare":
            if isinstance(self.found, workers.Failure):
                raise self.found
            return self.found
        if method == "turn":
            self.action()
            return [1e-4]
        return None


class Fakes(dict):
    @property
    def running(self):
        return self


def fails():
    raise workers.Failure("the process of jax ended with code 1")


def test_who_differs_or_fails_is_not_timed_and_a_line_says_so():
    ys = np.linspace(-1, 1, 5, dtype=np.float32)
    problem = problems.problem("Elman", SIZE)
    right = {"the outputs": ys, "the gradient of U": ys * 1e-6}
    # far too small for an absolute tolerance
    wrong = {"the outputs": ys, "the gradient of U": ys * 1e-6 + np.float32(1e-9)}
    missing = {"the outputs": ys}
    processes = Fakes(
        jit=Fake(right),
        plain=Fake(right),
        layer=Fake(wrong),
        loop=Fake(missing),
        scan=Fake(right, fails),
    )
    found = workers.race(processes, {kind: (kind, problem) for kind in processes}, 0.01, 0.0)
    assert set(found.times) == {"jit", "plain"} and all(len(t) >= 3 for t in found.times.values())
    assert set(found.notes) == {"layer", "loop", "scan"}
    assert "the gradient of U differs from ours by 1.4e-03" in found.notes["layer"]
    assert (
        "the set of parameters differs" in found.notes["loop"]
        and "ended with code 1" in found.notes["scan"]
    )
    processes["jit"] = Fake(workers.Failure("CompileError: no"))
    found = workers.race(processes, {kind: (kind, problem) for kind in processes}, 0.01, 0.0)
    assert found == workers.Row({}, {"jit": "CompileError: no"})


def test_difference():
    a = {"x": np.ones((2, 3), np.float32), "y": np.zeros(4, np.float32)}
    assert problems.difference(a, a)[1] == 0
    assert problems.difference({**a, "x": a["x"] * np.nan}, a) == ("x", math.inf)
    assert problems.difference({**a, "x": a["x"].T}, a)[1] == math.inf


def test_a_process_says_what_went_wrong_and_a_dead_one_is_replaced():
    with workers.Workers(1) as running:
        with pytest.raises(workers.Failure, match="NoSuchCell"):
            running["plain"].call(
                "prepare", 0, "plain", problems.problem("Elman", SIZE)._replace(cell="NoSuchCell")
            )
        dead = running["plain"]
        dead.process.kill()
        with pytest.raises(workers.Failure, match="tinygrad_rnn ended with code"):
            dead.call("memory")
        found = running["plain"].call("prepare", 0, "plain", problems.problem("Elman", SIZE))
        assert running["plain"] is not dead and found["the outputs"].shape == (3, 2, 4)
        assert (
            len(running["plain"].call("turn", 0, 0.0)) == 1
            and len(running["plain"].call("turn", 0, 0.1)) > 1
        )


@pytest.mark.parametrize("name", problems.BUILT_IN)
def test_flops_are_those_of_the_products_on_the_tape(name):
    size = problems.Size(1, 3, 5, 7)
    cell = getattr(tg.cells, name)(size.inputs, size.units, rng=0)
    forward = tg.trace(
        cell, np.ones((size.batch, size.inputs), np.float32), cell.initial_state(size.batch)
    )
    parameters = [node for node in forward.constants if node.requires_grad]
    backward = forward.backward([*forward.inputs[1:], *parameters])
    products = [node for node in [*forward.nodes, *backward.nodes] if node.op == "matmul"]
    assert sum(2 * math.prod(n.shape) * n.inputs[0].shape[-1] for n in products) == problems.flops(
        name, size
    )


def test_seconds_to_the_first_result(monkeypatch):
    monkeypatch.setattr(start, "installed", alone)
    counted = "import os; print(len(os.listdir(os.environ['TINYGRAD_RNN_CACHE'])))"
    monkeypatch.setattr(
        start,
        "SIDES",
        {
            "a": ("ours", counted, True),
            "b": ("ours", "print()", False),
            "c": ("jax_cells", "", True),
        },
    )
    found = start.measure(2)
    assert {
        name: {state: len(t) for state, t in times.items()} for name, times in found.items()
    } == {"a": {"empty": 2, "filled": 2}, "b": {"empty": 2}}
    monkeypatch.setattr(start, "SIDES", {"a": ("ours", "raise SystemExit(3)", True)})
    figures = {"start": {}, "notes": []}
    start.first_results(options(), figures)
    assert figures["notes"] == ["from nothing to the first result: the process ended with code 3"]


def test_the_demo_is_what_is_trained_beside_peers():
    s, problem = Settings(), training.PROBLEMS["demo"]
    assert (problem.steps, problem.batch, problem.inputs, problem.units, problem.dropout) == (
        s.window,
        s.batch,
        s.embedding,
        s.hidden,
        (s.embedding_dropout, s.dropout),
    )
