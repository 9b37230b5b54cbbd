"""The work of compiling grows with the operations of a step or function, not with the paths through them; and the text is always the same."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.compiler.fusion import FusionGroup
from tinygrad_rnn.core.tree import leaves, unflatten

from .cell_checks import BATCH, CASES
from .interpreted import interpreting

SIZE = 4


@pytest.fixture(autouse=True)
def _as_python() -> Any:
    with interpreting():
        yield


# --- steps of any depth -----------------------------------------------------------------------------------------------------------


def sub_steps(h: Any, u: Any, w: Any, depth: int) -> Any:
    """An integration: each value is used twice, and the products part the loops."""
    for _ in range(depth):
        h = h + 0.1 * (tg.tanh(h @ w + u) - h)
    return h


def doubled(h: Any, u: Any, w: Any, depth: int) -> Any:
    """A chain in which each value is used twice."""
    for _ in range(depth):
        h = h * 0.4 + h * u * 0.5
    return h


def tripled(h: Any, u: Any, w: Any, depth: int) -> Any:
    for _ in range(depth):
        h = (h * u) * 0.3 + (h - u) * 0.1 + h * 0.2
    return h


def costly(h: Any, u: Any, w: Any, depth: int) -> Any:
    for _ in range(depth):
        h = tg.sin(h) * 0.5 + tg.cos(h) * tg.tanh(h)
    return h


def ladder(h: Any, u: Any, w: Any, depth: int) -> Any:
    """Two chains, each of which reads both."""
    a, b = h, u
    for _ in range(depth):
        a, b = 0.4 * a + 0.5 * b, 0.5 * a - 0.4 * b
    return a + b


def diamonds(h: Any, u: Any, w: Any, depth: int) -> Any:
    for _ in range(depth):
        a, b = h * 0.5, h + u
        h = a - 0.3 * b
    return h


def reduced(h: Any, u: Any, w: Any, depth: int) -> Any:
    """Each value is read by a reduction and by what uses its result."""
    for _ in range(depth):
        h = h - 0.5 * h.mean(axis=-1, keepdims=True) + 0.1 * u
    return h


def put_together(h: Any, u: Any, w: Any, depth: int) -> Any:
    """Halves change places, and a shared concatenation is read in several ways."""
    for _ in range(depth):
        whole = tg.concatenate([h[:, 2:] * 0.5, h[:, :2] + u[:, :2]], axis=-1)
        h = whole * 0.5 + whole * u
    return h


def sliced(h: Any, u: Any, w: Any, depth: int) -> Any:
    """Gates: slices of one product, whose gradient is put together of parts."""
    for _ in range(depth):
        z = tg.concatenate([h, u], axis=-1) @ tg.concatenate([w, w], axis=0)
        h = h * tg.sigmoid(z[:, :1]) + z * 0.1
    return h


def turned(h: Any, u: Any, w: Any, depth: int) -> Any:
    for _ in range(depth):
        h = 0.5 * h + 0.3 * h.reshape((-1, 2, 2)).transpose((0, 2, 1)).reshape((-1, 4)) * u
    return h


STEPS = [
    sub_steps,
    doubled,
    tripled,
    costly,
    ladder,
    diamonds,
    reduced,
    put_together,
    sliced,
    turned,
]


def run(step: Callable[..., Any], depth: int, compiled: bool) -> tuple[list[np.ndarray], Any]:
    """Values and gradients of a sequence, and the module."""
    rng = np.random.default_rng(depth)
    w = tg.tensor(rng.normal(size=(SIZE, SIZE)) * 0.3, requires_grad=True)
    x = tg.tensor(rng.normal(size=(2, 3, SIZE)) * 0.5, requires_grad=True)
    h = tg.tensor(rng.normal(size=(3, SIZE)), requires_grad=True)

    def cell(x: Any, h: Any) -> Any:
        h = step(h, x, w, depth)
        return h, h

    fast = tg.jit(cell) if compiled else cell
    ys, last = tg.unroll(fast, x, h)
    (ys * ys).sum().backward()
    found = [t.numpy() for t in (ys, last, w.grad, x.grad, h.grad) if t is not None]
    return found, next(iter(fast._code.runners.values())).code if compiled else None


@pytest.mark.parametrize("depth", [10, 40])
@pytest.mark.parametrize("step", STEPS, ids=lambda s: s.__name__)
def test_deep_steps_are_those_of_the_plain_cell(step: Any, depth: int) -> None:
    for expected, found in zip(run(step, depth, False)[0], run(step, depth, True)[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("step", STEPS, ids=lambda s: s.__name__)
def test_work_and_code_of_a_step_grow_with_its_depth(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as deep is about twice as much, and not four times.

    10 and 20 would not yet show what begins late.
    """
    visits: list[Any] = []
    where = FusionGroup.where

    def counted(self: FusionGroup, value: Any) -> Any:
        visits.append(None)
        return where(self, value)

    monkeypatch.setattr(FusionGroup, "where", counted)
    work = []
    for depth in (60, 120):
        visits.clear()
        code = run(step, depth, True)[1]
        texts = (code.text().text, code.text(sharing=True).text)
        work.append([len(visits), *(len(text.splitlines()) for text in texts)])
    for once, twice in zip(*work, strict=True):
        assert twice < 3 * once


