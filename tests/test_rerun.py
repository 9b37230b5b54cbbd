"""What is run again is what ran.

A second run that differs from the first is an error by name, and the caller's arrays are the
caller's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from .interpreted import interpreting


@pytest.fixture(autouse=True)
def _as_python() -> Iterator[None]:
    with interpreting():
        yield


# --- a second run that differs --------------------------------------------------------------------------------------------------

W = np.array([2.0, -1.0, 0.5])


def differing() -> dict[str, tuple[Callable[[Any], Any], Callable[[], Any], str]]:
    """Functions of a tensor, what changes between their runs, and what the error says."""
    rng, k, m, branch, count = np.random.default_rng(0), [2.0], np.ones(3), [True], [0.0]
    parameter, constant, index, axis = tg.Parameter(W), tg.tensor(W), np.array([0, 1, 1]), [0]
    held = [parameter * 1.0]
    matrix = tg.Parameter(np.outer(W, W))
    scaled = tg.elementwise(lambda x: x * k[0])

    @tg.custom_vjp
    def own(x: Any) -> Any:
        return x * k[0]

    @own.vjp
    def _(g: Any) -> Any:
        return g * k[0]

    def counting(v: Any) -> Any:
        count[0] += 1.0
        return v * count[0] * v

    def nothing() -> None:
        pass

    def twice() -> None:
        k[0] = 4.0

    return {
        "generator": (lambda v: v * float(rng.random()) * v, nothing, r"operand 1 of multiply \(at test_rerun\.py:\d+\) was 0\.63.* in the first run and 0\.26"),
        "counter": (counting, nothing, r"operand 1 of multiply .* was 1\.0 in the first run and 2\.0 in the second"),
        "number": (lambda v: v * k[0], twice, r"was 2\.0 in the first run and 4\.0 in the second"),
        "sign of zero": (lambda v: v / (k[0] - 2.0 if k[0] == 2.0 else -0.0), twice, r"was 0\.0 in the first run and -0\.0 in the second"),
        "array": (lambda v: v * m, lambda: m.__setitem__(0, 5.0), r"was an array float64\(3,\) of checksum .* in the first run"),
        "branch": (lambda v: tg.tanh(v) if branch[0] else v * v, lambda: branch.__setitem__(0, False), r"tanh of the first run was multiply in the second"),
        "fewer": (lambda v: tg.tanh(v * v) if branch[0] else v * v, lambda: branch.__setitem__(0, False), r"it made 2 operations in the first run and 1 in the second"),
        "operands": (lambda v: v - v * v if branch[0] else v * v - v, lambda: branch.__setitem__(0, False), r"of subtract|of the first run was"),
        "tensor": (lambda v: v * held[0], lambda: held.__setitem__(0, parameter * 3.0), r"operand 1 of multiply .* was the tensor .* and the tensor"),
        "constant tensor": (lambda v: v * constant, lambda: setattr(constant, "data", 2 * W), r"operand 1 of multiply"),
        "index": (lambda v: v[index] * v, lambda: index.__setitem__(0, 2), r"'index' of getitem"),
        "axis": (lambda v: v * matrix.sum(axis=axis[0]), lambda: axis.__setitem__(0, 1), r"'axis' of sum .* was 0 in the first run and 1 in the second"),
        "elementwise": (lambda v: scaled(v) * v, twice, r"of the first run was"),
        "custom_vjp": (lambda v: own(v) * v, twice, r"what the function of own .* reads is not what it was"),
        "inner checkpoint": (lambda v: tg.checkpoint(lambda u: tg.tanh(u * k[0]), v) * v, twice, "what ran inside checkpoint"),
        "jitted function": (lambda v: tg.jit(lambda u: tg.tanh(u * k[0]))(v) * v, twice, "what ran inside jit|of the first run was"),
    }  # fmt: skip


@pytest.mark.recorded
@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("name", differing())
def test_a_checkpoint_that_does_something_else(name: str, create: bool) -> None:
    f, change, text = differing()[name]
    w = tg.Parameter(W)
    y = tg.checkpoint(f, w).sum()
    change()
    with pytest.raises(tg.GraphError, match=rf"runs a checkpointed segment again .*but .*({text})"):
        y.backward(create_graph=create)
    assert w.grad is None


def test_tangents_of_a_checkpoint_that_does_something_else() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(tg.GraphError, match="in the first run and"):
        tg.jvp(
            lambda v: tg.checkpoint(lambda u: u * float(rng.random()), v),
            (tg.tensor(W),),
            (tg.tensor(W),),
        )


def test_a_checkpointed_unrolling_that_does_something_else() -> None:
    k = [1.0]
    h = tg.tensor(np.zeros((2, 3)), requires_grad=True)
    ys, _ = tg.unroll(
        lambda x, h: (tg.tanh(x * k[0] + h), tg.tanh(x + h)),
        tg.tensor(np.ones((6, 2, 3)), requires_grad=True),
        h,
        checkpoint=2,
    )
    k[0] = 2.0
    with pytest.raises(
        tg.GraphError,
        match=r"operand 1 of multiply .*step t=4.* was 1\.0 in the first run and 2\.0",
    ):
        ys.sum().backward()


def test_a_checkpoint_that_does_the_same() -> None:
    """Nested ones, constants, indices, tensors without gradients, and what is computed without recording."""
    w, index, m = tg.Parameter(W), np.array([2, 0, 0]), np.array([1.5, 2.0, -1.0])
    frozen = tg.tensor(np.outer(W, W))

    def f(v: Any, ids: Any) -> Any:
        with tg.no_grad():
            mask = tg.tanh(frozen @ frozen)
        y = tg.checkpoint(lambda u: tg.tanh(u * m)[index] * u, v)
        return (mask @ y) * v + frozen.sum() * y[ids] * float(len(index))

    found = []
    for run in (f, lambda v, ids: tg.checkpoint(f, v, ids)):
        w.grad = None
        run(w, np.array([1, 1, 2])).sum().backward(create_graph=True)
        first, w.grad = w.grad, None
        (first * first).sum().backward()
        found.append([first.numpy(), w.grad.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


# --- compiled cells that were changed -------------------------------------------------------------------------------------------


class Scaled(tg.Cell):
    """A cell that reads a number."""

    hidden_size = 3

    def __init__(self) -> None:
        self.w, self.scale = tg.Parameter(np.outer(W, W)), 1.0

    def forward(self, x: Any, h: Any) -> Any:
        h = tg.tanh(x * self.scale + h @ self.w)
        return h, h


def test_steps_that_are_run_one_by_one_are_those_that_ran() -> None:
    cell, xs = Scaled(), np.random.default_rng(0).normal(size=(4, 2, 3))
    expected = []
    for change in (False, True):
        cell.scale, cell.w.grad = 1.0, None
        ys, _ = tg.unroll(tg.jit(cell), xs)
        if change:
            cell.scale = 3.0
        ys.sum().backward(retain_graph=True)  # by the compiled code of what ran
        expected.append(cell.w.grad.numpy())
        if change:
            with pytest.raises(
                tg.GraphError,
                match=r"run the steps of 'Scaled' again, but Scaled\.scale is not what it was",
            ):
                ys.sum().backward(create_graph=True)
        else:
            ys.sum().backward(create_graph=True)
    np.testing.assert_array_equal(*expected)


# --- arrays of the caller -------------------------------------------------------------------------------------------------------

UNROLLED: dict[str, Callable[[Any, Any], Any]] = {
    "plain": lambda cell, kw: tg.unroll(cell, **kw)[0],
    "checkpoint": lambda cell, kw: tg.unroll(cell, checkpoint=2, **kw)[0],
    "compiled": lambda cell, kw: tg.unroll(tg.jit(cell), **kw)[0],
    "compiled with checkpoint": lambda cell, kw: tg.unroll(tg.jit(cell), checkpoint=2, **kw)[0],
    "windows": lambda cell, kw: list(tg.tbptt(cell, k1=2, k2=4, **kw))[-1].ys,
    "compiled windows": lambda cell, kw: list(tg.tbptt(tg.jit(cell), k1=2, k2=4, **kw))[-1].ys,
}


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("how", UNROLLED)
def test_what_a_sequence_is_given_may_be_written_to_afterwards(how: str, create: bool) -> None:
    found = []
    for written in (False, True):
        rng = np.random.default_rng(3)
        cell = tg.cells.GRU(3, 3, rng=0, dtype=np.float64)
        given: dict[str, Any] = {
            "xs": rng.normal(size=(6, 4, 3)), "state": rng.normal(size=(4, 3)), "resets": rng.random((6, 4)) < 0.4, "lengths": np.array([6, 2, 5, 3]),
        }  # fmt: skip
        ys = UNROLLED[how](cell, given)
        if written:
            for array in given.values():
                array[...] = 1
        (ys * ys).sum().backward(create_graph=create)
        found.append([p.grad.numpy() for p in cell.parameters()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(b, a)


def test_windows_read_what_they_were_given_at_first() -> None:
    found = []
    for written in (False, True):
        rng = np.random.default_rng(3)
        cell, resets = tg.cells.Elman(3, 3, rng=0, dtype=np.float64), rng.random((6, 4)) < 0.4
        windows = tg.tbptt(cell, rng.normal(size=(6, 4, 3)), k1=2, k2=4, resets=resets)
        ys = [next(windows).ys.numpy()]
        if written:
            resets[...] = True
        found.append(ys + [w.ys.numpy() for w in windows])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(b, a)


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "mask of where": lambda x, a: tg.where(a["mask"], x, 2 * x),
    "factor": lambda x, a: x * a["array"],
    "matrix": lambda x, a: x @ a["array"].T,
    "index": lambda x, a: x[a["index"]],
    "mask as index": lambda x, a: x[a["mask"]],
    "list as index": lambda x, a: x[a["list"]],
    "take": lambda x, a: tg.take(x, a["index"], 0),
    "targets": lambda x, a: tg.nn.cross_entropy(x, a["targets"]),
    "weights of a loss": lambda x, a: tg.nn.cross_entropy(x, a["targets"], mask=a["weights"]),
}


@pytest.mark.parametrize("how", ["plain", "jit", "checkpoint", "argument of checkpoint"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_arrays_beside_tensors_may_be_written_to_afterwards(name: str, how: str) -> None:
    """The gradient is of what ran; where that is not known any more, there is an error."""
    if (name, how) == ("mask as index", "jit"):
        pytest.skip(
            "a mask among the arguments is a tensor in a recording, which cannot be an index"
        )
    found = []
    for written in (False, True):
        rng = np.random.default_rng(1)
        a: dict[str, Any] = {
            "mask": rng.random((4, 3)) > 0.5, "array": rng.normal(size=(4, 3)), "index": np.array([3, 0, 0]), "list": [0, 2], "targets": np.array([0, 2, 1, 1]),
            "weights": rng.random(4),
        }  # fmt: skip
        f, x = (
            OPERATIONS[name],
            tg.tensor(np.random.default_rng(2).normal(size=(4, 3)), requires_grad=True),
        )
        run: Any = {
            "plain": f, "jit": tg.jit(f), "checkpoint": lambda x, a: tg.checkpoint(lambda v: f(v, a), x),  # noqa: B023
            "argument of checkpoint": lambda x, a: tg.checkpoint(f, x, a),  # noqa: B023
        }[how]  # fmt: skip
        y = run(x, a)
        if written:
            for value in a.values():
                if isinstance(value, list):
                    value[:] = [1, 3]
                else:
                    value[...] = (
                        value == 0
                        if value.dtype == bool
                        else 1 - value
                        if value.dtype.kind == "f"
                        else (value + 1) % 3
                    )
        try:
            (y * y).sum().backward()
        except tg.GraphError as error:
            assert (how, written) == ("checkpoint", True)
            assert "in the first run" in str(error)
            return
        found.append(x.grad.numpy())
    np.testing.assert_array_equal(*found)
