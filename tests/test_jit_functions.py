"""`tg.jit` of ordinary functions: the numbers and gradients of the function as it is.

Random ones: `tests/fuzz/functions.py`.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import read_as_python
from tinygrad_rnn.compiler import function as functions
from tinygrad_rnn.compiler import host, program
from tinygrad_rnn.compiler.function import JittedFunction
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.kernels import blas, runtime


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops for arrays of any size."""
    for module in (program, host):
        monkeypatch.setattr(module, "SMALL", 1)


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch, everywhere: None) -> None:
    """No compilation: Python runs the loops."""
    read_as_python(monkeypatch)


def outcome(
    f: Callable[..., Any], arrays: list[np.ndarray], dtype: Any = np.float64, order: int = 1
) -> list[np.ndarray]:
    """Results, gradients of a random sum of them, and for order 2 gradients of a random sum of those."""
    rng = np.random.default_rng(5)
    xs = [tg.tensor(a, dtype, requires_grad=True) for a in arrays]
    results = f(*xs)
    found = list(results)
    total = sum((y * rng.normal(size=y.shape)).sum() for y in results)
    if getattr(total, "requires_grad", False):
        total.backward(create_graph=order > 1)
        first = [x.grad for x in xs]
        found += [x for x in first if x is not None]
        if order > 1:
            for x in xs:
                x.grad = None
            again = sum(
                (
                    (g * rng.normal(size=g.shape)).sum()
                    for g in first
                    if g is not None and g.requires_grad
                ),
                tg.tensor(0.0, dtype),
            )
            if again.requires_grad:
                again.backward()
                found += [x.grad for x in xs if x.grad is not None]
    return [y.numpy() for y in found]


def same(
    f: Callable[..., Any],
    fast: Callable[..., Any],
    arrays: list[np.ndarray],
    dtype: Any = np.float64,
    order: int = 1,
) -> None:
    expected, found = outcome(f, arrays, dtype, order), outcome(fast, arrays, dtype, order)
    assert len(expected) == len(found)
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        scale = np.abs(b).max(initial=1.0)
        rtol = 1e-12 if dtype == np.float64 else 1e-6
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 10 * scale)


# --- functions as they are written --------------------------------------------------------------------------------------------------


def adam(p: Any, m: Any, v: Any, g: Any, rate: Any) -> Any:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - rate * m / (tg.sqrt(v) + 1e-8), m, v


def smoothed(logits: Any, targets: Any, smoothing: float = 0.1) -> Any:
    logp = tg.log_softmax(logits, -1)
    chosen = tg.take_along_axis(logp, targets.reshape((-1, 1)), -1)
    return -((1 - smoothing) * chosen.mean() + smoothing * logp.mean())


