"""`tg.jit` of an ordinary function.

Recorded once for given shapes, its elementwise runs as loops, one node on the tape.

A recording is made for each combination of structure, shapes, dtypes, needed gradients, and
whatever else the function depends on (`ops/guards.py`). It holds the forward and the backward
program, each as a straight line of compiled loops and NumPy calls (`Line`), and the program as it
was traced, which is what is differentiated again for gradients of gradients, and what tangents are
pushed through.
"""

from __future__ import annotations

import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import is_
from typing import Any

import numpy as np

from ..core.errors import TinygradError, TraceError
from ..core.primitive import Array, Primitive, Spec
from ..core.tape import Leaf, Node, Older, context, setting
from ..core.tensor import FLOAT64, Tensor, tensor
from ..core.trace import Program, trace
from ..core.tree import leaves, unflatten
from ..kernels.runtime import available, complain, raising
from ..ops.facts import ORDINARY
from ..ops.guards import Changes, Guard, Guards, plain_key
from ..recurrent.captured import captured, value_of
from ..recurrent.cell import name_of
from ..recurrent.packing import cut
from ..recurrent.segment import Segment, as_primitive
from .cell import Jitted
from .host import HostProgram, NoCode
from .program import Builder, given
from .recordings import KEPT
from .remat import remade, residuals
from .runner import owner
from .value import CompileError, Value, alive, own_faults


class Arrays(dict[str, Any]):
    """What a call leaves for its backward, by name."""

    __slots__ = ("__weakref__",)


