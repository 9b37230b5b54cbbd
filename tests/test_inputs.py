"""What is given.

Indices, masks, settings, axes and numbers that do not fit are refused, and those at the limits give
the right values.
"""

from __future__ import annotations

import copy
import math
import pickle
import re
import warnings
from collections.abc import Callable
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


@pytest.mark.parametrize(
    "ids",
    [
        3,
        [1, 4, 1],
        [[0, 1], [2, 3]],
        [],
        np.array([4, 0], np.uint8),
        np.array([[1]], np.uint64),
        np.int64(2),
        [tg.tensor(1), 3],
    ],
)
def test_ids_of_every_form(ids: Any) -> None:
    weight = table.weight.numpy()
    plain = np.array(
        [int(i) for i in ids]
        if isinstance(ids, list) and ids and isinstance(ids[0], tg.Tensor)
        else ids
    ).astype(np.int64)
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
        np.testing.assert_allclose(
            tg.unroll(cell, good)[0].numpy(), tg.unroll(Reader(), good)[0].numpy(), rtol=1e-6
        )
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
@pytest.mark.parametrize(
    "bad", [[0, 3], [0.0, 1.0], [True, False], "ab", [0, None], [[0], [1, 2]], 1j]
)
def test_indices_that_are_none(call: Any, bad: Any) -> None:
    with pytest.raises(tg.TinygradError, match=r"indices|ragged|out of bounds"):
        call(bad)
    if bad == [0, 3]:
        with pytest.raises(tg.TinygradError, match=r"out of bounds|indices"):
            call(np.array([-4, 0]))


# --- weights of positions in losses -----------------------------------------------------------------------------------------

# from (logits, targets, mask); values at single positions, with NumPy in float64
LOSSES: dict[str, tuple[Any, Any]] = {
    "cross entropy": (
        nn.cross_entropy,
        lambda z, t: (
            np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1))
            + z.max(-1)
            - z[np.arange(len(t)), t]
        ),
    ),
    "bce": (
        nn.bce_with_logits,
        lambda z, t: t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z),
    ),
}


