"""What a recorded function does besides computing: it fills `.grad`, and calls what changes things.

A recording computes nothing, so what changes things cannot run in it. It is noted, and done at each
call of the recorded function, in the same order, with the arrays that the call has computed:
``loss.backward()`` fills `.grad`, and what is decorated with `postponed` (a step of an optimiser,
clipping) is called as it is.

While the function is recorded, a gradient that is known as a tensor of the trace can be used and
changed like any other. What a postponed call will have made of a parameter or its gradient is not
known, and neither is what the call returns: a tensor stands for each, of which the trace may make
nothing.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import TraceError
from ..core.primitive import Spec
from ..core.record import describe
from ..core.tape import Leaf, Node, Where, caller, context, reachable, setting
from ..core.tensor import FLOAT64, Tensor


class Fill(NamedTuple):
    """A gradient that is put into `.grad`, or added to what stands there.

    Attributes
    ----------
    tensor : Tensor
    gradient : Tensor or None
        Of the trace; None empties `.grad`.
    adds : bool
    """

    tensor: Tensor
    gradient: Tensor | None
    adds: bool


class Call(NamedTuple):
    """A postponed call; what it returns goes to a place among the results of all calls."""

    function: Any  # with an attribute `changes`, see `postponed`
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    where: Where


class Effects:
    """What one run of a function that is recorded would do besides computing.

    Parameters
    ----------
    whole : callable, optional
        Gives for a cell one that runs a sequence as one node of the trace.
    generators : sequence, optional
        The generators of random numbers that the function holds.

    Attributes
    ----------
    steps : list of Fill or Call
        In order.
    walked : set of Node
        The nodes whose saved values a backward would have released.
    looked : bool
        Whether the run read a `.grad` from before it.
    draws : list of (callable, list of Leaf)
        What gives at each call the arrays that the run would have drawn, and the leaves that stand
        for these.
    """

    def __init__(
        self, whole: Callable[[Any], Any] = lambda cell: cell, generators: Sequence[Any] = ()
    ) -> None:
        self.whole, self.generators = whole, generators
        self.steps: list[Fill | Call] = []
        self.walked: set[Node] = set()
        self.looked = False
        self.draws: list[tuple[Callable[[Any], Sequence[Any]], list[Leaf]]] = []
        # by id: the tensor, with what it had before, and the gradient that the steps give it so far
        self._touched: dict[int, tuple[Tensor, Any, Any, Any]] = {}
        self._given: dict[int, Any] = {}
        self._unknown: dict[Node, tuple[str, Where]] = {}
        self._results: dict[Node, int] = {}

    def touch(self, t: Tensor) -> None:
        """Remember what a tensor had before the run, since the run may change it."""
        if id(t) not in self._touched:
            self._touched[id(t)] = (t, t._grad, t.array, t.node)
            self._give(t, f"the gradient of {describe(t)} from before the call")

    def look(self, t: Tensor) -> None:
        """Note that somebody reads `.grad`; from before the run, it stands in the recording."""
        self.looked = self.looked or id(t) not in self._touched

    def _give(self, t: Tensor, what: str) -> None:
        """Let a gradient that is not known stand in `.grad`."""
        self._given[id(t)] = t._grad = self._placeholder(t, what)

    def draw(self, make: Callable[[Any], Sequence[Any]], specs: Sequence[Spec]) -> list[Tensor]:
        """Return tensors in place of random arrays, which `make` gives at each call.

        It is given the sequences of the call (`recurrent.effects.Sequences`).
        """
        made = [Tensor(spec) for spec in specs]
        self.draws.append((make, [t.leaf(False, "drawn") for t in made]))
        return made

    def fill(self, root: Node, found: Mapping[Node, Tensor], *, keeps: bool) -> None:
        """Do what backward does with the gradients that it has found.

        `keeps`: whether the graph behind the root can be walked again.
        """
        if not keeps:
            self.walked.update(reachable([root]))
        for leaf, g in found.items():
            t = leaf.tensor() if isinstance(leaf, Leaf) and leaf.tensor is not None else None
            if t is not None:
                self._add(t, g)

    def _add(self, t: Tensor, g: Tensor) -> None:
        self.touch(t)
        before: Any = t._grad
        if t.node in context().inputs:  # an argument, whose .grad is that of the call
            self.steps.append(Fill(t, g, adds=True))
        elif before is None:
            t._grad = g
        elif isinstance(before, Tensor) and before.node is not None and self._traced(before):
            t._grad = before + g
        else:  # what stands there when the call is made
            self._sync(t)
            self.steps.append(Fill(t, g, adds=True))
            self._give(t, f"the gradient of {describe(t)}, to which one was added")

    def call(self, function: Any, args: Any, kwargs: Any) -> Tensor:
        """Note a call of a postponed function, which may change tensors and their gradients."""
        found = {id(t): t for t in function.changes(*args, **kwargs) if isinstance(t, Tensor)}
        if not context().tracing:  # a trial
            return Tensor(np.asarray(np.nan))
        changed = list(found.values())
        for t in changed:
            self.touch(t)
            self._sync(t)
        where = Where(*caller())
        self.steps.append(Call(function, args, kwargs, where))
        for t in changed:
            if t._grad is not None:
                what = f"the gradient of {describe(t)}, which {function.__name__} may have changed"
                self._give(t, what)
            what = f"{describe(t)}, which {function.__name__} may have changed"
            made = self._placeholder(t, what, t.requires_grad)
            t.array, t.node = made.array, made.node
        result = Tensor(Spec((), FLOAT64))
        leaf = self._unknown_leaf(result, f"what {function.__name__} returns")
        self._results[leaf] = sum(isinstance(s, Call) for s in self.steps) - 1
        return result

    def finish(self) -> None:
        """End the run: note what stands in `.grad`, and put everything back."""
        for t, *_ in self._touched.values():
            self._sync(t)
        self.undo()

    @contextlib.contextmanager
    def trial(self) -> Iterator[None]:
        """Run a function to see how it fails: postponed calls are not made, and nothing stays."""
        try:
            with setting(effects=self):
                yield
        finally:
            self.undo()

    def undo(self) -> None:
        """Put everything back as it was before the run."""
        for t, grad, array, node in self._touched.values():
            t._grad, t.array, t.node = grad, array, node

    @property
    def gradients(self) -> list[Tensor]:
        """The tensors of the trace that the steps put into `.grad`."""
        return [s.gradient for s in self.steps if isinstance(s, Fill) and s.gradient is not None]

    def result(self, node: Any) -> int | None:
        """Return of which call a node stands for the result; None: of none."""
        return self._results.get(node)

    def check(self, program: Any) -> None:
        """Raise a TraceError if a program is made of what is not known."""
        read = [i for n in program.nodes for i in n.inputs]
        for leaf in [*read, *(o for o in program.outputs if o not in self._results)]:
            if isinstance(leaf, Leaf) and leaf in self._unknown:
                what, where = self._unknown[leaf]
                raise TraceError(
                    f"tg.jit: the function uses {what}{where.described()}. That is done when the compiled part has run, so nothing "
                    "compiled can be made of it: make the call the last of its kind in the function, or use it in another function"
                )

    # --- helpers ----------------------------------------------------------------------------------

    def _traced(self, t: Tensor) -> bool:
        return isinstance(t.array, Spec) and t.node not in self._unknown

    def _sync(self, t: Tensor) -> None:
        """Note that `.grad` is what it is now."""
        grad = t._grad
        if grad is self._given[id(t)]:
            return
        if grad is not None and not self._traced(grad):
            raise TraceError(
                f"tg.jit: .grad of {describe(t)} is set to a tensor that is no result of the function's own backward{Where(*caller()).described()}"
            )
        self.steps.append(Fill(t, grad, adds=False))
        self._given[id(t)] = grad

    def _placeholder(self, t: Tensor, what: str, requires_grad: bool = False) -> Tensor:
        made = Tensor(Spec(t.shape, t.dtype))
        self._unknown_leaf(made, what, requires_grad)
        return made

    def _unknown_leaf(self, made: Tensor, what: str, requires_grad: bool = False) -> Leaf:
        leaf = made.leaf(requires_grad)
        self._unknown[leaf] = (what, Where(*caller()))
        return leaf


class Done:
    """What a recorded function did besides computing, to be done at each call.

    Parameters
    ----------
    steps : sequence of Fill or Call
    inputs : sequence of Node
        The leaves of the trace's arguments, in order.

    Attributes
    ----------
    count : int
        How many gradients the steps take.
    """

    def __init__(self, steps: Sequence[Fill | Call], inputs: Sequence[Node]) -> None:
        self.steps = list(steps)
        self.count = sum(isinstance(s, Fill) and s.gradient is not None for s in self.steps)
        places = {n: k for k, n in enumerate(inputs)}
        tensors: dict[int, Tensor] = {}
        self._arguments: dict[int, int] = {}  # by id of a tensor of the trace: which argument it is
        owners: dict[int, Any] = {}
        for s in self.steps:
            if isinstance(s, Call):
                for x in s.function.changes(*s.args, **s.kwargs):
                    (tensors if isinstance(x, Tensor) else owners)[id(x)] = x
            elif s.tensor.node in places:
                self._arguments[id(s.tensor)] = places[s.tensor.node]
            else:
                tensors[id(s.tensor)] = s.tensor
        self._tensors, self._owners = list(tensors.values()), list(owners.values())

    def like(self, other: Done) -> bool:
        """Whether another run of the function would do the same, to the same objects."""
        return self._told() == other._told()

    def _told(self) -> list[Any]:
        return [
            (s.function, s.where.line, [id(x) for x in s.function.changes(*s.args, **s.kwargs)])
            if isinstance(s, Call)
            else (self._arguments.get(id(s.tensor), id(s.tensor)), s.gradient is None, s.adds)
            for s in self.steps
        ]

    def run(self, arguments: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Any]:
        """Do all steps with these gradients, and return the results of the calls."""
        found, results = iter(gradients), []
        for s in self.steps:
            if isinstance(s, Call):
                results.append(s.function(*s.args, **s.kwargs))
                continue
            place = self._arguments.get(id(s.tensor))
            t = s.tensor if place is None else arguments[place]
            g = None if s.gradient is None else next(found)
            t.grad = t.grad + g if s.adds and g is not None and t.grad is not None else g
        return results

    @contextlib.contextmanager
    def or_as_before(self, arguments: Sequence[Tensor]) -> Iterator[None]:
        """Put everything back as it was before the block, if the block fails."""
        if not self.steps:
            yield
            return
        several = [*self._tensors, *[arguments[k] for k in self._arguments.values()]]
        before = [(t, t.grad, t.array, t.node) for t in several]
        own = [(vars(o), _copied(vars(o))) for o in self._owners]
        try:
            yield
        except BaseException:
            for t, grad, array, node in before:
                t._grad, t.array, t.node = grad, array, node
            for now, earlier in own:
                now.clear()
                now.update(earlier)
            raise


def _copied(value: Any) -> Any:
    """Copy dicts and lists, and those in them; what else stands there is replaced, not changed."""
    if type(value) is dict:
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if type(value) is list else value


def postponed(changes: Callable[..., Iterable[Any]]) -> Callable[[Any], Any]:
    """Let a function that changes things be called at each call of the function that is recorded.

    Parameters
    ----------
    changes : callable
        Takes what the function takes, and gives what it may change: tensors, and objects whose
        attributes it sets.
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            effects = context().effects
            if effects is None:
                return function(*args, **kwargs)
            # an iterator, such as module.parameters(), can be read once, and each call reads it
            args = tuple([list(a) if isinstance(a, Iterator) else a for a in args])
            kwargs = {k: list(a) if isinstance(a, Iterator) else a for k, a in kwargs.items()}
            return effects.call(called, args, kwargs)

        called.changes = changes  # type: ignore[attr-defined]
        return called

    return decorate


def _grad(t: Tensor) -> Tensor | None:
    """The gradient that backwards brought, or that it was set to."""
    effects = context().effects
    if effects is not None:
        effects.look(t)
    return t._grad


def _set_grad(t: Tensor, g: Tensor | None) -> None:
    effects = context().effects
    if effects is not None:
        effects.touch(t)
    t._grad = g


grad = property(_grad, _set_grad)
