"""Compiled cells whose steps are odd.

States that nobody reads, results that are given, no gradients, no features; and what cannot be
compiled.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.interpreted import interpreting
from tinygrad_rnn.compiler import CompileError
from tinygrad_rnn.core.errors import ShapeError
from tinygrad_rnn.core.tree import flatten, tree_map
from tinygrad_rnn.kernels import cache, runtime
from tinygrad_rnn.loops import instructions, writer

RNG = np.random.default_rng(5)
XS = RNG.normal(size=(3, 2, 4))
H = RNG.normal(size=(2, 4))
WHOLE = RNG.integers(-9, 9, (2, 4))
W = tg.Parameter(RNG.normal(size=(4, 4)))
ROW = tg.tensor(RNG.normal(size=4), requires_grad=True)
CONSTANT = tg.tensor(RNG.normal(size=4))
RESETS = np.array([[0, 1], [1, 0], [0, 0]], bool)


def results(cell: Any, xs: Any, state: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Outputs, states, which of them have gradients, and the gradients of all that is given."""
    x = tg.tensor(xs.copy(), requires_grad=xs.dtype.kind == "f")
    first = tree_map(
        lambda a: tg.tensor(np.array(a), requires_grad=np.asarray(a).dtype.kind == "f"), state
    )
    for held in (W, ROW):
        held.grad = None
    ys, last = tg.unroll(cell, x, first, **options)
    values = {**dict(flatten(ys, "output")), **dict(flatten(last, "state"))}
    random = np.random.default_rng(1)
    terms = [
        (v.astype("f8") * random.normal(size=v.shape)).sum()
        for v in values.values()
        if v.requires_grad
    ]
    if terms:
        sum(terms[1:], terms[0]).backward()
    given = {"x": x, "W": W, "row": ROW, **dict(flatten(first, "first"))}
    return {
        **{name: v.numpy() for name, v in values.items()},
        **{f"{name} has a gradient": np.array(v.requires_grad) for name, v in values.items()},
        **{
            f"gradient of {name}": None if t.grad is None else t.grad.numpy()
            for name, t in given.items()
        },
    }


def check(cell: Any, xs: Any, state: Any, *, compiled: bool = False, **options: Any) -> None:
    """All of it is equal, plain and compiled; and the code can be looked at."""
    with np.errstate(all="ignore"):
        expected = results(cell, xs, state, options)
        with contextlib.nullcontext() if compiled else interpreting():
            fast = tg.jit(cell)
            found = results(fast, xs, state, options)
            assert "def forward(" in fast.source()
            assert "flops" in str(fast.explain())
    assert found.keys() == expected.keys()
    # with these the state before or the first one goes along, and has gradients, of zeros
    goes_on = options.keys() & {"resets", "lengths"}
    for name, a in expected.items():
        b = found[name]
        if goes_on and name.endswith("has a gradient"):
            assert b >= a, name
            continue
        if a is None or b is None:
            assert a is b or (goes_on and a is None and not b.any()), name
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if a.dtype.kind == "f":
            np.testing.assert_allclose(
                b, a, rtol=1e-10 if a.dtype == np.float64 else 1e-5, atol=1e-12, err_msg=name
            )
            assert np.array_equal(np.signbit(a)[a == 0], np.signbit(b)[b == 0]) or name.startswith(
                "gradient"
            ), name
        else:
            np.testing.assert_array_equal(b, a, err_msg=name)


def filled(value: float) -> Any:
    return np.full(4, value)


def assigned(x: Any, h: Any) -> Any:
    """An element of a joined value is replaced, and values are added at places of another."""
    v = tg.concatenate([x, h], axis=1)
    added = tg.index_add(v, np.array([0, 0, 1, 7]), h, axis=1)
    v = v * 1.0
    v[:, 0] = h[:, 1]
    return (v, added), h * x


