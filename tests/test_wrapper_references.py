"""Wrappers around cells against their papers' equations.

Outputs, states, and every gradient by finite differences of the reference.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.core.tree import leaves, unflatten
from tinygrad_rnn.nn import masks, normalization, recurrent_norms, regularisers, wrappers
from tinygrad_rnn.recurrent import cell as cell_module
from tinygrad_rnn.recurrent import products
from tinygrad_rnn.recurrent.cell import Cell

from . import wrapper_references as ref
from .interpreted import interpreting
from .wrapper_references import INPUT, STEPS, H

nn = tg.nn
T, BATCH, STEPS_KEPT = 4, 3, 3
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "rows": {
        "lengths": [4, 2, 3],
        "resets": np.arange(T * BATCH).reshape(T, BATCH) % 5 == 3,
        "reverse": True,
    },
}


class Setting(NamedTuple):
    """A wrapped cell, and the reference as a function of its parameters."""

    cell: Any
    step: Callable[[dict[str, Any]], ref.Step]


def cell(name: str, inputs: int = INPUT, seed: int = 0) -> Any:
    """A cell with random parameters."""
    kind: Any = getattr(tg.cells, name)
    made = kind(inputs, H, rng=seed, dtype=np.float64)
    rng = np.random.default_rng(seed)
    for p in made.parameters():
        p.data = 0.8 * rng.normal(size=p.shape)
    return made


def own(p: dict[str, Any], prefix: str = "cell.") -> dict[str, Any]:
    return {n.removeprefix(prefix): v for n, v in p.items() if n.startswith(prefix)}


def rates(name: str) -> Any:
    """Zoneout's: one for all where some components are no memory, else one for each."""
    memory = STEPS[name].memory
    return tuple(0.3 + 0.2 * k for k in range(len(memory))) if all(memory) else (0.4,) * len(memory)


def zoneout(name: str, training: bool) -> Setting:
    inner = cell(name)
    p = rates(name)
    made = nn.Zoneout(inner, inner.State(*p) if len(set(p)) > 1 else p[0], rng=4).train(training)
    return Setting(
        made, lambda v: ref.zoneout(ref.bare(name, own(v)), STEPS[name].memory, p, 4, training)
    )


def variational(name: str) -> Setting:
    p = (0.3, 0.4, 0.5) if "state" in STEPS[name].products else (0.3, 0.0, 0.5)
    made = nn.VariationalDropout(cell(name), input=p[0], state=p[1], output=p[2], rng=4)
    return Setting(made, lambda v: ref.variational(name, own(v), p, 4, BATCH))


def layer_norm(name: str) -> Setting:
    made: Any = nn.RecurrentLayerNorm(cell(name))
    assert made.products == list(STEPS[name].products)
    randomise(made)
    return Setting(made, lambda v: ref.layer_norm(name, own(v), v))


def batch_norm(name: str, training: bool) -> Setting:
    made: Any = nn.RecurrentBatchNorm(cell(name), STEPS_KEPT)
    assert all(
        (p.numpy() == 0.1).all() for n, p in made.named_parameters() if n.endswith(".weight")
    ), "gains start at 0.1"
    assert [
        n for n, _ in made.named_parameters() if n.endswith("bias") and n.startswith("norms")
    ] == [f"norms.{k}.0.bias" for k, kind in enumerate(STEPS[name].products) if kind == "output"], (
        "no shift beside the cell's bias"
    )
    randomise(made)
    made.train(training)
    return Setting(
        made,
        lambda v: ref.batch_norm(
            name, own(v), v, STEPS_KEPT, None if training else running(made, name)
        ),
    )


def randomise(made: Any) -> None:
    rng = np.random.default_rng(9)
    for n, p in [*made.named_parameters(), *made.named_buffers()]:
        if n.startswith("norms") and "num_batches" not in n:
            p.data = rng.uniform(0.5, 1.5, size=p.shape)


