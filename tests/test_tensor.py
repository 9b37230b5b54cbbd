"""The tensor: construction, conversion, copies, and assignment that is recorded."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


class Tied(tg.Module):
    def __init__(self) -> None:
        self.a = tg.nn.Linear(2, 2, rng=0)
        self.b = tg.nn.Linear(2, 2, rng=1)
        self.b.weight = self.a.weight


def numeric(f: Any, x: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Central differences of a function of an array that returns a number."""
    slope = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        ends = []
        for sign in (eps, -eps):
            moved = x.copy()
            moved[at] += sign
            ends.append(f(moved))
        slope[at] = (ends[0] - ends[1]) / (2 * eps)
    return slope


# --- construction ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, dtype, shape",
    [
        (1.5, "float32", ()),
        (2, "int64", ()),
        (True, "bool", ()),
        ([1.0, 2.0], "float32", (2,)),
        ([[1, 2], [3, 4]], "int64", (2, 2)),
        ([True, False], "bool", (2,)),
        ([], "float32", (0,)),
        ((1.0, (2)), "float32", (2,)),
        (np.ones((2, 3)), "float64", (2, 3)),
        (np.ones((2, 3), np.float32), "float32", (2, 3)),
        (np.float64(1.5), "float64", ()),
        (np.arange(3, dtype=np.int16), "int16", (3,)),
        (np.ones((0, 4), np.float32), "float32", (0, 4)),
    ],
    ids=repr,
)
def test_dtype_and_shape_of_what_is_made(data: Any, dtype: str, shape: tuple[int, ...]) -> None:
    t = tg.tensor(data)
    assert (t.dtype, t.shape, t.ndim, t.size) == (
        np.dtype(dtype),
        shape,
        len(shape),
        int(np.prod(shape)),
    )
    assert not t.requires_grad and t.is_leaf and t.grad is None
    np.testing.assert_array_equal(t.numpy(), np.array(data).astype(dtype))


def test_a_given_dtype_wins() -> None:
    assert tg.tensor([1, 2], dtype="float64").dtype == np.float64
    assert tg.tensor(np.ones(2), dtype=np.float32).dtype == np.float32
    assert tg.tensor(np.ones(2, np.float16), dtype=np.float32).dtype == np.float32
    assert tg.tensor([1.7], dtype=int).tolist() == [1]


def test_float64_numbers_keep_their_digits_when_float64_is_asked_for() -> None:
    assert tg.tensor(0.1, dtype=np.float64).item() == 0.1
    t = tg.tensor([0.1, 0.2], dtype=np.float64)
    t.data = [0.3, 0.1]
    assert t.tolist() == [0.3, 0.1]


def test_values_are_copied() -> None:
    array = np.ones(3)
    t = tg.tensor(array)
    u = tg.tensor(t)
    array[:] = 7
    assert t.tolist() == u.tolist() == [1, 1, 1]
    assert not np.shares_memory(t.numpy(), u.numpy())


def test_a_list_of_constant_tensors_becomes_one_tensor() -> None:
    assert tg.tensor([tg.tensor(1.0), 2.0, tg.tensor(3)]).tolist() == [1.0, 2.0, 3.0]
    assert tg.tensor([tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])]).shape == (2, 2)


def test_a_list_of_tensors_that_require_gradients_is_refused() -> None:
    w = tg.Parameter([1.0, 2.0])
    for data in ([w, w * 2], [[w[0], 1.0], [2.0, 3.0]]):
        with pytest.raises(tg.GraphError, match=r"cut off; use tg\.stack"):
            tg.tensor(data)


def test_unpickled_dtypes_are_the_usual_ones() -> None:
    """NumPy unpickles a dtype as a new object, equal to the usual one.

    The tensor has the usual one.
    """
    strange = pickle.loads(pickle.dumps(np.arange(3.0)))
    t = tg.tensor(strange)
    assert t.numpy().dtype is np.dtype(np.float64)
    t.data = strange
    assert t.numpy().dtype is np.dtype(np.float64)
    big = pickle.loads(pickle.dumps(tg.tensor(np.linspace(-2, 2, 150_000), requires_grad=True)))
    y = tg.tanh(big)
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), np.tanh(big.numpy()), rtol=1e-14)
    np.testing.assert_allclose(
        big.grad.numpy(), 1 - np.tanh(big.numpy()) ** 2, rtol=1e-12, atol=1e-15
    )