STEPS: dict[str, tuple[Callable[[Any, Any], Any], Any, Any]] = {
    "a state that is not read, and whose new value needs no gradient": (
        lambda x, h: (x * 2.0, x),
        XS,
        H,
    ),
    "a state that is not read": (lambda x, h: (x @ W, tg.tanh(x @ W)), XS, H),
    "a state that is returned as it is": (lambda x, h: (x * h, h), XS, H),
    "a state that is a constant": (lambda x, h: (x * h, tg.broadcast_to(CONSTANT, h.shape)), XS, H),
    "a state that is a constant with a gradient": (
        lambda x, h: (x * h, tg.broadcast_to(ROW, h.shape)),
        XS,
        H,
    ),
    "a state that is zero": (lambda x, h: (x * h, tg.tensor(np.zeros(h.shape))), XS, H),
    "a state that is the input": (lambda x, h: (x * h, x), XS, H),
    "an output that is the state": (lambda x, h: (h, h * x), XS, H),
    "an output that is the input": (lambda x, h: (x, h * x), XS, H),
    "an output that is a constant": (lambda x, h: (CONSTANT, h * x), XS, H),
    "an output that is a constant with a gradient": (lambda x, h: (ROW, h * x), XS, H),
    "an output that is a parameter": (lambda x, h: (W, h @ W), XS, H),
    "one value several times": (
        lambda x, h: (lambda y: ((y, y, h, x, x, CONSTANT, CONSTANT), y))(h * x),
        XS,
        H,
    ),
    "an output without gradient": (lambda x, h: ((h > 0, (h * x).detach(), x), h * x), XS, H),
    "nothing with a gradient": (lambda x, h: ((h * x).detach(), h.detach() + 1.0), XS, H),
    "states that change places": (lambda x, s: (s[0] * x, (s[1], s[0])), XS, (H, 2 * H)),
    "two states that are one": (lambda x, s: (s[0] * x, (s[1] * x, s[1] * x)), XS, (H, 2 * H)),
    "states of two dtypes": (
        lambda x, s: (s[0] * x, (s[1].astype("f8") * x, s[0].astype("f4") * 2)),
        XS,
        (H, H.astype("f4")),
    ),
    "states of two dtypes, the narrow one first": (
        lambda x, s: (s[1] * x, (s[1].astype("f4"), s[0].astype("f8") * x)),
        XS,
        (H.astype("f4"), H),
    ),
    "no state": (lambda x, s: (x @ W, ()), XS, ()),
    "a state of integers": (lambda x, s: (s * 2, s + 1), XS, WHOLE),
    "integers alone": (lambda x, s: (s * 2 + x, s + x), RNG.integers(-9, 9, (3, 2, 4)), WHOLE),
    "a state of booleans": (lambda x, s: (s, ~s), XS, WHOLE > 0),
    "booleans alone": (lambda x, s: (s & x, s ^ x), RNG.random((3, 2, 4)) < 0.5, WHOLE > 0),
    "integers and floats": (
        lambda x, s: (s[0] * x, (s[0] * x + s[1].astype("f8") * 0.5, s[1] * 3 % 7)),
        XS,
        (H, WHOLE),
    ),
    "states without rows": (
        lambda x, s: (s[0] * x, (s[0] + 1, s[1] + 1)),
        XS,
        (np.zeros(()), np.zeros((), int)),
    ),
    "a state without features": (
        lambda x, h: (tg.concatenate([x, h], axis=1) @ W, h),
        XS,
        np.zeros((2, 0)),
    ),
    "inputs without features": (
        lambda x, h: (tg.concatenate([x, h], axis=1) @ W, h * 2),
        np.zeros((3, 2, 0)),
        H,
    ),
    "no features at all": (lambda x, h: (x, h), np.zeros((3, 2, 0)), np.zeros((2, 0))),
    "inputs that are not read": (lambda x, h: (h @ W, tg.tanh(h @ W)), XS, H),
    "nothing is read": (lambda x, h: (tg.tensor(np.ones((h.shape[0], 2))), h), XS, H),
    "one row": (lambda x, h: (x @ W + h, tg.tanh(x @ W + h)), XS[:, :1], H[:1]),
    "one step": (lambda x, h: (x @ W + h, tg.tanh(x @ W + h)), XS[:1], H),
    "steps without rows": (lambda x, h: (h * x, h + x), XS[:, 0, 0], H[0]),
    "nested outputs": (lambda x, h: ({"a": [h, (x,)], "b": h * 2}, h + x), XS, H),
    "integers as inputs": (lambda x, h: (h, h + x), RNG.integers(-9, 9, (3, 2, 4)), H),
    "booleans as inputs": (lambda x, h: (h * x, tg.where(x, h, x)), RNG.random((3, 2, 4)) < 0.5, H),
    "constants that are nan": (
        lambda x, h: (h * filled(np.nan), tg.where(x > 0, h, np.nan)),
        XS,
        H,
    ),
    "zeros with a sign": (
        lambda x, h: (
            (
                h * 0 + filled(-0.0),
                0.0 * h - filled(0),
                h * filled(0),
                -(h * 0.0),
                h * 0 + filled(0),
            ),
            h,
        ),
        XS,
        -abs(H),
    ),
    "infinities times zero": (
        lambda x, h: ((h / 0.0 * filled(0), tg.maximum(x, np.inf), tg.minimum(h, -np.inf)), h),
        XS,
        H,
    ),
    "what is not a number in choices": (
        lambda x, h: (
            (tg.maximum(h, x), tg.minimum(x, h), tg.clip(h, -1.0, 1.0), abs(h), tg.sign(h)),
            h,
        ),
        np.full((3, 2, 4), np.nan),
        H,
    ),
    "the largest of zeros and what is not a number": (
        lambda x, h: ((tg.max(h, axis=1), tg.min(h, axis=1)), h),
        XS,
        np.array([[np.nan, 1, 2, 3], [-1, 0, -2, -3]]),
    ),
    "values at places of a joined value": (assigned, XS, H),
}


