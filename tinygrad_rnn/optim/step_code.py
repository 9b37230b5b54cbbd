"""The step of an optimiser as machine code, beside the code that has computed the gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, is_
from typing import Any

from ..core.primitive import Array, Spec
from ..core.tape import Where
from ..core.tensor import Tensor
from ..kernels.table import Call
from ..ops.as_code import AsCode, Memory, behind, shares
from ..ops.assignment import give
from .update import Update

PACKAGE = __name__.partition(".")[0]
_array = attrgetter("array")


class _Step(AsCode):
    """A step of some parameters of one dtype.

    Parameters
    ----------
    optimizer : Optimizer
    groups : list of list of int
        Which parameters; those in a list were updated equally often.
    update : Update
        What is done to each.
    names : tuple of str
        Of the arrays that are kept between steps.
    """

    def __init__(
        self, optimizer: Any, groups: list[list[int]], update: Update, names: tuple[str, ...]
    ) -> None:
        self.optimizer, self.groups, self.update, self.names = optimizer, groups, update, names
        self.every = list(optimizer.parameters)
        self.places = [i for group in groups for i in group]
        self.tensors = [self.every[i] for i in self.places]
        self.all = groups == [list(range(len(self.every)))]
        self.rates = type(optimizer).rates
        like = [Spec(t.shape, t.dtype) for t in self.tensors]
        numbers = [Spec((update.count,), update.dtype)] * len(groups)
        self.makes = like * (1 + len(names))
        self.reads = [*numbers, *self.makes]
        self.key = (update, names, tuple(map(tuple, groups)))

    def given(self) -> list[Array] | None:
        """See `AsCode`."""
        o, update = self.optimizer, self.update
        if type(o).rates is not self.rates or "rates" in vars(o) or o.buffers() != self.names:
            return None
        if len(o.parameters) != len(self.every) or not all(map(is_, o.parameters, self.every)):
            return None
        if (
            type(o.state) is not dict
            or type(o.steps) is not list
            or len(o.steps) != len(self.every)
        ):
            return None
        found: list[Array] = []
        for group in self.groups:
            count = o.steps[group[0]]
            steps = o.steps if self.all else [o.steps[i] for i in group]
            if steps.count(count) != len(group):
                return None
            numbers = o._numbers(count)
            if not o._still(update, numbers):
                return None
            found.append(update.numbers(numbers))
        found += map(_array, self.tensors)
        for name in self.names:
            kept = o._kept(name)
            if type(kept) is not list or len(kept) != len(self.every):
                return None
            found += kept if self.all else [kept[i] for i in self.places]
        return found

    def calls(
        self,
        gradients: Sequence[Any],
        reads: Sequence[Any],
        makes: Sequence[Any],
        memory: Memory,
        threads: int,
    ) -> tuple[list[Call], list[list[Call]]]:
        """See `AsCode`."""
        count, groups, size = len(self.tensors), len(self.groups), self.update.dtype.itemsize
        values, numbers = reads[groups:], reads[:groups]
        of = [numbers[k] for k, group in enumerate(self.groups) for _ in group]
        found: list[list[Call]] = [[] for _ in range(threads)]
        for k, t in enumerate(self.tensors):
            value, *buffers = values[k::count]
            at = [value, gradients[k], *buffers, *makes[k::count]]
            for mine, (first, last) in zip(found, shares(t.size, threads), strict=True):
                if first < last:
                    places = [behind(place, first * size) for place in at]
                    mine.append(Call(self.update.address, True, [last - first, of[k], *places]))
        return [], found

    def finished(self, made: Sequence[Array], where: Where) -> tuple[Callable[[], None], None]:
        """See `AsCode`."""
        o, count = self.optimizer, len(self.tensors)
        steps = o.steps.copy()
        for i in self.places:
            steps[i] += 1
        state = {}
        for k, name in enumerate(self.names, 1):
            several = made[k * count : (k + 1) * count]
            if not self.all:
                new = dict(zip(self.places, several, strict=True))
                several = [new.get(i, array) for i, array in enumerate(o._kept(name))]
            state[name] = list(several)

        def change() -> None:
            for t, array in zip(self.tensors, made, strict=False):
                give(t, array, where)
            for name, several in state.items():
                o.state.setdefault(name, several)[:] = several
            o.steps[:] = steps

        return change, None

    def described(self) -> str:
        """See `AsCode`."""
        return f"{type(self.optimizer).__name__} step of {len(self.tensors)} parameters"


def _is_ours(function: Any) -> bool:
    return str(function.__module__).partition(".")[0] == PACKAGE


def step_as_code(has: Callable[[Tensor], bool], optimizer: Any) -> AsCode | None:
    """Return the step of an optimiser as machine code; None where NumPy computes it.

    Parameters
    ----------
    has : callable
        Says whether a parameter has a gradient.
    optimizer : Optimizer
    """
    # a function of the user's could do something at each call
    if "rates" in vars(optimizer) or not _is_ours(type(optimizer).rates):
        return None
    graded = [i for i, p in enumerate(optimizer.parameters) if has(p)]
    dtypes = {optimizer.parameters[i].dtype for i in graded}
    if len(dtypes) != 1:
        return None
    groups: dict[int, list[int]] = {}
    for i in graded:
        groups.setdefault(optimizer.steps[i], []).append(i)
    names = optimizer.buffers()
    numbers = optimizer._numbers(optimizer.steps[graded[0]])
    update = optimizer._compiled(numbers, 2 + len(names), dtypes.pop())
    if update is None or update.made != 1 + len(names):
        return None
    return _Step(optimizer, list(groups.values()), update, names)
