"""What compiled functions compute is what plain ones compute.

Whatever the views, the dtypes, the signs of zeros, the order of the gradient.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.fuzz._compare import compare, everywhere, outcome
from tests.fuzz.functions import EXACT, EXACT_BINARY
from tinygrad_rnn.compiler.layout import base, layout_of
from tinygrad_rnn.compiler.program import Builder, given
from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.kernels import runtime


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def same(
    f: Callable[..., Any],
    *arrays: Any,
    order: int = 1,
    compiled: bool = False,
    special: bool = False,
) -> None:
    """Values and gradients of a function, plain and compiled, also with other values in the same recording."""
    with everywhere(compiled):
        fast = tg.jit(f)
        for k in range(2):
            tensors = [
                tg.tensor(a if k == 0 or special else a[::-1] if a.ndim else a + a.dtype.type(1))
                for a in arrays
            ]
            for t in tensors:
                t.requires_grad = t.dtype.kind == "f"
            with np.errstate(all="ignore"):
                found, expected = (outcome(g, tensors, [], 0, order) for g in (fast, f))
            assert not compare(found, expected, [], special)


# --- views ------------------------------------------------------------------------------------------------------------------------

LOOKS: list[Callable[[Any], Any]] = [
    lambda x: x.T, lambda x: x[::2], lambda x: x[..., ::-1], lambda x: x[1:], lambda x: x[..., :-1], lambda x: x[None], lambda x: x[..., 0], lambda x: x[-1],
    lambda x: x.reshape(-1), lambda x: x.reshape(x.shape[0], -1), lambda x: x.reshape(-1, x.shape[-1]), lambda x: x.reshape((2, -1)), lambda x: x.reshape((-1, 3)),
    lambda x: x.swapaxes(0, -1), lambda x: x.transpose((*range(1, x.ndim), 0)), lambda x: np.broadcast_to(x, (2, *x.shape)), lambda x: x[:, None],
    lambda x: np.broadcast_to(x[..., None], (*x.shape, 3)), lambda x: np.squeeze(x), lambda x: np.flip(x, 0), lambda x: x[::-2], lambda x: x[..., 1::3],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_a_view_lies_where_numpy_has_it(seed: int) -> None:
    """Offset and strides of random chains of views, and that what NumPy copies is no view."""
    rng = np.random.default_rng(seed)
    shape = [(4, 6), (3, 4, 2), (2, 1, 3, 4), (12,), (5, 3)][rng.integers(5)]
    array = np.zeros(shape)
    looked, made = array, lambda x: x
    for _ in range(rng.integers(1, 6)):
        step = LOOKS[rng.integers(len(LOOKS))]
        try:
            looked = step(looked)
        except (ValueError, IndexError):
            continue
        before = made
        made = lambda x, before=before, step=step: step(before(x))  # noqa: E731
        if not isinstance(looked, np.ndarray) or not np.shares_memory(looked, array):
            break
    program = tg.trace(made, tg.Spec(shape, np.float64))
    builder, source, values = Builder(), given(program.inputs[0]), []
    builder.known[program.inputs[0]] = source
    builder.add(program.nodes, values)
    value = builder.value(program.outputs[0])
    assert value.shape == looked.shape
    if not looked.ndim:  # NumPy makes a number of one element
        assert layout_of(value).strides == ()
    elif looked.size and np.shares_memory(looked, array):
        assert base(value) is source
        begins = [a.__array_interface__["data"][0] for a in (looked, array)]
        layout = layout_of(value)
        assert layout.offset.constant == (begins[0] - begins[1]) // 8
        for n, step, stride in zip(looked.shape, layout.strides, looked.strides, strict=True):
            assert n == 1 or step.constant == stride // 8
    else:
        assert base(value) is not source


NO_VIEWS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "a transposed value": (lambda x: x.T.reshape(600) * 2 + 1, (20, 30)),
    "a part of each row": (lambda x: (x[:, :-1].reshape((-1, 5)) * 2 + 1).sum(-1), (4, 9, 5)),
    "the other way round": (lambda x: x[:, ::-1].reshape(24) * 2 + 1, (4, 6)),
    "every second": (lambda x: x[::2, ::2].reshape((-1,)) * 2 + 1, (6, 8)),
    "axes exchanged": (lambda x: x.swapaxes(0, 1).reshape((6, 4)) * x.reshape((6, 4)) + 1, (2, 3, 4)),
    "repeated": (lambda x: tg.broadcast_to(x[:, None], (4, 3, 5)).reshape((12, 5)) * 2 + 1, (4, 5)),
    "repeated and computed": (lambda x: (tg.tanh(tg.broadcast_to(x[:, None], (4, 3, 5))) * 2).reshape((12, 5)) * tg.exp(x[0]) + 1, (4, 5)),
    "a reshape that is one again": (lambda x: tg.tanh(x.T).T.reshape(24) * 2 + 1, (4, 6)),
    "split and joined": (lambda x: tg.stack(tg.split(x, 3, 1), 0).reshape((-1, 2)) * 2 + 1, (4, 6)),
    "an axis of size 1 moved": (lambda x: x[:, :1].T.reshape((4,)) * x[:, 0] + 1, (4, 6)),
    "one row of many": (lambda x: x.reshape((2, 2, 6))[:, 1].T.reshape((3, 4)) * 2 + 1, (4, 6)),
    "nothing": (lambda x: x[:0].T.reshape((0,)) * 2 + 1, (4, 6)),
    "a sum between": (lambda x: (x.T.reshape((4, 6)).sum(1) * 2).reshape((2, 2)).T.reshape(4) * 2 + 1, (4, 6)),
    "in a loss": (lambda x: tg.nn.cross_entropy(x[:, :-1].reshape((-1, 5)), np.arange(12) % 5), (4, 4, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_VIEWS)
def test_reshapes_of_values_that_are_not_contiguous(name: str) -> None:
    f, shape = NO_VIEWS[name]
    same(f, normal(*shape), order=2)
    if name == "in a loss":
        same(f, normal(*shape).astype(np.float32), compiled=True)


def test_a_view_of_a_view_that_is_kept_for_backward() -> None:
    """Of the value itself its second transpose can be walked as one axis.

    Of the array that is kept it cannot.
    """

    def f(x: Any) -> Any:
        turned = tg.tanh(x).T
        flat = turned.T.reshape(24)
        return turned, flat * flat * 2 + tg.sin(flat)

    same(f, normal(4, 6), order=2)


def test_inputs_that_are_not_contiguous() -> None:
    def f(x: Any, y: Any) -> Any:
        return tg.tanh(x.reshape(-1) * 2) + y.reshape(-1), (x.T[::-1] * y.T).sum(0)

    whole = normal(8, 6)
    for look in (
        lambda t: t.T[:4, :4],
        lambda t: t[::-2, ::-1][:4, :4],
        lambda t: tg.broadcast_to(t[0, 0], (4, 4)),
        lambda t: tg.broadcast_to(t[:4, :1], (4, 4)),
    ):
        with everywhere(False):
            x, y = (look(tg.tensor(a)).detach() for a in (whole, whole + 1))
            x.requires_grad = y.requires_grad = True
            assert not compare(
                outcome(tg.jit(f), [x, y], [], 0, 2), outcome(f, [x, y], [], 0, 2), [], False
            )


def test_masks_that_are_numbers_to_python() -> None:
    same(lambda x: (x[True] * 2 + 1, x[False].sum() * 3), normal(3, 4))


# --- who else has the memory --------------------------------------------------------------------------------------------------------


def test_arrays_of_the_caller_may_be_written_to() -> None:
    """Neither results nor gradients change if arguments and what is closed over are written to afterwards."""
    with everywhere(False):
        outside = normal(3, 4, seed=1)
        w = tg.tensor(normal(3, 4, seed=2), requires_grad=True)

        def f(x: Any, y: Any) -> Any:
            return x * w * outside, x.T, y[::-1], tg.tanh(x)

        found = []
        for g, write in ((f, False), (tg.jit(f), True)):
            x, y = normal(3, 4), normal(5)
            before = outside.copy()
            w.grad = None
            results = g(tg.tensor(x) if not write else x, y if write else tg.tensor(y))
            if write:
                x[...] = 7.0
                y[...] = 7.0
                outside[...] = 7.0
            results[0].sum().backward()
            found.append([*(r.numpy() for r in results), w.grad.numpy()])
            outside[...] = before
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


def test_results_that_are_views_of_one_another() -> None:
    def f(x: Any) -> Any:
        y = tg.tanh(x) * 2
        return y, y.T, y[1:], y.reshape(-1), x, x.T

    same(f, normal(3, 4), order=2)


def test_gradients_are_added_to_arrays_of_their_own() -> None:
    """Slices of one value, each with a gradient, beside the value's own gradient, which others have as well."""

    def f(x: Any) -> Any:
        y = x * 1.5
        return (y + 0, y[:2], y[1:], y[:, 0], y.T)

    with everywhere(False):
        x = tg.tensor(normal(3, 4), requires_grad=True)
        g = tg.tensor(normal(3, 4, seed=3))
        whole = tg.jit(f)(x)
        (whole[0] * 1.0).backward(g, retain_graph=True)
        first = x.grad.numpy().copy()
        sum((r * 1.0).sum() for r in whole).backward()
        np.testing.assert_allclose(first, 1.5 * g.numpy())
        np.testing.assert_array_equal(g.numpy(), normal(3, 4, seed=3))
    same(f, normal(3, 4))


