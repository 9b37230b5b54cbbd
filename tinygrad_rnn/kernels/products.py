"""Matrix products for values of a batch, (features, batch), by register tiles of our own.

A library's product packs its operands at each call. In a recurrent network the same matrix meets a
few columns at each step. Here it is packed once for a whole sequence, and the product begins at
once, so it is as quick for 1 column as for 64. Generated modules call these functions by name.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from . import runtime

_ONCE = ("pack", "multiply", "transpose", "gradient")
_NAMES = (*_ONCE, "pack_slices", "multiply_slices", "gradient_slices")
CODE = Path(__file__).with_name("product_code.py")


@functools.cache
def library(dtype: np.dtype[Any]) -> Any:
    """Return the functions of product_code.py, compiled for a kind of number.

    Generated modules find them by `symbol`.
    """
    text = CODE.read_text(encoding="utf-8").replace("BITS = 32", f"BITS = {8 * dtype.itemsize}")
    module = runtime.load(text)
    _addresses.update((symbol(name, dtype), getattr(module, name).address) for name in _NAMES)
    return module


_addresses: dict[str, int] = {}


def addresses() -> dict[str, int]:
    """Return where the functions of the libraries are that were asked for, by their symbols."""
    return _addresses


def symbol(name: str, dtype: np.dtype[Any]) -> str:
    """Return the name by which machine code finds a function."""
    return f"tinygrad_rnn_{name}_{8 * dtype.itemsize}"
