"""The losses against recorded figures of PyTorch, gradients of order 2, compiled, with masks and weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

TORCH = np.load(Path(__file__).parent / "data" / "torch_vocabulary.npz")
REDUCTIONS = ("mean", "sum", "none")
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def check(name: str, loss: Callable[..., Any], keys: list[str]) -> None:
    """The value and the gradients, plain and compiled."""
    for function in (loss, tg.jit(loss)):
        inputs = [tg.tensor(TORCH[f"{name}/{key}"], requires_grad=True) for key in keys]
        out = function(*inputs)
        np.testing.assert_allclose(out.numpy(), TORCH[f"{name}/out"], **CLOSE)
        (out * TORCH[f"{name}/seed"]).sum().backward()
        for key, x in zip(keys, inputs, strict=True):
            np.testing.assert_allclose(x.grad.numpy(), TORCH[f"{name}/d {key}"], **CLOSE)


# --- against PyTorch ------------------------------------------------------------------------------

OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "mse_loss": nn.mse_loss,
    "l1_loss": nn.l1_loss,
    "huber_loss": lambda p, t, **s: nn.huber_loss(p, t, delta=0.7, **s),
    "smooth_l1_loss": lambda p, t, **s: nn.smooth_l1_loss(p, t, beta=0.4, **s),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", OF_NUMBERS)
def test_losses_of_numbers(name: str, reduction: str) -> None:
    function = OF_NUMBERS[name]
    check(
        f"{name}/{reduction}",
        lambda p, t: function(p, t, reduction=reduction),
        ["prediction", "target"],
    )


@pytest.mark.parametrize(("k", "full", "reduction"), [(0, False, "mean"), (1, True, "none"), (2, False, "sum")])  # fmt: skip
def test_gaussian_nll(k: int, full: bool, reduction: str) -> None:
    check(
        f"gaussian_nll_loss/{k}",
        lambda m, t, v: nn.gaussian_nll_loss(m, t, v, full=full, eps=1e-2, reduction=reduction),
        ["mean", "target", "variance"],
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_pos_weight(reduction: str) -> None:
    name = f"bce_with_logits/{reduction}"
    factor = TORCH[f"{name}/pos_weight"]
    check(
        name,
        lambda x, t: nn.bce_with_logits(x, t, pos_weight=factor, reduction=reduction),
        ["logits", "targets"],
    )


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_kl_div(reduction: str, log_target: bool) -> None:
    name = f"kl_div/{reduction}/{log_target}"
    target = TORCH[f"{name}/target"]
    check(
        name,
        lambda x: nn.kl_div(x, target, log_target=log_target, reduction=reduction),
        ["log_probabilities"],
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_classes(reduction: str, smoothing: float, weighted: bool) -> None:
    label = f"{reduction}/{smoothing}/{weighted}"
    weight = TORCH["classes/weight"] if weighted else None
    ids = TORCH["classes/ignoring"]
    settings: Any = {"weight": weight, "reduction": reduction}
    check(
        f"cross_entropy/{label}",
        lambda x: nn.cross_entropy(
            x, ids, ignore_index=-100, label_smoothing=smoothing, **settings
        ),
        ["logits"],
    )
    check(
        f"cross_entropy soft/{label}",
        lambda x, t: nn.cross_entropy(x, t, label_smoothing=smoothing, **settings),
        ["logits", "targets"],
    )
    if not smoothing:
        check(
            f"nll_loss/{label}",
            lambda x: nn.nll_loss(x, ids, ignore_index=-100, **settings),
            ["log_probabilities"],
        )


CTC = {key: TORCH[f"ctc/{key}"] for key in ("targets", "together", "input_lengths", "target_lengths")}  # fmt: skip


@pytest.mark.parametrize("kind", ["targets", "together"])
@pytest.mark.parametrize(("reduction", "blank"), [("mean", 0), ("sum", 0), ("none", 0), ("none", 5)])  # fmt: skip
def test_ctc(reduction: str, blank: int, kind: str) -> None:
    """The gradient by log-probabilities, which PyTorch takes, is that by logits."""
    lengths = CTC["input_lengths"], CTC["target_lengths"]
    for x in (lambda x: x, lambda x: tg.log_softmax(x, -1)):
        check(
            f"ctc/{reduction}/{blank}",
            lambda t, x=x: nn.ctc_loss(
                x(t), CTC[kind], *lengths, blank=blank, reduction=reduction, zero_infinity=True
            ),
            ["logits"],
        )


# --- by themselves --------------------------------------------------------------------------------

A = np.random.default_rng(0).normal(size=(3, 4))
B = np.random.default_rng(1).normal(size=(3, 4))
P = np.exp(B) / np.exp(B).sum(-1, keepdims=True)
IDS = np.array([0, 3, 1])
# of two tensors (the second a constant where it is not differentiated), with a mask of one weight for each value
LOSSES: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "mse_loss": (nn.mse_loss, B, (3, 4)), "l1_loss": (nn.l1_loss, B, (3, 4)), "huber_loss": (nn.huber_loss, B, (3, 4)),
    "smooth_l1_loss": (lambda *a, **s: nn.smooth_l1_loss(*a, beta=0.5, **s), B, (3, 4)),
    "gaussian_nll_loss": (lambda x, y, mask=None, **s: nn.gaussian_nll_loss(x, y, P, mask, full=True, **s), B, (3, 4)),
    "bce_with_logits": (lambda *a, **s: nn.bce_with_logits(*a, pos_weight=np.array([1.0, 2.0, 0.5, 0.0]), **s), P, (3, 4)),
    "kl_div": (nn.kl_div, P, (3, 4)), "kl_div of logarithms": (lambda *a, **s: nn.kl_div(*a, log_target=True, **s), np.log(P), (3, 4)),
    "cross_entropy": (lambda *a, **s: nn.cross_entropy(*a, weight=[1.0, 0.5, 2.0, 3.0], label_smoothing=0.1, **s), IDS, (3,)),
    "cross_entropy soft": (lambda *a, **s: nn.cross_entropy(*a, label_smoothing=0.1, **s), P, (3,)), "nll_loss": (nn.nll_loss, IDS, (3,)),
    "ctc_loss": (lambda x, y, mask=None, **s: nn.ctc_loss(tg.stack([x, 2 * x, x + 1.0]), y, None, None, mask, **s), np.array([[1, 2], [2, 2], [3, 0]]) % 4 + (np.arange(6).reshape(3, 2) == 5), (3,)),
}  # fmt: skip


def given(name: str, dtype: Any = np.float64) -> tuple[Any, Any]:
    y = LOSSES[name][1]
    return A.astype(dtype), y if y.dtype.kind == "i" else y.astype(dtype)


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives(name: str) -> None:
    loss, y, shape = LOSSES[name]
    mask = np.linspace(0.0, 2.0, math.prod(shape)).reshape(shape)
    for reduction in REDUCTIONS:
        tg.gradcheck(lambda x, r=reduction: loss(x, y, reduction=r).sum(), A, order=2)
        tg.gradcheck(lambda x, r=reduction: loss(x, y, mask=mask, reduction=r).sum(), A, order=2)
    if y.dtype.kind == "f":
        tg.gradcheck(lambda t: loss(tg.tensor(A), t).sum(), y, order=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_a_mask_weighs_the_values(name: str, dtype: Any) -> None:
    """Also compiled, with the mask as a constant and as an argument; what has the weight 0 may be nan."""
    loss, _, shape = LOSSES[name]
    x, y = given(name, dtype)
    mask = np.linspace(0.5, 2.0, math.prod(shape)).reshape(shape).astype(dtype)
    mask.flat[1] = 0.0
    each = loss(tg.tensor(x), y, reduction="none").numpy()
    assert each.shape == shape and each.dtype == dtype
    shares = np.array([1.0, 0.5, 2.0, 3.0])[IDS] if name == "cross_entropy" else 1.0
    total = float((each * mask).sum())
    counts = 2 if name == "ctc_loss" else 1  # means are those of values by their lengths
    expected = {
        "none": each * mask,
        "sum": total,
        "mean": total / float((mask * shares).sum()) / counts,
    }
    spoilt = x.copy()
    if name != "ctc_loss":
        spoilt[
            np.nonzero(np.broadcast_to(mask.reshape(shape + (1,) * (2 - len(shape))) == 0, x.shape))
        ] = np.nan
    tolerance = {"rtol": 2e-5 if dtype == np.float32 else 1e-12}
    for reduction, value in expected.items():
        t = tg.tensor(spoilt, requires_grad=True)
        found = loss(t, y, mask=mask, reduction=reduction)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy(), value, **tolerance)
        found.sum().backward()
        assert np.isfinite(t.grad.numpy()).all()
        for compiled in (
            tg.jit(lambda a, r=reduction: loss(a, y, mask=mask, reduction=r))(t),
            tg.jit(lambda a, m, r=reduction: loss(a, y, mask=m, reduction=r))(t, tg.tensor(mask)),
        ):
            np.testing.assert_allclose(compiled.numpy(), value, **tolerance)


@pytest.mark.parametrize("name", LOSSES)
def test_how_arrays_lie_and_empty_ones(name: str) -> None:
    loss, _, shape = LOSSES[name]
    x, y = given(name)
    expected = loss(tg.tensor(x), y, reduction="none").numpy()
    wide = np.zeros((3, 8))
    wide[:, ::2] = x
    for other in (np.asfortranarray(x), wide[:, ::2], wide[::-1, ::2][::-1]):
        found = loss(tg.tensor(other), y, reduction="none").numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    if name in ("ctc_loss", "gaussian_nll_loss"):
        return
    none = loss(tg.tensor(x[:0]), y[:0], reduction="none") if name != "bce_with_logits" else nn.bce_with_logits(tg.tensor(x[:0]), y[:0], reduction="none")  # fmt: skip
    assert none.shape == (0, *shape[1:])
    assert loss(tg.tensor(x[:0]), y[:0], reduction="sum").item() == 0
    with pytest.raises(tg.ShapeError, match="holds no numbers, so there is nothing to take the mean of"):  # fmt: skip
        loss(tg.tensor(x[:0]), y[:0])
    with pytest.raises(tg.TinygradError, match="reduction must be 'mean', 'sum' or 'none'; found 'avg'"):  # fmt: skip
        loss(tg.tensor(x), y, reduction="avg")


def test_single_numbers() -> None:
    for name, expected in {"mse_loss": 4.0, "l1_loss": 2.0, "huber_loss": 1.5, "smooth_l1_loss": 1.5}.items():  # fmt: skip
        assert getattr(nn, name)(tg.tensor(1.0), np.float32(3)).item() == expected
    assert nn.cross_entropy(tg.tensor([0.0, 0.0]), 1).item() == pytest.approx(math.log(2))
    assert nn.nll_loss(tg.tensor([-1.0, -2.0]), 1).item() == 2
    assert nn.bce_with_logits(tg.tensor(0.0), 1.0, pos_weight=3.0).item() == pytest.approx(3 * math.log(2))  # fmt: skip
    assert nn.gaussian_nll_loss(tg.tensor([1.0]), [3.0], 2.0).item() == pytest.approx(math.log(2) / 2 + 1)  # fmt: skip


def test_where_numbers_are_equal_or_far() -> None:
    x = tg.tensor([0.0, 1.0, -1.0, 1e30, -np.inf], requires_grad=True)
    zeros = np.zeros(5)
    nn.l1_loss(x, zeros, reduction="sum").backward()
    assert x.grad.tolist() == [0, 1, -1, 1, -1]
    x.grad = None
    loss = nn.huber_loss(x, zeros, delta=1.0, reduction="none")
    assert loss.detach().tolist() == [0, 0.5, 0.5, pytest.approx(1e30), np.inf]
    loss.sum().backward()
    assert x.grad.tolist() == [0, 1, -1, 1, -1]
    assert nn.smooth_l1_loss(x, zeros, beta=0.0, reduction="none").detach().tolist() == [0, 1, 1, pytest.approx(1e30), np.inf]  # fmt: skip
    # a probability of 0 costs nothing, whatever is predicted there
    never = tg.tensor([[0.0, -np.inf, 0.0]], requires_grad=True)
    half = np.array([[0.5, 0.0, 0.5]], np.float32)
    for loss in (nn.cross_entropy(never, half), nn.kl_div(tg.log_softmax(never), half)):
        never.grad = None
        loss.backward()
        assert loss.item() == pytest.approx(math.log(2) if loss.item() else 0) and not np.isnan(never.grad.numpy()).any()  # fmt: skip


# --- CTC by hand ----------------------------------------------------------------------------------


def enumerated(logits: Any, labels: list[int], blank: int) -> float:
    """The sum over every alignment there is."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        joined = [c for c, _ in itertools.groupby(path) if c != blank]
        if joined == labels:
            total += math.prod(p[t, c] for t, c in enumerate(path))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("labels", [[], [1], [2, 1], [1, 1], [2, 2, 1], [1, 1, 1], [1, 2, 1, 2]])
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_is_the_sum_over_alignments(
    labels: list[int], blank: int, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(5, 1, 4))
    found = nn.ctc_loss(tg.tensor(x), [labels], blank=blank, reduction="sum")
    assert found.item() == pytest.approx(enumerated(x[:, 0], labels, blank), rel=1e-12)
    mean = nn.ctc_loss(tg.tensor(x), [labels], blank=blank)
    assert mean.item() == pytest.approx(found.item() / max(len(labels), 1), rel=1e-12)


