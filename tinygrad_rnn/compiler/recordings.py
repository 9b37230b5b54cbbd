"""The compiled code of one cell, for all shapes and settings with which it was run so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Array
from ..core.tape import Node, context
from ..core.tensor import Tensor
from ..core.tree import flatten, leaves, tree_map
from ..module import Parameter
from ..ops.guards import Changes, Guard, Guards, Key
from ..recurrent.cell import name_of
from .batches import check_batch
from .runner import Runner
from .sequence import SequenceCode
from .step import StepProgram
from .value import CompileError, Value, own_faults
from .variant import Variant

KEPT = 64  # recordings of one cell: for other shapes, settings, or values that it closes over


class Recordings:
    """Finds the code for a sequence, or records a step and compiles it.

    Parameters
    ----------
    cell : Cell or callable

    Attributes
    ----------
    runners : dict of key to Runner
    guards : Guards
        Of what the cell reads besides its arguments.
    """

    def __init__(self, cell: Callable[..., Any]) -> None:
        self.cell = cell
        self.runners: dict[Any, Runner] = {}
        self.guards = Guards(cell)

    def find(
        self, variant: Variant, inputs: list[Tensor], state: Any, batch: int
    ) -> tuple[Runner, list[Tensor], Guard]:
        """The compiled code for inputs and states of these shapes, whatever the batch and the length.

        Also the tensors that the cell holds and that have a row for each of the batch, which is
        found by recording; and the guard of what it reads. That the step does the same with this
        size of the batch is checked when it first comes.
        """
        rows = [
            *(x.shape[1:2] == (batch,) for x in inputs),
            *(s.shape[:1] == (batch,) for s in leaves(state)),
        ]
        runner, lent, guard = found = self._compiled_for(variant, inputs, state, batch, rows)
        if batch not in runner.step.batches:
            changes = Changes(
                self.guards, guard, f"tg.jit: the step of '{name_of(self.cell)}'", runs=1
            )
            try:
                check_batch(
                    runner.step,
                    variant,
                    tuple(Tensor(x.array[0]) for x in inputs),
                    state,
                    rows,
                    lent,
                    batch,
                )
                changes.after_run()
            except BaseException:
                changes.restore()
                raise
        return found

    def _compiled_for(
        self, variant: Variant, inputs: list[Tensor], state: Any, batch: int, rows: list[bool]
    ) -> tuple[Runner, list[Tensor], Guard]:
        gradients = tuple([x.requires_grad for x in inputs])
        shapes = (
            variant.flags,
            tuple([(x.shape[1 + r :], r, x.dtype) for x, r in zip(inputs, rows, strict=False)]),
            tuple(
                [
                    (path, s.shape[r:], r, s.dtype)
                    for (path, s), r in zip(flatten(state), rows[len(inputs) :], strict=True)
                ]
            ),
        )
        guard = self.guards.now()
        for settled, borrowed in keys(guard, batch):
            if (known := self.runners.get((gradients, shapes, settled))) is not None:
                return known, borrowed, guard
            if not context().grad_enabled:  # the code of training serves, and is there already
                for other, known in list(self.runners.items()):
                    if other[1:] == (shapes, settled):
                        return known, borrowed, guard
        # so that the code is that of training, under other settings such as those of eval()
        if not context().grad_enabled:
            gradients = next(
                (known[0] for known in reversed(list(self.runners)) if known[1] == shapes),
                gradients,
            )
        if len(self.runners) >= KEPT:  # of what changes at every call, each recording would stay
            self.runners.pop(next(iter(self.runners)), None)
        x = tuple(Tensor(x.array[0]) for x in inputs)

        def made(borrowed: list[Tensor]) -> tuple[Runner, list[Tensor], Guard]:
            changes = Changes(self.guards, guard, f"tg.jit: the step of '{name_of(self.cell)}'")
            try:
                runner = compiled(
                    variant, x, state, gradients, rows, guard.computed, borrowed, changes
                )
            except BaseException:
                changes.restore()
                raise
            kept = changes.kept()
            self.runners[
                gradients, shapes, lending(kept, lent_by(kept, batch)) if borrowed else kept.key
            ] = runner
            return runner, borrowed, kept

        try:
            return made([])
        except (ShapeError, CompileError) as error:
            lent = lent_by(guard, batch)
            if not lent:
                raise
            try:
                return made([t for _, t in lent])
            except ShapeError:
                raise error from None


def keys(guard: Guard, batch: int) -> Iterator[tuple[Any, list[Tensor]]]:
    """The keys under which a recording may be kept, each with the tensors that are borrowed.

    The usual one comes first, since others cost time.
    """
    yield guard.key, []
    lent = lent_by(guard, batch)
    if lent:
        yield lending(guard, lent), [t for _, t in lent]


def lent_by(guard: Guard, batch: int) -> list[tuple[int, Tensor]]:
    """The tensors that a cell holds and that may have a row for each of the batch.

    No parameters, and the first axis is the batch.
    """
    found = {
        id(t): (place, t)
        for place, t in reversed(guard.tensors)
        if t.shape[:1] == (batch,) and not isinstance(t, Parameter)
    }
    return sorted(found.values(), key=lambda one: one[0])


def lending(guard: Guard, lent: list[tuple[int, Tensor]]) -> Any:
    """The key in which these tensors count by their shape alone."""
    items, order = list(guard.key.items), {id(t): k for k, (_, t) in enumerate(lent)}
    for place, t in guard.tensors:
        if id(t) in order:
            items[place] = ("lent", order[id(t)], t.shape[1:], t.dtype, t.requires_grad)
    return Key(items)


def compiled(
    variant: Variant,
    x: Any,
    state: Any,
    x_gradients: tuple[bool, ...],
    rows: list[bool],
    computed: Mapping[Node, Array],
    lent: Iterable[Tensor],
    changes: Changes,
) -> Runner:
    """Record one step, plan it, and compile it.

    `rows` says which inputs and states have a row for each of the batch, as those of `lent` have;
    `computed` has values of tensors from outside.
    """
    structure: list[Any] = []

    def record(x: Any, state: Any) -> Any:
        result = variant(x, state)
        structure.append(tree_map(lambda _: 0, result))
        return result

    step = StepProgram(record, x, state, variant.__name__, rows, list(lent), changes.after_run)
    wanted: set[Value] = {op for op, needed in zip(step.xs, x_gradients, strict=False) if needed}
    wanted |= {op for op in [*step.constants, *step.fixed] if op.node.requires_grad}
    floats = [v.dtype for v in [*leaves([state, x]), *step.outputs] if v.dtype.kind == "f"]
    with own_faults(variant.__name__):
        runner = Runner(
            SequenceCode(step, floats[0] if floats else np.dtype(np.float32), wanted), computed
        )
    runner.structure = structure[0]
    return runner
