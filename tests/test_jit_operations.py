"""Every primitive of the vocabulary inside a compiled step.

On values of the batch and of the state, against the plain steps.

Each example of a primitive's entry gets a batch axis in front. Modules run as Python in most of
these tests, which takes milliseconds; the tests marked `full` compile them, all examples of a
primitive in one module.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.primitive import REGISTRY
from tinygrad_rnn.core.record import apply
from tinygrad_rnn.core.tree import leaves
from tinygrad_rnn.ops.define import axes_of
from tinygrad_rnn.ops.facts import by_library

from .interpreted import interpreting
from .test_primitives import NAMES, call, draw, parameter_sets

T, BATCH = 3, 5  # no axis of the examples is as long as the batch
# nodes of whole segments, and what cuts their results
STRETCHES = ("checkpoint", "unroll", "jit", "segment_gradient", "part")
# of a library, which no step calls
REFUSED = [n for n in NAMES if by_library(REGISTRY[n])]
LEFT = (*STRETCHES, *REFUSED)
# called by their primitive
REGISTERED = (
    "reshape",
    "getitem",
    "setitem",
    "transpose",
    "windows",
    "unwindows",
    "add_along_axis",
    "put_along_axis",
)
ELEMENTWISE = {
    1: [[(4, 2)], [()], [(0, 3)], [(2, 1, 3)]],
    2: [
        [(3, 4), (3, 4)],
        [(3, 4), (1, 4)],
        [(3, 1), (3, 4)],
        [(3, 1), (1, 4)],
        [(), ()],
        [(2, 1, 3), (1, 2, 1)],
        [(0, 3), (1, 3)],
    ],
    3: [[(3, 4), (3, 4), (3, 4)], [(1, 4), (3, 4), (3, 1)], [(1, 1), (3, 4), (1, 1)], [(), (), ()]],
}


class Example(NamedTuple):
    """A primitive on inputs of one row; `varies` says which of them have a batch axis in front."""

    name: str
    label: str
    values: list[Any]  # arrays of one row
    varies: list[bool]
    run: Callable[..., Any]  # on inputs with the batch in front

    def __str__(self) -> str:
        return f"{self.name}-{self.label}"


def shifted(name: str, params: dict[str, Any], shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    """The params for inputs with one more axis in front."""
    rank, out = len(shapes[0]) if shapes else 0, dict(params)
    if name in ("stack",):
        rank += 1
    # over the flattened row: rolled along the last axis
    if name == "roll" and params.get("axis") is None:
        out["axis"] = rank if rank else 0
    elif "axis" in params or name in (
        "sum",
        "nansum",
        "mean",
        "max",
        "min",
        "logsumexp",
        "norm",
        "any",
        "all",
    ):
        axis = params.get("axis")
        out["axis"] = (
            tuple(a + 1 for a in axes_of(axis, rank))
            if not isinstance(axis, int)
            else axis % rank + 1
        )
    for axis in {"axis1", "axis2"} & params.keys():
        out[axis] = params[axis] % (rank + (name == "undiagonal")) + 1
    if name in ("argmax", "argmin") and params.get("axis") is None:
        out["axis"] = 1
    if name in ("reshape", "broadcast_to"):
        out["shape"] = ("B", *params["shape"])
    if name in ("scatter", "undiagonal"):
        out["shape"] = ("B", *params["shape"])
    if name in ("getitem", "scatter", "setitem"):
        index = params["index"]
        out["index"] = (slice(None), *(index if isinstance(index, tuple) else (index,)))
    if name == "transpose":
        out["axes"] = (0, *(a % rank + 1 for a in params["axes"]))
    if name == "pad":
        widths = np.broadcast_to(np.asarray(params["pad_width"]), (rank, 2)).tolist()
        out["pad_width"] = ((0, 0), *map(tuple, widths))
    return out


def with_batch(params: dict[str, Any], batch: int) -> dict[str, Any]:
    return {
        k: tuple(batch if isinstance(n, str) else n for n in v) if k == "shape" else v
        for k, v in params.items()
    }


def examples(name: str) -> list[Example]:
    entry = REGISTRY[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found: list[Example] = []

    def add(
        label: str, values: list[Any], params: dict[str, Any], varies: list[bool] | None = None
    ) -> None:
        full = {**entry.defaults, **params}
        shapes = [np.shape(v) for v in values]
        if isinstance(full.get("axis"), int) and not shapes[0]:
            return  # an axis of one number; each row has none
        full = full if entry.elementwise else shifted(name, full, shapes)

        def run(*inputs: Any) -> Any:
            ready = with_batch(
                full, next(i.shape[0] for i, v in zip(inputs, chosen, strict=True) if v)
            )
            return apply(entry, inputs, ready) if entry.variadic or name in REGISTERED else call(
                entry, list(inputs), ready
            )  # fmt: skip

        chosen = varies or [True] * len(values)
        found.append(Example(name, label, values, chosen, run))

    if entry.elementwise:
        for params in parameter_sets(entry):
            for shapes in ELEMENTWISE[len(entry.inputs)]:
                drawn = [draw(entry, i, s, rng) for i, s in enumerate(shapes)]
                label = "+".join("x".join(map(str, s)) or "number" for s in shapes) + "".join(
                    f"-{k}={v}" for k, v in params.items()
                )
                add(label, drawn, params)
        return found
    for k, (inputs, params) in enumerate(entry.examples or []):
        drawn = [
            draw(entry, i, v, rng) if isinstance(v, tuple) else np.asarray(v)
            for i, v in enumerate(inputs)
        ]
        if name in ("argmax", "argmin") and not drawn[0].ndim:
            continue
        if name == "broadcast_to":
            drawn = [
                drawn[0].reshape((1,) * (len(params["shape"]) - drawn[0].ndim) + drawn[0].shape)
            ]
        if name == "setitem":
            part = np.zeros(drawn[0].shape)[params["index"]]
            drawn[1] = drawn[1].reshape((1,) * (part.ndim - drawn[1].ndim) + drawn[1].shape)
        if name == "astype":
            for dtype in (bool, np.int64, np.int32, np.float32, np.float64):
                add(np.dtype(dtype).name, drawn, {"dtype": np.dtype(dtype)})
        elif name == "einsum":
            left, output = params["subscripts"].split("->")
            terms = left.split(",")
            add(
                f"{params['subscripts']}-all",
                drawn,
                {"subscripts": ",".join(f"z{t}" for t in terms) + f"->z{output}"},
            )
            add(
                f"{params['subscripts']}-first",
                drawn,
                {"subscripts": ",".join([f"z{terms[0]}", *terms[1:]]) + f"->z{output}"},
                [True] + [False] * (len(terms) - 1),
            )
        elif name == "matmul":
            if drawn[0].ndim > 1 and drawn[1].ndim > 1:
                same = [
                    v.reshape((1,) * (max(d.ndim for d in drawn) - v.ndim) + v.shape) for v in drawn
                ]
                add(f"{k}-both", same, params)
            if drawn[1].ndim <= 2:
                add(f"{k}-left", drawn, params, [True, False])
            if drawn[0].ndim <= 2 and drawn[1].ndim > 1:
                add(f"{k}-right", drawn, params, [False, True])
        elif name in ("take", "index_add"):
            add(f"{k}", drawn, params, [True, False, True][: len(drawn)])
        elif name == "searchsorted":  # in one row, which all of the batch have
            add(f"{k}", drawn, params, [False, True])
        else:
            add(f"{k}", drawn, params)
    return [e for e in found if any(e.varies)]


EXAMPLES = [e for name in NAMES if name not in LEFT for e in examples(name)]


def step_of(several: list[Example]) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """A step with these examples, each on an input and the state.

    And how its inputs are drawn for a dtype.
    """

    def draw_inputs(dtype: Any) -> tuple[tuple[np.ndarray, ...], list[Any]]:
        rng = np.random.default_rng(5)
        xs: list[np.ndarray] = []
        held: list[Any] = []
        for e in several:
            for value, varies in zip(e.values, e.varies, strict=True):
                kind = dtype if value.dtype.kind == "f" else value.dtype
                if varies:
                    noise = (
                        rng.uniform(0.97, 1.03, (T, BATCH, *value.shape))
                        if value.dtype.kind == "f"
                        else 1
                    )
                    xs.append(
                        (value * noise).astype(kind)
                        if value.dtype.kind == "f"
                        else np.broadcast_to(value, (T, BATCH, *value.shape)).copy()
                    )
                else:
                    held.append(
                        tg.tensor(value.astype(kind), requires_grad=value.dtype.kind == "f")
                    )
        return tuple(xs), held

    def make(dtype: Any) -> Any:
        xs, held = draw_inputs(dtype)

        def step(x: Any, h: Any) -> Any:
            parts, constants, ys = iter(x), iter(held), []
            scale = 1.0 + 0.1 * tg.tanh(h)
            for e in several:
                inputs = []
                for value, varies in zip(e.values, e.varies, strict=True):
                    v = next(parts) if varies else next(constants)
                    if varies and value.dtype.kind == "f":
                        v = v * scale.reshape((-1, *[1] * value.ndim))
                    inputs.append(v)
                ys.append(e.run(*inputs))
            for y in ys:
                kept = y if y.dtype == h.dtype else y.astype(h.dtype)
                h = 0.5 * h + 0.1 * tg.tanh(
                    kept.sum(axis=tuple(range(1, kept.ndim))) if kept.ndim > 1 else kept
                )
            return tuple(ys), h

        return step, xs, held

    return make, draw_inputs


def compare(several: list[Example], dtype: Any) -> None:
    make, _ = step_of(several)
    found = []
    for compiled in (False, True):
        step, xs, held = make(dtype)
        inputs = [tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in xs]
        first = tg.tensor(np.linspace(-0.5, 0.5, BATCH).astype(dtype), requires_grad=True)
        ys, last = tg.unroll(tg.jit(step) if compiled else step, tuple(inputs), first)
        results = [*leaves(ys), last]
        loss = (first * 0).sum()
        for k, y in enumerate(results):
            if y.dtype.kind == "f":
                loss = loss + (y * np.cos(np.arange(y.size) + k).reshape(y.shape)).sum().astype(
                    dtype
                )
        loss.backward()
        found.append(
            [
                *(y.numpy() for y in results),
                *(t.grad.numpy() if t.grad is not None else None for t in [first, *inputs, *held]),
            ]
        )
    tolerance = (
        {"rtol": 1e-10, "atol": 1e-11} if dtype == np.float64 else {"rtol": 2e-5, "atol": 2e-5}
    )
    for k, (a, b) in enumerate(zip(found[1], found[0], strict=True)):
        if b is None or a is None:
            assert not np.any(a if b is None else b), f"value {k}: a gradient is missing"
            continue
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, **tolerance, err_msg=f"value {k} of {len(found[0])}")


@pytest.mark.parametrize(
    "dtype",
    [np.float64, pytest.param(np.float32, marks=pytest.mark.full)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_in_a_step(example: Example, dtype: Any) -> None:
    with interpreting():
        compare([example], dtype)


@pytest.mark.full
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in LEFT])
def test_compiled(name: str, dtype: Any) -> None:
    chosen = [e for e in EXAMPLES if e.name == name]
    assert chosen, f"'{name}' has no examples to run in a step"
    compare(chosen, dtype)


def test_several_compiled() -> None:
    """One module with operations of each kind.

    By index, by a table, at places that are values, with integers and booleans.
    """
    chosen = (
        "getitem-3",
        "add_along_axis-0",
        "argmax-1",
        "cumsum-0",
        "any-0",
        "astype-int32",
        "one_hot-0",
    )
    found = [e for e in EXAMPLES if str(e) in chosen]
    assert len(found) == len(chosen)
    compare(found, np.float32)


# --- whole programs -------------------------------------------------------------------------------------------------------------


def in_a_checkpoint(x: Any, h: Any) -> Any:
    h = tg.checkpoint(lambda a, b: tg.tanh(a * b) + b, x, h)
    return h, h


def merged(x: Any, h: Any) -> Any:
    """Places of the rows as rows of a product, and back."""
    w = tg.tensor(np.linspace(-1, 1, 12).reshape(3, 4))
    a = x.reshape(x.shape[0], 2, 3).reshape(-1, 3)
    y = tg.softmax(tg.tanh(a @ w + 0.1), -1) * tg.sum(a, axis=1, keepdims=True)
    y = (y - y.mean(axis=0)).reshape(-1, 2, 4).transpose(0, 2, 1)
    return y, tg.tanh(h + tg.concatenate([y.sum(axis=1)] * 3, axis=1))


def counted(x: Any, h: Any) -> Any:
    """A table is read at a place that comes from the state."""
    table = tg.tensor(np.linspace(-1, 1, 21).reshape(7, 3), requires_grad=True)
    k = (tg.abs(h[:, 0]) * 3).astype(np.int64) % 7
    e = tg.take(table, k, 0)
    h = tg.tanh(h + tg.concatenate([e, e], axis=1) * x)
    return tg.where((k > 2).reshape((-1, 1)), h, -h), h


def normalised(x: Any, h: Any) -> Any:
    """Values over the rows of the batch, which vary from step to step and have no rows themselves."""
    a = (x - x.mean(axis=0)) / tg.sqrt(tg.var(x, axis=0) + 0.1)
    h = tg.tanh(a + h * tg.max(x, axis=0, keepdims=True) / x.shape[0])
    return h / tg.norm(h), h


def sizes(x: Any, h: Any) -> Any:
    """Arrays that are made in the step for the size of the batch."""
    h = (
        tg.concatenate([h[:, :3], np.zeros((x.shape[0], 3))], axis=1)
        + tg.tensor(np.ones((x.shape[0], 1))) * x
    )
    return h, tg.sin(h)


PROGRAMS = [in_a_checkpoint, merged, counted, normalised, sizes]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_programs(program: Any, batch: int) -> None:
    found = []
    rng = np.random.default_rng(0)
    xs, h = rng.normal(size=(T, batch, 6)), rng.normal(size=(batch, 6))
    with interpreting():
        for compiled in (False, True):
            x, first = tg.tensor(xs, requires_grad=True), tg.tensor(h, requires_grad=True)
            ys, last = tg.unroll(tg.jit(program) if compiled else program, x, first)
            (
                (ys * np.cos(np.arange(ys.size)).reshape(ys.shape)).sum() + (last * last).sum()
            ).backward()
            found.append([ys.numpy(), last.numpy(), x.grad.numpy(), first.grad.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def test_tokens() -> None:
    """Integers as the input of a step: an embedding, and a one-hot code.

    A token that is none is found out.
    """
    table = tg.Parameter(np.random.default_rng(0).normal(size=(5, 3)))

    def step(k: Any, h: Any) -> Any:
        h = tg.tanh(
            tg.take(table, k, 0)
            + h @ tg.one_hot(k, classes=3, dtype=np.float64).reshape((-1, 3, 1)).sum(axis=0) * 0.1
            + h
        )
        return tg.argmax(h, -1), h

    ks = np.random.default_rng(1).integers(0, 3, (T, BATCH))
    found = []
    with interpreting():
        for run in (step, tg.jit(step)):
            table.grad = None
            ys, last = tg.unroll(run, tg.tensor(ks), np.ones((BATCH, 3)))
            (last * last).sum().backward()
            found.append([ys.numpy(), last.numpy(), table.grad.numpy()])
        ks[1, 1] = 5
        with pytest.raises(tg.ShapeError, match=r"one_hot|take.*5"):
            tg.unroll(tg.jit(step), tg.tensor(ks), np.ones((BATCH, 3)))
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-10)


def test_a_running_maximum_chooses_as_in_the_plain_step() -> None:
    """Among equal elements, zeros of both signs, infinities and nan: values and gradients."""
    special = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
    xs = np.random.default_rng(2).choice(special, (T, 200, 4))

    def step(x: Any, h: Any) -> Any:
        y = tg.cummax(x)
        return y, h

    found = []
    with interpreting():
        for run in (step, tg.jit(step)):
            x = tg.tensor(xs, requires_grad=True)
            ys, _ = tg.unroll(run, x, np.zeros((200, 4)))
            ys.backward(np.cos(np.arange(ys.size)).reshape(ys.shape))
            found.append([ys.numpy(), np.signbit(ys.numpy()), x.grad.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(b, a)


REFUSED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("some rows", lambda x: x * x[0], "getitem .*single rows of the batch"),
    ("rows turned round", lambda x: tg.flip(x, 0) * x, "getitem .*moves them; give it whole rows"),
    ("along the rows", lambda x: tg.cumsum(x, 0), "cumsum .*its axis is the batch"),
    ("a row's place", lambda x: x * tg.argmax(x, 0), "argmax .*over the rows of the batch"),
    ("rows by rows", lambda x: (x @ x.T) @ x, "matmul .*has the batch on two axes"),
    ("rolled rows", lambda x: tg.roll(x, 1, 0) * x, "roll .*whole rows"),
    (
        "part of a merged axis",
        lambda x: x * tg.concatenate([x, x], 1).reshape(-1)[1],
        "getitem mixes the batch with other axes",
    ),
    (
        "a wide integer",
        lambda x: x.astype(np.uint64).astype(np.float32),
        "astype .*it is uint64; compiled are float32, float64",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c[0])
def test_what_cannot_be_compiled_says_what_and_where(
    case: tuple[str, Callable[[Any], Any], str],
) -> None:
    _, function, text = case

    def step(x: Any, h: Any) -> Any:
        h = h + function(x)
        return h, h

    with (
        interpreting(),
        pytest.raises(tg.CompileError, match=f"{text}.*test_jit_operations.py:\\d+"),
    ):
        tg.unroll(
            tg.jit(step), np.ones((T, BATCH, 3), np.float32), np.zeros((BATCH, 3), np.float32)
        )
