"""Rows and columns that are written in brackets: ``r_[0.0, x, 1:4]``, ``c_[x, y]``. Loaded when first used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.tensor import FLOAT32, Tensor, tensor
from .checks import shown
from .define import operand
from .shaping import concatenate, reshape


class Joined:
    """Joins what stands in its brackets: numbers, slices as ranges of numbers, arrays and tensors.

    Gradients pass to the tensors. A slice is `arange` of its numbers; ``0:1:5j`` is `linspace` of
    five. The words by which NumPy's turn what they join are refused.

    Parameters
    ----------
    name : str
    columns : bool
        Whether what has one axis is a column, and columns stand side by side.
    """

    def __init__(self, name: str, columns: bool) -> None:
        self.name, self.columns = name, columns

    def __repr__(self) -> str:
        return f"tg.{self.name}"

    def __getitem__(self, items: Any) -> Any:
        given = items if isinstance(items, tuple) else (items,)
        if not given:
            raise ShapeError(f"{self.name}: there is nothing in the brackets")
        parts = [self._part(item) for item in given]
        if not any(p.dtype.kind == "f" for p in parts):
            return concatenate([tensor(p) for p in parts], -1 if self.columns else 0)
        typed = [p for p in parts if isinstance(p, Tensor) and p.dtype.kind == "f"]
        dtype = typed[0].dtype if typed else FLOAT32
        return concatenate(
            [
                p if isinstance(p, Tensor) and p.dtype.kind == "f" else tensor(p, dtype)
                for p in parts
            ],
            -1 if self.columns else 0,
        )

    def _part(self, item: Any) -> Any:
        """Return one part with the axes that it is to have."""
        if isinstance(item, str):
            raise ShapeError(
                f"{self.name}: the word {shown(item)} is not taken; use tg.concatenate or tg.stack with an axis"
            )
        if isinstance(item, slice):
            ends = (item.start, item.stop, item.step)
            if any(isinstance(end, Tensor) for end in ends):
                raise ShapeError(
                    f"{self.name}: the ends of a range are numbers, not tensors; use .item(), or a sum of tg.arange and the tensor"
                )
            if item.stop is None:
                raise ShapeError(f"{self.name}: a range needs its end, as in 0:4")
            part: Any = np.r_[item]
        else:
            part = operand(item, f"{self.name}: an item")
        if part.ndim == 0:
            return reshape(part, (1, 1) if self.columns else 1)
        return reshape(part, (-1, 1)) if self.columns and part.ndim == 1 else part


r_ = Joined("r_", columns=False)
c_ = Joined("c_", columns=True)