def mixture(x: Any, mean: Any, log_scale: Any, logits: Any) -> Any:
    z = (x[:, None] - mean) * tg.exp(-log_scale)
    each = -0.5 * (z * z).sum(axis=-1) - log_scale.sum(axis=-1) + tg.log_softmax(logits, -1)
    return -tg.logsumexp(each, axis=-1).mean()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_optimiser_step(dtype: Any) -> None:
    state = [normal(40, 30, seed=k) for k in range(4)]
    state[2] **= 2
    fast = tg.jit(adam)
    same(lambda *s: adam(*s, 0.01), lambda *s: fast(*s, 0.01), state, dtype)
    with tg.no_grad():
        p, m, v = fast(*[tg.tensor(s, dtype) for s in state], tg.tensor(0.02, dtype))
    for a, b in zip(
        (p, m, v), adam(*[tg.tensor(s, dtype) for s in state], tg.tensor(0.02, dtype)), strict=True
    ):
        assert a.node is None
        np.testing.assert_allclose(
            a.numpy(), b.numpy(), rtol=1e-6, atol=1e-7 if dtype == np.float32 else 1e-15
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses(dtype: Any) -> None:
    targets = np.random.default_rng(1).integers(7, size=50)
    fast = tg.jit(smoothed)
    for labels in (targets, targets[::-1].copy()):  # one recording: integer arrays are inputs
        same(
            lambda x, t=labels: [smoothed(x, t)],
            lambda x, t=labels: [fast(x, t)],
            [normal(50, 7)],
            dtype,
        )
    assert len(fast._programs) == 1
    points = [normal(60, 3), normal(5, 3, seed=1), 0.1 * normal(5, 3, seed=2), normal(5, seed=3)]
    quick = tg.jit(mixture)
    same(lambda *a: [mixture(*a)], lambda *a: [quick(*a)], points, dtype)
    if dtype == np.float64:
        same(lambda *a: [mixture(*a)], lambda *a: [quick(*a)], points, order=2)


@pytest.fixture
def rows() -> tuple[Any, Any]:
    """A function with rows, sums and a choice, and the same jitted."""

    def f(x: Any, w: Any) -> Any:
        y = tg.softmax(x * w, -1)
        return (tg.where(y > 0.1, y * w, tg.tanh(x)) ** 2).sum()

    return f, tg.jit(f)


def test_transforms(rows: Any, by_python: None) -> None:
    f, fast = rows
    x, w = normal(3, 5), normal(5, seed=1)
    for transform in (lambda f: tg.grad(f, (0, 1)), tg.hessian, lambda f: tg.jacobian(f, 1)):
        for a, b in zip(leaves(transform(fast)(x, w)), leaves(transform(f)(x, w)), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)
    for a, b in zip(
        tg.jvp(fast, (x, w), (x + 1, w - 1)), tg.jvp(f, (x, w), (x + 1, w - 1)), strict=True
    ):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11)
    assert tg.gradcheck(fast, x, w, order=2)
    third = [
        tg.grad(lambda x, g=g: (tg.grad(lambda x: (tg.grad(g)(x, w) ** 2).sum())(x) ** 3).sum())(x)
        for g in (f, fast)
    ]
    np.testing.assert_allclose(third[1].numpy(), third[0].numpy(), rtol=1e-10)


def test_inside_a_trace_and_inside_each_other(rows: Any, by_python: None) -> None:
    f, fast = rows
    x, w = tg.tensor(normal(3, 5)), tg.tensor(normal(5))
    assert [n.op for n in tg.trace(fast, x, w).nodes] == [n.op for n in tg.trace(f, x, w).nodes]
    same(lambda x: [f(x, w) * 2], tg.jit(lambda x: [fast(x, w) * 2]), [normal(3, 5)])


def test_what_it_closes_over(by_python: None) -> None:
    scale = tg.Parameter(normal(4), dtype=np.float64)
    shift = tg.nn.Buffer(normal(4, seed=1), dtype=np.float64)
    fixed = normal(4, seed=2)
    factor = 2.0

    def f(x: Any) -> Any:
        return (tg.tanh(x * scale * factor + shift * 2.0) * fixed).sum()

    fast = tg.jit(f)

    def check() -> None:
        found = []
        for g in (f, fast):
            scale.grad = None
            x = tg.tensor(normal(6, 4, seed=5), requires_grad=True)
            y = g(x)
            if y.requires_grad:
                y.backward()
            found.append(
                [
                    y.numpy(),
                    *(np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in (x, scale)),
                ]
            )
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-12)

    check()
    scale.data = normal(4, seed=7)
    check()
    assert len(fast._programs) == 1
    shift.data = normal(4, seed=8)  # it is a constant: another recording
    check()
    fixed = normal(4, seed=9)
    check()
    factor = 3.0
    check()
    scale.requires_grad = False
    check()
    scale = tg.Parameter(normal(4, seed=10), dtype=np.float64)
    check()


