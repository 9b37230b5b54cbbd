"""What a recorded function does besides computing, as it is done at each call.

`postponed.py` says what that is and how it is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..core.errors import GraphError
from ..core.record import describe
from ..core.tape import Leaf, Node
from ..core.tensor import Tensor
from ..core.tree import leaves
from .postponed import Call, Emit, Fill, taken


class Done:
    """What a recorded function did besides computing, to be done at each call.

    Parameters
    ----------
    steps : sequence of Fill, Call or Emit
    inputs : sequence of Node
        The leaves of the trace's arguments, in order.
    owners : iterable
        Further objects whose attributes a call changes.

    Attributes
    ----------
    count : int
        How many values the steps take.
    """

    def __init__(
        self, steps: Sequence[Fill | Call | Emit], inputs: Sequence[Node], owners: Iterable[Any]
    ) -> None:
        self.steps = list(steps)
        self.count = sum(len(taken(s)) for s in self.steps)
        places = {n: k for k, n in enumerate(inputs)}
        tensors: dict[int, Tensor] = {}
        self._arguments: dict[int, int] = {}  # by id of a tensor of the trace: which argument it is
        changed = {id(o): o for o in owners}
        for s in self.steps:
            if isinstance(s, Call):
                for x in s.function.changes(*s.args, **s.kwargs):
                    (tensors if isinstance(x, Tensor) else changed)[id(x)] = x
            elif isinstance(s, Emit):
                tensors.update((id(t), t) for t in s.changes)
            elif s.tensor.node in places:
                self._arguments[id(s.tensor)] = places[s.tensor.node]
            else:
                tensors[id(s.tensor)] = s.tensor
        self._tensors, self._owners = list(tensors.values()), list(changed.values())
        self._outside = frozenset(tensors)

    def is_argument(self, t: Tensor) -> bool:
        """Whether a tensor of the trace stands for an argument."""
        return id(t) in self._arguments

    def check(self, arguments: Sequence[Tensor]) -> None:
        """Raise a GraphError for arguments whose `.grad` cannot be filled as backward would.

        Those that were computed: backward would go on to what they were computed from. Those that
        are also changed as tensors from outside: the order of both would be lost.
        """
        if not self.steps:
            return
        for k in self._arguments.values():
            if not arguments[k].is_leaf:
                raise GraphError(
                    f"tg.jit: backward inside of the function ends at its arguments, and {describe(arguments[k])} was computed, so the gradient would "
                    "go on from there. Hand over t.detach(), or call backward outside of the function"
                )
            node = arguments[k].node
            if node is not None and node.hooks:
                raise GraphError(
                    f"tg.jit: backward inside of the function does not run the hooks of its argument {describe(arguments[k])}: call backward outside"
                )
        for t in arguments:
            if id(t) in self._outside:
                raise GraphError(
                    f"tg.jit: {describe(t)} is an argument of the function, which also changes it (or its .grad) as a tensor from outside. Use it in one of the two ways"
                )

    def like(self, other: Done) -> bool:
        """Whether another run of the function would do the same, to the same objects."""
        return self._told() == other._told()

    def _told(self) -> list[Any]:
        return [
            (
                s.function,
                s.where.line,
                [id(x) for x in s.function.changes(*s.args, **s.kwargs)],
                [repr(x) for x in leaves((s.args, s.kwargs)) if isinstance(x, (int, float, str))],
            )
            if isinstance(s, Call)
            else ("emit", len(s.values), [id(t) for t in s.changes])
            if isinstance(s, Emit)
            else (self._arguments.get(id(s.tensor), id(s.tensor)), s.gradient is None, s.adds)
            for s in self.steps
        ]

    def run(
        self, arguments: Sequence[Tensor], values: Sequence[Tensor], sequences: Any
    ) -> list[Any]:
        """Do all steps with these values of the trace, and return the results of the calls."""
        found, results = iter(values), []
        for s in self.steps:
            if isinstance(s, Call):
                results.append(s.function(*s.args, **s.kwargs))
                continue
            if isinstance(s, Emit):
                s.receive(sequences, *[next(found).array for _ in s.values])
                continue
            place = self._arguments.get(id(s.tensor))
            t = s.tensor if place is None else arguments[place]
            g = None if s.gradient is None else next(found)
            t.grad = t.grad + g if s.adds and g is not None and t.grad is not None else g
        return results

    def snapshot(self, arguments: Sequence[Tensor]) -> Callable[[], None]:
        """Return a function that puts back, as it is now, all that the steps change."""
        several = [*self._tensors, *[arguments[k] for k in self._arguments.values()]]
        tensors = [
            (t, t._grad, t.array, t.node, getattr(t.node, "replaced", None)) for t in several
        ]
        own = [one for o in self._owners for one in _held(vars(o))]

        def restore() -> None:
            for t, grad, array, node, replaced in tensors:
                t._grad, t.array, t.node = grad, array, node
                if isinstance(node, Leaf):
                    node.replaced = replaced
            for container, earlier in own:
                container.clear()
                container.extend(earlier) if type(container) is list else container.update(earlier)

        return restore


def _held(container: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a dict or list with a copy of it, and those in it; what else stands there is replaced."""
    yield container, container.copy()
    for value in container.values() if type(container) is dict else container:
        if type(value) in (dict, list):
            yield from _held(value)
