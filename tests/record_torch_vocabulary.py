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


SECTIONS = (of_numbers, of_probabilities, of_classes, of_sequences)

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
