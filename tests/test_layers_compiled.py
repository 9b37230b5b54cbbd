"""Layers run compiled unless `tg.eager` says otherwise.

The same numbers, and nothing else changes for who uses them.
"""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.compiler import Automatic, CompileError, Jitted
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.kernels import cache, runtime

ROOT = Path(__file__).resolve().parents[1]
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
LENGTHS = np.array([5, 2, 4])


def outcome(
    layer: Any, xs: np.ndarray, state: list[np.ndarray] | None = None, lengths: Any = None
) -> list[np.ndarray]:
    """Outputs, last states, and the gradients of a random sum of them by the inputs, the first state and the parameters."""
    rng = np.random.default_rng(2)
    x = tg.tensor(xs, requires_grad=True)
    first = [tg.tensor(s, requires_grad=True) for s in state or []]
    ys, last = layer(
        x, None if state is None else first[0] if len(first) == 1 else tuple(first), lengths
    )
    results = [ys, *leaves(last)]
    layer.zero_grad()
    sum(
        ((y * rng.normal(size=y.shape)).sum() for y in results), tg.tensor(np.zeros((), xs.dtype))
    ).backward()
    return [
        *(y.numpy() for y in results),
        *(t.grad.numpy() for t in (x, *first, *layer.parameters())),
    ]


def same(found: list[np.ndarray], expected: list[np.ndarray], **close: float) -> None:
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(a, b, **(close or CLOSE), err_msg=f"value {k}")


def operations(y: Any) -> list[str]:
    return [node.op for node in tg.tape(y)]


MAKE = {
    "RNN": lambda: tg.nn.RNN(3, 4, 2, bidirectional=True, rng=1, dtype=np.float64),
    "relu, no bias": lambda: tg.nn.RNN(
        3, 4, 2, nonlinearity="relu", bias=False, rng=1, dtype=np.float64
    ),
    # all levels share machine code
    "LSTM": lambda: tg.nn.LSTM(
        8, 4, 2, bidirectional=True, batch_first=True, rng=1, dtype=np.float64
    ),
    "LSTM with projection": lambda: tg.nn.LSTM(3, 4, 2, proj_size=2, rng=1, dtype=np.float64),
    "GRU": lambda: tg.nn.GRU(3, 4, rng=1, dtype=np.float64),
    "GRU, reset before": lambda: tg.nn.GRU(3, 4, 2, reset_after=False, rng=1, dtype=np.float64),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in ("LSTM", "GRU") else pytest.mark.full) for n in MAKE],
    ids=str,
)
def test_equal_to_the_steps_one_by_one(name: str, rng: np.random.Generator) -> None:
    layer = MAKE[name]()
    xs = rng.normal(size=(3, 5, 8) if layer.batch_first else (5, 3, 3))
    state = [rng.normal(size=s.shape) for s in leaves(layer.initial_state(3))]
    for given in (
        ({"lengths": LENGTHS}, {"state": state, "lengths": LENGTHS})
        if name == "LSTM"
        else ({}, {"state": state})
    ):
        found = outcome(layer, xs, **given)
        with tg.eager():
            same(found, outcome(layer, xs, **given))


@pytest.fixture(scope="module")
def layer() -> Any:
    return tg.nn.LSTM(3, 4, rng=0, dtype=np.float64)


@pytest.fixture
def xs(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(5, 2, 3))


def twin(layer: Any) -> Any:
    """A layer of the same sizes, whose machine code is there already."""
    made = tg.nn.LSTM(3, 4, rng=1, dtype=np.float64)
    made.load_state_dict(layer.state_dict())
    return made


def check(layer: Any, xs: np.ndarray) -> None:
    found = outcome(layer, xs)
    assert any(kept is not None for kept in layer._compiled.cells.values())
    with tg.eager():
        same(found, outcome(layer, xs))


# --- the off-switch -------------------------------------------------------------------------------------------------------


