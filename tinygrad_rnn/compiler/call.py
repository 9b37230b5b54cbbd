"""A call of a recorded function as a node on the tape."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import GraphError
from ..core.primitive import Array, Primitive
from ..core.record import describe
from ..core.tape import Freed, Node, Where, caller, context
from ..core.tensor import Tensor
from ..core.trace import Program
from ..kernels.runtime import complain, raising
from ..recurrent.packing import cut
from ..recurrent.segment import Segment, as_primitive
from .host import NoCode


class Arrays(dict[str, Any]):
    """What a call leaves for its backward, by name."""

    __slots__ = ("__weakref__",)


def as_array(x: Any) -> Array:
    """Return a number of NumPy's as an array."""
    return x if type(x) is np.ndarray else np.asarray(x)


class Again:
    """A recorded program that is run operation by operation.

    For gradients of gradients, tangents and pictures of a call, with what the function captured and
    drew then.

    Parameters
    ----------
    program : Program
    asked : sequence of Tensor
        Those whose values are asked for at each call. They come first in what is drawn; steps of
        sequences, which are run again, read them as they are.
    """

    def __init__(self, program: Program, asked: Sequence[Tensor]) -> None:
        self.program = program
        self.held = asked if any("segment" in n.params for n in program.nodes) else ()

    def of(self, owners: Sequence[Tensor], drawn: Sequence[Array]) -> Callable[..., list[Tensor]]:
        """Return the program of one call as a function of its arguments."""
        arrays, nodes = [o.array for o in owners], [o.node for o in owners]

        def again(*handles: Tensor) -> list[Tensor]:
            for t, array in zip(self.held, drawn, strict=False):
                if t.array is not array:
                    raise GraphError(
                        "tg.jit: gradients of gradients, tangents and pictures run the steps of sequences again, but "
                        f"{describe(t)} is not what it was at the call. Compute them before it is changed"
                    )
            found = self.program(*handles, *map(Tensor, arrays, nodes), *map(Tensor, drawn))
            return [y if isinstance(y, Tensor) else Tensor(as_array(y)) for y in found]

        return again


def release(
    y: Tensor,
    again: Again,
    tensors: Sequence[Tensor],
    owners: Sequence[Tensor],
    drawn: Sequence[Array],
) -> None:
    """Give a result, whose graph a backward inside has walked, a node that was released.

    It can be drawn, since that runs the steps again.
    """
    nodes = tuple([t.node or t.leaf() for t in (*tensors, *owners)])
    edges = tuple([(n, k, _RULE) for k, n in enumerate(nodes) if n.requires_grad])
    if not edges or not context().grad_enabled:
        return
    segment = Segment(again.of(owners, drawn), len(tensors))
    segment.live, segment.captured = [0], list(nodes[len(tensors) :])
    origin = caller()
    freed = Freed("a loss inside of the function", Where(*origin))
    y.node = Node(JIT, nodes, edges, {"segment": segment}, freed, y.array, True, origin)


class OnTape(Segment):
    """One call of a recorded function, with results that have gradients.

    Parameters
    ----------
    recording : Recording
    count : int
        How many arguments it has.
    owners : sequence of Tensor
        What it captured.
    drawn : sequence of array
        What it was given besides.
    """

    reads = "goes through a compiled function, which needs"

    def __init__(
        self, recording: Any, count: int, owners: Sequence[Tensor], drawn: Sequence[Array]
    ) -> None:
        super().__init__(recording.again.of(owners, drawn), count)
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
        results = [as_array(y) for y in found[: len(recording.shapes)]]
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
                found: tuple[Any, ...] = self.recording.gradients(
                    saved["given"], saved["kept"], cut(g, shapes) if len(shapes) > 1 else [g]
                )
                return found
            except NoCode as failed:
                complain(failed.reason)
        return super().gradients(g.reshape((-1,)) if len(shapes) == 1 else g, values)


JIT: Primitive = as_primitive("jit")
_RULE: Any = JIT.rules[0]  # the one of all inputs
