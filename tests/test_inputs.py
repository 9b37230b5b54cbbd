"""What is given: indices, masks, settings, axes and numbers that do not fit are refused, and those at the limits give the right values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

from .interpreted import interpreting

# --- indices --------------------------------------------------------------------------------------------------------------

table = nn.Embedding(5, 2, rng=0)
IDS: dict[str, tuple[Any, str]] = {
    "negative": ([0, -1], r"Embedding: ids from -1 to 0; expected 0 to 4, one of the 5 rows"),
    "a negative number": (-1, r"Embedding: ids from -1 to -1"),
    "too large": ([[0], [5]], r"Embedding: ids from 0 to 5"),
    "negative int8": (np.array([-1], np.int8), r"ids from -1"),
    "large uint8": (np.array([200], np.uint8), r"ids from 200"),
    "uint64 beyond int64": (np.array([2**63], np.uint64), r"ids from 9223372036854775808"),
    "floats": ([1.0], r"Embedding: ids must be integers; found float32"),
    "a float": (1.0, r"must be integers; found float32"),
    "booleans": (np.array([True]), r"must be integers; found bool"),
    "True": (True, r"must be integers; found bool"),
    "complex": (1j, r"must be integers; found 1j"),
    "text": ("a", r"must be integers; found 'a'"),
    "None": ([None], r"must be integers; found \[None\]"),
    "beyond int64": (2**70, r"must be integers; found 1180591620717411303424"),
}  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_ids_that_are_none(name: str) -> None:
    ids, message = IDS[name]
    with pytest.raises(tg.TinygradError, match=message):
        table(ids)


@pytest.mark.parametrize("ids", [3, [1, 4, 1], [[0, 1], [2, 3]], [], np.array([4, 0], np.uint8), np.array([[1]], np.uint64), np.int64(2), [tg.tensor(1), 3]])
def test_ids_of_every_form(ids: Any) -> None:
    weight = table.weight.numpy()
    plain = np.array([int(i) for i in ids] if isinstance(ids, list) and ids and isinstance(ids[0], tg.Tensor) else ids).astype(np.int64)
    table.zero_grad()
    found = table(ids)
    np.testing.assert_array_equal(found.numpy(), weight[plain])
    scale = np.arange(1.0, found.size + 1, dtype=np.float32).reshape(found.shape)
    (found * scale).sum().backward()
    expected = np.zeros_like(weight)
    np.add.at(expected, plain, scale)
    np.testing.assert_array_equal(table.weight.grad.numpy(), expected)  # type: ignore[union-attr]


class Reader(tg.Cell):
    """Reads ids."""

    hidden_size = 2

    def __init__(self) -> None:
        self.table = table

    def forward(self, x: Any, h: Any) -> Any:
        h = h * 0.5 + self.table(x)
        return h, h


def test_ids_out_of_range_are_found_in_compiled_code() -> None:
    with interpreting():
        fast, cell = tg.jit(lambda i: table(i) * 2.0), tg.jit(Reader())
        good = np.array([[0, 4], [2, 1]])
        np.testing.assert_array_equal(fast(tg.tensor(good)).numpy(), 2 * table.weight.numpy()[good])
        np.testing.assert_allclose(tg.unroll(cell, good)[0].numpy(), tg.unroll(Reader(), good)[0].numpy(), rtol=1e-6)
        for bad in (-1, 5):
            ids = np.array([[0, 1], [2, bad]])
            with pytest.raises(tg.ShapeError, match=r"Embedding: ids from|out of bounds"):
                fast(tg.tensor(ids))
            with pytest.raises(tg.ShapeError, match="Embedding: ids from"):
                tg.unroll(cell, ids)


@pytest.mark.parametrize("call", [
    lambda i: tg.take(np.arange(3.0), i), lambda i: tg.take(tg.tensor([0.0, 1.0, 2.0]), i), lambda i: tg.one_hot(i, 3),
    lambda i: tg.index_add(tg.tensor([0.0, 1.0, 2.0]), i, np.ones(2)), lambda i: tg.take_along_axis(tg.tensor([0.0, 1.0, 2.0]), i),
])  # fmt: skip
@pytest.mark.parametrize("bad", [[0, 3], [0.0, 1.0], [True, False], "ab", [0, None], [[0], [1, 2]], 1j])
def test_indices_that_are_none(call: Any, bad: Any) -> None:
    with pytest.raises(tg.TinygradError, match=r"indices|ragged|out of bounds"):
        call(bad)
    if bad == [0, 3]:
        with pytest.raises(tg.TinygradError, match=r"out of bounds|indices"):
            call(np.array([-4, 0]))


# --- weights of positions in losses -----------------------------------------------------------------------------------------

LOSSES: dict[str, tuple[Any, Any]] = {  # from (logits, targets, mask); values at single positions, with NumPy in float64
    "cross entropy": (nn.cross_entropy, lambda z, t: np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1)) + z.max(-1) - z[np.arange(len(t)), t]),
    "bce": (nn.bce_with_logits, lambda z, t: t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)),
}


def loss_case(name: str, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Logits and targets in which positions 1 and 4 of 6 hold what is no number of theirs; weights that are 0 there."""
    mask = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 0.0])
    if name == "bce":
        z, t = rng.standard_normal(6), rng.random(6)
        z[1], t[4], z[4], t[1] = np.nan, -np.inf, np.inf, np.nan
    else:
        z, t = rng.standard_normal((6, 3)), rng.integers(0, 3, 6)
        z[1, 2], z[4] = np.nan, np.inf
        t[1], t[4] = -100, 77
    return z, t, mask


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_positions_of_weight_zero_may_hold_anything(name: str, jitted: bool, rng: np.random.Generator) -> None:
    loss, plain = LOSSES[name]
    z, t, mask = loss_case(name, rng)
    counts = mask > 0
    expected = (plain(z[counts], t[counts]) * mask[counts]).sum() / mask.sum()
    with interpreting():
        f = tg.jit(loss) if jitted else loss
        x = tg.tensor(z, requires_grad=True)
        y = f(x, t, mask)
        np.testing.assert_allclose(y.item(), expected, rtol=1e-12)
        y.backward()
    g = x.grad.numpy()  # type: ignore[union-attr]
    assert not g[~counts].any() and np.isfinite(g).all()
    w = tg.tensor(z[counts], requires_grad=True)
    loss(w, t[counts], mask[counts]).backward()
    np.testing.assert_allclose(g[counts], w.grad.numpy(), rtol=1e-12)  # type: ignore[union-attr]
    np.testing.assert_allclose(loss(tg.tensor(z), t, counts).item(), plain(z[counts], t[counts]).mean(), rtol=1e-12)  # a mask of booleans


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_by_a_weight_of_zero(name: str, rng: np.random.Generator) -> None:
    """The value at a position counts there, though its weight is 0 now."""
    loss, _ = LOSSES[name]
    z = rng.standard_normal((4, 3) if name == "cross entropy" else 4)
    t = rng.integers(0, 3, 4) if name == "cross entropy" else rng.random(4)
    m = tg.tensor(np.array([1.0, 0.0, 0.5, 0.0]), requires_grad=True)
    mean = loss(tg.tensor(z), t, m)
    mean.backward()
    values = [loss(tg.tensor(z[i : i + 1]), t[i : i + 1]).item() for i in range(4)]
    np.testing.assert_allclose(m.grad.numpy(), (np.array(values) - mean.item()) / 1.5, rtol=1e-12)  # type: ignore[union-attr]
    tg.gradcheck(lambda z: loss(z, t, m.detach()), z, order=2)


