"""Batches and windows: what they give, and that a pass goes on where it was left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.data import Batches, Windows


def ragged(rng: np.random.Generator, count: int = 23) -> tuple[list[Any], list[Any]]:
    xs = [rng.normal(size=(k, 2)) for k in rng.integers(1, 9, count)]
    return xs, [np.arange(len(x)) + 100 * i for i, x in enumerate(xs)]


def test_batches_are_time_major(rng: np.random.Generator) -> None:
    xs, labels = rng.normal(size=(7, 5, 2)).astype(np.float32), np.arange(7)
    found = list(Batches(xs, labels, batch_size=3))
    assert [(x.shape, y.shape) for x, y in found] == [
        ((5, 3, 2), (3,)),
        ((5, 3, 2), (3,)),
        ((5, 1, 2), (1,)),
    ]
    np.testing.assert_array_equal(
        np.concatenate([x.numpy() for x, _ in found], 1), xs.swapaxes(0, 1)
    )
    assert found[0][0].dtype == np.float32 and found[0][1].dtype == np.int64
    assert len(list(Batches(xs, labels, batch_size=3, drop_last=True))) == 2
    plain = next(iter(Batches(xs[:, 0], labels, batch_size=3, time=[False, False])))
    assert plain[0].shape == (3, 2)


@pytest.mark.parametrize("bucket", [False, True])
def test_every_example_comes_once_a_pass(bucket: bool, rng: np.random.Generator) -> None:
    xs, ids = ragged(rng)
    data = Batches(xs, ids, batch_size=4, rng=0, bucket=bucket)
    orders = []
    for _ in range(2):
        seen: list[int] = []
        for x, i, lengths in data:
            for row, length in enumerate(lengths.numpy()):
                k = int(i.numpy()[0, row]) // 100
                np.testing.assert_array_equal(x.numpy()[:length, row], xs[k])
                assert not x.numpy()[length:, row].any()
                seen.append(k)
        assert sorted(seen) == list(range(len(xs)))
        orders.append(seen)
    assert orders[0] != orders[1]


def test_buckets_pad_less(rng: np.random.Generator) -> None:
    xs = [np.ones((k, 1)) for k in rng.integers(1, 100, 400)]
    size = {
        b: sum(x.size for x, _ in Batches(xs, batch_size=8, rng=0, bucket=b)) for b in (False, True)
    }
    assert size[True] < 1.1 * sum(map(len, xs)) < 0.8 * size[False]


def make(kind: str, rng: np.random.Generator) -> Any:
    seed = int(rng.integers(100))
    if kind == "windows":
        return Windows(np.arange(101), 3, 4, rng=seed)
    if kind == "in order":
        return Batches(np.arange(30).reshape(10, 3), batch_size=3)
    return Batches(
        *ragged(np.random.default_rng(1)), batch_size=4, rng=seed, bucket=kind == "bucket"
    )


def numbers(batch: Any) -> list[Any]:
    return [v.numpy().tolist() if isinstance(v, tg.Tensor) else v for v in batch]


@pytest.mark.parametrize("kind", ["windows", "in order", "shuffled", "bucket"])
def test_a_pass_goes_on_where_it_was_left(kind: str, rng: np.random.Generator) -> None:
    data = make(kind, rng)
    once = len(list(data))
    for count in range(once + 1):
        it = iter(data)
        for _ in range(count):
            next(it)
        state = data.state_dict()
        rest = [numbers(b) for b in it]
        following = [numbers(b) for b in data]
        again = make(kind, rng)
        again.load_state_dict(state)
        if count:
            assert [numbers(b) for b in again] == rest
        else:
            again.rng = data.rng if data.rng is None else again.rng
        if count and count < once:
            assert [numbers(b) for b in again] == following


def test_windows_go_on_from_each_other() -> None:
    data = Windows(np.arange(50), 3, 4)
    found = list(data)
    assert [w.fresh for w in found] == [True, False, False, False]
    streams = np.concatenate([w.inputs.numpy() for w in found])
    assert (np.diff(streams, axis=0) == 1).all()
    np.testing.assert_array_equal(np.concatenate([w.targets.numpy() for w in found]), streams + 1)
    ahead = next(iter(Windows(np.arange(50), 3, 4, ahead=3)))
    np.testing.assert_array_equal(ahead.targets.numpy(), ahead.inputs.numpy() + 3)


def test_columns_are_stretches_of_the_values(rng: np.random.Generator) -> None:
    for _ in range(150):
        batch, steps = (int(n) for n in rng.integers(1, 7, size=2))
        n = batch * steps + 1 + int(rng.integers(0, 60))
        ids = rng.integers(0, 50, size=n)
        pairs = [(w.inputs.numpy(), w.targets.numpy()) for w in Windows(ids, batch, steps)]
        assert {x.shape for pair in pairs for x in pair} == {(steps, batch)}
        inputs, targets = (np.concatenate(side) for side in zip(*pairs, strict=True))
        length = (n - 1) // batch
        assert len(inputs) == length // steps * steps
        for b in range(batch):
            start = b * length
            assert inputs[:, b].tolist() == ids[start : start + len(inputs)].tolist()
            assert targets[:, b].tolist() == ids[start + 1 : start + 1 + len(inputs)].tolist()


@pytest.mark.parametrize("n", [16, 17, 20, 100])
def test_passes_of_windows_begin_at_random_places(n: int) -> None:
    starts, previous = set(), None
    data = Windows(np.arange(n), 3, 5, rng=0)
    for window in (w for _ in range(100) for w in data):
        if window.fresh:
            starts.add(int(window.inputs.numpy()[0, 0]))
        else:
            assert previous is not None
            np.testing.assert_array_equal(window.inputs.numpy()[0], previous.numpy()[-1])
        previous = window.targets
    assert starts == set(range(min(5, n - 15)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Batches(batch_size=2), "at least one array"),
        (lambda: Batches(np.ones((3, 2)), np.ones(4), batch_size=2), r"found 3, 4 entries"),
        (lambda: Batches([np.ones(3), np.ones((2, 2))], batch_size=2), "entry 1 of array 0"),
        (lambda: Batches(np.ones(3), batch_size=2), "axis of time"),
        (
            lambda: Batches([[1], [2, 3]], [[1], [2, 3, 4]], batch_size=2),
            r"of example 1 they have 2 and 3",
        ),
        (lambda: Batches(np.ones((3, 2)), batch_size=2, time=[True, True]), "expected 1 values"),
        (lambda: Batches(np.ones((3, 2)), batch_size=0), "batch_size"),
        (lambda: Batches("abc", batch_size=1), "array 0 is a str"),
        (lambda: Windows(np.arange(12), 3, 4), r"need 13 positions; found 12"),
        (lambda: Windows("abc", 3, 4), "sequence of numbers"),
        (
            lambda: Windows(np.arange(50), 3, 4).load_state_dict(
                {**Windows(np.arange(50), 3, 4, rng=0).state_dict(), "position": 2, "began": {}}
            ),
            "random order",
        ),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(tg.TinygradError, match=message):
        call()


def test_splits_are_in_the_order_of_time() -> None:
    for count in (3, 10, 101, 5000):
        values = np.arange(count)
        for shares in ((0.1,), (0.1, 0.2), (0.001, 0.3)):
            parts = tg.data.split(values, *shares)
            np.testing.assert_array_equal(np.concatenate(parts), values)
            assert [len(p) for p in parts[1:]] == [max(1, round(count * s)) for s in shares]
            assert all(p.base is values for p in parts)
    series = tg.data.Series(np.ones((10, 2)), ("a", "b"), np.arange(10).astype("M8[s]"), "s")
    train, held = tg.data.split(series, 0.3)
    assert train.values.shape == (7, 2) and held.times[0] == series.times[7]
    assert held.names == series.names and tg.data.split("abcd", 0.25) == ("abc", "d")


@pytest.mark.parametrize("shares", [(), (0.0,), (1.0,), (0.5, 0.5), (-0.1,), (float("nan"),)])
def test_splits_that_cannot_be(shares: tuple[float, ...]) -> None:
    with pytest.raises(tg.TinygradError, match="split: "):
        tg.data.split(np.arange(10), *shares)
