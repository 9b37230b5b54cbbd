"""A function as it was recorded for given shapes: how it is run, and the node that a call is.

A recording holds the forward and the backward program, each as a straight line of compiled loops
and NumPy calls (`HostProgram`), and the program as it was traced, which is what is differentiated
again for gradients of gradients, and what tangents are pushed through.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import GraphError, TraceError
from ..core.primitive import Array, Primitive, Spec
from ..core.record import describe
from ..core.tape import Freed, Leaf, Node, Older, Where, caller, context, setting
from ..core.tensor import FLOAT64, Tensor
from ..core.trace import Program, trace
from ..core.tree import leaves, unflatten
from ..kernels.runtime import complain, raising
from ..ops.facts import ORDINARY
from ..ops.guards import Changes
from ..ops.guards.observations import generator_state, set_generator_state
from ..ops.postponed import Effects
from ..ops.replay import Done
from ..recurrent.captured import captured, value_of
from ..recurrent.effects import Sequences
from ..recurrent.packing import cut
from ..recurrent.segment import Segment, as_primitive
from .arguments import rebuilt, structure_of
from .automatic import Compiled
from .host import HostProgram, NoCode, NoLines
from .inside import Lowering
from .marshal import owner
from .program import Builder, given
from .remat import remade, residuals
from .twice import check_result, check_same, parts_of, same_objects
from .value import Value, alive


class Arrays(dict[str, Any]):
    """What a call leaves for its backward, by name."""

    __slots__ = ("__weakref__",)


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

    def compile_loops(self) -> None:
        """Compile what would be compiled at the first call, forward and backward."""
        programs = [self._forward] if self._backward is None else [self._forward, self._backward]
        for program in programs:
            program.compile()

    def _sorted_outputs(self) -> tuple[list[Node], list[Node]]:
        """Return the outputs that have gradients, and those that are computed and have none.

        `outputs` gets for each tensor of the result where it comes from, and `walked` for each that
        a backward inside has walked back from its program.
        """
        live = set(self.wrt)
        for node in Program(self.given, self.traced.outputs).nodes:
            if any(source in live for source, _, _ in node.edges):
                live.add(node)
        self.outputs: list[tuple[str, int]] = []
        self.walked: dict[int, Program] = {}
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
                    self.walked[k] = Program(self.given, [o])
        return computed, constant

    def computed(self, tensors: list[Tensor]) -> list[Any]:
        """What the compiled part gives for tensors of the recorded shapes."""
        owners = [owner(n, self.once) for n in self.captured]
        drawn = [t.array for t in self.asked]
        drawn += self._draw() if self.drawn else []
        arrays = [*[t.array for t in (*tensors, *owners)], *drawn]
        found = self._forward(*arrays)
        parts: Sequence[Tensor] = ()
        if self._backward is not None:
            parts = _Call(self, len(tensors), owners, drawn).outputs(tensors, arrays, found)
        made: list[Any] = []
        for k, (kind, place) in enumerate(self.outputs):
            if kind == "live":
                y, dtype = parts[place], self.dtypes[place]
                made.append(y if y.dtype == dtype else y.astype(dtype))
            elif kind == "called":
                made.append(None)
            elif kind == "given":
                made.append((*tensors, *owners, *map(Tensor, drawn))[place])
            else:
                made.append(Tensor(_array(found[len(self.shapes) + place])))
                if k in self.walked:
                    _release(made[-1], self.walked[k], tensors, owners, drawn, self.asked)
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
        if self.done.steps:
            count = len(made) - self.done.count
            returned = self.done.run(tensors, made[count:], Sequences())
            for k, (kind, place) in enumerate(self.outputs[:count]):
                if kind == "called":
                    made[k] = returned[place]
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
            [None if place is None else _array(found[place]) for place in self.gradient_of]
        )

    def source(self) -> str:
        """The text of both programs."""
        lines = [self._forward] if self._backward is None else [self._forward, self._backward]
        return "\n\n".join([f"# --- {line.name} ---\n\n{line.source()}" for line in lines])


def _on_tensors(
    program: Program, owners: Sequence[Tensor], drawn: Sequence[Array], asked: Sequence[Tensor]
) -> Callable[..., list[Tensor]]:
    """Return a recorded program as a function of its arguments, operation by operation.

    For gradients of gradients, tangents and pictures of a call: with what the function captured and
    drew then. The tensors that were `asked` for come first in `drawn`; steps of sequences, which are
    run again, read them as they are.
    """
    again_too = any("segment" in n.params for n in program.nodes)
    held = [*zip(asked, drawn, strict=False)] if again_too else []
    rest = [*[(o.array, o.node) for o in owners], *[(a, None) for a in drawn]]

    def again(*handles: Tensor) -> list[Tensor]:
        for t, array in held:
            if t.array is not array:
                raise GraphError(
                    "tg.jit: gradients of gradients, tangents and pictures run the steps of sequences again, but "
                    f"{describe(t)} is not what it was at the call. Compute them before it is changed"
                )
        found = program(*handles, *[Tensor(array, node) for array, node in rest])
        return [y if isinstance(y, Tensor) else Tensor(_array(y)) for y in found]

    return again


def _release(
    y: Tensor,
    program: Program,
    tensors: Sequence[Tensor],
    owners: Sequence[Tensor],
    drawn: Sequence[Array],
    asked: Sequence[Tensor],
) -> None:
    """Give a result, whose graph a backward inside has walked, a node that was released.

    It can be drawn, since that runs the steps again.
    """
    nodes = tuple([t.node or t.leaf() for t in (*tensors, *owners)])
    edges = JIT.edges(nodes)
    if not edges or not context().grad_enabled:
        return
    segment = Segment(_on_tensors(program, owners, drawn, asked), len(tensors))
    segment.live, segment.captured = [0], list(nodes[len(tensors) :])
    freed = Freed("a loss inside of the function", Where(*caller()))
    y.node = Node(JIT, nodes, edges, {"segment": segment}, freed, y.array, True, caller())


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


def _array(x: Any) -> Array:
    return x if type(x) is np.ndarray else np.asarray(x)


def _wide(node: Node) -> Node:
    """The node of a value in float64."""
    with setting(tracing=True, grad_enabled=True, origin=node.origin):
        wide = Tensor(Spec(node.shape, node.dtype), node).astype(FLOAT64)
    return wide.node or wide.leaf()


class _Call(Segment):
    """One call of a recorded function as a node on the tape."""

    reads = "goes through a compiled function, which needs"

    def __init__(
        self, recording: Recording, count: int, owners: Sequence[Tensor], drawn: Sequence[Array]
    ) -> None:
        again = _on_tensors(recording.program, owners, drawn, recording.asked)
        super().__init__(again, count)
        self.recording = recording
        self.live = list(range(len(recording.shapes)))
        self.captured = [o.node for o in owners if o.node is not None]
        # a weak reference to the Arrays, which belong to the node: with its saved values they are
        # released
        self.arrays: Any = None

    def outputs(
        self, tensors: list[Tensor], arrays: list[Any], found: tuple[Any, ...]
    ) -> list[Tensor]:
        """The results that have gradients, which hang on one node."""
        recording = self.recording
        results = [_array(y) for y in found[: len(recording.shapes)]]
        whole = self.on_tape(JIT, tensors, self.pack(results))
        assert whole.node is not None
        saved = Arrays(given=arrays, kept=found[recording.count :])
        whole.node.saved[0] = saved  # in place of the output, which no rule reads
        self.arrays = weakref.ref(saved)
        return cut(whole, recording.shapes) if len(results) > 1 else [whole]

    def did(self) -> Any:
        """See `Segment.did`."""
        return self.recording

    def pack(self, parts: Sequence[Any]) -> Any:
        """One vector of several results; a single one stays as it is."""
        return super().pack(parts) if len(parts) > 1 else parts[0]

    def gradients(self, g: Any, values: Any) -> tuple[Any, ...]:
        """For each input of the node.

        By the compiled program, or where the walk itself is recorded, and where NumPy was told to
        raise, by the operations one by one.
        """
        shapes = self.recording.shapes
        if not isinstance(g, Tensor) and not raising():
            self.check_captured()
            saved = self.arrays()
            try:
                return self.recording.gradients(
                    saved["given"], saved["kept"], cut(g, shapes) if len(shapes) > 1 else [g]
                )
            except NoCode as failed:
                complain(failed.reason)
        return super().gradients(g.reshape((-1,)) if len(shapes) == 1 else g, values)


JIT: Primitive = as_primitive("jit")
