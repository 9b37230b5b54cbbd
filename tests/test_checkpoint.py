"""Checkpoints: all of a run, whole or as before, and bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.errors import CheckpointError
from tinygrad_rnn.train.packed import packed, unpacked


class Net(tg.Module):
    """Dropout with a generator, masks with a seed, and running statistics."""

    def __init__(self) -> None:
        self.cell = tg.nn.Zoneout(tg.cells.GRU(3, 5, rng=0), rng=1)
        self.norm = tg.nn.BatchNorm(5)
        self.drop = tg.nn.Dropout(0.5, rng=2)
        self.out = tg.nn.Linear(5, 1, rng=3)

    def forward(self, xs: Any) -> Any:
        return self.out(self.drop(self.norm(tg.unroll(self.cell, xs)[0][-1])))


class Training:
    """A run, and all that it depends on."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.model = Net()
        self.optimizer = tg.optim.Adam(self.model.parameters(), lr=0.01)
        self.schedule = tg.optim.Schedule(self.optimizer, tg.optim.cosine(0.01, 50))
        self.rng, self.other = np.random.default_rng(4), random.Random(5)
        self.checkpoint = tg.Checkpoint(
            folder,
            keep=keep,
            model=self.model,
            optimizer=self.optimizer,
            schedule=self.schedule,
            rng=self.rng,
            other=self.other,
        )

    def step(self) -> float:
        xs = self.rng.normal(size=(4, 2, 3)).astype(np.float32) * self.other.random()
        self.optimizer.zero_grad()
        loss = (self.model(tg.tensor(xs)) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return float(loss.item())

    def everything(self) -> list[Any]:
        return [
            *[p.numpy().tobytes() for p in self.model.parameters()],
            *[b.tobytes() for b in self.model.state_dict().values()],
            *[b.tobytes() for b in self.optimizer.state_dict().values()],
            self.optimizer.lr,
            self.rng.bit_generator.state,
            self.other.getstate(),
        ]


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole")
    losses = [whole.step() for _ in range(12)]
    first = Training(tmp_path / "run")
    assert first.checkpoint.latest() is None
    begun = [first.step() for _ in range(5)]
    first.checkpoint.save(5, losses=begun)
    second = Training(tmp_path / "run")
    second.step()  # what was there before is forgotten
    saved = second.checkpoint.latest()
    assert saved is not None and saved.step == 5 and saved.values == {"losses": losses[:5]}
    assert saved.versions["tinygrad_rnn"] == tg.__version__
    assert [second.step() for _ in range(7)] == losses[5:]
    assert second.everything() == whole.everything()


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    run = Training(tmp_path, keep=2)
    for step in (0, 3, 10):
        run.checkpoint.save(step)
    assert run.checkpoint.steps == [3, 10]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-000000000003.safetensors",
        "step-000000000010.safetensors",
    ]


