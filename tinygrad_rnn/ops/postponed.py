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

from ..core.errors import GraphError, TraceError
from ..core.primitive import Spec
from ..core.record import describe
from ..core.tape import Leaf, Node, Older, Where, caller, context, reachable, setting
from ..core.tensor import FLOAT64, Tensor
from ..core.tree import leaves
from .elementwise import stop_gradient


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


class Emit(NamedTuple):
    """Values of the trace that are handed over, as running statistics are.

    Attributes
    ----------
    receive : callable
        Takes the sequences of the call (`recurrent.effects.Sequences`), then the arrays.
    values : tuple of Tensor
    changes : list of Tensor
        What it gives other values.
    """

    receive: Any
    values: tuple[Tensor, ...]
    changes: list[Tensor]


class Effects:
    """What one run of a function that is recorded would do besides computing.

    Parameters
    ----------
    whole : callable, optional
        Gives for a cell one that runs a sequence as one node of the trace.
    generators : sequence, optional
        The generators of random numbers that the function holds.
    grad : bool
        Whether gradients are recorded where the function is called.

    Attributes
    ----------
    steps : list of Fill, Call or Emit
        In order.
    walked : set of Node
        The nodes whose saved values a backward would have released.
    one_by_one : set of str
        The names of cells whose sequences could not be recorded as one node.
    looked : bool
        Whether the run read a `.grad` from before it.
    owners : dict of int to object
        By id, the objects whose state the draws move.
    checks : list of (Node, callable)
        Arguments of which the arrays are checked at each call.
    draws : list of (callable, list of Leaf)
        What gives at each call the arrays that the run would have drawn, and the leaves that stand
        for these.
    """

    def __init__(
        self,
        whole: Callable[[Any], Any] = lambda cell: cell,
        generators: Sequence[Any] = (),
        *,
        grad: bool = True,
    ) -> None:
        self.whole, self.generators, self.grad = whole, generators, grad
        self.steps: list[Fill | Call | Emit] = []
        self.walked: set[Node] = set()
        self.looked = False
        self.one_by_one: set[str] = set()
        self.owners: dict[int, Any] = {}
        self.checks: list[tuple[Node, Callable[[Any], Any]]] = []
        self.draws: list[tuple[Callable[[Any], Sequence[Any]], list[Leaf]]] = []
        # by id, so that other threads see nothing of it: a tensor, what `.grad` is for the run, and
        # what the steps make of it so far
        self._grads: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._given: dict[int, Tensor | None] = {}
        # by id: a tensor that a postponed call may change, which call, and the first node after it
        self._replaced: dict[int, tuple[Tensor, str, Where, int]] = {}
        self._own: dict[int, Tensor] = {}  # by id: gradients that a backward of the run has found
        self._unknown: dict[Node, tuple[str, Where]] = {}
        self._results: dict[Node, int] = {}
        self._sealed: dict[int, tuple[Any, type]] = {}
        self._changed: dict[int, tuple[str, Where]] = {}

    def gradient(self, t: Tensor) -> Tensor | None:
        """Return what `.grad` is for the run; from before it, it stands in the recording."""
        if self._inner(t):
            return t._grad
        self._check_argument(t)
        if id(t) not in self._grads:
            self.looked = True
            return t._grad
        found = self._grads[id(t)][1]
        if found is not None and found.node in self._unknown:
            raise _unknown(*self._unknown[found.node])
        return found

    def set_gradient(self, t: Tensor, g: Tensor | None) -> None:
        """Let `.grad` be something else from now on."""
        if self._inner(t):
            t._grad = g
            return
        self._check_argument(t)
        if g is not None and not isinstance(g, Tensor):
            raise TraceError(
                f"tg.jit: .grad of {describe(t)} is set to a {type(g).__name__}; expected a tensor{Where(*caller()).described()}"
            )
        self._touch(t)
        self._grads[id(t)] = (t, g)

    def _touch(self, t: Tensor) -> None:
        if id(t) not in self._grads:
            self._let_unknown(t, f"the gradient of {describe(t)} from before the call")

    def _let_unknown(self, t: Tensor, what: str) -> None:
        """Let a gradient that is not known stand in `.grad`."""
        made = Tensor(Spec(t.shape, t.dtype))
        self._unknown_leaf(made, what)
        self._grads[id(t)], self._given[id(t)] = (t, made), made

    def _check_argument(self, t: Tensor) -> None:
        if t.node in context().inputs:
            raise TraceError(
                f"tg.jit: .grad of an argument, {describe(t)}, is that of another tensor at each call: use the tensor from outside, not as an argument, "
                f"or compute its gradient with tg.grad{Where(*caller()).described()}"
            )

    def _inner(self, t: Tensor) -> bool:
        """Whether a tensor was computed by the run, so that nobody outside has it."""
        return isinstance(t.array, Spec) and not isinstance(t.node, Leaf)

    def draw(
        self, make: Callable[[Any], Sequence[Any]], specs: Sequence[Spec], makers: Iterable[Any]
    ) -> list[Tensor]:
        """Return tensors in place of random arrays, which `make` gives at each call.

        It is given the sequences of the call (`recurrent.effects.Sequences`). An attribute `owner`
        of one of `makers` is an object whose state a draw moves.
        """
        makers = list(makers)
        for read in [t for m in makers if (t := getattr(m, "reads", None)) is not None]:
            if id(read) in self._replaced:
                raise self._changed_before(read)
        owners = (getattr(m, "owner", None) for m in makers)
        self.owners.update((id(o), o) for o in owners if o is not None)
        made = [Tensor(spec) for spec in specs]
        self.draws.append((make, [t.leaf(False, "drawn") for t in made]))
        return made

    def emit(self, receive: Any, values: Sequence[Any], changes: Sequence[Tensor]) -> None:
        """Let values of the trace be handed over at each call, by which tensors are changed."""
        for t in changes:
            if t.node not in context().asked:
                raise TraceError(
                    f"tg.jit: the function moves {describe(t)}, and Python code in it reads the value, which would be that of the recording: read it "
                    f"outside of the function{Where(*caller()).described()}"
                )
        self._replace(changes, "this step")
        given = tuple([v if isinstance(v, Tensor) else Tensor(np.asarray(v)) for v in values])
        self.steps.append(Emit(receive, given, list(changes)))

    def _replace(self, tensors: Iterable[Tensor], name: str) -> None:
        """Note what a step may give other values when the compiled part has run."""
        where, first = Where(*caller()), Older().index
        for t in tensors:
            self._replaced.setdefault(id(t), (t, name, where, first))

    def _changed_before(self, t: Tensor) -> TraceError:
        _, name, where, _ = self._replaced[id(t)]
        return _unknown(f"{describe(t)}, which {name} may have changed", where)

    def require(self, argument: Node, check: Callable[[Any], Any]) -> None:
        """Let an argument's array be checked at each call, by a function that raises."""
        self.checks.append((argument, check))

    def fill(
        self, root: Node, found: Mapping[Node, Tensor], *, create_graph: bool, keeps: bool
    ) -> None:
        """Do what backward does with the gradients that it has found.

        `keeps`: whether the graph behind the root can be walked again.
        """
        if create_graph:
            raise TraceError(
                f"tg.jit: backward(create_graph=True) would leave .grad without its graph: use tg.grad inside of the function{Where(*caller()).described()}"
            )
        if not self.grad:
            raise GraphError(
                "backward: this tensor does not require gradients: the function is called where recording is off (tg.no_grad)."
            )
        order = [n for n in reachable([root]) if n.primitive is not None]
        if any(n in self.walked for n in order):
            raise GraphError(
                f"backward reached what another backward in the function has released: pass retain_graph=True to the first one{Where(*caller()).described()}"
            )
        if not keeps:
            self.walked.update(order)
        for leaf, g in found.items():
            t = leaf.tensor() if isinstance(leaf, Leaf) and leaf.tensor is not None else None
            if t is not None:
                self._add(t, self._noted(stop_gradient(g)))

    def _noted(self, g: Tensor) -> Tensor:
        """Return a gradient that a backward has found; it may be a constant, as that of a sum is."""
        self._own[id(g)] = g
        return g

    def _add(self, t: Tensor, g: Tensor) -> None:
        if t.node in context().inputs:  # an argument, whose .grad is that of the call
            self.steps.append(Fill(t, g, adds=True))
            return
        self._touch(t)
        before = self._grads[id(t)][1]
        if before is None:
            self._grads[id(t)] = (t, g)
        elif self._traced(before):
            self._grads[id(t)] = (t, self._noted(before + g))
        else:  # what stands there when the call is made
            self._sync(t)
            self.steps.append(Fill(t, g, adds=True))
            self._let_unknown(t, f"the gradient of {describe(t)}, to which one was added")

    def call(self, function: Any, args: Any, kwargs: Any) -> Tensor | None:
        """Note a call of a postponed function, which may change tensors and their gradients."""
        with setting(effects=None):
            found = {id(x): x for x in function.changes(*args, **kwargs)}
        if not context().tracing:  # a trial
            return Tensor(np.asarray(np.nan))
        changed = [x for x in found.values() if isinstance(x, Tensor)]
        given = [x for x in leaves((args, kwargs)) if isinstance(x, Tensor)]
        for t in (*changed, *given):
            if isinstance(t.array, Spec):
                raise TraceError(
                    f"tg.jit: {function.__name__} is called with {describe(t)}, which is an argument of the function or computed from one: hand it what it changes "
                    f"from outside, and numbers{Where(*caller()).described()}"
                )
        for t in changed:
            self._touch(t)
            self._sync(t)
        where, name = Where(*caller()), function.__name__
        self.steps.append(Call(function, args, kwargs, where))
        if function.values:
            self._replace(changed, name)
        for t in changed:
            if self._grads[id(t)][1] is not None:
                self._let_unknown(
                    t, f"the gradient of {describe(t)}, which {name} may have changed"
                )
        for key, x in found.items():
            if not isinstance(x, Tensor):
                self._changed.setdefault(key, (name, where))
        if function.__annotations__.get("return") in (None, "None"):
            return None
        result = Tensor(Spec((), FLOAT64))
        leaf = self._unknown_leaf(result, f"what {function.__name__} returns")
        self._results[leaf] = sum(isinstance(s, Call) for s in self.steps) - 1
        return result

    def finish(self) -> None:
        """End the run: note what stands in `.grad`, and put everything back."""
        for t, _ in list(self._grads.values()):
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

    def seal(self, owners: Iterable[Any]) -> None:
        """Let setting attributes of optimisers and schedules be an error while the function runs.

        So is reading those that a postponed call may have changed.
        """
        for owner in owners:
            kind = type(owner)
            self._sealed[id(owner)] = (owner, kind)
            object.__setattr__(owner, "__class__", _sealed(kind, self))

    def changed(self, owner: Any) -> tuple[str, Where] | None:
        """Return which postponed call may have changed an object, and where; None if none has."""
        return self._changed.get(id(owner))

    def undo(self) -> None:
        """Put everything back as it was before the run."""
        for owner, kind in self._sealed.values():
            object.__setattr__(owner, "__class__", kind)
        self._sealed = {}

    @property
    def taken(self) -> list[Tensor]:
        """The tensors of the trace that the steps put into `.grad` or hand over."""
        return [t for s in self.steps for t in taken(s)]

    def result(self, node: Any) -> int | None:
        """Return of which call a node stands for the result; None: of none."""
        return self._results.get(node)

    def check(self, program: Any) -> None:
        """Raise a TraceError if a program is made of what is not known."""
        read = [i for n in program.nodes for i in n.inputs]
        replaced = {t.node: (t, k) for t, _, _, k in self._replaced.values()}
        for n in program.nodes:
            for i in n.inputs:
                if i in replaced and n.index > replaced[i][1]:
                    raise self._changed_before(replaced[i][0])
        for leaf in [*read, *(o for o in program.outputs if o not in self._results)]:
            if isinstance(leaf, Leaf) and leaf in self._unknown:
                raise _unknown(*self._unknown[leaf])
        for output in program.outputs:
            if isinstance(output, Node) and output.hooks and output.primitive is not None:
                raise TraceError(
                    f"tg.jit: a hook (or retain_grad) on a result of the function, {output.op}{output.where.described()}, would not be there at a call: register it outside"
                )

    # --- helpers ----------------------------------------------------------------------------------

    def _traced(self, t: Tensor) -> bool:
        computed = isinstance(t.array, Spec) or (t.node is not None and t.node.may_change)
        computed = computed or self._own.get(id(t)) is t
        return computed and t.node not in self._unknown

    def _sync(self, t: Tensor) -> None:
        """Note that `.grad` is what it is now."""
        grad = self._grads[id(t)][1]
        if grad is self._given[id(t)]:
            return
        if grad is not None and not self._traced(grad):
            raise TraceError(
                f"tg.jit: .grad of {describe(t)} is set to a tensor that is no result of the function's own backward"
            )
        # a handle, since this one may be written to when the step has been noted
        self.steps.append(Fill(t, None if grad is None else grad.handle(), adds=False))
        self._given[id(t)] = grad

    def _unknown_leaf(self, made: Tensor, what: str) -> Leaf:
        leaf = made.leaf()
        self._unknown[leaf] = (what, Where(*caller()))
        return leaf