# --- dtypes -------------------------------------------------------------------------------------------------------------------------

INTEGERS = [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64]
WHOLE: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a % b, lambda a, b: a / b, lambda a, b: a + True, lambda a, b: a * 2 - 1, lambda a, b: 100 * a,
    lambda a, b: a * 0.5, lambda a, b: a % 3, lambda a, b: -a, lambda a, b: abs(a), lambda a, b: tg.maximum(a, b), lambda a, b: tg.minimum(a, 2), lambda a, b: a < b, lambda a, b: a == 1,
    lambda a, b: tg.where(a > b, a, b), lambda a, b: tg.where(a > b, 1, 0), lambda a, b: tg.where(a > b, 1.0, 0.0), lambda a, b: tg.where(a, b, 3), lambda a, b: a.sum(), lambda a, b: a.max(0),
    lambda a, b: tg.cumsum(a), lambda a, b: tg.cummax(a), lambda a, b: tg.mean(a), lambda a, b: a.astype(np.int8), lambda a, b: a.astype(bool), lambda a, b: a.astype(np.float32) * b, lambda a, b: tg.sign(a),
    lambda a, b: tg.clip(a, 0, 3), lambda a, b: a**2, lambda a, b: tg.square(a), lambda a, b: tg.sqrt(abs(a)), lambda a, b: tg.logical_and(a, b), lambda a, b: tg.relu(a), lambda a, b: a @ b,
    lambda a, b: tg.prod(a), lambda a, b: tg.any(a), lambda a, b: tg.argmax(a), lambda a, b: a[::-1] * b.reshape(-1), lambda a, b: (a > 0).sum() + a, lambda a, b: (a > 0) * (b > 0),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_], ids=lambda d: d.__name__)
