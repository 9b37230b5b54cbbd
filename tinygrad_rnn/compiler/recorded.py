"""A function as it was recorded for given shapes: how it is run, and the node that a call is.

A recording holds the forward and the backward program, each as a straight line of compiled loops
and NumPy calls (`HostProgram`), and the program as it was traced, which is what is differentiated
again for gradients of gradients, and what tangents are pushed through.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from operator import is_not
from typing import Any

import numpy as np

from ..core.errors import TraceError
from ..core.primitive import Array, Spec
from ..core.tape import Leaf, Node, Older, Where, caller, context, setting
from ..core.tensor import FLOAT64, Tensor
from ..core.trace import Program, trace
from ..core.tree import leaves, unflatten
from ..ops.as_code import nothing
from ..ops.facts import ORDINARY
from ..ops.guards import Changes
from ..ops.guards.observations import generator_state, set_generator_state
from ..ops.postponed import Effects
from ..ops.replay import Done
from ..recurrent.captured import captured, value_of
from ..recurrent.effects import Sequences
from .arguments import rebuilt, structure_of
from .automatic import Compiled
from .call import Again, OnTape, as_array, release
from .host import HostProgram, NoLines
from .inside import Lowering
from .marshal import owner
from .program import Builder, given
from .remat import remade, residuals
from .twice import check_result, check_same, parts_of, same_objects
from .value import Value, alive
from .whole import Wholes


class _Run:
    """One run of a function that is recorded.

    Attributes
    ----------
    traced : Program
        Its outputs are the tensors of the result, then the gradients that are put into `.grad`.
    effects : Effects
    result : nest
        The structure of the result.
    others : list
        The parts of the result that are no tensors, and None in place of tensors.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Any,
        tensors: Sequence[Tensor],
        changes: Changes,
        grad: bool,
    ) -> None:
        self.function, self.arguments, self.changes = function, arguments, changes
        generators = [g for g, _, _ in changes.guard.states()]
        self.effects = Effects(Compiled(), generators, grad=grad)
        self.result: Any = None
        self.others: list[Any] = []
        needed = [t.requires_grad for t in tensors]
        self.effects.seal(changes.guard.with_state)
        try:
            with setting(sequence=None):  # what is drawn belongs to the sequence of the call
                self.traced = trace(self._outputs, *tensors, gradients=needed, effects=self.effects)
            self.effects.check(self.traced)
        except BaseException:
            self.effects.undo()
            raise
        changes.after_run()

    def _outputs(self, *handles: Tensor) -> list[Tensor]:
        given_ids: dict[int, Any] = {}
        structure_of(self.arguments, given_ids, [])
        nests: dict[int, Any] = {}
        args, kwargs = rebuilt(self.arguments, dict(zip(given_ids, handles, strict=True)), nests)
        before = [(nest, parts_of(nest)) for nest in nests.values()]
        result = self.function(*args, **kwargs)
        for nest, parts in before:
            if not same_objects(parts_of(nest), parts):
                raise TraceError(
                    f"{self.changes.what} changes a {type(nest).__name__} that it is given; a recording cannot. Return what is new"
                )
        self.others = [None if isinstance(y, Tensor) else y for y in leaves(result)]
        self.result = unflatten(result, [0] * len(self.others))
        self.effects.finish()
        return [y for y in leaves(result) if isinstance(y, Tensor)] + self.effects.taken