def test_ctc_reads_nothing_beyond_the_lengths(rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 3, 4)).astype(np.float32)
    targets, lengths, counts = np.array([[1, 2, 3], [3, 3, 9], [-1, 7, 0]]), [6, 4, 2], [3, 2, 0]
    clean = nn.ctc_loss(tg.tensor(x), np.where(np.arange(3) < np.array(counts)[:, None], targets, 0), lengths, counts)  # fmt: skip
    x[4:, 1] = np.nan
    x[2:, 2] = np.inf
    t = tg.tensor(x, requires_grad=True)
    for function in (nn.ctc_loss, tg.jit(nn.ctc_loss)):
        t.grad = None
        loss = function(t, targets, np.array(lengths), np.array(counts))
        loss.backward()
        assert loss.item() == pytest.approx(clean.item(), rel=1e-6)
        assert np.isfinite(t.grad.numpy()).all() and (t.grad.numpy()[4:, 1] == 0).all()
    x[0, 0] = np.nan  # what counts is read
    assert math.isnan(nn.ctc_loss(tg.tensor(x), targets, lengths, counts).item())


def test_ctc_without_an_alignment(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.normal(size=(2, 2, 3)), requires_grad=True)
    loss = nn.ctc_loss(x, [[1, 1], [1, 2]], reduction="none")
    assert loss.numpy()[0] == np.inf and np.isfinite(loss.numpy()[1])
    loss.sum().backward()
    assert (x.grad.numpy()[:, 0] == 0).all() and (x.grad.numpy()[:, 1] != 0).any()
    kept = nn.ctc_loss(x, [[1, 1], [1, 2]], reduction="none", zero_infinity=True)
    assert kept.numpy()[0] == 0 and kept.numpy()[1] == loss.numpy()[1]


