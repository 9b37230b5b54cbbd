"""`tg.explore`: the numbers in the page, its words, and the page itself in a browser."""

from __future__ import annotations

import html
import inspect
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import cli
from tinygrad_rnn.core.tape import Node
from tinygrad_rnn.core.walks import pull_back
from tinygrad_rnn.data import Vocabulary
from tinygrad_rnn.drawing import DrawingError
from tinygrad_rnn.drawing.rules import formula, rule_text
from tinygrad_rnn.ops import elementwise as elementwise_ops
from tinygrad_rnn.ops import reductions
from tinygrad_rnn.ops.source import spot_of, variables
from tinygrad_rnn.recurrent.ledger import reverse, values
from tinygrad_rnn.train import characters, model_files, named

from .browsers import Page, contrast, in_browser, watched
from .test_primitives import NAMES, cases


@tg.elementwise
def swish(x: Any) -> Any:
    return x / (1 + tg.exp(-x))


class Leaky(tg.Cell):
    def __init__(self, input_size: int, hidden_size: int, rng: Any = 0) -> None:
        rng = np.random.default_rng(rng)
        self.hidden_size = hidden_size
        self.W = tg.Parameter(tg.init.xavier_uniform((hidden_size, input_size), rng=rng))
        self.U = tg.Parameter(tg.init.orthogonal((hidden_size, hidden_size), rng=rng))
        self.b = tg.Parameter(rng.standard_normal(hidden_size).astype(np.float32))

    def forward(self, x: Any, h: Any) -> Any:
        z = x @ self.W.T + h @ self.U.T + self.b
        gate = tg.sigmoid(z)
        h = gate * swish(z) + (1 - gate) * h
        return h, h