def taken(step: Fill | Call | Emit) -> tuple[Tensor, ...]:
    """Return the tensors of the trace that a step takes."""
    if isinstance(step, Emit):
        return step.values
    return (step.gradient,) if isinstance(step, Fill) and step.gradient is not None else ()


def _unknown(what: str, where: Where) -> TraceError:
    return TraceError(
        f"tg.jit: the function uses {what}{where.described()}. That is done when the compiled part has run, so nothing "
        "compiled can be made of it: make the call the last of its kind in the function, or use it in another function"
    )


def _sealed(kind: Any, effects: Effects) -> type:
    """Return a class of objects whose attributes cannot be set while a function is recorded."""

    def __getattribute__(self: Any, name: str) -> Any:
        found = effects.changed(self) if context().effects is effects else None
        own = object.__getattribute__(self, "__dict__")
        if found is not None and name in own and name != "parameters":
            raise _unknown(f"{kind.__name__}.{name}, which {found[0]} changes", found[1])
        return kind.__getattribute__(self, name)

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if context().effects is effects:
            raise TraceError(
                f"tg.jit: the function sets {kind.__name__}.{name}, which a recording would not do at each call: set it outside of the function{Where(*caller()).described()}"
            )
        kind.__setattr__(self, name, value)

    members = {"__getattribute__": __getattribute__, "__setattr__": __setattr__}
    return type(kind.__name__, (kind,), {**members, "__module__": kind.__module__})