def test_ctc_of_arguments_of_a_compiled_step(rng: np.random.Generator) -> None:
    """Targets and lengths may be others at each call."""
    step = tg.jit(tg.value_and_grad(lambda x, y, n, m: nn.ctc_loss(x, y, n, m)))
    for _ in range(3):
        x = tg.tensor(rng.normal(size=(7, 2, 4)))
        y, n, m = rng.integers(1, 4, (2, 3)), rng.integers(6, 8, 2), rng.integers(0, 3, 2)
        value, g = step(x, *map(tg.tensor, (y, n, m)))
        expected, h = tg.value_and_grad(lambda t, y=y, n=n, m=m: nn.ctc_loss(t, y, n, m))(x)
        np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-12)
        np.testing.assert_allclose(g.numpy(), h.numpy(), rtol=1e-10, atol=1e-14)
    with pytest.raises(tg.TinygradError):
        step(x, tg.tensor(y + 9), tg.tensor(n), tg.tensor(m * 0 + 2))


def test_third_derivatives_of_ctc(rng: np.random.Generator) -> None:
    f = lambda x: nn.ctc_loss(x, [[1, 2]])  # noqa: E731
    tg.gradcheck(lambda x: tg.hvp(f, x, np.ones((3, 1, 3))).sum(), rng.normal(size=(3, 1, 3)))


