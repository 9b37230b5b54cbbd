"""What values are called: the same names in the tape, in pictures, in the explorer and in code."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.drawing import Drawing


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
    gradients = {b.detail for b in drawing._sketch.boxes if b.title.startswith("∂")}
    assert gradients == {f"{slope * 1.3:.3g}", f"{slope * 0.5:.3g}"}


@pytest.mark.parametrize("forward", ["tanh", "product"])
def test_a_gradient_that_is_drawn_has_not_the_name_of_the_forward_variable(forward: str) -> None:
    a = tg.tensor(0.5, requires_grad=True)
    y = tg.tanh(a) if forward == "tanh" else a * a
    y.backward(create_graph=True)
    found = [t for t in titles(tg.draw(a.grad)) if t.startswith("y")]
    assert len(found) == (forward == "tanh")  # which is read again; the product is not
