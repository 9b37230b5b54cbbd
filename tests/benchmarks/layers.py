"""Losses, activations, layers and training rules beside PyTorch, at 1,000 and 1,000,000 elements.

``python -m tests.benchmarks.layers [name ...]`` prints a row for each whose name has one of the words:
the time of ours on the processor, and how many times longer that is than PyTorch's, forward and with backward.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # PyTorch has one as well

import numpy as np
import torch
from torch.nn import functional as F

import tinygrad_rnn as tg
from tinygrad_rnn import nn

from .timing import interleaved, table

SIZES = (1_000, 1_000_000)
LIMIT = 1.5  # what is slower than this many times is marked
Row = tuple[Callable[..., Any], Callable[..., Any], Callable[[int], list[tuple[int, ...]]]]


def side(n: int) -> int:
    """The side of a square of about n elements."""
    return round(n**0.5)


def one(n: int) -> list[tuple[int, ...]]:
    """One row."""
    return [(n,)]


def two(n: int) -> list[tuple[int, ...]]:
    """A prediction and a target."""
    return [(n,), (n,)]


def classes(n: int) -> list[tuple[int, ...]]:
    """Rows of ten classes."""
    return [(n // 10, 10)]


def image(n: int) -> list[tuple[int, ...]]:
    """Images of four channels."""
    return [(1 if n < 10_000 else 10, 4, *[side(n // 4 if n < 10_000 else n // 40)] * 2)]


def ids(x: Any) -> Any:
    """The same classes for every row."""
    return np.arange(x.shape[0]) % x.shape[-1]


def probabilities(x: Any) -> Any:
    """Probabilities for the rows of x."""
    return np.full(tuple(x.shape), 1 / x.shape[-1], np.float32)


def both(ours: Any, theirs: Any, **settings: Any) -> tuple[Any, Any]:
    """One function of us and of PyTorch with the same settings."""
    return lambda *xs: ours(*xs, **settings), lambda *xs: theirs(*xs, **settings)


def lengths(x: Any) -> tuple[Any, Any, Any]:
    """Targets of every fifth step, and the lengths, for logits (time, batch, classes)."""
    time, batch, count = x.shape
    targets = 1 + np.arange(batch * (time // 5)).reshape(batch, -1) % (count - 1)
    return targets, np.full(batch, time), np.full(batch, time // 5)


def known(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What is made of the shape of an input, once for each."""
    kept: dict[Any, Any] = {}

    def of(x: Any, convert: Any = lambda a: a) -> Any:
        key = (tuple(x.shape), convert)
        if key not in kept:
            found = make(x)
            kept[key] = tuple(map(convert, found)) if isinstance(found, tuple) else convert(found)
        return kept[key]

    return of


IDS, SHARES, LENGTHS = known(ids), known(probabilities), known(lengths)
T = torch.from_numpy
HEADS = nn.MultiheadAttention(32, 4, rng=0), torch.nn.MultiheadAttention(32, 4)
UP = nn.ConvTranspose2d(4, 4, 3, 2, rng=0), torch.nn.ConvTranspose2d(4, 4, 3, 2)
NORM = nn.GroupNorm(2, 4), torch.nn.GroupNorm(2, 4)
for _ours, _theirs in (HEADS, UP):
    _ours.load_state_dict({k: v.numpy() for k, v in _theirs.state_dict().items()})
