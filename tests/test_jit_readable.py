"""`fast.source()`: the module that is compiled, under the names of the user's source.

It runs, and gives the same numbers.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.compiler.readable import readable
from tinygrad_rnn.compiler.recordings import Recordings
from tinygrad_rnn.compiler.runner import Runner
from tinygrad_rnn.kernels import runtime

from .cell_checks import GROUPS, Case
from .interpreted import Interpreted, interpreting
from .test_jit import outcome

# written anew after a change that was meant with WRITE_GOLDEN=1
GOLDEN = Path(__file__).parent / "golden" / "explain_lstm.txt"


class Own(tg.Cell):
    """Names that the generated code has for itself too, a value that is assigned twice, a slice of a weight."""

    def __init__(self, rng: Any, dtype: Any = np.float64) -> None:
        self.hidden_size = 3
        self.dtype = dtype
        self.W, self.U, self.k0 = (
            tg.Parameter(rng.normal(size=s).astype(dtype)) for s in ((6, 2), (6, 3), (6,))
        )

    def initial_state(self, batch_size: int) -> Any:
        return tg.tensor(np.zeros((batch_size, 3), self.dtype)), tg.tensor(
            np.zeros((batch_size, 1), self.dtype)
        )

    def forward(self, x: Any, state: Any) -> Any:
        h, total = state
        T = x @ self.W.T + h @ self.U.T + self.k0
        s, p_0 = tg.sigmoid(T[:, :3]), tg.tanh(T[:, 3:])
        B = s * h
        B = B + (1 - s) * p_0
        m0 = tg.sum(B, axis=-1, keepdims=True)
        total = total + m0 @ self.k0[:1].reshape(1, 1)
        return B * total, (tg.tanh(B), total)


def as_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on compiled cells run the readable text."""
    original = Recordings.find
    changed: set[Runner] = set()

    def find(self: Any, piece: Any) -> Any:
        made, *others = original(self, piece)
        if made not in changed:
            changed.add(made)
            code = Interpreted(readable(made))
            made._forward.call, made._backward.call = code.forward, code.backward  # type: ignore[attr-defined]
            # the text to be read takes every array by itself
            made._forward.packed = made._backward.packed = False
        return made, *others

    monkeypatch.setattr(Recordings, "find", find)


@pytest.mark.parametrize("case", [group[0] for group in GROUPS.values()], ids=str)
def test_the_readable_text_computes_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = case.make(np.float64)
    xs, state = case.draw(cell, np.random.default_rng(4))
    plain = outcome(cell, case, xs, state, np.float64, lengths=np.array([1, 3]))
    with interpreting():
        as_it_reads(monkeypatch)
        found = outcome(tg.jit(cell), case, xs, state, np.float64, lengths=np.array([1, 3]))
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_names_that_the_code_has_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, xs = Own(np.random.default_rng(0)), np.random.default_rng(1).normal(size=(4, 2, 2))
    results = []
    with interpreting():
        as_it_reads(monkeypatch)
        for each in (cell, tg.jit(cell)):
            cell.zero_grad()
            ys, last = tg.unroll(each, xs)
            ((ys * ys).sum() + last[0].sum()).backward()
            results.append([ys.numpy(), *(p.grad.numpy() for p in cell.parameters())])
            text = each.source() if each is not cell else ""
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    for name in ("s_", "p_0_", "B_", "B_2", "d_s", "total_new", "d_total_new"):
        assert re.search(rf"\b{name} = ", text), name


def test_values_have_the_names_of_the_source() -> None:
    with interpreting():
        text = tg.jit(tg.cells.LSTM(3, 4, rng=0)).source(np.zeros((1, 2, 3), np.float32))
    forward, _, backward = text.partition("def backward")
    for line in (
        "sigmoid_f = sigmoid(f)",
        "h_new = sigmoid_o * tanh_c_new",
        "k3[p_3 + i0] = sigmoid_o",
        "# sums += weight_hh @ h",
    ):
        assert line in forward, line
    for line in (
        "d_c = d_c_new * sigmoid_f",
        "d_h_new = d_output + d_h_later",
        "# d_h = weight_hh.T @ d_sums",
        "tanh_c_new = tanh(c_new)",
        "g0[p_8 + i15] = d_i",
    ):
        assert line in backward, line
    assert re.search(
        r"#   lstm\.py:\d+  c = sigmoid\(f\) \* c \+ sigmoid\(i\) \* tanh\(g\)", forward
    )
    assert re.search(r"#   k0 +sigmoid_f of each step, kept for backward, \(T, 4, B\)", forward)


def test_cells_that_differ_in_names_alone_are_compiled_once() -> None:
    def one(x: Any, h: Any) -> Any:
        gate = tg.sigmoid(x + h)
        return gate, gate

    def two(x: Any, state: Any) -> Any:
        u = tg.sigmoid(x + state)
        return u, u

    xs, h = np.zeros((2, 3, 4), np.float32), np.zeros((3, 4), np.float32)
    with interpreting():
        texts = [tg.jit(f).source(xs, h) for f in (one, two)]
        codes = [tg.jit(f)._recording(xs, h).source for f in (one, two)]
    assert "gate = sigmoid" in texts[0] and "u = sigmoid" in texts[1]
    assert codes[0].splitlines()[1:] == codes[1].splitlines()[1:]