def test_integers_and_booleans(dtype: Any) -> None:
    """To the bit, at the ends of the range too; what NumPy does not take is refused."""
    rng = np.random.default_rng(1)
    ends = (
        [False, True]
        if dtype is np.bool_
        else [np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1, 2, 3]
    )
    a, b = (rng.choice(np.array(ends, dtype), size=6) for _ in range(2))
    taken = 0
    for f in WHOLE:
        with everywhere(False):
            try:
                expected = f(tg.tensor(a), tg.tensor(b)).numpy()
            except (tg.TinygradError, TypeError, ValueError, OverflowError) as refused:
                with pytest.raises(type(refused)):
                    tg.jit(f)(tg.tensor(a), tg.tensor(b))
                continue
            found = tg.jit(f)(tg.tensor(a), tg.tensor(b)).numpy()
        taken += 1
        assert found.dtype == expected.dtype and found.shape == expected.shape
        # a mean, for example, whose terms are added up in another order
        if found.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        else:
            np.testing.assert_array_equal(found, expected)
    assert taken > 30


def test_results_of_several_floating_dtypes_with_gradients() -> None:
    def f(x: Any) -> Any:
        wide = x.astype(np.float64) / 3
        return wide * wide, x * 0.1, (x * 0.1).astype(np.float64), x > 0, tg.argmax(x)

    same(f, normal(3, 4).astype(np.float32), order=2)