def test_a_computed_tensor_that_it_closes_over(by_python: None) -> None:
    w = tg.tensor(normal(4), requires_grad=True)
    found = []
    for compiled in (False, True):
        w.grad = None
        half = tg.tanh(w) * 0.5
        half.retain_grad()

        def f(x: Any, half: Any = half) -> Any:
            return (x * half).sum() + half.sum()

        g = tg.jit(f) if compiled else f
        g(tg.tensor(normal(3, 4))).backward(create_graph=True)
        assert w.grad is not None and half.grad is not None
        found.append([half.grad.numpy(), w.grad.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-13)


def test_nests_keywords_and_other_arguments(by_python: None) -> None:
    def f(batch: Any, *, weights: Any = None, power: int = 2, mode: str = "sum") -> Any:
        a, (b, c) = batch["a"], batch["rest"]
        y = (a * b) ** power + c
        y = y if weights is None else y * weights
        return {
            "total": y.sum() if mode == "sum" else y.mean(),
            "parts": (y, [a]),
            "mode": mode,
            "none": None,
            "number": 3,
        }

    fast = tg.jit(f)
    a, b = (tg.tensor(normal(3, 4, seed=k), requires_grad=True) for k in (1, 2))
    for how in (
        {},
        {"weights": normal(4)},
        {"power": 3},
        {"mode": "mean", "weights": tg.tensor(normal(3, 1))},
    ):
        batch = {"a": a, "rest": [b, normal(4, seed=3)]}
        expected, found = f(batch, **how), fast(batch, **how)
        assert (
            list(found) == list(expected)
            and found["mode"] == expected["mode"]
            and found["number"] == 3
            and found["none"] is None
        )
        assert found["parts"][1][0] is a
        grads = []
        for y in (expected, found):
            a.grad = b.grad = None
            (y["total"] + (y["parts"][0] ** 2).sum()).backward()
            grads.append(
                [y["total"].numpy(), y["parts"][0].numpy(), a.grad.numpy(), b.grad.numpy()]
            )
        for x, z in zip(*grads, strict=True):
            np.testing.assert_allclose(z, x, rtol=1e-12)
    assert len(fast._programs) == 4


def test_results_of_several_kinds(by_python: None) -> None:
    def f(x: Any, w: Any) -> Any:
        wide = (x * w).sum(axis=-1).astype(np.float64)
        return wide, x * 2.0, x > 0, tg.argmax(x, axis=-1), w, tg.stop_gradient(x) + 1.0

    fast = tg.jit(f)
    x, w = (tg.tensor(normal(3, 4, seed=k), np.float32, requires_grad=True) for k in (0, 1))
    grads = []
    for g in (f, fast):
        x.grad = w.grad = None
        found = g(x, w)
        assert found[4] is w
        assert [y.requires_grad for y in found] == [True, True, False, False, True, False]
        (found[0].sum().astype(np.float32) + found[1].sum()).backward()
        grads.append([*(y.numpy() for y in found), x.grad.numpy(), w.grad.numpy()])
    for a, b in zip(*grads, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-6)


def test_a_module_that_is_no_cell(by_python: None) -> None:
    class Loss(tg.nn.Module):
        def __init__(self) -> None:
            self.first, self.norm = tg.nn.Linear(4, 6, rng=0), tg.nn.LayerNorm(6)

        def forward(self, x: Any) -> Any:
            return (tg.gelu(self.norm(self.first(x))) ** 2).mean()

    loss = Loss()
    fast = tg.jit(loss)
    assert [n for n, _ in fast.named_parameters()] == [n for n, _ in loss.named_parameters()]
    x = tg.tensor(normal(5, 4), np.float32)
    found = []
    for g in (loss, fast):
        loss.zero_grad()
        g(x).backward()
        found.append([p.grad.numpy() for p in loss.parameters() if p.grad is not None])
    assert len(found[0]) == 4
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-7)


def test_called_it_is_a_function_and_unrolled_a_cell() -> None:
    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x + 0.5 * h)
        return h, h

    fast = tg.jit(step)
    assert isinstance(fast, JittedFunction) and isinstance(fast, tg.Cell)
    xs = normal(6, 30, 4)
    ys, _ = tg.unroll(fast, xs, np.zeros((30, 4)))
    plain = tg.unroll(step, xs, np.zeros((30, 4)))
    np.testing.assert_allclose(ys.numpy(), plain[0].numpy(), rtol=1e-12)
    assert fast._code.runners and not fast._programs
    y, _ = fast(tg.tensor(xs[0]), tg.tensor(xs[1]))
    np.testing.assert_allclose(
        y.numpy(), step(tg.tensor(xs[0]), tg.tensor(xs[1]))[0].numpy(), rtol=1e-12
    )
    assert fast._programs
    assert tg.jit(fast) is fast