def test_the_latest_recording_or_one_for_an_example() -> None:
    with interpreting():
        fast = tg.jit(tg.cells.GRU(2, 3, rng=0))
        with pytest.raises(tg.CompileError, match=r"give an example"):
            fast.source()
        text = fast.source(np.zeros((1, 2, 2), np.float32))
        tg.unroll(fast, np.zeros((5, 3, 2), np.float32))
        assert fast.source() == text
        assert len(fast._code.runners) == 1


def test_a_sequence_without_rows_is_an_example_too() -> None:
    with interpreting():
        fast = tg.jit(lambda x, h: (h * x, h + x))
        assert "def backward(" in fast.source(np.ones(3), np.ones(()))
        found = fast.explain(np.ones(3), np.ones(()))
    assert (found.steps, found.batch) == (3, None)


# --- explain -----------------------------------------------------------------------------------------------------------------------


def explained(cell: Any, features: int, dtype: Any = np.float32) -> Any:
    with interpreting():
        return tg.jit(cell).explain(np.zeros((5, 2, features), dtype))


def test_what_became_of_an_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_threads", 2)
    text = re.sub(r"\.py:\d+ +", ".py  ", str(explained(tg.cells.LSTM(3, 4, rng=0), 3))) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cell", "sums", "gates", "kept"), [(tg.cells.LSTM, 4, 4, 6), (tg.cells.GRU, 3, 3, 5)]
)
def test_figures_are_those_of_the_formulas(cell: Any, sums: int, gates: int, kept: int) -> None:
    F, H = 7, 64
    found = explained(cell(F, H, rng=0), F)
    states = 2 if cell is tg.cells.LSTM else 1
    assert found.flops("forward", "products") == 2 * sums * H * (F + H)
    # no gradient by x; by h, and of both matrices
    assert found.flops("backward", "products") == 2 * sums * H * (F + 2 * H)
    assert found.formula == 4 * H * (states + gates)
    assert found.kept_bytes == 4 * H * kept
    assert found.ratio <= 1.25
    assert sum(o.flops for o in found.operations) == sum(u.flops for u in found.units)


def test_the_memory_is_that_of_the_arrays() -> None:
    with interpreting():
        cell = tg.jit(tg.cells.GRU(3, 4, rng=0))
        found = cell.explain(np.zeros((5, 2, 3), np.float32))
        runner = next(iter(cell._code.runners.values()))
        assert found.memory(5, 2) == sum(array.elements(5, 2) for array in runner.kept) * 4
        assert [k.name for k in found.kept] == [array.name for array in runner.kept]


def test_what_becomes_of_the_operations_of_a_cell() -> None:
    found = explained(Own(np.random.default_rng(0)), 2, np.float64)
    became = {(o.walk, o.name, o.op): o.became for o in found.operations}
    assert became["forward", "", "reshape"] == "computed once per sequence"
    assert (
        became["forward", "T_", "affine"] == "2 products with packed matrices and the bias, one sum"
    )
    assert became["forward", "m0_", "sum"] == "fused into loop 1; kept as k2"
    assert became["backward", "d_U", "transpose"] == "after the loop, once"
    assert found.dtype == np.float64 and found.divisible and str(found) == repr(found)


def test_what_has_a_loop_of_its_own() -> None:
    memory = tg.Parameter(np.arange(12.0).reshape(3, 4))

    def cell(x: Any, h: Any) -> Any:
        total = tg.einsum("bi,bj->bij", x, h)
        running = tg.cumsum(total, axis=-1)
        return running, h + x @ memory[:, :4]

    with interpreting():
        fast = tg.jit(cell)
        found = fast.explain(np.ones((2, 5, 3)), np.ones((5, 4)))
        text = fast.source()
    became = {(o.walk, o.op): o.became for o in found.operations}
    assert became["forward", "einsum"].startswith(
        "a product whose both sides vary, number by number: loop 1"
    )
    assert became["forward", "cumsum"].startswith("a loop of its own: loop 2")
    assert "        # total: einsum, test_jit_readable.py:" in text
    assert "        # running: cumsum, test_jit_readable.py:" in text
    assert found.flops("forward", "elementwise") == 2 * 12 + 12 + 4


@pytest.mark.parametrize("case", [group[0] for group in GROUPS.values()], ids=str)
def test_products_over_all_steps_are_the_gradients_that_the_legend_names(case: Case) -> None:
    """The shape of such a product, and whether it is turned over, follow from different facts."""
    cell = case.make(np.float64)
    xs, state = case.draw(cell, np.random.default_rng(4))
    shapes = {f"d_{name.rpartition('.')[2]}": p.shape for name, p in cell.named_parameters()}
    with interpreting():
        fast = tg.jit(cell)
        tg.unroll(fast, xs, state)
        text = fast.source()
    for name, turned, sizes in re.findall(r"^#   dw\d+ +(\w+?)(\.T)?, \((.*)\)$", text, re.M):
        shape = tuple(map(int, sizes.split(", ")))
        assert shapes[name] == (shape[::-1] if turned else shape), name


def test_a_product_says_which_way_a_square_matrix_is_turned() -> None:
    V, U = (tg.Parameter(np.eye(3), name=name) for name in "VU")

    def cell(x: Any, h: Any) -> Any:
        z = x @ V + h @ U.T
        return z, tg.tanh(z)

    with interpreting():
        text = tg.jit(cell).source(np.zeros((1, 2, 3)), np.zeros((2, 3)))
    for line in ("# z = V.T @ x ", "# z += U @ h", " = U.T @ d_z "):
        assert line in text, line