class Recording:
    """A function for arguments of certain shapes.

    Parameters
    ----------
    function : callable
    arguments : nest
        Positional and keyword arguments.
    tensors : list of Tensor
        Those in the arguments.
    grad : bool
        Whether gradients are recorded.
    outside : dict of Node to array
        Values of computed tensors that the function closes over.
    changes : Changes
        Finds out what the function changes outside of it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Any,
        tensors: Sequence[Tensor],
        grad: bool,
        outside: Mapping[Node, Array],
        changes: Changes,
    ) -> None:
        older = Older()
        one, two = (_Run(function, arguments, tensors, changes, grad) for _ in range(2))
        self.traced, self.effects = one.traced, one.effects
        self.looked = one.effects.looked or two.effects.looked
        self.result, self.others = two.result, two.others
        self._alone = type(self.result) is int and self.others[0] is None  # one tensor
        check_same(one.traced, two.traced)
        check_result(one.others, two.others, changes.what)
        self.done = Done(one.effects.steps, one.traced.inputs, one.effects.owners.values())
        if not self.done.like(Done(two.effects.steps, two.traced.inputs, ())):
            raise TraceError(
                f"{changes.what} did not make the same calls in two recordings; it may not depend on how often it was called, and an optimiser (or a "
                "tensor with a gradient) that it makes itself is another one each time: make it outside"
            )
        self.drawn = [leaf for _, leaves_ in one.effects.draws for leaf in leaves_]
        places = {n: k for k, n in enumerate(self.traced.inputs)}
        self.checks = [(places[n], check) for n, check in one.effects.checks]
        # whether a call does nothing besides computing
        self.pure = not (self.done.steps or self.drawn or self.checks)
        self.captured = captured(self.traced.outputs, older, set(self.traced.inputs))
        read = Program([*self.traced.inputs, *self.captured], self.traced.outputs).constants
        asked = context().asked
        leaves_ = [n for n in read if n in asked]
        self.asked = [asked.tensors[n] for n in leaves_]  # whose values are asked for at each call
        # what the programs are given
        self.given = [*self.traced.inputs, *self.captured, *leaves_, *self.drawn]
        self.once = {n: value_of(n, outside) for n in self.captured if not isinstance(n, Leaf)}
        self._owners = [getattr(n, "tensor", None) or (lambda: None) for n in self.captured]
        self.wrt = (
            [n for n, t in zip(self.traced.inputs, tensors, strict=True) if t.requires_grad]
            + self.captured
            if grad
            else []
        )

    def compile(self) -> None:
        """Make the forward and the backward program of what was recorded."""
        computed, constant = self._sorted_outputs()
        self.dtypes = [o.dtype for o in computed]
        if len(set(self.dtypes)) > 1:  # they become one vector, which has one dtype
            computed = [_wide(o) for o in computed]
        self.program = Program(self.given, computed)
        self.again = Again(self.program, self.asked)
        self.shapes = [o.shape for o in computed]
        builder = Builder(Lowering().add)
        values = [given(n) for n in self.given]
        builder.known.update(zip(self.given, values, strict=True))
        forward: list[Value] = []
        builder.add(Program(self.given, [*computed, *constant]).nodes, forward)
        results = [builder.value(o) for o in [*computed, *constant]]
        self.count = len(results)
        keep: list[Value] = []
        self._backward: HostProgram | None = None
        found: list[Node | None] = []
        if computed:
            back = self.program.backward(self.wrt)
            found = back.outputs
            seeds = [given(n) for n in back.inputs[-len(computed) :]]
            builder.known.update(zip(back.inputs[-len(computed) :], seeds, strict=True))
            backward: list[Value] = []
            builder.add(back.nodes, backward)
            gradients = [builder.value(o) for o in found if o is not None]
            wanted = set(alive([*forward, *backward], [*results, *gradients]))
            forward = [v for v in forward if v in wanted]
            keep, self._backward = _backward_of(
                forward, alive(backward, gradients), values, results, gradients, seeds
            )
        # for each given node the place of its gradient among those that `backward` computes
        self.gradient_of = _places(self.given, self.wrt, found)
        self._forward = HostProgram(forward, values, [*results, *keep], "forward")
        self._wholes = None if computed else self._as_wholes(self._forward)

    def _as_wholes(self, program: HostProgram) -> Wholes | None:
        """Return the ways in which what is done besides computing is in the same call."""
        count = len(self.outputs) - self.done.count
        taken = self.outputs[count:]
        if not self.done.steps or any(kind != "constant" for kind, _ in taken):
            return None
        own = [place for kind, place in self.outputs[:count] if kind == "constant"]
        return Wholes(self.done, program, own, [place for _, place in taken])

    def compile_loops(self) -> None:
        """Compile what would be compiled at the first call, forward and backward."""
        if self._wholes is not None and self._wholes.ready() is not None:
            return
        programs = [self._forward] if self._backward is None else [self._forward, self._backward]
        for program in programs:
            program.compile()

    def _sorted_outputs(self) -> tuple[list[Node], list[Node]]:
        """Return the outputs that have gradients, and those that are computed and have none.

        `outputs` gets for each tensor of the result where it comes from, and `walked` for each that
        a backward inside has walked what runs it again.
        """
        live = set(self.wrt)
        for node in Program(self.given, self.traced.outputs).nodes:
            if any(source in live for source, _, _ in node.edges):
                live.add(node)
        self.outputs: list[tuple[str, int]] = []
        self.walked: dict[int, Again] = {}
        computed: list[Node] = []
        constant: list[Node] = []
        results = len(self.traced.outputs) - self.done.count
        for k, o in enumerate(self.traced.outputs):
            called = self.effects.result(o)
            if called is not None:
                self.outputs.append(("called", called))
            elif o in self.given:
                self.outputs.append(("given", self.given.index(o)))
            elif k < results and o in live and o not in self.effects.walked:
                self.outputs.append(("live", len(computed)))
                computed.append(o)
            else:
                self.outputs.append(("constant", len(constant)))
                constant.append(o)
                if k < results and o in live:
                    self.walked[k] = Again(Program(self.given, [o]), self.asked)
        return computed, constant

    def at_once(self, tensors: list[Tensor]) -> tuple[Any] | None:
        """Compute, do by the same call what is done besides, and return the result in a tuple.

        None where that cannot be: then nothing was changed.
        """
        ready = None if self._wholes is None else self._wholes.ready()
        if ready is None:
            return None
        whole, given = ready
        restore = self.snapshot(tensors) if self.drawn else nothing
        try:
            owners, drawn, arrays = self._read(tensors)
            found = whole.straight([*arrays, *given])
            if found is None:
                restore()
                return None
            outputs = self.outputs[: len(self.outputs) - self.done.count]
            made = self._made(outputs, tensors, owners, drawn, found, ())
        except BaseException:
            restore()
            raise
        return (self._with(made, whole.change(found, Where(*caller()))),)

    def _read(self, tensors: list[Tensor]) -> tuple[list[Tensor], list[Array], list[Array]]:
        """Return what is outside of the function: its tensors, what is drawn, and all arrays."""
        owners: list[Any] = [of() for of in self._owners]
        if not all(map(is_not, owners, itertools.repeat(None))):  # one that is gone
            owners = [owner(n, self.once) for n in self.captured]
        drawn = [t.array for t in self.asked]
        drawn += self._draw() if self.drawn else []
        return owners, drawn, [*[t.array for t in (*tensors, *owners)], *drawn]

    def computed(self, tensors: list[Tensor]) -> list[Any]:
        """What the compiled part gives for tensors of the recorded shapes."""
        owners, drawn, arrays = self._read(tensors)
        found = self._forward(*arrays)
        parts: Sequence[Tensor] = ()
        if self._backward is not None:
            parts = OnTape(self, len(tensors), owners, drawn).outputs(tensors, arrays, found)
        return self._made(self.outputs, tensors, owners, drawn, found, parts)

    def _made(
        self,
        outputs: Sequence[tuple[str, int]],
        tensors: list[Tensor],
        owners: list[Tensor],
        drawn: list[Array],
        found: Sequence[Any],
        parts: Sequence[Tensor],
    ) -> list[Any]:
        """Return tensors of what was computed; `parts` are those with gradients."""
        made: list[Any] = []
        for k, (kind, place) in enumerate(outputs):
            if kind == "live":
                y, dtype = parts[place], self.dtypes[place]
                made.append(y if y.dtype == dtype else y.astype(dtype))
            elif kind == "called":
                made.append(None)
            elif kind == "given":
                made.append((*tensors, *owners, *map(Tensor, drawn))[place])
            else:
                made.append(Tensor(as_array(found[len(self.shapes) + place])))
                if k in self.walked:
                    release(made[-1], self.walked[k], tensors, owners, drawn)
        return made

    def check(self, tensors: Sequence[Tensor]) -> None:
        """Raise an error for arguments with which the function cannot be called."""
        self.done.check(tensors)
        for place, check in self.checks:
            check(tensors[place].array)

    def snapshot(self, tensors: Sequence[Tensor]) -> Callable[[], None]:
        """Return a function that puts back, as it is now, all that a call changes."""
        restore = self.done.snapshot(tensors)
        states = [(g, generator_state(g)) for g in self.effects.generators if self.drawn]

        def put_back() -> None:
            restore()
            for generator, state in states:
                set_generator_state(generator, state)

        return put_back

    def _draw(self) -> list[Array]:
        """Draw what the function draws, in its order."""
        sequences = Sequences()
        return [a for make, _ in self.effects.draws for a in make(sequences)]

    def finished(self, tensors: Sequence[Tensor], made: list[Any]) -> Any:
        """Do what is done besides computing, and return the result of the function."""
        count = len(made) - self.done.count
        returned = self.done.run(tensors, made[count:], Sequences())
        return self._with(made[:count], returned)

    def _with(self, made: list[Any], returned: Sequence[Any]) -> Any:
        """Return the result of the function; `returned` is what the postponed calls gave."""
        for k, (kind, place) in enumerate(self.outputs[: len(made)]):
            if kind == "called":
                made[k] = returned[place]
        if self._alone:
            return made[0]
        values = iter(made)
        return unflatten(
            self.result,
            [
                next(values)
                if other is None
                else other.copy()
                if isinstance(other, np.ndarray)
                else other
                for other in self.others
            ],
        )

    def gradients(
        self, arrays: Sequence[Any], kept: Sequence[Any], seeds: Sequence[Any]
    ) -> tuple[Any, ...]:
        """For each argument and each captured tensor the gradient, or None."""
        assert self._backward is not None
        try:
            found = self._backward(*arrays, *kept, *seeds)
        except NoLines:  # forward was one call, and this is none
            kept = self._forward.lines(*arrays)[self.count :]
            found = self._backward.lines(*arrays, *kept, *seeds)
        return tuple(
            [None if place is None else as_array(found[place]) for place in self.gradient_of]
        )

    def source(self) -> str:
        """The text of both programs, or of the one call that does all."""
        if self._wholes is not None and (text := self._wholes.source()):
            return f"# --- forward ---\n\n{text}"
        lines = [self._forward] if self._backward is None else [self._forward, self._backward]
        return "\n\n".join([f"# --- {line.name} ---\n\n{line.source()}" for line in lines])


def _backward_of(
    forward: Sequence[Value],
    backward: Sequence[Value],
    values: Sequence[Value],
    results: Sequence[Value],
    gradients: Sequence[Value],
    seeds: Sequence[Value],
) -> tuple[list[Value], HostProgram]:
    """Return what the forward program leaves for the backward one, and the backward program."""
    order = {v: k for k, v in enumerate(forward)}
    read = dict.fromkeys(i for v in backward for i in v.sources if i in order)
    read.update(dict.fromkeys(g for g in gradients if g in order))
    found = residuals(read, {*values, *results}, ORDINARY, ORDINARY)
    needed = set(alive([*(v for v in forward if v not in found), *backward], gradients))
    used = {i for v in needed for i in v.sources} | set(gradients)
    keep = sorted(
        {*found, *(r for r in results if r in used and r in order)}, key=order.__getitem__
    )
    program, names = remade([*forward, *backward], keep, gradients)
    inputs = [*values, *[names[v] for v in keep], *seeds]
    return keep, HostProgram(program, inputs, [names.get(g, g) for g in gradients], "backward")


def _places(
    given_nodes: Sequence[Node], wrt: Sequence[Node], found: Sequence[Node | None]
) -> list[int | None]:
    """Return for each given node the place of its gradient among those that there are."""
    there = [n for n, o in zip(wrt, found, strict=False) if o is not None]
    place = {n: k for k, n in enumerate(there)}
    return [place.get(n) for n in given_nodes]


def _wide(node: Node) -> Node:
    """The node of a value in float64."""
    with setting(tracing=True, grad_enabled=True, origin=node.origin):
        wide = Tensor(Spec(node.shape, node.dtype), node).astype(FLOAT64)
    return wide.node or wide.leaf()