def test_as_a_method(by_python: None) -> None:
    class Model:
        def __init__(self) -> None:
            self.w = tg.Parameter(np.ones(3))

        @tg.jit
        def loss(self, x: Any) -> Any:
            return (x * self.w).sum()

    model = Model()
    model.loss(np.arange(3.0)).backward()
    assert model.w.grad is not None
    np.testing.assert_allclose(model.w.grad.numpy(), [0, 1, 2])


# --- recordings ---------------------------------------------------------------------------------------------------------------------


def test_when_it_is_recorded_again(by_python: None) -> None:
    fast = tg.jit(lambda x, k: (x * k).sum())
    x = tg.tensor(normal(3, 4))
    for k, count in (
        (2.0, 1),
        (2.0, 1),
        (3.0, 2),
        (2, 3),
        (tg.tensor(2.0, np.float64), 4),
        (tg.tensor(5.0, np.float64), 4),
    ):
        np.testing.assert_allclose(fast(x, k).numpy(), (x * k).sum().numpy(), rtol=1e-13)
        assert len(fast._programs) == count
    fast(tg.tensor(normal(2, 4)), 2.0)
    with tg.no_grad():
        fast(x, 2.0)
    assert len(fast._programs) == 6


def test_numbers_do_not_compile_again(everywhere: None) -> None:
    fast = tg.jit(lambda x, k: tg.tanh(x * k + 1.7 * k))
    x = tg.tensor(normal(30, 40))
    sources = set()
    for k in (0.17, 0.23, 11.5):
        np.testing.assert_allclose(fast(x, k).numpy(), tg.tanh(x * k + 1.7 * k).numpy(), rtol=1e-13)
        sources.add(list(fast._programs.values())[-1]._forward.kernels[0].text().text)
    assert len(sources) == 1


def test_too_many_recordings(by_python: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "KEPT", 3)
    fast = tg.jit(lambda x, k: (x * k).sum())
    x = tg.tensor(normal(4))
    with pytest.warns(RuntimeWarning, match="recorded 3 times.*better handed over as a tensor"):
        for k in range(6):
            np.testing.assert_allclose(fast(x, float(k)).numpy(), (x * float(k)).sum().numpy())


def test_large_arrays_among_threads() -> None:
    def f(x: Any, w: Any) -> Any:
        y = tg.tanh(x * w)
        return (y * y).sum(), y.sum(axis=0), tg.exp(x).sum(axis=-1)

    count = runtime.threads()
    tg.set_num_threads(2)
    try:
        same(f, tg.jit(f), [normal(401, 503), normal(503, seed=1)])
        same(
            lambda x: [(tg.tanh(x) * 2).sum()],
            tg.jit(lambda x: [(tg.tanh(x) * 2).sum()]),
            [normal(200_001)],
        )
    finally:
        tg.set_num_threads(count)


def test_sums_in_float32_are_as_exact_as_they_are() -> None:
    x = np.random.default_rng(0).random(3_000_017).astype(np.float32)
    fast = tg.jit(lambda x: (x * x + x).sum())
    exact = (x.astype(np.float64) ** 2 + x).sum()
    assert abs(fast(tg.tensor(x)).item() / exact - 1) < 1e-6
    rows = tg.jit(lambda x: (x * x + x).sum(axis=-1) * 2.0 + 1.0)
    assert (
        np.abs(
            rows(tg.tensor(x[:3_000_000].reshape(3, -1))).numpy()
            / (
                2 * (x[:3_000_000].astype(np.float64) ** 2 + x[:3_000_000]).reshape(3, -1).sum(-1)
                + 1
            )
            - 1
        ).max()
        < 1e-6
    )


