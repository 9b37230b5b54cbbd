"""Numbers and arrays that leave a tensor, and arrays that come in: what would be lost is said."""

from __future__ import annotations

import array
import copy
import dataclasses
import math
import pickle
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting

OUT = np.zeros(3)


def set_item(t: Any) -> None:
    OUT[0] = t * t


def add_item(t: Any) -> None:
    OUT[0] += t


def add_all(t: Any) -> None:
    OUT[...] += t


# what takes a number without saying that no gradient is wanted
TAKES: dict[str, Callable[[Any], Any]] = {
    "float": float, "int": int, "complex": complex, "round": round, "math.exp": math.exp, "math.floor": math.floor, "math.ceil": math.ceil, "math.trunc": math.trunc,
    "math.hypot": lambda t: math.hypot(t, t), "math.isnan": math.isnan, "tolist": lambda t: t.tolist(), "float64": np.float64, "array element": set_item,
    "array element +=": add_item, "fill": OUT.fill, "flat": lambda t: OUT.flat.__setitem__(0, t), "fromiter": lambda t: np.fromiter([t, t], float),
    "fsum": lambda t: math.fsum([t, t]), "fmean": lambda t: statistics.fmean([t, t]), "array.array": lambda t: array.array("d", [t]),
}  # fmt: skip
# what is an error everywhere: whole arrays, and what cannot do with a tensor
REFUSED: dict[str, Callable[[Any], Any]] = {
    "asarray": np.asarray, "array of two": lambda t: np.array([t, t]), "full": lambda t: np.full(3, t), "float32": np.float32, "array +=": add_all, "range": lambda t: list(range(t)),
    "divmod": lambda t: divmod(t, 2), "out": lambda t: np.add(OUT, t, out=OUT), "add.at": lambda t: np.add.at(OUT, [0], t), "mean": lambda t: statistics.mean([t, t]),
    "copyto": lambda t: np.copyto(OUT, t), "uniform": lambda t: np.random.default_rng(0).uniform(0, t), "slice": lambda t: OUT.__setitem__(slice(None), t + np.zeros(3)),
    "full_like": lambda t: np.full_like(tg.tensor(np.ones(3)), t), "out of a tensor": lambda t: np.add(t, 1.0, out=t), "np.insert": lambda t: np.insert(OUT, 0, t),
}  # fmt: skip
SILENT: dict[str, Callable[[Any], Any]] = {
    "item": lambda t: t.item(), "numpy": lambda t: t.numpy(), "detach": lambda t: t.detach(), "format": lambda t: f"{t:.2f}{t}", "repr": repr, "bool": bool,
    "comparison": lambda t: t > 1, "sum": lambda t: sum([t, t]), "max": lambda t: max([t, t * 2]), "power": lambda t: 2.0**t, "dict": lambda t: {t: 1}[t],
}  # fmt: skip


