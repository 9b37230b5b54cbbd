"""The keywords of NumPy's functions: each is taken with NumPy's meaning, or refused with a sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops.dispatch import _TAKEN
from tinygrad_rnn.ops.keywords import TAKES

A = np.random.default_rng(0).normal(size=(2, 3))
MASK = A > 0
INTS = np.array([[1, 2, 3], [4, 5, 6]])
F32, PLACES = np.float32, np.array([5, -4, 2])
WITH_NAN = np.where(A > 1, np.nan, A)

# function, positional arguments, keywords, and whether ours of that name means the same
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("sum", (A,), {"where": MASK}), ("sum", (A,), {"where": MASK[0], "axis": 1}), ("sum", (A,), {"initial": 2.5, "axis": 1, "keepdims": True}), ("sum", (A,), {"dtype": F32}),
    ("sum", (INTS,), {"dtype": np.int32}), ("sum", (INTS.astype(np.int8),), {"dtype": np.int8, "initial": 3}), ("sum", (INTS,), {"where": MASK}), ("sum", (A[:0],), {"initial": 1.0}),
    ("sum", (np.array(1.5),), {"where": np.array(False)}), ("sum", (A.T[::-1],), {"where": MASK.T, "axis": 0}),
    ("prod", (A,), {"where": MASK, "initial": 2.0, "axis": 0}), ("prod", (INTS,), {"dtype": np.float64}), ("prod", (INTS,), {"dtype": np.int32}),
    ("mean", (A,), {"where": MASK}), ("mean", (A,), {"where": MASK, "axis": 1, "keepdims": True}), ("mean", (INTS,), {"dtype": np.float64}), ("mean", (A,), {"where": False}),
    ("max", (A,), {"initial": 0.5, "axis": 1}), ("max", (A,), {"initial": -np.inf, "axis": 0, "where": MASK}), ("max", (A[:0],), {"initial": 1.0, "axis": 0}),
    ("max", (INTS,), {"initial": 2, "where": MASK}), ("min", (INTS,), {"initial": 2}), ("min", (A,), {"initial": 5.0, "where": MASK[0]}), ("min", (INTS.astype(np.uint8),), {"initial": 9, "where": MASK, "axis": 0}),
    ("std", (A,), {"where": MASK, "ddof": 1}), ("std", (A,), {"ddof": 1}), ("var", (A,), {"where": MASK, "axis": 1}), ("var", (A,), {"mean": A.mean(1, keepdims=True), "axis": 1}),
    ("std", (A,), {"mean": A.mean(0, keepdims=True), "axis": 0, "correction": 1, "keepdims": True}), ("var", (A,), {"dtype": F32}), ("var", (A,), {"where": MASK, "ddof": 9}),
    ("any", (tg.tensor(MASK),), {"where": ~MASK, "axis": 0}), ("all", (A,), {"where": MASK}), ("all", (A,), {"where": MASK, "axis": 1, "keepdims": True}),
    ("cumsum", (A,), {"dtype": F32, "axis": 1}), ("cumsum", (INTS,), {"dtype": np.int32, "axis": 0}), ("cumprod", (A,), {"dtype": F32, "axis": 0}),
    ("round", (A,), {"decimals": 2}), ("round", (A * 100,), {"decimals": -1}), ("round", (INTS,), {"decimals": 1}),
    ("concatenate", ((A, A),), {"dtype": F32, "axis": 1}), ("stack", ((A, A),), {"dtype": F32, "axis": 1}), ("vstack", ((INTS, INTS),), {"dtype": np.float64}),
    ("hstack", ((A, A),), {"dtype": F32, "casting": "same_kind"}),
    ("diff", (A,), {"prepend": 0.5}), ("diff", (A,), {"append": A, "axis": 0}), ("diff", (A, 2), {"prepend": A[:, :1], "append": 1.0}),
    ("take", (A, PLACES), {"mode": "wrap", "axis": 1}), ("take", (A, PLACES), {"mode": "clip", "axis": 1}), ("take", (A, PLACES % 2), {"mode": "raise", "axis": 0}),
    ("median", (A,), {"overwrite_input": True}), ("quantile", (A, 0.3), {"overwrite_input": False, "out": None}),
    ("nansum", (WITH_NAN,), {"where": MASK, "initial": 1.0}), ("nanmean", (WITH_NAN,), {"where": MASK, "axis": 0}), ("nanmean", (A,), {"dtype": F32}),
    ("reshape", (A,), {"shape": (3, 2)}), ("reshape", (A, (3, 2)), {"copy": True, "order": "C"}), ("transpose", (A,), {"axes": (1, 0)}), ("tensordot", (A, A.T), {"axes": 1}),
    ("split", (A,), {"indices_or_sections": 3, "axis": 1}), ("pad", (A, 1), {"constant_values": 2.0}), ("broadcast_to", (A,), {"shape": (2, 2, 3)}),
    ("clip", (A, 0.0, 1.0), {"out": None}), ("dot", (A, A.T), {"out": None}), ("outer", (A[0], A[1]), {"out": None}), ("argmax", (A,), {"out": None, "axis": 1}),
]  # fmt: skip


def tensors(x: Any) -> Any:
    """Floating and whole numbers as tensors; masks, places and settings as they are."""
    if isinstance(x, tuple) and isinstance(x[0], np.ndarray):
        return tuple(map(tensors, x))
    return (
        tg.tensor(x)
        if isinstance(x, np.ndarray) and x is not PLACES and x.dtype.kind in "fiu"
        else x
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("space", [np, tg], ids=["np", "tg"])
@pytest.mark.parametrize(
    "name, args, settings", CALLS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_keyword_means_what_it_means_to_numpy(
    space: Any, name: str, args: Any, settings: dict[str, Any]
) -> None:
    bare = [a.numpy() if isinstance(a, tg.Tensor) else a for a in args]
    expected = getattr(np, name)(*bare, **settings)
    found = getattr(space, name)(*map(tensors, args), **settings)
    many = isinstance(expected, list)
    for f, e in zip(found if many else [found], expected if many else [expected], strict=True):
        assert isinstance(f, tg.Tensor)
        whole = np.asarray(e).dtype.kind != "f"
        assert f.shape == np.shape(e) and (whole or f.dtype == np.asarray(e).dtype)
        np.testing.assert_allclose(f.numpy(), e, rtol=1e-6)


SLOPES: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: tg.sum(x * x, axis=0, where=MASK, initial=2.0), "prod": lambda x: tg.prod(x, where=MASK, initial=2.0), "mean": lambda x: tg.mean(x * x, where=MASK, axis=1),
    "max": lambda x: tg.max(x, axis=1, initial=0.5, where=MASK) ** 2, "min": lambda x: tg.min(x, initial=-0.3) * x, "empty": lambda x: tg.max(x[:0], axis=0, initial=2.0) * x,
    "std": lambda x: tg.std(x, where=MASK, ddof=1), "var": lambda x: tg.var(x, axis=1, where=MASK), "var of a mean": lambda x: tg.var(x, axis=0, mean=x[:1] * 0.5),
    "nansum": lambda x: tg.nansum(x, where=MASK) * x, "nanmean": lambda x: tg.nanmean(x, where=MASK), "diff": lambda x: tg.diff(x, prepend=x[:, 1:2], append=0.5) ** 2,
    "wrap": lambda x: tg.take(x, PLACES, axis=1, mode="wrap") ** 2, "numpy": lambda x: np.sum(x * x, where=MASK, initial=1.0), "reduce": lambda x: np.multiply.reduce(x, where=MASK, initial=2.0),
    "method": lambda x: (x * x).sum(axis=0, where=MASK), "concatenate": lambda x: tg.concatenate([x, x], axis=1, dtype=np.float64) ** 2,
}  # fmt: skip


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_pass_through_what_keywords_do(name: str) -> None:
    function = SLOPES[name]
    tg.gradcheck(function, A, order=2)
    x, y = (tg.tensor(A, requires_grad=True) for _ in range(2))
    function(x).sum().backward()
    tg.jit(lambda t: function(t).sum())(y).backward()
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_what_is_masked_is_not_read() -> None:
    x = tg.tensor([1.0, np.nan, np.inf, 2.0], requires_grad=True)
    mask = np.array([True, False, False, True])
    for function, expected in [(tg.sum, [1, 0, 0, 1]), (tg.prod, [2, 0, 0, 1]), (tg.mean, [0.5, 0, 0, 0.5]), (tg.var, [-0.5, 0, 0, 0.5])]:  # fmt: skip
        x.grad = None
        function(x, where=mask).backward()
        np.testing.assert_allclose(
            x.grad.numpy(), np.array(expected, float), err_msg=function.__name__
        )


T = tg.tensor(A)
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: tg.sum(T, out=np.zeros(())), r"sum was asked by out= to write .* Use what it returns"),
    (lambda: np.sum(T, out=np.zeros(())), "out= to write"), (lambda: np.mean(T, None, None, np.zeros(())), "out= to write"), (lambda: T.max(out=np.zeros(())), "out= to write"),
    (lambda: tg.clip(T, 0.0, 1.0, out=np.zeros((2, 3))), "out= to write"), (lambda: np.concatenate([T, T], out=np.zeros((4, 3))), "out= to write"),
    (lambda: tg.max(T, where=MASK), r"with where= an initial= is needed"), (lambda: tg.max(tg.tensor(INTS), initial=0.5), "initial of int64 must be a whole number"),
    (lambda: tg.sum(T, initial="a"), "initial of float64 must be"), (lambda: tg.sum(T, where=A), "where must be True or False for each element; found float64"),
    (lambda: tg.sum(T, where=np.ones((3, 2, 3), bool)), r"where of shape \(3, 2, 3\) cannot be spread"), (lambda: tg.mean(T, dtype=int), "dtype must be float32 or float64"),
    (lambda: tg.sum(T, dtype=bool), "dtype must be one of numbers"), (lambda: tg.var(T, ddof=1, correction=1), "two names of one setting"),
    (lambda: tg.reshape(T, 6, order="F"), "order must be 'C'"), (lambda: tg.reshape(T, 6, copy=False), "copy must be True"), (lambda: tg.reshape(T, 6, shape=6), "given twice"),
    (lambda: tg.transpose(T, 1, 0, axes=(1, 0)), "given twice"), (lambda: tg.concatenate([T, T], dtype=int), "cannot become int64 without loss"),
    (lambda: tg.concatenate([T, T], casting="unsafe"), "casting must be 'same_kind'"), (lambda: tg.take(T, 1, mode="x"), "mode must be 'raise' or 'wrap' or 'clip'"),
    (lambda: tg.split(T, 3, indices_or_sections=3), "two names"), (lambda: tg.pad(T, 1, value=1.0, constant_values=1.0), "two names"), (lambda: T.round(decimals=0.5), "decimals must be a whole number"),
]  # fmt: skip


@pytest.mark.parametrize("call, text", REFUSED)
def test_what_cannot_be_right_is_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(tg.TinygradError, match=text):
        call()


@pytest.mark.parametrize("name", ["sum", "prod", "concatenate", "reshape", "mean", "take"])
def test_a_keyword_that_nobody_has_is_an_error(name: str) -> None:
    with pytest.raises(
        TypeError,
        match=rf"{name}\(\) got the keyword 'axes_', which it does not have; besides its settings it takes",
    ):
        getattr(tg, name)(
            *([T], 0) if name == "take" else [[T]] if name == "concatenate" else [T], axes_=1
        )


# what NumPy has and is not taken: it may be given with its default
LEFT = {
    "pinv": {"rcond", "hermitian", "rtol"}, "svd": {"hermitian"}, "rfft": {"out"}, "broadcast_to": {"subok"}, "ravel": {"order"}, "sort": {"order", "descending"}, "argsort": {"order", "descending"},
    "quantile": {"weights"}, "percentile": {"weights"}, "unique": {"equal_nan", "sorted"}, "cross": {"axisa", "axisb", "axisc"},
}  # fmt: skip


def test_every_keyword_of_numpy_is_taken_or_listed() -> None:
    """Of each function of NumPy's that records: its parameters, those here, and those left out."""
    for function, (_, inputs, settings) in _TAKEN.items():
        try:
            theirs = inspect.signature(function).parameters.values()
        except ValueError:
            continue
        words = settings.split()
        left = {w.strip("[]").partition("=")[0] for w in words if w.startswith("[")}
        here = {*inputs.split(), *(w.partition(":")[0] for w in words if not w.startswith("["))}
        names = {p.name for p in theirs if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        assert names - here - left <= LEFT.get(function.__name__, set()), function.__name__
        assert left <= LEFT.get(function.__name__, set()), function.__name__


def test_what_is_taken_is_taken_by_ours_too() -> None:
    for name, (_, words) in TAKES.items():
        ours = getattr(tg, name) if name != "trace" else T.trace
        if "out" in words.split() and name not in ("trace", "concatenate", "stack"):
            inputs = {"dot": (T, T.T), "outer": (T[0], T[1]), "take": (T, 0), "quantile": (T, 0.5), "clip": (T, 0.0)}.get(name, (T,))  # fmt: skip
            assert isinstance(ours(*inputs, out=None), tg.Tensor)
            with pytest.raises(tg.NotDifferentiableError, match="out="):
                ours(*inputs, out=np.zeros(2))