# --- looking at it --------------------------------------------------------------------------------------------------------


def test_repr() -> None:
    x = tg.tensor([1.0, 2.5], requires_grad=True, name="x")
    assert repr(x) == "tensor([1. , 2.5], requires_grad=True, name='x')"
    assert repr(tg.tensor([1, 2])) == "tensor([1, 2])"
    assert repr(tg.tensor(np.ones(1))) == "tensor([1.], dtype=float64)"
    assert "from=multiply" in repr(x * 2)
    assert len(repr(tg.tensor(np.zeros((1000, 1000))))) < 2000
    shown = []
    tg.trace(lambda t: (shown.append(repr(t)), t * 2)[1], tg.Spec((2,)))
    assert "Spec((2,), float32)" in shown[0], "a traced tensor says what it is, without numbers"


def test_len_iter_bool_and_numbers() -> None:
    t = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert len(t) == 2
    rows = list(t)
    assert [r.tolist() for r in rows] == [[1, 2], [3, 4]]
    (rows[0] * tg.tensor([5.0, 7.0])).sum().backward()
    assert t.grad.tolist() == [[5, 7], [0, 0]]
    first, second = t
    assert first.tolist() == [1, 2] and second.tolist() == [3, 4]
    assert bool(tg.tensor([[2.0]])) and not bool(tg.tensor(0))
    assert (
        float(tg.tensor(1.5)) == 1.5 and int(tg.tensor(3)) == 3 and float(tg.tensor([[2.5]])) == 2.5
    )
    assert [10, 20, 30][tg.tensor(1)] == 20
    assert list(range(5))[tg.tensor(1) : tg.tensor(3)] == [1, 2]
    assert tg.tensor([1.0]).item() == 1.0
    assert type(tg.tensor(2).item()) is int and type(tg.tensor(True).item()) is bool


def test_hash_is_identity() -> None:
    a, b = tg.tensor(1.0), tg.tensor(1.0)
    assert len({a, b, a}) == 2
    assert (a == None) is False and (a != "x") is True  # noqa: E711


def test_numpy_and_data_are_read_only() -> None:
    t = tg.tensor([1.0, 2.0])
    for view in (t.numpy(), t.data, np.asarray(t)):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 5
    assert np.array(t).flags.writeable, "a copy is the caller's"
    with pytest.raises(ValueError, match="read-only"):
        t.numpy().sort()
    assert t.tolist() == [1, 2]


def test_numpy_conversion_of_constants() -> None:
    t = tg.tensor([1.0, 2.0])
    assert np.asarray(t).dtype == np.float32
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.asarray(t.detach()), [1, 2])


# --- names, leaves, requires_grad -------------------------------------------------------------------------------------------


def test_requires_grad_can_be_set_on_leaves() -> None:
    t = tg.tensor([1.0, 2.0])
    before = t * 3
    t.requires_grad = True
    assert t.requires_grad and not before.requires_grad
    (t * 3).sum().backward()
    assert t.grad.tolist() == [3, 3]
    t.requires_grad = False
    assert not (t * 3).requires_grad
    assert t.grad.tolist() == [3, 3], "the gradient stays"


def test_a_frozen_parameter_gets_no_gradient() -> None:
    w, v = tg.Parameter([1.0, 2.0]), tg.Parameter([3.0, 4.0])
    w.requires_grad = False
    (w * v).sum().backward()
    assert w.grad is None and v.grad.tolist() == [1, 2]
    w.requires_grad = True
    (w * v).sum().backward()
    assert w.grad.tolist() == [3, 4] and v.grad.tolist() == [2, 4]