@pytest.mark.parametrize("name", STEPS)
def test_odd_steps(name: str) -> None:
    cell, xs, state = STEPS[name]
    check(cell, xs, state)
    if xs.ndim == 3 and xs.shape[:2] == (3, 2):
        check(cell, xs, state, reverse=True, return_states=True)
        if name not in ("an output that is a constant", "an output that is a constant with a gradient", "an output that is a parameter", "one value several times",
                        "states without rows"):  # fmt: skip
            check(cell, xs, state, resets=RESETS)
            check(cell, xs, state, lengths=[1, 3])


@pytest.mark.parametrize("name", ["a state that is not read, and whose new value needs no gradient", "integers and floats", "no features at all",
                                  "values at places of a joined value", "states of two dtypes, the narrow one first"])  # fmt: skip
def test_odd_steps_compiled(name: str) -> None:
    cell, xs, state = STEPS[name]
    check(cell, xs, state, compiled=True)


def test_whether_a_result_has_a_gradient() -> None:
    """It has one if the plain steps give it one.

    What depends on nothing that has a gradient is a constant.
    """

    def step(x: Any, s: Any) -> Any:
        a, b, c = s
        return (x * 2.0, a * 2.0, b * 1.0, c * ROW), (x * 1.0, a * 1.0, c * 0.5)

    for T in (1, 2, 3, 4):
        for wanted in (set(), {"x"}, {0}, {1}, {2}):
            found = []
            for make in (lambda f: f, tg.jit):
                with interpreting():
                    x = tg.tensor(np.ones((T, 2, 4)), requires_grad="x" in wanted)
                    first = tuple(tg.tensor(H, requires_grad=k in wanted) for k in range(3))
                    ys, last = tg.unroll(make(step), x, first)
                    found.append([v.requires_grad for v in (*ys, *last)])
            assert found[0] == found[1], (T, wanted)