@pytest.mark.parametrize("fault", ["cut", "bit", "empty", "other"])
def test_a_damaged_one_costs_the_steps_since_the_one_before(fault: str, tmp_path: Path) -> None:
    run = Training(tmp_path)
    for step in (1, 2, 3):
        run.step()
        run.checkpoint.save(step, note=str(step))
    path = tmp_path / "step-000000000003.safetensors"
    data = bytearray(path.read_bytes())
    if fault == "bit":
        data[-5] ^= 4
    content = {"cut": bytes(data[:-9]), "empty": b"", "other": b"\0" * 100}.get(fault, bytes(data))
    path.write_bytes(content)
    again = Training(tmp_path)
    with pytest.warns(RuntimeWarning, match=r"going on from the save before it, step 2$"):
        saved = again.checkpoint.latest()
    assert saved is not None and saved.values == {"note": "2"}
    assert path.with_name(path.name + ".damaged").read_bytes() == content  # nothing is thrown away
    again.checkpoint.save(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Training(tmp_path).checkpoint.latest().step == 3  # type: ignore[union-attr]


def test_if_all_are_damaged_nothing_begins_anew(tmp_path: Path) -> None:
    run = Training(tmp_path)
    run.checkpoint.save(1)
    (tmp_path / "step-000000000001.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"none of its 1 checkpoints can be read; .*Move"):
        Training(tmp_path).checkpoint.latest()


def test_another_run_is_not_overwritten(tmp_path: Path) -> None:
    Training(tmp_path).checkpoint.save(7)
    with pytest.raises(CheckpointError, match=r"another run, up to step 7\. Call latest\(\)"):
        Training(tmp_path).checkpoint.save(1)
    assert Training(tmp_path).checkpoint.steps == [7]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    run = Training(tmp_path)
    run.checkpoint.save(1)
    (tmp_path / "step-000000000002.safetensors").mkdir()  # nothing can take its place
    with pytest.raises(OSError, match="step-000000000002"):
        run.checkpoint.save(2)
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
    (tmp_path / "step-000000000002.safetensors").rmdir()
    assert Training(tmp_path).checkpoint.latest().step == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("change", ["shape", "generator", "part"])
def test_what_does_not_fit_changes_nothing(change: str, tmp_path: Path) -> None:
    run = Training(tmp_path)
    run.step()
    run.checkpoint.save(1)
    other = Training(tmp_path)
    if change == "shape":
        other.model.out = tg.nn.Linear(5, 2, rng=0)
        other.optimizer = tg.optim.Adam(other.model.parameters())
        other.checkpoint.parts |= {"optimizer": other.optimizer}
    elif change == "generator":
        other.model.noise = np.random.default_rng(0)  # type: ignore[attr-defined]
    else:
        other.checkpoint.parts["more"] = tg.nn.Linear(1, 1, rng=0)
    before = other.everything()
    with pytest.raises(CheckpointError, match="does not fit this run"):
        other.checkpoint.latest()
    assert other.everything() == before


def test_a_part_that_fails_late_puts_back_the_earlier_ones(tmp_path: Path) -> None:
    run = Training(tmp_path)
    run.step()
    run.checkpoint.save(1)
    other = Training(tmp_path)
    other.checkpoint.parts["optimizer"] = tg.optim.SGD(other.model.parameters(), lr=1.0)
    before = other.everything()
    with pytest.raises(CheckpointError, match="does not fit"):
        other.checkpoint.latest()
    assert other.everything() == before


@pytest.mark.parametrize(
    ("parts", "values", "message"),
    [
        ({"losses": [1.0]}, {}, r"losses is a list; parts are what has state_dict"),
        ({}, {"x": {1, 2}}, r"values\.x is a set"),
        ({}, {"x": [1, (2, object())]}, r"values\.x\.1\.1 is a object"),
        ({}, {"x": np.zeros(2, complex)}, r"values\.x is complex128: convert it"),
    ],
)
def test_what_cannot_be_kept(
    parts: dict[str, Any], values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        tg.Checkpoint(tmp_path, **parts).save(1, **values)
    assert not list(tmp_path.iterdir())


def test_values_come_back_as_they_were(rng: np.random.Generator) -> None:
    value = {
        "state": (tg.tensor(rng.normal(size=(2, 3))), [None, True, 10**30, -0.0, float("inf")]),
        3: {"a b": np.arange(3, dtype=np.uint8), (1, "x"): "text \N{SNOWMAN}"},
        "losses": rng.normal(size=500).tolist(),
        "one": np.float32(1.5),
        "empty": [[], (), {}],
    }
    arrays: dict[str, Any] = {}
    import json

    found = unpacked(json.loads(json.dumps(packed(value, "v", arrays))), arrays)
    assert repr(found) == repr(value)
    assert [type(v) for v in found["losses"]] == [float] * 500
    assert type(found["one"]) is np.float32 and type(found["state"]) is tuple
    assert np.signbit(found["state"][1][3])


PROGRAM = """
    import sys
    from pathlib import Path
    from tests.test_checkpoint import Training
    run = Training(Path(sys.argv[1]), keep=2)
    saved = run.checkpoint.latest()
    step, losses = (0, []) if saved is None else (saved.step, saved.values["losses"])
    print("ready", flush=True)
    while step < int(sys.argv[2]):
        losses.append(run.step())
        step += 1
        run.checkpoint.save(step, losses=losses)
    print(repr(losses))
"""


def killed_and_resumed(folder: Path, steps: int, kills: int, rng: np.random.Generator) -> None:
    """Kill a run at random moments; what it has in the end is what it would have had anyway."""
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), str(steps)]
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            process.wait(float(rng.uniform(0, 0.25)))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = Training(folder / "not used")
    assert done.stdout.splitlines()[-1] == repr([expected.step() for _ in range(steps)])
    assert not done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_run_loses_only_the_steps_since_the_last_save(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    killed_and_resumed(tmp_path, 60, 4, rng)


@pytest.mark.full
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_fifty_kills(tmp_path: Path, rng: np.random.Generator) -> None:
    killed_and_resumed(tmp_path, 600, 50, rng)