def test_detach_cuts_and_shares_no_gradient(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.normal(size=3), requires_grad=True)
    y = x * x
    (y.detach() * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), x.numpy() ** 2)
    d = y.detach()
    assert d.is_leaf and not d.requires_grad
    d[0] = 100.0
    assert y.numpy()[0] != 100.0, "assignment to the detached one leaves the original alone"


def test_names() -> None:
    t = tg.tensor([1.0], name="weights")
    assert t.name == "weights" and "weights" in repr(t)
    y = t * 2
    assert y.name is None
    x = tg.tensor([1.0], requires_grad=True)
    y = x * 2
    y.name = "twice"
    assert tg.tape(y)[-1].name == "twice" and "twice" in str(tg.tape(y))
    t.data = [3.0]
    assert t.name == "weights"
    t.requires_grad = True
    assert t.name == "weights"


def test_setting_data_does_not_record_and_keeps_shape_and_dtype() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    x.data = np.array([5, 6])
    assert x.tolist() == [5, 6] and x.dtype == np.float32 and x.requires_grad and x.is_leaf
    source = np.array([7.0, 8.0])
    x.data = source
    source[:] = 0
    assert x.tolist() == [7, 8], "the array was copied"
    x.data = tg.tensor([1.0, 1.0])
    assert x.tolist() == [1, 1]


# --- copies -----------------------------------------------------------------------------------------------------------------


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle{p}": (lambda x, p=p: pickle.loads(pickle.dumps(x, p))) for p in (2, 4, 5)},
}
DEEP = {name: f for name, f in COPIES.items() if name != "copy"}


@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("kind", [tg.tensor, tg.Parameter])
def test_copies_of_leaves(way: Any, kind: Any) -> None:
    x = kind(np.array([1.0, 2.0]), name="x")
    x.requires_grad = True
    (x * x).sum().backward()
    twin = way(x)
    assert type(twin) is type(x) and twin is not x
    assert twin.requires_grad and twin.is_leaf and twin.name == "x" and twin.dtype == np.float64
    np.testing.assert_array_equal(twin.numpy(), x.numpy())
    twin.grad = None
    (twin * 3).sum().backward()
    assert twin.grad.tolist() == [3, 3] and x.grad.tolist() == [2, 4], "each has its own gradient"
    twin.data = [0.0, 0.0]
    assert x.tolist() == [1, 2]


@pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)
def test_deep_copies_take_the_gradient_along(way: Any) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    assert way(x).grad.tolist() == [2, 4]


@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
def test_copies_of_frozen_parameters_stay_frozen(way: Any) -> None:
    p = tg.Parameter([1.0])
    p.requires_grad = False
    twin = way(p)
    assert type(twin) is tg.Parameter and not twin.requires_grad


@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("dtype", ["int64", "bool", "float32"])
def test_copies_of_constants(way: Any, dtype: str) -> None:
    t = tg.tensor(np.array([0, 1], dtype))
    twin = way(t)
    assert twin.dtype == t.dtype and twin.tolist() == t.tolist() and not twin.requires_grad


def test_a_shallow_copy_of_a_computed_tensor_shares_its_history() -> None:
    x = tg.tensor([2.0], requires_grad=True)
    y = x * x
    copy.copy(y).sum().backward()
    assert x.grad.tolist() == [4]
    p = copy.copy(tg.Parameter([1.0]) * 2)
    assert type(p) is tg.Tensor


@pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)
def test_deep_copies_of_computed_tensors_take_their_tape_along(
    way: Any, rng: np.random.Generator
) -> None:
    w = tg.Parameter(rng.normal(size=(3, 3)), name="w")
    x = tg.tensor(rng.normal(size=(2, 3)))
    with tg.at_step(4, cell="mine"):
        h = tg.tanh(x @ w)
        y = tg.concatenate([h * 2, tg.where(h > 0, h, 0.5 * h)], axis=1)[:, 1:5] ** 2
    w2, y2 = way((w, y))
    y.sum().backward()
    assert w2.grad is None
    y2.sum().backward()
    np.testing.assert_allclose(w2.grad.numpy(), w.grad.numpy(), rtol=1e-14)
    assert np.any(w.grad.numpy())
    ops = [n.op for n in tg.tape(y)]
    assert [n.op for n in tg.tape(y2)] == ops
    assert [n.where.mark for n in tg.tape(y2) if n.primitive] == [
        n.where.mark for n in tg.tape(y) if n.primitive
    ]
    assert "mine" in str(tg.tape(y2))


@pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)
def test_deep_copies_can_be_differentiated_twice(way: Any) -> None:
    x = tg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    x2, y2 = way((x, (x**3).sum()))
    y2.backward(create_graph=True)
    g, x2.grad = x2.grad, None
    g.sum().backward()
    np.testing.assert_allclose(x2.grad.numpy(), 6 * x2.numpy())


@pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)
def test_deep_copies_after_backward_still_say_that_they_are_spent(way: Any) -> None:
    x = tg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = (x * x).sum()
    y.backward()
    _, twin = way((x, y))
    assert twin.item() == 5
    with pytest.raises(
        tg.GraphError, match=r"released by the backward of 'sum' at test_tensor\.py:\d+"
    ):
        twin.backward()


@pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)
def test_objects_that_hold_computed_tensors_can_be_copied(
    way: Any, rng: np.random.Generator
) -> None:
    cell = tg.cells.LSTM(2, 3, rng=0)
    ys, state = tg.unroll(cell, rng.normal(size=(4, 2, 2)).astype(np.float32))
    cell.last_state, cell.history = state, [ys.sum(), {"mean": ys.mean()}]
    twin = way(cell)
    assert type(twin.last_state) is type(state)
    twin.history[0].backward()
    cell.history[0].backward()
    for (name, p), (name2, p2) in zip(
        cell.named_parameters(), twin.named_parameters(), strict=True
    ):
        assert name == name2 and p2 is not p
        np.testing.assert_array_equal(p2.grad.numpy(), p.grad.numpy(), err_msg=name)
        assert np.any(p2.grad.numpy()), name


@pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)
def test_shared_parameters_stay_shared(way: Any) -> None:
    twin = way(Tied())
    assert twin.a.weight is twin.b.weight and len(list(twin.parameters())) == 3


def test_a_tape_of_ten_thousand_nodes_is_pickled_without_recursion() -> None:
    x = tg.tensor(np.array([1.0]), requires_grad=True)
    y = x
    for _ in range(5_000):
        y = y * 1.00001 + 0.0
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        x2, y2 = pickle.loads(pickle.dumps((x, y)))
        assert len(tg.tape(y2)) == 10_001
        y2.backward(np.ones(1))
    finally:
        sys.setrecursionlimit(limit)
    np.testing.assert_allclose(x2.grad.numpy(), 1.00001**5_000, rtol=1e-9)


@tg.elementwise
def swish(x: Any) -> Any:
    return x / (1 + tg.exp(-x))


@tg.custom_vjp
def spike(x: Any) -> Any:
    return x > 0


@spike.vjp
def _(g: Any, x: Any) -> Any:
    return g / (1 + abs(x)) ** 2


@pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("op, slope", [
    (swish, lambda x: 1 / (1 + np.exp(-x)) * (1 + x * (1 - 1 / (1 + np.exp(-x))))),
    (spike, lambda x: 1 / (1 + abs(x)) ** 2),
])  # fmt: skip
def test_operations_of_the_user_are_copied(
    op: Any, slope: Any, way: Any, rng: np.random.Generator
) -> None:
    x = tg.tensor(rng.normal(size=3), requires_grad=True)
    x2, y2 = way((x, op(x) * 2))
    y2.sum().backward()
    np.testing.assert_allclose(x2.grad.numpy(), 2 * slope(x.numpy()), rtol=1e-12)


def test_unpickling_an_unknown_operation_names_it() -> None:
    from tinygrad_rnn.core.primitive import REGISTRY

    @tg.custom_vjp
    def passing(x: Any) -> Any:
        return x * 2

    @passing.vjp
    def _(g: Any) -> Any:
        return g * 2

    text = pickle.dumps(passing(tg.tensor([1.0], requires_grad=True)))
    name = next(n for n in REGISTRY if n.endswith("passing"))
    entry = REGISTRY.pop(name)
    try:
        with pytest.raises(
            tg.GraphError, match=r"no operation named '.*passing' is registered; import the module"
        ):
            pickle.loads(text)
    finally:
        REGISTRY[name] = entry


