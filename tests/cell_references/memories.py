"""Cells with a memory beside their hidden vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .numbers import dot, relu, sigma, times


def normalised(values: list[float], gain: Any, offset: Any) -> list[float]:
    n = len(values)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / n
    return [gain[j] * (values[j] - mean) / math.sqrt(variance + 1e-5) + offset[j] for j in range(n)]


def shares(values: list[float]) -> list[float]:
    """Softmax."""
    weights = [math.exp(v) for v in values]
    return [w / sum(weights) for w in weights]


def softplus(a: float) -> float:
    return math.log(1 + math.exp(a))


def fast_weights(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, old = state
    n = len(h)
    fast = [[cell.decay * old[j][k] + cell.rate * h[j] * h[k] for k in range(n)] for j in range(n)]
    slow = [dot(p["W"][j], h) + dot(p["C"][j], x) for j in range(n)]
    s = [relu(a) for a in slow]
    for _ in range(cell.steps):
        s = [
            relu(a)
            for a in normalised(
                [slow[j] + dot(fast[j], s) for j in range(n)], p["gain"], p["offset"]
            )
        ]
    return s, [s, fast]


def relational_memory(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, m = state
    wide = len(m[0])
    depth = wide // cell.heads
    rows = [*m, [dot(p["W_e"][j], x) + p["b_e"][j] for j in range(wide)]]
    new_h, new_m = [], []
    for slot in range(len(m)):
        q = times(p["W_qkv"], m[slot], 0, wide)
        attended: list[float] = []
        for head in range(cell.heads):
            columns = range(head * depth, (head + 1) * depth)
            scores = []
            for row in rows:
                k = times(p["W_qkv"], row, wide, wide)
                scores.append(sum(q[a] * k[a] for a in columns) / math.sqrt(depth))
            weights = shares(scores)
            for a in columns:
                attended.append(
                    sum(
                        w * dot(p["W_qkv"][2 * wide + a], row)
                        for w, row in zip(weights, rows, strict=True)
                    )
                )
        s = normalised([m[slot][a] + attended[a] for a in range(wide)], p["gain_1"], p["offset_1"])
        inner = [relu(dot(p["W_1"][a], s) + p["b_1"][a]) for a in range(wide)]
        r = normalised(
            [s[a] + dot(p["W_2"][a], inner) + p["b_2"][a] for a in range(wide)],
            p["gain_2"],
            p["offset_2"],
        )
        memory, hidden = [], []
        for a in range(wide):
            f, i, o = (
                sigma(dot(p["W"][b], x) + dot(p["U"][b], h[slot]) + p["b"][b])
                for b in (a, wide + a, 2 * wide + a)
            )
            memory.append(f * m[slot][a] + i * r[a])
            hidden.append(o * math.tanh(memory[a]))
        new_m.append(memory)
        new_h.append(hidden)
    return [value for slot in new_h for value in slot], [new_h, new_m]


def address(memory: Any, old: list[float], head: list[float]) -> list[float]:
    """The new weighting of a head from its numbers."""
    slots, width = len(memory), len(memory[0])
    key = head[:width]
    beta, g, s, gamma = (
        head[width],
        sigma(head[width + 1]),
        shares(head[width + 2 : width + 5]),
        head[width + 5],
    )
    length = math.sqrt(dot(key, key))
    by_content = shares(
        [
            softplus(beta) * dot(key, row) / (length * math.sqrt(dot(row, row)) + 1e-8)
            for row in memory
        ]
    )
    mixed = [g * by_content[n] + (1 - g) * old[n] for n in range(slots)]
    moved = [0.0] * slots
    for n in range(slots):
        for shift in (-1, 0, 1):  # what stands in slot n goes to slot n + shift
            moved[(n + shift) % slots] += s[shift + 1] * mixed[n]
    sharp = [v ** (1 + softplus(gamma)) for v in moved]
    return [v / sum(sharp) for v in sharp]


def turing_machine(p: Any, x: Any, state: Any, cell: Any) -> Any:
    h, r, w_read, w_write, memory = state
    width = len(r)
    hidden = []
    for j in range(len(h)):
        hidden.append(math.tanh(dot(p["W"][j], [*x, *r]) + dot(p["U"][j], h) + p["b"][j]))
    numbers = [dot(row, hidden) + b for row, b in zip(p["W_heads"], p["b_heads"], strict=True)]
    read, write = numbers[: width + 6], numbers[width + 6 : 2 * width + 12]
    erase, add = numbers[2 * width + 12 : 3 * width + 12], numbers[3 * width + 12 :]
    w_write = address(memory, w_write, write)
    memory = [
        [value * (1 - w * sigma(e)) + w * a for value, e, a in zip(row, erase, add, strict=True)]
        for w, row in zip(w_write, memory, strict=True)
    ]
    w_read = address(memory, w_read, read)
    r = [sum(w_read[n] * memory[n][k] for n in range(len(memory))) for k in range(width)]
    y = [dot(row, [*hidden, *r]) + b for row, b in zip(p["W_y"], p["b_y"], strict=True)]
    return y, [hidden, r, w_read, w_write, memory]


def weightings(rng: np.random.Generator, first: Any) -> list[Any]:
    h, r, w, _, memory = first
    w_read, w_write = rng.dirichlet([1.0] * w.shape[1], size=(2, len(w)))
    return [
        rng.normal(size=h.shape),
        rng.normal(size=r.shape),
        w_read,
        w_write,
        rng.normal(size=memory.shape),
    ]


def one_input(rng: np.random.Generator) -> Any:
    return rng.normal(size=(3, 2, 1))


def slots_apart(p: Any, cell: Any) -> Any:
    wide = cell.hidden_size // cell.slots
    return [
        [[0.0] * wide] * cell.slots,
        [[float(a == slot) for a in range(wide)] for slot in range(cell.slots)],
    ]


def on_slot_0(p: Any, cell: Any) -> Any:
    weighting = [1.0] + [0.0] * (cell.slots - 1)
    return [
        [0.0] * cell.hidden_size,
        [0.0] * cell.width,
        weighting,
        weighting,
        [[1e-6] * cell.width] * cell.slots,
    ]


REFERENCES = {
    "FastWeights": fast_weights,
    "RelationalMemory": relational_memory,
    "NeuralTuringMachine": turing_machine,
}

SPECIAL: dict[str, list[dict[str, Any]]] = {
    "FastWeights": [{}, {"options": {"steps": 2, "decay": 0.7, "rate": 0.9}}],
    "RelationalMemory": [
        {"sizes": (1, 6), "options": {"slots": 2, "heads": 3}, "inputs": one_input},
        # the order of the heads' columns; too large for gradcheck
        {"sizes": (2, 8), "options": {"slots": 2, "heads": 2}, "smooth": False},
    ],
    "NeuralTuringMachine": [
        {
            "sizes": (1, 2),
            "options": {"slots": 3, "width": 2},
            "state": weightings,
            "inputs": one_input,
        }
    ],
}

EQUIVALENT = {
    (
        "RelationalMemory",
        f"name: q -> {other}",
    ): "the last axes of q, k and v have one size; as factors the three are told apart"
    for other in "kv"
}
_LARGEST = "w / stop_gradient(w.max(axis=-1, keepdims=True))"
EQUIVALENT |= {
    ("NeuralTuringMachine", change): "a positive scale of w cancels; the largest keeps powers from vanishing, which test_extreme_numbers sees"
    for change in (
        f"factor: {_LARGEST} -> w", f"inverse: {_LARGEST} -> {_LARGEST.replace('/', '*')}", *(f"name: w -> {n}" for n in ("head", "k", "g", "s", "lengths"))
    )
}  # fmt: skip

FIRST = {"RelationalMemory": slots_apart, "NeuralTuringMachine": on_slot_0}