def test_infinities_and_nans(everywhere: None) -> None:
    x = normal(6, 40)
    x[0] = -np.inf
    x[1, 3] = np.nan
    x[2, 5] = np.inf

    def f(x: Any) -> Any:
        return (
            tg.logsumexp(x, axis=-1),
            tg.max(x, axis=-1) * 2.0,
            tg.min(x, axis=-1) * 2.0,
            tg.where(x > 0, x, 0.0).sum(axis=0),
        )

    with np.errstate(all="ignore"):
        for a, b in zip(tg.jit(f)(tg.tensor(x)), f(tg.tensor(x)), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_gradient_of_shared_weights_is_one_product(
    by_python: None, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(runtime, "_threads", threads)
    monkeypatch.setattr(blas, "SPLIT", 1)
    monkeypatch.setattr(blas.single, "inside", 1)
    w = tg.tensor(normal(3, 6), requires_grad=True)

    def f(x: Any, y: Any) -> Any:
        each = x.swapaxes(-1, -2) @ tg.tanh(x)  # a product for each place, which is used as such
        return ((x @ w) ** 2).sum() + ((y @ w) ** 3).sum() + each.sum(axis=0).sum() + each.mean()

    fast = tg.jit(f)
    for x, y in ((normal(5, 4, 3), normal(2, 5, 4, 3)), (normal(0, 4, 3), normal(1, 1, 1, 3))):
        found = []
        for g in (fast, f):
            w.grad = None
            given = tg.tensor(x, requires_grad=True)
            g(given, tg.tensor(y)).backward()
            found.append([w.grad.numpy(), given.grad.numpy()])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
        if x.size:
            assert fast.source().count("contract") == 2


def test_zeros_that_nothing_reads_are_not_computed(
    by_python: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_pays", lambda group: True)  # loops for single operations too
    weights = tg.tensor(normal(2, 3), requires_grad=True)

    def power(x: Any) -> Any:
        return x + tg.concatenate([weights, weights], axis=1) ** 0

    found = tg.jit(power)(tg.tensor(normal(2, 6)))
    found.sum().backward()
    np.testing.assert_array_equal(weights.grad.numpy(), np.zeros((2, 3)))


def test_a_constant_twice_in_one_operation(by_python: None) -> None:
    for half in (np.array(0.5), tg.tensor(np.array(0.5)), 0.5):
        x = tg.tensor(normal(3, 4), requires_grad=True)

        def either(x: Any, half: Any = half) -> Any:
            return tg.where(half, x, half)

        np.testing.assert_array_equal(tg.jit(either)(x).numpy(), x.numpy())


def test_the_sign_of_zero_in_a_softmax_of_one(by_python: None) -> None:
    x = tg.tensor(np.array([[-0.0], [0.0], [1.0]]))
    plain = tg.log_softmax(x) * 1.0
    fast = tg.jit(lambda x: tg.log_softmax(x) * 1.0)(x)
    np.testing.assert_array_equal(np.signbit(fast.numpy()), np.signbit(plain.numpy()))


def test_empty_arrays_and_arrays_with_gaps(by_python: None) -> None:
    def f(x: Any) -> Any:
        return (tg.tanh(x) * 2.0).sum(axis=0), tg.tanh(x).sum()

    fast = tg.jit(f)
    for x in (np.zeros((0, 4)), normal(6, 8)[::2, ::-1], normal(4, 3).T):
        given = tg.tensor(np.zeros(x.shape))
        given.array = x  # as a view
        for a, b in zip(fast(given), f(given), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


# --- what goes wrong ------------------------------------------------------------------------------------------------------------------


def test_errors(by_python: None) -> None:
    x = tg.tensor(normal(3, 4), requires_grad=True)

    def branching(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    with pytest.raises(tg.TraceError, match=r"tg.where in place of `if`.*test_jit_functions.py"):
        tg.jit(branching)(x)
    with pytest.raises(tg.TraceError, match="random mask"):
        tg.jit(lambda x: tg.nn.Dropout(0.5)(x))(x)
    with pytest.raises(tg.ShapeError) as plain:
        x + tg.tensor(normal(5))
    with pytest.raises(tg.ShapeError) as jitted:
        tg.jit(lambda x, y: x + y)(x, tg.tensor(normal(5)))
    assert str(plain.value).split(" (at ")[0] == str(jitted.value).split(" (at ")[0]
    with pytest.raises(tg.ShapeError, match="targets from 0 to 9; expected 0 to 3"):
        tg.jit(tg.nn.cross_entropy)(x, np.array([0, 9, 1]))
    with pytest.raises(tg.ShapeError, match="targets from -1 to 1; expected 0 to 3"):
        tg.jit(tg.nn.cross_entropy)(x, np.array([0, -1, 1]))
    with pytest.raises(
        tg.TraceError,
        match=r"tg.take_along_axis\(x, i, axis\) take such indices.*test_jit_functions.py",
    ):
        tg.jit(lambda x, i: x[np.arange(3), i])(x, np.array([0, 1, 1]))
    with pytest.raises(tg.CompileError, match="was not called yet"):
        tg.jit(lambda x: x).source()
    with pytest.raises(tg.CompileError, match="expected a function, or a cell; found"):
        tg.jit(3)  # type: ignore[arg-type]
    with pytest.raises(tg.CompileError, match="Bidirectional is a layer"):
        tg.jit(tg.nn.Bidirectional(tg.cells.GRU(2, 2), tg.cells.GRU(2, 2)))
    with pytest.raises(TypeError, match="missing 1 required"):
        tg.jit(lambda x, y: x + y)(x)


def test_graphs_are_released_and_guarded(by_python: None) -> None:
    w = tg.Parameter(normal(4), "w", dtype=np.float64)
    fast = tg.jit(lambda x: tg.tanh(x * w).sum())
    x = tg.tensor(normal(3, 4), requires_grad=True)
    y = fast(x)
    y.backward()
    with pytest.raises(tg.GraphError, match="released"):
        y.backward()
    y = fast(x)
    y.backward(retain_graph=True)
    y.backward()
    y = fast(x)
    w.data = normal(4, seed=2)
    with pytest.raises(
        tg.GraphError, match="goes through a compiled function, which needs the value that w"
    ):
        y.backward()


def test_without_numba(monkeypatch: pytest.MonkeyPatch, rows: Any) -> None:
    monkeypatch.setattr("tinygrad_rnn.kernels.runtime._available", False)
    f, fast = rows
    same(lambda *a: [f(*a)], lambda *a: [fast(*a)], [normal(3, 5), normal(5)])
    assert not fast._programs


def test_when_numba_fails(monkeypatch: pytest.MonkeyPatch, rows: Any, everywhere: None) -> None:
    def broken(*anything: Any) -> Any:
        raise OSError("no room")

    monkeypatch.setattr(runtime, "load", broken)
    monkeypatch.setattr(runtime, "native", broken)
    monkeypatch.setattr(runtime, "_complained", False)
    f, fast = rows
    with pytest.warns(RuntimeWarning, match="could not be compiled"):
        same(lambda *a: [f(*a)], lambda *a: [fast(*a)], [normal(3, 5), normal(5)])


def test_source_names_the_lines(rows: Any, by_python: None) -> None:
    _, fast = rows
    fast(tg.tensor(normal(3, 5), requires_grad=True), tg.tensor(normal(5)))
    text = fast.source()
    compile(text, "generated", "exec")
    assert "def forward(" in text and "def backward(" in text
    assert "# multiply test_jit_functions.py:" in text and "y = tg.softmax(x * w, -1)" in text


def test_pickles(by_python: None) -> None:
    fast = tg.jit(adam)
    again = pickle.loads(pickle.dumps(fast))
    assert again.plain is adam and isinstance(again, JittedFunction)


def test_no_memory_is_held_between_calls(rows: Any, by_python: None) -> None:
    import gc

    _, fast = rows
    x, w = tg.tensor(normal(3, 5), requires_grad=True), tg.tensor(normal(5), requires_grad=True)
    counts = []
    gc.disable()
    try:
        for _ in range(6):
            x.grad = w.grad = None
            fast(x, w).backward()
            counts.append(len(gc.get_objects()))
    finally:
        gc.enable()
    assert counts[-1] == counts[2]


def test_what_changes_from_call_to_call_is_found_out() -> None:
    count = [0.0]

    def counting(a: Any) -> Any:
        count[0] += 1
        return a * count[0]

    x = tg.tensor(np.ones(3))
    cases: list[tuple[Any, str]] = [
        (lambda a: a * np.random.rand(3), "draws random numbers from np.random"),
        (lambda a: a * float(np.random.rand()), "draws random numbers from np.random"),
        (lambda a: a * float(np.random.default_rng().random()), "not the same in two recordings"),
        (lambda a: a * time.perf_counter(), "not the same in two recordings"),
        (counting, r"changes count\[0\]"),
    ]
    for f, text in cases:
        with pytest.raises(tg.TraceError, match=text):
            tg.jit(f)(x)
    assert count == [0.0]
