"""Record figures of PyTorch into tests/data/torch.npz: `python tests/record_torch.py` where PyTorch is installed. No test imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

T, BATCH, INPUT, HIDDEN = 5, 3, 2, 4
FILE = Path(__file__).parent / "data" / "torch.npz"


def cells(arrays: dict[str, Any]) -> None:
    """Outputs, last states and every gradient of sum(w * ys) + sum(v * last states), in float64."""
    for name, kind in (("Elman", torch.nn.RNN), ("LSTM", torch.nn.LSTM), ("GRU", torch.nn.GRU)):
        net = kind(INPUT, HIDDEN, dtype=torch.float64)
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.7)
        states = [
            torch.randn(1, BATCH, HIDDEN, dtype=torch.float64, requires_grad=True)
            for _ in range(2 if name == "LSTM" else 1)
        ]
        xs = torch.randn(T, BATCH, INPUT, dtype=torch.float64, requires_grad=True)
        ys, last = net(xs, tuple(states) if name == "LSTM" else states[0])
        last = last if name == "LSTM" else (last,)
        weights = [torch.randn_like(y) for y in (ys, *last)]
        sum((w * y).sum() for w, y in zip(weights, (ys, *last))).backward()
        arrays |= {f"{name}/{k}": v for k, v in {"xs": xs, "ys": ys, "d xs": xs.grad}.items()}
        for i, (s, final) in enumerate(zip(states, last)):
            arrays |= {
                f"{name}/state{i}": s[0],
                f"{name}/d state{i}": s.grad[0],
                f"{name}/last{i}": final[0],
            }
        arrays |= {f"{name}/weights{i}": w if i == 0 else w[0] for i, w in enumerate(weights)}
        for key, p in net.named_parameters():
            arrays |= {
                f"{name}/{key.removesuffix('_l0')}": p,
                f"{name}/d {key.removesuffix('_l0')}": p.grad,
            }


def losses(arrays: dict[str, Any]) -> None:
    """Cross entropy with leading axes, mean squared error, and clipping."""
    logits = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 4, (5, 3))
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 4), targets.reshape(-1))
    loss.backward()
    arrays |= {
        "cross_entropy/logits": logits,
        "cross_entropy/targets": targets,
        "cross_entropy/loss": loss,
        "cross_entropy/d": logits.grad,
    }
    x, y = (torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = torch.nn.functional.mse_loss(x, y)
    loss.backward()
    arrays |= {"mse/x": x, "mse/y": y, "mse/loss": loss, "mse/dx": x.grad, "mse/dy": y.grad}


if __name__ == "__main__":
    torch.manual_seed(20)
    found: dict[str, Any] = {}
    cells(found)
    losses(found)
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **{k: v.detach().numpy() for k, v in found.items()})
    print(
        f"{FILE.name}: {len(found)} arrays, {FILE.stat().st_size} bytes, PyTorch {torch.__version__}"
    )