# --- assignment -------------------------------------------------------------------------------------------------------------


INDICES = {
    "integer": 1,
    "negative": -1,
    "row and column": (1, 2),
    "slice": slice(0, 2),
    "steps": (slice(None), slice(None, None, 2)),
    "reversed": slice(None, None, -1),
    "ellipsis": (Ellipsis, 0),
    "new axis": (None, 1),
    "mask": np.array([True, False, True]),
    "full mask": np.arange(12).reshape(3, 4) % 3 == 0,
    "array": np.array([2, 0]),
    "two arrays": (np.array([[0], [2]]), np.array([1, 3])),
    "list": [0, 2],
    "mixed": (slice(1, 3), np.array([3, 0])),
    "tensor": tg.tensor([2, 0]),
    "tensor mask": tg.tensor([False, True, True]),
    "nothing": slice(0, 0),
}


def plain(index: Any) -> Any:
    return index.numpy() if isinstance(index, tg.Tensor) else index


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_assignment_gives_values_and_gradients(index: Any, rng: np.random.Generator) -> None:
    x, weights = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    v = rng.normal(size=x[plain(index)].shape)

    def with_numpy(x: np.ndarray, v: np.ndarray) -> float:
        out = x * x
        out[plain(index)] = v**3
        return float((out * weights).sum())

    tx, tv = tg.tensor(x, requires_grad=True), tg.tensor(v, requires_grad=True)
    t = tx * tx
    t[index] = tv**3
    loss = (t * weights).sum()
    np.testing.assert_allclose(loss.item(), with_numpy(x, v), rtol=1e-12)
    loss.backward()
    np.testing.assert_allclose(tx.grad.numpy(), numeric(lambda a: with_numpy(a, v), x), atol=1e-7)
    np.testing.assert_allclose(tv.grad.numpy(), numeric(lambda a: with_numpy(x, a), v), atol=1e-7)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 4), (2, 1), (2, 4)], ids=str)
def test_assigned_values_broadcast_and_their_gradient_is_summed(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    weights = rng.normal(size=(3, 4))
    v = tg.tensor(rng.normal(size=shape), requires_grad=True)
    t = tg.tensor(np.zeros((3, 4)))
    t[:2] = v
    (t * weights).sum().backward()
    expected = weights[:2]
    expected = expected.sum(axis=tuple(range(2 - len(shape))))
    for axis, n in enumerate(shape):
        if n == 1:
            expected = expected.sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(v.grad.numpy(), expected, rtol=1e-12)


def test_assignment_leaves_other_handles_and_saved_values_alone(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.normal(size=4), requires_grad=True)
    y = x * 2
    alias, view, kept = y, y[1:3], copy.copy(y)
    squared = y * y  # saves y
    y[1] = 100.0
    assert alias is y and kept.numpy()[1] == 2 * x.numpy()[1]
    np.testing.assert_array_equal(view.numpy(), 2 * x.numpy()[1:3])
    squared.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 8 * x.numpy(), rtol=1e-12)
    before = y.numpy()
    y[2] = 50.0
    assert before[2] != 50.0, "an array that was handed out does not change"


