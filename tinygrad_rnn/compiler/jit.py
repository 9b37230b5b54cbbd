"""`tg.jit`: a cell that is compiled for whole sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.primitive import Primitive
from ..core.record import apply
from ..core.tape import Leaf, Node, context
from ..core.tensor import Tensor
from ..core.tree import leaves, tree_map, unflatten
from ..module import Module as Layer
from ..ops.elementwise import greater, where
from ..recurrent.cell import Cell, name_of
from ..recurrent.checkpoint import Stretch, as_primitive
from ..recurrent.unroll import Sequence
from .module import Module
from .run import Runner
from .step import CompileError, Op, Step


class Jitted(Cell):
    """A cell that `unroll` and `tbptt` run as one compiled function for the whole sequence; made by `jit`.

    It is the cell itself with another way to run: both have one set of attributes, so parameters, their names and settings are the same,
    and a change of one is a change of the other. Calling it computes one ordinary step.

    Attributes
    ----------
    plain : Cell or callable
        The cell that was given.
    """

    __slots__ = ("_runners", "plain")

    def __init__(self, cell: Callable[..., Any]) -> None:
        object.__setattr__(self, "plain", cell)
        object.__setattr__(self, "_runners", {})
        if isinstance(cell, Layer):
            object.__setattr__(self, "__dict__", vars(cell))

    def initial_state(self, batch_size: int) -> Any:
        """That of the cell."""
        return self.plain.initial_state(batch_size) if isinstance(self.plain, Cell) else super().initial_state(batch_size)

    def check(self, x: Any) -> None:
        """As the cell does."""
        if isinstance(self.plain, Cell):
            self.plain.check(x)

    def forward(self, x: Any, state: Any) -> Any:
        """One step, not compiled."""
        return self.plain(x, state)

    # --- compiled -----------------------------------------------------------------------------------------------------------------

    def steps(self, sequence: Sequence, parts: Any, state: Any, start: int, stop: int, reverse: bool, all_states: bool, offset: int) -> Any:
        """Steps `start` to `stop` of a sequence as one node on the tape; see `Sequence.steps`."""
        xs = [p[start - offset : stop - offset] for p in parts]
        valid = None if sequence.valid is None else sequence.valid[start:stop]
        resets = None if sequence.resets is None else sequence.resets[start:stop]
        dtype = next((s.dtype for s in leaves(state)), np.dtype(np.float32))
        extra = [Tensor(m.astype(dtype)) for m in (valid, resets) if m is not None]
        carried = state if resets is None else (state, sequence.first)
        variant = _Variant(self.plain, sequence.tuple, valid is not None, resets is not None, all_states)
        inputs, states = [*xs, *extra], leaves(carried)
        runner = self.runner(variant, inputs, carried)

        def again(*handles: Tensor) -> list[Tensor]:
            """The same steps, one by one on the tape: for gradients of gradients, and tangents."""
            given, first = list(handles[: len(inputs)]), unflatten(carried, list(handles[len(inputs) :]))
            plain = Sequence.__new__(Sequence)
            vars(plain).update(vars(sequence), cell=variant, tuple=True, valid=None, resets=None)
            ys, _, last = plain.steps(tuple(given), first, start, stop, reverse, offset=start)
            return [*leaves(ys), *leaves(last)]

        stretch = _Unrolled(runner, again, len(inputs) + len(states), reverse)
        flat = stretch.outputs([*inputs, *states])
        count = len(runner.step.outputs)
        y_tree, state_tree = runner.structure
        ys = unflatten(y_tree, flat[:count])
        last = unflatten(state_tree, flat[count:])
        if resets is not None:
            last = last[0]
        if all_states:
            return ys[0], ys[1], last
        return ys, None, last

    def runner(self, variant: _Variant, inputs: list[Tensor], state: Any) -> Runner:
        """The compiled code for inputs and states of these shapes, whatever the batch and the length."""
        key = (
            variant.flags,
            tuple((x.shape[2:], x.dtype, x.requires_grad) for x in inputs),
            tuple((type(state), s.shape[1:], s.dtype) for s in leaves(state)),
            _settings(self.plain),
        )
        if key not in self._runners:
            x = tuple(Tensor(x.array[0]) for x in inputs)
            self._runners[key] = compiled(variant, x, state, [x.requires_grad for x in inputs], name_of(self))
        return self._runners[key]


def compiled(variant: _Variant, x: Any, state: Any, x_gradients: list[bool], name: str) -> Runner:
    """Record one step, plan it, and compile it."""
    structure: list[Any] = []

    def record(x: Any, state: Any) -> Any:
        result = variant(x, state)
        structure.append(tree_map(lambda _: 0, result))
        return result

    step = Step(record, x, state, name)
    wanted: set[Op] = {op for op, needed in zip(step.xs, x_gradients, strict=True) if needed}
    wanted |= {op for op in step.constants if op.node.requires_grad}
    runner = Runner(Module(step, leaves(state)[0].dtype, wanted))
    runner.structure = structure[0]
    return runner


class _Variant:
    """The step that is compiled: the cell's, with padding, resets and the states as further outputs where they are asked for."""

    def __init__(self, cell: Callable[..., Any], takes_tuple: bool, masked: bool, resets: bool, all_states: bool) -> None:
        self.cell, self.flags = cell, (takes_tuple, masked, resets, all_states)
        self.__name__ = name_of(cell)

    def __call__(self, x: tuple[Any, ...], state: Any) -> Any:
        takes_tuple, masked, resets, all_states = self.flags
        parts, first = list(x), None
        if resets:
            begin, (state, first) = parts.pop(), state
            state = tree_map(lambda s, f: where(_rows(begin, s), f, s), state, first)
        valid = parts.pop() if masked else None
        if masked:
            parts = [where(_rows(valid, p), p, 0.0) for p in parts]
        y, new = self.cell(tuple(parts) if takes_tuple else parts[0], state)
        if masked:
            y = tree_map(lambda a: where(_rows(valid, a), a, 0.0), y)
            new = tree_map(lambda a, b: where(_rows(valid, a), a, b), new, state)
        return ((y, new) if all_states else y), ((new, first) if resets else new)