# --- what is refused ------------------------------------------------------------------------------

X = tg.tensor(np.zeros((2, 3), np.float32))
L = tg.tensor(np.zeros((4, 2, 3), np.float32))
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "shapes": (lambda: nn.huber_loss(X, np.zeros((2, 1))), r"huber_loss: prediction has shape \(2, 3\), target \(2, 1\); expected equal shapes"),
    "delta": (lambda: nn.huber_loss(X, X, delta=0.0), "huber_loss: delta must be a positive finite number; found 0.0"),
    "beta": (lambda: nn.smooth_l1_loss(X, X, beta=-1.0), "beta must be a finite number of at least 0"),
    "mask": (lambda: nn.l1_loss(X, X, np.ones(2)), r"expected a mask of shape \(2, 3\)"),
    "negative mask": (lambda: nn.l1_loss(X, X, -np.ones((2, 3))), "must be finite numbers of at least 0"),
    "variance": (lambda: nn.gaussian_nll_loss(X, X, -1.0), "a variance is at least 0; found -1.0"),
    "shape of the variance": (lambda: nn.gaussian_nll_loss(X, X, np.ones((3,))), r"expected a variance of shape \(2, 3\)"),
    "eps": (lambda: nn.gaussian_nll_loss(X, X, 1.0, eps=0), "eps must be a positive finite number"),
    "full": (lambda: nn.gaussian_nll_loss(X, X, 1.0, full=1), "full must be True or False"),
    "pos_weight": (lambda: nn.bce_with_logits(X, X, pos_weight=np.ones(2)), r"pos_weight that broadcasts to the shape \(2, 3\)"),
    "negative pos_weight": (lambda: nn.bce_with_logits(X, X, pos_weight=-1.0), "pos_weight must be finite numbers of at least 0"),
    "negative target": (lambda: nn.kl_div(X, X.numpy() - 1), "target holds probabilities, at least 0; found -1.0. Of logarithms say log_target=True"),
    "batchmean": (lambda: nn.kl_div(X[0, 0], np.float32(1), reduction="batchmean"), "'batchmean' needs a first axis"),
    "weight": (lambda: nn.cross_entropy(X, [0, 1], weight=[1.0, 2.0]), r"weight of shape \(3,\), one for each class; found \(2,\). Weights of positions are given in mask="),
    "negative weight": (lambda: nn.nll_loss(X, [0, 1], weight=[1.0, 2.0, -1.0]), "weight must be finite numbers of at least 0"),
    "smoothing": (lambda: nn.cross_entropy(X, [0, 1], label_smoothing=1.5), r"label_smoothing must be in \[0, 1\]; found 1.5"),
    "ignore_index": (lambda: nn.cross_entropy(X, [0, 1], ignore_index=1.0), "ignore_index must be a whole number or None"),
    "ignored soft": (lambda: nn.cross_entropy(X, X, ignore_index=0), "ignore_index is a class, and soft targets have none"),
    "all ignored": (lambda: nn.cross_entropy(X, [1, 1], ignore_index=1), "add up to 0, so there is nothing"),
    "classes of no weight": (lambda: nn.cross_entropy(X, [1, 1], weight=[1.0, 0.0, 1.0]), "add up to 0.0, so there is nothing"),
    "a target that is not ignored": (lambda: nn.cross_entropy(X, [-1, 1], ignore_index=-100), "targets from -1 to 1; expected 0 to 2"),
    "soft shapes": (lambda: nn.cross_entropy(X, np.ones((3, 3))), r"logits have shape \(2, 3\), targets \(3, 3\)"),
    "ctc logits": (lambda: nn.ctc_loss(X, [[1]]), r"expected logits of shape \(time, batch, classes\)"),
    "ctc blank": (lambda: nn.ctc_loss(L, [[1], [1]], blank=3), "blank must be a class from 0 to 2; found 3"),
    "ctc blank in a target": (lambda: nn.ctc_loss(L, [[1, 2], [1, 0]]), "the target of row 1 has the blank 0 at place 1"),
    "ctc class": (lambda: nn.ctc_loss(L, [[1, 3], [1, 2]]), "targets from 1 to 3; expected 0 to 2"),
    "ctc rows": (lambda: nn.ctc_loss(L, [1, 2, 1]), r"expected targets of shape \(2, longest\)"),
    "ctc rows together": (lambda: nn.ctc_loss(L, [1, 2, 1], None, [1, 1]), "add up to their number"),
    "ctc lengths": (lambda: nn.ctc_loss(L, [[1], [1]], [4, 5]), "input_lengths from 4 to 5; expected 1 to 4"),
    "ctc target lengths": (lambda: nn.ctc_loss(L, [[1], [1]], None, [2, 1]), "target_lengths from 1 to 2; expected 0 to 1"),
    "ctc shape of lengths": (lambda: nn.ctc_loss(L, [[1], [1]], [4]), r"input_lengths of shape \(2,\), a number for each row; found \(1,\)"),
    "ctc zero_infinity": (lambda: nn.ctc_loss(L, [[1], [1]], zero_infinity=1), "zero_infinity must be True or False"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(tg.TinygradError, match=words):
        call()
