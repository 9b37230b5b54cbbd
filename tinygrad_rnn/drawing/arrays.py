"""The arrays of the explorer's page: what each is like, and its first rows and columns."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from ..core.primitive import Array


class Arrays:
    """The arrays of the page, each distinct one once.

    Parameters
    ----------
    side : int
        How many rows and columns are shown of an array.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self._found: dict[Any, int] = {}
        self._facts: list[list[Any]] = []
        # the numbers themselves, in single and in double precision
        self._pools: dict[str, list[bytes]] = {"f4": [], "f8": []}
        self._sizes = {"f4": 0, "f8": 0}

    def add(self, array: Array) -> int:
        """Add an array; return its place in the list of facts.

        The facts of an array are: shape, pool, offset, rows and columns there, smallest, largest,
        mean, norm, and the numbers of zeros, NaNs and infinities.
        """
        array = np.asarray(array)
        pool = "f4" if array.dtype in (np.float32, np.bool_) else "f8"
        flat = array.reshape((-1, array.shape[-1])) if array.ndim else array.reshape((1, 1))
        rows, columns = self.side, self.side if len(flat) > 1 else self.side * 4
        block = np.ascontiguousarray(
            flat[:rows, :columns], np.float32 if pool == "f4" else np.float64
        )
        wide = array.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        measures = [finite.min(), finite.max(), finite.mean()] if finite.size else [0.0, 0.0, 0.0]
        measures.append(np.sqrt(np.square(finite).sum()))
        counts = [int((wide == 0).sum()), int(np.isnan(wide).sum()), int(np.isinf(wide).sum())]
        key = (array.shape, pool, block.tobytes(), *measures, *counts)
        if key not in self._found:
            self._found[key] = len(self._facts)
            self._facts.append(
                [
                    list(array.shape),
                    pool,
                    self._sizes[pool],
                    *block.shape,
                    *(short(m) for m in measures),
                    *counts,
                ]
            )
            self._pools[pool].append(block.tobytes())
            self._sizes[pool] += block.size
        return self._found[key]

    def data(self) -> dict[str, Any]:
        """Return the facts and the pools, for the page."""
        pools = {
            name: base64.b64encode(
                b"".join(np.frombuffer(p, f"={name}").astype(f"<{name}").tobytes() for p in parts)
            ).decode()
            for name, parts in self._pools.items()
        }
        return {"facts": self._facts, **pools}


def short(number: float) -> float:
    """Return a number with seven digits: what a colour or a caption needs."""
    return float(f"{number:.7g}")