@pytest.mark.parametrize("name", TAKES)
def test_a_number_that_is_taken_unsaid(name: str) -> None:
    take, w = TAKES[name], tg.tensor(np.array(1.5), requires_grad=True)
    with pytest.warns(
        RuntimeWarning,
        match=r"takes (a number|numbers) out of a tensor that requires gradients.*t\.item\(\).*t\.detach\(\)",
    ):
        take(w * 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        take(tg.tensor(np.array(1.5)))
        with tg.no_grad():
            take(w)
        for transform in (
            tg.grad,
            tg.jacobian,
            tg.hessian,
            lambda f: lambda x: tg.vjp(f, x),
            lambda f: lambda x: tg.jvp(f, (x,), (x,)),
        ):
            with pytest.raises((tg.GraphError, ValueError)) as caught:
                transform(lambda v: (v * v, take(v * 2))[0])(tg.tensor(np.array(1.5)))
            error: Any = caught.value
            # NumPy puts errors of its own before that of an element (by `flat` without a cause)
            while error.__cause__ is not None:
                error = error.__cause__
            assert "of a tensor that requires gradients" in str(error) or name == "flat"


def test_the_error_in_a_transform_has_the_line() -> None:
    with pytest.raises(
        tg.GraphError, match=r"float\(t\).*t\.item\(\) is the number.*at test_numbers\.py:\d+"
    ):
        tg.grad(lambda w: w * math.exp(w))(tg.tensor(1.0))
    assert tg.grad(lambda w: w * math.exp(w.item()))(tg.tensor(1.0)).item() == pytest.approx(
        math.e, rel=1e-6
    )


def test_in_a_transform_a_number_of_another_tensor_is_as_outside() -> None:
    w = tg.tensor(2.0, requires_grad=True)
    with pytest.warns(RuntimeWarning, match="takes a number"):
        assert tg.grad(lambda x: x * float(w))(tg.tensor(1.0)).item() == 2


def test_each_line_is_told_once() -> None:
    w = tg.tensor(1.5, requires_grad=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            float(w * 2)
        float(w)
    assert [(t.category, t.filename) for t in told] == [(RuntimeWarning, __file__)] * 2 and told[
        0
    ].lineno + 1 == told[1].lineno


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_everywhere(name: str) -> None:
    w = tg.tensor(np.array(1.5), requires_grad=True)
    OUT[:] = 0
    with pytest.raises((tg.TinygradError, TypeError)):
        REFUSED[name](w * 1.0)
    assert not OUT.any()


@pytest.mark.parametrize("name", SILENT)
def test_what_is_asked_for_or_loses_nothing_is_silent(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SILENT[name](tg.tensor(np.array(1.5), requires_grad=True) * 1.0)
        tg.grad(lambda v: (v * v, SILENT[name](v))[0])(tg.tensor(np.array(1.5)))


def test_a_trace_takes_no_number_of_a_parameter() -> None:
    """The record runs later, when the parameter has other values."""
    w, x = tg.tensor(2.0, requires_grad=True), tg.tensor([1.0, 2.0])
    with interpreting():
        for take in (
            float,
            lambda t: t.item(),
            lambda t: t.numpy(),
            lambda t: (t > 1).item(),
            lambda t: (t * 2).item(),
            lambda t: (t.detach() * 2).item(),
        ):
            with pytest.raises(tg.TraceError, match="not known"):
                tg.jit(lambda x: x * take(w))(x)  # noqa: B023


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w.detach(), lambda w: w.detach() * 2, lambda w: tg.where(w > 3, 2.0, w), lambda w: tg.floor(w), lambda w: w.astype(int).astype(np.float32),
        lambda w: tg.argmax(w) + 0.5, lambda w: tg.isfinite(w).astype(np.float32), lambda w: tg.sign(w - 3), lambda w: unrecorded(w),
    ],
)  # fmt: skip
def test_what_a_compiled_function_makes_of_a_parameter_alone_follows_it(use: Any) -> None:
    w, x = tg.tensor([2.0, 5.0], requires_grad=True), tg.tensor([1.0, 2.0])

    def f(x: Any) -> Any:
        return x * use(w)

    with interpreting():
        fast = tg.jit(f)
        for values in ([2.0, 5.0], [6.5, 1.0], [np.inf, -2.0]):
            w.data = values
            np.testing.assert_array_equal(fast(x).numpy(), f(x).numpy())


def unrecorded(w: Any) -> Any:
    with tg.no_grad():
        return w * 2


# --- tensors of tensors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        tg.tensor,
        tg.Parameter,
        lambda t: tg.tensor([t]),
        lambda t: tg.tensor([[t, 1.0]]),
        lambda t: tg.tensor(t, dtype=np.float64),
        np.array,
    ],
)
def test_a_tensor_of_a_tensor_with_gradients_is_refused(make: Any) -> None:
    w = tg.tensor(2.0, requires_grad=True)
    for t in (w, w * 2):
        with pytest.raises(tg.GraphError, match=r"t\.detach\(\)"):
            make(t)
        made = make(t.detach())
        assert np.max(made if isinstance(made, np.ndarray) else made.numpy()) == t.item()
        with tg.no_grad():
            make(t)


def test_weights_are_loaded_from_parameters() -> None:
    a, b = tg.nn.Linear(2, 3, rng=0), tg.nn.Linear(2, 3, rng=1)
    b.load_state_dict(dict(a.named_parameters()))
    np.testing.assert_array_equal(a.weight.numpy(), b.weight.numpy())