def _kept(argument: Any) -> Any:
    if isinstance(argument, (Iterator, list)):
        return list(argument)
    return dict(argument) if type(argument) is dict else argument


def postponed(
    changes: Callable[..., Iterable[Any]], *, values: bool = True, native: Any = None
) -> Callable[[Any], Any]:
    """Let a function that changes things be called at each call of the function that is recorded.

    Parameters
    ----------
    changes : callable
        Takes what the function takes, and gives what it may change: tensors, and objects whose
        attributes it sets.
    values : bool
        Whether it may change the values of the tensors, and not only their gradients.
    native : callable, optional
        Takes what says whether a tensor has a gradient, and then what the function takes. It gives
        the call as machine code (`as_code.AsCode`), or None where there is no such code.
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            effects = context().effects
            if effects is None:
                return function(*args, **kwargs)
            # an iterator, such as module.parameters(), can be read once, and each call reads it
            # and a list may be changed after the call
            args = tuple([_kept(a) for a in args])
            kwargs = {k: _kept(a) for k, a in kwargs.items()}
            return effects.call(called, args, kwargs)

        called.values = values  # type: ignore[attr-defined]
        called.changes = changes  # type: ignore[attr-defined]
        called.native = native  # type: ignore[attr-defined]
        return called

    return decorate


def _grad(t: Tensor) -> Tensor | None:
    """The gradient that backwards brought, or that it was set to."""
    effects = context().effects
    if effects is None:
        return t._grad
    found: Tensor | None = effects.gradient(t)
    return found


def _set_grad(t: Tensor, g: Tensor | None) -> None:
    effects = context().effects
    if effects is None:
        t._grad = g
    else:
        effects.set_gradient(t, g)


grad = property(_grad, _set_grad)