def running(made: Any, name: str) -> dict[Any, Any]:
    kinds, steps = range(len(STEPS[name].products)), range(STEPS_KEPT)
    return {
        (k, t): (made.norms[k][t].running_mean.numpy(), made.norms[k][t].running_var.numpy())
        for k in kinds
        for t in steps
    }


def residual(name: str) -> Setting:
    made = nn.Residual(cell(name, inputs=H))
    return Setting(made, lambda v: ref.residual(ref.bare(name, own(v))))


def stacked(name: str) -> Setting:
    made = nn.Stacked([cell(name), cell("GRU", inputs=H, seed=1)], dropout=0.4, rng=4)
    count = len(STEPS[name].memory)
    return Setting(
        made,
        lambda v: ref.stacked(
            ref.bare(name, own(v, "cells.0.")),
            ref.bare("GRU", own(v, "cells.1.")),
            count,
            0.4,
            4,
            BATCH,
        ),
    )


DROPPED = {
    "Elman": "weight_hh",
    "LSTM": "weight_hh",
    "GRU": "weight_hh",
    "MGU": "U_h",
    "MinGRU": "W",
    "ClockworkRNN": "U",
    "SLSTM": "U",
    "SRU": "v_r",
    "RWA": "U",
}


def weight_drop(name: str) -> Setting:
    weight = DROPPED[name]
    made = nn.WeightDrop(cell(name), 0.4, (weight,), rng=4)

    def step(v: dict[str, Any]) -> ref.Step:
        p = own(v)
        return ref.bare(name, {**p, weight: p[weight] * ref.mask(4, 0.4, p[weight].shape, 0) / 0.6})

    return Setting(made, step)


WRAPPERS: dict[str, Callable[[str], Setting]] = {
    "zoneout": lambda name: zoneout(name, True),
    "zoneout in evaluation": lambda name: zoneout(name, False),
    "variational dropout": variational,
    "layer norm": layer_norm,
    "batch norm": lambda name: batch_norm(name, True),
    "batch norm in evaluation": lambda name: batch_norm(name, False),
    "residual": residual,
    "stacked": stacked,
    "weight drop": weight_drop,
}
CASES = list(itertools.product(WRAPPERS, STEPS))


def first_state(made: Any, rng: np.random.Generator) -> list[Any]:
    """Random; normalisers are positive, a counter begins at 1."""
    found = []
    for path, s in zip(
        names(made.initial_state(BATCH)), leaves(made.initial_state(BATCH)), strict=True
    ):
        values = 0.5 * rng.normal(size=s.shape)
        found.append(
            np.ones(s.shape) if path == "t" else abs(values) + 0.5 if path in ("n", "d") else values
        )
    return found


def names(state: Any) -> list[str]:
    parts = state if isinstance(state, tuple) and not hasattr(state, "_fields") else (state,)
    return [n for part in parts for n in getattr(part, "_fields", ("h",))]


def compare(setting: Setting, way: str, compiled: bool, gradients: bool = True) -> None:
    """Outputs, last state, and the gradients of a random sum of both by parameters, inputs and the first state."""
    rng = np.random.default_rng(5)
    made, how = setting.cell, WAYS[way]
    xs, first = rng.normal(size=(T, BATCH, made.input_size)), first_state(made, rng)
    values = {n: p.numpy().copy() for n, p in made.named_parameters()}
    inputs = {"xs": xs, **{f"state {k}": s for k, s in enumerate(first)}}
    ys, last = ref.run(setting.step(values), xs, first, **how)
    seeds = [rng.normal(size=v.shape) for v in (ys, *last)]

    def loss(values: dict[str, Any], inputs: dict[str, Any]) -> float:
        out, end = ref.run(
            setting.step(values),
            inputs["xs"],
            [inputs[f"state {k}"] for k in range(len(first))],
            **how,
        )
        return sum(float((s * v).sum()) for s, v in zip(seeds, (out, *end), strict=True))

    x = tg.tensor(xs, requires_grad=True)
    given = [tg.tensor(s, requires_grad=True) for s in first]
    with interpreting() if compiled else contextlib.nullcontext():
        found, end = tg.unroll(
            tg.jit(made) if compiled else made,
            x,
            unflatten(made.initial_state(BATCH), list(given)),
            **how,
        )
        total = sum(
            ((s * v).sum() for s, v in zip(seeds, (found, *leaves(end)), strict=True)),
            tg.tensor(0.0, dtype=np.float64),
        )
        total.backward()
    for k, (a, b) in enumerate(zip((found, *leaves(end)), (ys, *last), strict=True)):
        np.testing.assert_allclose(
            a.numpy(),
            b,
            rtol=1e-9,
            atol=1e-10,
            err_msg=f"{'output' if not k else f'state {k - 1}'}",
        )
    if not gradients:
        return
    for group, tensors in (
        (values, dict(made.named_parameters())),
        (inputs, dict(zip(inputs, [x, *given], strict=True))),
    ):
        for name, value in group.items():
            tensor = tensors[name]
            gradient = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
            np.testing.assert_allclose(
                gradient,
                slope(lambda: loss(values, inputs), value),
                rtol=2e-5,
                atol=2e-6,
                err_msg=f"gradient by {name}",
            )
    made.zero_grad()


