"""tg.fit: what it computes is what a loop by hand computes, and a run goes on as if it had not stopped."""

from __future__ import annotations

import csv
import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train.errors import DivergedError
from tinygrad_rnn.train.interrupt import Interrupted
from tinygrad_rnn.train.loop import Fit


class Net(tg.Module):
    def __init__(self, dropout: float = 0.3) -> None:
        self.lstm = tg.nn.LSTM(2, 6, rng=0)
        self.drop = tg.nn.Dropout(dropout, rng=1)
        self.out = tg.nn.Linear(6, 2, rng=2)

    def forward(self, xs: Any, lengths: Any = None) -> Any:
        ys, _ = self.lstm(xs, lengths=lengths)
        return self.out(self.drop(ys[-1]))


def examples(count: int = 40) -> tuple[Any, Any]:
    xs = np.random.default_rng(3).normal(size=(count, 5, 2)).astype(np.float32)
    return xs, (xs[:, :, 0].sum(1) > 0).astype(np.int64)


def batches(**more: Any) -> Any:
    return tg.data.Batches(*examples(), batch_size=8, **{"rng": 4, **more})


def values(model: Any) -> list[bytes]:
    return [p.numpy().tobytes() for p in model.parameters()]


def quiet(*args: Any, **kwargs: Any) -> Fit:
    return tg.fit(*args, progress=False, **kwargs)


@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_the_loop_that_one_would_write(compiled: bool) -> None:
    run = quiet(
        Net(), batches(), epochs=3, clip=0.5, schedule=tg.optim.cosine(0.02, 15), compiled=compiled
    )
    model, losses = Net(), []
    optimizer = tg.optim.Adam(model.parameters())
    schedule, data = tg.optim.Schedule(optimizer, tg.optim.cosine(0.02, 15)), batches()
    for _ in range(3):
        for xs, targets in data:
            optimizer.zero_grad()
            loss = tg.nn.cross_entropy(model(xs), targets)
            loss.backward()
            tg.clip_grad_norm(model.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    np.testing.assert_allclose(run.losses, losses, rtol=1e-5)
    assert (run.step, run.epoch, len(run.history)) == (15, 3, 3)
    assert [row["step"] for row in run.history] == [5, 10, 15]
    assert run.history[1]["loss"] == pytest.approx(np.mean(run.losses[5:10]))
    assert run.history[0]["lr"] == tg.optim.cosine(0.02, 15)(5)


def validated(**more: Any) -> dict[str, Any]:
    held = tg.data.Batches(*examples(16), batch_size=16)
    return {"validate": held, "patience": 50, "epochs": 4, **more}


@pytest.mark.parametrize("when", range(1, 20, 4))
def test_a_run_goes_on_bit_for_bit(when: int, tmp_path: Path) -> None:
    whole = quiet(Net(), batches(), **validated(log=tmp_path / "whole.csv"))

    class Stop(Exception):
        pass

    class Breaking(tg.data.Batches):
        def _batch(self, order: Any, k: int) -> Any:
            if self.passes * 5 + k == when:
                raise Stop
            return super()._batch(order, k)

    data = Breaking(*examples(), batch_size=8, rng=4)
    more = {"checkpoint": tmp_path / "run", "log": [tmp_path / "run.csv", tmp_path / "run.jsonl"]}
    with pytest.raises(Stop):
        quiet(Net(), data, save_every=0.0, **validated(**more))
    model = Net()
    run = quiet(model, batches(), **validated(**more))
    assert run.losses == whole.losses and values(model) == values(whole.model)
    told = [{**row, "seconds": 0} for row in run.history]
    assert told == [{**row, "seconds": 0} for row in whole.history] and run.best is not None
    rows = [
        [{**row, "seconds": 0} for row in csv.DictReader(path.read_text().splitlines())]
        for path in (tmp_path / "whole.csv", tmp_path / "run.csv")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 4
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history


def test_a_list_of_batches_goes_on_in_the_middle_too(tmp_path: Path) -> None:
    data = list(batches(rng=None))
    whole = quiet(Net(), data, steps=12)
    first = quiet(Net(), data, steps=7, checkpoint=tmp_path)
    rest = quiet(Net(), data, steps=12, checkpoint=tmp_path)
    assert len(first.losses) == 7 and rest.losses == whole.losses


def test_ctrl_c_saves_after_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def press(run: Fit) -> None:
        if run.step == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as raised:
        tg.fit(Net(), batches(), steps=9, every=5, checkpoint=tmp_path, callbacks=[press])
    assert isinstance(raised.value, Interrupted)
    assert "Stopped after step 5. The checkpoint is in" in capsys.readouterr().out
    run = tg.fit(Net(), batches(), steps=9, every=5, checkpoint=tmp_path)
    assert run.losses == quiet(Net(), batches(), steps=9).losses
    assert "Resumed after step 5" in capsys.readouterr().out


class Symbols(tg.Module):
    def __init__(self) -> None:
        self.embedding = tg.nn.Embedding(5, 3, rng=0)
        self.lstm = tg.nn.LSTM(3, 4, rng=1)
        self.out = tg.nn.Linear(4, 5, rng=2)


def carried_loss(model: Any, ids: Any, targets: Any, state: Any) -> Any:
    ys, state = model.lstm(model.embedding(ids), state)
    return tg.nn.cross_entropy(model.out(ys), targets), state


def test_a_state_is_carried_and_cut(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 5, 200)

    def run(steps: int, **more: Any) -> Fit:
        data = tg.data.Windows(ids, 4, 6, rng=1)
        return quiet(Symbols(), data, loss=carried_loss, carry=True, steps=steps, **more)

    whole = run(20)
    model, state, losses = Symbols(), None, []
    optimizer, data = tg.optim.Adam(model.parameters()), tg.data.Windows(ids, 4, 6, rng=1)
    while len(losses) < 20:
        for window in data:
            state = None if window.fresh else state
            loss, state = carried_loss(model, window.inputs, window.targets, state)
            state = tuple(s.detach() for s in state)
            optimizer.zero_grad()
            loss.backward()
            tg.clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
    np.testing.assert_allclose(whole.losses, losses[:20], rtol=1e-5)
    run(11, checkpoint=tmp_path)
    assert run(20, checkpoint=tmp_path).losses == whole.losses


def test_patience_ends_it_with_the_best_parameters() -> None:
    figures = iter([3.0, 1.0, 2.0, 5.0, 1.5, 0.1])
    seen: list[list[bytes]] = []

    def metric(model: Any, *_: Any) -> float:
        seen.append(values(model))
        return next(figures)

    model = Net()
    run = quiet(model, batches(), **validated(epochs=9, patience=2, metric=metric))
    assert [row["metric"] for row in run.history] == [3.0, 1.0, 2.0, 5.0, 1.5]
    assert run.best is run.history[1] and values(model) == seen[1] != seen[-1]
    assert model.training is True


def test_validation_is_evaluation() -> None:
    model, held = Net(0.9), tg.data.Batches(*examples(16), batch_size=16)
    run = quiet(model, batches(), epochs=1, validate=held)
    model.eval()
    loss = tg.nn.cross_entropy(model(*[next(iter(held))[0]]), next(iter(held))[1])
    assert run.history[-1]["validation"] == pytest.approx(loss.item(), rel=1e-6)


def test_sequences_of_different_lengths() -> None:
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(k, 2)).astype(np.float32) for k in rng.integers(2, 7, 20)]
    data = tg.data.Batches(xs, [len(x) % 2 for x in xs], batch_size=4, bucket=True, rng=0)
    run = quiet(Net(), data, epochs=2)
    assert len(run.losses) == 10 and all(map(math.isfinite, run.losses))


