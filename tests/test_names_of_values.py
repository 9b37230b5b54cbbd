"""What values are called: the same names in the tape, in pictures, in the explorer and in code."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.drawing import Drawing
from tinygrad_rnn.ops.source import names_of

SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def titles(drawing: Drawing) -> list[str]:
    """Return what stands in the boxes of a picture."""
    return [box.title for box in drawing._sketch.boxes]


def details(drawing: Drawing) -> list[str]:
    """Return the second lines of the boxes of a picture."""
    return [box.detail for box in drawing._sketch.boxes]


# --- gradients ------------------------------------------------------------------------------------


def test_a_result_has_its_name_and_its_gradients_have_not() -> None:
    a, b = tg.tensor(0.5, requires_grad=True), tg.tensor(0.3, requires_grad=True)
    L = tg.tanh(a * b + a)
    found = titles(tg.draw(L, backward=True))
    assert "L = tanh" in found
    assert [t for t in found if t.startswith("L")] == ["L = tanh"]


def test_gradients_have_numbers() -> None:
    a, b = tg.tensor(0.5, requires_grad=True), tg.tensor(0.3, requires_grad=True)
    L = tg.tanh(a * b + a)
    drawing = tg.draw(L, backward=True, values="numbers")
    assert "scalar" not in details(drawing)
    slope = 1 - np.tanh(0.65) ** 2
    gradients = {b.title.partition(" = ")[0]: b.detail for b in drawing._sketch.boxes}
    assert gradients["∂L/∂a"] == f"{slope * 1.3:.3g}"
    assert gradients["∂L/∂b"] == f"{slope * 0.5:.3g}"


@pytest.mark.parametrize("forward", ["tanh", "product"])
def test_a_gradient_that_is_drawn_has_not_the_name_of_the_forward_variable(forward: str) -> None:
    a = tg.tensor(0.5, requires_grad=True)
    y = tg.tanh(a) if forward == "tanh" else a * a
    y.backward(create_graph=True)
    found = [t for t in titles(tg.draw(a.grad)) if t.startswith("y")]
    assert len(found) == (forward == "tanh")  # which is read again; the product is not


# --- names from the source ------------------------------------------------------------------------


def rows(y: tg.Tensor) -> list[tuple[str, str]]:
    """Return the operation and the name of each row of a tape."""
    lines = tg.tape(y).table(None).splitlines()
    op, name, end = (lines[0].index(word) for word in ("op", "name", "line"))
    return [(line[op:].split()[0], line[name:end].strip()) for line in lines[1:]]


def sequence(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_the_gates_of_an_lstm_have_the_same_names_in_the_tape_and_in_the_picture() -> None:
    with tg.eager():
        ys, _ = tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(2, 2, 3))
    functions = [f"{SIGMA}(f)", f"{SIGMA}(i)", "tanh(g)", "c", f"{SIGMA}(o)", "tanh(c)", "h"]
    found = [name for _, name in rows(ys.sum()) if name in functions]
    assert found == functions * 2
    drawn = [t.partition(" = ")[0] for t in titles(tg.draw(ys.sum(), detail="op"))]
    assert [t for t in drawn if t in functions] == functions * 2


def test_leaves_are_called_as_the_operation_that_reads_them_calls_them() -> None:
    W = tg.tensor(sequence(3, 4), requires_grad=True)
    U = tg.tensor(sequence(4, 4), requires_grad=True)
    xs, h = sequence(2, 2, 3), tg.tensor(np.zeros((2, 4), np.float32))
    for t in range(2):
        h = tg.tanh(xs[t] @ W + h @ U)
    leaves = [name for op, name in rows(h) if op == "leaf"]
    assert sorted(leaves) == ["U", "W", "h", "xs[t]", "xs[t]"]
    image = tg.tensor(sequence(4, 4), requires_grad=True)
    assert rows(image.reshape(2, 8).sum())[0] == ("leaf", "image")


def test_a_state_without_a_variable_has_its_name_in_every_step() -> None:
    U = tg.tensor(sequence(4, 4), requires_grad=True)

    def cell(x, h):
        return (tg.tanh(x + h @ U),) * 2

    drawing = tg.draw(cell, sequence(5, 2, 4), sequence(2, 4))
    assert "h = tanh" in titles(drawing)
    assert [b.detail for b in drawing._sketch.boxes if b.family == "delay"] == ["h"]
    ys, _ = tg.unroll(cell, sequence(3, 2, 4), sequence(2, 4))
    assert [name for op, name in rows(ys.sum()) if op == "tanh"] == ["h"] * 3


def test_masks_padded_inputs_and_masked_states_have_names() -> None:
    with tg.eager():
        ys, _ = tg.nn.LSTM(3, 4, rng=0)(sequence(5, 2, 3), lengths=[5, 3])
    found = titles(tg.draw(ys.sum(), show="all", detail="op"))
    assert "constant" not in found and not any(t.startswith("ys") for t in found)
    assert {"x[3]", "x[4]", "valid", "h = where", "c = where"} <= {*found}
    # an output with zeros in the place of padding is no state
    assert found.count("where(·, ·, 0)") == 2


def test_a_cut_state_is_called_by_its_step() -> None:
    cell = tg.cells.LSTM(3, 4, rng=0)
    with tg.eager():
        for window in tg.tbptt(cell, sequence(5, 2, 3), k1=1, k2=3):
            loss = window.ys.sum()
            found = titles(tg.draw(loss, detail="op"))
            assert "constant" not in found
            assert {f"h_{window.reach}", f"c_{window.reach}"} <= {*found}
            window.backward(loss)


def test_the_names_in_a_short_table_are_those_of_the_long_one() -> None:
    with tg.eager():
        ys, _ = tg.nn.LSTM(3, 4, rng=0)(sequence(9, 2, 3), lengths=[9, 6])
    loss = tg.softmax(ys, -1).sum()
    known = set(tg.tape(loss).table(None).splitlines())
    spaced = {" ".join(line.split()) for line in known}
    for limit in (5, 16, 40, 90):
        short = tg.tape(loss).table(limit).splitlines()
        assert len(short) == limit + 2
        assert {
            " ".join(line.split()) for line in short[1:] if not line.startswith("...")
        } <= spaced


def test_the_transpose_of_an_input_has_its_name_in_the_graph_of_the_gradients() -> None:
    ys, _ = tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(2, 2, 3))
    found = titles(tg.draw((ys * ys).mean(), backward=True, detail="op"))
    assert {"x[0].T", "x[1].T", "h_0.T"} <= {*found}


@pytest.mark.parametrize("marked", [False, True])
def test_parts_in_a_loop_of_ones_own_are_called_as_in_marked_steps(marked: bool) -> None:
    weight = tg.tensor(np.ones((4, 8), np.float32), requires_grad=True, name="weight")
    state = tg.tensor(np.ones((2, 4), np.float32))
    for t in range(3):
        with tg.at_step(t) if marked else contextlib.nullcontext():
            gate, new = tg.split(state @ weight, 2, axis=-1)
            gate = tg.sigmoid(gate)
            state = gate * tg.tanh(new)
    found = names_of(tg.tape(state).nodes)
    named = [(n.op, found[n]) for n in tg.tape(state).nodes if n in found and n.primitive]
    step = [("getitem", "new"), ("sigmoid", "gate"), ("multiply", "state")]
    assert named == step * 3
