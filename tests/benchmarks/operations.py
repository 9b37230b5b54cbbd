"""Single operations of the vocabulary beside NumPy and PyTorch, at 1,000 and 1,000,000 elements.

``python -m tests.benchmarks.operations [family or name ...]`` prints the rows that are named. A new
operation is a row: what is called, by us, by NumPy and by PyTorch, and how its inputs are made.
"""

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg

from .timing import interleaved, optional, table

SIZES = (1_000, 1_000_000)
LIMIT = 1.5  # what is slower than this many times is marked


class Row(NamedTuple):
    """An operation.

    Attributes
    ----------
    ours : callable
        Of our tensors.
    numpy, torch : callable or None
        The same of arrays, and of the tensors of PyTorch; None if there is none.
    inputs : callable
        ``inputs(normal, n)``: arrays of about n elements; `normal(*shape)` draws one.
    moves : bool
        Whether there is a gradient.
    """

    ours: Callable[..., Any]
    numpy: Callable[..., Any] | None
    torch: Callable[..., Any] | None
    inputs: Callable[..., Any]
    moves: bool = True


def square(n: int) -> int:
    """The side of a square of about n elements."""
    return round(n**0.5)


def vector(normal: Any, n: int) -> list[Any]:
    """One row."""
    return [normal(n)]


def rows(normal: Any, n: int) -> list[Any]:
    """A square, whose rows are worked on one by one."""
    return [normal(square(n), square(n))]


def ties(normal: Any, n: int) -> list[Any]:
    """One row of whole numbers, of which many are equal."""
    return [np.round(10 * normal(n))]


@functools.cache
def _places(n: int) -> Any:
    return np.random.default_rng(1).permuted(np.tile(np.arange(n), (n, 1)), axis=1)


def places(x: Any, torch: bool = False) -> Any:
    """Places along the last axis of a square, each once in a row."""
    return (_torch_places if torch else _places)(x.shape[-1])


@functools.cache
def _torch_places(n: int) -> Any:
    return sys.modules["torch"].tensor(_places(n))


def columns(normal: Any, n: int) -> list[Any]:
    """A square that lies in memory by its columns."""
    return [normal(square(n), square(n)).T]


def two(*shapes: Callable[[int], tuple[int, ...]]) -> Callable[..., Any]:
    """Several inputs, each of a shape that follows from n."""
    return lambda normal, n: [normal(*shape(n)) for shape in shapes]


