"""Record figures of PyTorch into tests/data/torch_linalg.npz: `python tests/record_torch_linalg.py` where PyTorch is installed. No test imports it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILE = Path(__file__).parent / "data" / "torch_linalg.npz"
L = torch.linalg


def symmetric(x: Any) -> Any:
    return (x + x.mT) / 2


def positive(x: Any) -> Any:
    return x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype)


# name, shape, and the results, which do not depend on the signs of vectors
CASES: dict[str, tuple[tuple[int, ...], Callable[[Any], list[Any]]]] = {
    "solve": ((2, 4, 4), lambda x: [L.solve(x, x[..., :2] ** 2)]),
    "solve_triangular": ((4, 4), lambda x: [L.solve_triangular(x, x[:, :2] ** 2, upper=False)]),
    "inv": ((2, 3, 3), lambda x: [L.inv(x)]),
    "pinv": ((4, 2), lambda x: [L.pinv(x)]),
    "det": ((2, 4, 4), lambda x: [L.det(x)]),
    "slogdet": ((2, 4, 4), lambda x: [L.slogdet(x)[1]]),
    "cholesky": ((2, 4, 4), lambda x: [L.cholesky(positive(x))]),
    "eigh": ((2, 4, 4), lambda x: [L.eigh(symmetric(x))[0], L.eigh(symmetric(x))[1] ** 2]),
    "eigvalsh": ((4, 4), lambda x: [L.eigvalsh(symmetric(x))]),
    "svd": ((2, 4, 3), lambda x: [part**2 for part in L.svd(x, full_matrices=False)]),
    "svdvals": ((3, 4), lambda x: [L.svdvals(x)]),
    "qr": ((4, 3), lambda x: [part**2 for part in L.qr(x)]),
    "expm": ((2, 3, 3), lambda x: [L.matrix_exp(x)]),
    "matrix_power": ((3, 3), lambda x: [L.matrix_power(x, -3)]),
    **{f"norm {p}": ((3, 4), lambda x, p=p: [L.vector_norm(x, p, dim=1)]) for p in (1, 2, 3, 2.5, 0.5, -1, float("inf"))},
    **{f"matrix norm {p}": ((3, 4), lambda x, p=p: [L.matrix_norm(x, p)]) for p in (1, -1, 2, -2, "fro", "nuc", float("inf"))},
    "rfft": ((2, 7), lambda x: [torch.fft.rfft(x).real, torch.fft.rfft(x).imag]),
    "irfft": ((2, 2, 4), lambda x: [torch.fft.irfft(torch.complex(x[0], x[1]), 6)]),
}  # fmt: skip


def main() -> None:
    torch.manual_seed(0)
    arrays: dict[str, Any] = {}
    for name, (shape, function) in CASES.items():
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        found = function(x)
        loss = sum((torch.cos(torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape)) * y).sum() for y in found)  # fmt: skip
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        second = torch.zeros_like(x)
        if first.requires_grad:
            weights = torch.sin(torch.arange(x.numel(), dtype=x.dtype).reshape(x.shape))
            (second,) = torch.autograd.grad((first * weights).sum(), x)
        arrays |= {f"{name}/x": x, f"{name}/d": first, f"{name}/dd": second}
        arrays |= {f"{name}/y{k}": y for k, y in enumerate(found)}
    np.savez_compressed(FILE, **{key: value.numpy(force=True) for key, value in arrays.items()})


if __name__ == "__main__":
    main()
