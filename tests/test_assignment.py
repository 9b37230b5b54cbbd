"""Writes to tensors: augmented and index assignment, views, ``data``.

Values as NumPy's, gradients against closed forms and gradcheck.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting


def leaf(values: Any, name: str | None = None) -> tg.Tensor:
    return tg.tensor(np.asarray(values, np.float64), requires_grad=True, name=name)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(
        found.numpy() if isinstance(found, tg.Tensor) else found, expected, rtol=1e-12, atol=1e-12
    )


IN_PLACE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "+=": (operator.iadd, operator.add),
    "-=": (operator.isub, operator.sub),
    "*=": (operator.imul, operator.mul),
    "/=": (operator.itruediv, operator.truediv),
    "**=": (operator.ipow, operator.pow),
    "%=": (operator.imod, operator.mod),
    "@=": (operator.imatmul, operator.matmul),
}
SQUARE = (3, 3)

# --- augmented assignment ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tensor", "array", "itself", "number"])
@pytest.mark.parametrize("name", IN_PLACE)
def test_augmented_assignment_changes_the_tensor_and_records(
    name: str, kind: str, rng: np.random.Generator
) -> None:
    in_place, op = IN_PLACE[name]
    if name == "@=" and kind == "number":
        pytest.skip("a number has no matrix product")
    x, v, weights = (
        leaf(rng.uniform(0.5, 1.5, SQUARE)),
        rng.uniform(0.5, 1.5, SQUARE),
        rng.normal(size=SQUARE),
    )

    def program(x: Any, function: Callable[..., Any]) -> Any:
        y = x * 2.0
        other = {"tensor": tg.tensor(v), "array": v, "itself": y, "number": 1.25}[kind]
        y = function(y, other)
        return (y * y * weights).sum()

    program(x, in_place).backward()
    twin = leaf(x.numpy())
    program(twin, op).backward()
    close(x.grad, twin.grad)
    assert np.any(x.grad.numpy()) or (kind == "itself" and name in ("-=", "/=", "%="))
    y = alias = x * 2.0
    before = y.numpy().copy()
    in_place(y, v)
    assert alias is y
    close(alias, op(before, v))
    assert tg.gradcheck(lambda a: program(a, in_place), x.numpy(), order=2) or name == "%="


@pytest.mark.parametrize("name", ["+=", "-=", "*=", "/="])
def test_a_parameter_is_changed_inside_no_grad(name: str, rng: np.random.Generator) -> None:
    in_place, op = IN_PLACE[name]
    p = tg.Parameter(rng.normal(size=(2, 3)).astype(np.float32))
    module = tg.Module()
    module.p = p
    (p * p).sum().backward()
    before, grad = p.numpy().copy(), p.grad
    with tg.no_grad():
        for q in module.parameters():
            in_place(q, 0.1 * q.grad)  # an optimiser by hand
        module.p += 0.0
    assert (
        module.p is p and p.is_leaf and p.requires_grad and p.dtype == np.float32 and p.grad is grad
    )
    np.testing.assert_allclose(p.numpy(), op(before, np.float32(0.1) * grad.numpy()), rtol=1e-6)
    p.grad = None
    (p * p).sum().backward()
    np.testing.assert_allclose(p.grad.numpy(), 2 * p.numpy(), rtol=1e-6)


def test_a_recorded_write_to_a_leaf_is_refused_with_both_ways_out() -> None:
    for write in (
        lambda p: operator.iadd(p, 1.0),
        lambda p: operator.setitem(p, 0, 1.0),
        lambda p: operator.imatmul(p, np.eye(2)),
    ):
        p = leaf([[1.0, 2.0], [3.0, 4.0]], "weights")
        with pytest.raises(
            tg.GraphError,
            match=r"assignment to weights: its gradient would be lost.*t = t \+ 0.*no_grad",
        ):
            write(p)
        close(p, [[1, 2], [3, 4]])


def test_shape_and_dtype_stay() -> None:
    whole, single = tg.tensor([1, 2]), tg.tensor([1.0, 2.0])
    for t, write, kind, words in (
        (whole, lambda t: operator.iadd(t, 0.5), tg.DtypeError, "keeps its dtype"),
        (whole, lambda t: operator.itruediv(t, 2), tg.DtypeError, "keeps its dtype"),
        (single, lambda t: operator.iadd(t, np.ones((3, 2))), tg.ShapeError, "keeps its shape"),
        (single, lambda t: operator.imatmul(t, np.ones(2)), tg.ShapeError, "keeps its shape"),
        (single, lambda t: operator.iadd(t, tg.tensor(np.ones(2))), tg.DtypeError, "do not mix"),
    ):
        with pytest.raises(kind, match=words):
            write(t)
    assert whole.tolist() == [1, 2] and single.tolist() == [1, 2]
    whole += 3
    single += np.array([0.5, 0.25])
    flags = tg.tensor([True, False])
    flags |= True
    flags &= np.array([True, False])
    assert (
        whole.tolist() == [4, 5]
        and single.tolist() == [1.5, 2.25]
        and single.dtype == np.float32
        and flags.tolist() == [True, False]
    )


def test_what_was_made_before_a_write_keeps_the_old_values(rng: np.random.Generator) -> None:
    x, weights = leaf(rng.normal(size=3)), rng.normal(size=3)
    y = x * 1.0
    early = y * y
    y *= y
    y *= y
    ((early + y) * weights).sum().backward()
    close(x.grad, weights * (2 * x.numpy() + 4 * x.numpy() ** 3))


def test_inside_no_grad_a_computed_tensor_is_not_cut_from_its_tape() -> None:
    y = leaf([1.0, 2.0]) * 2
    for write in (lambda: operator.iadd(y, 1.0), lambda: operator.setitem(y, 0, 1.0)):
        with tg.no_grad(), pytest.raises(tg.GraphError, match="would cut"):
            write()
    close(y, [2, 4])


def test_frozen_parameters_and_buffers_take_values_only() -> None:
    frozen, buffer, w = (
        tg.Parameter([1.0, 2.0]),
        tg.nn.Buffer([1.0, 2.0], "mean"),
        tg.Parameter([3.0, 4.0]),
    )
    frozen.requires_grad = False
    for t in (frozen, buffer):
        t += 1.0
        assert t.tolist() == [2, 3] and t.is_leaf
        with pytest.raises(tg.GraphError, match=r"holds values without gradients.*v\.detach\(\)"):
            t *= w
        assert t.tolist() == [2, 3]
    assert type(buffer) is tg.nn.Buffer and buffer.name == "mean"


def test_constants_keep_their_name() -> None:
    t = tg.tensor([1.0, 2.0], name="counts")
    t += 1.0
    assert t.name == "counts"


def test_identity_operations_give_tensors_of_their_own() -> None:
    x = leaf([1.0, 2.0]) * 1
    for same in (
        lambda t: t.astype(np.float64),
        lambda t: t.copy(),
        lambda t: +t,
        copy.copy,
        lambda t: tg.nn.dropout(t, 0.5, training=False),
    ):
        y = same(x)
        y += 1.0
        y[0] = 7.0
        close(x, [1, 2])
    p = leaf([1.0, 2.0])
    q = p.astype(np.float64)
    q *= 3.0
    q.sum().backward()
    close(p.grad, [3, 3])


# --- views -------------------------------------------------------------------------------------------------------------------

VIEWS: dict[str, Callable[[Any], Any]] = {
    "item": lambda t: t[0],
    "slice": lambda t: t[:, 1:],
    "new axis": lambda t: t[None],
    "T": lambda t: t.T,
    "transpose": lambda t: tg.transpose(t, (1, 0)),
    "swapaxes": lambda t: t.swapaxes(0, 1),
    "reshape": lambda t: t.reshape(-1),
    "expand_dims": lambda t: tg.expand_dims(t, 0),
    "squeeze": lambda t: tg.squeeze(t),
    "flip": lambda t: tg.flip(t),
    "broadcast_to": lambda t: tg.broadcast_to(t, (2, *t.shape)),
    "split": lambda t: tg.split(t, 2)[1],
    "row": lambda t: next(iter(t)),
    "view of a view": lambda t: t.T.reshape(-1)[1:],
}


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_a_write_to_a_view_is_refused(name: str, recorded: bool) -> None:
    t = (
        leaf(np.arange(6.0).reshape(2, 3)) * 1
        if recorded
        else tg.tensor(np.arange(6.0).reshape(2, 3))
    )
    view = VIEWS[name](t)
    for write in (
        lambda: view.__setitem__(0, 1.0),
        lambda: view.__setitem__(..., 1.0),
        lambda: operator.iadd(view, 1.0),
        lambda: setattr(view, "data", view.numpy()),
    ):
        with pytest.raises(
            tg.GraphError, match=r"(a view|a view of t), and .* would not see the write.*copy\(\)"
        ):
            write()
    close(t, np.arange(6.0).reshape(2, 3))
    fresh = view.copy()
    fresh += 1.0
    fresh[...] = 5.0
    close(t, np.arange(6.0).reshape(2, 3))


def test_statements_that_would_lose_a_write_are_refused() -> None:
    for statement in (
        "t[0][1] = v",
        "t[0][1] += v",
        "t.T[0] = v",
        "t.T += v",
        "t.reshape(-1)[0] = v",
        "t[0].data = v",
        "y = t[0]; y[1] = v",
        "y = t[0]; y += v",
        "for row in t: row[:] = v",
        "for row in t: row *= v",
        "a, b = split(t, 2); a[0] = v",
        "rows = list(t); rows[0] += v",
        "d = {0: t[0]}; d[0] += v",
        "d = {0: t[0]}; d[0][1] = v",
        "y = z = t[0]; z -= v",
        "o.part += v",
        "y = t[0]; [y][0] += v",
    ):
        t = tg.tensor(np.zeros((2, 2), np.float32), name="table")
        space: dict[str, Any] = {
            "t": t,
            "v": 1.0,
            "split": tg.split,
            "o": type("Owner", (), {"part": t[0]}),
        }
        with pytest.raises((tg.GraphError, AttributeError), match=r"table"):
            exec(statement, space)
        assert not t.numpy().any(), statement


def test_one_index_is_written_to() -> None:
    t, a = tg.tensor(np.arange(12.0).reshape(3, 4)), np.arange(12.0).reshape(3, 4)
    for statement in (
        "t[0] += 1",
        "t[1:, ::2] *= 3",
        "t[0, 1] -= 5",
        "t[[2, 0]] /= 2",
        "t[t > 6] = 0",
        "t[..., 1] += t[..., 2]",
        "t[:2] **= 2",
        "t[2] @= matrix",
        "t[0] = t[1]",
        "t[0, 1:] = t[1, :3]",
        "o.t[1] += 1",
        "o.d['t'][1] += 1",
        "t[:] = t[::-1]",
    ):
        for array in (t, a):
            owner = type("Owner", (), {"t": array, "d": {"t": array}})
            exec(statement, {"t": array, "o": owner, "matrix": np.arange(16.0).reshape(4, 4) / 8})
        np.testing.assert_allclose(t.numpy(), a, rtol=1e-12, err_msg=statement)


def test_what_nobody_else_holds_may_be_written_to() -> None:
    """A view of a temporary, an advanced index, and what arithmetic gives."""
    x = tg.tensor(np.arange(6.0))
    made: tuple[Callable[[], Any], ...] = (
        lambda: (x * 2).reshape(2, 3), lambda: tg.tensor(np.arange(6.0)).reshape(2, 3).T, lambda: x[[0, 1, 1]], lambda: x[x > 2], lambda: x + 0, lambda: x.detach(),
        lambda: tg.stack([x, x])[0], lambda: tg.take(x, np.array([1, 2]), 0), lambda: tg.concatenate([x, x]),
    )  # fmt: skip
    for make in made:
        y = make()
        y[0] = 100.0
        y += 1.0
        assert y.numpy().max() == 101
    close(x, np.arange(6.0))


def test_a_view_keeps_the_values_of_its_moment() -> None:
    t = tg.tensor([1.0, 2.0])
    first = t[:1]
    t[0] = 5.0
    assert first.tolist() == [1] and t.tolist() == [5, 2]


# --- an element that is named twice ------------------------------------------------------------------------------------------

TWICE: list[tuple[Any, tuple[int, ...]]] = [
    (np.array([0, 0]), (2, 3)),
    ([0, 1, 0], (3, 3)),
    (np.array([0, -2]), (2, 3)),
    ((np.array([0, 0, 1]), np.array([1, 1, 2])), (3,)),
    ((slice(None), [2, 0, 2]), (2, 3)),
    ((np.array([[0], [0]]), np.array([1, 2])), (2, 2)),
    (np.array([[0, 1], [1, 0]]), (2, 2, 3)),
    ((np.array([True, True]), np.array([1, 1])), (2,)),
    (np.array([0, 0]), (3,)),
    (np.array([0, 0]), ()),
    ((np.array([1, 1]), slice(0, 2)), (2, 1)),
    (([0, 0], ..., None), (2, 3, 1)),
]


@pytest.mark.parametrize("index, shape", TWICE, ids=[str(i) for i in range(len(TWICE))])
def test_of_an_element_named_twice_the_last_value_counts(
    index: Any, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    x, v, weights = rng.normal(size=(2, 3)), rng.normal(size=shape), rng.normal(size=(2, 3))

    def program(x: Any, v: Any) -> Any:
        y = x * 1.0
        y[index] = v
        return (y * y * weights).sum()

    expected = x.copy()
    expected[index] = v
    y = tg.tensor(x)
    y[index] = v
    close(y, expected)
    assert tg.gradcheck(program, x, v, order=2)
    with interpreting():
        for plain, fast in zip(
            tg.grad(program, (0, 1))(x, v), tg.grad(tg.jit(program), (0, 1))(x, v), strict=True
        ):
            close(fast, plain.numpy())


def test_the_gradient_of_a_value_that_was_written_over_is_zero() -> None:
    v, r = leaf([1.0, 2.0]), tg.tensor(np.zeros(2))
    r[np.array([0, 0])] = v
    r.sum().backward()
    close(v.grad, [0, 1])


# --- data --------------------------------------------------------------------------------------------------------------------


def test_data_is_changed_by_operators(rng: np.random.Generator) -> None:
    p = tg.Parameter(rng.normal(size=3).astype(np.float32))
    (p * p).sum().backward()
    expected = p.numpy() - 0.1 * p.grad.numpy()
    p.data -= 0.1 * p.grad.numpy()
    np.testing.assert_allclose(p.numpy(), expected, rtol=1e-6)
    p.data += tg.tensor([1.0, 2.0, 3.0])
    p.data *= 2
    p.grad.data /= 2
    p.grad[0] = 0.0
    np.testing.assert_allclose(p.numpy(), 2 * (expected + np.array([1, 2, 3])), rtol=1e-6)
    assert p.is_leaf and p.requires_grad and p.grad.numpy()[0] == 0
    p.data = p * 2
    assert p.is_leaf


def test_data_is_read_otherwise() -> None:
    p = tg.Parameter([1.0, 2.0])
    with pytest.raises(ValueError, match=r"read-only; t\.data is set as a whole: t\.data = array"):
        p.data[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        p.numpy()[0] = 5.0
    own = p.data + 1
    own[0] = 9.0
    own += 1
    assert type(own) is np.ndarray and own.tolist() == [10, 4] and p.data.sum() == 3


# --- transforms, traces and steps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attached", [False, True])
def test_a_function_may_write_to_the_argument_of_a_transform(attached: bool) -> None:
    def f(w: Any) -> Any:
        w *= w
        w[0] = w[0] * 3.0
        return (w * w).sum()

    x = tg.tensor(np.array([1.5, -2.0]), requires_grad=attached)
    close(tg.grad(f)(x), [9 * 4 * 1.5**3, 4 * -8.0])
    close(tg.jvp(f, (x,), (np.array([1.0, 0.0]),))[1], 9 * 4 * 1.5**3)
    close(tg.hessian(f)(x), [[9 * 12 * 1.5**2, 0], [0, 12 * 4.0]])
    close(x, [1.5, -2])


def test_a_compiled_function_does_not_write_to_what_it_is_given_or_finds() -> None:
    outside = tg.tensor(np.zeros(2))

    def to_argument(x: Any) -> Any:
        x += 1.0
        return x * 2

    def to_outside(x: Any) -> Any:
        nonlocal outside
        outside += x
        return outside * 2

    def counting(x: Any) -> Any:
        nonlocal outside
        outside += 1.0
        return x * 2

    def to_data(x: Any) -> Any:
        outside.data = [5.0, 5.0]
        return x * 2

    def to_a_parameter(x: Any) -> Any:
        with tg.no_grad():
            operator.iadd(parameter, 1.0)
        return x * parameter

    def to_its_own(x: Any) -> Any:
        out = tg.zeros_like(x)
        out[0] = x[1]
        out += x
        return out

    x, parameter = tg.tensor(np.array([1.0, 2.0])), leaf([1.0, 2.0])
    with interpreting():
        for f in (to_argument, to_outside, counting, to_data, to_a_parameter):
            with pytest.raises(
                tg.TraceError, match=r"writes to .*copy\(\)|t\.data = v is not recorded"
            ):
                tg.jit(f)(x)
        close(outside, [0, 0])
        with pytest.raises(tg.TraceError, match=r"writes to .*copy\(\)"):
            tg.unroll(tg.jit(lambda x, h: (counting(x), h)), np.ones((3, 1, 2)), x[None])
        close(tg.jit(to_its_own)(x), [3, 2])
    close(x, [1, 2])
    close(parameter, [1, 2])


def writing(x: Any, h: Any) -> Any:
    h += x
    h[:, 0] = h[:, 0] * 0.5
    x *= 3.0
    return h + x, h


@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("trained", [False, True])
def test_a_step_may_write_to_what_it_is_given(
    trained: bool, checkpoint: int | None, rng: np.random.Generator
) -> None:
    xs, start, weights = (
        rng.normal(size=(3, 2, 2)),
        rng.normal(size=(2, 2)),
        rng.normal(size=(3, 2, 2)),
    )

    def pure(x: Any, h: Any) -> Any:
        h = (h + x) * np.array([0.5, 1.0])
        return h + 3.0 * x, h

    results = []
    with interpreting():
        for cell in (pure, writing, tg.jit(writing)):
            x, h = leaf(xs), tg.tensor(start, requires_grad=trained)
            ys, last = tg.unroll(cell, x, h, checkpoint=checkpoint)
            ((ys * ys * weights).sum() + last.sum()).backward()
            close(h, start)
            close(x, xs)
            results.append(
                [ys.numpy(), last.numpy(), x.grad.numpy(), h.grad.numpy() if trained else 0.0]
            )
    for found in results[1:]:
        for a, b in zip(found, results[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_what_a_step_writes_does_not_reach_padding_resets_or_wrappers(
    rng: np.random.Generator,
) -> None:
    class Writing(tg.Cell):
        input_size = hidden_size = 2

        def forward(self, x: Any, h: Any) -> Any:
            h += x
            x *= 3.0
            return h, h

    class Pure(Writing):
        def forward(self, x: Any, h: Any) -> Any:
            h = h + x
            return h, h

    xs, first = rng.normal(size=(4, 3, 2)), tg.tensor(rng.normal(size=(3, 2)))
    resets = np.zeros((4, 3), bool)
    resets[2, 1] = resets[1, 2] = True
    for wrap in (
        lambda c: c,
        tg.jit,
        lambda c: tg.nn.Residual(c),
        lambda c: tg.nn.Zoneout(c, 0.3, rng=0).eval(),
    ):
        with interpreting():
            found, expected = (
                tg.unroll(
                    wrap(c), tg.tensor(xs), first, [4, 2, 3], resets=resets, return_states=True
                )
                for c in (Writing(), Pure())
            )
        for a, b in zip(found, expected, strict=True):
            close(a, b.numpy())


def test_a_cell_that_is_called_by_hand_has_tensors_of_its_own() -> None:
    class Adding(tg.Cell):
        hidden_size = 2

        def forward(self, x: Any, h: Any) -> Any:
            h += x
            return h, h

    x, h = tg.tensor([[1.0, 2.0]]), tg.tensor([[0.0, 0.0]])
    y, state = Adding()(x, h)
    Adding()(x, state)
    assert h.tolist() == [[0, 0]] and y.tolist() == [[1, 2]]


# --- numbers that a dtype cannot hold, and copies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("i1", 300),
        ("i1", 2**40),
        ("u1", -1),
        ("i4", 2**40),
        ("i1", [1, 300]),
        ("f4", 1j),
        ("i8", np.nan),
        ("i8", np.inf),
        ("i4", 1e12),
    ],
)
def test_a_number_that_does_not_fit_is_not_assigned(dtype: str, value: Any) -> None:
    t = tg.tensor(np.zeros(2, dtype))
    with pytest.raises(tg.DtypeError, match=r"t\[i\] = v: "):
        t[slice(None) if isinstance(value, list) else 0] = value
    np.testing.assert_array_equal(t.numpy(), np.zeros(2))


def test_exclusive_or_changes_the_mask_itself() -> None:
    masks = [tg.tensor([True, False])]
    for mask in masks:
        mask ^= True
    assert masks[0].tolist() == [False, True]


def test_what_is_made_of_numbers_alone_may_be_written_to() -> None:
    x = tg.tensor([2.0, 3.0], requires_grad=True)
    t = tg.where(tg.tensor([True, False]), 1.0, 0.5)
    t[0] = x[0] * 2
    (t * t).sum().backward()
    assert t.numpy().tolist() == [4.0, 0.5] and x.grad.tolist() == [16.0, 0.0]


def test_values_under_another_name_are_not_taken_for_the_tensor() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    values = w.data
    with pytest.raises(tg.GraphError, match=r"would leave the tensor as it is. Write t\.data -= v"):
        values -= 0.5
    for d in [w.data]:
        with pytest.raises(tg.GraphError, match="would leave the tensor as it is"):
            d *= 2
    w.data -= 0.5
    copied = w.data.copy()
    copied += 1
    assert w.numpy().tolist() == [0.5, 1.5] and copied.tolist() == [1.5, 2.5]
