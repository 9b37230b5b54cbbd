"""Record figures of PyTorch into tests/data/torch_layers.npz: `python tests/record_torch_layers.py` where PyTorch is installed.

Layers, losses, training rules and schedules; no test imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

FILE = Path(__file__).parent / "data" / "torch_layers.npz"
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "conv1d plain": ((3, 4, 9), (5, 4, 3), {}),
    "conv1d all": ((3, 4, 11), (6, 2, 3), {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}),
    "conv1d depthwise": ((2, 3, 7), (3, 1, 2), {"groups": 3, "padding": 1}),
    "conv2d plain": ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    "conv2d all": (
        (2, 4, 8, 7),
        (6, 2, 3, 2),
        {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3), "groups": 2},
    ),
    "conv2d point": ((2, 3, 4, 3), (5, 3, 1, 1), {"stride": 2}),
}
POOLS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "max_pool1d plain": ((2, 3, 9), {"kernel_size": 2}),
    "max_pool1d all": ((2, 3, 9), {"kernel_size": 4, "stride": 2, "padding": 2, "dilation": 2}),
    "max_pool2d plain": ((2, 3, 7, 6), {"kernel_size": (3, 2)}),
    "max_pool2d all": (
        (2, 3, 8, 9),
        {"kernel_size": 3, "stride": (1, 2), "padding": 1, "dilation": (2, 1)},
    ),
    "avg_pool1d plain": ((2, 3, 9), {"kernel_size": 2}),
    "avg_pool1d all": (
        (2, 3, 9),
        {"kernel_size": 4, "stride": 3, "padding": 2, "count_include_pad": False},
    ),
    "avg_pool2d plain": ((2, 3, 7, 6), {"kernel_size": (3, 2)}),
    "avg_pool2d all": ((2, 3, 8, 9), {"kernel_size": 3, "stride": (1, 2), "padding": 1}),
    "avg_pool2d inside": (
        (2, 3, 8, 9),
        {"kernel_size": 3, "stride": (1, 2), "padding": (1, 0), "count_include_pad": False},
    ),
}
RULES = {
    "nesterov": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05
    ),
    "SGD decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.2),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.02),
    "RMSprop all": lambda p: torch.optim.RMSprop(
        p, lr=0.02, alpha=0.8, eps=1e-3, momentum=0.7, centered=True, weight_decay=0.1
    ),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "Adagrad all": lambda p: torch.optim.Adagrad(
        p, lr=0.1, lr_decay=0.3, eps=1e-3, weight_decay=0.1
    ),
    "Adam decay": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.3),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.05),
    "AdamW all": lambda p: torch.optim.AdamW(
        p, lr=0.05, betas=(0.6, 0.8), eps=1e-3, weight_decay=0.4
    ),
}
SCHEDULES = {
    "step_decay": lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
    "exponential_decay": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12, 0.01),
    "linear_warmup": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [
            torch.optim.lr_scheduler.LinearLR(o, 0.25, 1.0, 4),
            torch.optim.lr_scheduler.ExponentialLR(o, 0.8),
        ],
        milestones=[4],
    ),
}
LOSSES = [3.0, 2.0, 1.9999, 2.1, 1.5, 1.6, 1.7, 1.55, 1.8, 1.4, 1.41, 1.4, 1.39999, 1.45, 1.5, 1.2]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def keep(
    arrays: dict[str, Any], name: str, out: torch.Tensor, inputs: dict[str, torch.Tensor]
) -> None:
    """The inputs, the output, and the gradients of sum(seed * output)."""
    seed = torch.randn_like(out)
    found = torch.autograd.grad((seed * out).sum(), list(inputs.values()))
    arrays |= {f"{name}/out": out, f"{name}/seed": seed}
    for (key, x), g in zip(inputs.items(), found):
        arrays |= {f"{name}/{key}": x, f"{name}/d {key}": g}


def convolutions(arrays: dict[str, Any]) -> None:
    for name, (shape, weight, settings) in CONVOLUTIONS.items():
        inputs = {"x": random(*shape), "weight": random(*weight), "bias": random(weight[0])}
        keep(arrays, name, getattr(F, name.split()[0])(*inputs.values(), **settings), inputs)


def pools(arrays: dict[str, Any]) -> None:
    """Values from few numbers, so that many tie."""
    for name, (shape, settings) in POOLS.items():
        x = torch.randint(-2, 3, shape).to(torch.float64).requires_grad_()
        keep(arrays, name, getattr(F, name.split()[0])(x, **settings), {"x": x})


def normalizations(arrays: dict[str, Any]) -> None:
    for name, shape, size in (("LayerNorm 1", (4, 3, 5), (5,)), ("LayerNorm 2", (4, 3, 5), (3, 5))):
        layer = torch.nn.LayerNorm(size, eps=1e-3, dtype=torch.float64)
        inputs = {
            "x": random(*shape),
            **{k: torch.nn.init.normal_(p) for k, p in layer.named_parameters()},
        }
        keep(arrays, name, layer(inputs["x"]), inputs)
    kinds = {"2": torch.nn.BatchNorm1d, "3": torch.nn.BatchNorm1d, "4": torch.nn.BatchNorm2d}
    for axes, shape in (("2", (6, 3)), ("3", (4, 3, 5)), ("4", (2, 3, 4, 5))):
        for momentum in (0.3, None):
            name = f"BatchNorm {axes} {momentum}"
            layer = kinds[axes](3, eps=1e-3, momentum=momentum, dtype=torch.float64)
            inputs = {k: torch.nn.init.normal_(p) for k, p in layer.named_parameters()}
            for step in ("first", "second", "eval"):
                layer.train(step != "eval")
                x = random(*shape)
                keep(arrays, f"{name}/{step}", layer(x), {"x": x, **inputs})
                arrays |= {f"{name}/{step}/{k}": b.clone() for k, b in layer.named_buffers()}


def losses(arrays: dict[str, Any]) -> None:
    logits, targets = random(4, 3), torch.rand(4, 3, dtype=torch.float64).requires_grad_()
    keep(
        arrays,
        "bce",
        F.binary_cross_entropy_with_logits(logits, targets),
        {"logits": logits, "targets": targets},
    )
    weights = torch.tensor(
        [[1.0, 0.0, 2.0], [0.0, 0.0, 0.5], [1.0, 1.0, 1.0], [3.0, 0.0, 0.0]], dtype=torch.float64
    )
    arrays["mask"] = weights
    values = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    keep(
        arrays,
        "bce masked",
        (values * weights).sum() / weights.sum(),
        {"logits": logits, "targets": targets},
    )
    logits, classes = random(4, 3, 5), torch.randint(0, 5, (4, 3))
    values = F.cross_entropy(logits.reshape(-1, 5), classes.reshape(-1), reduction="none").reshape(
        4, 3
    )
    keep(
        arrays, "cross_entropy masked", (values * weights).sum() / weights.sum(), {"logits": logits}
    )
    arrays["cross_entropy masked/classes"] = classes
    kept = F.cross_entropy(
        logits.reshape(-1, 5), torch.where(weights > 0, classes, -100).reshape(-1)
    )
    keep(arrays, "cross_entropy kept", kept, {"logits": logits})


def optimisers(arrays: dict[str, Any]) -> None:
    """Eight steps on given gradients; the second parameter has none in steps 0, 1, 2 and 5."""
    first = [torch.randn(3, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]
    gradients = [[torch.randn_like(p) for p in first] for _ in range(8)]
    arrays |= {f"optim/first{i}": p for i, p in enumerate(first)}
    arrays |= {
        f"optim/gradient{t}/{i}": g for t, gs in enumerate(gradients) for i, g in enumerate(gs)
    }
    for name, rule in RULES.items():
        parameters = [p.clone().requires_grad_() for p in first]
        optimizer = rule(parameters)
        for t, gs in enumerate(gradients):
            for i, (p, g) in enumerate(zip(parameters, gs)):
                p.grad = None if i == 1 and t in (0, 1, 2, 5) else g.clone()
            optimizer.step()
            arrays |= {f"optim/{name}/{t}/{i}": p.clone() for i, p in enumerate(parameters)}


def schedules(arrays: dict[str, Any]) -> None:
    """The rates before each of 13 steps, and those that follow a list of losses."""
    for name, make in SCHEDULES.items():
        optimizer = torch.optim.SGD([random(1)], lr=0.4)
        schedule = make(optimizer)
        rates = []
        for _ in range(13):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        arrays[f"schedule/{name}"] = torch.tensor(rates, dtype=torch.float64)
    optimizer = torch.optim.SGD([random(1)], lr=0.4)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, threshold=1e-3, min_lr=0.12
    )
    rates = []
    for loss in LOSSES:
        plateau.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    arrays["plateau/losses"], arrays["plateau/rates"] = (
        torch.tensor(v, dtype=torch.float64) for v in (LOSSES, rates)
    )


if __name__ == "__main__":
    torch.manual_seed(21)
    found: dict[str, Any] = {}
    for record in (convolutions, pools, normalizations, losses, optimisers, schedules):
        record(found)
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **{k: v.detach().numpy() for k, v in found.items()})
    print(
        f"{FILE.name}: {len(found)} arrays, {FILE.stat().st_size} bytes, PyTorch {torch.__version__}"
    )