def test_divergence_leaves_the_parameters() -> None:
    model = Net()
    xs, ys = examples(8)
    good, bad = (tg.tensor(xs.swapaxes(0, 1)), ys), (tg.tensor(xs.swapaxes(0, 1) * np.nan), ys)
    seen: list[Any] = []
    with pytest.raises(DivergedError, match=r"step 3: the loss is nan.*lower learning rate"):
        quiet(
            model,
            [good, good, bad],
            epochs=1,
            every=1,
            callbacks=[lambda run: seen.append(values(run.model))],
        )
    assert values(model) == seen[-1]


def test_a_disk_that_is_full_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("in the way")
    run = quiet(Net(), batches(), steps=3, checkpoint=tmp_path / "run")
    assert run.step == 3 and "cannot be written now" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "say when to end"),
        ({"steps": -1}, "fit: steps"),
        ({"epochs": 1, "patience": 3}, "need validate"),
        ({"epochs": 1, "carry": True}, r"loss\(model, \*batch, state\)"),
        ({"epochs": 1, "log": "run.txt"}, r"ends in \.csv or \.jsonl"),
        ({"epochs": 1, "clip": -1.0}, "fit: clip"),
        ({"epochs": 2, "data": iter([])}, "gave no batch"),
    ],
)
def test_what_is_refused(more: dict[str, Any], message: str) -> None:
    data = more.pop("data", None) or batches()
    with pytest.raises(tg.TinygradError, match=message):
        quiet(Net(), data, **more)


def test_no_time_is_no_training() -> None:
    before = values(Net())
    run = quiet(Net(), batches(), steps=0)
    assert run.step == 0 and run.history == [] and values(run.model) == before


def test_tensorboard_is_named_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(tg.TinygradError, match=r"pip install 'tinygrad-rnn\[tensorboard\]'"):
        quiet(Net(), batches(), steps=1, log=tmp_path / "events")