def loss_case(name: str, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Logits and targets in which positions 1 and 4 of 6 hold what is no number of theirs.

    Weights that are 0 there.
    """
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
def test_positions_of_weight_zero_may_hold_anything(
    name: str, jitted: bool, rng: np.random.Generator
) -> None:
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
    # a mask of booleans
    np.testing.assert_allclose(
        loss(tg.tensor(z), t, counts).item(), plain(z[counts], t[counts]).mean(), rtol=1e-12
    )


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
    "text": (["a", "b"], r"the mask must be numbers; found <U1"),
    "complex": ([1j, 1j], r"the mask must be numbers; found complex128"),
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
        np.testing.assert_allclose(
            f(z, t, tg.tensor([1.0, 1.0])).item(), nn.bce_with_logits(z, t).item(), rtol=1e-6
        )
        with pytest.raises(tg.ShapeError):
            f(z, t, tg.tensor(bad))


# --- names, and values that are loaded --------------------------------------------------------------------------------------


def holding(**attributes: Any) -> tg.Module:
    module = tg.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def parameter(x: float = 1.0) -> tg.Parameter:
    return tg.Parameter([x])


COLLIDING: dict[str, tuple[Callable[[], tg.Module], str]] = {
    "1 and '1'": (lambda: holding(heads={1: parameter(), "1": parameter()}), "heads.1"),
    "a dotted key": (lambda: holding(a={"b.c": parameter(), "b": {"c": parameter()}}), "a.b.c"),
    "a key beside an attribute": (
        lambda: holding(d={"x.weight": parameter(), "x": holding(weight=parameter())}),
        "d.x.weight",
    ),
    "a dotted attribute": (
        lambda: holding(**{"a.b": parameter(), "a": holding(b=parameter())}),
        "a.b",
    ),
    "modules": (lambda: holding(m={1: nn.Linear(1, 1), "1": nn.Linear(1, 1)}), "m.1.weight"),
    "a parameter and a buffer": (lambda: holding(m={1: parameter(), "1": nn.Buffer([1.0])}), "m.1"),
}


@pytest.mark.parametrize("name", COLLIDING)
def test_names_that_collide_are_an_error(name: str, tmp_path: Any) -> None:
    make, both = COLLIDING[name]
    module, path = make(), tmp_path / "m.safetensors"
    for call in (
        lambda: tg.save(path, module),
        module.state_dict,
        lambda: module.load_state_dict({both: np.ones(1)}),
    ):
        with pytest.raises(
            tg.TinygradError,
            match=f"two of its tensors have the name '{re.escape(both)}', so one would be lost",
        ):
            call()
    assert not path.exists()
    assert len(list(module.parameters())) + len([b for _, b in module.named_buffers()]) >= 2, (
        "they can be trained all the same"
    )


def test_one_tensor_in_two_places_is_no_collision() -> None:
    shared = parameter()
    module = holding(a=shared, b=[shared], c={1: shared, "1": shared})
    assert list(module.state_dict()) == ["a"]
    module.load_state_dict({"a": np.array([3.0])})
    assert shared.item() == 3


def integers(dtype: Any) -> tg.Module:
    return holding(count=nn.Buffer(np.zeros(2, dtype)))


@pytest.mark.parametrize("module, value, found", [
    (holding(w=tg.Parameter([1.0, 2.0])), np.array([1.0, 1e300]), r"'w' is float32, which cannot hold the value 1e\+300"),
    (holding(w=tg.Parameter([1.0, 2.0])), np.array([-1e39, 0.0]), r"cannot hold the value -1e\+39"),
    (integers(np.int64), np.array([1.0, 1.5]), r"'count' is int64, which cannot hold the value 1\.5"),
    (integers(np.int64), np.array([np.nan, 1]), r"cannot hold the value nan"),
    (integers(np.int8), np.array([1, 300]), r"'count' is int8, which cannot hold the value 300"),
    (integers(np.uint8), np.array([1, -1]), r"cannot hold the value -1"),
    (integers(np.int64), np.array([0, 2**63], np.uint64), r"cannot hold the value 9223372036854775808"),
    (integers(bool), np.array([1, 2]), r"'count' is bool, which cannot hold the value 2"),
    (integers(np.int64), np.array([1j, 1]), r"'count' must be numbers; found complex128"),
    (integers(np.int64), [[1], [1, 2]], r"'count' has no shape: its lists are ragged"),
    (integers(np.int64), np.ma.array([1, 2], mask=[0, 1]), r"'count': a masked array would lose its mask"),
])  # fmt: skip
def test_values_that_a_dtype_cannot_hold_are_not_loaded(
    module: Any, value: Any, found: str
) -> None:
    ((name, before),) = module.state_dict().items()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(tg.TinygradError, match=f"load_state_dict: .*{found}"):
            module.load_state_dict({name: value})
        with pytest.raises(
            tg.TinygradError,
            match=found.replace("'w'", r"w\.data")
            .replace("'count': ", "")
            .replace("'count'", r"count\.data"),
        ):
            getattr(module, name).data = value
    np.testing.assert_array_equal(module.state_dict()[name], before)


def test_values_that_a_dtype_can_hold_are_loaded() -> None:
    module = holding(w=tg.Parameter([1.0, 2.0, 3.0, 4.0]))
    module.load_state_dict({"w": np.array([np.inf, np.nan, 0.1, 1e-300])})
    np.testing.assert_array_equal(module.w.numpy(), np.array([np.inf, np.nan, 0.1, 0], np.float32))  # type: ignore[attr-defined]
    counts = integers(np.int8)
    counts.load_state_dict({"count": np.array([-128.0, 127.0])})
    assert counts.count.tolist() == [-128, 127]  # type: ignore[attr-defined]


def test_messages_of_save(tmp_path: Any) -> None:
    path = tmp_path / "m.safetensors"
    for value, message in [
        (
            {"net": {"w": np.ones(1)}},
            r"save: 'net' is a dict; a file is flat, so give .* such as 'net\.w'",
        ),
        (
            {"net": nn.Linear(1, 1)},
            r"save: 'net' is a Linear; a file is flat, so give .* such as 'net\.weight'",
        ),
        ({"a": None}, r"save: 'a' must be numbers; found None"),
        ({"a": [[1], [1, 2]]}, r"save: 'a' has no shape: its lists are ragged"),
        ({"a": np.ma.array([1, 2], mask=[0, 1])}, r"save: 'a': a masked array would lose its mask"),
        ({1: np.ones(1)}, r"names must be str, found 1"),
        (
            tg.optim.SGD([parameter()]),
            r"found save\(.*, SGD\)\. Of an optimiser: its state_dict\(\)",
        ),
    ]:
        with pytest.raises(tg.TinygradError, match=message):
            tg.save(path, value)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder '.*none'; make it first.*none/m\.safetensors'"
    ):
        tg.save(tmp_path / "none" / "m.safetensors", {"a": np.ones(1)})
    with pytest.raises(OSError, match=rf": '{tmp_path}'$"):
        tg.save(tmp_path, {"a": np.ones(1)})


# --- magnitudes at the limits of a dtype ------------------------------------------------------------------------------------


def spread(
    dtype: Any, rng: np.random.Generator, rows: int = 7, columns: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of many magnitudes, and what they would be at magnitude 1."""
    powers = np.array(
        [-44, -38, -25, 0, 18, 30, 37]
        if dtype == np.float32
        else [-320, -290, -160, 0, 150, 250, 300]
    )
    ones = rng.uniform(0.5, 2.0, (rows, columns)) * rng.choice([-1, 1], (rows, columns))
    x = (ones * 10.0 ** powers[:, None].astype(np.longdouble)).astype(dtype)
    return x, x.astype(np.longdouble)


def exact_norm(x: Any) -> Any:
    top = np.abs(x).max(-1, keepdims=True)
    return (np.sqrt(((x / top) ** 2).sum(-1, keepdims=True)) * top)[..., 0]


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_any_magnitude(dtype: Any, jitted: bool, rng: np.random.Generator) -> None:
    x, wide = spread(dtype, rng)
    expected, rtol = exact_norm(wide), 5e-6 if dtype == np.float32 else 1e-14
    tiny = float(np.finfo(dtype).smallest_subnormal)
    with interpreting():
        f = tg.jit(lambda x: tg.norm(x, axis=-1)) if jitted else lambda x: tg.norm(x, axis=-1)
        t = tg.tensor(x, requires_grad=True)
        y = f(t)
        np.testing.assert_allclose(y.numpy(), expected, rtol=rtol, atol=2 * tiny)
        y.sum().backward()
    slope = (wide / exact_norm(wide)[:, None]).astype(np.float64)
    coarse = np.abs(x).min(-1) < 1e4 * np.finfo(dtype).tiny  # few digits are left
    np.testing.assert_allclose(t.grad.numpy()[~coarse], slope[~coarse], rtol=rtol)  # type: ignore[union-attr]
    np.testing.assert_allclose(t.grad.numpy()[coarse], slope[coarse], atol=0.2)  # type: ignore[union-attr]


def test_norms_of_zeros_infinities_and_nothing() -> None:
    x = tg.tensor([[0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0], [3e-30, 4e-30]])
    np.testing.assert_array_equal(
        tg.norm(x, axis=1).numpy(), np.array([0, np.inf, np.nan, 5e-30], np.float32)
    )
    assert tg.norm(tg.tensor(np.zeros((0, 3), np.float32))).item() == 0
    np.testing.assert_array_equal(
        tg.grad(tg.norm)(tg.tensor([3e-30, 4e-30])).numpy(), np.array([0.6, 0.8], np.float32)
    )
    np.testing.assert_array_equal(tg.grad(tg.norm)(tg.tensor([0.0, 0.0])).numpy(), [0, 0])


def test_the_deviation_of_tiny_and_huge_numbers(rng: np.random.Generator) -> None:
    values = rng.standard_normal(9)
    for scale in (1e-30, 1e30):
        x = (values * scale).astype(np.float32)
        np.testing.assert_allclose(
            tg.std(tg.tensor(x)).item(), x.astype(np.float64).std(), rtol=1e-5
        )
        expected = tg.grad(tg.std)(tg.tensor(x.astype(np.float64) / scale)).numpy()
        np.testing.assert_allclose(
            tg.grad(tg.std)(tg.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-6
        )


def test_a_norm_in_a_compiled_cell() -> None:
    def cell(x: Any, h: Any) -> Any:
        h = h + x / tg.norm(x, axis=-1, keepdims=True)
        return h, h

    xs = np.float32([[[3e-30, 4e-30], [3e30, 4e30]], [[3.0, 4.0], [-4.0, 3.0]]])
    with interpreting():
        found = tg.unroll(tg.jit(cell), xs, np.zeros((2, 2), np.float32))[1]
    np.testing.assert_allclose(found.numpy(), [[1.2, 1.6], [-0.2, 1.4]], rtol=1e-6)


@pytest.mark.parametrize("correction", [3, 4, 2.5, -1])
@pytest.mark.parametrize("jitted", [False, True])
def test_more_corrections_than_numbers(
    correction: float, jitted: bool, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((30, 3))
    x[0] = 1.0
    for ours, theirs in ((tg.var, np.var), (tg.std, np.std)):

        def f(x: Any) -> Any:
            return ours(x, 1, correction)  # noqa: B023  (called at once)

        with interpreting(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = (tg.jit(f) if jitted else f)(tg.tensor(x))
            np.testing.assert_allclose(
                found.numpy(), theirs(x, axis=1, ddof=correction), rtol=1e-12
            )
    for bad in (1j, math.nan, "1", None, True):
        with pytest.raises(tg.TinygradError, match="correction must be a finite number"):
            tg.std(tg.tensor(x), 1, bad)


# --- axes of no dimensions --------------------------------------------------------------------------------------------------

ALONG = (tg.sum, tg.mean, tg.max, tg.min, tg.prod, tg.norm, tg.cummax, tg.cumsum, tg.cumprod, tg.softmax, tg.log_softmax, tg.logsumexp, tg.var, tg.std,
         tg.argmax, tg.argmin, tg.any, tg.all, tg.flip)  # fmt: skip


@pytest.mark.parametrize("f", ALONG, ids=lambda f: f.__name__)
@pytest.mark.parametrize("axis", [0, -1])
def test_one_number_has_no_axes_to_lose(f: Any, axis: int) -> None:
    x, line = (
        tg.tensor(np.array(3.0), requires_grad=True),
        tg.tensor(np.array([3.0]), requires_grad=True),
    )
    y, expected = f(x, axis=axis), f(line, axis=axis)
    assert y.shape == () and y.dtype == expected.dtype and y.item() == expected.item()
    with interpreting():
        assert tg.jit(lambda x: f(x, axis=axis))(x).item() == y.item()
    if y.requires_grad:
        y.backward()
        expected.sum().backward()
        assert x.grad.shape == () and x.grad.item() == line.grad.item()  # type: ignore[union-attr]
        tangent = tg.jvp(lambda v: f(v, axis=axis), (x.detach(),), (np.array(1.0),))[1]
        assert tangent.shape == () and tangent.item() == x.grad.item()  # type: ignore[union-attr]


@pytest.mark.parametrize("f", ALONG, ids=lambda f: f.__name__)
@pytest.mark.parametrize("axis", [1, -2, (0, 0), (0, -1), 1.0, True, "a", 1j, [0, 0]])
def test_axes_that_there_are_not(f: Any, axis: Any) -> None:
    for x in (tg.tensor(3.0), tg.tensor([1.0, 2.0])):
        with pytest.raises(tg.TinygradError, match="axis"):
            f(x, axis=axis)


@pytest.mark.parametrize("f", [
    lambda x, a: tg.take(x, [0], a), lambda x, a: tg.split(x, 1, a), lambda x, a: tg.swapaxes(x, a, a), lambda x, a: tg.concatenate([x], a),
    lambda x, a: tg.take_along_axis(x, [0], a), lambda x, a: tg.index_add(x, [0], [1.0], a),
])  # fmt: skip
def test_one_number_has_no_axis_to_walk_along(f: Any) -> None:
    for axis in (0, -1, True, 0.0, None):
        if axis is None and "concatenate" in f.__code__.co_names:
            continue
        with pytest.raises(tg.TinygradError, match=r"ax[ie]s"):
            f(tg.tensor(3.0), axis)


# --- Python numbers take the dtype of what they meet ------------------------------------------------------------------------

# from the module of the functions, a mask and numbers
CHOSEN: dict[str, Callable[[Any, Any, Any], Any]] = {
    "times": lambda xp, m, x: xp.where(m, 0.1, 0.7) * x,
    "from the right": lambda xp, m, x: x - xp.where(m, 0.1, 3),
    "the rest": lambda xp, m, x: xp.where(m, 0.3, 0.9) * x + (1 - xp.where(m, 0.3, 0.9)) * x * x,
    "in columns": lambda xp, m, x: xp.where(m, 0.1, 0.7)[:, None] * x,
    "of two": lambda xp, m, x: (xp.where(m, 0.1, 0.7) + xp.where(m, 0.2, 0.4)) ** 2 * x,
    "a mean": lambda xp, m, x: x / xp.where(m, 0.1, 0.7).mean(),
    "joined": lambda xp, m, x: xp.stack([xp.where(m, 0.1, 0.7), x]),
    "the larger": lambda xp, m, x: xp.maximum(xp.where(m, 0.1, 0.7), x),
    "matrix": lambda xp, m, x: xp.where(m, 0.1, 0.7) @ x,
}


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_numbers_take_the_dtype_of_what_they_meet(
    dtype: Any, name: str, jitted: bool, rng: np.random.Generator
) -> None:
    f, m = CHOSEN[name], np.array([True, False, True, True, False])
    x = rng.uniform(0.2, 1.0, 5).astype(dtype)
    expected = f(np, m, x.astype(np.float64))
    with interpreting():
        g = (lambda m, x: f(tg, m, x)) if not jitted else tg.jit(lambda m, x: f(tg, m, x))
        t = tg.tensor(x, requires_grad=True)
        y = g(tg.tensor(m), t)
        assert y.dtype == dtype
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-15 if dtype == np.float64 else 1e-6)
        y.sum().backward()
        assert t.grad.dtype == dtype  # type: ignore[union-attr]
    if dtype == np.float64:
        tg.gradcheck(lambda x: f(tg, tg.tensor(m), x), x, order=2)


def test_two_numbers_in_a_compiled_cell(rng: np.random.Generator) -> None:
    def cell(x: Any, h: Any) -> Any:
        keep = tg.where(x > 0, 0.1, 0.7)
        h = keep * h + (1 - keep) * x
        return h, h

    xs, h = (
        rng.standard_normal((4, 3, 2)),
        tg.tensor(rng.standard_normal((3, 2)), requires_grad=True),
    )
    found = []
    with interpreting():
        for run in (cell, tg.jit(cell)):
            h.grad = None
            ys, _ = tg.unroll(run, xs, h)
            (ys * ys).sum().backward()
            found.append((ys.numpy(), h.grad.numpy()))  # type: ignore[union-attr]
    assert found[0][0].dtype == np.float64
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
    keep, last = np.where(xs > 0, 0.1, 0.7), h.numpy()
    for t in range(4):
        last = keep[t] * last + (1 - keep[t]) * xs[t]
    np.testing.assert_allclose(found[0][0][-1], last, rtol=1e-14)


def test_when_numbers_have_a_dtype_of_their_own(rng: np.random.Generator) -> None:
    m, x = tg.tensor([True, False]), tg.tensor(np.array([0.3, 0.4]))
    w = tg.where(m, 0.1, 0.7)
    assert (
        w.dtype == np.float32
        and tg.where(m, 1, 0).dtype == np.int64
        and (tg.where(m, 1, 0) * x).dtype == np.float64
    )
    w[0] = 0.5  # now it was written to
    with pytest.raises(tg.DtypeError, match="float32 and float64 do not mix"):
        w * x
    v = tg.where(m, 0.1, 0.7)
    v.requires_grad = True
    with pytest.raises(tg.DtypeError, match="float32 and float64 do not mix"):
        v * x
    with pytest.raises(tg.DtypeError, match="float32 and float64 do not mix"):
        (tg.where(m, 0.1, 0.7) * tg.tensor([1.0, 2.0])) * x
    total: Any = 0.0
    for _ in range(2000):  # what goes on for ever keeps no history
        total = total + tg.where(m, 1.0, 0.0)
    assert not getattr(total, "weak", False), "it would hold every term"
    assert (
        total.tolist() == [2000, 0]
        and pickle.loads(pickle.dumps(tg.where(m, 0.1, 0.7))).tolist()
        == tg.where(m, 0.1, 0.7).tolist()
    )
    assert (
        type(copy.deepcopy(tg.where(m, 0.1, 0.7)))
        is type(copy.copy(tg.where(m, 0.1, 0.7)))
        is tg.Tensor
    )


# --- what layers and losses are called with ---------------------------------------------------------------------------------

LAYERS: dict[str, tuple[Callable[[Any], Any], Any]] = {  # with an input that is right, as lists
    "Linear": (nn.Linear(2, 3, rng=0), [[1.0, 2.0]]), "LayerNorm": (nn.LayerNorm(2), [[1.0, 2.0]]), "BatchNorm": (nn.BatchNorm(2), [[1.0, 2.0], [0.0, 3.0]]),
    "Dropout": (nn.Dropout(0.5, rng=0), [[1.0, 2.0]]), "Conv1d": (nn.Conv1d(1, 2, 2, rng=0), [[[1.0, 2.0, 3.0]]]), "MaxPool1d": (nn.MaxPool1d(2), [[[1.0, 2.0]]]),
    "AvgPool2d": (nn.AvgPool2d(1), [[[[1.0, 2.0]]]]), "RNN": (nn.RNN(2, 3, rng=0), [[[1.0, 2.0]]]), "LSTM": (nn.LSTM(2, 3, rng=0), [[[1.0, 2.0]]]),
    "Bahdanau": (lambda q: nn.BahdanauAttention(2, 2, 3, rng=0)(q, np.ones((1, 3, 2), np.float32)), [[1.0, 2.0]]),
    "Luong": (lambda m: nn.LuongAttention(2, 2, rng=0)(np.ones((1, 2), np.float32), m), [[[1.0, 2.0]]]),
    "mse_loss": (lambda x: nn.mse_loss(x, x), [1.0, 2.0]), "cross_entropy": (lambda z: nn.cross_entropy(z, [0]), [[1.0, 2.0]]),
    "bce_with_logits": (lambda z: nn.bce_with_logits(z, [0.5]), [1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_lists_and_refuse_what_holds_no_numbers(name: str) -> None:
    layer, right = LAYERS[name]
    with tg.eager(), warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(right)
        for wrong in (
            None,
            "text",
            object(),
            {},
            [[1.0], [1.0, 2.0]],
            [None],
            1j,
            np.ones((1, 2)) * 1j,
            (x for x in right),
            np.ma.array(right, mask=True),
        ):
            with pytest.raises(tg.TinygradError):
                layer(wrong)


def test_a_mean_of_nothing_is_an_error() -> None:
    for call in (lambda: nn.mse_loss(np.zeros(0), np.zeros(0)), lambda: nn.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)),
                 lambda: nn.bce_with_logits(np.zeros((2, 0)), np.zeros((2, 0)))):  # fmt: skip
        with pytest.raises(
            tg.ShapeError, match="holds no numbers, so there is nothing to take the mean of"
        ):
            call()