def test_gradients_of_gradients_where_some_results_have_none() -> None:
    def step(x: Any, s: Any) -> Any:
        return (tg.tanh(s[0] @ W), s[1] * 1.0), (tg.tanh(s[0] @ W + x), x * 2.0)

    found = []
    for make in (lambda f: f, tg.jit):
        with interpreting():
            W.grad = None
            (y, z), (h, _) = tg.unroll(make(step), XS, (H, H.astype(np.float32).astype("f8")))
            ((y * y).sum() + z.sum() + h.sum()).backward(create_graph=True)
            g, W.grad = W.grad, None
            (g * g).sum().backward()
            found.append((g.numpy(), W.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_of_elements_that_a_matrix_without_gradient_and_a_bias_share(
    compiled: bool,
) -> None:
    """The gradient of the elements is added up for the bias, and read for the input.

    It has to be stored as well.
    """
    matrix, bias = RNG.normal(size=(4, 3)), tg.Parameter(RNG.normal(size=3))

    def step(x: Any, h: Any) -> Any:
        return (x @ matrix + bias)[:, [0, -2, -3]], h

    found = []
    for make in (lambda f: f, tg.jit):
        with contextlib.nullcontext() if compiled else interpreting():
            x, bias.grad = tg.tensor(XS, requires_grad=True), None
            ys, _ = tg.unroll(make(step), x, H)
            (ys * np.arange(18.0).reshape(3, 2, 3)).sum().backward()
            found.append((x.grad.numpy(), bias.grad.numpy()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


# --- what cannot be compiled ------------------------------------------------------------------------------------------------------


APPLIED = instructions.Numbers.applied


def failing(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> str:
    """The message of a cell of which the instructions for tanh are changed."""

    def changed(self: Any, name: str, values: Any) -> Any:
        found = APPLIED(self, name, values)
        return change(found) if name == "tanh" else found

    def cell(x: Any, h: Any) -> Any:
        x = x * 2.0
        h = tg.tanh(x + h)  # the line
        return h, h

    monkeypatch.setattr(instructions.Numbers, "applied", changed)
    monkeypatch.setattr(runtime, "_modules", {})  # nothing that was compiled before is found
    monkeypatch.setattr(cache, "read", lambda folder, key: {})
    with pytest.raises(CompileError) as caught:
        tg.unroll(tg.jit(cell), XS, H)
    text = str(caught.value)
    assert "\n" not in text
    assert "tg.eager()" in text
    with tg.eager():
        assert tg.unroll(tg.jit(cell), XS, H)[0].shape == XS.shape
    return text


def test_what_has_no_instructions_names_the_operation_and_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, first = inspect.getsourcelines(failing)
    line = first + next(k for k, text in enumerate(lines) if "# the line" in text)

    def refuse(value: Any) -> Any:
        raise instructions.NoInstructions("there is no function 'nowhere'")

    for change, said in (
        (refuse, "NoInstructions: there is no function 'nowhere'"),
        (lambda value: 1 / 0, "ZeroDivisionError"),
        (lambda value: value[0], "TypeError"),
    ):
        text = failing(monkeypatch, change)
        assert text.startswith("tg.jit: tanh (of shape Bx4) cannot be compiled")
        assert said in text
        assert f"test_jit_steps.py:{line}" in text


def test_a_fault_of_the_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write", lambda *args, **more: 1 / 0)
    monkeypatch.setattr("tinygrad_rnn.compiler.sequence.write", writer.write)
    assert "the fault is the compiler's (ZeroDivisionError" in failing(monkeypatch, lambda x: x)


def test_rows_of_the_batch_from_outside() -> None:
    """What has a row for each of the batch is a tensor with the batch first.

    Of others the message says what applies.
    """
    first, second = tg.tensor(H), tg.tensor(H.T)
    check(lambda x, h: (h * first, h), XS, H)
    for step in (
        lambda x, h: (h * second.T, h),
        lambda x, h: (h * H, h),
        lambda x, h: (h * tg.Parameter(H), h),
    ):
        tg.unroll(step, XS, H)
        with (
            interpreting(),
            pytest.raises(
                CompileError,
                match=r"no array of NumPy and no parameter, and the batch its first axis.*in x or in the state.*tg\.eager",
            ),
        ):
            tg.unroll(tg.jit(step), XS, H)


def test_an_empty_sequence_or_batch() -> None:
    for xs, state in ((XS[:0], H), (XS[:, :0], H[:0])):
        texts = []
        for make in (lambda f: f, tg.jit):
            with pytest.raises(ShapeError) as caught:
                tg.unroll(make(lambda x, h: (x * h, h)), xs, state)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