def test_chains_longer_than_the_stack_of_python() -> None:
    for step in (doubled, put_together):
        for expected, found in zip(run(step, 400, False)[0], run(step, 400, True)[0], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_equal_loops_are_one_function() -> None:
    text = run(sub_steps, 48, True)[1].text(sharing=True).text
    assert text.count("def loop") < 20 < 80 < text.count("    loop")
    assert "def loop" not in run(sub_steps, 1, True)[1].text(sharing=True).text


# --- the text ------------------------------------------------------------------------------------------------------------------------


def texts(recordings: int) -> dict[str, set[str]]:
    """The texts of cells and functions, in so many recordings."""
    found: dict[str, set[str]] = {}
    for number, case in enumerate(CASES):
        for _ in range(recordings):
            cell, rng = case.make(), np.random.default_rng(3)
            xs, state = case.draw(cell, rng)
            parts = tuple(
                tg.tensor(x, requires_grad=x.dtype.kind == "f")
                for x in (xs if isinstance(xs, tuple) else (xs,))
            )
            fast = tg.jit(cell)
            try:
                tg.unroll(
                    fast,
                    parts if isinstance(xs, tuple) else parts[0],
                    unflatten(state, [tg.tensor(s) for s in leaves(state)]),
                )
                text = next(iter(fast._code.runners.values())).code.text(sharing=True).text
            except tg.CompileError as error:
                text = str(error)
            found.setdefault(f"{number}: {case}", set()).add(text)
    for step in STEPS:
        for _ in range(recordings):
            arrays = [
                tg.tensor(np.random.default_rng(k).normal(size=(BATCH, SIZE)), requires_grad=True)
                for k in range(2)
            ]
            w = tg.tensor(np.ones((SIZE, SIZE)), requires_grad=True)
            fast = tg.jit(lambda h, u, w, step=step: step(h, u, w, 6))
            fast(*arrays, w)
            found.setdefault(f"function {step.__name__}", set()).add(
                "\n".join(line.split("  #")[0] for line in fast.source().splitlines())
            )
            found.setdefault(f"cell {step.__name__}", set()).add(
                run(step, 6, True)[1].text(sharing=True).text
            )
    return found


def digests() -> dict[str, str]:
    """Of one recording of each."""
    with interpreting():
        return {
            name: hashlib.sha256("".join(several).encode()).hexdigest()
            for name, several in texts(1).items()
        }


def test_the_text_of_a_module_is_the_same_in_each_recording_and_process() -> None:
    """By the text compiled code is found on disk.

    So it may not depend on where objects lie in memory, or on the hashes of strings.
    """
    here = texts(2)
    assert not [name for name, several in here.items() if len(several) > 1]
    command = (
        "import json; from tests.test_compile_work import digests; print(json.dumps(digests()))"
    )
    root = Path(__file__).parents[1]
    expected = {
        name: hashlib.sha256("".join(several).encode()).hexdigest()
        for name, several in here.items()
    }
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
    out = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=environment,
    ).stdout
    assert json.loads(out) == expected


@pytest.mark.parametrize("step", STEPS, ids=lambda s: s.__name__)
def test_deep_functions_are_those_of_the_plain_function(step: Any) -> None:
    """What walks each path through a function of forty links of this kind does not come to an end."""
    found = []
    for wrapped in (tg.jit, lambda f: f):
        rng = np.random.default_rng(0)
        arrays = [
            tg.tensor(rng.normal(size=shape) * 0.3, requires_grad=True)
            for shape in ((20, SIZE), (20, SIZE), (SIZE, SIZE))
        ]
        y = wrapped(lambda h, u, w: step(h, u, w, 40))(*arrays)
        (y * y).sum().backward()
        found.append([y.numpy(), *(t.grad.numpy() for t in arrays if t.grad is not None)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_components_that_read_one_weight_are_summed_together() -> None:
    """Its gradient is one sum over rows and steps, not one for each component."""

    class Many(tg.Cell):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.count, self.w = count, tg.Parameter(np.full(1, 0.5))

        def initial_state(self, batch: int, dtype: Any = None) -> Any:
            return {f"s{k}": tg.tensor(np.zeros(batch)) for k in range(self.count)}

        def forward(self, x: Any, state: Any) -> Any:
            new = {k: v * 0.9 + x[:, 0] * self.w for k, v in state.items()}
            return new["s1"], new

    for count in (2, 3, 12):
        cell, found = Many(count), []
        fast = tg.jit(cell)
        for one in (cell, fast):
            cell.w.grad = None
            xs = tg.tensor(np.linspace(-1.0, 1.0, 24).reshape(4, 3, 2), requires_grad=True)
            ys, last = tg.unroll(one, xs)
            (ys.sum() + sum((k + 1) * s.sum() for k, s in enumerate(last.values()))).backward()
            assert xs.grad is not None
            found.append((cell.w.grad.numpy(), xs.grad.numpy()))
        for a, e in zip(found[1], found[0], strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-12)
        assert len(next(iter(fast._code.runners.values())).code.summed) == 1
