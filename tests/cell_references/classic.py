"""Cells without gates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot, relu, sigma, times


def jordan(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (y,) = state
    hidden = [math.tanh(dot(p["W"][j], x) + dot(p["U"][j], y) + p["b_h"][j]) for j in range(len(y))]
    new = [math.tanh(dot(p["V"][j], hidden) + p["b_y"][j]) for j in range(len(y))]
    return new, [new]


def irnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    new = [relu(dot(p["W"][j], x) + dot(p["U"][j], h) + p["b"][j]) for j in range(len(h))]
    return new, [new]


def indrnn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    new = [relu(dot(p["W"][j], x) + p["u"][j] * h[j] + p["b"][j]) for j in range(len(h))]
    return new, [new]


def multiplicative(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    new = []
    for j in range(len(h)):
        total = dot(p["W_hx"][j], x) + p["b"][j]
        for f in range(len(p["W_fx"])):
            total += p["W_hf"][j][f] * dot(p["W_fx"][f], x) * dot(p["W_fh"][f], h)
        new.append(math.tanh(total))
    return new, [new]


def multiplicative_integration(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (h,) = state
    new = []
    for j in range(len(h)):
        wx, uh = dot(p["W"][j], x), dot(p["U"][j], h)
        new.append(
            math.tanh(
                p["alpha"][j] * wx * uh + p["beta_1"][j] * uh + p["beta_2"][j] * wx + p["b"][j]
            )
        )
    return new, [new]


def scrn(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, s = state
    context = [(1 - cell.alpha) * dot(p["B"][k], x) + cell.alpha * s[k] for k in range(len(s))]
    hidden = [
        sigma(dot(p["P"][j], context) + dot(p["A"][j], x) + dot(p["R"][j], h))
        for j in range(len(h))
    ]
    out = [u + v for u, v in zip(times(p["U"], hidden), times(p["V"], context), strict=True)]
    return out, [hidden, context]


def clockwork(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, (t,) = state
    # the cell has one for each unit; here they are of the modules
    periods = sorted(set(cell.periods.tolist()))
    n = len(h)
    new = []
    for j in range(n):
        mine = j * len(periods) // n
        if round(t) % periods[mine]:
            new.append(h[j])
            continue
        # its own module and the slower ones
        heard = sum(p["U"][j][k] * h[k] for k in range(n) if k * len(periods) // n >= mine)
        new.append(math.tanh(dot(p["W"][j], x) + heard + p["b"][j]))
    return new, [new, [t + 1]]


def clock_state(rng: np.random.Generator, first: Any) -> list[Any]:
    """Hidden units, and a number of steps for each row after which some modules act and some do not; 2.7 counts as 3."""
    return [0.5 * rng.normal(size=first.h.shape), np.array([[2.7], [6.0]])]


REFERENCES = {
    "Jordan": jordan,
    "IRNN": irnn,
    "IndRNN": indrnn,
    "MRNN": multiplicative,
    "MultiplicativeIntegrationRNN": multiplicative_integration,
    "SCRN": scrn,
    "ClockworkRNN": clockwork,
}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "MRNN": [{}, {"options": {"factors": 4}}],
    "SCRN": [{}, {"options": {"context_size": 2, "alpha": 0.7}}],
    "ClockworkRNN": [
        {"sizes": (2, 4), "options": {"periods": (1, 2)}, "state": clock_state},
        {"sizes": (2, 5), "options": {"periods": (1, 2, 5)}, "state": clock_state},
    ],
}

EQUIVALENT = {
    (
        "ClockworkRNN",
        "arguments: equal(mod(floor(t + 0.5), self.periods), 0.0) -> equal(0.0, mod(floor(t + 0.5), self.periods))",
    ): ("equality is symmetric")
}