def test_a_step_returns_tensors() -> None:
    u, xs, h = tg.Parameter([[0.5]]), np.ones((3, 1, 1), np.float32), np.zeros((1, 1), np.float32)

    def run(step: Any, state: Any = h) -> Any:
        return tg.unroll(step, xs, state)

    with pytest.raises(
        tg.ShapeError,
        match=r"over step t=0: h is now a ndarray; expected a tensor.*test_numbers\.py:\d+",
    ):
        run(lambda x, h: (h * u + x, (h * u + x).numpy()))
    with pytest.raises(tg.ShapeError, match=r"s\['c'\] is now a float"):
        run(lambda x, s: (s["h"] * u, {"h": s["h"] * u, "c": 1.0}), {"h": h, "c": h})
    with pytest.raises(
        tg.ShapeError, match=r"step t=0: output\[1\] is a ndarray; expected a tensor"
    ):
        run(lambda x, h: ((h * u, (h * u).numpy()), h * u))
    count = iter(range(9))
    with pytest.raises(tg.ShapeError, match=r"step t=2: output is a float64"):
        run(lambda x, h: (np.float64(1.0) if next(count) == 2 else h * u, h * u))


def test_copies_of_computed_tensors() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    h = w * 2
    with pytest.raises(tg.GraphError, match=r"deepcopy: .*would be cut off.*t\.detach\(\)"):
        copy.deepcopy(h)
    for lonely in (copy.deepcopy([h])[0], pickle.loads(pickle.dumps(h))):
        with pytest.raises(
            tg.GraphError, match=r"nobody holds the tensor that the gradient of .* is for.*together"
        ):
            (lonely * w).sum().backward()
    for w2, h2 in (copy.deepcopy((w, h)), pickle.loads(pickle.dumps((w, h)))):
        h2.sum().backward()
        assert w2.grad.numpy().tolist() == [2, 2] and w.grad is None
    copy.copy(h).sum().backward()
    assert w.grad.numpy().tolist() == [2, 2]
    assert copy.deepcopy(h.detach()).tolist() == [2, 4]
    module = tg.Module()
    module.w = tg.Parameter([1.0, 2.0])
    module.stored = module.w * 3
    twin = copy.deepcopy(module)
    twin.stored.sum().backward()
    assert twin.w.grad.numpy().tolist() == [3, 3] and module.w.grad is None


# --- arrays that come in -----------------------------------------------------------------------------------------------------


class OfAnotherLibrary:
    """Looks like an array, with a dtype that is not NumPy's."""

    def __init__(self, values: Any) -> None:
        self.values, self.dtype = np.asarray(values), "other.float32"
        self.shape = self.values.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values


def entries(t: Any) -> list[Callable[[Any], Any]]:
    """Where arrays of two numbers come in."""
    cell = tg.cells.Elman(2, 2, rng=0)
    xs = np.ones((3, 1, 2), np.float32)
    return [
        tg.tensor, tg.Parameter, lambda a: t * a, lambda a: t > a, lambda a: tg.where(t > 0, t, a), lambda a: tg.concatenate([t, a]), lambda a: t.__setitem__(..., a),
        lambda a: setattr(tg.Parameter([1.0, 2.0]), "data", a), lambda a: tg.grad(lambda x: (x * x).sum())(a), lambda a: tg.jvp(tg.exp, (t,), (a,)),
        lambda a: (tg.Parameter([1.0, 2.0]) * 1).backward(a), lambda a: tg.jit(lambda x, y: x * y)(t, a), lambda a: np.add(t, a),
        lambda a: tg.unroll(cell, xs * a), lambda a: tg.unroll(cell, xs, np.zeros((1, 2)) + a), lambda a: operator_iadd(t.copy(), a),
    ]  # fmt: skip


def operator_iadd(t: Any, a: Any) -> Any:
    t += a
    return t


@pytest.mark.parametrize("k", range(16))
def test_masked_arrays_and_matrices_are_refused(k: int) -> None:
    masked = np.ma.array([1.0, 999.0], mask=[0, 1])
    with pytest.raises(
        tg.TinygradError, match=r"filled\(0\)|numbers of shape|component state is a"
    ):
        entries(tg.tensor(np.array([1.0, 2.0])))[k](masked)


