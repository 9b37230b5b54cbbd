"""Wrappers of cells once more, from the equations of their papers, in NumPy alone.

What `tests/test_wrapper_references.py` compares with.

A step of a cell is a function of its parameters, x, the state and what acts inside of it: `drop` on
what recurrent weights multiply, and `norm(k, v)` on product number k of the step. A mask is what
the documentation says: a function of seed, sequence, step and place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

INPUT, H = 2, 4
P = dict[str, Any]


def sigma(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def same(v: Any) -> Any:
    return v


def plain(k: int, v: Any) -> Any:
    return v


class Inside(NamedTuple):
    """What a wrapper does within a step."""

    drop: Callable[[Any], Any] = same
    norm: Callable[[int, Any], Any] = plain


# --- one step of each cell: parameters, x, state -> output, state ---------------------------------------------------------------------


def elman(p: P, x: Any, state: Any, inside: Inside) -> Any:
    (h,), (drop, norm) = state, inside
    h = np.tanh(
        norm(0, x @ p["weight_ih"].T)
        + p["bias_ih"]
        + norm(1, drop(h) @ p["weight_hh"].T)
        + p["bias_hh"]
    )
    return h, [h]


def lstm(p: P, x: Any, state: Any, inside: Inside) -> Any:
    (h, c), (drop, norm) = state, inside
    i, f, g, o = np.split(
        norm(0, x @ p["weight_ih"].T)
        + norm(1, drop(h) @ p["weight_hh"].T)
        + p["bias_ih"]
        + p["bias_hh"],
        4,
        axis=1,
    )
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = sigma(o) * np.tanh(norm(2, c))
    return h, [h, c]


def gru(p: P, x: Any, state: Any, inside: Inside) -> Any:
    """The reset gate after the product.

    Ba et al. (2016) normalise the two gates together and the candidate by itself.
    """
    (h,), (drop, norm) = state, inside
    r, z, n = np.split(norm(0, x @ p["weight_ih"].T) + p["bias_ih"], 3, axis=1)
    hr, hz, hn = np.split(norm(1, drop(h) @ p["weight_hh"].T) + p["bias_hh"], 3, axis=1)
    r, z = sigma(r + hr), sigma(z + hz)
    h = (1 - z) * np.tanh(n + r * hn) + z * h
    return h, [h]


def mgu(p: P, x: Any, state: Any, inside: Inside) -> Any:
    (h,), (drop, norm) = state, inside
    xf, xh = np.split(norm(0, x @ p["W"].T) + p["b"], 2, axis=1)
    f = sigma(xf + norm(1, drop(h) @ p["U_f"].T))
    h = (1 - f) * h + f * np.tanh(xh + norm(2, drop(f * h) @ p["U_h"].T))
    return h, [h]


def min_gru(p: P, x: Any, state: Any, inside: Inside) -> Any:
    (h,), (_, norm) = state, inside
    z, n = np.split(norm(0, x @ p["W"].T) + p["b"], 2, axis=1)
    h = (1 - sigma(z)) * h + sigma(z) * n
    return h, [h]


def clockwork(p: P, x: Any, state: Any, inside: Inside) -> Any:
    """Periods 1, 2, 4, 8, one unit each; a unit hears the slower ones and itself."""
    (h, t), (drop, norm) = state, inside
    periods = np.array([1, 2, 4, 8])
    hears = periods[None, :] >= periods[:, None]
    a = np.tanh(norm(0, x @ p["W"].T) + norm(1, drop(h) @ (p["U"] * hears).T) + p["b"])
    h = np.where(t % periods == 0, a, h)
    return h, [h, t + 1]


def slstm(p: P, x: Any, state: Any, inside: Inside) -> Any:
    (h, c, n, m), (drop, norm) = state, inside
    i, f, z, o = np.split(norm(0, x @ p["W"].T) + norm(1, drop(h) @ p["U"].T) + p["b"], 4, axis=1)
    old, new = sigma(f) * np.exp(m), np.exp(i)  # in units of 1
    m = np.where(n == 0, i, np.maximum(np.log(sigma(f)) + m, i))
    c, n = (old * c + new * np.tanh(z)) / np.exp(m), (old * n + new) / np.exp(m)
    h = sigma(o) * c / n
    return h, [h, c, n, m]


def rwa(p: P, x: Any, state: Any, inside: Inside) -> Any:
    (h, n, d, m), (drop, norm) = state, inside
    u, g, a = np.split(norm(0, x @ p["W"].T), 3, axis=1)
    hg, ha = np.split(norm(1, drop(h) @ p["U"].T), 2, axis=1)
    z, a = (u + p["b_u"]) * np.tanh(g + hg + p["b_g"]), a + ha
    top = np.where(d == 0, a, np.maximum(m, a))
    n, d = (n * np.exp(m) + z * np.exp(a)) / np.exp(top), (d * np.exp(m) + np.exp(a)) / np.exp(top)
    h = np.tanh(n / d)
    return h, [h, n, d, top]


def sru(p: P, x: Any, state: Any, inside: Inside) -> Any:
    """The gates see the state through vectors; the output is not the state."""
    (c,), (drop, norm) = state, inside
    u, f, r, highway = (
        np.split(norm(0, x @ p["W"].T), 4, axis=1)
        if len(p["W"]) == 4 * H
        else [*np.split(norm(0, x @ p["W"].T), 3, axis=1), x]
    )
    f, r = (
        sigma(f + norm(1, p["v_f"] * drop(c)) + p["b_f"]),
        sigma(r + norm(2, p["v_r"] * drop(c)) + p["b_r"]),
    )
    c = f * c + (1 - f) * u
    return r * c + np.sqrt(3) * (1 - r) * highway, [c]


class Ref(NamedTuple):
    """A cell.

    Its step, which components of the state are memory, the kinds of its products, where the
    features of products are cut.
    """

    step: Callable[..., Any]
    memory: tuple[bool, ...]
    products: tuple[str, ...]
    cuts: tuple[int, ...] = ()


STEPS: dict[str, Ref] = {
    "Elman": Ref(elman, (True,), ("input", "state")),
    "LSTM": Ref(lstm, (True, True), ("input", "state", "output")),
    "GRU": Ref(gru, (True,), ("input", "state"), (2 * H,)),
    "MGU": Ref(mgu, (True,), ("input", "state", "state")),
    "MinGRU": Ref(min_gru, (True,), ("input",)),
    "ClockworkRNN": Ref(clockwork, (True, False), ("input", "state")),
    "SLSTM": Ref(slstm, (True, False, False, False), ("input", "state")),
    "SRU": Ref(sru, (True,), ("input", "state", "state")),
    "RWA": Ref(rwa, (True, False, False, False), ("input", "state")),
}


# --- masks, and what wrappers do ---------------------------------------------------------------------------------------------------------


def seed_of(rng: int) -> int:
    return int(np.random.default_rng(rng).integers(2**63))


def mask(rng: int, p: float, shape: tuple[int, ...], place: int, step: int | None = None) -> Any:
    """Of the first sequence; `step` for a mask that is drawn anew at each step. 1 with probability 1 - p."""
    counter = [0, 0, 0 if step is None else step + 1, place]
    random = np.random.Generator(np.random.Philox(key=seed_of(rng), counter=counter))
    return (random.random(shape, dtype=np.float32) >= p).astype(float)


Step = Callable[[Any, Any, int], Any]  # x, state, number of the step -> output, state


def bare(name: str, p: P, inside: Inside = Inside()) -> Step:  # noqa: B008  (nothing changes it)
    return lambda x, state, t: STEPS[name].step(p, x, state, inside)


def zoneout(
    inner: Step, memory: tuple[bool, ...], rates: tuple[float, ...], rng: int, training: bool
) -> Step:
    """s' = m * s + (1 - m) * cell(s), with p in place of m in evaluation.

    The output is the kept h where it is the new h.
    """

    def step(x: Any, state: Any, t: int) -> Any:
        y, new = inner(x, state, t)
        kept = []
        for k, (s, fresh) in enumerate(zip(state, new, strict=True)):
            if not memory[k]:
                kept.append(fresh)
                continue
            m = mask(rng, 1 - rates[k], s.shape, k, t) if training else rates[k]
            kept.append(m * s + (1 - m) * fresh)
        return (kept[0] if y is new[0] else y), kept

    return step


def variational(name: str, p: P, rates: tuple[float, float, float], rng: int, batch: int) -> Step:
    """Masks for the input, the recurrent operand and the output, held for the sequence."""
    mx, mh, my = (
        mask(rng, rate, (batch, size), place) / (1 - rate)
        for rate, size, place in zip(rates, (INPUT, H, H), (0, 1, 2), strict=True)
    )
    inner = bare(name, p, Inside(drop=lambda h: h * mh))

    def step(x: Any, state: Any, t: int) -> Any:
        y, state = inner(x * mx, state, t)
        return y * my, state

    return step


def normed(v: Any, axis: int) -> Any:
    mean = v.mean(axis=axis, keepdims=True)
    return (v - mean) / np.sqrt(((v - mean) ** 2).mean(axis=axis, keepdims=True) + 1e-5)


def layer_norm(name: str, p: P, own: P) -> Step:
    """Every product over its features, with the gain and the shift of `own`.

    Norms.<product>.<part>.weight and .bias.
    """

    def norm(k: int, v: Any) -> Any:
        cuts = STEPS[name].cuts
        parts = [
            normed(part, 1) * own[f"norms.{k}.{j}.weight"] + own[f"norms.{k}.{j}.bias"]
            for j, part in enumerate(np.split(v, cuts, axis=1))
        ]
        return np.concatenate(parts, axis=1)

    return bare(name, p, Inside(norm=norm))


def batch_norm(name: str, p: P, own: P, steps: int, running: dict[Any, Any] | None) -> Step:
    """Every product over the batch, in each step; `running` has mean and variance of (product, step) in evaluation."""

    def step(x: Any, state: Any, t: int) -> Any:
        def norm(k: int, v: Any) -> Any:
            t_ = min(t, steps - 1)
            v = (
                normed(v, 0)
                if running is None
                else (v - running[k, t_][0]) / np.sqrt(running[k, t_][1] + 1e-5)
            )
            return v * own[f"norms.{k}.0.weight"] + own.get(f"norms.{k}.0.bias", 0)

        return STEPS[name].step(p, x, state, Inside(norm=norm))

    return step


def residual(inner: Step) -> Step:
    def step(x: Any, state: Any, t: int) -> Any:
        y, state = inner(x, state, t)
        return y + x, state

    return step


def stacked(low: Step, high: Step, count: int, p: float, rng: int, batch: int) -> Step:
    """The output of the lower cell, whose state has `count` components, under a mask that is held, is the input of the upper one."""
    m = mask(rng, p, (batch, H), 1) / (1 - p)

    def step(x: Any, state: Any, t: int) -> Any:
        y, below = low(x, state[:count], t)
        y, above = high(y * m, state[count:], t)
        return y, [*below, *above]

    return step


def run(
    step: Step,
    xs: Any,
    first: list[Any],
    lengths: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[Any, list[Any]]:
    """Outputs of all steps and the last state, as `tg.unroll` defines them."""
    steps, batch = xs.shape[:2]
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    state, ys = [np.array(s) for s in first], [np.zeros(())] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        valid = (t < lengths)[:, None]
        x = np.where(valid, xs[t], xs[lengths - 1, np.arange(batch)])
        if resets is not None:
            state = [
                np.where(resets[t][:, None] & valid, f, s)
                for f, s in zip(first, state, strict=True)
            ]
        y, new = step(x, state, t)
        ys[t] = np.where(valid, y, 0)
        state = [np.where(valid, a, b) for a, b in zip(new, state, strict=True)]
    return np.array(ys), state