def slope(f: Callable[[], float], value: Any, step: float = 1e-5) -> Any:
    """Central differences by every element of an array that `f` reads."""
    found = np.zeros(value.shape)
    for place in np.ndindex(value.shape):
        old = value[place]
        value[place] = old + step
        above = f()
        value[place] = old - step
        below = f()
        value[place] = old
        found[place] = (above - below) / (2 * step)
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("wrapper", "name"), CASES)
def test_plain(wrapper: str, name: str, way: str) -> None:
    compare(WRAPPERS[wrapper](name), way, compiled=False)


@pytest.mark.parametrize(
    ("wrapper", "name"),
    [pytest.param(*c, marks=pytest.mark.full) if k % 2 else c for k, c in enumerate(CASES)],
)
def test_compiled(wrapper: str, name: str) -> None:
    compare(WRAPPERS[wrapper](name), "rows", compiled=True)


def test_running_statistics_of_products(rng: np.random.Generator) -> None:
    """Those of each step move towards the statistics of the products, with the variance over the count less one."""
    made: Any = nn.RecurrentBatchNorm(cell("LSTM"), STEPS_KEPT)
    seen: dict[Any, Any] = {}

    def noting(k: int, v: Any, t: int) -> Any:
        seen.setdefault((k, min(t, STEPS_KEPT - 1)), []).append((v.mean(0), v.var(0, ddof=1)))
        n = made.norms[k][0]
        return ref.normed(v, 0) * n.weight.numpy() + (0 if n.bias is None else n.bias.numpy())

    p, xs = (
        own({n: v.numpy() for n, v in made.named_parameters()}),
        rng.normal(size=(T, BATCH, INPUT)),
    )
    ref.run(
        lambda x, s, t: ref.lstm(p, x, s, ref.Inside(norm=lambda k, v: noting(k, v, t))),
        xs,
        [np.zeros((BATCH, H))] * 2,
    )
    tg.unroll(made, xs)
    for (k, t), moved in seen.items():
        mean, var = np.zeros(moved[0][0].shape), np.ones(moved[0][0].shape)
        for m, v in moved:
            mean, var = 0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v
        np.testing.assert_allclose(
            made.norms[k][t].running_mean.numpy(), mean, rtol=1e-9, atol=1e-13
        )
        np.testing.assert_allclose(made.norms[k][t].running_var.numpy(), var, rtol=1e-9)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 2, 3]])
