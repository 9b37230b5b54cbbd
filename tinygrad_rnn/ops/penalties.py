"""Elementwise functions of which losses are made."""

from __future__ import annotations

from typing import Any

import numpy as np

from .define import pointwise
from .elementwise import SEVERAL, clip


@pointwise(
    "select(absolute(x) <= delta, 0.5 * x * x, delta * (absolute(x) - 0.5 * delta))",
    lambda g, x, delta: g * clip(x, -delta, delta),
    floating=True,
    kernel=SEVERAL,
    signed=True,
    domain=(0.1, 2.4),
    examples=[([(3, 4)], {"delta": 0.8}), ([()], {"delta": 1.5})],
)
def huber(x: Any, *, delta: float = 1.0) -> Any:
    """Return x * x / 2 where abs(x) is at most delta, else delta * (abs(x) - delta / 2)."""
    size = np.abs(x)
    inner = np.minimum(size, delta)
    return inner * (size - 0.5 * inner)
