"""Pictures of the tape.

What is in them, that they are the same everywhere, and that they come out whatever is installed.

The golden files are DOT sources. To write them anew after a change that was meant: ``WRITE_GOLDEN=1
pytest tests/test_drawing.py``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import drawing
from tinygrad_rnn.core.errors import GraphError
from tinygrad_rnn.core.tape import Leaf
from tinygrad_rnn.drawing import Drawing, DrawingError, render

GOLDEN = Path(__file__).parent / "golden"
needs_pygraphviz = pytest.mark.skipif(
    importlib.util.find_spec("pygraphviz") is None, reason="pygraphviz is not installed"
)
on_posix = pytest.mark.skipif(os.name != "posix", reason="writes a shell script")


def draw(x: Any, *inputs: Any, detail: str | None = "op", **options: Any) -> Drawing:
    """Draw with every operation, whatever the width, unless the test wants another level."""
    return drawing.draw(x, *inputs, detail=detail, **options)


def parameter(name: str, *shape: int) -> tg.Tensor:
    return tg.tensor(np.ones(shape, np.float32), requires_grad=True, name=name)


def constant(name: str, *shape: int) -> tg.Tensor:
    return tg.tensor(np.zeros(shape, np.float32), name=name)


def elman(steps: int) -> tg.Tensor:
    w_ih, w_hh, b = parameter("W_ih", 3, 4), parameter("W_hh", 4, 4), parameter("b", 4)
    h = constant("h0", 2, 4)
    xs = [constant(f"x{t}", 2, 3) for t in range(steps)]
    for t in range(steps):
        with tg.at_step(t, cell="elman"):
            h = tg.tanh(xs[t] @ w_ih + h @ w_hh + b)
    return (h**2).mean()


def lstm(steps: int) -> tg.Tensor:
    w_ih, w_hh, b = (
        parameter("weight_ih", 16, 3),
        parameter("weight_hh", 16, 4),
        parameter("bias", 16),
    )
    h, c = constant("h0", 2, 4), constant("c0", 2, 4)
    for t in range(steps):
        with tg.at_step(t, cell="lstm", layer=0):
            i, f, g, o = tg.split(np.ones((2, 3), np.float32) @ w_ih.T + h @ w_hh.T + b, 4, axis=-1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
    return (h * h).sum()


def two_layers(steps: int) -> tg.Tensor:
    """Two layers, a loss at every step, and a parameter outside of the steps."""
    weights = [(parameter(f"U{k}", 4, 4), parameter(f"V{k}", 4, 4)) for k in (0, 1)]
    w_out, total = parameter("W_out", 4, 1), 0.0
    hs = [constant(f"h{k}", 2, 4) for k in (0, 1)]
    for t in range(steps):
        y = constant(f"x{t}", 2, 4)
        for k, (u, v) in enumerate(weights):
            with tg.at_step(t, cell="elman", layer=k):
                y = hs[k] = tg.tanh(y @ u + hs[k] @ v)
        total = total + (y @ w_out).sum()
    return total  # type: ignore[return-value]


def program() -> tg.Program:
    def step(x: Any, h: Any) -> Any:
        z = tg.sigmoid(x + h)
        return z * h + (1 - z) * tg.tanh(x), z

    return tg.trace(step, np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))


def detached(steps: int, where: int) -> tg.Tensor:
    """A state that is cut from the tape before one step."""
    w, h, ys = parameter("W", 4, 4), constant("h0", 2, 4), []
    for t in range(steps):
        h = h.detach() if t == where else h
        with tg.at_step(t, cell="cut"):
            h = tg.tanh(h @ w + constant(f"x{t}", 2, 4))
        ys.append(h)
    return tg.stack(ys).sum()


GRAPHS: dict[str, Callable[[], Drawing]] = {
    "elman": lambda: draw(elman(3), title="Three steps"),
    "elman_down": lambda: draw(elman(2), direction="TB"),
    "lstm_elided": lambda: draw(lstm(30), steps=3),
    "two_layers": lambda: draw(two_layers(2)),
    "program": lambda: draw(program()),
    "program_down": lambda: draw(program(), direction="TB", theme="dark"),
    "adjoint": lambda: draw(program().backward()),
    "elman_shown": lambda: draw(elman(12), show=["t=0:2", "t=5", "t=-1:"]),
    "folded_lstm": lambda: draw(lstm(5), fold=True),
    "folded_cell": lambda: draw(tg.cells.GRU(3, 4, rng=0)),
    "folded_cut": lambda: draw(detached(6, 3), fold=True),
    "heat": lambda: draw(
        elman(20), heat=[10.0 ** -(t % 7) for t in range(20)], ledger=True, memory=True
    ),
    "backward": lambda: draw(elman(2), backward=True),
    "stacked": lambda: draw(stacked(2)),
    "against_time": lambda: draw(against_time(2)),
}


class Source:
    """What DOT source says, read line by line.

    Nodes with their attributes, clusters with their nodes, edges in order.
    """

    def __init__(self, dot: str) -> None:
        self.nodes: dict[str, str] = {}
        self.titles: dict[str, str] = {}
        self.clusters: list[tuple[str, list[str]]] = []
        self.edges: list[tuple[str, str]] = []
        self.ports: dict[str, str] = {}  # port -> what it stands for
        inside = False
        for line in map(str.strip, dot.splitlines()):
            if line.startswith("subgraph"):
                inside = True
            elif line == "}":
                inside = False
            elif edge := re.match(r"([npz]\d+) -> ([npz]\d+)", line):
                if "style=invis" not in line:  # it only holds the legend below
                    self.edges.append((edge[1], edge[2]))
            elif node := re.match(r"([npz]\d+|note|title) \[label=<(.*?)(<br/>|> )", line):
                if port := re.search(r"port of-(\w+)", line):
                    self.ports[node[1]] = port[1]
                self.nodes[node[1]], self.titles[node[1]] = line, node[2]
                if inside:
                    self.clusters[-1][1].append(node[1])
            elif inside and (label := re.search(r"label=<(.*?)>", line)):
                self.clusters.append((label[1], []))

    def named(self, title: str) -> list[str]:
        return [name for name, found in self.titles.items() if found == title]


def without_lines(dot: str) -> str:
    """Without line numbers, which change when a test is written above."""
    return re.sub(r"(\.py):\d+", r"\1", dot)


# --- what is in the picture ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_dot_source_is_the_golden_one(name: str) -> None:
    path = GOLDEN / f"{name}.dot"
    dot = without_lines(GRAPHS[name]().dot)
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(dot, encoding="utf-8")
    assert dot == path.read_text(encoding="utf-8")


def test_dot_source_is_the_same_under_every_hash_seed_and_in_every_process() -> None:
    code = (
        "import json; from tests.test_drawing import GRAPHS, without_lines;"
        "print(json.dumps({name: without_lines(make().dot) for name, make in GRAPHS.items()}))"
    )
    here = {name: without_lines(make().dot) for name, make in GRAPHS.items()}
    for seed in ("0", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=env,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            check=True,
        )
        assert json.loads(run.stdout) == here


def test_a_weight_is_drawn_once_and_read_by_every_step() -> None:
    source = Source(draw(elman(6)).dot)
    for name, reader in [("W_ih", "matmul"), ("W_hh", "matmul"), ("b", "+")]:
        (weight,) = [n for n in source.named(name) if n not in source.ports]
        heads = [head for tail, head in source.edges if source.ports.get(tail) == weight]
        assert len(set(heads)) == 6
        assert {source.titles[head] for head in heads} == {reader}
        assert not any(weight in edge for edge in source.edges)
        assert not any(weight in nodes for _, nodes in source.clusters)


def test_every_step_is_a_cluster() -> None:
    source = Source(draw(elman(6)).dot)
    assert [label for label, _ in source.clusters] == [
        "t = 0 · elman",
        *(f"t = {t}" for t in range(1, 6)),
    ]
    assert all(
        sorted(source.titles[n] for n in nodes)
        == ["+", "+", "W_hh", "W_ih", "b", "h = tanh", "matmul", "matmul"]
        for _, nodes in source.clusters
    )
    assert len(Source(draw(two_layers(3)).dot).clusters) == 6


@pytest.mark.parametrize("make", [elman, lstm, two_layers])
def test_edges_are_those_of_the_tape(make: Callable[[int], tg.Tensor]) -> None:
    """All of them, with duplicates; those through time too.

    Boxes are numbered in the order of the tape.
    """
    loss = make(3)
    nodes = tg.tape(loss).nodes
    scalars = {n for n in nodes if isinstance(n, Leaf) and n.shape == () and not n.requires_grad}
    number = {n: f"n{k}" for k, n in enumerate(n for n in nodes if n not in scalars)}
    expected = Counter((number[i], number[n]) for n in number for i in n.inputs if i in number)
    source = Source(draw(loss).dot)
    drawn = [(source.ports.get(a, a) if a[0] == "p" else a, b) for a, b in source.edges]
    # transposes of weights
    drawn += [(weight, port) for port, weight in source.ports.items() if port[0] == "n"]
    assert Counter(drawn) == Counter(expected)
    step = {number[n]: n.where.mark.step for n in number if n.primitive is not None}
    through = [
        (a, b)
        for a, b in source.edges
        if None not in (step.get(a), step.get(b)) and step[a] != step[b]
    ]
    assert len(through) == {elman: 2, lstm: 4, two_layers: 4}[make]
    cluster = {name: label for label, names in source.clusters for name in names}
    assert all(cluster[a] != cluster[b] for a, b in through)


def test_numbers_are_in_the_label_and_not_boxes() -> None:
    x = parameter("x", 3)
    y = ((1 - x) * tg.tensor(2.5) + x**2).sum(axis=0)
    assert sorted(Source(draw(y).dot).titles.values()) == sorted(
        ["+", "· \N{MULTIPLICATION SIGN} 2.5", "x²", "1 \N{MINUS SIGN} ·", "y = sum(axis=0)", "x"]
    )


def test_a_tooltip_has_dtype_and_source_line() -> None:
    x = tg.tensor(np.ones(3), requires_grad=True, name="x")
    y = tg.tanh(x)
    assert f"float64\\nat {Path(__file__).name}:" in draw(y).dot


def test_a_named_result_shows_its_name() -> None:
    y = tg.tanh(parameter("x", 3))
    y.name = "h"
    assert "h = tanh" in Source(draw(y).dot).titles.values()


def test_drawing_works_after_backward_and_of_tapes_programs_and_leaves() -> None:
    loss = elman(2)
    before = without_lines(draw(loss).dot)
    loss.backward()
    assert without_lines(draw(loss).dot) == before == without_lines(draw(tg.tape(loss)).dot)
    assert set(Source(draw(program().backward()).dot).titles.values()) >= {
        "z",
        "tanh",
        "d_add",
        "\N{MULTIPLICATION SIGN}",
    }
    assert Source(draw(parameter("w", 2)).dot).titles == {"n0": "w"}


def test_a_drawing_keeps_nothing_of_the_graph_alive() -> None:
    import weakref

    loss = elman(2)
    weight = next(n.tensor for n in tg.tape(loss).nodes if n.name == "W_ih")
    drawing = draw(loss)
    assert isinstance(weight, weakref.ref)
    del loss
    assert weight() is None
    assert "<svg" in drawing.svg()


# --- places ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["LR", "TB"])
@pytest.mark.parametrize("make", [elman, lstm, two_layers])
def test_boxes_do_not_overlap_and_steps_are_alike(
    make: Callable[[int], tg.Tensor], direction: str
) -> None:
    drawing = draw(make(4), direction=direction)
    boxes, frames = drawing._sketch.boxes, drawing._layout.frames
    for k, a in enumerate(boxes):
        assert a.width / 2 < a.x < drawing._layout.width - a.width / 2
        assert a.height / 2 < a.y < drawing._layout.height - a.height / 2
        assert all(
            abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
            for b in boxes[:k]
        )
    for k, f in enumerate(frames):
        assert all(
            f.right <= g.left or g.right <= f.left or f.bottom <= g.top or g.bottom <= f.top
            for g in frames[:k]
        )
    across = (lambda b: b.y) if direction == "LR" else (lambda b: b.x)
    depths = {
        (f.boxes[-1].lane, tuple(round(across(b), 6) for b in f.boxes if not b.leaf and not b.port))
        for f in frames
    }
    # the same operation at the same height in every step of a layer
    assert len(depths) == len({lane for lane, _ in depths})


def test_time_runs_in_the_direction_that_was_asked_for() -> None:
    across, down = draw(elman(3))._layout.frames, draw(elman(3), direction="TB")._layout.frames
    assert across[0].right < across[1].left < across[1].right < across[2].left
    assert down[0].bottom < down[1].top < down[1].bottom < down[2].top


# --- limits ------------------------------------------------------------------------------------------------------------


def test_the_middle_steps_are_left_out_and_picture_and_note_say_so() -> None:
    drawing = draw(elman(100), steps=4)
    source = Source(drawing.dot)
    assert [label for label, _ in source.clusters] == ["t = 0 · elman", "t = 1", "t = 98", "t = 99"]
    assert drawing.note == "96 of 100 time steps are not drawn (steps=4)." == source.titles["note"]
    (gap,) = source.named("⋯ 96 identical steps")
    assert [source.titles[a] for a, b in source.edges if b == gap] == ["h = tanh"]
    assert [source.titles[b] for a, b in source.edges if a == gap] == ["matmul"]
    assert "x50" not in drawing.dot
    assert draw(elman(4), steps=4).note == ""
    assert draw(elman(4), steps=40).note == ""


def test_the_limit_decides_how_many_steps_are_drawn() -> None:
    drawing = draw(lstm(100), steps=50, limit=100)
    assert drawing.note == "96 of 100 time steps are not drawn (limit=100)."
    assert len([n for n in Source(drawing.dot).nodes if n[0] == "n"]) <= 102
    assert draw(lstm(100)).note == "95 of 100 time steps are not drawn (show='all' draws them)."
    assert draw(lstm(8)).note == ""


def test_operations_between_hidden_steps_are_hidden_with_them() -> None:
    source = Source(draw(two_layers(50), steps=4).dot)
    assert len(source.clusters) == 8
    assert len(source.named("sum")) == 4
    # one for each layer, and one for what is outside of the cells
    assert len(source.named("⋯ 46 identical steps")) == 3


def test_the_result_is_drawn_even_if_its_step_alone_is() -> None:
    assert [label for label, _ in Source(draw(elman(9), steps=1).dot).clusters] == ["t = 8 · elman"]


def test_without_steps_the_part_nearest_the_result_is_drawn() -> None:
    y = parameter("x", 3)
    for k in range(500):
        y = y * (k + 0.5)  # another number each time: these are no steps that are the same
    drawing = draw(y, limit=20)
    source = Source(drawing.dot)
    assert (
        drawing.note == "481 of 501 nodes are not drawn, the farthest from the result (limit=20)."
    )
    assert sum(title.startswith("y = ") for title in source.titles.values()) == 20
    assert len(source.named("… 481 nodes")) == 1
    assert len(source.edges) == 20


@pytest.mark.parametrize(("nodes", "steps"), [(100_000, True), (20_000, False)])
def test_a_tape_of_100_000_nodes_is_drawn(nodes: int, steps: bool) -> None:
    h, w = constant("h0", 2), parameter("w", 2)
    for t in range(nodes // 2):
        with tg.at_step(t if steps else None):
            h = tg.tanh(h * w)
    start = time.perf_counter()
    drawing = draw(h)
    assert time.perf_counter() - start < 20  # about 2 s; it is the next line that bounds the work
    assert len(drawing.dot.splitlines()) < 1500
    assert "not drawn" in drawing.note


def test_one_operation_with_many_inputs() -> None:
    drawing = draw(tg.concatenate([parameter(f"p{k}", 1) for k in range(3000)]), limit=50)
    assert len(Source(drawing.dot).nodes) <= 52
    assert "of 3,001 nodes" in drawing.note


@pytest.mark.parametrize(
    "wrong", [{"direction": "up"}, {"limit": 0}, {"steps": 0}], ids=["direction", "limit", "steps"]
)
def test_wrong_arguments_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(DrawingError, match=next(iter(wrong))):
        draw(elman(2), **wrong)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(DrawingError, match="found a ndarray"):
        draw(np.ones(3))
    with pytest.raises(GraphError, match="not recorded"):
        draw(tg.tensor([1.0]))


# --- words -------------------------------------------------------------------------------------------------------------

NASTY = [
    '"quotes"',
    "<b>&amp;</b>",
    "two\nlines",
    "back\\slash\\",
    "\\N\\G",
    "bell\a\0",
    "]]>",
    "a:b;{|}",
    "long " * 30,
    "\ud800",
]


@pytest.mark.parametrize("name", NASTY)
def test_names_are_escaped(name: str) -> None:
    y = tg.tanh(parameter(name, 2))
    with tg.at_step(0, cell=name):
        y = y * 2
    drawing = draw(y, title=name)
    for svg in {drawing.svg(), _plain(drawing)}:
        texts = "".join(ElementTree.fromstring(svg.encode()).itertext())
        shown = " ".join(
            "".join(
                c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in name
            ).split()
        )[:20]
        assert shown in texts.replace("\u200b", "")
    assert drawing.dot.encode()
    assert drawing.note == ""


def _plain(drawing: Drawing) -> str:
    from tinygrad_rnn.drawing.svg import plain_svg

    return plain_svg(drawing._sketch, drawing._layout)


# --- renderers ---------------------------------------------------------------------------------------------------------


def without(monkeypatch: pytest.MonkeyPatch, *, dot: bool = True, pygraphviz: bool = True) -> None:
    """Hide renderers."""
    if dot:
        monkeypatch.setenv("PATH", "")
    if pygraphviz:
        found = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *a: None if name == "pygraphviz" else found(name, *a),
        )


def program_dot(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program named dot, first and alone on the PATH."""
    path = folder / "dot"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