ROWS: dict[str, Row] = {
    "mse_loss": (nn.mse_loss, F.mse_loss, two), "l1_loss": (nn.l1_loss, F.l1_loss, two), "huber_loss": (*both(nn.huber_loss, F.huber_loss, delta=0.7), two),
    "smooth_l1_loss": (nn.smooth_l1_loss, F.smooth_l1_loss, two),
    "gaussian_nll_loss": (lambda m, y, v: nn.gaussian_nll_loss(m, y, v * v), lambda m, y, v: F.gaussian_nll_loss(m, y, v * v), lambda n: [(n,)] * 3),
    "kl_div": (lambda x: nn.kl_div(x, SHARES(x)), lambda x: F.kl_div(x, SHARES(x, T)), classes),
    "cross_entropy": (lambda x: nn.cross_entropy(x, IDS(x)), lambda x: F.cross_entropy(x, IDS(x, T)), classes),
    "cross_entropy, smoothed": (lambda x: nn.cross_entropy(x, IDS(x), label_smoothing=0.1), lambda x: F.cross_entropy(x, IDS(x, T), label_smoothing=0.1), classes),
    "cross_entropy, soft": (lambda x: nn.cross_entropy(x, SHARES(x)), lambda x: F.cross_entropy(x, SHARES(x, T)), classes),
    "nll_loss": (lambda x: nn.nll_loss(x, IDS(x)), lambda x: F.nll_loss(x, IDS(x, T)), classes),
    "bce, pos_weight": (lambda x: nn.bce_with_logits(x, SHARES(x), pos_weight=2.0), lambda x: F.binary_cross_entropy_with_logits(x, SHARES(x, T), pos_weight=torch.tensor(2.0)), classes),
    "ctc_loss": (lambda x: nn.ctc_loss(x, *LENGTHS(x)), lambda x: F.ctc_loss(torch.log_softmax(x, -1), *LENGTHS(x, T)), lambda n: [(20, 2, 25) if n < 10_000 else (200, 50, 100)]),
    "softplus": (*both(tg.softplus, F.softplus, beta=2.0), one), "gelu, tanh": (*both(tg.gelu, F.gelu, approximate="tanh"), one), "hardswish": (tg.hardswish, F.hardswish, one),
    "selu": (tg.selu, F.selu, one), "mish": (tg.mish, F.mish, one), "softsign": (tg.softsign, F.softsign, one), "glu": (tg.glu, F.glu, lambda n: [(n // 10, 10)]),
    "prelu": (tg.prelu, F.prelu, lambda n: [(n // 10, 10), (10,)]), "pad, reflect": (lambda x: tg.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect"), lambda x: F.pad(x, (2, 2, 2, 2), mode="reflect"), image),
    "conv_transpose2d": (*UP, image), "max_pool2d, ceil": (lambda x: tg.max_pool2d(x, 3, 2, 1, ceil_mode=True), lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), image),
    "avg_pool2d, ceil": (lambda x: tg.avg_pool2d(x, 3, 2, 1, ceil_mode=True), lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), image),
    "adaptive_avg_pool2d": (lambda x: tg.adaptive_avg_pool2d(x, 5), lambda x: F.adaptive_avg_pool2d(x, 5), image),
    "adaptive_max_pool2d": (lambda x: tg.adaptive_max_pool2d(x, 5), lambda x: F.adaptive_max_pool2d(x, 5), image),
    "RMSNorm": (lambda x: nn.RMSNorm(100)(x), lambda x: F.rms_norm(x, (100,), torch.ones(100)), lambda n: [(n // 100, 100)]), "GroupNorm": (*NORM, image),
    "attention": (nn.scaled_dot_product_attention, F.scaled_dot_product_attention, lambda n: [(4, 8, 32) if n < 10_000 else (64, 250, 64)] * 3),
    "MultiheadAttention": (lambda x: HEADS[0](x)[0], lambda x: HEADS[1](x, x, x)[0], lambda n: [(10, 3, 32) if n < 10_000 else (100, 300, 32)]),
}  # fmt: skip
RULES = {
    "SGD, Nesterov": (lambda p: tg.optim.SGD(p, 0.1, momentum=0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
    "NAdam": (tg.optim.NAdam, torch.optim.NAdam), "RAdam": (tg.optim.RAdam, torch.optim.RAdam),
}  # fmt: skip


def backward(function: Callable[..., Any], tensors: list[Any]) -> None:
    """Forward, a sum, and its gradients."""
    for t in tensors:
        t.grad = None
    function(*tensors).sum().backward()


def of_row(row: Row, n: int) -> dict[str, Callable[[], Any]]:
    """What is timed; the results are compared first."""
    ours, theirs, shapes = row
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes(n)]
    mine, also = [tg.tensor(a) for a in arrays], [torch.tensor(a) for a in arrays]
    expected = theirs(*also).detach().numpy()
    np.testing.assert_allclose(ours(*mine).numpy(), expected, rtol=2e-3, atol=1e-4)
    moving = [tg.tensor(a, requires_grad=True) for a in arrays]
    there = [torch.tensor(a, requires_grad=True) for a in arrays]
    return {
        "tg": lambda: ours(*mine),
        "torch": lambda: theirs(*also),
        "tg, both": lambda: backward(ours, moving),
        "torch, both": lambda: backward(theirs, there),
    }


def of_rule(make: Callable[..., Any], parameters: list[Any]) -> Callable[[], None]:
    optimizer = make(parameters)
    return lambda: optimizer.step()


def line(name: str, n: int, timed: dict[str, Callable[[], Any]]) -> tuple[str, ...]:
    """Time a row, and return its texts."""
    seconds = interleaved(timed, rounds=101 if n < 10_000 else 15, clock=time.process_time)
    texts = [name, f"{n:,}"]
    for kind in ("", ", both"):
        if f"tg{kind}" in seconds:
            ratio = seconds[f"tg{kind}"] / seconds[f"torch{kind}"]
            mark = " !" if ratio > LIMIT else ""
            texts += [f"{seconds[f'tg{kind}'] * 1e6:,.0f}", f"{ratio:.2f}{mark}"]
    return (*texts, *["-"] * (6 - len(texts)))


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    tg.set_num_threads(1)
    found = [("", "elements", "tg, us", "/ torch", "both, us", "/ torch")]
    chosen = [name for name in [*ROWS, *RULES] if not words or any(w in name for w in words)]
    for name in chosen:
        for n in SIZES:
            if name in ROWS:
                found.append(line(name, n, of_row(ROWS[name], n)))
                continue
            ours, theirs = RULES[name]
            arrays = [np.ones((side(n) // 4, side(n)), np.float32) for _ in range(4)]
            mine, also = [tg.Parameter(a) for a in arrays], [torch.tensor(a) for a in arrays]
            for p, q, a in zip(mine, also, arrays, strict=True):
                p.grad, q.grad = tg.tensor(a), torch.tensor(a)
            step = {"tg": of_rule(ours, mine), "torch": of_rule(theirs, also)}
            found.append(line(name, n, step))
    table("layers and losses, float32, one thread; ! beyond 1.5", found)


if __name__ == "__main__":
    main(sys.argv[1:])