def sequence(steps: int, features: int = 3, batch: int = 2, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((steps, batch, features)).astype(np.float32)


def mean_square(cell: Any, steps: int) -> tg.Tensor:
    ys, _ = tg.unroll(cell, sequence(steps))
    return (ys * ys).mean()  # type: ignore[no-any-return]


def losses(steps: int = 4) -> tg.Tensor:
    """Two cells, one above the other, and a loss at every step."""
    below, above = Leaky(3, 4), Leaky(4, 4, rng=2)
    below.name, above.name = "below", "above"
    x, h0, h1, total = sequence(steps), None, None, 0.0
    for t in range(steps):
        y, h0 = below(tg.tensor(x[t]), h0)
        y, h1 = above(y, h1)
        total = total + ((y - 0.5) * (y - 0.5)).mean()
    return total  # type: ignore[return-value]


CELLS: dict[str, Callable[[], tg.Tensor]] = {
    "lstm": lambda: mean_square(tg.cells.LSTM(3, 4, rng=0), 3),
    "gru": lambda: mean_square(tg.cells.GRU(3, 4, rng=0), 3),
    "custom": lambda: mean_square(Leaky(3, 4), 3),
    "two cells": losses,
    "float64": lambda: mean_square(tg.cells.LSTM(3, 2, rng=0, dtype=np.float64), 2),
}


def engine_gradient(root: Node, node: Node) -> Any:
    """The gradient at a node by the engine's own walk."""
    found = pull_back(
        [root], [tg.Tensor(np.ones(root.shape, root.dtype))], targets=[node], retain_graph=True
    )
    return found[node].numpy() if node in found else None


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>',
        path.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found
    return json.loads(html.unescape(found[1]))  # type: ignore[no-any-return]


# --- the walks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_values_and_gradients_are_the_engines(name: str) -> None:
    loss = CELLS[name]()
    tape = tg.tape(loss)
    found = dict(values(tape))
    assert list(found) == list(tape)
    inputs = [n for n in tape if n.primitive is None]
    program = tg.Program(inputs, [n for n in tape if n.primitive is not None])
    for node, value in zip(
        [n for n in tape if n.primitive is not None],
        program(*(n.value for n in inputs)),
        strict=True,
    ):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(found[node], value)
    assert found[tape.root].tobytes() == loss.numpy().tobytes()
    visits = {v.node: v for v in reverse(tape, np.ones(loss.shape, loss.dtype))}
    for node in tape:
        expected = engine_gradient(tape.root, node) if node.requires_grad else None
        assert (node in visits) == (expected is not None)
        if expected is not None:
            np.testing.assert_allclose(visits[node].gradient, expected, rtol=1e-6, atol=1e-9)
    for visit in visits.values():  # what was added up on the way is what arrived
        for share in visit.shares:
            assert share.total.shape == share.source.shape == share.share.shape
    last = {s.source: s.total for v in visits.values() for s in v.shares}
    for node, total in last.items():
        np.testing.assert_array_equal(total, visits[node].gradient)


def test_a_graph_is_left_as_it_was(tmp_path: Path) -> None:
    cell = tg.cells.LSTM(3, 4, rng=0)
    ys, (h, _) = tg.unroll(cell, sequence(3))
    h.retain_grad()
    calls: list[Any] = []
    ys.register_hook(calls.append)
    loss = (ys * ys).sum() + h.sum()
    before = [n.saved for n in tg.tape(loss)]
    tg.explore(loss, tmp_path / "page.html")
    assert h.grad is None and not calls and all(p.grad is None for p in cell.parameters())
    assert all(a is b for a, b in zip(before, (n.saved for n in tg.tape(loss)), strict=True))
    loss.backward()
    assert len(calls) == 1 and h.grad is not None
    # retain_grad changes nothing: it is no such hook
    assert sum(b.get("hook", False) for b in data_of(tmp_path / "page.html")["boxes"]) == 1


def test_compiled_and_checkpointed_sequences(tmp_path: Path) -> None:
    for k, run in enumerate(
        (
            lambda c: tg.unroll(c, sequence(4), checkpoint=2),
            lambda c: tg.unroll(tg.jit(c), sequence(4)),
        )
    ):
        cell = tg.cells.GRU(3, 4, rng=0)
        loss = (run(cell)[0] ** 2).sum()
        visits = {v.node: v.gradient for v in reverse(tg.tape(loss), np.ones((), np.float32))}
        path = tg.explore(loss, tmp_path / f"{k}.html")
        assert data_of(path)["backward"]
        loss.backward()
        for p in cell.parameters():
            np.testing.assert_allclose(visits[p.node], p.grad.numpy(), rtol=1e-5, atol=1e-7)


# --- words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_rules_in_words_compute_what_the_rules_do(name: str) -> None:
    read = 0
    for case in cases(name):
        result = case.function(
            *(tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in case.inputs)
        )
        if not getattr(result, "requires_grad", False):
            continue
        tape = tg.tape(result)
        held = dict(values(tape))
        for visit in reverse(
            tape, np.random.default_rng(0).standard_normal(result.shape).astype(result.dtype)
        ):
            node = visit.node
            for share in visit.shares:
                words = rule_text(node, share.position, share.rule, visit.gradient)
                if not words or node.primitive.joint:
                    continue
                read += 1
                inputs = [held[i] if isinstance(i, Node) else i for i in node.inputs]
                space = {
                    **vars(elementwise_ops),
                    **vars(reductions),
                    **inspect.unwrap(share.rule.function).__globals__,
                    **node.params,
                    "np": np,
                }
                space |= {"g": visit.gradient, "out": held[node], "position": share.position}
                space |= (
                    {"inputs": inputs, "like_inputs": inputs} if node.primitive.variadic else {}
                )
                names = (
                    ["x"]
                    if len(inputs) == 1 and node.primitive.body
                    else ["a", "b", "c"]
                    if node.primitive.body
                    else node.primitive.inputs
                )
                space |= (
                    {}
                    if node.primitive.variadic
                    else {
                        n: v for k, v in zip(names, inputs, strict=False) for n in (k, f"like_{k}")
                    }
                )
                found = eval(words, space)
                np.testing.assert_allclose(
                    np.broadcast_to(found, share.given.shape),
                    share.given,
                    rtol=2e-5,
                    atol=1e-6,
                    err_msg=words,
                )
        assert all(formula(n) for n in tape if n.primitive is not None)
    if name in (
        "add",
        "subtract",
        "multiply",
        "divide",
        "tanh",
        "sigmoid",
        "exp",
        "matmul",
        "sum",
        "mean",
        "getitem",
        "stack",
        "concatenate",
        "where",
    ):
        assert read, f"no rule of {name} could be read"


def test_words_for_the_common_rules() -> None:
    loss = mean_square(Leaky(3, 4), 2)
    tape = tg.tape(loss)
    found: dict[str, set[str]] = {}
    for visit in reverse(tape, np.ones((), np.float32)):
        for s in visit.shares:
            found.setdefault(visit.node.op, set()).add(
                rule_text(visit.node, s.position, s.rule, visit.gradient)
            )
    assert found["multiply"] == {"g * b", "g * a"}
    assert found["matmul"] == {"g @ b.T", "a.T @ g"}
    assert found["sigmoid"] == {"g * out - g * out * out"}
    assert found["mean"] == {"broadcast_to(g.reshape((1, 1, 1)) / 16, (2, 2, 4))"}
    assert found["stack"] == {"g[0]", "g[1]"}
    assert found["transpose"] == {"transpose(g, (1, 0))"}
    assert found["subtract"] == {"-g"}


def test_names_and_lines_are_the_users() -> None:
    tape = tg.tape(mean_square(Leaky(3, 4), 2))
    names = variables(tape.nodes)
    assert [n.op for n in tape if names.get(n) == "z"] == ["add", "add"]
    assert [n.op for n in tape if names.get(n) == "gate"] == ["sigmoid", "sigmoid"]
    (difference, *_) = (n for n in tape if n.op == "subtract")
    spot = spot_of(difference)
    assert spot is not None and spot.text() == "1 - gate" and spot.file == "test_explorer.py"
    lstm = tg.tape(mean_square(tg.cells.LSTM(3, 4, rng=0), 1))
    named_ = variables(lstm.nodes)
    assert [named_[n] for n in lstm if n.op == "getitem"] == ["i", "f", "g", "o"]


# --- the file -------------------------------------------------------------------------------------------------------------


def test_one_file_without_network_addresses_or_time(tmp_path: Path) -> None:
    first = tg.explore(losses(), tmp_path / "a.html", title="a <b> & c").read_text(encoding="utf-8")
    again = tg.explore(losses(), tmp_path / "b.html", title="a <b> & c").read_text(encoding="utf-8")
    assert first == again
    assert not re.findall(r"https?:|//[a-z]+\.|0x[0-9a-f]{6,}|@[A-Z]+@", first)
    assert "<title>a &lt;b&gt; &amp; c</title>" in first
    assert str(Path(__file__).parent) not in first  # files are called by their names


def test_the_same_file_in_every_process(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, numpy as np, tinygrad_rnn as tg\n"
        "ys, _ = tg.unroll(tg.cells.LSTM(2, 3, rng=0), np.ones((3, 1, 2), np.float32))\n"
        "tg.explore((ys * ys).mean(), sys.argv[1])\n"
    )
    found = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.html"
        root = str(Path(tg.__file__).parents[1])
        subprocess.run(
            [sys.executable, str(program), str(path)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            timeout=120,
        )
        found.append(path.read_bytes())
    assert found[0] == found[1]


def test_a_text_that_ends_a_script_stays_a_text(tmp_path: Path) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="</script><script>alert(1)</script>")
    page = tg.explore((x * x).sum(), tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 2 and any(
        b.get("name") == x.name for b in data_of(tmp_path / "page.html")["boxes"]
    )


def test_what_a_long_graph_leaves_out_is_said_and_counted(tmp_path: Path) -> None:
    cell = Leaky(3, 4)
    loss = mean_square(cell, 40)
    path = tg.explore(loss, tmp_path / "page.html", limit=100)
    data = data_of(path)
    assert "of 40 time steps are not drawn (limit=100)" in data["note"] and len(data["boxes"]) < 130
    loss.backward()
    visits = {v["box"]: v for v in data["backward"] if "gradient" in v}
    for name in "WUb":
        (k,) = (k for k, b in enumerate(data["boxes"]) if b.get("name") == name)
        facts = data["arrays"]["facts"][visits[k]["gradient"]]
        norm = np.linalg.norm(getattr(cell, name).grad.numpy())
        np.testing.assert_allclose(facts[8], norm, rtol=1e-5)
        added = [(v["box"], s) for v in data["backward"] for s in v["shares"] if s["to"] == k]
        assert any("gap" in data["boxes"][box] for box, _ in added)
        assert added[-1][1]["norm"] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: tg.tensor([1.0]) * 2, tg.GraphError, "not recorded"),
        (
            lambda: tg.tensor([1.0, 2.0], requires_grad=True) * 2,
            tg.GraphError,
            r"shape \(2,\) is not one number; sum it",
        ),
        (
            lambda: tg.trace(lambda v: v * 2.0, tg.Spec((2,))),
            DrawingError,
            "traced Program has shapes and no numbers",
        ),
        (lambda: Leaky(3, 4), DrawingError, "expected a Tensor or a Tape; found a Leaky"),
    ],
)
def test_what_cannot_be_explored_says_so(
    make: Callable[[], Any], kind: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words):
        tg.explore(make(), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_freed_graph_says_who_freed_it(tmp_path: Path) -> None:
    loss = mean_square(Leaky(3, 4), 2)
    loss.backward()
    with pytest.raises(
        tg.GraphError,
        match=r"released by the backward of 'mean' at test_explorer.py:\d+.*retain_graph=True",
    ):
        tg.explore(loss, tmp_path / "page.html")


def test_new_values_of_parameters_are_found_out(tmp_path: Path) -> None:
    cell = Leaky(3, 4)
    loss = mean_square(cell, 2)
    cell.U.data = cell.U.numpy() * 2
    with pytest.raises(tg.GraphError, match=r"U.*replaced at test_explorer.py"):
        tg.explore(loss, tmp_path / "page.html")


def test_a_tape_and_a_gradient_that_is_given(tmp_path: Path) -> None:
    x = tg.tensor([[1.0, -2.0, 0.5]], requires_grad=True, name="x")
    y = tg.tanh(x)
    data = data_of(
        tg.explore(
            tg.tape(y), tmp_path / "page.html", gradient=np.array([[1.0, 10.0, 0.0]], np.float32)
        )
    )
    facts = data["arrays"]["facts"][data["backward"][-1]["gradient"]]
    expected = np.array([1.0, 10.0, 0.0]) * (1 - np.tanh([1.0, -2.0, 0.5]) ** 2)
    np.testing.assert_allclose(facts[8], np.linalg.norm(expected), rtol=1e-6)
    assert facts[9] == 1  # one zero
    with pytest.raises(tg.ShapeError, match=r"shape \(2,\); expected \(1, 3\)"):
        tg.explore(y, tmp_path / "page.html", gradient=np.ones(2, np.float32))


# --- names on the command line --------------------------------------------------------------------------------------------


def test_load_named(tmp_path: Path) -> None:
    assert named.load_named("tinygrad_rnn.cells:GRU") is tg.cells.GRU is named.load_named("GRU")
    file = tmp_path / "mine.py"
    file.write_text("import tinygrad_rnn as tg\nclass Mine(tg.cells.GRU):\n    pass\n")
    assert (
        named.load_named(str(file)).__name__ == "Mine"
        and named.load_named(f"{file}:Mine").__name__ == "Mine"
    )
    file.write_text(
        "import tinygrad_rnn as tg\nw = tg.tensor(2.0, requires_grad=True)\na = w * w\nloss = a + 1\n"
    )
    assert float(named.load_named(str(file))) == 5.0
    file.write_text(
        "import tinygrad_rnn as tg\nfirst, second = tg.cells.GRU(2, 3), tg.cells.LSTM(2, 3)\n"
    )
    for name, words in (
        (str(file), "it has first, second; say which"),
        (f"{file}:third", "there is no third"),
        ("tinygrad_rnn.cells:LSTN", "it has LSTM"),
        ("no.such:Thing", "there is no module no"),
        ("a folder/model", "name it as package.module:Name"),
        ("LSTN", "there is no LSTN in tinygrad_rnn.cells; it has LSTM"),
        (str(tmp_path / "none.py"), "no such file"),
    ):
        with pytest.raises(named.NamedError, match=words):
            named.load_named(name)
    file.write_text("x = 1\nraise KeyError('here')\n")
    with pytest.raises(
        named.NamedError, match=r"importing it raised KeyError: 'here' \(line 2 of mine.py\)"
    ):
        named.load_named(str(file))


def test_example() -> None:
    assert (
        named.example(tg.cells.LSTM).requires_grad
        and named.example(tg.cells.LSTMP, arguments=(3, 5, 2)).requires_grad
    )
    assert {
        n.where.mark.step
        for n in tg.tape(named.example(tg.cells.GRU(5, 2), steps=4))
        if n.op == "tanh"
    } == {0, 1, 2, 3}
    assert named.example(tg.nn.LSTM(3, 4, num_layers=2, bidirectional=True)).shape == ()
    assert float(named.example(lambda: tg.tensor(2.0, requires_grad=True) * 3)) == 6.0
    for thing, words in (
        (3, "is a int"),
        (tg.cells.LSTMP, "proj_size"),
        (lambda x: x, "takes x"),
        (lambda: 1, "int"),
    ):
        with pytest.raises(named.NamedError, match=words):
            named.example(thing)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert cli.main(["explore", "tinygrad_rnn.cells:GRU", "--out", str(out), "--steps", "2"]) == 0
    assert data_of(out)["title"] == "tinygrad_rnn.cells:GRU" and {
        b.get("step") for b in data_of(out)["boxes"]
    } == {0, 1, None}
    vocabulary = Vocabulary.from_text("abcabcabc", 1)
    model_files.save_model(
        tmp_path / "model.safetensors",
        characters.CharacterLSTM(len(vocabulary), 4, 6, rng=0),
        vocabulary,
    )
    assert (
        cli.main(
            ["explore", str(tmp_path / "model.safetensors"), "--out", str(out), "--title", "mine"]
        )
        == 0
    )
    assert data_of(out)["title"] == "mine"
    capsys.readouterr()
    assert cli.main(["explore", "nothing:here", "--out", str(out)]) == 2
    assert "there is no module nothing" in capsys.readouterr().err


# --- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open the page of a loss."""
    with watched(browser) as opened:

        def shown(
            loss: tg.Tensor,
            *,
            scheme: str = "light",
            size: tuple[int, int] = (1280, 800),
            **options: Any,
        ) -> Page:
            path = tg.explore(loss, tmp_path / "page.html", **options)
            return opened(path.as_uri(), scheme=scheme, size=size)

        yield shown


def settled(page: Page) -> None:
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def places(page: Page, tape: tg.Tape) -> dict[Node, int]:
    """The number of the box of each node that has one."""
    return {
        tape[b["tape"]]: k
        for k, b in enumerate(page.evaluate("explorer.data.boxes"))
        if "tape" in b
    }


def blocks(page: Page, what: str, boxes: list[int]) -> Any:
    return page.evaluate(
        f"boxes => boxes.map(k => {{ const v = explorer.{what}(k);"
        " return v && {shape: v.shape, rows: v.rows, columns: v.columns, values: Array.from(v.values, String)}; })",
        boxes,
    )


def compare(found: Any, expected: np.ndarray, **tolerance: float) -> None:
    flat = expected.reshape((-1, expected.shape[-1])) if expected.ndim else expected.reshape((1, 1))
    part = flat[: found["rows"], : found["columns"]]
    numbers = np.array([float(v.replace("Infinity", "inf")) for v in found["values"]]).reshape(
        part.shape
    )
    assert found["shape"] == list(expected.shape)
    np.testing.assert_allclose(numbers, part, **tolerance)


@in_browser
@pytest.mark.parametrize("name", CELLS)
def test_values_and_gradients_in_the_page_are_the_tapes(
    name: str, show: Callable[..., Page]
) -> None:
    loss = CELLS[name]()
    page = show(loss)
    tape = tg.tape(loss)
    held = dict(values(tape))
    box_of = places(page, tape)
    assert {
        n for n in tape if n.primitive is not None or n.shape or n.requires_grad or n.name
    } == set(box_of)
    for found, node in zip(blocks(page, "value", list(box_of.values())), box_of, strict=True):
        compare(found, held[node], rtol=0, atol=0)
    page.keyboard.press("End")
    for found, node in zip(blocks(page, "gradient", list(box_of.values())), box_of, strict=True):
        expected = engine_gradient(tape.root, node) if node.requires_grad else None
        assert (found is None) == (expected is None)
        if expected is not None:
            compare(found, expected, rtol=1e-6, atol=1e-9)
    # Half way, the gradient of a weight is the sum of what the visits so far have added.
    weight = next(
        n for n in box_of if n.name and n.primitive is None and n.requires_grad and n.ndim == 2
    )
    k, total, step = (
        box_of[weight],
        np.zeros(weight.shape, weight.dtype),
        page.evaluate("explorer.forward"),
    )
    for visit in reverse(tape, np.ones((), loss.dtype)):
        step += 1
        arrived = [s.share for s in visit.shares if s.source is weight]
        for share in arrived:
            total = total + share
        if arrived:
            found = page.evaluate(
                f"explorer.go({step}), (v => ({{...v, values: Array.from(v.values, String)}}))(explorer.gradient({k}, {step}))"
            )
            compare(found, total, rtol=1e-6, atol=1e-9)


@in_browser
def test_boxes_have_value_and_gradient_as_far_as_the_walk_has_come(
    show: Callable[..., Page],
) -> None:
    a, b = (tg.tensor(v, requires_grad=True, name=n) for v, n in ((2.0, "a"), (-3.0, "b")))
    W = tg.tensor(np.array([[3.0, 4.0]], np.float32), requires_grad=True, name="W")
    loss = (a * b + a) * (W * W).sum()
    page = show(loss)

    def halves(name: str, step: int) -> Any:
        return page.evaluate(f"explorer.go({step}), explorer.halves(explorer.box('{name}'))")

    first, end = page.evaluate("[explorer.forward, explorer.steps]")
    assert page.evaluate("explorer.halves(explorer.data.root)") is None
    assert halves("loss", first) == ["\N{MINUS SIGN}100"]
    assert halves("a", first) == ["2"] and halves("W", first) == ["5"]
    assert halves("a", first + 1) == ["2", "\N{EN DASH}"]
    assert halves("loss", end) == ["\N{MINUS SIGN}100", "1"]
    assert halves("a", end) == ["2", "\N{MINUS SIGN}50"] and halves("b", end)[1] == "50"
    assert halves("W", end) == ["5", "40"]  # norms: of (3, 4), and of -4 times 2 (3, 4)
    pictures = []
    for _ in range(3):
        settled(page)
        pictures.append(page.locator("#graph").screenshot())
        page.keyboard.press("v")
    assert pictures[0] == pictures[2] != pictures[1]
    for b in page.evaluate("explorer.data.boxes"):
        assert b["at"][2] >= 66 or "port" in b


@in_browser
@pytest.mark.parametrize(
    "name", ["lstm", *[pytest.param(n, marks=pytest.mark.full) for n in ("gru", "custom")]]
)
def test_every_step_by_the_arrow_keys_there_and_back(name: str, show: Callable[..., Page]) -> None:
    cell = {"lstm": tg.cells.LSTM, "gru": tg.cells.GRU, "custom": Leaky}[name](3, 4, rng=0)
    loss = mean_square(cell, 2)
    page = show(loss)
    tape = tg.tape(loss)
    operations = [n for n in tape if n.primitive is not None]
    visits = list(reverse(tape, np.ones((), loss.dtype)))
    assert page.evaluate("[explorer.forward, explorer.steps]") == [
        len(operations),
        len(operations) + len(visits),
    ]
    heading, place = page.locator("#panel h2"), page.locator("#where")
    seen = []
    for step in range(1, len(operations) + len(visits) + 1):
        page.keyboard.press("ArrowRight")
        settled(page)
        node = (
            operations[step - 1]
            if step <= len(operations)
            else visits[step - len(operations) - 1].node
        )
        seen.append((heading.inner_text(), place.inner_text()))
        counted = (
            f"Forward {step} of {len(operations)}"
            if step <= len(operations)
            else f"Backward {step - len(operations)} of {len(visits)}"
        )
        assert seen[-1][1].splitlines()[0] == counted
        facts = page.locator("#panel .head .facts").inner_text()
        assert (
            node.op if node.primitive else "parameter" if node.requires_grad else "constant"
        ) in facts
        assert node.name is None or re.fullmatch(re.escape(seen[-1][0]) + r"(_\d+)?", node.name)
        if step > len(operations) and visits[step - len(operations) - 1].shares:
            assert page.locator("#panel .share").count() == len(
                visits[step - len(operations) - 1].shares
            )
    page.keyboard.press("ArrowRight")  # the end is the end
    for step in range(len(seen) - 1, 0, -1):
        page.keyboard.press("ArrowLeft")
        if step % 7:
            continue
        settled(page)
        assert (heading.inner_text(), place.inner_text()) == seen[step - 1]
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert place.inner_text().strip() == "Start" and page.evaluate("explorer.app.step") == 0


def plain(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-").replace("(", "").replace(")", ""))


@in_browser
def test_the_rule_stands_there_with_its_numbers(show: Callable[..., Page]) -> None:
    a, b = (
        tg.tensor(0.31, requires_grad=True, name="a"),
        tg.tensor(-1.2, requires_grad=True, name="b"),
    )
    page = show(tg.tanh(a * b))
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("b")
    page.keyboard.press("ArrowRight")
    settled(page)
    g = 1 - np.tanh(0.31 * -1.2) ** 2
    lines = page.locator("#panel .share .numbers").all_inner_texts()
    assert page.locator("#panel .share .rule").all_inner_texts() == [
        "\N{PARTIAL DIFFERENTIAL}L/\N{PARTIAL DIFFERENTIAL}a += \N{GREEK SMALL LETTER DELTA} * b",
        "\N{PARTIAL DIFFERENTIAL}L/\N{PARTIAL DIFFERENTIAL}b += \N{GREEK SMALL LETTER DELTA} * a",
    ]
    for line, (left, right) in zip(lines, ((g, -1.2), (g, 0.31)), strict=True):
        found = re.fullmatch(r"\s*(\S+) \* (\S+) = (\S+)\s*", line)
        assert found, line
        np.testing.assert_allclose(
            [plain(x) for x in found.groups()], [left, right, left * right], rtol=1e-3
        )


@in_browser
def test_numbers_of_arrays_follow_the_cell(show: Callable[..., Page]) -> None:
    loss = mean_square(Leaky(3, 4), 2)
    tape = tg.tape(loss)
    held = dict(values(tape))
    visits = list(reverse(tape, np.ones((), np.float32)))
    page = show(loss)
    place, visit = next(
        (k, v)
        for k, v in enumerate(visits)
        if v.node.op == "multiply" and len(v.shares) == 2 and v.node.where.mark.step == 1
    )
    page.evaluate(f"explorer.go(explorer.forward + {place + 1})")
    settled(page)
    page.locator("#panel .heat svg [data-cell='1,2']").first.click()
    settled(page)
    for line, share in zip(
        page.locator("#panel .share .numbers").all_inner_texts(), visit.shares, strict=True
    ):
        other = held[visit.node.inputs[1 - share.position]]
        found = re.fullmatch(r"\[1, 2\] (\S+) \* (\S+) = (\S+)", line.strip())
        assert found, line
        np.testing.assert_allclose(
            [plain(x) for x in found.groups()],
            [visit.gradient[1, 2], other[1, 2], share.share[1, 2]],
            rtol=6e-3,
        )
    # A bias that was spread over the batch: the rule for one element, and the sum.
    place, visit = next(
        (k, v)
        for k, v in enumerate(visits)
        if v.node.op == "add" and any(s.source.name == "b" for s in v.shares)
    )
    page.evaluate(f"explorer.go(explorer.forward + {place + 1})")
    settled(page)
    card = page.locator("#panel .share").nth(1)
    assert "spread from 4 to 2\N{MULTIPLICATION SIGN}4" in card.inner_text()
    cells = [plain(v) for v in card.locator("svg text").all_text_contents()]
    np.testing.assert_allclose(cells, visit.gradient.sum(axis=0), rtol=6e-3)
    # A product of matrices: one element of it, term by term.
    place, visit = next(
        (k, v) for k, v in enumerate(visits) if v.node.op == "matmul" and len(v.shares) == 2
    )
    page.evaluate(f"explorer.go(explorer.forward + {place + 1})")
    settled(page)
    line = page.locator("#panel .share .numbers").first.inner_text()
    terms = [plain(x) * plain(y) for x, y in re.findall(r"(\S+)\N{MIDDLE DOT}(\S+)", line)]
    right = held[visit.node.inputs[1]]
    expected = [visit.gradient[1, k] * right[2, k] for k in range(3)]
    np.testing.assert_allclose(terms, expected, rtol=2e-2, atol=1e-6)
    assert f"({right.shape[1]} terms)" in line


@in_browser
def test_the_source_line_is_marked(show: Callable[..., Page]) -> None:
    page = show(mean_square(Leaky(3, 4), 2))
    page.evaluate("explorer.select(explorer.data.boxes.findIndex(b => b.name === 'gate'))")
    settled(page)
    assert page.locator("#panel .source mark").inner_text() == "tg.sigmoid(z)"
    lines, first = inspect.getsourcelines(Leaky.forward)
    number = first + next(k for k, line in enumerate(lines) if "gate = " in line)
    assert page.locator("#panel .source .here").get_attribute("value") == str(number)


@in_browser
def test_folding(show: Callable[..., Page]) -> None:
    page = show(losses(5))
    for _ in range(2):  # fold what is not folded, then unfold all
        page.keyboard.press("Shift+F")
    if page.evaluate("explorer.scene.folded.size"):
        page.keyboard.press("Shift+F")
    count, wide = page.evaluate("[explorer.data.frames.length, explorer.scene.size[0]]")
    assert count == 10 and page.evaluate("explorer.scene.folded.size") == 0
    page.keyboard.press("Shift+F")
    settled(page)
    assert page.evaluate("explorer.scene.folded.size") == count
    assert page.evaluate("explorer.scene.size[0]") < wide
    meet = """(() => {
      const folded = [...explorer.scene.folded].map(i => explorer.scene.frames[i]);
      const inFrame = new Set(explorer.data.frames.flatMap((f, i) => explorer.scene.folded.has(i) ? f.boxes : []));
      const boxes = explorer.scene.at.filter((_, k) => !inFrame.has(k)).map(([x, y, w, h]) => [x - w / 2, y - h / 2, x + w / 2, y + h / 2]);
      const all = [...folded, ...boxes];
      return all.flatMap((a, i) => all.slice(i + 1).filter(b => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]));
    })()"""
    assert page.evaluate(meet) == []
    assert page.evaluate(
        "explorer.scene.arrows.every(a => (a.curve || a.line).every(Number.isFinite))"
    )
    box = page.locator("#graph").bounding_box()
    x, y = page.evaluate("explorer.frameScreen(3)")
    page.mouse.click(box["x"] + x, box["y"] + y)
    settled(page)
    assert page.evaluate("explorer.scene.folded.size") == count - 1 and not page.evaluate(
        "explorer.scene.folded.has(3)"
    )
    page.keyboard.press("Shift+F")
    page.keyboard.press("Shift+F")
    settled(page)
    assert page.evaluate("[explorer.scene.folded.size, explorer.scene.size[0]]") == [0, wide]
    # One cell in all steps, by the menu and the keyboard.
    page.locator("#folding").focus()
    page.keyboard.press("Enter")
    labels = page.locator("#folds button").all_inner_texts()
    for _ in range(next(k for k, label in enumerate(labels) if label.startswith("above"))):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    settled(page)
    folded = page.evaluate("[...explorer.scene.folded].map(i => explorer.data.frames[i].cell)")
    assert folded == ["above"] * 5
    assert page.evaluate(meet) == []
    # The step in hand.
    page.keyboard.press("Shift+F")
    page.keyboard.press("Shift+F")
    page.evaluate("explorer.go(3)")
    page.keyboard.press("f")
    settled(page)
    assert page.evaluate("[...explorer.scene.folded].map(i => explorer.data.frames[i].step)") == [
        0,
        0,
    ]


@in_browser
def test_search(show: Callable[..., Page]) -> None:
    page = show(mean_square(tg.cells.LSTM(3, 4, rng=0), 3))
    page.keyboard.press("/")
    page.keyboard.type("t=1 tanh")
    options = page.locator("#results [role=option]")
    assert options.count() >= 2 and all("t = 1" in line for line in options.all_inner_texts())
    page.keyboard.press("ArrowDown")
    assert page.locator("#results [aria-selected=true]").count() == 1
    chosen = page.locator("#results [aria-selected=true] b").inner_text()
    page.keyboard.press("Enter")
    settled(page)
    assert page.locator("#panel h2").inner_text() == chosen
    k = page.evaluate("explorer.app.selected")
    assert page.evaluate(f"explorer.data.boxes[{k}].step") == 1
    x, y = page.evaluate(f"explorer.screen({k})")
    box = page.locator("#graph").bounding_box()
    assert 0 < x < box["width"] and 0 < y < box["height"]
    page.keyboard.press("/")
    page.keyboard.type("weight_hh")
    page.keyboard.press("Enter")
    settled(page)
    assert page.locator("#panel h2").inner_text() == "weight_hh"
    page.keyboard.press("/")
    page.keyboard.type("no such thing")
    assert "Nothing found" in page.locator("#results").inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate("explorer.app.found.size") == 0
    page.evaluate("explorer.scene.folded.add(0)")  # what is found in a folded step is unfolded
    page.keyboard.press("/")
    page.keyboard.type("t=0 sigmoid(f)")
    page.keyboard.press("Enter")
    assert not page.evaluate("explorer.scene.folded.has(0)")


@in_browser
def test_all_by_the_keyboard(show: Callable[..., Page]) -> None:
    page = show(mean_square(Leaky(3, 4), 3))
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.className")
        )
        assert page.evaluate(
            "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        ), reached[-1]
    for name in (
        "search",
        "folding",
        "smaller",
        "larger",
        "fit",
        "theme",
        "help",
        "graph",
        "panel",
        "play",
        "next",
        "last",
        "slider",
    ):
        assert name in reached, name
    page.locator("#graph").focus()
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog#keys").is_visible()
    page.keyboard.press("b")
    settled(page)
    assert page.evaluate("explorer.app.step === explorer.forward + 1")
    assert page.locator("#said").inner_text().startswith("Backward 1 of")
    for _ in range(2):  # what follows the last step belongs to none
        page.keyboard.press("Shift+ArrowLeft")
    time_step = page.evaluate(
        "explorer.data.boxes[explorer.data.forward[explorer.app.step - 1]].step"
    )
    assert time_step == 2
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    settled(page)
    assert page.evaluate("explorer.app.selected") == 0
    page.keyboard.press("Escape")
    assert page.evaluate("explorer.app.selected") == -1
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("explorer.app.step") == 1
    page.locator("#graph").focus()
    before = page.evaluate("explorer.scene.camera.k")
    page.keyboard.press("+")
    assert page.evaluate("explorer.scene.camera.k") > before
    page.keyboard.press(" ")
    deadline = time.monotonic() + 20
    while page.evaluate("explorer.app.step") < 3 and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    page.keyboard.press(" ")
    assert page.evaluate("explorer.app.step") >= 3
    page.evaluate("explorer.go(explorer.forward + 6)")
    settled(page)
    # the cell that the numbers follow moves by the arrows
    heat = page.locator("#panel .heat svg").first
    heat.focus()
    page.keyboard.press("ArrowRight")
    settled(page)
    assert (
        page.evaluate("explorer.app.cell") == [0, 1]
        and page.evaluate("document.activeElement.tagName") == "svg"
    )


@in_browser
def test_names_and_roles_for_readers(show: Callable[..., Page]) -> None:
    page = show(mean_square(Leaky(3, 4), 3))
    page.evaluate("explorer.go(explorer.forward + 9)")
    settled(page)
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, canvas:not([aria-hidden]), [role=img], aside, section')].filter(e => !e.hidden"
        " && !(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML.slice(0, 80))"
    )
    assert nameless == []
    assert page.locator("#graph").get_attribute("aria-label").startswith("Graph of")
    assert page.locator("#slider").get_attribute("aria-valuetext").startswith("Backward 9 of")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@in_browser
def test_light_and_dark(show: Callable[..., Page]) -> None:
    loss = mean_square(Leaky(3, 4), 2)

    for scheme in ("light", "dark"):
        page = show(loss, scheme=scheme)
        assert (
            page.evaluate("document.documentElement.dataset.theme") == scheme
            and contrast(page, "body") > 10
        )
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        settled(page)
        assert (
            page.evaluate("document.documentElement.dataset.theme") != scheme
            and contrast(page, "body") > 10
        )
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


@in_browser
def test_marks_for_zero_nan_infinity_and_nothing_yet(show: Callable[..., Page]) -> None:
    x = tg.tensor(np.array([[0.0, 1.0, -1.0, 4.0] * 2], np.float32), requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        page = show((tg.sqrt(x) * np.array([[1.0, 0.0, 1.0, 1.0] * 2], np.float32)).sum())
    page.evaluate("explorer.select(0)")
    settled(page)
    assert "No gradient yet" in page.locator("#panel").inner_text()
    page.keyboard.press("End")
    settled(page)
    found = page.evaluate("Array.from(explorer.gradient(0).values, String)")
    assert found == ["Infinity", "0", "NaN", "0.25"] * 2
    shape = page.locator("#panel .heat").first
    assert shape.locator(".zero").count() == 2 and shape.locator(".mark").count() == 4
    assert (
        "2 NaN" in shape.inner_text()
        and "2 Inf" in shape.inner_text()
        and "2 zeros" in shape.inner_text()
    )
    assert page.evaluate("explorer.strength(0, explorer.steps)") == -1


def odd() -> Iterator[tuple[tg.Tensor, dict[str, Any]]]:
    """Graphs with something unusual in them."""
    rng = np.random.default_rng(0)
    yield (
        tg.tensor(2.0, requires_grad=True, name="a leaf \N{SNOWMAN} alone"),
        {"title": "A title that goes on and on, " * 9},
    )
    yield tg.tanh(tg.tensor(np.zeros((0, 3), np.float32), requires_grad=True)).sum(), {}
    many = tg.tensor(np.arange(1000, dtype=np.float32), requires_grad=True, name="many")
    yield tg.where(many > 500, many, 0.0).sum(), {}
    yield (
        tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True) * 2,
        {"gradient": np.ones((2, 2), np.float32)},
    )
    images = tg.tensor(rng.standard_normal((2, 3, 6, 6)).astype(np.float32))
    kernels = tg.tensor(
        rng.standard_normal((4, 3, 3, 3)).astype(np.float32), requires_grad=True, name="kernels"
    )
    yield tg.max_pool2d(tg.relu(tg.conv2d(images, kernels)), 2).sum(), {}
    table = tg.tensor(
        rng.standard_normal((50, 8)).astype(np.float32), requires_grad=True, name="table"
    )
    yield (tg.take(table, np.array([[1, 2], [3, 1]])) ** 2).mean(), {}
    yield mean_square(Leaky(3, 4), 40), {"limit": 60}


@in_browser
def test_odd_graphs(show: Callable[..., Page]) -> None:
    for loss, options in odd():
        page = show(loss, **options)
        every = page.evaluate(
            """(async () => {
              const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
              for (let s = 0; s <= explorer.steps; s++) { explorer.go(s); await frame(); }
              for (let k = 0; k < explorer.data.boxes.length; k++) { explorer.select(k); await frame(); }
              return document.body.innerText;
            })()"""
        )
        assert "undefined" not in every and "[object" not in every
        for key in ("r", "Shift+F", "f", "c", "0", "Escape", "Escape"):
            page.keyboard.press(key)
        settled(page)
        assert page.evaluate(
            "document.documentElement.scrollWidth <= innerWidth && (p => p.scrollWidth <= p.clientWidth)(document.getElementById('panel'))"
        )


@in_browser
def test_the_reach_of_a_loss(show: Callable[..., Page]) -> None:
    steps = 4
    total = losses(steps)
    tape = tg.tape(total)
    page = show(total)
    means = [n for n in tape if n.op == "mean"]
    boxes = page.evaluate("Object.keys(explorer.data.reach).map(Number)")
    assert len(boxes) == len(means) == steps
    box_of = places(page, tape)
    nodes = {k: n for n, k in box_of.items()}
    for t, mean in enumerate(means):
        k = box_of[mean]
        assert k in boxes
        page.keyboard.press("0")
        settled(page)
        x, y = page.evaluate(f"explorer.screen({k})")
        box = page.locator("#graph").bounding_box()
        page.mouse.move(box["x"] + x, box["y"] + y)
        settled(page)
        norms = dict(page.evaluate("[...explorer.scene.reach.norms]"))
        inside = {n for n in tg.tape(tg.Tensor(np.zeros(()), mean)) if n in box_of}
        assert {nodes[i] for i in norms} == inside and len(inside) < len(nodes)
        assert {nodes[i].where.mark.step for i in norms if nodes[i].op == "sigmoid"} == set(
            range(t + 1)
        )
        for i, norm in norms.items():
            gradient = engine_gradient(mean, nodes[i]) if nodes[i].requires_grad else None
            assert (norm is None) == (gradient is None)
            if gradient is not None:
                np.testing.assert_allclose(norm, np.linalg.norm(gradient), rtol=1e-5)
        assert f"t = 0 to {t}" in page.locator("#tip").inner_text()
    page.mouse.move(2, 2)
    settled(page)
    assert page.evaluate("explorer.scene.reach") is None


@in_browser
def test_pan_zoom_and_fit(show: Callable[..., Page]) -> None:
    page = show(mean_square(tg.cells.LSTM(3, 4, rng=0), 3))
    box = page.locator("#graph").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.keyboard.press("0")
    settled(page)
    corners = page.evaluate("explorer.scene.frames.flatMap((_, i) => explorer.frameScreen(i))")
    assert all(0 <= v <= max(box["width"], box["height"]) for v in corners)
    before = page.evaluate("({...explorer.scene.camera})")
    page.mouse.move(*middle)
    page.mouse.wheel(0, -200)
    settled(page)
    after = page.evaluate("({...explorer.scene.camera})")
    assert after["k"] > before["k"]
    # what is under the pointer stays there
    fixed = [c["x"] + box["width"] / 2 / c["k"] for c in (before, after)]
    assert abs(fixed[0] - fixed[1]) < 1
    page.mouse.down()
    page.mouse.move(middle[0] - 60, middle[1] + 25, steps=4)
    page.mouse.up()
    moved = page.evaluate("({...explorer.scene.camera})")
    np.testing.assert_allclose(
        [(moved["x"] - after["x"]) * after["k"], (moved["y"] - after["y"]) * after["k"]],
        [60, -25],
        atol=1,
    )
    assert page.evaluate("explorer.app.selected") == -1  # a drag is not a click
    assert page.locator("#map").is_visible()


@in_browser
def test_a_narrow_window_has_no_overflow(show: Callable[..., Page]) -> None:
    page = show(mean_square(tg.cells.GRU(3, 4, rng=0), 3), size=(390, 780))
    page.evaluate("explorer.go(explorer.forward + 12)")
    settled(page)
    assert (
        page.evaluate("document.documentElement.scrollWidth") <= 390
        and page.evaluate("document.documentElement.scrollHeight") <= 780
    )
    assert page.evaluate("(p => p.scrollWidth <= p.clientWidth)(document.getElementById('panel'))")


@in_browser
def test_printing(show: Callable[..., Page]) -> None:
    page = show(mean_square(Leaky(3, 4), 2), scheme="dark")
    page.evaluate("explorer.go(explorer.forward + 4)")
    settled(page)
    camera = page.evaluate("({...explorer.scene.camera})")
    assert page.pdf(landscape=True).startswith(b"%PDF")
    settled(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("({...explorer.scene.camera})") == camera


@in_browser
def test_two_thousand_nodes(show: Callable[..., Page]) -> None:
    loss = mean_square(tg.cells.LSTM(3, 4, rng=0), 94)
    assert len(tg.tape(loss)) > 1950
    start = time.perf_counter()
    page = show(loss)
    settled(page)
    loaded = time.perf_counter() - start
    frames = """new Promise(done => {
      const times = []; let last = performance.now(), n = 0;
      const tick = now => { times.push(now - last); last = now; explorer.scene.camera.x += 7; explorer.go(explorer.app.step + 1);
        if (++n < 40) requestAnimationFrame(tick); else done(times.slice(5).sort((a, b) => a - b)); };
      requestAnimationFrame(tick); })"""
    page.evaluate("explorer.go(explorer.forward + 900)")
    folded = page.evaluate(frames)
    page.evaluate("explorer.scene.folded.clear()")
    page.keyboard.press("Shift+F")
    page.keyboard.press("Shift+F")
    page.keyboard.press("0")
    unfolded = page.evaluate(frames)
    assert page.evaluate("explorer.scene.folded.size") == 0
    print(
        f"2,000 nodes: {loaded:.1f} s to make and load; frames of {folded[17]:.0f} ms folded, {unfolded[17]:.0f} ms unfolded (medians)"
    )
    page.keyboard.press("End")
    settled(page)
    assert "Backward" in page.locator("#where").inner_text() and page.evaluate(
        "explorer.app.step === explorer.steps"
    )
