"""Compiled cells where they could go wrong without a word.

Settings that change, copies, odd states, and what one recorded step cannot stand for.
"""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from operator import matmul
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import cells
from tinygrad_rnn.compiler import CompileError, jit
from tinygrad_rnn.core.errors import GraphError, ShapeError, TraceError
from tinygrad_rnn.core.trace import trace
from tinygrad_rnn.core.tree import leaves

RNG = np.random.default_rng(3)
XS = RNG.normal(size=(4, 2, 3)).astype(np.float32)
H = np.zeros((2, 3), np.float32)


class Settings(tg.Cell):
    """A step that reads attributes of many kinds."""

    input_size = 3
    hidden_size = 3

    def __init__(self) -> None:
        self.w = tg.Parameter(RNG.normal(size=(3, 3)).astype(np.float32) * 0.4)
        self.scale = np.array([1.0, 2.0, 3.0], np.float32)
        self.context = tg.tensor(np.ones((1, 3), np.float32))
        self.options: dict[str, Any] = {"k": 1.0, "list": [1.0, 2.0]}
        # names that the compiled cell uses itself
        self.plain, self.steps, self.runner = True, 3, None

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(
            self.from_input(x, self.w, matmul) * self.scale
            + h * self.options["k"] * self.options["list"][1]
            + self.context
        )
        return h, h


def check(cell: Any, compiled: Any, xs: Any = XS, state: Any = None) -> None:
    """Outputs and last states of the two are equal."""
    one, two = (tg.unroll(c, xs, state) for c in (cell, compiled))
    for a, b in zip(leaves(one), leaves(two), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)


def test_changed_attributes_are_seen() -> None:
    cell = Settings()
    compiled = jit(cell)
    check(cell, compiled)
    cell.scale = np.array([3.0, 4.0, 5.0], np.float32)
    check(cell, compiled)
    cell.scale[:] = 0.5
    check(cell, compiled)
    cell.context = tg.tensor(np.full((1, 3), -1, np.float32))
    check(cell, compiled)
    cell.context.data = np.full((1, 3), -0.3, np.float32)
    check(cell, compiled)
    cell.options["k"] = -1.0
    check(cell, compiled)
    cell.options["list"][1] = -0.7
    check(cell, compiled)


FACTOR = 1.0


class Helped(Settings):
    """A step that reads an attribute of its class, and a global in a method."""

    gain = 1.0

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(self.help(x) @ self.w * self.gain + h)
        return h, h

    def help(self, x: Any) -> Any:
        return x * FACTOR


def test_classes_and_globals_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Helped()
    compiled = jit(cell)
    check(cell, compiled)
    monkeypatch.setattr(Helped, "gain", 0.5)
    check(cell, compiled)
    monkeypatch.setitem(globals(), "FACTOR", -1.0)
    check(cell, compiled)


def test_what_a_function_takes_from_outside_is_seen() -> None:
    linear, k = tg.nn.Linear(3, 3, rng=0), [1.0]

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(linear(x) + h * k[0])
        return h, h

    compiled = jit(step)
    check(step, compiled, state=H)
    k[0] = 0.5
    check(step, compiled, state=H)
    linear.weight = tg.Parameter(RNG.normal(size=(3, 3)).astype(np.float32))
    check(step, compiled, state=H)
    for p in linear.parameters():
        p.requires_grad = False
    assert not tg.unroll(compiled, XS, H)[0].requires_grad
    linear.weight.requires_grad = True
    assert tg.unroll(compiled, XS, H)[0].requires_grad