def test_indices_lengths_and_matrices() -> None:
    t, whole = tg.tensor([1.0, 2.0]), np.ma.array([1, 0], mask=[0, 1])
    for index in (whole, (whole,), whole > 0):
        with pytest.raises(tg.DtypeError, match=r"filled\(0\)"):
            t[index]
        with pytest.raises(tg.DtypeError, match=r"filled\(0\)"):
            t[index] = 1.0
    with pytest.raises(tg.DtypeError, match=r"np\.asarray\(matrix\)"):
        t * np.matrix([[1.0, 2.0]])
    for options in ({"lengths": np.ma.array([1, 2])}, {"resets": np.ma.zeros((2, 2), bool)}):
        with pytest.raises(tg.TinygradError, match=r"filled\(0\)"):
            tg.unroll(tg.cells.Elman(1, 2, rng=0), np.ones((2, 2, 1), np.float32), **options)


def test_arrays_of_other_libraries_are_refused() -> None:
    t, other = tg.tensor([1.0, 2.0]), OfAnotherLibrary(np.ones(2, np.float32))
    for use in (
        lambda: t * other,
        lambda: other * t,
        lambda: tg.tensor(other),
        lambda: tg.stack([t, other]),
        lambda: t.__setitem__(0, other),
        lambda: t @ other,
    ):
        with pytest.raises(
            tg.DtypeError,
            match=r"other\.float32 of a .*OfAnotherLibrary is not NumPy's; give its values as an array, np\.asarray\(x\)",
        ):
            use()


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_arrays_of_the_other_byte_order_are_taken(dtype: str) -> None:
    native = np.array([1.5, -2.0], dtype).astype(np.dtype(dtype).newbyteorder("="))
    with interpreting():
        for make in entries(tg.tensor(np.array([1.0, 2.0], native.dtype)))[:3]:
            found, expected = make(np.array([1.5, -2.0], dtype)), make(native)
            assert found.dtype == expected.dtype and found.dtype.isnative
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert (
        tg.tensor(np.array([1, 2], ">i8")).dtype.isnative
        and tg.tensor([1.0], dtype=">f4").dtype == np.float32
    )
    assert tg.tensor([1.0]).astype(">f4").dtype == np.float32


def test_lists_and_arrays_beside_a_tensor_take_its_dtype() -> None:
    assert (tg.tensor([1.0, 2.0]) * [3.0, 4.0]).dtype == np.float32


def test_detach_of_what_is_no_tensor() -> None:
    @dataclasses.dataclass
    class Carry:
        h: Any

    w = tg.tensor([1.0], requires_grad=True)
    found = tg.detach((w * 2, np.ones(2), 3, None))
    assert not found[0].requires_grad and found[1].tolist() == [1, 1] and found[2:] == (3, None)
    with pytest.raises(
        tg.TinygradError, match=r"detach: expected a tensor, or a tuple.*found a Carry"
    ):
        tg.detach(Carry(w))


def test_copies_inside_a_transform() -> None:
    """A shallow copy stays on the tape; what would be cut off is refused."""
    w = tg.tensor(2.5)
    assert tg.grad(lambda w: w * copy.copy(w))(w).item() == 5.0
    for cut in (
        copy.deepcopy,
        lambda t: copy.deepcopy([t])[0],
        lambda t: pickle.loads(pickle.dumps(t)),
        lambda t: copy.deepcopy([t * 2])[0],
    ):
        with pytest.raises(tg.GraphError, match="would be cut off from its arguments"):
            tg.grad(lambda w, cut=cut: w * cut(w))(w)


def test_a_checkpointed_function_returns_tensors() -> None:
    with pytest.raises(tg.GraphError, match="returned an array"):
        tg.checkpoint(lambda v: (v * v).numpy(), tg.tensor([1.0, 2.0], requires_grad=True))


def test_masked_arrays_in_lists_are_refused() -> None:
    row = np.ma.array([1.0, 999.0], mask=[False, True])
    with pytest.raises(tg.DtypeError, match="lose its mask"):
        tg.tensor([row, row])
