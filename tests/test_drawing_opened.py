"""What ran compiled is drawn and explored as the single steps.

The same picture and the same numbers as in `tg.eager()`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.test_drawing import draw
from tinygrad_rnn.recurrent.ledger import reverse, values
from tinygrad_rnn.recurrent.opened import opened

XS = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)

Loss = Callable[[], tg.Tensor]


def layer(kind: Any, **options: Any) -> Loss:
    module = kind(3, 4, rng=0, **options)
    return lambda: (module(XS)[0] ** 2).mean()


def last_state() -> Loss:
    cell = tg.jit(tg.cells.GRU(3, 4, rng=0))
    xs = tg.tensor(XS, requires_grad=True, name="xs")
    return lambda: (tg.unroll(cell, xs * 2)[1] ** 2).sum()


def two_after_each_other() -> Loss:
    module, head = tg.nn.LSTM(3, 4, rng=0), tg.nn.GRU(4, 3, rng=1)

    def loss() -> tg.Tensor:
        ys, (h, _) = module(XS)
        return (head(ys * tg.sigmoid(ys))[0] ** 2).mean() + h.sum()

    return loss


def with_lengths() -> Loss:
    module = tg.nn.LSTM(3, 4, rng=0)
    return lambda: (module(XS, lengths=[6, 4])[0] ** 2).mean()


MODELS: dict[str, Callable[[], Loss]] = {
    "rnn": lambda: layer(tg.nn.RNN),
    "lstm": lambda: layer(tg.nn.LSTM),
    "stacked and bidirectional": lambda: layer(tg.nn.GRU, num_layers=2, bidirectional=True),
    "last state": last_state,
    "two": two_after_each_other,
}
PICTURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "heat": {"heat": "grad", "ledger": True, "memory": True},
    "backward": {"backward": True},
    "values": {"values": "numbers"},
}


def words(svg: str) -> Counter[str]:
    """All text of a picture, without the numbers that boxes are known by."""
    return Counter(
        t
        for t in re.findall(r">([^<>]+)<", svg)
        if not re.fullmatch(r"[np]\d+(-&gt;[np]\d+)?", t.strip())
    )


def both(name: str, look: Callable[[tg.Tensor], Any]) -> tuple[Any, Any]:
    loss = MODELS[name]()
    compiled = loss()
    assert any(n.op == "unroll" for n in tg.tape(compiled))
    with tg.eager():
        plain = loss()
    assert all(n.op != "unroll" for n in tg.tape(plain))
    return look(compiled), look(plain)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", PICTURES)
def test_the_picture_is_that_of_single_steps(name: str, options: str) -> None:
    compiled, plain = both(name, lambda loss: words(draw(loss, **PICTURES[options]).svg()))
    assert compiled == plain


@pytest.mark.parametrize("name", MODELS)
def test_the_gradients_at_every_node_are_those_of_single_steps(name: str) -> None:
    def look(loss: tg.Tensor) -> Any:
        tape = opened(tg.tape(loss), measured=True)
        kept = {v.node: v.gradient for v in reverse(tape, np.ones((), np.float32))}
        found: dict[Any, list[Any]] = {}
        for n, value in values(tape):
            found.setdefault((n.op, n.where.mark, n.name), []).append((value, kept.get(n)))
        return found

    compiled, plain = both(name, look)
    assert compiled.keys() == plain.keys()
    for key, pairs in plain.items():
        for a, b in zip(compiled[key], pairs, strict=True):
            for x, y in zip(a, b, strict=True):
                assert (x is None) == (y is None)
                if y is not None:
                    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7, err_msg=str(key))


def test_the_graph_of_the_user_is_left_alone() -> None:
    loss = MODELS["two"]()()
    before = [(n, n.inputs, n.edges, n.saved, n.hooks, n.name) for n in tg.tape(loss)]
    draw(loss, heat="grad", backward=True, values=True)
    after = [(n, n.inputs, n.edges, n.saved, n.hooks, n.name) for n in tg.tape(loss)]
    assert all(
        x is y for a, b in zip(before, after, strict=True) for x, y in zip(a, b, strict=True)
    )
    loss.backward()


def test_after_the_backward_the_steps_are_still_drawn() -> None:
    loss = MODELS["two"]()
    y = loss()
    fresh = words(draw(y).svg())
    numbers = words(draw(y, values="numbers").svg())
    y.backward()
    assert words(draw(y).svg()) == fresh
    assert words(draw(y, values="numbers").svg()) == numbers
    with pytest.raises(tg.TinygradError, match="released"):
        draw(y, heat="grad")
    assert "released by a backward" in draw(y, memory=True).note


def test_after_a_parameter_has_changed() -> None:
    module = tg.nn.LSTM(3, 4, rng=0)
    loss = (module(XS)[0] ** 2).mean()
    fresh = words(draw(loss).svg())
    module.weight_hh_l0.data = np.zeros((16, 4), np.float32)
    assert words(draw(loss).svg()) == fresh
    with pytest.raises(tg.TinygradError, match="its array was replaced"):
        draw(loss, heat="grad")


def test_lengths() -> None:
    loss = with_lengths()()
    picture = draw(loss, heat="grad")
    assert "t = 5" in picture.svg()
    shown = {
        v.node.name: v.gradient
        for v in reverse(opened(tg.tape(loss)), np.ones((), np.float32))
        if v.node.primitive is None
    }
    loss.backward()
    for name in ("weight_ih_l0", "weight_hh_l0"):
        (owner,) = (n.tensor() for n in tg.tape(loss) if n.name == name)
        np.testing.assert_allclose(shown[name], owner.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_a_compiled_function_is_opened() -> None:
    w = tg.tensor(np.ones((3, 2), np.float32), requires_grad=True, name="w")

    @tg.jit
    def score(x: Any) -> Any:
        y = tg.tanh(x @ w)
        return (y * y).sum(), y

    total, y = score(tg.tensor(XS[0]))
    loss = total + y.mean()
    assert any(n.op == "jit" for n in tg.tape(loss))
    ops = Counter(n.op for n in opened(tg.tape(loss)))
    assert ops["jit"] == ops["part"] == 0 and ops["tanh"] == ops["matmul"] == 1
    assert "tanh" in draw(loss).svg()


def test_compiled_steps_inside_of_compiled_steps() -> None:
    inner = tg.nn.GRU(3, 3, rng=1)
    cell = tg.cells.LSTM(3, 4, rng=0)

    def read(x: Any, state: Any) -> Any:
        ys, _ = inner(tg.stack([x, x * 2]))
        return cell(ys[-1], state)

    def loss(step: Any) -> tg.Tensor:
        ys, _ = tg.unroll(step, XS, cell.initial_state(2))
        return (ys**2).mean()

    with tg.eager():
        plain = Counter(n.op for n in tg.tape(loss(read)))
    assert not {"unroll", "part"} & plain.keys()
    for step in (read, tg.jit(read)):
        tape = tg.tape(loss(step))
        assert any(n.op == "unroll" for n in tape)
        assert Counter(n.op for n in opened(tape)) == plain


def test_a_hook_on_a_result_is_shown(tmp_path: Path) -> None:
    ys, _ = tg.nn.LSTM(3, 4, rng=0)(XS)
    ys.register_hook(lambda g: None)
    page = tg.explore((ys**2).mean(), tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(
        re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1]
    )
    assert [b["op"] for b in data["boxes"] if b.get("hook")] == ["stack"]
    assert {b.get("op") for b in data["boxes"]} >= {"sigmoid", "tanh", "matmul"}
    assert "unroll" not in {b.get("op") for b in data["boxes"]}
