"""What a postponed call is as machine code, so that it can be a part of a recorded function's one call.

A postponed function (`postponed.py`) that can be that says so by its `native`. It is asked when the
recording is compiled, and gives an `AsCode`; the compiler puts its calls behind those of the program.
The function itself stays what is true: it is called wherever the code is not made for what there is,
or says that something is unusual. Then nothing was changed.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..core.primitive import Array, Spec
from ..core.tape import Where
from ..core.tensor import Tensor
from ..kernels.table import Call, Place


class Memory(Protocol):
    """Where code has its own numbers."""

    def room(self, size: int) -> Place:
        """Return a place for so many bytes, which holds anything at first."""

    def constant(self, array: np.ndarray[Any, Any]) -> int:
        """Return the address of numbers that stay as they are."""


class AsCode(abc.ABC):
    """A postponed call as machine code.

    Attributes
    ----------
    tensors : list of Tensor
        Whose gradients it takes: all have one.
    reads, makes : list of Spec
        The further arrays that it reads, and those that it makes. Nothing else is written.
    clips : bool
        Whether the first of those that it makes are new gradients of its tensors.
    key : object
        What it was made for; another one is made where that is different.
    """

    tensors: list[Tensor]
    reads: list[Spec]
    makes: list[Spec]
    clips = False
    key: Any = ()

    def given(self) -> list[Array] | None:
        """Return what it reads at a call; None if there is something else than it was made for."""
        return []

    @abc.abstractmethod
    def calls(
        self,
        gradients: Sequence[Any],
        reads: Sequence[Any],
        makes: Sequence[Any],
        memory: Memory,
        threads: int,
    ) -> tuple[list[Call], list[list[Call]]]:
        """Return what is called first, and then by each of so many threads.

        Parameters
        ----------
        gradients, reads, makes : sequence of int or Place
            Where all arrays are.
        memory : Memory
        threads : int
        """

    @abc.abstractmethod
    def finished(self, made: Sequence[Array], where: Where) -> tuple[Callable[[], None], Any]:
        """Return what sets all that the call changes, and what it returns.

        The former can be called again where it was interrupted. Gradients are set by others.
        """

    @abc.abstractmethod
    def described(self) -> str:
        """Say what it computes, for readers."""


def shares(size: int, threads: int) -> list[tuple[int, int]]:
    """Return which of so many elements each thread computes: the first, and the one after the last."""
    return list(itertools.pairwise([size * k // threads for k in range(threads + 1)]))


def behind(place: Any, size: int) -> Any:
    """Return a place so many bytes behind another one."""
    return place._replace(begin=place.begin + size) if isinstance(place, Place) else place + size


def nothing() -> None:
    """Change nothing."""