def torch_function(name: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """A function of PyTorch with some settings; of several results the first."""

    def call(*tensors: Any) -> Any:
        found: Any = sys.modules["torch"]
        for part in name.split("."):
            found = getattr(found, part)
        out = found(*tensors, *args, **kwargs)
        return out[0] if isinstance(out, tuple) else out

    return call


S = square
FAMILIES: dict[str, dict[str, Row]] = {
    "products": {
        "tensordot": Row(lambda a, b: tg.tensordot(a, b, ([1, 2], [0, 1])), lambda a, b: np.tensordot(a, b, ([1, 2], [0, 1])), torch_function("tensordot", dims=([1, 2], [0, 1])),
                         two(lambda n: (S(n) // 8, 8, 8), lambda n: (8, 8, S(n) // 8))),
        "inner": Row(tg.inner, np.inner, torch_function("inner"), two(lambda n: (S(n), S(n)), lambda n: (S(n),))),
        "vdot": Row(tg.vdot, np.vdot, torch_function("dot"), two(lambda n: (n,), lambda n: (n,))),
        "matvec": Row(tg.matvec, np.matvec, lambda a, x: (a @ x.unsqueeze(-1)).squeeze(-1), two(lambda n: (n // 100, 10, 10), lambda n: (n // 100, 10))),
        "vecmat": Row(tg.vecmat, np.vecmat, lambda x, a: (x.unsqueeze(-2) @ a).squeeze(-2), two(lambda n: (n // 100, 10), lambda n: (n // 100, 10, 10))),
        "kron": Row(tg.kron, np.kron, torch_function("kron"), two(lambda n: (10, S(n) // 10), lambda n: (S(n) // 10, 10))),
        "cross": Row(tg.cross, np.cross, torch_function("linalg.cross"), two(lambda n: (n // 3, 3), lambda n: (n // 3, 3))),
        "diagonal": Row(tg.diagonal, np.diagonal, torch_function("diagonal"), rows),
        "diag of a vector": Row(tg.diag, np.diag, torch_function("diag"), two(lambda n: (S(n),))),
        "trace": Row(lambda x: x.trace(), np.trace, torch_function("trace"), rows),
        "einsum, a diagonal": Row(lambda x: tg.einsum("ii->i", x), lambda x: np.einsum("ii->i", x), lambda x: torch_function("einsum")("ii->i", x), rows),
        "einsum, three": Row(lambda *xs: tg.einsum("bi,io,bo->b", *xs), lambda *xs: np.einsum("bi,io,bo->b", *xs, optimize=True), lambda *xs: torch_function("einsum")("bi,io,bo->b", *xs),
                             two(lambda n: (S(n), S(n)), lambda n: (S(n), S(n)), lambda n: (S(n), S(n)))),
    },
    "order": {
        "sort": Row(tg.sort, np.sort, torch_function("sort"), vector),
        "sort, rows": Row(tg.sort, np.sort, torch_function("sort"), rows),
        "sort, columns": Row(tg.sort, np.sort, torch_function("sort"), columns),
        "sort, many ties": Row(tg.sort, np.sort, torch_function("sort"), ties),
        "argsort": Row(tg.argsort, np.argsort, torch_function("argsort", stable=True), vector, moves=False),
        "argsort, many ties": Row(tg.argsort, lambda x: np.argsort(x, kind="stable"), torch_function("argsort", stable=True), ties, moves=False),
        "topk of 10": Row(lambda x: tg.topk(x, 10).values, lambda x: np.sort(np.partition(x, -10)[-10:])[::-1], torch_function("topk", 10), vector),
        "topk of 10, rows": Row(lambda x: tg.topk(x, 10).values, lambda x: np.sort(np.partition(x, -10)[:, -10:])[:, ::-1], torch_function("topk", 10), rows),
        "median": Row(tg.median, np.median, torch_function("quantile", 0.5), vector),
        "median, rows": Row(lambda x: tg.median(x, axis=1), lambda x: np.median(x, axis=1), torch_function("quantile", 0.5, dim=1), rows),
        "quantile": Row(lambda x: tg.quantile(x, 0.3), lambda x: np.quantile(x, 0.3), torch_function("quantile", 0.3), vector),
        "quantile of three": Row(lambda x: tg.quantile(x, [0.1, 0.5, 0.9]), lambda x: np.quantile(x, [0.1, 0.5, 0.9]), lambda x: torch_function("quantile", torch_function("tensor")([0.1, 0.5, 0.9]))(x), vector),
        "cummin": Row(tg.cummin, np.minimum.accumulate, torch_function("cummin", dim=0), vector),
        "cummin, rows": Row(tg.cummin, lambda x: np.minimum.accumulate(x, axis=-1), torch_function("cummin", dim=-1), rows),
        "logcumsumexp": Row(tg.logcumsumexp, np.logaddexp.accumulate, torch_function("logcumsumexp", dim=0), vector),
        "logcumsumexp, rows": Row(tg.logcumsumexp, lambda x: np.logaddexp.accumulate(x, axis=-1), torch_function("logcumsumexp", dim=-1), rows),
        "nansum": Row(tg.nansum, np.nansum, torch_function("nansum"), vector),
        "nanmean, rows": Row(lambda x: tg.nanmean(x, axis=1), lambda x: np.nanmean(x, axis=1), torch_function("nanmean", dim=1), rows),
        "unique": Row(tg.unique, np.unique, torch_function("unique"), ties, moves=False),
        "take_along_axis": Row(lambda x: tg.take_along_axis(x, places(x), -1), lambda x: np.take_along_axis(x, places(x), -1), lambda x: torch_function("gather")(x, -1, places(x, True)), rows),
        "put_along_axis": Row(lambda x, v: tg.put_along_axis(x, places(x), v, -1), None, lambda x, v: torch_function("scatter")(x, -1, places(x, True), v), two(lambda n: (S(n), S(n)), lambda n: (S(n), S(n)))),
    },
}  # fmt: skip


def of_row(row: Row, n: int) -> dict[str, Callable[[], Any]]:
    """What is timed: forward of each, and forward with backward of those that have it."""
    rng = np.random.default_rng(0)
    arrays = row.inputs(lambda *shape: rng.standard_normal(shape, dtype=np.float32), n)
    ours = [tg.tensor(a) for a in arrays]
    found: dict[str, Callable[[], Any]] = {"tg": lambda: row.ours(*ours)}
    expected = None
    if row.numpy is not None:
        found["numpy"] = lambda: row.numpy(*arrays)
        expected = np.asarray(found["numpy"]())
    torch = optional("torch")
    if torch is not None and row.torch is not None:
        theirs = [torch.tensor(a) for a in arrays]
        found["torch"] = lambda: row.torch(*theirs)
        expected = found["torch"]().numpy() if expected is None else expected
    if expected is not None and expected.dtype.kind == "f":  # of equal ones others take any
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
        np.testing.assert_allclose(found["tg"]().numpy(), expected, rtol=1e-4, atol=1e-4 * scale)
    if row.moves:
        moving = [tg.tensor(a, requires_grad=True) for a in arrays]
        found["tg, both"] = lambda: backward(row.ours, moving)
        if "torch" in found:
            also = [torch.tensor(a, requires_grad=True) for a in arrays]
            found["torch, both"] = lambda: backward(row.torch, also)
    return found


def backward(function: Callable[..., Any], tensors: list[Any]) -> None:
    """Forward, a sum, and its gradients."""
    for t in tensors:
        t.grad = None
    function(*tensors).sum().backward()


def line(name: str, row: Row, n: int) -> tuple[str, ...]:
    """Time a row, and return its texts."""
    rounds = 41 if n < 10_000 else 15
    seconds = interleaved(of_row(row, n), rounds=rounds, clock=time.process_time)

    def against(ours: str, theirs: str) -> str:
        if theirs not in seconds:
            return "-"
        ratio = seconds[ours] / seconds[theirs]
        return f"{ratio:.2f}{' !' if ratio > LIMIT else ''}"

    both = seconds.get("tg, both")
    return (
        name,
        f"{n:,}",
        f"{1e6 * seconds['tg']:,.0f}",
        against("tg", "numpy"),
        against("tg", "torch"),
        "-" if both is None else f"{1e6 * both:,.0f}",
        "-" if both is None else against("tg, both", "torch, both"),
    )


def main(names: Any = ()) -> None:
    """Print a table for each family."""
    tg.set_num_threads(1)
    if torch := optional("torch"):
        torch.set_num_threads(1)
    head = ("float32", "elements", "us", "of NumPy", "of torch", "both ways us", "of torch")
    for family, entries in FAMILIES.items():
        chosen = {k: v for k, v in entries.items() if not names or family in names or k in names}
        found = [line(name, row, n) for name, row in chosen.items() for n in SIZES]
        if found:
            table(f"{family}, one thread ({LIMIT} and more: !)", [head, *found])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