@pytest.mark.parametrize("name", GRAPHS)
def test_without_graphviz_svg_is_drawn_all_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch)
    drawing = GRAPHS[name]()
    drawing.save(tmp_path / "x.SVG")
    root = ElementTree.parse(tmp_path / "x.SVG").getroot()
    found: dict[str, list[Any]] = {}
    for g in root.iter("{http://www.w3.org/2000/svg}g"):
        found.setdefault((g.get("class") or "").split(" ")[0], []).append(g)
    source = Source(drawing.dot)
    # before the name stands what tells the picture from others in the same page
    assert sorted(g.get("id").rpartition("-")[2] for g in found["node"]) == sorted(
        n for n in source.nodes if n not in ("note", "title")
    )
    arrows = [arrow for arrow, _ in drawing._layout.paths]
    assert len(arrows) == len(source.edges)
    assert Counter(g[0].text.partition(" (")[0] for g in found["edge"]) == Counter(
        " ".join(f"{a.tail.title} \N{RIGHTWARDS ARROW} {a.head.title}".split()).partition(" (")[0]
        for a in arrows
    )
    assert len(found.get("cluster", [])) == len(source.clusters)


def test_without_graphviz_png_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch)
    for form in ("png", "pdf"):
        with pytest.raises(
            DrawingError, match=rf"{form.upper()} needs graphviz: pip install tinygrad-rnn\[draw\]"
        ):
            draw(elman(2)).save(tmp_path / f"x.{form}")


