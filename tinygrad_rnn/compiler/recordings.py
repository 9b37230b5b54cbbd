"""The compiled code of one cell, for all shapes and settings with which it was run so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError
from ..core.primitive import Array
from ..core.tape import Node, context, setting
from ..core.tensor import Tensor
from ..core.tree import flatten, leaves, tree_map
from ..kernels.runtime import without_collection
from ..module import Parameter
from ..ops.guards import Asked, Asking, Changes, Guard, Guards, Key
from ..recurrent.cell import name_of
from .arguments import is_buffer
from .batches import check_batch
from .runner import Runner
from .sequence import SequenceCode
from .step import StepProgram
from .value import CompileError, Value, own_faults
from .variant import Piece

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
        self.guards = Guards(cell, asks=Asking(is_buffer))

    def find(self, piece: Piece) -> tuple[Runner, list[Tensor], Guard]:
        """Return the compiled code for inputs and states of these shapes.

        It serves whatever batch and length; that the step does the same with this size of the batch
        is checked when that first comes. Also the tensors that the cell holds and that have a row
        for each of the batch, which is found by recording; and the guard of what it reads.
        """
        runner, lent, guard = found = self._compiled_for(piece)
        step, batch = runner.step, piece.batch
        if batch not in step.batches:
            asked = Asked(guard.asked)
            with asked.noting(), self._changes(guard, runs=1) as changes, setting(asked=asked):
                check_batch(step, piece.variant, piece.x, piece.carried, piece.rows, lent, batch)
                changes.after_run()
            if asked.read:
                step.batches.discard(batch)
                self.guards.with_read(asked, ())
                return self.find(piece)
        return found

    def _changes(self, guard: Guard, runs: int = 0) -> Changes:
        return Changes(self.guards, guard, f"tg.jit: the step of '{name_of(self.cell)}'", runs)

    def _compiled_for(self, piece: Piece) -> tuple[Runner, list[Tensor], Guard]:
        batch, shapes = piece.batch, _shapes(piece)
        gradients = tuple([x.requires_grad for x in piece.inputs])
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

        asked = Asked(guard.asked)

        def made(borrowed: list[Tensor]) -> tuple[Runner, list[Tensor], Guard]:
            with (
                asked.noting(),
                self._changes(guard) as changes,
                without_collection(),
                setting(asked=asked),
            ):
                runner = compiled(piece, gradients, guard.computed, borrowed, changes)
            if asked.read:
                self.guards.with_read(asked, ())
                return self._compiled_for(piece)
            kept = changes.kept()
            settled = lending(kept, lent_by(kept, batch)) if borrowed else kept.key
            self.runners[gradients, shapes, settled] = runner
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


def _shapes(piece: Piece) -> Any:
    """Return the kind of the step, and of what it is given the places, shapes and dtypes."""
    count, rows = len(piece.inputs), piece.rows
    arrays = [t.array for t in (*piece.inputs, *piece.states)]
    return (
        piece.variant.form,
        tuple([path for path, _ in flatten(piece.carried)]),
        tuple(
            [a.shape[r + (k < count) :] for k, (a, r) in enumerate(zip(arrays, rows, strict=True))]
        ),
        tuple(rows),
        tuple([a.dtype.char for a in arrays]),
    )


def keys(guard: Guard, batch: int) -> Iterator[tuple[Any, list[Tensor]]]:
    """Yield the keys under which a recording may be kept, each with the tensors that are borrowed.

    The usual one comes first, since others cost time.
    """
    yield guard.key, []
    lent = lent_by(guard, batch)
    if lent:
        yield lending(guard, lent), [t for _, t in lent]


def lent_by(guard: Guard, batch: int) -> list[tuple[int, Tensor]]:
    """Return the tensors that a cell holds and that may have a row for each of the batch.

    No parameters, and the first axis is the batch.
    """
    found = {
        id(t): (place, t)
        for place, t in reversed(guard.tensors)
        if t.shape[:1] == (batch,) and not isinstance(t, Parameter)
    }
    return sorted(found.values(), key=lambda one: one[0])


def lending(guard: Guard, lent: list[tuple[int, Tensor]]) -> Any:
    """Return the key in which these tensors count by their shape alone."""
    items, order = list(guard.key.items), {id(t): k for k, (_, t) in enumerate(lent)}
    for place, t in guard.tensors:
        if id(t) in order:
            items[place] = ("lent", order[id(t)], t.shape[1:], t.dtype, t.requires_grad)
    return Key(items)


def compiled(
    piece: Piece,
    x_gradients: Sequence[bool],
    computed: Mapping[Node, Array],
    lent: list[Tensor],
    changes: Changes,
) -> Runner:
    """Record one step, plan it, and compile it.

    Parameters
    ----------
    piece : Piece
        Some steps, for their shapes and dtypes.
    x_gradients : sequence of bool
        Which inputs have a gradient.
    computed : mapping of Node to array
        The values of tensors from outside.
    lent : list of Tensor
        Tensors that the cell holds and that have a row for each of the batch.
    changes : Changes
        Finds out what the step changes outside of it.
    """
    variant, x, structure = piece.variant, piece.x, list[Any]()

    def record(x: Any, state: Any) -> Any:
        result = variant(x, state)
        structure.append(tree_map(lambda _: 0, result))
        return result

    name = variant.__name__
    step = StepProgram(record, x, piece.carried, name, piece.rows, lent, changes.after_run)
    wanted: set[Value] = {op for op, needed in zip(step.xs, x_gradients, strict=False) if needed}
    wanted |= {op for op in [*step.constants, *step.fixed] if op.node.requires_grad}
    floats = [v.dtype for v in [*leaves([piece.carried, x]), *step.outputs] if v.dtype.kind == "f"]
    with own_faults(name):
        code = SequenceCode(step, floats[0] if floats else np.dtype(np.float32), wanted)
        return Runner(code, variant, structure[0], computed)