@pytest.mark.parametrize("name", STEPS)
def test_bidirectional(name: str, lengths: Any, compiled: bool, rng: np.random.Generator) -> None:
    there, back = cell(name), cell("GRU", seed=1)
    xs = rng.normal(size=(T, BATCH, INPUT))
    firsts = [first_state(c, rng) for c in (there, back)]
    states = tuple(
        unflatten(c.initial_state(BATCH), list(s))
        for c, s in zip((there, back), firsts, strict=True)
    )
    x = tg.tensor(xs, requires_grad=True)
    with interpreting() if compiled else contextlib.nullcontext():
        both = (
            nn.Bidirectional(*(tg.jit(c) for c in (there, back)))
            if compiled
            else nn.Bidirectional(there, back)
        )
        ys, lasts = both(x, states, lengths)
        seeds = [rng.normal(size=v.shape) for v in (ys, *leaves(lasts))]
        sum(
            ((s * v).sum() for s, v in zip(seeds, (ys, *leaves(lasts)), strict=True)),
            tg.tensor(0.0, dtype=np.float64),
        ).backward()

    values = [{k: p.numpy().copy() for k, p in c.named_parameters()} for c in (there, back)]

    def reference() -> list[Any]:
        (a, one), (b, other) = (
            ref.run(ref.bare(n, p), xs, s, lengths, reverse=r)
            for n, p, s, r in (
                (name, values[0], firsts[0], False),
                ("GRU", values[1], firsts[1], True),
            )
        )
        return [np.concatenate([a, b], -1), *one, *other]

    for found, expected in zip((ys, *leaves(lasts)), reference(), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-10)
    tensors = [
        (x, xs),
        *(
            (getattr(c, k), v)
            for c, p in zip((there, back), values, strict=True)
            for k, v in p.items()
        ),
    ]
    for tensor, value in tensors:
        # of which the first state is made, that is given here
        if tensor is getattr(there, "s_0", None):
            continue
        assert tensor.grad is not None
        numeric = slope(
            lambda: sum(float((s * v).sum()) for s, v in zip(seeds, reference(), strict=True)),
            value,
        )
        np.testing.assert_allclose(tensor.grad.numpy(), numeric, rtol=2e-5, atol=2e-6)


# --- faults put in on purpose ---------------------------------------------------------------------------------------------------------------

