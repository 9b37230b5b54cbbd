"""Relatives of the LSTM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot, sigma


def total(p: Any, x: Any, h: Any, row: int) -> float:
    """The sum of one row: W x + U h + b."""
    value: float = dot(p["W"][row], x) + dot(p["U"][row], h) + p["b"][row]
    return value


def lstm_1997(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    new_h, new_c = [], []
    for j in range(n):
        squashed = 4 / (1 + math.exp(-total(p, x, h, 2 * n + j))) - 2  # on (-2, 2)
        new_c.append(c[j] + sigma(total(p, x, h, j)) * squashed)
        # on (-1, 1)
        new_h.append(sigma(total(p, x, h, n + j)) * (2 / (1 + math.exp(-new_c[j])) - 1))
    return new_h, [new_h, new_c]


def peephole(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    new_h, new_c = [], []
    for j in range(n):
        i = sigma(total(p, x, h, j) + p["p"][j] * c[j])
        f = sigma(total(p, x, h, n + j) + p["p"][n + j] * c[j])
        new_c.append(f * c[j] + i * math.tanh(total(p, x, h, 2 * n + j)))
        o = sigma(total(p, x, h, 3 * n + j) + p["p"][2 * n + j] * new_c[j])
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, [new_h, new_c]


def coupled(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    peep = p.get("p", [0.0] * (2 * n))
    new_h, new_c = [], []
    for j in range(n):
        i = sigma(total(p, x, h, j) + peep[j] * c[j])
        new_c.append((1 - i) * c[j] + i * math.tanh(total(p, x, h, n + j)))
        o = sigma(total(p, x, h, 2 * n + j) + peep[n + j] * new_c[j])
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, [new_h, new_c]


def greff(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    # those that are left, in their order
    gates = {"NIG": "fo", "NFG": "io", "NOG": "if"}.get(cell.variant, "ifo")

    def gate(name: str, j: int, seen: float) -> float:
        if name not in gates:
            return 1.0
        row = gates.index(name) * n + j
        return sigma(total(p, x, h, row) + p["p"][row] * seen)

    new_h, new_c = [], []
    for j in range(n):
        g = total(p, x, h, len(gates) * n + j)
        if cell.variant != "NIAF":
            g = math.tanh(g)
        new_c.append(gate("f", j, c[j]) * c[j] + gate("i", j, c[j]) * g)
        shown = new_c[j] if cell.variant == "NOAF" else math.tanh(new_c[j])
        new_h.append(gate("o", j, new_c[j]) * shown)
    return new_h, [new_h, new_c]


def normalised(z: list[float], gain: list[float], shift: list[float], eps: float) -> list[float]:
    mean = sum(z) / len(z)
    variance = sum((v - mean) ** 2 for v in z) / len(z)
    return [
        (v - mean) / math.sqrt(variance + eps) * a + b
        for v, a, b in zip(z, gain, shift, strict=True)
    ]


def layer_norm(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    from_h = normalised([dot(row, h) for row in p["U"]], p["alpha_1"], p["beta_1"], cell.eps)
    from_x = normalised([dot(row, x) for row in p["W"]], p["alpha_2"], p["beta_2"], cell.eps)
    new_c, o = [], []
    for j in range(n):
        row = [
            from_h[block * n + j] + from_x[block * n + j] + p["b"][block * n + j]
            for block in range(4)
        ]
        new_c.append(sigma(row[1]) * c[j] + sigma(row[0]) * math.tanh(row[2]))
        o.append(sigma(row[3]))
    shown = normalised(new_c, p["alpha_3"], p["beta_3"], cell.eps)
    new_h = [o[j] * math.tanh(shown[j]) for j in range(n)]
    return new_h, [new_h, new_c]


def multiplicative_integration(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    new_h, new_c = [], []
    for j in range(n):
        a = []
        for row in (j, n + j, 2 * n + j, 3 * n + j):
            wx, uh = dot(p["W"][row], x), dot(p["U"][row], h)
            a.append(
                p["alpha"][row] * wx * uh
                + p["beta_1"][row] * uh
                + p["beta_2"][row] * wx
                + p["b"][row]
            )
        i, f, g, o = sigma(a[0]), sigma(a[1]), math.tanh(a[2]), sigma(a[3])
        new_c.append(f * c[j] + i * g)
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, [new_h, new_c]


def multiplicative(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    m = [dot(p["W_m"][j], x) * dot(p["U_m"][j], h) for j in range(n)]
    new_h, new_c = [], []
    for j in range(n):
        new_c.append(
            sigma(total(p, x, m, n + j)) * c[j]
            + sigma(total(p, x, m, j)) * math.tanh(total(p, x, m, 2 * n + j))
        )
        new_h.append(math.tanh(sigma(total(p, x, m, 3 * n + j)) * new_c[j]))
    return new_h, [new_h, new_c]


def janet(p: Any, x: Any, state: Any, cell: Any) -> Any:
    (c,) = state
    n = len(c)
    new = []
    for j in range(n):
        s = total(p, x, c, j)
        new.append(sigma(s) * c[j] + (1 - sigma(s - cell.beta)) * math.tanh(total(p, x, c, n + j)))
    return new, [new]


def working_memory(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, c = state
    n = len(c)
    new_h, new_c = [], []
    for j in range(n):
        i = sigma(total(p, x, h, j) + math.tanh(dot(p["V"][j], c)))
        f = sigma(total(p, x, h, n + j) + math.tanh(dot(p["V"][n + j], c)))
        new_c.append(f * c[j] + i * math.tanh(total(p, x, h, 2 * n + j)))
    for j in range(n):  # the output gate sees all units of the new cell
        o = sigma(total(p, x, h, 3 * n + j) + math.tanh(dot(p["V_o"][j], new_c)))
        new_h.append(o * math.tanh(new_c[j]))
    return new_h, [new_h, new_c]


def one_feature(rng: np.random.Generator) -> Any:
    return rng.normal(size=(3, 2, 1))


REFERENCES = {
    "LSTM1997": lstm_1997,
    "PeepholeLSTM": peephole,
    "CoupledLSTM": coupled,
    "GreffLSTM": greff,
    "LayerNormLSTM": layer_norm,
    "MultiplicativeIntegrationLSTM": multiplicative_integration,
    "MultiplicativeLSTM": multiplicative,
    "JANET": janet,
    "WMCLSTM": working_memory,
}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "CoupledLSTM": [{}, {"options": {"peepholes": False}}],
    "GreffLSTM": [
        {"options": {"variant": variant}} for variant in ("NIG", "NFG", "NOG", "NIAF", "NOAF")
    ],
    "LayerNormLSTM": [
        {"sizes": (1, 2), "inputs": one_feature},
        {"sizes": (2, 2), "options": {"eps": 0.1}},
    ],
    "JANET": [{}, {"options": {"beta": 0.3}}],
}
