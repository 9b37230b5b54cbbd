"""Record figures of PyTorch into tests/data/torch_vocabulary.npz: `python tests/record_torch_vocabulary.py` where PyTorch is installed.

The further losses, activations, layers and training rules; no test imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

FILE = Path(__file__).parent / "data" / "torch_vocabulary.npz"
REDUCTIONS = ("mean", "sum", "none")
# name, function, settings
NUMBERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mse_loss": (F.mse_loss, {}),
    "l1_loss": (F.l1_loss, {}),
    "huber_loss": (F.huber_loss, {"delta": 0.7}),
    "smooth_l1_loss": (F.smooth_l1_loss, {"beta": 0.4}),
}


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


def of_numbers(arrays: dict[str, Any]) -> None:
    for name, (function, settings) in NUMBERS.items():
        for reduction in REDUCTIONS:
            inputs = {"prediction": random(3, 4), "target": random(3, 4)}
            out = function(*inputs.values(), reduction=reduction, **settings)
            keep(arrays, f"{name}/{reduction}", out, inputs)
    for k, (shape, full, reduction) in enumerate(
        [((3, 4), False, "mean"), ((3, 1), True, "none"), ((3,), False, "sum")]
    ):
        variance = torch.rand(*shape, dtype=torch.float64).requires_grad_()
        with torch.no_grad():
            variance[0] = 1e-4  # less than eps
        inputs = {"mean": random(3, 4), "target": random(3, 4), "variance": variance}
        out = F.gaussian_nll_loss(*inputs.values(), full=full, eps=1e-2, reduction=reduction)
        keep(arrays, f"gaussian_nll_loss/{k}", out, inputs)


def of_probabilities(arrays: dict[str, Any]) -> None:
    for reduction in REDUCTIONS:
        inputs = {
            "logits": random(3, 4),
            "targets": torch.rand(3, 4, dtype=torch.float64).requires_grad_(),
        }
        logits, targets = inputs.values()
        pos_weight = 0.5 + torch.rand(4, dtype=torch.float64)
        arrays[f"bce_with_logits/{reduction}/pos_weight"] = pos_weight
        keep(
            arrays,
            f"bce_with_logits/{reduction}",
            F.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=pos_weight, reduction=reduction
            ),
            inputs,
        )
    for reduction in (*REDUCTIONS, "batchmean"):
        for log_target in (False, True):
            target = torch.softmax(random(3, 4), -1).detach()
            if not log_target:
                target[0, 1] = 0.0
            inputs = {"log_probabilities": random(3, 4)}
            out = F.kl_div(
                *inputs.values(),
                target.log() if log_target else target,
                reduction=reduction,
                log_target=log_target,
            )
            keep(arrays, f"kl_div/{reduction}/{log_target}", out, inputs)
            arrays[f"kl_div/{reduction}/{log_target}/target"] = (
                target.log() if log_target else target
            )


def of_classes(arrays: dict[str, Any]) -> None:
    weight = 0.2 + torch.rand(5, dtype=torch.float64)
    targets = torch.randint(0, 5, (6,))
    ignoring = targets.clone()
    ignoring[[1, 4]] = -100
    arrays |= {"classes/weight": weight, "classes/targets": targets, "classes/ignoring": ignoring}
    for reduction in REDUCTIONS:
        for smoothing in (0.0, 0.3):
            for weighted in (False, True):
                settings: Any = {"weight": weight if weighted else None, "reduction": reduction}
                label = f"{reduction}/{smoothing}/{weighted}"
                x = random(6, 5)
                out = F.cross_entropy(x, ignoring, label_smoothing=smoothing, **settings)
                keep(arrays, f"cross_entropy/{label}", out, {"logits": x})
                soft = torch.softmax(random(6, 5), -1).detach().requires_grad_()
                inputs = {"logits": x, "targets": soft}
                out = F.cross_entropy(x, soft, label_smoothing=smoothing, **settings)
                keep(arrays, f"cross_entropy soft/{label}", out, inputs)
                if not smoothing:
                    out = F.nll_loss(x, ignoring, **settings)
                    keep(arrays, f"nll_loss/{label}", out, {"log_probabilities": x})


def of_sequences(arrays: dict[str, Any]) -> None:
    """Rows of other lengths: repeated classes, none at all, and one that has no alignment."""
    targets = torch.tensor([[1, 1, 2, 3], [2, 3, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4], [4, 4, 4, 0]])
    inputs, counts = torch.tensor([9, 7, 5, 4, 4]), torch.tensor([4, 2, 0, 4, 3])
    together = torch.cat([row[:n] for row, n in zip(targets, counts)])
    arrays |= {
        "ctc/targets": targets,
        "ctc/together": together,
        "ctc/input_lengths": inputs,
        "ctc/target_lengths": counts,
    }
    for reduction in REDUCTIONS:
        for blank in (0, 5):
            x = random(9, 5, 6)
            out = F.ctc_loss(
                torch.log_softmax(x, -1),
                targets,
                inputs,
                counts,
                blank=blank,
                reduction=reduction,
                zero_infinity=True,
            )
            if blank == 0 or reduction == "none":
                keep(arrays, f"ctc/{reduction}/{blank}", out, {"logits": x})


# name, function, shapes of the inputs
ACTIVATIONS: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "softplus": (lambda x: F.softplus(x, 2.5, 1e9), [(3, 4, 2)]),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), [(3, 4, 2)]),
    "hardswish": (F.hardswish, [(3, 4, 2)]),
    "selu": (F.selu, [(3, 4, 2)]),
    "mish": (F.mish, [(3, 4, 2)]),
    "softsign": (F.softsign, [(3, 4, 2)]),
    "glu": (F.glu, [(3, 4, 2)]),
    "glu axis": (lambda x: F.glu(x, 1), [(3, 4, 2)]),
    "prelu": (F.prelu, [(3, 4, 2), (4,)]),
    "prelu of one": (F.prelu, [(3, 4, 2), (1,)]),
}
MAPS: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "pad reflect": (lambda x: F.pad(x, (1, 2, 2, 0), mode="reflect"), [(2, 3, 4, 5)]),
    "pad edge": (lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"), [(2, 3, 4, 5)]),
    "pad wrap": (lambda x: F.pad(x, (1, 2, 3, 0), mode="circular"), [(2, 3, 4, 5)]),
    "conv same": (
        lambda x, w: F.conv2d(x, w, padding="same", dilation=(1, 3)),
        [(2, 3, 4, 5), (2, 3, 3, 2)],
    ),
    "conv one side": (
        lambda x, w: F.conv2d(F.pad(x, (0, 2, 1, 0)), w, stride=2),
        [(2, 3, 4, 5), (2, 3, 2, 3)],
    ),
    "conv_transpose1d": (F.conv_transpose1d, [(2, 3, 5), (3, 2, 3), (2,)]),
    "conv_transpose1d all": (
        lambda *xs: F.conv_transpose1d(
            *xs, stride=3, padding=2, output_padding=1, groups=2, dilation=2
        ),
        [(2, 4, 5), (4, 3, 3), (6,)],
    ),
    "conv_transpose2d": (F.conv_transpose2d, [(2, 3, 4, 3), (3, 2, 2, 3), (2,)]),
    "conv_transpose2d all": (
        lambda *xs: F.conv_transpose2d(
            *xs, stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2, dilation=(1, 2)
        ),
        [(2, 4, 3, 4), (4, 3, 2, 3), (6,)],
    ),
    "attention": (F.scaled_dot_product_attention, [(2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 2)]),
    "attention causal": (
        lambda *xs: F.scaled_dot_product_attention(*xs, is_causal=True, scale=0.3),
        [(2, 4, 5), (2, 4, 5), (2, 4, 3)],
    ),
}
# of few numbers, so that many tie
POOLS: dict[str, tuple[Any, tuple[int, ...]]] = {
    **{
        f"max ceil {k}": (lambda x, s=s: F.max_pool1d(x, *s, ceil_mode=True), (2, 3, n))
        for k, (n, s) in enumerate([(7, (2, 2)), (8, (3, 2, 1)), (10, (2, 4, 1)), (9, (3, 3, 0, 2))])
    },
    **{
        f"avg ceil {k} {pad}": (
            lambda x, s=s, pad=pad: F.avg_pool1d(x, *s, ceil_mode=True, count_include_pad=pad),
            (2, 3, n),
        )
        for k, (n, s) in enumerate([(7, (2, 2)), (8, (3, 2, 1)), (10, (4, 3, 2)), (9, (2, 4, 1))])
        for pad in (True, False)
    },
    "avg ceil 2d": (lambda x: F.avg_pool2d(x, (3, 2), (2, 3), (1, 1), True, False), (2, 3, 6, 5)),
    "max ceil 2d": (lambda x: F.max_pool2d(x, (3, 2), (2, 3), (1, 1), 1, True), (2, 3, 6, 5)),
    **{f"adaptive avg {m}": (lambda x, m=m: F.adaptive_avg_pool1d(x, m), (2, 3, 8)) for m in (1, 3, 4, 8, 11)},
    **{f"adaptive max {m}": (lambda x, m=m: F.adaptive_max_pool1d(x, m), (2, 3, 8)) for m in (1, 3, 4, 8, 11)},
    "adaptive avg 2d": (lambda x: F.adaptive_avg_pool2d(x, (4, 2)), (2, 3, 6, 5)),
    "adaptive max 2d": (lambda x: F.adaptive_max_pool2d(x, (4, 2)), (2, 3, 6, 5)),
}  # fmt: skip


def functions(arrays: dict[str, Any]) -> None:
    for name, (function, shapes) in {**ACTIVATIONS, **MAPS}.items():
        inputs = {f"x{k}": random(*shape) for k, shape in enumerate(shapes)}
        if name in ACTIVATIONS:
            inputs["x0"] = (3 * inputs["x0"]).detach().requires_grad_()
        keep(arrays, name, function(*inputs.values()), inputs)
    for name, (function, shape) in POOLS.items():
        x = torch.randint(-2, 3, shape).to(torch.float64).requires_grad_()
        keep(arrays, name, function(x), {"x0": x})


def layers(arrays: dict[str, Any]) -> None:
    """Norms, and attention of several heads with places that are none and scores that are added to."""
    for name, layer, shape in (
        ("RMSNorm", torch.nn.RMSNorm(5, dtype=torch.float64), (4, 3, 5)),
        ("RMSNorm 2", torch.nn.RMSNorm((3, 5), eps=0.1, dtype=torch.float64), (4, 3, 5)),
        ("GroupNorm", torch.nn.GroupNorm(2, 4, eps=1e-3, dtype=torch.float64), (3, 4, 5, 2)),
        ("GroupNorm 1", torch.nn.GroupNorm(1, 4, dtype=torch.float64), (3, 4)),
        ("GroupNorm 4", torch.nn.GroupNorm(4, 4, dtype=torch.float64), (3, 4, 5)),
    ):
        weights = {k: torch.nn.init.normal_(p) for k, p in layer.named_parameters()}
        x = random(*shape)
        keep(arrays, name, layer(x), {"x": x, **weights})
    there = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    added = torch.randn(5, 4, dtype=torch.float64)
    arrays |= {"heads/mask": there, "heads/added": added}
    for name, sizes in (("heads", {}), ("heads of others", {"kdim": 3, "vdim": 6})):
        layer = torch.nn.MultiheadAttention(8, 2, dtype=torch.float64, **sizes)
        weights = {k: torch.nn.init.normal_(p, std=0.5) for k, p in layer.named_parameters()}
        inputs = {
            "query": random(5, 3, 8),
            "key": random(4, 3, sizes.get("kdim", 8)),
            "value": random(4, 3, sizes.get("vdim", 8)),
        }
        for kind, settings in (
            ("plain", {}),
            ("mask", {"key_padding_mask": ~there}),
            ("added", {"attn_mask": added}),
        ):
            out, shares = layer(*inputs.values(), **settings)
            keep(arrays, f"{name}/{kind}", out, {**inputs, **weights})
            arrays[f"{name}/{kind}/shares"] = shares


RULES: dict[str, Any] = {
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.05),
    "NAdam all": lambda p: torch.optim.NAdam(
        p, 0.05, (0.7, 0.9), 1e-3, 0.2, momentum_decay=0.1, decoupled_weight_decay=True
    ),
    "NAdam decay": lambda p: torch.optim.NAdam(p, lr=0.05, weight_decay=0.3),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.05),
    "RAdam all": lambda p: torch.optim.RAdam(
        p, 0.05, (0.7, 0.9), 1e-3, 0.2, decoupled_weight_decay=True
    ),
    "RAdam decay": lambda p: torch.optim.RAdam(p, lr=0.05, weight_decay=0.3),
    "groups": lambda p: torch.optim.AdamW(
        [{"params": p[:1]}, {"params": p[1:], "lr": 0.2, "betas": (0.5, 0.6), "weight_decay": 0.0}],
        lr=0.05,
    ),
    "groups of SGD": lambda p: torch.optim.SGD(
        [{"params": p[:1], "momentum": 0.5}, {"params": p[1:], "lr": 0.01}], lr=0.1, momentum=0.9
    ),
}


def rules(arrays: dict[str, Any]) -> None:
    """Twenty steps on given gradients; the second parameter has none in some steps.

    After ten steps the rates are a quarter, as a schedule sets them.
    """
    torch.set_default_dtype(torch.float64)  # in which NAdam keeps a product
    first = [torch.randn(3, 2), torch.randn(4)]
    gradients = [[torch.randn_like(p) for p in first] for _ in range(20)]
    arrays |= {f"rules/first{i}": p for i, p in enumerate(first)}
    for i in range(2):
        arrays[f"rules/gradients{i}"] = torch.stack([g[i] for g in gradients])
    for name, rule in RULES.items():
        parameters = [p.clone().requires_grad_() for p in first]
        optimizer = rule(parameters)
        found: list[list[torch.Tensor]] = [[], []]
        for t, gs in enumerate(gradients):
            if t == 10:
                for group in optimizer.param_groups:
                    group["lr"] /= 4
            for i, (p, g) in enumerate(zip(parameters, gs)):
                p.grad = None if i == 1 and t in (0, 1, 2, 5) else g.clone()
            optimizer.step()
            for i, p in enumerate(parameters):
                found[i].append(p.detach().clone())
        for i in range(2):
            arrays[f"rules/{name}/{i}"] = torch.stack(found[i])


def scattered(arrays: dict[str, Any]) -> None:
    """Values at indices, some of them equal to each other and to what was there."""
    for reduce in ("sum", "mean", "prod", "amax", "amin"):
        for own in (True, False):
            x = torch.tensor([[1.0, 2, 3], [4, 0.5, -1]], dtype=torch.float64, requires_grad=True)
            v = torch.tensor([[5.0, 5, 3, 2], [0.5, 7, 7, -3]], dtype=torch.float64)
            if not own:  # PyTorch counts what was there among equal ones though it is left out
                v = v + 0.25
            inputs = {"x": x, "values": v.requires_grad_()}
            places = torch.tensor([[0, 0, 2, 2], [1, 1, 1, 0]])
            out = x.scatter_reduce(1, places, v, reduce, include_self=own)
            keep(arrays, f"scatter_reduce/{reduce}/{own}", out, inputs)


SECTIONS = (
    of_numbers,
    of_probabilities,
    of_classes,
    of_sequences,
    functions,
    layers,
    rules,
    scattered,
)

if __name__ == "__main__":
    found: dict[str, Any] = {}
    for number, record in enumerate(SECTIONS):
        torch.manual_seed(100 + number)
        record(found)
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **{k: v.detach().numpy() for k, v in found.items()})
    print(
        f"{FILE.name}: {len(found)} arrays, {FILE.stat().st_size} bytes, PyTorch {torch.__version__}"
    )