# Where, what stands there, what is put in its place, and the wrappers whose comparison has to
# notice.
FAULTS: list[tuple[Any, str, str, str, str]] = [
    (
        regularisers.Zoneout,
        "forward",
        "where(masks[place], old, fresh)",
        "where(masks[place], fresh, old)",
        "zoneout",
    ),
    (regularisers.Zoneout, "forward", "keep(1 - p,", "keep(p,", "zoneout"),
    (regularisers.Zoneout, "forward", 'per="step"', 'per="sequence"', "zoneout"),
    (regularisers.Zoneout, "forward", "place=place", "place=0", "zoneout"),
    (regularisers.Zoneout, "forward", "not p or place < 0", "not p", "zoneout"),
    (regularisers.Zoneout, "forward", "if f is y", "if False", "zoneout"),
    (regularisers.Zoneout, "forward", "if f is y", "if True", "zoneout"),
    (
        regularisers.Zoneout,
        "forward",
        "self._rates(new, numbers)",
        "reversed(self._rates(new, numbers))",
        "zoneout",
    ),
    (
        regularisers.Zoneout,
        "forward",
        "p * (old - fresh)",
        "p * (fresh - old)",
        "zoneout in evaluation",
    ),
    (
        regularisers.Zoneout,
        "forward",
        "p * (old - fresh)",
        "(1 - p) * (old - fresh)",
        "zoneout in evaluation",
    ),
    (Cell, "mask_places", "-1 if name in bookkeeping or", "-1 if", "zoneout"),
    (
        regularisers.VariationalDropout,
        "forward",
        "checked_step(self, thinned, x, state)",
        "self.cell(x, state)",
        "variational dropout",
    ),
    (
        regularisers.VariationalDropout,
        "forward",
        "self.masks, for_x, 0",
        "self.masks, for_y, 0",
        "variational dropout",
    ),
    (regularisers.VariationalDropout, "forward", "2 + 2 * i", "1 + 2 * i", "variational dropout"),
    (
        regularisers.VariationalDropout,
        "forward",
        "return (y, state)",
        "return (y, leaves(y)[0])",
        "variational dropout",
    ),
    (
        regularisers._Thinned,
        "operand",
        "if key not in self.found",
        "if True",
        "variational dropout",
    ),
    (regularisers._Thinned, "operand", "part * self.found[key]", "part", "variational dropout"),
    (regularisers._Thinned, "operand", 'per="sequence"', 'per="step"', "variational dropout"),
    (regularisers, "dropped", 'per="sequence"', 'per="step"', "variational dropout"),
    (wrappers.Stacked, "forward", "dropped(floating(x", "(lambda x, *_: x)(floating(x", "stacked"),
    (wrappers.Stacked, "forward", "new.append(s)", "new.insert(0, s)", "stacked"),
    (regularisers.WeightDrop, "forward", "weight * self", "weight + 0 * self", "weight drop"),
    (regularisers.WeightDrop, "forward", 'per="sequence"', 'per="step"', "weight drop"),
    (wrappers.Residual, "forward", "return (y + x", "return (y - x", "residual"),
    (recurrent_norms.RecurrentLayerNorm, "normalise", "if not cuts", "if True", "layer norm"),
    (
        recurrent_norms.RecurrentLayerNorm,
        "normalise",
        "norms, cuts = (self.norms[k]",
        "norms, cuts = (self.norms[0]",
        "layer norm",
    ),
    (
        recurrent_norms.RecurrentBatchNorm,
        "normalise",
        "self.norms[k]",
        "self.norms[0]",
        "batch norm",
    ),
    (
        normalization.BatchNorm,
        "normalised",
        "context().mark.step or 0",
        "0",
        "batch norm in evaluation",
    ),
    (recurrent_norms._Norms, "product", "len(self.kinds) - 1", "0", "layer norm"),
    (
        cell_module,
        "multiplied",
        "value = other.operand(owner, name, value, original)",
        "pass",
        "variational dropout",
    ),
    (cell_module, "multiplied", 'kind == "state"', "True", "variational dropout"),
    (
        cell_module,
        "multiplied",
        "shown(kind, result, cuts) if others",
        "shown(kind, result) if others",
        "layer norm",
    ),
    (products, "shown", "value = other.product", "other.product", "layer norm"),
    (Cell, "to_output", 'shown("output", c)', "c", "layer norm"),
    (tg.cells.LSTM, "forward", "tanh(self.to_output(c))", "tanh(c)", "batch norm"),
    (
        tg.cells.GRU,
        "forward",
        "h = n + z * (h - n)",
        "h = n + z * (self.from_state(h, 1.0, lambda h, w: h) - n)",
        "variational dropout",
    ),
    (masks.Masks, "_drawn", "return mask if", "return 1 - mask if", "zoneout"),
    (masks.Masks, "_drawn", "else mask * scale", "else mask", "variational dropout"),
    (masks.Masks, "dropout", "1 / (1 - p)", "1 / p", "variational dropout"),
    (masks.Masks, "_draw", ">= p", "< p", "variational dropout"),
    (
        masks.Masks,
        "_draw",
        "numbers[self], step, place]",
        "numbers[self], step, 0]",
        "variational dropout",
    ),
    (masks.Masks, "_draw", "numbers[self], step, place]", "numbers[self], 0, place]", "zoneout"),
]


@pytest.mark.parametrize(("owner", "method", "old", "new", "wrapper"), FAULTS)
def test_faults_are_caught(
    owner: Any, method: str, old: str, new: str, wrapper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operand, a dropped factor, a mask of another step.

    The comparison of at least one cell fails.
    """
    original = vars(owner)[method]
    scope = dict(original.__globals__)
    source = ast.unparse(
        ast.parse(textwrap.dedent(inspect.getsource(original)))
    )  # on one line each
    old, new = (text.replace('"', "'") for text in (old, new))
    assert old in source
    exec("from __future__ import annotations\n" + source.replace(old, new), scope)
    monkeypatch.setattr(owner, method, scope[method])
    with np.errstate(all="ignore"):
        for name in ("GRU", "LSTM", "ClockworkRNN", "SRU"):
            try:
                compare(WRAPPERS[wrapper](name), "rows", compiled=False, gradients=False)
            except Exception:  # a wrong number, or an error
                return
    raise AssertionError(f"{old} -> {new} was not noticed")