MASKS: dict[str, tuple[Any, str]] = {
    "shape": (np.ones((2, 1)), r"expected a mask of shape \(2,\), a weight for each position; found \(2, 1\)"),
    "zeros": ([0, 0], r"the weights in the mask add up to 0, so there is nothing to take the mean of"),
    "False": ([False, False], r"the weights in the mask add up to 0"),
    "negative": ([-1.0, 2.0], r"weights in the mask must be finite numbers of at least 0; found -1\.0 to 2\.0"),
    "negative integers": ([-1, 2], r"weights in the mask must be finite numbers of at least 0; found -1 to 2"),
    "nan": ([np.nan, 1.0], r"weights in the mask must be finite numbers"),
    "inf": ([np.inf, 1.0], r"weights in the mask must be finite numbers"),
    "text": (["a", "b"], r"the mask: .*dtype <U1 is not supported"),
    "complex": ([1j, 1j], r"the mask: .*complex"),
}  # fmt: skip


@pytest.mark.parametrize("bad", MASKS)
@pytest.mark.parametrize("name", LOSSES)
def test_masks_that_are_none(name: str, bad: str) -> None:
    mask, message = MASKS[bad]
    z, t = (np.zeros((2, 3)), [0, 1]) if name == "cross entropy" else (np.zeros(2), [0.0, 1.0])
    with pytest.raises(tg.TinygradError, match=message):
        LOSSES[name][0](tg.tensor(z), t, mask)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_masks_that_are_none_in_compiled_code(bad: list[float]) -> None:
    z, t = tg.tensor([0.5, 1.0]), tg.tensor([0.0, 1.0])
    with interpreting():
        f = tg.jit(nn.bce_with_logits)
        np.testing.assert_allclose(f(z, t, tg.tensor([1.0, 1.0])).item(), nn.bce_with_logits(z, t).item(), rtol=1e-6)
        with pytest.raises(tg.ShapeError):
            f(z, t, tg.tensor(bad))