def test_axes_of_one_number() -> None:
    for axis in (None, 0, -1, (0,), ()):
        same(
            lambda x, a=axis: [
                getattr(tg, name)(x, axis=a) * 2 + 1
                for name in ("sum", "mean", "max", "min", "norm", "logsumexp", "var")
            ],
            np.array(1.7),
            order=2,
        )
    for axis in (0, -1):
        same(
            lambda x, a=axis: [
                getattr(tg, name)(x, a) * 2 + 1
                for name in ("softmax", "log_softmax", "cummax", "cumsum", "cumprod")
            ],
            np.array(1.7),
            order=2,
        )
        same(
            lambda x, a=axis: [tg.argmax(x, axis=a), tg.any(x, axis=a), tg.all(x, axis=a)],
            np.array(1.7),
        )
    with pytest.raises(tg.ShapeError, match="axis 1 is out of range"):
        tg.jit(lambda x: tg.sum(x, 1))(tg.tensor(1.7))


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_empty_axes() -> None:
    same(
        lambda x: (
            x.sum(0) * 2,
            x.mean(0) * 2,
            tg.mean(x, -1),
            tg.prod(x, 0) * 2,
            tg.norm(x, 0),
            tg.any(x, 0),
        ),
        np.zeros((0, 100)),
        special=True,
    )


# --- zeros, infinities, nan ---------------------------------------------------------------------------------------------------------

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_infinities_and_nan(dtype: Any) -> None:
    """Every operation beside NumPy's forward function, compiled, with the signs of zeros and where gradients are nan."""
    x = np.resize(SPECIAL, 60).astype(dtype)
    scope = {"tg": tg, "F": dtype}
    exec(f"def one(a): return [{', '.join(t.format(a='a') for t in EXACT)}]", scope)
    exec(
        f"def two(a, b): return [{', '.join(t.format(a='a', b='b') for t in EXACT_BINARY)}]", scope
    )
    same(scope["one"], x, compiled=True, special=True)
    a, b = (g.ravel().copy() for g in np.meshgrid(SPECIAL.astype(dtype), SPECIAL.astype(dtype)))
    same(scope["two"], a, b, compiled=True, special=True)


def test_numbers_that_differ_in_sign_or_type_alone() -> None:
    same(
        lambda x: (x / 0.0, x / -0.0, x * 0.0 + 1, x * -0.0, 0.0 - x, -0.0 - x),
        SPECIAL,
        special=True,
    )
    same(lambda x: (x + 1, x + True, x + 1.0, x * 2, x * 2.0), np.arange(5, dtype=np.int8))


def test_the_power_of_one_half_is_the_square_root() -> None:
    x = SPECIAL.copy()
    with np.errstate(all="ignore"):
        for half in (
            0.5,
            tg.tensor(np.array(0.5)),
            tg.tensor(np.full(x.shape, 0.5)),
            tg.tensor(np.array([0.5])),
        ):
            np.testing.assert_array_equal(tg.power(tg.tensor(x), half).numpy(), np.sqrt(x))
            np.testing.assert_array_equal(
                np.signbit(tg.power(tg.tensor(x), half).numpy()[:2]), [False, True]
            )
    same(
        lambda x, b: (x**0.5 * 2, x**b * 2, x ** b[0]),
        x,
        np.full(x.shape, 0.5),
        special=True,
        compiled=True,
    )
    assert tg.power(2.0, tg.tensor(np.array([0.5, 2.0], np.float32))).dtype == np.float32


def test_largest_and_smallest_have_no_negative_zero() -> None:
    for zeros in ([0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0]):
        x = np.array(zeros * 8)
        for f in (tg.max, tg.min):
            assert not np.signbit(f(tg.tensor(x)).numpy())
            # rows, in the loop that computes what is reduced and what follows
            for compiled in (False, True):
                same(
                    lambda x, f=f: 1.0 / (f(x * 1.0, -1, True) * (x * x + 1.0)),
                    x.reshape(2, 8),
                    special=True,
                    compiled=compiled,
                )


def test_largest_and_smallest_on_one_side_of_zero() -> None:
    same(
        lambda x: (
            tg.max(-abs(x) - 1.0, -1) * 2,
            tg.min(abs(x) + 1.0, -1) * 2,
            tg.max(-abs(x) - 1.0) * 2,
        ),
        normal(3, 5),
        order=2,
    )