def test_eager_shows_the_steps(layer: Any, xs: np.ndarray) -> None:
    ys, _ = layer(xs)
    assert "unroll" in operations(ys) and "tanh" not in operations(ys)
    with tg.eager():
        plain, _ = layer(xs)
        fast, _ = tg.unroll(tg.jit(layer.cell()), xs)
    assert operations(plain).count("tanh") == operations(fast).count("tanh") == 2 * len(xs)
    assert {node.where.mark.step for node in tg.tape(plain) if node.op == "tanh"} == set(
        range(len(xs))
    )
    np.testing.assert_allclose(plain.numpy(), ys.numpy(), **CLOSE)
    assert operations(layer(xs)[0]) == operations(ys)
    decorated = tg.eager()(lambda: layer(xs)[0])
    assert operations(decorated()) == operations(plain) == operations(decorated())


def test_hooks_look_at_compiled_cells_in_eager_mode(layer: Any, xs: np.ndarray) -> None:
    fast, seen = tg.jit(layer.cell()), []
    with pytest.raises(tg.TinygradError, match=r"unroll it in tg\.eager\(\)"):
        tg.unroll(fast, xs, hook=lambda t, y, s: seen.append(t))
    with tg.eager():
        tg.unroll(fast, xs, hook=lambda t, y, s: seen.append(t))
    assert seen == list(range(len(xs)))


def test_pictures_show_the_steps(layer: Any, xs: np.ndarray) -> None:
    compiled = tg.draw(layer(xs)[0], detail="op").dot
    with tg.eager():
        assert tg.draw(layer(xs)[0], detail="op").dot.count("tanh") == compiled.count("tanh") > 0


def test_eager_belongs_to_its_thread(layer: Any, xs: np.ndarray) -> None:
    found: list[list[str]] = []
    with tg.eager():
        other = threading.Thread(target=lambda: found.append(operations(layer(xs)[0])))
        other.start()
        other.join()
    assert "unroll" in found[0]