class JittedFunction(Jitted):
    """A function of tensors that runs fused; made by `jit`.

    Handed to `unroll` it is a compiled cell, as any `Jitted`.
    """

    __slots__ = ("_programs",)

    _programs: dict[Any, Recording]

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        object.__setattr__(self, "_programs", {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives, computed by the recording for these shapes."""
        now = context()
        # inside another recording it is a part of that
        if now.tracing or now.eager or not available() or raising():
            return self.plain(*args, **kwargs)
        found: dict[int, Any] = {}
        others: list[Any] = []
        structure = _structure((args, kwargs), found, others)
        guard = self._code.guards.now(others)
        tensors = _tensors(list(found.values()), guard)
        grad = now.grad_enabled
        key = (
            structure,
            grad,
            tuple([(t.array.shape, t.array.dtype, grad and t.requires_grad) for t in tensors]),
        )
        recording = self._programs.get((key, guard.key))
        if recording is None:
            if len(self._programs) >= KEPT:
                self._full()
                return self.plain(*args, **kwargs)
            recording = self._record(key, guard, args, kwargs, tensors, grad)
        try:
            return recording(tensors)
        except NoCode as failed:
            complain(failed.reason)
            return self.plain(*args, **kwargs)
        except Exception as error:
            self.plain(*args, **kwargs)  # which says what is wrong with these values
            if isinstance(error, (TinygradError, MemoryError, Warning)):
                raise
            raise CompileError(
                f"tg.jit: the code for '{name_of(self)}' fails ({type(error).__name__}: {error}), which the function itself does not. The fault is the "
                "compiler's; within tg.eager() the function runs as if it were not compiled."
            ) from error

    def _record(
        self, key: Any, guard: Guard, args: Any, kwargs: Any, tensors: list[Tensor], grad: bool
    ) -> Recording:
        changes = Changes(self._code.guards, guard, f"tg.jit: '{name_of(self)}'")
        try:
            made = Recording(self.plain, (args, kwargs), tensors, grad, guard.computed, changes)
            with own_faults(name_of(self)):
                made.compile()
        except BaseException as error:
            changes.restore()
            if isinstance(error, TinygradError) and not isinstance(error, TraceError):
                with setting(grad_enabled=False):
                    self.plain(*args, **kwargs)  # fails as well, and names the operands as they are
            raise
        self._programs[key, changes.kept().key] = made
        return made

    def _full(self) -> None:
        if "full" not in self._programs:
            self._programs["full"] = next(iter(self._programs.values()))
            warnings.warn(
                f"tg.jit: '{name_of(self)}' was recorded {KEPT} times, for different shapes, numbers or values from outside; other calls run as "
                "if it were not compiled. A number that changes from call to call is better handed over as a tensor, tg.tensor(number).",
                RuntimeWarning,
                stacklevel=4,
            )

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        return JittedFunction, (self.plain,)

    def source(self, xs: Any = None, state: Any = None) -> str:
        """What was generated for the latest recording, as readable Python.

        Each line with the line of the function that it comes from.

        Parameters
        ----------
        xs, state : optional
            Of a function that is a cell, a sequence and its first state, as for `Jitted.source`.

        Raises
        ------
        CompileError
            If the function was not called yet (nor unrolled, as a cell).
        """
        if self._programs and xs is None:
            return [r for k, r in self._programs.items() if k != "full"][-1].source()
        if self._code.runners or xs is not None:
            return super().source(xs, state)
        raise CompileError(f"tg.jit: '{name_of(self)}' was not called yet, so nothing is compiled")


def _is_given(x: Any) -> bool:
    """Whether an argument is given to the recording at each call.

    A tensor, or an array of numbers.
    """
    return isinstance(x, Tensor) or (
        isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "fbiu"
    )


def _is_nest(x: Any) -> bool:
    kind = type(x)
    return kind in (dict, tuple, list) or (isinstance(x, tuple) and hasattr(kind, "_fields"))


def _structure(
    tree: Any, found: dict[int, Any], others: list[Any], nests: dict[int, int] | None = None
) -> Any:
    """How arguments are nested, as a key, with numbers and texts as they are.

    Tensors and arrays are put into `found` by identity, each once; what has to be followed to find
    out what it is goes to `others`.
    """
    kind = type(tree)
    if _is_given(tree):
        if id(tree) in found:  # the same again: which one
            return list(found).index(id(tree))
        found[id(tree)] = tree
        return kind if not isinstance(tree, Tensor) else Tensor
    if _is_nest(tree):
        nests = {} if nests is None else nests
        if id(tree) in nests:
            return (kind, nests[id(tree)])
        nests[id(tree)] = len(nests)
        if kind is dict:
            return (
                dict,
                *[
                    (type(key), key, _structure(value, found, others, nests))
                    for key, value in tree.items()
                ],
            )
        return (kind, *[_structure(value, found, others, nests) for value in tree])
    key = plain_key(tree)
    if key is not None:
        return key
    if type(tree) is types.MethodType:  # another object at each access
        others += (tree.__func__, tree.__self__)
        return types.MethodType
    others.append(tree)
    return None


def _rebuilt(tree: Any, handles: dict[int, Tensor], made: dict[int, Any]) -> Any:
    """The same nest with tensors in place of tensors and arrays, by the identity of these; `made` gets its parts by the identity of those there."""
    if _is_given(tree):
        return handles[id(tree)]
    if not _is_nest(tree):
        return tree
    if id(tree) in made:
        return made[id(tree)]
    if type(tree) is dict:
        made[id(tree)] = entries = {}
        entries.update({key: _rebuilt(value, handles, made) for key, value in tree.items()})
        return entries
    if type(tree) is list:
        made[id(tree)] = several = []
        several += [_rebuilt(value, handles, made) for value in tree]
        return several
    parts = [_rebuilt(value, handles, made) for value in tree]
    made[id(tree)] = found = type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return found


def _tensors(found: list[Any], guard: Guard) -> list[Tensor]:
    """Tensors for the arguments.

    An array becomes one of the floating dtype that the tensors have.
    """
    if all(isinstance(x, Tensor) for x in found):
        return found
    dtypes = [x.dtype for x in found if isinstance(x, Tensor) and x.dtype.kind == "f"]
    dtypes = dtypes or [t.dtype for _, t in guard.tensors if t.dtype.kind == "f"]
    dtype = dtypes[0] if dtypes else None
    return [
        x if isinstance(x, Tensor) else tensor(x, dtype if x.dtype.kind == "f" else None)
        for x in found
    ]


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
        given_ids: dict[int, Any] = {}
        _structure(arguments, given_ids, [])
        self.result: Any = None  # its structure
        self.others: list[Any] = []  # its parts that are no tensors, None in place of tensors

        def run(*handles: Tensor) -> list[Tensor]:
            nests: dict[int, Any] = {}
            args, kwargs = _rebuilt(arguments, dict(zip(given_ids, handles, strict=True)), nests)
            before = [
                (nest, list(nest), list(nest.values()) if type(nest) is dict else [])
                for nest in nests.values()
            ]
            result = function(*args, **kwargs)
            for nest, parts, entries in before:
                if not _unchanged(nest, parts) or (
                    type(nest) is dict and not _unchanged(nest.values(), entries)
                ):
                    raise TraceError(
                        f"{changes.what} changes a {type(nest).__name__} that it is given; a recording cannot. Return what is new"
                    )
            self.others = [None if isinstance(y, Tensor) else y for y in leaves(result)]
            self.result = unflatten(result, [0] * len(self.others))
            return [y for y in leaves(result) if isinstance(y, Tensor)]

        def recorded() -> tuple[Program, list[Any]]:
            program = trace(run, *tensors)
            changes.after_run()
            return program, self.others

        (self.traced, one), (again, two) = recorded(), recorded()
        _check_same(self.traced, again)
        _check_result(one, two, changes.what)
        self.captured = captured(self.traced.outputs, older, set(self.traced.inputs))
        self.once = {n: value_of(n, outside) for n in self.captured if not isinstance(n, Leaf)}
        self.wrt = (
            [n for n, t in zip(self.traced.inputs, tensors, strict=True) if t.requires_grad]
            + self.captured
            if grad
            else []
        )

    def compile(self) -> None:
        """Make the forward and the backward program of what was recorded."""
        given_nodes = [*self.traced.inputs, *self.captured]
        computed, constant = self._sorted_outputs(given_nodes)
        self.dtypes = [o.dtype for o in computed]
        if len(set(self.dtypes)) > 1:  # they become one vector, which has one dtype
            computed = [_wide(o) for o in computed]
        self.program = Program(given_nodes, computed)
        self.shapes = [o.shape for o in computed]
        builder = Builder()
        values = [given(n) for n in given_nodes]
        builder.known.update(zip(given_nodes, values, strict=True))
        forward: list[Value] = []
        builder.add(Program(given_nodes, [*computed, *constant]).nodes, forward)
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
        self.gradient_of = _places(given_nodes, self.wrt, found)
        self._forward = HostProgram(forward, values, [*results, *keep], "forward")

    def _sorted_outputs(self, given_nodes: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        """Return the outputs that have gradients, and those that are computed and have none.

        `outputs` gets for each tensor of the result where it comes from.
        """
        live = set(self.wrt)
        for node in Program(given_nodes, self.traced.outputs).nodes:
            if any(source in live for source, _, _ in node.edges):
                live.add(node)
        self.outputs: list[tuple[str, int]] = []
        computed: list[Node] = []
        constant: list[Node] = []
        for o in self.traced.outputs:
            if o in given_nodes:
                self.outputs.append(("given", given_nodes.index(o)))
            elif o in live:
                self.outputs.append(("live", len(computed)))
                computed.append(o)
            else:
                self.outputs.append(("constant", len(constant)))
                constant.append(o)
        return computed, constant

    def __call__(self, tensors: list[Tensor]) -> Any:
        """The result for tensors of the recorded shapes."""
        owners = [owner(n, self.once) for n in self.captured]
        arrays = [t.array for t in (*tensors, *owners)]
        found = self._forward.run(*arrays)
        parts: Sequence[Tensor] = ()
        if self._backward is not None:
            parts = _Call(self, len(tensors), owners).outputs(tensors, arrays, found)
        made: list[Any] = []
        everything = (*tensors, *owners)
        for kind, place in self.outputs:
            if kind == "given":
                made.append(everything[place])
            elif kind == "live":
                y, dtype = parts[place], self.dtypes[place]
                made.append(y if y.dtype == dtype else y.astype(dtype))
            else:
                made.append(Tensor(_array(found[len(self.shapes) + place])))
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
        found = self._backward.run(*arrays, *kept, *seeds)
        return tuple(
            [None if place is None else _array(found[place]) for place in self.gradient_of]
        )

    def source(self) -> str:
        """The text of both programs."""
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
    found = residuals(read, {*values, *results}, ORDINARY)
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
        found: Node = Tensor(Spec(node.shape, node.dtype), node).astype(FLOAT64).node
    return found


class _Call(Segment):
    """One call of a recorded function as a node on the tape."""

    reads = "goes through a compiled function, which needs"

    def __init__(self, recording: Recording, count: int, owners: Sequence[Tensor]) -> None:
        outside = [(o.array, o.node) for o in owners]

        def again(*handles: Tensor) -> list[Tensor]:
            """The recorded program on tensors, operation by operation.

            For gradients of gradients, and tangents.
            """
            found = recording.program(*handles, *[Tensor(array, node) for array, node in outside])
            return [y if isinstance(y, Tensor) else Tensor(_array(y)) for y in found]

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

        By the compiled program, or where the walk itself is recorded by the operations one by one.
        """
        shapes = self.recording.shapes
        if not isinstance(g, Tensor):
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


def _check_same(one: Program, two: Program) -> None:
    """Raise a TraceError if two recordings of a function differ.

    What is drawn or counted inside would be the same at each call.
    """

    def words(program: Program) -> Iterator[tuple[Node, Any]]:
        """What is done, in order, with each constant where it is first used.

        Nodes by their place in this list.
        """
        known = {n: k for k, n in enumerate(program.inputs)}

        def place(node: Any) -> Iterator[tuple[Node, Any]]:
            if isinstance(node, Leaf) and node not in known:
                known[node] = len(known)
                yield node, node.value

        for node in program.nodes:
            for i in node.inputs:
                yield from place(i)
            yield (
                node,
                (
                    node.op,
                    [known[i] if isinstance(i, Node) else i for i in node.inputs],
                    list(node.params.values()),
                ),
            )
            known[node] = len(known)
        for o in program.outputs:
            yield from place(o)
            yield o, known[o]

    for (a, left), (_, right) in zip(words(one), words(two), strict=False):
        if not _equal(left, right):
            raise TraceError(
                f"tg.jit: a number or an array{a.where.described()} was not the same in two recordings of the function: random numbers of NumPy, the "
                "time, or a count of calls. Hand over what changes from call to call as an argument."
            )
    if len(one.nodes) != len(two.nodes):
        raise TraceError(
            "tg.jit: the function did not do the same in two recordings; it may not depend on how often it was called"
        )


def _equal(a: Any, b: Any) -> bool:
    """Whether two settings are the same.

    Objects that are neither numbers nor arrays count as such.
    """
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is b or (
            type(a) is type(b)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.tobytes() == b.tobytes()
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, slice):
        return _equal((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    return repr(a) == repr(b) or not isinstance(a, (bool, int, float, str, np.generic, np.dtype))


def _unchanged(several: Any, parts: list[Any]) -> bool:
    return len(several) == len(parts) and all(map(is_, several, parts))


def _check_result(one: Sequence[Any], two: Sequence[Any], what: str) -> None:
    """Raise a TraceError if what is no tensor in a result differs between two recordings, or hides tensors."""
    for a, b in zip(one, two, strict=False):
        if a is None and b is None:
            continue
        found = Guards(a).now().traced()
        if found:
            raise TraceError(
                f"{what} returns tensors inside a {type(a).__name__} ({found}); return them in tuples, lists or dicts"
            )
        if not _equal(a, b):
            raise TraceError(
                f"{what} returned {a!r} in one recording and {b!r} in the other: a recording gives the same at each call"
            )
