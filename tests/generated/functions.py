"""Functions whose compiled programs are recorded.

Their arrays have at least 64 elements where a loop is wanted: with fewer, NumPy does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg

Function = Callable[..., Any]


class Called(NamedTuple):
    """A function and the shapes of its arguments, which are floating and have gradients.

    An argument that is no shape is handed over as it is.
    """

    function: Function
    arguments: tuple[Any, ...]

    def given(self, dtype: Any) -> list[Any]:
        """Return arguments of a dtype, with numbers that are all different and positive."""
        return [
            tg.tensor(np.linspace(0.1, 0.9, int(np.prod(a))).reshape(a), dtype, requires_grad=True)
            if isinstance(a, tuple)
            else a
            for a in self.arguments
        ]


LABELS = np.arange(20) % 7
MASK = np.arange(20 * 12).reshape(20, 12) % 3 > 0
WEIGHT = tg.Parameter(np.linspace(-1, 1, 12), dtype=np.float32)


def adam(p: Any, m: Any, v: Any, g: Any) -> Any:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - 0.01 * m / (tg.sqrt(v) + 1e-8), m, v


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / tg.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5) * gain + shift


def cross_entropy(logits: Any, labels: Any) -> Any:
    chosen = tg.take_along_axis(tg.log_softmax(logits, -1), labels.reshape((-1, 1)), -1)
    return -chosen.mean()


def mixture(x: Any, mean: Any, log_scale: Any, logits: Any) -> Any:
    z = (x[:, None] - mean) * tg.exp(-log_scale)
    each = -0.5 * (z * z).sum(axis=-1) - log_scale.sum(axis=-1) + tg.log_softmax(logits, -1)
    return -tg.logsumexp(each, axis=-1).mean()


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.transpose() / 3.0
    return tg.softmax(scores, -1) @ v


def views(x: Any) -> Any:
    y = tg.tanh(x)[1:-1, ::2]
    z = y.transpose().reshape((2, -1)) * 2.0
    return (z[:, None] + z[:, :, None]).sum(axis=0), y[::-1]


def joined(x: Any, y: Any) -> Any:
    whole = tg.concatenate([tg.tanh(x), y * y], axis=1)
    return whole * whole[:, ::-1], tg.stack([x, y], axis=0).max(axis=0)


def assigned(x: Any, y: Any) -> Any:
    z = x * 2.0
    z[1:3] = y[:2] * x[0]
    return tg.index_add(z, np.array([0, 3, 3]), y[:3], axis=0) + tg.exp(-x)


def dropped(x: Any) -> Any:
    return tg.where(MASK, x * 1.25, 0.0) * tg.stop_gradient(tg.sigmoid(x))


def of_two_dtypes(x: Any) -> Any:
    y = tg.tanh(x).astype(np.float64)
    return (y * y).sum(axis=-1), (x * 0.5).astype(np.float32)


def sub_steps(h: Any, u: Any, w: Any) -> Any:
    for _ in range(6):
        h = h + 0.1 * (tg.tanh(h @ w + u) - h)
    return h


def several_rows(x: Any) -> Any:
    """Three passes over each row, with a costly value that two of them read."""
    e = tg.exp(x - x.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return -(p * tg.log(p + 1e-9)).sum(axis=-1), p.min(axis=-1)


def row_sums(x: Any, w: Any) -> Any:
    y = tg.sigmoid(x * w)
    return y.sum(axis=0), y.sum(axis=1), (y * y).sum(), y.mean(axis=(0, 1), keepdims=True)


def norms(x: Any) -> Any:
    return tg.norm(x, axis=-1), tg.var(x, axis=0), tg.logsumexp(x, axis=None), tg.cumsum(x, axis=1)


def comparisons(x: Any, y: Any) -> Any:
    inside = tg.logical_and(x > 0.2, tg.logical_not(y < 0.5))
    return tg.where(inside, x**y, tg.minimum(x, y)), inside, tg.argmax(x, axis=1)


def swish(x: Any) -> Any:
    return SWISH(x) * 0.5 + SWISH(x * 2.0)


@tg.elementwise
def SWISH(x: Any) -> Any:
    return x / (1.0 + tg.exp(-x))


def squares(x: Any, w: Any) -> Any:
    return (tg.tanh(x * w) ** 2).sum()


def with_a_gradient(x: Any, w: Any) -> Any:
    return tg.value_and_grad(squares, argnums=(0, 1))(x, w)


def with_a_second_gradient(x: Any, w: Any) -> Any:
    return tg.grad(lambda x: (tg.grad(squares)(x, w) ** 2).sum())(x)


def penalised(x: Any, w: Any) -> Any:
    y, g = tg.value_and_grad(lambda x: layer_norm(x, w, w).sum() + squares(x, w))(x)
    return y + (g * g).sum()


def products(x: Any, y: Any) -> Any:
    inner = tg.einsum("ij,kj->ik", x, y)
    return tg.tanh(inner) @ tg.exp(y), tg.einsum("ij,ij->i", x, y * 2.0)


def long_sum(x: Any) -> Any:
    return (tg.sin(x) * x).sum(), tg.softmax(x * 2.0, -1).max(axis=-1)


ROWS = (20, 12)
FUNCTIONS: dict[str, Called] = {
    "adam": Called(adam, (ROWS,) * 4),
    "assigned": Called(assigned, (ROWS, ROWS)),
    "attention": Called(attention, ((10, 8), (12, 8), (12, 8))),
    "broadcast": Called(lambda x, b: tg.tanh(x + b) * b, (ROWS, (12,))),
    "captured": Called(lambda x: (tg.tanh(x) * WEIGHT.astype(x.dtype)).sum(), (ROWS,)),
    "columns": Called(lambda x, c: tg.exp(x * c) + c, (ROWS, (20, 1))),
    "comparisons": Called(comparisons, (ROWS, ROWS)),
    "cross entropy": Called(cross_entropy, ((20, 7), LABELS)),
    "dropped": Called(dropped, (ROWS,)),
    "einsum and products": Called(products, (ROWS, ROWS)),
    "gelu": Called(lambda x: tg.gelu(x) + tg.softplus(x) - tg.elu(x), (ROWS,)),
    "gradient inside": Called(with_a_gradient, (ROWS, (12,))),
    "gradient penalty": Called(penalised, (ROWS, (12,))),
    "joined": Called(joined, (ROWS, ROWS)),
    "largest": Called(
        lambda x: (x * x).max(axis=0) - tg.exp(x).min(axis=-1, keepdims=True), (ROWS,)
    ),
    "layer norm": Called(layer_norm, (ROWS, (12,), (12,))),
    "long sum": Called(long_sum, ((3, 40_000),)),
    "mean squared error": Called(lambda x, y: ((x - y) ** 2).mean(), (ROWS, ROWS)),
    "mixture": Called(mixture, ((30, 3), (5, 3), (5, 3), (5,))),
    "no argument needs a gradient": Called(lambda x: tg.tanh(tg.stop_gradient(x)) * 2.0, (ROWS,)),
    "norms": Called(norms, (ROWS,)),
    "numbers": Called(lambda x: (x * 1.7 + 0.3) ** 1.5 - x**-1 + 2.0**x + x / 3, (ROWS,)),
    "of three axes": Called(lambda x, b: (tg.tanh(x) * b).sum(axis=(0, 2)), ((4, 5, 6), (5, 1))),
    "of two dtypes": Called(of_two_dtypes, (ROWS,)),
    "row sums": Called(row_sums, (ROWS, (12,))),
    "second gradient": Called(with_a_second_gradient, (ROWS, (12,))),
    "several passes over rows": Called(several_rows, (ROWS,)),
    "short": Called(lambda x: tg.tanh(x) * 2.0 + 1.0, ((3, 4),)),
    "softmax": Called(lambda x: tg.softmax(x, -1) * x, (ROWS,)),
    "softmax of columns": Called(lambda x: tg.softmax(x, 0), (ROWS,)),
    "squares": Called(squares, (ROWS, (12,))),
    "sub-steps": Called(sub_steps, ((20, 8), (20, 8), (8, 8))),
    "swish": Called(swish, (ROWS,)),
    "transposed": Called(lambda x: tg.tanh(x.transpose() + 1.0) * x.transpose(), (ROWS,)),
    "vector": Called(lambda x: tg.log(x) * tg.sqrt(x), ((500,),)),
    "views": Called(views, (ROWS,)),
    "rolled and padded": Called(
        lambda x: tg.pad(tg.roll(tg.tanh(x) * x, 1, axis=1), ((1, 0), (0, 2))) * 2.0 + 1.0, (ROWS,)
    ),
}