@pytest.mark.parametrize("again", ["checkpoint", "checkpointed unrolling"])
def test_what_was_recorded_in_eager_mode_is_run_again_in_it(
    again: str, layer: Any, xs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tg.eager():
        x = tg.tensor(xs, requires_grad=True)
        ys = (
            tg.checkpoint(lambda x: layer(x)[0], x)
            if again == "checkpoint"
            else tg.unroll(tg.jit(layer.cell()), x, checkpoint=2)[0]
        )
    monkeypatch.setattr(Jitted, "run_steps", lambda *_: pytest.fail("compiled"))
    ys.sum().backward()
    assert x.grad is not None


def test_the_environment_turns_compiling_off() -> None:
    program = textwrap.dedent("""
        import sys
        import numpy as np, tinygrad_rnn as tg
        ys, _ = tg.nn.LSTM(3, 4, rng=0)(np.ones((5, 2, 3), np.float32))
        fast, _ = tg.unroll(tg.jit(tg.cells.GRU(3, 4)), np.ones((5, 2, 3), np.float32))
        print([n.op for n in tg.tape(ys)].count("tanh"), [n.op for n in tg.tape(fast)].count("tanh"), "numba" in sys.modules)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT,
                          env={**os.environ, "TINYGRAD_RNN_EAGER": "1", "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.split() == ["10", "5", "False"], done.stderr


def test_without_numba_layers_run_step_by_step() -> None:
    program = textwrap.dedent("""
        import warnings; warnings.simplefilter("ignore")
        import numpy as np
        from tinygrad_rnn.nn import LSTM  # not through the face's lazy names
        from tinygrad_rnn import tape
        ys, _ = LSTM(3, 4, rng=0)(np.ones((5, 2, 3), np.float32))
        print([n.op for n in tape(ys)].count("tanh"))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT,
                          env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.split() == ["10"], done.stderr


def test_nothing_of_the_compiler_is_imported_before_a_layer_runs() -> None:
    program = textwrap.dedent("""
        import sys, tinygrad_rnn as tg
        layer = tg.nn.LSTM(3, 4)
        print([name for name in sys.modules if name.startswith("tinygrad_rnn.compiler") or name == "numba"])
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.stdout.strip() == "[]", done.stderr


# --- what is kept between calls -------------------------------------------------------------------------------------------


def test_one_form_serves_as_long_as_the_parameters_are_the_same(layer: Any, xs: np.ndarray) -> None:
    made = twin(layer)
    forms = set()
    for k in range(3):
        made.weight_hh_l0.data = made.weight_hh_l0.numpy() * 0.9
        made.train(k == 1)
        check(made, xs)
        forms.add(made._steps(0, 0))
    assert len(forms) == 1
    assert all(
        isinstance(form, Automatic) and form.weight_ih is made.weight_ih_l0 for form in forms
    )
    assert [name for name, _ in made.named_modules()] == [""] and len(made.state_dict()) == 4


def test_values_that_are_loaded_are_used(layer: Any, xs: np.ndarray) -> None:
    made = twin(layer)
    before = outcome(made, xs)
    made.load_state_dict({name: value * 0.5 for name, value in made.state_dict().items()})
    check(made, xs)
    assert np.abs(outcome(made, xs)[0] - before[0]).max() > 1e-3


def test_a_replaced_parameter_is_used_and_the_old_one_keeps_its_graph(
    layer: Any, xs: np.ndarray
) -> None:
    made, old = twin(layer), twin(layer)
    x = tg.tensor(xs, requires_grad=True)
    ys, _ = made(x)
    made.weight_hh_l0 = tg.Parameter(np.full((16, 4), 0.1))
    check(made, xs)
    with tg.eager():
        expected = tg.grad(lambda x: (old(x)[0] ** 2).sum())(x)
        second = tg.grad(lambda x: (tg.grad(lambda x: (old(x)[0] ** 2).sum())(x) ** 2).sum())(x)
    (y2,) = [(ys**2).sum()]
    y2.backward(create_graph=True)  # runs the steps again: those of the parameters then
    g = x.grad
    np.testing.assert_allclose(g.numpy(), expected.numpy(), **CLOSE)
    x.grad = None
    (g**2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), second.numpy(), rtol=1e-9, atol=1e-12)


def test_frozen_parameters_get_no_gradient(layer: Any, xs: np.ndarray) -> None:
    made = twin(layer)
    made(xs)
    for p in made.parameters():
        p.requires_grad = False
    assert not made(xs)[0].requires_grad


@pytest.mark.parametrize("how", ["deep copy", "copy", "pickle"])
def test_copies_are_on_their_own(how: str, layer: Any, xs: np.ndarray) -> None:
    made = twin(layer)
    check(made, xs)
    other = {
        "deep copy": copy.deepcopy,
        "copy": copy.copy,
        "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    }[how](made)
    other.weight_hh_l0 = tg.Parameter(np.full((16, 4), 0.1))
    for _ in range(2):
        check(other, xs)
        check(made, xs)
    assert np.abs(other(xs)[0].numpy() - made(xs)[0].numpy()).max() > 1e-3
    if how != "copy":
        other.weight_ih_l0.data = np.zeros((16, 3))
        check(other, xs)
        assert (
            made.weight_ih_l0.numpy().all()
            and made.weight_ih_l0.grad is not other.weight_ih_l0.grad
        )


def test_threads_share_a_layer(layer: Any, xs: np.ndarray) -> None:
    made, expected, found = twin(layer), layer(xs)[0].numpy(), []
    threads = [threading.Thread(target=lambda: found.append(made(xs)[0].numpy())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for ys in found:
        np.testing.assert_allclose(ys, expected, **CLOSE)


class Mean(tg.Cell):
    hidden_size = 2

    def forward(self, x: Any, h: Any) -> Any:
        return h + x, h - x


def test_evaluation_uses_the_code_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the mode of the cell is recorded anew, and where the inputs then need no gradients."""
    fast, xs = tg.jit(Mean()), np.arange(8, dtype=np.float32).reshape(4, 1, 2)
    expected = tg.unroll(fast, tg.tensor(xs, requires_grad=True))[0].numpy()
    with tg.no_grad(), monkeypatch.context() as patch:
        patch.setattr(runtime, "_run", lambda *_: pytest.fail("compiled"))
        np.testing.assert_array_equal(tg.unroll(fast, xs)[0].numpy(), expected)
        assert len(fast._code.runners) == 1
        fast.eval()
        np.testing.assert_array_equal(tg.unroll(fast, xs)[0].numpy(), expected)
        assert len(fast._code.runners) == 2
    with tg.no_grad():
        tg.unroll(fast, xs, return_states=True)
        assert len(fast._code.runners) == 3  # a step with other outputs


def test_levels_and_directions_of_one_size_share_machine_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources: list[str] = []

    def native(source: str, translation: Any) -> None:
        if "over a whole sequence" in source:
            sources.append(source)
        raise CompileError("it is not needed")

    tg.unroll(tg.jit(tg.cells.LSTM(2, 2, rng=0)), np.ones((3, 1, 2), np.float32))  # loads kernels
    monkeypatch.setattr(runtime, "native", native)
    tg.nn.LSTM(2, 2, 3, bidirectional=True, rng=0)(np.ones((3, 1, 2), np.float32))
    assert len(sources) == 6
    assert len({source.splitlines()[0] for source in sources}) == 4  # by direction and by input
    assert len({cache.code(source) for source in sources}) == 2


# --- where compiling does not serve ---------------------------------------------------------------------------------------


def test_single_steps_and_what_cannot_be_compiled_run_plainly(
    layer: Any, xs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "unroll" not in operations(layer(xs[:1])[0])
    made, tried = twin(layer), []
    steps = Jitted.run_steps
    monkeypatch.setattr(Jitted, "run_steps", lambda *given: tried.append(1) or steps(*given))
    for _ in range(3):
        ys, _ = made((np.arange(24).reshape(4, 2, 3) % 3).astype(np.uint64))
        assert "unroll" not in operations(ys)
    assert len(tried) == 1
    for dtype in (np.int64, np.float64):
        found, _ = made((np.arange(24).reshape(4, 2, 3) % 3).astype(dtype))
        assert "unroll" in operations(found)
        np.testing.assert_allclose(ys.numpy(), found.numpy(), **CLOSE)


def test_a_fault_of_the_compiler_is_said_once_and_costs_only_time(
    layer: Any, xs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = twin(layer)
    monkeypatch.setattr(runtime, "_complained", False)
    monkeypatch.setattr(
        importlib.import_module("tinygrad_rnn.compiler.recordings"), "compiled", lambda *_: 1 / 0
    )
    with pytest.warns(RuntimeWarning, match=r"could not be compiled \(ZeroDivisionError") as caught:
        found = [made(xs)[0].numpy() for _ in range(3)]
    assert len(caught) == 1
    with tg.eager():
        np.testing.assert_array_equal(found[2], made(xs)[0].numpy())


def test_errors_of_the_user_are_those_of_the_plain_steps(layer: Any, xs: np.ndarray) -> None:
    for given in (
        (xs, (np.zeros((1, 3, 4)), np.zeros((1, 2, 4)))),
        (tg.tensor(xs.astype(np.float32)),),
        (xs, None, [9, 1]),
    ):
        messages = []
        for how in (tg.eager(), tg.enable_grad()):
            with how, pytest.raises(tg.TinygradError) as error:
                layer(*given)
            messages.append((type(error.value), str(error.value).partition(" (in cell")[0]))
        assert messages[0] == messages[1]
    assert layer._steps(0, 0)._refused == set()


def test_derivatives_of_higher_order(layer: Any, rng: np.random.Generator) -> None:
    assert tg.gradcheck(lambda x: layer(x)[0], rng.normal(size=(3, 2, 3)), order=2, rtol=1e-4)
    assert Automatic(layer.cell()).plain.hidden_size == 4