def test_clip_keeps_the_sign_of_zero() -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0])
    for low, high in (
        (0.0, 1.0),
        (-0.0, 1.0),
        (0.0, None),
        (None, -0.0),
        (None, 0.0),
        (None, None),
    ):
        found = tg.clip(tg.tensor(x), low, high).numpy()
        np.testing.assert_array_equal(np.signbit(found[:2]), [False, True])
        same(lambda x, low=low, high=high: tg.clip(x, low, high) * 1.0, x, special=True)


# --- gradients of gradients ----------------------------------------------------------------------------------------------------------

M = normal(3, 3, seed=4)


def _closes_over_the_argument(jit: Any) -> Any:
    return lambda w: jit(lambda x: (tg.tanh(x * w) * w).sum())(normal(3, seed=1))


def _closes_over_a_value(jit: Any) -> Any:
    def loss(w: Any) -> Any:
        h = tg.sin(w) * w
        return jit(lambda x: (tg.tanh(x * h) * w + h * h * h).sum())(normal(3, seed=1))

    return loss


def _argument_and_closure(jit: Any) -> Any:
    return lambda w: jit(lambda x: tg.exp(x * w).sum())(w * 2.0)


def _called_twice(jit: Any) -> Any:
    weight = tg.tensor(M, requires_grad=True)
    g = jit(lambda x, y: tg.tanh(x @ weight) * y)
    return lambda w: (g(g(w, w), w) ** 2).sum()


def _of_a_gradient(jit: Any) -> Any:
    return lambda w: (tg.grad(jit(lambda x: (x**3 * w).sum()))(w) * w).sum()


def _with_a_gradient_inside(jit: Any) -> Any:
    return lambda w: (jit(tg.grad(lambda x: (x**3 * w).sum()))(w) ** 2).sum()


def _views_of_the_closure(jit: Any) -> Any:
    def loss(w: Any) -> Any:
        v = w[::-1]
        return (
            jit(lambda x: (x * v * w.reshape((3, 1))).T.reshape(9).sum() + (v**3).sum())(
                normal(3, seed=1)
            )
            ** 2
        )

    return loss


def _several_results(jit: Any) -> Any:
    def loss(w: Any) -> Any:
        a, b, c = jit(lambda x: (tg.sin(x * w), x * w * w, w))(normal(3, seed=1))
        return (a * c).sum() * b.sum()

    return loss


LOSSES = [
    _closes_over_the_argument, _closes_over_a_value, _argument_and_closure, _called_twice, _of_a_gradient, _with_a_gradient_inside, _views_of_the_closure, _several_results,
]  # fmt: skip


@pytest.mark.parametrize("made", LOSSES, ids=lambda f: f.__name__.strip("_"))
def test_gradients_of_gradients_through_what_it_closes_over(made: Any) -> None:
    w, v = tg.tensor(normal(3, seed=2)), tg.tensor(normal(3, seed=3))
    twice = lambda f: tg.grad(lambda u: (tg.grad(f)(u) * v).sum())  # noqa: E731
    transforms: dict[str, Callable[[Any], Any]] = {
        "grad": lambda f: tg.grad(f)(w), "second": lambda f: twice(f)(w), "third": lambda f: tg.grad(lambda u: (twice(f)(u) * v).sum())(w), "hvp": lambda f: tg.hvp(f, w, v),
        "hessian": lambda f: tg.hessian(f)(w), "jvp": lambda f: tg.jvp(f, (w,), (v,))[1], "jvp of grad": lambda f: tg.jvp(tg.grad(f), (w,), (v,))[1],
        "grad of jvp": lambda f: tg.grad(lambda u: tg.jvp(f, (u,), (v,))[1])(w), "vjp": lambda f: tg.vjp(f, w)[1](tg.tensor(np.array(2.0)))[0],
    }  # fmt: skip
    with everywhere(False):
        for name, transform in transforms.items():
            plain, found = transform(made(lambda f: f)), transform(made(tg.jit))
            assert np.abs(plain.numpy()).max() > 1e-3, name
            np.testing.assert_allclose(
                found.numpy(), plain.numpy(), rtol=1e-9, atol=1e-12, err_msg=name
            )


def test_the_second_derivative_of_a_cube_that_it_closes_over() -> None:
    with everywhere(False):
        cube = lambda w: tg.jit(lambda x: x * w * w * w)(np.array(2.0))  # noqa: E731
        assert tg.grad(tg.grad(cube))(tg.tensor(np.array(3.0))).item() == pytest.approx(2 * 6 * 3)