def test_a_loop_that_fills_a_buffer_is_differentiable(rng: np.random.Generator) -> None:
    w = tg.Parameter(rng.normal(size=(3, 3)) * 0.5)
    buffer = tg.tensor(np.zeros((5, 2, 3)))
    h = tg.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    first = h
    for t in range(5):
        h = tg.tanh(h @ w)
        buffer[t] = h
    weights = rng.normal(size=(5, 2, 3))
    (buffer * weights).sum().backward()
    filled = w.grad.numpy(), first.grad.numpy()
    w.grad = first.grad = None
    h, states = first, []
    for _ in range(5):
        h = tg.tanh(h @ w)
        states.append(h)
    (tg.stack(states) * weights).sum().backward()
    np.testing.assert_allclose(filled[0], w.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(filled[1], first.grad.numpy(), rtol=1e-12)


def test_assignment_of_numbers_arrays_and_lists_takes_the_dtype_of_the_tensor() -> None:
    t = tg.tensor([1.0, 2.0, 3.0])
    t[0] = 5
    t[1:] = np.array([6.5, 7.5])
    assert t.dtype == np.float32 and t.tolist() == [5, 6.5, 7.5]
    t[:2] = [1, 2]
    t[2] = tg.tensor(np.array(9.0))
    assert t.dtype == np.float32 and t.tolist() == [1, 2, 9]
    i = tg.tensor([1, 2])
    i[0] = 7
    assert i.dtype == np.int64 and i.tolist() == [7, 2]


def test_the_assigned_array_may_change_afterwards() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y, value = x * 1, np.array([5.0], np.float32)
    y[:1] = value
    value[:] = 9
    assert y.tolist() == [5, 2]


def test_in_place_operators_on_an_item_record(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.normal(size=3), requires_grad=True)
    y = x * x
    y[0] += x[1]
    y[1] *= 3.0
    y.sum().backward()
    a = x.numpy()
    np.testing.assert_allclose(x.grad.numpy(), [2 * a[0], 6 * a[1] + 1, 2 * a[2]], rtol=1e-12)


def test_assignment_to_a_leaf_that_requires_gradients() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with pytest.raises(
        tg.GraphError, match=r"assignment to x: its gradient would be lost.*no_grad"
    ):
        x[0] = 5.0
    with tg.no_grad():
        x[0] = 5.0
    assert x.tolist() == [5, 2] and x.requires_grad and x.is_leaf
    (x * x).sum().backward()
    assert x.grad.tolist() == [10, 4]


# --- arrays of the caller's --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_arrays_beside_tensors_may_change_before_backward(
    side: str, rng: np.random.Generator
) -> None:
    x, a = tg.tensor(rng.normal(size=3), requires_grad=True), rng.normal(size=3)
    kept = a.copy()
    y = x * a if side == "right" else a * x
    a[:] = 0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), kept)


def test_masks_weights_and_ids_may_change_before_backward(rng: np.random.Generator) -> None:
    x, w = (
        tg.tensor(rng.normal(size=(2, 3)), requires_grad=True),
        tg.tensor(rng.normal(size=(4, 3)), requires_grad=True),
    )
    mask, matrix, ids = np.array([True, False, True]), rng.normal(size=(3, 2)), np.array([3, 1])
    kept = matrix.copy()
    y = tg.where(mask, x, 0.0) @ matrix
    e = tg.take(w, ids, 0)
    mask[:], matrix[:], ids[:] = False, 0, 0
    (y.sum() + e.sum()).backward()
    np.testing.assert_allclose(x.grad.numpy(), np.tile(kept.sum(1) * [1, 0, 1], (2, 1)))
    np.testing.assert_array_equal(w.grad.numpy().sum(1), [0, 3, 0, 3])


def test_the_gradient_that_was_passed_may_change_afterwards() -> None:
    x = tg.tensor(np.ones(3), requires_grad=True)
    g = np.array([1.0, 2.0, 3.0])
    x.backward(g)
    (x + 0.0).backward(g)
    g[:] = 100
    assert x.grad.tolist() == [2, 4, 6]


def test_index_arrays_may_change_before_backward() -> None:
    x, ids = tg.tensor(np.arange(3.0), requires_grad=True), np.array([0, 1])
    y = x[ids]
    ids[:] = 2
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 0]


def test_functions_of_custom_vjp_cannot_write_to_their_arguments() -> None:
    @tg.custom_vjp
    def writing(x: Any) -> Any:
        x += 1
        return x

    @writing.vjp
    def _(g: Any) -> Any:
        return g

    x = tg.tensor(np.ones(3), requires_grad=True)
    with pytest.raises(tg.TinygradError):
        writing(x)
    assert x.tolist() == [1, 1, 1]