def _rows(flags: Any, like: Any) -> Any:
    """Flags (batch,), as numbers, for values of another rank."""
    return greater(flags.reshape((flags.shape[0], *[1] * (len(like.shape) - 1))), 0.5)


def _settings(cell: Any) -> tuple[Any, ...]:
    """What a recorded step depends on besides shapes: the parameters, and plain attributes such as `training`."""
    if not isinstance(cell, Layer):
        return ()
    found: list[Any] = [(id(p), p.requires_grad) for p in cell.parameters()]
    for _, module in cell.named_modules():
        found.append(module.training)
        found += [v for v in vars(module).values() if isinstance(v, (bool, int, float, str))]
    return tuple(found)


class _Unrolled(Stretch):
    """A compiled unrolling as a node on the tape."""

    def __init__(self, runner: Runner, again: Callable[..., list[Tensor]], count: int, reverse: bool) -> None:
        super().__init__(again, count)
        self.runner, self.reverse = runner, reverse
        self.arrays: dict[str, Any] = {}

    def outputs(self, tensors: list[Tensor]) -> list[Tensor]:
        """Run forward; the outputs hang on one node."""
        step = self.runner.step
        split = len(step.xs)
        owners = [_owner(op) for op in self.runner.module.constants]
        values = [t.array for t in tensors]
        self.arrays = self.runner.forward(values[:split], values[split:], self.reverse)
        ys, last = self.runner.outputs(self.arrays)
        found = [*ys, *last]
        self.live = list(range(len(found)))
        self.captured = [o.node for o in owners if o.node is not None]
        if not context().grad_enabled or not (any(t.requires_grad for t in tensors) or self.captured):
            self.arrays = {}
            return [Tensor(a) for a in found]
        self.packed = self.pack(found)
        outside = [Tensor(np.broadcast_to(np.zeros((), n.dtype), n.shape), n) for n in self.captured]
        whole = apply(UNROLL, [*tensors, *outside], {"stretch": self})
        parts, start = [], 0
        for a in found:
            parts.append(whole[start : start + a.size].reshape(a.shape))
            start += a.size
        return parts

    def gradients(self, g: Any, values: Any) -> tuple[Any, ...]:
        """For each input of the node: by the compiled function, or by the steps one by one where the walk itself is recorded."""
        if isinstance(g, Tensor):
            return super().gradients(g, values)
        self.check_captured()
        step = self.runner.step
        shapes = [(self.arrays["T"], self.arrays["B"], *op.features) for op in step.outputs]
        shapes += [(self.arrays["B"], *op.features) for op in step.states]
        parts, start = [], 0
        for shape in shapes:
            size = int(np.prod(shape))
            parts.append(g[start : start + size].reshape(shape))
            start += size
        found = self.runner.backward(self.arrays, parts[: len(step.outputs)], parts[len(step.outputs) :])
        return tuple(found.get(op) for op in [*step.xs, *step.states, *self.runner.module.constants])


def _owner(op: Op) -> Any:
    node: Node = op.node
    owner = node.tensor() if isinstance(node, Leaf) and node.tensor is not None else None
    return Tensor(getattr(node, "value", None), node) if owner is None else owner


UNROLL: Primitive = as_primitive("unroll")


def jit(cell: Callable[..., Any]) -> Jitted:
    """Compile a cell for whole sequences: the same call, the same numbers, the same gradients of any order.

    The first `unroll` records one step of the cell, derives its backward by the ordinary rules, and compiles one function forward and one
    backward with the loop over time inside. They serve any length and any batch, and are kept on disk.

    Parameters
    ----------
    cell : Cell or callable
        ``(x, state) -> (output, state)``, without `if` on values.

    Returns
    -------
    Jitted
        A cell. Its `source` shows the generated code.

    Raises
    ------
    CompileError
        On first use, for a step that cannot be compiled: the operation, its line, and why.
    """
    if isinstance(cell, Jitted):
        return cell
    if not callable(cell):
        raise CompileError(f"tg.jit: expected a cell or a function of (x, state); found a {type(cell).__name__}")
    return Jitted(cell)
