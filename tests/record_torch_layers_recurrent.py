"""Record figures of PyTorch's recurrent layers into tests/data/torch_recurrent.npz, in float32.

`python tests/record_torch_layers_recurrent.py`, where PyTorch is installed. No test imports it.

For each case: inputs, first states, all parameters, outputs, last states, and every gradient of
sum(w * ys) + sum(v_k * last_k) with random w and v_k.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

T, BATCH, INPUT, HIDDEN, PROJECTED = 6, 4, 3, 5, 2
LENGTHS = [4, 6, 1, 3]
FILE = Path(__file__).parent / "data" / "torch_recurrent.npz"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "RNN": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
    "LSTM": ("LSTM", {}),
    "LSTMP": ("LSTM", {"proj_size": PROJECTED}),
    "GRU": ("GRU", {}),
}
# levels, directions and bias; with lengths or without
SHAPES: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"num_layers": 2}, False),
    ({"num_layers": 3, "bias": False}, True),
    ({"bidirectional": True}, False),
    ({"bidirectional": True, "bias": False}, True),
    ({"num_layers": 2, "bidirectional": True}, True),
    ({"num_layers": 3, "bidirectional": True}, False),
    ({"num_layers": 1}, True),
]


def record(arrays: dict[str, Any], kind: str, options: dict[str, Any], padded: bool) -> None:
    """One case: a layer with random weights on random inputs."""
    net = getattr(torch.nn, kind)(INPUT, HIDDEN, **options)
    # relu lets values grow, and rounding with them
    std = 0.25 if options.get("nonlinearity") == "relu" else 0.4
    for p in net.parameters():
        torch.nn.init.normal_(p, std=std)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    sizes = [options.get("proj_size") or HIDDEN, HIDDEN] if kind == "LSTM" else [HIDDEN]
    states = [torch.randn(count, BATCH, size, requires_grad=True) for size in sizes]
    xs = torch.randn(T, BATCH, INPUT, requires_grad=True)
    given = tuple(states) if kind == "LSTM" else states[0]
    if padded:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            xs, torch.tensor(LENGTHS), enforce_sorted=False
        )
        out, last = net(packed, given)
        ys, _ = torch.nn.utils.rnn.pad_packed_sequence(out, total_length=T)
    else:
        ys, last = net(xs, given)
    last = last if kind == "LSTM" else (last,)
    weights = [torch.randn_like(y) for y in (ys, *last)]
    sum((w * y).sum() for w, y in zip(weights, (ys, *last))).backward()
    arrays |= {"xs": xs, "ys": ys, "d xs": xs.grad}
    for i, (state, final) in enumerate(zip(states, last)):
        arrays |= {f"state{i}": state, f"d state{i}": state.grad, f"last{i}": final}
    arrays |= {f"weights{i}": w for i, w in enumerate(weights)}
    for key, p in net.named_parameters():
        arrays |= {f"parameter {key}": p, f"d {key}": p.grad}


if __name__ == "__main__":
    torch.manual_seed(43)
    # one array for each case, as many small ones take several times the space
    cases, packed = {}, {}
    for label, (kind, own) in KINDS.items():
        for i, (options, padded) in enumerate(SHAPES):
            found: dict[str, Any] = {}
            record(found, kind, own | options, padded)
            arrays = {k: v.detach().numpy() for k, v in found.items()}
            if any(v.dtype != np.float32 for v in arrays.values()):
                raise TypeError(f"{label} {i}: expected float32 throughout")
            shapes = {k: v.shape for k, v in arrays.items()}
            cases[f"{label} {i}"] = {
                "kind": kind,
                "options": own | options,
                "padded": padded,
                "shapes": shapes,
            }
            packed[f"{label} {i}"] = np.concatenate([v.reshape(-1) for v in arrays.values()])
    np.savez_compressed(
        FILE, cases=np.array(json.dumps(cases).encode()), lengths=np.array(LENGTHS), **packed
    )
    print(
        f"{FILE.name}: {len(cases)} cases, {FILE.stat().st_size} bytes, PyTorch {torch.__version__}"
    )