def test_a_computed_tensor_keeps_its_gradient() -> None:
    weight = tg.Parameter(RNG.normal(size=(3, 3)).astype(np.float32) * 0.3)
    found = []
    for compile_ in (lambda f: f, jit):
        made = tg.exp(weight)

        def step(x: Any, h: Any, made: Any = made) -> Any:
            h = tg.tanh(x @ made + h)
            return h, h

        weight.grad = None
        (tg.unroll(compile_(step), XS, H)[0].sum() + made.sum()).backward()
        assert weight.grad is not None
        found.append(weight.grad.numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_copies_and_pickles() -> None:
    cell = cells.Elman(3, 3, rng=0)
    compiled = jit(cell)
    check(cell, compiled)
    for made in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        assert made.weight_hh is made.plain.weight_hh is not cell.weight_hh
        made.weight_hh.data = made.weight_hh.numpy() * 3
        check(made.plain, made)
    check(cell, compiled)
    shallow = copy.copy(compiled)
    assert shallow.weight_hh is cell.weight_hh
    vars(shallow)["weight_hh"] = cell.weight_hh * 2
    doubled = copy.deepcopy(cell)
    doubled.weight_hh.data = cell.weight_hh.numpy() * 2
    check(doubled, shallow)


def test_wrappers_around_a_compiled_cell_keep_their_masks() -> None:
    nn = tg.nn
    for wrap in (
        lambda c: nn.WeightDrop(c, 0.5, rng=1),
        lambda c: nn.Zoneout(c, 0.5, rng=1),
        lambda c: nn.VariationalDropout(c, state=0.5, rng=1),
    ):
        check(wrap(cells.Elman(3, 3, rng=0)), wrap(jit(cells.Elman(3, 3, rng=0))))


def test_what_differs_from_step_to_step_is_refused_in_other_traces() -> None:
    norm = tg.nn.RecurrentBatchNorm(cells.Elman(3, 3, rng=0), 4)
    tg.unroll(norm, XS)
    with pytest.raises(TraceError, match="running statistics cannot be recorded"):
        trace(norm, XS[0], H)
    norm.eval()
    # a whole sequence has steps
    assert len(trace(lambda x: tg.unroll(norm, x)[0], tg.tensor(XS)).nodes) > 4
    with pytest.raises(TraceError, match="running statistics cannot be recorded"):
        trace(lambda x, h: norm.forward(x, h)[0], XS[0], H)


def test_states_of_dicts_in_any_order() -> None:
    def step(x: Any, s: Any) -> Any:
        return s["a"], {"b": s["b"] * 2 + x, "a": s["b"] + s["a"] * 0.5}

    compiled = jit(step)
    for state in ({"a": H, "b": H + 1}, {"b": H + 1, "a": H}):
        (ys, last), (expected, expected_last) = (tg.unroll(c, XS, state) for c in (compiled, step))
        for a, b in ((ys, expected), *((last[key], expected_last[key]) for key in "ab")):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


def test_states_that_change_are_refused() -> None:
    def wider(x: Any, h: Any) -> Any:
        return h, tg.concatenate([h, x], axis=1)

    for cell, text in (
        (wider, r"had shape \(2, 3\), now \(2, 6\)"),
        (lambda x, h: (h, (h, h)), "components"),
        (lambda x, h: (h, h, h), "a tuple of 3"),
    ):
        with pytest.raises(ShapeError, match=text):
            tg.unroll(jit(cell), XS, H)


def test_a_state_without_rows() -> None:
    def counting(x: Any, s: Any) -> Any:
        return s[0] * x, (s[0] + 1, s[1] + 1)

    check(counting, jit(counting), state=(np.zeros((), np.float32), np.zeros((), np.int64)))


def test_messages_speak_of_what_was_given() -> None:
    compiled = jit(cells.Elman(3, 3, rng=0))
    with pytest.raises(
        ShapeError, match=r"expected one step of shape \(batch, 3\); found x\[0\] float32\(2, 5\)"
    ):
        tg.unroll(compiled, np.zeros((4, 2, 5), np.float32))
    with pytest.raises(CompileError, match="the class Elman; make one"):
        jit(cells.Elman)
    with pytest.raises(ShapeError, match="no cell but a LSTM module"):
        tg.unroll(tg.nn.LSTM(3, 3), XS)


def test_inside_a_trace_the_steps_are_recorded() -> None:
    cell = cells.Elman(3, 3, rng=0)
    programs = [trace(lambda x, c=c: tg.unroll(c, x)[0], tg.tensor(XS)) for c in (cell, jit(cell))]
    assert [n.op for n in programs[0].nodes] == [n.op for n in programs[1].nodes]


def test_attributes_of_the_class() -> None:
    compiled = jit(Settings())
    assert (compiled.input_size, compiled.hidden_size, compiled.steps) == (3, 3, 3)
    check(tg.nn.RecurrentLayerNorm(compiled.plain), jit(tg.nn.RecurrentLayerNorm(compiled)))
    assert not hasattr(compiled, "nothing")


def test_an_empty_state() -> None:
    check(lambda x, s: (x * 2, s), jit(lambda x, s: (x * 2, s)), state=())


def test_a_tensor_that_is_kept_does_not_hold_what_backward_has_released() -> None:
    compiled, xs = jit(cells.Elman(3, 64, rng=0)), np.zeros((100, 8, 3), np.float32)
    tg.unroll(compiled, xs)[0].sum().backward()
    tracemalloc.start()
    kept, held = [], []
    for _ in range(4):
        ys, _ = tg.unroll(compiled, xs)
        loss = ys.sum()
        del ys
        loss.backward()
        kept.append(loss)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    one_value = 100 * 8 * 64 * 4
    assert held[3] - held[1] < one_value


class Scaled(tg.Cell):
    """A cell with a parameter of no axes."""

    hidden_size = 3

    def __init__(self) -> None:
        self.scale = tg.Parameter(np.float32(0.5))

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(x * self.scale + h)
        return h, h


def test_the_gradient_of_a_number() -> None:
    cell = Scaled()
    found = []
    for c in (cell, jit(cell)):
        cell.zero_grad()
        tg.unroll(c, XS)[0].sum().backward()
        assert cell.scale.grad is not None
        found.append(cell.scale.grad.numpy())
    assert found[1].shape == ()
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_replaced_parameters_before_backward() -> None:
    cell = cells.Elman(3, 3, rng=0)
    ys, _ = tg.unroll(jit(cell), XS)
    cell.weight_hh.data = cell.weight_hh.numpy() * 2
    with pytest.raises(
        GraphError, match="goes through a compiled cell, which needs the value that weight_hh"
    ):
        ys.sum().backward()


def test_without_numba_the_steps_are_run_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_rnn.kernels.runtime._available", False)
    cell = cells.Elman(3, 3, rng=0)
    compiled = jit(cell)
    check(cell, compiled)
    assert not compiled._code.runners


def test_several_threads_with_one_compiled_cell() -> None:
    """Each has its own arrays; the number of threads may change meanwhile."""
    import sys
    import threading

    from tinygrad_rnn.kernels import runtime

    cell = tg.cells.GRU(3, 4, rng=0)
    fast, before, interval = tg.jit(cell), runtime.threads(), sys.getswitchinterval()
    rng = np.random.default_rng(0)
    sequences = [
        rng.normal(size=(T, batch, 3)).astype(np.float32)
        for T, batch in ((5, 40), (9, 3), (5, 64), (2, 1))
    ]
    with tg.no_grad():
        expected = [tg.unroll(cell, xs)[0].numpy() for xs in sequences]
        tg.unroll(fast, sequences[0])
    errors: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for i in range(60):
                xs = sequences[(k + i) % 4]
                if i % 3:
                    ys, _ = tg.unroll(fast, xs)
                    tg.grad(lambda x: (tg.unroll(fast, x)[0] ** 2).sum())(tg.tensor(xs))
                else:
                    with tg.no_grad():
                        ys, _ = tg.unroll(fast, xs)
                np.testing.assert_allclose(ys.numpy(), expected[(k + i) % 4], rtol=1e-5, atol=1e-6)
        except BaseException as error:
            errors.append(error)

    sys.setswitchinterval(1e-5)
    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            for count in (1, 3, 2):
                tg.set_num_threads(count)
        for worker in workers:
            worker.join(60)
    finally:
        sys.setswitchinterval(interval)
        tg.set_num_threads(before)
    assert not errors, errors[0]


def test_gradients_are_the_same_each_time_whatever_the_threads() -> None:
    from tinygrad_rnn.kernels import runtime

    before = runtime.threads()
    cell = tg.cells.GRU(3, 4, rng=0)
    fast, xs = tg.jit(cell), np.random.default_rng(0).normal(size=(20, 128, 3)).astype(np.float32)
    tg.set_num_threads(4)
    try:
        found = set()
        for _ in range(30):
            cell.zero_grad()
            (tg.unroll(fast, xs)[0] ** 2).mean().backward()
            found.add(cell.weight_hh.grad.numpy().tobytes())
        assert len(found) == 1
    finally:
        tg.set_num_threads(before)


def test_a_last_state_that_is_kept_does_not_hold_the_outputs() -> None:
    fast = tg.jit(tg.cells.GRU(3, 4, rng=0))
    with tg.no_grad():
        _, last = tg.unroll(fast, np.zeros((500, 2, 3), np.float32))
    whole = last.array
    while whole.base is not None:
        whole = whole.base
    assert whole.size == last.size


def test_a_first_state_may_be_an_array() -> None:
    class Plain(tg.Cell):
        def initial_state(self, batch_size: int) -> Any:
            return np.zeros((batch_size, 3), np.float32)

        def forward(self, x: Any, h: Any) -> Any:
            h = tg.tanh(x + h)
            return h, h

    xs = tg.tensor(np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32))
    np.testing.assert_allclose(
        tg.unroll(tg.jit(Plain()), xs)[0].numpy(),
        tg.unroll(Plain(), xs)[0].numpy(),
        rtol=1e-6,
        atol=1e-7,
    )