# --- faults of the compiler ------------------------------------------------------------------------------------------------------------


def _refused(monkeypatch: pytest.MonkeyPatch, name: str, scalar: str) -> None:
    monkeypatch.setattr(REGISTRY[name], "scalar", scalar)


@pytest.mark.parametrize(
    "scalar", ["nowhere(x)", "cos(x, x)", "cos(x) if foo else x", "cos(absent)"]
)
def test_code_that_is_refused_is_a_compile_error(
    monkeypatch: pytest.MonkeyPatch, scalar: str
) -> None:
    """With the operation and its line, forward and backward, and not in the words of numba.

    Within tg.eager() the function runs.
    """
    x = tg.tensor(normal(20, 30), requires_grad=True)
    forward = tg.jit(lambda x: (tg.cos(x) * 2 + 1).sum())
    backward = tg.jit(lambda x: (tg.sin(x) * 2 + 1).sum())
    _refused(monkeypatch, "cos", scalar)
    expected = re.compile(
        r"tg\.jit: the code for .*cos test_jit_values\.py:\d+: .* is refused \(\w+: .*\).*tg\.eager\(\)",
        re.DOTALL,
    )
    with pytest.raises(tg.CompileError, match=expected):
        forward(x)
    with pytest.raises(tg.CompileError, match=expected):
        backward(x).backward()
    with tg.eager():
        backward(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.cos(x.numpy()), rtol=1e-12)


def test_code_that_fails_is_a_compile_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, *anything: Any) -> None:
            pass

        def kernel(self, *arguments: Any) -> None:
            raise KeyError("v7")

    monkeypatch.setattr(runtime, "native", Broken)
    with pytest.raises(
        tg.CompileError,
        match=r"the code for '<lambda>' fails \(KeyError: 'v7'\), which the function itself does not.*tg\.eager\(\)",
    ):
        tg.jit(lambda x: tg.tanh(x) * 2 + 1)(tg.tensor(normal(20, 30)))


def test_a_program_that_cannot_be_arranged_is_a_compile_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(values: Any, rules: Any) -> Any:
        raise IndexError("list index out of range")

    monkeypatch.setattr("tinygrad_rnn.compiler.host.fuse", broken)
    with pytest.raises(
        tg.CompileError,
        match=r"no code could be made of '<lambda>'; the fault is the compiler's \(IndexError: list index out of range\)",
    ):
        tg.jit(lambda x: tg.tanh(x) * 2 + 1)(tg.tensor(normal(20, 30)))
    with pytest.raises(ZeroDivisionError):  # of the function itself
        tg.jit(lambda x: x * (1 // 0))(tg.tensor(normal(2)))


# --- what plain operations and their shape rules take ---------------------------------------------------------------------------------


def test_numpy_looks_at_shapes_while_a_function_is_traced() -> None:
    same(
        lambda x: (
            x * np.ndim(x) + np.size(x) * np.ones_like(x) + np.full_like(x, 0.5) * np.shape(x)[1]
        ),
        normal(3, 4),
    )
    same(lambda x: tg.jacobian(lambda v: v**3 * v.sum())(x), normal(3), order=2)
    with pytest.raises(tg.TraceError, match="may not look at numbers"):
        tg.jit(lambda x: x * float(np.allclose(x, 0)))(tg.tensor(normal(3)))


def test_assignment_of_values_with_more_axes() -> None:
    same(lambda x, v: _assigned(x, v, 0), normal(3, 4), normal(1, 1, 4), order=2)
    same(lambda x, v: _assigned(x, v, (slice(None), 1)), normal(3, 4), normal(1, 3), order=2)
    with pytest.raises(tg.ShapeError, match=r"a value of shape \(2, 4\) does not fit"):
        _assigned(tg.tensor(normal(3, 4)), tg.tensor(normal(2, 4)), 0)


def _assigned(x: Any, v: Any, index: Any) -> Any:
    y = x * 2
    y[index] = v
    return y


def test_triangles_of_vectors_are_refused() -> None:
    for f in (tg.tril, tg.triu):
        for jit in (lambda f: f, tg.jit):
            with pytest.raises(tg.ShapeError, match="expected at least two axes"):
                jit(lambda x, f=f: f(x))(tg.tensor(normal(3)))