@needs_pygraphviz
def test_pygraphviz_alone_draws_every_format(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, pygraphviz=False)
    drawing = draw(elman(2))
    for form, start in [
        ("svg", b"<svg"),
        ("html", b"<!doctype html>"),
        ("png", b"\x89PNG"),
        ("pdf", b"%PDF"),
        ("dot", b"digraph"),
    ]:
        drawing.save(tmp_path / f"x.{form}")
        assert (tmp_path / f"x.{form}").read_bytes().startswith(start)
    picture, reasons = render.render(drawing.dot, "svg", 20)
    assert picture is not None and not reasons
    classes: dict[str, set[str]] = {}
    for g in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}g"):
        classes.setdefault((g.get("class") or "").split(" ")[0], set()).add(g[0].text or "")
    source = Source(drawing.dot)
    assert set(source.nodes) <= classes["node"]
    assert {f"{a}->{b}" for a, b in source.edges} == classes["edge"]
    assert classes["cluster"] == {"cluster_0", "cluster_1"}


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DrawingError, match=r"x\.jpg"):
        draw(elman(2)).save(tmp_path / "x.jpg")


@on_posix
def test_a_slow_program_is_stopped_with_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program_dot(tmp_path, monkeypatch, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    without(monkeypatch, dot=False)
    drawing = draw(elman(2), timeout=0.5)
    assert "<svg" in drawing.svg()
    start = time.perf_counter()
    with pytest.raises(DrawingError, match=r"dot took more than 0\.5 s"):
        drawing.save(tmp_path / "x.png")
    assert time.perf_counter() - start < 20
    child = int((tmp_path / "child").read_text())
    for _ in range(100):  # init has to collect it
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or ") Z" in state.read_text():
            return
        time.sleep(0.02)
    pytest.fail("a child of the program is still running")


@on_posix
@pytest.mark.parametrize(
    "body",
    ["echo broken >&2; exit 1", "exit 0", "kill -SEGV $$"],
    ids=["fails", "silent", "crashes"],
)
def test_a_broken_program_falls_through(
    body: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program_dot(tmp_path, monkeypatch, body)
    without(monkeypatch, dot=False)
    with pytest.raises(DrawingError, match=r"PNG needs graphviz \(dot failed"):
        draw(elman(2)).save(tmp_path / "x.png")


@on_posix
@needs_pygraphviz
def test_a_broken_program_falls_through_to_pygraphviz(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program_dot(tmp_path, monkeypatch, "exit 1")
    draw(elman(2)).save(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@on_posix
def test_the_program_on_the_path_gets_the_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program_dot(
        tmp_path,
        monkeypatch,
        f'echo "$@" > {tmp_path}/args; cat > {tmp_path}/source; echo "picture"',
    )
    drawing = draw(elman(2))
    drawing.save(tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_text() == "picture\n"
    assert (tmp_path / "args").read_text().split() == ["-Tpdf"]
    assert (tmp_path / "source").read_bytes().decode() == drawing.dot


def test_jupyter_gets_svg_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    drawing = draw(elman(2))
    bundle = drawing._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg") and bundle["text/plain"] == repr(drawing)
    assert drawing._repr_svg_() == bundle["image/svg+xml"]
    assert set(drawing._repr_mimebundle_(include=["text/plain"])) == {"text/plain"}

    def fails(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr("tinygrad_rnn.drawing.picture.plain_svg", fails)
    assert draw(elman(2))._repr_svg_() is None
    assert set(draw(elman(2))._repr_mimebundle_()) == {"text/plain"}


def test_import_does_not_load_graphviz() -> None:
    code = "import sys, tinygrad_rnn; sys.exit(any(m.startswith(('graphviz', 'pygraphviz')) for m in sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1]
        ).returncode
        == 0
    )


def test_render_without_programs_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    assert render.render("digraph {}", "svg", 1.0) == (None, [])


def test_what_is_read_out_after_the_last_step_stands_together_with_its_weights(rng):
    cell, out = tg.cells.Elman(3, 4, rng=0), tg.nn.Linear(4, 5, rng=0)
    out.weight.name = "readout"
    ys, _ = tg.unroll(cell, rng.normal(size=(3, 2, 3)).astype(np.float32))
    places = {}
    for line in draw(out(ys).sum()).dot.splitlines():
        if match := re.match(
            r'\s*[np]\d+ \[label=<([\w\[\] =.]+?)<.*pos="([-\d.]+),([-\d.]+)"', line
        ):
            places.setdefault(match[1], []).append((float(match[3]), float(match[2])))
    last, column = max(places["h = tanh"])
    for name in ("readout", "readout.T", "y = matmul"):
        height, along = max(places[name])
        assert height > last and abs(along - column) < 150  # above it


# --- no edge behind a box ----------------------------------------------------------------------------------------------


def sequence(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def with_embedding(cell: Any, steps: int = 4) -> tg.Tensor:
    """The sequence is an operation that every step reads."""
    embedding, out = tg.nn.Embedding(7, 3, rng=0), tg.nn.Linear(4, 7, rng=0)
    ids = np.arange(steps * 2).reshape(steps, 2) % 7
    ys, _ = tg.unroll(cell, embedding(ids))
    return tg.nn.cross_entropy(out(ys), ids)


def stacked(steps: int) -> tg.Tensor:
    ys, _ = tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(steps, 2, 3))
    ys, _ = tg.unroll(tg.cells.Elman(4, 4, rng=0), ys)
    return (ys**2).mean()


def both_ways(make: Any, steps: int) -> tg.Tensor:
    """One cell reads the sequence, one reads it reversed, with the steps as they are counted by unroll."""
    xs = sequence(steps, 2, 3)
    there, _ = tg.unroll(make(3, 4, rng=0), xs)
    back, _ = tg.unroll(make(3, 4, rng=1), xs[::-1].copy())
    return tg.concatenate([there, back[::-1]], axis=-1).sum()


def against_time(steps: int) -> tg.Tensor:
    """Two directions that share the step numbers of the sequence, so one runs from right to left."""
    xs, cells = (
        [constant(f"x{t}", 2, 3) for t in range(steps)],
        [tg.cells.Elman(3, 4, rng=k) for k in (0, 1)],
    )
    ys: list[list[Any]] = [[None] * steps, [None] * steps]
    for name, cell, order, out in zip(
        ("there", "back"), cells, (range(steps), reversed(range(steps))), ys, strict=True
    ):
        h = constant(f"h_{name}", 2, 4)
        for t in order:
            with tg.at_step(t, cell=name):
                out[t], h = cell(xs[t], h)
    return tg.concatenate([tg.stack(y) for y in ys], axis=-1).sum()


def above_and_below(steps: int) -> tg.Tensor:
    """An operation outside of time between two layers, a weight that is also read before the first step, a computed first state."""
    w, h, g = parameter("w", 4, 4), tg.tanh(parameter("start", 2, 4)), constant("g0", 2, 4)
    scaled = w * 2
    for t in range(steps):
        with tg.at_step(t, cell="a", layer=0):
            h = tg.tanh(h @ w + constant(f"x{t}", 2, 4) @ scaled)
        y = h * 3
        with tg.at_step(t, cell="a", layer=1):
            g = tg.tanh(y @ w + g @ scaled)
    return g.sum() + w.sum()


CROWDED: dict[str, Callable[[], Any]] = {
    "embedded lstm": lambda: with_embedding(tg.cells.LSTM(3, 4, rng=0)),
    "embedded gru": lambda: with_embedding(tg.cells.GRU(3, 4, rng=0)),
    "embedded elman, one step": lambda: with_embedding(tg.cells.Elman(3, 4, rng=0), 1),
    "elman": lambda: (tg.unroll(tg.cells.Elman(3, 4, rng=0), sequence(4, 2, 3))[0] ** 2).mean(),
    "lstm": lambda: (tg.unroll(tg.cells.LSTM(3, 4, rng=0), sequence(4, 2, 3))[0] ** 2).mean(),
    "gru": lambda: (tg.unroll(tg.cells.GRU(3, 4, rng=0), sequence(4, 2, 3))[0] ** 2).mean(),
    "stacked": lambda: stacked(3),
    "both ways, elman": lambda: both_ways(tg.cells.Elman, 3),
    "both ways, lstm": lambda: both_ways(tg.cells.LSTM, 3),
    "against time": lambda: against_time(3),
    "above and below": lambda: above_and_below(3),
    "elided lstm": lambda: lstm(100),
    "elided embedded": lambda: with_embedding(tg.cells.LSTM(3, 4, rng=0), 100),
    "elided elman": lambda: elman(100),
    "elided layers": lambda: two_layers(100),
    "elided stacked": lambda: stacked(40),
    "layers": lambda: two_layers(3),
    "program": program,
    "adjoint": lambda: program().backward(),
}


def flat(path: list[tuple[float, float]]) -> np.ndarray:
    """Points on the cubic curves, close together."""
    t = np.linspace(0, 1, 13)[:, None]
    p = np.array(path)
    parts = [(1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
             for a, b, c, d in zip(p[:-1:3], p[1::3], p[2::3], p[3::3], strict=True)]  # fmt: skip
    return np.concatenate(parts)


def meets(points: np.ndarray, box: Any, margin: float = 0.5) -> bool:
    """Whether one of the segments between points meets the rectangle of a box (clipping, after Liang and Barsky)."""
    half = np.array([box.width / 2 - margin, 16 - margin])
    start, way = points[:-1] - [box.x, box.y], np.diff(points, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-half - start) / way, (half - start) / way
    inside = np.abs(start) <= half
    enter = np.where(way == 0, np.where(inside, -np.inf, np.inf), np.minimum(one, two)).max(1)
    leave = np.where(way == 0, np.where(inside, np.inf, -np.inf), np.maximum(one, two)).min(1)
    return bool(np.any(np.maximum(enter, 0) <= np.minimum(leave, 1)))


def behind(drawing: Drawing) -> list[str]:
    """The edges that run behind a box that is not one of their ends."""
    return [
        f"{arrow.tail.title} to {arrow.head.title} (step {arrow.head.step}) behind {box.title} ({box.step})"
        for arrow, path in drawing._layout.paths
        for points in [flat(path)]
        for (left, top), (right, bottom) in [(points.min(0), points.max(0))]
        for box in drawing._sketch.boxes
        if box is not arrow.tail
        and box is not arrow.head
        and left < box.x + box.width / 2
        and right > box.x - box.width / 2
        and top < box.y + 16
        and bottom > box.y - 16
        and meets(points, box)
    ]


@pytest.mark.parametrize("direction", ["LR", "TB"])
@pytest.mark.parametrize("name", CROWDED)
def test_no_edge_runs_behind_a_box(name: str, direction: str) -> None:
    assert behind(draw(CROWDED[name](), direction=direction)) == []
